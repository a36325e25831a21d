"""Who is still observed late in follow-up is judged as the design was, where observation ends before follow-up does.

Choice made: a design makes the arms alike as a whole; the counts of a late day are those of people whose time zero was
early enough, and where what the arms are like changes with the calendar, those need not be alike. In a world without
effect, with a covariate and the share treated both rising over recruitment, ratios of mean counts drift from 1 the
later the day, in whatever direction. So the thresholds of balance and effective numbers must hold on each quarter of
follow-up among those still observed on it, with the weights that they count with. Until when somebody was to be
observed (the end of the data, a provider's silence) was known beforehand and says nothing of what happened, so no
outcome is looked at; a move out of the area tells of death at most, since the dead do not move. Whoever was cut short
is no loss by itself, so that no share of them is asked; of a trial nothing is, because when somebody entered it had
nothing to do with the arm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from models.recurrent.histories import histories_in_design, weights_of_histories
from models.results import BoolArray, Design, FloatArray
from models.times.censoring import weights_on
from pipelines.diagnostics import judge_analysed
from pipelines.estimate.collected import AcceptedDesign, Results, note_of
from pipelines.protocol import Protocol

QUARTERS = (0.25, 0.5, 0.75)
"""Of follow-up: the days on which those still observed are judged, beside its last."""
MOST = 0.95
"""Of either arm, by weight: up to which day so many were to be observed is told."""
ROUNDED_TO = 10
"""Days of that day, which is told in the report."""
WITHHELD_LATE = "those still observed late in follow-up are not accepted, no effect estimated: "
READ_EARLY = "those still observed late in follow-up fall short of the thresholds of the design: "
FOR_TIMES = "; later effects, ratios of hazards among them, rest on people who are not alike: read the curves before"

Weigher = Callable[[float], FloatArray]


@dataclass(frozen=True)
class Late:
    """verdicts  of all days together, the worst of each check; none where nobody was cut short
    failed    names of the checks that some day falls short of
    from_day  the first of those days
    covered   up to which day MOST of either arm were to be observed
    n_cut     people of the design whose observation was to end before follow-up does"""

    verdicts: list[dict[str, Any]]
    failed: list[str]
    from_day: int
    covered: int
    n_cut: int

    def says(self) -> str:
        return (
            f"{', '.join(self.failed)}, from day {self.from_day} on; {100 * MOST:.0f} % of either arm were to be "
            f"observed up to day {self.covered}"
        )


def planned_days(of_rows: pl.DataFrame, horizon: int) -> FloatArray:
    """(n,) days for which each row was to be observed, whatever happened to it: at most the horizon."""
    return of_rows.select(pl.min_horizontal(pl.lit(horizon), "censored_day").cast(pl.Float64)).to_series().to_numpy()


def late_weights(
    last_day: FloatArray, died: BoolArray, accepted: AcceptedDesign, horizon: int, options: Mapping[str, Any]
) -> Weigher:
    """Day → (n,) what the weights of those still observed on it are multiplied by: 1, or with `censoring = "weights"`
    one over the probability of being so. Raises Refused where these cannot be found."""
    design = accepted.design
    if options.get("censoring", "none") == "none":
        return lambda day: np.ones(design.weights.size)
    no_row, no_day = np.zeros(0, dtype=np.int64), np.zeros(0)
    histories = histories_in_design(no_row, no_day, last_day, died, design, horizon)
    largest = options["largest_censoring_weight"]
    by = weights_of_histories(histories, accepted.baseline, design, horizon, options["censoring_penalty"], largest)

    def on(day: float) -> FloatArray:
        factor = np.ones(design.weights.size)
        every = np.arange(by.used.size)
        factor[by.used] = weights_on(by, every, np.full(by.used.size, day), largest)[0]
        return factor

    return on


def days_judged(horizon: int) -> list[int]:
    """The quarters of follow-up, but for its end in whole fives of days: as numbers of a remark are released."""
    quarters = (round(share * horizon / 5) * 5 for share in QUARTERS)
    return [*(day for day in dict.fromkeys(quarters) if 0 < day < horizon), horizon]


def judge_late(
    accepted: AcceptedDesign, design: Design, until: FloatArray, weigh: Weigher, horizon: int, protocol: Protocol
) -> Late:
    """`design` as it is analysed; `until` (n,) as `planned_days` gives it."""
    inside = design.weights > 0
    is_cut = inside & (until < horizon)
    asked = protocol.acceptance.model_copy(update={"max_share_unobserved": None})
    found: dict[str, dict[str, Any]] = {}
    from_day = 0
    for day in days_judged(horizon):
        left = until >= day
        if left[inside].all():
            continue
        analysed = np.where(left, design.weights * weigh(day), 0.0)
        is_randomised = accepted.contrast.is_randomised
        verdicts = judge_analysed(accepted.baseline, design, analysed, left, asked, is_randomised=is_randomised)
        if from_day == 0 and not all(verdict["passed"] for verdict in verdicts):
            from_day = day
        for verdict in verdicts:
            found[verdict["check"]] = _worse(found.get(verdict["check"], verdict), verdict)
    failed = [name for name, verdict in found.items() if not verdict["passed"]]
    return Late(list(found.values()), failed, from_day, _covered(design, until), int(is_cut.sum()))


def is_withheld_late(
    accepted: AcceptedDesign, late: Late, outcome: str, method: str, results: Results, *, only_told: bool = False
) -> bool:
    """Whether the method may not estimate the outcome; keeps the verdicts, and where it may not the reason. With
    `only_told` it may, and a reader is told where people are not alike."""
    place = (accepted.contrast.name, outcome, accepted.design.method, method)
    named = dict(zip(("contrast", "outcome", "design", "method"), place, strict=True)) | {"n_unobserved": late.n_cut}
    not_asked = {"limit": None, "passed": True} if only_told else {}
    results.analysed += [named | verdict | not_asked for verdict in late.verdicts]
    if late.failed:
        words = f"{READ_EARLY}{late.says()}{FOR_TIMES}" if only_told else f"{WITHHELD_LATE}{late.says()}"
        results.notes.append(note_of(*place, words))
    return bool(late.failed) and not only_told


def _worse(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    values = (one["value"], other["value"])
    worst = float(np.max(values) if one["check"].startswith("max_") else np.min(values))  # nan stays nan
    return {**one, "value": worst, "passed": one["passed"] and other["passed"]}


def _covered(design: Design, until: FloatArray) -> int:
    """The last day on which MOST of the weight of either arm is still to be observed, in whole tens of days."""
    days = []
    for arm in (design.treated, ~design.treated):
        mine = arm & (design.weights > 0)
        order = np.argsort(until[mine], kind="stable")
        gone = np.cumsum(design.weights[mine][order]) / design.weights[mine].sum()
        days.append(until[mine][order][min(int(np.searchsorted(gone, 1 - MOST, side="right")), order.size - 1)])
    return int(min(days) // ROUNDED_TO * ROUNDED_TO)
