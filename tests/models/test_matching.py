"""Matching: hand-made cases, the slow matcher on Hypothesis' cases, and R's sets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.matching import nearest, nearest_neighbour
from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity
from tests.models.golden_design import COLUMNS, lalonde, sets_of, untied, values
from tests.naive_matching import naive_caliper_width, naive_comparable, naive_nearest_neighbour

RNG = np.random.default_rng(0)


def match(baseline: Baseline, treated: BoolArray, linear: FloatArray, **options: Any) -> Design:
    score = 1 / (1 + np.exp(-linear))
    return nearest_neighbour(baseline, treated, Propensity(score, linear, None, 0.0), rng=RNG, **options)


def people(rows: list[tuple[float, int, int, int, int]]) -> tuple[Baseline, BoolArray, FloatArray]:
    """Rows of (log-odds, treated, group, day, person)."""
    linear, treated, group, day, person = (np.array(column) for column in zip(*rows, strict=True))
    return Baseline(linear[:, None], ("x",), group, day, person), treated == 1, linear.astype(np.float64)


def sets_in(design: Design, treated_serve: bool = False) -> dict[int, set[int]]:
    """Treated row → its controls (or the other way round)."""
    found = {}
    heads = design.treated != treated_serve
    for number in range(design.matched_set.max() + 1):
        members = design.matched_set == number
        (head,) = np.flatnonzero(members & heads)
        found[int(head)] = set(np.flatnonzero(members & ~heads).tolist())
    return found


def mahalanobis_of(baseline: Baseline, treated: BoolArray) -> Callable[[int, int], float]:
    """Covariance within arms, from its definition."""
    rows = naive_comparable(baseline, treated)
    spread = baseline.matrix[rows].std(axis=0)
    matrix = baseline.matrix[:, spread > 0] / spread[spread > 0]
    arms = [[i for i in rows if treated[i] == arm] for arm in (True, False)]
    within = np.concatenate([matrix[arm] - matrix[arm].mean(axis=0) for arm in arms])
    inverse = np.linalg.pinv(within.T @ within / max(len(rows) - 2, 1), rcond=1e-9, hermitian=True)
    return _length(matrix, inverse)


def robust_of(baseline: Baseline, treated: BoolArray) -> Callable[[int, int], float]:
    """Rosenbaum's: ranks, covariance scaled up to the variance of untied ranks."""
    rows = naive_comparable(baseline, treated)
    ranks = np.zeros_like(baseline.matrix)
    for j in range(ranks.shape[1]):
        values = [baseline.matrix[i, j] for i in rows]
        ranks[rows, j] = [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]
    covariance = np.cov(ranks[rows], rowvar=False)
    spread = np.sqrt(np.diag(covariance))
    kept = spread > 0
    factor = np.std(np.arange(1, len(rows) + 1), ddof=1) / spread[kept]
    inverse = np.linalg.pinv(covariance[np.ix_(kept, kept)] * np.outer(factor, factor), rcond=1e-9, hermitian=True)
    return _length(ranks[:, kept], inverse)


def _length(matrix: FloatArray, inverse: FloatArray) -> Callable[[int, int], float]:
    """sqrt(gap' inverse gap), through a root of the inverse: the square root of rounding error would not be small."""
    values, vectors = np.linalg.eigh(inverse)
    root = vectors * np.sqrt(np.where(values > 1e-9 * values.max(), values, 0.0))
    return lambda i, j: float(np.linalg.norm((matrix[i] - matrix[j]) @ root))


DISTANCES = {"mahalanobis": mahalanobis_of, "robust_mahalanobis": robust_of}


def test_every_treated_gets_a_first_control_before_anybody_gets_a_second() -> None:
    baseline, treated, linear = people(
        [(2.0, 1, 0, 0, 1), (1.9, 1, 0, 0, 2), (2.0, 0, 0, 0, 3), (1.8, 0, 0, 0, 4), (0.0, 0, 0, 0, 5)]
    )
    design = match(baseline, treated, linear, caliper=None, ratio=2)
    # The first treated row (hardest) takes row 2, the second row 3 although row 3 is also the first one's next best.
    assert sets_in(design) == {0: {2, 4}, 1: {3}}
    assert design.weights.tolist() == [1, 1, 0.5, 1, 0.5]
    assert design.matched_set.tolist() == [0, 1, 0, 1, 0]
    assert design.notes["n_sets_with_all_controls"] == 1
    assert design.notes["mean_controls_per_set"] == 1.5


