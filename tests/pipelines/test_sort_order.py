"""The packed order of a bucket is the one that sorting by all keys gives."""

from datetime import date
from zlib import crc32

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.lake import bucket_of
from pipelines.lake.gather import sort_order

KEYS = ("person_id", "month_id", "start_date", "end_date", "row_id")
dates = st.none() | st.dates(date(1850, 1, 1), date(2100, 1, 1))
rows = st.tuples(
    st.sampled_from(["a", "b", "B", "é", "ab", ""]),
    st.none() | st.sampled_from([-5, 0, 1402, 2**40, -(2**63), 2**63 - 1]),
    dates | st.just(date(2017, 1, 1)),
    dates | st.just(date(2017, 1, 1)),
    st.none() | st.sampled_from(["1", "10", "2"]),
)


@given(st.lists(rows, max_size=40), st.integers(1, 5))
def test_packed_order_is_the_order_of_the_keys(drawn: list[tuple[object, ...]], n_keys: int) -> None:
    schema = pl.Schema(dict(zip(KEYS, (pl.String, pl.Int64, pl.Date, pl.Date, pl.String), strict=True)))
    frame = pl.DataFrame(drawn, schema=schema, orient="row").with_row_index("_place")
    keys = KEYS[:n_keys]
    expected = frame.sort(*keys, "_place", nulls_last=True)["_place"]
    assert frame["_place"][sort_order(frame, keys)].to_list() == expected.to_list()


@given(st.lists(st.none() | st.text(max_size=6), max_size=30), st.integers(1, 4096))
def test_buckets_are_those_of_zlib(ids: list[str | None], n_buckets: int) -> None:
    found = bucket_of(pl.Series("person_id", ids, pl.String), n_buckets)
    assert found.to_list() == [None if name is None else crc32(name.encode()) % n_buckets for name in ids]


@pytest.mark.parametrize("start", [0, 3])
def test_buckets_of_a_slice_are_its_own(start: int) -> None:
    ids = pl.Series("person_id", [f"P{n}" for n in range(20)])
    assert bucket_of(ids[start:], 7).to_list() == bucket_of(ids, 7).to_list()[start:]
