"""Baseline covariates and who was treated → the probability of being treated, and its log-odds.

The model is a logistic regression with a ridge penalty (for everybody, or for each stratum), one that chooses among
many covariates (elastic net), or gradient boosting. Every fit uses the rows that can take part in a comparison at all
(`comparable_rows`); every row gets a score.

Sources: Rosenbaum & Rubin 1983 (Biometrika 70:41); Austin & Stuart 2015 (Stat Med 34:3661) on the log-odds.
"""

from typing import Any, Literal

import numpy as np
from scipy.special import expit

from models.propensity.folds import person_folds
from models.propensity.logistic import LogisticFit, fit_logistic
from models.propensity.rows import comparable_rows
from models.propensity.strata import strata_of
from models.refusals import Refused
from models.results import Baseline, BoolArray, FloatArray, Propensity

Method = Literal["logistic", "elastic_net", "boosting"]
PenaltyChoice = Literal["best", "one_se"]

LARGEST_CALIBRATION_GAP = 1e-6


def fit_propensity(
    baseline: Baseline,
    treated: BoolArray,
    *,
    rng: np.random.Generator | None = None,
    method: Method = "logistic",
    l2_penalty: float = 1.0,
    l1_ratio: float = 1.0,
    penalty_choice: PenaltyChoice = "best",
    folds: int = 10,
    by_stratum: bool = False,
    least_in_a_stratum: int = 30,
) -> Propensity:
    """Fit the propensity score.

    logistic     l2_penalty is added as l2_penalty / 2 × Σ coefficient² (standardised columns) to the summed log-loss,
                 scikit-learn's 1 / C; 0 gives the maximum likelihood estimate, R's glm. Constant columns get
                 coefficient 0, duplicates share one. The matrix is not copied: it may be 32-bit or a memory map
    elastic_net  R's glmnet with mixing l1_ratio (1: lasso). The penalty has the smallest deviance in people left out
                 (`best`), or is the largest within one standard error of it (`one_se`); `folds` of persons, drawn
                 from rng. It needs about three copies of the matrix. `l2_penalty` plays no part
    boosting     gradient-boosted trees, cross-fitted over `folds` of persons, calibrated (models.propensity.boosting)
    by_stratum   logistic only: a fit for each exact group that has at least `least_in_a_stratum` rows of either arm,
                 and one for all others together

    `linear` is the log-odds, computed without passing through the probability; `score` its inverse logit; the sum of
    the scores over the comparable rows equals the number treated among them, which `calibration_gap` confirms. `facts`
    say how the score was made; the design's notes repeat them.

    Raises ValueError for impossible input, Refused when no row is comparable, when an unpenalised fit does not exist
    because the covariates separate treated from untreated (Albert & Anderson 1984, Biometrika 71:1), and when folds are
    asked for that the treated cannot fill.
    """
    _refuse_bad_input(baseline, treated, l2_penalty)
    fitted_on = comparable_rows(baseline, treated)
    if not fitted_on.any():
        raise Refused("no exact group holds both treated and untreated rows, so no score can be fitted")
    if by_stratum:
        if method != "logistic":
            raise ValueError(f"by_stratum is for method = 'logistic', not {method!r}")
        return _by_stratum(baseline, treated, fitted_on, l2_penalty, least_in_a_stratum)
    if method == "logistic":
        return _logistic(baseline, treated, fitted_on, l2_penalty)
    if method not in ("elastic_net", "boosting"):
        raise ValueError(f'method must be "logistic", "elastic_net" or "boosting", not {method!r}')
    if not 0 < l1_ratio <= 1:
        raise ValueError(f"l1_ratio must be above 0 and at most 1, not {l1_ratio}")
    if rng is None:
        raise ValueError(f"{method} needs a random generator for its folds")
    if method == "boosting":
        return _boosted(baseline, treated, fitted_on, rng, folds)
    return _elastic_net(baseline, treated, fitted_on, rng, l1_ratio, penalty_choice, folds)


def l2_penalty_of(propensity: Propensity) -> float | None:
    """The penalty of a logistic regression; None for scores that did not come from one."""
    penalty = propensity.facts.get("l2_penalty")
    return None if penalty is None else float(penalty)


def _refuse_bad_input(baseline: Baseline, treated: BoolArray, l2_penalty: float) -> None:
    if treated.dtype != np.bool_ or treated.shape != (len(baseline.matrix),):
        raise ValueError("treated must be boolean, one value for each row of the baseline matrix")
    if not treated.any() or treated.all():
        raise Refused("a propensity score needs treated and untreated rows")
    if not np.isfinite(l2_penalty) or l2_penalty < 0:
        raise ValueError(f"l2_penalty must be a finite number of at least 0, not {l2_penalty}")
    with np.errstate(invalid="ignore", over="ignore"):  # a sum is finite when all its terms are; no copy is made
        finite = np.isfinite(np.add.reduce(baseline.matrix, axis=0, dtype=np.float64))
    if not finite.all():
        names = ", ".join(name for name, is_finite in zip(baseline.columns, finite, strict=True) if not is_finite)
        raise ValueError(f"missing or infinite values in baseline columns: {names}")


def _logistic(baseline: Baseline, treated: BoolArray, fitted_on: BoolArray, l2_penalty: float) -> Propensity:
    found = fit_logistic(baseline.matrix, treated, fitted_on, l2_penalty)
    model = _pipeline_of(found, int(fitted_on.sum()), l2_penalty)
    gap = _checked_gap(found.total_score, treated & fitted_on)
    facts: dict[str, float | str] = {"score_model": "logistic", "l2_penalty": l2_penalty}
    return Propensity(expit(found.linear), found.linear, model, gap, facts)


