"""A lake on disk -> typed frames, one bucket of people at a time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.errors import SourceError
from pipelines.tables import TABLES

MANIFEST = "manifest.json"
FORMAT = 1  # of the lake folder; a lake of another format is built again, never guessed at


@dataclass(frozen=True)
class Lake:
    """Canonical tables of one extract. `period_end` and `last_month_id`: the last month that anybody submitted."""

    folder: Path
    n_buckets: int
    period_end: date
    last_month_id: int

    def read_bucket(self, bucket: int, table: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Rows of one person table in one bucket, sorted by person, month, dates and row id.

        All canonical columns, or `columns`, typed; empty where the extract has no such table.
        """
        assert TABLES[table].by_person, f"{table} is a reference table"
        assert 0 <= bucket < self.n_buckets, f"bucket {bucket} of {self.n_buckets}"
        return _read(bucket_path(self.folder, table, bucket), table, columns)

    def read_reference(self, table: str) -> pl.DataFrame:
        """A reference table whole, typed; empty where the extract has no such table."""
        assert not TABLES[table].by_person, f"{table} is bucketed by person"
        return _read(reference_path(self.folder, table), table, None)

    def has(self, table: str) -> bool:
        """Whether the extract came with this table (it may still hold no rows)."""
        return table in self.manifest["tables"]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The account of the load: files, reasons, checksums, rows of each table."""
        content: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        return content


def open_lake(folder: Path) -> Lake:
    """A finished lake.

    Raises:
        SourceError: there is no lake, or it was written by another version of this program.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SourceError(f"{folder}: no lake here (no {MANIFEST}); ingest the extract first")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise SourceError(
            f"{folder}: a lake of format {manifest.get('format')}, not {FORMAT}; ingest the extract again"
        )
    return Lake(
        folder=folder,
        n_buckets=manifest["n_buckets"],
        period_end=date.fromisoformat(manifest["period_end"]),
        last_month_id=manifest["last_month_id"],
    )


def bucket_path(folder: Path, table: str, bucket: int) -> Path:
    return folder / "tables" / table / f"bucket-{bucket:03d}.parquet"


def reference_path(folder: Path, table: str) -> Path:
    return folder / "reference" / f"{table}.parquet"


def _read(path: Path, table: str, columns: Sequence[str] | None) -> pl.DataFrame:
    if path.is_file():
        return pl.read_parquet(path, columns=list(columns) if columns is not None else None, glob=False)
    empty = TABLES[table].empty()
    return empty.select(columns) if columns is not None else empty
