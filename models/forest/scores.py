"""Turns out-of-sample predictions into doubly robust scores of the estimand, and scores into projections of the effect.

Choice made: the score is that of the estimand itself (for the ATT: Hahn 1998, Econometrica 66:315), never the ATE's,
whose error grows with the pool of controls when treatment is rare. A row has two numbers: how much it counts among the
people of the estimand, and its contribution; the effect in any group is the sum of the contributions over the sum of
the counts (for the ATT controls count 0 and contribute). The predicted outcomes are first moved so that the weighted
residuals of an arm add up to nothing: over everybody the scores then give the mean effect of models/doubly_robust.py.

The best linear projection of the effect on covariates (Semenova & Chernozhukov 2021, Econom J 24:264) solves
sum count × A (A'b) = sum A × contribution. Errors are the jackknife over clusters (persons, matched sets): for the ATE
with single rows that is the HC3 of least squares on the scores (R: sandwich::vcovHC), with clusters the CR3.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from models.cross_fitting import balancing_weights
from models.refusals import Refused
from models.results import BoolArray, Estimand, FloatArray, IntArray

COLLINEAR = 1e-10
"""Columns whose information is below this share of the largest cannot be told apart."""


@dataclass(frozen=True)
class EffectScores:
    """The m rows of the designed sample.

    count           (m,) how much a row counts among the people of the estimand
    contribution    (m,) effect of a group = sum of contribution / sum of count
    stand_in_weight (m,) weight with which a row stands in for the people of the estimand: controls under the ATT,
                    treated rows under the ATC, 0 for those whose arm is these people; all rows under the ATE and ATO
    treated         (m,) arm
    cluster         (m,) independent units
    outcome         (m,) what was observed, so that a group can tell on how few events it rests; None where not known
    """

    count: FloatArray
    contribution: FloatArray
    stand_in_weight: FloatArray
    treated: BoolArray
    cluster: IntArray
    outcome: FloatArray | None = None


@dataclass(frozen=True)
class Projection:
    """Coefficients with what an analyst reads of them, (q,) each, and their (q, q) covariance."""

    value: FloatArray
    std_error: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_value: FloatArray
    covariance: FloatArray


def effect_scores(
    y: FloatArray,
    treated: BoolArray,
    score: FloatArray,
    if_treated: FloatArray,
    if_control: FloatArray,
    estimand: Estimand,
    cluster: IntArray,
) -> EffectScores:
    """Scores from out-of-sample predictions, (m,) each; `score` is the propensity."""
    count, forward, backward = balancing_weights(treated, score, estimand)
    forward, backward = (weights * (count.sum() / weights.sum()) for weights in (forward, backward))
    above = y - if_treated - np.average(y - if_treated, weights=forward)
    below = y - if_control - np.average(y - if_control, weights=backward)
    # y - above and y - below are the predictions, moved.
    contribution = count * (below - above) + forward * above - backward * below
    stand_in = {"ATT": backward, "ATC": forward}.get(estimand, forward + backward)
    return EffectScores(count, np.asarray(contribution, dtype=np.float64), stand_in, treated, cluster, y)


def project(scores: EffectScores, columns: FloatArray, confidence: float) -> Projection:
    """The best linear projection of the effect on the (m, q) columns (a constant among them if wanted).

    Raises Refused when the columns are collinear among the people of the estimand, or are so without one cluster.
    """
    member = np.unique(scores.cluster, return_inverse=True)[1]
    n_clusters, q = int(member.max()) + 1, columns.shape[1]
    products = (columns[:, :, None] * columns[:, None, :] * scores.count[:, None, None]).reshape(len(columns), q * q)
    left = np.column_stack([np.bincount(member, weights=item, minlength=n_clusters) for item in products.T])
    left = left.reshape(n_clusters, q, q)
    right = np.column_stack(
        [np.bincount(member, weights=column * scores.contribution, minlength=n_clusters) for column in columns.T]
    )
    whole, target = left.sum(axis=0), right.sum(axis=0)
    without = whole - left
    scale = np.sqrt(np.diag(whole))
    if not (scale > 0).all() or np.linalg.eigvalsh(without / np.outer(scale, scale)).min() < COLLINEAR:
        raise Refused("the covariates of the projection are collinear, or a level rests on a single person or set")
    value = np.linalg.solve(whole, target)
    moved = np.linalg.solve(without, (target - right)[:, :, None])[:, :, 0] - value
    covariance = moved.T @ moved
    std_error = np.sqrt(np.diag(covariance))
    reach = float(ndtri(0.5 + confidence / 2)) * std_error
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = np.asarray(2 * ndtr(-np.abs(value) / std_error), dtype=np.float64)
    return Projection(value, std_error, value - reach, value + reach, p_value, covariance)


def wald_test(value: FloatArray, covariance: FloatArray) -> float:
    """p-value of "all are zero" for (k,) values."""
    statistic = float(value @ np.linalg.solve(covariance, value))
    return float(chi2.sf(statistic, len(value)))
