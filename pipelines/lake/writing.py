"""The load: source folder -> lake, in two passes of Dask tasks; a later load does only what has changed.

    <lake>/manifest.json                the manifest of the current generation; replaced in one step, last
    <lake>/<generation>/                tables/, reference/, quarantine/, account.parquet and its own manifest.json
    <lake>/parts/                       what the first pass made of each raw file (receipts.py)

A generation is named by a hash of what goes into it, so the same extract gives the same name and the same bytes,
whether it was loaded at once or month by month. A bucket is built again only when a part of it has changed;
other files are shared with the generation before. That one is kept until the next load, for whoever has it open. A
killed load leaves the manifest, and so the lake, as it was.
"""

import fcntl
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from pipelines.errors import SourceError
from pipelines.lake.account import describe
from pipelines.lake.period import describe_period
from pipelines.lake.persons import agree_on_people, find_people, records_needed, resolve_file
from pipelines.lake.places import Place, checksum, entries, place_of, read_parquet, remove, write_parquet, write_whole
from pipelines.lake.reading import MANIFEST, Lake, open_lake, quarantine_name
from pipelines.lake.receipts import PARTS, forget_unused, read_files
from pipelines.lake.scatter import Manner, Receipt
from pipelines.lake.second_pass import ACCOUNT, Job, build, list_jobs
from pipelines.lake.tasks import run
from pipelines.sources.bridge import read_bridge
from pipelines.sources.extract import Extract, Source, examine
from pipelines.sources.normalise import QUARANTINE
from pipelines.sources.successors import expect_one_successor

BRIDGE = "bridge.arrow"


@dataclass(frozen=True)
class Work:
    """What a load had to do: raw files parsed, of how many; jobs of the second pass done, of how many."""

    n_files_parsed: int
    n_files: int
    n_jobs_done: int
    n_jobs: int


def write_lake(
    source: Path | Source, lake: str | Place, *, n_buckets: int = 16, keep_parts: bool = True, pseudonyms: str = ""
) -> Lake:
    """Load an extract, or what has changed in it since it was loaded last.

    Args:
        source: folder of raw files, or another source (an OMOP CDM).
        lake: folder to be, or any location fsspec reaches (s3://...).
        n_buckets: buckets of people; one bucket of one table must fit into memory comfortably.
        keep_parts: keep what the first pass made of each file, so that a later load parses new files only; they take
            two to three times the room of the tables.
        pseudonyms: fingerprint of the key (sources.pseudonyms) of the pseudonyms that stand for ids of people; every
            process that reads files has the key in its environment. Empty: the ids stay as they are.

    Raises:
        SourceError: files or columns are missing (all of them named), or a file cannot be read.
    """
    return update_lake(source, lake, n_buckets=n_buckets, keep_parts=keep_parts, pseudonyms=pseudonyms)[0]


def update_lake(
    source: Path | Source, lake: str | Place, *, n_buckets: int, keep_parts: bool = True, pseudonyms: str = ""
) -> tuple[Lake, Work]:
    """write_lake, and how much there was to do."""
    assert n_buckets >= 1, "a lake needs a bucket"
    extract = examine(source)
    if extract.problems:
        raise SourceError(extract.problems)
    place = place_of(lake)
    with _alone_at(place):
        expect_one_successor(extract.files)
        _clear_leftovers(place, _current(place))
        with _scratch(place) as folder:
            bridge = _write_bridge(extract, folder, pseudonyms)
            crossing = checksum(bridge) if bridge is not None else ""
            manner = Manner(n_buckets, keep_parts, bridge, crossing, pseudonyms)
            receipts, n_parsed = read_files(extract.files, place, manner)
            receipts, aside = _find_persons(receipts, folder, n_buckets)
            jobs = list_jobs(receipts, n_buckets, extract.assembly)
            n_done = _put_in_place(place, extract, receipts, aside, jobs, manner)
        forget_unused(place, {key for receipt in receipts for key in receipt.keys} if keep_parts else set())
    return open_lake(place), Work(n_parsed, len(receipts), n_done, len(jobs))


def _write_bridge(extract: Extract, folder: Place, pseudonyms: str) -> Place | None:
    """Where every worker finds what the extract's bridging files say together; None when it has none."""
    bridge = read_bridge(extract.files, pseudonyms)
    if not bridge.height:
        return None
    content = io.BytesIO()
    bridge.write_ipc(content, compat_level=pl.CompatLevel.oldest())
    write_whole(folder / BRIDGE, content.getvalue())
    return folder / BRIDGE


