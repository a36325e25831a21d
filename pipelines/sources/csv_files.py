"""A delimited file of unknown habits -> batches of text columns, with the lines that are no rows set apart.

Files are found by the table name their own name starts with and read by their header, never by date or position: the
delimiter (comma, pipe, tab), a byte-order mark, quotes, packing (gzip, zstd, zip: packed.py) and the encoding (UTF-8,
else Windows-1252) are found out file by file. Parsing is Arrow's streaming CSV reader, so memory holds a few blocks of
a file, whatever its size.

A line number is the place of a record in its file: the header is line 1, blank lines are not counted.
"""

import codecs
import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from pipelines.errors import SourceError
from pipelines.sources.packed import (
    DAMAGE,
    File,
    arrow_stream,
    count_readable_lines,
    open_binary,
    plain_path,
    stored_bytes,
)

BLOCK_BYTES = 16 << 20  # of text parsed at once: about 100,000 rows of the widest table
READ_BYTES = 1 << 20
HEADER_BYTES = 1 << 17  # of the line of names; what is longer is no such line
PIECE_BYTES = 96 << 20  # of a large file that is a task of its own
DELIMITERS = (",", "|", "\t")
ENCODINGS = ("utf-8", "cp1252")  # every file from SQL Server or Excel seen so far is one of the two
_SPACE, _LESS_THAN, _DELETE = b" <\x7f"
_SCHEMA = r"(?:\w+\.)?dbo\."  # what SQL Server writes before a table's name
_SUFFIX = r"(?:\d[^/]*|[_\-. ][^/]*)?\.(?:csv|txt|tsv)(?:\.gz|\.zstd?)?"
_NO_TEXT = {
    b"PK\x03\x04": "is a zip archive or a workbook, whatever its name says",
    b"\xff\xfe": "is UTF-16 text",
    b"\xfe\xff": "is UTF-16 text",
    b"PAR1": "is a Parquet file, whatever its name says",
}


@dataclass(frozen=True)
class Header:
    """What the first line of a file tells: names as written (trimmed) and how fields are separated."""

    names: tuple[str, ...]
    delimiter: str
    has_rows: bool

    @cached_property
    def folded(self) -> tuple[str, ...]:
        return tuple(name.casefold() for name in self.names)

    @property
    def columns(self) -> list[str]:
        """What the columns of a batch are called: folded names, and a number where there is none."""
        return [name or f"_unnamed_{place}" for place, name in enumerate(self.folded)]


