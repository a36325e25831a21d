"""A whole synthetic nation, from nothing to a cohort with covariates and outcomes: seconds, memory and rows per stage.

Each rung of the ladder is generated, loaded into a lake and followed by processes of their own, one per stage, whose
whole tree's memory is watched. Beside the smallest rung stands where the time goes, function by function, and the
physical floor: reading the raw bytes, parsing them as text, and writing the lake's tables again.

    python bench/nation.py [--people 50000 200000 1000000] [--folder DIR] [--keep]
"""

import argparse
import cProfile
import io
import json
import os
import pstats
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

from flows.settings import LIBRARY_SETTINGS, read_settings

os.environ.update(LIBRARY_SETTINGS)  # as the command does, before anything heavy is imported

import dask
from measuring import measure
from results import RESULTS, ROOT, describe_machine, write_section

STUDY = ROOT / "configs/studies/enrich_synthetic.toml"
PEOPLE_PER_BUCKET = 4_000
STAGES = ("synth", "lake", "cohort")
SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[50_000, 200_000, 1_000_000], help="the ladder")
    parser.add_argument("--folder", type=Path, help="where the extracts and lakes go (default: a temporary folder)")
    parser.add_argument("--keep", action="store_true", help="do not delete them")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    parser.add_argument("--stage", choices=(*STAGES[1:], "profile", "floor"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        run_stage(options.stage, options.people[0], options.folder)
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        smallest = min(options.people)
        rungs = [climb(people, folder, options.keep, people == smallest) for people in options.people]
    write_section("nation", as_markdown(rungs, options.people, load), options.results)


def climb(people: int, folder: Path, keep: bool, is_looked_into: bool) -> dict[str, Any]:
    """All stages of one rung; one that is looked into also tells where its time goes."""
    place = folder / f"people-{people}"
    place.mkdir(parents=True, exist_ok=True)
    stages = {name: measured(name, people, place) for name in STAGES}
    if is_looked_into:
        stages |= {name: measured(name, people, place) for name in ("floor", "profile")}
    if not keep:
        shutil.rmtree(place)
    return {"people": people, "stages": stages}


def measured(stage: str, people: int, place: Path) -> dict[str, Any]:
    """Run a stage in a process of its own; its facts, wall and CPU seconds and the largest memory of its tree."""
    own = [__file__, "--stage", stage, "--people", str(people), "--folder", str(place)]
    synth = ["-m", "flows.cli", "synth", str(place / "extract"), "--people", str(people), "--seed", str(SEED)]
    run = measure([sys.executable, *(synth if stage == "synth" else own)])
    facts = (size_of(place / "extract") if stage == "synth" else run.facts) | {
        "wall": run.wall,
        "cpu": run.cpu,
        "gib": run.gib,
    }
    print(f"{people:>9,} {stage:8} {run.wall:8.1f} s {run.cpu:8.1f} CPU-s {run.gib:6.2f} GiB", file=sys.stderr)
    return facts


def run_stage(stage: str, people: int, place: Path) -> None:
    with dask.config.set(scheduler="threads", num_workers=read_settings().workers):
        facts = {"lake": lake, "cohort": cohort, "floor": floor, "profile": profile}[stage](people, place)
    print(json.dumps(facts))


def size_of(folder: Path) -> dict[str, Any]:
    return {"bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())}


def lake(people: int, place: Path) -> dict[str, Any]:
    from pipelines.lake import write_lake

    shutil.rmtree(place / "lake", ignore_errors=True)
    written = write_lake(place / "extract", place / "lake", n_buckets=max(16, people // PEOPLE_PER_BUCKET))
    size = sum(path.stat().st_size for path in (place / "lake").rglob("*.parquet"))
    return {"rows": written.manifest["totals"]["rows_read"], "bytes": size, "n_buckets": written.n_buckets}


def cohort(people: int, place: Path) -> dict[str, Any]:
    from pipelines.cohort import build_cohort, save_cohort
    from pipelines.lake import open_lake
    from pipelines.protocol import load_protocol
    from pipelines.sources.participants import read_participants

    listed, quarantined = read_participants(place / "extract" / "participants.csv")
    built = build_cohort(open_lake(place / "lake"), listed, quarantined, load_protocol(STUDY))
    save_cohort(built, place / "run")
    return {"rows": built.people.height, "eligible": int(built.people["is_eligible"].sum())}


def floor(people: int, place: Path) -> dict[str, Any]:
    """Seconds, on one core, that no program can do without: bytes read, text parsed, tables written."""
    import polars as pl
    import pyarrow.csv as arrow_csv

    def seconds(work: Any) -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    raw = sorted((place / "extract").glob("*.csv*"))
    tables = sorted((place / "lake").rglob("bucket-*.parquet"))
    frames = [pl.read_parquet(path, glob=False) for path in tables]
    options = arrow_csv.ReadOptions(use_threads=False)
    return {
        "read": seconds(lambda: [path.read_bytes() for path in raw]),
        "parse": seconds(lambda: [arrow_csv.read_csv(path, options) for path in raw]),
        "write": seconds(lambda: [frame.write_parquet(io.BytesIO(), compression="zstd") for frame in frames]),
    }


def profile(people: int, place: Path) -> dict[str, Any]:
    """The twelve functions of this project that most CPU time is spent in or below, of both stages, on one core."""
    found = {}
    for name, stage in {"lake": lake, "cohort": cohort}.items():
        watcher = cProfile.Profile(time.process_time)
        with dask.config.set(scheduler="synchronous"):
            watcher.runcall(stage, people, place)
        entries = pstats.Stats(watcher).stats.items()  # type: ignore[attr-defined]
        ours = [
            (f"{Path(where[0]).relative_to(ROOT).as_posix()}: {where[2]}", round(numbers[3], 1))
            for where, numbers in entries
            if where[0].startswith(str(ROOT / "pipelines")) and not where[2].startswith("<")
        ]
        found[name] = sorted(ours, key=lambda entry: -entry[1])[:12]
    return found


def as_markdown(rungs: list[dict[str, Any]], ladder: list[int], load: float) -> str:
    lines = [
        "## A whole synthetic nation",
        "",
        f"`python bench/nation.py --people {' '.join(map(str, ladder))}`, "
        + describe_machine(("polars", "pyarrow", "dask"), load),
        "",
        "One run of each stage in a process of its own: `virtual-controls synth`, the load, then stays, cohort, "
        "covariates and outcomes. Memory is the largest of the whole process tree.",
        "",
        "| people | stage | what | wall, s | CPU, s | peak memory, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for rung in rungs:
        for name in STAGES:
            facts = rung["stages"][name]
            lines.append(
                f"| {rung['people']:,} | {name} | {describe(name, facts)} | {facts['wall']:.1f} | {facts['cpu']:.1f} "
                f"| {facts['gib']:.2f} |"
            )
    lines += ["", *growth(rungs)]
    for rung in rungs:
        if "floor" in rung["stages"]:
            lines += ["", *where_the_time_goes(rung)]
    return "\n".join(lines) + "\n"


def describe(stage: str, facts: dict[str, Any]) -> str:
    if stage == "synth":
        return f"{facts['bytes'] / 1e9:.2f} GB written"
    if stage == "lake":
        return f"{facts['rows']:,} rows into {facts['n_buckets']} buckets, {facts['bytes'] / 1e9:.2f} GB"
    return f"{facts['rows']:,} rows, {facts['eligible']:,} eligible, with covariates and outcomes"


def growth(rungs: list[dict[str, Any]]) -> list[str]:
    """How rows, CPU seconds and memory grow from rung to rung, and what that comes to for ten times the rows."""
    lines = [
        "| from | to | rows | stage | CPU seconds | for 10 times the rows | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for first, last in pairwise(rungs):
        rows = last["stages"]["lake"]["rows"] / first["stages"]["lake"]["rows"]
        for name in STAGES:
            before, after = first["stages"][name], last["stages"][name]
            cost = after["cpu"] / before["cpu"]
            lines.append(
                f"| {first['people']:,} | {last['people']:,} | {rows:.1f} times | {name} | {cost:.1f} times "
                f"| {10 ** (log(cost) / log(rows)):.1f} times | {after['gib'] / before['gib']:.1f} times |"
            )
    return lines if len(rungs) > 1 else []


def where_the_time_goes(rung: dict[str, Any]) -> list[str]:
    facts = rung["stages"]["floor"]
    lines = [
        f"### Where the time goes ({rung['people']:,} people, one core)",
        "",
        f"The floor, in CPU seconds: reading the raw bytes {facts['read']:.1f}, parsing them as text with Arrow "
        f"{facts['parse']:.1f}, writing the lake's tables {facts['write']:.1f}.",
        "",
    ]
    for stage in ("lake", "cohort"):
        lines += [f"| {stage}: function and everything below it | CPU s |", "|---|---|"]
        lines += [f"| `{name}` | {seconds} |" for name, seconds in rung["stages"]["profile"][stage]]
        lines.append("")
    return lines[:-1]


if __name__ == "__main__":
    main()
