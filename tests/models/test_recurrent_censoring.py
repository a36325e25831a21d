"""Censoring weights of repeated events: against R, the plain methods where they must agree, and a world with a bias."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.recurrent import lwyy, mean_cumulative_count
from models.results import Baseline, Design
from models.times.events import CENSORING_NOTE
from models.times.risks import cumulative_incidence
from tests.models.effect_samples import baseline_of
from tests.models.test_recurrent import ARMS, DESIGNS, METHODS, at, by_hand, error_of, golden
from tests.models.times_samples import golden_times

R = golden_times("censored.csv")
WEIGHTS = {"censoring": "weights", "censoring_penalty": 0.0}


@pytest.mark.parametrize("name", DESIGNS)
def test_mean_counts_and_ratios_agree_with_refitting_everything_in_r(name: str) -> None:
    events, baseline, design = golden(name)
    found = mean_cumulative_count(*events, baseline, design, **WEIGHTS)
    (ratio,) = lwyy(*events, baseline, design, **WEIGHTS)
    assert np.log(ratio.value) == pytest.approx(R[f"recurrent_{name}", "lwyy value"], rel=1e-7)
    assert ratio.std_error == pytest.approx(R[f"recurrent_{name}", "lwyy std_error"], rel=1e-5)
    difference, of_counts = found.estimates
    assert difference.value == pytest.approx(R[f"recurrent_{name}", "difference value"], rel=1e-8)
    assert np.log(of_counts.value) == pytest.approx(R[f"recurrent_{name}", "ratio value"], rel=1e-8)
    for estimate, what in zip(found.estimates, ("difference", "ratio"), strict=True):
        assert estimate.std_error == pytest.approx(R[f"recurrent_{name}", f"{what} std_error"], rel=1e-5)
    for curve in found.curves:
        assert at(curve, 100) == pytest.approx(R[f"recurrent_{name}", f"{curve.arm}_100 value"], rel=1e-8)
        assert error_of(curve, 100) == pytest.approx(R[f"recurrent_{name}", f"{curve.arm}_100 std_error"], rel=1e-5)


@pytest.mark.parametrize("name", DESIGNS)
def test_where_nothing_distinguishes_people_it_is_the_plain_count(name: str) -> None:
    events, baseline, design = golden(name)
    design = replace(design, score=np.full(design.weights.size, 0.5))  # weights as fixed: the covariates are gone
    alike = replace(baseline, matrix=np.zeros((design.weights.size, 1)))
    plain = mean_cumulative_count(*events, alike, design)
    weighted = mean_cumulative_count(*events, alike, design, **WEIGHTS)
    for one, other in zip(weighted.estimates, plain.estimates, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-8)
    for arm, other_arm in zip(weighted.curves, plain.curves, strict=True):
        for number in ("day", "incidence", "lower", "upper", "at_risk", "band_lower", "band_upper"):
            np.testing.assert_allclose(getattr(arm, number), getattr(other_arm, number), rtol=1e-6, err_msg=number)


@pytest.mark.parametrize("method", METHODS)
def test_nobody_lost_early_gives_the_same_numbers(method: str) -> None:
    (row, day, last, died), baseline, design = golden("att")
    died = died | (last < 365)
    plain = METHODS[method](row, day, last, died, baseline, design)
    weighted = METHODS[method](row, day, last, died, baseline, design, censoring="weights")
    for one, other in zip(weighted, plain, strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-9)
        assert one.notes[CENSORING_NOTE] == "weights for the end of observation: nobody's observation ended early"
        assert CENSORING_NOTE not in other.notes


def test_with_at_most_one_event_that_ends_follow_up_it_is_the_weighted_incidence() -> None:
    (row, day, last, died), baseline, design = golden("att")
    first = np.full(len(last), np.inf)
    np.minimum.at(first, row, day)
    ends, has = np.minimum(first, last), np.isfinite(first)
    event = np.where(has, 1, np.where(died, 2, 0)).astype(np.int64)
    incidence = cumulative_incidence(ends, event, baseline, design, **WEIGHTS)
    found = mean_cumulative_count(np.flatnonzero(has), first[has], ends, died | has, baseline, design, **WEIGHTS)
    for count, risk in zip(found.estimates, incidence.estimates, strict=True):
        assert count.value == pytest.approx(risk.value, rel=1e-9)
        assert count.std_error == pytest.approx(risk.std_error, rel=1e-8)


def test_by_hand() -> None:
    # Controls 2 to 5, control 2 lost on day 10. With a coefficient held at 0 by the penalty, what the others have after
    # it counts 4 / 3 times: two events before, one on day 10 itself (it comes first) and two after.
    sample = by_hand(
        [2, 3, 4, 4, 5, 0], [4, 10, 5, 20, 30, 9], [365, 365, 10, 365, 365, 365], [0] * 6, [1, 1, 0, 0, 0, 0]
    )
    options = {"censoring": "weights", "censoring_penalty": 1e12}
    control = mean_cumulative_count(*sample[:3], sample[3] == 1, *sample[4:], **options).curves[1]
    assert at(control, 10) == pytest.approx(3 / 4)
    assert at(control, 365) == pytest.approx((3 + 2 * 4 / 3) / 4)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("method", METHODS)
def test_neither_order_nor_numbering_nor_rows_outside_play_a_part(method: str, name: str) -> None:
    (row, day, last, died), baseline, design = golden(name)
    design = replace(design, weights=np.where(np.arange(last.size) % 7 == 3, 0.0, design.weights))
    wanted = METHODS[method](row, day, last, died, baseline, design, **WEIGHTS)
    order = np.random.default_rng(3).permutation(last.size)
    outside = design.weights == 0
    hidden = (np.where(outside[row], -1.0, day)[::-1], np.where(outside, 0.0, last)[order], died[order])
    moved_baseline = replace(
        baseline,
        matrix=baseline.matrix[order],
        exact_group=baseline.exact_group[order],
        index_day=baseline.index_day[order],
        person=7 * baseline.person[order] + 5,
    )
    moved = replace(
        design,
        treated=design.treated[order],
        score=design.score[order],
        weights=design.weights[order],
        matched_set=design.matched_set[order],
    )
    found = METHODS[method](np.argsort(order)[row][::-1], *hidden, moved_baseline, moved, **WEIGHTS)
    for one, other in zip(found, wanted, strict=True):
        numbers = [(e.value, e.std_error, e.lower, e.upper, e.p_value) for e in (one, other)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-7)


@pytest.mark.parametrize("method", METHODS.values())
def test_settings_out_of_range_are_refused(method: Any) -> None:
    events, baseline, design = golden("plain")
    with pytest.raises(ValueError, match="censoring must be"):
        method(*events, baseline, design, censoring="ipcw")
    with pytest.raises(ValueError, match="above 1"):
        method(*events, baseline, design, censoring="weights", largest_censoring_weight=1.0)


def informative(rng: np.random.Generator, n: int, ratio: float) -> tuple[Any, ...]:
    """Two kinds of people: the second comes back three times as often, and in the treated arm alone it is lost to
    observation far earlier. Treatment multiplies everybody's rate by `ratio`; nobody dies of it."""
    kind = (rng.random(n) < 0.5).astype(float)
    treated = rng.random(n) < 0.5
    rate = np.where(kind == 1, 3.0, 1.0) * np.where(treated, ratio, 1.0)
    death = np.ceil(rng.exponential(365 / 0.2, n))
    lost = np.ceil(rng.exponential(365 / np.where(treated, 0.2 + 1.6 * kind, 0.2)))
    last = np.minimum(np.minimum(death, lost), 366)
    counts = rng.poisson(rate * last / 365)
    row = np.repeat(np.arange(n), counts)
    day = np.ceil(rng.random(row.size) * last[row])
    # A coefficient of its own in each arm needs the product of kind and arm.
    baseline: Baseline = baseline_of(np.column_stack([kind, kind * treated]))
    design = Design("by_hand", "ATE", treated, np.full(n, 0.5), np.ones(n), np.full(n, -1))
    return row, day, last, (death <= lost) & (death <= 365), baseline, design


def test_weights_remove_the_bias_of_losing_those_who_come_back() -> None:
    """20,000 people; the ratios are 0.8 by construction. Without weights the treated who stay are the others."""
    sample = informative(np.random.default_rng(5), 20_000, 0.8)
    options = {**WEIGHTS, "largest_censoring_weight": 100.0}
    for method in METHODS.values():
        plain, weighted = method(*sample)[-1], method(*sample, **options)[-1]
        assert np.log(plain.value / 0.8) < -5 * plain.std_error
        assert abs(np.log(weighted.value / 0.8)) < 3 * weighted.std_error
    assert {curve.arm for curve in mean_cumulative_count(*sample, **options).curves} == set(ARMS)
