"""Turns predicted effects that knew nothing of a person into tests of whether they are worth anything.

Choice made: predictions come from the bags that left out the person's whole fold. People are ranked, and predictions
centred, within folds: a prediction from everybody else is a little lower for whoever had a high outcome, and comparing
such predictions across everybody would test that. Calibration is the best linear projection of the scores on the
predictions (Chernozhukov, Demirer, Duflo & Fernandez-Val 2018, NBER 24678): a slope of 1 is a perfect forecast, 0 a
useless one. The rank-weighted average effects are AUTOC and Qini (Yadlowsky et al. 2021, arXiv:2111.07966), with the
half-sample bootstrap over clusters, as in grf.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from scipy.special import ndtr, ndtri

from models.forest.scores import EffectScores, project
from models.forest.subgroups import GroupEffect, group_effects
from models.results import FloatArray, IntArray

Better = Literal["lower", "higher"]

HALF_SAMPLES = 200
QUARTERS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
CURVE_SHARES = tuple(share / 10 for share in range(1, 11))


@dataclass(frozen=True)
class Ranking:
    """Is the order right in which the forest puts people by how much they would gain?

    calibration  slope of the effect on the prediction, with limits; p-value of "not above 0", one-sided
    autoc, qini  (value, std_error, lower, upper, p-value two-sided); above 0: those ranked first gain more
    toc          gain among the first 10, 20, ..., 100 % beyond the mean gain
    quarters     effects (not gains) by quarter of the predicted effect
    """

    calibration: tuple[float, float, float, float]
    calibration_p_value: float
    autoc: tuple[float, float, float, float, float]
    qini: tuple[float, float, float, float, float]
    toc: tuple[float, ...]
    quarters: tuple[GroupEffect, ...]


def judge_ranking(
    scores: EffectScores, predicted: FloatArray, fold: IntArray, better: Better, confidence: float, rng: Generator
) -> Ranking:
    """Judge (m,) predictions made without each row's fold.

    Raises ValueError when they do not vary.
    """
    rank = rank_within(predicted, fold, scores.count)
    centred = _centred_within(predicted, fold, scores.count)
    slope = project(scores, np.column_stack([np.ones(len(predicted)), centred]), confidence)
    sign = 1.0 if better == "higher" else -1.0
    priority = rank if better == "higher" else 1 - rank
    autoc, qini = rank_weighted(scores, priority, sign, confidence, rng)
    quarter = np.minimum((rank * 4).astype(np.int64), 3)
    effects, _ = group_effects(scores, {name: quarter == at for at, name in enumerate(QUARTERS)}, confidence)
    z = slope.value[1] / slope.std_error[1]
    return Ranking(
        calibration=(
            float(slope.value[1]),
            float(slope.std_error[1]),
            float(slope.lower[1]),
            float(slope.upper[1]),
        ),
        calibration_p_value=float(ndtr(-z)),
        autoc=autoc,
        qini=qini,
        toc=_toc_at(scores, priority, sign),
        quarters=effects,
    )


def _centred_within(predicted: FloatArray, fold: IntArray, count: FloatArray) -> FloatArray:
    """(m,) predictions less the mean prediction of the fold's people of the estimand."""
    centred = np.zeros(len(predicted))
    for number in np.unique(fold):
        here = fold == number
        people = float(count[here].sum())
        if people > 0:
            centred[here] = predicted[here] - float(count[here] @ predicted[here]) / people
    return centred


def rank_within(predicted: FloatArray, fold: IntArray, count: FloatArray) -> FloatArray:
    """(m,) share of the fold's people of the estimand with a lower prediction, ties halved: 0 lowest, 1 highest."""
    rank = np.empty(len(predicted))
    for number in np.unique(fold):
        here = np.flatnonzero(fold == number)
        values, at = np.unique(predicted[here], return_inverse=True)
        of_value = np.bincount(at, weights=count[here], minlength=len(values))
        below = np.cumsum(of_value) - of_value / 2
        rank[here] = below[at] / max(of_value.sum(), 1e-300)
    return rank


def rank_weighted(
    scores: EffectScores, priority: FloatArray, sign: float, confidence: float, rng: Generator
) -> tuple[tuple[float, float, float, float, float], tuple[float, float, float, float, float]]:
    """AUTOC and Qini of gains (effect × sign) when those of the highest (m,) priority come first."""
    group = np.unique(-priority, return_inverse=True)[1]
    member = np.unique(scores.cluster, return_inverse=True)[1]
    n_clusters = int(member.max()) + 1
    gain = scores.contribution * sign
    whole = _areas(scores.count, gain, group)
    drawn = np.empty((HALF_SAMPLES, 2))
    for number in range(HALF_SAMPLES):
        chosen = np.zeros(n_clusters)
        chosen[rng.permutation(n_clusters)[: n_clusters // 2]] = 1.0
        weight = chosen[member]
        drawn[number] = _areas(scores.count * weight, gain * weight, group)
    error = drawn.std(axis=0, ddof=1)
    reach = float(ndtri(0.5 + confidence / 2))
    autoc, qini = (
        (
            float(value),
            float(spread),
            float(value - reach * spread),
            float(value + reach * spread),
            # Where all have one priority nobody comes first, and area and spread are 0.
            float(2 * ndtr(-abs(value) / spread)) if spread > 0 else 1.0,
        )
        for value, spread in zip(whole, error, strict=True)
    )
    return autoc, qini


def _areas(count: FloatArray, gain: FloatArray, group: IntArray) -> FloatArray:
    """(AUTOC, Qini); people of one group share a priority and come together."""
    toc, share, weight = _curve(count, gain, group)
    return np.array([weight @ toc, weight @ (share * toc)])


def _curve(count: FloatArray, gain: FloatArray, group: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """After each group of priority: gain beyond the mean gain, share of people so far, share in the group."""
    n_groups = int(group.max()) + 1
    people = np.bincount(group, weights=count, minlength=n_groups)
    so_far = np.cumsum(people)
    gained = np.cumsum(np.bincount(group, weights=gain, minlength=n_groups))
    seen = people > 0
    reached = gained[seen]
    reached[-1] = gained[-1]  # who comes after the last person that counts still belongs to everybody
    toc = reached / so_far[seen] - gained[-1] / so_far[-1]
    return toc, so_far[seen] / so_far[-1], people[seen] / so_far[-1]


def _toc_at(scores: EffectScores, priority: FloatArray, sign: float) -> tuple[float, ...]:
    group = np.unique(-priority, return_inverse=True)[1]
    toc, share, _ = _curve(scores.count, scores.contribution * sign, group)
    at = np.minimum(np.searchsorted(share, np.array(CURVE_SHARES) - 1e-9), len(toc) - 1)
    return tuple(float(value) for value in toc[at])
