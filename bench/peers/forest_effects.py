"""One causal forest on one task: seconds, error and coverage of the effects, as JSON.

    python bench/peers/forest_effects.py this|econml FOLDER SETTING TREES       a setting of ACIC 2016
    python bench/peers/forest_effects.py this|econml worlds NAME:SEED:PEOPLE TREES  a world of bench/forest_worlds.py

`this` is models.forest.causal_forest with everything it reports; `econml` is CausalForestDML at its defaults but for
the number of trees and the seed, then this project's predictor on the same trees.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Task:
    """People, with their true effects; `new` people of the same world, whom no forest has seen, where there are any."""

    x: np.ndarray
    names: tuple[str, ...]
    treated: np.ndarray
    outcome: np.ndarray
    truth: np.ndarray
    new_x: np.ndarray | None = None
    new_truth: np.ndarray | None = None


def read_task(source: str, setting: str) -> Task:
    if source == "worlds":
        return read_world(*setting.rsplit(":", 2))
    return read_acic(Path(source), int(setting))


def read_world(name: str, seed: str, n: str) -> Task:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from forest_worlds import COLUMNS, draw_forest_world

    people, new = (draw_forest_world(name, first + int(seed), int(n)) for first in (1_000, 9_000))
    return Task(people.x, COLUMNS, people.treated, people.outcome, people.effect, new.x, new.effect)


def read_acic(folder: Path, setting: int) -> Task:
    """Categories as indicators."""
    x = pl.read_csv(folder / "x.csv", infer_schema_length=None)
    x = x.to_dummies(pl.selectors.string(), drop_first=True)
    truth = pl.read_csv(folder / f"zymu_{setting}.csv", infer_schema_length=None)
    treated = truth["z"].to_numpy() == 1
    outcome = np.where(treated, truth["y1"].to_numpy(), truth["y0"].to_numpy())
    effect = (truth["mu1"] - truth["mu0"]).to_numpy()
    return Task(x.to_numpy().astype(float), tuple(x.columns), treated, outcome, effect)


def root_mean_square(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


def facts_of(effect: np.ndarray, lower: np.ndarray, upper: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "rmse": root_mean_square(effect - truth),
        "spread": float(truth.std()),
        "coverage": float(np.mean((lower <= truth) & (truth <= upper))),
        "width": float(np.mean(upper - lower)),
    }


def with_this(task: Task, trees: int) -> dict[str, float]:
    from models.forest import causal_forest, predict_trees
    from models.results import Baseline, Design

    n, zero, treated = len(task.x), np.zeros(len(task.x), dtype=np.int64), task.treated
    baseline = Baseline(task.x, task.names, zero, zero, np.arange(n))
    design = Design("everybody", "ATT", treated, np.full(n, treated.mean()), np.ones(n), np.full(n, -1))
    few = np.random.default_rng(0).permutation(n)[:400]
    kept = np.zeros(n)
    kept[few] = 1
    small = Design("everybody", "ATT", treated, np.full(n, treated.mean()), kept, np.full(n, -1))

    def run(on: Design, n_trees: int):
        return causal_forest(task.outcome, baseline, on, rng=np.random.default_rng(1), kind="continuous", trees=n_trees)

    run(small, 40)  # compiles what is compiled once
    started, busy = time.perf_counter(), time.process_time()
    found = run(design, trees)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    mean = found.estimates[0]
    seen = {"rmse_in_sample": root_mean_square(predict_trees(found.trees, task.x) - task.truth)}
    new = (
        {}
        if task.new_x is None
        else {"rmse_new": root_mean_square(predict_trees(found.trees, task.new_x) - task.new_truth)}
    )
    return {
        "seconds": seconds,
        "cpu": cpu,
        **facts_of(found.effect, found.lower, found.upper, task.truth),
        **seen,
        **new,
        "att_error": mean.value - float(task.truth[treated].mean()),
        "att_std_error": mean.std_error,
    }


def with_econml(task: Task, trees: int) -> dict[str, float]:
    from econml.dml import CausalForestDML

    from models.forest import predict_trees
    from models.forest.growing import as_arrays

    started, busy = time.perf_counter(), time.process_time()
    forest = CausalForestDML(n_estimators=trees, discrete_treatment=True, random_state=1)
    forest.fit(task.outcome, task.treated.astype(int), X=task.x)
    effect = forest.effect(task.x)
    lower, upper = forest.effect_interval(task.x, alpha=0.05)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    (grown,) = forest.model_cate.estimators_
    arrays = as_arrays([tree.tree_ for tree in grown.estimators_], task.names, 4)
    predict_trees(arrays, task.x[:5])
    ours, predicted = least_cpu(lambda: predict_trees(arrays, task.x))
    theirs, again = least_cpu(lambda: forest.effect(task.x))
    new = {} if task.new_x is None else {"rmse_new": root_mean_square(forest.effect(task.new_x) - task.new_truth)}
    return {
        "seconds": seconds,
        "cpu": cpu,
        **facts_of(effect, lower, upper, task.truth),
        **new,
        "att_error": float(np.ravel(forest.att_(T=1))[0]) - float(task.truth[task.treated].mean()),
        "att_std_error": float(np.ravel(forest.att_stderr_(T=1))[0]),
        "predict_econml": theirs,
        "predict_arrays": ours,
        "largest_difference": float(np.abs(predicted - again).max()),
    }


def least_cpu(work) -> tuple[float, np.ndarray]:
    """CPU seconds of the best of seven runs, which other work on the machine disturbs least, and what came out."""
    taken = []
    for _ in range(7):
        started = time.process_time()
        found = work()
        taken.append(time.process_time() - started)
    return min(taken), found


if __name__ == "__main__":
    tool, where, number, n_trees = sys.argv[1:]
    run_tool = {"this": with_this, "econml": with_econml}[tool]
    print(json.dumps(run_tool(read_task(where, number), int(n_trees))))
