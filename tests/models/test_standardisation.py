"""G-computation and regression after the design: against R, by hand, double robustness, and in simulated worlds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from models.effects import weighted_difference
from models.matching import nearest_neighbour
from models.nuisance import fit_coefficients
from models.propensity import fit_propensity
from models.results import Design
from models.standardisation import adjusted_regression, g_computation
from tests.models.contract_estimates import expect_good_estimate
from tests.models.effect_samples import (
    WEIGHTED,
    baseline_of,
    by_hand,
    easy_world,
    golden_matched,
    golden_values,
    golden_weighted,
    weighting_design,
)

R = golden_values("standardised.csv")
RNG = np.random.default_rng(0)
OUTCOMES = {"y": "binary", "z": "continuous"}


def expect_values_of_r(estimates, name, rel):
    for estimate in estimates:
        assert estimate.value == pytest.approx(R[name, f"{estimate.scale} value"], rel=1e-9)
        assert estimate.std_error == pytest.approx(R[name, f"{estimate.scale} std_error"], rel=rel)


# --- against R ------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("method", [g_computation, adjusted_regression])
def test_matched_sample_agrees_with_refitting_everything_in_r(method, column):
    data, baseline, design = golden_matched()
    estimates = method(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column], l2_penalty=0.0)
    expect_values_of_r(estimates, f"{method.__name__} matched", 1e-6)


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("variant", ["plain", "by_site"])
@pytest.mark.parametrize("estimand", ["ATT", "ATE", "ATC"])
def test_g_computation_agrees_with_refitting_everything_in_r(estimand, variant, column):
    data, baseline, design = golden_weighted(f"ate_{variant}")
    design = replace(design, estimand=estimand)
    estimates = g_computation(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column], l2_penalty=0.0)
    expect_values_of_r(estimates, f"g_computation {estimand.lower()}_{variant}", 1e-6)
    assert estimates[0].notes["variance"] == "regression as estimated"


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_regression_agrees_with_refitting_everything_in_r(name, column):
    data, baseline, design = golden_weighted(name)
    estimates = adjusted_regression(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column], l2_penalty=0.0)
    expect_values_of_r(estimates, f"adjusted_regression {name}", 1e-6)
    assert estimates[0].notes["variance"] == "regression as estimated, weights as estimated"


# --- by hand --------------------------------------------------------------------------------------


def test_without_covariates_both_are_the_comparison_of_means():
    # Means 4 and 3; the covariate is constant. HC2 makes each arm's error s / sqrt(n): s² = 2 and 7, n = 2 and 3.
    outcome, baseline, design = by_hand([3, 5, 1, 2, 6], [1, 1, 0, 0, 0], np.ones(5))
    baseline = replace(baseline, matrix=np.ones((5, 1)))
    design = replace(design, estimand="ATE")
    for method in (g_computation, adjusted_regression):
        difference = method(outcome, baseline, design, rng=RNG, kind="continuous")[0]
        assert difference.value == pytest.approx(1.0)
        assert difference.std_error == pytest.approx(np.sqrt(2 / 2 + 7 / 3))


def test_strata_are_standardised():
    # Two strata of four rows. Controls have means 1 (of 2) and 5 (of 3), treated 4 (of 2) and 9 (one): effects 3 and 4.
    stratum = np.array([0, 0, 0, 1, 1, 1, 1, 0.0])
    treated = np.array([1, 1, 0, 1, 0, 0, 0, 0])
    outcome, baseline, design = by_hand([3, 5, 0.5, 9, 4, 5, 6, 1.5], treated, np.ones(8))
    baseline = baseline_of(np.zeros((8, 1)), group=stratum)
    options = {"rng": RNG, "kind": "continuous", "l2_penalty": 1e-9}
    assert g_computation(outcome, baseline, design, **options)[0].value == pytest.approx((2 * 3 + 1 * 4) / 3)
    ate = g_computation(outcome, baseline, replace(design, estimand="ATE"), **options)[0]
    assert ate.value == pytest.approx((4 * 3 + 4 * 4) / 8)
    atc = g_computation(outcome, baseline, replace(design, estimand="ATC"), **options)[0]
    assert atc.value == pytest.approx((2 * 3 + 3 * 4) / 5)


def test_a_large_penalty_leaves_the_weighted_difference():
    data, baseline, design = golden_weighted("att_plain")
    for column, kind in OUTCOMES.items():
        plain = weighted_difference(data[column], baseline, design, rng=RNG, kind=kind)[0]
        adjusted = adjusted_regression(data[column], baseline, design, rng=RNG, kind=kind, l2_penalty=1e9)[0]
        assert adjusted.value == pytest.approx(plain.value, rel=1e-6)
        assert adjusted.std_error == pytest.approx(plain.std_error, rel=0.01)  # HC2 of some 270 controls


def test_the_influence_follows_the_penalty():
    # Everything refitted with one person's weight moved, in the penalised fit: a slow jackknife of the difference.
    rng = np.random.default_rng(4)
    outcome, baseline, treated = easy_world(rng, 3_000, kind="binary", log_odds=-1.0)
    zeros = np.full(3_000, -1)
    design = Design("by_hand", "ATE", treated, np.full(3_000, 0.5), np.ones(3_000), zeros)
    estimate = g_computation(outcome, baseline, design, rng=rng, kind="binary", l2_penalty=40.0)[0]
    columns = np.column_stack([np.ones(3_000), (baseline.matrix - baseline.matrix.mean(0)) / baseline.matrix.std(0)])
    slopes = []
    for row in range(0, 3_000, 10):
        sides = []
        for step in (1e-3, -1e-3):
            case = np.ones(3_000)
            case[row] += step
            means = []
            for arm in (treated, ~treated):
                fit = fit_coefficients(columns[arm], outcome[arm], case[arm], "binary", 40.0)
                means.append(case @ expit(columns @ fit) / case.sum())
            sides.append(means[0] - means[1])
        slopes.append((sides[0] - sides[1]) / 2e-3)
    # A tenth of the rows stands for all: 300 squares, so 12 % is three times sqrt(2 / 300) / 2.
    assert estimate.std_error == pytest.approx(np.sqrt(10 * np.square(slopes).sum()), rel=0.12)


# --- double robustness ----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["outcome", "weights", "both"])
def test_one_wrong_model_does_no_harm_to_the_weighted_regression(wrong):
    # 20,000 people whose outcome and treatment depend on x²; a model without x² is wrong. True effect on the treated 1.
    rng = np.random.default_rng(10)
    x = rng.normal(size=20_000)
    treated = rng.random(20_000) < expit(-1 + 0.8 * (x**2 - 1))
    y = x**2 + treated + rng.normal(size=20_000)
    right, poor = baseline_of((x**2)[:, None]), baseline_of(x[:, None])
    design = weighting_design(poor if wrong in ("weights", "both") else right, treated)
    seen = poor if wrong in ("outcome", "both") else right
    estimate = adjusted_regression(y, seen, design, rng=rng, kind="continuous", weights_are="fixed")[0]
    assert (abs(estimate.value - 1) < 3.5 * estimate.std_error) == (wrong != "both")
    alone = g_computation(y, seen, design, rng=rng, kind="continuous")[0]
    assert (abs(alone.value - 1) < 3.5 * alone.std_error) == (wrong == "weights")


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", *WEIGHTED])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        (g_computation, {}),
        (g_computation, {"l2_penalty": 0.0}),
        (adjusted_regression, {}),
        (adjusted_regression, {"l2_penalty": 0.0, "weights_are": "fixed"}),
    ],
)
def test_contract(method, options, name, column):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    expect_good_estimate(method, data[column], baseline, design, kind=OUTCOMES[column], **options)


def other_estimand(estimand):
    """The pool of make_golden.R with the weights of the controls as population, or of overlap."""
    data, baseline, design = golden_weighted("ate_plain")
    score = design.score
    of_controls = np.where(design.treated, (1 - score) / score, 1.0)
    weights = of_controls if estimand == "ATC" else np.where(design.treated, 1 - score, score)
    return data, baseline, replace(design, estimand=estimand, weights=weights)


@pytest.mark.parametrize("estimand", ["ATC", "ATO"])
@pytest.mark.parametrize("method", [g_computation, adjusted_regression])
def test_contract_of_other_estimands(method, estimand):
    data, baseline, design = other_estimand(estimand)
    for column, kind in OUTCOMES.items():
        expect_good_estimate(method, data[column], baseline, design, kind=kind)


@pytest.mark.parametrize(
    ("method", "estimand"), [(g_computation, "ATO"), (adjusted_regression, "ATC"), (adjusted_regression, "ATO")]
)
def test_other_estimands_agree_with_refitting_everything_in_r(method, estimand):
    data, baseline, design = other_estimand(estimand)
    for column, kind in OUTCOMES.items():
        estimates = method(data[column], baseline, design, rng=RNG, kind=kind, l2_penalty=0.0)
        expect_values_of_r(estimates, f"{method.__name__} {estimand.lower()}_plain", 1e-6)
        assert "weights as estimated" in estimates[0].notes["variance"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2_penalty": -1.0}, "at least 0"),
        ({"l2_penalty": np.nan}, "at least 0"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"kind": "count"}, "kind must be"),
    ],
)
@pytest.mark.parametrize("method", [g_computation, adjusted_regression])
def test_bad_options_are_refused(method, options, message):
    data, baseline, design = golden_matched()
    with pytest.raises(ValueError, match=message):
        method(data["y"], baseline, design, **{"rng": RNG, "kind": "binary", **options})


def test_more_covariates_than_an_arm_can_carry_are_refused():
    rng = np.random.default_rng(1)
    treated = np.arange(40) < 20
    baseline = baseline_of(rng.normal(size=(40, 18)))
    design = Design("by_hand", "ATT", treated, np.full(40, 0.5), np.ones(40), np.tile(np.arange(20), 2))
    outcome = rng.normal(size=40)
    with pytest.raises(ValueError, match="19 free parameters for 20 people"):
        g_computation(outcome, baseline, design, rng=rng, kind="continuous", l2_penalty=0.0)
    assert g_computation(outcome, baseline, design, rng=rng, kind="continuous", l2_penalty=20.0)[0].std_error > 0


def test_a_separated_outcome_needs_a_penalty():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 1))
    treated = rng.random(300) < 0.4
    outcome = (x[:, 0] > 0).astype(float)
    design = Design("by_hand", "ATT", treated, np.full(300, 0.5), np.ones(300), np.full(300, -1))
    with pytest.raises(ValueError, match="without a penalty"):
        g_computation(outcome, baseline_of(x), design, rng=rng, kind="binary", l2_penalty=0.0)
    assert np.isfinite(g_computation(outcome, baseline_of(x), design, rng=rng, kind="binary")[0].value)


def test_an_arm_without_events_has_a_difference_but_no_ratio():
    outcome, baseline, design = by_hand([1, 1, 0, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], np.ones(8))
    for method in (g_computation, adjusted_regression):
        difference, ratio, odds = method(outcome, baseline, design, rng=RNG, kind="binary")
        assert difference.value == 0.75
        assert np.isfinite(difference.std_error)
        assert np.isnan([ratio.value, odds.value]).all()
        assert "not_estimable" in ratio.notes


# --- simulated worlds -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", [g_computation, adjusted_regression])
@pytest.mark.parametrize(("kind", "estimand"), [("binary", "ATT"), ("continuous", "ATE")])
def test_intervals_cover_the_truth(method, kind, estimand):
    # 200 worlds of 500 rows, about 100 treated. 0.95 ± three binomial errors: 0.904 to 0.996.
    rng = np.random.default_rng(20)
    effect = 0.5 if kind == "continuous" else 0.0
    found = []
    for _world in range(200):
        outcome, baseline, treated = easy_world(rng, 500, kind=kind, effect=effect)
        design = weighting_design(baseline, treated, estimand)
        estimate = method(outcome, baseline, design, rng=rng, kind=kind)[0]
        found.append((estimate.value, estimate.std_error, estimate.lower < effect < estimate.upper))
    values, std_errors, covered = np.array(found).T
    assert 0.904 < covered.mean() < 0.996
    assert abs(values.mean() - effect) < 4 * values.std() / np.sqrt(200)
    assert std_errors.mean() / values.std() == pytest.approx(1, abs=0.18)  # a deviation from 200 is 5 % off, ± 3 times


def test_few_pairs_and_many_covariates_have_wide_enough_intervals():
    # 120 worlds of some 46 pairs and 25 covariates, no effect. 0.95 - three binomial errors: 0.89.
    rng = np.random.default_rng(5)
    covered = []
    for _world in range(120):
        matrix = rng.normal(size=(1_500, 25))
        treated = rng.random(1_500) < expit(-3.6 + matrix[:, :2] @ [0.5, -0.3])
        outcome = (rng.random(1_500) < expit(matrix[:, :5].sum(axis=1) / 2)).astype(float)
        baseline = baseline_of(matrix)
        design = nearest_neighbour(baseline, treated, fit_propensity(baseline, treated), estimand="ATT", rng=rng)
        estimate = adjusted_regression(outcome, baseline, design, rng=rng, kind="binary")[0]
        covered.append(estimate.lower < 0 < estimate.upper)
    assert np.mean(covered) > 0.89
