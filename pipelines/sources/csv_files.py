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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from pipelines.errors import SourceError

BLOCK_BYTES = 16 << 20  # of text parsed at once: about 100,000 rows of the widest table
READ_BYTES = 1 << 20
PIECE_BYTES = 96 << 20  # of a large file that is a task of its own
DELIMITERS = (",", "|", "\t")
ENCODINGS = ("utf-8", "cp1252")  # every file from SQL Server or Excel seen so far is one of the two
_SPACE, _LESS_THAN, _DELETE = b" <\x7f"
_NO_TEXT = {
    b"\x1f\x8b": "packed with gzip though its name does not end in .gz",
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
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

    @property
    def columns(self) -> list[str]:
        """What the columns of a batch are called: the case-folded names, and a place where there is no name."""
        return [name or f"_unnamed_{place}" for place, name in enumerate(self.folded)]


@dataclass(frozen=True)
class Content:
    """What reading a file once from end to end tells: the SHA-256 of its bytes as they lie on disk, its encoding, and
    the byte offsets of lines where it may be cut into pieces."""

    digest: str
    encoding: str
    cuts: tuple[int, ...]

    @property
    def pieces(self) -> tuple["Piece", ...]:
        """The whole file, cut where it may be."""
        starts = (0, *self.cuts)
        return tuple(Piece(self.encoding, start, end) for start, end in zip(starts, (*self.cuts, None), strict=True))


@dataclass(frozen=True)
class Piece:
    """The lines of a file that begin from byte `start` up to byte `end` (None: to the end of the file)."""

    encoding: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Batch:
    """Some rows of a file: `rows` has a text column for each (case-folded) header name, null where nothing stands,
    and `_line` (Int64); `malformed` holds (line, text) of the lines with another number of fields. `printable` names
    the columns that hold nothing but printable ASCII without spaces and '<', each with its highest byte."""

    rows: pl.DataFrame
    malformed: tuple[tuple[int, str], ...]
    printable: Mapping[str, int]


def match_table(file_name: str, tables: Sequence[str]) -> str | None:
    """Which of `tables` a file's name starts with (case ignored; the longest wins), or None."""
    fits = [table for table in tables if re.fullmatch(re.escape(table) + _SUFFIX, file_name, re.IGNORECASE)]
    return max(fits, key=len, default=None)


def odd_name(path: Path) -> str | None:
    """What is wrong with the name of a file, if it cannot be written down as text."""
    shown = path.name.encode("utf-8", "backslashreplace").decode()
    return f"{shown}: the name of this file is not UTF-8; rename it" if shown != path.name else None


def read_header(path: Path) -> Header:
    """Names, delimiter and emptiness of a file, from its first lines only.

    Raises:
        SourceError: the file is empty, no text, cannot be unpacked or names a column twice.
    """
    try:
        with _open_binary(path) as stream:
            first = stream.readline()
            has_rows = any(line.strip() for line in stream)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path.name}: cannot be read ({type(error).__name__})") from error
    _expect_text(path, first)
    text = _decode(first).lstrip("\ufeff").rstrip("\r\n")
    delimiter = max(DELIMITERS, key=text.count)
    names = tuple(name.strip() for name in next(csv.reader([text], delimiter=delimiter), []))
    if not any(names):
        raise SourceError(f"{path.name}: line 1 is empty; it must hold the column names")
    header = Header(names, delimiter, has_rows)
    expect_each_name_once(path.name, header)
    return header


def expect_each_name_once(file_name: str, header: Header) -> None:
    """Raises SourceError where two columns have one name. A file may lack its header, so that a row of somebody stands
    there: places are named, never what is written in them."""
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


def look_through(path: Path) -> Content:
    """Read a file once from end to end: its checksum, its encoding, and where it may be cut.

    The encoding is found out before a row is read, since a wrong guess would otherwise show only where the odd byte
    stands. A file with quotes is not cut, because a quoted value may hold a line break.

    Raises:
        SourceError: the file is in none of ENCODINGS, or cannot be unpacked.
    """
    if is_packed(path):
        return Content(digest(path), find_encoding(path), ())
    cuts: list[int] = []
    checksum, position, is_ascii, has_quotes = hashlib.sha256(), 0, True, False
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            checksum.update(block)
            is_ascii = is_ascii and block.isascii()
            body = block.find(b"\n") + 1 if position == 0 else 0
            has_quotes = has_quotes or block.find(b'"', body) >= 0
            wanted = PIECE_BYTES * (len(cuts) + 1) - position
            if wanted < len(block) and (line_end := block.find(b"\n", max(wanted, 0))) >= 0:
                cuts.append(position + line_end + 1)
            position += len(block)
    inner = [] if has_quotes else [cut for cut in cuts if cut < position]
    return Content(checksum.hexdigest(), ENCODINGS[0] if is_ascii else find_encoding(path), tuple(inner))


def find_encoding(path: Path) -> str:
    """The first of ENCODINGS that every byte of the file is text in.

    Raises:
        SourceError: in none of them, some lines in one and some in another, or the file cannot be unpacked.
    """
    for encoding in ENCODINGS:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            with _open_binary(path) as stream:
                while block := stream.read(READ_BYTES):
                    decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            continue
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{path.name}: is cut off or damaged") from error
        if encoding != ENCODINGS[0]:
            _expect_one_encoding(path)
        return encoding
    raise SourceError(f"{path.name}: is neither UTF-8 nor Windows-1252 text")


