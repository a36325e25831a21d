"""Turns a designed sample into what doubly robust methods need: cross-fitted, recalibrated scores and outcomes.

Choice made: folds are dealt out DIVISIONS times over and the predictions averaged, so that the effect does not hang
on one deal; then they are recalibrated (models/nuisance.py). They come from regressions, which a few hundred treated
can carry, or, where selection or outcome bends, from regressions and boosted trees together (models/foreseeing.py). The
rows are the designed sample, the score is the sample's own, refitted: about one half after 1:1 matching, and it carries
what the matching left unbalanced.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from models.contrasts import Kind
from models.fold_regressions import cross_predict_all
from models.foreseeing import foresee_outcome, foresee_treatment
from models.influence import Clusters, find_clusters
from models.nuisance import assign_folds, recalibrate, regression_columns, rows_in_order
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray

Nuisances = Literal["regressions", "boosted"]
"""What foresees treatment and outcome; "boosted": regressions and boosted trees, whichever foresee better."""

DIVISIONS = 5
"""Divisions into folds over which predictions are averaged. One alone moves the NHEFS effect by a fifth of its standard
error from seed to seed."""

SURE = 1e-9
"""Scores stay this far from 0 and 1."""


SAID_OF: dict[Nuisances, str] = {"regressions": "", "boosted": ", foreseen by regressions and boosted trees"}
"""What a note on the error adds."""


@dataclass(frozen=True)
class CrossFitted:
    """The m rows of the designed sample (weight above 0) with their predictions, (m,) each.

    rows        row numbers in the design
    score       probability of treatment
    if_treated  expected outcome under treatment; the outcome itself where nothing has to be predicted, because the
                people of the estimand are the treated; `if_control` likewise
    """

    rows: IntArray
    clusters: Clusters
    y: FloatArray
    treated: BoolArray
    score: FloatArray
    if_treated: FloatArray
    if_control: FloatArray


def cross_fit(
    values: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    folds: int,
    l2_penalty: float,
    is_randomised: bool,
    nuisances: Nuisances,
) -> CrossFitted:
    """Cross-fitted predictions for every row of the design; rng deals out the folds.

    values  (n,) outcome, looked at in rows of positive weight only
    Raises Refused when an arm has fewer clusters than folds, and for matching weights, whose people are others than
    those of overlap weights.
    """
    if nuisances not in ("regressions", "boosted"):
        raise ValueError(f'nuisances must be "regressions" or "boosted", not {nuisances!r}')
    refuse_other_people(design)
    clusters = find_clusters(baseline, design)
    rows = rows_in_order(values, baseline, design)
    treated, matrix, y = design.treated[rows], regression_columns(baseline, rows), values[rows]
    divisions = [assign_folds(clusters, rows, design.treated, folds, rng) for _ in range(DIVISIONS)]
    fold = np.column_stack(divisions)

    def predict(target: FloatArray, learn_from: BoolArray, target_kind: Kind) -> FloatArray:
        predicted = cross_predict_all(matrix, target, learn_from, fold, target_kind, l2_penalty)
        return recalibrate(predicted, target, learn_from, target_kind)

    def outcome_from(learn_from: BoolArray) -> FloatArray:
        if nuisances == "boosted":
            return foresee_outcome(matrix, y, learn_from, fold, fold, kind, l2_penalty)
        return predict(y, learn_from, kind)

    if is_randomised:
        score = design.score[rows]
    elif nuisances == "boosted":
        score = foresee_treatment(matrix, treated, fold, fold, l2_penalty)
    else:
        score = predict(treated.astype(np.float64), np.ones_like(treated), "binary")
    return CrossFitted(
        rows=rows,
        clusters=clusters,
        y=y,
        treated=treated,
        score=np.clip(score, SURE, 1 - SURE),
        if_treated=y if design.estimand == "ATT" else outcome_from(treated),
        if_control=y if design.estimand == "ATC" else outcome_from(~treated),
    )


def refuse_other_people(design: Design) -> None:
    """Raises Refused for matching weights: their people are others than those of overlap weights."""
    if design.notes.get("weight_formula") == "matching":
        raise Refused(
            "matching weights speak for the people of a 1:1 match, min(e, 1 - e), and this method's ATO for those of "
            "overlap weights, e (1 - e): take propensity_weighting for it, or adjusted_regression for these people"
        )


def balancing_weights(
    treated: BoolArray, score: FloatArray, estimand: Estimand
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(m,) how each row counts among the people of the estimand, in the treated arm and in the control arm.

    For the ATO people count by (treated - score)², whose expectation is the overlap weight score × (1 - score): with
    the square, an error in the score changes the effect in second order only (the efficient influence function of Crump
    et al. 2006, NBER T0330, solved for the mean), as with the other estimands.
    """
    everyone = np.ones_like(score)
    people, forward, backward = {
        "ATT": (treated * everyone, everyone, score / (1 - score)),
        "ATC": (~treated * everyone, (1 - score) / score, everyone),
        "ATE": (everyone, 1 / score, 1 / (1 - score)),
        "ATO": ((treated - score) ** 2, 1 - score, score),
    }[estimand]
    return people, np.where(treated, forward, 0.0), np.where(treated, 0.0, backward)
