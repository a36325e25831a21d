"""Effect methods for times: the first readmission of the whole follow-up, with death competing.

Choice made: an estimate until day 90 is one of the outcome of that window (readmitted_90d), so that it stands beside
the plain comparison of whole windows; a curve belongs to the outcome of the whole follow-up. Where those still observed
late in follow-up fall short of the design's thresholds (estimate/late.py), a remark says so, since curves are read day
by day and their earlier days are right.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.influence import degrees_of_freedom
from models.refusals import Refused
from models.registry import EFFECTS, check_capability, methods_for
from models.results import Baseline, BoolArray, Curve, CurveDifference, Design, FloatArray, IntArray
from pipelines.design import seeded
from pipelines.errors import naming
from pipelines.estimate.collected import (
    CURVE_SCHEMA,
    DIFFERENCE_SCHEMA,
    AcceptedDesign,
    Results,
    note_of,
    remarks_of,
    row_of,
    say_stood_for,
    task_of,
)
from pipelines.estimate.forest import keep_forest
from pipelines.estimate.late import is_withheld_late, judge_late, late_weights, planned_days
from pipelines.protocol import Protocol, time_outcome

BY_KIND = "first_readmission_type"
BEFORE_DAY_1 = 0.5
LIMITS = ("lower", "upper", "band_lower", "band_upper")


def estimate_times(
    accepted: AcceptedDesign, of_rows: pl.DataFrame, protocol: Protocol, results: Results, out: Path
) -> None:
    """Every effect method for times on one design; everybody counts until censored, forests on the primary only. Who
    was never observed is left out, except where censoring is weighted for: there they were lost before the first day,
    and others stand for them."""
    day, event = time_and_event(of_rows, protocol.follow_up.days)
    seen = day > 0
    never_seen = np.where(seen, 0.0, np.nan)
    _, baseline, design = keep_observed(never_seen, accepted.baseline, accepted.design)
    n_never = int(((~seen) & (accepted.design.weights > 0)).sum())
    outcome = time_outcome(protocol)
    for method in (name for name in protocol.effects.methods if name in methods_for("time_to_event")):
        if EFFECTS[method].individual_effects and not accepted.is_primary:
            continue
        refusal = check_capability(accepted.design.method, method, accepted.design.estimand, "time_to_event")
        try:
            with naming(task_of(accepted, outcome, method)):
                codes = event if method != BY_KIND else with_kinds(event, of_rows, accepted.design)
                if refusal is None:
                    sample = day, codes, baseline, design
                    is_weighted = _weights_censoring(method, protocol)
                    if is_weighted:
                        of_forests = EFFECTS[method].individual_effects
                        covariates = accepted.baseline_for_forests if of_forests else accepted.baseline
                        sample = np.where(seen, day, BEFORE_DAY_1), codes, covariates, accepted.design
                    found = _run(method, accepted, *sample, protocol)
                    _tell_late(accepted, of_rows, sample[3], method, protocol, results)
                    if EFFECTS[method].individual_effects:
                        found = _keep_forests(found, accepted, sample[2], protocol, results, out)
                    freedom = degrees_of_freedom(*sample[2:])
                    n_unobserved, said = (0, say_stood_for(n_never)) if is_weighted else (n_never, [])
                    _collect(found, method, accepted, protocol, n_unobserved, freedom, said, results)
        except Refused as error:
            refusal = str(error)
        if refusal is not None:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, refusal))


def _weights_censoring(method: str, protocol: Protocol) -> bool:
    """Forests always do."""
    chosen = getattr(getattr(protocol.effects, method), "censoring", "none")
    return EFFECTS[method].individual_effects or chosen == "weights"


def _tell_late(
    accepted: AcceptedDesign, of_rows: pl.DataFrame, design: Design, method: str, protocol: Protocol, results: Results
) -> None:
    """Keep the verdicts on those still observed late, and say where they are not alike: effects of earlier days are
    right all the same."""
    horizon, options = protocol.follow_up.days, getattr(protocol.effects, method).model_dump()
    if EFFECTS[method].individual_effects:
        options["censoring"] = "weights"
    last_day, died = end_of_observation(of_rows, horizon)
    weigh = late_weights(np.maximum(last_day, BEFORE_DAY_1), died, accepted, horizon, options)
    late = judge_late(accepted, design, planned_days(of_rows, horizon), weigh, horizon, protocol)
    is_withheld_late(accepted, late, time_outcome(protocol), method, results, only_told=True)


def _run(
    method: str,
    accepted: AcceptedDesign,
    day: FloatArray,
    event: IntArray,
    baseline: Baseline,
    design: Design,
    protocol: Protocol,
) -> Any:
    drawn = {}
    if EFFECTS[method].individual_effects:
        drawn["rng"] = seeded(protocol, "effect", accepted.contrast.name, accepted.name, time_outcome(protocol), method)
    return EFFECTS[method].function(
        day,
        event,
        baseline,
        design,
        horizon=protocol.follow_up.days,
        confidence=protocol.effects.confidence,
        **drawn,
        **getattr(protocol.effects, method).model_dump(),
    )


def _keep_forests(
    found: Any,
    accepted: AcceptedDesign,
    baseline: Baseline,
    protocol: Protocol,
    results: Results,
    out: Path,
) -> Any:
    """Save the forests; give back `found` with the names of reference levels in its estimates."""
    options = protocol.effects.censored_forest.model_dump()
    outcome = time_outcome(protocol)
    effects = []
    for effect, (name, forest) in zip(found.effects, found.forests, strict=True):
        folder = f"censored_forest_{name}"
        estimates = keep_forest(forest, accepted, outcome, baseline, accepted.row_id, options, results, out, folder)
        effects.append(replace(effect, estimates=estimates))
    return replace(found, effects=tuple(effects))


def _collect(
    found: Any,
    method: str,
    accepted: AcceptedDesign,
    protocol: Protocol,
    n_unobserved: int,
    freedom: float,
    also_said: list[str],
    results: Results,
) -> None:
    """`found` as a method for times gives it (models/times/events.py)."""
    contrast, days = accepted.contrast.name, protocol.follow_up.days
    for effect in found.effects:
        outcome = f"{effect.event}_{effect.until}d"
        results.estimates += [row_of(accepted, outcome, item, n_unobserved, freedom) for item in effect.estimates]
    for pair in found.event_curves:
        results.curves += [
            curve_frame(accepted, f"{pair.event}_{days}d", method, arm, curve)
            for arm, curve in zip(contrast.split("_vs_"), pair.curves, strict=True)
        ]
        results.differences.append(difference_frame(accepted, f"{pair.event}_{days}d", method, pair.difference))
    said = [*found.remarks, *also_said, *remarks_of(item for effect in found.effects for item in effect.estimates)]
    about = (contrast, time_outcome(protocol), accepted.design.method, method)
    results.notes += [note_of(*about, remark) for remark in said]


def time_and_event(of_rows: pl.DataFrame, horizon: int) -> tuple[FloatArray, IntArray]:
    """Day of the first of readmission (event 1), death (2), censoring or the horizon (0)."""
    far = horizon + 1
    readmitted = pl.col("days_to_readmission").fill_null(far)
    died = pl.col("died_day").fill_null(far)
    censored = pl.col("censored_day").fill_null(horizon)
    day = pl.min_horizontal(readmitted, died, censored)
    event = pl.when(readmitted == day).then(1).when((died == day) & (died <= horizon)).then(2).otherwise(0)
    frame = of_rows.select(day=day.cast(pl.Float64), event=event.cast(pl.Int64))
    return frame["day"].to_numpy(), frame["event"].to_numpy()


def end_of_observation(of_rows: pl.DataFrame, horizon: int) -> tuple[FloatArray, BoolArray]:
    """(n,) last day alive and observed, 0 where there is none, and (n,) whether it is the day of death."""
    last_day = pl.min_horizontal(pl.lit(horizon), "died_day", "censored_day")
    frame = of_rows.select(last_day=last_day.cast(pl.Float64), died=(pl.col("died_day") == last_day).fill_null(False))
    return frame["last_day"].to_numpy(), frame["died"].to_numpy()


def with_kinds(event: IntArray, of_rows: pl.DataFrame, design: Design) -> IntArray:
    """Readmissions under detention become event 3.

    Raises Refused where the kind of a readmission of the design is not known: leaving such people out would be
    choosing by outcome.
    """
    formal = of_rows["is_first_readmission_formal"]
    is_unknown = formal.is_null().to_numpy() & (event == 1) & (design.weights > 0)
    if is_unknown.any():
        raise Refused("it is not known of every first readmission whether it was a detention")
    return np.where((event == 1) & formal.fill_null(False).to_numpy(), 3, event)


def difference_frame(accepted: AcceptedDesign, outcome: str, method: str, difference: CurveDifference) -> pl.DataFrame:
    steps = {name: getattr(difference, name) for name in ("day", "value", *LIMITS)}
    return _labelled(pl.DataFrame(steps), accepted, outcome, method, DIFFERENCE_SCHEMA)


def curve_frame(accepted: AcceptedDesign, outcome: str, method: str, arm: str, curve: Curve) -> pl.DataFrame:
    steps = pl.DataFrame({name: getattr(curve, name) for name in ("day", "incidence", *LIMITS, "at_risk")})
    return _labelled(steps.with_columns(arm=pl.lit(arm)), accepted, outcome, method, CURVE_SCHEMA)


def _labelled(
    steps: pl.DataFrame, accepted: AcceptedDesign, outcome: str, method: str, schema: Mapping[str, Any]
) -> pl.DataFrame:
    labels = {
        "contrast": pl.lit(accepted.contrast.name),
        "outcome": pl.lit(outcome),
        "design": pl.lit(accepted.design.method),
        "method": pl.lit(method),
    }
    return (
        steps.with_columns(**labels)
        .with_columns(pl.col("band_lower", "band_upper").cast(pl.Float64).fill_nan(None))
        .select(pl.col(name).cast(kind) for name, kind in schema.items())
    )
