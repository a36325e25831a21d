"""Effect methods for events counted over the time in which they were seen: rates with exposure.

Choice made: everybody observed for at least a day contributes the events and the time of those days, also where the end
of observation cut the window short; such people leave the comparison of counts (estimate/values.py) but not that of
rates. Those left are judged as they count, by their days: where the data end, early recruits have more of them. Rates
are per year at risk, `dna_rate` per appointment.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from models.counts.whole_windows import whole_windows
from models.effects import keep_observed
from models.influence import degrees_of_freedom
from models.refusals import Refused
from models.registry import EFFECTS, check_capability, methods_for
from models.results import FloatArray
from models.times.events import Followed
from pipelines import store
from pipelines.errors import naming
from pipelines.estimate.analysed import is_withheld
from pipelines.estimate.collected import AcceptedDesign, Results, note_of, remarks_of, row_of, say_stood_for, task_of
from pipelines.estimate.late import planned_days
from pipelines.estimate.times import BEFORE_DAY_1
from pipelines.outcome_registry import is_counted, split_name
from pipelines.protocol import Protocol
from pipelines.store import RunFolder

DAYS_A_YEAR = 365.25
MOST_CUT_BY_THE_END = 0.05
"""Of either arm, by weight: so few late recruits move a rate by less than they would be told apart by."""


def read_observed(run: RunFolder, protocol: Protocol) -> pl.DataFrame | None:
    """Counts and exposures of a run, where a method of the protocol needs them."""
    used = protocol.effects.methods_by_name().values()
    return run.read(store.OBSERVED) if set(used).intersection(methods_for("count")) else None


def read_data_end(run: RunFolder, protocol: Protocol) -> date | None:
    """The last day of the data, where it ends observation; None where it does not, or the source has none."""
    if "end_of_data" not in protocol.follow_up.censor_at or not run.file(store.DATA_ACCOUNT).exists():
        return None
    end = run.read_json(store.DATA_ACCOUNT).get("period_end")
    return None if end is None else date.fromisoformat(str(end))


def estimate_rates(
    accepted: AcceptedDesign,
    of_rows: pl.DataFrame,
    observed: pl.DataFrame | None,
    outcome: str,
    protocol: Protocol,
    results: Results,
    data_end: date | None = None,
) -> None:
    """One outcome by every effect method for rates on one design; nothing for outcomes that are not counted. Who was
    never observed is left out; where censoring is weighted for, everybody whose window was not seen to its end is, and
    others stand for them, unless it was the data that ended. `data_end` is the last day of the data, where that ends
    observation."""
    if observed is None or not is_counted(outcome):
        return
    counts, exposure = counts_and_exposure(accepted.row_id, observed, outcome, protocol.effects.time_at_risk)
    was_seen = ~np.isnan(exposure)
    n_never = int((~was_seen & (accepted.design.weights > 0)).sum())
    values, baseline, design = keep_observed(counts, accepted.baseline, accepted.design)
    freedom = degrees_of_freedom(baseline, design)
    for method in (name for name in protocol.effects.methods if name in methods_for("count")):
        refusal = check_capability(accepted.design.method, method, accepted.design.estimand, "count")
        if refusal is None:
            options = getattr(protocol.effects, method).model_dump()
            if accepted.contrast.is_randomised:
                options["weights_are"] = "fixed"
            sample: tuple[Any, ...] = (values, exposure, baseline, design)
            left, analysed = was_seen, design.weights * share_of_window(accepted.row_id, of_rows, observed, outcome)
            said = list[str]()
            try:
                with naming(task_of(accepted, outcome, method)):
                    if options["censoring"] == "weights":
                        options["followed"] = until_when(accepted.row_id, of_rows, observed, outcome)
                        refuse_end_of_data(accepted, of_rows, options["followed"], data_end)
                        said = say_stood_for(n_never, are_counted=False)
                        sample = (
                            *(np.where(was_seen, seen, 0.0) for seen in (counts, exposure)),
                            accepted.baseline,
                            accepted.design,
                        )
                        analysed = weights_of_windows(accepted, options)
                        left = analysed > 0
                    if is_withheld(accepted, outcome, analysed, left, protocol, results, method):
                        continue
                    found = EFFECTS[method].function(*sample, confidence=protocol.effects.confidence, **options)
            except Refused as error:
                refusal = str(error)
            else:
                n_left = int((~left & (accepted.design.weights > 0)).sum())
                results.estimates += [row_of(accepted, outcome, item, n_left, freedom) for item in found]
                about = (accepted.contrast.name, outcome, accepted.design.method, method)
                results.notes += [note_of(*about, remark) for remark in (*remarks_of(found), *said)]
        if refusal is not None:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, refusal))


def share_of_window(row_id: pl.Series, of_rows: pl.DataFrame, observed: pl.DataFrame, outcome: str) -> FloatArray:
    """(n,) share of the window for which each row was to be observed, whatever happened to it: a rate adds days up, so
    that people count in it by theirs. Who died would have been observed to the end of the data and of submissions."""
    followed = until_when(row_id, of_rows, observed, outcome)
    planned = planned_days(of_rows, followed.window)
    return np.where(followed.died, planned, np.floor(followed.last_day)) / followed.window


def weights_of_windows(accepted: AcceptedDesign, options: Mapping[str, Any]) -> FloatArray:
    """(n,) weights of the design times those for the end of observation, 0 for windows not seen to their end."""
    given = options["censoring"], options["censoring_penalty"], options["largest_censoring_weight"]
    return whole_windows(options["followed"], accepted.baseline, accepted.design, *given).weighted.weights


def refuse_end_of_data(
    accepted: AcceptedDesign, of_rows: pl.DataFrame, followed: Followed, data_end: date | None
) -> None:
    """Raises Refused where the end of the data, or of a table of the outcome, cuts more than a few windows of an arm.

    Whole windows are then those of early recruits. When people were recruited is not what weights adjust for: a late
    recruit had no probability at all of being seen to the end.
    """
    until = {"window": pl.lit(followed.window), "died": pl.col("died_day"), "censored": pl.col("censored_day")}
    known = of_rows.select(
        last=pl.min_horizontal(*(column for column in until.values())).cast(pl.Float64),
        data=pl.lit(None, pl.Int64) if data_end is None else (pl.lit(data_end) - pl.col("index_date")).dt.total_days(),
    )
    by_table = followed.last_day < np.floor(known["last"].to_numpy())
    by_end = known.select((pl.col("data") < followed.window).fill_null(value=False)).to_series().to_numpy()
    is_cut = (followed.last_day < followed.window) & ~followed.died & (by_table | by_end)
    weights = accepted.design.weights
    for arm, name in ((accepted.design.treated, "treated people"), (~accepted.design.treated, "controls")):
        share = float(weights[arm & is_cut].sum() / weights[arm].sum())
        if share > MOST_CUT_BY_THE_END:
            raise Refused(
                f"the end of the data cuts the windows of {100 * share:.0f} % of the {name}: whole windows are those "
                "of early recruits, and weights for the end of observation cannot make late ones of them; take a "
                "window that the data cover, or censoring = 'none'"
            )


def until_when(row_id: pl.Series, of_rows: pl.DataFrame, observed: pl.DataFrame, outcome: str) -> Followed:
    """Until when each row was observed in the window of the outcome; rows nobody observed were lost before day 1."""
    split = split_name(outcome)
    assert split is not None
    days = observed.filter(pl.col("outcome") == outcome).select("row_id", "days")
    rows = row_id.to_frame().join(days, on="row_id", how="left", maintain_order="left")
    rows = rows.with_columns(died_day=of_rows["died_day"])
    last_day = rows["days"].cast(pl.Float64).fill_null(BEFORE_DAY_1).to_numpy()
    died = rows.select((pl.col("died_day") <= pl.col("days")).fill_null(False)).to_series().to_numpy()
    return Followed(last_day, died, split[1])


def counts_and_exposure(
    row_id: pl.Series, observed: pl.DataFrame, outcome: str, time_at_risk: str
) -> tuple[FloatArray, FloatArray]:
    """(n,) events and (n,) years at risk, or chances where the outcome has them; both NaN for rows nobody observed.

    Who was observed without any chance, or never outside hospital where only that time counts, has an exposure of 0 and
    stays: such a row adds nothing to events or time, and leaving it out would hand its weight to the rest of its
    matched set, by something that happened after time zero.
    """
    of_outcome = observed.filter(pl.col("outcome") == outcome)
    days = pl.col("days") - (pl.col("days_in_hospital") if time_at_risk == "out_of_hospital" else 0)
    rows = row_id.to_frame().join(of_outcome, on="row_id", how="left", maintain_order="left")
    exposure = pl.coalesce(pl.col("chances").cast(pl.Float64), days / DAYS_A_YEAR)
    rows = rows.select(pl.col("n").cast(pl.Float64), exposure=exposure).fill_null(float("nan"))
    return rows["n"].to_numpy(), rows["exposure"].to_numpy()
