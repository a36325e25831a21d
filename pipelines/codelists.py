"""configs/codelists/<name>.csv -> the codes of one clinical idea.

A list is a table `code,term` under comment lines that say what it is and where it comes from.
"""

from functools import cache
from pathlib import Path

import polars as pl

CODELISTS = Path(__file__).resolve().parents[1] / "configs" / "codelists"


@cache
def read_codelist(name: str) -> tuple[str, ...]:
    """Codes of a list, in the order of its file."""
    table = pl.read_csv(CODELISTS / f"{name}.csv", comment_prefix="#", infer_schema=False)
    assert table.columns == ["code", "term"], f"{name}.csv: columns {table.columns}"
    assert table["code"].is_unique().all(), f"{name}.csv: a code stands twice"
    return tuple(table["code"])
