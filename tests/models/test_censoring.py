"""Censoring weights: exact derivatives, the plain curve where nothing distinguishes people, and a world with a bias."""

from dataclasses import replace

import numpy as np
import pytest

from models.results import Design
from models.times.arm_curve import aalen_johansen
from models.times.censoring import censoring_weights, weighted_incidence, weighted_pieces
from models.times.hazards import cause_specific_cox, cox
from models.times.risks import cumulative_incidence, first_readmission_type, kaplan_meier, time_lost
from tests.models.contract_estimates import rows_of, rows_of_design
from tests.models.effect_samples import baseline_of, golden_matched, golden_weighted
from tests.models.test_hazards import continuous
from tests.models.times_samples import small_sample

ARMS = ("treated", "control")


def sample(name):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    return data["day"], data["event"].astype(np.int64), baseline, design


def curves(day, event, matrix, design, l2_penalty=0.0, largest=10.0):
    by = censoring_weights(day, event, matrix, design, 365, l2_penalty=l2_penalty, largest=largest)
    return by, [weighted_incidence(day, event, design, arm, 365, (1,), by) for arm in ARMS]


@pytest.mark.parametrize("name", ["matched", "ate_plain"])
@pytest.mark.parametrize("largest", [10.0, 1.12])
def test_the_influence_is_the_derivative_with_the_weights_found_again(name, largest):
    day, event, baseline, design = sample(name)
    by, pair = curves(day, event, baseline.matrix, design, largest=largest)
    assert by.is_capped.any() == (largest < 2)
    asked = [np.column_stack([curve.at(100), curve.at(365), curve.area(365)]) for curve in pair]
    found = [curve.per_weight(combinations) for curve, combinations in zip(pair, asked, strict=True)]
    for place in range(0, by.used.size, 29):
        here = 1e-5 * (np.arange(day.size) == by.used[place])
        more, less = (
            curves(day, event, baseline.matrix, replace(design, weights=design.weights + sign * here), largest=largest)[
                1
            ]
            for sign in (1, -1)
        )
        for arm in (0, 1):
            slope = (more[arm].incidence - less[arm].incidence) @ asked[arm] / 2e-5
            np.testing.assert_allclose(found[arm][place], slope, rtol=1e-4, atol=1e-6 * np.abs(found[arm]).max())


@pytest.mark.parametrize("name", ["matched", "att_plain"])
def test_where_nothing_distinguishes_people_it_is_the_plain_curve(name):
    day, event, _, design = sample(name)
    _, pair = curves(day, event, np.zeros((day.size, 1)), design)
    for curve in pair:
        plain = aalen_johansen(day, event, design, curve.arm, 365, (1,))
        np.testing.assert_allclose(curve.incidence, plain.incidence, rtol=1e-9, atol=1e-12)
        ones = [c.per_weight(c.at(365))[:, 0] * design.weights[c.rows] for c in (curve, plain)]
        assert np.linalg.norm(ones[0]) == pytest.approx(np.linalg.norm(ones[1]), rel=1e-6)


def test_many_lost_on_one_day_leave_the_risk_as_it_is():
    # A provider is silent from the start: 30 of 100 controls are lost before day 1, half of the others are readmitted.
    # By hand the risk is 35 / 70 in both arms; weights of exp(30 / 100) for 100 / 70 would make it 0.472 in one.
    treated = np.arange(200) < 100
    day = np.select(
        [np.arange(200) < 50, treated, np.arange(200) < 130, np.arange(200) < 165], [200.0, 365, 0.5, 200], 365
    )
    event = (day == 200).astype(np.int64)
    design = Design("by_hand", "ATT", treated, np.full(200, 0.5), np.ones(200), np.full(200, -1))
    alike = np.zeros((200, 1))
    found = cumulative_incidence(day, event, baseline_of(alike), design, censoring="weights")
    assert [float(curve.incidence[-1]) for curve in found.curves] == pytest.approx([0.5, 0.5], rel=1e-9)
    assert found.estimates[0].value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("method", [cumulative_incidence, kaplan_meier, time_lost, first_readmission_type])
