"""Multiple imputation through design and effect, in worlds of known effect where a confounder is missing at random.

With the outcome among the predictors of the imputation the pooled intervals cover as they should: the machinery is
right. Left out, as a design must have it, part of the confounding by the imputed values comes back: the bias is held
within 0.12 to 0.33 here; docs/missing.md has it from more worlds, with the coverage, and says which is which.
"""

import numpy as np
import pytest

from models.effects import weighted_difference
from models.imputation import Incomplete, impute, pool
from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Estimate, FloatArray
from models.weighting import propensity_weighting

EFFECT, N, COPIES, WORLDS = -0.5, 900, 6, 100


def estimate(matrix: FloatArray, treated: BoolArray, y: FloatArray) -> Estimate:
    same = np.zeros(len(matrix), dtype=np.int64)
    names = tuple(f"x{j}" for j in range(matrix.shape[1]))
    baseline = Baseline(matrix, names, same, same, np.arange(len(matrix)))
    rng = np.random.default_rng(0)
    design = propensity_weighting(baseline, treated, fit_propensity(baseline, treated), rng=rng)
    return weighted_difference(y, baseline, design, rng=rng, kind="continuous")[0]


def one_world(seed: int) -> dict[str, tuple[float, bool]]:
    """A third of x is missing, more among the treated and where z is high; x matters most to the outcome."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=N)
    x = 0.5 * z + rng.normal(size=N)
    treated = rng.random(N) < 1 / (1 + np.exp(1.6 - 0.6 * x - 0.4 * z))
    y = x + 0.5 * z + EFFECT * treated + rng.normal(size=N)
    gone = rng.random(N) < 1 / (1 + np.exp(1.0 - 0.8 * z - 0.5 * treated))
    gappy = Incomplete("x", np.where(gone, np.nan, x), "number")
    found = {}
    for name, seen in (("with outcome", (treated, z, y)), ("without outcome", (treated, z))):
        predictors = np.column_stack(seen).astype(np.float64)
        copies = [impute([gappy], predictors, rng=rng)[0] for _ in range(COPIES)]
        each = [estimate(np.column_stack([copy, z]), treated, y) for copy in copies]
        pooled = pool(
            np.array([one.value for one in each]),
            np.array([one.std_error for one in each]),
            is_ratio=False,
            df_complete=each[0].n_treated + each[0].effective_n - 2,
        )
        found[name] = (pooled.value, pooled.lower <= EFFECT <= pooled.upper)
    return found


@pytest.mark.slow
def test_pooled_intervals_cover_and_the_price_of_leaving_the_outcome_out_is_known() -> None:
    worlds = [one_world(seed) for seed in range(WORLDS)]
    bias = {name: np.mean([world[name][0] for world in worlds]) - EFFECT for name in worlds[0]}
    covered = {name: np.mean([world[name][1] for world in worlds]) for name in worlds[0]}
    # 0.95 ± 3 standard errors of a share of 100; the effects' own standard deviation is 0.11.
    assert covered["with outcome"] >= 0.885
    assert abs(bias["with outcome"]) < 3 * 0.11 / np.sqrt(WORLDS) + 0.02
    assert 0.12 < bias["without outcome"] < 0.33
