"""Weights for outcomes that were not observed: by hand, against R, exact errors, and worlds in which covariates
foretell otherwise in the two arms who is observed."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from models import observation, standardisation
from models.effects import keep_observed, weighted_difference
from models.observation import OBSERVATION_NOTE, observation_weights
from models.propensity import fit_propensity
from models.registry import DESIGNS
from models.results import Baseline, Design
from models.standardisation import adjusted_regression, g_computation
from tests.models.contract_estimates import expect_good_estimate, expect_same_numbers
from tests.models.effect_samples import (
    GOLDEN,
    ROOT,
    baseline_of,
    by_hand,
    golden_matched,
    golden_values,
    golden_weighted,
    read_columns,
    weighting_design,
)

R = golden_values("unobserved_values.csv")
RNG = np.random.default_rng(0)
OUTCOMES = {"y": "binary", "z": "continuous"}
METHODS = {
    "weighted_difference": weighted_difference,
    "adjusted_regression": adjusted_regression,
    "g_computation": g_computation,
}
WEIGHTS: dict[str, Any] = {"unobserved": "weights", "observation_penalty": 0.0}


@cache
def golden(name: str) -> tuple[dict[str, np.ndarray], Baseline, Design]:
    """A golden sample with the outcomes of those not observed in make_unobserved.R taken out."""
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    who = read_columns(GOLDEN / "unobserved.csv")
    seen = who["seen"][who["data"] == float(name != "matched")] == 1
    return data | {column: np.where(seen, data[column], np.nan) for column in OUTCOMES}, baseline, design


# --- against R ------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", "att_plain", "att_by_site", "ate_plain", "ate_by_site"])
def test_weighted_means_agree_with_refitting_everything_in_r(name: str, column: str) -> None:
    data, baseline, design = golden(name)
    for estimate in weighted_difference(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column], **WEIGHTS):
        assert estimate.value == pytest.approx(R[name, f"{estimate.scale} value"], rel=1e-8)
        assert estimate.std_error == pytest.approx(R[name, f"{estimate.scale} std_error"], rel=1e-6)
        assert estimate.notes["largest_observation_weight"] == pytest.approx(R[name, "largest weight"], rel=1e-8)


@pytest.mark.parametrize("column", OUTCOMES)
def test_weights_cut_to_the_largest_agree_with_r(column: str) -> None:
    data, baseline, design = golden("att_plain")
    options = {**WEIGHTS, "largest_observation_weight": 1.5}
    for estimate in weighted_difference(data[column], baseline, design, rng=RNG, kind=OUTCOMES[column], **options):
        assert estimate.value == pytest.approx(R["att_plain cut", f"{estimate.scale} value"], rel=1e-8)
        assert estimate.std_error == pytest.approx(R["att_plain cut", f"{estimate.scale} std_error"], rel=1e-6)
        assert "of them cut to the largest allowed" in str(estimate.notes[OBSERVATION_NOTE])


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["att_plain", "att_by_site", "ate_plain", "ate_by_site"])
@pytest.mark.parametrize("method", ["adjusted_regression", "g_computation"])
def test_regressions_agree_with_refitting_everything_in_r(method: str, name: str, column: str) -> None:
    data, baseline, design = golden(name)
    options = {**WEIGHTS, "l2_penalty": 0.0, "kind": OUTCOMES[column]}
    for estimate in METHODS[method](data[column], baseline, design, rng=RNG, **options):
        assert estimate.value == pytest.approx(R[f"{method} {name}", f"{estimate.scale} value"], rel=1e-8)
        assert estimate.std_error == pytest.approx(R[f"{method} {name}", f"{estimate.scale} std_error"], rel=1e-6)


# --- published data -------------------------------------------------------------------------------


def test_nhefs_with_the_people_who_were_not_weighed_again() -> None:
    """The model of Hernán & Robins, What If, chapter 12, over all 1,629 smokers; see tests/data/nhefs/SOURCE.md. The
    book has one model of who was weighed for both arms, which is less than a fifth of an error away from one an arm."""
    folder = ROOT / "data" / "nhefs"
    parts = [read_columns(folder / f"nhefs_{name}.csv") for name in ("complete", "unobserved")]
    wanted = ("sex", "race", "age", "smokeintensity", "smokeyrs", "wt71", "education", "exercise", "active")
    data = {name: np.concatenate([part[name] for part in parts]) for name in (*wanted, "qsmk", "wt82_71")}
    columns = [data["sex"], data["race"]]
    columns += [data[name] ** power for name in ("age", "smokeintensity", "smokeyrs", "wt71") for power in (1, 2)]
    for name in ("education", "exercise", "active"):
        columns += [(data[name] == level).astype(float) for level in np.unique(data[name])[1:]]
    baseline = baseline_of(np.column_stack(columns))
    design = weighting_design(baseline, data["qsmk"] == 1, "ATE", l2_penalty=0.0)
    options = {"rng": RNG, "kind": "continuous"}
    left_out = weighted_difference(*keep_observed(data["wt82_71"], baseline, design), **options)[0]
    found = weighted_difference(data["wt82_71"], baseline, design, **options, **WEIGHTS)[0]
    r = golden_values("nhefs_values.csv")
    assert left_out.value == pytest.approx(r["nhefs", "left out"], rel=1e-8)
    assert found.value == pytest.approx(r["nhefs", "one model an arm"], rel=1e-8)
    assert abs(found.value - r["nhefs", "one model for both arms"]) < found.std_error / 5
    assert (found.n_treated, found.n_control) == (428, 1201)
    assert (found.notes["n_treated_without_outcome"], found.notes["n_control_without_outcome"]) == (25, 38)


# --- by hand --------------------------------------------------------------------------------------


def test_by_hand() -> None:
    # Treated 0 to 2, the last not observed; controls 3 to 6 of weights 1, 1, 2, 2, of which the first was not: with
    # coefficients held at 0 the treated count 3 / 2 each, and controls 6 / 5 times their weight.
    outcome, baseline, design = by_hand([5, 3, np.nan, np.nan, 1, 4, 2], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 2, 2])
    seen = observation_weights(outcome, baseline, design, "weights", l2_penalty=1e12, largest=10.0)
    np.testing.assert_allclose(seen.factor, [1.5, 1.5, 0, 0, 1.2, 1.2, 1.2])
    options = {"rng": RNG, "kind": "continuous", "unobserved": "weights", "observation_penalty": 1e12}
    difference = weighted_difference(outcome, baseline, design, **options)[0]
    assert difference.value == pytest.approx(4 - 13 / 5)
    # Kish: 1.2 times weights of 1, 2 and 2.
    assert difference.effective_n == pytest.approx(25 / 9)
    # Everybody is in the design still, and those not observed are told by arm.
    assert (difference.n_treated, difference.n_control) == (3, 4)
    assert (difference.notes["n_treated_without_outcome"], difference.notes["n_control_without_outcome"]) == (1, 1)
    assert difference.notes[OBSERVATION_NOTE] == (
        "weights for outcomes not observed, by arm and covariates: the outcome of 1 treated and of 1 controls was not "
        "observed; those observed weigh at most 1.50 (treated) and 1.20 (controls); the estimate is for everybody in "
        "the design, provided that who was observed depends on nothing that bears on the outcome but arm and covariates"
    )


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["att_plain", "ate_plain"])
def test_where_nothing_distinguishes_people_it_is_the_comparison_of_those_observed(name: str, column: str) -> None:
    data, baseline, design = golden(name)
    alike = replace(baseline, matrix=np.zeros((400, 1)))
    options = {"rng": RNG, "kind": OUTCOMES[column], "weights_are": "fixed"}
    plain = weighted_difference(*keep_observed(data[column], alike, design), **options)
    weighted = weighted_difference(data[column], alike, design, unobserved="weights", **options)
    for one, other in zip(weighted, plain, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-9)


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", "att_by_site"])
@pytest.mark.parametrize("method", METHODS)
def test_where_everybody_was_observed_it_is_the_plain_estimate(method: str, name: str, column: str) -> None:
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    options = {"rng": RNG, "kind": OUTCOMES[column]}
    plain = METHODS[method](data[column], baseline, design, **options)
    weighted = METHODS[method](data[column], baseline, design, unobserved="weights", **options)
    expect_same_numbers(weighted, plain, 0, "weights where everybody was observed")
    said = "weights for outcomes not observed: every outcome of the design was observed"
    assert weighted[0].notes[OBSERVATION_NOTE] == said
    assert OBSERVATION_NOTE not in plain[0].notes


# --- exact errors ---------------------------------------------------------------------------------


def slopes_of(method: str, outcome: np.ndarray, baseline: Baseline, design: Design, **options: Any) -> np.ndarray:
    """Derivatives of the difference with respect to a factor on the weights of each person, all fitted again."""

    def value(factor: np.ndarray) -> float:
        moved = replace(design, weights=design.weights * factor)
        found: float = METHODS[method](outcome, baseline, moved, rng=RNG, kind="continuous", **options)[0].value
        return found

    people = np.unique(baseline.person)
    moves = [1e-4 * (baseline.person == person) for person in people]
    return np.array([(value(1 + move) - value(1 - move)) / 2e-4 for move in moves])


@pytest.mark.parametrize("penalty", [0.0, 3.0])
@pytest.mark.parametrize("largest", [50.0, 1.35])
def test_the_error_is_that_of_finding_the_weights_again(
    largest: float, penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Persons of several rows, some of weight 0. The penalty's factor, which influences take as known, is held."""
    monkeypatch.setattr(observation, "penalty_of_weighted", lambda l2_penalty, weights: l2_penalty)
    data, baseline, design = golden("att_by_site")
    design = replace(design, weights=np.where(np.arange(400) % 7 == 3, 0.0, design.weights))
    options = {**WEIGHTS, "observation_penalty": penalty, "largest_observation_weight": largest, "weights_are": "fixed"}
    found = weighted_difference(data["z"], baseline, design, rng=RNG, kind="continuous", **options)[0]
    slopes = slopes_of("weighted_difference", data["z"], baseline, design, **options)
    assert found.std_error == pytest.approx(np.linalg.norm(slopes), rel=1e-5)
    seen = observation_weights(data["z"], baseline, design, "weights", l2_penalty=penalty, largest=largest)
    assert seen.is_capped.any() == (largest < 2)


