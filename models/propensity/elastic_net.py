"""Many covariates → a logistic regression that keeps the few it needs: L1 and elastic-net penalties, cross-validated.

The criterion is R's glmnet's (Friedman, Hastie & Tibshirani 2010, J Stat Softw 33:1): mean log-loss plus
penalty × ((1 - l1_ratio) / 2 × Σ coefficient² + l1_ratio × Σ |coefficient|), columns standardised, intercept free. The
penalty is chosen on a path by the deviance of people left out, as large-scale propensity scores are fitted (Tian,
Schuemie & Suchard 2018, Int J Epidemiol 47:2005).

Solved by Newton's method on the active columns, each step by coordinate descent on their information matrix, until the
conditions of the optimum hold for every column to `OPTIMAL`: exact where glmnet's default stops early.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from models.coordinate_descent import coordinate_descent
from models.refusals import Refused
from models.results import BoolArray, FloatArray, IntArray

OPTIMAL = 1e-10
"""Largest violation of the optimum's conditions, as a derivative of the mean log-loss for one standard deviation."""
OUTER_STEPS = 200
DESCENTS = 100_000
ROWS_AT_ONCE = 8192
N_PENALTIES, SMALLEST_SHARE = 60, 1e-3
PATIENCE = 10  # penalties, a factor of 3.2


@dataclass(frozen=True)
class NetPath:
    """(L,) penalties, falling; (L,) intercepts and (L, p) coefficients of columns standardised by mean and scale."""

    penalties: FloatArray
    intercepts: FloatArray
    coefficients: FloatArray
    mean: FloatArray
    scale: FloatArray

    def linear(self, matrix: FloatArray, place: int) -> FloatArray:
        """(n,) log-odds of rows in the units of the matrix."""
        slopes = self.coefficients[place] / self.scale
        return np.asarray(matrix @ slopes + (self.intercepts[place] - self.mean @ slopes), dtype=np.float64)


@dataclass(frozen=True)
class CrossValidation:
    """(L,) mean deviance a row of people left out and its standard error over folds; `best` has the smallest, `one_se`
    is the largest penalty within one standard error of it."""

    deviance: FloatArray
    error: FloatArray
    best: int
    one_se: int


def penalty_path(matrix: FloatArray, treated: BoolArray, l1_ratio: float) -> FloatArray:
    """(N_PENALTIES,) from the smallest penalty at which every coefficient is 0 down to SMALLEST_SHARE of it."""
    mean, scale = _standards(matrix)
    residual = treated - treated.mean()
    slopes = (residual @ matrix - residual.sum() * mean) / scale / len(matrix)
    largest = float(np.abs(slopes).max(initial=0.0)) / l1_ratio
    if not largest > 0:
        raise Refused("no covariate varies with treatment: an elastic-net propensity score has nothing to choose from")
    return np.geomspace(largest, SMALLEST_SHARE * largest, N_PENALTIES)


def fit_path(matrix: FloatArray, treated: BoolArray, penalties: FloatArray, l1_ratio: float) -> NetPath:
    """The solution at each penalty, each started from the one before. Raises Refused when one is not reached."""
    mean, scale = _standards(matrix)
    found = list(_walk(matrix, treated, mean, scale, penalties, l1_ratio))
    return NetPath(penalties, np.array([each for each, _ in found]), np.array([each for _, each in found]), mean, scale)


def cross_validate(
    matrix: FloatArray,
    treated: BoolArray,
    fold: IntArray,
    penalties: FloatArray,
    l1_ratio: float,
    patience: int | None = None,
) -> CrossValidation:
    """Deviance of each fold under the path fitted to the others, as R's cv.glmnet has it.

    patience  a fold's path ends after so many penalties without a smaller deviance (None: never). The longest stretch
              that all folds have counts; when the best lies at its end, everything is done again without an end
    """
    folds = np.unique(fold)
    deviance, size = np.full((len(folds), len(penalties)), np.nan), np.empty(len(folds))
    for place, number in enumerate(folds):
        out = fold == number
        size[place] = out.sum()
        deviance[place] = _deviance_left_out(matrix, treated, out, penalties, l1_ratio, patience)
    length = int(np.isfinite(deviance).all(axis=0).sum())
    deviance = deviance[:, :length]
    mean = np.average(deviance, axis=0, weights=size)
    error = np.sqrt(np.average((deviance - mean) ** 2, axis=0, weights=size) / (len(folds) - 1))
    best = int(np.argmin(mean))
    if patience is not None and best == length - 1 < len(penalties) - 1:
        return cross_validate(matrix, treated, fold, penalties, l1_ratio)
    one_se = int(np.flatnonzero(mean <= mean[best] + error[best])[0])
    return CrossValidation(mean, error, best, one_se)


