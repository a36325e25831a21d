"""How far the rows of a lake reach: the first and last month that was submitted, and the last day.

Choice made: MHSDS says itself which months were submitted; an OMOP CDM says until when it observed people; hospital
data alone reach to their latest end of an episode or arrival at a department. A mistyped header must move neither
the start nor the end for everybody: beyond the months of which anybody has a record, headers count only as far as
they follow them month by month (sources.submissions.believed_months).
"""

from collections.abc import Collection, Iterator
from datetime import date
from typing import Any

import polars as pl

from pipelines.lake.places import Place, read_parquet
from pipelines.lake.reading import reference_name
from pipelines.sources.submissions import HEADER_DATES, HEADER_OF_NOBODY, believe_dates, believed_months
from pipelines.tables import month_id

_LAST_DAYS = {"hospital_episode": "episode_end_date", "emergency_attendance": "arrival_date"}
_RECORDS = {"person_month": "month_id"}  # everybody with a row in a month has one here
_NOTHING = date(1900, 4, 30)  # the first UniqMonthID


def describe_period(generation: Place, written: Collection[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """Entries of a manifest, of the files `written` into a generation: period_end, last_month_id (April 1900 where
    nothing tells) and first_month_id (null without submissions); and how many headers are not believed, by rule."""
    submitted = reference_name("submission")
    if submitted in written:
        submission = read_parquet(generation / submitted)
        first, last = _believed(submission["month_id"], generation, written)
        own = submission.filter(pl.col("month_id").is_between(first, last))
        dated = believe_dates(own)
        notes = {
            HEADER_OF_NOBODY: submission.height - own.height,
            HEADER_DATES: int((own["period_start_date"] != dated["period_start_date"]).sum()),
        }
        entries = {"period_end": str(dated["period_end_date"].max()), "first_month_id": first, "last_month_id": last}
        return entries, {rule: n for rule, n in notes.items() if n}
    periods = _days(generation, written, {"observation_period": "end_date"})
    days = periods or _days(generation, written, _LAST_DAYS)
    last_day = max(days, default=_NOTHING)
    ends = {"period_end": str(last_day), "last_month_id": month_id(last_day.year, last_day.month)}
    return ends | {"first_month_id": None}, {}


def _believed(months: pl.Series, generation: Place, written: Collection[str]) -> tuple[int, int]:
    sent = sorted(set(months))
    if sent[-1] - sent[0] + 1 == len(sent):  # without a gap there is nothing to look up
        return sent[0], sent[-1]
    return believed_months(sent, {n for part in _columns(generation, written, _RECORDS) for n in part.unique()})


def _days(generation: Place, written: Collection[str], columns: dict[str, str]) -> list[date]:
    latest = [part.max() for part in _columns(generation, written, columns)]
    return [day for day in latest if isinstance(day, date)]


def _columns(generation: Place, written: Collection[str], columns: dict[str, str]) -> Iterator[pl.Series]:
    """The column of each table, bucket by bucket."""
    for table, column in columns.items():
        for name in sorted(written):
            if name.startswith(f"tables/{table}/"):
                yield read_parquet(generation / name, [column])[column]
