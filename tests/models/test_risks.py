"""Cumulative incidence: against R's survfit and cuminc, by hand, and against the plain weighted risk."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from models.effects import keep_observed, weighted_difference
from models.results import Curve
from models.times.arm_curve import aalen_johansen
from models.times.limits import largest_of
from models.times.risks import cumulative_incidence, first_readmission_type, kaplan_meier, time_lost
from tests.models.contract_estimates import rows_of, rows_of_design
from tests.models.effect_samples import (
    WEIGHTED,
    golden_matched,
    golden_values,
    golden_weighted,
)
from tests.models.times_samples import golden_times, small_sample

R = golden_values()
R_TIMES = golden_times("effects.csv")
ARMS = ("treated", "control")


def at(curve: Curve, day: float, what: str = "incidence") -> float:
    """A right-continuous step function, read on a day."""
    return float(getattr(curve, what)[np.searchsorted(curve.day, day, side="right") - 1])


def error_from(limit: float, risk: float, level: float = 0.95) -> float:
    """The standard error behind a log(-log) limit."""
    moved = abs(np.log(-np.log(limit)) - np.log(-np.log(risk)))
    return moved * risk * -np.log(risk) / norm.ppf(0.5 + level / 2)


def events(data):
    return data["day"], data["event"].astype(np.int64)


@pytest.mark.parametrize("day", [30, 100, 200, 365])
@pytest.mark.parametrize("arm", ARMS)
def test_matched_curves_agree_with_r_survfit(arm, day):
    data, baseline, design = golden_matched()
    curve = cumulative_incidence(*events(data), baseline, design).curves[ARMS.index(arm)]
    risk = at(curve, day)
    assert curve.arm == arm
    assert risk == pytest.approx(R["matched", f"curve {arm} {day} pstate"], rel=1e-10)
    # R's sum of squares has no factor G/(G-1); here it is 53/52 (n_clusters in values.csv).
    r_error = R["matched", f"curve {arm} {day} clustered"] * np.sqrt(53 / 52)
    for limit in ("lower", "upper"):
        assert error_from(at(curve, day, limit), risk) == pytest.approx(r_error, rel=1e-8)


@pytest.mark.parametrize("arm", ARMS)
def test_limits_of_independent_rows_agree_with_r_survfit(arm):
    data, baseline, design = golden_matched()
    baseline = replace(baseline, person=np.arange(len(data["set"])))
    design = replace(design, matched_set=np.full(len(data["set"]), -1))
    curve = cumulative_incidence(*events(data), baseline, design).curves[ARMS.index(arm)]
    for day in (30, 100, 200, 365):
        for what, limit in (("pstate", "incidence"), ("lower", "lower"), ("upper", "upper")):
            assert at(curve, day, limit) == pytest.approx(R["matched", f"curve {arm} {day} {what}"], rel=1e-9)
        assert error_from(at(curve, day, "lower"), at(curve, day)) == pytest.approx(
            R["matched", f"curve {arm} {day} std.err"], rel=1e-8
        )


@pytest.mark.parametrize("arm", ARMS)
def test_unweighted_curves_agree_with_r_cuminc(arm):
    data, baseline, design = golden_matched()
    everyone_once = replace(design, weights=(design.weights > 0).astype(float))
    curve = cumulative_incidence(*events(data), baseline, everyone_once).curves[ARMS.index(arm)]
    for day in (30, 100, 200, 365):
        assert at(curve, day) == pytest.approx(R["matched_unweighted", f"curve {arm} {day} pstate"], rel=1e-10)


def test_contrasts_of_the_matched_sample_agree_with_r():
    data, baseline, design = golden_matched()
    difference, ratio = cumulative_incidence(*events(data), baseline, design).estimates
    for estimate, name in ((difference, "incidence_difference"), (ratio, "incidence_ratio")):
        assert estimate.method == "cumulative_incidence"
        assert estimate.value == pytest.approx(R["matched", f"{name} value"], rel=1e-10)
        assert estimate.std_error == pytest.approx(R["matched", f"{name} std_error"], rel=1e-6)
    assert (difference.scale, ratio.scale) == ("risk_difference", "risk_ratio")


@pytest.mark.parametrize("name", WEIGHTED)
def test_errors_under_estimated_weights_agree_with_refitting_everything_in_r(name):
    data, baseline, design = golden_weighted(name)
    result = cumulative_incidence(*events(data), baseline, design)
    for estimate, of in zip(result.estimates, ("incidence_difference", "incidence_ratio"), strict=True):
        assert estimate.std_error == pytest.approx(R[name, f"{of} std_error"], rel=1e-6)
    for curve in result.curves:
        error = error_from(at(curve, 100, "lower"), at(curve, 100))
        assert error == pytest.approx(R[name, f"curve {curve.arm} 100 std.err"], rel=1e-6)


@pytest.mark.parametrize("name", ["matched", *WEIGHTED])
def test_without_censoring_the_risk_is_the_weighted_share(name):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    day, event = events(data)
    event = np.where(event == 0, 2, event)  # whoever was censored died instead: nobody leaves unseen
    result = cumulative_incidence(day, event, baseline, design)
    plain = weighted_difference(
        (event == 1).astype(float), baseline, design, rng=np.random.default_rng(0), kind="binary"
    )
    for curve, plain_estimate in zip(result.estimates, plain, strict=False):
        for what in ("value", "std_error", "lower", "upper", "p_value", "effective_n", "n_treated", "n_control"):
            assert getattr(curve, what) == pytest.approx(getattr(plain_estimate, what), rel=1e-9)


def test_a_curve_by_hand():
    # Five controls: readmitted on day 2, censored on day 2, died on day 4, readmitted on day 6, seen to day 10.
    day, event, baseline, design = small_sample([3, 10, 2, 2, 4, 6, 10], [1, 0, 1, 0, 2, 1, 0])
    curve = cumulative_incidence(day, event, baseline, design, horizon=10).curves[1]
    np.testing.assert_array_equal(curve.day, [0, 2, 4, 6, 10])
    np.testing.assert_array_equal(curve.at_risk, [5, 5, 3, 2, 1])
    # 1/5; death takes a third of the remaining 4/5; then half of 4/5 × 2/3.
    np.testing.assert_allclose(curve.incidence, [0, 1 / 5, 1 / 5, 1 / 5 + 4 / 15, 1 / 5 + 4 / 15])


def test_events_after_the_horizon_do_not_count_and_those_on_it_do():
    day, event, baseline, design = small_sample([5, 11, 10, 11, 30], [1, 1, 1, 1, 2])
    treated, control = cumulative_incidence(day, event, baseline, design, horizon=10).curves
    assert (treated.incidence[-1], control.incidence[-1]) == (0.5, pytest.approx(1 / 3))
    assert treated.day[-1] == control.day[-1] == 10


def test_limits_stay_within_zero_and_one_and_are_ordered():
    data, baseline, design = golden_weighted("att_plain")
    for curve in cumulative_incidence(*events(data), baseline, design, confidence=0.999).curves:
        assert (curve.lower >= 0).all()
        assert (curve.upper <= 1).all()
        inside = curve.incidence > 0
        assert (curve.lower[inside] < curve.incidence[inside]).all()
        assert (curve.incidence[inside] < curve.upper[inside]).all()
        assert (np.diff(curve.incidence) >= 0).all()
        assert (np.diff(curve.at_risk) <= 0).all()


def test_no_event_in_an_arm_is_a_flat_curve_and_no_ratio():
    day, event, baseline, design = small_sample([3, 8, 10, 10, 10], [1, 1, 0, 0, 2])
    result = cumulative_incidence(day, event, baseline, design, horizon=10)
    np.testing.assert_array_equal(result.curves[1].upper, 0)
    difference, ratio = result.estimates
    assert difference.value == 1.0
    assert np.isnan(ratio.value)
    assert "not_estimable" in ratio.notes


def test_a_risk_beyond_everybodys_follow_up_is_not_estimable():
    day, event, baseline, design = small_sample([3, 20, 4, 6, 7], [1, 0, 1, 0, 0])
    result = cumulative_incidence(day, event, baseline, design, horizon=20)
    assert result.curves[1].day[-1] == 7
    for estimate in result.estimates:
        assert np.isnan([estimate.value, estimate.std_error, estimate.p_value]).all()
        assert estimate.notes["not_estimable"] == "follow-up of everyone in an arm ends before the horizon"


def test_a_risk_is_known_when_nobody_is_left_to_follow():
    day, event, baseline, design = small_sample([3, 20, 4, 6, 7], [1, 0, 1, 2, 1])
    result = cumulative_incidence(day, event, baseline, design, horizon=20)
    assert result.estimates[0].value == pytest.approx(1 / 2 - 2 / 3)


@pytest.mark.parametrize("name", ["matched", "att_by_site", "ate_capped"])
def test_neither_the_order_of_rows_nor_rows_outside_the_design_play_a_part(name):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    day, event = events(data)
    result = cumulative_incidence(day, event, baseline, design)
    order = np.random.default_rng(3).permutation(len(day))
    odd = design.weights == 0
    again = cumulative_incidence(
        np.where(odd, -1.0, day)[order],
        np.where(odd, 9, event)[order],
        rows_of(baseline, order),
        rows_of_design(design, order),
    )
    for one, other in zip(again.estimates, result.estimates, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-10)
    for curve, other in zip(again.curves, result.curves, strict=True):
        np.testing.assert_allclose(curve.lower, other.lower, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"day": [0, 2, 3, 4]}, "day above 0"),
        ({"day": [np.nan, 2, 3, 4]}, "day above 0"),
        ({"event": [3, 0, 0, 0]}, "event must be"),
        ({"day": [1, 2, 3]}, "shapes"),
        ({"horizon": 0}, "horizon must be positive"),
        ({"confidence": 1.0}, "between 0 and 1"),
        ({"n_treated": 0}, "no row with a positive weight"),
    ],
)
def test_bad_input_is_refused(change, message):
    day, event, baseline, design = small_sample([1, 2, 3, 4], [1, 0, 1, 0])
    if "n_treated" in change:
        design = replace(design, treated=np.zeros(4, dtype=bool))
    options = {name: change[name] for name in ("horizon", "confidence") if name in change}
    with pytest.raises(ValueError, match=message):
        cumulative_incidence(
            np.array(change.get("day", day), dtype=float),
            np.array(change.get("event", event)),
            baseline,
            design,
            **options,
        )


SAMPLES = ["matched", "att_plain", "ate_plain", "att_by_site"]


def sample(name):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    return *events(data), baseline, design


@pytest.mark.parametrize(("method", "called"), [(time_lost, "lost"), (kaplan_meier, "kaplan_meier")])
@pytest.mark.parametrize("name", SAMPLES)
def test_time_lost_and_kaplan_meier_agree_with_refitting_everything_in_r(name, method, called):
    found = method(*sample(name), times=(100,))
    assert [effect.until for effect in found.effects] == [100, 365]
    for effect in found.effects:
        difference, ratio = effect.estimates
        of = f"{called}_{effect.until}"
        assert difference.value == pytest.approx(R_TIMES[name, f"{of} difference value"], rel=1e-9)
        assert np.log(ratio.value) == pytest.approx(R_TIMES[name, f"{of} log_ratio value"], rel=1e-9)
        # The errors in R are numerical derivatives: steps of 1e-4 in each cluster's weight.
        assert difference.std_error == pytest.approx(R_TIMES[name, f"{of} difference std_error"], rel=1e-6)
        assert ratio.std_error == pytest.approx(R_TIMES[name, f"{of} log_ratio std_error"], rel=1e-6)


@pytest.mark.parametrize("arm", [0, 1])
def test_the_time_lost_of_an_arm_agrees_with_r_survfit(arm):
    day, event, _, design = sample("matched")
    steps = aalen_johansen(day, event, design, ("control", "treated")[arm], 365, (1,))
    area = steps.area(365)
    assert steps.incidence @ area[:, 0] == pytest.approx(R_TIMES["matched_arm", f"lost {arm} value"], rel=1e-10)
    influence = design.weights[steps.rows] * steps.per_weight(area)[:, 0]
    assert np.sqrt(influence @ influence) == pytest.approx(R_TIMES["matched_arm", f"lost {arm} std_error"], rel=1e-8)


def test_time_lost_by_hand():
    # Controls: readmitted on day 4 of 10 (6 days lost), one died on day 2, two stayed out; treated: one on day 8.
    found = time_lost(*small_sample([8, 10, 4, 2, 10, 10], [1, 0, 1, 2, 0, 0]), horizon=10)
    assert found.estimates[0].value == pytest.approx(2 / 2 - 6 / 4)
    assert found.estimates[1].value == pytest.approx(2 / 3)
    assert (found.estimates[0].scale, found.estimates[1].scale) == ("time_lost_difference", "time_lost_ratio")


@pytest.mark.parametrize("method", [cumulative_incidence, kaplan_meier, time_lost, first_readmission_type])
def test_effects_at_several_days_are_those_of_shorter_follow_up(method):
    day, event, baseline, design = sample("att_plain")
    event = np.where((event == 1) & (day > 60) & (method is first_readmission_type), 3, event)
    found = method(day, event, baseline, design, times=(90, 200))
    for until in (90, 200, 365):
        alone = method(day, event, baseline, design, horizon=until)
        same = [effect for effect in found.effects if effect.until == until]
        for one, other in zip(same, alone.effects, strict=True):
            for mine, theirs in zip(one.estimates, other.estimates, strict=True):
                assert mine.value == pytest.approx(theirs.value, rel=1e-10)
                assert mine.std_error == pytest.approx(theirs.std_error, rel=1e-10)


@pytest.mark.parametrize("times", [(0,), (400,), (30, 30)])
def test_days_out_of_range_are_refused(times):
    with pytest.raises(ValueError, match="times must be different days"):
        cumulative_incidence(*sample("matched"), times=times)


def test_the_band_is_wider_than_the_limits_and_begins_with_the_tenth_event():
    day, event, baseline, design = sample("att_plain")
    for curve in cumulative_incidence(day, event, baseline, design).curves:
        is_arm = design.treated if curve.arm == "treated" else ~design.treated
        tenth = np.sort(day[is_arm & (event == 1) & (design.weights > 0)])[9]
        in_band = np.isfinite(curve.band_lower)
        assert curve.day[in_band][0] == tenth
        assert in_band[curve.day >= tenth].all()
        assert (curve.band_lower[in_band] < curve.lower[in_band]).all()
        assert (curve.upper[in_band] < curve.band_upper[in_band]).all()
        assert (curve.band_lower[in_band] > 0).all()
        assert (curve.band_upper[in_band] < 1).all()


def test_thelargest_of_independent_and_of_equal_numbers():
    # For k independent normals the quantile solves (2 Phi(q) - 1)^k = 0.95; for equal ones it is that of one.
    assert largest_of(np.eye(5), 0.95) == pytest.approx(norm.ppf(0.5 + 0.95**0.2 / 2), abs=0.03)
    assert largest_of(np.ones((5, 5)), 0.95) == pytest.approx(norm.ppf(0.975), abs=0.03)


@pytest.mark.parametrize("censoring", ["none", "weights"])
@pytest.mark.parametrize("method", [cumulative_incidence, kaplan_meier])
def test_the_limits_of_a_difference_are_those_of_the_estimates_of_the_day_and_the_band_is_wider(method, censoring):
    data, baseline, design = golden_weighted("ate_plain" if censoring == "none" else "att_plain")
    event = data["event"].astype(np.int64)
    # A third left after the weights were made: they have no weight, but the equations of the weights rest on them.
    never_seen = np.where(np.arange(event.size) % 3 == 0, np.nan, 0.0)
    _, baseline, design = keep_observed(never_seen, baseline, design)
    found = method(data["day"], event, baseline, design, times=(100, 200), censoring=censoring)
    (pair,) = found.event_curves
    difference = pair.difference
    for effect in found.effects:
        place = np.searchsorted(difference.day, effect.until, side="right") - 1
        wanted = effect.estimates[0]
        got = [difference.value[place], difference.lower[place], difference.upper[place]]
        assert got == pytest.approx([wanted.value, wanted.lower, wanted.upper], rel=1e-9)
    known = np.isfinite(difference.band_lower)
    assert known.sum() > 100
    reach, of_band = difference.upper - difference.value, difference.band_upper - difference.value
    # Between one day (1.96) and as many independent days as there are (3.9 for 500): a multiplier for all days alike.
    multiplier = of_band[known] / reach[known]
    assert np.ptp(multiplier) < 1e-9
    assert 1.2 < multiplier[0] < 2.0
    for arm in pair.curves:  # no band before both arms have had ten events
        assert np.flatnonzero(known)[0] >= np.flatnonzero(np.isfinite(arm.band_lower))[0] - 1


def test_the_difference_of_curves_ends_with_the_shorter_one():
    day, event, baseline, design = small_sample([3, 9, 2, 4, 5, 7], [1, 0, 1, 1, 0, 0])
    difference = cumulative_incidence(day, event, baseline, design, horizon=9).event_curves[0].difference
    assert difference.day.tolist() == [0, 2, 3, 4, 5, 7]
    # By hand: a half of the treated on day 3, of four controls one on day 2 and one on day 4.
    np.testing.assert_allclose(difference.value, [0, -0.25, 0.25, 0, 0, 0], atol=1e-12)
    assert np.isnan(difference.band_lower).all()
