"""Turns who was observed into weights that let those observed stand for people alike whose outcome was not.

Choice made: inverse-probability-of-observation weights (Robins, Rotnitzky & Zhao 1994, JASA 89:846; Seaman & White
2013, Stat Methods Med Res 22:278). An outcome counts one over the probability of having been observed given arm and
covariates, on top of the design's weight. The probability comes from a logistic regression in each arm, which is one
with every product of arm and covariate, since covariates may foretell it differently in the two. Rows count in it with
their weight in the design, so that it is right first for the people the effect is about; a ridge penalty on
standardised columns, beside the effective number of an arm's people (models/penalty.py), keeps many covariates and few
people apart, and exact groups enter as indicators, as in the regressions of outcomes. Estimand: the effect in everybody
of the design, given that who is observed depends on nothing that bears on the outcome but arm and covariates (missing
at random). The estimation of the weights is part of each row's influence; taking them as known would make the errors
too large.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import expit

from models.nuisance import fit_coefficients, regression_columns
from models.penalty import penalty_of_weighted
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray
from models.score_equations import ScoreModel

Unobserved = Literal["left_out", "weights"]

OBSERVATION_NOTE = "observation_weights"
"""The note of an estimate with a sentence on the weights of its observed outcomes."""

SAID = "weights for outcomes not observed"
"""How that sentence begins."""

SINGULAR = 1e-10
"""Directions of the information below this share of the largest are collinear columns."""
LARGEST_LOG_ODDS = 500.0
"""So that its exponential stays a number."""
LARGEST_SHARE_FITTED = 2 / 3
"""As of regressions of the outcome: with more free parameters than this share of an arm's rows, rows are described."""


@dataclass(frozen=True)
class ObservationWeights:
    """What the design's weights are multiplied by.

    design     the design as it was made, with everybody in it
    factor     (n,) one over the probability of having been observed, capped; 0 where the outcome was not observed, 1
               for everybody where nothing was weighted
    counted    (n,) with which weight a row counts: in the models and where `factor` multiplies it
    is_capped  (n,)
    models     (rows, equations) of each arm in which anybody was not observed; residuals are per unit of weight
    says       one sentence for the report; empty where nothing was weighted
    """

    design: Design
    factor: FloatArray
    counted: FloatArray
    is_capped: BoolArray
    models: tuple[tuple[IntArray, ScoreModel], ...] = ()
    says: str = ""

    @property
    def weighted(self) -> Design:
        """The design with the weights multiplied; not for finding out where its weights came from."""
        return replace(self.design, weights=self.design.weights * self.factor)

    def per_row(self, per_weight: FloatArray) -> FloatArray:
        """(n, k) derivatives by the weights `counted` from those by the multiplied ones, also through the models."""
        moves = per_weight * self.factor[:, None]
        for rows, model in self.models:
            pull = (self.counted[rows] * model.weight_slope)[:, None] * per_weight[rows]
            moves[rows] += model.influence(pull)
        return np.asarray(moves)

    @property
    def notes(self) -> dict[str, float | str]:
        """What an estimate says of them: the sentence, who was not observed, and the largest weight."""
        if not self.says:
            return {}
        lost = (self.design.weights > 0) & (self.factor == 0)
        return {
            OBSERVATION_NOTE: self.says,
            "n_treated_without_outcome": float((lost & self.design.treated).sum()),
            "n_control_without_outcome": float((lost & ~self.design.treated).sum()),
            "largest_observation_weight": float(self.factor.max()),
        }


def observation_weights(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    unobserved: Unobserved,
    *,
    l2_penalty: float,
    largest: float,
    counted: FloatArray | None = None,
) -> ObservationWeights:
    """Weights of the design's rows; `outcome` (n,) is NaN where not observed, rows of weight 0 are not looked at.

    unobserved  "left_out": 1 for everybody (whoever was not observed must have left the design); "weights"
    l2_penalty  ridge penalty of the models, on standardised columns; 0 is maximum likelihood
    largest     where the weights are capped
    counted     (n,) with which weight a row counts in the models, instead of its weight in the design

    Raises ValueError on settings out of range or a design that people left for want of an outcome; Refused when nobody
    of an arm was observed and when a model does not exist, or would describe rows instead of people.
    """
    if unobserved not in ("left_out", "weights"):
        raise ValueError(f'unobserved must be "left_out" or "weights", not {unobserved!r}')
    if not (np.isfinite(l2_penalty) and l2_penalty >= 0):
        raise ValueError(f"observation_penalty must be a finite number of at least 0, not {l2_penalty}")
    if not largest > 1:
        raise ValueError(f"the largest observation weight must be above 1, not {largest}")
    counted, inside = design.weights if counted is None else counted, design.weights > 0
    nothing = np.zeros(inside.size, dtype=np.bool_)
    if unobserved == "left_out":
        return ObservationWeights(design, np.ones(inside.size), counted, nothing)
    if outcome.shape != design.weights.shape:
        raise ValueError(f"outcome has shape {outcome.shape}, the design {design.weights.shape}")
    if design.before is not None:
        raise ValueError("observation weights need the design as it was made, with those whose outcome is missing")
    is_seen = inside & np.isfinite(outcome)
    factor, models = is_seen.astype(np.float64), []
    rows = np.flatnonzero(inside)
    columns = np.column_stack([np.ones(rows.size), regression_columns(baseline, rows)]) if rows.size else None
    for arm, name in ((design.treated, "treated"), (~design.treated, "controls")):
        mine = arm[rows]
        here = rows[mine]
        if here.size and not is_seen[here].any():
            raise Refused(f"the outcome of none of the {name} was observed, so that nobody can stand for the others")
        if columns is None or is_seen[here].all():
            continue
        weight, model = _fit(columns[mine], is_seen[here], counted[here], l2_penalty, largest)
        factor[here] = np.where(is_seen[here], weight, 0.0)
        models.append((here, model))
    is_capped = factor > largest
    factor = np.minimum(factor, largest)
    says = _describe(factor, is_capped, is_seen, baseline, design)
    return ObservationWeights(design, factor, counted, is_capped, tuple(models), says)


