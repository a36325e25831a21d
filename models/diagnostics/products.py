"""A design → balance on squares and two-way products of the covariates, which means alone leave open.

Numbers are centred on the treated group's mean first, so that a square or product says something that the covariate
itself has not said; indicators stay 0 and 1, so that their product is "both". Standardised differences follow the
convention of models/balance.py. A product is not judged where it, or an indicator in it, is 1 (or 0) for fewer than
`RARE` treated rows: of hundreds of such products some are far out of balance in any trial. How many of the others
would be beyond 0.1 by chance alone stands beside: a standardised difference of two randomised arms has standard error
√(1/n1 + 1/n0), n the effective numbers. All are computed at once from weighted cross-products of the columns and of
their squares, never column by column.

Source: Ho, Imai, King & Stuart 2007 (Polit Anal 15:199); Austin 2009 (Stat Med 28:3083) on squares and interactions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from models.balance import kish_effective_n, sd_for_standardising
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray

RARE = 10
WORST = 10
NEGLIGIBLE = 1e-12
OVER = 0.1


@dataclass(frozen=True)
class ProductRow:
    """One square ("age squared") or product ("age × is_female") and its standardised differences."""

    product: str
    smd_before: float
    smd_after: float


@dataclass(frozen=True)
class ProductBalance:
    """Balance over all judged squares and products.

    n_products           judged
    n_rare               left out as too rare among the treated
    max_abs_smd          largest |standardised difference| after the design; 0 without products
    share_over           share of the judged above 0.1 after the design
    share_over_before    the same before it
    share_over_by_chance the same in a randomised trial of that effective size, on average
    worst                the ten largest after the design, largest first
    """

    n_products: int
    n_rare: int
    max_abs_smd: float
    share_over: float
    share_over_before: float
    share_over_by_chance: float
    worst: tuple[ProductRow, ...]


def measure_products(baseline: Baseline, design: Design) -> ProductBalance:
    """Squares of numbers and products of every two columns. An arm left without rows has infinite differences."""
    treated = design.treated
    is_binary = np.asarray(np.isin(baseline.matrix, (0.0, 1.0)).all(axis=0))
    centre = np.where(is_binary, 0.0, baseline.matrix[treated].mean(axis=0))
    columns = baseline.matrix - centre
    spread = np.where(is_binary, 1.0, np.maximum(columns.std(axis=0), np.finfo(float).tiny))
    columns = columns / spread
    first, second, is_indicator = _pairs(is_binary)
    moments = [_moments(columns[arm], first, second) for arm in (treated, ~treated)]
    n = np.array([treated.sum(), (~treated).sum()], dtype=np.float64)
    variances = [
        np.where(is_indicator, m * (1 - m), np.maximum(s - m * m, 0.0) * size / max(size - 1.0, 1.0))
        for (m, s), size in zip(moments, n, strict=True)
    ]
    sd = sd_for_standardising(variances[0], variances[1], design.estimand)
    after = [_weighted_means(columns[arm], design.weights[arm], first, second) for arm in (treated, ~treated)]
    before_smd = _standardised(moments[0][0] - moments[1][0], sd)
    after_smd = _standardised(after[0] - after[1], sd)
    rare = _is_rare(is_binary, columns[treated], moments[0][0], first, second)
    constant = (variances[0] <= NEGLIGIBLE) & (variances[1] <= NEGLIGIBLE)
    judged = ~rare & ~constant
    by_chance = _over_by_chance(design) if judged.any() else 0.0
    names = baseline.columns
    return _summary(names, first[judged], second[judged], before_smd[judged], after_smd[judged], rare, by_chance)


def _pairs(is_binary: BoolArray) -> tuple[IntArray, IntArray, BoolArray]:
    """Column numbers of every judged pair (squares of indicators are themselves), and which products are 0/1."""
    first, second = np.triu_indices(len(is_binary))
    keep = (first != second) | ~is_binary[first]
    first, second = first[keep], second[keep]
    return first, second, is_binary[first] & is_binary[second]


def _is_rare(
    is_binary: BoolArray, treated_columns: FloatArray, mean_product: FloatArray, first: IntArray, second: IntArray
) -> BoolArray:
    n = len(treated_columns)
    ones = treated_columns.sum(axis=0)
    rare_column = is_binary & (np.minimum(ones, n - ones) < RARE - 0.5)
    both = mean_product * n
    rare_both = is_binary[first] & is_binary[second] & (np.minimum(both, n - both) < RARE - 0.5)
    rare: BoolArray = rare_column[first] | rare_column[second] | rare_both
    return rare


def _over_by_chance(design: Design) -> float:
    sizes = [kish_effective_n(design.weights[arm]) for arm in (design.treated, ~design.treated)]
    if min(sizes) == 0:
        return float("nan")
    return float(2.0 * ndtr(-OVER / np.sqrt(sum(1.0 / n for n in sizes))))


def _moments(columns: FloatArray, first: IntArray, second: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean of each product and of its square."""
    squares = columns * columns
    n = max(len(columns), 1)
    return (columns.T @ columns)[first, second] / n, (squares.T @ squares)[first, second] / n


def _weighted_means(columns: FloatArray, weights: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    total = float(weights.sum())
    if total == 0:
        return np.full(len(first), np.nan)
    used = weights > 0
    rows = columns[used]
    means: FloatArray = (rows.T @ (weights[used, None] * rows))[first, second] / total
    return means


def _standardised(difference: FloatArray, sd: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        smd = np.where(np.abs(difference) <= NEGLIGIBLE, 0.0, difference / sd)
    return np.where(np.isnan(difference), np.inf, smd)


def _summary(
    names: tuple[str, ...],
    first: IntArray,
    second: IntArray,
    before: FloatArray,
    after: FloatArray,
    rare: BoolArray,
    by_chance: float,
) -> ProductBalance:
    size = np.round(np.abs(after), 9)
    worst = sorted(range(len(size)), key=lambda k: (-size[k], names[first[k]], names[second[k]]))[:WORST]

    def named(k: int) -> str:
        one, other = names[first[k]], names[second[k]]
        return f"{one} squared" if first[k] == second[k] else f"{one} × {other}"

    return ProductBalance(
        n_products=len(size),
        n_rare=int(rare.sum()),
        max_abs_smd=float(np.abs(after).max(initial=0.0)),
        share_over=float((np.abs(after) > OVER).mean()) if len(size) else 0.0,
        share_over_before=float((np.abs(before) > OVER).mean()) if len(size) else 0.0,
        share_over_by_chance=by_chance,
        worst=tuple(ProductRow(named(k), float(before[k]), float(after[k])) for k in worst),
    )