def _expect_one_encoding(path: Path) -> None:
    """One odd byte must not turn the letters beyond ASCII of all other lines, which are UTF-8, into others."""
    first: dict[bool, int] = {}
    with _open_binary(path) as stream:
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


def read_batches(path: Path, header: Header, piece: Piece) -> Iterator[Batch]:
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

    line, reported = 2, 0
    try:
        for block in _open_arrow(path, header, piece, set_apart):
            bad = len(malformed)
            lines = _number_lines(line, block.num_rows, [number for number, _ in malformed])
            rows = pl.from_arrow(pa.Table.from_batches([block]))
            assert isinstance(rows, pl.DataFrame)
            printable = _printable(block)
            unclosed += lines[_swallowing(rows, header, printable)].tolist()
            yield Batch(rows.with_columns(_line=pl.Series(lines)), tuple(malformed[reported:bad]), printable)
            reported = bad
            line = int(lines[-1]) + 1 if len(lines) else line
    except (pa.ArrowInvalid, OSError):
        # Arrow's own message quotes the row, so it stays out of ours.
        line += _count_lines(path, piece.start) - 1 if piece.start else 0
        raise SourceError(f"{path.name}: cannot be read as a table (after line {line})") from None
    if unclosed:
        # One stray quote swallows rows up to the next: nothing after it can be trusted, so nothing is read.
        raise SourceError(f"{path.name}: line {min(unclosed)} opens a quote that its row does not close")
    if malformed[reported:]:
        empty = pl.DataFrame(schema=dict.fromkeys(header.columns, pl.String) | {"_line": pl.Int64})
        yield Batch(empty, tuple(malformed[reported:]), {})


def digest(path: Path) -> str:
    """SHA-256 of the file's bytes as they lie on disk."""
    checksum = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            checksum.update(block)
    return checksum.hexdigest()


def is_packed(path: Path) -> bool:
    """Whether the file must be unpacked before it is text."""
    return path.suffix.casefold() == ".gz"


def _open_binary(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if is_packed(path) else path.open("rb")


def _expect_text(path: Path, first: bytes) -> None:
    """Raises SourceError where the first line shows that the file is something else than its name says."""
    kind = next((kind for start, kind in _NO_TEXT.items() if first.startswith(start)), None)
    if kind is not None or b"\0" in first:
        raise SourceError(f"{path.name}: is {kind or 'no text (line 1 holds null bytes)'}; UTF-8 text is expected")
    if b"\r" in first.rstrip(b"\r\n"):
        raise SourceError(f"{path.name}: line 1 holds a carriage return; lines must end with LF or CR LF")


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")


def _open_arrow(
    path: Path,
    header: Header,
    piece: Piece,
    set_apart: Callable[[arrow_csv.InvalidRow], str],
) -> Iterable[pa.RecordBatch]:
    if is_packed(path):
        stream = pa.input_stream(str(path), compression="gzip")
    else:
        end = path.stat().st_size if piece.end is None else piece.end
        stream = pa.OSFile(str(path)).get_stream(piece.start, end - piece.start)
    blocks: Iterable[pa.RecordBatch] = arrow_csv.open_csv(
        stream,
        arrow_csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK_BYTES,
            column_names=header.columns,
            skip_rows=int(piece.start == 0),
            encoding=piece.encoding,
        ),
        # A quoted field may hold a line break, so blocks must be cut with the quotes in mind.
        arrow_csv.ParseOptions(
            delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=set_apart, ignore_empty_lines=True
        ),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(header.columns, pa.string()),
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


def _swallowing(rows: pl.DataFrame, header: Header, printable: Mapping[str, int]) -> np.ndarray:
    """Whether a cell of each row holds a line break and so many delimiters that it is the rest of a row with the
    beginning of another: two stray quotes took what lies between them for a cell, and the row has its right width."""
    found = np.zeros(rows.height, dtype=bool)
    for name in header.columns:
        if name not in printable and rows[name].str.contains("\n", literal=True).any():
            n_inside = rows[name].str.count_matches(header.delimiter, literal=True).fill_null(0)
            breaks = rows[name].str.contains("\n", literal=True).fill_null(False)
            found |= (breaks & (n_inside >= len(header.names) - 1)).to_numpy()
    return found if len(header.names) > 1 else np.zeros(rows.height, dtype=bool)


def _count_lines(path: Path, end: int) -> int:
    """Lines before byte `end`, without blank ones."""
    with path.open("rb") as stream:
        text = stream.read(end)
    return sum(bool(line.strip()) for line in text.splitlines())


def _printable(block: pa.RecordBatch) -> dict[str, int]:
    found = {}
    for name, column in zip(block.schema.names, block.columns, strict=True):
        _, offsets, text = column.buffers()
        first, last = np.frombuffer(offsets, np.int32)[[column.offset, column.offset + len(column)]]
        letters = np.frombuffer(text, np.uint8)[first:last] if text is not None else np.empty(0, np.uint8)
        if not len(letters):
            found[name] = 0
        elif letters.min() > _SPACE and letters.max() < _DELETE and not (letters == _LESS_THAN).any():
            found[name] = int(letters.max())
    return found
