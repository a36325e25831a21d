"""Turns first events of one arm into the cumulative incidence of some of them, the others competing.

Choice made: the weighted Aalen-Johansen estimate, so that the curve is the share of people who had the event and not
the share in a world without the competing ones (Aalen & Johansen 1978, Scand J Stat 5:141; Putter, Fiocco & Geskus
2007, Stat Med 26:2389). Where every event counts it is one minus the Kaplan-Meier curve. What a row's weight does to
the curve is its derivative (the infinitesimal jackknife), whatever the weights are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.estimated_weights import WeightModel
from models.results import BoolArray, Design, FloatArray, IntArray
from models.times.events import CENSORED

Arm = Literal["treated", "control"]

N_CODES = 4


@dataclass(frozen=True)
class ArmCurve:
    """One arm's curve: right-continuous steps at `day`.

    day, incidence, at_risk  (k,) `at_risk` is the weight under observation just before the day
    n_events                 (k,) rows with one of the events until the day, for judging how far to trust the curve
    rows                     (m,) the rows of the design that make the curve, of either arm
    per_weight               (k, j) combinations of the incidences → (m, j) their derivatives by the rows' weights
    known_until              the last day for which the curve is known; infinite when nobody was left to follow
    """

    arm: Arm
    day: FloatArray
    incidence: FloatArray
    at_risk: FloatArray
    n_events: IntArray
    rows: IntArray
    per_weight: Callable[[FloatArray], FloatArray]
    known_until: float

    def influence(self, model: WeightModel, combinations: FloatArray) -> FloatArray:
        """(n, j) influence of every row of the design on combinations (k, j) of the incidences."""
        design = model.design
        moves = np.zeros((design.weights.size, combinations.shape[1]))
        moves[self.rows] = self.per_weight(combinations)
        influence = np.zeros_like(moves)
        for arm in (design.treated, ~design.treated):
            if arm[self.rows].any():
                influence += model.influence(np.where(arm[:, None], moves, 0.0), arm)
        return influence

    def at(self, time: float) -> FloatArray:
        """(k, 1) the combination that is the incidence at a time."""
        picked = np.zeros((self.day.size, 1))
        place = int(np.searchsorted(self.day, time, side="right")) - 1
        if place >= 0:
            picked[place] = 1.0
        return picked

    def events_until(self, time: float) -> int:
        """How many rows have one of the events by a time."""
        place = int(np.searchsorted(self.day, time, side="right")) - 1
        return int(self.n_events[place]) if place >= 0 else 0

    def area(self, time: float) -> FloatArray:
        """(k, 1) the combination that is the area under the curve until a time: the mean time lost to the event."""
        return np.diff(np.minimum(np.append(self.day, max(time, self.day[-1])), time))[:, None]


def is_arm(design: Design, arm: Arm) -> BoolArray:
    """(n,) the rows of an arm, of whatever weight."""
    return design.treated if arm == "treated" else ~design.treated


def aalen_johansen(
    day: FloatArray, event: IntArray, design: Design, arm: Arm, horizon: float, causes: tuple[int, ...]
) -> ArmCurve:
    """The curve of first events with one of the codes `causes`; days and codes as `within_horizon` gives them."""
    rows = np.flatnonzero(is_arm(design, arm) & (design.weights > 0))
    days, place = np.unique(day[rows], return_inverse=True)
    kind = place * N_CODES + event[rows]
    weight = np.bincount(kind, weights=design.weights[rows], minlength=N_CODES * days.size).reshape(-1, N_CODES)
    at_risk = weight.sum(axis=1)[::-1].cumsum()[::-1]
    # On the last day the sum over everyone at risk is that day's own sum; otherwise rounding leaves a risk above 1.
    hazard = weight / at_risk[:, None]
    incidence, per_kind = _derivatives(hazard, at_risk, causes)
    is_cause = np.isin(event[rows], causes)

    def per_weight(combinations: FloatArray) -> FloatArray:
        return (per_kind @ combinations)[kind]

    return ArmCurve(
        arm=arm,
        day=days,
        incidence=incidence,
        at_risk=at_risk,
        n_events=np.bincount(place[is_cause], minlength=days.size).cumsum(),
        rows=rows,
        per_weight=per_weight,
        known_until=np.inf if days[-1] >= horizon or weight[-1, CENSORED] == 0 else float(days[-1]),
    )


def _derivatives(hazard: FloatArray, at_risk: FloatArray, causes: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """(k,) incidence and (kinds, k) its derivatives by one more unit of weight of each kind. People with the same day
    and code are of one kind."""
    n_days = at_risk.size
    codes = np.arange(N_CODES)
    of_cause, of_any = np.isin(codes, causes), codes != CENSORED
    kind_place, kind_code = np.divmod(np.arange(N_CODES * n_days), N_CODES)
    kind_is_cause, kind_is_any = of_cause[kind_code], of_any[kind_code]

    incidence, per_kind = np.zeros(n_days), np.zeros((N_CODES * n_days, n_days))
    free, risk = 1.0, 0.0
    d_free, d_risk = np.zeros(N_CODES * n_days), np.zeros(N_CODES * n_days)
    for now in range(n_days):
        cause, any_event = hazard[now, of_cause].sum(), hazard[now, of_any].sum()
        still_here, ends_now = kind_place >= now, kind_place == now
        d_cause = ((ends_now & kind_is_cause) - still_here * cause) / at_risk[now]
        d_any = ((ends_now & kind_is_any) - still_here * any_event) / at_risk[now]
        d_risk = d_risk + d_free * cause + free * d_cause
        d_free = d_free * (1 - any_event) - free * d_any
        risk, free = risk + free * cause, free * (1 - any_event)
        incidence[now], per_kind[:, now] = risk, d_risk
    return incidence, per_kind
