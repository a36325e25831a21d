"""A propensity score of 1,000,000 people × 60 covariates, converged: beside scikit-learn's solvers and glum.

All tools get the same matrix (half its columns continuous, half 0/1; treatment rare) and the same criterion, and are
brought to the same tolerance: scores that sum to the number treated to 1e-6. Their log-odds must agree. A last run
fits ten times as many people in 32 bits, by this project alone.

    python bench/propensity.py [--rows 1000000] [--treated 3000] [--runs 3] [--large 10000000] [--peers lbfgs glum ...]

glum is no part of the environment: `pip install --target DIR --no-deps glum tabmat formulaic interface_meta wrapt
narwhals numexpr` and `--packages DIR` give it a row.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from measuring import Run, measure, medians, take_turns
from results import RESULTS, ROOT, as_table, describe_machine, write_section

SCRIPT = ROOT / "bench" / "peers" / "propensity_score.py"
COVARIATES, THIS = 60, "this"
SAME_LOG_ODDS = 1e-3
NAMES = {"this": "this project", "lbfgs": "scikit-learn, lbfgs", "newton-cholesky": "scikit-learn, newton-cholesky"}
ROWS_AT_ONCE = 250_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--treated", type=int, default=3_000)
    parser.add_argument("--runs", type=int, default=3, help="of each tool (default 3)")
    parser.add_argument("--large", type=int, default=10_000_000, help="rows of the last run; 0 leaves it out")
    every_peer = ["lbfgs", "newton-cholesky", "glum"]
    parser.add_argument("--peers", nargs="*", default=["lbfgs", "newton-cholesky"], choices=every_peer)
    parser.add_argument("--packages", default="", help="folder of further packages")
    parser.add_argument("--folder", type=Path, help="where the matrices go (default: a temporary folder)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write_sample(folder, options.rows, options.treated, "float64")
        commands = {
            tool: [sys.executable, str(SCRIPT), tool, str(folder), "float64", options.packages]
            for tool in (THIS, *options.peers)
        }
        found = take_turns(commands, options.runs, folder / "out")
        large = None
        if options.large:
            write_sample(folder, options.large, options.treated, "float32")
            large = measure([sys.executable, str(SCRIPT), THIS, str(folder), "float32"])
    check(found)
    text = as_markdown(found, large, options, load)
    write_section("propensity", text, options.results)
    print(text)


def write_sample(folder: Path, rows: int, n_treated: int, dtype: str) -> None:
    """matrix.npy and treated.npy: exactly `n_treated`, with chances in proportion to exp of ten columns."""
    rng = np.random.default_rng(2)
    slopes = rng.normal(0, 0.5, 10)
    matrix = np.lib.format.open_memmap(folder / "matrix.npy", mode="w+", dtype=dtype, shape=(rows, COVARIATES))
    chance = np.empty(rows)
    for start in range(0, rows, ROWS_AT_ONCE):
        block = rng.standard_normal((min(ROWS_AT_ONCE, rows - start), COVARIATES))
        block[:, COVARIATES // 2 :] = block[:, COVARIATES // 2 :] > 0.8
        matrix[start : start + len(block)] = block
        chance[start : start + len(block)] = block[:, :10] @ slopes + rng.gumbel(size=len(block))
    matrix.flush()
    treated = np.zeros(rows, dtype=np.bool_)
    treated[np.argpartition(-chance, n_treated)[:n_treated]] = True
    np.save(folder / "treated.npy", treated)


def check(found: dict[str, list[Run]]) -> None:
    """Every tool reached the tolerance and they agree. Raises SystemExit."""
    expected = np.array(found[THIS][0].facts["log_odds"])
    for tool, runs in found.items():
        if runs[0].facts["gap"] > 1e-6:
            raise SystemExit(f"{tool} did not reach the tolerance: {runs[0].facts['gap']:.1e}")
        off = np.abs(np.array(runs[0].facts["log_odds"]) - expected).max()
        if off > SAME_LOG_ODDS:
            raise SystemExit(f"{tool} and this project differ by {off:.1e} in log-odds")


def as_markdown(found: dict[str, list[Run]], large: Run | None, options: argparse.Namespace, load: float) -> str:
    ours = medians(found[THIS])
    rows = []
    for tool, runs in found.items():
        seconds, cpu, gib = medians(runs)
        facts = runs[0].facts
        ratio = "" if tool == THIS else f"{ours[0] / seconds:.2f} / {ours[2] / gib:.2f}"
        each = ", ".join(f"{run.seconds:.2f}" for run in runs)
        name = f"{NAMES.get(tool, tool)} {'' if tool == THIS else facts['version']}".strip()
        rows.append(
            (name, f"{seconds:.2f} ({each})", f"{cpu:.1f}", f"{gib:.2f}", facts["said"], f"{facts['gap']:.0e}", ratio)
        )
    head = ("tool", "seconds, median (each)", "CPU seconds", "peak memory, GiB", "tolerance", "gap", "this / tool")
    lines = [
        f"## Propensity score: {options.rows:,} people × {COVARIATES} covariates, {options.treated:,} treated",
        "",
        f"`python bench/propensity.py --rows {options.rows} --treated {options.treated} --runs {options.runs}`, "
        + describe_machine(("numpy", "scipy", "scikit-learn"), load),
        "",
        f"The matrix itself is {found[THIS][0].facts['input_gib']:.2f} GiB. Seconds of standardising, fitting and "
        "predicting everybody; a peer's tolerance was tightened until its scores sum to the number treated to 1e-6 "
        "(gap: what is left), and only that fit counts. CPU seconds and memory are of the whole process, the fits "
        "that were not tight enough included. The last column holds the ratios of seconds and memory: below 1 this "
        "project needs less.",
        "",
        *as_table(head, rows),
    ]
    if large is not None:
        facts = large.facts
        lines += [
            "",
            f"{options.large:,} people × {COVARIATES} in 32 bits ({facts['input_gib']:.2f} GiB), by this project "
            f"alone: {large.seconds:.1f} s, peak memory of the process {large.gib:.2f} GiB, gap {facts['gap']:.0e}.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
