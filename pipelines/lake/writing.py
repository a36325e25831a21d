"""The load: source folder -> lake, in two passes of Dask tasks, all or nothing.

Everything is built in a folder beside the lake and moved into place when it is complete and its account balances; what
a killed load left behind is removed by the next one. The tasks are plain `dask.delayed`: they run on threads, or on
whatever scheduler is active, which must then see the same folders.
"""

import fcntl
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from dask.base import compute
from dask.delayed import delayed

from pipelines.errors import SourceError
from pipelines.lake.gather import GROUPS, Tally, gather_bucket, gather_reference
from pipelines.lake.period import last_reported
from pipelines.lake.reading import FORMAT, MANIFEST, Lake, open_lake
from pipelines.lake.scatter import (
    Part,
    Receipt,
    agree_on_people,
    find_people,
    records_needed,
    resolve_file,
    scatter_file,
)
from pipelines.sources.extract import Extract, aliases_version, examine, fingerprint
from pipelines.sources.mhsds import DETAILS
from pipelines.tables import REFERENCE_TABLES, TABLES

Result = TypeVar("Result")


def write_lake(source: Path, lake: Path, *, n_buckets: int = 16) -> Lake:
    """Load an extract; an older lake of that name is replaced once the new one is whole.

    Args:
        source: folder of raw files.
        lake: folder to be.
        n_buckets: buckets of people; one bucket of one table must fit into memory comfortably.

    Raises:
        SourceError: files or columns are missing (all of them named), or a file cannot be read.
    """
    assert n_buckets >= 1, "a lake needs a bucket"
    extract = examine(source)
    if extract.problems:
        raise SourceError(extract.problems)
    with _building(lake) as building:
        receipts = _scatter(extract, building, n_buckets)
        tally = _gather(receipts, building, n_buckets)
        shutil.rmtree(building / "parts")
        manifest = _account(extract, receipts, tally, building, n_buckets)
        text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (building / MANIFEST).write_text(text, encoding="utf-8")
    return open_lake(lake)


