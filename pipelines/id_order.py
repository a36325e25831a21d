"""Ids become sort keys in the order in which a sender gave them out.

Choice made: of two rows of one month the one with the larger id was sent later, and ids are mostly whole numbers that
are kept as text, so 99 comes before 100. Leading zeros do not count; what is no number is compared by its length, then
as text. Without an id a row comes first.
"""

from collections.abc import Sequence

import polars as pl


def in_order(*columns: str) -> list[pl.Expr]:
    """Sort keys for columns of ids, two for each: the length without leading zeros, then the text without them, which
    for whole numbers is the order of the numbers, whatever their size. To be sorted with nulls first."""
    keys = []
    for column in columns:
        digits = pl.col(column).str.strip_chars_start("0")
        keys += [digits.str.len_bytes(), digits]
    return keys


def sort_by_id(
    frame: pl.DataFrame, by: Sequence[str | pl.Expr], ids: Sequence[str] = ("row_id", "record_id")
) -> pl.DataFrame:
    """Rows by `by` and, where equal in that, by the columns of `ids` that there are; nulls first. Rows that are equal
    in all of these stay in the order they had."""
    held = [name for name in ids if name in frame.columns]
    return frame.sort(*by, *in_order(*held), nulls_last=False, maintain_order=True)
