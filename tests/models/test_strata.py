"""Coarsened exact matching and subclassification: by hand, beside R's MatchIt, and their errors in simulated worlds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.effects import weighted_difference
from models.matching import coarsened_exact, subclassification
from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity
from tests.models.golden_design import by_row, lalonde, unpenalised, untied
from tests.models.test_matching import people

RNG = np.random.default_rng(0)


def as_propensity(linear: FloatArray) -> Propensity:
    return Propensity(1 / (1 + np.exp(-linear)), linear, None, 0.0)


def like_matchit(design: Design) -> FloatArray:
    """MatchIt makes the weights of an arm sum to its number of rows; here they sum to those of the focal arm."""
    weights = design.weights.copy()
    for arm in (design.treated, ~design.treated):
        weights[arm] *= (weights[arm] > 0).sum() / weights[arm].sum()
    return weights


CEM: list[tuple[str, dict[str, Any]]] = [
    ("sturges", {}),
    ("bins", {"bins": 4}),
    (
        "cuts",
        {"cut_points": {"age": (20, 30, 45), "re74": (1, 5_000)}, "covariates": ("age", "educ", "married", "re74")},
    ),
]


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
@pytest.mark.parametrize(("name", "options"), CEM)
def test_coarsened_weights_are_those_of_matchit(name: str, options: dict[str, Any], estimand: Any) -> None:
    baseline, treated = lalonde()
    design = coarsened_exact(baseline, treated, unpenalised(), rng=RNG, estimand=estimand, **options)
    np.testing.assert_allclose(like_matchit(design), by_row(f"cem_{name}_{estimand}"), rtol=1e-12)


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
@pytest.mark.parametrize("n_subclasses", [2, 6])
def test_subclass_weights_are_those_of_matchit(n_subclasses: int, estimand: Any) -> None:
    baseline, treated = lalonde()
    design = subclassification(
        baseline, treated, untied(), rng=RNG, estimand=estimand, n_subclasses=n_subclasses, min_per_arm=1
    )
    np.testing.assert_allclose(like_matchit(design), by_row(f"subclass_{n_subclasses}_{estimand}"), rtol=1e-12)


def test_bins_are_closed_on_the_left_and_binaries_are_kept() -> None:
    baseline, treated, linear = people([(float(x), 1 - x % 2, 0, 0, x) for x in range(6)])
    matrix = np.column_stack([np.array([0.0, 1, 2, 3, 4, 6]), [0, 0, 1, 1, 1, 1]])
    world = replace(baseline, matrix=matrix, columns=("x", "z")), treated, as_propensity(linear)
    # Three bins: below 2, 2 to below 4, from 4.
    assert coarsened_exact(*world, rng=RNG, bins=3).matched_set.tolist() == [0, 0, 1, 1, 2, 2]
    assert coarsened_exact(*world, rng=RNG, cut_points={"x": (1.0,)}).matched_set.tolist() == [-1, -1, 0, 0, 0, 0]
    assert coarsened_exact(*world, rng=RNG, covariates=("z",)).matched_set.tolist() == [0, 0, 1, 1, 1, 1]


def test_thin_subclasses_are_joined() -> None:
    """Cut at the treated's median 2.5: 1 control below, 4 above; with at least two of each arm both are one."""
    rows = [(float(x), 1, 0, 0, k) for k, x in enumerate([1, 2, 3, 4])]
    rows += [(float(x), 0, 0, 0, 10 + k) for k, x in enumerate([0, 3, 4, 5, 6])]
    baseline, treated, linear = people(rows)
    halves = subclassification(baseline, treated, as_propensity(linear), rng=RNG, n_subclasses=2, min_per_arm=1)
    assert halves.matched_set.tolist() == [0, 0, 1, 1, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(halves.weights, [1, 1, 1, 1, 2, 0.5, 0.5, 0.5, 0.5])
    joined = subclassification(baseline, treated, as_propensity(linear), rng=RNG, n_subclasses=2, min_per_arm=2)
    assert joined.matched_set.tolist() == [0] * 9
    assert joined.notes["n_subclasses_before_joining"] == 2


def test_impossible_options_are_refused() -> None:
    baseline, treated, linear = people([(0.0, 1, 0, 0, 1), (0.0, 0, 0, 0, 2)])
    score = as_propensity(linear)
    for options, message in [
        ({"estimand": "ATO"}, "the ATT, the ATC or the ATE"),
        ({"bins": 0}, "bins"),
        ({"covariates": ("nothing",)}, "no column 'nothing'; it has x"),
        ({"cut_points": {"nothing": (1.0,)}}, "no column 'nothing'; it has x"),
    ]:
        with pytest.raises(ValueError, match=message):
            coarsened_exact(baseline, treated, score, rng=RNG, **options)  # type: ignore[arg-type]
    for options, message in [
        ({"estimand": "ATO"}, "the ATT, the ATC or the ATE"),
        ({"n_subclasses": 1}, "n_subclasses"),
        ({"min_per_arm": 0}, "min_per_arm"),
    ]:
        with pytest.raises(ValueError, match=message):
            subclassification(baseline, treated, score, rng=RNG, **options)  # type: ignore[arg-type]


def simulated(seed: int) -> tuple[Baseline, BoolArray, FloatArray]:
    """600 people, a quarter treated, two covariates that drive both treatment and outcome; the effect is 1."""
    rng = np.random.default_rng([11, seed])
    n = 600
    x = np.column_stack([rng.normal(size=n), rng.integers(0, 2, n)])
    treated = rng.random(n) < 1 / (1 + np.exp(1.6 - 0.5 * x[:, 0] - 0.5 * x[:, 1]))
    outcome = 2 * x[:, 0] + x[:, 1] + treated + rng.normal(size=n)
    same = np.zeros(n, dtype=np.int64)
    return Baseline(x, ("x", "z"), same, same, np.arange(n)), treated, outcome


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
@pytest.mark.parametrize("method", ["coarsened_exact", "subclassification"])
def test_the_standard_error_is_the_spread_of_the_estimates(method: str, estimand: Any) -> None:
    """Over 150 worlds the mean error lies within a fifth of the empirical spread (whose own error is 6 %). Unaware of
    strata it would be about twice as large: the covariates drive most of the outcome's variance."""
    found = []
    for seed in range(150):
        baseline, treated, outcome = simulated(seed)
        propensity = fit_propensity(baseline, treated)
        if method == "coarsened_exact":
            design = coarsened_exact(baseline, treated, propensity, rng=RNG, estimand=estimand, bins=8)
        else:
            design = subclassification(baseline, treated, propensity, rng=RNG, estimand=estimand, n_subclasses=8)
        estimate = weighted_difference(outcome, baseline, design, rng=RNG, kind="continuous")[0]
        found.append((estimate.value, estimate.std_error))
    value, error = np.array(found).T
    assert np.sqrt((error**2).mean()) == pytest.approx(value.std(ddof=1), rel=0.2)