def _find_persons(
    receipts: list[Receipt], folder: Place, n_buckets: int
) -> tuple[list[Receipt], dict[str, list[pl.DataFrame]]]:
    """Receipts with the rows that waited for a person, and what is set aside in each file."""
    aside = {
        receipt.name: [read_parquet(of.path).with_columns(pl.col("line") + of.lines_before) for of in receipt.aside]
        for receipt in receipts
    }
    waiting = [receipt for receipt in receipts if receipt.unresolved]
    if waiting:
        needed = records_needed(waiting)
        persons = [receipt for receipt in receipts if receipt.table == "person_month"]
        people = agree_on_people(run([partial(find_people, receipt, needed) for receipt in persons]))
        resolved = run([partial(resolve_file, receipt, people, folder, n_buckets) for receipt in waiting])
        for receipt, lost in resolved:
            aside[receipt.name].append(lost)
        done = {receipt.place: receipt for receipt, _ in resolved}
        receipts = [done.get(receipt.place, receipt) for receipt in receipts]
    return receipts, {name: frames for name, frames in aside.items() if sum(frame.height for frame in frames)}


def _put_in_place(
    lake: Place,
    extract: Extract,
    receipts: list[Receipt],
    aside: dict[str, list[pl.DataFrame]],
    jobs: list[Job],
    manner: Manner,
) -> int:
    """Build the generation and make it the current one; how many jobs that took."""
    before = _current(lake)
    name = _name(extract, receipts, jobs, manner)
    if before is not None and before.name == name:
        return 0
    generation = lake / name
    account, n_done = build(jobs, generation, before)
    manifest = describe(extract, receipts, account, manner.n_buckets) | {"generation": name}
    manifest |= {"pseudonym_key": manner.pseudonyms} if manner.pseudonyms else {}
    period, notes = describe_period(generation, manifest["written"])
    manifest |= period | {"notes": dict(sorted({**manifest["notes"], **notes}.items()))}
    for file, frames in aside.items():
        path = generation / quarantine_name(file)
        rows = pl.concat(frames).sort("line", maintain_order=True)
        write_parquet(path, rows.select(pl.lit(file).alias("file"), *QUARANTINE))
        entry = {"rows": rows.height, "checksum": checksum(path)}
        manifest["written"][quarantine_name(file)] = entry
    write_parquet(generation / ACCOUNT, account)
    text = (json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    write_whole(generation / MANIFEST, text)
    write_whole(lake / MANIFEST, text)
    return n_done


def _name(extract: Extract, receipts: list[Receipt], jobs: list[Job], manner: Manner) -> str:
    """Name of a generation: a hash of everything that decides its bytes."""
    known: list[Any] = [extract.description, list(extract.ignored), manner.n_buckets, manner.pseudonyms]
    known += [(receipt.name, receipt.keys) for receipt in receipts]
    known += [(job.name, job.inputs) for job in jobs]
    digest = blake2b(json.dumps(known, sort_keys=True).encode(), digest_size=8)
    return f"generation-{digest.hexdigest()}"


def _current(lake: Place) -> Place | None:
    """The generation that readers see now; None when there is none, or none this program can go on from."""
    try:
        folder = open_lake(lake).folder
    except (SourceError, KeyError, ValueError):
        return None
    return folder if (folder / ACCOUNT).is_file() and (folder / MANIFEST).is_file() else None


def _clear_leftovers(lake: Place, current: Place | None) -> None:
    """Remove generations before the current one and what killed loads left."""
    kept = {PARTS} | ({current.name} if current is not None else set())
    for folder in entries(lake):
        if folder.name not in kept and folder.is_dir() and folder.name.startswith(("generation-", ".work-")):
            remove(folder)


@contextmanager
def _scratch(lake: Place) -> Iterator[Place]:
    """A folder for rows that found their person, where every worker sees it."""
    folder = lake / f".work-{uuid4().hex[:12]}"
    try:
        yield folder
    finally:
        remove(folder)


@contextmanager
def _alone_at(lake: Place) -> Iterator[None]:
    """Nobody else on this machine loads the same lake meanwhile. At a remote location that is the user's to ensure;
    readers are safe in any case, since the manifest is replaced last."""
    if not isinstance(lake, Path):
        yield
        return
    lake.mkdir(parents=True, exist_ok=True)
    with lake.with_name(f"{lake.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(f"{lake}: another load is writing this lake; wait until it has ended") from error
        yield
