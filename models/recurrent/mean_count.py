"""Turns repeated events and death into the mean number of events by each day, and compares it at the horizon.

Choice made: the mean cumulative count with death as a terminal event (Cook & Lawless 1997, Stat Med 16:911; Ghosh & Lin
2000, Biometrics 56:554): the rate among those alive and observed, times the share still alive, added up. The dead have
no more events; they are not censored, which would count as if they lived on and came back. The variance is the
infinitesimal jackknife, which is Ghosh and Lin's under equal weights, summed within the clusters of every other effect
method; propensity weights count as estimated. A treatment that keeps people alive raises the count: read it beside the
cumulative incidence of death. Where people lost to observation are unlike those who stay, events can count one over the
probability of being still observed (models/recurrent/weighted_count.py).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from models.contrasts import ArmMeans, check_confidence, contrast_arms
from models.estimated_weights import WeightModel, model_weights
from models.influence import Clusters, find_clusters, robust_covariance
from models.recurrent.histories import Histories, histories_in_design, weights_of_histories
from models.recurrent.weighted_count import describe_event_weights, weighted_count
from models.results import Baseline, BoolArray, Curve, Design, Estimate, FloatArray, IntArray
from models.times.arm_curve import Arm, ArmCurve
from models.times.censoring import Censoring, check_censoring
from models.times.events import CENSORING_NOTE, FEWEST, fewest_of
from models.times.limits import (
    BAND_FROM_EVENTS,
    DAYS_AT_ONCE,
    MOST_IN_BAND,
    band_multiplier,
    errors_and_sums,
    largest_of,
)


@dataclass(frozen=True)
class MeanCumulativeCount:
    """The mean counts of the two arms (treated, control), in the curves' `incidence`, and their contrasts at the
    horizon."""

    curves: tuple[Curve, Curve]
    estimates: tuple[Estimate, ...]


ARMS: tuple[Arm, Arm] = ("treated", "control")


@dataclass(frozen=True)
class _Count:
    """One arm's mean count on each of its days, the weight under observation, and whether it is known to the end."""

    arm: Arm
    day: FloatArray
    count: FloatArray
    at_risk: FloatArray
    is_followed: bool


@dataclass(frozen=True)
class _Steps:
    """One arm's curve on each of its days, and what its derivatives with respect to a row's weight are made of.

    count       (d,) mean count
    n_events    (d,) events so far
    at_risk     (d,) weight under observation
    per_event   (d,) derivative by one event on that day
    waiting     (d,) derivative by the days at risk so far, as if nobody died
    dying       (d,) derivative by a death on that day, times the count still to come after it
    spared, spared_count  (d,) the same of having survived the days so far: sums of it, alone and times the count
    """

    arm: Arm
    rows: IntArray
    day: FloatArray
    count: FloatArray
    n_events: IntArray
    at_risk: FloatArray
    per_event: FloatArray
    waiting: FloatArray
    dying: FloatArray
    spared: FloatArray
    spared_count: FloatArray
    is_followed: bool

    def count_of_arm(self) -> _Count:
        return _Count(self.arm, self.day, self.count, self.at_risk, self.is_followed)


