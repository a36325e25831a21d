"""Turns covariates into cross-fitted predictions of treatment and outcome, for the doubly robust methods.

Choice made: L2-penalised logistic and linear regression on standardised columns with an unpenalised intercept, solved
to machine precision (Newton; closed form), because default tolerances fail for a rare treatment and because a
regression is what a few hundred treated can carry. Nobody is predicted by a model that saw a row of his own cluster
(Chernozhukov et al. 2018, Econom J 21:C1).

Predictions out of sample are then recalibrated (van der Laan, Luedtke & Carone 2024, arXiv:2411.02771; Ballinari &
Bearth 2024, arXiv:2409.04874): with 40 treated a score of the other folds now and then gives a person odds of 50 who
are worth 2, and one such person outweighs all others. In simulated worlds of 40 treated among 1,500 with skewed
covariates this took the root mean squared error from 0.139 to 0.084.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.special import expit, logit

from models.contrasts import Kind
from models.influence import Clusters
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray

NEWTON_STEPS = 100
CONVERGED = 1e-10
"""Largest Newton step, in log-odds per standard deviation, of a finished fit."""
SMALL_STEP = 1e-3
INFORMATION = 1e-10
"""Directions with less than this share of the largest information are collinear (or, in a logistic fit, separated)."""
SURE = 1e-9
"""Predicted probabilities stay this far from 0 and 1."""
RECALIBRATION_PENALTY = 1.0

Predictor = Callable[[FloatArray], FloatArray]


def regression_columns(baseline: Baseline, rows: IntArray) -> FloatArray:
    """(n_rows, q) what the nuisance models see: covariates standardised over the sample, then one 0/1 indicator for
    each exact group where there are several (matched or weighted exactly, the sample's groups must not be forgotten
    by the regression). Indicators stay 0/1, so that the penalty acts as a prior of standard deviation
    1/sqrt(penalty) on a group's own log-odds: groups of a handful cannot run away."""
    matrix = baseline.matrix[rows]
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    # A constant column has a spread of rounding size only; it must not be blown up into a covariate.
    varies = spread > 1e-10 * np.abs(centre)
    columns = (matrix[:, varies] - centre[varies]) / spread[varies]
    groups = np.unique(baseline.exact_group[rows])
    if groups.size == 1:
        return columns
    return np.column_stack([columns, baseline.exact_group[rows, None] == groups])


def rows_in_order(outcome: FloatArray, baseline: Baseline, design: Design) -> IntArray:
    """Row numbers of the designed sample (weight > 0) in an order that does not depend on the order they came in."""
    rows = np.flatnonzero(design.weights > 0)
    rows = rows[np.argsort(baseline.person[rows], kind="stable")]
    person = baseline.person[rows]
    same_as_next = person[1:] == person[:-1]
    # Only among the rows of one person does anything else decide; a sort by every column costs seconds at a million.
    tied = np.flatnonzero(np.append(same_as_next, False) | np.append(False, same_as_next))
    keys = (outcome, *baseline.matrix.T[::-1], design.treated, baseline.index_day, baseline.person)
    rows[tied] = rows[tied][np.lexsort([key[rows[tied]] for key in keys])]
    return rows.astype(np.int64)


