"""The unit of the weights means nothing: ten times all weights of a design, or a thousandth, give the same numbers."""

from dataclasses import fields, replace
from inspect import signature
from typing import Any

import numpy as np
import pytest

from models.balance import measure_balance, measure_overlap
from models.diagnostics import (
    measure_generalisability,
    measure_population,
    measure_products,
    measure_scores,
    minimum_detectable,
)
from models.propensity import fit_propensity
from models.registry import EFFECTS, check_capability
from models.results import Design, Estimand, Estimate
from models.times.events import Followed
from tests.models.test_capability import PAIRS, call, design_of, people

NUMBERS = [field.name for field in fields(Estimate) if field.type in (float, int)]
CURVES = ("day", "incidence", "lower", "upper", "at_risk", "band_lower", "band_upper")
WEIGHTING = [pair for pair in PAIRS if pair[0] in ("propensity_weighting", "entropy_balancing", "full_matching")]


CASES = [
    (effect, kind, design, estimand)
    for design, estimand in WEIGHTING
    for effect, method in EFFECTS.items()
    for kind in method.kinds
    if check_capability(design, effect, estimand, kind) is None
    and (design == "propensity_weighting" or not method.individual_effects)  # forests take seconds each
]
FACTORS = (10.0, 1e-3)


def _options(effect: str) -> list[dict[str, Any]]:
    """The defaults and, where there are any, weights for the end of observation or for outcomes not observed."""
    known = signature(EFFECTS[effect].function).parameters
    if "unobserved" in known:
        return [{}, {"unobserved": "weights", "lost": np.arange(people()[2].size) % 7 == 3}]
    if "censoring" not in known:
        return [{}]
    n = people()[2].size
    last_day = np.where(np.arange(n) % 6 == 2, 150.0 + np.arange(n) % 50, 365.0)
    followed = {"followed": Followed(last_day, np.zeros(n, dtype=np.bool_), 365)} if "followed" in known else {}
    return [{}, {"censoring": "weights", **followed}]


def test_every_effect_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(EFFECTS)


@pytest.mark.parametrize(("effect", "kind", "name", "estimand"), CASES)
def test_effects_and_curves(effect: str, kind: str, name: str, estimand: Estimand) -> None:
    design = design_of(name, estimand)
    for options in _options(effect):
        wanted = call(effect, kind, design, **options)
        for factor in FACTORS:
            found = call(effect, kind, replace(design, weights=factor * design.weights), **options)
            _expect_same(wanted, found, f"{effect} {kind} {options}", factor)


def _expect_same(wanted: Any, found: Any, what: str, factor: float) -> None:
    pairs = zip(getattr(wanted, "estimates", wanted), getattr(found, "estimates", found), strict=True)
    for one, other in pairs:
        for number in NUMBERS:
            expected = getattr(one, number)
            assert getattr(other, number) == pytest.approx(expected, rel=1e-10, abs=1e-12, nan_ok=True), (what, number)
    for one, other in zip(getattr(wanted, "curves", ()), getattr(found, "curves", ()), strict=True):
        for number in CURVES:
            curve = getattr(one, number, None)
            if curve is not None:
                given = getattr(other, number) / (factor if number == "at_risk" else 1.0)
                # A band rests on the root of a matrix with directions of hardly any variance, which rounding moves.
                tolerance = 1e-6 if number.startswith("band") else 1e-9
                np.testing.assert_allclose(given, curve, rtol=tolerance, atol=1e-12, err_msg=f"{what} {number}")


@pytest.mark.parametrize(("name", "estimand"), WEIGHTING)
def test_diagnostics(name: str, estimand: Estimand) -> None:
    design = design_of(name, estimand)
    baseline, treated, _ = people()
    propensity = fit_propensity(baseline, treated)

    def measured(one: Design) -> list[Any]:
        return [
            measure_balance(baseline, one),
            measure_overlap(baseline, one, propensity),
            measure_scores(baseline, one, propensity),
            measure_products(baseline, one),
            measure_generalisability(baseline, one, propensity),
            measure_population(one),
            minimum_detectable(baseline, one, baseline_risk=0.4),
        ]

    wanted, found = (_numbers(measured(one)) for one in (design, replace(design, weights=10 * design.weights)))
    assert len(wanted) > 50
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def _numbers(found: Any) -> list[float]:
    """Every number in records, tuples and arrays, in their order."""
    if isinstance(found, (bool, int, float, np.number)):
        return [float(found)]
    if isinstance(found, np.ndarray):
        return [float(value) for value in found.ravel()] if found.dtype.kind in "fiub" else []
    if isinstance(found, (list, tuple)):
        return [value for part in found for value in _numbers(part)]
    if hasattr(found, "__dataclass_fields__"):
        return [value for field in fields(found) for value in _numbers(getattr(found, field.name))]
    return []
