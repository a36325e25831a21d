"""One causal forest on one setting of ACIC 2016: seconds, error and coverage of the effects, as JSON.

    python bench/peers/forest_effects.py this|econml FOLDER SETTING TREES

`this` is models.forest.causal_forest with everything it reports; `econml` is CausalForestDML at its defaults but for
the number of trees and the seed, then this project's predictor on the same trees.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl


def read_acic(folder: Path, setting: int) -> tuple[np.ndarray, tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """(covariates with categories as indicators, names, treated, outcome, true effect)."""
    x = pl.read_csv(folder / "x.csv", infer_schema_length=None)
    x = x.to_dummies(pl.selectors.string(), drop_first=True)
    truth = pl.read_csv(folder / f"zymu_{setting}.csv", infer_schema_length=None)
    treated = truth["z"].to_numpy() == 1
    outcome = np.where(treated, truth["y1"].to_numpy(), truth["y0"].to_numpy())
    return x.to_numpy().astype(float), tuple(x.columns), treated, outcome, (truth["mu1"] - truth["mu0"]).to_numpy()


def facts_of(effect: np.ndarray, lower: np.ndarray, upper: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "rmse": float(np.sqrt(np.mean((effect - truth) ** 2))),
        "spread": float(truth.std()),
        "coverage": float(np.mean((lower <= truth) & (truth <= upper))),
        "width": float(np.mean(upper - lower)),
    }


def with_this(folder: Path, setting: int, trees: int) -> dict[str, float]:
    from models.forest import causal_forest
    from models.results import Baseline, Design

    x, names, treated, outcome, truth = read_acic(folder, setting)
    n, zero = len(x), np.zeros(len(x), dtype=np.int64)
    baseline = Baseline(x, names, zero, zero, np.arange(n))
    design = Design("everybody", "ATT", treated, np.full(n, treated.mean()), np.ones(n), np.full(n, -1))
    few = np.random.default_rng(0).permutation(n)[:400]
    kept = np.zeros(n)
    kept[few] = 1
    small = Design("everybody", "ATT", treated, np.full(n, treated.mean()), kept, np.full(n, -1))

    def run(on: Design, n_trees: int):
        return causal_forest(outcome, baseline, on, rng=np.random.default_rng(1), kind="continuous", trees=n_trees)

    run(small, 40)  # compiles what is compiled once
    started, busy = time.perf_counter(), time.process_time()
    found = run(design, trees)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    mean = found.estimates[0]
    return {
        "seconds": seconds,
        "cpu": cpu,
        **facts_of(found.effect, found.lower, found.upper, truth),
        "att_error": mean.value - float(truth[treated].mean()),
        "att_std_error": mean.std_error,
    }


def with_econml(folder: Path, setting: int, trees: int) -> dict[str, float]:
    from econml.dml import CausalForestDML

    from models.forest import predict_trees
    from models.forest.growing import as_arrays

    x, names, treated, outcome, truth = read_acic(folder, setting)
    started, busy = time.perf_counter(), time.process_time()
    forest = CausalForestDML(n_estimators=trees, discrete_treatment=True, random_state=1)
    forest.fit(outcome, treated.astype(int), X=x)
    effect = forest.effect(x)
    lower, upper = forest.effect_interval(x, alpha=0.05)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    (grown,) = forest.model_cate.estimators_
    arrays = as_arrays([tree.tree_ for tree in grown.estimators_], names, 4)
    predict_trees(arrays, x[:5])
    started = time.perf_counter()
    predicted = predict_trees(arrays, x)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    again = forest.effect(x)
    return {
        "seconds": seconds,
        "cpu": cpu,
        **facts_of(effect, lower, upper, truth),
        "att_error": float(np.ravel(forest.att_(T=1))[0]) - float(truth[treated].mean()),
        "att_std_error": float(np.ravel(forest.att_stderr_(T=1))[0]),
        "predict_econml": time.perf_counter() - started,
        "predict_arrays": ours,
        "largest_difference": float(np.abs(predicted - again).max()),
    }


if __name__ == "__main__":
    tool, where, number, n_trees = sys.argv[1:]
    run_tool = {"this": with_this, "econml": with_econml}[tool]
    print(json.dumps(run_tool(Path(where), int(number), int(n_trees))))
