"""Baseline covariates and who was treated → the probability of being treated, and its log-odds.

L2-regularised logistic regression on standardised columns, the intercept never penalised. The fit uses the rows that
can take part in a comparison at all (`comparable_rows`); every row gets a score.

Sources: Rosenbaum & Rubin 1983 (Biometrika 70:41); Austin & Stuart 2015 (Stat Med 34:3661) on the log-odds.
"""

from typing import Any

import numpy as np
from scipy.special import expit

from models.propensity.logistic import LogisticFit, fit_logistic
from models.propensity.rows import comparable_rows
from models.results import Baseline, BoolArray, Propensity

LARGEST_CALIBRATION_GAP = 1e-6


def fit_propensity(baseline: Baseline, treated: BoolArray, *, l2_penalty: float = 1.0) -> Propensity:
    """Fit the propensity score.

    l2_penalty is added as l2_penalty / 2 × Σ coefficient² (standardised columns) to the summed log-loss, scikit-learn's
    1 / C; 0 gives the maximum likelihood estimate, R's glm. Constant columns get coefficient 0, duplicates share one.
    `linear` is standardised columns × coefficients + intercept; `score` is its inverse logit; the sum of the scores
    over the comparable rows equals the number treated among them, which `calibration_gap` confirms. The matrix is not
    copied: it may be 32-bit or a memory map.

    Raises ValueError for impossible input, when no row is comparable, and when an unpenalised fit does not exist
    because the covariates separate treated from untreated (Albert & Anderson 1984, Biometrika 71:1).
    """
    _refuse_bad_input(baseline, treated, l2_penalty)
    fitted_on = comparable_rows(baseline, treated)
    if not fitted_on.any():
        raise ValueError("no exact group holds both treated and untreated rows, so no score can be fitted")
    found = fit_logistic(baseline.matrix, treated, fitted_on, l2_penalty)
    gap = abs(found.total_score / float((treated & fitted_on).sum()) - 1.0)
    assert gap <= LARGEST_CALIBRATION_GAP, f"the propensity scores sum to {gap:.1e} away from the number treated"
    model = _as_pipeline(found, int(fitted_on.sum()), l2_penalty)
    return Propensity(score=expit(found.linear), linear=found.linear, model=model, calibration_gap=gap)


def l2_penalty_of(propensity: Propensity) -> float | None:
    """The penalty a score was fitted with; None for scores that did not come from a logistic regression."""
    return None if propensity.model is None else 1.0 / float(propensity.model["logistic"].C)


def _refuse_bad_input(baseline: Baseline, treated: BoolArray, l2_penalty: float) -> None:
    if treated.dtype != np.bool_ or treated.shape != (len(baseline.matrix),):
        raise ValueError("treated must be boolean, one value for each row of the baseline matrix")
    if not treated.any() or treated.all():
        raise ValueError("a propensity score needs treated and untreated rows")
    if not np.isfinite(l2_penalty) or l2_penalty < 0:
        raise ValueError(f"l2_penalty must be a finite number of at least 0, not {l2_penalty}")
    with np.errstate(invalid="ignore", over="ignore"):  # a sum is finite when all its terms are; no copy is made
        finite = np.isfinite(np.add.reduce(baseline.matrix, axis=0, dtype=np.float64))
    if not finite.all():
        names = ", ".join(name for name, is_finite in zip(baseline.columns, finite, strict=True) if not is_finite)
        raise ValueError(f"missing or infinite values in baseline columns: {names}")


def _as_pipeline(found: LogisticFit, n_rows: int, l2_penalty: float) -> Any:
    """The fit as a scikit-learn pipeline, which can be stored and opened without this project."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaler.mean_, scaler.scale_ = found.moments.mean, found.moments.scale
    scaler.var_ = found.moments.variance
    scaler.n_samples_seen_, scaler.n_features_in_ = n_rows, len(found.coefficients)
    logistic = LogisticRegression(C=np.inf if l2_penalty == 0 else 1.0 / l2_penalty)
    logistic.intercept_, logistic.coef_ = np.array([found.intercept]), found.coefficients[None, :]
    logistic.classes_, logistic.n_features_in_ = np.array([False, True]), len(found.coefficients)
    logistic.n_iter_ = np.array([found.n_passes], dtype=np.int32)
    return Pipeline([("scale", scaler), ("logistic", logistic)])