def test_nobody_lost_early_gives_the_same_numbers(method):
    day, event, baseline, design = sample("att_plain")
    event = np.where((event == 0) & (day < 365), 2, event)
    plain = method(day, event, baseline, design)
    weighted = method(day, event, baseline, design, censoring="weights")
    for one, other in zip(weighted.estimates, plain.estimates, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-9, nan_ok=True)
    assert weighted.remarks == ("weights for the end of observation: nobody's observation ended early",)
    assert plain.remarks == ()


def test_by_hand():
    # Of four controls, one lost on day 2 and of kind x = 0; with a coefficient held at 0 by the penalty the others
    # stand for it: 1 / (1 - 1/3) for whoever is seen after day 2, and 1 for an event on day 2, which comes before.
    day, event, _, design = small_sample([9, 9, 2, 2, 5, 9], [0, 0, 0, 1, 1, 0])
    by, (_, control) = curves(day, event, np.array([[0.0], [1], [0], [1], [0], [1]]), design, l2_penalty=1e12)
    # The event on day 2 has left before the one who was lost: three are at risk of being lost.
    np.testing.assert_allclose(by.weight[2:], [1, 1, 3 / 2, 3 / 2], rtol=1e-9)
    np.testing.assert_allclose(control.incidence, [1 / 4, (1 + 3 / 2) / 4, (1 + 3 / 2) / 4], rtol=1e-9)


def world(rng, n):
    """People of two kinds: the second is readmitted far more often and lost to observation far earlier."""
    kind = (rng.random(n) < 0.5).astype(float)
    treated = rng.random(n) < 0.4
    readmitted = np.ceil(rng.exponential(1 / (0.001 + 0.004 * kind)))
    lost = np.ceil(rng.exponential(1 / (0.0005 + 0.006 * kind)))
    day, event = np.minimum(readmitted, lost), np.where(readmitted <= lost, 1, 0)
    baseline = baseline_of(kind[:, None])
    design = Design("by_hand", "ATE", treated, np.full(n, 0.4), np.ones(n), np.full(n, -1))
    return day, event, baseline, design, (readmitted <= 365).astype(float)


def test_weights_remove_the_bias_of_people_at_risk_being_lost():
    day, event, baseline, design, truth = world(np.random.default_rng(7), 40_000)
    plain = cumulative_incidence(day, event, baseline, design).curves[1].incidence
    weighted = cumulative_incidence(day, event, baseline, design, censoring="weights", largest_censoring_weight=100.0)
    risk = truth[~design.treated].mean()
    at_365 = weighted.curves[1].incidence[-1]
    error = (weighted.curves[1].upper[-1] - weighted.curves[1].lower[-1]) / 3.92
    assert plain[-1] - risk < -0.04  # those at risk are lost, and those who stay are taken for them
    assert abs(at_365 - risk) < 4 * error
    assert error < 0.01


def few(n):
    """(day, event, baseline, design) of the first rows of the golden sample without ties, everybody of weight 1."""
    day, event, baseline, design = continuous()
    rows = np.arange(n)
    return day[rows], event[rows], rows_of(baseline, rows), rows_of_design(design, rows)


@pytest.mark.parametrize("largest", [50.0, 1.5])
@pytest.mark.parametrize("method", [cox, cause_specific_cox])
def test_the_error_of_a_ratio_is_that_of_finding_the_weights_again(method, largest):
    day, event, baseline, design = few(90)
    options = {"censoring": "weights", "censoring_penalty": 0.0, "largest_censoring_weight": largest}

    def coefficient(weights):
        return np.log(
            method(day, event, baseline, replace(design, weights=weights), horizon=900, **options).estimates[0].value
        )

    found = method(day, event, baseline, design, horizon=900, **options)
    slopes = [(coefficient(1 + 1e-4 * here) - coefficient(1 - 1e-4 * here)) / 2e-4 for here in np.eye(day.size)]
    assert found.estimates[0].std_error == pytest.approx(np.linalg.norm(slopes), rel=1e-5)
    plain = method(day, event, baseline, design, horizon=900).estimates[0]
    assert abs(np.log(found.estimates[0].value / plain.value)) > 1e-3
    assert found.remarks[-1].startswith("weights for the end of observation by arm and covariates")