def test_facts_under_the_atc_are_named_after_who_seeks() -> None:
    """Three untreated rows seek, one treated row serves one of them."""
    rows = [(0.0, 1, 0, 0, 1), (0.1, 0, 0, 0, 2), (0.2, 0, 0, 0, 3), (0.3, 0, 0, 0, 4)]
    facts = match(*people(rows), caliper=None, estimand="ATC").notes
    assert (facts["n_control_unmatched"], facts["n_treated_used"], facts["mean_treated_per_set"]) == (2, 1, 1)
    assert not {"n_treated_unmatched", "n_controls_used", "mean_controls_per_set"} & set(facts)


@pytest.mark.parametrize(
    ("n", "options", "sizes"),
    [
        (10, (2, 1, 3), [1, 1, 1, 1, 1, 3, 3, 3, 3, 3]),
        (11, (2, 1, 3), [1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3]),
        (4, (5, 4, 6), [4, 4, 6, 6]),
        (1, (2, 1, 3), [2]),
    ],
)
def test_variable_ratio_leaves_nobody_with_fewer_than_the_fewest(
    n: int, options: tuple[int, int, int], sizes: list[int]
) -> None:
    """10 and 11 treated rows: the sizes of sets of R's MatchIt 4.5.1, matchit(ratio, min.controls, max.controls). By
    arithmetic the others (MatchIt stops with an error): the sizes sum to n × ratio, and at most one lies between."""
    rows = [(-float(k), 1, 0, 0, k) for k in range(n)] + [(k / 100, 0, 0, 0, n + k) for k in range(100)]
    baseline, treated, linear = people(rows)
    ratio, least, most = options
    design = match(baseline, treated, linear, caliper=None, ratio=ratio, min_ratio=least, max_ratio=most)
    found = sets_in(design)
    assert [len(found[head]) for head in range(n)] == sizes


def test_the_hardest_to_match_chooses_first() -> None:
    baseline, treated, linear = people([(1.0, 1, 0, 0, 1), (3.0, 1, 0, 0, 2), (1.5, 0, 0, 0, 3), (0.0, 0, 0, 0, 4)])
    assert sets_in(match(baseline, treated, linear, caliper=None)) == {1: {2}, 0: {3}}


def test_caliper_is_in_pooled_standard_deviations() -> None:
    """Treated 0, 2 (variance 2), untreated 3, -1, 9, 1 (variance 18.67 = 56 / 3): SD = sqrt(31 / 3) = 3.2146."""
    baseline, treated, linear = people(
        [(float(x), flag, 0, 0, k) for k, (x, flag) in enumerate([(0, 1), (2, 1), (3, 0), (-1, 0), (9, 0), (1, 0)])]
    )
    design = match(baseline, treated, linear, caliper=0.3)
    assert design.notes["caliper_width"] == pytest.approx(0.3 * np.sqrt(31 / 3), rel=1e-14)
    # 0.96 admits no pair at distance 1; a caliper of 0.32 (1.03) admits 2-3 (or 2-1) and 0-1 (or 0 and -1).
    assert sets_in(design) == {}
    assert not design.weights.any()
    assert design.notes["n_treated_unmatched"] == 2
    assert sets_in(match(baseline, treated, linear, caliper=0.32)) == {1: {2}, 0: {3}}


def test_equally_near_controls_are_chosen_by_nearest_day_then_earlier_day_then_person() -> None:
    rows = [(0.0, 1, 0, 100, 1), (0.5, 0, 0, 90, 5), (-0.5, 0, 0, 110, 4), (0.5, 0, 0, 90, 3), (0.5, 0, 0, 70, 2)]
    for without, best in [(None, 3), (3, 1), (1, 2), (2, 4)]:
        rows = [row if k != without else (9.0, *row[1:]) for k, row in enumerate(rows)]
        assert sets_in(match(*people(rows), caliper=None)) == {0: {best}}


def test_groups_days_and_persons_are_respected() -> None:
    rows = [
        (0.0, 1, 0, 100, 1),
        (0.0, 0, 1, 100, 2),  # another group
        (0.0, 0, 0, 131, 3),  # 31 days later
        (0.0, 0, 0, 100, 1),  # the treated person's own row
        (0.0, 0, 0, 100, 9),  # another treated person's row
        (0.9, 0, 0, 70, 4),  # 30 days earlier: allowed, if far
        (0.8, 0, 0, 131, 4),  # the same control person again
        (0.5, 1, 1, 100, 9),
    ]
    baseline, treated, linear = people(rows)
    assert sets_in(match(baseline, treated, linear, caliper=None, calendar_days=30)) == {0: {5}, 7: {1}}
    assert sets_in(match(baseline, treated, linear, caliper=None, ratio=9))[0] == {2, 6}