def _fit(
    columns: FloatArray, is_seen: BoolArray, weights: FloatArray, l2_penalty: float, largest: float
) -> tuple[FloatArray, ScoreModel]:
    """(m,) one over the probability of having been observed of an arm's rows, not capped, and its equations."""
    penalty = penalty_of_weighted(l2_penalty, weights)
    try:
        coefficients = fit_coefficients(columns, is_seen.astype(np.float64), weights, "binary", penalty)
    except Refused as error:
        raise Refused(
            "the model of who is observed cannot be fitted without a penalty: some covariates foretell it without "
            "fail; set observation_penalty above 0 or drop those covariates"
        ) from error
    _refuse_too_many_parameters(columns, is_seen, weights, penalty)
    linear = np.asarray(columns @ coefficients)
    chance = expit(linear)
    bread = _inverse_information(columns, weights * chance * (1 - chance), penalty)
    rest = np.exp(np.minimum(-linear, LARGEST_LOG_ODDS))
    slope = np.where(is_seen & (1 + rest <= largest), -rest, 0.0)
    return 1 + rest, ScoreModel(columns, is_seen - chance, bread, slope)


def _inverse_information(columns: FloatArray, spread: FloatArray, penalty: float) -> FloatArray:
    information = columns.T @ (columns * spread[:, None])
    information[1:, 1:] += penalty * np.eye(columns.shape[1] - 1)
    return np.asarray(np.linalg.pinv(information, rcond=SINGULAR, hermitian=True), dtype=np.float64)


def _refuse_too_many_parameters(columns: FloatArray, is_seen: BoolArray, weights: FloatArray, penalty: float) -> None:
    """Counted where all are as likely to be observed: a model that describes the rows has no spread left to count in,
    and its weights would all be 1."""
    share = float(weights @ is_seen / weights.sum())
    spread = weights * share * (1 - share)
    free = float(spread @ ((columns @ _inverse_information(columns, spread, penalty)) * columns).sum(axis=1))
    if free > LARGEST_SHARE_FITTED * is_seen.size:
        raise Refused(
            f"the model of who is observed would have {free:.0f} free parameters for {is_seen.size} people of an arm: "
            "use fewer covariates or exact groups, or a larger observation_penalty"
        )


def _describe(factor: FloatArray, is_capped: BoolArray, is_seen: BoolArray, baseline: Baseline, design: Design) -> str:
    """What the report says: how many were not observed, the largest weights, the cap, and what is assumed."""
    inside = design.weights > 0
    if is_seen[inside].all():
        return f"{SAID}: every outcome of the design was observed"
    lost = [int((inside & ~is_seen & arm).sum()) for arm in (design.treated, ~design.treated)]
    most = [float(factor[arm & is_seen].max()) for arm in (design.treated, ~design.treated)]
    capped = 100 * float(is_capped.sum()) / float(is_seen.sum())
    cut = f", {capped:.1f} % of them cut to the largest allowed, so that people like these are stood for in part only"
    return (
        f"{SAID}, by arm and covariates: the outcome of {lost[0]} treated and of {lost[1]} controls was not observed; "
        f"those observed weigh at most {most[0]:.2f} (treated) and {most[1]:.2f} (controls)"
        f"{cut if is_capped.any() else ''}{_groups_without(is_seen, baseline, design)}; the estimate is for everybody "
        "in the design, provided that who was observed depends on nothing that bears on the outcome but arm and "
        "covariates"
    )


def _groups_without(is_seen: BoolArray, baseline: Baseline, design: Design) -> str:
    """Exact groups in which an arm has people and none of them was observed: there is nobody alike."""
    number = np.unique(baseline.exact_group, return_inverse=True)[1]
    for arm in (design.treated, ~design.treated):
        has = np.bincount(number, weights=arm & (design.weights > 0)) > 0
        if (has & ~(np.bincount(number, weights=arm & is_seen) > 0)).any():
            return "; of some exact groups nobody of one arm was observed, and people of other groups stand for them"
    return ""
