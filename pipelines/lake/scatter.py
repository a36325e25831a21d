"""First pass, a task for each raw file: text -> canonical rows, sorted by bucket into one Arrow file of parts.

Each block of a file adds one record batch for each bucket it touches, so memory holds one block of a file and the
second pass reads just the batches of its bucket. Rows without a person wait in a file of their own until every file of
persons has been read; then only the record numbers they need are looked up. The parts are Arrow IPC and live only
while a lake is being built: opening one costs nothing, where Parquet's footers would cost seconds over all buckets.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.lake.buckets import bucket_of
from pipelines.sources.csv_files import digest, find_encoding, read_batches
from pipelines.sources.extract import SourceFile
from pipelines.sources.normalise import QUARANTINE, Normalised, normalise

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")
_OLDEST = pl.CompatLevel.oldest()  # plain large strings: IPC does not compress string views


@dataclass(frozen=True)
class Part:
    """Where the rows of one bucket are: a record batch of an Arrow file."""

    path: Path
    batch: int
    bucket: int


@dataclass(frozen=True)
class Receipt:
    """What the first pass made of one raw file. `place` is the file's place among the files of the extract."""

    place: int
    name: str
    release: str
    table: str
    digest: str
    encoding: str
    absent: tuple[str, ...]
    rows_read: int
    parts: tuple[Part, ...] = ()
    unresolved: Path | None = None
    quarantined: Counter[str] = field(default_factory=Counter)
    nulled: Counter[str] = field(default_factory=Counter)


