"""Weighted differences: against R, against published numbers, by hand, and in simulated worlds."""

from dataclasses import replace

import numpy as np
import pytest

from models.effects import weighted_difference
from models.results import Baseline, Design
from tests.models.contract_estimates import expect_good_estimate
from tests.models.effect_samples import (
    ROOT,
    WEIGHTED,
    baseline_of,
    by_hand,
    easy_world,
    golden_matched,
    golden_values,
    golden_weighted,
    read_columns,
    weighting_design,
)

R = golden_values()
RNG = np.random.default_rng(0)
OUTCOMES = {"y": "binary", "z": "continuous"}


# --- against R ------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
def test_matched_sample_agrees_with_r_sandwich(column):
    data, baseline, design = golden_matched()
    estimates = weighted_difference(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column])
    for estimate in estimates:
        assert estimate.value == pytest.approx(R["matched", f"{estimate.scale} value"], rel=1e-10)
        assert estimate.std_error == pytest.approx(R["matched", f"{estimate.scale} std_error"], rel=1e-10)
        assert estimate.notes["n_clusters"] == R["matched", "n_clusters"] == 53


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", WEIGHTED)
def test_fixed_weights_agree_with_r_sandwich(name, column):
    data, baseline, design = golden_weighted(name)
    options = {"rng": RNG, "kind": OUTCOMES[column], "weights_are": "fixed"}
    for estimate in weighted_difference(data[column], baseline, design, **options):
        assert estimate.value == pytest.approx(R[f"{name}_fixed", f"{estimate.scale} value"], rel=1e-9)
        assert estimate.std_error == pytest.approx(R[f"{name}_fixed", f"{estimate.scale} std_error"], rel=1e-9)
        assert estimate.notes["variance"] == "weights as fixed"


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", "att_plain", "ate_plain"])
def test_fixed_weights_agree_with_r_geepack(name, column):
    """GEE with an independence working correlation (make_gee_values.R), clusters of persons or of joined sets;
    geepack leaves out the G / (G - 1) that the errors of matched sets carry here, as in sandwich's vcovCL."""
    wanted = golden_values("gee_values.csv")
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    options = {"rng": RNG, "kind": OUTCOMES[column], "weights_are": "fixed"}
    for estimate in weighted_difference(data[column], baseline, design, **options):
        assert estimate.notes["n_clusters"] == wanted[name, "n_clusters"]
        for number in ("value", "std_error"):
            found, by_r = getattr(estimate, number), wanted[name, f"{estimate.scale} {number}"]
            if name == "matched" and number == "std_error":
                by_r *= np.sqrt(53 / 52)
            assert found == pytest.approx(by_r, rel=1e-8), (estimate.scale, number)


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", WEIGHTED)
def test_estimated_weights_agree_with_refitting_everything_in_r(name, column):
    data, baseline, design = golden_weighted(name)
    for estimate in weighted_difference(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column]):
        assert estimate.notes["variance"] == "weights as estimated"
        if estimate.scale != "mean_ratio":
            assert estimate.std_error == pytest.approx(R[name, f"{estimate.scale} std_error"], rel=1e-6)


# --- against a published analysis -----------------------------------------------------------------


def nhefs(estimand):
    """The model of Hernán & Robins, What If, chapter 12; see tests/data/nhefs/SOURCE.md."""
    data = read_columns(ROOT / "data" / "nhefs" / "nhefs_complete.csv")
    columns = [data["sex"], data["race"]]
    for name in ("age", "smokeintensity", "smokeyrs", "wt71"):
        columns += [data[name], data[name] ** 2]
    for name in ("education", "exercise", "active"):
        columns += [(data[name] == level).astype(float) for level in np.unique(data[name])[1:]]
    baseline = baseline_of(np.column_stack(columns))
    return data["wt82_71"], baseline, weighting_design(baseline, data["qsmk"] == 1, estimand, l2_penalty=0.0)


def test_nhefs_agrees_with_what_if():
    (estimate,) = weighted_difference(*nhefs("ATE"), rng=RNG, kind="continuous", weights_are="fixed")
    assert round(estimate.value, 4) == 3.4405  # SOURCE.md; the book prints 3.4
    assert (round(estimate.lower, 3), round(estimate.upper, 3)) == (2.411, 4.470)  # SOURCE.md; the book: 2.4, 4.5
    assert (estimate.n_treated, estimate.n_control) == (403, 1163)


