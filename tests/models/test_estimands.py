"""Whose effect: every method finds the effect of the people its estimand names, where that differs between them."""

import numpy as np
import pytest
from scipy.special import expit

from models.propensity import fit_propensity
from models.registry import EFFECTS
from models.results import Baseline
from models.weighting import propensity_weighting
from tests.models.effect_samples import baseline_of

METHODS = ("weighted_difference", "g_computation", "adjusted_regression", "aipw", "tmle", "cluster_bootstrap")


def heterogeneous(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Covariates, score, treated, both expected outcomes; the effect grows with what makes people be treated."""
    x = rng.normal(size=(n, 3))
    score = expit(-0.6 + 0.5 * x[:, 0] - 0.3 * x[:, 1])
    if_control = 0.6 * x[:, 0] + 0.5 * x[:, 2]
    return x, score, rng.random(n) < score, if_control + 0.5 + 0.9 * x[:, 0], if_control


def truth_of(estimand: str, score: np.ndarray, effect: np.ndarray) -> float:
    people = {"ATT": score, "ATC": 1 - score, "ATE": np.ones_like(score), "ATO": score * (1 - score)}[estimand]
    return float(people @ effect / people.sum())


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, Baseline, np.ndarray, dict[str, float]]:
    rng = np.random.default_rng(40)
    x, _, treated, if_treated, if_control = heterogeneous(rng, 8_000)
    outcome = np.where(treated, if_treated, if_control) + rng.normal(size=8_000)
    _, large_score, _, large_treated, large_control = heterogeneous(rng, 400_000)
    effect = large_treated - large_control
    truths = {estimand: truth_of(estimand, large_score, effect) for estimand in ("ATT", "ATC", "ATE", "ATO")}
    return outcome, baseline_of(x), treated, truths


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE", "ATO"])
@pytest.mark.parametrize("name", METHODS)
def test_the_effect_of_the_people_meant(world, name, estimand):
    outcome, baseline, treated, truths = world
    rng = np.random.default_rng(1)
    design = propensity_weighting(
        baseline, treated, fit_propensity(baseline, treated, l2_penalty=0.0), estimand=estimand, rng=rng
    )
    assert estimand in EFFECTS[name].estimands
    estimate = EFFECTS[name].function(outcome, baseline, design, rng=rng, kind="continuous")[0]
    assert abs(estimate.value - truths[estimand]) < 3.5 * estimate.std_error
    others = [truth for other, truth in truths.items() if other != estimand]
    # So that the wrong people would be noticed: another estimand's effect is at least two standard errors away.
    assert min(abs(truth - truths[estimand]) for truth in others) > 2 * estimate.std_error


def test_truths_are_those_of_the_definition():
    # ATE: 0.5 by symmetry. ATT and ATC average to it with shares E e and 1 - E e.
    rng = np.random.default_rng(2)
    _, score, _, if_treated, if_control = heterogeneous(rng, 400_000)
    effect = if_treated - if_control
    att, atc, ate = (truth_of(name, score, effect) for name in ("ATT", "ATC", "ATE"))
    assert ate == pytest.approx(0.5, abs=0.006)
    assert score.mean() * att + (1 - score.mean()) * atc == pytest.approx(ate, rel=1e-9)
