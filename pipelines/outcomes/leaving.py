"""When a person left view for a reason of their own: a move out of the area, or the end of their observation period.

Choice made: an observation period of an OMOP CDM is a span in which events would have been recorded (CDM 5.4), and
OHDSI's studies end the time at risk with it; here that is the protocol's choice, since many CDMs end the period with
the person's last record. Then people are followed for as long as something happens to them, and to end observation
there would choose people by outcome.
"""

from collections.abc import Mapping

import polars as pl

from pipelines.extract import ExtractFacts
from pipelines.outcomes.moves import MOVED, find_moves, first_move
from pipelines.protocol import FollowUp

PERIOD_ENDED = "observation_period"
OWN_REASONS = (MOVED, PERIOD_ENDED)


def day_of_leaving(
    index: pl.DataFrame, tables: Mapping[str, pl.DataFrame], facts: ExtractFacts, follow_up: FollowUp
) -> pl.Series:
    """The last day in view of each index row (person_id, index_date, provider_id), in order; null where no reason of
    the person's own that `follow_up.censor_at` names ended it."""
    moved = first_move(index, find_moves(tables, follow_up), facts)
    if PERIOD_ENDED not in follow_up.censor_at:
        return moved
    ended = end_of_period(index, tables["observation_period"])
    return pl.select(pl.min_horizontal(moved, ended)).to_series()


def end_of_period(index: pl.DataFrame, periods: pl.DataFrame) -> pl.Series:
    """The last day of the observation period that holds each index row's time zero, of periods that follow each other
    without a day between them the last; time zero itself where none holds it."""
    spans = periods.select("person_id", "start_date", "end_date").sort("person_id", "start_date", "end_date")
    reached = pl.col("end_date").cum_max().shift().over("person_id")
    is_apart = (pl.col("start_date") > reached.dt.offset_by("1d")).fill_null(True)
    joined = (
        spans.with_columns(span=is_apart.cum_sum().over("person_id"))
        .group_by("person_id", "span")
        .agg(pl.col("start_date").min(), pl.col("end_date").max())
    )
    rows = index.select("person_id", "index_date").with_row_index("place")
    held = (
        rows.join(joined, on="person_id")
        .filter(pl.col("index_date").is_between("start_date", "end_date"))
        .select("place", "end_date")
    )
    found = rows.join(held, on="place", how="left", maintain_order="left")
    return found.select(pl.coalesce("end_date", "index_date").alias("end_date")).to_series()
