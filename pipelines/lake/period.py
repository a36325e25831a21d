"""How far the rows of a lake reach: the last day that anybody reported, and its month.

Choice made: MHSDS says itself which months were submitted; where it is absent, hospital data reach to their latest end
of an episode or arrival at a department.
"""

from datetime import date
from pathlib import Path

import polars as pl

from pipelines.lake.reading import reference_path
from pipelines.tables import month_id

_LAST_DAYS = {"hospital_episode": "episode_end_date", "emergency_attendance": "arrival_date"}
_NOTHING = date(1900, 4, 30)  # the first UniqMonthID


def last_reported(building: Path) -> tuple[date, int]:
    """Last day and its UniqMonthID, of the tables written into `building`; April 1900 where there are none."""
    submitted = reference_path(building, "submission")
    if submitted.is_file():
        submission = pl.read_parquet(submitted, glob=False)
        day, month = submission.select(pl.col("period_end_date").max(), pl.col("month_id").max()).row(0)
        return day, month
    days = [_latest(building, table, column) for table, column in _LAST_DAYS.items()]
    last = max((day for day in days if day is not None), default=_NOTHING)
    return last, month_id(last.year, last.month)


def _latest(building: Path, table: str, column: str) -> date | None:
    files = sorted((building / "tables" / table).glob("*.parquet"))
    if not files:
        return None
    latest: date | None = pl.scan_parquet(files).select(pl.col(column).max()).collect().item()
    return latest
