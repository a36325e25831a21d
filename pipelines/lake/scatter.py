"""First pass, a task for each raw file: text -> canonical rows, sorted by bucket into one Arrow file of parts.

Each block of a file adds one record batch for each bucket it touches, so memory holds one block of a file and the
second pass reads just the batches of its bucket. Rows without a person wait in a file of their own until every file of
persons has been read; then only the record numbers they need are looked up. The parts are Arrow IPC and live only
while a lake is being built: opening one costs nothing, where Parquet's footers would cost seconds over all buckets.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipelines.lake.buckets import bucket_of
from pipelines.lake.places import Place, open_arrow, read_ipc
from pipelines.sources.bridge import cross_bridge
from pipelines.sources.csv_files import find_encoding, read_batches
from pipelines.sources.extract import SourceFile
from pipelines.sources.mhsds import name_records
from pipelines.sources.normalise import QUARANTINE, Normalised, normalise

ROWS, UNRESOLVED, ASIDE = "rows.arrow", "unresolved.arrow", "quarantine.parquet"
_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")
_OLDEST = pl.CompatLevel.oldest()  # plain large strings: IPC does not compress string views


@dataclass(frozen=True)
class Part:
    """Where the rows of one bucket are: a record batch of an Arrow file. `place` is that of the raw file among the
    files of the load; the rows themselves do not know it, so that a later load can use them again. `content` names
    what is in it: two parts of the same content give the same tables."""

    path: Place
    batch: int
    bucket: int
    content: str = ""
    place: int = 0


@dataclass(frozen=True)
class Receipt:
    """What the first pass made of one raw file. `digest` is of its bytes, `key` names its parts, `place` is the file's
    place among the files of a load; `submissions` are those its rows came with (provider, month, submission)."""

    name: str
    release: str
    table: str
    encoding: str
    absent: tuple[str, ...]
    rows_read: int
    parts: tuple[Part, ...] = ()
    unresolved: Place | None = None
    aside: Place | None = None
    quarantined: Counter[str] = field(default_factory=Counter)
    nulled: Counter[str] = field(default_factory=Counter)
    submissions: tuple[tuple[str, int, str], ...] = ()
    digest: str = ""
    key: str = ""
    place: int = 0


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


def scatter_file(file: SourceFile, folder: Path, n_buckets: int, bridge: Place | None = None) -> Receipt:
    """Read one raw file into `folder`: rows.arrow, and unresolved.arrow and quarantine.parquet if there are such rows.

    `bridge` is an Arrow file of old_person_id and new_person_id (see sources.bridge): people go by their new id.

    Raises:
        SourceError: the file is damaged, or neither UTF-8 nor Windows-1252.
    """
    encoding = find_encoding(file.path)
    parts = Parts(folder / ROWS)
    waiting: list[pl.DataFrame] = []
    aside: list[pl.DataFrame] = []
    rows_read, nulled = 0, Counter[str]()
    steps = read_ipc(bridge) if bridge is not None and file.layout.target.by_person else None
    lacks_records = file.layout.lacks("record_id", file.header)  # as a DARS extract does
    submissions: set[tuple[str, int, str]] = set()
    for batch in read_batches(file.path, file.header, encoding):
        rows_read += batch.rows.height + len(batch.malformed)
        aside.append(_malformed(batch.malformed))
        if batch.rows.height:
            result: Normalised = normalise(batch.rows, file.header, file.layout)
            rows = cross_bridge(result.rows, steps) if steps is not None else result.rows
            parts.add(name_records(rows) if lacks_records else rows, n_buckets)
            submissions |= _submissions(result)
            waiting.append(result.unresolved)
            aside.append(result.quarantined)
            nulled += result.nulled
    quarantine = pl.concat([pl.DataFrame(schema=QUARANTINE), *aside])
    if quarantine.height:
        quarantine.write_parquet(folder / ASIDE, compression="zstd")
    unresolved = [frame for frame in waiting if frame.height]
    if unresolved:
        pl.concat(unresolved).write_ipc(folder / UNRESOLVED, compression="lz4")
    return Receipt(
        name=file.name,
        release=file.layout.release,
        table=file.layout.target.name,
        encoding=encoding,
        absent=tuple(file.layout.absent(file.header)),
        rows_read=rows_read,
        parts=parts.close(),
        unresolved=folder / UNRESOLVED if unresolved else None,
        aside=folder / ASIDE if quarantine.height else None,
        quarantined=Counter(dict(quarantine.group_by("reason").len().rows())),
        nulled=nulled,
        submissions=tuple(sorted(submissions)),
    )


def read_parts(parts: Sequence[Part], columns: Sequence[str] | None = None) -> list[pl.DataFrame]:
    """The rows of some parts, or some columns of them, with `_file`, the place of their file: a frame for each file."""
    frames = []
    for (path, place), of_file in groupby(parts, key=lambda part: (part.path, part.place)):
        with open_arrow(path) as source:
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            if columns is not None:
                fields = [reader.schema.get_field_index(name) for name in columns]
                options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
                reader = pa.ipc.open_file(source, options=options)
            rows = pl.from_arrow(pa.Table.from_batches([reader.get_batch(part.batch) for part in of_file]))
        assert isinstance(rows, pl.DataFrame)
        chosen = rows.select(columns) if columns is not None else rows
        frames.append(chosen.with_columns(_file=pl.lit(place, pl.Int32)))
    return frames


def _buckets(rows: pl.DataFrame, n_buckets: int) -> pl.Series:
    if "person_id" not in rows.columns:
        return pl.zeros(rows.height, pl.Int32, eager=True).alias("bucket")
    return bucket_of(rows["person_id"], n_buckets).alias("bucket")


def _submissions(result: Normalised) -> set[tuple[str, int, str]]:
    """The submissions that the rows of people came with."""
    key = ["provider_id", "month_id", "_submission_id"]
    if not {"person_id", *key} <= set(result.rows.columns):
        return set()
    frames = [frame.select(key).unique() for frame in (result.rows, result.unresolved)]
    return set(pl.concat(frames).drop_nulls().rows())


def _malformed(lines: Sequence[tuple[int, str]]) -> pl.DataFrame:
    rows = [(line, "malformed_line", text) for line, text in lines]
    return pl.DataFrame(rows, schema=QUARANTINE, orient="row")