def assign_folds(clusters: Clusters, rows: IntArray, treated: BoolArray, folds: int, rng: Generator) -> IntArray:
    """(n_rows,) fold of each of the `rows`; clusters stay whole, those with a treated row are dealt out evenly.

    Raises Refused when there are fewer clusters of a kind than folds.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2, not {folds}")
    codes, member = np.unique(clusters.code[rows], return_inverse=True)
    has_treated = np.bincount(member, weights=treated[rows]) > 0
    has_control = np.bincount(member, weights=~treated[rows]) > 0
    if min(has_treated.sum(), has_control.sum()) < folds:
        raise Refused(
            f"{folds} folds need at least {folds} independent clusters with a treated row and as many with a control"
        )
    fold = np.empty(codes.size, dtype=np.int64)
    start = 0
    for stratum in (has_treated, ~has_treated):
        shuffled = rng.permutation(np.flatnonzero(stratum))
        fold[shuffled] = (start + np.arange(shuffled.size)) % folds
        start += shuffled.size
    return fold[member]


def cross_predict(
    matrix: FloatArray, target: FloatArray, learn_from: BoolArray, fold: IntArray, kind: Kind, l2_penalty: float
) -> FloatArray:
    """(n,) prediction of `target` for each row by a model fitted on the `learn_from` rows of the other folds."""
    predicted = np.empty(len(target))
    for number in np.unique(fold):
        here = fold == number
        learn = learn_from & ~here
        if not learn.any():
            raise Refused("a fold has no rows left to learn from: use fewer folds")
        predicted[here] = fit_ridge(matrix[learn], target[learn], kind, l2_penalty)(matrix[here])
    return predicted


def fit_ridge(matrix: FloatArray, target: FloatArray, kind: Kind, l2_penalty: float) -> Predictor:
    """Penalised regression: logistic for "binary" (penalty / 2 · |b|² beside the log-likelihood), linear otherwise
    (penalty / 2 · |b|² beside half the sum of squares). A target that never varies is predicted as it is."""
    if not l2_penalty > 0:
        raise ValueError(f"l2_penalty must be positive, not {l2_penalty}")
    if np.all(target == target[0]):
        constant = float(target[0])
        return lambda rows: np.full(len(rows), constant)
    columns = np.column_stack([np.ones(len(matrix)), matrix])
    coefficients = fit_coefficients(columns, target, np.ones(len(target)), kind, l2_penalty)
    if kind == "binary":
        return lambda rows: np.asarray(expit(coefficients[0] + rows @ coefficients[1:]))
    return lambda rows: np.asarray(coefficients[0] + rows @ coefficients[1:])


def recalibrate(predicted: FloatArray, target: FloatArray, learn_from: BoolArray, kind: Kind) -> FloatArray:
    """(n,) out-of-sample predictions, drawn together by as much as they promised too much.

    The target is regressed on its own cross-fitted prediction over the `learn_from` rows: linear, or logistic on the
    log-odds with a prior of standard deviation 1 about the slope 1. A slope below 0 becomes 0: the mean for all.
    """
    y = target[learn_from]
    if np.all(y == y[0]):
        return predicted
    if kind == "continuous":
        centred = predicted[learn_from] - predicted[learn_from].mean()
        spread = float(centred @ centred)
        slope = max(float(centred @ y) / spread, 0.0) if spread > 0 else 0.0
        return np.asarray(y.mean() + slope * (predicted - predicted[learn_from].mean()), dtype=np.float64)
    linear = logit(np.clip(predicted, SURE, 1 - SURE))
    centred = linear - linear[learn_from].mean()
    columns = np.column_stack([np.ones_like(linear), centred])
    shift = fit_coefficients(
        columns[learn_from], y, np.ones(len(y)), "binary", RECALIBRATION_PENALTY, offset=linear[learn_from]
    )
    if shift[1] < -1:
        return np.full_like(predicted, y.mean())
    return np.asarray(expit(linear + columns @ shift), dtype=np.float64)


def fit_coefficients(
    columns: FloatArray,
    target: FloatArray,
    weights: FloatArray,
    kind: Kind,
    l2_penalty: float,
    offset: FloatArray | None = None,
) -> FloatArray:
    """(q,) coefficients of a weighted penalised regression; the first of the (n, q) columns is the intercept.

    l2_penalty 0 is allowed: collinear columns then share a coefficient (the smallest solution).
    offset      (n,) what is added to the linear predictor of a logistic regression
    Raises Refused when a logistic regression without a penalty does not exist (separation).
    """
    penalty = np.full(columns.shape[1], l2_penalty)
    penalty[0] = 0.0
    if kind == "binary":
        return _logistic(columns, target, weights, penalty, offset)
    gram = columns.T @ (columns * weights[:, None]) + np.diag(penalty)
    return solve_symmetric(gram, columns.T @ (weights * target))


def solve_symmetric(gram: FloatArray, right: FloatArray) -> FloatArray:
    """The solution of a positive semidefinite system; the smallest one where directions hold no information."""
    try:
        lower = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(gram)
    pivots = np.diag(lower) ** 2
    if pivots.min() > INFORMATION * np.diag(gram).max():
        return np.asarray(np.linalg.solve(gram, right), dtype=np.float64)
    return np.asarray(np.linalg.pinv(gram, rcond=INFORMATION, hermitian=True) @ right, dtype=np.float64)


def _logistic(
    columns: FloatArray, target: FloatArray, weights: FloatArray, penalty: FloatArray, offset: FloatArray | None
) -> FloatArray:
    given = np.zeros(len(target)) if offset is None else offset
    coefficients = np.zeros(columns.shape[1])
    if offset is None:
        mean = float(weights @ target / weights.sum())
        coefficients[0] = np.log(mean / (1 - mean))

    def loss(at: FloatArray) -> float:
        linear = given + columns @ at
        return float(weights @ (np.logaddexp(0, linear) - target * linear) + 0.5 * penalty @ at**2)

    for _ in range(NEWTON_STEPS):
        risk = expit(given + columns @ coefficients)
        gradient = columns.T @ (weights * (target - risk)) - penalty * coefficients
        curvature = (columns * (weights * risk * (1 - risk))[:, None]).T @ columns + np.diag(penalty)
        step = solve_symmetric(curvature, gradient)
        coefficients = coefficients + _shortened(step, loss, coefficients)
        if np.abs(step).max() < CONVERGED:
            break
    else:
        _refuse_separation(penalty)
    if not penalty.any() and _rank(curvature) < _rank((columns * weights[:, None]).T @ columns):
        _refuse_separation(penalty)
    return coefficients


def _refuse_separation(penalty: FloatArray) -> None:
    assert not penalty.any(), "a penalised logistic regression must converge"
    raise Refused(
        "a regression of the outcome cannot be fitted without a penalty: some covariates foretell it without fail; set "
        "l2_penalty above 0 or drop those covariates"
    )


def _rank(symmetric: FloatArray) -> int:
    eigenvalues = np.linalg.eigvalsh(symmetric)
    return int((eigenvalues > INFORMATION * eigenvalues[-1]).sum())


def _shortened(step: FloatArray, loss: Callable[[FloatArray], float], coefficients: FloatArray) -> FloatArray:
    """The Newton step, halved until the penalised log-likelihood does not fall; a small one never overshoots."""
    if np.abs(step).max() < SMALL_STEP:
        return step
    before = loss(coefficients)
    for _ in range(30):
        if loss(coefficients + step) <= before + 1e-12 * abs(before):
            break
        step = step / 2
    return step
