"""Turns days that many people have none of (days in hospital) into marginal means by a two-part regression.

Choice made: whether there is any day by logistic regression, how many by a gamma regression with log link among those
who have some, both on the covariates, fitted in each arm by itself and with the design's weights (Duan et al. 1983, J
Bus Econ Stat 1:115; Belotti et al. 2015, Stata J 15:3); the mean is their product, averaged over the people of the
estimand, so that difference and ratio are marginal ones. The design's weighted mean residual is added: where the
regression is wrong, matching or weighting puts it right, and the reverse (Robins, Rotnitzky & Zhao 1994). Under the ATT
the treated mean is the mean of the treated. The error stacks the scores of both parts and of the propensity. A ridge
penalty on standardised covariates keeps a part from running away, and with fewer than PEOPLE_A_COLUMN for each
covariate it is refused: the exponential carries its noise far. A Tweedie regression would put the share of zeros and
the length of stay into one mean-variance law; two parts need no such law.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from models.contrasts import (
    ArmMeans,
    Kind,
    check_confidence,
    contrast_arms,
    effective_number,
    outcome_in_design,
    scales_for,
)
from models.counts.at_risk import fewest_with_events
from models.estimated_weights import WeightModel, WeightsAre, model_weights
from models.influence import find_clusters
from models.penalty import penalty_of_weighted
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray
from models.times.events import FEWEST

NEWTON_STEPS = 200
CONSTANT = 1e-10
"""A spread below this share of the mean is rounding, not a covariate."""
PEOPLE_A_COLUMN = 5.0
"""Smallest effective number of people above 0 for each covariate. Groups matched exactly are left to the weights: they
would be many columns."""
CONVERGED = 1e-10
"""Largest Newton step, on the scale of the linear predictor per standard deviation, of a finished fit."""


@dataclass(frozen=True)
class _Part:
    """One regression. predicted (n,) means, slope (n,) their derivative in the linear predictor, per_weight (n, q)
    derivative of the coefficients with respect to each row's weight (0 for rows it was not fitted on)."""

    predicted: FloatArray
    slope: FloatArray
    per_weight: FloatArray


def two_part(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    l2_penalty: float = 1.0,
    weights_are: WeightsAre = "estimated",
) -> tuple[Estimate, ...]:
    """Mean difference and mean ratio of an outcome that is never negative and often 0.

    outcome      (n,) numbers of 0 or more; rows of weight 0 are not looked at
    kind         "continuous" (taken so that all effect methods are called alike)
    l2_penalty   of both parts, on standardised columns, beside the effective number of people (models/penalty.py)
    weights_are  as for weighted_difference
    rng          not used

    Notes: `share_any_treated`, `share_any_control` weighted shares above 0; `mean_residual_control` what the weights
    added to the regression. Raises ValueError on binary outcomes and estimands it does not know, Refused on outcomes
    that are negative or cannot be compared, and where too few people have any.
    """
    check_confidence(confidence)
    if kind != "continuous":
        raise ValueError("two_part is for numbers of 0 or more, not for binary outcomes")
    if design.estimand not in ("ATT", "ATE"):
        raise ValueError(f"two_part cannot target the {design.estimand}; allowed: ATT, ATE")
    values = outcome_in_design(outcome, design, kind)
    if (values < 0).any():
        raise Refused("two_part needs an outcome that is never negative")
    model = model_weights(baseline, design, weights_are)
    treated, influence_treated, _ = _mean(values, baseline, model, design.treated, l2_penalty)
    control, influence_control, residual = _mean(values, baseline, model, ~design.treated, l2_penalty)
    means = ArmMeans(
        treated=treated,
        control=control,
        influence=np.column_stack([influence_treated, influence_control]),
        clusters=find_clusters(baseline, design),
        control_weights=np.where(design.treated, 0.0, design.weights),
    )
    notes: dict[str, float | str] = {
        "variance": model.says,
        "share_any_treated": _share_any(values, design, design.treated),
        "share_any_control": _share_any(values, design, ~design.treated),
        "mean_residual_control": residual,
        FEWEST: fewest_with_events(values, design),
    }
    return contrast_arms(
        means,
        design,
        method="two_part",
        scales=scales_for(kind, values, (treated, control)),
        confidence=confidence,
        notes=notes,
    )


def _share_any(values: FloatArray, design: Design, arm: BoolArray) -> float:
    weights = np.where(arm, design.weights, 0.0)
    return float(weights @ (values > 0) / weights.sum())


def _mean(
    values: FloatArray, baseline: Baseline, model: WeightModel, arm: BoolArray, l2_penalty: float
) -> tuple[float, FloatArray, float]:
    """Mean of one arm over the estimand's people, (n,) its influence, and the weighted mean residual in it."""
    design = model.design
    inside = design.weights > 0
    used = arm & inside
    target = inside & design.treated if design.estimand == "ATT" else inside
    weights = np.where(arm, design.weights, 0.0)
    share = weights / weights.sum()
    if design.estimand == "ATT" and np.array_equal(used, target):
        mean = float(share @ values)
        return mean, model.influence(_centred(values, mean, used, weights), arm)[:, 0], 0.0
    columns = _columns(baseline, inside)
    parts = _fit_parts(values, columns, weights, l2_penalty)
    predicted = np.where(inside, np.prod([part.predicted for part in parts], axis=0), 0.0)
    mean_predicted = float(predicted[target].mean())
    residual = float(share @ (values - predicted))
    influence = np.where(target, predicted - mean_predicted, 0.0) / target.sum()
    influence = influence + model.influence(_centred(values - predicted, residual, used, weights), arm)[:, 0]
    # A coefficient counts as far as the people of the estimand differ from those the residuals are taken of.
    contrast = target / target.sum() - share
    for part, other in zip(parts, parts[::-1], strict=True):
        pull = columns.T @ (contrast * part.slope * (other.predicted if other is not part else 1.0))
        influence = influence + model.influence((part.per_weight @ pull)[:, None], arm)[:, 0]
    return mean_predicted + residual, influence, residual


