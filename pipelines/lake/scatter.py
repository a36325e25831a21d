"""First pass, a task for each piece of a raw file: text -> canonical rows, in an Arrow file with parts by bucket.

Every few blocks of a file add one record batch for each bucket they touch, so memory holds a few blocks of a file and
the second pass reads just the batches of its bucket. Rows without a person wait in a file of their own until every file
of persons has been read; then only the record numbers they need are looked up. The parts are Arrow IPC: opening one
costs nothing, where Parquet's footers would cost seconds over all buckets.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.lake.buckets import bucket_of
from pipelines.lake.places import Place, open_arrow, read_ipc
from pipelines.sources.bridge import cross_bridge
from pipelines.sources.csv_files import Piece
from pipelines.sources.extract import RawFile
from pipelines.sources.legibility import LINES, Legibility, add_legibility
from pipelines.sources.mhsds import name_records
from pipelines.sources.normalise import QUARANTINE, DateOrder, Normalised, add_date_orders, normalise
from pipelines.sources.pseudonyms import conceal, key_of
from pipelines.sources.submissions import told_by_name

ROWS, UNRESOLVED, ASIDE = "rows.arrow", "unresolved.arrow", "quarantine.parquet"
_LZ4, _PLAIN = pa.ipc.IpcWriteOptions(compression="lz4"), pa.ipc.IpcWriteOptions()
_N_BUFFERS_OF_SHORT = 2  # of an array of string views: which are null, and the views; longer texts have more
PILE_ROWS = 200_000  # sorted into buckets at once: few large batches are read faster than many small ones


@dataclass(frozen=True)
class Manner:
    """How a load reads its files: into how many buckets; whether parts take less room and more time, as those that are
    kept do; the bridge, an Arrow file of old_person_id and new_person_id (sources.bridge): people go by their new id;
    and the fingerprint of the key of the pseudonyms that stand for ids of people (sources.pseudonyms), empty where the
    ids stay as they are."""

    n_buckets: int
    is_packed: bool = False
    bridge: Place | None = None
    bridge_checksum: str = ""
    pseudonyms: str = ""


@dataclass(frozen=True)
class Part:
    """Where the rows of one bucket are: a record batch of an Arrow file. `place` is that of the raw file among the
    files of the load, `lines_before` how many of the file's lines come before its piece; the rows themselves know
    neither, so that a later load can use them again. `content` names what is in it: two parts of the same content give
    the same tables."""

    path: Place
    batch: int
    bucket: int
    content: str = ""
    place: int = 0
    lines_before: int = 0


@dataclass(frozen=True)
class Aside:
    """A file of rows that are not parts: waiting for their person, or set aside."""

    path: Place
    lines_before: int = 0


@dataclass(frozen=True)
class Receipt:
    """What the first pass made of one raw file, or of a piece of it. `digest` is of the file's bytes, `keys` name its
    pieces' parts, `place` is the file's place among the files of a load; `submissions` are those its rows came with
    (provider, month, submission), `months` the first and the last month of rows that may not say it, and `sent` the
    number of rows of each provider and month, of the table of persons only."""

    name: str
    release: str
    table: str
    encoding: str
    absent: tuple[str, ...]
    absent_choices: tuple[str, ...]
    rows_read: int
    parts: tuple[Part, ...] = ()
    unresolved: tuple[Aside, ...] = ()
    aside: tuple[Aside, ...] = ()
    quarantined: Counter[str] = field(default_factory=Counter)
    nulled: Counter[str] = field(default_factory=Counter)
    submissions: tuple[tuple[str, int, str], ...] = ()
    months: tuple[int, ...] = ()
    sent: tuple[tuple[str, int, int], ...] = ()
    date_orders: tuple[DateOrder, ...] = ()
    legibility: tuple[Legibility, ...] = ()
    differing: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    keys: tuple[str, ...] = ()
    place: int = 0


class Parts:
    """Writes frames into Arrow files, a record batch for each bucket, and remembers which is where.

    Short texts stay as Polars has them (Arrow's string views), which costs nothing to write and to read again; of long
    ones a view would drag along the texts of the other buckets. Where that changes, another file begins.
    """

    def __init__(self, path: Path, *, is_packed: bool) -> None:
        self.parts: list[Part] = []
        self._path = path
        self._options = _LZ4 if is_packed else _PLAIN
        self._writers: dict[pa.Schema, tuple[Path, pa.ipc.RecordBatchFileWriter]] = {}
        self._n_batches = Counter[Path]()

    def add(self, rows: pl.DataFrame, n_buckets: int) -> None:
        """Write rows (canonical columns, `_line`, `_raw`), a record batch for each bucket they touch."""
        if not rows.height:
            return
        buckets = _buckets(rows, n_buckets)
        # Taking rows out of many chunks costs many times as much as out of one.
        order = np.argsort(buckets, kind="stable")
        ends = np.cumsum(np.bincount(buckets, minlength=n_buckets))
        ordered = rows.rechunk()[order]
        contents = ordered["_raw"].to_numpy()
        batch = pa.RecordBatch.from_arrays([_as_arrow(column) for column in ordered], ordered.columns)
        path, writer = self._writer(batch.schema)
        for bucket, (start, end) in enumerate(pairwise([0, *ends.tolist()])):
            if start < end:
                content = blake2b(contents[start:end].tobytes(), digest_size=16).hexdigest()
                place = self._n_batches[path]
                self._n_batches[path] += 1
                writer.write_batch(batch.slice(start, end - start))
                self.parts.append(Part(path, place, bucket, content))

    def close(self) -> tuple[Part, ...]:
        """Finish the files; where all that was added is, in order."""
        for _, writer in self._writers.values():
            writer.close()
        return tuple(self.parts)

    def _writer(self, schema: pa.Schema) -> tuple[Path, pa.ipc.RecordBatchFileWriter]:
        if schema not in self._writers:
            n = len(self._writers)
            path = self._path.with_stem(f"{self._path.stem}-{n}") if n else self._path
            self._writers[schema] = path, pa.ipc.new_file(str(path), schema, options=self._options)
        return self._writers[schema]


def scatter_piece(file: RawFile, piece: Piece, folder: Path, manner: Manner) -> Receipt:
    """Read a piece of a raw file into `folder`: rows.arrow, and unresolved.arrow and quarantine.parquet if there are
    such rows. Lines are counted as if the piece were the file.

    Raises:
        SourceError: the file is damaged.
    """
    parts, pile = Parts(folder / ROWS, is_packed=manner.is_packed), list[pl.DataFrame]()
    waiting: list[pl.DataFrame] = []
    aside: list[pl.DataFrame] = []
    rows_read, nulled = 0, Counter[str]()
    absent = file.layout.absent(file.header)
    steps = read_ipc(manner.bridge) if manner.bridge is not None and file.layout.target.by_person else None
    lacks_records = file.layout.may_lack("record_id", file.header)  # as a DARS extract does
    submissions: set[tuple[str, int, str]] = set()
    told = submission_by_name(file)
    months, sent = set[int](), Counter[tuple[str, int]]()
    orders: list[DateOrder] = []
    legibility: list[Legibility] = []
    differing = Counter[str]()
    for read in file.read(piece):
        batch = conceal(read, file.header, file.layout, key_of(manner.pseudonyms)) if manner.pseudonyms else read
        rows_read += batch.rows.height + len(batch.malformed)
        first = min((line for line, _ in batch.malformed), default=0)
        legibility.append(
            Legibility(LINES, "line", batch.rows.height + len(batch.malformed), len(batch.malformed), first)
        )
        aside.append(_malformed(batch.malformed))
        if batch.rows.height:
            result: Normalised = normalise(batch.rows, file.header, file.layout, batch.printable)
            if told is not None:
                result = _told(result, told)
            elif file.layout.target.by_person:
                months |= _ends(result)
            if file.layout.target.name == "person_month":
                sent += _count_months(result.rows)
            rows = cross_bridge(result.rows, steps) if steps is not None else result.rows
            rows = name_records(rows) if lacks_records else rows.drop(absent)
            pile.append(rows)
            if sum(frame.height for frame in pile) >= PILE_ROWS:
                parts.add(pl.concat(pile), manner.n_buckets)
                pile = []
            submissions |= _submissions(result)
            waiting.append(result.unresolved)
            aside.append(result.quarantined)
            nulled += result.nulled
            orders += result.date_orders
            legibility += result.legibility
            differing += result.differing
    if pile:
        parts.add(pl.concat(pile), manner.n_buckets)
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
        encoding=piece.encoding,
        absent=tuple(absent),
        absent_choices=tuple(file.layout.absent_choices(file.header)),
        rows_read=rows_read,
        parts=parts.close(),
        unresolved=(Aside(folder / UNRESOLVED),) if unresolved else (),
        aside=(Aside(folder / ASIDE),) if quarantine.height else (),
        quarantined=Counter(dict(quarantine.group_by("reason").len().rows())),
        nulled=nulled,
        submissions=tuple(sorted(submissions)),
        months=tuple(sorted({min(months), max(months)})) if months else (),
        sent=tuple(sorted((*month, n) for month, n in sent.items())),
        date_orders=add_date_orders(orders),
        legibility=add_legibility(legibility),
        differing=differing,
    )


def put_together(pieces: Sequence[Receipt]) -> Receipt:
    """The receipt of a file from those of its pieces, in order. What is not put together here is the same for all
    pieces of a file (name, layout, encoding, header, place) or follows from the whole file (digest, keys)."""
    before = [0, *accumulate(piece.rows_read for piece in pieces)]

    def shifted(name: str) -> tuple[Any, ...]:
        return tuple(
            replace(item, lines_before=n)
            for n, piece in zip(before, pieces, strict=False)
            for item in getattr(piece, name)
        )

    def in_file(name: str) -> list[Any]:
        return [
            item._replace(line=item.line + n if item.line else 0)
            for n, piece in zip(before, pieces, strict=False)
            for item in getattr(piece, name)
        ]

    return replace(
        pieces[0],
        rows_read=before[-1],
        parts=shifted("parts"),
        unresolved=shifted("unresolved"),
        aside=shifted("aside"),
        quarantined=sum((piece.quarantined for piece in pieces), Counter[str]()),
        nulled=sum((piece.nulled for piece in pieces), Counter[str]()),
        submissions=tuple(sorted({submission for piece in pieces for submission in piece.submissions})),
        months=tuple(sorted({month for piece in pieces for month in piece.months})),
        sent=tuple(month for piece in pieces for month in piece.sent),
        date_orders=add_date_orders(in_file("date_orders")),
        legibility=add_legibility(in_file("legibility")),
        differing=sum((piece.differing for piece in pieces), Counter[str]()),
    )


def read_parts(parts: Sequence[Part], columns: Sequence[str] | None = None) -> list[pl.DataFrame]:
    """The rows of some parts in order, or some columns of them, with `_file`, the place of their file: a frame for all
    that follow each other and are of one schema."""
    frames = []
    for _, alike in groupby(_batches(parts, columns), key=lambda pair: pair[1].schema):
        own, batches = zip(*alike, strict=True)
        rows = pl.from_arrow(pa.Table.from_batches(batches))
        assert isinstance(rows, pl.DataFrame)
        heights = [batch.num_rows for batch in batches]
        if columns is not None:
            rows = rows.select(columns)
        elif any(part.lines_before for part in own):
            before = pl.Series(np.repeat([part.lines_before for part in own], heights))
            rows.replace_column(rows.get_column_index("_line"), rows["_line"] + before)
        # A lake has thousands of such frames: building a query for each would cost more than reading it.
        place = pl.Series("_file", np.repeat(np.array([part.place for part in own], np.int32), heights))
        frames.append(rows.hstack([place]))
    return frames


def _batches(parts: Sequence[Part], columns: Sequence[str] | None) -> Iterator[tuple[Part, pa.RecordBatch]]:
    """What lies at each part."""
    for path, of_file in groupby(parts, key=lambda part: part.path):
        with open_arrow(path) as source:
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            if columns is not None:
                fields = [reader.schema.get_field_index(name) for name in columns]
                options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
                reader = pa.ipc.open_file(source, options=options)
            yield from ((part, reader.get_batch(part.batch)) for part in of_file)


def _buckets(rows: pl.DataFrame, n_buckets: int) -> np.ndarray:
    if "person_id" not in rows.columns:
        return np.zeros(rows.height, np.uint8)
    # Small numbers are sorted in one sweep.
    return bucket_of(rows["person_id"], n_buckets).to_numpy().astype(np.uint16)


def _as_arrow(column: pl.Series) -> pa.Array:
    """Short texts as views; if one does not fit into a view, plain strings, with offsets of 32 bits: no pile of rows
    holds so much text that it needs more."""
    array = column.to_arrow(compat_level=pl.CompatLevel.newest())
    if array.type != pa.string_view() or len(array.buffers()) == _N_BUFFERS_OF_SHORT:
        return array
    return column.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def submission_by_name(file: RawFile) -> str | None:
    """What the name of a file says of the submission of its rows (submissions.told_by_name), where they do not say it
    themselves; None for tables that do not come by the month."""
    columns = {column.column.name: bool(column.headers(file.header)) for column in file.layout.columns}
    says_itself = columns.get("_submission_id", True)
    return None if says_itself or not file.layout.target.by_person else told_by_name(file.name)


def _told(result: Normalised, told: str) -> Normalised:
    named = pl.lit(told).alias("_file_type")
    return replace(result, rows=result.rows.with_columns(named), unresolved=result.unresolved.with_columns(named))


def _ends(result: Normalised) -> set[int]:
    """The first and last month of some rows."""
    found = [frame["month_id"] for frame in (result.rows, result.unresolved) if "month_id" in frame.columns]
    return {end for months in found for end in (months.min(), months.max()) if isinstance(end, int)}


def _count_months(rows: pl.DataFrame) -> Counter[tuple[str, int]]:
    counts = rows.drop_nulls(["provider_id", "month_id"]).group_by("provider_id", "month_id").len()
    return Counter({(provider, month): n for provider, month, n in counts.iter_rows()})


def _submissions(result: Normalised) -> set[tuple[str, int, str]]:
    """The submissions that the rows of people came with."""
    says = "_file_type" if "_file_type" in result.rows.columns else "_submission_id"
    key = ["provider_id", "month_id", says]
    if not {"person_id", *key} <= set(result.rows.columns):
        return set()
    frames = [frame.select(key).unique() for frame in (result.rows, result.unresolved)]
    return set(pl.concat(frames).drop_nulls().rows())


def _malformed(lines: Sequence[tuple[int, str]]) -> pl.DataFrame:
    rows = [(line, "malformed_line", text) for line, text in lines]
    return pl.DataFrame(rows, schema=QUARANTINE, orient="row")
