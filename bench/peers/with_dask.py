"""The same work in plain dask.dataframe: no checks, no account.

python bench/peers/with_dask.py ingest CSV FOLDER BUCKETS
python bench/peers/with_dask.py features FOLDER INDEX.csv OUT.parquet
"""

import sys
import tempfile
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
from table import NUMBERS, TEXTS, said

COUNTS = (
    "n_365 n_90 n_30 attended_365 attended_90 attended_30 dna_365 face_to_face_365 telephone_365".split()  # noqa: SIM905
)


def ingest(source: str, folder: str, buckets: str) -> None:
    """Contacts in Parquet, a file for each bucket of people."""
    kinds = dict.fromkeys(NUMBERS, "int64") | dict.fromkeys(TEXTS, "string[pyarrow]")
    with tempfile.TemporaryDirectory() as spill, dask.config.set({"temporary-directory": spill}):
        rows = dd.read_csv(source, blocksize="64MB", dtype=kinds, parse_dates=["CareContDate"], date_format="%Y-%m-%d")
        by_person = rows.shuffle(on="Person_ID", npartitions=int(buckets))
        by_person.to_parquet(folder, compression="zstd", compression_level=1, write_index=False)


def features(folder: str, index: str, out: str) -> None:
    people = pd.read_csv(index, dtype={"person_id": "string[pyarrow]"}, parse_dates=["index_date"])
    columns = ["person_id", "contact_date", "attendance_code", "mechanism_code"]
    rows = dd.read_parquet(sorted(str(path) for path in Path(folder).glob("*.parquet")), columns=columns)
    empty = pd.DataFrame({"person_id": pd.Series(dtype="string[pyarrow]"), **dict.fromkeys(COUNTS, 0)}).head(0)
    empty = empty.astype(dict.fromkeys(COUNTS, "int64") | {"last_days": "int64"} if "last_days" in empty else {})
    empty["last_days"] = pd.Series(dtype="int64")
    near = rows.map_partitions(_near, people, meta=empty)
    steps = dict.fromkeys(COUNTS, "sum") | {"last_days": "min"}
    counted = near.groupby("person_id").agg(steps, split_out=8).compute().reset_index()
    found = people[["person_id"]].merge(counted, on="person_id", how="left")
    found[COUNTS] = found[COUNTS].fillna(0).astype("int64")
    found.to_parquet(out, index=False)


def _near(rows: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    joined = rows.merge(people, on="person_id")
    days = (joined["index_date"] - pd.to_datetime(joined["contact_date"])).dt.days
    joined, days = joined[(days > 0) & (days <= 365)], days[(days > 0) & (days <= 365)]
    attended = joined["attendance_code"].isin(["5", "6"])
    counts = {
        "n_365": days > 0,
        "n_90": days <= 90,
        "n_30": days <= 30,
        "attended_365": attended,
        "attended_90": attended & (days <= 90),
        "attended_30": attended & (days <= 30),
        "dna_365": joined["attendance_code"] == "3",
        "face_to_face_365": joined["mechanism_code"] == "01",
        "telephone_365": joined["mechanism_code"] == "02",
    }
    frame = pd.DataFrame({name: rows.fillna(False).astype("int64") for name, rows in counts.items()})
    return frame.assign(person_id=joined["person_id"], last_days=days)[["person_id", *COUNTS, "last_days"]]


if __name__ == "__main__":
    started = time.perf_counter()
    {"ingest": ingest, "features": features}[sys.argv[1]](*sys.argv[2:])
    said(time.perf_counter() - started, dask.__version__)