def _deviance_left_out(
    matrix: FloatArray, treated: BoolArray, out: BoolArray, penalties: FloatArray, l1_ratio: float, patience: int | None
) -> FloatArray:
    """(L,) mean deviance of the rows `out`; nan from where patience ended."""
    mean, scale = _standards(matrix[~out])
    deviance = np.full(len(penalties), np.nan)
    left_out, is_treated = matrix[out], treated[out]
    for k, (intercept, beta) in enumerate(_walk(matrix[~out], treated[~out], mean, scale, penalties, l1_ratio)):
        slopes = beta / scale
        linear = left_out @ slopes + (intercept - mean @ slopes)
        deviance[k] = 2.0 * (np.logaddexp(0.0, linear).sum() - linear[is_treated].sum()) / len(linear)
        if patience is not None and k - int(np.nanargmin(deviance)) >= patience:
            break
    return deviance


def _walk(
    matrix: FloatArray,
    treated: BoolArray,
    mean: FloatArray,
    scale: FloatArray,
    penalties: FloatArray,
    l1_ratio: float,
) -> Iterator[tuple[float, FloatArray]]:
    columns = np.ascontiguousarray(((matrix - mean) / scale).T)
    target = treated.astype(np.float64)
    intercept, beta = float(np.log(treated.mean() / (1 - treated.mean()))), np.zeros(len(columns))
    for penalty in penalties:
        intercept, beta = _solve(columns, target, intercept, beta, float(penalty), l1_ratio)
        yield intercept, beta


def _standards(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    mean, spread = matrix.mean(axis=0), matrix.std(axis=0)
    varies = spread > 1e-10 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
    return mean, np.where(varies, spread, np.inf)  # a constant column becomes nought and never enters


def _solve(
    columns: FloatArray, target: FloatArray, intercept: float, beta: FloatArray, penalty: float, l1_ratio: float
) -> tuple[float, FloatArray]:
    """columns (p, n): a covariate is a row, so that a few of them are taken without a stride."""
    n = len(target)
    l1, l2 = penalty * l1_ratio, penalty * (1 - l1_ratio)
    active = np.flatnonzero(beta)
    beta = beta.copy()
    for _ in range(OUTER_STEPS):
        intercept, beta[active] = _solve_active(columns[active], target, intercept, beta[active], l1, l2)
        residual = target - expit(intercept + beta[active] @ columns[active])
        slopes = columns @ residual / n - l2 * beta
        enters = (np.abs(slopes) > l1 + OPTIMAL) & (beta == 0)
        if not enters.any():
            return intercept, beta
        active = np.union1d(np.flatnonzero(beta), np.flatnonzero(enters))
    raise Refused("the elastic-net propensity score did not converge; drop nearly identical covariates")


def _solve_active(
    columns: FloatArray, target: FloatArray, intercept: float, beta: FloatArray, l1: float, l2: float
) -> tuple[float, FloatArray]:
    """The optimum over a few columns, all of which may be 0 in the end."""
    n = len(target)
    at = np.concatenate([[intercept], beta])
    l1_of, l2_of = np.full(len(at), l1), np.full(len(at), l2)
    l1_of[0] = l2_of[0] = 0.0
    linear = intercept + beta @ columns
    value = _criterion(linear, target, at, l1_of, l2_of)
    for _ in range(OUTER_STEPS):
        score = expit(linear)
        residual = target - score
        slopes = np.concatenate([[residual.sum()], columns @ residual]) / n - l2_of * at
        if _violation(slopes, at, l1_of) <= OPTIMAL:
            return float(at[0]), at[1:]
        information = _information(columns, score * (1 - score)) / n + np.diag(l2_of)
        step = _descend(information, slopes, at, l1_of) - at
        share, along = 1.0, step[0] + step[1:] @ columns
        for _ in range(40):
            new = _criterion(linear + share * along, target, at + share * step, l1_of, l2_of)
            if new <= value + 1e-14 * abs(value):
                break
            share /= 2.0
        at, value = at + share * step, new
        linear = at[0] + at[1:] @ columns
    raise Refused("the elastic-net propensity score did not converge; drop nearly identical covariates")


def _criterion(linear: FloatArray, target: FloatArray, at: FloatArray, l1: FloatArray, l2: FloatArray) -> float:
    loss = np.logaddexp(0.0, linear).mean() - (target @ linear) / len(target)
    return float(loss + l1 @ np.abs(at) + 0.5 * (l2 @ (at * at)))


def _violation(slopes: FloatArray, at: FloatArray, l1: FloatArray) -> float:
    """How far slopes are from the subdifferential of the L1 penalty."""
    where_zero = np.maximum(np.abs(slopes) - l1, 0.0)
    return float(np.where(at == 0, where_zero, np.abs(slopes - l1 * np.sign(at))).max())


def _information(columns: FloatArray, weights: FloatArray) -> FloatArray:
    total = np.zeros((len(columns) + 1, len(columns) + 1))
    root = np.sqrt(weights)
    for start in range(0, len(weights), ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        block = np.vstack([root[here], root[here] * columns[:, here]])
        total += block @ block.T
    return total


def _descend(information: FloatArray, slopes: FloatArray, at: FloatArray, l1: FloatArray) -> FloatArray:
    found, converged = coordinate_descent(information, slopes, at, l1, 1e-3 * OPTIMAL, DESCENTS)
    if not converged:
        raise Refused("the elastic-net propensity score did not converge; drop nearly identical covariates")
    return np.asarray(found)
