"""Effect methods for one number a person in simulated worlds: bias, standard errors, coverage (`make truth`)."""

import numpy as np
import pytest
from scipy.special import expit

from models.matching import nearest_neighbour
from models.propensity import fit_propensity
from models.registry import EFFECTS
from models.results import Baseline, Design
from models.weighting import propensity_weighting
from tests.models.effect_samples import baseline_of
from tests.models.test_estimands import heterogeneous, truth_of

WORLDS = 400
METHODS = ("weighted_difference", "g_computation", "adjusted_regression", "aipw", "tmle")


def rare_world(rng: np.random.Generator, n_treated: int, kind: str) -> tuple[np.ndarray, Baseline, np.ndarray]:
    """About n_treated of 3,000 treated, ten covariates, three of them skewed; no effect on a risk, 0.5 on a mean."""
    matrix = rng.normal(size=(3_000, 10))
    matrix[:, :3] = (np.exp(matrix[:, :3] / 2) - 1.13) / 0.6  # mean nought, standard deviation one, skewness 1.75
    treated = rng.random(3_000) < expit(np.log(n_treated / 3_000) - 0.2 + matrix[:, [0, 1, 3]] @ [0.4, -0.3, 0.4])
    level = matrix[:, [0, 3, 4]] @ [0.5, 0.5, 0.5]
    if kind == "binary":
        return (rng.random(3_000) < expit(level)).astype(float), baseline_of(matrix), treated
    return level + 0.5 * treated + rng.normal(size=3_000), baseline_of(matrix), treated


def designed(baseline: Baseline, treated: np.ndarray, how: str, rng: np.random.Generator) -> Design:
    propensity = fit_propensity(baseline, treated)
    if how == "weighting":
        return propensity_weighting(baseline, treated, propensity, estimand="ATT", rng=rng)
    return nearest_neighbour(baseline, treated, propensity, estimand="ATT", rng=rng, ratio=2)


@pytest.mark.slow
@pytest.mark.parametrize("n_treated", [40, 100, 300])
@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("how", ["weighting", "matching"])
def test_a_rare_treatment(how, kind, n_treated):
    rng = np.random.default_rng([n_treated, len(kind), len(how)])
    truth = 0.5 if kind == "continuous" else 0.0
    found: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in METHODS}
    for _world in range(WORLDS):
        outcome, baseline, treated = rare_world(rng, n_treated, kind)
        design = designed(baseline, treated, how, rng)
        for name in METHODS:
            one = EFFECTS[name].function(outcome, baseline, design, rng=rng, kind=kind)[0]
            found[name].append((one.value - truth, one.std_error, one.lower < truth < one.upper))
    for name, rows in found.items():
        errors, std_errors, covered = np.array(rows).T
        spread = errors.std()
        print(
            f"{how:10} {kind:10} {n_treated:4} {name:20} bias {errors.mean():+.4f} ({errors.mean() / spread:+.2f} SD) "
            f"error {std_errors.mean() / spread:.3f} of spread, coverage {covered.mean():.3f}"
        )
        # Three binomial errors of 400 worlds are 0.033: below 0.90 a method misses its 95 %. Sets matched on few
        # covariates make errors too large (Abadie & Spiess), so that nothing is asked of coverage above.
        assert covered.mean() > 0.90, name
        assert abs(errors.mean()) < 0.35 * spread, name
        assert std_errors.mean() / spread > 0.87, name


@pytest.mark.slow
@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE", "ATO"])
def test_every_estimand_where_effects_differ(estimand):
    # 400 worlds of 1,000 people, a third treated. 0.95 ± three binomial errors: 0.917 to 0.983.
    rng = np.random.default_rng(50)
    _, score, _, if_treated, if_control = heterogeneous(rng, 400_000)
    truth = truth_of(estimand, score, if_treated - if_control)
    found: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in METHODS}
    for _world in range(WORLDS):
        x, _, treated, if_treated, if_control = heterogeneous(rng, 1_000)
        outcome = np.where(treated, if_treated, if_control) + rng.normal(size=1_000)
        baseline = baseline_of(x)
        propensity = fit_propensity(baseline, treated, l2_penalty=0.0)
        design = propensity_weighting(baseline, treated, propensity, estimand=estimand, rng=rng)
        for name in METHODS:
            one = EFFECTS[name].function(outcome, baseline, design, rng=rng, kind="continuous")[0]
            found[name].append((one.value - truth, one.std_error, one.lower < truth < one.upper))
    for name, rows in found.items():
        errors, std_errors, covered = np.array(rows).T
        print(
            f"{estimand} {name:20} bias {errors.mean():+.4f}, error {std_errors.mean() / errors.std():.3f} of spread, "
            f"coverage {covered.mean():.3f}"
        )
        assert 0.917 < covered.mean() < 0.983, name
        assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(WORLDS), name
