"""The benchmark's people (drawn from a seed) -> matched sets by this project, or the same people as CSV for R.

python bench/peers/matching_task.py nearest|optimal|full|write N_TREATED N_CANDIDATES RATIO [CSV]
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.matching import full_matching, nearest_neighbour, optimal_matching
from models.results import Baseline, BoolArray, Design, Propensity

SITES = 24
World = tuple[Baseline, BoolArray, Propensity]


def draw(n_treated: int, n_candidates: int) -> World:
    """Log-odds of the treated N(-5, 1), of candidates N(-7, 1.2); site k of 24 as often as k says."""
    rng, n = np.random.default_rng(3), n_treated + n_candidates
    treated = np.arange(n) < n_treated
    linear = np.where(treated, rng.normal(-5, 1, n), rng.normal(-7, 1.2, n))
    share = np.arange(1, SITES + 1) / np.arange(1, SITES + 1).sum()
    site = rng.choice(SITES, n, p=share).astype(np.int64)
    baseline = Baseline(linear[:, None], ("log_odds",), site, np.zeros(n, dtype=np.int64), np.arange(n))
    return baseline, treated, Propensity(1 / (1 + np.exp(-linear)), linear, None, 0.0)


def main() -> None:
    task, n_treated, n_candidates, ratio = sys.argv[1], *map(int, sys.argv[2:5])
    options = {"rng": np.random.default_rng(1), "caliper": 0.2}
    methods: dict[str, Callable[[World], Design]] = {
        "nearest": lambda world: nearest_neighbour(*world, ratio=ratio, **options),
        "optimal": lambda world: optimal_matching(*world, ratio=ratio, **options),
        "full": lambda world: full_matching(*world, **options),
    }
    if task == "write":
        baseline, treated, propensity = draw(n_treated, n_candidates)
        table = np.column_stack([treated, propensity.linear, baseline.exact_group])
        np.savetxt(Path(sys.argv[5]), table, delimiter=",", header="t,lp,site", comments="", fmt=("%d", "%.17g", "%d"))
        return
    started = time.perf_counter()
    methods[task](draw(20, 200))
    first_call = time.perf_counter() - started
    world = draw(n_treated, n_candidates)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, busy = time.perf_counter(), time.process_time()
    design = methods[task](world)
    seconds, cpu = time.perf_counter() - started, time.process_time() - busy
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = {
        "seconds": seconds,
        "cpu": cpu,
        "first_call": first_call,
        "beyond_input_gib": (after - before) / 1024**2,
        "sets": int(design.notes["n_sets"]),
        "controls": int((design.weights[~design.treated] > 0).sum()),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
