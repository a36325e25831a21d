"""What every effect method for counts over exposure must do, run by the tests of each over a grid of designs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from models.results import Baseline, Design, Estimate
from tests.models.contract_estimates import (
    expect_same_numbers,
    expect_sound_numbers,
    other_numbers,
    shuffled_rows,
)

Sample = tuple[np.ndarray, np.ndarray, Baseline, Design]


def expect_good_rates(
    method: Callable[..., tuple[Estimate, ...]], sample: Sample, *, tolerance: float = 1e-7, **options: Any
) -> tuple[Estimate, ...]:
    """Run the method in several ways that must agree; give back its estimates for further tests."""
    outcome, exposure, baseline, design = sample
    estimates = method(*sample, **options)
    assert [estimate.scale for estimate in estimates] == ["rate_difference", "rate_ratio"]
    for estimate in estimates:
        expect_sound_numbers(estimate, design, options.get("confidence", 0.95))
    difference, ratio = estimates
    treated, control = (float(difference.notes[f"mean_{arm}"]) for arm in ("treated", "control"))
    np.testing.assert_allclose([difference.value, ratio.value], [treated - control, treated / control], rtol=1e-12)
    assert method(*sample, **options) == estimates

    order = np.random.default_rng(99).permutation(len(outcome))
    moved = method(outcome[order], exposure[order], *shuffled_rows(baseline, design, order), **options)
    expect_same_numbers(moved, estimates, tolerance, "the order of rows plays a part")
    renamed = method(outcome, exposure, *other_numbers(baseline, design), **options)
    expect_same_numbers(renamed, estimates, tolerance, "the numbering plays a part")

    outside = design.weights == 0
    hidden = (np.where(outside, np.nan, outcome), np.where(outside, -1.0, exposure))
    assert method(*hidden, baseline, design, **options) == estimates, "a row outside the design was looked at"

    in_months = method(outcome, 12 * exposure, baseline, design, **options)
    np.testing.assert_allclose(12 * in_months[0].value, difference.value, rtol=tolerance)
    np.testing.assert_allclose(12 * in_months[0].std_error, difference.std_error, rtol=tolerance)
    np.testing.assert_allclose(in_months[1].value, ratio.value, rtol=tolerance)
    narrow = method(*sample, **{**options, "confidence": 0.5})
    assert all(wide.lower < less.lower < less.upper < wide.upper for wide, less in zip(estimates, narrow, strict=True))
    return estimates