@pytest.mark.parametrize("estimand", ["ATE", "ATT"])
def test_knowing_that_the_score_was_estimated_narrows_the_nhefs_interval(estimand):
    # Hernán & Robins, section 12.2: the sandwich that takes the weights as fixed is conservative.
    outcome, baseline, design = nhefs(estimand)
    fixed, estimated = (
        weighted_difference(outcome, baseline, design, rng=RNG, kind="continuous", weights_are=weights_are)[0]
        for weights_are in ("fixed", "estimated")
    )
    assert estimated.value == fixed.value
    assert 0.85 < estimated.std_error / fixed.std_error < 0.98


# --- by hand --------------------------------------------------------------------------------------


def test_matched_pairs_have_the_paired_standard_error():
    # Pair differences 1, 0, 1, -1: mean 0.25, standard deviation sqrt(2.75 / 3), divided by sqrt(4).
    outcome, baseline, design = by_hand(
        [1, 0, 1, 0, 0, 0, 0, 1], [1, 1, 1, 1, 0, 0, 0, 0], np.ones(8), [0, 1, 2, 3, 0, 1, 2, 3]
    )
    difference = weighted_difference(outcome, baseline, design, rng=RNG, kind="binary")[0]
    assert difference.value == 0.25
    assert difference.std_error == pytest.approx(np.sqrt(2.75 / 3 / 4))


def test_unmatched_arms_have_the_unequal_variance_error():
    outcome, baseline, design = by_hand([3, 5, 1, 2, 6], [1, 1, 0, 0, 0], np.ones(5))
    difference, ratio = weighted_difference(outcome, baseline, design, rng=RNG, kind="continuous")
    assert (difference.value, ratio.value) == (1.0, pytest.approx(4 / 3))
    # Sums of squares about the means 4 and 3 are 2 and 14, over the squared numbers 2 and 3.
    assert difference.std_error == pytest.approx(np.sqrt(2 / 4 + 14 / 9))
    assert ratio.std_error == pytest.approx(np.sqrt(2 / 4 / 16 + 14 / 9 / 9))


def test_effective_number_is_kish():
    outcome, baseline, design = by_hand([1, 0, 1, 0], [1, 0, 0, 0], [1, 2, 1, 1])
    assert weighted_difference(outcome, baseline, design, rng=RNG, kind="binary")[0].effective_n == 16 / 6


@pytest.mark.parametrize(
    ("events", "estimable"),
    [([1, 1, 0, 0, 0, 0], {"risk_difference"}), ([0, 0, 0, 1, 1, 0], {"risk_difference"})],
)
def test_an_arm_without_events_has_a_difference_but_no_ratio(events, estimable):
    outcome, baseline, design = by_hand(events, [1, 1, 1, 0, 0, 0], [1, 1, 1, 0.3, 0.6, 0.3])
    for estimate in weighted_difference(outcome, baseline, design, rng=RNG, kind="binary"):
        assert np.isfinite(estimate.value) == (estimate.scale in estimable)
        assert np.isnan(estimate.p_value) == (estimate.scale not in estimable)
        assert ("not_estimable" in estimate.notes) == (estimate.scale not in estimable)


def test_an_arm_in_which_everybody_has_the_event_has_no_odds_ratio():
    # 0.1 + 0.2 + 0.3 weights: the mean must be 1 exactly, not 1 - 1e-16.
    outcome, baseline, design = by_hand([1, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 0.1, 0.2, 0.3])
    estimates = {e.scale: e for e in weighted_difference(outcome, baseline, design, rng=RNG, kind="binary")}
    assert np.isnan(estimates["odds_ratio"].value)
    assert estimates["risk_ratio"].value == pytest.approx(2 / 3)


def test_no_events_at_all_is_a_difference_of_zero_without_an_interval():
    outcome, baseline, design = by_hand([0, 0, 0, 0], [1, 1, 0, 0], np.ones(4))
    difference = weighted_difference(outcome, baseline, design, rng=RNG, kind="binary")[0]
    assert difference.value == 0
    assert np.isnan([difference.std_error, difference.lower, difference.upper, difference.p_value]).all()
    assert difference.notes["not_estimable"] == "the outcome does not vary within the arms"


def test_one_cluster_has_no_standard_error():
    outcome, baseline, design = by_hand([1, 0, 0, 1], [1, 1, 0, 0], np.ones(4), [0, 0, 0, 0])
    difference = weighted_difference(outcome, baseline, design, rng=RNG, kind="binary")[0]
    assert np.isnan(difference.std_error)
    assert difference.notes["not_estimable"] == "fewer than two clusters"


def test_a_negative_outcome_has_no_mean_ratio():
    outcome, baseline, design = by_hand([3, 5, -1, 9], [1, 1, 0, 0], np.ones(4))
    (only,) = weighted_difference(outcome, baseline, design, rng=RNG, kind="continuous")
    assert only.scale == "mean_difference"


