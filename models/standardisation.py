"""Turns outcomes and a design into effects standardised by regressions of the outcome: g-computation, and covariate
adjustment after matching or weighting.

Choice made: one regression an arm (the same as one with every treatment × covariate interaction: Lin 2013, Ann Appl
Stat 7:295), logistic for a binary outcome and linear otherwise. Its predictions are averaged over the people of the
estimand, so that a risk ratio and an odds ratio are marginal ones, comparable with those of the other methods.
g_computation fits every row of the design alike and leans on the regression alone (Robins 1986; Snowden, Rose &
Mortimer 2011, Am J Epidemiol 173:731). adjusted_regression fits with the design's weights: right if either the
design or the regression is (Kang & Schafer 2007, Stat Sci 22:523; Wooldridge 2007, J Econometrics 141:1281), and with
an ever larger penalty it becomes the plain weighted difference.

Errors come from the stacked estimating equations of score, weights, regression and means (Stefanski & Boos 2002,
Am Stat 56:29), each residual divided by the root of one minus its leverage, as in HC2 (MacKinnon & White 1985,
J Econometrics 29:305): fitted residuals are too small where an arm has few people for its covariates. With 46 pairs and
25 covariates the plain sandwich was 11 % too small, HC2 right, HC3 25 % too large.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from models.contrasts import ArmMeans, Kind, check_confidence, contrast_arms, outcome_in_design, scales_for
from models.doubly_robust import largest_share
from models.estimated_weights import WeightsAre, model_weights
from models.influence import find_clusters
from models.nuisance import fit_coefficients, regression_columns, solve_symmetric
from models.observation import ObservationWeights, Unobserved, observation_weights
from models.penalty import penalty_of_weighted
from models.refusals import Refused
from models.results import Baseline, Design, Estimate, FloatArray

SMALLEST_REST = 0.1
"""Of one minus the leverage: a row that its regression follows more closely says little of the spread about it."""
LARGEST_SHARE_FITTED = 2 / 3
"""Of an arm's rows: a regression with more free parameters than this describes the rows, not the outcome."""


def g_computation(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    l2_penalty: float = 1.0,
    unobserved: Unobserved = "left_out",
    observation_penalty: float = 1.0,
    largest_observation_weight: float = 10.0,
) -> tuple[Estimate, ...]:
    """Regress the outcome in each arm on the covariates and average both predictions over the estimand's people.

    outcome     (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    l2_penalty  of the regressions, on standardised columns; 0 is maximum likelihood (least squares)
    unobserved  as for weighted_difference: with "weights" the regressions weigh people observed for those who were
                not, and the people of the estimand are all of them, observed or not
    rng         not used (no randomness here), taken so that all effect methods are called alike

    The people are the treated (ATT), everybody (ATE) or the controls (ATC) among the rows with positive weight, each
    once: the design chooses rows, its weights are not used. Under the ATO both arms count with the overlap weights.
    Exact groups enter as indicators. Raises Refused on outcomes or designs that cannot be compared, and when a
    regression without a penalty does not exist.
    """
    weighting = _Weighting(None, unobserved, observation_penalty, largest_observation_weight)
    return _standardise("g_computation", outcome, baseline, design, kind, confidence, l2_penalty, weighting)


def adjusted_regression(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    l2_penalty: float = 1.0,
    weights_are: WeightsAre = "estimated",
    unobserved: Unobserved = "left_out",
    observation_penalty: float = 1.0,
    largest_observation_weight: float = 10.0,
) -> tuple[Estimate, ...]:
    """Adjust a matched or weighted comparison for what imbalance the design left.

    As g_computation, but every row counts in the regressions with its weight in the design.

    l2_penalty   0 adjusts in full; the larger, the nearer to weighted_difference. It stands beside the effective number
                 of people of an arm (models/penalty.py)
    weights_are  as in weighted_difference: "estimated" lets the error know of the fitted propensity score
    unobserved   as in g_computation

    Raises Refused on outcomes or designs that cannot be compared, and when a regression without a penalty does not
    exist.
    """
    weighting = _Weighting(weights_are, unobserved, observation_penalty, largest_observation_weight)
    return _standardise("adjusted_regression", outcome, baseline, design, kind, confidence, l2_penalty, weighting)


@dataclass(frozen=True)
class _Weighting:
    """With what weight rows count in the regressions; `weights_are` None: not with the design's."""

    weights_are: WeightsAre | None
    unobserved: Unobserved
    penalty: float
    largest: float


@dataclass(frozen=True)
class _StandardisedMean:
    """One arm's mean over the target; arrays are (n,) over the rows of the design.

    by_fit     derivative of the mean with respect to each row's weight in the regression
    inflation  what the leverage adds to the influence of the regression's rows
    by_target  derivative with respect to each row's weight in the target
    leans_on   how far the mean follows each row's outcome
    """

    mean: float
    by_fit: FloatArray
    inflation: FloatArray
    by_target: FloatArray
    leans_on: FloatArray


