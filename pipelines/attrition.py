"""How many discharges and people every step removed and left; counts of disjoint sets of persons add up."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipelines.protocol import Eligibility

ATTRITION_SCHEMA = {
    "step": pl.Int64,
    "group": pl.String,
    "rule": pl.String,
    "n_discharges_removed": pl.Int64,
    "n_people_removed": pl.Int64,
    "n_discharges_left": pl.Int64,
    "n_people_left": pl.Int64,
}


def count_attrition(
    pool: pl.DataFrame,
    candidates: pl.DataFrame,
    excluded: pl.DataFrame,
    index: pl.DataFrame,
    eligibility: Eligibility,
) -> pl.DataFrame:
    """How many discharges and people each step removed and left, for candidates and for participants.

    Columns as in the run folder's attrition.parquet. A person is removed with the last of their discharges. Stays of
    `pool` that are not among `candidates` are left out because the person took part.
    """
    rules = [*eligibility.rules, "not_first_discharge"]
    if eligibility.candidate_discharges == "every":
        rules.remove("not_first_discharge")
    left = pool.join(candidates, on=["person_id", "end_date"], how="anti")
    took_part = left.select("person_id", rule=pl.lit("trial_participant"))
    failed = index.select("person_id", "arm", rule="first_failed_rule")
    judged = pl.concat([took_part, failed.filter(pl.col("arm") == "virtual").drop("arm")])
    left_out = excluded.select("person_id", rule="reason")
    trial = pl.concat([left_out, failed.filter(pl.col("arm") != "virtual").drop("arm")])
    return pl.concat(
        [
            _steps("participants", "listed", trial, [*PARTICIPANT_REASONS, *eligibility.rules]),
            _steps("candidates", "discharged_in_window", judged, ["trial_participant", *rules]),
        ]
    )


PARTICIPANT_REASONS = (
    "no_consent",
    "not_in_extract",
    "no_stay_holds_allocation_date",
    "stay_not_ended",
    "stay_stopped_arriving",
)


def _steps(group: str, start: str, rows: pl.DataFrame, rules: Sequence[str]) -> pl.DataFrame:
    steps: list[tuple[Any, ...]] = [(0, group, start, 0, 0, rows.height, rows["person_id"].n_unique())]
    left = rows
    for number, rule in enumerate(rules, start=1):
        before = left
        left = before.filter(pl.col("rule").eq_missing(pl.lit(rule)).not_())
        people, people_before = left["person_id"].n_unique(), before["person_id"].n_unique()
        removed = (before.height - left.height, people_before - people)
        steps.append((number, group, rule, *removed, left.height, people))
    return pl.DataFrame(steps, schema=ATTRITION_SCHEMA, orient="row")


def add_up_attrition(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The attrition of all persons from that of disjoint sets of persons."""
    counts = [name for name in ATTRITION_SCHEMA if name.startswith("n_")]
    return (
        pl.concat(parts)
        .group_by("step", "group", "rule")
        .agg(pl.col(counts).sum())
        .sort("group", "step", descending=[True, False])
        .select(list(ATTRITION_SCHEMA))
    )
