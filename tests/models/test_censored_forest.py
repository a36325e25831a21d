"""The forest for times that may be cut short: a known risk and known days lost, and what without loss must be equal."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from models.forest import causal_forest, censored_forest
from models.forest.censored import stand_for_lost
from models.times.censoring import censoring_weights
from tests.models.effect_samples import baseline_of, weighting_design

HORIZON = 365


def simulated(seed=1, n=1_200, loss=True):
    """(day, event, readmitted, baseline, design): a twofold hazard when treated, exponential times; those with x1 > 0
    are readmitted twice as fast and lost to observation far more often; nobody dies."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    treated = rng.random(n) < expit(-0.5 + 0.4 * x[:, 0])
    rate = np.where(treated, 2.0, 1.0) * np.where(x[:, 1] > 0, 2.0, 1.0) / 730
    day = np.ceil(rng.exponential(1 / rate))
    end = np.ceil(rng.exponential(np.where(x[:, 1] > 0, 400.0, 3_000.0), n)) if loss else np.full(n, np.inf)
    event = (day <= np.minimum(end, HORIZON)).astype(np.int64)
    seen = np.minimum(np.minimum(day, end), HORIZON)
    baseline = baseline_of(x)
    return seen, event, day, baseline, weighting_design(baseline, treated)


def truth_of(baseline, design):
    """(difference of risks, difference of days lost) among the treated, from the exponential's formulas."""
    fast = np.where(baseline.matrix[design.treated, 1] > 0, 2.0, 1.0) / 730
    risk = [1 - np.exp(-rate * HORIZON) for rate in (2 * fast, fast)]
    lost = [HORIZON - (1 - np.exp(-rate * HORIZON)) / rate for rate in (2 * fast, fast)]
    return float(np.mean(risk[0] - risk[1])), float(np.mean(lost[0] - lost[1]))


def test_a_known_effect_is_found_although_many_are_lost():
    day, event, _, baseline, design = simulated()
    found = censored_forest(
        day, event, baseline, design, rng=np.random.default_rng(1), trees=80, subgroups=("x1",), horizon=HORIZON
    )
    assert np.mean((event == 0) & (day < HORIZON)) > 0.2
    risk, lost = (dict(found.forests)[name].estimates[0] for name in ("risk", "time_lost"))
    assert (risk.scale, lost.scale) == ("risk_difference", "time_lost_difference")
    for estimate, truth in zip((risk, lost), truth_of(baseline, design), strict=True):
        assert abs(estimate.value - truth) < 3.5 * estimate.std_error
        assert estimate.method == "censored_forest"
    assert [effect.until for effect in found.effects] == [HORIZON, HORIZON]
    assert {estimate.subgroup.partition(" ")[0] for estimate in found.estimates} == {"all", "x1"}
    assert "on average" in found.remarks[0]


def test_without_loss_it_is_the_forest_of_the_plain_outcome():
    day, event, _, baseline, design = simulated(n=400, loss=False)
    found = censored_forest(day, event, baseline, design, rng=np.random.default_rng(2), trees=40)
    plain = causal_forest(
        event.astype(float), baseline, design, rng=np.random.default_rng(2), kind="continuous", trees=40
    )
    forest = dict(found.forests)["risk"]
    np.testing.assert_allclose(forest.effect, plain.effect, rtol=0, atol=1e-12)
    assert forest.estimates[0].value == pytest.approx(plain.estimates[0].value, rel=1e-12)


def test_outcomes_of_those_who_stay_stand_for_those_who_were_lost():
    """Mean of what the forest works on, against the mean of the outcomes of everybody, seen or not."""
    day, event, true_day, baseline, design = simulated(3, n=4_000)
    by = censoring_weights(day, event, baseline.matrix, design, HORIZON, l2_penalty=1.0, largest=10.0)
    is_lost = (event == 0) & (day < HORIZON)
    made = stand_for_lost(event.astype(float), is_lost, by, design)
    for arm in (design.treated, ~design.treated):
        truth = np.mean(true_day[arm] <= HORIZON)
        assert made[arm].mean() == pytest.approx(truth, abs=3.5 * made[arm].std() / np.sqrt(arm.sum()))
        # Taking the lost for people without a readmission would be wrong by more than that.
        assert abs(event[arm].mean() - truth) > 3.5 * made[arm].std() / np.sqrt(arm.sum())


def test_the_order_of_rows_and_rows_outside_play_no_part():
    day, event, _, baseline, design = simulated(n=300)
    outside = replace(design, weights=np.where(np.arange(300) < 250, design.weights, 0.0))
    first = censored_forest(day, event, baseline, outside, rng=np.random.default_rng(1), trees=40)
    day[250:], event[250:] = 1, 2
    again = censored_forest(day, event, baseline, outside, rng=np.random.default_rng(1), trees=40)
    assert again.estimates == first.estimates
    nobody = np.where(design.treated, 0, event)
    with pytest.raises(ValueError, match="nobody of one of the arms"):
        censored_forest(np.where(design.treated, 10.0, day), nobody, baseline, outside, rng=np.random.default_rng(1),
                        trees=40)  # fmt: skip
