"""Rates and two-part means: against R, by hand, over a grid of designs, and in worlds whose rate ratio is known."""

from dataclasses import replace

import numpy as np
import pytest

from models.counts import negative_binomial, quasi_poisson, two_part
from models.effects import weighted_difference
from tests.models.contract_counts import expect_good_rates
from tests.models.contract_estimates import expect_good_estimate
from tests.models.count_samples import golden_counts, in_pairs, world_of_rates
from tests.models.effect_samples import by_hand, golden_values

R = golden_values("counts_values.csv")
RNG = np.random.default_rng(0)
RATES = {"nb": negative_binomial, "pois": quasi_poisson}
DESIGNS = ("matched", "att", "ate")


def unweighted():
    """The sample of make_counts.R, everybody of weight 1."""
    data, baseline, design = golden_counts("att")
    return data, baseline, replace(design, weights=np.ones(len(data["n"])))


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("method", RATES)
def test_rates_agree_with_refitting_everything_in_r(method: str, name: str) -> None:
    data, baseline, design = golden_counts(name)
    difference, ratio = RATES[method](data["n"], data["years"], baseline, design)
    for estimate, what in ((difference, "difference"), (ratio, "ratio")):
        assert estimate.value == pytest.approx(R[name, f"{method} {what} value"], rel=1e-8)
        assert estimate.std_error == pytest.approx(R[name, f"{method} {what} std_error"], rel=1e-5)
    if method == "nb":
        assert ratio.notes["theta"] == pytest.approx(R[name, "nb theta value"], rel=1e-8)


@pytest.mark.parametrize("name", DESIGNS)
def test_rates_under_fixed_weights_agree_with_the_sandwich_package(name: str) -> None:
    data, baseline, design = golden_counts(name)
    poisson = quasi_poisson(data["n"], data["years"], baseline, design, weights_are="fixed")[1]
    assert poisson.std_error == pytest.approx(R[name, "pois fixed sandwich"], rel=1e-8)
    # R takes theta for known; here it is estimated, which counts where the rate goes with the time seen.
    binomial = negative_binomial(data["n"], data["years"], baseline, design, weights_are="fixed")[1]
    assert binomial.std_error == pytest.approx(R[name, "nb fixed sandwich"], rel=0.02)


@pytest.mark.parametrize("name", ["plain", *DESIGNS])
def test_rates_under_fixed_weights_agree_with_geepack_and_gnm(name: str) -> None:
    """make_rates.R. Neither has the G / (G - 1) that errors of matched sets carry here; both stop iterating at some
    1e-8 of the error."""
    wanted = golden_values("rates_values.csv")
    data, baseline, design = unweighted() if name == "plain" else golden_counts(name)
    difference, ratio = quasi_poisson(data["n"], data["years"], baseline, design, weights_are="fixed")
    n_clusters = wanted[name, "n_clusters"]
    factor = np.sqrt(n_clusters / (n_clusters - 1)) if name == "matched" else 1.0
    assert ratio.notes["n_clusters"] == n_clusters
    assert ratio.notes["dispersion"] == pytest.approx(wanted[name, "gnm dispersion"], rel=1e-7)
    for package in ("geepack", "gnm"):
        assert ratio.value == pytest.approx(wanted[name, f"{package} ratio value"], rel=1e-10)
        assert ratio.std_error == pytest.approx(wanted[name, f"{package} ratio std_error"] * factor, rel=2e-7)
    assert difference.value == pytest.approx(wanted[name, "geepack difference value"], rel=1e-9)
    assert difference.std_error == pytest.approx(wanted[name, "geepack difference std_error"] * factor, rel=2e-7)


@pytest.mark.parametrize("power", ["1.2", "1.7"])
@pytest.mark.parametrize("name", ["plain", *DESIGNS])
def test_the_ratio_of_mean_days_is_that_of_a_tweedie_whatever_its_power(name: str, power: str) -> None:
    """make_rates.R: glm with statmod's tweedie, log link, and sandwich's clustered error."""
    wanted = golden_values("rates_values.csv")
    data, baseline, design = unweighted() if name == "plain" else golden_counts(name)
    options = {"rng": RNG, "kind": "continuous", "weights_are": "fixed"}
    ratio = weighted_difference(data["days"], baseline, design, **options)[1]
    n_clusters = wanted[name, "n_clusters"]
    factor = np.sqrt(n_clusters / (n_clusters - 1)) if name == "matched" else 1.0
    assert ratio.scale == "mean_ratio"
    assert ratio.value == pytest.approx(wanted[name, f"tweedie {power} ratio value"], rel=1e-9)
    assert ratio.std_error == pytest.approx(wanted[name, f"tweedie {power} ratio std_error"] * factor, rel=1e-9)


