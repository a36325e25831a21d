"""A copy of the covariates that was completed without outcomes → the same completed again for an outcome's regressions.

Choice made: a design never sees outcomes, so its copies are imputed without them; but values drawn without the outcome
are less related to it than the real ones, and a regression of the outcome on them is biased (Moons et al. 2006, J Clin
Epidemiol 59:1092). Where the protocol says so, covariates of such regressions are drawn again given arm, all other
covariates, the outcome, and the product of arm and outcome, from everybody whose outcome was observed. Who is in the
design, and with what weight, stays as its own copy has it: of people with gaps, that was decided without regard to
their outcome, so that it takes nothing from a regression which is right.
"""

from collections.abc import Callable, Sequence

import polars as pl

from models.results import Baseline
from pipelines.design import seeded
from pipelines.design_matrix import build_baseline
from pipelines.estimate.values import outcome_values
from pipelines.imputation import complete_given_outcome
from pipelines.protocol import Protocol

AGAIN = ":again"


class OutcomeCopies:
    """Copy `number` of the covariates for the regressions of each outcome, made when first asked for."""

    def __init__(self, rows: pl.DataFrame, outcomes: pl.DataFrame, protocol: Protocol, number: int) -> None:
        """`rows` are all eligible rows with the covariates as they were recorded; `protocol` the study's own."""
        self.rows, self.protocol, self.number = rows, protocol, number
        self.names = [name for name in protocol.covariates.named_with("multiple_imputation") if name in rows.columns]
        self._of_rows = rows.select("row_id").join(outcomes, on="row_id", how="left", maintain_order="left")
        self._completed: dict[str, pl.DataFrame] = {}

    def of(self, outcome: str) -> pl.DataFrame:
        """row_id and the imputed covariates of the rows whose outcome was observed. Raises Refused where they cannot
        be imputed."""
        if outcome not in self._completed:
            rng = seeded(self.protocol, "imputation", "outcome", outcome, str(self.number))
            values = outcome_values(self._of_rows, outcome)
            completed = complete_given_outcome(self.rows, values, self.protocol, rng)
            self._completed[outcome] = completed.select("row_id", *self.names)
        return self._completed[outcome]

    def baselines_of(self, table: pl.DataFrame, exact: Sequence[str], within: Protocol) -> Callable[[str], Baseline]:
        """Outcome → baseline of the rows of a design (`table`, with the design's own copy of the covariates, which
        those keep whose outcome was not observed). `within` is the protocol as it holds within a copy."""
        made: dict[str, Baseline] = {}

        def baseline_for(outcome: str) -> Baseline:
            if outcome not in made:
                again = table.join(self.of(outcome), on="row_id", how="left", suffix=AGAIN, maintain_order="left")
                filled = again.with_columns(pl.coalesce(name + AGAIN, name).alias(name) for name in self.names)
                made[outcome] = build_baseline(filled, within.covariates, exact, not_yet_treated=within.not_yet_treated)
            return made[outcome]

        return baseline_for