def mean_cumulative_count(
    event_row: IntArray,
    event_day: FloatArray,
    last_day: FloatArray,
    died: BoolArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> MeanCumulativeCount:
    """Mean cumulative count of events to `horizon` days, and its difference and ratio there.

    event_row  (m,) row of each event
    event_day  (m,) its day, above 0 and not after the row's last day; events after the horizon do not count
    last_day   (n,) last day alive and observed, above 0
    died       (n,) True where that was the day of death, False where observation ended
    censoring  "none": whoever is lost to observation has the events of those who stay, in each arm; "weights": of those
               who stay and are alike in the baseline covariates, with that model's ridge penalty and the weight above
               which an event counts no more (models/times/censoring.py)

    A curve starts with day 0, has a step on every day on which something happens, and lasts to the horizon, or to the
    arm's last day when follow-up of everyone ends before; the contrasts are then nan with a note. Limits are pointwise
    on the log scale (0 wide where the count is 0); the band of the whole curve is found as for cumulative incidence
    (models/times/limits.py). Rows of weight 0 are not looked at.
    Raises ValueError on days, events or designs out of range.
    """
    check_confidence(confidence)
    check_censoring(censoring)
    histories = histories_in_design(event_row, event_day, last_day, died, design, horizon)
    clusters, model = find_clusters(baseline, design), model_weights(baseline, design, "estimated")
    had_events = np.unique(histories.row)
    notes: dict[str, float | str] = {
        "variance": model.says,
        FEWEST: fewest_of((design.treated[had_events] == arm).sum() for arm in (True, False)),
    }
    found: list[tuple[_Count, _Errors]] = []
    if censoring == "none":
        for arm in ARMS:
            steps = _add_up(histories, design, arm, horizon)
            found.append((steps.count_of_arm(), _errors(steps, histories, model, clusters, confidence)))
    else:
        largest = largest_censoring_weight
        by = weights_of_histories(histories, baseline, design, horizon, censoring_penalty, largest)
        notes[CENSORING_NOTE] = describe_event_weights(histories, by, largest)
        for arm in ARMS:
            curve = weighted_count(histories, design, arm, horizon, by, largest)
            found.append((_count_of(curve), _weighted_errors(curve, model, clusters, confidence)))
    (treated, of_treated), (control, of_control) = found
    return MeanCumulativeCount(
        curves=(_curve(treated, of_treated, confidence), _curve(control, of_control, confidence)),
        estimates=_contrasts(
            (treated, control), np.hstack([of_treated.end, of_control.end]), model, clusters, confidence, notes
        ),
    )


def _add_up(histories: Histories, design: Design, arm: Arm, horizon: int) -> _Steps:
    is_arm = (design.treated if arm == "treated" else ~design.treated) & (design.weights > 0)
    rows = np.flatnonzero(is_arm)
    mine = is_arm[histories.row]
    last, weights = histories.last_day[rows], design.weights[rows]
    days = np.unique(np.concatenate([last, histories.day[mine]]))
    ends = np.searchsorted(days, last)

    def total(places: IntArray, amounts: FloatArray) -> FloatArray:
        return np.bincount(places, weights=amounts, minlength=days.size).astype(np.float64)

    at_risk = total(ends, weights)[::-1].cumsum()[::-1]
    events = total(np.searchsorted(days, histories.day[mine]), design.weights[histories.row[mine]])
    has_died = histories.died[rows]
    rate, death = events / at_risk, total(ends[has_died], weights[has_died]) / at_risk
    # When the last of an arm die together, rounding must not leave a sliver of them alive.
    survives = np.where(death > 1 - 1e-12, 0.0, 1 - death)
    alive_before = np.concatenate([np.ones(1), survives.cumprod()[:-1]])
    count = (alive_before * rate).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        dying = np.where(survives > 0, 1 / (at_risk * survives), 0.0)
    return _Steps(
        arm=arm,
        rows=rows.astype(np.int64),
        day=days,
        count=count,
        n_events=total(np.searchsorted(days, histories.day[mine]), np.ones(int(mine.sum()))).cumsum().astype(np.int64),
        at_risk=at_risk,
        per_event=alive_before / at_risk,
        waiting=(alive_before * rate / at_risk).cumsum(),
        dying=dying,
        spared=(death * dying).cumsum(),
        spared_count=(death * dying * count).cumsum(),
        is_followed=bool(days[-1] >= horizon or has_died[last == days[-1]].all()),
    )


def _per_weight(steps: _Steps, histories: Histories, first: int, stop: int, so_far: FloatArray) -> FloatArray:
    """(rows of the arm, stop - first) derivatives of the counts on those days by each row's weight. `so_far` holds the
    share of the events before them and is moved on."""
    place = np.full(histories.last_day.size, -1, dtype=np.int64)
    place[steps.rows] = np.arange(steps.rows.size)
    at = np.searchsorted(steps.day, histories.day)
    here = (place[histories.row] >= 0) & (at >= first) & (at < stop)
    by_event = np.zeros((steps.rows.size, stop - first))
    np.add.at(by_event, (place[histories.row[here]], at[here] - first), steps.per_event[at[here]])
    by_event = by_event.cumsum(axis=1) + so_far[:, None]
    so_far[:] = by_event[:, -1]
    now = np.arange(first, stop)
    ends = np.searchsorted(steps.day, histories.last_day[steps.rows])[:, None]
    until = np.minimum(ends, now)
    count = steps.count[now]
    lived = count * steps.spared[until] - steps.spared_count[until]
    has_died = histories.died[steps.rows][:, None] & (ends <= now)
    lost = np.where(has_died, steps.dying[ends] * (count - steps.count[ends]), 0.0)
    return np.asarray(by_event - steps.waiting[until] + lived - lost, dtype=np.float64)


@dataclass(frozen=True)
class _Errors:
    """pointwise (d,) standard errors; band_reach how many of them the band is away, on the days `in_band` (d,); end
    (n, 1) each row's influence on the count of the last day."""

    pointwise: FloatArray
    band_reach: float
    in_band: BoolArray
    end: FloatArray


def _errors(steps: _Steps, histories: Histories, model: WeightModel, clusters: Clusters, confidence: float) -> _Errors:
    """A few days at a time: people × days would not fit for a large pool. For the band the sums of whole clusters are
    kept, of fewer, evenly spread days where there are many clusters."""
    arm = model.design.treated if steps.arm == "treated" else ~model.design.treated
    used, code = np.unique(clusters.code[model.design.weights > 0], return_inverse=True)
    in_band = (steps.n_events >= BAND_FROM_EVENTS) & (clusters.count > 1)
    kept = np.flatnonzero(in_band)
    most = max(int(MOST_IN_BAND / max(used.size, 1)), DAYS_AT_ONCE)
    if kept.size > most:
        kept = kept[np.unique(np.linspace(0, kept.size - 1, most).round().astype(np.int64))]
    sums, errors = np.empty((used.size, kept.size)), np.empty(steps.day.size)
    so_far, influence = np.zeros(steps.rows.size), np.zeros((arm.size, 1))
    for first in range(0, steps.day.size, DAYS_AT_ONCE):
        stop = min(first + DAYS_AT_ONCE, steps.day.size)
        per_weight = np.zeros((arm.size, stop - first))
        per_weight[steps.rows] = _per_weight(steps, histories, first, stop, so_far)
        influence = model.influence(per_weight, arm)
        errors[first:stop] = np.sqrt(np.diag(robust_covariance(influence, clusters)))
        for place in np.flatnonzero((kept >= first) & (kept < stop)):
            sums[:, place] = np.bincount(code, influence[model.design.weights > 0, kept[place] - first], used.size)
    reach = np.nan
    if kept.size:
        covariance = sums.T @ sums
        spread = np.sqrt(np.diag(covariance))
        varies = spread > 0
        if varies.any():
            shared = covariance[np.ix_(varies, varies)] / np.outer(spread[varies], spread[varies])
            reach = largest_of(shared, confidence)
    return _Errors(errors, reach, in_band, influence[:, -1:])


def _count_of(curve: ArmCurve) -> _Count:
    return _Count(curve.arm, curve.day, curve.incidence, curve.at_risk, bool(np.isinf(curve.known_until)))


def _weighted_errors(curve: ArmCurve, model: WeightModel, clusters: Clusters, confidence: float) -> _Errors:
    in_band = (curve.n_events >= BAND_FROM_EVENTS) & (clusters.count > 1)
    errors, sums = errors_and_sums(curve, model, clusters, np.flatnonzero(in_band))
    reach = band_multiplier(sums, confidence) if in_band.any() else np.nan
    return _Errors(errors, reach, in_band, curve.influence(model, curve.at(curve.day[-1])))


def _curve(steps: _Count, errors: _Errors, confidence: float) -> Curve:
    reach = float(ndtri(0.5 + confidence / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where((steps.count > 0) & (errors.pointwise > 0), errors.pointwise / steps.count, 0.0)
    lower, upper = steps.count * np.exp(-reach * relative), steps.count * np.exp(reach * relative)
    band = np.where(errors.in_band, errors.band_reach * relative, np.nan)
    start, none = np.zeros(1), np.full(1, np.nan)
    return Curve(
        arm=steps.arm,
        day=np.concatenate([start, steps.day]),
        incidence=np.concatenate([start, steps.count]),
        lower=np.concatenate([start, lower]),
        upper=np.concatenate([start, upper]),
        at_risk=np.concatenate([steps.at_risk[:1], steps.at_risk]),
        band_lower=np.concatenate([none, steps.count * np.exp(-band)]),
        band_upper=np.concatenate([none, steps.count * np.exp(band)]),
    )


def _contrasts(
    steps: tuple[_Count, _Count],
    influence: FloatArray,
    model: WeightModel,
    clusters: Clusters,
    confidence: float,
    notes: dict[str, float | str],
) -> tuple[Estimate, ...]:
    treated, control = (float(arm.count[-1]) for arm in steps)
    if not all(arm.is_followed for arm in steps):
        treated = control = float("nan")
        notes["not_estimable"] = "follow-up of everyone in an arm ends before the horizon"
    means = ArmMeans(
        treated=treated,
        control=control,
        influence=influence,
        clusters=clusters,
        control_weights=np.where(model.design.treated, 0.0, model.design.weights),
    )
    return contrast_arms(
        means,
        model.design,
        method="mean_cumulative_count",
        scales=("mean_count_difference", "mean_count_ratio"),
        confidence=confidence,
        notes=notes,
    )