@pytest.mark.parametrize("name", DESIGNS)
def test_two_part_agrees_with_refitting_everything_in_r(name: str) -> None:
    data, baseline, design = golden_counts(name)
    found = two_part(data["days"], baseline, design, rng=RNG, kind="continuous", l2_penalty=1e-9)
    for estimate, what in zip(found, ("difference", "ratio"), strict=True):
        assert estimate.value == pytest.approx(R[name, f"two_part {what} value"], rel=1e-7)
        assert estimate.std_error == pytest.approx(R[name, f"two_part {what} std_error"], rel=1e-5)


@pytest.mark.parametrize("weights_are", ["estimated", "fixed"])
@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("method", RATES)
def test_contract_of_rates(method: str, name: str, weights_are: str) -> None:
    data, baseline, design = golden_counts(name)
    expect_good_rates(RATES[method], (data["n"], data["years"], baseline, design), weights_are=weights_are)


@pytest.mark.parametrize("weights_are", ["estimated", "fixed"])
@pytest.mark.parametrize("name", DESIGNS)
def test_contract_of_two_part(name: str, weights_are: str) -> None:
    data, baseline, design = golden_counts(name)
    options = {"weights_are": weights_are, "l2_penalty": 0.5}
    expect_good_estimate(two_part, data["days"], baseline, design, kind="continuous", **options)


def test_rates_by_hand() -> None:
    # Treated: 3 events in 1.5 years. Controls: weights 1, 1, 2 on 1, 0, 2 events in 1, 1, 0.5 years: 5 in 3.
    outcome, baseline, design = by_hand([1, 2, 1, 0, 2], [1, 1, 0, 0, 0], [1, 1, 1, 1, 2])
    exposure = np.array([1.0, 0.5, 1.0, 1.0, 0.5])
    difference, ratio = quasi_poisson(outcome, exposure, baseline, design)
    assert (difference.notes["mean_treated"], difference.notes["mean_control"]) == pytest.approx((2, 5 / 3))
    assert (difference.value, ratio.value) == pytest.approx((1 / 3, 6 / 5))
    # Residuals of the treated: -1 and 1 by 1.5 years. Of the controls: -2/3, -5/3 and, twice, 7/6, by 3 years.
    variance = 2 / 1.5**2 + ((2 / 3) ** 2 + (5 / 3) ** 2 + (2 * 7 / 6) ** 2) / 9
    assert difference.std_error == pytest.approx(np.sqrt(variance))


def test_with_the_same_time_for_all_a_rate_is_the_mean() -> None:
    data, baseline, design = golden_counts("att")
    plain = weighted_difference(data["n"], baseline, design, rng=RNG, kind="continuous")
    for method in RATES.values():
        found = method(data["n"], np.ones_like(data["n"]), baseline, design)
        for rate, mean in zip(found, plain, strict=True):
            assert rate.value == pytest.approx(mean.value, rel=1e-9)
            assert rate.std_error == pytest.approx(mean.std_error, rel=1e-8)


def test_counts_without_over_dispersion_fall_back_to_the_poisson_and_say_so() -> None:
    data, baseline, design = golden_counts("att")
    found = negative_binomial(data["flat"], data["years"], baseline, design)
    plain = quasi_poisson(data["flat"], data["years"], baseline, design)
    assert "no over-dispersion" in str(found[1].notes["theta"])
    for one, other in zip(found, plain, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-9)


@pytest.mark.parametrize("method", RATES.values())
@pytest.mark.parametrize(
    ("outcome", "exposure", "message"),
    [
        ([1, 0, -1, 0], [1, 1, 1, 1], "whole numbers of 0 or more"),
        ([1, 0, 0.5, 0], [1, 1, 1, 1], "whole numbers of 0 or more"),
        ([1, 0, 1, 0], [1, 1, np.nan, 1], "needs an exposure"),
        ([1, 0, 1, 0], [1, 1, -1, 1], "needs an exposure"),
        ([0, 0, 1, 0], [0, 0, 1, 1], "nobody in one of the arms"),
        ([1, np.nan, 1, 0], [1, 1, 1, 1], "keep_observed"),
    ],
)
def test_what_is_refused(method, outcome, exposure, message) -> None:
    values, baseline, design = by_hand(outcome, [1, 1, 0, 0], [1, 1, 1, 1])
    with pytest.raises(ValueError, match=message):
        method(values, np.array(exposure, dtype=float), baseline, design)