def _standardise(
    method: str,
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    kind: Kind,
    confidence: float,
    l2_penalty: float,
    weighting: _Weighting,
) -> tuple[Estimate, ...]:
    check_confidence(confidence)
    if not (np.isfinite(l2_penalty) and l2_penalty >= 0):
        raise ValueError(f"l2_penalty must be a finite number of at least 0, not {l2_penalty}")
    weights_are = weighting.weights_are
    counted = (design.weights > 0).astype(np.float64) if weights_are is None else design.weights
    seen = observation_weights(
        outcome,
        baseline,
        design,
        weighting.unobserved,
        l2_penalty=weighting.penalty,
        largest=weighting.largest,
        counted=counted,
    )
    values = outcome_in_design(outcome, seen.weighted, kind)
    columns = _columns(baseline, design)
    target = _target_weights(design)
    in_fit = counted * seen.factor
    treated, control = (
        _mean_over(values, columns, in_fit * arm, target, kind, l2_penalty) for arm in (design.treated, ~design.treated)
    )
    influence, says = _influence(treated, control, baseline, seen, target, weights_are)
    clusters = find_clusters(baseline, design)
    means = ArmMeans(treated.mean, control.mean, influence, clusters, control.leans_on, treated.leans_on)
    return contrast_arms(
        means,
        design,
        method=method,
        scales=scales_for(kind, values, (means.treated, means.control)),
        confidence=confidence,
        notes={"variance": says, "max_control_weight_share": largest_share(np.abs(control.leans_on)), **seen.notes},
    )


def _columns(baseline: Baseline, design: Design) -> FloatArray:
    """(n, q) intercept and covariates, 0 for rows outside the design."""
    rows = np.flatnonzero(design.weights > 0)
    matrix = regression_columns(baseline, rows)
    columns = np.zeros((len(design.weights), matrix.shape[1] + 1))
    columns[rows] = np.column_stack([np.ones(rows.size), matrix])
    return columns


def _target_weights(design: Design) -> FloatArray:
    """(n,) how much each row counts among the people of the estimand."""
    if design.estimand == "ATO":
        return design.weights
    of_estimand = {"ATT": design.treated, "ATC": ~design.treated}.get(design.estimand, True)
    return ((design.weights > 0) & of_estimand).astype(np.float64)


def _mean_over(
    values: FloatArray, columns: FloatArray, weights: FloatArray, target: FloatArray, kind: Kind, l2_penalty: float
) -> _StandardisedMean:
    """The mean outcome of the target, had all been in the arm whose (n,) weights these are (0 elsewhere)."""
    fits, share = weights > 0, target / target.sum()
    nothing = np.zeros_like(values)
    if not share[~fits].any():  # the people of the estimand are this arm's own: their outcomes were seen
        mean = float(share @ values)
        by_target = np.where(share > 0, values - mean, 0.0) / target.sum()
        return _StandardisedMean(mean, nothing, nothing, by_target, share)
    if np.all(values[fits] == values[fits][0]):
        return _StandardisedMean(float(values[fits][0]), nothing, nothing, nothing, weights)
    here, y = columns[fits], values[fits]
    penalty = penalty_of_weighted(l2_penalty, weights[fits])
    coefficients = fit_coefficients(here, y, weights[fits], kind, penalty)
    linear = columns @ coefficients
    predicted = expit(linear) if kind == "binary" else linear
    slope = predicted * (1 - predicted) if kind == "binary" else np.ones_like(linear)
    mean = float(share @ predicted)
    information = here.T @ (here * (weights * slope)[fits][:, None])
    information[1:, 1:] += penalty * np.eye(columns.shape[1] - 1)
    follows = np.zeros_like(values)
    follows[fits] = here @ solve_symmetric(information, columns.T @ (share * slope))
    leverage = (weights * slope)[fits] * np.einsum("ij,ji->i", here, solve_symmetric(information, here.T))
    _refuse_too_many_parameters(leverage)
    by_fit, inflation = follows * (values - predicted), np.zeros_like(values)
    inflation[fits] = 1 / np.sqrt(np.maximum(1 - leverage, SMALLEST_REST)) - 1
    by_target = np.where(share > 0, predicted - mean, 0.0) / target.sum()
    return _StandardisedMean(mean, by_fit, inflation * weights * by_fit, by_target, weights * follows)


def _refuse_too_many_parameters(leverage: FloatArray) -> None:
    """Leverages sum to the number of free parameters, of which a penalty leaves fewer than there are columns."""
    free = float(leverage.sum())
    if free > LARGEST_SHARE_FITTED * leverage.size:
        raise Refused(
            f"a regression of the outcome would have {free:.0f} free parameters for {leverage.size} people of an arm: "
            "use fewer covariates or exact groups, or a larger l2_penalty"
        )


def _influence(
    treated: _StandardisedMean,
    control: _StandardisedMean,
    baseline: Baseline,
    seen: ObservationWeights,
    target: FloatArray,
    weights_are: WeightsAre | None,
) -> tuple[FloatArray, str]:
    """(n, 2) influence on both means, and what was taken into account."""
    design = seen.design
    by_fit = seen.per_row(np.column_stack([treated.by_fit, control.by_fit]))
    by_target = np.column_stack([treated.by_target, control.by_target])
    influence = np.column_stack([treated.inflation, control.inflation])
    by_weight = np.zeros_like(influence)
    if weights_are is None:
        influence += by_fit
    else:
        by_weight += by_fit
    if design.estimand == "ATO":
        by_weight += by_target
    else:
        influence += target[:, None] * by_target
    if not by_weight.any():
        return influence, "regression as estimated"
    model = model_weights(baseline, design, weights_are or "estimated")
    for arm in (design.treated, ~design.treated):
        influence = influence + model.influence(by_weight * arm[:, None], arm)
    return influence, f"regression as estimated, {model.says}"
