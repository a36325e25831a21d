"""A plan → the raw extract and its lake, made once and shared by every run that needs the same ones.

They lie in the runs' cache under a hash of what decides them. Beside each stands a small file with its seconds and
peak memory, written last: without it the thing was never finished.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.lifetimes import hold
from flows.measure import measured
from flows.plan import Plan, cache_folder
from flows.progress import watcher
from pipelines.store import write_json


def ensure_extract(plan: Plan) -> Path:
    """The folder of raw records: the protocol's own, or the generator's, written now if it is not there yet."""
    extract = plan.extract
    assert extract is not None, "ready-made tables have no extract"
    drawn = plan.protocol.source.synthetic
    if drawn is None:
        return extract

    def write(building: Path) -> None:
        from pipelines.sources.synthetic import write_extract

        write_extract(building, people=drawn.people, seed=drawn.seed, trusts=drawn.trusts)

    _once("extract", extract, plan.runs, lambda: _whole(extract, write))
    return extract


def ensure_lake(plan: Plan, extract: Path) -> Path:
    """The lake of an extract, loaded now if it is not there yet."""
    assert plan.lake is not None, "ready-made tables have no lake"
    lake = plan.lake

    def load() -> None:
        from pipelines.lake import write_lake

        write_lake(extract, lake, n_buckets=plan.protocol.source.n_buckets)

    _once("lake", lake, plan.runs, load)
    return lake


def measurements(plan: Plan) -> dict[str, dict[str, Any]]:
    """Seconds and peak memory of the extract and the lake, as they were when they were made."""
    made = {"extract": plan.extract, "lake": plan.lake}
    records = {name: _record(folder) for name, folder in made.items() if folder is not None}
    return {name: json.loads(record.read_text()) for name, record in records.items() if record.is_file()}


def _once(name: str, folder: Path, runs: Path, make: Callable[[], None]) -> None:
    """Make `folder` unless it is there, one process at a time."""
    record = _record(folder)
    with hold(cache_folder(runs, "locks") / f"{folder.name}.lock"):
        if record.is_file() and folder.is_dir():
            return
        record.unlink(missing_ok=True)
        facts: dict[str, Any] = {}
        with watcher().step(name), measured(facts):
            make()
        write_json(record, facts)


def _whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Write into a folder beside `folder` and move it into place when it is complete."""
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    write(building)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(building, folder)


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.measured.json")
