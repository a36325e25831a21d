"""Diagnostics beyond means: R's MatchIt (tests/golden/diagnostics/make_values.R), cases by hand, simulation."""

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from models.balance import measure_balance
from models.diagnostics import (
    effective_number_of_people,
    fit_prognostic_score,
    measure_generalisability,
    measure_products,
    measure_prognostic_balance,
    measure_scores,
    minimum_detectable,
    weighted_c_statistic,
)
from models.matching import nearest_neighbour
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from models.weighting import propensity_weighting
from tests.models.golden_design import lalonde, unpenalised

RNG = np.random.default_rng(0)
FOLDER = Path(__file__).parents[1] / "golden" / "diagnostics"


@cache
def golden() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with (FOLDER / "values.csv").open() as file:
        for row in csv.DictReader(file):
            if row["quantity"] != "version":
                found.setdefault(row["quantity"], {})[row["key"]] = float(row["value"])
    return found


def weighted_lalonde() -> tuple[Baseline, Design]:
    baseline, treated = lalonde()
    return baseline, propensity_weighting(baseline, treated, unpenalised(), rng=RNG)


def plain(matrix: FloatArray, person: FloatArray | None = None) -> Baseline:
    same = np.zeros(len(matrix), dtype=np.int64)
    people = np.arange(len(matrix)) if person is None else person.astype(np.int64)
    return Baseline(matrix, tuple(f"x{j}" for j in range(matrix.shape[1])), same, same, people)


def given(treated: BoolArray, weights: FloatArray, estimand: Estimand = "ATT") -> Design:
    no_set = np.full(len(treated), -1, dtype=np.int64)
    return Design("given", estimand, treated, np.full(len(treated), 0.5), weights, no_set)


def scored(linear: FloatArray) -> Propensity:
    return Propensity(1 / (1 + np.exp(-linear)), linear, None, 0.0)


def test_distances_of_distributions_are_those_of_matchit() -> None:
    for row in measure_balance(*weighted_lalonde()):
        assert row.ks_before == pytest.approx(golden()["ks_before"][row.covariate], abs=1e-12)
        assert row.ks_after == pytest.approx(golden()["ks_after"][row.covariate], abs=1e-8)


def test_the_distance_of_an_empty_arm_is_one() -> None:
    (row,) = measure_balance(plain(np.array([[0.5], [2.0]])), given(np.array([True, False]), np.array([1.0, 0.0])))
    assert (row.ks_before, row.ks_after) == (1.0, 1.0)


def test_the_untreated_group_s_deviation_serves_under_the_atc() -> None:
    baseline, treated = lalonde()
    for row in measure_balance(baseline, given(treated, np.ones(len(treated)), "ATC")):
        assert row.smd_before == pytest.approx(golden()["atc_smd_before"][row.covariate], rel=1e-10)


def test_squares_and_products_are_those_of_matchit() -> None:
    """4 squares and 28 products, of which black × hispan is 0 for everybody and some are too rare to judge."""
    baseline, design = weighted_lalonde()
    found = measure_products(baseline, design)
    before, after = golden()["product_smd_before"], golden()["product_smd_after"]
    rare = {name for name in after if min(_with(name), 185 - _with(name)) < 10}
    judged = set(after) - rare
    assert 0 < len(judged) < len(after)
    assert found.n_products == len(judged)
    assert found.n_rare == len(rare) + 1  # black × hispan, which nobody has
    ess = (sum(design.weights) - 185) ** 2 / sum(design.weights[~design.treated] ** 2)
    chance = 2 * NormalDist().cdf(-0.1 / np.sqrt(1 / 185 + 1 / ess))
    assert found.share_over_by_chance == pytest.approx(chance)
    assert found.max_abs_smd == pytest.approx(max(abs(after[name]) for name in judged), rel=1e-7)
    assert found.share_over == pytest.approx(np.mean([abs(after[name]) > 0.1 for name in judged]))
    assert found.share_over_before == pytest.approx(np.mean([abs(before[name]) > 0.1 for name in judged]))
    assert len(found.worst) == 10
    for row in found.worst:
        key = row.product.replace("×", "x")
        assert row.smd_before == pytest.approx(before[key], rel=1e-8)
        assert row.smd_after == pytest.approx(after[key], rel=1e-6)