@dataclass(frozen=True)
class Content:
    """What reading a file once from end to end tells: the SHA-256 of its bytes as they lie on disk, its encoding, and
    the byte offsets of lines where it may be cut into pieces, and whether a quote may stand after the first line."""

    digest: str
    encoding: str
    cuts: tuple[int, ...]
    has_quotes: bool = True

    @property
    def pieces(self) -> tuple["Piece", ...]:
        """The whole file, cut where it may be."""
        ends = zip((0, *self.cuts), (*self.cuts, None), strict=True)
        return tuple(Piece(self.encoding, start, end, self.has_quotes) for start, end in ends)


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin from byte `start` up to byte `end` (None: to the end of the file)."""

    encoding: str
    start: int = 0
    end: int | None = None
    has_quotes: bool = True


class Letters(NamedTuple):
    """Of the cells of a column that are not empty: the lowest and the highest byte, the fewest and the most bytes in a
    cell (all 0: there is none)."""

    lowest: int
    highest: int
    shortest: int
    longest: int

    def may_hold(self, text: str) -> bool:
        """Whether a cell might be this text."""
        letters = text.encode()
        fits = self.lowest <= min(letters) and max(letters) <= self.highest
        return fits and self.shortest <= len(letters) <= self.longest


@dataclass(frozen=True)
class Batch:
    """Some rows of a file: `rows` has a text column for each (case-folded) header name, null where nothing stands,
    and `_line` (Int64); `malformed` holds (line, text) of the lines with another number of fields. `printable` names
    the columns that hold nothing but printable ASCII without spaces and '<', each with what is known of its letters."""

    rows: pl.DataFrame
    malformed: tuple[tuple[int, str], ...]
    printable: Mapping[str, Letters]


def match_table(file_name: str, tables: Sequence[str]) -> str | None:
    """Which of `tables` a file's name starts with (case and separators within the name ignored; the longest wins), or
    None. A schema (dbo.) may stand before it; digits, or a separator and anything, after it."""
    fits = [table for table in tables if _name_of(table).fullmatch(file_name)]
    return max(fits, key=len, default=None)


@cache
def _name_of(table: str) -> re.Pattern[str]:
    letters = [re.escape(letter) for letter in table if letter.isalnum()]
    return re.compile(f"(?:{_SCHEMA})?" + r"[_\- ]?".join(letters) + _SUFFIX, re.IGNORECASE)


def read_header(path: File) -> Header:
    """Names, delimiter and emptiness of a file, from its first lines only.

    Raises:
        SourceError: the file is empty, no text, cannot be unpacked or names a column twice.
    """
    try:
        with open_binary(path) as stream:
            first = stream.readline(HEADER_BYTES + 1)
            has_rows = any(line.strip() for line in stream)
    except DAMAGE as error:
        lines = f", after line {n}" if (n := count_readable_lines(path)) else ""
        raise SourceError(f"{path.name}: cannot be read ({type(error).__name__}{lines})") from error
    _refuse_no_text(path, first)
    if len(first) > HEADER_BYTES:
        raise SourceError(f"{path.name}: line 1 is longer than {HEADER_BYTES:,} bytes; it must hold the column names")
    text = _decode(first).lstrip("\ufeff").rstrip("\r\n")
    delimiter = max(DELIMITERS, key=lambda mark: len(_split(text, mark)))  # a quoted name may hold another one
    names = tuple(name.strip() for name in _split(text, delimiter))
    if not any(names):
        raise SourceError(f"{path.name}: line 1 is empty; it must hold the column names")
    header = Header(names, delimiter, has_rows)
    expect_each_name_once(path.name, header)
    return header


def expect_each_name_once(file_name: str, header: Header) -> None:
    """Raises SourceError where two columns of a file, or of the sheet that `file_name` names as well, have one name. A
    file may lack its header, so that a row of somebody stands there: places are named, never what is written in them.
    """
    places: dict[str, list[str]] = {}
    for place, name in enumerate(header.folded, start=1):
        places.setdefault(name, []).append(str(place))
    problems = [
        f"{file_name}: the header gives columns {', '.join(same)} one name (case ignored)"
        for name, same in places.items()
        if name and len(same) > 1
    ]
    if problems:
        raise SourceError(problems)


def look_through(path: File) -> Content:
    """Read a file once from end to end: its checksum, its encoding, and where it may be cut.

    The encoding is found out before a row is read, since a wrong guess would otherwise show only where the odd byte
    stands. A file with quotes is not cut, because a quoted value may hold a line break.

    Raises:
        SourceError: the file is in none of ENCODINGS, or cannot be unpacked.
    """
    plain = plain_path(path)
    if plain is None:
        return Content(digest(path), find_encoding(path), ())
    cuts: list[int] = []
    checksum, position, is_ascii, has_quotes = hashlib.sha256(), 0, True, False
    with plain.open("rb") as stream, ThreadPoolExecutor(1) as other:
        adding: Future[None] | None = None
        while block := stream.read(READ_BYTES):
            if adding is not None:
                adding.result()
            adding = other.submit(checksum.update, block)  # takes longer than all the rest, which goes on meanwhile
            is_ascii = is_ascii and block.isascii()
            body = block.find(b"\n") + 1 if position == 0 else 0
            has_quotes = has_quotes or block.find(b'"', body) >= 0
            wanted = PIECE_BYTES * (len(cuts) + 1) - position
            if wanted < len(block) and (line_end := block.find(b"\n", max(wanted, 0))) >= 0:
                cuts.append(position + line_end + 1)
            position += len(block)
    inner = [] if has_quotes else [cut for cut in cuts if cut < position]
    encoding = ENCODINGS[0] if is_ascii else find_encoding(path)
    return Content(checksum.hexdigest(), encoding, tuple(inner), has_quotes)


def find_encoding(path: File) -> str:
    """The first of ENCODINGS that every byte of the file is text in.

    Raises:
        SourceError: in none of them, some lines in one and some in another, or the file cannot be unpacked.
    """
    for encoding in ENCODINGS:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with open_binary(path) as stream:
                while block := stream.read(READ_BYTES):
                    decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        except DAMAGE as error:
            last = count_readable_lines(path)
            raise SourceError(f"{path.name}: is cut off or damaged (after line {last})") from error
        if encoding != ENCODINGS[0]:
            _expect_one_encoding(path)
        return encoding
    line = _first_undecodable(path)
    raise SourceError(f"{path.name}: is neither UTF-8 nor Windows-1252 text (line {line} is the first that is neither)")


def _expect_one_encoding(path: File) -> None:
    """One odd byte must not turn the letters beyond ASCII of all other lines, which are UTF-8, into others."""
    first: dict[bool, int] = {}
    with open_binary(path) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.isascii():
                first.setdefault(_is_utf8(line), number)
            if len(first) == 2:
                raise SourceError(
                    f"{path.name}: line {first[True]} is UTF-8, and line {first[False]} is not; one encoding is needed"
                )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_batches(path: File, header: Header, piece: Piece) -> Iterator[Batch]:
    """The rows of a piece of a file in order, a block at a time. Lines are counted as if the piece were the file.

    Raises:
        SourceError: the file cannot be read as a table.
    """
    if not header.has_rows:
        return
    malformed: list[tuple[int, str]] = []
    unclosed: list[int] = []

    def set_apart(row: arrow_csv.InvalidRow) -> str:
        malformed.append((row.number + (piece.start > 0), row.text))
        if "\n" in row.text.strip():
            unclosed.append(row.number)
        return "skip"

    columns = header.columns
    line, reported = 2, 0
    try:
        for block in _open_arrow(path, header, piece, set_apart):
            bad = len(malformed)
            printable = _printable(block)
            lines = _number_lines(line, block.num_rows, [number for number, _ in malformed])
            # Polars itself would take three times as long to make views of the texts.
            texts = [_without_empty(column).cast(pa.string_view()) for column in block.columns]
            rows = pl.from_arrow(pa.table(texts, columns))
            assert isinstance(rows, pl.DataFrame)
            unclosed += lines[_swallowing(rows, header, printable)].tolist()
            yield Batch(rows.with_columns(_line=pl.Series(lines)), tuple(malformed[reported:bad]), printable)
            reported = bad
            line = int(lines[-1]) + 1 if len(lines) else line
    except DAMAGE:
        # Arrow's own message quotes the row, so it stays out of ours.
        line += _count_lines(path, piece.start) - 1 if piece.start else 0
        raise SourceError(f"{path.name}: cannot be read as a table (after line {line})") from None
    if unclosed:
        # One stray quote swallows rows up to the next: nothing after it can be trusted, so nothing is read.
        raise SourceError(f"{path.name}: line {min(unclosed)} opens a quote that its row does not close")
    if malformed[reported:]:
        empty = pl.DataFrame(schema=dict.fromkeys(header.columns, pl.String) | {"_line": pl.Int64})
        yield Batch(empty, tuple(malformed[reported:]), {})


def digest(path: File) -> str:
    """SHA-256 of the file's bytes as they lie on disk."""
    checksum = hashlib.sha256()
    with stored_bytes(path) as (stream, size):
        left = size
        while left and (block := stream.read(min(READ_BYTES, left))):
            checksum.update(block)
            left -= len(block)
    return checksum.hexdigest()


