"""Turns outcomes and a designed sample into an effect that stays right when one of two models is wrong (AIPW).

Choice made: the score of the ATT itself (Hahn 1998, Econometrica 66:315; Farrell 2015, J Econometrics 189:1): the
outcome model is learnt from controls only, controls count with the odds e/(1-e) of their cross-fitted propensity
(Chernozhukov et al. 2018), and nothing is divided by a small e, so the standard error does not grow with the pool of
controls. The weighted residuals are normalised (Hajek): sum of odds × residual / sum of odds instead of / number
treated, which cannot be thrown off by a few large odds. The ATC is its mirror image, the ATE has the usual score
(Robins, Rotnitzky & Zhao 1994), the ATO that of overlap weights (models/cross_fitting.py).

The rows are the designed sample; the set weights of a varying ratio are not used, since the refitted propensity answers
for the ratio too. Each influence value is divided by the root of one minus the row's share in its weighted mean (HC2 of
a mean): where few rows carry the weight, they lie too near to a mean that follows them.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from models.contrasts import ArmMeans, Kind, check_confidence, contrast_arms, outcome_in_design, scales_for
from models.cross_fitting import SAID_OF, CrossFitted, Nuisances, balancing_weights, cross_fit
from models.influence import Clusters
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, Estimate, FloatArray, IntArray

MOST_OF_ONE = 0.5
"""Of the weight with which an arm stands in that one person may carry."""
LARGEST_SHARE = 0.9
"""Of a weighted mean that one row is taken to hold when its influence is corrected."""


def aipw(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    folds: int = 5,
    l2_penalty: float = 1.0,
    nuisances: Nuisances = "regressions",
    is_randomised: bool = False,
) -> tuple[Estimate, ...]:
    """Cross-fitted doubly robust effect in the people of the design's estimand, on the rows with positive weight.

    outcome     (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    folds       number of folds; matched sets and persons stay whole; rng deals them out, DIVISIONS times over
    l2_penalty  of both regressions, on standardised columns
    nuisances   "boosted": treatment and outcome are foreseen by regressions and boosted trees, whichever foresee better
                out of fold (models/foreseeing.py); hundreds of times as slow
    is_randomised  the propensity is known to be the design's score and is not fitted: fitting it would only add noise

    Standard errors come from the joint influence function of the two means, summed over matched sets or persons.
    `effective_n` and the note `max_control_weight_share` describe the weights of the refitted score.
    Raises Refused when an arm has fewer clusters than folds, ValueError when the outcome is missing or not of its kind.
    """
    return cross_fitted_effect(
        _augmented_means,
        outcome,
        baseline,
        design,
        method="aipw",
        says="influence function of the cross-fitted score",
        rng=rng,
        kind=kind,
        confidence=confidence,
        folds=folds,
        l2_penalty=l2_penalty,
        nuisances=nuisances,
        is_randomised=is_randomised,
    )


def cross_fitted_effect(
    means_of: Callable[[CrossFitted, Estimand], ArmMeans],
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    method: str,
    says: str,
    rng: Generator,
    kind: Kind,
    confidence: float,
    folds: int,
    l2_penalty: float,
    nuisances: Nuisances,
    is_randomised: bool,
) -> tuple[Estimate, ...]:
    """What `means_of` makes of cross-fitted predictions, as estimates on every scale of the outcome; `says` is the note
    on the error. Other arguments and refusals are those of `aipw`."""
    check_confidence(confidence)
    fit = cross_fit(
        outcome_in_design(outcome, design, kind),
        baseline,
        design,
        rng=rng,
        kind=kind,
        folds=folds,
        l2_penalty=l2_penalty,
        is_randomised=is_randomised,
        nuisances=nuisances,
    )
    means = means_of(fit, design.estimand)
    return contrast_arms(
        means,
        design,
        method=method,
        scales=scales_for(kind, fit.y, (means.treated, means.control)),
        confidence=confidence,
        notes={
            "variance": says + SAID_OF[nuisances],
            "max_control_weight_share": largest_share(means.control_weights),
        },
    )


def _augmented_means(fit: CrossFitted, estimand: Estimand) -> ArmMeans:
    return doubly_robust_means(
        fit.y, fit.treated, fit.score, fit.if_treated, fit.if_control, estimand, fit.clusters, fit.rows
    )


def doubly_robust_means(
    y: FloatArray,
    treated: BoolArray,
    score: FloatArray,
    if_treated: FloatArray,
    if_control: FloatArray,
    estimand: Estimand,
    clusters: Clusters,
    rows: IntArray,
) -> ArmMeans:
    """Both means of the estimand's population from out-of-sample predictions.

    y, treated, score, if_treated and if_control are for the sample, whose rows are `rows` of the design;
    score is the propensity, if_treated and if_control the predicted outcomes under each treatment (not looked at
    for the arm that is itself the population). The influence and the control weights come back for all rows of the
    design, in its order.
    """
    people, forward, backward = balancing_weights(treated, score, estimand)
    refuse_one_for_all(forward, backward)
    mean_treated, of_treated = _augmented_mean(y, y if estimand == "ATT" else if_treated, people, forward)
    mean_control, of_control = _augmented_mean(y, y if estimand == "ATC" else if_control, people, backward)
    n = len(clusters.code)
    influence, control_weights, treated_weights = np.zeros((n, 2)), np.zeros(n), np.zeros(n)
    influence[rows] = np.column_stack([of_treated, of_control])
    control_weights[rows], treated_weights[rows] = backward, forward
    return ArmMeans(mean_treated, mean_control, influence, clusters, control_weights, treated_weights)


def refuse_one_for_all(*arms: FloatArray) -> None:
    """Raises Refused where one person carries most of the weight with which an arm stands in: the estimate is then
    that person's residual, and its error, which rests on many people sharing the weight, says nothing."""
    share = max(largest_share(weights) for weights in arms)
    if share > MOST_OF_ONE:
        raise Refused(
            f"one person carries {100 * share:.0f} % of the weight with which an arm stands in by the refitted score: "
            "the arms hardly overlap, and a doubly robust estimate would rest on that person"
        )


def largest_share(weights: FloatArray) -> float:
    """Share of the whole weight that lies on one row."""
    return float(weights.max() / weights.sum())


def _augmented_mean(
    y: FloatArray, predicted: FloatArray, people: FloatArray, weights: FloatArray
) -> tuple[float, FloatArray]:
    """Mean prediction over the people plus the weighted mean residual, and (m,) its influence function."""
    mean_predicted, of_people = weighted_mean(predicted, people)
    mean_residual, of_residuals = weighted_mean(y - predicted, weights)
    return mean_predicted + mean_residual, of_people + of_residuals


def weighted_mean(values: FloatArray, weights: FloatArray) -> tuple[float, FloatArray]:
    """The mean and (m,) each row's share in its error, corrected for the mean following the row (HC2)."""
    share = weights / weights.sum()
    mean = float(share @ values)
    follows = np.sqrt(1 - np.minimum(share, LARGEST_SHARE))
    return mean, np.where(share > 0, share * (values - mean), 0.0) / follows
