"""Second pass, a task for each group of tables and bucket: parts -> one sorted Parquet file.

Exact duplicates (all raw cells equal, within a file or between files) are dropped here, where both copies are sure to
meet; the copy that comes first in the order of files and lines stays. Then the rows of submissions that a later one
replaced go (DOMAIN 0b.8). Tables that need another table of the same people (referral teams, assessments at a contact)
are completed here too, since all of it lies in one bucket.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.compute as pc

from pipelines.lake.reading import bucket_name, reference_name
from pipelines.lake.scatter import Part, read_parts
from pipelines.sources import mhsds
from pipelines.sources.extract import Assembly
from pipelines.sources.omop.staged import STAGED
from pipelines.sources.submissions import (
    MONTHS_OF_PEOPLE,
    NONE_UNSURE,
    NOTHING_SUPERSEDED,
    count_unsure,
    is_superseded,
    mark_latest,
)
from pipelines.tables import PERSON_TABLES, TABLES, Table

# Tables that are completed from one another share a task.
GROUPS: tuple[tuple[str, ...], ...] = (
    *mhsds.TOGETHER,
    *((table,) for table in PERSON_TABLES if not any(table in group for group in mhsds.TOGETHER)),
)
EXACT_DUPLICATE, SUPERSEDED_SUBMISSION = "exact_duplicate", "superseded_submission"
_KNOWN = TABLES | mhsds.DETAILS | STAGED
ROW_GROUP_ROWS = 1 << 19


@dataclass(frozen=True)
class Tally:
    """What the second pass did: rows written by table; rows kept by place of the raw file, and rows dropped by place
    and rule; things worth knowing, counted by rule; and rows by table and month of a provider of which nothing tells
    with which of several submissions they came."""

    rows: Counter[str] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)
    dropped: Counter[tuple[int, str]] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    unsure: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.rows + other.rows,
            self.kept + other.kept,
            self.dropped + other.dropped,
            self.notes + other.notes,
            self.unsure + other.unsure,
        )


def gather_bucket(
    group: Sequence[str],
    parts: Mapping[str, Sequence[Part]],
    superseded: pl.DataFrame,
    building: Path,
    bucket: int,
    unsure: pl.DataFrame = NONE_UNSURE,
) -> Tally:
    """Write one bucket of the tables of a group; `parts` are those of the bucket, by table, and all of the tables that
    it needs (mhsds.NEEDS); `superseded` and `unsure` as sources.submissions gives them."""
    tally = Tally()
    frames = {name: _collect(_KNOWN[name], parts[name], tally, superseded, unsure) for name in group}
    needed = {name: collect_reference(name, parts[name], Tally()) for name in needed_by(group)}
    tally.notes.update(mhsds.complete(frames, needed))
    for name, rows in frames.items():
        tally.rows[name] += _write(rows, _KNOWN[name], building / bucket_name(name, bucket))
    return tally


def assemble_bucket(assembly: Assembly, parts: Mapping[str, Sequence[Part]], building: Path, bucket: int) -> Tally:
    """Write one bucket of all tables of a source whose own tables are not canonical; `parts` are those of the bucket by
    staged table, and all of the references."""
    tally = Tally()
    staged = {name: _collect(STAGED[name], parts[name], tally) for name in assembly.tables}
    staged |= {name: _collect(STAGED[name], parts[name], Tally()) for name in assembly.references}
    frames, notes = assembly(staged)
    tally.notes.update(notes)
    for name, rows in frames.items():
        tally.rows[name] += _write(rows, TABLES[name], building / bucket_name(name, bucket))
    return tally


def gather_months(months: pl.DataFrame, building: Path) -> Tally:
    """Write the table `submission` of an extract without headers (submissions.months_of_people)."""
    tally = Tally()
    rows = months.with_columns(_file=pl.lit(0, pl.Int32), _line=pl.int_range(pl.len(), dtype=pl.Int64))
    tally.rows["submission"] += _write(rows, TABLES["submission"], building / reference_name("submission"))
    tally.notes[MONTHS_OF_PEOPLE] += months.height
    return tally


def gather_reference(name: str, parts: Mapping[str, Sequence[Part]], superseded: pl.DataFrame, building: Path) -> Tally:
    """Write a table that belongs to no person; with `submission` go the parts of submission_flag."""
    tally = Tally()
    rows = collect_reference(name, parts[name], tally)
    if name == "submission":
        flags = collect_reference("submission_flag", parts.get("submission_flag", ()), Tally())
        rows = mark_latest(rows, flags, superseded)
    tally.rows[name] += _write(rows, _KNOWN[name], building / reference_name(name))
    return tally


def needed_by(group: Sequence[str]) -> list[str]:
    """The tables that belong to no person which those of a group are completed from."""
    return sorted({mhsds.NEEDS[name] for name in group if name in mhsds.NEEDS})


def collect_reference(name: str, parts: Sequence[Part], tally: Tally) -> pl.DataFrame:
    """All rows of a table that belongs to no person."""
    return _collect(_KNOWN[name], parts, tally)


def _collect(
    table: Table,
    parts: Sequence[Part],
    tally: Tally,
    superseded: pl.DataFrame = NOTHING_SUPERSEDED,
    unsure: pl.DataFrame = NONE_UNSURE,
) -> pl.DataFrame:
    """All rows of the parts that count, each once, in the order of files and lines."""
    if not parts:
        return table.empty().with_columns(_file=pl.lit(0, pl.Int32), _line=pl.lit(0, pl.Int64))
    # Taking rows out of many chunks costs twenty times as much as out of one.
    rows = _in_order(_complete(pl.concat(read_parts(parts), how="diagonal"), table).rechunk())
    unique = _drop_duplicates(rows)
    old = is_superseded(unique, superseded)
    counting = unique.filter(~old) if old.any() else unique
    if unsure.height:
        counts = count_unsure(counting, unsure)
        tally.unsure.update({(table.name, f"{provider} {month}"): n for provider, month, n in counts.iter_rows()})
    # One row under two names of files is one row, once it is settled which of the two counts.
    current = _drop_duplicates(counting.drop("_file_type")) if "_file_type" in unique.columns else counting
    tally.kept.update(_by_file(current))
    steps = (
        (EXACT_DUPLICATE, rows, unique),
        (SUPERSEDED_SUBMISSION, unique, counting),
        (EXACT_DUPLICATE, counting, current),
    )
    for rule, more, less in steps:
        if more is not less:
            tally.dropped.update({(place, rule): n for place, n in (_by_file(more) - _by_file(less)).items()})
    return current.drop("_raw")


def _complete(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """With the columns that no file holds."""
    return rows.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in table.schema.items() if name not in rows.columns
    )


def _drop_duplicates(rows: pl.DataFrame) -> pl.DataFrame:
    """A hash that repeats names the suspects; only rows whose canonical cells agree as well are duplicates."""
    hashes = rows["_raw"].to_numpy()
    if not (np.diff(np.sort(hashes)) == 0).any():
        return rows
    suspect = rows["_raw"].is_duplicated()
    cells = [name for name in rows.columns if name not in {"_file", "_line"}]
    single = rows.filter(suspect).unique(cells, keep="first", maintain_order=True)
    return pl.concat([rows.filter(~suspect), single]).sort("_file", "_line")


def _by_file(rows: pl.DataFrame) -> Counter[int]:
    n_rows = np.bincount(rows["_file"].to_numpy())
    return Counter({place: int(n_rows[place]) for place in np.flatnonzero(n_rows).tolist()})


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of files and lines; parts come in that order unless some rows had to wait for their person."""
    file, line = rows["_file"].to_numpy(), rows["_line"].to_numpy()
    steps = np.diff(file)
    is_ordered = not (steps < 0).any() and not ((np.diff(line) <= 0) & (steps == 0)).any()
    return rows if is_ordered else rows.sort("_file", "_line")


