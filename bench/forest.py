"""The causal forest on ACIC 2016 beside EconML's CausalForestDML at its defaults: time, error, coverage, predictor.

Every run is a process of its own, and the tools take turns. Error and coverage are of the individual effects against
the known differences of expected outcomes; what each says of the mean effect on the treated stands beside them.
Settings 1 and 2 were looked at while the forest was made; the default is settings that were not.

    python bench/forest.py DATA [--settings 3 4 5] [--results FILE]     DATA: folder that holds x.csv and zymu_*.csv
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from measuring import Run, measure
from results import RESULTS, ROOT, as_table, describe_machine, write_section

PEER = ROOT / "bench" / "peers" / "forest_effects.py"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Of linear algebra, for all tools: its threads wait busily, and both tools grow trees on all processors anyway."""

TOOLS = {
    "this project, 100 trees": ("this", 100),
    "this project, 200 trees": ("this", 200),
    "this project, 500 trees (default)": ("this", 500),
    "CausalForestDML, 100 trees (default)": ("econml", 100),
}

PEER_NAME = "CausalForestDML, 100 trees (default)"

LOOKED_AT = (1, 2)
UNSEEN = [3, 4, 5]
WARNING = (
    "Settings 1 and 2 and their true effects were looked at while the forest's outcome models, the score's outcomes, "
    "the split criterion and the number of candidate covariates were chosen (DECISIONS.md): their errors and coverage "
    "are no independent evidence. Times are not affected."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds x.csv and zymu_*.csv of ACIC 2016")
    parser.add_argument("--settings", type=int, nargs="+", default=UNSEEN, help="default 3 4 5")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found: dict[tuple[int, str], Run] = {}
    for setting in options.settings:
        for name, (tool, trees) in TOOLS.items():
            command = [sys.executable, str(PEER), tool, str(options.data), str(setting), str(trees)]
            found[setting, name] = run = measure(command, ONE_THREAD)
            print(f"{setting} {name:42} {run.facts}", file=sys.stderr)
    text = as_markdown(found, options.settings, load)
    write_section("forest", text, options.results)
    print(text)


def as_markdown(found: dict[tuple[int, str], Run], settings: list[int], load: float) -> str:
    rows = []
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
        "coverage of 95 % intervals (mean width)",
        "error of the ATT ± its standard error",
    )
    listed = "; ".join(f"{name}: " + ", ".join(f"{ratio:.1f}" for ratio in of) for name, of in ratios.items())
    lines = [
        "## Causal forest: ACIC 2016, 4,802 people, 58 covariates",
        "",
        f"`python bench/forest.py DATA --settings {' '.join(map(str, settings))}`, "
        + describe_machine(("econml", "scikit-learn", "numba"), load),
        "",
        "This project's time holds everything it reports (effects with intervals, mean effect, calibration, ranking, "
        "importance, policy tree); CausalForestDML's holds fitting, effects and intervals.",
        "",
        *([WARNING, ""] if set(LOOKED_AT) & set(settings) else []),
        *as_table(head, rows),
        "",
        f"CPU seconds of CausalForestDML over those of {listed}.",
        "",
        f"Its {len(peers)} forests as plain arrays: the predictor differs from `effect` by at most "
        f"{max(peer['largest_difference'] for peer in peers):.1e} and takes "
        f"{np.median([peer['predict_arrays'] for peer in peers]):.3f} CPU s where `effect` takes "
        f"{np.median([peer['predict_econml'] for peer in peers]):.3f} CPU s (medians, 4,802 people, 100 trees).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
