"""Text rows of a raw file -> typed canonical rows, and the rows that cannot be used, each with its reason.

Values are trimmed; nothing and '<...>' placeholders are null; codes are upper case; a date is read in whichever
accepted format its shape says, so a file that mixes formats is read value by value; of a timestamp the date is kept.
What cannot be read empties an optional cell (counted) and sets a row aside where the column is required. 1900
placeholders stay: what they mean depends on the column, and is decided where stays are built (DOMAIN K6).
"""

from dataclasses import dataclass

import polars as pl

from pipelines.sources.aliases import SourceColumn, SourceTable
from pipelines.sources.csv_files import Header
from pipelines.tables import POLARS_TYPE

# A format is only tried on text of its shape: strptime alone would read '01/02/16' as the year 16.
_DATE_SHAPE = {"%Y-%m-%d": r"^\d{4}-\d{2}-\d{2}(?:[ T]|$)", "%d/%m/%Y": r"^\d{2}/\d{2}/\d{4}(?: |$)"}
_DATE_CHARACTERS = 10
QUARANTINE = pl.Schema({"line": pl.Int64(), "reason": pl.String(), "raw": pl.String()})


@dataclass(frozen=True)
class Normalised:
    """`rows`: canonical columns, carried columns, `_line`, `_raw` (hash of the whole raw row); `unresolved`: the same
    with `_text` (the raw row), for rows without a person; `quarantined`: line, reason, raw; `nulled`: cells emptied, by rule."""

    rows: pl.DataFrame
    unresolved: pl.DataFrame
    quarantined: pl.DataFrame
    nulled: dict[str, int]


def normalise(raw: pl.DataFrame, header: Header, layout: SourceTable) -> Normalised:
    """One batch of a raw file in canonical form."""
    texts = _tidy_texts(raw, header, layout)
    typed = texts.select("_line", "_raw", *_canonical(header, layout))
    nulled = _count_emptied(texts, header, layout)
    judged = typed.with_columns(_reason=_first_fault(header, layout, texts))
    person = "person_id" in layout.target.schema
    is_fault = pl.col("_reason").is_not_null()
    is_unresolved = ~is_fault & (pl.col("person_id").is_null() if person else pl.lit(False))
    apart = judged.filter(is_fault | is_unresolved).join(raw_text(raw, header), on="_line", how="left", maintain_order="left")
    return Normalised(
        rows=judged.filter(~is_fault & ~is_unresolved).drop("_reason"),
        unresolved=apart.filter(is_unresolved).drop("_reason"),
        quarantined=apart.filter(is_fault).select(line="_line", reason="_reason", raw="_text"),
        nulled=nulled,
    )