# --- what stands behind the weights ---------------------------------------------------------------


def said(design, baseline, outcome):
    return weighted_difference(outcome, baseline, design, rng=RNG, kind="binary")[0].notes["variance"]


def test_weights_of_unknown_origin_and_a_randomised_comparison_count_as_fixed():
    data, baseline, design = golden_weighted("att_plain")
    assert said(design, baseline, data["y"]) == "weights as estimated"
    assert said(replace(design, weights=1 + np.abs(data["x1"])), baseline, data["y"]) == "weights as fixed"
    randomised = replace(design, weights=np.ones(400), score=np.full(400, design.treated.mean()))
    assert said(randomised, baseline, data["y"]) == "weights as fixed"


@pytest.mark.parametrize("estimand", ["att", "ate"])
def test_a_factor_common_to_an_arm_changes_nothing(estimand):
    # Stabilised weights are plain weights times the arm's share.
    data, baseline, design = golden_weighted(f"{estimand}_plain")
    plain = weighted_difference(data["y"], baseline, design, rng=RNG, kind="binary")[0]
    stabilised = replace(design, weights=design.weights * np.where(design.treated, 1.0, 0.7))
    again = weighted_difference(data["y"], baseline, stabilised, rng=RNG, kind="binary")[0]
    assert (again.value, again.std_error) == pytest.approx((plain.value, plain.std_error), rel=1e-12)


def test_constant_and_repeated_columns_change_nothing():
    data, baseline, design = golden_weighted("att_plain")
    plain = weighted_difference(data["y"], baseline, design, rng=RNG, kind="binary")[0]
    more = np.column_stack([baseline.matrix, np.full(400, 0.1), baseline.matrix[:, 0] * 3 + 1])
    again = weighted_difference(data["y"], replace(baseline, matrix=more), design, rng=RNG, kind="binary")[0]
    assert again.std_error == pytest.approx(plain.std_error, rel=1e-8)


def test_a_penalty_in_the_notes_enters_the_variance():
    data, baseline, design = golden_weighted("att_plain")
    errors = [
        weighted_difference(
            data["z"], baseline, replace(design, notes={"l2_penalty": penalty}), rng=RNG, kind="continuous"
        )[0].std_error
        for penalty in (0.0, 1e9)
    ]
    # An infinite penalty leaves the intercept alone, which moves all the controls' weights alike.
    fixed = weighted_difference(data["z"], baseline, design, rng=RNG, kind="continuous", weights_are="fixed")[0]
    assert errors[0] < 0.99 * fixed.std_error
    assert errors[1] == pytest.approx(fixed.std_error, rel=1e-6)


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("weights_are", ["estimated", "fixed"])
@pytest.mark.parametrize("name", ["matched", *WEIGHTED])
def test_contract(name, weights_are, column):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    options = {"kind": OUTCOMES[column], "weights_are": weights_are}
    expect_good_estimate(weighted_difference, data[column], baseline, design, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": [1, np.nan, 0, 1]}, "keep_observed"),
        ({"outcome": [1, 2, 0, 1]}, "0 or 1"),
        ({"outcome": [1, 0, 1]}, "shape"),
        ({"weights": [1, 1, 0, 0]}, "no row with a positive weight"),
        ({"confidence": 95}, "between 0 and 1"),
        ({"kind": "count"}, "kind must be"),
        ({"weights_are": "known"}, "weights_are must be"),
    ],
)
def test_bad_input_is_refused(change, message):
    outcome, baseline, design = by_hand([1, 0, 0, 1], [1, 1, 0, 0], change.pop("weights", np.ones(4)))
    outcome = np.array(change.pop("outcome", outcome), dtype=float)
    with pytest.raises(ValueError, match=message):
        weighted_difference(outcome, baseline, design, **{"rng": RNG, "kind": "binary", **change})


# --- simulated worlds -----------------------------------------------------------------------------


@pytest.mark.parametrize("estimand", ["ATT", "ATE"])
@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_intervals_cover_the_truth(kind, estimand):
    # 200 worlds of 500 rows, about 100 treated. 0.95 ± three binomial errors: 0.904 to 0.996.
    rng = np.random.default_rng(20)
    covered, errors = [], []
    for _world in range(200):
        outcome, baseline, treated = easy_world(rng, 500, kind=kind)
        design = weighting_design(baseline, treated, estimand)
        estimate = weighted_difference(outcome, baseline, design, rng=rng, kind=kind)[0]
        covered.append(estimate.lower < 0 < estimate.upper)
        errors.append((estimate.value, estimate.std_error))
    values, std_errors = np.array(errors).T
    assert 0.904 < np.mean(covered) < 0.996
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200)
    assert std_errors.mean() / values.std() == pytest.approx(1, abs=0.18)  # a deviation from 200 is 5 % off, ± 3 times


