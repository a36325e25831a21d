"""What all readers of a CDM share: which columns are read, and text rows in the form that the load expects.

Everything becomes text first, whatever type it had, and is then checked and typed in one place (sources/normalise.py):
so a wrong type in a file and in a database is the same mistake, and a CDM gives the same tables from all of them.
"""

from collections.abc import Iterator

import polars as pl

from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Batch, Header
from pipelines.sources.omop.psychiatric import roots

BATCH_ROWS = 1 << 16
CONCEPT_ANCESTOR, ANCESTOR = "concept_ancestor", "ancestor_concept_id"


def needed_columns(layout: SourceTable, header: Header) -> list[str]:
    """The headers (case-folded) of a table that are read, in order of names."""
    return sorted({name for column in layout.columns for name in column.headers(header)})


def tidy(rows: pl.DataFrame, layout: SourceTable, header: Header) -> pl.DataFrame:
    """The columns of a text batch that are read, and `_line`; numbers that went through a table with empty cells
    ("8507.0") as whole ones; of concept_ancestor only what is below the concepts asked for."""
    whole = {
        name: pl.col(name).str.replace(r"^\s*(-?\d+)\.0+\s*$", "$1")
        for name in needed_columns(layout, header)
        if name.endswith(("_id", "_of_birth"))
    }
    kept = rows.select(*needed_columns(layout, header), "_line").with_columns(**whole)
    if layout.names[0] != CONCEPT_ANCESTOR:
        return kept
    return kept.filter(pl.col(ANCESTOR).is_in([str(concept) for concept in roots()]))


def text_batches(frames: Iterator[pl.DataFrame], layout: SourceTable, header: Header) -> Iterator[Batch]:
    """Batches of frames whose cells are text already, with `_line`."""
    for frame in frames:
        yield Batch(tidy(frame, layout, header), (), {})