def _write(rows: pl.DataFrame, table: Table, path: Path) -> int:
    if not rows.height:
        return 0
    names = [column.name for column in table.columns]
    dates = [column.name for column in table.columns if column.kind == "date"]
    keys = [name for name in ("person_id", "month_id", *dates, "row_id") if name in names]
    rows = _in_order(rows)
    ordered = rows.select(names)[sort_order(rows, keys)].rechunk()
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered.write_parquet(path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS)
    return ordered.height


def sort_order(rows: pl.DataFrame, keys: Sequence[str]) -> np.ndarray:
    """Places of the rows in the order of the keys, nulls last; equal ones stay as they are.

    As DataFrame.sort gives it, but several times faster: as many keys as fit are packed into one whole number, and only
    rows that are equal in it are compared further.
    """
    place_bits = rows.height.bit_length()
    packed, n_packed = _pack(rows, keys, room=63 - place_bits)
    # With the place as its last bits the number is its own tie-break, and plain sorting of numbers is fast.
    found = np.sort((packed << place_bits) | np.arange(rows.height))
    order = found & ((1 << place_bits) - 1)
    rest = list(keys[n_packed:])
    is_tied = np.diff(found >> place_bits) == 0
    if not rest or not is_tied.any():
        return order
    places = np.flatnonzero(np.append(is_tied, False) | np.append(False, is_tied))
    tied = order[places]
    subset = rows.select(rest)[tied].with_columns(_packed=packed[tied], _place=tied)
    order[places] = subset.sort("_packed", *rest, "_place", nulls_last=True)["_place"].to_numpy()
    return order


def _pack(rows: pl.DataFrame, keys: Sequence[str], room: int) -> tuple[np.ndarray, int]:
    """The first keys as one number of at most `room` bits that has their order, and how many keys that are."""
    packed = np.zeros(rows.height, np.int64)
    for number, key in enumerate(keys):
        codes = _codes(rows[key])
        bits = room + 1 if codes is None else int(codes.max(initial=0)).bit_length()
        if codes is None or bits > room:
            return packed, number
        packed = (packed << bits) | codes
        room -= bits
    return packed, len(keys)


def _codes(values: pl.Series) -> np.ndarray | None:
    """Small numbers in the order of the values, the largest for null; None for texts that hardly repeat and
    for numbers too far apart."""
    if values.dtype == pl.String:
        if values.name != "person_id":
            return None
        values = _ranked(values)
    numbers = values.cast(pl.Int64)
    lowest, highest = numbers.min(), numbers.max()
    if not isinstance(lowest, int) or not isinstance(highest, int):
        return np.zeros(len(values), np.int64)
    if highest - lowest >= 1 << 62:  # a mistyped number may be anywhere: the difference would not fit
        return None
    codes = numbers - lowest
    return (codes.set(codes.is_null(), highest - lowest + 1) if codes.null_count() else codes).to_numpy()


def _ranked(texts: pl.Series) -> pl.Series:
    """The place of each text among the different ones in order; null for null."""
    encoded = pc.dictionary_encode(texts.to_arrow(compat_level=pl.CompatLevel.oldest()))
    order = pl.Series(encoded.dictionary).arg_sort().to_numpy()
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    if encoded.null_count:
        return pl.Series(ranks).gather(pl.Series(encoded.indices))
    return pl.Series(ranks[encoded.indices.to_numpy()])
