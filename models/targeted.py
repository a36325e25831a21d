"""Turns outcomes and a designed sample into a targeted maximum likelihood estimate (TMLE).

Choice made: the cross-fitted predictions of the outcome are moved on the logit scale, within the range of the outcome,
until their weighted residuals vanish in each arm; then they are averaged over the people of the estimand (van der Laan
& Rose 2011, Targeted Learning; cross-validated: Zheng & van der Laan 2011). The weights of the residuals stand in the
fluctuation's likelihood and not in its covariate, which few large ones cannot upset. Under the ATT the treated's own
mean is their observed mean, and the people averaged over are the treated themselves, which solves the rest of the
efficient score equation; nothing has to be iterated. A continuous outcome is scaled by its range in the sample
(Gruber & van der Laan 2010, Int J Biostat 6:26), so that a prediction never leaves it.

As right as AIPW when one of two models is; unlike it, no estimate lies outside the range of the outcome.
"""

import numpy as np
from numpy.random import Generator
from scipy.special import expit, logit

from models.contrasts import ArmMeans, Kind
from models.cross_fitting import CrossFitted, Nuisances, balancing_weights
from models.doubly_robust import cross_fitted_effect, refuse_one_for_all, weighted_mean
from models.nuisance import fit_coefficients
from models.results import Baseline, Design, Estimand, Estimate, FloatArray

INSIDE = 0.0005
"""Scaled predictions are kept this far from 0 and 1 before they are moved, as in R's tmle."""


def tmle(
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
    """Cross-fitted targeted maximum likelihood in the people of the design's estimand, on rows with positive weight.

    outcome     (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    folds       number of folds; matched sets and persons stay whole; rng deals them out, several times over
    l2_penalty  of both regressions, on standardised columns
    nuisances   "boosted": treatment and outcome are foreseen by regressions and boosted trees, whichever foresee better
                out of fold (models/foreseeing.py); hundreds of times as slow
    is_randomised  the propensity is known to be the design's score and is not fitted

    Standard errors come from the efficient influence function at the targeted predictions, summed over matched sets or
    persons. Raises ValueError when an arm has fewer clusters than folds, or the outcome is missing or not of its kind.
    """
    return cross_fitted_effect(
        targeted_means,
        outcome,
        baseline,
        design,
        method="tmle",
        says="influence function of the targeted, cross-fitted predictions",
        rng=rng,
        kind=kind,
        confidence=confidence,
        folds=folds,
        l2_penalty=l2_penalty,
        nuisances=nuisances,
        is_randomised=is_randomised,
    )


def targeted_means(fit: CrossFitted, estimand: Estimand) -> ArmMeans:
    """Both means of the estimand's people from out-of-sample predictions; see `doubly_robust_means` of AIPW."""
    people, forward, backward = balancing_weights(fit.treated, fit.score, estimand)
    refuse_one_for_all(forward, backward)
    if_treated = fit.y if estimand == "ATT" else _target(fit.y, fit.if_treated, forward)
    if_control = fit.y if estimand == "ATC" else _target(fit.y, fit.if_control, backward)
    mean_treated, of_treated = _mean(fit.y, if_treated, people, forward)
    mean_control, of_control = _mean(fit.y, if_control, people, backward)
    n = len(fit.clusters.code)
    influence, control_weights, treated_weights = np.zeros((n, 2)), np.zeros(n), np.zeros(n)
    influence[fit.rows] = np.column_stack([of_treated, of_control])
    control_weights[fit.rows], treated_weights[fit.rows] = backward, forward
    return ArmMeans(mean_treated, mean_control, influence, fit.clusters, control_weights, treated_weights)


def _target(y: FloatArray, predicted: FloatArray, weights: FloatArray) -> FloatArray:
    """(m,) predictions moved on the logit scale until the weighted residuals of the rows with weight sum to zero."""
    low, high = float(y.min()), float(y.max())
    arm = weights > 0
    if np.all(y[arm] == y[arm][0]):  # all at one end of the range: the move would never end
        return np.full_like(predicted, y[arm][0])
    initial = logit(np.clip((predicted - low) / (high - low), INSIDE, 1 - INSIDE))
    share = weights[arm] / weights[arm].sum() * arm.sum()
    scaled = (y[arm] - low) / (high - low)
    move = fit_coefficients(np.ones((int(arm.sum()), 1)), scaled, share, "binary", 0.0, offset=initial[arm])
    return np.asarray(low + (high - low) * expit(initial + move[0]), dtype=np.float64)


def _mean(y: FloatArray, targeted: FloatArray, people: FloatArray, weights: FloatArray) -> tuple[float, FloatArray]:
    """The mean over the people and (m,) its influence function; the residuals' own mean is zero."""
    mean, of_people = weighted_mean(targeted, people)
    return mean, of_people + weighted_mean(y - targeted, weights)[1]
