"""Turns outcomes and a design into the plain weighted comparison of the two arms, and drops unobserved outcomes.

Choice made: each arm's mean is the weighted mean with weights that sum to one (Hajek), the contrast is taken from the
two means, the variance from their influence functions summed by cluster (models/influence.py). For a matched design
that is the variance clustered by matched set of Abadie & Spiess (2022); for a weighting design it is the sandwich of
a weighted regression on treatment (GEE), corrected for the propensity score having been estimated unless asked not to.
"""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from models.contrasts import (
    ArmMeans,
    Kind,
    check_confidence,
    contrast_arms,
    outcome_in_design,
    scales_for,
)
from models.estimated_weights import WeightsAre, is_scaled_within_groups, model_weights
from models.influence import find_clusters
from models.observation import Unobserved, observation_weights
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray


def weighted_difference(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    weights_are: WeightsAre = "estimated",
    unobserved: Unobserved = "left_out",
    observation_penalty: float = 1.0,
    largest_observation_weight: float = 10.0,
) -> tuple[Estimate, ...]:
    """Compare weighted means: risk difference, risk ratio and odds ratio, or mean difference (and mean ratio).

    outcome      (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    weights_are  "estimated" stacks the score equations of the logistic propensity score under weights e/(1-e) (ATT) or
                 1/e and 1/(1-e) (ATE) (Lunceford & Davidian 2004); "fixed" is the classical sandwich. Matched designs
                 are clustered by set either way. The notes' `variance` says which was used: weights that are not of
                 that form fall back to fixed.
    unobserved   "left_out": the design comes without the people whose outcome was not observed (`keep_observed`);
                 "weights": the design comes as it was made, their outcome is NaN, and those observed stand for them
                 (models/observation.py), with that model's ridge penalty and cap
    rng          not used (no randomness here), taken so that all effect methods are called alike

    Intervals are normal; over G matched sets the variance has the factor G/(G-1).
    Raises ValueError on outcomes or designs that cannot be compared.
    """
    check_confidence(confidence)
    seen = observation_weights(
        outcome, baseline, design, unobserved, l2_penalty=observation_penalty, largest=largest_observation_weight
    )
    values = outcome_in_design(outcome, seen.weighted, kind)
    weights = seen.weighted.weights
    treated, gain_treated = _weighted_mean(values, weights, design.treated)
    control, gain_control = _weighted_mean(values, weights, ~design.treated)
    model = model_weights(baseline, design, weights_are)
    means = ArmMeans(
        treated=treated,
        control=control,
        influence=np.hstack(
            [
                model.influence(seen.per_row(gain_treated), design.treated),
                model.influence(seen.per_row(gain_control), ~design.treated),
            ]
        ),
        clusters=find_clusters(baseline, design),
        control_weights=np.where(design.treated, 0.0, weights),
        treated_weights=np.where(design.treated, weights, 0.0),
    )
    return contrast_arms(
        means,
        design,
        method="weighted_difference",
        scales=scales_for(kind, values, (treated, control)),
        confidence=confidence,
        notes={"variance": model.says, **seen.notes},
    )


def keep_observed(outcome: FloatArray, baseline: Baseline, design: Design) -> tuple[FloatArray, Baseline, Design]:
    """Take the rows whose outcome is missing (NaN) out of the design, to weight 0, and keep matched sets whole.

    In a matched set the weight of lost controls is shared among the remaining in proportion to their weights. Under
    the ATT a set's control weight shrinks with its treated weight (a lost only treated row takes its controls along:
    they stay as rows of weight 0), under the ATC the other way round; under the ATE each arm keeps its total. A set
    left with one arm goes. Weights that were scaled within exact groups are treated alike, with groups for sets; other
    weights stay as they are.
    The rows themselves stay: the equations that made the weights hold over them, and the errors need those
    (`Design.before`). The notes gain n_treated_without_outcome, n_control_without_outcome (rows of the design) and
    n_sets_lost. With nothing missing in the design the three come back as they are.

    Unbiased where outcomes are missing whatever the covariates are, or depend on them alike in both arms (then for the
    people observed); where they depend on them otherwise in either arm, only methods that fit the outcome or the score
    to the people observed adjust for it (aipw, tmle, g_computation, adjusted_regression, forests), and those that weigh
    for being observed (`unobserved = "weights"`), which take the design as it was and not what this function leaves.
    """
    observed, inside = np.isfinite(outcome), design.weights > 0
    if observed[inside].all():
        return outcome, baseline, design
    weights = _share_weights(baseline, design, observed)
    sets = np.where(weights > 0, design.matched_set, -1)
    in_sets = np.unique(design.matched_set[inside & (design.matched_set >= 0)]).size
    notes: dict[str, float | str] = {
        **design.notes,
        "n_treated_without_outcome": float((inside & design.treated & ~observed).sum()),
        "n_control_without_outcome": float((inside & ~design.treated & ~observed).sum()),
        "n_sets_lost": float(in_sets - np.unique(sets[sets >= 0]).size),
    }
    return outcome, baseline, replace(design, weights=weights, matched_set=sets, notes=notes, before=design)


def _weighted_mean(values: FloatArray, weights: FloatArray, arm: BoolArray) -> tuple[float, FloatArray]:
    """The arm's mean and (n, 1) its derivative with respect to each row's weight."""
    share = np.where(arm, weights, 0.0)
    used = values[share > 0]
    # An arm without variation has that value exactly; rounding must not turn a risk of 1 into an odds of 10^16.
    mean = float(used[0]) if np.all(used == used[0]) else float(share @ values / share.sum())
    return mean, np.where(share > 0, values - mean, 0.0)[:, None] / share.sum()


def _share_weights(baseline: Baseline, design: Design, observed: BoolArray) -> FloatArray:
    """(n,) weights after the unobserved rows are gone."""
    left = np.where(observed, design.weights, 0.0)
    in_set = (design.matched_set >= 0) & (design.weights > 0)
    number = np.where(in_set, design.matched_set, 0)
    if not in_set.any():
        number = np.unique(baseline.exact_group, return_inverse=True)[1].astype(np.int64)
        if not is_scaled_within_groups(design, number):
            return left
        in_set = design.weights > 0

    def totals(weights: FloatArray, arm: BoolArray) -> FloatArray:
        return np.bincount(number, weights=np.where(in_set & arm, weights, 0.0)).astype(np.float64)

    before = {arm: totals(design.weights, design.treated == arm) for arm in (True, False)}
    after = {arm: totals(left, design.treated == arm) for arm in (True, False)}
    whole = (after[True] > 0) & (after[False] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        treated_left = after[True] / before[True]
        rescale = {arm: before[arm] / after[arm] for arm in (True, False)}
        if design.estimand == "ATT":
            rescale = {True: np.ones_like(treated_left), False: rescale[False] * treated_left}
        elif design.estimand == "ATC":
            rescale = {True: rescale[True] * after[False] / before[False], False: np.ones_like(treated_left)}
    factor = np.where(design.treated, rescale[True][number], rescale[False][number])
    return np.where(in_set, np.where(whole[number], left * np.nan_to_num(factor), 0.0), left)
