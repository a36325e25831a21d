"""Covariates and the totals they shall have → weights that have them exactly, by Newton's method on the dual.

A weight is an increasing function of a linear predictor f = a[group] + x b, and the equations Σ weight × (group, x) =
target are the derivative of a convex function of (a, b): its minimum, if there is one, is the only solution (Deville &
Särndal 1992, JASA 87:376; Zhao 2019, Ann Stat 47:965). There is none when no weights of that kind reach the target,
and then this says so: the largest distance from the target is measured, and never assumed from the solver's word.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from models.results import Baseline, BoolArray, FloatArray, IntArray

STEPS = 100
REACHED = 1e-8
"""Largest distance from the target, in standard deviations of the covariate (for a group: as a share of its total)."""
DONE = 1e-13
SINGULAR = 1e-10
ROWS_AT_ONCE = 8192

RowFunction = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Link:
    """How a row contributes to the totals at its linear predictor: a convex potential, its first derivative (the
    contribution: the weight, or minus it) and its second."""

    potential: RowFunction
    contribution: RowFunction
    slope: RowFunction


EXPONENTIAL = Link(np.exp, np.exp, np.exp)
"""Weights exp(f): entropy balancing, and odds."""


@dataclass(frozen=True)
class Target:
    """What the contributions of all rows of each group, and contributions × columns over all rows, shall sum to.
    `size` is the total weight that a distance is a share of."""

    groups: FloatArray
    columns: FloatArray
    size: float


@dataclass(frozen=True)
class Solution:
    """(m,) linear predictor; distances from the target as REACHED measures them, of each column and the worst group."""

    linear: FloatArray
    column_gap: FloatArray
    group_gap: float
    n_steps: int


def balanced_columns(baseline: Baseline, rows: BoolArray, moments: str) -> tuple[FloatArray, tuple[str, ...]]:
    """((n, q) columns standardised over `rows`, their names): covariates that vary there, and under "variances" also
    the squares of those with more than two values."""
    matrix, names = _standardised(baseline.matrix, list(baseline.columns), rows)
    if moments == "variances":
        several = [j for j in range(matrix.shape[1]) if not _has_two_values(matrix[rows, j])]
        squares, of = _standardised(matrix[:, several] ** 2, [f"{names[j]} squared" for j in several], rows)
        matrix, names = np.column_stack([matrix, squares]), names + of
    return matrix, tuple(names)


def solve(columns: FloatArray, group: IntArray, target: Target, link: Link, intercepts: FloatArray) -> Solution:
    """Newton's method from b = 0 and the given intercepts, each step shortened until the convex function falls.

    columns (m, q), group (m,) numbers from 0 below the length of target.groups. Does not raise: the gaps tell.
    """
    a, b = intercepts.copy(), np.zeros(columns.shape[1])
    linear = a[group] + columns @ b
    value = _value(linear, a, b, target, link)
    n_steps = 0
    while n_steps < STEPS:
        contribution = link.contribution(linear)
        off_groups = target.groups - np.bincount(group, weights=contribution, minlength=len(a))
        off_columns = target.columns - columns.T @ contribution
        if _worst(off_groups, off_columns, target) < DONE:
            break
        step_a, step_b = _newton_step(columns, group, link.slope(linear), off_groups, off_columns)
        share, along = 1.0, step_a[group] + columns @ step_b
        for _ in range(40):
            with np.errstate(over="ignore", invalid="ignore"):
                new = _value(linear + share * along, a + share * step_a, b + share * step_b, target, link)
            if new <= value + 1e-13 * abs(value):
                break
            share /= 2.0
        else:
            break
        a, b, n_steps = a + share * step_a, b + share * step_b, n_steps + 1
        linear, value = a[group] + columns @ b, new
    return _judged(linear, columns, group, target, link, n_steps)


def group_sums(columns: FloatArray, group: IntArray, weights: FloatArray, n_groups: int) -> FloatArray:
    """(n_groups, q) Σ weights × columns in each group."""
    where = csr_matrix((weights, (group, np.arange(len(group)))), shape=(n_groups, len(group)))
    return np.asarray(where @ columns, dtype=np.float64)


def weighted_cross_product(columns: FloatArray, weights: FloatArray) -> FloatArray:
    """(q, q) Σ weight × row row', in blocks of rows so that no copy of the columns is made."""
    total = np.zeros((columns.shape[1], columns.shape[1]))
    root = np.sqrt(weights)
    for start in range(0, len(columns), ROWS_AT_ONCE):
        block = columns[start : start + ROWS_AT_ONCE] * root[start : start + ROWS_AT_ONCE, None]
        total += block.T @ block
    return total


def pseudo_inverse(symmetric: FloatArray) -> FloatArray:
    """Inverse in the directions that carry information: collinear columns share what they can."""
    return np.asarray(np.linalg.pinv(symmetric, rcond=SINGULAR, hermitian=True), dtype=np.float64)


def _standardised(matrix: FloatArray, names: list[str], rows: BoolArray) -> tuple[FloatArray, list[str]]:
    centre, spread = matrix[rows].mean(axis=0), matrix[rows].std(axis=0)
    varies = spread > SINGULAR * np.maximum(np.abs(centre), np.finfo(np.float64).tiny)
    kept = [name for name, moves in zip(names, varies, strict=True) if moves]
    return np.asarray((matrix[:, varies] - centre[varies]) / spread[varies], dtype=np.float64), kept


def _has_two_values(values: FloatArray) -> bool:
    return bool(((values == values.min()) | (values == values.max())).all())


def _value(linear: FloatArray, a: FloatArray, b: FloatArray, target: Target, link: Link) -> float:
    value = float(link.potential(linear).sum() - target.groups @ a - target.columns @ b)
    return value if np.isfinite(value) else np.inf


def _newton_step(
    columns: FloatArray, group: IntArray, slope: FloatArray, off_groups: FloatArray, off_columns: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The intercepts' block of the Hessian is diagonal and is eliminated."""
    diagonal = np.bincount(group, weights=slope, minlength=len(off_groups))
    per_group = np.where(diagonal > 0, 1.0 / np.where(diagonal > 0, diagonal, 1.0), 0.0)
    across = group_sums(columns, group, slope, len(off_groups))
    reduced = weighted_cross_product(columns, slope) - across.T @ (per_group[:, None] * across)
    step_b = pseudo_inverse(reduced) @ (off_columns - across.T @ (per_group * off_groups))
    return per_group * (off_groups - across @ step_b), step_b


def _worst(off_groups: FloatArray, off_columns: FloatArray, target: Target) -> float:
    per_column = np.abs(off_columns).max(initial=0.0) / target.size
    per_group = np.abs(off_groups).max() / target.size
    return float(max(per_column, per_group))


def _judged(
    linear: FloatArray, columns: FloatArray, group: IntArray, target: Target, link: Link, n_steps: int
) -> Solution:
    contribution = link.contribution(linear)
    sums = np.bincount(group, weights=contribution, minlength=len(target.groups))
    off = np.abs(target.groups - sums) / np.maximum(np.abs(target.groups), target.size / len(sums))
    return Solution(linear, np.abs(target.columns - columns.T @ contribution) / target.size, float(off.max()), n_steps)
