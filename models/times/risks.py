"""Turns days to readmission, death or the end of follow-up into risks and mean times lost of the two arms.

Choice made: each arm's Aalen-Johansen curve with the other events competing (models/times/arm_curve.py), compared at
the days of the protocol; the time lost is the area under the curve (Andersen 2013, Stat Med 32:5278). Errors come from
each row's influence, summed within the same clusters as in every other effect method (R's survfit with `cluster`);
propensity weights count as estimated.
"""

from typing import Literal

import numpy as np

from models.contrasts import ArmMeans, check_confidence, contrast_arms
from models.estimated_weights import WeightModel, model_weights
from models.influence import Clusters, find_clusters
from models.results import Baseline, Curve, Design, Estimate, FloatArray, IntArray, Scale
from models.times.arm_curve import Arm, ArmCurve, aalen_johansen
from models.times.censoring import (
    Censoring,
    censoring_weights,
    check_censoring,
    describe_weights,
    weighted_incidence,
)
from models.times.events import (
    DETAINED,
    DIED,
    FEWEST,
    KNOWN,
    READMITTED,
    Event,
    EventCurves,
    TimeEffect,
    TimeEffects,
    days_to_report,
    fewest_of,
    within_horizon,
)
from models.times.limits import difference_with_limits, with_limits

RISKS: tuple[Scale, ...] = ("risk_difference", "risk_ratio")
TIMES_LOST: tuple[Scale, ...] = ("time_lost_difference", "time_lost_ratio")

Measure = Literal["risk", "time_lost"]
Pair = tuple[ArmCurve, ArmCurve]


def cumulative_incidence(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    times: tuple[int, ...] = (),
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """Cumulative incidence of readmission to `horizon` days; risk difference and ratio there and at `times`.

    day    (n,) days > 0 from time zero to the first event or to the end of follow-up; later than the horizon counts
           as event-free at the horizon, an event on the horizon's own day counts
    event  (n,) 0 censored, 1 readmission, 2 death before readmission; censoring on a day comes after its events
    times  further days at which the risks are compared
    censoring  "none": whoever is lost to observation has the risk of those who stay, in each arm; "weights": of those
           who stay and are alike in the baseline covariates (models/times/censoring.py), with that model's ridge
           penalty and the weight above which a row counts no more

    A curve starts with day 0, has a step on every day on which somebody's follow-up ends, and lasts to the horizon, or
    to the arm's last day when follow-up of everyone ends before; later contrasts are then nan with a note. Pointwise
    limits and band lie on the log(-log) scale, so they stay within 0 and 1 (0 wide where the incidence is 0).
    `at_risk` is the weight under observation just before each day. Rows of weight 0 are not looked at.
    Raises ValueError on days, events, times or designs out of range.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, KNOWN, weighting)
    return study.compare("cumulative_incidence", {"readmitted": (READMITTED,)}, times, "risk")


def kaplan_meier(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    times: tuple[int, ...] = (),
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """Readmission or death, whichever comes first: one minus the weighted Kaplan-Meier curve of staying well outside.

    The risks of having been readmitted or having died; arguments, limits and errors as in `cumulative_incidence`.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, KNOWN, weighting)
    return study.compare("kaplan_meier", {"readmitted_or_died": (READMITTED, DIED)}, times, "risk")


