"""Full matching: stars, everybody with a partner, at the smallest cost that an exact solver finds."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from models.matching import full_matching
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity
from tests.models.test_matching import people, small_worlds
from tests.naive_matching import naive_comparable

RNG = np.random.default_rng(0)


def match(baseline: Baseline, treated: BoolArray, linear: FloatArray, **options: Any) -> Design:
    score = 1 / (1 + np.exp(-linear))
    return full_matching(baseline, treated, Propensity(score, linear, None, 0.0), rng=RNG, **options)


def one_row_a_person(
    baseline: Baseline, treated: BoolArray, linear: FloatArray
) -> tuple[Baseline, BoolArray, FloatArray]:
    """The rows with an untreated person's first row only."""
    first = np.zeros(len(treated), dtype=np.bool_)
    first[np.unique(baseline.person, return_index=True)[1]] = True
    kept = np.flatnonzero(treated | first)
    rows = Baseline(
        baseline.matrix[kept],
        baseline.columns,
        baseline.exact_group[kept],
        baseline.index_day[kept],
        baseline.person[kept],
    )
    return rows, treated[kept], linear[kept]


def pairs_of(baseline: Baseline, treated: BoolArray, linear: FloatArray, width: float) -> list[tuple[int, int]]:
    rows = naive_comparable(baseline, treated)
    return [
        (i, j)
        for i, j in product(rows, rows)
        if treated[i]
        and not treated[j]
        and baseline.exact_group[i] == baseline.exact_group[j]
        and abs(linear[i] - linear[j]) <= width
    ]


def cheapest_cover(pairs: list[tuple[int, int]], linear: FloatArray) -> float:
    """The least sum of distances of pairs that touch every row that is in some pair."""
    if not pairs:
        return 0.0
    rows = sorted({row for pair in pairs for row in pair})
    touches = np.array([[float(row in pair) for pair in pairs] for row in rows])
    cost = np.array([round(abs(float(linear[i] - linear[j])), 9) for i, j in pairs])
    found = milp(
        cost + 1e-12,
        constraints=LinearConstraint(touches, lb=1),
        bounds=Bounds(0, 1),
        integrality=np.ones(len(pairs)),
        options={"mip_rel_gap": 0},
    )
    return float(cost @ np.round(found.x))


def distances_within(design: Design, linear: FloatArray) -> float:
    total = 0.0
    for number in range(design.matched_set.max() + 1):
        members = design.matched_set == number
        heads, controls = linear[members & design.treated], linear[members & ~design.treated]
        assert min(len(heads), len(controls)) == 1
        total += float(np.abs(heads[:, None] - controls[None, :]).sum())
    return total


@given(world=small_worlds(), caliper=st.sampled_from([None, 0.2, 1.0]))
@settings(max_examples=200, deadline=None)
def test_the_total_is_that_of_an_exact_solver(
    world: tuple[Baseline, BoolArray, FloatArray], caliper: float | None
) -> None:
    world = one_row_a_person(*world)
    design = match(*world, caliper=caliper)
    width = np.inf if caliper is None else float(design.notes["caliper_width"])
    pairs = pairs_of(*world, width)
    assert set(np.flatnonzero(design.weights > 0)) == {row for pair in pairs for row in pair}
    best = cheapest_cover(pairs, world[2])
    assert design.notes["total_distance"] == pytest.approx(best, abs=1e-6)
    assert distances_within(design, world[2]) == pytest.approx(best, abs=1e-6)


@given(world=small_worlds())
@settings(max_examples=100, deadline=None)
def test_an_untreated_person_serves_with_one_row(world: tuple[Baseline, BoolArray, FloatArray]) -> None:
    design = match(*world, caliper=1.0)
    used = world[0].person[(design.weights > 0) & ~world[1]]
    assert len(set(used)) == len(used)


def test_two_treated_share_a_control_and_one_has_two() -> None:
    rows = [
        (0.0, 1, 0, 0, 1),
        (0.1, 1, 0, 0, 2),
        (0.05, 0, 0, 0, 3),
        (2.0, 1, 0, 0, 4),
        (1.9, 0, 0, 0, 5),
        (2.2, 0, 0, 0, 6),
    ]
    design = match(*people(rows), caliper=None)
    assert design.matched_set.tolist() == [1, 1, 1, 0, 0, 0]
    assert design.weights.tolist() == [1, 1, 2, 1, 0.5, 0.5]
    assert design.notes["total_distance"] == pytest.approx(0.05 + 0.05 + 0.1 + 0.2)
    assert match(*people(rows), caliper=None, estimand="ATC").weights.tolist() == [0.5, 0.5, 1, 2, 1, 1]
    assert match(*people(rows), caliper=None, estimand="ATE").weights.tolist() == [1.5, 1.5, 3, 3, 1.5, 1.5]


@pytest.mark.parametrize(("n_treated", "n_control"), [(3, 8), (8, 3), (4, 4)])
def test_ties_are_spread_over_all_who_are_as_near(n_treated: int, n_control: int) -> None:
    """Everybody at one score: as many sets as the smaller arm has people, none larger than another by more than one;
    one set of all would weigh a single control (or treated) as much as everybody."""
    rows = [(0.0, int(k < n_treated), 0, 0, k) for k in range(n_treated + n_control)]
    rows += [(5.0, 1, 0, 0, 90), (5.1, 0, 0, 0, 91)]
    design = match(*people(rows), caliper=None)
    assert design.notes["n_sets"] == min(n_treated, n_control) + 1
    assert design.notes["total_distance"] == pytest.approx(0.1)
    found = np.bincount(design.matched_set[: n_treated + n_control], minlength=int(design.notes["n_sets"]))
    assert np.ptp(found[found > 0]) <= 1


def test_impossible_options_are_refused() -> None:
    world = people([(0.0, 1, 0, 0, 1), (0.0, 0, 0, 0, 2)])
    for options, message in [
        ({"estimand": "ATO"}, "ATT, the ATC or the ATE"),
        ({"calendar_days": -1}, "calendar_days"),
    ]:
        with pytest.raises(ValueError, match=message):
            match(*world, **options)