def test_a_treated_row_alone_in_its_group_is_counted() -> None:
    design = match(*people([(0.0, 1, 0, 0, 1), (0.0, 0, 0, 0, 2), (5.0, 1, 7, 0, 3)]), caliper=None)
    assert sets_in(design) == {0: {1}}
    assert design.notes["n_treated_unmatched"] == design.notes["n_treated_no_comparable_row"] == 1


@st.composite
def small_worlds(draw: st.DrawFn) -> tuple[Baseline, BoolArray, FloatArray]:
    """Ties, several rows of one person, groups without one arm, treated people with untreated rows."""
    row = st.tuples(
        st.one_of(st.integers(-4, 4).map(lambda k: k / 4), st.floats(-2, 2, width=32)),
        st.sampled_from([0, 0, 1]),
        st.sampled_from([0, 0, 1]),
        st.integers(0, 6),
        st.integers(0, 14),
    )
    return people(draw(st.lists(row, min_size=2, max_size=24)))


OPTIONS = st.fixed_dictionaries(
    {
        "ratio": st.integers(1, 3),
        "caliper": st.sampled_from([None, 0.0, 0.2, 1.0]),
        "calendar_days": st.sampled_from([None, 0, 2]),
        "order": st.sampled_from(["hardest_first", "closest_first", "calendar"]),
        "covariate_calipers": st.sampled_from([None, {"a": 1.0}, {"a": 0.0, "b = x": 0.0}]),
        "anti_exact": st.sampled_from([(), ("b",), ("a", "b")]),
        "estimand": st.sampled_from(["ATT", "ATC"]),
    }
)


@given(world=small_worlds(), options=OPTIONS, seed=st.integers(0, 9))
@settings(max_examples=300, deadline=None)
def test_agrees_with_the_slow_matcher(
    world: tuple[Baseline, BoolArray, FloatArray], options: dict[str, Any], seed: int
) -> None:
    _expect_agreement(*with_covariates(*world, seed), options)


@given(world=small_worlds(), options=OPTIONS, seed=st.integers(0, 9), name=st.sampled_from(sorted(DISTANCES)))
@settings(max_examples=200, deadline=None)
def test_agrees_with_the_slow_matcher_on_other_distances(
    world: tuple[Baseline, BoolArray, FloatArray], options: dict[str, Any], seed: int, name: str
) -> None:
    baseline, treated, linear = with_covariates(*world, seed)
    rows = comparable_rows(baseline, treated)
    assume(
        any(np.ptp(baseline.matrix[rows & arm], axis=0).max() > 0 for arm in (treated, ~treated) if (rows & arm).any())
    )
    _expect_agreement(baseline, treated, linear, {**options, "distance": name})


