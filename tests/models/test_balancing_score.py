"""Covariate-balancing scores: the balance equations hold, and they are those of a convex function's minimum."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from models.bootstrap import cluster_bootstrap
from models.effects import weighted_difference
from models.propensity import fit_propensity
from models.results import Baseline, Estimand, FloatArray
from models.weighting import covariate_balancing_score, entropy_balancing, propensity_weighting
from tests.models.effect_samples import baseline_of
from tests.models.golden_design import lalonde, unpenalised
from tests.models.golden_weights import pool, r_joint
from tests.models.test_design_contract import world

RNG = np.random.default_rng(0)
R_JOINT = r_joint()


@pytest.mark.parametrize("estimand", ["ATT", "ATC"])
def test_for_one_arm_it_is_entropy_balancing(estimand: Estimand) -> None:
    baseline, treated, _ = pool("by_site")
    propensity = fit_propensity(baseline, treated)
    score = covariate_balancing_score(baseline, treated, propensity, estimand=estimand, rng=RNG)
    entropy = entropy_balancing(baseline, treated, propensity, estimand=estimand, rng=RNG)
    np.testing.assert_array_equal(score.weights, entropy.weights)


def test_for_everybody_the_weights_are_inverse_probabilities_that_balance() -> None:
    baseline, treated = lalonde()
    design = covariate_balancing_score(baseline, treated, unpenalised(), estimand="ATE", rng=RNG)
    standard = (baseline.matrix - baseline.matrix.mean(axis=0)) / baseline.matrix.std(axis=0)
    columns = np.column_stack([np.ones(len(treated)), standard])
    sums = [design.weights[arm] @ columns[arm] for arm in (treated, ~treated)]
    np.testing.assert_allclose(sums[0], sums[1], atol=1e-8)
    # A general optimiser of the balance equations' squares, from the likelihood's coefficients.
    sign = np.where(treated, 1.0, -1.0)

    def squares(beta: FloatArray) -> tuple[float, FloatArray]:
        odds = np.exp(-sign * (columns @ beta))
        gap = columns.T @ (sign * (1 + odds)) / len(treated)
        return float(gap @ gap) / 2, -(columns.T @ ((odds / len(treated))[:, None] * columns)) @ gap

    start = np.linalg.lstsq(columns, unpenalised().linear, rcond=None)[0]
    beta = minimize(squares, start, jac=True, method="BFGS", options={"gtol": 1e-12, "maxiter": 5000}).x
    np.testing.assert_allclose(design.weights, 1 + np.exp(-sign * (columns @ beta)), rtol=1e-4)


def test_the_likelihood_does_what_a_balancing_score_would_do_for_overlap() -> None:
    baseline, treated = lalonde()
    design = propensity_weighting(baseline, treated, unpenalised(), estimand="ATO", rng=RNG)
    means = [np.average(baseline.matrix[arm], axis=0, weights=design.weights[arm]) for arm in (treated, ~treated)]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-8)
    with pytest.raises(ValueError, match="not the ATO"):
        covariate_balancing_score(baseline, treated, unpenalised(), estimand="ATO", rng=RNG)


def test_a_level_of_one_arm_only_is_refused_by_name() -> None:
    baseline, treated = world("continuous")
    baseline.matrix[:, 2] = (~treated) & (baseline.matrix[:, 0] > 0)
    with pytest.raises(ValueError, match=r"no weights balance these covariates: c \("):
        covariate_balancing_score(baseline, treated, fit_propensity(baseline, treated), estimand="ATE", rng=RNG)


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
def test_the_over_identified_score_agrees_with_r(estimand: Estimand) -> None:
    """make_joint.R minimises the same distance with R's optim from glm's coefficients."""
    baseline, treated = lalonde()
    design = covariate_balancing_score(
        baseline, treated, unpenalised(), estimand=estimand, rng=RNG, equations="balance_and_fit"
    )
    assert design.notes["j_statistic"] == pytest.approx(R_JOINT[estimand, "j"], rel=1e-6)
    assert design.notes["j_freedom"] == R_JOINT[estimand, "freedom"]
    assert design.notes["j_p_value"] == pytest.approx(R_JOINT[estimand, "p"], rel=1e-5)
    for row in (0, 100, 500):
        assert design.score[row] == pytest.approx(R_JOINT[estimand, f"score {row}"], rel=1e-5)


def test_the_over_identified_score_does_not_promise_balance() -> None:
    """Its distance counts differences of means by what chance would give them; whoever wants them small finds 0.30
    standard deviations on LaLonde's data, 0.25 under the likelihood's score and none under the just-identified one."""
    baseline, treated = lalonde()
    options: dict[str, Any] = {"estimand": "ATE", "rng": RNG}
    joint = covariate_balancing_score(baseline, treated, unpenalised(), equations="balance_and_fit", **options)
    exact = covariate_balancing_score(baseline, treated, unpenalised(), **options)
    likely = propensity_weighting(baseline, treated, unpenalised(), **options)

    def imbalance(weights: FloatArray) -> float:
        means = [np.average(baseline.matrix[arm], axis=0, weights=weights[arm]) for arm in (treated, ~treated)]
        return float(np.abs((means[0] - means[1]) / baseline.matrix.std(axis=0)).max())

    found = [imbalance(one.weights) for one in (joint, likely, exact)]
    assert found == pytest.approx([0.303, 0.250, 0.0], abs=1e-3)


def joint_world(rng: np.random.Generator, n: int, bend: float) -> tuple[Baseline, np.ndarray, np.ndarray]:
    """A logistic score, or with a `bend` one whose log-odds are no straight line; an outcome without an effect."""
    x = rng.normal(size=(n, 2))
    treated = rng.random(n) < expit(-0.5 + 0.5 * x[:, 0] - 0.4 * x[:, 1] + bend * (x[:, 0] ** 2 - 1))
    return baseline_of(x), treated, x @ [1.0, 0.5] + rng.normal(size=n)


def test_the_size_and_power_of_j_and_coverage_under_the_over_identified_score() -> None:
    """300 samples of 600: J of size 5 % rejects 1.2 to 8.8 % (three standard errors), and a bent score mostly; 95 %
    intervals cover 91.2 to 98.8 %, with errors as large as the spread (within 10 %)."""
    rng = np.random.default_rng(8)
    rejected, bent, covered, values, errors = [], [], [], [], []
    for _ in range(300):
        baseline, treated, outcome = joint_world(rng, 600, 0.0)
        options: dict[str, Any] = {"estimand": "ATT", "rng": rng, "equations": "balance_and_fit"}
        design = covariate_balancing_score(baseline, treated, fit_propensity(baseline, treated), **options)
        rejected.append(design.notes["j_p_value"] < 0.05)
        estimate = weighted_difference(outcome, baseline, design, rng=rng, kind="continuous")[0]
        assert estimate.notes["variance"] == "weights as estimated"
        covered.append(estimate.lower < 0 < estimate.upper)
        values.append(estimate.value)
        errors.append(estimate.std_error)
    for _ in range(40):
        baseline, treated, _ = joint_world(rng, 600, 0.5)
        design = covariate_balancing_score(baseline, treated, fit_propensity(baseline, treated), **options)
        bent.append(design.notes["j_p_value"] < 0.05)
    assert 0.012 < np.mean(rejected) < 0.088
    assert np.mean(bent) > 0.5
    assert 0.912 < np.mean(covered) < 0.988
    assert np.mean(errors) / np.std(values) == pytest.approx(1, abs=0.1)


def test_arms_that_the_covariates_separate_are_refused() -> None:
    baseline, treated = world("continuous")
    baseline.matrix[:, 0] = treated + 0.1 * baseline.matrix[:, 0]
    with pytest.raises(ValueError, match="separate the arms"):
        covariate_balancing_score(
            baseline, treated, fit_propensity(baseline, treated), rng=RNG, equations="balance_and_fit"
        )


@pytest.mark.parametrize("estimand", ["ATT", "ATE"])
def test_the_bootstrap_agrees_with_the_error_under_the_over_identified_score(estimand: Estimand) -> None:
    """1,000 replicates know a standard error to 2 %; weights taken as fixed would make it a quarter larger."""
    baseline, treated, outcome = joint_world(np.random.default_rng(3), 600, 0.0)
    score = fit_propensity(baseline, treated)
    design = covariate_balancing_score(
        baseline, treated, score, estimand=estimand, rng=RNG, equations="balance_and_fit"
    )
    drawn = cluster_bootstrap(outcome, baseline, design, rng=np.random.default_rng(1), kind="continuous")[0]
    formula, fixed = (
        weighted_difference(outcome, baseline, design, rng=RNG, kind="continuous", weights_are=how)[0].std_error
        for how in ("estimated", "fixed")
    )
    assert drawn.std_error == pytest.approx(formula, rel=0.05)
    assert fixed > 1.2 * formula