def _with(product: str) -> float:
    """Fewest treated rows that have the product, or one of its indicators; of numbers, enough."""
    baseline, treated = lalonde()
    column = dict(zip(baseline.columns, baseline.matrix[treated].T, strict=True))
    indicators = [name for name in product.split(" x ") if name in ("black", "hispan", "married", "nodegree")]
    counts = [column[name].sum() for name in indicators]
    counts += [185 - count for count in counts]
    if len(indicators) == 2:
        counts.append(np.prod([column[name] for name in indicators], axis=0).sum())
    return float(min(counts, default=90))


def test_products_do_not_depend_on_the_order_of_rows() -> None:
    baseline, design = weighted_lalonde()
    order = np.random.default_rng(3).permutation(len(design.treated))
    shuffled = replace(design, treated=design.treated[order], weights=design.weights[order])
    moved = measure_products(replace(baseline, matrix=baseline.matrix[order]), shuffled)
    found = measure_products(baseline, design)
    assert [row.product for row in moved.worst] == [row.product for row in found.worst]
    assert moved.max_abs_smd == pytest.approx(found.max_abs_smd, rel=1e-9)


def test_products_of_an_empty_design_are_out_of_balance() -> None:
    baseline, treated = lalonde()
    assert measure_products(baseline, given(treated, np.zeros(len(treated)))).max_abs_smd == np.inf


def test_equipoise_and_c_statistic_are_those_of_r() -> None:
    baseline, design = weighted_lalonde()
    found = measure_scores(baseline, design, unpenalised())
    expected = golden()["equipoise"]
    assert found.equipoise == pytest.approx(expected["all"])
    assert found.equipoise_treated == pytest.approx(expected["treated"])
    assert found.equipoise_control == pytest.approx(expected["control"])
    assert found.c_statistic_after == pytest.approx(golden()["c_statistic"]["after"], rel=1e-8)


def test_equipoise_does_not_depend_on_how_rare_treatment_is() -> None:
    """Log-odds equal to those of the share of treated: a preference of 0.5, in equipoise, however rare."""
    treated = np.arange(1000) < 3
    share = np.log(3 / 997)
    baseline = plain(np.zeros((1000, 1)))
    design = given(treated, np.ones(1000))
    assert measure_scores(baseline, design, scored(np.full(1000, share))).equipoise == 1.0
    beyond = np.where(treated, share + np.log(0.7 / 0.3) + 1e-6, share)
    found = measure_scores(baseline, design, scored(beyond))
    assert (found.equipoise_treated, found.equipoise_control) == (0.0, 1.0)


def test_weighted_c_statistic_by_hand() -> None:
    """Treated 1 (weight 1) and 3 (weight 2); untreated 0, 1, 3 with weights 1, 2, 1, total 4. Wins: 1 beats 0 and ties
    two: 1 + 1 = 2 of 4; 3 beats 3 and ties 1: 3.5 of 4. (2 + 2 × 3.5) / 12. A row of weight 0 is nobody."""
    score = np.array([1.0, 3.0, 0.0, 1.0, 3.0, -9.0])
    treated = np.array([True, True, False, False, False, True])
    assert weighted_c_statistic(score, treated, np.array([1, 2, 1, 2, 1, 0.0])) == pytest.approx(9 / 12)
    assert np.isnan(weighted_c_statistic(score, treated, np.array([0, 0, 1, 1, 1, 0.0])))


def test_a_score_fitted_anew_to_a_randomised_trial_tells_what_chance_gives() -> None:
    """30 trials of 150 against 450 with 20 normal covariates: the mean c-statistic of the refitted score lies within
    0.01 of the value that the theory of D² gives, far from 0.5."""
    rng = np.random.default_rng(11)
    treated = np.arange(600) < 150
    found = []
    for _ in range(30):
        baseline = plain(rng.normal(size=(600, 20)))
        found.append(measure_scores(baseline, given(treated, np.ones(600)), scored(rng.normal(size=600))))
    refitted = np.mean([one.c_statistic_refitted for one in found])
    chance = found[0].c_statistic_by_chance
    assert chance == pytest.approx(NormalDist().cdf(np.sqrt(20 / 112.5 * 598 / 577 / 2)))
    assert abs(refitted - chance) < 0.01
    assert abs(np.mean([one.c_statistic_after for one in found]) - 0.5) < 0.02


