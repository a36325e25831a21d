"""Effect methods for repeated events: every readmission of the whole follow-up, until death or observation ends.

Choice made: where observation ends before follow-up does, those still observed late must be as alike as the design made
everybody (estimate/late.py), or nothing is estimated.
"""

from typing import Any

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.influence import degrees_of_freedom
from models.refusals import Refused
from models.registry import EFFECTS, check_capability, methods_for
from models.results import FloatArray, IntArray
from pipelines import store
from pipelines.errors import naming
from pipelines.estimate.collected import AcceptedDesign, Results, note_of, remarks_of, row_of, say_stood_for, task_of
from pipelines.estimate.late import is_withheld_late, judge_late, late_weights, planned_days
from pipelines.estimate.times import BEFORE_DAY_1, curve_frame, end_of_observation
from pipelines.protocol import Protocol, recurrent_outcome
from pipelines.store import RunFolder


def read_readmissions(run: RunFolder, protocol: Protocol) -> pl.DataFrame | None:
    """Every readmission of a run, where a method of the protocol needs them."""
    used = protocol.effects.methods_by_name().values()
    return run.read(store.READMISSIONS) if set(used).intersection(methods_for("recurrent")) else None


def estimate_recurrent(
    accepted: AcceptedDesign,
    of_rows: pl.DataFrame,
    readmissions: pl.DataFrame | None,
    outcome: str,
    protocol: Protocol,
    results: Results,
) -> None:
    """Every effect method for repeated events on one design, where `outcome` is the number of readmissions in the whole
    follow-up; nothing for other outcomes. Who was never observed is left out, except where censoring is weighted for:
    there they were lost before the first day, and others stand for them. Nothing where those still observed late in
    follow-up fall short of the protocol's thresholds."""
    if readmissions is None or outcome != recurrent_outcome(protocol):
        return
    horizon = protocol.follow_up.days
    last_day, died = end_of_observation(of_rows, horizon)
    planned = planned_days(of_rows, horizon)
    seen = last_day > 0
    _, baseline, design = keep_observed(np.where(seen, 0.0, np.nan), accepted.baseline, accepted.design)
    n_never = int((~seen & (accepted.design.weights > 0)).sum())
    events = events_of_rows(accepted.row_id, readmissions)
    for method in (name for name in protocol.effects.methods if name in methods_for("recurrent")):
        refusal = check_capability(accepted.design.method, method, accepted.design.estimand, "recurrent")
        if refusal is None:
            options = getattr(protocol.effects, method).model_dump()
            if accepted.contrast.is_randomised and "weights_are" in options:
                options["weights_are"] = "fixed"
            sample = (last_day, died, baseline, design)
            n_unobserved, said = n_never, list[str]()
            if options["censoring"] == "weights":
                n_unobserved, said = 0, say_stood_for(n_never)
                sample = (np.where(seen, last_day, BEFORE_DAY_1), died, accepted.baseline, accepted.design)
            try:
                with naming(task_of(accepted, outcome, method)):
                    weigh = late_weights(*sample[:2], accepted, horizon, options)
                    late = judge_late(accepted, sample[3], planned, weigh, horizon, protocol)
                    if is_withheld_late(accepted, late, outcome, method, results):
                        continue
                    options |= {"horizon": horizon, "confidence": protocol.effects.confidence}
                    found = EFFECTS[method].function(*events, *sample, **options)
            except Refused as error:
                refusal = str(error)
            else:
                freedom = degrees_of_freedom(baseline, design)
                _collect(found, accepted, outcome, method, n_unobserved, freedom, said, results)
        if refusal is not None:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, refusal))


def _collect(
    found: Any,
    accepted: AcceptedDesign,
    outcome: str,
    method: str,
    n_unobserved: int,
    freedom: float,
    also_said: list[str],
    results: Results,
) -> None:
    """`found` is estimates, or a record of estimates and the two arms' curves."""
    estimates = getattr(found, "estimates", found)
    results.estimates += [row_of(accepted, outcome, item, n_unobserved, freedom) for item in estimates]
    about = (accepted.contrast.name, outcome, accepted.design.method, method)
    results.notes += [note_of(*about, remark) for remark in (*remarks_of(estimates), *also_said)]
    for arm, curve in zip(accepted.contrast.name.split("_vs_"), getattr(found, "curves", ()), strict=False):
        results.mean_counts.append(curve_frame(accepted, outcome, method, arm, curve))


def events_of_rows(row_id: pl.Series, readmissions: pl.DataFrame) -> tuple[IntArray, FloatArray]:
    """Place among `row_id` and day of each readmission of these rows, in their order."""
    placed = row_id.to_frame().with_row_index("place")
    events = placed.join(readmissions.select("row_id", "day"), on="row_id", maintain_order="left").sort("place", "day")
    return events["place"].cast(pl.Int64).to_numpy(), events["day"].cast(pl.Float64).to_numpy()
