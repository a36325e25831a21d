"""Turns days, events and a designed sample into effects of single people on a risk and on days lost, under censoring.

Choice made: inverse-probability-of-censoring weights (models/times/censoring.py: a Cox model of the end of observation
by arm and covariates). Where observation ended early the outcome is unknown; where it did not, the outcome counts for
those alike who were lost. The forest works on Y* = m + weight × (Y - m), 0 weight for those lost and m the weighted
mean of the arm: its expectation is that of Y whatever m is (Robins & Rotnitzky 1992), and with m the weights do not
shake the outcomes of everybody. Rows of the design count alike, in the model of censoring as in the forest. Everything
else is models/forest/causal.py on Y*. The errors take the weights as known, which makes them too large rather than too
small (ibid.).

Two forests: readmission until the horizon, with death competing, and days lost to readmission until then, which is the
horizon less the restricted mean time to readmission.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from models.contrasts import check_confidence
from models.forest.causal import ForestResult, fit_forest
from models.forest.growing import GrownBy
from models.forest.ranking import Better
from models.forest.subgroups import Multiplicity
from models.refusals import Refused
from models.results import Baseline, Design, FloatArray, IntArray, Scale
from models.times.censoring import CensoringWeights, censoring_weights, describe_weights
from models.times.events import READMITTED, TimeEffect, TimeEffects, censored_early, within_horizon

RISKS: tuple[Scale, ...] = ("risk_difference", "risk_ratio")
TIMES_LOST: tuple[Scale, ...] = ("time_lost_difference", "time_lost_ratio")


@dataclass(frozen=True)
class CensoredForests(TimeEffects):
    """The effects on the risk and on the days lost, and the forest behind each, by name."""

    forests: tuple[tuple[str, ForestResult], ...] = ()


def censored_forest(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    horizon: int = 365,
    confidence: float = 0.95,
    trees: int = 500,
    min_leaf: int = 5,
    folds: int = 5,
    subgroups: tuple[str, ...] = (),
    multiplicity: Multiplicity = "holm",
    better: Better = "lower",
    policy_depth: int = 2,
    grown_by: GrownBy = "this_project",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> CensoredForests:
    """Causal forests for the risk of readmission until the horizon, and for the days lost to it.

    day, event  (n,) as for models.times.risks.cumulative_incidence; the other options as for causal_forest
    censoring_penalty, largest_censoring_weight  ridge penalty of the censoring model, and the cap of its weights

    Raises ValueError on days, events and designs out of range, as causal_forest on the rest.
    """
    check_confidence(confidence)
    day, event = within_horizon(day, event, design, horizon)
    rows_alike = replace(design, weights=(design.weights > 0).astype(np.float64))
    by = censoring_weights(
        day, event, baseline.matrix, rows_alike, horizon, l2_penalty=censoring_penalty, largest=largest_censoring_weight
    )
    is_readmitted = event == READMITTED
    targets = {"risk": is_readmitted.astype(np.float64), "time_lost": np.where(is_readmitted, horizon - day, 0.0)}
    is_lost = censored_early(day, event, horizon)
    found = [
        (
            name,
            fit_forest(
                stand_for_lost(values, is_lost, by, design),
                baseline,
                design,
                method="censored_forest",
                scales=scales,
                rng=rng,
                kind="continuous",
                confidence=confidence,
                trees=trees,
                min_leaf=min_leaf,
                folds=folds,
                subgroups=subgroups,
                multiplicity=multiplicity,
                better=better,
                policy_depth=policy_depth,
                grown_by=grown_by,
            ),
        )
        for (name, values), scales in zip(targets.items(), (RISKS, TIMES_LOST), strict=True)
    ]
    return CensoredForests(
        effects=tuple(TimeEffect("readmitted", horizon, forest.estimates) for _, forest in found),
        remarks=(describe_weights(by, event),),
        forests=tuple(found),
    )


def stand_for_lost(values: FloatArray, is_lost: np.ndarray, by: CensoringWeights, design: Design) -> FloatArray:
    """(n,) outcomes whose expectation is that without loss; 0 outside the design.

    Raises Refused when nobody of an arm was observed to the end.
    """
    weight = np.zeros(len(values))
    weight[by.used] = np.where(is_lost[by.used], 0.0, by.weight)
    made = np.zeros(len(values))
    for arm in (design.treated, ~design.treated):
        rows = np.flatnonzero(arm & (design.weights > 0))
        if not weight[rows].any():
            raise Refused("nobody of one of the arms was observed to the horizon or to an event")
        mean = float(np.average(values[rows], weights=weight[rows]))
        made[rows] = mean + weight[rows] * (values[rows] - mean)
    return made