def test_who_is_left_out_by_hand() -> None:
    """Participants 0, 2, 4, 10; the last is left out. All: mean 4, variance 56 / 3; kept: mean 2."""
    treated = np.array([True, True, True, True, False, False])
    baseline = plain(np.array([[0.0], [2], [4], [10], [1], [3]]))
    design = given(treated, np.array([1, 1, 1, 0, 1.5, 1.5]))
    found = measure_generalisability(baseline, design, scored(np.zeros(6)))
    (row,) = found.rows
    sd = np.sqrt(56 / 3)
    assert (row.mean_all, row.mean_kept, row.mean_left_out) == (4.0, 2.0, 10.0)
    assert row.smd_kept_vs_all == pytest.approx(-2 / sd)
    assert row.smd_left_out_vs_kept == pytest.approx(8 / sd)
    assert found.n_left_out == 1
    assert found.max_abs_smd == pytest.approx(2 / sd)
    assert 0 < found.index < 1


@pytest.mark.parametrize(("estimand", "mean_kept"), [("ATE", 3.0), ("ATC", 3.5), ("ATO", 3.5)])
def test_who_of_the_untreated_is_left_out_by_hand(estimand: Estimand, mean_kept: float) -> None:
    """Untreated 2, 4, 9; the last is left out. They count by their weights (1 and 3) where these are about them."""
    baseline = plain(np.array([[0.0], [2], [2], [4], [9]]))
    design = given(np.arange(5) < 2, np.array([1, 1, 1.0, 3.0, 0]), estimand)
    found = measure_generalisability(baseline, design, scored(np.zeros(5)))
    (row,) = found.untreated_rows
    assert found.n_untreated_left_out == 1
    assert (row.mean_all, row.mean_kept, row.mean_left_out) == (5.0, mean_kept, 9.0)
    assert row.smd_left_out_vs_kept == pytest.approx((9 - mean_kept) / np.sqrt(13))
    assert found.n_left_out == 0
    of_att = measure_generalisability(baseline, replace(design, estimand="ATT"), scored(np.zeros(5)))
    assert (of_att.n_untreated_left_out, of_att.untreated_rows) == (0, ())


def test_index_of_generalisability_at_its_ends() -> None:
    baseline, treated = lalonde()
    everybody = given(treated, np.ones(len(treated)))
    whole = measure_generalisability(baseline, everybody, unpenalised())
    assert (whole.index, whole.n_left_out, whole.max_abs_smd) == (1.0, 0, 0.0)
    assert all(np.isnan(row.mean_left_out) for row in whole.rows)
    nobody = measure_generalisability(baseline, given(treated, np.where(treated, 0.0, 1.0)), unpenalised())
    assert nobody.index == 0.0
    assert np.isnan(measure_generalisability(baseline, given(treated, np.ones(614), "ATE"), unpenalised()).index)


def test_index_of_generalisability_is_the_known_area_of_two_normals() -> None:
    """Overlap weights of quantiles of N(0, 1) that turn them into N(0.8, 1): the Bhattacharyya coefficient of two
    normals d apart is exp(-d² / 8) = 0.923; kernels of one bandwidth h widen both to variance 1 + h²."""
    n = 4000
    score = np.array([NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)])
    treated = np.ones(n + 1, dtype=np.bool_)
    treated[-1] = False
    weights = np.append(np.exp(0.8 * score), 1.0)
    linear = np.append(score, 0.0)
    found = measure_generalisability(plain(linear[:, None]), given(treated, weights, "ATO"), scored(linear))
    assert found.index == pytest.approx(np.exp(-0.64 / 8), abs=0.005)