def test_events_without_time_count_in_a_ratio_of_sums_and_are_told() -> None:
    # Treated: 3 events in 2 years. Controls: weights 1, 1, 2 on 2, 0, 1 events in 0, 1, 1.5 years: 4 in 4.
    outcome, baseline, design = by_hand([1, 2, 2, 0, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 2])
    exposure = np.array([1.0, 1.0, 0.0, 1.0, 1.5])
    difference, ratio = quasi_poisson(outcome, exposure, baseline, design)
    assert (difference.value, ratio.value) == pytest.approx((0.5, 1.5))
    # Residuals of the treated: -1/2 and 1/2 by 2 years. Of the controls: 2, -1 and, twice, -1/2, by 4 years.
    assert difference.std_error == pytest.approx(np.sqrt(0.5 / 4 + (4 + 1 + 1) / 16))
    assert str(difference.notes["warning"]).endswith("among the events of the rate, and add nothing to its time")
    assert "1 people had 2 events and no time at risk: " in str(difference.notes["warning"])
    outcome, baseline, in_sets = by_hand([1, 2, 2, 0, 1], [1, 1, 0, 0, 0], [1, 1, 0.5, 0.5, 1], [0, 1, 0, 0, 1])
    both = str(quasi_poisson(outcome, exposure, baseline, in_sets)[0].notes["warning"])
    assert "fewer than twenty independent matched sets" in both
    assert "no time at risk" in both
    with pytest.raises(ValueError, match="1 people had 2 events and no time at risk, which no negative binomial"):
        negative_binomial(outcome, exposure, baseline, design)
    told = quasi_poisson(np.array([1.0, 2, 0, 0, 1]), exposure, baseline, design)
    assert "warning" not in told[0].notes


def test_one_bedbound_person_among_many_moves_the_rate_by_his_events_alone() -> None:
    """A minimal exposure in place of none would be the limit of this as it goes to 0."""
    data, baseline, design = golden_counts("att")
    time = data["years"].copy()
    row = np.flatnonzero((data["n"] > 0) & (design.weights > 0) & ~design.treated)[0]
    time[row] = 0.0
    found = quasi_poisson(data["n"], time, baseline, design)
    time[row] = 1e-9
    near = quasi_poisson(data["n"], time, baseline, design)
    for one, other in zip(found, near, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-6)


def test_an_arm_without_events_has_no_ratio() -> None:
    outcome, baseline, design = by_hand([0, 0, 1, 2], [1, 1, 0, 0], [1, 1, 1, 1])
    difference, ratio = quasi_poisson(outcome, np.ones(4), baseline, design)
    assert difference.value == -1.5
    assert np.isnan(ratio.value)
    assert "not above 0" in str(ratio.notes["not_estimable"])
    with pytest.raises(ValueError, match="events in both arms"):
        negative_binomial(outcome, np.ones(4), baseline, design)


def test_two_part_refuses_a_regression_on_too_few_people() -> None:
    data, baseline, design = golden_counts("att")
    few = replace(design, weights=np.where(design.treated | (np.arange(len(data["n"])) < 40), design.weights, 0.0))
    with pytest.raises(ValueError, match="on 2 covariates needs 10 people above 0"):
        two_part(data["days"], baseline, few, rng=RNG, kind="continuous")


def test_two_part_refuses_what_it_cannot_do() -> None:
    outcome, baseline, design = by_hand([1, 0, -1, 2], [1, 1, 0, 0], [1, 1, 1, 1])
    with pytest.raises(ValueError, match="never negative"):
        two_part(outcome, baseline, design, rng=RNG, kind="continuous")
    with pytest.raises(ValueError, match="not for binary"):
        two_part(outcome, baseline, design, rng=RNG, kind="binary")
    with pytest.raises(ValueError, match="cannot target the ATO"):
        two_part(np.abs(outcome), baseline, replace(design, estimand="ATO"), rng=RNG, kind="continuous")


def test_two_part_without_zeros_is_the_second_part_alone() -> None:
    data, baseline, design = golden_counts("att")
    found = two_part(data["days"] + 1, baseline, design, rng=RNG, kind="continuous")
    plain = weighted_difference(data["days"] + 1, baseline, design, rng=RNG, kind="continuous")
    assert found[0].notes["share_any_control"] == 1
    assert abs(found[0].value - plain[0].value) < plain[0].std_error / 3


def test_two_part_with_nothing_among_controls_is_the_treated_mean() -> None:
    data, baseline, design = golden_counts("att")
    values = np.where(design.treated, data["days"], 0.0)
    (found,) = two_part(values, baseline, design, rng=RNG, kind="continuous")
    (plain,) = weighted_difference(values, baseline, design, rng=RNG, kind="continuous")
    assert (found.value, found.std_error) == pytest.approx((plain.value, plain.std_error), rel=1e-9)


