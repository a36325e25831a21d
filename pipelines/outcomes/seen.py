"""Index rows and dated events become what was seen of each row in a window of days after time zero.

Choice made (DOMAIN I15, K12): a count is known only when the window was observed to its end, or to a death in it; an
event that was seen is known at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

KEY = ["person_id", "index_date"]
MAY_HAVE_BEGUN_BEFORE = ("crisis_episode",)  # kinds of event that count from day 1 when they were under way

Events = Mapping[str, pl.DataFrame | None]


def follow(observed: pl.DataFrame, events: Events) -> tuple[pl.DataFrame, Events]:
    """Index rows numbered by `place`, and each kind of event on the days of its rows.

    Args:
        observed: KEY, died_day, censored_day, last_day (observation.observation_end).
        events: by kind, person_id, event_date, perhaps until_date (null while it lasts) and what else is known; None
            where the extract cannot tell.

    Returns:
        The rows with `place`; by kind, place, day (1..last_day), until_day and the other columns, in order of place
        and day.
    """
    rows = observed.with_row_index("place")
    return rows, {
        kind: None if frame is None else _on_days(rows, frame, kind in MAY_HAVE_BEGUN_BEFORE)
        for kind, frame in events.items()
    }


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

    def within(self, kind: str) -> pl.DataFrame | None:
        """The events of one kind in the window; None where the extract cannot tell."""
        found = self.events[kind]
        return None if found is None else found.filter(pl.col("day") <= self.days)

    def first(self, kind: str, column: str) -> pl.Series:
        """A column of the first event; null without one."""
        found = self.within(kind)
        if found is None:
            return pl.Series([None] * self.rows.height, dtype=pl.Int64)
        return self._aligned(found.unique("place", keep="first", maintain_order=True).select("place", value=column))

    def count(self, kind: str) -> pl.Series:
        """Events in the window; null where it was not whole."""
        found = self.within(kind)
        if found is None:
            return pl.Series([None] * self.rows.height, dtype=pl.Int64)
        return self.known(self._aligned(found.group_by("place").agg(value=pl.len().cast(pl.Int64))).fill_null(0))

    def total(self, kind: str, value: pl.Expr) -> pl.Series:
        """Sum of a value over the events of the window; null where it was not whole."""
        found = self.within(kind)
        assert found is not None, "stays are always known"
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


def where(condition: pl.Series, values: pl.Series) -> pl.Series:
    """The values where the condition holds, else null."""
    return pl.select(pl.when(condition).then(values)).to_series()
