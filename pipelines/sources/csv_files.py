"""A delimited file of unknown habits -> batches of text columns, with the lines that are no rows set apart.

Files are found by the table name their own name starts with and read by their header, never by date or position: the
delimiter (comma, pipe, tab), a byte-order mark, quotes, gzip and the encoding (UTF-8, else Windows-1252) are found
out file by file. Parsing is Arrow's streaming CSV reader, so memory holds a few blocks of a file, whatever its size.

A line number is the place of a record in its file: the header is line 1, blank lines are not counted.
"""

import codecs
import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from pipelines.errors import SourceError

BLOCK_BYTES = 16 << 20  # of text parsed at once: about 100,000 rows of the widest table
DIGEST_BLOCK_BYTES = 1 << 20
DELIMITERS = (",", "|", "\t")
ENCODINGS = ("utf-8", "cp1252")  # every file from SQL Server or Excel seen so far is one of the two
_SUFFIX = r"(?:[_\-. ][^/]*)?\.(?:csv|txt|tsv)(?:\.gz)?"


@dataclass(frozen=True)
class Header:
    """What the first line of a file tells: names as written (trimmed) and how fields are separated."""

    names: tuple[str, ...]
    delimiter: str
    has_rows: bool

    @property
    def folded(self) -> tuple[str, ...]:
        return tuple(name.casefold() for name in self.names)


@dataclass(frozen=True)
class Batch:
    """Some rows of a file: `rows` has a text column for each (case-folded) header name, null where nothing stands,
    and `_line` (Int64); `malformed` holds (line, text) of the lines with another number of fields."""

    rows: pl.DataFrame
    malformed: tuple[tuple[int, str], ...]


def match_table(file_name: str, tables: Sequence[str]) -> str | None:
    """Which of `tables` a file's name starts with (case ignored; the longest wins), or None."""
    fits = [table for table in tables if re.fullmatch(re.escape(table) + _SUFFIX, file_name, re.IGNORECASE)]
    return max(fits, key=len, default=None)


def read_header(path: Path) -> Header:
    """Names, delimiter and emptiness of a file, from its first lines only.

    Raises:
        SourceError: the file is empty, cannot be unpacked or names a column twice.
    """
    try:
        with _open_binary(path) as stream:
            first = stream.readline()
            has_rows = any(line.strip() for line in stream)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path.name}: cannot be read ({type(error).__name__})") from error
    text = _decode(first).lstrip("\ufeff").rstrip("\r\n")
    delimiter = max(DELIMITERS, key=text.count)
    names = tuple(name.strip() for name in next(csv.reader([text], delimiter=delimiter), []))
    if not any(names):
        raise SourceError(f"{path.name}: line 1 is empty; it must hold the column names")
    header = Header(names, delimiter, has_rows)
    twice = sorted({name for name in names if name and header.folded.count(name.casefold()) > 1})
    if twice:
        raise SourceError(f"{path.name}: the header holds {', '.join(twice)} more than once")
    return header


def find_encoding(path: Path) -> str:
    """The first of ENCODINGS that every byte of the file is text in.

    It is found out before a row is read, since a wrong guess would otherwise show only where the odd byte stands.

    Raises:
        SourceError: in none of them, or the file cannot be unpacked.
    """
    for encoding in ENCODINGS:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with _open_binary(path) as stream:
                while block := stream.read(DIGEST_BLOCK_BYTES):
                    decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{path.name}: is cut off or damaged") from error
        return encoding
    raise SourceError(f"{path.name}: is neither UTF-8 nor Windows-1252 text")


def read_batches(path: Path, header: Header, encoding: str) -> Iterator[Batch]:
    """The file's rows in order, a block at a time, in the encoding that find_encoding gave.

    Raises:
        SourceError: the file cannot be read as a table.
    """
    if not header.has_rows:
        return
    malformed: list[tuple[int, str]] = []
    unclosed: list[int] = []

    def set_apart(row: arrow_csv.InvalidRow) -> str:
        malformed.append((row.number, row.text))
        if "\n" in row.text.strip():
            unclosed.append(row.number)
        return "skip"

    columns = [name or f"_unnamed_{place}" for place, name in enumerate(header.folded)]
    line, reported = 2, 0
    try:
        for block in _open_arrow(path, header, columns, encoding, set_apart):
            bad = len(malformed)
            lines = _number_lines(line, block.num_rows, [number for number, _ in malformed])
            rows = pl.from_arrow(pa.Table.from_batches([block]))
            assert isinstance(rows, pl.DataFrame)
            yield Batch(rows.with_columns(_line=pl.Series(lines)), tuple(malformed[reported:bad]))
            reported = bad
            line = int(lines[-1]) + 1 if len(lines) else line
    except (pa.ArrowInvalid, OSError):
        # Arrow's own message quotes the row, so it stays out of ours.
        raise SourceError(f"{path.name}: cannot be read as a table (after line {line})") from None
    if unclosed:
        # One stray quote swallows rows up to the next: nothing after it can be trusted, so nothing is read.
        raise SourceError(f"{path.name}: line {unclosed[0]} opens a quote that its row does not close")
    if malformed[reported:]:
        yield Batch(
            pl.DataFrame(schema=dict.fromkeys(columns, pl.String) | {"_line": pl.Int64}), tuple(malformed[reported:])
        )


def digest(path: Path) -> str:
    """Checksum of the file's bytes as they lie on disk (BLAKE2b, 128 bit)."""
    checksum = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(DIGEST_BLOCK_BYTES):
            checksum.update(block)
    return checksum.hexdigest()


def _open_binary(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if path.suffix.casefold() == ".gz" else path.open("rb")


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def _open_arrow(
    path: Path,
    header: Header,
    columns: list[str],
    encoding: str,
    set_apart: Callable[[arrow_csv.InvalidRow], str],
) -> Iterable[pa.RecordBatch]:
    stream = pa.input_stream(str(path), compression="gzip" if path.suffix.casefold() == ".gz" else None)
    blocks: Iterable[pa.RecordBatch] = arrow_csv.open_csv(
        stream,
        arrow_csv.ReadOptions(
            use_threads=False, block_size=BLOCK_BYTES, column_names=columns, skip_rows=1, encoding=encoding
        ),
        # A quoted field may hold a line break, so blocks must be cut with the quotes in mind.
        arrow_csv.ParseOptions(
            delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=set_apart, ignore_empty_lines=True
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        ),
    )
    return blocks


def _number_lines(first: int, n_rows: int, skipped: Sequence[int]) -> np.ndarray:
    """The line of each of `n_rows` rows that follow each other from `first` on, but for the `skipped` lines."""
    if not skipped:
        return np.arange(first, first + n_rows, dtype=np.int64)
    gaps = np.asarray([number for number in skipped if number >= first], dtype=np.int64)
    lines = np.arange(first, first + n_rows + len(gaps), dtype=np.int64)
    return lines[~np.isin(lines, gaps)][:n_rows]
