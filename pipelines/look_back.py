"""How far back the sources reach, and for how many people the look-back for an earlier stay starts before that.

Choice made (DOMAIN A8.5, I15): MHSDS reaches to its first submitted month. Hospital episodes come by the month they
ended in, so they cover the months from the first to the last in which at least half as many ended as in the median
month: a mistyped year must not pass for a month of data.
"""

from datetime import date
from typing import Any

import polars as pl

from pipelines.extract import ExtractFacts
from pipelines.lake import Lake
from pipelines.protocol import Eligibility

_SHARE_OF_MEDIAN = 0.5


def hospital_reach(lake: Lake) -> tuple[date, date] | None:
    """First and last day of the months that hospital episodes cover; None where the lake has none."""
    ends = [lake.read_bucket(bucket, "hospital_episode", ["episode_end_date"]) for bucket in range(lake.n_buckets)]
    return months_covered(pl.concat(ends)["episode_end_date"])


def months_covered(ends: pl.Series) -> tuple[date, date] | None:
    """First and last day of the months with at least half the median number of days in `ends`."""
    months = ends.drop_nulls().dt.truncate("1mo").value_counts(name="n").rename({ends.name: "month"})
    full = months.filter(pl.col("n") >= _SHARE_OF_MEDIAN * pl.col("n").median())["month"]
    if full.is_empty():
        return None
    first, last = full.min(), full.dt.month_end().max()
    assert isinstance(first, date)
    assert isinstance(last, date)
    return first, last


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
