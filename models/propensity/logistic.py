"""Covariates and who was treated → an L2-regularised logistic regression on standardised columns, converged.

A rare treatment (300 in 100,000) defeats the usual stopping rules: lbfgs at its default tolerance leaves the scores'
sum 3 % away from the number treated. So this is Newton's method to the end, and the sum is checked every time. It
starts from a fit to the treated and a sample of the others, whose intercept is corrected for the sampling (Prentice &
Pyke 1979, Biometrika 66:403): where treatment is rare nearly all information lies there, so that three or four passes
over all rows are enough. The last passes keep the information matrix and renew the gradient only.
"""

from dataclasses import dataclass

import numpy as np

from models.propensity.blocks import Moments, Strips, Sums
from models.refusals import Refused
from models.results import BoolArray, FloatArray

PASSES = 100
SMALLEST_STEP = 1e-10
"""In standardised coefficients: a predicted step below it is not taken."""
KEEP_INFORMATION = 1e-3  # after a step as small as this the information matrix hardly changes any more
INVERTIBLE = 1e-12  # eigenvalues below this share of the largest are taken as zero (duplicate columns)
IDENTIFIED = 1e-8  # a direction in which the covariates really vary has a larger share than this
WORTH_IT = 0.2  # a sample of more than this share of the rows saves nothing
LEAST_SAMPLE, LARGEST_SAMPLE, OTHERS_FOR_ONE = 20_000, 100_000, 10


@dataclass(frozen=True)
class LogisticFit:
    """intercept and (p,) coefficients of standardised columns, their moments, (n,) log-odds of every row, and the sum
    of the scores over the rows of the fit; n_passes over all rows were needed."""

    intercept: float
    coefficients: FloatArray
    moments: Moments
    linear: FloatArray
    total_score: float
    n_passes: int


def fit_logistic(matrix: FloatArray, treated: BoolArray, rows: BoolArray, l2_penalty: float) -> LogisticFit:
    """Fit to the `rows`, predict for all. The penalty is l2_penalty / 2 × Σ coefficient², the intercept free.

    matrix (n, p) of 32- or 64-bit numbers, in memory or mapped; beyond it the fit takes two numbers a row, a few blocks
    of a thousand rows and a sample of at most 200,000 rows. Constant columns get coefficient 0, duplicates share one.

    Raises Refused when an unpenalised fit does not exist because the covariates separate treated from untreated
    (Albert & Anderson 1984, Biometrika 71:1), or when the fit does not converge.
    """
    strips = Strips(matrix, rows)
    moments = strips.moments(with_cross_product=l2_penalty == 0)
    start = _start(matrix, treated, rows, moments, l2_penalty)
    linear = np.empty(len(matrix))
    beta, sums, information, n_passes = _newton(strips, treated, moments, l2_penalty, start, linear)
    # With separated data the likelihood rises for ever and the information in that direction fades away.
    if l2_penalty == 0 and moments.cross_product is not None:
        varies = _rank(moments.cross_product / np.outer(moments.scale, moments.scale), IDENTIFIED) + 1
        if _rank(information, INVERTIBLE) < varies:
            raise Refused(SEPARATED)
    return LogisticFit(float(beta[0]), beta[1:], moments, linear, sums.total_score, n_passes)


SEPARATED = (
    "the propensity score cannot be fitted without a penalty: some covariates separate treated from untreated rows; "
    "set l2_penalty above 0 or drop those covariates"
)


def _newton(
    strips: Strips, treated: BoolArray, moments: Moments, l2_penalty: float, beta: FloatArray, linear: FloatArray
) -> tuple[FloatArray, Sums, FloatArray, int]:
    """(coefficients, sums there, information last computed, passes); `linear` ends as the predictors at the answer."""
    unit = np.concatenate([[1.0], moments.scale])
    penalty = np.full(len(beta), l2_penalty)
    penalty[0] = 0.0
    inverse: FloatArray = np.zeros(0)
    information: FloatArray = np.zeros(0)
    step, value, size = np.zeros(len(beta)), np.inf, np.inf
    for n_passes in range(1, PASSES + 1):
        renew = size > KEEP_INFORMATION
        sums = strips.sums(treated, beta[0], beta[1:] / moments.scale, moments.mean, linear, renew)
        new_value = sums.loss + 0.5 * float((penalty * beta * beta).sum())
        if new_value > value + 1e-11 * abs(value) and size > KEEP_INFORMATION:
            step = step / 2.0  # too far: half the way back
            beta = beta - step
            continue
        value = new_value
        if sums.information is not None:
            information = sums.information / np.outer(unit, unit) + np.diag(penalty)
            inverse = np.asarray(np.linalg.pinv(information, rcond=INVERTIBLE, hermitian=True), dtype=np.float64)
        step = inverse @ (sums.gradient / unit - penalty * beta)
        size = float(np.abs(step).max())
        if size < SMALLEST_STEP:
            return beta, sums, information, n_passes
        beta = beta + step
    raise Refused(SEPARATED if l2_penalty == 0 else "the propensity score did not converge; raise l2_penalty")


def _start(matrix: FloatArray, treated: BoolArray, rows: BoolArray, moments: Moments, l2_penalty: float) -> FloatArray:
    """Coefficients from the treated and a sample of the others; 0 and the arms' shares where nobody is left out."""
    beta = np.zeros(matrix.shape[1] + 1)
    arms = [np.flatnonzero(rows & arm) for arm in (treated, ~treated)]
    beta[0] = np.log(len(arms[0]) / len(arms[1]))
    n_rare = min(len(arm) for arm in arms)
    wanted = min(max(LEAST_SAMPLE, OTHERS_FOR_ONE * n_rare), LARGEST_SAMPLE)
    strides = [max(1, len(arm) // wanted) for arm in arms]
    if sum(len(arm) // stride for arm, stride in zip(arms, strides, strict=True)) > WORTH_IT * sum(map(len, arms)):
        return beta
    taken = np.sort(np.concatenate([arm[::stride] for arm, stride in zip(arms, strides, strict=True)]))
    sample, target = np.asarray(matrix[taken], dtype=np.float64), treated[taken]
    offset = np.log(strides[1] / strides[0])
    beta[0] += offset
    try:
        beta, *_ = _newton(
            Strips(sample, np.ones(len(taken), dtype=np.bool_)),
            target,
            moments,
            max(l2_penalty, 1e-3),  # the sample may be separated where all rows are not
            beta,
            np.empty(len(taken)),
        )
    except Refused:
        beta = np.zeros_like(beta)
        beta[0] = np.log(len(arms[0]) / len(arms[1])) + offset
    beta[0] -= offset
    return beta


def _rank(symmetric: FloatArray, share: float) -> int:
    eigenvalues = np.linalg.eigvalsh(symmetric)
    return int((eigenvalues > share * eigenvalues[-1]).sum())
