"""One bucket's records as the covariates need them, and how far before time zero its events lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from pipelines.extract import ExtractFacts

KEY = ["person_id", "index_date"]


@dataclass(frozen=True)
class Records:
    """`index` has a row per index stay with its own facts; `stays` are all continuous stays that count as stays, which
    can be known from `stays_from` on (None: from the first submitted month). `present` names the tables that the
    extract holds, whether or not this bucket has a row of them."""

    index: pl.DataFrame
    stays: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    facts: ExtractFacts
    present: frozenset[str]
    stays_from: date | None = None


def with_days_before(records: Records, events: pl.DataFrame, day: str = "event_date") -> pl.DataFrame:
    """Each index row with each of its person's events, and `days`: from the column `day` of the event to time zero."""
    joined = records.index.select(KEY).join(events, on="person_id")
    return joined.with_columns(days=(pl.col("index_date") - pl.col(day)).dt.total_days())


def up_to_time_zero(records: Records, events: pl.DataFrame, day: str, days: int) -> pl.DataFrame:
    """Those of the last `days` days, the index date among them."""
    return with_days_before(records, events, day).filter(pl.col("days").is_between(0, days))


def join_on_key(records: Records, parts: list[pl.DataFrame]) -> pl.DataFrame:
    """The key of every index row with the columns of all `parts`, null where a part has no row."""
    frame = records.index.select(KEY)
    for part in parts:
        frame = frame.join(part, on=KEY, how="left", maintain_order="left")
    return frame
