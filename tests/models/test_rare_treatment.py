"""A rare treatment in a growing pool: EconML's own mean effect on the treated loses its precision, the score here not.

The error that is right rests on the 60 treated: sqrt(p (1 - p) / 60) with p = 0.43 is 0.064, whatever the pool.
"""

import numpy as np
import pytest
from econml.dml import CausalForestDML
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression

from models.doubly_robust import aipw
from models.forest import causal_forest
from models.matching import nearest_neighbour
from models.propensity import fit_propensity
from models.results import Baseline
from tests.models.effect_samples import baseline_of, weighting_design

TREATED = 60
POOLS = (300, 3_000, 12_000)
RIGHT = 0.064


def world(n_controls: int) -> tuple[np.ndarray, Baseline, np.ndarray]:
    """(outcome 0/1, baseline, treated): the treated lie 0.4 higher on three covariates; there is no effect."""
    rng = np.random.default_rng(7)
    treated = np.arange(TREATED + n_controls) < TREATED
    x = rng.normal(size=(treated.size, 3)) + 0.4 * treated[:, None]
    return (rng.random(treated.size) < expit(-0.5 + 0.5 * x[:, 0])).astype(float), baseline_of(x), treated


@pytest.fixture(scope="module")
def error_of_econml() -> dict[int, float]:
    """Standard error of EconML's `att_` by the number of controls."""
    errors = {}
    for n_controls in POOLS:
        outcome, baseline, treated = world(n_controls)
        forest = CausalForestDML(
            model_y=LinearRegression(), model_t=LogisticRegression(), discrete_treatment=True, n_estimators=40,
            n_jobs=1, random_state=1,
        ).fit(outcome, treated.astype(int), X=baseline.matrix)  # fmt: skip
        errors[n_controls] = float(np.ravel(forest.att_stderr_(T=1))[0])
    return errors


def test_the_error_of_econml_grows_with_the_pool(error_of_econml: dict[int, float]) -> None:
    small, large, largest = (error_of_econml[pool] for pool in POOLS)
    assert large > 2 * small
    assert largest > 2 * large
    assert largest > 10 * RIGHT


def test_such_a_sample_is_refused_and_the_score_of_the_treated_keeps_its_error(
    error_of_econml: dict[int, float],
) -> None:
    outcome, baseline, treated = world(POOLS[-1])
    design = weighting_design(baseline, treated)
    with pytest.raises(ValueError, match="at least 2% treated"):
        causal_forest(outcome, baseline, design, rng=np.random.default_rng(1), kind="binary")
    of_everybody = aipw(outcome, baseline, design, rng=np.random.default_rng(1), kind="binary")[0].std_error
    assert of_everybody == pytest.approx(RIGHT, rel=0.2)
    assert error_of_econml[POOLS[-1]] > 10 * of_everybody


@pytest.mark.parametrize("n_controls", POOLS[1:])
def test_after_a_design_the_mean_effect_is_that_of_the_treated_s_own_score(n_controls: int) -> None:
    """With four matched controls each, whatever the pool, the error stays where it is right: sqrt(0.245 / 60 + 0.245 /
    240) is 0.070, a little less what the covariates foretell and a little more where sets differ."""
    outcome, baseline, treated = world(n_controls)
    few = nearest_neighbour(baseline, treated, fit_propensity(baseline, treated), rng=np.random.default_rng(1), ratio=4)
    found = causal_forest(outcome, baseline, few, rng=np.random.default_rng(1), kind="binary", trees=40)
    mean = found.estimates[0]
    assert mean.std_error == pytest.approx(0.070, rel=0.2)
    # The number is the mean of the scores that the folder keeps, over the treated alone: controls count nothing.
    np.testing.assert_array_equal(found.scores.count, found.scores.treated * 1.0)
    assert mean.value == pytest.approx(found.scores.contribution.sum() / found.scores.count.sum(), abs=1e-9)
