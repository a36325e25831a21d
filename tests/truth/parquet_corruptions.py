"""Ways in which a Parquet file is spoiled: other types, nested types, columns gone or renamed, rows changed."""

import io
import random
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.truth.corruptions import Files, Reach

Cells = Callable[[list[Any]], Any]


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell)


TYPES: dict[str, tuple[Reach, Callable[[list[Any]], pa.Array]]] = {
    "text": (Reach.NOBODY, lambda cells: pa.array([_text(cell) for cell in cells], pa.string())),
    "large text": (Reach.NOBODY, lambda cells: pa.array([_text(cell) for cell in cells], pa.large_string())),
    "dictionary": (Reach.NOBODY, lambda cells: pa.array([_text(c) for c in cells], pa.string()).dictionary_encode()),
    "text view": (Reach.NOBODY, lambda cells: pa.array([_text(cell) for cell in cells], pa.string_view())),
    "bytes": (
        Reach.NOBODY,
        lambda cells: pa.array([None if c is None else str(c).encode() for c in cells], pa.binary()),
    ),
    "odd bytes": (Reach.UNSEEN, lambda cells: pa.array([b"\xff\xfe" for _ in cells], pa.binary())),
    "nothing": (Reach.UNSEEN, lambda cells: pa.nulls(len(cells))),
    "list": (Reach.FILE, lambda cells: pa.array([[_text(cell)] for cell in cells])),
    "struct": (Reach.FILE, lambda cells: pa.array([{"a": _text(cell)} for cell in cells])),
    "map": (Reach.FILE, lambda cells: pa.array([[("a", 1)] for _ in cells], pa.map_(pa.string(), pa.int64()))),
    "truth": (Reach.FILE, lambda cells: pa.array([True for _ in cells])),
    "float": (Reach.UNSEEN, lambda cells: pa.array([float(place) for place in range(len(cells))])),
    "odd float": (
        Reach.UNSEEN,
        lambda cells: pa.array([(1e300, float("nan"), float("inf"))[n % 3] for n in range(len(cells))]),
    ),
    "half float": (Reach.UNSEEN, lambda cells: pa.array([1.5] * len(cells), pa.float32()).cast(pa.float16())),
    "unsigned": (Reach.UNSEEN, lambda cells: pa.array([2**64 - 1] * len(cells), pa.uint64())),
    "decimal": (Reach.UNSEEN, lambda cells: pa.array([Decimal("1.50")] * len(cells))),
    "wide decimal": (Reach.UNSEEN, lambda cells: pa.array([Decimal(10) ** 60] * len(cells), pa.decimal256(70, 2))),
    "time": (Reach.FILE, lambda cells: pa.array([time(1, 2)] * len(cells))),
    "duration": (Reach.FILE, lambda cells: pa.array([timedelta(1)] * len(cells))),
    "moment": (Reach.UNSEEN, lambda cells: pa.array([datetime(2017, 1, 1, tzinfo=UTC)] * len(cells))),
    "late moment": (Reach.UNSEEN, lambda cells: pa.array([datetime(9999, 1, 1)] * len(cells), pa.timestamp("us"))),
    "number of date": (Reach.UNSEEN, lambda cells: pa.array([2**31 - 1] * len(cells), pa.int32()).cast(pa.date32())),
}


def spoil_parquet(rng: random.Random, files: Files, name: str) -> set[str] | None:
    """Change a Parquet file; the people touched where that is known (rows changed), else None."""
    table = pq.read_table(io.BytesIO(files.contents[name]))
    how = rng.choice(
        ("type", "type", "type", "row", "row", "repeat", "drop", "rename", "twice", "case", "none", "wide")
    )
    touched: set[str] | None = None
    reach = Reach.FILE
    place = rng.randrange(table.num_columns)
    column = table.column_names[place]
    if how == "type":
        kind = rng.choice(list(TYPES))
        reach, cast = TYPES[kind]
        table = table.set_column(place, column, cast(table.column(place).to_pylist()))
        how = f"type {kind} of {column}"
    elif how == "row":
        table, touched = _change_rows(rng, table, place)
        reach = Reach.LINES
    elif how == "repeat":
        table = pa.concat_tables([table, table.slice(rng.randrange(table.num_rows), 2)])
        reach = Reach.NOBODY
    elif how == "drop":
        table = table.remove_column(place)
    elif how == "rename":
        table = table.rename_columns(
            [*table.column_names[:place], rng.choice(("x", "", "é", "a\0b")), *table.column_names[place + 1 :]]
        )
    elif how == "twice":
        table = table.append_column(rng.choice((column, column.upper())), table.column(rng.randrange(place + 1)))
    elif how == "case":
        table = table.rename_columns([other.upper() for other in table.column_names])
        reach = Reach.NOBODY
    elif how == "none":
        table = table.slice(0, 0)
    else:
        table = table.append_column("nested", pa.array([[{"a": [1]}]] * table.num_rows))
        reach = Reach.NOBODY
    written = io.BytesIO()
    codec = rng.choice(("snappy", "zstd", "gzip", "none", "brotli", "lz4"))
    pq.write_table(table, written, compression=codec, row_group_size=rng.choice((3, 1000)))
    files.contents[name] = written.getvalue()
    files.reach(name, reach)
    files.done.append(f"parquet {name}: {how}")
    return touched


def _change_rows(rng: random.Random, table: pa.Table, place: int) -> tuple[pa.Table, set[str]]:
    """A cell of another row or none, in one or two rows of a column."""
    cells = table.column(place).to_pylist()
    people = table.column("person_id").to_pylist() if "person_id" in table.column_names else [None] * len(cells)
    touched = set()
    for _ in range(rng.choice((1, 2))):
        row = rng.randrange(len(cells))
        value = rng.choice((None, rng.choice(cells)))
        if table.column_names[place] == "person_id":
            touched |= {str(value)}
        touched |= {str(people[row])}
        cells[row] = value
    changed = pa.array(cells, table.schema.field(place).type)
    return table.set_column(place, table.column_names[place], changed), touched


def read_rows(content: bytes) -> int:
    return int(pq.ParquetFile(io.BytesIO(content)).metadata.num_rows)
