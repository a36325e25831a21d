"""The causal forest beside EconML's CausalForestDML at its defaults: time, error, coverage, predictor.

Every run is a process of its own, and the tools take turns. Error and coverage are of the individual effects against
the known differences of expected outcomes; what each says of the mean effect on the treated stands beside them.

    python bench/forest.py worlds [--settings smooth:0 ...]                   simulated, on which the forest was chosen
    python bench/forest.py DATA [--settings 3 4 5] [--results FILE]           DATA: folder with x.csv and zymu_*.csv

Settings 1 and 2 of ACIC 2016 were looked at while the forest was made; the default is settings that were not.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from forest_worlds import FOREST_WORLDS, PEOPLE
from measuring import Run, measure
from results import RESULTS, ROOT, as_table, describe_machine, write_section

PEER = ROOT / "bench" / "peers" / "forest_effects.py"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Of linear algebra, for all tools: its threads wait busily, and both tools grow trees on all processors anyway."""

TOOLS = {
    "this project, 100 trees": ("this", 100),
    "this project, 500 trees (default)": ("this", 500),
    "CausalForestDML, 100 trees (default)": ("econml", 100),
}

PEER_NAME = "CausalForestDML, 100 trees (default)"

LOOKED_AT = (1, 2)
UNSEEN = [3, 4, 5]
WORLDS = "worlds"
WARNING = (
    "Settings 1 and 2 and their true effects were looked at while the forest's outcome models, the score's outcomes, "
    "the split criterion and the number of candidate covariates were chosen (DECISIONS.md): their errors and coverage "
    "are no independent evidence. Times are not affected."
)
CHOSEN_ON = (
    "The models behind the residuals, the number of cuts a covariate and of trees a bag were chosen on these worlds "
    "(bench/forest_worlds.py), with seed 0."
)
ACIC = "ACIC 2016, 4,802 people, 58 covariates"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder that holds x.csv and zymu_*.csv of ACIC 2016, or 'worlds'")
    parser.add_argument("--settings", nargs="+", help="default 3 4 5, or every world with seeds 0 and 1")
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"of a simulated world, default {PEOPLE:,}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    is_simulated, load = options.data == WORLDS, os.getloadavg()[0]
    settings = options.settings or (
        [f"{world}:{seed}" for world in FOREST_WORLDS for seed in (0, 1)]
        if is_simulated
        else [str(at) for at in UNSEEN]
    )
    found: dict[tuple[str, str], Run] = {}
    for setting in settings:
        for name, (tool, trees) in TOOLS.items():
            people = f":{options.people}" if is_simulated else ""
            command = [sys.executable, str(PEER), tool, options.data, setting + people, str(trees)]
            found[setting, name] = run = measure(command, ONE_THREAD)
            print(f"{setting} {name:42} {run.facts}", file=sys.stderr)
    text = as_markdown(found, settings, load, people=options.people if is_simulated else None)
    write_section("forest_worlds" if is_simulated else "forest", text, options.results)
    print(text)


def as_markdown(found: dict[tuple[str, str], Run], settings: list[str], load: float, *, people: int | None) -> str:
    rows, is_simulated = [], people is not None
    for (setting, name), run in found.items():
        facts = run.facts
        rows.append(
            (
                f"{setting} ({facts['spread']:.2f})",
                name,
                f"{facts['seconds']:.1f}",
                f"{facts['cpu']:.1f}",
                f"{facts['rmse']:.3f}" if "rmse_in_sample" in facts else "",
                f"{facts.get('rmse_in_sample', facts['rmse']):.3f}",
                *([f"{facts['rmse_new']:.3f}"] if is_simulated else []),
                f"{facts['coverage']:.2f} ({facts['width']:.2f})",
                f"{facts['att_error']:+.3f} ± {facts['att_std_error']:.3f}",
            )
        )
    names = list(TOOLS)
    ratios = {
        name: [found[s, PEER_NAME].facts[unit] / found[s, name].facts[unit] for s in settings]
        for name in names[:-1]
        for unit in ("cpu",)
    }
    peers = [found[setting, PEER_NAME].facts for setting in settings]
    head = (
        "setting (sd of the effect)",
        "tool",
        "seconds",
        "CPU seconds",
        "root mean squared error, out of bag",
        "the same of people the trees were grown on",
        *(["the same of people nobody has seen"] if is_simulated else []),
        "coverage of 95 % intervals (mean width)",
        "error of the ATT ± its standard error",
    )
    listed = "; ".join(f"{name}: " + ", ".join(f"{ratio:.1f}" for ratio in of) for name, of in ratios.items())
    lines = [
        f"## Causal forest: {f'simulated worlds, {people:,} people, 50 covariates' if is_simulated else ACIC}",
        "",
        f"`python bench/forest.py {WORLDS if is_simulated else 'DATA'} --settings {_quoted(settings)}`, "
        + describe_machine(("econml", "scikit-learn", "numba"), load),
        "",
        "This project's time holds everything it reports (effects with intervals, mean effect, calibration, ranking, "
        "importance, policy tree); CausalForestDML's holds fitting, effects and intervals.",
        "",
        *([WARNING, ""] if not is_simulated and set(map(str, LOOKED_AT)) & set(settings) else []),
        *([CHOSEN_ON, ""] if is_simulated else []),
        *as_table(head, rows),
        "",
        f"CPU seconds of CausalForestDML over those of {listed}.",
        "",
        f"Its {len(peers)} forests as plain arrays: the predictor differs from `effect` by at most "
        f"{max(peer['largest_difference'] for peer in peers):.1e} and takes "
        f"{np.median([peer['predict_arrays'] for peer in peers]):.3f} CPU s where `effect` takes "
        f"{np.median([peer['predict_econml'] for peer in peers]):.3f} CPU s "
        "(100 trees; medians over the forests, each the best of seven).",
    ]
    return "\n".join(lines) + "\n"


def _quoted(settings: list[str]) -> str:
    return " ".join(f"'{setting}'" if " " in setting else setting for setting in settings)


if __name__ == "__main__":
    main()
