"""Days and months of the extract as whole numbers: day 0 is 1 April 2014, month 0 is April 2014."""

from typing import Any

import numpy as np
import polars as pl

DAY_0 = np.datetime64("2014-04-01", "D")
MONTH_0 = np.datetime64("2014-04", "M")
N_MONTHS = 72  # April 2014 to March 2020
LAST_DAY = int((np.datetime64("2020-03-31", "D") - DAY_0).astype(int))
FIRST_UNIQ_MONTH_ID = 1369  # (2014 - 1900) * 12 + 4 - 3 (DOMAIN B1)
NEVER = 10**6  # a day after everything

Array = np.ndarray[Any, np.dtype[Any]]
Columns = dict[str, Array]


def day_number(date: str) -> int:
    """Day number of an ISO date."""
    return int((np.datetime64(date, "D") - DAY_0).astype(int))


def month_number(month: str) -> int:
    """Month number of 'YYYY-MM'."""
    return int((np.datetime64(month[:7], "M") - MONTH_0).astype(int))


def to_dates(days: Array) -> Array:
    """Day numbers as datetime64[D]."""
    dates: Array = DAY_0 + np.asarray(days, dtype=np.int64).astype("timedelta64[D]")
    return dates


def month_of(days: Array) -> Array:
    """Month number that holds each day."""
    months: Array = (to_dates(days).astype("datetime64[M]") - MONTH_0).astype(np.int64)
    return months


def month_start(months: Array) -> Array:
    """First day of each month, as a day number."""
    first = (MONTH_0 + np.asarray(months, dtype=np.int64).astype("timedelta64[M]")).astype("datetime64[D]")
    days: Array = (first - DAY_0).astype(np.int64)
    return days


def month_end(months: Array) -> Array:
    """Last day of each month, as a day number."""
    return month_start(np.asarray(months) + 1) - 1


def date_series(days: Array, known: Array | None = None) -> pl.Series:
    """Day numbers as a polars date column; null where `known` is false."""
    dates = to_dates(days)
    if known is not None:
        dates = np.where(known, dates, np.datetime64("NaT", "D"))
    return pl.Series(dates.astype("datetime64[ms]")).cast(pl.Date)


def join_columns(parts: list[Columns]) -> Columns:
    """Row-bind column sets that have the same names."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def pick(columns: Columns, rows: Array) -> Columns:
    """The given rows (numbers or a mask) of every column."""
    return {name: values[rows] for name, values in columns.items()}


def spread(first: Array, last: Array) -> tuple[Array, Array]:
    """Every whole number from `first` to `last` of each row: (row number, value); none where last < first."""
    lengths = np.maximum(last - first + 1, 0)
    row = np.repeat(np.arange(len(first)), lengths)
    before = np.cumsum(lengths) - lengths
    value = np.arange(len(row)) - np.repeat(before, lengths) + np.repeat(first, lengths)
    return row, value


def draw_labels(rng: np.random.Generator, shares: dict[str, float], n: int) -> Array:
    """Numbers of labels drawn with the given shares (scaled to one)."""
    weights = np.cumsum(np.array(list(shares.values()), dtype=float))
    return np.minimum(np.searchsorted(weights / weights[-1], rng.random(n), side="right"), len(shares) - 1)


def draw_codes(rng: np.random.Generator, shares: dict[str, float], codes: list[str], n: int) -> Array:
    """The same as numbers into `codes`, which holds every label."""
    places: Array = np.array([codes.index(code) for code in shares])[draw_labels(rng, shares, n)]
    return places


def expit(x: Array) -> Array:
    """Inverse of the log odds."""
    value: Array = 1.0 / (1.0 + np.exp(-x))
    return value