def _centred(values: FloatArray, mean: float, used: BoolArray, weights: FloatArray) -> FloatArray:
    """(n, 1) derivative of a weighted mean with respect to each row's weight."""
    return np.where(used, values - mean, 0.0)[:, None] / weights.sum()


def _columns(baseline: Baseline, inside: BoolArray) -> FloatArray:
    """(n, q) intercept and standardised covariates, 0 outside the design."""
    matrix = baseline.matrix[inside]
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    varies = spread > CONSTANT * np.abs(centre)
    columns = np.zeros((len(inside), int(varies.sum()) + 1))
    columns[inside] = np.column_stack([np.ones(len(matrix)), (matrix[:, varies] - centre[varies]) / spread[varies]])
    return columns


def _fit_parts(values: FloatArray, columns: FloatArray, weights: FloatArray, l2_penalty: float) -> tuple[_Part, ...]:
    """Whether there is any, and how much where there is: the second alone where nobody has 0."""
    used, any_value = weights > 0, values > 0
    if not any_value[used].any():
        return (_constant(columns, 0.0),)
    _refuse_few(weights[used & any_value], columns.shape[1] - 1)
    amount = _fit(values, columns, np.where(any_value, weights, 0.0), l2_penalty, "gamma")
    if any_value[used].all():
        return (amount,)
    return _fit(any_value.astype(np.float64), columns, weights, l2_penalty, "logistic"), amount


def _refuse_few(some: FloatArray, n_covariates: int) -> None:
    """`some` are the weights of the people above 0."""
    people, needed = effective_number(some), PEOPLE_A_COLUMN * n_covariates
    if people < needed:
        raise Refused(
            f"a two-part regression on {n_covariates} covariates needs {needed:.0f} people above 0 in each arm it is "
            f"fitted in, by their weights; there are {people:.0f}"
        )


def _constant(columns: FloatArray, value: float) -> _Part:
    n, q = columns.shape
    return _Part(np.full(n, value), np.zeros(n), np.zeros((n, q)))


def _fit(target: FloatArray, columns: FloatArray, weights: FloatArray, l2_penalty: float, law: str) -> _Part:
    """Penalised, weighted logistic or gamma (log link) regression, solved by Newton's method to machine precision."""
    if not l2_penalty > 0:
        raise ValueError(f"l2_penalty must be positive, not {l2_penalty}")
    rows = weights > 0
    x, y, w = columns[rows], target[rows], weights[rows]
    penalty = np.full(columns.shape[1], penalty_of_weighted(l2_penalty, w))
    penalty[0] = 0.0
    coefficients = np.zeros(columns.shape[1])
    mean = float(w @ y / w.sum())
    coefficients[0] = np.log(mean) if law == "gamma" else np.log(mean / (1 - mean))
    for _ in range(NEWTON_STEPS):
        score, curve = _score_and_curve(x @ coefficients, y, law)
        gradient = x.T @ (w * score) - penalty * coefficients
        curvature = (x * (w * curve)[:, None]).T @ x + np.diag(penalty)
        step: FloatArray = np.linalg.solve(curvature, gradient).astype(np.float64)
        coefficients = coefficients + _shortened(step, x, y, w, penalty, coefficients, law)
        if np.abs(step).max() < CONVERGED:
            break
    else:
        raise Refused(f"the {law} part did not converge")
    score, curve = _score_and_curve(x @ coefficients, y, law)
    bread = np.linalg.inv((x * (w * curve)[:, None]).T @ x + np.diag(penalty))
    per_weight = np.zeros_like(columns)
    per_weight[rows] = (x * score[:, None]) @ bread
    linear = columns @ coefficients
    if law == "gamma":
        predicted = np.exp(linear)
        return _Part(predicted, predicted, per_weight)
    risk = np.asarray(expit(linear), dtype=np.float64)
    return _Part(risk, risk * (1 - risk), per_weight)


def _score_and_curve(linear: FloatArray, y: FloatArray, law: str) -> tuple[FloatArray, FloatArray]:
    """Derivative of each row's log-likelihood in its linear predictor, and minus the second derivative."""
    if law == "gamma":
        ratio = y * np.exp(-linear)
        return ratio - 1, ratio
    risk = expit(linear)
    return y - risk, risk * (1 - risk)


def _shortened(
    step: FloatArray,
    x: FloatArray,
    y: FloatArray,
    w: FloatArray,
    penalty: FloatArray,
    coefficients: FloatArray,
    law: str,
) -> FloatArray:
    """The Newton step, halved until the penalised log-likelihood does not fall."""

    def loss(at: FloatArray) -> float:
        linear = x @ at
        own = y * np.exp(-linear) + linear if law == "gamma" else np.logaddexp(0, linear) - y * linear
        return float(w @ own + 0.5 * penalty @ at**2)

    before = loss(coefficients)
    for _ in range(60):
        if loss(coefficients + step) <= before + 1e-12 * abs(before):
            break
        step = step / 2
    return step
