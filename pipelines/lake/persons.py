"""Rows that name no person -> rows of a person, through the record number that MHS001 gives one (DOMAIN K15).

Every load looks them up again, since a month that comes later may hold the record; only the record numbers that are
needed are kept in memory.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import polars as pl

from pipelines.lake.places import Place, read_ipc, workplace
from pipelines.lake.scatter import ROWS, Parts, Receipt, read_parts

PAIR = pl.Schema({"record_id": pl.String(), "person_id": pl.String()})


def records_needed(receipts: Sequence[Receipt]) -> pl.Series:
    """Record numbers of all rows that wait for a person, each once."""
    frames = [read_ipc(aside.path) for receipt in receipts for aside in receipt.unresolved]
    records = [frame["record_id"] for frame in frames if "record_id" in frame.columns]
    return pl.concat([pl.Series("record_id", [], pl.String), *records]).drop_nulls().unique().sort()


def find_people(receipt: Receipt, needed: pl.Series) -> pl.DataFrame:
    """Of the records in `needed`, those that a file of MHS001 holds with a person: record_id, person_id, each once."""
    records = [rows.select(PAIR.names()) for rows in read_parts(receipt.parts, PAIR.names())]
    found = [rows.filter(pl.col("record_id").is_in(needed.implode())) for rows in records]
    return pl.concat([PAIR.to_frame(), *found]).unique()


def agree_on_people(found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """A person for each record: record_id, person_id; none for a record that was given to two people."""
    people = pl.concat([PAIR.to_frame(), *found]).unique()
    return people.filter(pl.len().over("record_id") == 1).sort("record_id")


def resolve_file(receipt: Receipt, people: pl.DataFrame, folder: Place, n_buckets: int) -> tuple[Receipt, pl.DataFrame]:
    """Give the waiting rows of a file the person of their record.

    Returns:
        The receipt with the parts of those that found one, written to `folder`; and the rows that stay without (line,
        reason, raw), counted in the receipt as set aside.
    """
    waiting = pl.concat(
        [read_ipc(of.path).with_columns(pl.col("_line") + of.lines_before) for of in receipt.unresolved]
    )
    if "record_id" in waiting.columns:
        waiting = waiting.drop("person_id").join(people, on="record_id", how="left", maintain_order="left")
    has_person = pl.col("person_id").is_not_null()
    columns = [name for name in waiting.columns if name not in {"raw", "person_id"}]
    resolved = waiting.filter(has_person).select("person_id", *columns)
    own = folder / f"{receipt.place:05d}"
    with workplace(own) as local:
        parts = Parts(local / ROWS, is_packed=False)
        parts.add(resolved, n_buckets)
        found = parts.close()
    lost = waiting.filter(~has_person).select(line="_line", reason=pl.lit("no_person"), raw="raw")
    persons = blake2b(resolved.hash_rows().to_numpy().tobytes(), digest_size=16).hexdigest()
    named = tuple(
        replace(
            part,
            path=own / part.path.name,
            place=receipt.place,
            content=f"{receipt.keys[0]}/{persons}/{part.bucket}",
        )
        for part in found
    )
    quarantined = receipt.quarantined + Counter(no_person=lost.height)
    return replace(receipt, parts=receipt.parts + named, unresolved=(), quarantined=quarantined), lost
