"""A whole grid of designs × effect methods on the synthetic study, from nothing to the report: seconds and memory.

Each run makes the extract, the lake, the cohort, all designs and all estimates anew in a process of its own, whose
whole tree's memory is watched; seconds of the stages are those that the run itself keeps.

    python bench/multiverse.py [--people 50000] [--runs 3]
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import polars as pl
from measuring import Run, measure
from results import RESULTS, ROOT, as_table, describe_machine, write_section

from pipelines.store import STAGES

STUDY = ROOT / "configs" / "studies" / "enrich_multiverse.toml"
NOTHING = " (with so few people the design is not accepted, and no outcome is opened)"
LIMIT = 300
"""Seconds within which a grid of at least twelve pairs is to be done."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50_000, help="in the synthetic extract (default 50000)")
    parser.add_argument("--runs", type=int, default=3, help="default 3")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found: list[Run] = []
    with tempfile.TemporaryDirectory() as temporary:
        protocol = Path(temporary) / STUDY.name
        protocol.write_text(with_people(STUDY.read_text(encoding="utf-8"), options.people), encoding="utf-8")
        for number in range(options.runs):
            place = Path(temporary) / f"run-{number}"
            command = [sys.executable, "-m", "flows.cli", "run", str(protocol), "--runs", str(place / "runs")]
            found.append(run := measure(command, {"VIRTUAL_CONTROLS_LAKES": str(place / "lakes")}))
            print(f"{number + 1}: {run.wall:.1f} s, {run.cpu:.1f} CPU-s, {run.gib:.2f} GiB", file=sys.stderr)
        stages, pairs, estimates = what_was_done(place / "runs")
    text = as_markdown(found, stages, (pairs, estimates), options.people, load)
    write_section("multiverse", text, options.results)
    print(text)


def with_people(protocol: str, people: int) -> str:
    changed, times = re.subn(r"^people = \d+$", f"people = {people}", protocol, flags=re.MULTILINE)
    if times != 1:
        raise SystemExit(f"{STUDY} names its number of people {times} times, where it should once")
    return changed


def what_was_done(runs: Path) -> tuple[dict[str, float], int, int]:
    """Seconds by stage, how many pairs of design and effect method gave estimates, and how many estimates there are."""
    (latest,) = (path.parent for path in runs.glob("*/*/run.json") if not path.parent.is_symlink())
    files = {stage: latest / "stages" / f"{stage}.json" for stage in STAGES}
    stamps = {stage: json.loads(file.read_text(encoding="utf-8")) for stage, file in files.items()}
    estimates = pl.read_csv(latest / "release" / "estimates.csv", infer_schema_length=None)
    return (
        {name: float(stamp["seconds"]) for name, stamp in stamps.items() if "seconds" in stamp},
        estimates.filter(pl.col("design") != "randomised").select("design", "method").unique().height,
        estimates.height,
    )


def as_markdown(runs: list[Run], stages: dict[str, float], done: tuple[int, int], people: int, load: float) -> str:
    walls = [run.wall for run in runs]
    rows = [[f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.gib:.2f}"] for run in runs]
    of_stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
    lines = [
        f"## A multiverse on {people:,} synthetic people, from nothing to the report",
        "",
        f"`python bench/multiverse.py --people {people} --runs {len(runs)}`, "
        + describe_machine(("polars", "numpy", "scikit-learn"), load),
        "",
        f"{STUDY.relative_to(ROOT)}: {done[0]} pairs of design and effect method, {done[1]} estimates"
        f"{'' if done[1] else NOTHING}; the extract is made, loaded and followed in every run. "
        f"Median {statistics.median(walls):.1f} s (the aim: under {LIMIT} s). "
        f"Of the last run: {of_stages}.",
        "",
        *as_table(("wall s", "CPU s", "GiB"), rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
