"""Baseline covariates and who was treated → the probability of being treated, and its log-odds.

L2-regularised logistic regression on standardised columns, the intercept never penalised. A rare treatment (300 in
100,000) defeats the usual stopping rules: lbfgs at its default tolerance leaves the scores' sum 3 % away from the
number treated. So lbfgs only starts the fit, Newton's method finishes it, and the sum is checked every time.

The fit uses the rows that can take part in a comparison at all (`comparable_rows`); every row gets a score.

Sources: Rosenbaum & Rubin 1983 (Biometrika 70:41); Austin & Stuart 2015 (Stat Med 34:3661) on the log-odds.
"""

import warnings

import numpy as np
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from models.propensity.rows import comparable_rows
from models.results import Baseline, BoolArray, FloatArray, Propensity

LARGEST_CALIBRATION_GAP = 1e-6
NEWTON_STEPS = 40
SMALLEST_STEP = 1e-9  # in standardised coefficients: Newton's next step would be its square, below rounding error
INVERTIBLE = 1e-12  # eigenvalues below this share of the largest are taken as zero (duplicate columns)
IDENTIFIED = 1e-8  # a direction in which the covariates really vary has a larger share than this


def fit_propensity(baseline: Baseline, treated: BoolArray, *, l2_penalty: float = 1.0) -> Propensity:
    """Fit the propensity score.

    l2_penalty is added as l2_penalty / 2 × Σ coefficient² (standardised columns) to the summed log-loss, scikit-learn's
    1 / C; 0 gives the maximum likelihood estimate, R's glm. Constant columns get coefficient 0, duplicates share one.
    `linear` is standardised columns × coefficients + intercept; `score` is its inverse logit; the sum of the scores
    over the comparable rows equals the number treated among them, which `calibration_gap` confirms.
    Outside those rows the score is an extrapolation.

    Raises ValueError for impossible input, when no row is comparable, and when an unpenalised fit does not exist
    because the covariates separate treated from untreated (Albert & Anderson 1984, Biometrika 71:1).
    """
    _refuse_bad_input(baseline, treated, l2_penalty)
    fitted_on = comparable_rows(baseline, treated)
    if not fitted_on.any():
        raise ValueError("no exact group holds both treated and untreated rows, so no score can be fitted")
    target = treated[fitted_on]
    model = _start(baseline.matrix[fitted_on], target, l2_penalty)
    scaler, logistic = model["scale"], model["logistic"]
    columns = np.asarray(scaler.transform(baseline.matrix), dtype=np.float64)
    intercept, coefficients = _finish_with_newton(
        columns[fitted_on], target, float(logistic.intercept_[0]), logistic.coef_[0], l2_penalty
    )
    logistic.intercept_, logistic.coef_ = np.array([intercept]), coefficients[None, :]
    linear = columns @ coefficients + intercept
    score = expit(linear)
    gap = abs(float(score[fitted_on].sum()) / float(target.sum()) - 1.0)
    assert gap <= LARGEST_CALIBRATION_GAP, f"the propensity scores sum to {gap:.1e} away from the number treated"
    return Propensity(score=score, linear=linear, model=model, calibration_gap=gap)


def l2_penalty_of(propensity: Propensity) -> float | None:
    """The penalty a score was fitted with; None for scores that did not come from `fit_propensity`."""
    return None if propensity.model is None else 1.0 / float(propensity.model["logistic"].C)


def _refuse_bad_input(baseline: Baseline, treated: BoolArray, l2_penalty: float) -> None:
    if treated.dtype != np.bool_ or treated.shape != (len(baseline.matrix),):
        raise ValueError("treated must be boolean, one value for each row of the baseline matrix")
    if not treated.any() or treated.all():
        raise ValueError("a propensity score needs treated and untreated rows")
    if not np.isfinite(l2_penalty) or l2_penalty < 0:
        raise ValueError(f"l2_penalty must be a finite number of at least 0, not {l2_penalty}")
    finite = np.asarray(np.isfinite(baseline.matrix).all(axis=0))
    if not finite.all():
        names = ", ".join(name for name, is_finite in zip(baseline.columns, finite, strict=True) if not is_finite)
        raise ValueError(f"missing or infinite values in baseline columns: {names}")


def _start(matrix: FloatArray, target: BoolArray, l2_penalty: float) -> Pipeline:
    inverse_penalty = np.inf if l2_penalty == 0 else 1.0 / l2_penalty
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("logistic", LogisticRegression(C=inverse_penalty, solver="lbfgs", tol=1e-6, max_iter=1_000)),
        ]
    )
    with warnings.catch_warnings():
        # Where lbfgs gives up Newton goes on, and it judges convergence more strictly.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(matrix, target)
    return model


def _finish_with_newton(
    columns: FloatArray, target: BoolArray, intercept: float, coefficients: FloatArray, l2_penalty: float
) -> tuple[float, FloatArray]:
    """Newton-Raphson from a good start. Directions without information get no step: the smallest solution."""
    design = np.column_stack([np.ones(len(columns)), columns])
    beta = np.concatenate([[intercept], coefficients])
    penalty = np.full(len(beta), l2_penalty)
    penalty[0] = 0.0
    n_identified = _rank(design.T @ design, IDENTIFIED)
    for _ in range(NEWTON_STEPS):
        score = expit(design @ beta)
        gradient = design.T @ (target - score) - penalty * beta
        hessian = (design * (score * (1.0 - score))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.pinv(hessian, rcond=INVERTIBLE, hermitian=True) @ gradient
        beta = beta + _shortened(step, design, target, beta, penalty)
        if np.abs(step).max() < SMALLEST_STEP:
            break
    # With separated data the likelihood rises for ever and the information in that direction fades away.
    separated = l2_penalty == 0 and _rank(hessian, INVERTIBLE) < n_identified
    if np.abs(step).max() >= SMALLEST_STEP or separated:
        raise ValueError(
            "the propensity score cannot be fitted without a penalty: some covariates separate treated from untreated "
            "rows; set l2_penalty above 0 or drop those covariates"
            if l2_penalty == 0
            else "the propensity score did not converge; raise l2_penalty"
        )
    return float(beta[0]), beta[1:]


def _shortened(
    step: FloatArray, design: FloatArray, target: BoolArray, beta: FloatArray, penalty: FloatArray
) -> FloatArray:
    """Half the step until the penalised likelihood does not fall (a full step can overshoot far from the optimum)."""
    if np.abs(step).max() < 1e-4:
        return step

    def loss(at: FloatArray) -> float:
        linear = design @ at
        return float(np.logaddexp(0.0, linear).sum() - linear[target].sum() + 0.5 * (penalty * at * at).sum())

    before = loss(beta)
    for _ in range(20):
        if loss(beta + step) <= before:
            break
        step = step / 2.0
    return step


def _rank(symmetric: FloatArray, share: float) -> int:
    eigenvalues = np.linalg.eigvalsh(symmetric)
    return int((eigenvalues > share * eigenvalues[-1]).sum())
