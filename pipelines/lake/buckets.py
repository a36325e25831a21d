"""A person's pseudonym -> the bucket that holds everything about the person.

CRC-32 of the UTF-8 bytes, modulo the number of buckets: the same in every version of every library, unlike Polars'
own hash.
"""

from typing import TypeVar
from zlib import crc32

import numpy as np
import polars as pl

Ids = TypeVar("Ids", pl.Series, pl.Expr)

_POLYNOMIAL = np.uint32(0xEDB88320)
_LOW, _BYTE = np.uint32(0xFF), np.uint32(8)
_AT_ONCE = 1 << 14  # as many as the processor keeps at hand


def _table() -> np.ndarray:
    entries = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        entries = np.where(entries & 1, (entries >> np.uint32(1)) ^ _POLYNOMIAL, entries >> np.uint32(1))
    return entries


_TABLE = _table()


def bucket_of(person_id: Ids, n_buckets: int) -> Ids:
    """Bucket (Int32, 0 to n_buckets - 1) of each person id; null for null."""
    if isinstance(person_id, pl.Expr):
        return person_id.map_batches(lambda ids: bucket_of(ids, n_buckets), return_dtype=pl.Int32)
    buckets = pl.Series(person_id.name, (_crc32(person_id) % np.uint32(n_buckets)).astype(np.int32))
    return buckets.set(person_id.is_null(), None) if person_id.null_count() else buckets


def _crc32(ids: pl.Series) -> np.ndarray:
    """CRC-32 of each text (anything for null): byte by byte over all texts of one length at a time."""
    array = ids.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, text = array.buffers()
    if text is None:
        return np.full(len(array), crc32(b""), np.uint32)
    starts = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    lengths = np.diff(starts)
    letters = np.frombuffer(text, np.uint8)
    if len(array) and lengths.min() == lengths.max() > 0:
        return _crc32_of_rows(letters[starts[0] : starts[-1]].reshape(len(array), -1))
    sums = np.full(len(array), crc32(b""), np.uint32)
    for length in np.unique(lengths[lengths > 0]):
        windows = np.lib.stride_tricks.sliding_window_view(letters, length)
        places = np.flatnonzero(lengths == length)
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            sums[some] = _crc32_of_rows(windows[starts[some]])
    return sums


def _crc32_of_rows(rows: np.ndarray) -> np.ndarray:
    """CRC-32 of each row of bytes. The checksum is linear: that of zeros, and what each byte adds at its place."""
    length = rows.shape[1]
    sums, added = np.full(len(rows), crc32(bytes(length)), np.uint32), _TABLE
    for place in reversed(range(length)):
        sums ^= np.take(added, rows[:, place])
        added = _TABLE[added & _LOW] ^ (added >> _BYTE)  # by a byte with one more after it
    return sums
