"""Index rows and dated events become what was seen of each row in a window of days after time zero.

Choice made (DOMAIN I15, K12): a count is known only when the window was observed to its end, or to a death in it; an
event that was seen is known at once. A window that a table of the outcome's events leaves before observation ends is
unknown whatever was seen and whoever died: only the events and the dead would be left of it. So is a window with a
month in it of which such a table holds too little. For the same reason windows that the end of observation cuts short
are left out where outcomes are compared (pipelines/estimate/values.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

KEY = ["person_id", "index_date"]
MAY_HAVE_BEGUN_BEFORE = ("crisis_episode",)  # kinds of event that count from day 1 when they were under way

Events = Mapping[str, pl.DataFrame]


def follow(observed: pl.DataFrame, events: Events) -> tuple[pl.DataFrame, Events]:
    """Index rows numbered by `place`, and each kind of event on the days of its rows.

    Args:
        observed: KEY, died_day, censored_day, last_day (observation.observation_end).
        events: by kind, person_id, event_date, perhaps until_date (null while it lasts) and what else is known.

    Returns:
        The rows with `place`; by kind, place, day (1..last_day), until_day and the other columns, in order of place
        and day.
    """
    rows = observed.with_row_index("place")
    return rows, {kind: _on_days(rows, frame, kind in MAY_HAVE_BEGUN_BEFORE) for kind, frame in events.items()}


def _on_days(rows: pl.DataFrame, events: pl.DataFrame, may_have_begun_before: bool) -> pl.DataFrame:
    def day_of(column: str) -> pl.Expr:
        return (pl.col(column) - pl.col("index_date")).dt.total_days()

    days = {"day": day_of("event_date")}
    if "until_date" in events.columns:
        days["until_day"] = day_of("until_date")
    dated = rows.select("place", *KEY, "last_day").join(events, on="person_id").with_columns(**days)
    if may_have_begun_before:
        still_there = (pl.col("until_day") > 0).fill_null(True)
        dated = dated.filter(still_there).with_columns(day=pl.max_horizontal("day", pl.lit(1)))
    return dated.filter((pl.col("day") > 0) & (pl.col("day") <= pl.col("last_day"))).sort("place", "day")


@dataclass(frozen=True)
class Seen:
    """What was seen on days 1 to `days`. `rows` and `events` as of `follow`; results are in the order of `rows`."""

    days: int
    rows: pl.DataFrame
    events: Events

    @property
    def is_whole(self) -> pl.Series:
        """Whether the window was observed to its end, or to a death before observation ended."""
        return self.rows.select(whole=is_whole(self.days)).to_series()

    @property
    def last_day(self) -> pl.Series:
        """The last day of the window on which the person was alive and observed."""
        return self.rows.select(pl.min_horizontal("last_day", pl.lit(self.days))).to_series()

    def within(self, kind: str) -> pl.DataFrame:
        """The events of one kind in the window."""
        return self.events[kind].filter(pl.col("day") <= self.days)

    def first(self, kind: str, column: str) -> pl.Series:
        """A column of the first event; null without one."""
        found = self.within(kind)
        return self._aligned(found.unique("place", keep="first", maintain_order=True).select("place", value=column))

    def count(self, kind: str) -> pl.Series:
        """Events in the window; null where it was not whole."""
        found = self.within(kind)
        return self.known(self._aligned(found.group_by("place").agg(value=pl.len().cast(pl.Int64))).fill_null(0))

    def total(self, kind: str, value: pl.Expr) -> pl.Series:
        """Sum of a value over the events of the window; null where it was not whole."""
        found = self.within(kind)
        return self.known(self._aligned(found.group_by("place").agg(value=value.sum())).fill_null(0))

    def known(self, values: pl.Series) -> pl.Series:
        """The values where the window was whole, else null."""
        return where(self.is_whole, values)

    def happened(self, happened: pl.Series) -> pl.Series:
        """True where something happened, False where the window was whole without it, else null."""
        seen = happened.fill_null(False)
        return where(seen | self.is_whole, seen)

    def _aligned(self, values: pl.DataFrame) -> pl.Series:
        return self.rows.select("place").join(values, on="place", how="left", maintain_order="left")["value"]


def is_whole(days: int) -> pl.Expr:
    """Whether observation lasted for `days`, or to a death, of columns died_day and censored_day."""
    died_first = (pl.col("died_day") <= pl.col("censored_day")).fill_null(False)
    return (pl.col("censored_day") >= days).fill_null(True) | died_first


def is_covered(
    days: int, reaches: Iterable[tuple[date, date] | None], gaps: Iterable[tuple[date, date]] = ()
) -> pl.Expr:
    """Whether tables that reach from a first to a last day (None: nowhere) hold every day of (index, index + days] up
    to the end of observation, of columns index_date and censored_day; `gaps` are days between which they do not."""
    until = pl.min_horizontal(pl.lit(days), "censored_day")
    covered = pl.lit(True)
    for reach in reaches:
        if reach is None:
            return pl.lit(False)
        first, last = _days_to(reach)
        covered &= (first <= 1) & (last >= until)
    for gap in gaps:
        first, last = _days_to(gap)
        covered &= (last < 1) | (first > until)
    return covered


def days_before_gap(gaps: Sequence[tuple[date, date]]) -> pl.Expr:
    """The last day after index_date that none of the gaps has reached, 0 where one holds the day after it; null where
    none comes."""
    ends = [pl.when(last >= 1).then(pl.max_horizontal(first - 1, pl.lit(0))) for first, last in map(_days_to, gaps)]
    return pl.min_horizontal(*ends) if ends else pl.lit(None, pl.Int64)


def _days_to(span: tuple[date, date]) -> tuple[pl.Expr, pl.Expr]:
    first, last = ((pl.lit(day) - pl.col("index_date")).dt.total_days() for day in span)
    return first, last


def where(condition: pl.Series, values: pl.Series) -> pl.Series:
    """The values where the condition holds, else null."""
    return pl.select(pl.when(condition).then(values)).to_series()
