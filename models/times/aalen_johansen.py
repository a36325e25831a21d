"""Turns days to readmission, death or the end of follow-up into cumulative incidence curves of the two arms.

Choice made: the weighted Aalen-Johansen estimate with death as a competing event, so that the curve is the share of
people who were readmitted and not the share in a world without death (Aalen & Johansen 1978, Scand J Stat 5:141;
Putter, Fiocco & Geskus 2007, Stat Med 26:2389). The variance is the infinitesimal jackknife, summed within the same
clusters as every other effect method (R's survfit with `cluster`); propensity weights count as estimated.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from models.contrasts import ArmMeans, check_confidence, contrast_arms
from models.estimated_weights import WeightModel, model_weights
from models.influence import Clusters, find_clusters, robust_covariance
from models.results import Baseline, BoolArray, Curve, Design, Estimate, FloatArray, IntArray

CENSORED, READMITTED, DIED = 0, 1, 2
"""The event codes; people may have any number of columns but only one first event."""

DAYS_AT_ONCE = 32

Arm = Literal["treated", "control"]


@dataclass(frozen=True)
class CumulativeIncidence:
    """The readmission curves of the two arms (treated, control) and the contrasts of the risks at the horizon."""

    curves: tuple[Curve, Curve]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class _Steps:
    """One arm's curve. People with the same day and event share a kind; `per_weight` is (kinds, days), the change of
    the incidence on each day by one more unit of weight of that kind."""

    arm: Arm
    day: FloatArray
    incidence: FloatArray
    at_risk: FloatArray
    per_weight: FloatArray
    kind: IntArray
    rows: IntArray
    is_followed: bool


def cumulative_incidence(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
) -> CumulativeIncidence:
    """Cumulative incidence of readmission to `horizon` days, and its risk difference and ratio there.

    day    (n,) days > 0 from time zero to the first event or to the end of follow-up; later than the horizon counts
           as event-free at the horizon, an event on the horizon's own day counts
    event  (n,) 0 censored, 1 readmission, 2 death before readmission; censoring on a day comes after its events

    A curve starts with day 0, has a step on every day on which somebody's follow-up ends, and lasts to the horizon, or
    to the arm's last day when follow-up of everyone ends before; the contrasts are then nan with a note. Limits are
    pointwise on the log(-log) scale, so they stay within 0 and 1 (0 wide where the incidence is 0). `at_risk` is the
    weight under observation just before each day. Rows of weight 0 are not looked at.
    Raises ValueError on days, events or designs out of range.
    """
    check_confidence(confidence)
    day, event = _within_horizon(day, event, design, horizon)
    clusters, model = find_clusters(baseline, design), model_weights(baseline, design, "estimated")
    treated, control = (_aalen_johansen(day, event, design, arm, horizon) for arm in ("treated", "control"))
    return CumulativeIncidence(
        curves=(_curve(treated, model, clusters, confidence), _curve(control, model, clusters, confidence)),
        estimates=_contrasts_at_horizon((treated, control), model, clusters, confidence),
    )


def _within_horizon(day: FloatArray, event: IntArray, design: Design, horizon: int) -> tuple[FloatArray, IntArray]:
    if horizon <= 0:
        raise ValueError(f"horizon must be positive, not {horizon}")
    if day.shape != design.weights.shape or event.shape != design.weights.shape:
        raise ValueError(f"day and event have shapes {day.shape} and {event.shape}, the design {design.weights.shape}")
    inside = design.weights > 0
    for arm in (design.treated, ~design.treated):
        if not (inside & arm).any():
            raise ValueError("the design has no row with a positive weight in one of its arms")
    if not (day[inside] > 0).all():
        raise ValueError("every row of the design needs a day above 0")
    if not np.isin(event[inside], (CENSORED, READMITTED, DIED)).all():
        raise ValueError("event must be 0 (censored), 1 (readmission) or 2 (death)")
    return np.minimum(day, horizon), np.where(day > horizon, CENSORED, event)


def _aalen_johansen(day: FloatArray, event: IntArray, design: Design, arm: Arm, horizon: int) -> _Steps:
    is_arm: BoolArray = design.treated if arm == "treated" else ~design.treated
    rows = np.flatnonzero(is_arm & (design.weights > 0))
    days, place = np.unique(day[rows], return_inverse=True)
    kind = place * 3 + event[rows]
    weight = np.bincount(kind, weights=design.weights[rows], minlength=3 * days.size).reshape(-1, 3)
    at_risk = weight.sum(axis=1)[::-1].cumsum()[::-1]
    # On the last day the sum over everyone at risk is that day's own sum; otherwise rounding leaves a risk above 1.
    hazard = weight / at_risk[:, None]
    kind_place, kind_event = np.divmod(np.arange(3 * days.size), 3)

    incidence, per_weight = np.zeros(days.size), np.zeros((3 * days.size, days.size))
    free, risk = 1.0, 0.0
    d_free, d_risk = np.zeros(3 * days.size), np.zeros(3 * days.size)
    for now in range(days.size):
        readmission, any_event = hazard[now, READMITTED], hazard[now, READMITTED] + hazard[now, DIED]
        still_here, ends_now = kind_place >= now, kind_place == now
        d_readmission = ((ends_now & (kind_event == READMITTED)) - still_here * readmission) / at_risk[now]
        d_any = ((ends_now & (kind_event != CENSORED)) - still_here * any_event) / at_risk[now]
        d_risk = d_risk + d_free * readmission + free * d_readmission
        d_free = d_free * (1 - any_event) - free * d_any
        risk, free = risk + free * readmission, free * (1 - any_event)
        incidence[now], per_weight[:, now] = risk, d_risk
    is_followed = bool(days[-1] >= horizon or weight[-1, CENSORED] == 0)
    return _Steps(arm, days, incidence, at_risk, per_weight, kind, rows, is_followed)


def _curve(steps: _Steps, model: WeightModel, clusters: Clusters, confidence: float) -> Curve:
    std_error = _pointwise_errors(steps, model, clusters)
    inner = (steps.incidence > 0) & (steps.incidence < 1) & (std_error > 0)
    lower, upper = steps.incidence.copy(), steps.incidence.copy()
    risk, reach = steps.incidence[inner], ndtri(0.5 + confidence / 2) * std_error[inner]
    power = np.exp(reach / (risk * -np.log(risk)))
    lower[inner], upper[inner] = risk**power, risk ** (1 / power)
    start, total = np.zeros(1), steps.at_risk[:1]
    return Curve(
        arm=steps.arm,
        day=np.concatenate([start, steps.day]),
        incidence=np.concatenate([start, steps.incidence]),
        lower=np.concatenate([start, lower]),
        upper=np.concatenate([start, upper]),
        at_risk=np.concatenate([total, steps.at_risk]),
    )


def _pointwise_errors(steps: _Steps, model: WeightModel, clusters: Clusters) -> FloatArray:
    """(days,) standard errors of the incidence, a few days at a time: people × days would not fit for a large pool."""
    errors = [
        np.sqrt(np.diag(robust_covariance(_influence(steps, model, slice(first, first + DAYS_AT_ONCE)), clusters)))
        for first in range(0, steps.day.size, DAYS_AT_ONCE)
    ]
    return np.concatenate(errors)


def _influence(steps: _Steps, model: WeightModel, days: slice) -> FloatArray:
    """(n, days) each row's influence on the arm's incidence."""
    design = model.design
    per_weight = np.zeros((len(design.weights), steps.per_weight[:, days].shape[1]))
    per_weight[steps.rows] = steps.per_weight[steps.kind, days]
    return model.influence(per_weight, design.treated if steps.arm == "treated" else ~design.treated)


def _contrasts_at_horizon(
    steps: tuple[_Steps, _Steps], model: WeightModel, clusters: Clusters, confidence: float
) -> tuple[Estimate, ...]:
    treated, control = (float(arm.incidence[-1]) for arm in steps)
    notes: dict[str, float | str] = {"variance": model.says}
    if not all(arm.is_followed for arm in steps):
        treated = control = float("nan")
        notes["not_estimable"] = "follow-up of everyone in an arm ends before the horizon"
    means = ArmMeans(
        treated=treated,
        control=control,
        influence=np.hstack([_influence(arm, model, slice(-1, None)) for arm in steps]),
        clusters=clusters,
        control_weights=np.where(model.design.treated, 0.0, model.design.weights),
    )
    return contrast_arms(
        means,
        model.design,
        method="cumulative_incidence",
        scales=("risk_difference", "risk_ratio"),
        confidence=confidence,
        notes=notes,
    )
