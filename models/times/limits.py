"""Turns an arm's curve and its influence into pointwise limits and a band for the whole curve.

Choice made: both on the log(-log) scale, so they stay within 0 and 1. The band is of equal precision: pointwise limits
with a larger multiplier, the quantile of the largest standardised error over the days (Nair 1984, Technometrics 26:265;
Lin 1997, Stat Med 16:901). It is found by drawing Gaussian processes with the estimated covariance, which is what
multiplying the clusters' influences with normal numbers does (Lin, Wei & Ying 1993, Biometrika 80:557), for weights,
matched sets and repeated persons alike. The difference of two curves has limits and a band of its own, on its own
scale, from the influence on both: two bands that overlap do not say that the curves do not differ.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from models.estimated_weights import WeightModel
from models.influence import Clusters
from models.results import BoolArray, Curve, CurveDifference, FloatArray, IntArray
from models.times.arm_curve import ArmCurve

DAYS_AT_ONCE = 16

BAND_FROM_EVENTS = 10
"""A band begins on the day of this event: before, the normal approximation says little."""

MOST_IN_BAND = 30_000_000
"""Clusters × days held at once for the band; a larger pool has its band found on fewer, evenly spread days."""

N_DRAWS = 10_000
BAND_SEED = 20_240_601
"""The draws are the same in every run: they are a way to integrate, not a choice of the study."""


def with_limits(steps: ArmCurve, model: WeightModel, clusters: Clusters, confidence: float) -> Curve:
    """The curve from day 0 with pointwise limits and the band; the band is nan where there is none."""
    is_possible = (steps.incidence > 0) & (steps.incidence < 1) & (steps.n_events >= BAND_FROM_EVENTS)
    error, sums = errors_and_sums(steps, model, clusters, np.flatnonzero(is_possible))
    is_inner = (steps.incidence > 0) & (steps.incidence < 1) & (error > 0)
    lower, upper = _around(steps.incidence, error, is_inner, float(ndtri(0.5 + confidence / 2)))
    in_band = is_inner & is_possible
    band_lower, band_upper = np.full(error.size, np.nan), np.full(error.size, np.nan)
    if in_band.any():
        low, high = _around(steps.incidence, error, in_band, band_multiplier(sums, confidence))
        band_lower[in_band], band_upper[in_band] = low[in_band], high[in_band]
    start, none = np.zeros(1), np.full(1, np.nan)
    return Curve(
        arm=steps.arm,
        day=np.concatenate([start, steps.day]),
        incidence=np.concatenate([start, steps.incidence]),
        lower=np.concatenate([start, lower]),
        upper=np.concatenate([start, upper]),
        at_risk=np.concatenate([steps.at_risk[:1], steps.at_risk]),
        band_lower=np.concatenate([none, band_lower]),
        band_upper=np.concatenate([none, band_upper]),
    )


def errors_and_sums(
    steps: ArmCurve, model: WeightModel, clusters: Clusters, band_days: IntArray
) -> tuple[FloatArray, FloatArray]:
    """(k,) standard errors of the incidence, nan with fewer than two clusters, and (clusters, days) the influence of
    each cluster on the incidence of the band's days, or of as many of them as may be held at once.

    A few days at a time: people × days would not fit for a large pool.
    """
    every = np.eye(steps.day.size)
    return _errors_and_sums(
        lambda first, stop: steps.influence(model, every[:, first:stop]), steps.day.size, model, clusters, band_days
    )


def difference_with_limits(
    treated: ArmCurve, control: ArmCurve, model: WeightModel, clusters: Clusters, confidence: float
) -> CurveDifference:
    """Treated minus control from day 0 to the last day known of both, with pointwise limits and the band, which begins
    on the day on which both arms have had BAND_FROM_EVENTS events."""
    known = min(treated.known_until, control.known_until)
    days = np.union1d(treated.day, control.day)
    days = days[days <= known]
    arms = [
        (arm, sign, np.searchsorted(arm.day, days, side="right") - 1) for arm, sign in ((treated, 1), (control, -1))
    ]

    def influence(first: int, stop: int) -> FloatArray:
        total = np.zeros((model.design.weights.size, stop - first))
        for arm, sign, place in arms:
            picked = np.arange(arm.day.size)[:, None] == place[first:stop]
            total += sign * arm.influence(model, picked.astype(np.float64))
        return total

    started = [place >= 0 for _, _, place in arms]
    value = np.zeros(days.size)
    enough = np.ones(days.size, dtype=np.bool_)
    for (arm, sign, place), has_day in zip(arms, started, strict=True):
        value += sign * np.where(has_day, arm.incidence[place], 0.0)
        enough &= np.where(has_day, arm.n_events[place] >= BAND_FROM_EVENTS, False)
    error, sums = _errors_and_sums(influence, days.size, model, clusters, np.flatnonzero(enough))
    error = np.nan_to_num(error)
    reach = float(ndtri(0.5 + confidence / 2)) * error
    in_band = enough & (error > 0)
    band = np.where(in_band, error * (band_multiplier(sums, confidence) if in_band.any() else np.nan), np.nan)
    start, none = np.zeros(1), np.full(1, np.nan)
    return CurveDifference(
        day=np.concatenate([start, days]),
        value=np.concatenate([start, value]),
        lower=np.concatenate([start, value - reach]),
        upper=np.concatenate([start, value + reach]),
        band_lower=np.concatenate([none, value - band]),
        band_upper=np.concatenate([none, value + band]),
    )


def _errors_and_sums(
    influence_of: Callable[[int, int], FloatArray],
    n_days: int,
    model: WeightModel,
    clusters: Clusters,
    band_days: IntArray,
) -> tuple[FloatArray, FloatArray]:
    """`influence_of` gives the (n, stop - first) influence on the numbers of the days first to stop."""
    inside = model.design.weights > 0
    used, code = np.unique(clusters.code[inside], return_inverse=True)
    most = max(int(MOST_IN_BAND / used.size), DAYS_AT_ONCE)
    if band_days.size > most:
        band_days = band_days[np.unique(np.linspace(0, band_days.size - 1, most).round().astype(np.int64))]
    column_of = {day: column for column, day in enumerate(band_days.tolist())}
    error = np.zeros(n_days)
    sums = np.empty((used.size, band_days.size))
    for first in range(0, n_days, DAYS_AT_ONCE):
        influence = influence_of(first, min(first + DAYS_AT_ONCE, n_days))[inside]
        for day, column in enumerate(influence.T, start=first):
            of_clusters = np.bincount(code, column, used.size)
            error[day] = np.sqrt(of_clusters @ of_clusters * clusters.factor) if used.size > 1 else np.nan
            if day in column_of:
                sums[:, column_of[day]] = of_clusters
    return error, sums


def band_multiplier(sums: FloatArray, confidence: float) -> float:
    """The quantile of the largest absolute standardised error over days, from the (clusters, days) influences."""
    covariance = sums.T @ sums
    error = np.sqrt(np.diag(covariance))
    varies = error > 0
    correlation = covariance[np.ix_(varies, varies)] / np.outer(error[varies], error[varies])
    return largest_of(correlation, confidence)


def largest_of(correlation: FloatArray, confidence: float) -> float:
    """Quantile of the largest absolute of normal numbers with this correlation. The symmetric root is used because it
    moves with the last bits of the correlation as little as the correlation itself."""
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    drawn = np.random.default_rng(BAND_SEED).standard_normal((N_DRAWS, len(correlation))) @ root
    return float(np.quantile(np.abs(drawn).max(axis=1), confidence))


def _around(risk: FloatArray, error: FloatArray, where: BoolArray, reach: float) -> tuple[FloatArray, FloatArray]:
    """Limits `reach` standard errors away on the log(-log) scale; the risk itself elsewhere."""
    lower, upper = risk.copy(), risk.copy()
    inner = risk[where]
    power = np.exp(reach * error[where] / (inner * -np.log(inner)))
    lower[where], upper[where] = inner**power, inner ** (1 / power)
    return lower, upper
