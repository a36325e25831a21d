"""Covariate-balancing scores: the balance equations hold, and they are those of a convex function's minimum."""

import numpy as np
import pytest
from scipy.optimize import minimize

from models.propensity import fit_propensity
from models.results import Estimand, FloatArray
from models.weighting import covariate_balancing_score, entropy_balancing, propensity_weighting
from tests.models.golden_design import lalonde, unpenalised
from tests.models.golden_weights import pool
from tests.models.test_design_contract import world

RNG = np.random.default_rng(0)


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
