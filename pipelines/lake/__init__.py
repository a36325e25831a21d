"""Raw extract folder -> canonical tables in Parquet, bucketed by a hash of the person, with manifest and quarantine.

    <lake>/manifest.json                                     what was read, kept, dropped and set aside, file by file
    <lake>/<generation>/tables/<table>/bucket-000.parquet    everything of the people of a bucket, sorted
    <lake>/<generation>/reference/<table>.parquet            small tables that belong to no person
    <lake>/<generation>/quarantine/<file>.parquet            rows that cannot be used: file, line, reason, raw (private)

There is one shuffle, at ingest; every later question about a person is answered inside one bucket (DESIGN 2). The
manifest names the generation that is current; a newer one takes its place in one step.
"""

from pipelines.lake.buckets import bucket_of
from pipelines.lake.reading import Lake, find_damage, open_lake
from pipelines.lake.writing import update_lake, write_lake
from pipelines.sources.extract import check_source, fingerprint_source, problems_of_study

__all__ = [
    "Lake",
    "bucket_of",
    "check_source",
    "find_damage",
    "fingerprint_source",
    "open_lake",
    "problems_of_study",
    "update_lake",
    "write_lake",
]
