"""How far back the sources and their tables reach, and for how many people the look-back for an earlier stay starts
before that.

Choice made (DOMAIN A8.5, I15): MHSDS reaches to its first submitted month, one of its tables from the first to the last
month that any row of it was sent for. Hospital episodes come by the month they
ended in, so they cover the months from the first to the last in which at least half as many ended as in the median
month: a mistyped year must not pass for a month of data. Emergency attendances likewise, by their arrival.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import polars as pl
from dask.base import compute
from dask.delayed import delayed

from pipelines.covariate_registry import REGISTRY
from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts
from pipelines.lake import Lake
from pipelines.protocol import Eligibility

_SHARE_OF_MEDIAN = 0.5
EMERGENCY = "emergency_attendance"
NOT_BY_MONTH = {"stays", "hospital_episode", EMERGENCY}


def hospital_reach(lake: Lake) -> tuple[date, date] | None:
    """First and last day of the months that hospital episodes cover: those in which at least half the median number of
    episodes ended; None where the lake has none."""
    return _reach_by_day(lake, "hospital_episode", "episode_end_date")


def _reach_by_day(lake: Lake, table: str, column: str) -> tuple[date, date] | None:
    def count(bucket: int) -> pl.DataFrame:
        return _count_by_month(lake.read_bucket(bucket, table, [column])[column])

    parts: Sequence[pl.DataFrame] = compute(*[delayed(count)(bucket) for bucket in range(lake.n_buckets)])
    return _full_months(pl.concat(parts).group_by("month").agg(pl.col("n").sum()))


def _count_by_month(days: pl.Series) -> pl.DataFrame:
    months = days.drop_nulls().dt.truncate("1mo").rename("month")
    return months.value_counts(name="n").with_columns(pl.col("n").cast(pl.Int64))


def _full_months(counts: pl.DataFrame) -> tuple[date, date] | None:
    full = counts.filter(pl.col("n") >= _SHARE_OF_MEDIAN * pl.col("n").median())["month"]
    if full.is_empty():
        return None
    first, last = full.min(), full.dt.month_end().max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    return first, last


def table_reach(lake: Lake, hospital: tuple[date, date] | None) -> dict[str, tuple[date, date]]:
    """First and last day over which finding nothing in a table is knowledge, for the tables that the registry's counts
    and indicators need, named as there; tables without a row are left out. `hospital` as of hospital_reach.

    One pass over a column or two of each. Empty for a CDM, which observes each person over a period of their own.
    """
    if lake.has("observation_period"):
        return {}
    wanted = {table for covariate in REGISTRY.values() if covariate.none_is_known for table in covariate.tables}
    wanted |= {"care_activity"}  # of covariates from codes
    tasks = [delayed(_months_sent)(lake, bucket, sorted(wanted - NOT_BY_MONTH)) for bucket in range(lake.n_buckets)]
    parts: Sequence[pl.DataFrame] = compute(*tasks)
    sent = (
        pl.concat(parts).drop_nulls().group_by("table").agg(pl.col("first").min(), pl.col("last").max()).sort("table")
    )
    by_day = {"hospital_episode": hospital, EMERGENCY: _reach_by_day(lake, EMERGENCY, "arrival_date")}
    return {name: (first, last) for name, first, last in sent.iter_rows()} | {
        table: covered for table, covered in by_day.items() if covered is not None
    }


def _months_sent(lake: Lake, bucket: int, names: Sequence[str]) -> pl.DataFrame:
    """table, first and last day of the months for which one bucket has rows: all rows, those with a value in the column
    that a name has after its dot, or those with the code after '='."""
    found = []
    for name in names:
        table, _, rest = name.partition(".")
        column, _, code = rest.partition("=")
        rows = lake.read_bucket(bucket, table, ["month_id", column] if column else ["month_id"])
        if column:
            rows = rows.filter(pl.col(column) == code) if code else rows.drop_nulls(column)
        last = LAST_DAY_OF_MONTH_ID
        found.append(rows.select(table=pl.lit(name), first=last.min().dt.month_start(), last=last.max()))
    return pl.concat(found)


def look_back_start(facts: ExtractFacts, eligibility: Eligibility) -> date | None:
    """The first day of which an earlier psychiatric stay can be known; None where nothing says so."""
    starts = [facts.first_day, facts.hospital_start if eligibility.prior_stays_from_hes else None]
    return min((start for start in starts if start is not None), default=None)


def count_truncated(people: pl.DataFrame, facts: ExtractFacts, eligibility: Eligibility) -> dict[str, Any]:
    """The entry `look_back` of the data account: first day of each source, and of candidates and participants how many
    have a window of prior stays that starts before any of them.

    Args:
        people: rows of the cohort (person_id, arm, admission_date), eligible or not.
    """
    start = look_back_start(facts, eligibility)
    opens = pl.col("admission_date").dt.offset_by(f"-{eligibility.prior_stay_window_days}d")
    is_truncated = (opens < start) if start is not None else pl.lit(True)
    group = pl.when(pl.col("arm") == "virtual").then(pl.lit("candidates")).otherwise(pl.lit("participants"))
    counts = people.group_by(group=group).agg(
        n_people=pl.col("person_id").n_unique(),
        n_truncated=pl.col("person_id").filter(is_truncated).n_unique(),
    )
    return {
        "window_days": eligibility.prior_stay_window_days,
        "mhsds_from": _text(facts.first_day),
        "hes_from": _text(facts.hospital_start if eligibility.prior_stays_from_hes else None),
        "groups": counts.sort("group").to_dicts(),
    }


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
