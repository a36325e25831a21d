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
from flows.plan import Plan, cache_folder, raw_source
from flows.progress import watcher
from pipelines.errors import SourceError
from pipelines.store import write_json

MEASURED = ("seconds", "peak_memory_mib")


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


def ensure_lake(plan: Plan, extract: Path) -> str:
    """The generation of the extract's lake that holds what the plan is about, loaded now if it is not there yet.

    A lake stays where it is from month to month: of a changed extract only what is new is loaded.

    Raises:
        SourceError: the extract cannot be loaded, or it has changed since the plan was made.
    """
    from pipelines.lake import write_lake

    assert plan.lake is not None, "ready-made tables have no lake"
    record = _lake_record(plan)
    made_of = {"extract": plan.inputs["extract"], "lake": plan.lake}
    with hold(_lock(plan.runs, record)):
        known = _generation_of(record, made_of)
        if known is not None and _is_lake(known):
            return known
        record.unlink(missing_ok=True)
        facts: dict[str, Any] = {}
        # Nobody adds a month to what a generator has drawn.
        keep_parts = plan.protocol.source.synthetic is None
        with watcher().step("lake"), measured(facts):
            source = raw_source(plan.protocol.source, extract)
            lake = write_lake(
                source,
                plan.lake,
                n_buckets=plan.protocol.source.n_buckets,
                keep_parts=keep_parts,
                pseudonyms=plan.pseudonyms,
            )
        if keep_parts and lake.manifest["fingerprint"] != plan.inputs["extract"]:
            raise SourceError(f"{extract}: was changed while it was being read; run again when it is complete")
        generation = str(lake.folder)
        write_json(record, facts | made_of | {"generation": generation})
        return generation


def measurements(plan: Plan) -> dict[str, dict[str, Any]]:
    """Seconds and peak memory of the extract and the lake, as they were when they were made."""
    records = {
        "extract": plan.extract and _record(plan.extract),
        "lake": plan.lake and _lake_record(plan),
    }
    found = {name: json.loads(record.read_text()) for name, record in records.items() if record and record.is_file()}
    return {name: {key: facts[key] for key in MEASURED} for name, facts in found.items()}


def _generation_of(record: Path, made_of: dict[str, str]) -> str | None:
    """The generation that was made of this very extract at this very place, as far as it is known."""
    try:
        facts = json.loads(record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return facts["generation"] if made_of.items() <= facts.items() else None


def _is_lake(location: str) -> bool:
    from pipelines.lake import open_lake

    try:
        open_lake(location)
    except SourceError:
        return False
    return True


def _once(name: str, folder: Path, runs: Path, make: Callable[[], None]) -> None:
    """Make `folder` unless it is there, one process at a time."""
    record = _record(folder)
    with hold(_lock(runs, record)):
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


def _lock(runs: Path, record: Path) -> Path:
    return cache_folder(runs, "locks") / f"{record.stem}.lock"


def _lake_record(plan: Plan) -> Path:
    """It lies on this machine also when the lake does not."""
    assert plan.lake is not None, "ready-made tables have no lake"
    return _record(cache_folder(plan.runs, "lakes") / plan.lake.rsplit("/", 1)[-1])


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.measured.json")
