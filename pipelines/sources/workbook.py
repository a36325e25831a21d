"""An Excel workbook -> the sheet and row where a table's header stands, and the rows below it as text.

The header may stand below a title, within the first rows of any visible sheet; it is known by the columns it holds.
Cells become text as CSV would hold them: ISO dates (of either date system), whole numbers without a point. A date that
is formatted as a number stays a number, and so is no date. A line is the row of the sheet, as Excel counts.
"""

from pathlib import Path
from typing import Any

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Header, expect_each_name_once

ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls")
HEADER_WITHIN = 20  # rows
_DIGITS = 15  # Excel keeps no more of a number
_MIDNIGHT = r"^(\d{4}-\d\d-\d\d) 00:00:00(?:\.0+)?$"


def read_workbook(path: Path, layout: SourceTable) -> tuple[Header, pl.DataFrame]:
    """The one table of a workbook that holds the layout's columns: its header, and text columns with `_line`.

    Raises:
        SourceError: it is no workbook, no visible sheet holds the columns (with what the closest one lacks), several
            do, its header names a column twice, or the ids of people are numbers too long for Excel.
    """
    import fastexcel

    if not path.is_file():
        raise SourceError(f"{path.name}: there is no such file")
    try:
        book = fastexcel.read_excel(path)
        sheets = {name: _cells(book, name) for name in book.sheet_names if _is_visible(book, name)}
        found = {name: _find_header(cells, layout) for name, cells in sheets.items()}
        sheet, row = _choose(path, found, layout, sheets)
        _refuse_long_numbers(path, book, sheet, row, sheets[sheet], layout)
    except fastexcel.FastExcelError as error:
        raise SourceError(f"{path.name}: cannot be read as an Excel workbook ({type(error).__name__})") from None
    header = _header(sheets[sheet], row)
    expect_each_name_once(f"{path.name}: sheet {sheet!r}", header)
    return header, _rows(sheets[sheet], row, header)


def _is_visible(book: Any, name: str) -> bool:
    return bool(book.load_sheet(name, n_rows=0, header_row=None).visible == "visible")


def _cells(book: Any, name: str) -> pl.DataFrame:
    """Every row of a sheet from its first on, as text."""
    cells: pl.DataFrame = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars()
    return cells.select(pl.all().str.replace(_MIDNIGHT, "$1"))


def _find_header(cells: pl.DataFrame, layout: SourceTable) -> int | None:
    """The first row that holds every column the layout needs."""
    for row in range(min(HEADER_WITHIN, cells.height)):
        if not layout.missing(_header(cells, row)):
            return row
    return None


def _choose(
    path: Path, found: dict[str, int | None], layout: SourceTable, sheets: dict[str, pl.DataFrame]
) -> tuple[str, int]:
    holding = [(name, row) for name, row in found.items() if row is not None]
    if len(holding) > 1:
        names = ", ".join(repr(name) for name, _ in holding)
        raise SourceError(f"{path.name}: the sheets {names} all hold the columns of the list; allowed: one of them")
    if holding:
        return holding[0]
    near = [
        (len(layout.missing(_header(cells, row))), name, row)
        for name, cells in sheets.items()
        for row in range(min(HEADER_WITHIN, cells.height))
    ]
    if not near:
        raise SourceError(f"{path.name}: no visible sheet holds anything")
    _, name, row = min(near)
    raise SourceError(
        [
            f"{path.name}: sheet {name!r}: column {column.column.name} is missing; "
            f"accepted names: {', '.join(column.names[0])}"
            for column in layout.missing(_header(sheets[name], row))
        ]
    )


def _header(cells: pl.DataFrame, row: int) -> Header:
    names = tuple((name or "").strip() for name in cells.row(row))
    return Header(names, ",", cells.height > row + 1)


def _refuse_long_numbers(path: Path, book: Any, sheet: str, row: int, cells: pl.DataFrame, layout: SourceTable) -> None:
    """Ids that Excel holds as numbers have lost their last digits when they have more than 15."""
    header = _header(cells, row)
    ids = [name for column in layout.columns if column.column.kind == "id" for name in column.headers(header)]
    for name in ids:
        place = header.folded.index(name)
        column = book.load_sheet(
            sheet, header_row=None, skip_rows=row + 1, use_columns=[place], schema_sample_rows=None
        ).to_polars()
        numbers = column.to_series() if column.width else pl.Series([], dtype=pl.String)
        if numbers.dtype.is_numeric() and (numbers.abs() >= 10**_DIGITS).any():
            raise SourceError(
                f"{path.name}: sheet {sheet!r}: {header.names[place]} holds numbers of more than {_DIGITS} digits, "
                "whose last ones Excel does not keep; allowed: text"
            )


def _rows(cells: pl.DataFrame, row: int, header: Header) -> pl.DataFrame:
    names = header.columns
    rows = cells.slice(row + 1)
    line = pl.int_range(row + 2, row + 2 + rows.height, dtype=pl.Int64, eager=True).alias("_line")
    texts = [cell.replace("", None).alias(name) for cell, name in zip(rows.get_columns(), names, strict=True)]
    return pl.DataFrame([*texts, line]).filter(~pl.all_horizontal(pl.col(names).is_null()))
