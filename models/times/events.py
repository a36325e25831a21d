"""Turns days and event codes into what the effect methods for times work on, and names what they give back.

Choice made: everything after the horizon is cut off, so an event later than the horizon is no event and nobody counts
as censored who was seen to the horizon. On one day events come before the end of observation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.refusals import Refused
from models.results import BoolArray, Curve, CurveDifference, Design, Estimate, FloatArray, IntArray

CENSORED, READMITTED, DIED, DETAINED = 0, 1, 2, 3
"""The event codes; people may have any number of columns but only one first event. Only the method that tells kinds of
readmission apart takes 3; for it 1 is a voluntary readmission."""

KNOWN = (CENSORED, READMITTED, DIED)

FEWEST = "n_events_in_the_arm_with_fewest"
"""The note that says on how many events an estimate rests: of the arms that have any (fewest_of)."""

CENSORING_NOTE = "censoring_weights"
"""The note of an estimate with a sentence on the censoring weights of its events."""

Event = Literal["readmitted", "died", "readmitted_or_died", "is_informally_readmitted", "is_formally_readmitted"]
"""What an estimate or a curve is about, named as the outcome of that window is."""


@dataclass(frozen=True)
class TimeEffect:
    """What was estimated of one event until one day after time zero: one Estimate a scale."""

    event: Event
    until: int
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class EventCurves:
    """The curves of one event, treated and control, and how they differ."""

    event: Event
    curves: tuple[Curve, Curve]
    difference: CurveDifference


@dataclass(frozen=True)
class TimeEffects:
    """What an effect method for times gives back.

    remarks  sentences a reader of the numbers needs (a test of proportional hazards, censoring weights)
    """

    effects: tuple[TimeEffect, ...]
    event_curves: tuple[EventCurves, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        return tuple(estimate for effect in self.effects for estimate in effect.estimates)

    @property
    def curves(self) -> tuple[Curve, ...]:
        return tuple(curve for pair in self.event_curves for curve in pair.curves)


@dataclass(frozen=True)
class Followed:
    """Until when each row of a design was observed, in a window of `window` days.

    last_day  (n,) last day alive and observed, above 0 (somebody never seen: a part of a day)
    died      (n,) True where that was the day of death
    """

    last_day: FloatArray
    died: BoolArray
    window: int


def within_horizon(
    day: FloatArray, event: IntArray, design: Design, horizon: int, known: tuple[int, ...] = KNOWN
) -> tuple[FloatArray, IntArray]:
    """Days cut at the horizon and the event by then, rows outside the design made harmless.

    Raises ValueError on days, events out of range, Refused where an arm is empty.
    """
    if horizon <= 0:
        raise ValueError(f"horizon must be positive, not {horizon}")
    if day.shape != design.weights.shape or event.shape != design.weights.shape:
        raise ValueError(f"day and event have shapes {day.shape} and {event.shape}, the design {design.weights.shape}")
    inside = design.weights > 0
    for arm in (design.treated, ~design.treated):
        if not (inside & arm).any():
            raise Refused("the design has no row with a positive weight in one of its arms")
    if not (day[inside] > 0).all():
        raise ValueError("every row of the design needs a day above 0")
    if not np.isin(event[inside], known).all():
        kinds = "0 (censored), 1 (readmission) or 2 (death)"
        raise ValueError(
            f"event must be {kinds}" + (" or 3 (readmission under detention)" if DETAINED in known else "")
        )
    day, event = np.where(inside, day, horizon), np.where(inside, event, CENSORED)
    return np.minimum(day, horizon), np.where(day > horizon, CENSORED, event)


def censored_early(day: FloatArray, event: IntArray, horizon: float) -> BoolArray:
    """Whose observation ended before the horizon without an event; being seen to the horizon is no censoring."""
    return np.asarray((event == CENSORED) & (day < horizon))


def fewest_of(counts: Iterable[float]) -> float:
    """The smallest count above 0, 0 without any: where nobody in one arm has the event, a difference is the other arm's
    risk or rate itself, and gives away how few had it there."""
    return float(min((count for count in counts if count > 0), default=0))


def days_to_report(times: tuple[int, ...], horizon: int) -> tuple[int, ...]:
    """The days at which effects are reported, ascending; the horizon is always among them.

    Raises ValueError on a day outside 1 to the horizon, or named twice.
    """
    if len(set(times)) < len(times) or not all(0 < time <= horizon for time in times):
        raise ValueError(f"times must be different days from 1 to the horizon ({horizon}), not {list(times)}")
    return tuple(sorted({*times, horizon}))