def test_the_error_of_a_regression_is_that_of_finding_the_weights_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the ATO the target moves with the weights too. HC2's addition is no derivative and is taken out, and the
    penalties' factor, which influences take as known, is held."""
    for module in (observation, standardisation):
        monkeypatch.setattr(module, "penalty_of_weighted", lambda l2_penalty, weights: l2_penalty)
    data, baseline, design = golden("ate_plain")
    design = replace(design, estimand="ATO", notes={"score_model": "boosting"})
    monkeypatch.setattr(standardisation, "SMALLEST_REST", 1.0)
    options = {**WEIGHTS, "l2_penalty": 2.0, "observation_penalty": 3.0}
    found = adjusted_regression(data["z"], baseline, design, rng=RNG, kind="continuous", **options)[0]
    slopes = slopes_of("adjusted_regression", data["z"], baseline, design, **options)
    assert "weights as fixed" in str(found.notes["variance"])
    assert found.std_error == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


@pytest.mark.parametrize("column", OUTCOMES)
def test_under_equal_weights_both_regressions_are_one(column: str) -> None:
    data, baseline, design = golden("ate_plain")
    design = replace(design, weights=np.ones(400), score=np.full(400, 0.5))
    options = {"rng": RNG, "kind": OUTCOMES[column], **WEIGHTS}
    one, other = (method(data[column], baseline, design, **options) for method in (g_computation, adjusted_regression))
    expect_same_numbers(one, other, 1e-10, "the regressions differ")


