"""The people of matching_task.py from a CSV -> nearest neighbours by a Python package, within the same caliper.

python bench/peers/with_python_matching.py pymatchit|causalml|causalml-sites CSV RATIO CALIPER

The caliper is in log-odds; run it in an environment that has pymatchit-causal or causalml. Both match without
replacement; pymatchit and causalml-sites exactly on site, causalml in the whole pool.
"""

import json
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version

import numpy as np
import pandas as pd


def pymatchit(people: pd.DataFrame, ratio: int, caliper: float) -> dict[str, object]:
    from pymatchit import MatchIt

    match = MatchIt(
        people, method="nearest", distance=people["lp"].to_numpy(), exact=["site"], ratio=ratio, replace=False,
        caliper=caliper / people["lp"].std(),
    )  # fmt: skip
    match.fit("t ~ lp")
    weights = np.asarray(match.weights, float)
    treated = people["t"].to_numpy() == 1
    return {"sets": int((weights[treated] > 0).sum()), "controls": int((weights[~treated] > 0).sum())}


def causalml(people: pd.DataFrame, ratio: int, caliper: float, *, by_site: bool = False) -> dict[str, object]:
    from causalml.match import NearestNeighborMatch

    # Its unit is the standard deviation of what it is given: of a whole site's people, where sites are matched apart.
    match = NearestNeighborMatch(caliper=caliper / people["lp"].std(ddof=0), replace=False, ratio=ratio, random_state=1)
    if by_site:
        found = match.match_by_group(people, treatment_col="t", score_cols=["lp"], groupby_col="site")
    else:
        found = match.match(people, treatment_col="t", score_cols=["lp"])
    return {"sets": int((found["t"] == 1).sum()), "controls": int((found["t"] == 0).sum())}


PACKAGES = {
    "pymatchit": (pymatchit, "pymatchit-causal"),
    "causalml": (causalml, "causalml"),
    "causalml-sites": (partial(causalml, by_site=True), "causalml"),
}


def main() -> None:
    function, package = PACKAGES[sys.argv[1]]
    people = pd.read_csv(sys.argv[2])
    warnings.simplefilter("ignore")
    started, busy = time.perf_counter(), time.process_time()
    found = function(people, int(sys.argv[3]), float(sys.argv[4]))
    spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}
    print(json.dumps(spent | found | {"version": version(package)}))


if __name__ == "__main__":
    main()
