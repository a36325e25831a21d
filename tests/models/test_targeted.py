"""TMLE: against its steps in R, its score equation, double robustness, and in simulated worlds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from models.cross_fitting import CrossFitted, balancing_weights
from models.doubly_robust import aipw, doubly_robust_means
from models.influence import find_clusters, robust_covariance
from models.results import Design
from models.targeted import targeted_means, tmle
from tests.models.contract_estimates import expect_good_estimate
from tests.models.effect_samples import (
    GOLDEN,
    baseline_of,
    by_hand,
    easy_world,
    golden_matched,
    golden_values,
    golden_weighted,
    read_columns,
    weighting_design,
)

R = golden_values("targeted.csv")
OUTCOMES = {"y": "binary", "z": "continuous"}


def r_sample(column):
    """The pool of make_golden.R with the predictions of make_targeted.R."""
    data, baseline, design = golden_weighted("ate_plain")
    given = read_columns(GOLDEN / "predictions.csv")
    clusters, rows = find_clusters(baseline, design), np.arange(len(data["y"]))
    treated, control = given[f"{column}_if_1"], given[f"{column}_if_0"]
    return CrossFitted(rows, clusters, data[column], design.treated, given["score"], treated, control)


# --- against R ------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE", "ATO"])
@pytest.mark.parametrize("method", ["tmle", "aipw"])
def test_means_and_errors_at_given_predictions_agree_with_r(method, estimand, column):
    fit = r_sample(column)
    if method == "tmle":
        means = targeted_means(fit, estimand)
    else:
        of_fit = (fit.y, fit.treated, fit.score, fit.if_treated, fit.if_control)
        means = doubly_robust_means(*of_fit, estimand, fit.clusters, fit.rows)
    covariance = robust_covariance(means.influence, means.clusters)
    log_ratio = np.array([1 / means.treated, -1 / means.control])
    found = {
        "mean_treated": means.treated,
        "mean_control": means.control,
        "std_error": np.sqrt([1, -1] @ covariance @ [1, -1]),
        "log_ratio_std_error": np.sqrt(log_ratio @ covariance @ log_ratio),
    }
    for quantity, value in found.items():
        assert value == pytest.approx(R[f"{method} {estimand} {column}", quantity], rel=1e-9), quantity


# --- what it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE", "ATO"])
def test_it_is_aipw_where_the_residuals_vanish_already(estimand):
    # Predictions that are a constant a weighted residual away: both methods then give the weighted means.
    fit = r_sample("y")
    _, forward, backward = balancing_weights(fit.treated, fit.score, estimand)
    fit = replace(
        fit,
        if_treated=np.full(400, float(forward @ fit.y / forward.sum())),
        if_control=np.full(400, float(backward @ fit.y / backward.sum())),
    )
    means = targeted_means(fit, estimand)
    assert means.treated == pytest.approx(fit.if_treated[0])
    assert means.control == pytest.approx(fit.if_control[0])
    plain = doubly_robust_means(
        fit.y, fit.treated, fit.score, fit.if_treated, fit.if_control, estimand, fit.clusters, fit.rows
    )
    np.testing.assert_allclose(means.influence, plain.influence, atol=1e-9)


def test_means_stay_within_the_range_of_the_outcome():
    # Predictions far beyond it, and a few controls with nearly all the weight.
    fit = r_sample("z")
    wild = replace(fit, if_control=50 * (fit.if_control - fit.if_control.mean()), score=np.clip(fit.score**4, 1e-6, 1))
    means = targeted_means(wild, "ATT")
    assert fit.y.min() <= means.control <= fit.y.max()


def test_an_arm_without_events_has_a_risk_of_nought():
    rng = np.random.default_rng(1)
    n = 120
    treated = np.arange(n) < 40
    outcome, baseline, design = by_hand(treated * (rng.random(n) < 0.5), treated, np.ones(n))
    design = replace(design, score=np.where(rng.random(n) < 0.5, 0.3, 0.4))
    difference, ratio, odds = tmle(outcome, baseline, design, rng=rng, kind="binary")
    assert difference.value == outcome[treated].mean()
    assert np.isfinite(difference.std_error)
    assert np.isnan([ratio.value, odds.value]).all()


@pytest.mark.parametrize("wrong", ["outcome", "propensity", "both"])
def test_one_wrong_model_does_no_harm(wrong):
    # 20,000 people whose outcome and treatment depend on x²; a model without x² is wrong. True effect on the treated 1.
    rng = np.random.default_rng(10)
    x = rng.normal(size=20_000)
    true_score = expit(-1 + 0.8 * (x**2 - 1))
    treated = rng.random(20_000) < true_score
    y = x**2 + treated + rng.normal(size=20_000)
    score = np.full(20_000, treated.mean()) if wrong in ("propensity", "both") else true_score
    if_control = np.full(20_000, y[~treated].mean()) if wrong in ("outcome", "both") else x**2
    clusters = find_clusters(
        baseline_of(x[:, None]),
        Design("by_hand", "ATT", treated, true_score, np.ones(20_000), np.full(20_000, -1)),
    )
    means = targeted_means(CrossFitted(np.arange(20_000), clusters, y, treated, score, if_control, if_control), "ATT")
    error = np.sqrt([1, -1] @ robust_covariance(means.influence, clusters) @ [1, -1])
    assert (abs(means.treated - means.control - 1) < 3.5 * error) == (wrong != "both")


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", "att_plain", "ate_plain", "att_by_site"])
def test_contract(name, column):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    expect_good_estimate(tmle, data[column], baseline, design, kind=OUTCOMES[column])


@pytest.mark.parametrize("estimand", ["ATC", "ATO"])
@pytest.mark.parametrize("method", [tmle, aipw])
def test_contract_of_other_estimands(method, estimand):
    data, baseline, design = golden_weighted("ate_plain")
    design = replace(design, estimand=estimand)
    for column, kind in OUTCOMES.items():
        expect_good_estimate(method, data[column], baseline, design, kind=kind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "at least 2"),
        ({"folds": 61}, "independent clusters"),
        ({"l2_penalty": 0.0}, "must be positive"),
        ({"confidence": 0.0}, "between 0 and 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    data, baseline, design = golden_matched()
    with pytest.raises(ValueError, match=message):
        tmle(data["y"], baseline, design, rng=np.random.default_rng(0), kind="binary", **options)


# --- simulated worlds -----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "estimand"), [("binary", "ATT"), ("continuous", "ATE"), ("continuous", "ATO")])
def test_intervals_cover_the_truth(kind, estimand):
    # 100 worlds of 500 rows, about 100 treated. 0.95 - three binomial errors: 0.885.
    rng = np.random.default_rng(30)
    effect = 0.5 if kind == "continuous" else 0.0
    found = []
    for _world in range(100):
        outcome, baseline, treated = easy_world(rng, 500, kind=kind, effect=effect)
        design = replace(weighting_design(baseline, treated, "ATE"), estimand=estimand)
        estimate = tmle(outcome, baseline, design, rng=rng, kind=kind)[0]
        found.append((estimate.value, estimate.std_error, estimate.lower < effect < estimate.upper))
    values, std_errors, covered = np.array(found).T
    assert covered.mean() > 0.885
    assert abs(values.mean() - effect) < 4 * values.std() / np.sqrt(100)
    assert std_errors.mean() / values.std() == pytest.approx(1, abs=0.22)  # from 100: 7 % off, three times
