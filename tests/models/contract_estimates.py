"""What every effect method must do, whatever it is: run by the tests of each method over a grid of designs."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from models.results import Baseline, Design, Estimate

SCALES = {
    "binary": ("risk_difference", "risk_ratio", "odds_ratio"),
    "continuous": ("mean_difference", "mean_ratio"),
}
RATIOS = ("risk_ratio", "odds_ratio", "mean_ratio", "rate_ratio", "mean_count_ratio")


def expect_good_estimate(
    method: Callable[..., Any],
    outcome: np.ndarray,
    baseline: Baseline,
    design: Design,
    *,
    kind: str,
    tolerance: float = 1e-7,
    **options: Any,
) -> tuple[Estimate, ...]:
    """Run the method in several ways that must agree; give back its estimates for further tests.

    The outcome must allow every scale of its kind (a continuous one positive). tolerance is relative, for what is
    equal but computed in another order of rows.
    """

    def run(outcome: np.ndarray, baseline: Baseline, design: Design, seed: int = 1) -> tuple[Estimate, ...]:
        result = method(outcome, baseline, design, rng=np.random.default_rng(seed), kind=kind, **options)
        return tuple(getattr(result, "estimates", result))

    estimates = run(outcome, baseline, design)
    assert tuple(estimate.scale for estimate in estimates) == SCALES[kind]
    for estimate in estimates:
        expect_sound_numbers(estimate, design, options.get("confidence", 0.95))
    _expect_scales_agree(estimates)

    assert run(outcome, baseline, design) == estimates, "the same seed must give the same answer, to the last bit"
    expect_same_numbers(
        run(*_shuffled(outcome, baseline, design)), estimates, tolerance, "the order of rows plays a part"
    )
    expect_same_numbers(
        run(outcome, *other_numbers(baseline, design)), estimates, tolerance, "the numbering plays a part"
    )
    outside = np.where(design.weights > 0, outcome, np.nan)
    assert run(outside, baseline, design) == estimates, "an outcome outside the design was looked at"
    if kind == "continuous":
        _expect_unit_free(run(4 * outcome, baseline, design), estimates, tolerance)
    _expect_narrower(method, outcome, baseline, design, kind, estimates, options)
    return estimates


def expect_sound_numbers(estimate: Estimate, design: Design, confidence: float) -> None:
    """Value, error, limits, p-value and counts of one estimate fit together and fit the design."""
    inside = design.weights > 0
    assert estimate.estimand == design.estimand
    assert estimate.n_treated == (inside & design.treated).sum()
    assert estimate.n_control == (inside & ~design.treated).sum()
    assert 1 <= estimate.effective_n <= estimate.n_control * (1 + 1e-12)
    numbers = [estimate.value, estimate.std_error, estimate.lower, estimate.upper, estimate.p_value]
    assert np.isfinite(numbers).all()
    assert estimate.lower < estimate.value < estimate.upper
    assert estimate.std_error > 0
    centre, lower, upper = estimate.value, estimate.lower, estimate.upper
    if estimate.scale in RATIOS:
        assert lower > 0
        centre, lower, upper = np.log([centre, lower, upper])
    reach = norm.ppf(0.5 + confidence / 2) * estimate.std_error
    np.testing.assert_allclose([centre - lower, upper - centre], reach, rtol=1e-9)
    np.testing.assert_allclose(estimate.p_value, 2 * norm.sf(abs(centre) / estimate.std_error), rtol=1e-9, atol=1e-300)


def _expect_scales_agree(estimates: tuple[Estimate, ...]) -> None:
    for estimate in estimates:
        treated, control = float(estimate.notes["mean_treated"]), float(estimate.notes["mean_control"])
        odds = treated / (1 - treated) / (control / (1 - control)) if estimate.scale == "odds_ratio" else np.nan
        expected = {"odds_ratio": odds, "risk_ratio": treated / control, "mean_ratio": treated / control}
        np.testing.assert_allclose(estimate.value, expected.get(estimate.scale, treated - control), rtol=1e-12)


def expect_same_numbers(
    found: tuple[Estimate, ...], wanted: tuple[Estimate, ...], tolerance: float, message: str
) -> None:
    """Every number of every estimate is the same, relatively."""
    numbers = [field.name for field in fields(Estimate) if field.type in (float, int)]
    for one, other in zip(found, wanted, strict=True):
        for name in numbers:
            np.testing.assert_allclose(
                getattr(one, name), getattr(other, name), rtol=tolerance, atol=1e-12, err_msg=f"{message}: {name}"
            )


def _expect_unit_free(found: tuple[Estimate, ...], wanted: tuple[Estimate, ...], tolerance: float) -> None:
    difference, ratio = found
    np.testing.assert_allclose(difference.value, 4 * wanted[0].value, rtol=tolerance)
    np.testing.assert_allclose(difference.std_error, 4 * wanted[0].std_error, rtol=tolerance)
    np.testing.assert_allclose(ratio.value, wanted[1].value, rtol=tolerance)


def _expect_narrower(
    method: Callable[..., Any],
    outcome: np.ndarray,
    baseline: Baseline,
    design: Design,
    kind: str,
    estimates: tuple[Estimate, ...],
    options: dict[str, Any],
) -> None:
    lower_level = {**options, "confidence": 0.5}
    result = method(outcome, baseline, design, rng=np.random.default_rng(1), kind=kind, **lower_level)
    for narrow, wide in zip(getattr(result, "estimates", result), estimates, strict=True):
        assert wide.lower < narrow.lower < narrow.value < narrow.upper < wide.upper
        assert narrow.std_error == wide.std_error


def _shuffled(outcome: np.ndarray, baseline: Baseline, design: Design) -> tuple[np.ndarray, Baseline, Design]:
    order = np.random.default_rng(99).permutation(len(outcome))
    return outcome[order], *shuffled_rows(baseline, design, order)


def shuffled_rows(baseline: Baseline, design: Design, order: np.ndarray) -> tuple[Baseline, Design]:
    """Baseline and design in another order."""
    return rows_of(baseline, order), rows_of_design(design, order)


def other_numbers(baseline: Baseline, design: Design) -> tuple[Baseline, Design]:
    """Other codes for sets, groups and persons; the order of persons stays, as it decides who meets whom in a fold."""
    matched_set = np.where(design.matched_set >= 0, 1000 - 3 * design.matched_set, -1)
    renamed = replace(baseline, person=7 * baseline.person + 5, exact_group=40 - baseline.exact_group)
    return renamed, replace(design, matched_set=matched_set)


def rows_of(baseline: Baseline, rows: np.ndarray) -> Baseline:
    """The baseline of some rows, in their order."""
    return replace(
        baseline,
        matrix=baseline.matrix[rows],
        exact_group=baseline.exact_group[rows],
        index_day=baseline.index_day[rows],
        person=baseline.person[rows],
    )


def rows_of_design(design: Design, rows: np.ndarray) -> Design:
    """The design of some rows, in their order."""
    return replace(
        design,
        treated=design.treated[rows],
        score=design.score[rows],
        weights=design.weights[rows],
        matched_set=design.matched_set[rows],
    )
