"""How far the rows of a lake reach: the last day that anybody reported, and its month.

Choice made: MHSDS says itself which months were submitted; an OMOP CDM says until when it observed people; hospital
data alone reach to their latest end of an episode or arrival at a department.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from pipelines.lake.places import Place, read_parquet
from pipelines.lake.reading import reference_name
from pipelines.tables import month_id

_LAST_DAYS = {"hospital_episode": "episode_end_date", "emergency_attendance": "arrival_date"}
_NOTHING = date(1900, 4, 30)  # the first UniqMonthID


def last_reported(generation: Place, written: Collection[str]) -> tuple[date, int]:
    """Last day and its UniqMonthID, of the files `written` into a generation; April 1900 where nothing tells."""
    submitted = reference_name("submission")
    if submitted in written:
        submission = read_parquet(generation / submitted, ["period_end_date", "month_id"])
        day, month = submission.select(pl.col("period_end_date").max(), pl.col("month_id").max()).row(0)
        return day, month
    periods = _days(generation, written, {"observation_period": "end_date"})
    days = periods or _days(generation, written, _LAST_DAYS)
    last = max(days, default=_NOTHING)
    return last, month_id(last.year, last.month)


def _days(generation: Place, written: Collection[str], columns: dict[str, str]) -> list[date]:
    latest = [
        read_parquet(generation / name, [column])[column].max()
        for table, column in columns.items()
        for name in sorted(written)
        if name.startswith(f"tables/{table}/")
    ]
    return [day for day in latest if isinstance(day, date)]