def _run(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run calls as Dask tasks. Arguments travel inside the call: Dask would search every record in them for tasks.

    Raises:
        SourceError: with the problems of all calls that found any.
    """
    tasks = [delayed(partial(_catch_problems, call), pure=False, traverse=False)() for call in calls]
    results = list(compute(*tasks))
    problems = [problem for _, found in results for problem in found]
    if problems:
        raise SourceError(problems)
    return [result for result, _ in results]


def _catch_problems(call: Callable[[], Result]) -> tuple[Result | None, list[str]]:
    try:
        return call(), []
    except SourceError as error:
        return None, error.problems


def _scatter(extract: Extract, building: Path, n_buckets: int) -> list[Receipt]:
    """First pass, then the rows that waited for a person. The largest files go first, so that none is left to last."""
    (building / "parts").mkdir()
    order = sorted(range(len(extract.files)), key=lambda place: -extract.files[place].path.stat().st_size)
    receipts = _run([partial(scatter_file, extract.files[place], place, building, n_buckets) for place in order])
    waiting = [receipt for receipt in receipts if receipt.unresolved]
    if waiting:
        needed = records_needed(waiting)
        persons = [receipt for receipt in receipts if receipt.table == "person_month"]
        people = agree_on_people(_run([partial(find_people, receipt, needed) for receipt in persons]))
        resolved = _run([partial(resolve_file, receipt, people, building, n_buckets) for receipt in waiting])
        receipts = [receipt for receipt in receipts if not receipt.unresolved] + resolved
    return sorted(receipts, key=lambda receipt: receipt.place)


def _gather(receipts: Sequence[Receipt], building: Path, n_buckets: int) -> Tally:
    parts: dict[tuple[str, int], list[Part]] = defaultdict(list)
    for receipt in receipts:
        for part in receipt.parts:
            parts[receipt.table, part.bucket].append(part)
    details = {"team_detail": parts["team_detail", 0]}
    calls: list[Callable[[], Tally]] = []
    for group in GROUPS:
        for bucket in range(n_buckets):
            needed = {table: parts[table, bucket] for table in group} | (details if "referral_team" in group else {})
            calls.append(partial(gather_bucket, group, needed, building, bucket))
    for table in [*(TABLES[name] for name in REFERENCE_TABLES), *DETAILS.values()]:
        calls.append(partial(gather_reference, table, parts[table.name, 0], building))
    return reduce(add, _run(calls), Tally())


def _account(
    extract: Extract, receipts: Sequence[Receipt], tally: Tally, building: Path, n_buckets: int
) -> dict[str, Any]:
    """The manifest. Every row read is kept, dropped as a duplicate or set aside with a reason: file by file, or it is
    our mistake. Nothing in it depends on time or place, so the same extract gives the same bytes."""
    files = [_account_file(receipt, tally) for receipt in receipts]
    period_end, last_month_id = last_reported(building)
    # Version 6 main teams come from MHS101, so referral_team may hold rows without a file of its own.
    tables = sorted({receipt.table for receipt in receipts} | {name for name, rows in tally.rows.items() if rows})
    return {
        "format": FORMAT,
        "n_buckets": n_buckets,
        "period_end": str(period_end),
        "last_month_id": last_month_id,
        "fingerprint": fingerprint(extract, {receipt.name: receipt.digest for receipt in receipts}),
        "aliases_version": aliases_version(),
        "extract": extract.description,
        "files": files,
        "ignored_files": list(extract.ignored),
        "tables": {name: _account_table(name, receipts, tally) for name in tables},
        "notes": dict(sorted((+tally.notes).items())),
        "totals": {
            key: sum(file[key] for file in files)
            for key in ("rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
        },
    }


def _account_file(receipt: Receipt, tally: Tally) -> dict[str, Any]:
    kept, dropped = tally.kept[receipt.place], tally.deduplicated[receipt.place]
    aside = receipt.quarantined.total()
    assert receipt.rows_read == kept + dropped + aside, (
        f"{receipt.name}: {receipt.rows_read} rows read, but {kept} kept, {dropped} deduplicated, {aside} quarantined"
    )
    return {
        "file": receipt.name,
        "table": receipt.table,
        "release": receipt.release,
        "checksum": receipt.digest,
        "encoding": receipt.encoding,
        "rows_read": receipt.rows_read,
        "rows_kept": kept,
        "rows_deduplicated": dropped,
        "rows_quarantined": aside,
        "quarantined_by_reason": dict(sorted((+receipt.quarantined).items())),
        "cells_nulled_by_rule": dict(sorted((+receipt.nulled).items())),
    }


def _account_table(name: str, receipts: Sequence[Receipt], tally: Tally) -> dict[str, Any]:
    files = [receipt for receipt in receipts if receipt.table == name]
    absent = {receipt.name: list(receipt.absent) for receipt in files if receipt.absent}
    return {"rows": tally.rows[name], "files": [receipt.name for receipt in files], "absent_columns": absent}


@contextmanager
def _building(lake: Path) -> Iterator[Path]:
    """A folder to build in, which becomes `lake` when the block ends well and vanishes when it does not."""
    lake.parent.mkdir(parents=True, exist_ok=True)
    with lake.with_name(f"{lake.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(f"{lake}: another load is writing this lake; wait until it has ended") from error
        _clear_leftovers(lake)
        building = lake.with_name(f"{lake.name}.building-{uuid4().hex[:8]}")
        building.mkdir()
        try:
            yield building
            _put_in_place(building, lake)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def _clear_leftovers(lake: Path) -> None:
    """Remove what killed loads left. One killed between the two renames left the lake under its other name."""
    for replaced in sorted(lake.parent.glob(f"{lake.name}.replaced-*")):
        if lake.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(lake)
    for leftover in lake.parent.glob(f"{lake.name}.building-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _put_in_place(building: Path, lake: Path) -> None:
    if lake.exists():
        replaced = lake.with_name(f"{lake.name}.replaced-{uuid4().hex[:8]}")
        lake.rename(replaced)
        building.rename(lake)
        shutil.rmtree(replaced)
    else:
        building.rename(lake)