def test_two_part_is_right_when_the_weights_are_not() -> None:
    """The regression alone must carry the confounding where every control weighs the same: share and amount are drawn
    as it has them, and the effect of treatment is a factor of 0.7 on the amount."""
    rng = np.random.default_rng(5)
    n = 6000
    outcome, _, baseline, design = world_of_rates(rng, n, ratio=1.0)
    x = baseline.matrix[:, 0]
    some = rng.random(n) < 1 / (1 + np.exp(-0.5 * x))
    days = np.where(some, rng.gamma(2, np.exp(2 + 0.4 * x) / 2) * np.where(design.treated, 0.7, 1.0), 0.0)
    equal = replace(design, weights=np.ones(n))
    ratio = two_part(days, baseline, equal, rng=RNG, kind="continuous", weights_are="fixed")[1]
    naive = weighted_difference(days, baseline, equal, rng=RNG, kind="continuous")[1]
    assert abs(np.log(ratio.value / 0.7)) < 2.5 * ratio.std_error
    assert abs(np.log(naive.value / 0.7)) > 5 * naive.std_error
    assert len(outcome) == n


def test_two_part_is_right_when_the_regression_is_not() -> None:
    """The amount is U-shaped in the covariate, which neither part knows; the weights carry it. The effect is null."""
    rng = np.random.default_rng(6)
    n = 6000
    _, _, baseline, design = world_of_rates(rng, n, ratio=1.0)
    x = baseline.matrix[:, 0]
    days = np.where(rng.random(n) < 0.5, rng.gamma(2, 3 + 4 * x**2), 0.0)
    difference = two_part(days, baseline, design, rng=RNG, kind="continuous")[0]
    assert abs(difference.value) < 2.5 * difference.std_error


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("method", RATES.values())
def test_coverage_with_over_dispersion_and_unequal_time(method, pairs) -> None:
    """60 worlds of 400 people whose rates vary by person (variance 1): coverage of 95 % intervals within what 60 draws
    allow (binomial, 0.95: at least 52), and the mean of the log ratios within three of its own errors. Pairs are made
    without regard to the confounder, so the truth there is null only without it."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(60):
        counts, years, baseline, design = world_of_rates(rng, 400, ratio=0.7)
        if pairs:
            design = in_pairs(baseline, design)
            counts = rng.poisson(rng.gamma(1.0, 1.0, 400) * years * np.where(design.treated, 0.7, 1.0)).astype(float)
        found.append(method(counts, years, baseline, design)[1])
    covered = sum(estimate.lower < 0.7 < estimate.upper for estimate in found)
    errors = np.log([estimate.value / 0.7 for estimate in found])
    assert covered >= 52
    assert abs(errors.mean()) < 3 * errors.std() / np.sqrt(60)


def test_an_error_that_takes_events_for_independent_would_be_too_small() -> None:
    """The sandwich exceeds the Poisson error by the dispersion, within a tenth: 1 / events of each arm, unweighted."""
    rng = np.random.default_rng(8)
    counts, years, baseline, design = world_of_rates(rng, 4000, ratio=1.0, shape=0.5)
    design = replace(design, weights=np.ones(4000), score=np.full(4000, 0.5))
    ratio = quasi_poisson(counts, years, baseline, design, weights_are="fixed")[1]
    poisson = np.sqrt(1 / counts[design.treated].sum() + 1 / counts[~design.treated].sum())
    assert float(ratio.notes["dispersion"]) > 2
    assert ratio.std_error > 1.4 * poisson


def test_an_arm_without_events_does_not_hide_how_few_people_of_the_other_had_any() -> None:
    # Disclosure control withholds what rests on few people: the rate difference is then the other arm's rate.
    data, baseline, design = golden_counts("matched")
    some = np.flatnonzero(design.treated & (design.weights > 0))[:3]
    counts = np.where(np.isin(np.arange(design.treated.size), some), 1.0, 0.0)
    found = quasi_poisson(counts, data["years"], baseline, design)
    assert [item.notes["n_events_in_the_arm_with_fewest"] for item in found] == [3.0, 3.0]


def test_nobody_with_an_event_is_a_rate_of_nought_without_an_error() -> None:
    data, baseline, design = golden_counts("matched")
    difference, ratio = quasi_poisson(np.zeros(design.treated.size), data["years"], baseline, design)
    assert (difference.value, difference.notes["n_events_in_the_arm_with_fewest"]) == (0.0, 0.0)
    assert np.isnan([difference.std_error, ratio.value, float(difference.notes["dispersion"])]).all()
