"""Second pass of a load: parts -> the files of a generation, each bucket only when something that goes into it changed.

What was built, from what, and what became of every raw row is kept beside the tables (account.parquet: private), so
that the next load can add up the buckets it shares with this one without reading them.
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import polars as pl
import pyarrow.parquet as pq

from pipelines.lake.gather import (
    GROUPS,
    Tally,
    assemble_bucket,
    collect_reference,
    gather_bucket,
    gather_months,
    gather_reference,
    needed_by,
)
from pipelines.lake.places import Place, checksum, publish, read_parquet, remove, share
from pipelines.lake.scatter import Part, Receipt
from pipelines.lake.tasks import run
from pipelines.sources.extract import Assembly
from pipelines.sources.mhsds import DETAILS
from pipelines.sources.submissions import (
    NONE_UNSURE,
    NOTHING_SUPERSEDED,
    SUPERSEDED,
    count_emptied,
    find_superseded,
    find_unsure,
    months_of_people,
)
from pipelines.tables import REFERENCE_TABLES

ACCOUNT = "account.parquet"
EMPTIED_MONTH = "month_without_latest_submission"
ENTRIES = pl.Schema({"job": pl.String, "what": pl.String, "name": pl.String, "rule": pl.String, "n": pl.Int64})


@dataclass(frozen=True)
class Superseded:
    """Submissions that no longer count (sources.submissions), a hash of them, and how many months are empty for that
    (where the whole extract is meant, not some of its files)."""

    rows: pl.DataFrame
    digest: str
    n_emptied: int = 0


_NOTHING = Superseded(NOTHING_SUPERSEDED, "")


@dataclass(frozen=True)
class Job:
    """Tables to be built together, the parts they are built from, the submissions among those of their files that no
    longer count, and the raw files' names by place. `inputs` is a hash of all that goes in; `bucket` is None for a
    table that belongs to no person; `assembly` says how staged tables become canonical ones; `unsure` are months that
    were submitted more than once, of files whose rows may not say which time; `months` is the table `submission` where
    no header came."""

    name: str
    tables: tuple[str, ...]
    bucket: int | None
    parts: dict[str, list[Part]]
    superseded: Superseded
    files: dict[int, str]
    inputs: str
    assembly: Assembly | None = None
    unsure: pl.DataFrame = field(default_factory=NONE_UNSURE.clone)
    months: pl.DataFrame | None = None


def list_jobs(receipts: Sequence[Receipt], n_buckets: int, assembly: Assembly | None = None) -> list[Job]:
    """Everything a generation is made of."""
    names = {receipt.place: receipt.name for receipt in receipts}
    parts: dict[tuple[str, int], list[Part]] = defaultdict(list)
    for receipt in receipts:
        for part in receipt.parts:
            parts[receipt.table, part.bucket].append(part)
    if assembly is not None:
        return _list_assemblies(parts, n_buckets, assembly, names)
    headers = collect_reference("submission", parts["submission", 0], Tally())
    superseded, n_emptied = _superseded(receipts, headers, parts)
    unsure = find_unsure(headers)
    jobs = []
    for group in GROUPS:
        own = [receipt for receipt in receipts if receipt.table in group]
        old = _came_with(superseded, own)
        doubtful = _sent_in(unsure, own)
        for bucket in range(n_buckets):
            needed = {table: parts[table, bucket] for table in group}
            if any(needed.values()):
                needed |= {table: parts[table, 0] for table in needed_by(group)}
                jobs.append(_job(f"{group[0]}/{bucket:03d}", group, bucket, needed, names, old, doubtful))
    for table in [*REFERENCE_TABLES, *(name for name, detail in DETAILS.items() if not detail.by_person)]:
        needed = {table: parts[table, 0]}
        needed |= {"submission_flag": parts["submission_flag", 0]} if table == "submission" else {}
        old = _came_with(superseded, receipts, n_emptied) if table == "submission" else _NOTHING
        jobs.append(_job(table, (table,), None, needed, names, old))
    return [_without_headers(job, receipts) if job.name == "submission" else job for job in jobs]


def _without_headers(job: Job, receipts: Sequence[Receipt]) -> Job:
    """The job of the table `submission`: from the people who were sent, where no file of headers came."""
    sent = [month for receipt in receipts for month in receipt.sent]
    if any(receipt.table == "submission" for receipt in receipts) or not sent:
        return job
    months = months_of_people(sent)
    digest = blake2b(f"{job.inputs}\0{months.rows()!r}".encode(), digest_size=16).hexdigest()
    return replace(job, months=months, inputs=digest)


def _sent_in(unsure: pl.DataFrame, receipts: Sequence[Receipt]) -> pl.DataFrame:
    """Of some months those that lie between the first and the last of a file whose rows may not say more."""
    spans = [(receipt.months[0], receipt.months[-1]) for receipt in receipts if receipt.months]
    return unsure.filter(pl.any_horizontal(pl.lit(False), *(pl.col("month_id").is_between(*span) for span in spans)))


def _list_assemblies(
    parts: Mapping[tuple[str, int], list[Part]], n_buckets: int, assembly: Assembly, names: dict[int, str]
) -> list[Job]:
    """A job for every bucket that holds anybody, and one for each table that belongs to no person."""
    whole = {table: parts.get((table, 0), []) for table in assembly.references}
    jobs = []
    for bucket in range(n_buckets):
        needed = {table: parts.get((table, bucket), []) for table in assembly.tables}
        if any(needed.values()):
            name = f"{assembly.version}/{bucket:03d}"
            job = _job(name, assembly.tables, bucket, needed | whole, names)
            jobs.append(replace(job, assembly=assembly))
    singles = {table: parts.get((table, 0), []) for table in REFERENCE_TABLES} | whole
    return jobs + [_job(table, (table,), None, {table: those}, names) for table, those in singles.items()]


def build(jobs: Sequence[Job], generation: Place, before: Place | None) -> tuple[pl.DataFrame, int]:
    """Put the files of all jobs into the folder of a generation.

    Args:
        jobs: what it is made of.
        generation: folder to be filled.
        before: the generation before, if there is one, whose files are shared where their inputs are the same.

    Returns:
        The account: job, what (inputs | rows | kept | dropped | note | unsure | file), name, rule, n; and how many jobs
        it did.
    """
    old = ENTRIES.to_frame() if before is None else read_parquet(before / ACCOUNT)
    known = dict(old.filter(what="inputs").select("job", "rule").iter_rows())
    new = [job for job in jobs if known.get(job.name) != job.inputs]
    kept = old.filter(pl.col("job").is_in([job.name for job in jobs if known.get(job.name) == job.inputs]))
    if before is not None:
        run([partial(_share_files, before, generation, rows) for rows in _slices(kept.filter(what="file")["name"])])
    done = run([partial(_do, job, generation) for job in new])
    entries = [(job.name, *entry) for job, found in zip(new, done, strict=True) for entry in found]
    fresh = pl.DataFrame(entries, schema=ENTRIES, orient="row")
    return pl.concat([kept, fresh]).sort("job", "what", "name", "rule"), len(new)


def _superseded(
    receipts: Sequence[Receipt], headers: pl.DataFrame, parts: dict[tuple[str, int], list[Part]]
) -> tuple[pl.DataFrame, int]:
    """The submissions of the whole extract that no longer count, and how many months of a provider are empty for
    that."""
    seen = pl.DataFrame(
        sorted({submission for receipt in receipts for submission in receipt.submissions}), SUPERSEDED, orient="row"
    )
    if not seen.height:
        return seen, 0
    flags = collect_reference("submission_flag", parts["submission_flag", 0], Tally())
    superseded = find_superseded(seen, headers, flags)
    return superseded, count_emptied(seen, superseded)


def _came_with(submissions: pl.DataFrame, receipts: Sequence[Receipt], n_emptied: int = 0) -> Superseded:
    """Those of the submissions that rows of some files came with."""
    own = {submission for receipt in receipts for submission in receipt.submissions}
    rows = [row for row in submissions.rows() if row in own]
    digest = blake2b(repr((rows, n_emptied)).encode(), digest_size=16).hexdigest()
    return Superseded(pl.DataFrame(rows, SUPERSEDED, orient="row"), digest, n_emptied) if rows else _NOTHING


def _job(
    name: str,
    tables: Sequence[str],
    bucket: int | None,
    parts: dict[str, list[Part]],
    names: dict[int, str],
    superseded: Superseded = _NOTHING,
    unsure: pl.DataFrame = NONE_UNSURE,
) -> Job:
    digest = blake2b(f"{name}\0{superseded.digest}".encode(), digest_size=16)
    digest.update(repr(unsure.rows()).encode() if unsure.height else b"")
    for table, those in sorted(parts.items()):
        digest.update(f"\0{table}".encode())
        for part in those:
            digest.update(f"\0{names[part.place]}\0{part.content}".encode())
    files = {part.place: names[part.place] for those in parts.values() for part in those}
    return Job(name, tuple(tables), bucket, parts, superseded, files, digest.hexdigest(), unsure=unsure)


def _do(job: Job, generation: Place) -> list[tuple[str, str, str, int]]:
    """Build the files of a job, move them into place, and say what became of every row."""
    with _scratch(generation) as folder:
        if job.months is not None:
            tally = gather_months(job.months, folder)
        elif job.bucket is None:
            tally = gather_reference(job.tables[0], job.parts, job.superseded.rows, folder)
            tally.notes[EMPTIED_MONTH] += job.superseded.n_emptied
        elif job.assembly is not None:
            tally = assemble_bucket(job.assembly, job.parts, folder, job.bucket)
        else:
            tally = gather_bucket(job.tables, job.parts, job.superseded.rows, folder, job.bucket, job.unsure)
        files = []
        for made in sorted(folder.rglob("*.parquet")):
            name = made.relative_to(folder).as_posix()
            files.append((name, checksum(made), pq.read_metadata(made).num_rows))
            publish(made, generation / name)
    return [("inputs", "", job.inputs, 0), *(("file", *file) for file in files), *_entries(tally, job.files)]


def _entries(tally: Tally, files: dict[int, str]) -> Iterator[tuple[str, str, str, int]]:
    yield from (("rows", table, "", n) for table, n in tally.rows.items())
    yield from (("kept", files[place], "", n) for place, n in tally.kept.items())
    yield from (("dropped", files[place], rule, n) for (place, rule), n in tally.dropped.items())
    yield from (("unsure", table, month, n) for (table, month), n in tally.unsure.items())
    yield from (("note", rule, "", n) for rule, n in tally.notes.items() if n)


def _share_files(before: Place, generation: Place, names: Sequence[str]) -> None:
    for name in names:
        share(before / name, generation / name)


def _slices(names: pl.Series, size: int = 500) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size].to_list()


@contextmanager
def _scratch(generation: Place) -> Iterator[Path]:
    """A local folder to work in, on the same file system as a generation of this machine."""
    if isinstance(generation, Path):
        folder = generation.parent / f".work-{uuid4().hex[:12]}"
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            remove(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def add_up(account: pl.DataFrame, what: str, by: str = "name") -> Counter[str]:
    """Sums of one kind of entries, by name or rule."""
    rows = account.filter(what=what).group_by(by).agg(pl.col("n").sum())
    return Counter(dict(rows.iter_rows()))
