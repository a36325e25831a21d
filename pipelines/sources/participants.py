"""The trial's allocation list (CSV or Parquet) -> typed participants, and the rows that cannot be used.

Allocation, never MHSDS coding, defines the exposure (DOMAIN 0b.1), so a row whose arm, person, date or consent is in
doubt is set aside rather than guessed.
"""

from pathlib import Path

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable, load_aliases
from pipelines.sources.bridge import cross_bridge, follow_bridge
from pipelines.sources.csv_files import Header, look_through, read_batches, read_header
from pipelines.sources.normalise import QUARANTINE, normalise
from pipelines.sources.parquet_files import UNREADABLE, as_text, expect_types, read_schema
from pipelines.tables import PARTICIPANT


def read_participants(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Participants in the order of the file, and the quarantine.

    Returns:
        Rows as tables.PARTICIPANT, one for each person (arm_code PEER or CONTROL, consent_code Y or N); and the rows
        set aside: line (the header is line 1), reason, raw (private).

    Raises:
        SourceError: no such file, not CSV or Parquet, or columns missing (all of them named).
    """
    (layout,) = load_aliases("participants", {"participant": PARTICIPANT})
    header, raw, malformed = _read_parquet(path, layout) if path.suffix.casefold() == ".parquet" else _read_csv(path)
    _expect_columns(path, header, layout)
    result = normalise(raw, header, layout)
    rows = result.rows.sort("_line")
    again = ~rows["person_id"].is_first_distinct()
    raw_text = raw.select(line="_line", raw=pl.struct(pl.exclude("_line")).struct.json_encode())
    aside = [
        malformed,
        result.quarantined,
        result.unresolved.select(line="_line", reason=pl.lit("missing:person_id"), raw="raw"),
        rows.filter(again)
        .select(line="_line", reason=pl.lit("duplicate_person"))
        .join(raw_text, on="line", how="left", maintain_order="left"),
    ]
    return rows.filter(~again).select(PARTICIPANT.schema.names()), pl.concat(aside).sort("line")


def bridge_participants(
    listed: pl.DataFrame, quarantined: pl.DataFrame, steps: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Participants and quarantine with the pseudonyms of the lake; somebody who was listed under two of them keeps the
    first row. `steps` is the lake's table person_bridge."""
    crossed = cross_bridge(listed, follow_bridge(steps))
    again = ~crossed["person_id"].is_first_distinct()
    aside = listed.filter(again).select(
        line=pl.lit(None, pl.Int64), reason=pl.lit("duplicate_person"), raw=pl.struct(pl.all()).struct.json_encode()
    )
    return crossed.filter(~again), pl.concat([quarantined, aside])


def _expect_columns(path: Path, header: Header, layout: SourceTable) -> None:
    problems = [
        f"{path.name}: column {column.column.name} is missing; accepted names: {', '.join(column.names[0])}"
        for column in layout.missing(header)
    ]
    if problems:
        raise SourceError(problems)


def _read_csv(path: Path) -> tuple[Header, pl.DataFrame, pl.DataFrame]:
    header = read_header(path)
    empty = pl.DataFrame(schema=dict.fromkeys(header.columns, pl.String) | {"_line": pl.Int64})
    batches = [batch for piece in look_through(path).pieces for batch in read_batches(path, header, piece)]
    bad = [(line, "malformed_line", text) for batch in batches for line, text in batch.malformed]
    rows = pl.concat([empty, *(batch.rows for batch in batches)])
    return header, rows, pl.DataFrame(bad, schema=QUARANTINE, orient="row")


def _read_parquet(path: Path, layout: SourceTable) -> tuple[Header, pl.DataFrame, pl.DataFrame]:
    schema, header = read_schema(path, path.name)
    expect_types(schema, layout, header, path.name)
    needed = list(dict.fromkeys(name for column in layout.columns for name in column.headers(header)))
    try:
        table = pl.read_parquet(path, columns=[header.names[header.folded.index(name)] for name in needed], glob=False)
    except UNREADABLE as error:
        raise SourceError(f"{path.name}: cannot be read as Parquet ({type(error).__name__})") from None
    rows = [as_text(cells, path.name).alias(name) for name, cells in zip(needed, table, strict=True)]
    line = pl.int_range(2, table.height + 2, dtype=pl.Int64, eager=True).alias("_line")
    return header, pl.DataFrame([*rows, line]), pl.DataFrame(schema=QUARANTINE)
