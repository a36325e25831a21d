"""Effect methods for times: the first readmission of the whole follow-up, with death competing."""

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.registry import EFFECTS, check_capability, methods_for
from models.results import Curve, FloatArray, IntArray
from pipelines.estimate.collected import CURVE_SCHEMA, AcceptedDesign, Results, note_of, row_of
from pipelines.protocol import Protocol


def time_outcome(protocol: Protocol) -> str:
    """The outcome whose time is analysed: readmission over the whole follow-up."""
    return f"readmitted_{protocol.follow_up.days}d"


def estimate_times(accepted: AcceptedDesign, of_rows: pl.DataFrame, protocol: Protocol, results: Results) -> None:
    """Every effect method for times on one design; everybody counts until censored."""
    day, event = time_and_event(of_rows, protocol.follow_up.days)
    seen = day > 0
    never_seen = np.where(seen, 0.0, np.nan)
    _, baseline, design = keep_observed(never_seen, accepted.baseline, accepted.design)
    n_unobserved = int(((~seen) & (accepted.design.weights > 0)).sum())
    outcome = time_outcome(protocol)
    treated_name, control_name = accepted.contrast.name.split("_vs_")
    for method in (name for name in protocol.effects.methods if name in methods_for("time_to_event")):
        refusal = check_capability(accepted.design.method, method, accepted.design.estimand, "time_to_event")
        if refusal is not None:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, refusal))
            continue
        found = EFFECTS[method].function(
            day[seen],
            event[seen],
            baseline,
            design,
            horizon=protocol.follow_up.days,
            confidence=protocol.effects.confidence,
            **getattr(protocol.effects, method).model_dump(),
        )
        results.estimates += [row_of(accepted, outcome, item, n_unobserved) for item in found.estimates]
        results.curves += [
            _curve_frame(accepted, outcome, arm, item)
            for arm, item in zip((treated_name, control_name), found.curves, strict=True)
        ]


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


def _curve_frame(accepted: AcceptedDesign, outcome: str, arm: str, curve: Curve) -> pl.DataFrame:
    steps = {name: getattr(curve, name) for name in ("day", "incidence", "lower", "upper", "at_risk")}
    labels = {
        "contrast": pl.lit(accepted.contrast.name),
        "outcome": pl.lit(outcome),
        "design": pl.lit(accepted.design.method),
        "arm": pl.lit(arm),
    }
    return (
        pl.DataFrame(steps)
        .with_columns(**labels)
        .select(pl.col(name).cast(kind) for name, kind in CURVE_SCHEMA.items())
    )
