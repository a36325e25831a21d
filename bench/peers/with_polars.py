"""The same work in plain Polars: no checks, no account.

python bench/peers/with_polars.py ingest|plain CSV FOLDER BUCKETS
python bench/peers/with_polars.py features FOLDER INDEX.csv OUT.parquet
"""

import sys
import time
from pathlib import Path

import polars as pl
from table import NUMBERS, TEXTS, said

COLUMN = pl.col


def ingest(source: str, folder: str, buckets: str) -> None:
    """Contacts in Parquet, a file (or several) for each bucket of people."""
    by_bucket = _scan(source).with_columns(bucket=(COLUMN("Person_ID").hash(0) % int(buckets)).cast(pl.Int32))
    target = pl.PartitionBy(folder, key="bucket", include_key=False)
    by_bucket.sink_parquet(target, compression="zstd", compression_level=1, mkdir=True)


def plain(source: str, folder: str, buckets: str) -> None:
    """The floor: one pass from text to one Parquet file, nobody's rows together."""
    path = Path(folder) / "contacts.parquet"
    _scan(source).sink_parquet(path, compression="zstd", compression_level=1, mkdir=True)


def _scan(source: str) -> pl.LazyFrame:
    schema = dict.fromkeys(NUMBERS, pl.Int64()) | dict.fromkeys(TEXTS, pl.String()) | {"CareContDate": pl.String()}
    columns = pl.scan_csv(source, n_rows=0).collect_schema().names()
    rows = pl.scan_csv(source, schema={name: schema[name] for name in columns})
    return rows.with_columns(COLUMN("CareContDate").str.to_date("%Y-%m-%d"))


def features(folder: str, index: str, out: str) -> None:
    people = pl.scan_csv(index, schema={"person_id": pl.String(), "index_date": pl.String()})
    people = people.with_columns(COLUMN("index_date").str.to_date("%Y-%m-%d"))
    days = (COLUMN("index_date") - COLUMN("contact_date")).dt.total_days().alias("days")
    contacts = pl.scan_parquet(f"{folder}/*.parquet").select(
        "person_id", "contact_date", "attendance_code", "mechanism_code"
    )
    near = contacts.join(people, on="person_id").with_columns(days).filter(COLUMN("days").is_between(1, 365))
    attended, in_90, in_30 = COLUMN("attendance_code").is_in(["5", "6"]), COLUMN("days") <= 90, COLUMN("days") <= 30

    def count(rows: pl.Expr) -> pl.Expr:
        return rows.sum().cast(pl.Int64)

    counted = near.group_by("person_id").agg(
        n_365=pl.len().cast(pl.Int64),
        n_90=count(in_90),
        n_30=count(in_30),
        attended_365=count(attended),
        attended_90=count(attended & in_90),
        attended_30=count(attended & in_30),
        dna_365=count(COLUMN("attendance_code") == "3"),
        face_to_face_365=count(COLUMN("mechanism_code") == "01"),
        telephone_365=count(COLUMN("mechanism_code") == "02"),
        last_days=COLUMN("days").min(),
    )
    found = people.select("person_id").join(counted, on="person_id", how="left")
    found.with_columns(pl.exclude("person_id", "last_days").fill_null(0)).collect().write_parquet(out)


if __name__ == "__main__":
    started = time.perf_counter()
    {"ingest": ingest, "plain": plain, "features": features}[sys.argv[1]](*sys.argv[2:])
    said(time.perf_counter() - started, pl.__version__)
