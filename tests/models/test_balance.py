"""Balance and overlap: R's MatchIt, the slow version on Hypothesis' cases, and values known in closed form."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.balance import kish_effective_n, measure_balance, measure_overlap
from models.matching import nearest_neighbour
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from models.weighting import propensity_weighting
from tests.models.golden_design import COLUMNS, lalonde, unpenalised, untied, values
from tests.naive_matching import naive_mean_and_variance

RNG = np.random.default_rng(0)


def plain(matrix: FloatArray) -> Baseline:
    same = np.zeros(len(matrix), dtype=np.int64)
    return Baseline(matrix, tuple(f"x{j}" for j in range(matrix.shape[1])), same, same, np.arange(len(matrix)))


def weighted(treated: BoolArray, weights: FloatArray, estimand: Estimand = "ATT") -> Design:
    no_set = np.full(len(treated), -1, dtype=np.int64)
    return Design("given", estimand, treated, np.full(len(treated), 0.5), weights, no_set)


@pytest.mark.parametrize("estimand", ["ATT", "ATE"])
def test_weighted_balance_is_that_of_matchit(estimand: Estimand) -> None:
    baseline, treated = lalonde()
    design = propensity_weighting(baseline, treated, unpenalised(), estimand=estimand, rng=RNG)
    name = estimand.lower()
    for row in measure_balance(baseline, design):
        for side in ("before", "after"):
            for measure in ("smd", "variance_ratio"):
                expected = values()[f"{name}_{measure}_{side}"][row.covariate]
                found = getattr(row, f"{measure}_{side}")
                assert found == pytest.approx(expected, rel=1e-8, abs=1e-9, nan_ok=True), (row.covariate, measure)


@pytest.mark.parametrize(("name", "ratio", "caliper"), [("1to1", 1, None), ("2to1", 2, None), ("caliper_3to1", 3, 0.2)])
def test_matched_balance_is_that_of_matchit(name: str, ratio: int, caliper: float | None) -> None:
    baseline, treated = lalonde()
    design = nearest_neighbour(baseline, treated, untied(), rng=RNG, ratio=ratio, caliper=caliper)
    rows = {row.covariate: row for row in measure_balance(baseline, design)}
    for column in COLUMNS:
        golden = {key: values()[f"matched_{name}_{key}"][column] for key in ("mean_control", "smd", "variance_ratio")}
        assert rows[column].mean_control_after == pytest.approx(golden["mean_control"], rel=1e-9)
        assert rows[column].smd_after == pytest.approx(golden["smd"], rel=1e-8, abs=1e-9)
        assert rows[column].variance_ratio_after == pytest.approx(golden["variance_ratio"], rel=1e-8, nan_ok=True)


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[float], list[bool], list[float]]:
    """At least two rows of positive weight in each arm."""
    number, weight = st.integers(-50, 50).map(lambda k: k / 8), st.integers(0, 8).map(lambda k: k / 4)
    rows = [(draw(number), flag, draw(weight) + 0.25) for flag in (True, True, False, False)]
    rows += draw(st.lists(st.tuples(number, st.booleans(), weight), max_size=16))
    return tuple(list(column) for column in zip(*rows, strict=True))  # type: ignore[return-value]


@given(samples(), st.sampled_from(["ATT", "ATE"]))
@settings(max_examples=200, deadline=None)
def test_agrees_with_the_slow_version(sample: tuple[list[float], list[bool], list[float]], estimand: Estimand) -> None:
    x, flags, weights = sample
    if set(x) <= {0.0, 1.0}:
        x = [value + 2.0 for value in x]  # binary covariates have their own test
    treated = np.array(flags)
    (row,) = measure_balance(plain(np.array(x)[:, None]), weighted(treated, np.array(weights), estimand))
    of_arm = {arm: [k for k, flag in enumerate(flags) if flag == arm] for arm in (True, False)}
    sides = {}
    for side, by in (("before", [1.0] * len(x)), ("after", weights)):
        for arm, rows in of_arm.items():
            sides[side, arm] = naive_mean_and_variance([x[k] for k in rows], [by[k] for k in rows])
    spread = [sides["before", arm][1] for arm in (True, False)]
    sd = (spread[0] if estimand == "ATT" else sum(spread) / 2) ** 0.5
    for side in ("before", "after"):
        (mean_1, variance_1), (mean_0, variance_0) = sides[side, True], sides[side, False]
        assert getattr(row, f"mean_treated_{side}") == pytest.approx(mean_1, abs=1e-12)
        assert getattr(row, f"mean_control_{side}") == pytest.approx(mean_0, abs=1e-12)
        sd = sd if sd > 0 else (sum(spread) / 2) ** 0.5
        if sd > 1e-6:
            assert getattr(row, f"smd_{side}") == pytest.approx((mean_1 - mean_0) / sd, abs=1e-9)
        if variance_0 > 1e-6:
            assert getattr(row, f"variance_ratio_{side}") == pytest.approx(variance_1 / variance_0, abs=1e-9)


def test_binary_covariates_use_the_binomial_variance_and_have_no_variance_ratio() -> None:
    """Treated 3 of 4, untreated 1 of 4; the one untreated weighing nine times the others makes it 9 of 12."""
    x = np.array([1, 1, 1, 0, 1, 0, 0, 0.0])
    treated = np.arange(8) < 4
    design = weighted(treated, np.array([1, 1, 1, 1, 9, 1, 1, 1.0]))
    (row,) = measure_balance(plain(x[:, None]), design)
    assert row.smd_before == pytest.approx(0.5 / np.sqrt(0.75 * 0.25))
    assert row.mean_control_after == pytest.approx(0.75)
    assert row.smd_after == 0.0
    assert np.isnan(row.variance_ratio_before)
    assert np.isnan(row.variance_ratio_after)


def test_covariates_without_variation() -> None:
    """0.1 everywhere; 0.1 among treated and 0.7 among untreated, which no standard deviation can measure."""
    treated = np.arange(6) < 3
    matrix = np.column_stack([np.full(6, 0.1), np.where(treated, 0.1, 0.7), np.where(treated, 1.0, 0.0)])
    design = weighted(treated, np.array([1, 1, 1, 0.3, 0.7, 2.0]))
    same, apart, binary = measure_balance(plain(matrix), design)
    assert (same.smd_before, same.smd_after) == (0.0, 0.0)
    assert (same.variance_ratio_before, same.variance_ratio_after) == (1.0, 1.0)
    assert (apart.smd_before, apart.smd_after) == (-np.inf, -np.inf)
    assert (binary.smd_before, binary.smd_after) == (np.inf, np.inf)


def test_rounding_of_a_weighted_mean_is_no_imbalance() -> None:
    """A constant 0.1 averages to 0.1 give or take 1e-17; among 50 random weightings some do not give it exactly."""
    x, treated = np.full(40, 0.1), np.arange(40) < 20
    weights = np.random.default_rng(6).random((50, 40))
    assert any((w / w.sum() * x[:20]).sum() != 0.1 for w in weights[:, :20])
    for w in weights:
        (row,) = measure_balance(plain(x[:, None]), weighted(treated, w))
        assert (row.smd_after, row.variance_ratio_after) == (0.0, 1.0)


def test_where_the_treated_do_not_vary_the_variance_of_both_arms_serves() -> None:
    """Untreated 5, 6, 7: variance 1, so SD = sqrt(1 / 2); untreated 0, 1, 1: variance 2 / 9, so SD = 1 / 3."""
    treated = np.arange(6) < 3
    matrix = np.column_stack([[0.1, 0.1, 0.1, 5, 6, 7], [1, 1, 1, 0, 1, 1.0]])
    number, binary = measure_balance(plain(matrix), weighted(treated, np.array([1, 1, 1, 0, 1, 1.0])))
    assert number.smd_before == pytest.approx(-5.9 * np.sqrt(2))
    assert number.smd_after == pytest.approx(-6.4 * np.sqrt(2))
    assert number.variance_ratio_before == 0.0
    assert binary.smd_before == pytest.approx(1.0)
    assert binary.smd_after == 0.0


def test_an_empty_design_passes_no_threshold() -> None:
    baseline, treated = lalonde()
    design = weighted(treated, np.zeros(len(treated)))
    assert all(
        row.smd_after == np.inf and np.isnan(row.mean_control_after) for row in measure_balance(baseline, design)
    )
    overlap = measure_overlap(baseline, design, unpenalised())
    assert (overlap.n_treated, overlap.n_control_pool) == (185, 429)
    assert (overlap.n_treated_kept, overlap.n_controls_kept, overlap.share_treated_kept) == (0, 0, 0.0)
    assert (overlap.effective_n_controls, overlap.max_control_weight_share) == (0.0, 1.0)


def test_kish_effective_n() -> None:
    """Equal weights count fully; (1 + 3)² / (1 + 9) = 1.6; scale and zeros do not matter."""
    assert kish_effective_n(np.full(7, 0.3)) == pytest.approx(7)
    assert kish_effective_n(np.array([1.0, 3.0])) == pytest.approx(1.6)
    assert kish_effective_n(np.array([10.0, 30.0, 0.0])) == pytest.approx(1.6)


def overlap_of(treated_linear: list[float], control_linear: list[float], weights: list[float] | None = None):  # type: ignore[no-untyped-def]
    linear = np.array([*treated_linear, *control_linear])
    treated = np.arange(len(linear)) < len(treated_linear)
    by = np.ones(len(linear)) if weights is None else np.array(weights)
    propensity = Propensity(1 / (1 + np.exp(-linear)), linear, None, 0.0)
    return measure_overlap(plain(linear[:, None]), weighted(treated, by), propensity)


def test_overlap_by_hand() -> None:
    overlap = overlap_of([0.0, 2.0, 9.0], [-1.0, 0.0, 2.0, 3.0], [1, 1, 0, 0, 1, 3, 0])
    assert (overlap.n_treated, overlap.n_control_pool, overlap.n_treated_kept, overlap.n_controls_kept) == (3, 4, 2, 2)
    assert overlap.effective_n_controls == pytest.approx(1.6)
    assert overlap.share_treated_kept == pytest.approx(2 / 3)
    assert overlap.max_control_weight_share == pytest.approx(0.75)
    # 9 is beyond the controls' -1 to 3.
    assert overlap.share_treated_in_control_range == pytest.approx(2 / 3)
    # 12 pairs: 0 beats one and ties one, 2 beats two and ties one, 9 beats four.
    assert overlap.c_statistic_before == pytest.approx(8 / 12)
    # Untreated less treated share at or below -1, 0, 2, 3, 9: 3/12, 2/12, 1/12, 4/12, 0.
    assert overlap.overlap_coefficient == pytest.approx(1 - 4 / 12)


def test_overlap_at_its_ends() -> None:
    same = overlap_of([0.0, 1.0], [0.0, 1.0])
    assert (same.overlap_coefficient, same.c_statistic_before, same.share_treated_in_control_range) == (1.0, 0.5, 1.0)
    apart = overlap_of([5.0, 6.0], [0.0, 1.0])
    assert (apart.overlap_coefficient, apart.c_statistic_before, apart.share_treated_in_control_range) == (0, 1, 0)
    below = overlap_of([0.0, 1.0], [5.0, 6.0])
    assert (below.overlap_coefficient, below.c_statistic_before) == (0, 0)


def test_overlap_of_two_normals_is_the_known_area() -> None:
    """Means d = 1.2 apart, SD 1: area 2 Φ(-d / 2) = 0.5485 (Inman & Bradley 1989), c = Φ(d / √2) = 0.8019. Quantiles
    of the normal stand in for samples, so the error is of order 1 / n."""
    n = 4_000
    normal = np.array([NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)])
    overlap = overlap_of((normal + 1.2).tolist(), normal.tolist())
    assert overlap.overlap_coefficient == pytest.approx(2 * NormalDist().cdf(-0.6), abs=1e-3)
    assert overlap.c_statistic_before == pytest.approx(NormalDist().cdf(1.2 / np.sqrt(2)), abs=1e-3)


def test_scores_of_rows_that_cannot_be_compared_do_not_count() -> None:
    baseline, treated = lalonde()
    design = propensity_weighting(baseline, treated, unpenalised(), rng=RNG)
    lone = replace(baseline, exact_group=np.where(np.arange(614) >= 600, 1, 0))  # the last 14 untreated rows
    some = measure_overlap(lone, design, unpenalised())
    first = replace(unpenalised(), linear=np.where(np.arange(614) >= 600, 99.0, unpenalised().linear))
    assert measure_overlap(lone, design, first) == some
    assert some.n_control_pool == 429
    assert some.c_statistic_before != measure_overlap(baseline, design, unpenalised()).c_statistic_before
