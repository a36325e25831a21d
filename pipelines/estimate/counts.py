"""Effect methods for events counted over the time in which they were seen: rates with exposure.

Choice made: everybody observed for at least a day contributes the events and the time of those days, also where the end
of observation cut the window short; such people leave the comparison of counts (estimate/values.py) but not that of
rates. Rates are per year at risk, `dna_rate` per appointment.
"""

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.registry import EFFECTS, check_capability, methods_for
from models.results import FloatArray
from pipelines import store
from pipelines.estimate.collected import AcceptedDesign, Results, note_of, row_of
from pipelines.outcome_registry import is_counted
from pipelines.protocol import Protocol
from pipelines.store import RunFolder

DAYS_A_YEAR = 365.25


def read_observed(run: RunFolder, protocol: Protocol) -> pl.DataFrame | None:
    """Counts and exposures of a run, where a method of the protocol needs them."""
    used = protocol.effects.methods_by_name().values()
    return run.read(store.OBSERVED) if set(used).intersection(methods_for("count")) else None


def estimate_rates(
    accepted: AcceptedDesign, observed: pl.DataFrame | None, outcome: str, protocol: Protocol, results: Results
) -> None:
    """One outcome by every effect method for rates on one design; nothing for outcomes that are not counted."""
    if observed is None or not is_counted(outcome):
        return
    counts, exposure = counts_and_exposure(accepted.row_id, observed, outcome, protocol.effects.time_at_risk)
    was_seen = exposure > 0
    n_unobserved = int((~was_seen & (accepted.design.weights > 0)).sum())
    values, baseline, design = keep_observed(np.where(was_seen, counts, np.nan), accepted.baseline, accepted.design)
    for method in (name for name in protocol.effects.methods if name in methods_for("count")):
        refusal = check_capability(accepted.design.method, method, accepted.design.estimand, "count")
        if refusal is None:
            options = getattr(protocol.effects, method).model_dump()
            if accepted.contrast.is_randomised:
                options["weights_are"] = "fixed"
            try:
                found = EFFECTS[method].function(
                    values, exposure[was_seen], baseline, design, confidence=protocol.effects.confidence, **options
                )
            except ValueError as error:
                refusal = str(error)
            else:
                results.estimates += [row_of(accepted, outcome, item, n_unobserved) for item in found]
        if refusal is not None:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, refusal))


def counts_and_exposure(
    row_id: pl.Series, observed: pl.DataFrame, outcome: str, time_at_risk: str
) -> tuple[FloatArray, FloatArray]:
    """(n,) events and (n,) years at risk, or chances where the outcome has them; both 0 for rows that nobody observed,
    or that spent all of the time in hospital where only time outside of it counts."""
    of_outcome = observed.filter(pl.col("outcome") == outcome)
    days = pl.col("days") - (pl.col("days_in_hospital") if time_at_risk == "out_of_hospital" else 0)
    rows = row_id.to_frame().join(of_outcome, on="row_id", how="left", maintain_order="left")
    rows = rows.select("n", exposure=pl.coalesce(pl.col("chances").cast(pl.Float64), days / DAYS_A_YEAR)).fill_null(0)
    return rows["n"].cast(pl.Float64).to_numpy(), rows["exposure"].to_numpy()
