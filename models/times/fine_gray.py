"""Turns first events with competing ones into a subdistribution hazard model.

Choice made: whoever had a competing event stays at risk with the weight G(t)/G(day of that event), G being the curve
of being still under observation (Fine & Gray 1999, JASA 94:496; as R's cmprsk does). G is estimated with the weights of
the design, and in each arm by itself, because virtual controls may be observed for other lengths of time than
participants; its estimation is part of each row's influence. On one day events come before censoring.

Whether the ratio was the same all the time is tested by the score of an interaction with time, which enters as the
cumulative incidence just before the day (as one minus the Kaplan-Meier curve does for a Cox model:
models/times/proportional.py; for subdistribution hazards Zhou, Fine & Laird 2013, Biostatistics 14:39).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.results import FloatArray, IntArray
from models.times.cox import (
    AtRisk,
    Carried,
    CoxFit,
    EventDays,
    Ties,
    find_event_days,
    fit_cox,
    time_weighted,
    weight_at_risk,
)
from models.times.events import CENSORED

CensoringBy = Literal["arm", "everybody"]


@dataclass(frozen=True)
class _Watching:
    """One group's curve of staying under observation, in steps on the days on which somebody left observation."""

    rows: IntArray
    day: FloatArray
    at_risk: FloatArray
    hazard: FloatArray

    def before(self, time: FloatArray) -> FloatArray:
        """G just before a time: those who left on that very day still count."""
        curve = np.concatenate([np.ones(1), np.cumprod(1 - self.hazard)])
        return curve[np.searchsorted(self.day, time, side="left")]


@dataclass(frozen=True)
class FineGrayFit:
    """A fitted model, with what the censoring curve does to it.

    per_weight        (n, p) derivatives of the coefficients by the rows' weights
    carried           who stays at risk after a competing event
    trend             score of an interaction of the first covariate with time; about 0 where hazards are proportional
    trend_per_weight  (n,) its derivative by the rows' weights, the clock taken as known
    """

    fit: CoxFit
    per_weight: FloatArray
    carried: Carried
    trend: float
    trend_per_weight: FloatArray


def fit_fine_gray(
    day: FloatArray,
    event: IntArray,
    cause: int,
    weights: FloatArray,
    group: IntArray,
    covariates: FloatArray,
    horizon: float,
    *,
    ties: Ties = "efron",
) -> FineGrayFit:
    """The fit for one cause.

    day, event, weights  (n,) rows of the design, days cut at the horizon; being seen to the horizon is no censoring
    group                (n,) 0, 1, ...: within which the censoring curve is estimated
    """
    rows = AtRisk(np.zeros(day.size), day, event == cause, weights, np.zeros(day.size, dtype=np.int64))
    stays = ~np.isin(event, (CENSORED, cause))
    days = find_event_days(rows)
    watching = [
        _watch(day, event, weights, horizon, np.flatnonzero(group == number)) for number in range(group.max() + 1)
    ]
    factor = np.zeros(day.size)
    for curve in watching:
        mine = curve.rows[stays[curve.rows]]
        factor[mine] = 1 / curve.before(day[mine])
    kept = Carried(factor, group, np.stack([curve.before(days.day) for curve in watching]))
    fit = fit_cox(rows, covariates, ties=ties, carried=kept)
    clock = incidence_before(days, weights, kept)
    clock = clock - (days.weight @ clock) / days.weight.sum()
    trend, of_trend, slope = time_weighted(fit, rows, covariates, clock, kept)
    timed = replace(fit, hazard=fit.hazard * clock, hazard_x=fit.hazard_x * clock[:, None])
    score = fit.score.copy()
    for number, curve in enumerate(watching):
        known = (day, event, weights, covariates, factor, kept.curve[number], curve)
        score[curve.rows] += _through_censoring(fit, *known)
        of_trend[curve.rows] += _through_censoring(timed, *known)
    per_weight = score @ fit.bread
    return FineGrayFit(fit, per_weight, kept, float(trend[0]), of_trend[:, 0] - per_weight @ slope[0])


def incidence_before(days: EventDays, weights: FloatArray, carried: Carried) -> FloatArray:
    """(k,) cumulative incidence of the event just before each of its days."""
    stays = np.cumprod(1 - days.weight / weight_at_risk(days, weights, carried))
    return np.concatenate([np.zeros(1), 1 - stays[:-1]])


def _watch(day: FloatArray, event: IntArray, weights: FloatArray, horizon: float, rows: IntArray) -> _Watching:
    is_censored = (event[rows] == CENSORED) & (day[rows] < horizon)
    days, place = np.unique(day[rows][is_censored], return_inverse=True)
    left = np.bincount(place, weights[rows][is_censored], days.size)
    # Events come before censoring: somebody with an event on the day is no longer there to leave observation.
    last = np.searchsorted(days, day[rows], side="right")
    last = np.where(event[rows] == CENSORED, last, np.searchsorted(days, day[rows], side="left"))
    at_risk = np.bincount(last, weights[rows], days.size + 1)[::-1].cumsum()[::-1][1:]
    return _Watching(rows, days, at_risk, left / at_risk)


def _through_censoring(
    fit: CoxFit,
    day: FloatArray,
    event: IntArray,
    weights: FloatArray,
    covariates: FloatArray,
    factor: FloatArray,
    kept: FloatArray,
    curve: _Watching,
) -> FloatArray:
    """(rows of the group, p) what one more unit of a row's weight does to the score by way of the censoring curve.

    On a day u on which people left observation, all who had a competing event by u count with a weight that this day
    lowers at every later event day: `pull` is what a relative change of these weights does to the score.
    """
    rows, n_days = curve.rows, curve.day.size
    stays = rows[factor[rows] > 0]
    carried = weights[stays] * fit.relative_risk[stays] * factor[stays]
    centred = covariates[stays] - fit.centre
    by_then = np.searchsorted(curve.day, day[stays], side="left")

    def up_to(values: FloatArray) -> FloatArray:
        return np.bincount(by_then, values, n_days + 1)[:n_days].cumsum()

    def after(steps: FloatArray) -> FloatArray:
        sums = np.concatenate([np.zeros(1), np.cumsum(steps)])
        return sums[-1] - sums[np.searchsorted(fit.days.day, curve.day, side="right")]

    amount, later = up_to(carried), after(kept * fit.hazard)
    pull = np.column_stack(
        [
            up_to(carried * centred[:, column]) * later - amount * after(kept * fit.hazard_x[:, column])
            for column in range(centred.shape[1])
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        per_step = np.nan_to_num(pull / (curve.at_risk * (1 - curve.hazard))[:, None], posinf=0.0, neginf=0.0)
    so_far = np.concatenate([np.zeros((1, pull.shape[1])), np.cumsum(per_step * curve.hazard[:, None], axis=0)])
    is_censored = event[rows] == CENSORED
    side_right = np.searchsorted(curve.day, day[rows], side="right")
    side_left = np.searchsorted(curve.day, day[rows], side="left")
    own = is_censored & (side_right > side_left)
    moved = -so_far[np.where(is_censored, side_right, side_left)]
    moved[own] += per_step[side_left[own]]
    return moved