def matched_pairs(rng, n_pairs=60):
    """Pairs that share most of what drives the outcome."""
    shared = rng.normal(size=n_pairs)
    outcome = np.concatenate([shared + 0.5, shared]) + 0.5 * rng.normal(size=2 * n_pairs)
    treated = np.arange(2 * n_pairs) < n_pairs
    pair = np.tile(np.arange(n_pairs), 2)
    return (
        outcome,
        baseline_of(np.concatenate([shared, shared])[:, None]),
        Design("by_hand", "ATT", treated, np.full(2 * n_pairs, 0.5), np.ones(2 * n_pairs), pair),
    )


def test_clustering_by_set_covers_the_truth_in_matched_pairs():
    # The effect is 0.5; 0.95 ± three binomial errors at 400 worlds: 0.917 to 0.983.
    rng = np.random.default_rng(21)
    covered, widths = [], []
    for _world in range(400):
        outcome, baseline, design = matched_pairs(rng)
        estimate, alone = (
            weighted_difference(outcome, baseline, one, rng=rng, kind="continuous")[0]
            for one in (design, replace(design, matched_set=np.full(120, -1)))
        )
        covered.append(estimate.lower < 0.5 < estimate.upper)
        widths.append(alone.std_error / estimate.std_error)
    assert 0.917 < np.mean(covered) < 0.983
    assert np.mean(widths) > 1.8  # variances 2 × 1.25 against 2 × 0.25: sets matter by a factor sqrt(5) here


@pytest.mark.parametrize("estimand", ["ATC", "ATE"])
def test_a_treated_person_who_stands_for_many_is_warned_of(estimand):
    """29 treated of weight 1 and one of 9: 9 / 38 of the treated's weight, by hand; controls weigh 1 each."""
    outcome, baseline, design = by_hand(
        [0, 1] * 30, [1] * 30 + [0] * 30, [1.0] * 29 + [9.0] + [1.0] * 30, None, estimand
    )
    (estimate, *_) = weighted_difference(outcome, baseline, design, rng=np.random.default_rng(0), kind="binary")
    assert "single treated person" in estimate.notes["warning"]


@pytest.mark.parametrize(("n_sets", "warns"), [(19, True), (20, False)])
def test_an_error_that_rests_on_few_matched_sets_is_warned_of(n_sets: int, warns: bool) -> None:
    """Full matching to few controls leaves few sets, however many people are in them."""
    sets = np.concatenate([np.arange(100) % n_sets, np.arange(n_sets)])
    outcome, baseline, design = by_hand(
        np.arange(100 + n_sets) % 7, [1] * 100 + [0] * n_sets, np.ones(100 + n_sets), sets
    )
    estimate = weighted_difference(outcome, baseline, design, rng=RNG, kind="continuous")[0]
    assert ("fewer than twenty independent matched sets" in str(estimate.notes.get("warning", ""))) == warns


@pytest.mark.parametrize(
    ("in_sets", "std_error"),
    [
        # vcovCL(lm(y ~ t, weights = w), ~id, type = "HC0", cadjust = FALSE) of R's sandwich 3.0.2; geeglm of geepack,
        # independence, gives the same.
        (False, 0.2125711887),
        # The same with cadjust = TRUE; svyglm of survey gives the same.
        (True, 0.2272481595),
    ],
)
def test_clusters_of_persons_are_as_in_gee_and_sets_as_in_survey(*, in_sets: bool, std_error: float) -> None:
    person = np.array([1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8])
    treated = np.array([1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0]) == 1
    y = np.array([-0.63, 0.18, -0.84, 1.6, 0.33, -0.82, 0.49, 0.74, 0.58, -0.31, 1.51, 0.39])
    w = np.array([0.9, 1.08, 0.52, 1.07, 1.8, 1.01, 1.22, 1.4, 1.24, 0.78, 1.74, 1.5])
    nothing = np.zeros(12, dtype=np.int64)
    baseline = Baseline(np.zeros((12, 1)), ("x",), nothing, nothing, np.arange(12) if in_sets else person)
    design = Design("by_hand", "ATT", treated, np.full(12, 0.5), w, person if in_sets else nothing - 1)
    found = weighted_difference(y, baseline, design, rng=RNG, kind="continuous", weights_are="fixed")[0]
    assert found.value == pytest.approx(-1.092898002, rel=1e-9)
    assert found.std_error == pytest.approx(std_error, rel=1e-9)
    assert found.notes["n_clusters"] == 8