def time_lost(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    times: tuple[int, ...] = (),
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """Mean days lost to readmission until `horizon` (and until `times`): the area under the cumulative incidence.

    Somebody readmitted on day 100 has lost 265 of 365 days, however long the stay. Where nobody dies it is the horizon
    minus the restricted mean time to readmission (Royston & Parmar 2013, BMC Med Res Methodol 13:152). Difference in
    days, and ratio; arguments as in `cumulative_incidence`. No curves.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, KNOWN, weighting)
    return study.compare("time_lost", {"readmitted": (READMITTED,)}, times, "time_lost")


def first_readmission_type(
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    times: tuple[int, ...] = (),
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> TimeEffects:
    """The first readmission by its kind, voluntary (event 1) or under detention (3), the other kind and death
    competing: the two curves add up to the cumulative incidence of readmission. Arguments as there.
    """
    weighting = (censoring, censoring_penalty, largest_censoring_weight)
    study = _Study(day, event, baseline, design, horizon, confidence, (*KNOWN, DETAINED), weighting)
    kinds: dict[Event, tuple[int, ...]] = {
        "is_informally_readmitted": (READMITTED,),
        "is_formally_readmitted": (DETAINED,),
    }
    return study.compare("first_readmission_type", kinds, times, "risk")


class _Study:
    """Checked times on one design, ready to be compared."""

    def __init__(
        self,
        day: FloatArray,
        event: IntArray,
        baseline: Baseline,
        design: Design,
        horizon: int,
        confidence: float,
        known: tuple[int, ...],
        weighting: tuple[Censoring, float, float],
    ) -> None:
        check_confidence(confidence)
        check_censoring(weighting[0])
        self.day, self.event = within_horizon(day, event, design, horizon, known)
        self.design, self.horizon, self.confidence = design, horizon, confidence
        self.clusters: Clusters = find_clusters(baseline, design)
        self.model: WeightModel = model_weights(baseline, design, "estimated")
        self.by = None
        if weighting[0] == "weights":
            self.by = censoring_weights(
                self.day, self.event, baseline.matrix, design, horizon, l2_penalty=weighting[1], largest=weighting[2]
            )

    def compare(
        self, method: str, events: dict[Event, tuple[int, ...]], times: tuple[int, ...], measure: Measure
    ) -> TimeEffects:
        """One event after the other; curves beside risks."""
        until = days_to_report(times, self.horizon)
        effects: list[TimeEffect] = []
        curves: list[EventCurves] = []
        for event, causes in events.items():
            treated, control = self._curve("treated", causes), self._curve("control", causes)
            effects += [
                TimeEffect(event, time, self._contrast(method, (treated, control), time, measure)) for time in until
            ]
            if measure == "risk":
                drawn = (self._drawn(treated), self._drawn(control))
                how_far = difference_with_limits(treated, control, self.model, self.clusters, self.confidence)
                curves.append(EventCurves(event, drawn, how_far))
        remarks = () if self.by is None else (describe_weights(self.by, self.event),)
        return TimeEffects(tuple(effects), tuple(curves), remarks)

    def _curve(self, arm: Arm, causes: tuple[int, ...]) -> ArmCurve:
        if self.by is None:
            return aalen_johansen(self.day, self.event, self.design, arm, self.horizon, causes)
        return weighted_incidence(self.day, self.event, self.design, arm, self.horizon, causes, self.by)

    def _drawn(self, steps: ArmCurve) -> Curve:
        return with_limits(steps, self.model, self.clusters, self.confidence)

    def _contrast(self, method: str, pair: Pair, time: int, measure: Measure) -> tuple[Estimate, ...]:
        combinations = [steps.at(time) if measure == "risk" else steps.area(time) for steps in pair]
        treated, control = (float(steps.incidence @ c[:, 0]) for steps, c in zip(pair, combinations, strict=True))
        notes: dict[str, float | str] = {
            "variance": self.model.says,
            FEWEST: fewest_of(steps.events_until(time) for steps in pair),
        }
        if any(time > steps.known_until for steps in pair):
            treated = control = float("nan")
            notes["not_estimable"] = "follow-up of everyone in an arm ends before the horizon"
        means = ArmMeans(
            treated=treated,
            control=control,
            influence=np.hstack([s.influence(self.model, c) for s, c in zip(pair, combinations, strict=True)]),
            clusters=self.clusters,
            control_weights=np.where(self.design.treated, 0.0, self.design.weights),
        )
        return contrast_arms(
            means,
            self.design,
            method=method,
            scales=RISKS if measure == "risk" else TIMES_LOST,
            confidence=self.confidence,
            notes=notes,
        )
