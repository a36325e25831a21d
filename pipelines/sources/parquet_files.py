"""Columns of a Parquet file -> text, as a CSV file would hold them, so that every source is typed in one place.

What cannot be a cell of a table (lists, structures) is refused, and so is a type that its column cannot have: a truth
value is neither an id nor a date, and a date is no id. Text that was stored as bytes is text where it is UTF-8.
"""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Header, expect_each_name_once

UNREADABLE = (OSError, ValueError, pa.ArrowException, pl.exceptions.PolarsError)  # what a damaged file may raise
_IS_DAY: tuple[Callable[[pa.DataType], bool], ...] = (pa.types.is_date, pa.types.is_timestamp)
_IS_CELL: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_decimal128,
    pa.types.is_null,
)
_CALENDAR = (date(1, 1, 1) - date(1970, 1, 1)).days, (date(9999, 12, 31) - date(1970, 1, 1)).days
_EXACT = 2**53  # whole numbers below it are floating-point numbers exactly
NO_DAY = "outside the calendar"  # is no date, so the cell is counted as unreadable


def read_schema(path: Path, file_name: str) -> tuple[pa.Schema, Header]:
    """Types and names of a Parquet file; raises SourceError where it is none, is damaged or names a column twice."""
    try:
        schema = pq.read_schema(path)
        header = Header(tuple(schema.names), ",", True)
    except UNREADABLE as error:
        raise SourceError(f"{file_name}: cannot be read as Parquet ({type(error).__name__})") from None
    expect_each_name_once(file_name, header)
    return schema, header


def expect_types(schema: pa.Schema, layout: SourceTable, header: Header, file_name: str) -> None:
    """Raises SourceError naming every column that is read and has a type that it cannot have."""
    days = {name for column in layout.columns if column.column.kind == "date" for name in column.headers(header)}
    needed = dict.fromkeys(name for column in layout.columns for name in column.headers(header))
    kinds = dict(zip(header.folded, schema.types, strict=True))
    problems = [
        f"{file_name}: column {name} has the type {kinds[name]}; {'a date or ' * (name in days)}text is expected"
        for name in needed
        if not _is_readable(kinds[name], is_date=name in days)
    ]
    if problems:
        raise SourceError(problems)


def as_text(cells: pl.Series, file_name: str) -> pl.Series:
    """Cells of a type that expect_types let through, as CSV would hold them: ISO dates, whole numbers without a point;
    null where nothing stands. Raises SourceError where bytes are no text."""
    if cells.dtype.is_float() and (cells.is_finite() & (cells == cells.round()) & (cells.abs() < _EXACT)).all():
        # Numbers beside empty cells come out of pandas as 9.0e9, which is no id.
        cells = cells.cast(pl.Int64)
    is_odd = _outside_calendar(cells) if isinstance(cells.dtype, (pl.Date, pl.Datetime)) else None
    try:
        text = cells.cast(pl.String) if is_odd is None else cells.set(is_odd, None).cast(pl.String).set(is_odd, NO_DAY)
    except pl.exceptions.PolarsError:
        raise SourceError(f"{file_name}: column {cells.name} ({cells.dtype}) cannot be read as text") from None
    return text.set((text == "").fill_null(False), None)


def _is_readable(kind: pa.DataType, *, is_date: bool) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(plain) for is_kind in (*_IS_CELL, *(_IS_DAY if is_date else ())))


def _outside_calendar(days: pl.Series) -> pl.Series:
    """Days that no calendar has (what a damaged file may hold); writing them out would end the program."""
    return ~days.cast(pl.Date).to_physical().is_between(*_CALENDAR).fill_null(True)
