"""Covariates with gaps → the same without, by chained equations: each is drawn in turn given all others.

Numbers by predictive mean matching (Little 1988; van Buuren 2018, Flexible Imputation, ch. 3.4): a regression with
coefficients drawn from their posterior predicts the missing rows, and each takes the value of one of the `donors`
observed rows whose own prediction is nearest, so that only values that occur are imputed (and none beyond them: where
hardly any high value is seen, high ones come out too low). Indicators by logistic
regression with coefficients drawn from their normal posterior. Categories by nested dichotomies: the commonest level
against the rest, then the next among those left. All regressions have a normal prior on standardised columns (ridge),
which settles separation and collinear columns.

Assumption: missing at random given the columns handed over. Outcomes must not be among them when a design is to be
made from the result; who was treated must be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from models.refusals import Refused
from models.results import BoolArray, FloatArray

RIDGE = 1.0
NEWTON_STEPS = 50
CONVERGED = 1e-6


Starts = dict[tuple[str, float], FloatArray]
"""Where each logistic regression ended last time, by covariate and level: the next one begins there."""


@dataclass(frozen=True)
class Incomplete:
    """A covariate with gaps: (n,) numbers, nan where missing. Categories are codes 0, 1, ... of their levels."""

    name: str
    values: FloatArray
    kind: Literal["number", "indicator", "category"]


def impute(
    incomplete: Sequence[Incomplete], complete: FloatArray, *, rng: Generator, iterations: int = 10, donors: int = 5
) -> tuple[FloatArray, ...]:
    """One completed copy of each covariate, in the order given; observed values stay as they are.

    complete  (n, q) predictors without gaps, such as who was treated
    The order of the rows decides which random number meets which row: hand rows over in an order of their own.

    Raises Refused where a covariate has no observed value, ValueError where an indicator is not 0/1.
    """
    missing = [np.isnan(one.values) for one in incomplete]
    for one, gaps in zip(incomplete, missing, strict=True):
        _refuse(one, gaps, len(complete))
    filled = [_start(one.values, gaps, rng) for one, gaps in zip(incomplete, missing, strict=True)]
    order = sorted(range(len(incomplete)), key=lambda k: (int(missing[k].sum()), k))
    order = [k for k in order if missing[k].any()]
    starts: Starts = {}
    for _ in range(iterations if len(order) > 1 else 1):
        for k in order:
            others = [_columns(incomplete[j].kind, filled[j]) for j in range(len(incomplete)) if j != k]
            predictors = _standardised(np.column_stack([complete, *others]), ~missing[k])
            filled[k] = _draw(incomplete[k], filled[k], missing[k], predictors, donors, rng, starts)
    return tuple(filled)


def _refuse(one: Incomplete, gaps: BoolArray, n: int) -> None:
    if one.values.shape != (n,):
        raise ValueError(f"{one.name} has shape {one.values.shape} where {n} rows are imputed")
    if gaps.all():
        raise Refused(f"{one.name} has no observed value to impute from")
    if one.kind == "indicator" and not np.isin(one.values[~gaps], (0.0, 1.0)).all():
        raise ValueError(f"{one.name} is no indicator: it has values other than 0 and 1")


def _start(values: FloatArray, gaps: BoolArray, rng: Generator) -> FloatArray:
    """Gaps filled with observed values at random."""
    filled = values.copy()
    filled[gaps] = rng.choice(np.sort(values[~gaps]), size=int(gaps.sum()))
    return filled


def _columns(kind: str, values: FloatArray) -> FloatArray:
    """Indicators of each level but the first of a category; others as they are."""
    if kind != "category":
        return values[:, None]
    levels = np.unique(values)[1:]
    return (values[:, None] == levels).astype(np.float64)


def _standardised(matrix: FloatArray, observed: BoolArray) -> FloatArray:
    """Columns that vary among the observed rows, standardised there, after a column of ones."""
    centre, spread = matrix[observed].mean(axis=0), matrix[observed].std(axis=0)
    varies = spread > 1e-10 * np.maximum(np.abs(centre), 1e-300)
    columns = (matrix[:, varies] - centre[varies]) / spread[varies]
    return np.column_stack([np.ones(len(matrix)), columns])


def _draw(
    one: Incomplete,
    filled: FloatArray,
    gaps: BoolArray,
    predictors: FloatArray,
    donors: int,
    rng: Generator,
    starts: Starts,
) -> FloatArray:
    drawn = filled.copy()
    values, seen, predict = one.values[~gaps], predictors[~gaps], predictors[gaps]
    if one.kind == "number":
        drawn[gaps] = _match_means(values, seen, predict, donors, rng)
    elif one.kind == "indicator":
        drawn[gaps] = rng.random(len(predict)) < _risk(values, seen, predict, rng, starts, (one.name, 1.0))
    else:
        drawn[gaps] = _draw_level(values, seen, predict, rng, starts, one.name)
    return drawn


def _match_means(values: FloatArray, seen: FloatArray, predict: FloatArray, donors: int, rng: Generator) -> FloatArray:
    """Predictive mean matching of type 1: observed rows by the estimate, missing ones by a draw of the coefficients."""
    penalty = RIDGE * np.eye(seen.shape[1])
    penalty[0, 0] = 0.0
    inverse = np.linalg.inv(seen.T @ seen + penalty)
    estimate = inverse @ (seen.T @ values)
    residual = values - seen @ estimate
    freedom = max(len(values) - seen.shape[1], 1)
    sd = np.sqrt(float(residual @ residual) / rng.chisquare(freedom))
    drawn = estimate + sd * (np.linalg.cholesky(inverse) @ rng.standard_normal(len(estimate)))
    at, wanted = seen @ estimate, predict @ drawn
    order = np.lexsort((values, at))
    sorted_at = at[order]
    n = min(donors, len(values))
    # The n nearest predictions are a run of the sorted ones: start from the window below and move it up while it helps.
    first = np.clip(np.searchsorted(sorted_at, wanted) - n, 0, len(values) - n)
    for _ in range(n):
        can = first + n < len(values)
        above = sorted_at[np.minimum(first + n, len(values) - 1)]
        first = np.where(can & (above - wanted < wanted - sorted_at[first]), first + 1, first)
    return np.asarray(values[order[first + rng.integers(0, n, len(wanted))]], dtype=np.float64)


def _risk(
    values: FloatArray,
    seen: FloatArray,
    predict: FloatArray,
    rng: Generator,
    starts: Starts,
    place: tuple[str, float],
) -> FloatArray:
    """Probability of 1 by a logistic regression whose coefficients are a draw from their normal posterior."""
    start = starts.get(place)
    if start is None or len(start) != seen.shape[1]:
        start = np.zeros(seen.shape[1])
    coefficients, curvature = _logistic(values, seen, start)
    starts[place] = coefficients
    noise = np.linalg.solve(np.linalg.cholesky(curvature).T, rng.standard_normal(len(coefficients)))
    return np.asarray(expit(predict @ (coefficients + noise)), dtype=np.float64)


def _logistic(values: FloatArray, columns: FloatArray, beta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Posterior mode and curvature; the intercept has a wide prior, so that a constant target settles too."""
    penalty = np.full(columns.shape[1], RIDGE)
    penalty[0] = 1e-2

    def loss(at: FloatArray) -> float:
        linear = columns @ at
        return float(np.logaddexp(0.0, linear).sum() - values @ linear + 0.5 * penalty @ at**2)

    for _ in range(NEWTON_STEPS):
        risk = expit(columns @ beta)
        curvature = (columns * (risk * (1 - risk))[:, None]).T @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, columns.T @ (values - risk) - penalty * beta)
        before = loss(beta)
        for _ in range(30):
            if loss(beta + step) <= before + 1e-12 * abs(before):
                break
            step = step / 2.0
        beta = beta + step
        if np.abs(step).max() < CONVERGED:
            break
    return beta, np.asarray(curvature, dtype=np.float64)


def _draw_level(
    values: FloatArray, seen: FloatArray, predict: FloatArray, rng: Generator, starts: Starts, name: str
) -> FloatArray:
    levels, counts = np.unique(values, return_counts=True)
    levels = levels[np.lexsort((levels, -counts))]
    drawn = np.full(len(predict), levels[-1])
    open_rows, left = np.ones(len(predict), dtype=np.bool_), np.ones(len(values), dtype=np.bool_)
    for level in levels[:-1]:
        is_level = (values[left] == level).astype(np.float64)
        risk = _risk(is_level, seen[left], predict, rng, starts, (name, float(level)))
        takes = open_rows & (rng.random(len(predict)) < risk)
        drawn[takes] = level
        open_rows &= ~takes
        left &= values != level
    return drawn
