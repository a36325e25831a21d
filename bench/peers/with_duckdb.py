"""The same work in plain DuckDB: no checks, no account.

python bench/peers/with_duckdb.py ingest CSV FOLDER BUCKETS
python bench/peers/with_duckdb.py features FOLDER INDEX.csv OUT.parquet
"""

import sys
import tempfile
import time

import duckdb
from table import NUMBERS, TEXTS, said


def ingest(source: str, folder: str, buckets: str) -> None:
    """Contacts in Parquet, a folder for each bucket of people."""
    kinds = dict.fromkeys(NUMBERS, "BIGINT") | dict.fromkeys(TEXTS, "VARCHAR") | {"CareContDate": "DATE"}
    with open(source, encoding="utf-8") as stream:
        columns = {name: kinds[name] for name in stream.readline().strip().split(",")}
    with tempfile.TemporaryDirectory() as spill, duckdb.connect() as connection:
        connection.execute(f"set memory_limit='16GB'; set preserve_insertion_order=false; set temp_directory='{spill}'")
        connection.execute(
            f"copy (select *, (hash(Person_ID) % {buckets})::int as bucket "
            f"from read_csv('{source}', header=true, columns={columns})) to '{folder}' "
            "(format parquet, partition_by (bucket), compression zstd, compression_level 1, overwrite_or_ignore true)"
        )


FEATURES = """
copy (
  with people as (
    select person_id, index_date
    from read_csv('{index}', header=true, columns={{'person_id': 'VARCHAR', 'index_date': 'DATE'}})
  ), near as (
    select person_id, date_diff('day', contact_date, index_date) as days, attendance_code, mechanism_code
    from read_parquet('{folder}/*.parquet') join people using (person_id)
    where contact_date < index_date and contact_date >= index_date - interval 365 day
  ), counted as (
    select person_id,
      count(*) as n_365,
      count(*) filter (days <= 90) as n_90,
      count(*) filter (days <= 30) as n_30,
      count(*) filter (attendance_code in ('5', '6')) as attended_365,
      count(*) filter (attendance_code in ('5', '6') and days <= 90) as attended_90,
      count(*) filter (attendance_code in ('5', '6') and days <= 30) as attended_30,
      count(*) filter (attendance_code = '3') as dna_365,
      count(*) filter (mechanism_code = '01') as face_to_face_365,
      count(*) filter (mechanism_code = '02') as telephone_365,
      min(days) as last_days
    from near group by person_id
  )
  select person_id, coalesce(n_365, 0) as n_365, coalesce(n_90, 0) as n_90, coalesce(n_30, 0) as n_30,
    coalesce(attended_365, 0) as attended_365, coalesce(attended_90, 0) as attended_90,
    coalesce(attended_30, 0) as attended_30, coalesce(dna_365, 0) as dna_365,
    coalesce(face_to_face_365, 0) as face_to_face_365, coalesce(telephone_365, 0) as telephone_365, last_days
  from people left join counted using (person_id)
) to '{out}' (format parquet, compression zstd)
"""


def features(folder: str, index: str, out: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("set memory_limit='16GB'")
        connection.execute(FEATURES.format(folder=folder, index=index, out=out))


if __name__ == "__main__":
    started = time.perf_counter()
    {"ingest": ingest, "features": features}[sys.argv[1]](*sys.argv[2:])
    said(time.perf_counter() - started, duckdb.__version__)
