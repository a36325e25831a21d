"""The same work as this project does it. `ingest` is a load as any other: every check, every row accounted for.
`features` is the peers' query, bucket by bucket through the lake's own reading, as covariates are measured.

python bench/peers/with_this.py ingest CSV FOLDER BUCKETS      (CSV lies in a folder in MHSDS layout)
python bench/peers/with_this.py features LAKE INDEX.csv OUT.parquet
"""

import os
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

from flows.settings import LIBRARY_SETTINGS, read_settings

os.environ.update(LIBRARY_SETTINGS)  # as the command does, before anything heavy is imported

import dask
import polars as pl
from table import said

from pipelines.lake import Lake, bucket_of, open_lake, write_lake
from pipelines.lake.tasks import run

DAYS = pl.col("days")


def ingest(source: str, folder: str, buckets: str) -> None:
    write_lake(Path(source).parent, folder, n_buckets=int(buckets), keep_parts=False)


def ingest_to_go_on(source: str, folder: str, buckets: str) -> None:
    """As `ingest`, and what a later load of the next month goes on from is kept."""
    write_lake(Path(source).parent, folder, n_buckets=int(buckets))


def features(folder: str, index: str, out: str) -> None:
    """Bucket by bucket, as the covariates are measured."""
    lake = open_lake(folder)
    people = pl.read_csv(index, schema={"person_id": pl.String(), "index_date": pl.Date()})
    people = people.with_columns(bucket=bucket_of(people["person_id"], lake.n_buckets))
    groups = people.partition_by("bucket", as_dict=True, include_key=False)
    found = run([partial(count_before, lake, int(bucket), group) for (bucket,), group in groups.items()])
    pl.concat(found).write_parquet(out)


def count_before(lake: Lake, bucket: int, people: pl.DataFrame) -> pl.DataFrame:
    """Look-back counts of the people of one bucket, 0 where there was no contact. A bucket is sorted by person, so that
    each person is a run of rows and is looked up once."""
    contact = lake.read_bucket(bucket, "contact", ["person_id", "contact_date", "attendance_code", "mechanism_code"])
    run_of_row = contact["person_id"].rle_id()
    whose = contact.filter(run_of_row.is_first_distinct()).select("person_id")
    whose = whose.join(people, on="person_id", how="left", maintain_order="left")
    index_date = whose["index_date"].gather(run_of_row)
    attended, in_90, in_30 = pl.col("attendance_code").is_in(["5", "6"]), DAYS <= 90, DAYS <= 30
    counted = (
        contact.lazy()
        .with_columns(run=run_of_row, days=(index_date - pl.col("contact_date")).dt.total_days())
        .filter(DAYS.is_between(1, 365))
        .group_by("run")
        .agg(
            n_365=pl.len().cast(pl.Int64),
            n_90=in_90.sum().cast(pl.Int64),
            n_30=in_30.sum().cast(pl.Int64),
            attended_365=attended.sum().cast(pl.Int64),
            attended_90=(attended & in_90).sum().cast(pl.Int64),
            attended_30=(attended & in_30).sum().cast(pl.Int64),
            dna_365=(pl.col("attendance_code") == "3").sum().cast(pl.Int64),
            face_to_face_365=(pl.col("mechanism_code") == "01").sum().cast(pl.Int64),
            telephone_365=(pl.col("mechanism_code") == "02").sum().cast(pl.Int64),
            last_days=DAYS.min(),
        )
        .collect()
    )
    counted = counted.with_columns(person_id=whose["person_id"].gather(counted["run"])).drop("run")
    joined = people.select("person_id").join(counted, on="person_id", how="left")
    return joined.with_columns(pl.exclude("person_id", "last_days").fill_null(0))


if __name__ == "__main__":
    started = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=read_settings().workers):
        {"ingest": ingest, "ingest_to_go_on": ingest_to_go_on, "features": features}[sys.argv[1]](*sys.argv[2:])
    said(time.perf_counter() - started, version("virtual-controls"))
