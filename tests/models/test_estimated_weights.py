"""Standard errors that mind where the weights came from, against refitting everything in R."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.effects import keep_observed, weighted_difference
from models.propensity import fit_propensity
from models.registry import DESIGNS
from models.results import Estimand
from tests.models.golden_weights import pool, r_values, r_weights

METHODS: dict[str, tuple[str, Estimand]] = {
    "score_att": ("propensity_weighting", "ATT"),
    "score_ate": ("propensity_weighting", "ATE"),
    "score_atc": ("propensity_weighting", "ATC"),
    "score_ato": ("propensity_weighting", "ATO"),
    "entropy_att": ("entropy_balancing", "ATT"),
    "entropy_atc": ("entropy_balancing", "ATC"),
    "entropy_ate": ("entropy_balancing", "ATE"),
    "balancing_ate": ("covariate_balancing_score", "ATE"),
    "score_matching": ("matching_weights", "ATO"),
}
CASES = [(name, variant) for name in METHODS for variant in ("plain", "by_site")]


def designed(name: str, variant: str) -> Any:
    baseline, treated, data = pool(variant)
    method, estimand = METHODS[name]
    propensity = fit_propensity(baseline, treated, l2_penalty=0.0)
    rng = np.random.default_rng(1)
    return baseline, DESIGNS[method].function(baseline, treated, propensity, estimand=estimand, rng=rng), data


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_weights_are_those_of_r(name: str, variant: str) -> None:
    _, design, _ = designed(name, variant)
    expected = r_weights()[f"{name}_{variant}"]
    for arm in (design.treated, ~design.treated):
        share = expected[arm] / expected[arm].sum()
        np.testing.assert_allclose(design.weights[arm] / design.weights[arm].sum(), share, rtol=1e-8)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_errors_are_those_of_refitting_everything_in_r(name: str, variant: str) -> None:
    baseline, design, data = designed(name, variant)
    for column, kind in (("y", "binary"), ("z", "continuous")):
        for found in weighted_difference(data[column], baseline, design, rng=np.random.default_rng(1), kind=kind):
            assert found.notes["variance"] == "weights as estimated"
            if found.scale in ("odds_ratio", "mean_ratio"):
                continue
            key = f"{name}_{variant}"
            assert found.value == pytest.approx(r_values()[key, f"{found.scale} value"], rel=1e-8)
            assert found.std_error == pytest.approx(r_values()[key, f"{found.scale} std_error"], rel=1e-6)


@pytest.mark.parametrize("name", ["score_att", "entropy_att"])
def test_unobserved_outcomes_take_part_of_the_correction_back(name: str) -> None:
    """With p of the rows observed at random the variance is nearly p × (minding the equations) + (1 - p) × (not)."""
    baseline, design, data = designed(name, "plain")
    rng, ratios = np.random.default_rng(1), []
    for _ in range(30):
        outcome = np.where(rng.random(400) < 0.3, np.nan, data["z"])
        seen, part, kept = keep_observed(outcome, baseline, design)
        notes = {key: value for key, value in kept.notes.items() if not key.endswith("_without_outcome")}
        whole = replace(kept, notes=notes)
        found, minding, fixed = (
            weighted_difference(seen, part, each, rng=rng, kind="continuous", weights_are=weights_are)[0].std_error ** 2
            for each, weights_are in ((kept, "estimated"), (whole, "estimated"), (kept, "fixed"))
        )
        assert min(minding, fixed) < found < max(minding, fixed)
        ratios.append(found / (0.7 * minding + 0.3 * fixed))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.04)
