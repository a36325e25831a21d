"""Covariates → the logistic score that fits best and balances best at once: the over-identified balancing score.

Choice made: two-step GMM of the likelihood's and the balance equations together (Imai & Ratkovic 2014, JRSS B 76:243,
section 2.3), as their package CBPS has it: the moments' covariance is that given the covariates, at the maximum of the
likelihood, and stays; from there the search descends. With twice as many equations as coefficients none holds
exactly; whether they can all hold is tested (Hansen's J): a small p-value says that no logistic score with these
covariates both fits and balances. Several local minima are possible; the one below the likelihood's maximum is taken.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag
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
    """linear (n,) log-odds, nan for rows not used; the J statistic with its degrees of freedom and p-value."""

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
    precision = pseudo_inverse(_covariance(matrix, matrix @ start, arm, estimand))

    beta, value, n_steps = _descend(matrix, arm, start, precision, estimand)
    freedom = int(np.linalg.matrix_rank(precision, hermitian=True)) - len(start)
    statistic = len(arm) * value
    linear = np.full(len(treated), np.nan)
    linear[usable] = matrix @ beta
    return JointScore(linear, statistic, freedom, float(chi2.sf(statistic, freedom)), n_steps)


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
    linear, share = matrix @ beta, float(treated.mean())
    score, odds = expit(linear), np.exp(linear)
    of_balance = {
        "ATT": np.where(treated, 0.0, -odds) / share,
        "ATC": np.where(treated, 1 / odds, 0.0) / (1 - share),
        "ATE": np.where(treated, 1 / odds, -odds),
    }[estimand]
    of_fit = -score * (1 - score) * (1 - 2 * score)
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
    precision = pseudo_inverse(_covariance(used, linear[usable], mine, design.estimand))
    _, derivative = _moments(used, mine, beta, design.estimand)
    along = np.linalg.solve(derivative.T @ precision @ derivative, derivative.T @ precision)
    parts = [matrix * residual[:, None] for residual in _residuals(linear, arm, design.estimand, float(mine.mean()))]
    moved = -(np.hstack(parts) * usable[:, None]) @ along.T / int(usable.sum())
    return ScoreModel(
        matrix * usable[:, None],
        usable.astype(np.float64),
        np.zeros((matrix.shape[1], matrix.shape[1])),
        np.where(usable, slope, 0.0),
        on_coefficients=np.asarray(moved, dtype=np.float64),
    )


def _residuals(
    linear: FloatArray, treated: BoolArray, estimand: Estimand, share: float
) -> tuple[FloatArray, FloatArray]:
    """(n,) what a row adds to the likelihood's equations and to those of balance, for each of its columns."""
    score, odds = expit(linear), np.exp(linear)
    balance = {
        "ATT": np.where(treated, 1.0, -odds) / share,
        "ATC": np.where(treated, 1 / odds, -1.0) / (1 - share),
        "ATE": np.where(treated, 1 + 1 / odds, -(1 + odds)),
    }[estimand]
    return treated - score, balance


def _moments(
    matrix: FloatArray, treated: BoolArray, beta: FloatArray, estimand: Estimand
) -> tuple[FloatArray, FloatArray]:
    """(2q,) means of the moments and (2q, q) their derivatives."""
    linear, share = matrix @ beta, float(treated.mean())
    score, odds = expit(linear), np.exp(linear)
    slope = {
        "ATT": np.where(treated, 0.0, -odds) / share,
        "ATC": np.where(treated, -1 / odds, 0.0) / (1 - share),
        "ATE": np.where(treated, -1 / odds, -odds),
    }[estimand]
    fit, balance = _residuals(linear, treated, estimand, share)
    means = np.concatenate([matrix.T @ fit, matrix.T @ balance]) / len(treated)
    derivative = np.concatenate([-_cross(matrix, score * (1 - score)), _cross(matrix, slope)]) / len(treated)
    return means, derivative


def _covariance(matrix: FloatArray, linear: FloatArray, treated: BoolArray, estimand: Estimand) -> FloatArray:
    """(2q, 2q) covariance of the moments given the covariates."""
    score, odds, share = expit(linear), np.exp(linear), float(treated.mean())
    variance = score * (1 - score)
    together, balance = {
        "ATT": (score / share, odds / share**2),
        "ATC": ((1 - score) / (1 - share), 1 / odds / (1 - share) ** 2),
        "ATE": (np.ones_like(score), 1 / variance),
    }[estimand]
    across = _cross(matrix, together)
    whole = block_diag(_cross(matrix, variance), _cross(matrix, balance))
    size = matrix.shape[1]
    whole[:size, size:] = whole[size:, :size] = across
    return np.asarray(whole / len(treated), dtype=np.float64)


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
