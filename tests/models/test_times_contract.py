"""What every effect method for times must do, whatever it is, over a grid of designs and options."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from models.registry import EFFECTS, methods_for
from models.results import Baseline, Design, Estimate
from models.times.events import TimeEffects
from tests.models.contract_estimates import rows_of, rows_of_design
from tests.models.effect_samples import golden_matched, golden_weighted

METHODS = methods_for("time_to_event")
WEIGHING = tuple(name for name in METHODS if not EFFECTS[name].individual_effects)
"""Forests take the weights as the choice of rows only."""
OPTIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "cumulative_incidence": ({"times": (30, 200)}, {"censoring": "weights"}),
    "kaplan_meier": ({"times": (30,)}, {"censoring": "weights", "censoring_penalty": 0.1}),
    "time_lost": ({"times": (90,)}, {"censoring": "weights", "largest_censoring_weight": 1.2}),
    "first_readmission_type": ({"times": (90,)}, {"censoring": "weights"}),
    "cox": ({}, {"adjust": True}, {"censoring": "weights", "ties": "breslow"}),
    "cause_specific_cox": ({}, {"adjust": True, "ties": "breslow"}, {"censoring": "weights"}),
    "censored_forest": (
        {"trees": 16, "folds": 2, "policy_depth": 1},
        {"trees": 24, "folds": 3, "largest_censoring_weight": 1.2, "policy_depth": 0, "grown_by": "econml"},
    ),
    "fine_gray": (
        {},
        {"censoring_by": "everybody"},
        {"adjust": True, "ties": "breslow"},
        {"censoring": "weights", "largest_censoring_weight": 1.3},
    ),
}
GRID = [(method, options) for method in METHODS for options in OPTIONS[method]]
DESIGNS = ["matched", "att_by_site", "ate_capped", "ato"]


def sample(name: str, method: str) -> tuple[np.ndarray, np.ndarray, Baseline, Design]:
    if name == "matched":
        data, baseline, design = golden_matched()
    else:
        data, baseline, design = golden_weighted(name if "_" in name else "att_plain")
    if name == "atc":
        weights = np.where(design.treated, (1 - design.score) / design.score, 1.0)
        design = replace(design, estimand="ATC", weights=weights)
    if name == "ato":
        weights = np.where(design.treated, 1 - design.score, design.score)
        design = replace(design, estimand="ATO", weights=weights)
    event = data["event"].astype(np.int64)
    if method == "first_readmission_type":
        event = np.where((event == 1) & (np.arange(event.size) % 3 == 0), 3, event)
    return data["day"], event, baseline, design


def function_of(method: str) -> Callable[..., TimeEffects]:
    """The method; one that draws at random begins at the same seed each time."""
    function = EFFECTS[method].function
    if not EFFECTS[method].individual_effects:
        return function
    return lambda *data, **options: function(*data, rng=np.random.default_rng(1), **options)


def same(found: TimeEffects, wanted: TimeEffects, tolerance: float) -> None:
    assert [(effect.event, effect.until) for effect in found.effects] == [
        (effect.event, effect.until) for effect in wanted.effects
    ]
    numbers = [field.name for field in fields(Estimate) if field.type in (float, int)]
    for one, other in zip(found.estimates, wanted.estimates, strict=True):
        for number in numbers:
            assert getattr(one, number) == pytest.approx(getattr(other, number), rel=tolerance, abs=1e-12), number
    for curve, other_curve in zip(found.curves, wanted.curves, strict=True):
        for number in ("day", "incidence", "lower", "upper", "at_risk", "band_lower", "band_upper"):
            np.testing.assert_allclose(getattr(curve, number), getattr(other_curve, number), rtol=1e-6, err_msg=number)


def test_every_method_for_times_has_its_grid() -> None:
    assert set(OPTIONS) == set(METHODS)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize(("method", "options"), GRID, ids=lambda part: part if isinstance(part, str) else "")
def test_numbers_are_sound_and_depend_on_nothing_they_should_not(
    method: str, options: dict[str, Any], name: str
) -> None:
    function = function_of(method)
    day, event, baseline, design = sample(name, method)
    design = replace(design, weights=np.where(np.arange(day.size) % 11 == 5, 0.0, design.weights))
    found = function(day, event, baseline, design, **options)
    inside = design.weights > 0
    for estimate in found.estimates:
        assert (estimate.method, estimate.estimand) == (method, design.estimand)
        assert estimate.n_treated == (inside & design.treated).sum()
        assert estimate.n_control == (inside & ~design.treated).sum()
        assert 1 <= estimate.effective_n <= estimate.n_control * (1 + 1e-12)
        centre, lower, upper = estimate.value, estimate.lower, estimate.upper
        if estimate.scale.endswith("ratio"):
            centre, lower, upper = np.log([centre, lower, upper])
        reach = norm.ppf(0.975) * estimate.std_error
        np.testing.assert_allclose([centre - lower, upper - centre], reach, rtol=1e-9)
        np.testing.assert_allclose(estimate.p_value, 2 * norm.sf(abs(centre) / estimate.std_error), rtol=1e-9)

    narrow = function(day, event, baseline, design, confidence=0.5, **options)
    for one, other in zip(narrow.estimates, found.estimates, strict=True):
        assert other.lower < one.lower < one.value < one.upper < other.upper
        assert one.std_error == other.std_error

    order, odd = np.random.default_rng(5).permutation(day.size), ~inside
    renamed = replace(baseline, person=7 * baseline.person + 5, exact_group=40 - baseline.exact_group)
    matched_set = np.where(design.matched_set >= 0, 1000 - 3 * design.matched_set, -1)
    again = function(
        np.where(odd, -1.0, day)[order],
        np.where(odd, 9, event)[order],
        rows_of(renamed, order),
        rows_of_design(replace(design, matched_set=matched_set), order),
        **options,
    )
    same(again, found, 1e-7)
    later = np.where(day > 180, 180 + 5 * (day - 180), day)
    short = (
        {**options, "times": tuple(t for t in options.get("times", ()) if t <= 180)} if "times" in options else options
    )
    same(
        function(later, event, baseline, design, horizon=180, **short),
        function(day, event, baseline, design, horizon=180, **short),
        1e-12,
    )


@pytest.mark.parametrize("method", WEIGHING)
@pytest.mark.parametrize("name", ["att_plain", "ate_plain", "atc", "ato"])
def test_weights_of_every_estimand_count_as_estimated(method: str, name: str) -> None:
    found = EFFECTS[method].function(*sample(name, method))
    assert {estimate.notes["variance"] for estimate in found.estimates} == {"weights as estimated"}


@pytest.mark.parametrize("method", METHODS)
def test_the_unit_of_the_weights_does_not_matter(method: str) -> None:
    day, event, baseline, design = sample("ate_plain", method)
    double, options = replace(design, weights=2 * design.weights), OPTIONS[method][0]
    wanted, found = (function_of(method)(day, event, baseline, one, **options) for one in (design, double))
    for one, other in zip(found.estimates, wanted.estimates, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-8)
