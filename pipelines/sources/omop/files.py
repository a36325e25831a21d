"""A folder of CSV or Parquet files, or of zip archives of them -> the pieces of a CDM, one for each file.

Files are known by the name of their table, whatever its case and whatever follows it (VISIT_OCCURRENCE.csv,
visit_occurrence_2.parquet); in an archive, what macOS adds (__MACOSX, ._NAME) is passed over. A member of an archive is
unpacked to a temporary file while it is read, so no archive needs to fit into memory.
"""

import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import SourceError
from pipelines.sources import csv_files
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Batch, Content, Header, Piece
from pipelines.sources.omop.psychiatric import roots
from pipelines.sources.omop.rows import BATCH_ROWS, CONCEPT_ANCESTOR, needed_columns, text_batches, tidy
from pipelines.sources.omop.staged import OTHER_CDM_TABLES, layouts
from pipelines.sources.parquet_files import UNREADABLE, as_text, expect_types, read_schema

HEAD_BYTES = 1 << 16  # of a packed CSV file, enough for its header and a row
_PARQUET, _ZIP = ".parquet", ".zip"


@dataclass(frozen=True)
class Member:
    """A file, or with `inside` a file in the zip archive `path`."""

    path: Path
    inside: str | None = None

    @property
    def file_name(self) -> str:
        return PurePosixPath(self.inside).name if self.inside else self.path.name

    @property
    def name(self) -> str:
        """Unique among the files of a folder, and fit to be part of a path."""
        return f"{self.path.name}!{self.inside.replace('/', '!')}" if self.inside else self.path.name

    @contextmanager
    def on_disk(self, head_only: bool = False) -> Iterator[Path]:
        """The file itself, or a temporary copy of what is packed, whole or its first lines."""
        if self.inside is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.file_name
            with self._open() as packed, copy.open("wb") as target:
                if head_only:
                    target.write(packed.read(HEAD_BYTES))
                else:
                    copyfileobj(packed, target)
            yield copy

    @contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.inside or "") as stream:
                yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"{self.name}: cannot be unpacked ({type(error).__name__})") from None


@dataclass(frozen=True)
class FilePiece:
    """A file of a CDM table (see extract.RawFile)."""

    member: Member
    header: Header
    layout: SourceTable

    @property
    def name(self) -> str:
        return self.member.name

    def digest(self) -> str:
        content = self._digest_of_bytes()
        if self.layout.names[0] != CONCEPT_ANCESTOR:
            return content
        # What is read of this table depends on the concepts that are asked for.
        return blake2b(f"{content}\0{roots()}".encode(), digest_size=16).hexdigest()

    def _digest_of_bytes(self) -> str:
        if self.member.inside is None:
            return csv_files.digest(self.member.path)
        with zipfile.ZipFile(self.member.path) as archive:
            packed = archive.getinfo(self.member.inside)
        # The archive keeps a checksum of each member, so nothing needs to be unpacked to see whether it has changed.
        known = f"{self.member.inside}\0{packed.CRC}\0{packed.file_size}"
        return blake2b(known.encode(), digest_size=16).hexdigest()

    def stamp(self) -> str:
        status = self.member.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def size(self) -> int:
        return self.member.path.stat().st_size

    def look_through(self) -> Content:
        if is_parquet(self.member):
            return Content(self.digest(), "parquet", ())
        if self.member.inside is None:
            return replace(csv_files.look_through(self.member.path), digest=self.digest())
        with self.member.on_disk() as path:
            return Content(self.digest(), csv_files.find_encoding(path), ())

    def read(self, piece: Piece) -> Iterator[Batch]:
        return self._read_parquet() if is_parquet(self.member) else self._read_csv(piece)

    def _read_csv(self, piece: Piece) -> Iterator[Batch]:
        with self.member.on_disk() as path:
            for batch in csv_files.read_batches(path, self.header, piece):
                rows = tidy(batch.rows, self.layout, self.header)
                yield Batch(rows, batch.malformed, {k: v for k, v in batch.printable.items() if k in rows.columns})

    def _read_parquet(self) -> Iterator[Batch]:
        with self.member.on_disk() as path:
            yield from text_batches(self._parquet_frames(path), self.layout, self.header)

    def _parquet_frames(self, path: Path) -> Iterator[pl.DataFrame]:
        written = {name.casefold(): name for name in self.header.names}
        columns = needed_columns(self.layout, self.header)
        line = 1
        try:
            with pq.ParquetFile(path) as file:
                expect_types(file.schema_arrow, self.layout, self.header, self.name)
                for batch in file.iter_batches(BATCH_ROWS, columns=[written[name] for name in columns]):
                    batch.validate(full=True)  # bytes that are no text would go unseen
                    rows = pl.from_arrow(pa.Table.from_batches([batch]))
                    assert isinstance(rows, pl.DataFrame)
                    texts = [as_text(rows[written[name]], self.name).alias(name) for name in columns]
                    yield pl.DataFrame([*texts, _lines(line, rows.height)])
                    line += rows.height
        except UNREADABLE as error:
            raise SourceError(f"{self.name}: cannot be read as Parquet ({type(error).__name__})") from None


def find_pieces(folder: Path) -> tuple[list[FilePiece], list[str], list[str]]:
    """The files of the CDM tables that are read; names of files that are none; and problems."""
    known = layouts()
    pieces: list[FilePiece] = []
    ignored: list[str] = []
    problems: list[str] = []
    for member in _members(folder, problems):
        table = _table_of(member, [*known, *OTHER_CDM_TABLES])
        if table not in known:
            ignored.append(member.name)
            continue
        try:
            pieces.append(FilePiece(member, _read_header(member), known[table]))
        except SourceError as error:
            problems += [problem.replace(member.file_name, member.name, 1) for problem in error.problems]
    return pieces, ignored, problems


def is_parquet(member: Member) -> bool:
    return member.file_name.casefold().endswith(_PARQUET)


def _members(folder: Path, problems: list[str]) -> Iterator[Member]:
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if (odd := csv_files.odd_name(path)) is not None:
            problems.append(odd)
        elif path.is_file() and path.suffix.casefold() == _ZIP:
            try:
                with zipfile.ZipFile(path) as archive:
                    names = sorted(archive.namelist())
            except (zipfile.BadZipFile, OSError):
                problems.append(f"{path.name}: is no zip archive, or is cut off")
                continue
            yield from (Member(path, name) for name in names if not name.endswith("/"))
        elif path.is_file():
            yield Member(path)


def _table_of(member: Member, tables: list[str]) -> str | None:
    name = member.file_name
    if name.startswith(".") or (member.inside and "__MACOSX" in PurePosixPath(member.inside).parts):
        return None
    as_csv = f"{name[: -len(_PARQUET)]}.csv" if is_parquet(member) else name
    return csv_files.match_table(as_csv, tables)


def _read_header(member: Member) -> Header:
    if not is_parquet(member):
        with member.on_disk(head_only=not member.file_name.casefold().endswith(".gz")) as path:
            return csv_files.read_header(path)
    with member.on_disk() as path:
        return read_schema(path, member.file_name)[1]


def _lines(first: int, n: int) -> pl.Series:
    return pl.int_range(first, first + n, dtype=pl.Int64, eager=True).alias("_line")
