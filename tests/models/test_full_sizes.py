"""Limits on controls per treated row in full matching: the cheapest sets within them, by an exact solver, by trying
everything and by R's optmatch, or a refusal that names the nearest limits that can be kept.

Debian has no optmatch, and MatchIt's full matching cannot run without it: the values from R are those that optmatch's
authors recorded (tests/golden/design/nuclear_plants.csv says where).
"""

import csv
from fractions import Fraction
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from models.matching.set_sizes import set_sizes
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, FloatArray
from tests.models.golden_design import FOLDER
from tests.models.test_full import distances_within, match, one_row_a_person, pairs_of
from tests.models.test_matching import people, small_worlds

RATIOS = [None, Fraction(1, 3), Fraction(1, 2), Fraction(1), Fraction(2), Fraction(3), Fraction(5)]
LADDER = [*(Fraction(1, k) for k in range(30, 1, -1)), *(Fraction(k) for k in range(1, 31))]
World = tuple[Baseline, BoolArray, FloatArray]


def numbers_of(low: Fraction | None, high: Fraction | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Fewest and most partners of a treated row, and of a control."""
    low, high = low or Fraction(1, 1000), high or Fraction(1000)
    return (max(low, 1), max(high, 1)), (max(1 / high, 1), max(1 / low, 1))


def cheapest_within(
    pairs: list[tuple[int, int]], linear: FloatArray, low: Fraction | None, high: Fraction | None
) -> float | None:
    """The least sum of distances of pairs in which every row of some pair has as many partners as it may; None where
    there is no such choice."""
    of_treated, of_control = numbers_of(low, high)
    ends = [{pair[side] for pair in pairs} for side in (0, 1)]
    touches = np.array([[float(pair[side] == row) for pair in pairs] for side in (0, 1) for row in sorted(ends[side])])
    limits = np.array(
        [numbers for numbers, end in zip((of_treated, of_control), ends, strict=True) for _ in end], float
    )
    cost = np.array([round(abs(float(linear[i] - linear[j])), 9) for i, j in pairs])
    found = milp(
        cost + 1e-12,
        constraints=LinearConstraint(touches, limits[:, 0], limits[:, 1]),
        bounds=Bounds(0, 1),
        integrality=np.ones(len(pairs)),
        options={"mip_rel_gap": 0},
    )
    return None if found.x is None else float(cost @ np.round(found.x))


def by_trying_everything(
    left: frozenset[int],
    right: frozenset[int],
    linear: FloatArray,
    numbers: tuple[tuple[float, float], tuple[float, float]],
) -> float:
    """The least sum of distances within sets of one of `left` and some of `right` or the other way round."""

    @cache
    def rest(left: frozenset[int], right: frozenset[int]) -> float:
        if not left and not right:
            return 0.0
        if not left or not right:
            return np.inf
        head, best = min(left), np.inf
        for size in range(1, len(right) + 1):
            for others in combinations(sorted(right), size):
                if size > 1 and fits(1, size):
                    apart = sum(abs(linear[head] - linear[row]) for row in others)
                    best = min(best, apart + rest(left - {head}, right - set(others)))
        for partner in right:
            for size in range(len(left)):
                for more in combinations(sorted(left - {head}), size):
                    if fits(size + 1, 1):
                        apart = sum(abs(linear[row] - linear[partner]) for row in (head, *more))
                        best = min(best, apart + rest(left - {head, *more}, right - {partner}))
        return float(best)

    def fits(n_left: int, n_right: int) -> bool:
        return numbers[0][0] <= n_right <= numbers[0][1] and numbers[1][0] <= n_left <= numbers[1][1]

    return rest(left, right)


def expect_sizes(design: Design, low: Fraction | None, high: Fraction | None) -> None:
    for number in range(design.matched_set.max() + 1):
        members = design.matched_set == number
        ratio = Fraction(int((members & ~design.treated).sum()), int((members & design.treated).sum()))
        assert (low or 0) <= ratio <= (high or 1000)


def floats(low: Fraction | None, high: Fraction | None) -> dict[str, float | None]:
    return {
        "min_controls": None if low is None else float(low),
        "max_controls": None if high is None else float(high),
    }


@given(
    world=small_worlds(),
    caliper=st.sampled_from([None, 0.5, 1.0]),
    low=st.sampled_from(RATIOS),
    high=st.sampled_from(RATIOS),
)
@settings(max_examples=400, deadline=None)
def test_the_total_is_that_of_an_exact_solver(
    world: World, caliper: float | None, low: Fraction | None, high: Fraction | None
) -> None:
    assume(low is None or high is None or low <= high)
    world = one_row_a_person(*world)
    plain = match(*world, caliper=caliper)
    width = np.inf if caliper is None else float(plain.notes["caliper_width"])
    pairs = pairs_of(*world, width)
    assume(pairs)
    best = cheapest_within(pairs, world[2], low, high)
    if best is None:
        with pytest.raises(Refused, match="full matching leaves nobody out") as refusal:
            match(*world, caliper=caliper, **floats(low, high))
        expect_nearest(str(refusal.value), pairs, world[2])
        return
    design = match(*world, caliper=caliper, **floats(low, high))
    assert set(np.flatnonzero(design.weights > 0)) == {row for pair in pairs for row in pair}
    assert design.notes["total_distance"] == pytest.approx(best, abs=1e-6)
    assert distances_within(design, world[2]) == pytest.approx(best, abs=1e-6)
    expect_sizes(design, low, high)


def expect_nearest(words: str, pairs: list[tuple[int, int]], linear: FloatArray) -> None:
    """What the refusal names can be kept (for itself), and nothing stricter; from eight on in steps of five."""
    possible = named(words)
    step = LADDER.index(possible)
    far = 5 if max(possible, 1 / possible) >= 8 else 1
    if words.startswith("max_controls"):
        assert cheapest_within(pairs, linear, None, possible) is not None
        assert cheapest_within(pairs, linear, None, LADDER[step - far]) is None
    else:
        assert cheapest_within(pairs, linear, possible, None) is not None
        assert cheapest_within(pairs, linear, LADDER[step + far], None) is None


def named(words: str) -> Fraction:
    """The ratio at the end of a refusal."""
    number = words.split()[-2] if words.endswith(("controls", "control")) else words.split()[-3]
    k = 1 if number == "one" else int(number)
    return Fraction(k) if words.endswith(("controls", "control")) else Fraction(1, k)


@given(
    treated=st.lists(st.integers(-6, 6), min_size=1, max_size=4),
    controls=st.lists(st.integers(-6, 6), min_size=1, max_size=5),
    low=st.sampled_from(RATIOS),
    high=st.sampled_from(RATIOS),
)
@settings(max_examples=150, deadline=None)
def test_the_total_is_that_of_trying_everything(
    treated: list[int], controls: list[int], low: Fraction | None, high: Fraction | None
) -> None:
    """Over sets themselves: that the best pairs within the numbers form sets of one and several is not assumed."""
    assume(low is None or high is None or low <= high)
    n = len(treated) + len(controls)
    world = people([(x / 4, int(k < len(treated)), 0, 0, k) for k, x in enumerate([*treated, *controls])])
    left, right = frozenset(range(len(treated))), frozenset(range(len(treated), n))
    best = by_trying_everything(left, right, world[2], numbers_of(low, high))
    if np.isinf(best):
        with pytest.raises(Refused):
            match(*world, caliper=None, **floats(low, high))
    else:
        design = match(*world, caliper=None, **floats(low, high))
        assert design.notes["total_distance"] == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(
    ("low", "high"),
    [(None, Fraction(6)), (Fraction(1, 2), Fraction(8)), (Fraction(2), None), (Fraction(5), Fraction(5))],
    ids=str,
)
@pytest.mark.parametrize("distance", ["log_odds", "mahalanobis"])
def test_hundreds_are_matched_at_the_least_distance(distance: str, low: Fraction | None, high: Fraction | None) -> None:
    """40 treated, 200 controls, and the linear programme of all pairs, whose corners are whole. A second column makes
    the Mahalanobis distance one without ties."""
    rng = np.random.default_rng(3)
    n, treated = 240, np.arange(240) < 40
    matrix = rng.normal(size=(n, 2)) + 0.7 * treated[:, None]
    zero = np.zeros(n, dtype=np.int64)
    world = Baseline(matrix, ("a", "b"), zero, zero, np.arange(n)), treated, np.round(matrix[:, 0], 2)
    design = match(*world, caliper=None, distance=distance, **floats(low, high))
    apart = np.abs(world[2][:40, None] - world[2][None, 40:])
    if distance == "mahalanobis":
        centred = matrix - np.where(treated[:, None], matrix[treated].mean(axis=0), matrix[~treated].mean(axis=0))
        inverse = np.linalg.inv(centred.T @ centred / (n - 2))
        gap = matrix[:40, None] - matrix[None, 40:]
        apart = np.sqrt(np.einsum("ijk,kl,ijl->ij", gap, inverse, gap))
    of_treated, of_control = numbers_of(low, high)
    each = [np.kron(np.eye(40), np.ones(200)), np.kron(np.ones(40), np.eye(200))]
    limits = [np.tile(numbers, (k, 1)) for numbers, k in ((of_treated, 40), (of_control, 200))]
    rows = [
        LinearConstraint(matrix, limit[:, 0].astype(float), limit[:, 1].astype(float))
        for matrix, limit in zip(each, limits, strict=True)
    ]
    found = milp(apart.ravel(), constraints=rows, bounds=Bounds(0, 1))
    assert design.notes["total_distance"] == pytest.approx(found.fun, abs=1e-6)
    expect_sizes(design, low, high)


@pytest.mark.parametrize(
    ("recorded", "options", "total", "within"),
    [("set", {}, 21.4, 0.0201), ("set_within", {"min_controls": 0.5, "max_controls": 4}, 23.3, 0.0213)],
)
def test_plants_are_matched_as_optmatch_does(recorded: str, options: Any, total: float, within: float) -> None:
    """optmatch rounds distances, and says how far from the optimum its sum may be; it prints three digits."""
    lines = [line for line in (FOLDER / "nuclear_plants.csv").read_text().splitlines() if not line.startswith("#")]
    plants = list(csv.DictReader(lines))
    matrix = np.array([[float(plant["t1"]), float(plant["t2"])] for plant in plants])
    treated = np.array([plant["pr"] == "1" for plant in plants])
    zero = np.zeros(len(plants), dtype=np.int64)
    baseline = Baseline(matrix, ("t1", "t2"), zero, zero, np.arange(len(plants)))
    design = match(baseline, treated, matrix[:, 0], caliper=None, distance="mahalanobis", **options)
    ours = float(design.notes["total_distance"])
    theirs = np.array([int(plant[recorded]) for plant in plants])
    arms = [matrix[treated == arm] - matrix[treated == arm].mean(axis=0) for arm in (True, False)]
    inverse = np.linalg.inv(sum(arm.T @ arm for arm in arms) / (len(plants) - 2))
    gap = matrix[treated][:, None] - matrix[~treated][None, :]
    together = theirs[treated][:, None] == theirs[~treated][None, :]
    of_theirs = float(np.sqrt(np.einsum("ijk,kl,ijl->ij", gap, inverse, gap))[together].sum())
    assert of_theirs == pytest.approx(total, abs=0.05)
    assert ours <= of_theirs + 1e-7 <= ours + within + 1e-7
    sizes = [sorted(np.unique(sets, return_counts=True)[1]) for sets in (theirs, design.matched_set)]
    assert sizes[0] == sizes[1]


def test_limits_that_hold_already_change_nothing() -> None:
    rng = np.random.default_rng(4)
    world = people([(float(x), int(k < 12), 0, 0, k) for k, x in enumerate(rng.integers(0, 6, 60))])
    plain, wide = match(*world), match(*world, min_controls=1 / 40, max_controls=50)
    np.testing.assert_array_equal(plain.matched_set, wide.matched_set)
    np.testing.assert_array_equal(plain.weights, wide.weights)
    assert (wide.notes.pop("min_controls"), wide.notes.pop("max_controls")) == ("1/40", "50")
    assert plain.notes == wide.notes


def test_weights_are_those_of_the_sets_within_the_limits() -> None:
    """A control between two treated rows: without a limit both take it; under min_controls = 1 each has one, and the
    second control goes to the nearer."""
    world = people([(0.0, 1, 0, 0, 1), (0.2, 1, 0, 0, 2), (0.1, 0, 0, 0, 3), (2.0, 0, 0, 0, 4), (2.1, 0, 0, 0, 5)])
    design = match(*world, caliper=None, max_controls=2, min_controls=1)
    assert design.matched_set.tolist() == [1, 0, 1, 0, 0]
    assert design.weights.tolist() == [1, 1, 1, 0.5, 0.5]
    assert design.notes["total_distance"] == pytest.approx(0.1 + 1.8 + 1.9)
    assert match(*world, caliper=None, max_controls=2, min_controls=1, estimand="ATC").weights.tolist() == [
        1,
        2,
        1,
        1,
        1,
    ]
    assert match(*world, caliper=None, max_controls=2, min_controls=1, estimand="ATE").weights.tolist() == [
        2,
        3,
        2,
        1.5,
        1.5,
    ]


@pytest.mark.parametrize("lump_of_controls", [True, False])
def test_whom_a_full_set_cannot_take_is_spread_over_all_as_near(lump_of_controls: bool) -> None:
    """One with twelve partners at its own place keeps five; seven go to the four pairs at another place, which take two
    of them each, or one, and not all that the first can hold. The same with the arms the other way round."""
    rows = [(0.0, arm, 0, 0, 10 * arm + k) for arm in (0, 1) for k in range(4)]
    rows += [
        (9.0, int(lump_of_controls), 0, 0, 30),
        *((9.0, int(not lump_of_controls), 0, 0, 40 + k) for k in range(12)),
    ]
    options = {"max_controls": 5.0} if lump_of_controls else {"min_controls": 1 / 5}
    design = match(*people(rows), caliper=None, **options)
    assert sorted(np.bincount(design.matched_set)) == [3, 4, 4, 4, 6]
    assert design.notes["total_distance"] == pytest.approx(7 * 9.0)


def test_who_cannot_be_placed_is_said() -> None:
    rows = [(0.0, 1, 0, 0, 1), (3.0, 1, 0, 0, 2), *((0.1, 0, 0, 0, 10 + k) for k in range(4)), (3.0, 0, 0, 0, 20)]
    for options, words in [
        (
            {"max_controls": 2},
            "max_controls cannot be kept: there are too few treated people near enough for about 40 % of the controls, "
            "and full matching leaves nobody out; every control is placed when a treated person may have 4 controls",
        ),
        (
            {"min_controls": 2},
            "min_controls cannot be kept: there are too few controls near enough for some of the treated people, and "
            "full matching leaves nobody out; every treated person is placed when a control may have one treated "
            "person",
        ),
        ({"max_controls": 0.5}, "for some of the controls, and full matching leaves nobody out; every control is"),
    ]:
        with pytest.raises(Refused) as refusal:
            match(*people(rows), caliper=0.2, **options)
        assert words in str(refusal.value)


@pytest.mark.parametrize(("n_controls", "said"), [(7, 7), (8, 10), (11, 15), (15, 15)])
def test_the_limit_named_can_be_kept_after_rounding_for_release(n_controls: int, said: int) -> None:
    world = people([(0.0, 1, 0, 0, 1), *((0.1, 0, 0, 0, 10 + k) for k in range(n_controls))])
    with pytest.raises(Refused, match=f"a treated person may have {said} controls"):
        match(*world, caliper=None, max_controls=2)
    words = f"a control may have {said} treated people"
    with pytest.raises(Refused, match=words):
        match(world[0], ~world[1], world[2], caliper=None, min_controls=1 / 2)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (3, 2, "min_controls must be at most max_controls (2), not 3"),
        (1, 0.25, "min_controls must be at most max_controls (1/4), not 1"),
        (0.4, None, "min_controls must be a whole number, or 1/k for one control to k treated people, not 0.4"),
        (None, 2.5, "max_controls must be a whole number"),
        (None, 0.0, "max_controls must be a whole number"),
        (None, np.inf, "max_controls must be a whole number"),
        (np.nan, None, "min_controls must be a whole number"),
    ],
)
def test_senseless_limits_are_refused(low: float | None, high: float | None, words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        set_sizes(low, high)
    assert words in str(refusal.value)