# --- contract -------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", OUTCOMES)
@pytest.mark.parametrize("name", ["matched", "att_plain", "att_by_site", "ate_by_site"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("largest", [10.0, 1.2])
def test_contract(method: str, name: str, column: str, largest: float) -> None:
    data, baseline, design = golden(name)
    design = replace(design, weights=np.where(np.arange(len(data[column])) % 11 == 5, 0.0, design.weights))
    options = {"kind": OUTCOMES[column], "unobserved": "weights", "largest_observation_weight": largest}
    expect_good_estimate(METHODS[method], data[column], baseline, design, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unobserved": "ipw"}, "unobserved must be"),
        ({"observation_penalty": -1.0}, "observation_penalty must be"),
        ({"largest_observation_weight": 1.0}, "above 1"),
        ({"unobserved": "left_out"}, "keep_observed"),
        ({"lost": "treated"}, "none of the treated was observed"),
        ({"lost": "controls"}, "none of the controls was observed"),
        ({"told": True}, "cannot be fitted without a penalty"),
        ({"noise": 120}, "free parameters for 1[0-9]{2} people of an arm"),
        ({"left": True}, "the design as it was made"),
        ({"short": True}, "shape"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_refused(method: str, change: dict[str, Any], message: str) -> None:
    data, baseline, design = golden("att_plain")
    change, outcome = dict(change), data["y"].copy()
    lost = change.pop("lost", "")
    outcome[{"treated": design.treated, "controls": ~design.treated}.get(lost, np.zeros(400, dtype=bool))] = np.nan
    if change.pop("told", False):
        baseline = replace(baseline, matrix=np.column_stack([baseline.matrix, np.isnan(outcome)]))
    if n_columns := change.pop("noise", 0):
        noise = np.random.default_rng(8).normal(size=(400, n_columns))
        baseline = replace(baseline, matrix=np.column_stack([baseline.matrix, noise]))
        change["observation_penalty"] = 1e-3
    if change.pop("left", False):
        design = keep_observed(outcome, baseline, design)[2]
    if change.pop("short", False):
        outcome = outcome[:-1]
    with pytest.raises(ValueError, match=message):
        METHODS[method](outcome, baseline, design, **{"rng": RNG, "kind": "binary", **WEIGHTS, **change})


def test_it_is_said_where_nobody_alike_was_observed() -> None:
    data, baseline, design = golden("att_by_site")
    gone = (baseline.exact_group == 1) & ~design.treated
    outcome = np.where(gone, np.nan, data["y"])
    found = weighted_difference(outcome, baseline, design, rng=RNG, kind="binary", unobserved="weights")
    assert "of some exact groups nobody of one arm was observed" in str(found[0].notes[OBSERVATION_NOTE])
    found = weighted_difference(data["y"], baseline, design, rng=RNG, kind="binary", unobserved="weights")
    assert "of some exact groups" not in str(found[0].notes[OBSERVATION_NOTE])


# --- worlds ---------------------------------------------------------------------------------------


def world(rng: np.random.Generator, n: int, *, curved: bool = False) -> tuple[np.ndarray, Baseline, np.ndarray]:
    """An effect of 0.5. Of the treated those are lost in whom a confounder is large, of the others those in whom it is
    small: about a fifth of all, as in tests/truth/test_weighting_truth.py. `curved`: the outcome goes with its
    square."""
    x = rng.normal(size=(n, 2))
    treated = rng.random(n) < expit(-0.7 + 0.7 * x[:, 0] - 0.4 * x[:, 1])
    level = x[:, 0] ** 2 if curved else x[:, 0]
    y = level + 0.8 * x[:, 1] + 0.5 * treated + rng.normal(size=n)
    y[rng.random(n) < expit(-1.6 + np.where(treated, 0.9, -0.9) * x[:, 0])] = np.nan
    return y, baseline_of(x), treated


def weighted(baseline: Baseline, treated: np.ndarray, rng: np.random.Generator) -> Design:
    propensity = fit_propensity(baseline, treated)
    made: Design = DESIGNS["propensity_weighting"].function(baseline, treated, propensity, estimand="ATT", rng=rng)
    return made


def matched(baseline: Baseline, treated: np.ndarray, rng: np.random.Generator) -> Design:
    propensity = fit_propensity(baseline, treated)
    made: Design = DESIGNS["nearest_neighbour"].function(baseline, treated, propensity, estimand="ATT", rng=rng)
    return made


@pytest.mark.parametrize("design_of", [weighted, matched])
def test_weights_remove_the_bias_of_who_is_observed(design_of: Any) -> None:
    """20,000 people: the plain difference is off by 0.3 after weighting (DECISIONS), by 0.18 after matching, where a
    lost participant takes the controls along; the weighted one by less than 3 errors and 0.09."""
    rng = np.random.default_rng(3)
    y, baseline, treated = world(rng, 20_000)
    design = design_of(baseline, treated, rng)
    options = {"rng": rng, "kind": "continuous"}
    plain = weighted_difference(*keep_observed(y, baseline, design), **options)[0]
    found = weighted_difference(y, baseline, design, unobserved="weights", **options)[0]
    assert plain.value - 0.5 < -0.15
    assert abs(found.value - 0.5) < min(3 * found.std_error, 0.09)


def test_a_regression_that_is_wrong_is_mended_by_weights_that_are_right() -> None:
    """15 worlds of 10,000 people; the outcome goes with a square and the regressions are straight. Without weights they
    are off by 0.08 (Monte Carlo error 0.008), with them the mean of 15 has an error of 0.012."""
    off = []
    for seed in range(15):
        rng = np.random.default_rng([seed, 9])
        y, baseline, treated = world(rng, 10_000, curved=True)
        design = weighted(baseline, treated, rng)
        options = {"rng": rng, "kind": "continuous"}
        plain = adjusted_regression(*keep_observed(y, baseline, design), **options)[0]
        found = adjusted_regression(y, baseline, design, unobserved="weights", **options)[0]
        off.append((plain.value - 0.5, found.value - 0.5))
    without, with_weights = np.mean(off, axis=0)
    assert without > 0.05
    assert abs(with_weights) < 0.036


def test_coverage_where_covariates_foretell_who_is_observed() -> None:
    """60 worlds of 600 people; 95 % intervals must cover 0.5 in at least 52 (binomial, probability 0.01). The plain
    difference covers in fewer than half."""
    covered = {"weights": 0, "left_out": 0}
    for seed in range(60):
        rng = np.random.default_rng([seed, 11])
        y, baseline, treated = world(rng, 600)
        design = weighted(baseline, treated, rng)
        options = {"rng": rng, "kind": "continuous"}
        found = weighted_difference(y, baseline, design, unobserved="weights", **options)[0]
        plain = weighted_difference(*keep_observed(y, baseline, design), **options)[0]
        covered["weights"] += found.lower < 0.5 < found.upper
        covered["left_out"] += plain.lower < 0.5 < plain.upper
    assert covered["weights"] >= 52, covered
    assert covered["left_out"] < 30, covered
