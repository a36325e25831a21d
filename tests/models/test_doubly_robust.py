"""AIPW: against a plain loop with scikit-learn, double robustness, and in simulated worlds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression, Ridge

from models.cross_fitting import DIVISIONS, CrossFitted
from models.doubly_robust import aipw, doubly_robust_means
from models.effects import weighted_difference
from models.influence import find_clusters, robust_covariance
from models.nuisance import (
    assign_folds,
    cross_predict,
    recalibrate,
    rows_in_order,
)
from models.results import Baseline, Design
from models.targeted import targeted_means, tmle
from tests.models.contract_estimates import expect_good_estimate
from tests.models.effect_samples import (
    baseline_of,
    easy_world,
    golden_matched,
    golden_weighted,
    weighting_design,
)

OUTCOMES = {"y": "binary", "z": "continuous"}


def sample(name):
    return golden_matched() if name == "matched" else golden_weighted(name)


# --- the estimate -----------------------------------------------------------------------------------------


def slow_means(y, treated, score, if_treated, if_control, estimand):
    """The two means written as in the papers, row by row."""
    n = len(y)
    if estimand == "ATT":
        odds = [0.0 if treated[i] else score[i] / (1 - score[i]) for i in range(n)]
        residual = sum(odds[i] * (y[i] - if_control[i]) for i in range(n)) / sum(odds)
        base = [if_control[i] for i in range(n) if treated[i]]
        observed = [y[i] for i in range(n) if treated[i]]
        return sum(observed) / len(observed), sum(base) / len(base) + residual
    forward = [1 / score[i] if treated[i] else 0.0 for i in range(n)]
    backward = [0.0 if treated[i] else 1 / (1 - score[i]) for i in range(n)]
    return (
        sum(if_treated) / n + sum(forward[i] * (y[i] - if_treated[i]) for i in range(n)) / sum(forward),
        sum(if_control) / n + sum(backward[i] * (y[i] - if_control[i]) for i in range(n)) / sum(backward),
    )


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["att_plain", "ate_plain", "matched"])
def test_agrees_with_a_plain_loop_over_scikit_learn(name, column):
    data, baseline, design = sample(name)
    kind, y = OUTCOMES[column], data[column]
    estimate = aipw(y, baseline, design, rng=np.random.default_rng(8), kind=kind)[0]

    rows, clusters = rows_in_order(y, baseline, design), find_clusters(baseline, design)
    y, treated, x = y[rows], design.treated[rows], baseline.matrix[rows]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    rng = np.random.default_rng(8)
    divisions = [assign_folds(clusters, rows, design.treated, 5, rng) for _ in range(DIVISIONS)]

    def logistic(learn, target):
        model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10)
        return model.fit(x[learn], target[learn]).predict_proba(x)[:, 1]

    def regress(learn, target):
        return logistic(learn, target) if kind == "binary" else Ridge(1.0).fit(x[learn], target[learn]).predict(x)

    def recalibrated(predicted, target, learn, binary):
        if not binary:
            slope, level = np.polyfit(predicted[learn], target[learn], 1)
            return level + slope * predicted if slope > 0 else np.full(len(target), target[learn].mean())
        odds = logit(predicted)
        about = odds[learn].mean()

        def loss(shift):
            linear = odds + shift[0] + shift[1] * (odds - about)
            return np.sum(np.logaddexp(0, linear) - target * linear, where=learn) + shift[1] ** 2 / 2

        shift = minimize(loss, [0.0, 0.0], tol=1e-12).x
        if shift[1] < -1:
            return np.full(len(target), target[learn].mean())
        return expit(odds + shift[0] + shift[1] * (odds - about))

    score, if_treated, if_control = np.zeros((3, len(y)))
    for fold in divisions:
        for number in range(5):
            here, away = fold == number, fold != number
            score[here] += logistic(away, treated)[here] / DIVISIONS
            if_treated[here] += regress(away & treated, y)[here] / DIVISIONS
            if_control[here] += regress(away & ~treated, y)[here] / DIVISIONS
    score = recalibrated(score, treated, np.ones_like(treated), True)
    if_treated = recalibrated(if_treated, y, treated, kind == "binary")
    if_control = recalibrated(if_control, y, ~treated, kind == "binary")
    mean_treated, mean_control = slow_means(y, treated, score, if_treated, if_control, design.estimand)
    assert estimate.notes["mean_treated"] == pytest.approx(mean_treated, rel=1e-5)
    assert estimate.notes["mean_control"] == pytest.approx(mean_control, rel=1e-5)


@pytest.mark.parametrize("estimand", ["ATT", "ATE"])
def test_influence_is_the_jackknife_of_the_means_at_given_predictions(estimand):
    rng = np.random.default_rng(9)
    n = 400
    treated, score = rng.random(n) < 0.4, rng.uniform(0.2, 0.6, n)
    if_treated, if_control, y = rng.normal(size=(3, n))
    rows = np.arange(n)
    clusters = find_clusters(baseline_of(np.zeros((n, 1))), weighting_design_of_ones(treated))
    means = doubly_robust_means(y, treated, score, if_treated, if_control, estimand, clusters, rows)
    jackknife = []
    for left_out in range(n):
        here = rows != left_out
        jackknife.append(slow_means(y[here], treated[here], score[here], if_treated[here], if_control[here], estimand))
    deviation = np.array(jackknife) - np.mean(jackknife, axis=0)
    np.testing.assert_allclose(
        robust_covariance(means.influence, means.clusters), deviation.T @ deviation * (n - 1) / n, rtol=0.03, atol=1e-4
    )


def weighting_design_of_ones(treated):
    design = weighting_design(baseline_of(np.zeros((len(treated), 1))), treated)
    return replace(design, weights=np.ones(len(treated)))


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", "att_plain", "ate_plain", "att_by_site"])
def test_contract(name, column):
    data, baseline, design = sample(name)
    expect_good_estimate(aipw, data[column], baseline, design, kind=OUTCOMES[column])


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
    clusters = find_clusters(baseline_of(x[:, None]), weighting_design_of_ones(treated))
    means = doubly_robust_means(y, treated, score, if_control, if_control, "ATT", clusters, np.arange(20_000))
    found = means.treated - means.control
    error = np.sqrt([1, -1] @ robust_covariance(means.influence, clusters) @ [1, -1])
    assert (abs(found - 1) < 3.5 * error) == (wrong != "both")


def test_the_error_does_not_grow_with_the_pool():
    # 60 treated against 600, 6,000 and 24,000 controls: an ATE score would grow tenfold, the ATT's own must not.
    errors = []
    for n_controls in (600, 6_000, 24_000):
        rng = np.random.default_rng(11)
        treated = np.arange(60 + n_controls) < 60
        x = rng.normal(size=(60 + n_controls, 2)) + 0.4 * treated[:, None]
        y = (rng.random(len(x)) < expit(0.5 * x[:, 0])).astype(float)
        baseline = baseline_of(x)
        design = weighting_design(baseline, treated)
        errors.append(aipw(y, baseline, design, rng=rng, kind="binary")[0].std_error)
    assert max(errors) < 1.1 * errors[0]
    assert min(errors) > 0.05  # the 60 treated alone have sqrt(0.25 / 60) = 0.065


def test_groups_of_an_exact_design_are_adjusted_for():
    # Two sites, no covariates: site 1 treats more and has outcomes 2 higher; no effect of treatment.
    rng = np.random.default_rng(12)
    site = rng.random(2_000) < 0.5
    treated = rng.random(2_000) < np.where(site, 0.5, 0.1)
    y = 2.0 * site + rng.normal(size=2_000)
    baseline = baseline_of(rng.normal(size=(2_000, 1)), group=site)
    estimate = aipw(y, baseline, weighting_design_of_ones(treated), rng=rng, kind="continuous")[0]
    assert abs(estimate.value) < 3.5 * estimate.std_error
    assert estimate.std_error < 0.08


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
        aipw(data["y"], baseline, design, rng=np.random.default_rng(0), kind="binary", **options)


# --- simulated worlds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "estimand"), [("binary", "ATT"), ("continuous", "ATE")])
def test_intervals_cover_the_truth(kind, estimand):
    # 100 worlds of 500 rows, about 100 treated. 0.95 - three binomial errors: 0.885.
    rng = np.random.default_rng(30)
    effect = 0.5 if kind == "continuous" else 0.0
    found = []
    for _world in range(100):
        outcome, baseline, treated = easy_world(rng, 500, kind=kind, effect=effect)
        design = weighting_design(baseline, treated, estimand)
        estimate = aipw(outcome, baseline, design, rng=rng, kind=kind)[0]
        found.append((estimate.value, estimate.std_error, estimate.lower < effect < estimate.upper))
    values, std_errors, covered = np.array(found).T
    assert covered.mean() > 0.885
    assert abs(values.mean() - effect) < 4 * values.std() / np.sqrt(100)
    assert std_errors.mean() / values.std() == pytest.approx(
        1, abs=0.22
    )  # a deviation from 120 is 6.5 % off, ± 3 times


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_intervals_cover_the_truth_with_few_treated_and_a_large_pool(kind):
    # 400 worlds, about 60 treated among 3,000. 0.95 ± three binomial errors: 0.917 to 0.983.
    rng = np.random.default_rng(31)
    covered = []
    for _world in range(400):
        outcome, baseline, treated = easy_world(rng, 3_000, kind=kind, log_odds=-4.1)
        design = weighting_design(baseline, treated)
        estimate = aipw(outcome, baseline, design, rng=rng, kind=kind)[0]
        covered.append(estimate.lower < 0 < estimate.upper)
    assert 0.917 < np.mean(covered) < 0.983


def test_a_randomised_contrast_does_not_fit_what_is_known() -> None:
    # Many irrelevant columns, few people: a fitted score says nothing out of sample, and recalibration finds it out.
    rng = np.random.default_rng(3)
    n = 80
    matrix = rng.normal(size=(n, 20))
    treated = rng.permutation(n) < n // 2
    outcome = matrix[:, 0] + treated + rng.normal(size=n)
    ids, zeros = np.arange(n), np.zeros(n, dtype=np.int64)
    baseline = Baseline(matrix, tuple(f"x{j}" for j in range(20)), zeros, zeros, ids)
    design = Design("randomised", "ATT", treated, np.where(matrix[:, 0] > 0, 0.4, 0.6), np.ones(n), np.full(n, -1))
    known, *_ = aipw(outcome, baseline, design, rng=np.random.default_rng(1), kind="continuous", is_randomised=True)
    fitted, *_ = aipw(outcome, baseline, design, rng=np.random.default_rng(1), kind="continuous")
    odds = np.where(matrix[~treated, 0] > 0, 0.4 / 0.6, 0.6 / 0.4)
    assert known.effective_n == pytest.approx(odds.sum() ** 2 / (odds @ odds))
    assert fitted.effective_n == pytest.approx(n / 2, rel=1e-3)


# --- recalibration ------------------------------------------------------------------------------------------


def test_recalibrated_scores_sum_to_the_number_treated_and_promise_less():
    rng = np.random.default_rng(5)
    x = np.exp(rng.normal(size=(1_000, 8)))
    treated = (rng.random(1_000) < 0.04).astype(float)
    fold = rng.integers(0, 5, 1_000)
    everyone = np.ones(1_000, dtype=bool)
    raw = cross_predict((x - x.mean(0)) / x.std(0), treated, everyone, fold, "binary", 1.0)
    score = recalibrate(raw, treated, everyone, "binary")
    assert score.sum() == pytest.approx(treated.sum(), rel=1e-9)
    assert np.ptp(logit(score)) < np.ptp(logit(raw)) / 2


def test_predictions_that_mislead_become_the_mean():
    target = np.array([0.0, 1, 0, 1, 0, 1, 0, 1])
    upside_down = np.where(target == 1, 0.1, 0.8)
    everyone = np.ones(8, dtype=bool)
    np.testing.assert_array_equal(recalibrate(upside_down, target, everyone, "binary"), 0.5)
    np.testing.assert_array_equal(recalibrate(upside_down, target, everyone, "continuous"), 0.5)


def test_predictions_that_keep_their_promise_stay():
    rng = np.random.default_rng(6)
    linear = rng.normal(size=100_000)
    target = (rng.random(100_000) < expit(linear)).astype(float)
    everyone = np.ones(100_000, dtype=bool)
    np.testing.assert_allclose(recalibrate(expit(linear), target, everyone, "binary"), expit(linear), atol=0.01)
    noisy = linear + rng.normal(size=100_000)
    np.testing.assert_allclose(recalibrate(linear, noisy, everyone, "continuous"), linear, atol=0.05)


@pytest.mark.parametrize("method", [aipw, tmle])
def test_few_treated_with_skewed_covariates_are_not_left_to_one_control(method):
    # 60 worlds of some 35 treated among 1,500, covariates log-normal, no effect. Without recalibration the squared
    # error was 2.4 times that of the weighted difference (0.139², 0.090² in 150 worlds); one control could weigh all.
    rng = np.random.default_rng(7)
    errors = []
    for _world in range(60):
        normal = rng.normal(size=(1_500, 12))
        treated = rng.random(1_500) < expit(-3.8 + normal[:, :3] @ [0.5, -0.3, 0.3])
        outcome = (rng.random(1_500) < expit(normal[:, [0, 1, 4]] @ [0.6, 0.4, 0.6])).astype(float)
        baseline = baseline_of(np.exp(normal))
        design = weighting_design(baseline, treated)
        estimate = method(outcome, baseline, design, rng=rng, kind="binary")[0]
        plain = weighted_difference(outcome, baseline, design, rng=rng, kind="binary")[0]
        errors.append((estimate.value, plain.value, estimate.lower < 0 < estimate.upper))
        assert estimate.effective_n > 30
    one, other, covered = np.array(errors).T
    assert np.mean(one**2) < 1.2 * np.mean(other**2)
    assert covered.mean() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 60)


@pytest.mark.parametrize("method", [aipw, tmle])
def test_matching_weights_are_not_given_the_effect_of_other_people(method):
    """Three strata with scores 15, 40 and 65 in a hundred: min(e, 1 - e) counts them 15 : 40 : 35, e (1 - e) by
    0.1275 : 0.24 : 0.2275, and effects of 0, 0.15 and 0.3 average to 0.183 and 0.175."""
    data, baseline, design = golden_weighted("ate_plain")
    h = np.minimum(design.score, 1 - design.score)
    weights = h / np.where(design.treated, design.score, 1 - design.score)
    matching = replace(design, estimand="ATO", weights=weights, notes={"weight_formula": "matching"})
    with pytest.raises(ValueError, match="people of a 1:1 match"):
        method(data["y"], baseline, matching, rng=np.random.default_rng(0), kind="binary")


def test_one_person_does_not_stand_for_all() -> None:
    """LaLonde's treated against PSID-1: one man, 99.996 % of the weight, made 49,246 dollars with an error of 600."""
    n = 40
    treated = np.arange(n) < 10
    score, y, guess = np.full(n, 0.3), np.linspace(0, 1, n), np.full(n, 0.5)
    clusters = find_clusters(baseline_of(np.zeros((n, 1))), weighting_design(baseline_of(y[:, None]), treated))
    rows = np.arange(n)
    assert np.isfinite(doubly_robust_means(y, treated, score, guess, guess, "ATT", clusters, rows).control)
    score[-1] = 0.9999
    fit = CrossFitted(rows, clusters, y, treated, score, if_treated=guess, if_control=guess)
    with pytest.raises(ValueError, match="one person carries 100 % of the weight"):
        doubly_robust_means(y, treated, score, guess, guess, "ATT", clusters, rows)
    with pytest.raises(ValueError, match="one person carries 100 % of the weight"):
        targeted_means(fit, "ATT")
