"""A folder of CSV or Parquet files, or of zip archives of them -> the pieces of a CDM, one for each file.

Files are known by the name of their table, whatever its case and whatever follows it (VISIT_OCCURRENCE.csv,
visit_occurrence_2.parquet). A Parquet file in an archive is unpacked to a temporary file while it is read, so no
archive needs to fit into memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

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
from pipelines.sources.packed import Member, list_members, no_files
from pipelines.sources.parquet_files import UNREADABLE, as_text, expect_types, read_schema
from pipelines.sources.unread import ENDINGS as TEXT_ENDINGS
from pipelines.sources.unread import judge_file, judge_other

_PARQUET = ".parquet"
ENDINGS = f"{_PARQUET}, {TEXT_ENDINGS}"


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
        content = csv_files.digest(self.member)
        if self.layout.names[0] != CONCEPT_ANCESTOR:
            return content
        # What is read of this table depends on the concepts that are asked for.
        return blake2b(f"{content}\0{roots()}".encode(), digest_size=16).hexdigest()

    def stamp(self) -> str:
        status = self.member.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def size(self) -> int:
        return self.member.path.stat().st_size

    def look_through(self) -> Content:
        if is_parquet(self.member):
            return Content(self.digest(), "parquet", ())
        return replace(csv_files.look_through(self.member), digest=self.digest())

    def read(self, piece: Piece) -> Iterator[Batch]:
        return self._read_parquet() if is_parquet(self.member) else self._read_csv(piece)

    def _read_csv(self, piece: Piece) -> Iterator[Batch]:
        for batch in csv_files.read_batches(self.member, self.header, piece):
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
    """The files of the CDM tables that are read; names of files that are none; and problems. What is named like one of
    those tables, or has its columns, and is not read is a problem (sources.unread); other tables of a CDM are none."""
    known = layouts()
    by_layout = tuple(known.values())
    pieces: list[FilePiece] = []
    ignored: list[str] = []
    problems: list[str] = []
    for member in list_members(folder, problems):
        table = _table_of(member, [*known, *OTHER_CDM_TABLES])
        if table not in known:
            refusal = judge_file(member, by_layout, ENDINGS) if table is None else None
            problems += [refusal] if refusal is not None else []
            ignored.append(member.name)
            continue
        try:
            pieces.append(FilePiece(member, _read_header(member), known[table]))
        except SourceError as error:
            problems += error.problems
    for other in no_files(folder):
        refusal = judge_other(other, by_layout)
        problems += [refusal] if refusal is not None else []
        ignored.append(f"{other.name}/" if other.is_dir() else other.name)
    return pieces, ignored, problems


def is_parquet(member: Member) -> bool:
    """Whether a file is read as Parquet, by the ending of its name."""
    return member.file_name.casefold().endswith(_PARQUET)


def _table_of(member: Member, tables: list[str]) -> str | None:
    if member.is_of_macos:
        return None
    name = member.file_name
    as_csv = f"{name[: -len(_PARQUET)]}.csv" if is_parquet(member) else name
    return csv_files.match_table(as_csv, tables)


def _read_header(member: Member) -> Header:
    if not is_parquet(member):
        return csv_files.read_header(member)
    with member.on_disk() as path:
        return read_schema(path, member.file_name)[1]


def _lines(first: int, n: int) -> pl.Series:
    return pl.int_range(first, first + n, dtype=pl.Int64, eager=True).alias("_line")
