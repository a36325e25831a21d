"""Turns outcomes and a designed sample into an effect that stays right when one of two models is wrong (AIPW).

Choice made: the score of the ATT itself (Hahn 1998, Econometrica 66:315; Farrell 2015, J Econometrics 189:1): the
outcome model is learnt from controls only, controls count with the odds e/(1-e) of their cross-fitted propensity
(Chernozhukov et al. 2018), and nothing is divided by a small e, so the standard error does not grow with the pool of
controls. The weighted residuals are normalised (Hajek): sum of odds × residual / sum of odds instead of / number
treated, which cannot be thrown off by a few large odds. The ATE has the usual score (Robins, Rotnitzky & Zhao 1994).

The rows are the designed sample. For a matched sample the propensity is the sample's own, refitted: about one half
after 1:1 matching, and it carries what the matching left unbalanced; the set weights of a varying ratio are not used,
since the refitted propensity answers for the ratio too.
"""

import numpy as np
from numpy.random import Generator

from models.contrasts import ArmMeans, Kind, check_confidence, contrast_arms, outcome_in_design, scales_for
from models.influence import Clusters, find_clusters
from models.nuisance import assign_folds, cross_predict, regression_columns, rows_in_order
from models.results import Baseline, BoolArray, Design, Estimand, Estimate, FloatArray, IntArray

DIVISIONS = 5
"""Divisions into folds over which predictions are averaged. One alone moves the NHEFS effect by a fifth of its standard
error from seed to seed."""


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
    is_randomised: bool = False,
) -> tuple[Estimate, ...]:
    """Cross-fitted doubly robust ATT (or ATE, as the design says) on the rows with positive weight.

    outcome     (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    folds       number of folds; matched sets and persons stay whole; rng deals them out, DIVISIONS times over
    l2_penalty  of both models, on standardised columns
    is_randomised  the propensity is known to be the design's score and is not fitted: fitting it would only add noise

    Standard errors come from the joint influence function of the two means, summed over matched sets or persons.
    `effective_n` and the note `max_control_weight_share` describe the odds the controls count with.
    Raises ValueError when an arm has fewer clusters than folds, or the outcome is missing or not of its kind.
    """
    check_confidence(confidence)
    values = outcome_in_design(outcome, design, kind)
    clusters = find_clusters(baseline, design)
    rows = rows_in_order(values, baseline, design)
    treated, matrix, y = design.treated[rows], regression_columns(baseline, rows), values[rows]
    divisions = [assign_folds(clusters, rows, design.treated, folds, rng) for _ in range(DIVISIONS)]

    def predict(target: FloatArray, learn_from: BoolArray, target_kind: Kind) -> FloatArray:
        each = [cross_predict(matrix, target, learn_from, fold, target_kind, l2_penalty) for fold in divisions]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    known = design.score[rows]
    score = known if is_randomised else predict(treated.astype(np.float64), np.ones_like(treated), "binary")
    if_control = predict(y, ~treated, kind)
    # Under the ATT the treated outcome model is not needed: the mean of the treated is the mean of the treated.
    if_treated = predict(y, treated, kind) if design.estimand == "ATE" else if_control
    means = doubly_robust_means(y, treated, score, if_treated, if_control, design.estimand, clusters, rows)
    return contrast_arms(
        means,
        design,
        method="aipw",
        scales=scales_for(kind, y, (means.treated, means.control)),
        confidence=confidence,
        notes={
            "variance": "influence function of the cross-fitted score",
            "max_control_weight_share": largest_share(means.control_weights),
        },
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
    score is the propensity, if_treated and if_control the predicted outcomes under each treatment. The influence
    and the control weights come back for all rows of the design, in its order.
    """
    if estimand == "ATT":
        mean_treated = float(y[treated].mean())
        influence_treated = np.where(treated, y - mean_treated, 0.0) / treated.sum()
        odds = np.where(treated, 0.0, score / (1 - score))
        mean_control, influence_control = _augmented_mean(y, if_control, treated, odds)
        weights = odds
    else:
        everyone = np.ones_like(treated)
        weights = np.where(treated, 0.0, 1 / (1 - score))
        mean_treated, influence_treated = _augmented_mean(y, if_treated, everyone, np.where(treated, 1 / score, 0.0))
        mean_control, influence_control = _augmented_mean(y, if_control, everyone, weights)
    influence, control_weights = np.zeros((len(clusters.code), 2)), np.zeros(len(clusters.code))
    influence[rows] = np.column_stack([influence_treated, influence_control])
    control_weights[rows] = weights
    return ArmMeans(mean_treated, mean_control, influence, clusters, control_weights)


def largest_share(weights: FloatArray) -> float:
    """Share of the whole weight that lies on one row."""
    return float(weights.max() / weights.sum())


def _augmented_mean(
    y: FloatArray, predicted: FloatArray, population: BoolArray, weights: FloatArray
) -> tuple[float, FloatArray]:
    """Mean prediction over the population plus the weighted mean residual, and (n,) its influence function."""
    share = weights / weights.sum()
    mean_predicted = float(predicted[population].mean())
    residual = y - predicted
    mean_residual = float(share @ residual)
    influence = np.where(population, predicted - mean_predicted, 0.0) / population.sum()
    return mean_predicted + mean_residual, influence + share * (residual - mean_residual)
