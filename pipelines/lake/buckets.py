"""A person's pseudonym -> the bucket that holds everything about the person.

CRC-32 of the UTF-8 bytes, modulo the number of buckets: the same in every version of every library, unlike Polars'
own hash. It is computed once for each distinct id.
"""

from typing import TypeVar
from zlib import crc32

import polars as pl

Ids = TypeVar("Ids", pl.Series, pl.Expr)


def bucket_of(person_id: Ids, n_buckets: int) -> Ids:
    """Bucket (Int32, 0 to n_buckets - 1) of each person id; null for null."""
    if isinstance(person_id, pl.Expr):
        return person_id.map_batches(lambda ids: bucket_of(ids, n_buckets), return_dtype=pl.Int32)
    ids = person_id.drop_nulls().unique()
    buckets = pl.Series([crc32(name.encode()) % n_buckets for name in ids.to_list()], dtype=pl.Int32)
    return person_id.replace_strict(ids, buckets, default=None, return_dtype=pl.Int32)
