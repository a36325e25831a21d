"""Matching at the sizes of a nation, beside R's MatchIt where Rscript is present, and packages for Python.

Nearest 1:5 without replacement within a caliper and site, and 1:4 for a small trial; optimal and full matching, which
no R package of Debian does at all. The same people for every tool; runs take turns.

    python bench/matching.py [--treated 10000] [--candidates 1000000] [--runs 3] [--no-large] [--no-matchit]
        [--python PATH]

pymatchit-causal and causalml are no part of the environment: `python -m venv DIR`, `DIR/bin/pip install
pymatchit-causal causalml`, and `--python DIR/bin/python` gives them rows.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Run, medians, take_turns
from peers.matching_task import draw
from results import RESULTS, ROOT, as_table, describe_machine, write_section

from models.matching.rules import caliper_width
from models.propensity import comparable_rows

PEERS = ROOT / "bench" / "peers"
SMALL_TRIAL = 294
THIS, MATCHIT = "this project", "MatchIt"
PYTHON_PACKAGES = {
    "pymatchit": "pymatchit-causal",
    "causalml": "causalml (whole pool)",
    "causalml-sites": "causalml (by site)",
}
LONGEST = 120  # seconds; a tool that takes longer is stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--treated", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3, help="of each tool (default 3)")
    parser.add_argument("--no-large", action="store_true", help="leave out ten times the candidates")
    parser.add_argument("--no-matchit", action="store_true", help="leave out R")
    parser.add_argument("--python", help="an interpreter that has pymatchit-causal and causalml")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    has_matchit = not options.no_matchit and shutil.which("Rscript") is not None
    few = min(SMALL_TRIAL, options.treated)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        # MatchIt 4.5.1 stops with an error in the small trial, whose strata sometimes hold a single treated person.
        for n_treated, ratio, beside in ((options.treated, 5, has_matchit), (few, 4, False)):
            sizes = (n_treated, options.candidates, ratio)
            found = beside_others(sizes, options.runs, Path(folder), has_matchit=beside, python=options.python)
            rows += rows_of(f"nearest 1:{ratio}, {n_treated:,} x {options.candidates:,}", found)
        alone = [] if options.no_large else [("nearest", options.treated, 10 * options.candidates, 5)]
        alone += [(task, options.treated, options.candidates // 10, 1) for task in ("optimal", "full")]
        for task, n_treated, n_candidates, ratio in alone:
            found = take_turns({THIS: _command(task, n_treated, n_candidates, ratio)}, 1, Path(folder))
            sizes = f"{task}{'' if task == 'full' else f' 1:{ratio}'}, {n_treated:,} x {n_candidates:,}"
            rows += rows_of(sizes, found)
    text = as_markdown(rows, options, load)
    write_section("matching", text, options.results)
    print(text)


def beside_others(
    sizes: tuple[int, int, int], runs: int, folder: Path, *, has_matchit: bool, python: str | None
) -> dict[str, list[Run]]:
    """`sizes`: treated people, candidates, ratio. Packages for Python take one turn, since they take minutes."""
    commands, slow = {THIS: _command("nearest", *sizes)}, dict[str, list[str]]()
    people = folder / "people.csv"
    if has_matchit or python:
        subprocess.run([*_command("write", *sizes), str(people)], check=True, env=_paths())
        baseline, treated, propensity = draw(*sizes[:2])
        width = repr(caliper_width(propensity.linear, treated, comparable_rows(baseline, treated), 0.2))
        given = [str(people), str(sizes[2]), width]
        if has_matchit:
            commands[MATCHIT] = ["Rscript", str(PEERS / "with_matchit.R"), *given]
        if python:
            script = str(PEERS / "with_python_matching.py")
            slow = {name: [python, script, tool, *given] for tool, name in PYTHON_PACKAGES.items()}
    return take_turns(commands, runs, folder) | take_turns(slow, 1, folder, limit=LONGEST)


def _command(task: str, n_treated: int, n_candidates: int, ratio: int) -> list[str]:
    return [sys.executable, str(PEERS / "matching_task.py"), task, *map(str, (n_treated, n_candidates, ratio))]


def _paths() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def rows_of(task: str, found: dict[str, list[Run]]) -> list[tuple[str, ...]]:
    ours = medians(found[THIS])[0]
    our_cpu = statistics.median(float(run.facts["cpu"]) for run in found[THIS])
    rows = []
    for tool, runs in found.items():
        seconds, _, gib = medians(runs)
        facts = runs[-1].facts
        if "stopped" in facts:
            rows.append(
                (task, tool, f"stopped after {LONGEST}", "", f"{gib:.2f}", "", "", "", f"> {LONGEST / ours:.0f}")
            )
            continue
        cpu = statistics.median(float(run.facts["cpu"]) for run in runs)
        beyond = f"{max(run.facts['beyond_input_gib'] for run in runs):.2f}" if tool == THIS else ""
        rows.append(
            (
                task,
                tool if tool == THIS else f"{tool} {facts['version']}",
                f"{seconds:.2f} ({', '.join(f'{run.seconds:.2f}' for run in runs)})",
                f"{cpu:.2f}",
                f"{gib:.2f}",
                beyond,
                f"{facts['sets']:,}",
                f"{facts['controls']:,}",
                "" if tool == THIS else f"{seconds / ours:.0f} / {cpu / our_cpu:.0f}",
            )
        )
    return rows


def as_markdown(rows: list[tuple[str, ...]], options: argparse.Namespace, load: float) -> str:
    head = (
        "task",
        "tool",
        "seconds, median (each)",
        "CPU seconds",
        "peak memory, GiB",
        "beyond input, GiB",
        "sets",
        "controls",
        "its seconds, CPU seconds / this project's",
    )
    lines = [
        f"## Matching: {options.treated:,} treated among {options.candidates:,} candidates",
        "",
        f"`python bench/matching.py --treated {options.treated} --candidates {options.candidates} "
        f"--runs {options.runs}`, " + describe_machine(("numba", "numpy", "scipy"), load),
        "",
        "Caliper 0.2 standard deviations of the log-odds, exact on 24 sites, nobody twice. Seconds and CPU seconds "
        "of the matching itself, people in memory; peak memory of the whole process, drawing or reading the people "
        "included; memory beyond the input is what the call added to the peak. Kernels were compiled before (once "
        "for each installation, some 20 seconds for all). The others are given the same people and the same caliper "
        "in log-odds; sets and controls differ where a version breaks its caliper or ties, or looks for controls in "
        "the whole pool. Optimal and full matching are proven optimal by the prices of the flow in the same run.",
        "",
        *as_table(head, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
