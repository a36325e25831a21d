"""Events and the time in which they were seen: what rates need, also of windows that observation did not cover.

Choice made: a count over part of a window is no small count but a count over less time. So the events are counted up to
the end of observation, to death, or to the day up to which the tables of the outcome reach without a gap, and stand
beside the days until then, and beside those of them that were spent in readmission stays. When observation ends has
nothing to do with the person (outcomes/seen.py). A row nobody observed for a day is not there.
"""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from pipelines.extract import Span
from pipelines.outcome_registry import COUNTED_EVENTS, FAMILIES, split_name
from pipelines.outcomes.seen import KEY, Events, days_before_gap
from pipelines.protocol import FollowUp

Reach = Span | None

OBSERVED_SCHEMA = {
    "person_id": pl.String,
    "index_date": pl.Date,
    "outcome": pl.String,
    "n": pl.Int64,
    "days": pl.Int64,
    "days_in_hospital": pl.Int64,
    "chances": pl.Int64,
}
READMISSION_SCHEMA = {
    "person_id": pl.String,
    "index_date": pl.Date,
    "day": pl.Int64,
    "until_day": pl.Int64,
    "is_formal": pl.Boolean,
}


def counted_outcomes(follow_up: FollowUp, named: Iterable[str]) -> list[str]:
    """Names of the outcomes that are counted over time: their families over the whole follow-up, and what is named."""
    whole = [f"{family}_{follow_up.days}d" for family in COUNTED_EVENTS]
    return [name for name in dict.fromkeys([*whole, *named]) if (split_name(name) or ("",))[0] in COUNTED_EVENTS]


def count_observed(
    rows: pl.DataFrame,
    events: Events,
    reach: Mapping[str, Reach],
    follow_up: FollowUp,
    named: Iterable[str],
    gaps: Mapping[str, tuple[Span, ...]] | None = None,
) -> pl.DataFrame:
    """A row of OBSERVED_SCHEMA for each index row and counted outcome that was observed for at least a day.

    n          events seen on days 1 to `days`
    days       days alive and observed in the window; the day of death and the last day observed count
    chances    missed and attended appointments among which `n` were missed (dna_rate); null for others

    `rows` and `events` as of seen.follow; `reach` first and last day of each table, None where the extract lacks it,
    `gaps` those of months in between that it does not cover.
    """
    parts = [pl.DataFrame(schema=OBSERVED_SCHEMA)]
    for name in counted_outcomes(follow_up, named):
        split = split_name(name)
        assert split is not None
        family, days = split
        needed = FAMILIES[family].must_cover
        missed = [gap for table in needed for gap in (gaps or {}).get(table, ())]
        observed = _observed_days(rows, days, [reach[table] for table in needed], missed)
        kind, among = COUNTED_EVENTS[family]
        counted = observed.with_columns(
            n=_count(observed, events[kind]),
            days_in_hospital=_days_inside(observed, events["readmission"]),
            chances=sum((_count(observed, events[other]) for other in among), pl.lit(None if not among else 0)),
        )
        parts.append(counted.select(pl.lit(name).alias("outcome"), pl.exclude("outcome")).select(list(OBSERVED_SCHEMA)))
    return pl.concat([part.cast(OBSERVED_SCHEMA) for part in parts])  # type: ignore[arg-type]


def list_readmissions(rows: pl.DataFrame, events: Events) -> pl.DataFrame:
    """Every readmission while alive and observed: its day, the day its stay ended (null while it lasts), and its kind;
    in the order of rows and days."""
    placed = events["readmission"].select("place", "day", "until_day", "is_formal")
    return (
        rows.select("place", *KEY)
        .join(placed, on="place", maintain_order="left_right")
        .select(list(READMISSION_SCHEMA))
        .cast(READMISSION_SCHEMA)  # type: ignore[arg-type]
    )


def _observed_days(rows: pl.DataFrame, days: int, reaches: list[Reach], gaps: Sequence[Span]) -> pl.DataFrame:
    """place, KEY and `days`, the last day of the window that counts; only rows with at least one."""
    if None in reaches:
        return rows.head(0).select("place", *KEY, days="last_day")
    last_days, covered = [pl.lit(days), pl.col("last_day"), days_before_gap(gaps)], pl.lit(True)
    for first, last in (reach for reach in reaches if reach is not None):
        last_days.append((pl.lit(last) - pl.col("index_date")).dt.total_days())
        covered &= (pl.lit(first) - pl.col("index_date")).dt.total_days() <= 1
    return (
        rows.filter(covered)
        .select("place", *KEY, days=pl.min_horizontal(*last_days).cast(pl.Int64))
        .filter(pl.col("days") > 0)
    )


def _count(observed: pl.DataFrame, events: pl.DataFrame) -> pl.Series:
    """Events of each observed row on days 1 to `days`."""
    return _added_up(observed, events, pl.len())


def _days_inside(observed: pl.DataFrame, stays: pl.DataFrame) -> pl.Series:
    """Days of each observed row inside its readmission stays, counted like days_in_hospital."""
    return _added_up(observed, stays, (pl.min_horizontal("until_day", "days") - pl.col("day")).sum())


def _added_up(observed: pl.DataFrame, events: pl.DataFrame, total: pl.Expr) -> pl.Series:
    of_rows = events.join(observed.select("place", "days"), on="place").filter(pl.col("day") <= pl.col("days"))
    sums = of_rows.group_by("place").agg(value=total.cast(pl.Int64))
    joined = observed.select("place").join(sums, on="place", how="left", maintain_order="left")
    return joined["value"].fill_null(0)