def test_leaving_out_at_random_keeps_generalisability_and_leaving_out_the_old_does_not() -> None:
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(700, 3))
    treated = np.arange(700) < 400
    random_out = given(treated, np.where(treated & (rng.random(700) < 0.3), 0.0, 1.0))
    old_out = given(treated, np.where(treated & (matrix[:, 0] > 0.3), 0.0, 1.0))
    at_random, by_age = (
        measure_generalisability(plain(matrix), design, scored(np.zeros(700))).index for design in (random_out, old_out)
    )
    assert at_random > 0.95
    assert by_age < 0.85
    order = rng.permutation(700)
    moved = given(treated[order], old_out.weights[order])
    again = measure_generalisability(plain(matrix[order]), moved, scored(np.zeros(700)))
    assert again.index == pytest.approx(by_age, rel=1e-6)


def arms(n_1: int, n_0: int) -> tuple[Baseline, Design]:
    treated = np.arange(n_1 + n_0) < n_1
    return plain(np.zeros((n_1 + n_0, 1))), given(treated, np.ones(n_1 + n_0))


@pytest.mark.parametrize(("risk", "n_1", "n_0"), [(0.5, 294, 588), (0.1, 1000, 3000)])
def test_detectable_ratios_are_those_of_r(risk: float, n_1: int, n_0: int) -> None:
    found = minimum_detectable(*arms(n_1, n_0), baseline_risk=risk)
    expected = golden()["detectable"]
    assert found.risk_ratio_below == pytest.approx(expected[f"{risk:g} {n_1} {n_0} below"], rel=1e-9)
    if risk == 0.5:
        assert found.risk_ratio_above == pytest.approx(expected["0.5 294 588 above"], rel=1e-9)
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    assert found.sd_difference == pytest.approx(z * np.sqrt(1 / n_1 + 1 / n_0))


def test_detectable_ratio_is_near_that_of_power_prop_test() -> None:
    found = minimum_detectable(*arms(500, 500), baseline_risk=0.5)
    assert found.risk_ratio_above == pytest.approx(golden()["power.prop.test"]["0.5 500 500 above"], abs=0.002)


def test_a_study_finds_the_detectable_ratio_as_often_as_it_says() -> None:
    """Wald tests of 20,000 simulated studies; 0.8 ± 3 × 0.0028, and 0.015 for what a normal approximation is worth."""
    found = minimum_detectable(*arms(300, 900), baseline_risk=0.45)
    rng = np.random.default_rng(8)
    one = rng.binomial(300, 0.45 * found.risk_ratio_below, 20_000) / 300
    other = rng.binomial(900, 0.45, 20_000) / 900
    error = np.sqrt(one * (1 - one) / 300 + other * (1 - other) / 900)
    assert np.mean((other - one) / error > NormalDist().inv_cdf(0.975)) == pytest.approx(0.8, abs=0.023)


def test_what_cannot_be_detected_is_said_to_be_so() -> None:
    tiny = minimum_detectable(*arms(5, 5), baseline_risk=0.2)
    assert (tiny.risk_ratio_below, np.isfinite(tiny.risk_ratio_above)) == (0.0, True)
    assert minimum_detectable(*arms(5, 5), baseline_risk=0.9).risk_ratio_above == np.inf
    assert np.isnan(minimum_detectable(*arms(5, 5)).risk_ratio_below)
    baseline, design = arms(5, 5)
    nobody = minimum_detectable(
        baseline, replace(design, weights=np.where(design.treated, 1.0, 0.0)), baseline_risk=0.2
    )
    assert (nobody.sd_difference, nobody.risk_ratio_below, nobody.risk_ratio_above) == (np.inf, 0.0, np.inf)


def test_effective_number_of_people_by_hand() -> None:
    """Weights 1, 2, 3, the first two one person's. r = 0: 36 / 14. r = 1: 36 / (9 + 9). r = 0.5: 36 / (7 + 9)."""
    weights, person = np.array([1.0, 2.0, 3.0]), np.array([7, 7, 4])
    assert effective_number_of_people(weights, person, 0.0) == pytest.approx(36 / 14)
    assert effective_number_of_people(weights, person, 1.0) == pytest.approx(2.0)
    assert effective_number_of_people(weights, person, 0.5) == pytest.approx(36 / 16)


