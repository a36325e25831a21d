"""Columns of a Parquet file -> text, as a CSV file would hold them, so that every source is typed in one place.

What cannot be a cell of a table (lists, structures) is refused, and so is a type that its column cannot have: a truth
value is neither an id nor a date, and a date is no id. Text that was stored as bytes is text where it is UTF-8.
"""

from datetime import date

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Header

_NEVER = (pl.Boolean, pl.Time, pl.Duration, pl.List, pl.Array, pl.Struct, pl.Object)
_DAYS = (pl.Date, pl.Datetime)
_CALENDAR = (date(1, 1, 1) - date(1970, 1, 1)).days, (date(9999, 12, 31) - date(1970, 1, 1)).days
NO_DAY = "outside the calendar"  # is no date, so the cell is counted as unreadable


def as_text(cells: pl.Series, file_name: str, *, is_date: bool) -> pl.Series:
    """Cells of any type as CSV would hold them: ISO dates, whole numbers without a point; null where nothing stands.

    Raises:
        SourceError: the column has a type that it cannot have, or holds bytes that are no text.
    """
    if isinstance(cells.dtype, _NEVER) or (isinstance(cells.dtype, _DAYS) and not is_date):
        raise SourceError(f"{file_name}: column {cells.name} has the type {_name(cells.dtype)}; text is expected")
    is_odd = _outside_calendar(cells) if isinstance(cells.dtype, _DAYS) else None
    try:
        text = cells.cast(pl.String) if is_odd is None else cells.set(is_odd, None).cast(pl.String).set(is_odd, NO_DAY)
    except pl.exceptions.PolarsError:
        raise SourceError(f"{file_name}: column {cells.name} ({_name(cells.dtype)}) cannot be read as text") from None
    return text.set((text == "").fill_null(False), None)


def _outside_calendar(days: pl.Series) -> pl.Series:
    """Days that no calendar has (what a damaged file may hold); writing them out would end the program."""
    return ~days.cast(pl.Date).to_physical().is_between(*_CALENDAR).fill_null(True)


def date_headers(layout: SourceTable, header: Header) -> set[str]:
    """The headers (case-folded) of the columns that hold dates."""
    return {name for column in layout.columns if column.column.kind == "date" for name in column.headers(header)}


def _name(kind: pl.DataType) -> str:
    return type(kind).__name__