@given(world=small_worlds(), options=OPTIONS, seed=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_with_replacement_agrees_with_the_slow_matcher(
    world: tuple[Baseline, BoolArray, FloatArray], options: dict[str, Any], seed: int
) -> None:
    baseline, treated, linear = with_covariates(*world, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "FEWEST_JOINED_SETS", 0)
        design = match(baseline, treated, linear, **{**options, "replace": True})
    expected = slow(baseline, treated, linear, {**options, "replace": True}, design)
    weights = np.zeros(len(treated))
    for head, controls in expected:
        weights[head] = 1
        for row in controls:
            weights[row] += 1 / len(controls)
            assert design.matched_set[row] == design.matched_set[head]
    np.testing.assert_allclose(design.weights, weights, rtol=1e-12)
    assert design.notes["n_sets"] == len(expected)


@pytest.mark.parametrize("order", ["hardest_first", "closest_first"])
@pytest.mark.parametrize("calendar_days", [None, 3])
@pytest.mark.parametrize("tied", [False, True])
def test_agrees_with_the_slow_matcher_when_it_has_to_reach_far(
    calendar_days: int | None, tied: bool, order: str
) -> None:
    rng = np.random.default_rng(8)
    linear = rng.normal(size=700)
    linear = np.round(linear, 1) if tied else linear
    treated = rng.random(700) < 0.08
    baseline = Baseline(
        linear[:, None], ("x",), np.zeros(700, dtype=np.int64), rng.integers(0, 365, 700), rng.integers(0, 900, 700)
    )
    options = {"ratio": 2, "caliper": 1.0, "calendar_days": calendar_days, "order": order}
    _expect_agreement(baseline, treated, linear, options)


def with_covariates(
    baseline: Baseline, treated: BoolArray, linear: FloatArray, seed: int
) -> tuple[Baseline, BoolArray, FloatArray]:
    """The same people with a whole number a and a category b of three levels (two columns)."""
    rng = np.random.default_rng(seed)
    level = rng.integers(0, 3, len(treated))
    matrix = np.column_stack([rng.integers(0, 4, len(treated)), level == 1, level == 2]).astype(np.float64)
    return replace(baseline, matrix=matrix, columns=("a", "b = x", "b = y")), treated, linear


def _expect_agreement(baseline: Baseline, treated: BoolArray, linear: FloatArray, options: dict[str, Any]) -> None:
    design = match(baseline, treated, linear, **options)
    expected = slow(baseline, treated, linear, options, design)
    assert list(sets_in(design, options.get("estimand", "ATT") == "ATC").items()) == [
        (head, set(controls)) for head, controls in expected
    ]


def slow(
    baseline: Baseline, treated: BoolArray, linear: FloatArray, options: dict[str, Any], design: Design
) -> list[tuple[int, list[int]]]:
    width = np.inf
    if options["caliper"] is not None:
        width = float(design.notes["caliper_width"])
        expected_width = naive_caliper_width(baseline, treated, linear, options["caliper"])
        assert width == pytest.approx(expected_width, rel=1e-9, abs=1e-15)
    of_name = DISTANCES.get(options.get("distance", ""))
    rules = {k: v for k, v in options.items() if k not in ("caliper", "estimand", "distance")}
    rules["calendar_days"] = np.inf if options["calendar_days"] is None else options["calendar_days"]
    return naive_nearest_neighbour(
        baseline,
        treated,
        linear,
        width=width,
        distance=of_name(baseline, treated) if of_name else None,
        seeks_treated=options.get("estimand") == "ATC",
        **rules,
    )


GOLDEN = [
    ("1to1", {"caliper": None}),
    ("2to1", {"caliper": None, "ratio": 2}),
    ("caliper", {"caliper": 0.2}),
    ("caliper_3to1", {"caliper": 0.2, "ratio": 3}),
    ("exact", {"caliper": None}),
]


def golden_design(name: str, options: dict[str, Any]) -> tuple[Baseline, Design]:
    baseline, treated = lalonde()
    if name == "exact":
        married = baseline.matrix[:, COLUMNS.index("married")].astype(np.int64)
        baseline = Baseline(baseline.matrix, COLUMNS, married, baseline.index_day, baseline.person)
    return baseline, nearest_neighbour(baseline, treated, untied(), rng=RNG, **options)


@pytest.mark.parametrize(("name", "options"), GOLDEN)
def test_sets_are_those_of_matchit(name: str, options: dict[str, Any]) -> None:
    _, design = golden_design(name, options)
    assert sets_in(design) == sets_of(f"pair_{name}")
    if options["caliper"] is not None:
        assert design.notes["caliper_width"] == pytest.approx(values()["caliper_width"]["log_odds"], rel=1e-9)


@pytest.mark.parametrize(("name", "options"), [GOLDEN[0], GOLDEN[2]])
def test_pairs_are_those_of_r_matching(name: str, options: dict[str, Any]) -> None:
    assert sets_in(golden_design(name, options)[1]) == sets_of(f"Matching_{name}")


def test_mahalanobis_pairs_are_those_of_matchit() -> None:
    """Some rows tie in their covariates, and MatchIt breaks ties otherwise: the distances of the first pairs agree."""
    baseline, treated = lalonde()
    design = nearest_neighbour(
        baseline, treated, untied(), rng=RNG, caliper=None, ratio=2, distance="mahalanobis", order="hardest_first"
    )
    length = mahalanobis_of(baseline, treated)
    wanted = values()["mahalanobis_of_pair"]
    nearest_of = {head: min(length(head, row) for row in controls) for head, controls in sets_in(design).items()}
    agree = [nearest_of[int(row) - 1] == pytest.approx(gap, abs=1e-8) for row, gap in wanted.items()]
    assert len(agree) == treated.sum()
    assert np.mean(agree) > 0.95


def test_impossible_options_are_refused() -> None:
    world = people([(0.0, 1, 0, 0, 1), (0.0, 0, 0, 0, 2)])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"estimand": "ATE"}, "the estimand is the ATT"),
        ({"ratio": 0}, "ratio"),
        ({"caliper": -0.1}, "caliper"),
        ({"caliper": float("nan")}, "caliper"),
        ({"calendar_days": -1}, "calendar_days"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            match(*world, **options)


def test_nobody_to_match_is_an_empty_design_not_a_crash() -> None:
    baseline, treated, linear = people([(0.0, 1, 0, 0, 1), (0.0, 0, 1, 0, 2)])
    assert not comparable_rows(baseline, treated).any()
    design = match(baseline, treated, linear)
    assert not design.weights.any()
    assert design.notes["mean_controls_per_set"] == 0
