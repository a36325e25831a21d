"""Optimal matching: its total is the smallest possible, by an exact solver of scipy and by trying everything."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from models.matching import nearest_neighbour, optimal_matching
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity
from tests.models.test_matching import people, sets_in, small_worlds
from tests.naive_matching import naive_comparable

RNG = np.random.default_rng(0)


def match(baseline: Baseline, treated: BoolArray, linear: FloatArray, **options: Any) -> Design:
    score = 1 / (1 + np.exp(-linear))
    return optimal_matching(baseline, treated, Propensity(score, linear, None, 0.0), rng=RNG, **options)


def exact(
    baseline: Baseline,
    treated: BoolArray,
    linear: FloatArray,
    ratio: int,
    width: float,
    days: float,
    min_ratio: int = 1,
) -> tuple[int, int, float]:
    """(treated rows served, pairs, sum of distances) by an assignment of places to persons, with penalties for places
    that stay empty: 1,000 for further places, 100,000 for a treated row's first `min_ratio`."""
    rows = naive_comparable(baseline, treated)
    heads = [i for i in rows if treated[i]]
    persons = sorted({int(baseline.person[j]) for j in rows if not treated[j]})
    cost = np.full((len(heads) * ratio, len(persons) + len(heads) * ratio), 1e9)
    for place, (head, k) in enumerate((head, k) for head in heads for k in range(ratio)):
        for column, person in enumerate(persons):
            allowed = [
                abs(linear[j] - linear[head])
                for j in rows
                if not treated[j]
                and baseline.person[j] == person
                and baseline.exact_group[j] == baseline.exact_group[head]
                and abs(linear[j] - linear[head]) <= width
                and abs(baseline.index_day[j] - baseline.index_day[head]) <= days
            ]
            if allowed:
                cost[place, column] = min(allowed)
        cost[place, len(persons) + place] = 100_000 if k < min_ratio else 1_000
    seat, column = linear_sum_assignment(cost)
    filled = [(s, c) for s, c in zip(seat, column, strict=True) if c < len(persons)]
    return len({s // ratio for s, _ in filled}), len(filled), float(sum(cost[s, c] for s, c in filled))


@given(
    world=small_worlds(),
    ratio=st.integers(1, 3),
    caliper=st.sampled_from([None, 0.2, 1.0]),
    days=st.sampled_from([None, 0, 2]),
)
@settings(max_examples=300, deadline=None)
def test_the_total_is_that_of_an_exact_solver(
    world: tuple[Baseline, BoolArray, FloatArray], ratio: int, caliper: float | None, days: int | None
) -> None:
    design = match(*world, ratio=ratio, caliper=caliper, calendar_days=days)
    width = np.inf if caliper is None else float(design.notes["caliper_width"])
    served, pairs, total = exact(*world, ratio, width, np.inf if days is None else days)
    sets = sets_in(design)
    assert (len(sets), sum(len(controls) for controls in sets.values())) == (served, pairs)
    found = sum(abs(world[2][head] - world[2][row]) for head, controls in sets.items() for row in controls)
    assert found == pytest.approx(total, abs=1e-7)
    assert design.notes["total_distance"] == pytest.approx(total, abs=1e-7)


@given(world=small_worlds(), ratio=st.integers(2, 3), caliper=st.sampled_from([None, 1.0]))
@settings(max_examples=150, deadline=None)
def test_the_controls_that_all_need_come_before_further_ones(
    world: tuple[Baseline, BoolArray, FloatArray], ratio: int, caliper: float | None
) -> None:
    """By the same solver, the first two places of everybody worth most; where all of them can be filled nobody loses
    the set."""
    design = match(*world, ratio=ratio, min_ratio=2, caliper=caliper)
    width = np.inf if caliper is None else float(design.notes["caliper_width"])
    _, pairs, total = exact(*world, ratio, width, np.inf, 2)
    assert design.notes["total_distance"] == pytest.approx(total, abs=1e-7)
    n_treated = sum(bool(world[1][row]) for row in naive_comparable(world[0], world[1]))
    _, pairs_of_two, _ = exact(*world, 2, width, np.inf)
    if pairs_of_two == 2 * n_treated:
        assert (design.notes["n_sets"], int((design.weights[~world[1]] > 0).sum())) == (n_treated, pairs)


def test_nobody_is_dropped_for_another_s_third_control() -> None:
    """Four controls nearer to one treated row than to the other: three and one by distance alone, two each here."""
    rows = [(0.0, 1, 0, 0, 1), (1.0, 1, 0, 0, 2), *((x, 0, 0, 0, int(100 * x)) for x in (0.1, 0.2, 0.3, 0.9))]
    assert sets_in(match(*people(rows), caliper=None, ratio=3, min_ratio=2)) == {0: {2, 3}, 1: {4, 5}}
    assert sets_in(match(*people(rows), caliper=None, ratio=3)) == {0: {2, 3, 4}, 1: {5}}


@pytest.mark.parametrize("ratio", [1, 4])
def test_the_total_is_that_of_an_exact_solver_on_hundreds(ratio: int) -> None:
    rng = np.random.default_rng(3)
    n = 600
    linear = np.round(rng.normal(size=n), 2)
    treated = rng.random(n) < 0.2
    linear[treated] += 0.7
    same = np.zeros(n, dtype=np.int64)
    baseline = Baseline(linear[:, None], ("x",), same, same, rng.integers(0, 900, n))
    design = match(baseline, treated, linear, ratio=ratio, caliper=0.3)
    width = float(design.notes["caliper_width"])
    served, pairs, total = exact(baseline, treated, linear, ratio, width, np.inf)
    assert (design.notes["n_sets"], int((design.weights[~treated] > 0).sum())) == (served, pairs)
    assert design.notes["total_distance"] == pytest.approx(total, abs=1e-6)
    greedy = nearest_neighbour(
        baseline, treated, Propensity(linear, linear, None, 0.0), rng=RNG, ratio=ratio, caliper=0.3
    )
    assert design.notes["n_sets"] >= greedy.notes["n_sets"]


def test_a_far_pair_is_taken_so_that_two_are_served() -> None:
    """Greedy gives 1.0 its nearest 1.1 and leaves nothing within 0.5 for the other; optimal serves both."""
    world = people([(1.0, 1, 0, 0, 1), (1.4, 1, 0, 0, 2), (1.1, 0, 0, 0, 3), (0.6, 0, 0, 0, 4)])
    assert sets_in(match(*world, caliper=None)) == {1: {2}, 0: {3}}
    assert match(*world, caliper=None).notes["total_distance"] == pytest.approx(0.7)


def test_nobody_within_reach_is_an_empty_design() -> None:
    design = match(*people([(0.0, 1, 0, 0, 1), (5.0, 0, 0, 0, 2), (9.0, 0, 0, 0, 3)]), caliper=0.1)
    assert not design.weights.any()
    assert design.notes["total_distance"] == 0


def test_impossible_options_are_refused() -> None:
    world = people([(0.0, 1, 0, 0, 1), (0.0, 0, 0, 0, 2)])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"estimand": "ATE"}, "the estimand is the ATT"),
        ({"ratio": 0}, "ratio"),
        ({"min_ratio": 2}, "min_ratio"),
        ({"calendar_days": -1}, "calendar_days"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            match(*world, **options)
