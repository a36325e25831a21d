"""Cardinality and profile matching: the largest balanced set, beside trying every set, and balance as promised."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from models.balance import measure_balance
from models.matching import cardinality_matching
from models.results import Baseline, BoolArray, Propensity

RNG = np.random.default_rng(0)


def world(seed: int, n: int, n_treated: int, n_groups: int = 1) -> tuple[Baseline, BoolArray, Propensity]:
    rng = np.random.default_rng([13, seed])
    treated = np.arange(n) < n_treated
    matrix = np.column_stack([rng.normal(size=n) + 0.6 * treated, rng.random(n) < 0.3 + 0.3 * treated])
    same = np.zeros(n, dtype=np.int64)
    group = np.arange(n) % n_groups
    score = Propensity(np.full(n, 0.5), np.zeros(n), None, 0.0)
    return Baseline(matrix.astype(np.float64), ("a", "b"), group, same, np.arange(n)), treated, score


def smds(baseline: Baseline, treated: BoolArray, weights: np.ndarray) -> np.ndarray:
    """From the definition in models/balance.py."""
    a, b = baseline.matrix.T
    spread = [a[treated].std(ddof=1), np.sqrt(b[treated].mean() * (1 - b[treated].mean()))]
    means = [np.average(baseline.matrix[arm], axis=0, weights=weights[arm]) for arm in (treated, ~treated)]
    return np.asarray((means[0] - means[1]) / spread)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ratio", [1, 2])
def test_no_larger_set_has_the_balance(seed: int, ratio: int) -> None:
    baseline, treated, score = world(seed, 14, 5)
    best = 0
    for size in range(1, 6):
        for heads in combinations(range(5), size):
            for controls in combinations(range(5, 14), size * ratio) if size * ratio <= 9 else ():
                weights = np.zeros(14)
                weights[list(heads)], weights[list(controls)] = 1, 1
                if np.abs(smds(baseline, treated, weights)).max() <= 0.2:
                    best = size
                    break
    if best == 0:
        with pytest.raises(ValueError, match="found no set"):
            cardinality_matching(baseline, treated, score, rng=RNG, ratio=ratio, tolerance=0.2, gap=0)
        return
    design = cardinality_matching(baseline, treated, score, rng=RNG, ratio=ratio, tolerance=0.2, gap=0)
    assert (design.weights[treated] > 0).sum() == best
    assert (design.weights[~treated] > 0).sum() == best * ratio
    assert np.abs(smds(baseline, treated, design.weights)).max() <= 0.2 + 1e-6


@pytest.mark.parametrize("n_groups", [1, 3])
@pytest.mark.parametrize("options", [{"ratio": 2}, {"keep_all_treated": True}], ids=str)
def test_balance_is_as_promised(options: dict[str, Any], n_groups: int) -> None:
    baseline, treated, score = world(1, 600, 60, n_groups)
    design = cardinality_matching(baseline, treated, score, rng=RNG, tolerance=0.03, gap=0.01, **options)
    assert max(abs(row.smd_after) for row in measure_balance(baseline, design)) <= 0.03 + 1e-6
    if "keep_all_treated" in options:
        assert (design.weights[treated] == 1).all()
        assert (design.weights[~treated] > 0).sum() > 120
    else:
        assert (design.weights[~treated] > 0).sum() == 2 * (design.weights[treated] > 0).sum()
    assert design.notes["is_proven_within_gap"] == "yes"


def test_a_person_serves_once() -> None:
    baseline, treated, score = world(2, 200, 20)
    twice = replace(baseline, person=np.where(treated, np.arange(200), 1000 + np.arange(200) // 2))
    design = cardinality_matching(twice, treated, score, rng=RNG, ratio=2, tolerance=0.1)
    used = twice.person[(design.weights > 0) & ~treated]
    assert len(set(used)) == len(used)


def test_impossible_options_are_refused() -> None:
    baseline, treated, score = world(3, 30, 10)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"estimand": "ATE"}, "the estimand is the ATT"),
        ({"ratio": 0}, "ratio"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"gap": 1.0}, "gap"),
        ({"nodes": 0}, "nodes"),
        ({"seconds": 0.0}, "seconds"),
        ({"covariates": ("c",)}, "no column 'c'"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            cardinality_matching(baseline, treated, score, rng=RNG, **options)
    apart = replace(baseline, matrix=baseline.matrix + 100 * treated[:, None])
    with pytest.raises(ValueError, match="found no set of rows"):
        cardinality_matching(apart, treated, score, rng=RNG)
    alone = replace(baseline, exact_group=treated.astype(np.int64))
    with pytest.raises(ValueError, match="no exact group"):
        cardinality_matching(alone, treated, score, rng=RNG)


def test_a_search_that_is_cut_short_ends_the_same_way_everywhere_or_is_refused() -> None:
    """Six covariates that nearly separate 50 of 120 people: HiGHS proves nothing within five branches."""
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(120, 6))
    treated = np.zeros(120, dtype=np.bool_)
    treated[np.argsort(-(matrix.sum(axis=1) + 2 * rng.normal(size=120)))[:50]] = True
    nothing = np.zeros(120, dtype=np.int64)
    baseline = Baseline(matrix, tuple("abcdef"), nothing, nothing, np.arange(120))
    score = Propensity(np.full(120, 0.5), np.zeros(120), None, 0.0)
    options: dict[str, Any] = {"rng": RNG, "tolerance": 0.02, "nodes": 5}
    first = cardinality_matching(baseline, treated, score, **options)
    assert first.notes["is_proven_within_gap"] == "no"
    assert first.notes["gap_reached"] > 0.001
    again = cardinality_matching(baseline, treated, score, seconds=5000.0, **options)
    np.testing.assert_array_equal(first.weights, again.weights)
    with pytest.raises(ValueError, match="not solved within 1e-06 seconds"):
        cardinality_matching(baseline, treated, score, seconds=1e-6, **options)