class Parts:
    """Writes frames into an Arrow file, a record batch for each bucket, and remembers which is where."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: list[Part] = []
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def add(self, rows: pl.DataFrame, n_buckets: int) -> None:
        if not rows.height:
            return
        buckets = _buckets(rows, n_buckets)
        order = buckets.arg_sort()
        table = rows[order].rechunk().to_arrow(compat_level=_OLDEST)
        (batch,) = table.combine_chunks().to_batches()
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self.path), table.schema, options=_LZ4)
        start = 0
        for bucket, length in buckets.value_counts().sort(buckets.name).rows():
            self._writer.write_batch(batch.slice(start, length))
            self.parts.append(Part(self.path, len(self.parts), bucket))
            start += length

    def close(self) -> tuple[Part, ...]:
        if self._writer is not None:
            self._writer.close()
        return tuple(self.parts)


def scatter_file(file: SourceFile, place: int, building: Path, n_buckets: int) -> Receipt:
    """Read one raw file into `building`/parts.

    Raises:
        SourceError: the file is damaged, or neither UTF-8 nor Windows-1252.
    """
    encoding = find_encoding(file.path)
    folder = building / "parts"
    parts = Parts(folder / f"{place:05d}.arrow")
    waiting: list[pl.DataFrame] = []
    aside: list[pl.DataFrame] = []
    rows_read, nulled = 0, Counter[str]()
    for batch in read_batches(file.path, file.header, encoding):
        rows_read += batch.rows.height + len(batch.malformed)
        aside.append(_malformed(batch.malformed))
        if batch.rows.height:
            result: Normalised = normalise(batch.rows, file.header, file.layout)
            parts.add(_mark(result.rows, place), n_buckets)
            waiting.append(_mark(result.unresolved, place))
            aside.append(result.quarantined)
            nulled += result.nulled
    quarantine = pl.concat([pl.DataFrame(schema=QUARANTINE), *aside])
    if quarantine.height:
        save_quarantine(building, file.name, [quarantine])
    unresolved = [frame for frame in waiting if frame.height]
    if unresolved:
        pl.concat(unresolved).write_ipc(folder / f"{place:05d}-unresolved.arrow", compression="lz4")
    return Receipt(
        place=place,
        name=file.name,
        release=file.layout.release,
        table=file.layout.target.name,
        digest=digest(file.path),
        encoding=encoding,
        absent=tuple(file.layout.absent(file.header)),
        rows_read=rows_read,
        parts=parts.close(),
        unresolved=folder / f"{place:05d}-unresolved.arrow" if unresolved else None,
        quarantined=Counter(dict(quarantine.group_by("reason").len().rows())),
        nulled=nulled,
    )


def find_people(receipt: Receipt, needed: pl.Series) -> pl.DataFrame:
    """Of the records in `needed`, those that a file of MHS001 holds with a person: record_id, person_id, each once."""
    columns = ["record_id", "person_id"]
    records = read_parts(receipt.parts, columns)
    found = [rows.filter(pl.col("record_id").is_in(needed.implode())) for rows in records]
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), *found]).unique()


def agree_on_people(found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """A person for each record: record_id, person_id; none for a record that was given to two people."""
    people = pl.concat(found).unique()
    return people.filter(pl.len().over("record_id") == 1).sort("record_id")


def resolve_file(receipt: Receipt, people: pl.DataFrame, building: Path, n_buckets: int) -> Receipt:
    """Give the waiting rows of a file the person of their record; those still without are set aside."""
    if receipt.unresolved is None:
        return receipt
    waiting = pl.read_ipc(receipt.unresolved)
    if "record_id" in waiting.columns:
        waiting = waiting.drop("person_id").join(people, on="record_id", how="left", maintain_order="left")
    lost = waiting.filter(pl.col("person_id").is_null())
    parts = Parts(building / "parts" / f"{receipt.place:05d}-resolved.arrow")
    columns = [name for name in waiting.columns if name not in {"raw", "person_id"}]
    parts.add(waiting.filter(pl.col("person_id").is_not_null()).select("person_id", *columns), n_buckets)
    if lost.height:
        reasons = lost.select(line="_line", reason=pl.lit("no_person"), raw="raw")
        save_quarantine(building, receipt.name, [reasons])
    receipt.unresolved.unlink()
    quarantined = receipt.quarantined + Counter(no_person=lost.height)
    return replace(receipt, parts=receipt.parts + parts.close(), unresolved=None, quarantined=quarantined)


def records_needed(receipts: Sequence[Receipt]) -> pl.Series:
    """Record numbers of all rows that wait for a person, each once."""
    frames = [pl.read_ipc(receipt.unresolved) for receipt in receipts if receipt.unresolved]
    records = [frame["record_id"] for frame in frames if "record_id" in frame.columns]
    return pl.concat([pl.Series("record_id", [], pl.String), *records]).drop_nulls().unique().sort()


def read_parts(parts: Sequence[Part], columns: Sequence[str] | None = None) -> list[pl.DataFrame]:
    """The rows of some parts, or some columns of them: a frame for each file."""
    frames = []
    for path, of_file in groupby(parts, key=lambda part: part.path):
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            if columns is not None:
                fields = [reader.schema.get_field_index(name) for name in columns]
                options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
                reader = pa.ipc.open_file(source, options=options)
            rows = pl.from_arrow(pa.Table.from_batches([reader.get_batch(part.batch) for part in of_file]))
        assert isinstance(rows, pl.DataFrame)
        frames.append(rows.select(columns) if columns is not None else rows)
    return frames


def save_quarantine(building: Path, name: str, frames: Iterable[pl.DataFrame]) -> None:
    """Add rows to the quarantine of a raw file (line, reason, raw), in order of lines."""
    path = building / "quarantine" / f"{name}.parquet"
    before = [pl.read_parquet(path, glob=False).drop("file")] if path.is_file() else []
    rows = pl.concat([*before, *frames]).sort("line", maintain_order=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.select(pl.lit(name).alias("file"), *QUARANTINE).write_parquet(path, compression="zstd")


def _mark(rows: pl.DataFrame, place: int) -> pl.DataFrame:
    return rows.with_columns(_file=pl.lit(place, pl.Int32))


def _buckets(rows: pl.DataFrame, n_buckets: int) -> pl.Series:
    if "person_id" not in rows.columns:
        return pl.zeros(rows.height, pl.Int32, eager=True).alias("bucket")
    return bucket_of(rows["person_id"], n_buckets).alias("bucket")


def _malformed(lines: Sequence[tuple[int, str]]) -> pl.DataFrame:
    rows = [(line, "malformed_line", text) for line, text in lines]
    return pl.DataFrame(rows, schema=QUARANTINE, orient="row")
