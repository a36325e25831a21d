"""Standard errors and doubly robust effects on large samples, beside what a person would write otherwise.

    python bench/effects.py [--rows 100000] [--aipw-rows 1000000] [--replicates 1000] [--refits 20] [--runs 3]

Every tool gets the same generated people and takes its turn. Tools that fit again in every replicate make only
--refits of them; their time for all is in proportion. Values and standard errors must agree, or nothing is written.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from measuring import Run, medians, take_turns
from results import RESULTS, ROOT, as_table, describe_machine, write_section

TOOLS = ROOT / "bench" / "peers" / "effect_tools.py"
Task = tuple[str, int, dict[str, tuple[str, int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="people of the bootstraps (default 100000)")
    parser.add_argument("--aipw-rows", type=int, default=1_000_000, help="people of the AIPW (default 1000000)")
    parser.add_argument("--replicates", type=int, default=1_000, help="of each bootstrap (default 1000)")
    parser.add_argument("--refits", type=int, default=20, help="replicates made by tools that fit again (default 20)")
    parser.add_argument("--runs", type=int, default=3, help="of each tool (default 3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads that wait for a busy core spin
    load = os.getloadavg()[0]
    parts = [
        measured(task, options.replicates, options.runs)
        for task in tasks(options.rows, options.aipw_rows, options.replicates, options.refits)
    ]
    head = [
        "## Effects: standard errors by bootstrap, and AIPW for the treated",
        "",
        f"`python bench/effects.py --rows {options.rows} --aipw-rows {options.aipw_rows} --replicates "
        f"{options.replicates} --refits {options.refits} --runs {options.runs}`, "
        + describe_machine(("numpy", "scipy", "scikit-learn"), load),
        "",
        "One thread for every tool. Seconds of the work itself, medians; CPU seconds of the whole process, starting "
        "Python and making the data included. An eighth of the people are treated, 20 covariates, a binary outcome. "
        "Values and standard errors of all tools agree within their noise, which was checked.",
    ]
    write_section("effects", "\n".join([*head, *(line for part in parts for line in part)]) + "\n", options.results)
    print("\n".join([*head, *(line for part in parts for line in part)]))


def tasks(rows: int, aipw_rows: int, replicates: int, refits: int) -> list[Task]:
    """Title, all replicates of which some tools make a part, and name -> (tool with its rows, replicates it makes)."""
    return [
        (
            f"{replicates:,} bootstrap replicates of a weighted ATT, {rows:,} people",
            rows,
            {
                "this project, one Newton step a replicate": ("this_bootstrap", replicates),
                "this project, formula (no replicates)": ("this_formula", 0),
                "scikit-learn fitted again": ("refit", refits),
                "Newton from the sample's fit, weighted": ("refit_warm", refits),
            },
        ),
        (
            f"{replicates:,} bootstrap replicates of a matched ATT, {rows // 6:,} sets of 1:5",
            rows // 6 * 6,
            {
                "this project, sums of the sets": ("this_bootstrap_of_sets", replicates),
                "rows of the drawn sets": ("resample_sets", replicates),
            },
        ),
        (
            f"AIPW for the treated, {aipw_rows:,} people",
            aipw_rows,
            {
                "this project, 5 divisions into 5 folds": ("this_aipw", 0),
                "scikit-learn, 1 division into 5 folds": ("sklearn_aipw", 0),
            },
        ),
    ]


def measured(task: Task, replicates: int, runs: int) -> list[str]:
    title, rows, tools = task
    commands = {name: [sys.executable, str(TOOLS), tool, str(rows), str(made)] for name, (tool, made) in tools.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = take_turns(commands, runs, Path(folder))
    check(title, found)
    ours = None
    lines = []
    for name, (_, made) in tools.items():
        seconds, cpu, gib = medians(found[name])
        scale = replicates / made if made else 1.0
        ours = seconds if ours is None else ours
        facts = found[name][0].facts
        lines.append(
            (
                name,
                f"{seconds * scale:.1f}" + (f" ({made} replicates: {seconds:.1f})" if scale > 1 else ""),
                f"{cpu:.1f}",
                f"{gib:.2f}",
                f"{seconds * scale / ours:.1f}",
                f"{facts['value']:.5f} ({facts['std_error']:.5f})",
            )
        )
    head = ("tool", "seconds", "CPU seconds", "peak memory, GiB", "tool / this project", "value (standard error)")
    return ["", f"### {title}", "", *as_table(head, lines)]


def check(title: str, found: dict[str, list[Run]]) -> None:
    """Raises SystemExit where a tool's value is half a standard error from ours, or its error beyond its noise."""
    answers = {name: runs[0].facts for name, runs in found.items()}
    ours = next(iter(answers.values()))
    for name, facts in answers.items():
        if abs(facts["value"] - ours["value"]) > 0.5 * ours["std_error"]:
            raise SystemExit(f"{title}: {name} gives {facts['value']}, this project {ours['value']}")
        if not 0.5 < facts["std_error"] / ours["std_error"] < 2:  # twenty replicates leave 16 %, three times
            raise SystemExit(f"{title}: {name} has a standard error of {facts['std_error']}, not {ours['std_error']}")


if __name__ == "__main__":
    main()
