"""Accepted designs and the primary outcome of controls → balance of the prognostic score, for the report alone.

Choice made: it is computed after acceptance and has no threshold, so it can neither choose nor excuse a design. All
designs on the same rows share one score.
"""

from typing import Any

import polars as pl

from models.diagnostics import PrognosticScore, fit_prognostic_score, measure_prognostic_balance
from models.refusals import Refused
from pipelines.design import seeded
from pipelines.errors import naming
from pipelines.estimate.collected import AcceptedDesign, task_of
from pipelines.estimate.values import outcome_values
from pipelines.protocol import Protocol, outcome_kinds

PROGNOSTIC_SCHEMA = {
    "contrast": pl.String,
    "design": pl.String,
    "outcome": pl.String,
    "smd_before": pl.Float64,
    "smd_after": pl.Float64,
    "n_learnt_from": pl.Int64,
    "fit": pl.Float64,
    "note": pl.String,
}


class PrognosticBalances:
    """Collects a row of PROGNOSTIC_SCHEMA for each design that was chosen (a trial has nothing to choose)."""

    def __init__(self, outcomes: pl.DataFrame, protocol: Protocol) -> None:
        self.outcomes, self.protocol = outcomes, protocol
        self.rows: list[dict[str, Any]] = []
        self._scores: dict[tuple[str, int], PrognosticScore | str] = {}

    def add(self, accepted: AcceptedDesign) -> None:
        """Measure one design; where no score can be fitted the note says why."""
        kind = outcome_kinds(self.protocol)[self.protocol.outcomes.primary]
        if accepted.contrast.is_randomised or kind not in ("binary", "continuous"):
            return
        found = self._score(accepted)
        row: dict[str, Any] = {
            "contrast": accepted.contrast.name,
            "design": accepted.name,
            "outcome": self.protocol.outcomes.primary,
        }
        if isinstance(found, str):
            self.rows.append({**row, "note": found})
            return
        balance = measure_prognostic_balance(found.score, accepted.baseline, accepted.design)
        numbers = {"smd_before": balance.smd_before, "smd_after": balance.smd_after}
        self.rows.append({**row, **numbers, "n_learnt_from": found.n_learnt_from, "fit": found.fit})

    def table(self) -> pl.DataFrame:
        """Columns of PROGNOSTIC_SCHEMA."""
        return pl.DataFrame(self.rows, schema=PROGNOSTIC_SCHEMA, orient="row")

    def _score(self, accepted: AcceptedDesign) -> PrognosticScore | str:
        key = (accepted.contrast.name, hash(accepted.row_id.to_numpy().tobytes()))
        if key not in self._scores:
            self._scores[key] = self._fit(accepted)
        return self._scores[key]

    def _fit(self, accepted: AcceptedDesign) -> PrognosticScore | str:
        primary = self.protocol.outcomes.primary
        of_rows = accepted.row_id.to_frame().join(self.outcomes, on="row_id", how="left", maintain_order="left")
        kind = outcome_kinds(self.protocol)[primary]
        rng = seeded(self.protocol, "prognostic", accepted.contrast.name, primary)
        values = outcome_values(of_rows, primary)
        try:
            with naming(task_of(accepted, primary, "the prognostic score")):
                return fit_prognostic_score(values, accepted.baseline, accepted.design.treated, rng=rng, kind=kind)
        except Refused as error:
            return str(error)
