"""Turns repeated events and death into the mean number of events by each day, and compares it at the horizon.

Choice made: the mean cumulative count with death as a terminal event (Cook & Lawless 1997, Stat Med 16:911; Ghosh & Lin
2000, Biometrics 56:554): the rate among those alive and observed, times the share still alive, added up. The dead have
no more events; they are not censored, which would count as if they lived on and came back. The variance is the
infinitesimal jackknife, which is Ghosh and Lin's under equal weights, summed within the clusters of every other effect
method; propensity weights count as estimated. A treatment that keeps people alive raises the count: read it beside the
cumulative incidence of death.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from models.contrasts import ArmMeans, check_confidence, contrast_arms
from models.estimated_weights import WeightModel, model_weights
from models.influence import Clusters, find_clusters, robust_covariance
from models.recurrent.histories import Histories, histories_in_design
from models.results import Baseline, BoolArray, Curve, Design, Estimate, FloatArray, IntArray

DAYS_AT_ONCE = 32

Arm = Literal["treated", "control"]


@dataclass(frozen=True)
class MeanCumulativeCount:
    """The mean counts of the two arms (treated, control), in the curves' `incidence`, and their contrasts at the
    horizon."""

    curves: tuple[Curve, Curve]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class _Steps:
    """One arm's curve on each of its days, and what its derivatives with respect to a row's weight are made of.

    count       (d,) mean count
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
    at_risk: FloatArray
    per_event: FloatArray
    waiting: FloatArray
    dying: FloatArray
    spared: FloatArray
    spared_count: FloatArray
    is_followed: bool


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
) -> MeanCumulativeCount:
    """Mean cumulative count of events to `horizon` days, and its difference and ratio there.

    event_row  (m,) row of each event
    event_day  (m,) its day, above 0 and not after the row's last day; events after the horizon do not count
    last_day   (n,) last day alive and observed, above 0
    died       (n,) True where that was the day of death, False where observation ended

    A curve starts with day 0, has a step on every day on which something happens, and lasts to the horizon, or to the
    arm's last day when follow-up of everyone ends before; the contrasts are then nan with a note. Limits are pointwise
    on the log scale (0 wide where the count is 0). Rows of weight 0 are not looked at.
    Raises ValueError on days, events or designs out of range.
    """
    check_confidence(confidence)
    histories = histories_in_design(event_row, event_day, last_day, died, design, horizon)
    clusters, model = find_clusters(baseline, design), model_weights(baseline, design, "estimated")
    treated, control = (_add_up(histories, design, arm, horizon) for arm in ("treated", "control"))
    error_treated, end_treated = _errors_and_end(treated, histories, model, clusters)
    error_control, end_control = _errors_and_end(control, histories, model, clusters)
    influence = np.hstack([end_treated, end_control])
    return MeanCumulativeCount(
        curves=(_curve(treated, error_treated, confidence), _curve(control, error_control, confidence)),
        estimates=_contrasts((treated, control), influence, model, clusters, confidence),
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


def _curve(steps: _Steps, std_error: FloatArray, confidence: float) -> Curve:
    lower, upper = steps.count.copy(), steps.count.copy()
    has = (steps.count > 0) & (std_error > 0)
    reach = np.exp(ndtri(0.5 + confidence / 2) * std_error[has] / steps.count[has])
    lower[has], upper[has] = steps.count[has] / reach, steps.count[has] * reach
    start = np.zeros(1)
    return Curve(
        arm=steps.arm,
        day=np.concatenate([start, steps.day]),
        incidence=np.concatenate([start, steps.count]),
        lower=np.concatenate([start, lower]),
        upper=np.concatenate([start, upper]),
        at_risk=np.concatenate([steps.at_risk[:1], steps.at_risk]),
    )


def _errors_and_end(
    steps: _Steps, histories: Histories, model: WeightModel, clusters: Clusters
) -> tuple[FloatArray, FloatArray]:
    """(days,) standard errors, and (n, 1) each row's influence on the count of the last day. A few days at a time:
    people × days would not fit for a large pool."""
    arm = model.design.treated if steps.arm == "treated" else ~model.design.treated
    so_far, errors = np.zeros(steps.rows.size), []
    influence = np.zeros((arm.size, 1))
    for first in range(0, steps.day.size, DAYS_AT_ONCE):
        stop = min(first + DAYS_AT_ONCE, steps.day.size)
        per_weight = np.zeros((arm.size, stop - first))
        per_weight[steps.rows] = _per_weight(steps, histories, first, stop, so_far)
        influence = model.influence(per_weight, arm)
        errors.append(np.sqrt(np.diag(robust_covariance(influence, clusters))))
    return np.concatenate(errors), influence[:, -1:]


def _contrasts(
    steps: tuple[_Steps, _Steps], influence: FloatArray, model: WeightModel, clusters: Clusters, confidence: float
) -> tuple[Estimate, ...]:
    treated, control = (float(arm.count[-1]) for arm in steps)
    notes: dict[str, float | str] = {"variance": model.says}
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
