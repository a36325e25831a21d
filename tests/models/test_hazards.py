"""Hazard ratios: against R's coxph and crr, against refitting everything in R, and where they must say no."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from models.results import Design
from models.times.cox import AtRisk, fit_cox, time_weighted
from models.times.fine_gray import fit_fine_gray, incidence_before
from models.times.hazards import cause_specific_cox, cox, fine_gray
from models.times.proportional import share_gone
from tests.models.contract_estimates import rows_of, rows_of_design
from tests.models.effect_samples import (
    ROOT,
    baseline_of,
    golden_matched,
    golden_weighted,
    read_columns,
)
from tests.models.test_cox import R as R_COX
from tests.models.test_cox import periods
from tests.models.times_samples import golden_times, small_sample

R = golden_times("effects.csv")
R_CENSORED = golden_times("censored.csv")
SAMPLES = ["matched", "att_plain", "ate_plain", "att_by_site"]
MODELS = {
    "cox": (cox, {}, 0),
    "readmitted": (cause_specific_cox, {}, 0),
    "died": (cause_specific_cox, {}, 1),
    "readmitted_breslow": (cause_specific_cox, {"ties": "breslow"}, 0),
    "fine_gray_arm": (fine_gray, {}, 0),
    "fine_gray_everybody": (fine_gray, {"censoring_by": "everybody"}, 0),
    "fine_gray_breslow": (fine_gray, {"ties": "breslow"}, 0),
}


def sample(name):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    return data["day"], data["event"].astype(np.int64), baseline, design


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SAMPLES)
def test_ratios_and_errors_agree_with_refitting_everything_in_r(name, model):
    method, options, place = MODELS[model]
    estimate = method(*sample(name), **options).estimates[place]
    assert np.log(estimate.value) == pytest.approx(R[name, f"{model} value"], rel=1e-8)
    # The error in R is a numerical derivative: steps of 1e-4 in each cluster's weight.
    assert estimate.std_error == pytest.approx(R[name, f"{model} std_error"], rel=1e-6)


@pytest.mark.parametrize("place", [0, 1])
def test_errors_clustered_by_set_agree_with_r_coxph(place):
    estimate = cause_specific_cox(*sample("matched")).estimates[place]
    kind = ("readmitted", "died")[place]
    assert estimate.std_error == pytest.approx(R["matched_coxph", f"{kind} std_error"], rel=1e-8)


def continuous():
    """(day, event, baseline, design) of make_effects.R: days without ties, everybody of weight 1."""
    data = read_columns(ROOT / "golden" / "times" / "continuous.csv")
    n = len(data["day"])
    design = Design("by_hand", "ATE", data["treated"] == 1, np.full(n, 0.4), np.ones(n), np.full(n, -1))
    return data["day"], data["event"].astype(np.int64), baseline_of(data["x"][:, None]), design


@pytest.mark.parametrize("adjust", ["alone", "adjusted"])
def test_unweighted_cox_agrees_with_r_coxph(adjust):
    estimate = cause_specific_cox(*continuous(), horizon=10**6, adjust=adjust == "adjusted").estimates[0]
    assert np.log(estimate.value) == pytest.approx(R["continuous_cox", f"{adjust} value"], rel=1e-10)
    assert estimate.std_error == pytest.approx(R["continuous_cox", f"{adjust} std_error"], rel=1e-8)


@pytest.mark.parametrize("by", ["arm", "everybody"])
@pytest.mark.parametrize("adjust", ["alone", "adjusted"])
def test_unweighted_fine_gray_agrees_with_r_crr(adjust, by):
    options = {"censoring_by": by, "adjust": adjust == "adjusted"}
    estimate = fine_gray(*continuous(), horizon=10**6, **options).estimates[0]
    assert np.log(estimate.value) == pytest.approx(R["crr", f"{by} {adjust} value"], rel=1e-8)
    # crr takes the censoring curve's hazard where the exact derivative of the product limit has hazard / (1 - hazard);
    # the two differ where few are left: 0.35 % here at most.
    assert estimate.std_error == pytest.approx(R["crr", f"{by} {adjust} std_error"], rel=5e-3)


@pytest.mark.parametrize("kind", ["plain", "stratified"])
@pytest.mark.parametrize("clock", ["km", "identity", "log"])
def test_the_score_of_proportional_hazards_agrees_with_r_cox_zph(kind, clock):
    rows, covariates = periods(kind)
    rows = replace(rows, weights=np.ones(rows.stop.size))
    fit = fit_cox(rows, covariates, ties="breslow")
    by_day = {"km": share_gone(fit, rows), "identity": fit.days.day, "log": np.log(fit.days.day)}[clock]
    # cox.zph subtracts the mean of the clock over the events (its test does not depend on it).
    by_day = by_day - np.average(by_day, weights=fit.days.n_events)
    total, _, slope = time_weighted(fit, rows, covariates, by_day)
    _, _, square = time_weighted(fit, rows, covariates, by_day**2)
    left = square - slope @ fit.bread @ slope
    statistic = total @ np.linalg.solve(left, total)
    assert statistic == pytest.approx(R_COX[f"{kind}_zph", f"{clock} global"], rel=1e-8)
    alone = total**2 / np.diag(square - slope @ fit.bread @ slope)
    assert alone == pytest.approx([R_COX[f"{kind}_zph", f"{clock} {i}"] for i in (1, 2)], rel=1e-8)


def test_the_robust_test_of_proportional_hazards_follows_the_score_when_everything_is_refitted():
    day, event, baseline, design = continuous()
    estimate = cause_specific_cox(day, event, baseline, design, horizon=10**6).estimates[0]
    n = day.size
    covariates = design.treated[:, None].astype(float)

    def rows(weights):
        return AtRisk(np.zeros(n), day, event == 1, weights, np.zeros(n, dtype=int))

    fit = fit_cox(rows(np.ones(n)), covariates)
    clock = share_gone(fit, rows(np.ones(n)))
    clock = clock - clock.mean()

    def score(weights):
        return time_weighted(fit_cox(rows(weights), covariates), rows(weights), covariates, clock)[0][0]

    slopes = [(score(1 + 1e-4 * here) - score(1 - 1e-4 * here)) / 2e-4 for here in np.eye(n)]
    statistic = score(np.ones(n)) ** 2 / np.sum(np.square(slopes))
    assert estimate.notes["proportional_hazards_p"] == pytest.approx(chi2.sf(statistic, 1), rel=1e-6)


@pytest.mark.parametrize("adjust", ["alone", "adjusted"])
@pytest.mark.parametrize("clock", ["identity", "log"])
def test_the_score_of_proportional_subdistribution_hazards_agrees_with_r_cox_zph(adjust, clock):
    """cox.zph of finegray's rows takes the censoring curve for known and the model's variance for right."""
    day, event, baseline, design = continuous()
    others = baseline.matrix if adjust == "adjusted" else np.zeros((day.size, 0))
    covariates = np.column_stack([design.treated.astype(float), others])
    ones, everybody = np.ones(day.size), np.zeros(day.size, dtype=np.int64)
    found = fit_fine_gray(day, event, 1, ones, everybody, covariates, 10.0**6, ties="breslow")
    rows, fit = AtRisk(np.zeros(day.size), day, event == 1, ones, everybody), found.fit
    by_day = fit.days.day if clock == "identity" else np.log(fit.days.day)
    by_day = by_day - by_day.mean()
    total, _, slope = time_weighted(fit, rows, covariates, by_day, found.carried)
    _, _, square = time_weighted(fit, rows, covariates, by_day**2, found.carried)
    statistic = total[0] ** 2 / (square - slope @ fit.bread @ slope)[0, 0]
    assert statistic == pytest.approx(R_CENSORED["zph", f"{adjust} {clock}"], rel=1e-6)


@pytest.mark.parametrize("by", ["arm", "everybody"])
def test_the_test_of_proportional_subdistribution_hazards_follows_the_score_when_everything_is_refitted(by):
    day, event, baseline, design = continuous()
    p_value = (
        fine_gray(day, event, baseline, design, horizon=10**6, censoring_by=by)
        .estimates[0]
        .notes["proportional_hazards_p"]
    )
    n = day.size
    covariates = design.treated[:, None].astype(float)
    group = design.treated.astype(np.int64) if by == "arm" else np.zeros(n, dtype=np.int64)

    def refitted(weights):
        return fit_fine_gray(day, event, 1, weights, group, covariates, 10.0**6)

    first = refitted(np.ones(n))
    clock = incidence_before(first.fit.days, np.ones(n), first.carried)
    clock = clock - clock.mean()

    def score(weights):
        found = refitted(weights)
        rows = AtRisk(np.zeros(n), day, event == 1, weights, np.zeros(n, dtype=np.int64))
        return time_weighted(found.fit, rows, covariates, clock, found.carried)[0][0]

    slopes = [(score(1 + 1e-4 * here) - score(1 - 1e-4 * here)) / 2e-4 for here in np.eye(n)]
    assert p_value == pytest.approx(chi2.sf(score(np.ones(n)) ** 2 / np.sum(np.square(slopes)), 1), rel=1e-6)


@pytest.mark.parametrize("name", ["att", "ate"])
def test_censoring_weights_of_fine_gray_agree_with_refitting_everything_in_r(name):
    options = {"ties": "breslow", "censoring": "weights", "censoring_penalty": 0.0}
    found = fine_gray(*sample(f"{name}_plain"), **options)
    (estimate,) = found.estimates
    assert np.log(estimate.value) == pytest.approx(R_CENSORED[f"fine_gray_{name}", "value"], rel=1e-7)
    assert estimate.std_error == pytest.approx(R_CENSORED[f"fine_gray_{name}", "std_error"], rel=1e-5)
    assert 0 < estimate.notes["proportional_hazards_p"] < 1
    assert found.remarks[0].startswith("subdistribution hazard ratio of readmission: test of proportional hazards")
    assert found.remarks[1].startswith("weights for the end of observation by arm and covariates")


def test_without_competing_events_weighted_fine_gray_is_the_weighted_hazard():
    day, event, baseline, design = sample("att_plain")
    event = np.where(event == 2, 0, event)
    one, other = (
        method(day, event, baseline, design, censoring="weights").estimates[0]
        for method in (fine_gray, cause_specific_cox)
    )
    assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-10)
    assert one.notes["proportional_hazards_p"] == pytest.approx(other.notes["proportional_hazards_p"], rel=1e-8)


@pytest.mark.parametrize("method", [cox, cause_specific_cox, fine_gray])
@pytest.mark.parametrize("name", ["matched", "att_by_site"])
def test_neither_the_order_of_rows_nor_rows_outside_the_design_play_a_part(method, name):
    day, event, baseline, design = sample(name)
    design = replace(design, weights=np.where(np.arange(day.size) % 7 == 3, 0.0, design.weights))
    wanted = method(day, event, baseline, design)
    order = np.random.default_rng(3).permutation(day.size)
    odd = design.weights == 0
    shuffled = (np.where(odd, -1.0, day)[order], np.where(odd, 9, event)[order])
    found = method(*shuffled, rows_of(baseline, order), rows_of_design(design, order))
    for one, other in zip(found.estimates, wanted.estimates, strict=True):
        numbers = [(e.value, e.std_error, e.lower, e.upper, e.p_value, e.effective_n) for e in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-8)
        assert (one.n_treated, one.n_control) == (other.n_treated, other.n_control)
    again = method(day, event, baseline, design)
    assert again.estimates == wanted.estimates


@pytest.mark.parametrize(("method", "n"), [(cox, 1), (cause_specific_cox, 2), (fine_gray, 1)])
def test_every_ratio_says_what_it_is_about(method, n):
    found = method(*sample("matched"))
    assert [effect.until for effect in found.effects] == [365] * n
    assert [effect.event for effect in found.effects] == {
        cox: ["readmitted_or_died"],
        cause_specific_cox: ["readmitted", "died"],
        fine_gray: ["readmitted"],
    }[method]
    assert len(found.remarks) == sum("proportional_hazards_p" in estimate.notes for estimate in found.estimates) > 0
    assert {e.scale for e in found.estimates} == {
        "subdistribution_hazard_ratio" if method is fine_gray else "hazard_ratio"
    }


def test_what_happens_after_the_horizon_changes_nothing():
    day, event, baseline, design = sample("att_plain")
    later = np.where(day > 90, 90 + 3 * (day - 90), day)
    for method in (cox, cause_specific_cox, fine_gray):
        wanted = method(day, event, baseline, design, horizon=90).estimates
        assert method(later, event, baseline, design, horizon=90).estimates == wanted


def test_without_competing_events_the_subdistribution_is_the_hazard():
    day, event, baseline, design = sample("att_plain")
    event = np.where(event == 2, 0, event)
    one = fine_gray(day, event, baseline, design).estimates[0]
    other = cause_specific_cox(day, event, baseline, design).estimates[0]
    assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-10)


@pytest.mark.parametrize("method", [cox, cause_specific_cox, fine_gray])
def test_no_event_in_an_arm_is_no_ratio(method):
    day, event, baseline, design = small_sample([3, 8, 10, 10, 10], [0, 0, 1, 1, 0])
    for estimate in method(day, event, baseline, design, horizon=10).estimates:
        assert np.isnan([estimate.value, estimate.std_error, estimate.p_value]).all()
        assert estimate.notes["not_estimable"] == "nobody in one of the arms has the event"


def test_where_nobody_is_censored_the_dead_stay_at_risk_to_the_end():
    day, event, baseline, design = sample("att_plain")
    event = np.where((event == 0) & (day < 365), 2, event)
    one = fine_gray(day, event, baseline, design).estimates[0]
    stays = np.where(event == 2, 365.0, day)
    other = cause_specific_cox(stays, np.where(event == 2, 0, event), baseline, design).estimates[0]
    assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-10)


def test_one_cluster_has_a_ratio_and_no_error():
    day, event, baseline, design = small_sample([3, 8, 5, 10, 10], [1, 0, 1, 1, 0])
    together = replace(baseline, person=np.zeros(5, dtype=np.int64))
    estimate = cause_specific_cox(day, event, together, design, horizon=10).estimates[0]
    assert np.isfinite(estimate.value)
    assert np.isnan([estimate.std_error, estimate.lower, estimate.upper, estimate.p_value]).all()
    assert str(estimate.notes["not_estimable"]).startswith("the error")


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="ties"):
        cox(*sample("matched"), ties="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="censoring_by"):
        fine_gray(*sample("matched"), censoring_by="site")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each arm has its own model"):
        fine_gray(*sample("matched"), censoring_by="everybody", censoring="weights")


def test_proportional_hazards_cannot_be_tested_with_events_on_one_day():
    day, event, baseline, design = small_sample([3, 3, 3, 3, 9], [1, 0, 1, 0, 0])
    estimate = cause_specific_cox(day, event, baseline, design, horizon=10).estimates[0]
    assert "proportional_hazards_p" not in estimate.notes


@pytest.mark.parametrize(("n_events", "is_tested"), [(9, False), (10, True)])
def test_proportional_hazards_are_tested_from_ten_events_in_each_arm(n_events: int, is_tested: bool):
    n = 60
    event = np.tile(np.arange(n), 2) < np.repeat([n_events, 30], n)
    day = np.random.default_rng(5).integers(1, 300, 2 * n)
    found = cause_specific_cox(*small_sample(day, event.astype(int), n_treated=n), horizon=365)
    assert ("proportional_hazards_p" in found.estimates[0].notes) == is_tested
    assert any("proportional hazards" in remark for remark in found.remarks) == is_tested
