"""How far the rows of a lake reach: the last day that anybody reported, and its month.

Choice made: MHSDS says itself which months were submitted; an OMOP CDM says until when it observed people; hospital
data alone reach to their latest end of an episode or arrival at a department. A mistyped header must not move the end
for everybody: submissions that follow all others by more than a year count only where people have records as late.
"""

from collections.abc import Collection, Iterator
from datetime import date

import polars as pl

from pipelines.lake.places import Place, read_parquet
from pipelines.lake.reading import reference_name
from pipelines.tables import month_id

_LAST_DAYS = {"hospital_episode": "episode_end_date", "emergency_attendance": "arrival_date"}
_RECORDS = {"person_month": "month_id"}  # everybody with a row in a month has one here
_LONGEST_GAP = 12  # months without any submission that an extract may have
_NOTHING = date(1900, 4, 30)  # the first UniqMonthID


def last_reported(generation: Place, written: Collection[str]) -> tuple[date, int]:
    """Last day and its UniqMonthID, of the files `written` into a generation; April 1900 where nothing tells."""
    submitted = reference_name("submission")
    if submitted in written:
        submission = read_parquet(generation / submitted, ["period_end_date", "month_id"])
        credible = _credible(submission, generation, written)
        day, month = credible.select(pl.col("period_end_date").max(), pl.col("month_id").max()).row(0)
        return day, month
    periods = _days(generation, written, {"observation_period": "end_date"})
    days = periods or _days(generation, written, _LAST_DAYS)
    last = max(days, default=_NOTHING)
    return last, month_id(last.year, last.month)


def _credible(submission: pl.DataFrame, generation: Place, written: Collection[str]) -> pl.DataFrame:
    """The submissions but for those after a gap in which, and after which, there is nobody's record."""
    months = submission["month_id"].unique().sort()
    beyond = months.filter(months.diff() > _LONGEST_GAP)
    if beyond.is_empty():
        return submission
    recorded = pl.Series([part.max() for part in _columns(generation, written, _RECORDS)], dtype=pl.Int64).max()
    empty = beyond if recorded is None else beyond.filter(beyond > recorded)
    return submission if empty.is_empty() else submission.filter(pl.col("month_id") < empty[0])


def _days(generation: Place, written: Collection[str], columns: dict[str, str]) -> list[date]:
    latest = [part.max() for part in _columns(generation, written, columns)]
    return [day for day in latest if isinstance(day, date)]


def _columns(generation: Place, written: Collection[str], columns: dict[str, str]) -> Iterator[pl.Series]:
    """The column of each table, bucket by bucket."""
    for table, column in columns.items():
        for name in sorted(written):
            if name.startswith(f"tables/{table}/"):
                yield read_parquet(generation / name, [column])[column]