def _pipeline_of(found: LogisticFit, n_rows: int, l2_penalty: float) -> Any:
    moments = found.moments
    inverse_penalty = np.inf if l2_penalty == 0 else 1.0 / l2_penalty
    return _as_pipeline(
        moments.mean, moments.scale, moments.variance, found.coefficients, found.intercept, n_rows, inverse_penalty
    )


def _by_stratum(
    baseline: Baseline, treated: BoolArray, fitted_on: BoolArray, l2_penalty: float, least: int
) -> Propensity:
    """The model is a dict of pipelines: the smallest exact group of each stratum → its fit."""
    strata = strata_of(baseline, treated, fitted_on, least)
    linear, total, models = np.empty(len(treated)), 0.0, {}
    everybody = baseline.exact_group
    for members in strata:
        found = fit_logistic(baseline.matrix, treated, members, l2_penalty)
        # The last stratum scores all that no other does, rows outside the comparison included.
        here = np.isin(everybody, everybody[members]) if members is not strata[-1] else np.ones_like(treated)
        for other in strata[:-1] if members is strata[-1] else []:
            here &= ~np.isin(everybody, everybody[other])
        linear[here] = found.linear[here]
        total += found.total_score
        models[str(everybody[members].min())] = _pipeline_of(found, int(members.sum()), l2_penalty)
    facts: dict[str, float | str] = {
        "score_model": "logistic_by_stratum",
        "l2_penalty": l2_penalty,
        "least_in_a_stratum": least,
        "n_strata": len(strata),
    }
    return Propensity(expit(linear), linear, models, _checked_gap(total, treated & fitted_on), facts)


def _boosted(
    baseline: Baseline, treated: BoolArray, fitted_on: BoolArray, rng: np.random.Generator, folds: int
) -> Propensity:
    """The model is a dict: the classifiers of the folds, and the intercept and slope that calibrate their log-odds."""
    from models.propensity.boosting import fit_boosted

    found = fit_boosted(baseline, treated, fitted_on, folds, rng)
    model = {"classifiers": found.models, "intercept": found.intercept, "slope": found.slope}
    facts: dict[str, float | str] = {
        "score_model": "boosting",
        "n_trees": found.n_trees,
        "calibration_slope": found.slope,
    }
    gap = _checked_gap(found.total_score, treated & fitted_on)
    return Propensity(expit(found.linear), found.linear, model, gap, facts)


def _elastic_net(
    baseline: Baseline,
    treated: BoolArray,
    fitted_on: BoolArray,
    rng: np.random.Generator,
    l1_ratio: float,
    penalty_choice: PenaltyChoice,
    folds: int,
) -> Propensity:
    from models.propensity.elastic_net import PATIENCE, cross_validate, fit_path, penalty_path

    fold = person_folds(baseline.person[fitted_on], treated[fitted_on], folds, rng)
    matrix = baseline.matrix if fitted_on.all() else baseline.matrix[fitted_on]
    target = treated[fitted_on]
    penalties = penalty_path(matrix, target, l1_ratio)
    found = cross_validate(matrix, target, fold, penalties, l1_ratio, PATIENCE)
    place = {"best": found.best, "one_se": found.one_se}[penalty_choice]
    path = fit_path(matrix, target, penalties[: place + 1], l1_ratio)
    linear = path.linear(baseline.matrix, place)
    score = expit(linear)
    coefficients = path.coefficients[place]
    scale = np.where(np.isfinite(path.scale), path.scale, 1.0)
    model = _as_pipeline(
        path.mean,
        scale,
        scale**2,
        coefficients,
        float(path.intercepts[place]),
        len(target),
        1.0 / (penalties[place] * len(target)),
    )
    facts: dict[str, float | str] = {
        "score_model": "elastic_net",
        "l1_ratio": l1_ratio,
        "penalty": float(penalties[place]),
        "n_covariates_in_the_score": int(np.count_nonzero(coefficients)),
        "deviance_of_people_left_out": float(found.deviance[place]),
    }
    return Propensity(score, linear, model, _checked_gap(float(score[fitted_on].sum()), treated & fitted_on), facts)


def _checked_gap(total_score: float, fitted_treated: BoolArray) -> float:
    gap = abs(total_score / float(fitted_treated.sum()) - 1.0)
    assert gap <= LARGEST_CALIBRATION_GAP, f"the propensity scores sum to {gap:.1e} away from the number treated"
    return gap


def _as_pipeline(
    mean: FloatArray,
    scale: FloatArray,
    variance: FloatArray,
    coefficients: FloatArray,
    intercept: float,
    n_rows: int,
    inverse_penalty: float,
) -> Any:
    """The fit as a scikit-learn pipeline, which can be stored and opened without this project."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaler.mean_, scaler.scale_, scaler.var_ = mean, scale, variance
    scaler.n_samples_seen_, scaler.n_features_in_ = n_rows, len(coefficients)
    logistic = LogisticRegression(C=inverse_penalty)
    logistic.intercept_, logistic.coef_ = np.array([intercept]), coefficients[None, :]
    logistic.classes_, logistic.n_features_in_ = np.array([False, True]), len(coefficients)
    return Pipeline([("scale", scaler), ("logistic", logistic)])
