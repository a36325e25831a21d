"""Covariates → the logistic score that fits best and balances best at once: the over-identified balancing score.

Choice made: two-step GMM of the likelihood's and the balance equations together (Imai & Ratkovic 2014, JRSS B 76:243,
section 2.3), as their package CBPS has it: the moments' covariance is that given the covariates, at the maximum of the
likelihood, and stays; from there the search descends. With twice as many equations as coefficients none holds
exactly; whether they can all hold is tested (Hansen's J): a small p-value says that no logistic score with these
covariates both fits and balances. Several local minima are possible; the one below the likelihood's maximum is taken.

The balance equations of the ATT, Σ x (treated - e) / (1 - e) = 0 (ATC: / e), are taken less those of the likelihood,
Σ x (treated - e) odds = 0, which changes neither estimate nor test: where few are treated 1 - e is nearly 1, and as
they stand the two blocks would be the same equations to as many digits as a computer has.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import chi2

from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray
from models.score_equations import ScoreModel
from models.weighting.calibration import balanced_columns, pseudo_inverse

STEPS = 100
HALVINGS = 40
UNSEEN, CONVERGED = 1e-10, 1e-22
"""Fall of the distance that a further step promises: below the first the distance's own rounding would hide it, and the
step is taken all the same; below the second the search is finished."""
SEPARATED = 30.0
"""Log-odds beyond which the likelihood has no maximum."""


@dataclass(frozen=True)
class JointScore:
    """linear (n,) log-odds, nan for rows not used; the J statistic with its degrees of freedom and p-value (0 and 1
    where the covariates have a cell for each kind of people: the likelihood's score then balances exactly)."""

    linear: FloatArray
    statistic: float
    freedom: int
    p_value: float
    n_steps: int


def joint_score(baseline: Baseline, treated: BoolArray, usable: BoolArray, estimand: Estimand) -> JointScore:
    """Raises Refused where the covariates separate the arms or the search does not end."""
    matrix = moments_matrix(baseline, usable)[usable]
    arm = treated[usable]
    start = _most_likely(matrix, arm)
    precision, n_moments = _precision(matrix, matrix @ start, estimand)

    beta, value, n_steps = _descend(matrix, arm, start, precision, estimand)
    freedom = n_moments - len(start)
    statistic = len(arm) * value
    linear = np.full(len(treated), np.nan)
    linear[usable] = matrix @ beta
    p_value = float(chi2.sf(statistic, freedom)) if freedom > 0 else 1.0
    return JointScore(linear, statistic, freedom, p_value, n_steps)


def _descend(
    matrix: FloatArray, arm: BoolArray, start: FloatArray, precision: FloatArray, estimand: Estimand
) -> tuple[FloatArray, float, int]:
    """(coefficients, distance, steps) by Newton's method from the start, in directions in which the distance is concave
    by Gauss and Newton's; each step is halved until the distance falls."""
    beta = start
    moments, slope = _moments(matrix, arm, beta, estimand)
    for n_steps in range(STEPS):
        pulled = precision @ moments
        value, pull = float(moments @ pulled), slope.T @ pulled
        outer = slope.T @ precision @ slope
        curvature = outer + _second(matrix, arm, beta, estimand, pulled)
        if np.linalg.eigvalsh(curvature)[0] <= 0:
            curvature = outer
        step = -np.linalg.solve(curvature, pull)
        promise = -float(step @ pull)
        if promise <= CONVERGED:
            return beta, value, n_steps
        for _ in range(HALVINGS):
            ahead = beta + step
            moments, slope = _moments(matrix, arm, ahead, estimand)
            if promise < UNSEEN or float(moments @ precision @ moments) < value:
                break
            step = step / 2
        beta = ahead
    raise Refused("the score that fits and balances at once was not found: balance fewer covariates")


def _second(
    matrix: FloatArray, treated: BoolArray, beta: FloatArray, estimand: Estimand, pulled: FloatArray
) -> FloatArray:
    """(q, q) second derivatives of the moments, summed with `pulled` (2q,)."""
    linear = matrix @ beta
    score, (by_odds, slope, curve) = expit(linear), _balance(linear, estimand)
    variance = score * (1 - score)
    of_fit = -variance * (1 - 2 * score)
    of_balance = of_fit * by_odds - 2 * variance * slope + (treated - score) * curve
    size = matrix.shape[1]
    by = (matrix @ pulled[:size]) * of_fit + (matrix @ pulled[size:]) * of_balance
    return np.asarray(_cross(matrix, by) / len(treated))


def moments_matrix(baseline: Baseline, usable: BoolArray) -> FloatArray:
    """(n, q) indicators of the exact groups and standardised columns; columns that others make up are left out."""
    columns, _ = balanced_columns(baseline, usable, "means")
    groups = np.unique(baseline.exact_group[usable])
    matrix = np.column_stack([baseline.exact_group[:, None] == groups, columns]).astype(np.float64)
    gram = matrix[usable].T @ matrix[usable]
    kept: list[int] = []
    for column in range(matrix.shape[1]):
        others = gram[np.ix_(kept, kept)]
        along = np.linalg.solve(others, gram[kept, column]) if kept else np.zeros(0)
        if gram[column, column] - along @ gram[kept, column] > 1e-9 * gram[column, column]:
            kept.append(column)
    return matrix[:, kept]


def joint_equations(baseline: Baseline, design: Design, usable: BoolArray, slope: FloatArray) -> ScoreModel:
    """What each row does to the coefficients by way of both blocks of moments; `slope` as ScoreModel has it.

    The covariance the moments were weighed with is taken at the score found, which differs from that at the maximum of
    the likelihood by terms that vanish with the moments."""
    matrix, arm = moments_matrix(baseline, usable), design.treated
    linear = np.where(usable, np.log(design.score) - np.log1p(-design.score), 0.0)
    used, mine = matrix[usable], arm[usable]
    beta: FloatArray = np.linalg.lstsq(used, linear[usable], rcond=None)[0].astype(np.float64)
    precision, _ = _precision(used, linear[usable], design.estimand)
    _, derivative = _moments(used, mine, beta, design.estimand)
    along = np.linalg.solve(derivative.T @ precision @ derivative, derivative.T @ precision)
    residual = arm - expit(linear)
    parts = [matrix * one[:, None] for one in (residual, residual * _balance(linear, design.estimand)[0])]
    moved = -(np.hstack(parts) * usable[:, None]) @ along.T / int(usable.sum())
    return ScoreModel(
        matrix * usable[:, None],
        usable.astype(np.float64),
        np.zeros((matrix.shape[1], matrix.shape[1])),
        np.where(usable, slope, 0.0),
        on_coefficients=np.asarray(moved, dtype=np.float64),
    )


def _balance(linear: FloatArray, estimand: Estimand) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(n,) what treated - score is multiplied by in the balance equations, with its first two derivatives."""
    odds, against = np.exp(linear), np.exp(-linear)
    if estimand == "ATT":
        return odds, odds, odds
    if estimand == "ATC":
        return against, -against, against
    return 2 + odds + against, odds - against, odds + against


def _moments(
    matrix: FloatArray, treated: BoolArray, beta: FloatArray, estimand: Estimand
) -> tuple[FloatArray, FloatArray]:
    """(2q,) means of the moments and (2q, q) their derivatives."""
    linear = matrix @ beta
    score, (by_odds, slope, _) = expit(linear), _balance(linear, estimand)
    residual, variance = treated - score, score * (1 - score)
    means = np.concatenate([matrix.T @ residual, matrix.T @ (residual * by_odds)])
    derivative = np.concatenate([_cross(matrix, -variance), _cross(matrix, residual * slope - variance * by_odds)])
    return means / len(treated), derivative / len(treated)


def _precision(matrix: FloatArray, linear: FloatArray, estimand: Estimand) -> tuple[FloatArray, int]:
    """(2q, 2q) inverse of the moments' covariance given the covariates, and how many of the moments are not made up by
    others, both judged with every moment in units of its own spread."""
    score, by_odds = expit(linear), _balance(linear, estimand)[0]
    variance = score * (1 - score)
    across = _cross(matrix, variance * by_odds)
    whole = np.block([[_cross(matrix, variance), across], [across, _cross(matrix, variance * by_odds**2)]]) / len(
        linear
    )
    spread = np.sqrt(np.diag(whole))
    inverse = pseudo_inverse(whole / np.outer(spread, spread))
    return inverse / np.outer(spread, spread), int(np.linalg.matrix_rank(inverse, hermitian=True))


def _cross(matrix: FloatArray, by: FloatArray) -> FloatArray:
    return np.asarray(matrix.T @ (matrix * by[:, None]), dtype=np.float64)


def _most_likely(matrix: FloatArray, treated: BoolArray) -> FloatArray:
    """Newton's method for the logistic likelihood."""
    beta = np.zeros(matrix.shape[1])
    for _ in range(STEPS):
        score = expit(matrix @ beta)
        information = _cross(matrix, score * (1 - score))
        step = np.linalg.lstsq(information, matrix.T @ (treated - score), rcond=None)[0]
        beta = beta + step
        if np.abs(matrix @ beta).max() > SEPARATED:
            break
        if np.abs(matrix @ step).max() < 1e-10:
            return np.asarray(beta)
    raise Refused("the covariates separate the arms: the likelihood of the score has no maximum")
