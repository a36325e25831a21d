"""Doubly robust estimates where selection and outcome both bend: regressions miss it, boosted trees follow."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from models.cross_fitting import Nuisances, cross_fit
from models.doubly_robust import aipw
from models.results import Design, Estimand
from models.targeted import tmle
from tests.models.contract_estimates import expect_good_estimate
from tests.models.effect_samples import baseline_of, golden_matched, golden_weighted, weighting_design

EFFECT = 0.5


def bent(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(covariates, treated, outcome). Who is far from the middle in the first covariate, to either side, is treated
    four times as readily (in odds) and has an outcome 1.5 higher, which no straight line in it can tell."""
    x = rng.normal(size=(n, 4))
    is_far = np.abs(x[:, 0]) > 1
    treated = rng.random(n) < expit(-1.2 + 1.5 * is_far + 0.3 * x[:, 1])
    return x, treated, 1.5 * is_far + 0.5 * x[:, 1] + EFFECT * treated + rng.normal(size=n)


def errors(
    method: Callable[..., Any], estimand: Estimand, nuisances: Nuisances, replicates: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """(replicates,) how far the mean difference is from the truth, and its standard errors."""
    found = []
    for number in range(replicates):
        x, treated, outcome = bent(np.random.default_rng([7, number]), n)
        baseline = baseline_of(x)
        design = weighting_design(baseline, treated, estimand)
        rng = np.random.default_rng(number)
        estimate = method(outcome, baseline, design, rng=rng, kind="continuous", nuisances=nuisances)[0]
        found.append((estimate.value - EFFECT, estimate.std_error))
    return np.array(found)[:, 0], np.array(found)[:, 1]


@pytest.mark.parametrize(("method", "estimand"), [(aipw, "ATT"), (tmle, "ATE")])
def test_boosted_nuisances_remove_the_bias_that_straight_lines_leave(method: Any, estimand: Estimand) -> None:
    straight, error = errors(method, estimand, "regressions", 2, 1200)
    curved, _ = errors(method, estimand, "boosted", 2, 1200)
    # A standard error is about 0.07, of the mean of two 0.05; the straight lines are 0.47 off.
    assert straight.mean() > 4 * error.mean()
    assert abs(curved.mean()) < 3 * error.mean() / np.sqrt(2)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "estimand"), [(aipw, "ATT"), (tmle, "ATE")])
def test_errors_of_boosted_nuisances_are_honest(method: Any, estimand: Estimand) -> None:
    off, error = errors(method, estimand, "boosted", 40, 800)
    spread = off.std(ddof=1)
    assert abs(off.mean()) < 0.25 * spread + 3 * spread / np.sqrt(40)
    assert 0.7 < error.mean() / spread < 1.35  # a standard deviation of 40 is known to 11 %
    assert (np.abs(off) < 1.96 * error).mean() > 0.85  # 0.95 less three standard errors of 40


@pytest.mark.parametrize("method", [aipw, tmle])
@pytest.mark.parametrize(("name", "column", "kind"), [("matched", "y", "binary"), ("ate_plain", "z", "continuous")])
def test_contract(method: Any, name: str, column: str, kind: str) -> None:
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    expect_good_estimate(method, data[column], baseline, design, kind=kind, folds=2, nuisances="boosted")


def test_where_nothing_bends_little_is_lost() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1500, 3))
    treated = rng.random(1500) < expit(-1 + 0.6 * x[:, 0])
    outcome = x[:, 0] + EFFECT * treated + rng.normal(size=1500)
    baseline = baseline_of(x)
    design = weighting_design(baseline, treated)
    both: tuple[Nuisances, ...] = ("regressions", "boosted")
    one, other = (
        aipw(outcome, baseline, design, rng=np.random.default_rng(1), kind="continuous", nuisances=how)[0]
        for how in both
    )
    assert abs(one.value - other.value) < 0.3 * one.std_error
    assert other.std_error == pytest.approx(one.std_error, rel=0.1)


def test_a_known_score_is_kept_and_other_names_are_refused() -> None:
    x, treated, outcome = bent(np.random.default_rng(1), 300)
    baseline = baseline_of(x)
    known = Design("by_hand", "ATE", treated, np.full(300, 0.4), np.ones(300), np.full(300, -1))
    given: dict[str, Any] = {"rng": np.random.default_rng(1), "kind": "continuous", "folds": 2}
    fit = cross_fit(outcome, baseline, known, l2_penalty=1.0, is_randomised=True, nuisances="boosted", **given)
    assert (fit.score == 0.4).all()
    for method in (aipw, tmle):
        with pytest.raises(ValueError, match="nuisances must be"):
            method(outcome, baseline, known, nuisances="linear", **given)