@pytest.mark.parametrize(
    "options",
    [{"baseline_risk": 0.0}, {"baseline_risk": 1.0}, {"power": 1.0}, {"alpha": 0.0}, {"person_correlation": 1.1}],
)
def test_impossible_assumptions_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        minimum_detectable(*arms(5, 5), **options)


def _confounded(n: int) -> tuple[FloatArray, BoolArray, FloatArray]:
    """x0 drives treatment and outcome, x1 treatment only, x2 outcome only."""
    rng = np.random.default_rng(21)
    x = rng.normal(size=(n, 3))
    treated = rng.random(n) < 1 / (1 + np.exp(1.5 - x[:, 0] - x[:, 1]))
    outcome = (rng.random(n) < 1 / (1 + np.exp(-x[:, 0] - x[:, 2]))).astype(np.float64)
    return x, treated, outcome


def test_prognostic_balance_sees_confounding_and_its_removal() -> None:
    """The true score's difference is that of x0 + x2 over its deviation among the treated."""
    x, treated, outcome = _confounded(6000)
    baseline, even = plain(x), np.ones(len(x))
    truth = 1 / (1 + np.exp(-x[:, 0] - x[:, 2]))
    found = fit_prognostic_score(outcome, baseline, treated, rng=np.random.default_rng(1), kind="binary")
    expected = (truth[treated].mean() - truth[~treated].mean()) / truth[treated].std(ddof=1)
    before = measure_prognostic_balance(found.score, baseline, given(treated, even))
    assert before.smd_before == pytest.approx(expected, abs=0.05)
    assert before.smd_after == before.smd_before > 0.4
    odds = np.where(treated, 1.0, np.exp(x[:, 0] + x[:, 1] - 1.5))
    after = measure_prognostic_balance(found.score, baseline, given(treated, odds))
    assert after.smd_before == before.smd_before
    assert abs(after.smd_after) < 0.08
    assert found.n_learnt_from == (~treated).sum()
    assert found.fit == pytest.approx(np.corrcoef(truth[~treated], outcome[~treated])[0, 1], abs=0.03)


def test_outcomes_of_the_treated_play_no_part_in_the_prognostic_score() -> None:
    x, treated, outcome = _confounded(800)
    one, other = (
        fit_prognostic_score(y, plain(x), treated, rng=np.random.default_rng(1), kind="binary")
        for y in (outcome, np.where(treated, np.nan, outcome))
    )
    np.testing.assert_array_equal(one.score, other.score)
    order = np.random.default_rng(4).permutation(800)
    moved = fit_prognostic_score(
        outcome[order], plain(x[order], order), treated[order], rng=np.random.default_rng(1), kind="binary"
    )
    np.testing.assert_allclose(moved.score, one.score[order], atol=1e-9)


def test_a_prognostic_score_of_pure_noise_fits_nothing() -> None:
    """Persons with 4 rows each and an outcome of their own: a score that saw its own person would fit."""
    rng = np.random.default_rng(2)
    person = np.repeat(np.arange(150), 4)
    x = np.repeat(rng.normal(size=(150, 20)), 4, axis=0)
    outcome = np.repeat((rng.random(150) < 0.5).astype(np.float64), 4)
    treated = np.repeat(np.arange(150) < 30, 4)
    found = fit_prognostic_score(outcome, plain(x, person), treated, rng=np.random.default_rng(1), kind="binary")
    assert found.fit < 0.15
    few = np.where(person > 32, np.nan, outcome)
    with pytest.raises(ValueError, match="at least 5 untreated people"):
        fit_prognostic_score(few, plain(x, person), treated, rng=np.random.default_rng(1), kind="binary")


def test_matched_designs_are_measured_too() -> None:
    baseline, treated = lalonde()
    design = nearest_neighbour(baseline, treated, unpenalised(), rng=RNG)
    scores = measure_scores(baseline, design, unpenalised())
    assert 0.4 < scores.c_statistic_after < 0.6
    found = minimum_detectable(baseline, design, baseline_risk=0.5)
    assert found.effective_n_treated == pytest.approx((design.weights[treated] > 0).sum())
