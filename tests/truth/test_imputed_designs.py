"""Multiple imputation through design and effect, in worlds of known effect where a confounder is missing at random.

With the outcome among the predictors of the imputation the pooled intervals cover as they should: the machinery is
right. Left out, as a design must have it, part of the confounding by the imputed values comes back: the bias is held
within 0.12 to 0.33 here; docs/missing.md has it from more worlds, with the coverage, and says which is which. A design
without the outcome whose regressions have values drawn with it ("with_outcome") is right again.
"""

from collections.abc import Callable

import numpy as np
import pytest

from models.doubly_robust import aipw
from models.effects import weighted_difference
from models.imputation import Incomplete, impute, pool
from models.influence import degrees_of_freedom
from models.matching import nearest_neighbour
from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray
from models.standardisation import adjusted_regression, g_computation
from models.targeted import tmle
from models.weighting import propensity_weighting

EFFECT, N, COPIES, WORLDS = -0.5, 900, 6, 100
Found = tuple[float, bool]
REGRESSIONS: dict[str, Callable[[FloatArray, Baseline, Design], Estimate]] = {
    "g_computation": lambda y, b, d: g_computation(y, b, d, rng=np.random.default_rng(0), kind="continuous")[0],
    "adjusted_regression": lambda y, b, d: adjusted_regression(
        y, b, d, rng=np.random.default_rng(0), kind="continuous", weights_are="fixed"
    )[0],
    "aipw": lambda y, b, d: aipw(y, b, d, rng=np.random.default_rng(0), kind="continuous")[0],
    "tmle": lambda y, b, d: tmle(y, b, d, rng=np.random.default_rng(0), kind="continuous")[0],
}


def baseline_of(x: FloatArray, z: FloatArray) -> Baseline:
    same = np.zeros(N, dtype=np.int64)
    return Baseline(np.column_stack([x, z]), ("x", "z"), same, same, np.arange(N))


def design_of(baseline: Baseline, treated: BoolArray, method: str = "weighting") -> Design:
    score, rng = fit_propensity(baseline, treated), np.random.default_rng(0)
    function = propensity_weighting if method == "weighting" else nearest_neighbour
    return function(baseline, treated, score, rng=rng)


def draw(seed: int) -> tuple[FloatArray, FloatArray, BoolArray, FloatArray, np.random.Generator]:
    """x with gaps, z, treated and y. A third of x is missing, more among the treated and where z is high; x matters
    most to the outcome."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=N)
    x = 0.5 * z + rng.normal(size=N)
    treated = rng.random(N) < 1 / (1 + np.exp(1.6 - 0.6 * x - 0.4 * z))
    y = x + 0.5 * z + EFFECT * treated + rng.normal(size=N)
    gone = rng.random(N) < 1 / (1 + np.exp(1.0 - 0.8 * z - 0.5 * treated))
    return np.where(gone, np.nan, x), z, treated, y, rng


def pool_of(each: list[Estimate], baseline: Baseline, design: Design) -> Found:
    pooled = pool(
        np.array([one.value for one in each]),
        np.array([one.std_error for one in each]),
        is_ratio=False,
        df_complete=degrees_of_freedom(baseline, design),
    )
    return pooled.value, pooled.lower <= EFFECT <= pooled.upper


def one_world(seed: int) -> dict[str, Found]:
    """One imputation for design and effect."""
    x, z, treated, y, rng = draw(seed)
    found = {}
    for name, seen in (("with outcome", (treated, z, y)), ("without outcome", (treated, z))):
        each = []
        for _ in range(COPIES):
            (filled,) = impute([Incomplete("x", x, "number")], np.column_stack(seen).astype(np.float64), rng=rng)
            baseline = baseline_of(filled, z)
            design = design_of(baseline, treated)
            each.append(weighted_difference(y, baseline, design, rng=rng, kind="continuous")[0])
        found[name] = pool_of(each, baseline, design)
    return found


def blind_design(seed: int, method: str) -> dict[str, Found]:
    """The design imputed without the outcome, its regressions with it and its product with treatment."""
    x, z, treated, y, rng = draw(seed)
    gappy, blind = [Incomplete("x", x, "number")], np.column_stack([treated, z]).astype(np.float64)
    each: dict[str, list[Estimate]] = {name: [] for name in REGRESSIONS}
    for _ in range(COPIES):
        baseline = baseline_of(impute(gappy, blind, rng=rng)[0], z)
        again = baseline_of(impute(gappy, np.column_stack([blind, y, y * treated]), rng=rng)[0], z)
        design = design_of(baseline, treated, method)
        for name, regression in REGRESSIONS.items():
            each[name].append(regression(y, again, design))
    return {name: pool_of(found, baseline, design) for name, found in each.items()}


@pytest.mark.parametrize("method", ["weighting", "matching"])
def test_regressions_that_see_the_outcome_undo_what_the_blind_design_left(method: str) -> None:
    """8 worlds: the standard deviation of an estimate is 0.09 to 0.10, of their mean 0.035; the bias of the blind
    imputation is 0.23."""
    worlds = [blind_design(seed, method) for seed in range(8)]
    for name in REGRESSIONS:
        assert abs(np.mean([world[name][0] for world in worlds]) - EFFECT) < 0.105, name


@pytest.mark.slow
def test_pooled_intervals_cover_and_the_price_of_leaving_the_outcome_out_is_known() -> None:
    worlds = [one_world(seed) for seed in range(WORLDS)]
    bias = {name: np.mean([world[name][0] for world in worlds]) - EFFECT for name in worlds[0]}
    covered = {name: np.mean([world[name][1] for world in worlds]) for name in worlds[0]}
    # 0.95 ± 3 standard errors of a share of 100; the effects' own standard deviation is 0.11.
    assert covered["with outcome"] >= 0.885
    assert abs(bias["with outcome"]) < 3 * 0.11 / np.sqrt(WORLDS) + 0.02
    assert 0.12 < bias["without outcome"] < 0.33


@pytest.mark.slow
@pytest.mark.parametrize("method", ["weighting", "matching"])
def test_intervals_of_regressions_that_see_the_outcome_cover(method: str) -> None:
    """Coverage at least 0.95 less 3 standard errors of a share of 100: Rubin's errors are too large after matching."""
    worlds = [blind_design(seed, method) for seed in range(500, 500 + WORLDS)]
    for name in REGRESSIONS:
        assert np.mean([world[name][1] for world in worlds]) >= 0.885, name
        assert abs(np.mean([world[name][0] for world in worlds]) - EFFECT) < 3 * 0.10 / np.sqrt(WORLDS) + 0.02, name