def _split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader([text], delimiter=delimiter), [])


def _refuse_no_text(path: File, start: bytes) -> None:
    for mark, what in _NO_TEXT.items():
        if start.startswith(mark):
            raise SourceError(
                f"{path.name}: {what}; allowed: comma-, pipe- or tab-separated text in UTF-8 or Windows-1252, as it is "
                "or packed with gzip (.gz), zstd (.zst) or in a zip archive (.zip)"
            )
    if b"\0" in start:
        raise SourceError(f"{path.name}: is no text (line 1 holds null bytes)")
    if b"\r" in start.rstrip(b"\r\n"):
        raise SourceError(f"{path.name}: line 1 holds a carriage return; lines must end with LF or CR LF")


def _first_undecodable(path: File) -> int:
    """The first line with a byte that has no meaning in the last of ENCODINGS; blank lines are not counted."""
    number = 0
    with open_binary(path) as stream:
        for line in stream:
            number += bool(line.strip())
            try:
                line.decode(ENCODINGS[-1])
            except UnicodeDecodeError:
                break
    return number


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def _open_arrow(
    path: File,
    header: Header,
    piece: Piece,
    set_apart: Callable[[arrow_csv.InvalidRow], str],
) -> Iterable[pa.RecordBatch]:
    plain = plain_path(path)
    if plain is None:
        stream = arrow_stream(path)
    else:
        end = plain.stat().st_size if piece.end is None else piece.end
        stream = pa.OSFile(str(plain)).get_stream(piece.start, end - piece.start)
    blocks: Iterable[pa.RecordBatch] = arrow_csv.open_csv(
        stream,
        arrow_csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=header.columns,
            skip_rows=int(piece.start == 0),
            encoding=piece.encoding,
        ),
        # A quoted field may hold a line break. Where there is none, blocks are cut without looking for quotes, which
        # would take almost as long as all the rest.
        arrow_csv.ParseOptions(
            delimiter=header.delimiter,
            newlines_in_values=piece.has_quotes,
            invalid_row_handler=set_apart,
            ignore_empty_lines=True,
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(header.columns, pa.string()),
            # Arrow would take three times as long to find empty texts and wrong bytes: see _without_empty, _printable.
            strings_can_be_null=False,
            check_utf8=False,
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


def _swallowing(rows: pl.DataFrame, header: Header, printable: Mapping[str, Letters]) -> np.ndarray:
    """Whether a cell of each row holds a line break and so many delimiters that it is the rest of a row with the
    beginning of another: two stray quotes took what lies between them for a cell, and the row has its right width."""
    found = np.zeros(rows.height, dtype=bool)
    for name in header.columns:
        if name not in printable and rows[name].str.contains("\n", literal=True).any():
            n_inside = rows[name].str.count_matches(header.delimiter, literal=True).fill_null(0)
            breaks = rows[name].str.contains("\n", literal=True).fill_null(False)
            found |= (breaks & (n_inside >= len(header.names) - 1)).to_numpy()
    return found if len(header.names) > 1 else np.zeros(rows.height, dtype=bool)


def _count_lines(path: File, end: int) -> int:
    """Lines before byte `end`, without blank ones."""
    with open_binary(path) as stream:
        text = stream.read(end)
    return sum(bool(line.strip()) for line in text.splitlines())


def _without_empty(column: pa.StringArray) -> pa.StringArray:
    """The column with null where it holds an empty text."""
    _, offsets, text = column.buffers()
    holds = np.diff(_offsets(column)) > 0
    if holds.all():
        return column
    valid = pa.py_buffer(np.packbits(np.pad(holds, (column.offset, 0)), bitorder="little"))
    return pa.Array.from_buffers(pa.string(), len(column), [valid, offsets, text], offset=column.offset)


def _printable(block: pa.RecordBatch) -> dict[str, Letters]:
    """See Batch. Raises ArrowInvalid where bytes are no text; look_through has seen to it that none are."""
    found = {}
    for name, column in zip(block.schema.names, block.columns, strict=True):
        offsets = _offsets(column)
        first, last = offsets[[0, -1]]
        text = column.buffers()[2]
        letters = np.frombuffer(text, np.uint8)[first:last] if text is not None else np.empty(0, np.uint8)
        highest, lowest = int(letters.max(initial=0)), int(letters.min(initial=_DELETE))
        if highest > _DELETE:
            column.validate(full=True)
        elif highest < _DELETE and lowest > _SPACE and not (letters == _LESS_THAN).any():
            lengths = np.diff(offsets)
            longest = int(lengths.max(initial=0))
            shortest = int(lengths.min(initial=longest)) or int(lengths.min(initial=longest, where=lengths > 0))
            found[name] = Letters(min(lowest, highest), highest, shortest, longest)
    return found


def _offsets(column: pa.StringArray) -> np.ndarray:
    """Where each text begins, and where the last one ends."""
    return np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
