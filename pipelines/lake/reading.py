"""A lake on disk, or at any location fsspec reaches -> typed frames, one bucket of people at a time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from hashlib import blake2b
from typing import Any

import polars as pl

from pipelines.errors import SourceError
from pipelines.lake.places import Place, checksum, place_of, read_parquet
from pipelines.sources.submissions import believe_dates
from pipelines.tables import TABLES

MANIFEST = "manifest.json"
LONGEST_NAME = 200  # bytes of a raw file's name; with what is added to it, a file system takes 255
FORMAT = 3  # of the lake folder; a lake of another format is built again, never guessed at


@dataclass(frozen=True)
class Lake:
    """Canonical tables of one extract. `folder` is the generation that was current when the lake was opened: it stays
    as it is while a newer one is loaded. `period_end` and `last_month_id`: the last month that anybody submitted."""

    folder: Place
    n_buckets: int
    period_end: date
    last_month_id: int

    def read_bucket(self, bucket: int, table: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows of one person table in one bucket, sorted by person, month, dates and row id.

        All canonical columns, or `columns`, typed; empty where the extract has no such table.
        """
        assert TABLES[table].by_person, f"{table} is a reference table"
        assert 0 <= bucket < self.n_buckets, f"bucket {bucket} of {self.n_buckets}"
        return self._read(bucket_name(table, bucket), table, columns)

    def read_reference(self, table: str) -> pl.DataFrame:
        """A reference table whole, typed; empty where the extract has no such table."""
        assert not TABLES[table].by_person, f"{table} is bucketed by person"
        return self._read(reference_name(table), table, None)

    def has(self, table: str) -> bool:
        """Whether the extract came with this table (it may still hold no rows)."""
        return table in self.manifest["tables"]

    @cached_property
    def submissions(self) -> pl.DataFrame:
        """The rows of the table `submission` that are believed (pipelines.lake.period), with dates that are."""
        rows, first = self.read_reference("submission"), self.manifest["first_month_id"]
        if first is None:
            return rows
        return believe_dates(rows.filter(pl.col("month_id").is_between(first, self.last_month_id)))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The account of the load: files, reasons, checksums, rows of each table."""
        return _read_manifest(self.folder)

    def _read(self, name: str, table: str, columns: Sequence[str] | None) -> pl.DataFrame:
        if name in self.manifest["written"]:
            try:
                return read_parquet(self.folder / name, columns)
            except FileNotFoundError:
                raise SourceError(f"{self.folder / name}: is gone; two later loads have replaced this lake") from None
        empty = TABLES[table].empty()
        return empty.select(columns) if columns is not None else empty


def open_lake(location: str | Place) -> Lake:
    """The current generation of a finished lake, or the one generation whose folder is given.

    Raises:
        SourceError: there is no lake, or it was written by another version of this program.
    """
    place = place_of(location)
    manifest = _read_manifest(place)
    is_generation = place.name == manifest["generation"]
    return Lake(
        folder=place if is_generation else place / manifest["generation"],
        n_buckets=manifest["n_buckets"],
        period_end=date.fromisoformat(manifest["period_end"]),
        last_month_id=manifest["last_month_id"],
    )


def find_damage(lake: Lake) -> list[str]:
    """Names of the files of a lake that are gone or hold other bytes than were written; reads every byte."""
    written = lake.manifest["written"]
    return [name for name, facts in sorted(written.items()) if not _is_whole(lake.folder / name, facts["checksum"])]


def _is_whole(place: Place, written: str) -> bool:
    try:
        return checksum(place) == written
    except FileNotFoundError:
        return False


def bucket_name(table: str, bucket: int) -> str:
    """Where a bucket of a person table lies within a generation."""
    return f"tables/{table}/bucket-{bucket:03d}.parquet"


def reference_name(table: str) -> str:
    """Where a reference table lies within a generation."""
    return f"reference/{table}.parquet"


def quarantine_name(file: str) -> str:
    """Where the rows of a raw file that were set aside lie within a generation."""
    short = (
        file
        if len(file.encode()) <= LONGEST_NAME
        else f"{file[:20]}-{blake2b(file.encode(), digest_size=8).hexdigest()}"
    )
    return f"quarantine/{short}.parquet"


def _read_manifest(place: Place) -> dict[str, Any]:
    path = place / MANIFEST
    if not path.is_file():
        raise SourceError(f"{place}: no lake here (no {MANIFEST}); ingest the extract first")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise SourceError(f"{place}: a lake of format {manifest.get('format')}, not {FORMAT}; ingest the extract again")
    return manifest
