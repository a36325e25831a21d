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
BLOCK = 50_000  # rows


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
    matrix, treated = baseline.matrix, design.treated
    is_binary = np.array([bool(((column == 0) | (column == 1)).all()) for column in matrix.T])
    centre = np.where(is_binary, 0.0, matrix[treated].mean(axis=0))
    spread = np.array([1.0 if binary else _spread(column) for binary, column in zip(is_binary, matrix.T, strict=True)])
    first, second, is_indicator = _pairs(is_binary)
    arms = [_moments(matrix, arm, design.weights, centre, spread) for arm in (treated, ~treated)]
    means = [arm.products[first, second] / arm.size for arm in arms]
    variances = []
    for arm, mean in zip(arms, means, strict=True):
        squares = arm.squares[first, second] / arm.size
        of_numbers = np.maximum(squares - mean * mean, 0.0) * arm.size / max(arm.size - 1.0, 1.0)
        variances.append(np.where(is_indicator, mean * (1 - mean), of_numbers))
    sd = sd_for_standardising(variances[0], variances[1], design.estimand)
    after = [arm.weighted[first, second] / arm.weight if arm.weight else np.full(len(first), np.nan) for arm in arms]
    before_smd = _standardised(means[0] - means[1], sd)
    after_smd = _standardised(after[0] - after[1], sd)
    rare = _is_rare(is_binary, np.diag(arms[0].products), means[0] * arms[0].size, arms[0].size, first, second)
    constant = (variances[0] <= NEGLIGIBLE) & (variances[1] <= NEGLIGIBLE)
    judged = ~rare & ~constant
    by_chance = _over_by_chance(design) if judged.any() else 0.0
    names = baseline.columns
    return _summary(names, first[judged], second[judged], before_smd[judged], after_smd[judged], rare, by_chance)


def _spread(column: FloatArray) -> float:
    return max(float(column.std()), float(np.finfo(float).tiny))


def _pairs(is_binary: BoolArray) -> tuple[IntArray, IntArray, BoolArray]:
    """Column numbers of every judged pair (squares of indicators are themselves), and which products are 0/1."""
    first, second = np.triu_indices(len(is_binary))
    keep = (first != second) | ~is_binary[first]
    first, second = first[keep], second[keep]
    return first, second, is_binary[first] & is_binary[second]


def _is_rare(
    is_binary: BoolArray, ones: FloatArray, both: FloatArray, n: float, first: IntArray, second: IntArray
) -> BoolArray:
    """`ones` and `both`: how many treated rows have each indicator, and each product of two."""
    rare_column = is_binary & (np.minimum(ones, n - ones) < RARE - 0.5)
    rare_both = is_binary[first] & is_binary[second] & (np.minimum(both, n - both) < RARE - 0.5)
    rare: BoolArray = rare_column[first] | rare_column[second] | rare_both
    return rare


def _over_by_chance(design: Design) -> float:
    sizes = [kish_effective_n(design.weights[arm]) for arm in (design.treated, ~design.treated)]
    if min(sizes) == 0:
        return float("nan")
    return float(2.0 * ndtr(-OVER / np.sqrt(sum(1.0 / n for n in sizes))))


@dataclass(frozen=True)
class _Moments:
    """(p, p) sums over one arm: of products of two columns, of their squares, and of products by weight."""

    products: FloatArray
    squares: FloatArray
    weighted: FloatArray
    size: float
    weight: float


def _moments(
    matrix: FloatArray, arm: BoolArray, weights: FloatArray, centre: FloatArray, spread: FloatArray
) -> _Moments:
    """Block by block of rows, so that no copy of the matrix is made."""
    rows, p = np.flatnonzero(arm), matrix.shape[1]
    products, squares, weighted = (np.zeros((p, p)) for _ in range(3))
    for start in range(0, len(rows), BLOCK):
        here = rows[start : start + BLOCK]
        block = (matrix[here] - centre) / spread
        products += block.T @ block
        weighted += block.T @ (weights[here, None] * block)
        block *= block
        squares += block.T @ block
    return _Moments(products, squares, weighted, float(len(rows)), float(weights[arm].sum()))


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