def test_a_ratio_without_anybody_lost_early_is_the_plain_one():
    day, event, baseline, design = sample("matched")
    event = np.where((event == 0) & (day < 365), 2, event)
    plain = cause_specific_cox(day, event, baseline, design)
    assert cause_specific_cox(day, event, baseline, design, censoring="weights").estimates == plain.estimates


def test_pieces_hold_the_weight_of_just_before_each_event():
    day, event, baseline, design = sample("matched")
    by = censoring_weights(day, event, baseline.matrix, design, 365, l2_penalty=0.0, largest=10.0)
    pieces = weighted_pieces(day[by.used], by, 10.0)
    has_event = event[by.used] != 0
    last = np.flatnonzero(pieces.is_last)
    np.testing.assert_array_equal(pieces.owner[last], np.arange(by.used.size))
    np.testing.assert_allclose(pieces.weight[last][has_event], by.weight[has_event], rtol=1e-12)
    lengths = np.bincount(pieces.owner, pieces.stop - pieces.start)
    np.testing.assert_allclose(lengths, day[by.used], rtol=1e-12)


def test_weights_remove_the_bias_of_a_ratio():
    # Everybody has the same hazards by kind, so the ratio is 1; those of the kind that is readmitted more are lost, and
    # only from the treated arm.
    rng = np.random.default_rng(11)
    day, event, baseline, design, _ = world(rng, 20_000)
    kind = baseline.matrix[:, 0]
    readmitted = np.ceil(rng.exponential(1 / (0.001 + 0.004 * kind)))
    lost = np.ceil(rng.exponential(1 / np.where(design.treated, 0.0005 + 0.006 * kind, 1e-9)))
    day, event = np.minimum(readmitted, lost), np.where(readmitted <= lost, 1, 0)
    plain = cause_specific_cox(day, event, baseline, design).estimates[0]
    # The kinds are lost at other rates in the two arms: one coefficient for both would not do.
    crossed = replace(baseline, matrix=np.column_stack([kind, kind * design.treated]))
    options = {"censoring": "weights", "censoring_penalty": 0.0, "largest_censoring_weight": 100.0}
    weighted = cause_specific_cox(day, event, crossed, design, **options).estimates[0]
    assert np.log(plain.value) < -5 * plain.std_error
    assert abs(np.log(weighted.value)) < 3 * weighted.std_error


def test_neither_the_order_of_rows_nor_rows_outside_the_design_play_a_part():
    day, event, baseline, design = sample("ate_plain")
    design = replace(design, weights=np.where(np.arange(day.size) % 7 == 3, 0.0, design.weights))
    order, odd = np.random.default_rng(3).permutation(day.size), design.weights == 0
    wanted = time_lost(day, event, baseline, design, censoring="weights")
    found = time_lost(
        np.where(odd, -1.0, day)[order],
        np.where(odd, 9, event)[order],
        rows_of(baseline, order),
        rows_of_design(design, order),
        censoring="weights",
    )
    for one, other in zip(found.estimates, wanted.estimates, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-8)


def test_settings_out_of_range_are_refused():
    day, event, baseline, design = sample("matched")
    with pytest.raises(ValueError, match="censoring must be"):
        cumulative_incidence(day, event, baseline, design, censoring="ipcw")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="above 1"):
        cumulative_incidence(day, event, baseline, design, censoring="weights", largest_censoring_weight=1.0)
    early = (event == 0) & (day < 365)
    matrix = np.column_stack([early.astype(float), baseline.matrix])
    with pytest.raises(ValueError, match="end of observation: a coefficient is infinite"):
        cumulative_incidence(
            day, event, replace(baseline, matrix=matrix), design, censoring="weights", censoring_penalty=0.0
        )
