"""Rates over whole windows, weighted for those not seen to their end: by hand, exact errors, worlds with a bias."""

from dataclasses import replace

import numpy as np
import pytest

from models.counts import negative_binomial, quasi_poisson
from models.results import Baseline, Design
from models.times.events import CENSORING_NOTE, Followed
from tests.models.contract_estimates import expect_same_numbers, rows_of, rows_of_design
from tests.models.count_samples import in_pairs
from tests.models.effect_samples import baseline_of, by_hand, weighting_design

METHODS = {"quasi_poisson": quasi_poisson, "negative_binomial": negative_binomial}
WEIGHTS = {"censoring": "weights", "censoring_penalty": 0.0, "largest_censoring_weight": 50.0}
Sample = tuple[np.ndarray, np.ndarray, Baseline, Design]


def world(rng: np.random.Generator, n: int, ratio: float, *, dies: bool = True) -> tuple[Sample, Followed]:
    """Two kinds of people: the second has three times the events and is lost far earlier, in the treated arm alone;
    a gamma rate of each person's own (variance 1/2) and a death that has nothing to do with either. Treatment
    multiplies every rate by `ratio`."""
    kind = (rng.random(n) < 0.5).astype(float)
    treated = rng.random(n) < 0.5
    rate = rng.gamma(2, 0.5, n) * np.where(kind == 1, 3.0, 1.0) * np.where(treated, ratio, 1.0)
    death = np.ceil(rng.exponential(365 / 0.2, n)) if dies else np.full(n, 1e6)
    lost = np.ceil(rng.exponential(365 / np.where(treated, 0.2 + 1.3 * kind, 0.2)))
    last = np.minimum(np.minimum(death, lost), 365)
    counts = rng.poisson(rate * last / 365).astype(float)
    baseline = baseline_of(np.column_stack([kind, kind * treated]))
    design = Design("by_hand", "ATE", treated, np.full(n, 0.5), np.ones(n), np.full(n, -1))
    return (counts, last / 365, baseline, design), Followed(last, (death <= lost) & (death <= 365), 365)


def test_by_hand() -> None:
    # Controls 2 to 5, control 2 lost on day 50 and control 3 dead on day 80: with a coefficient held at 0 controls 3 to
    # 5 count 4 / 3 each. Treated: all seen to the end.
    outcome, baseline, design = by_hand([1, 2, 1, 0, 2, 1], [1, 1, 0, 0, 0, 0], [1] * 6)
    last = np.array([100.0, 100, 50, 80, 100, 100])
    followed = Followed(last, np.array([0, 0, 0, 1, 0, 0]) == 1, 100)
    options = {"followed": followed, "censoring": "weights", "censoring_penalty": 1e12}
    difference, _ = quasi_poisson(outcome, last / 100, baseline, design, **options)
    assert difference.notes["mean_treated"] == pytest.approx(3 / 2)
    assert difference.notes["mean_control"] == pytest.approx(3 / 2.8)
    assert difference.effective_n == pytest.approx(3)
    assert str(difference.notes[CENSORING_NOTE]).startswith("only windows seen to their end or to death count; weights")
    # Three whole windows of controls carry the estimate, and these are its people.
    assert (difference.n_treated, difference.n_control) == (2, 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("largest", [50.0, 1.3])
def test_the_error_is_that_of_finding_the_weights_again(method: str, largest: float) -> None:
    (counts, years, baseline, design), followed = world(np.random.default_rng(4), 120, 0.7)
    options = {**WEIGHTS, "largest_censoring_weight": largest, "followed": followed}

    def log_ratio(weights: np.ndarray) -> float:
        found = METHODS[method](counts, years, baseline, replace(design, weights=weights), **options)
        return float(np.log(found[1].value))

    ratio = METHODS[method](counts, years, baseline, design, **options)[1]
    slopes = [(log_ratio(1 + 1e-4 * here) - log_ratio(1 - 1e-4 * here)) / 2e-4 for here in np.eye(counts.size)]
    assert ratio.std_error == pytest.approx(np.linalg.norm(slopes), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_where_every_window_was_whole_it_is_the_plain_rate(method: str) -> None:
    (counts, years, baseline, design), followed = world(np.random.default_rng(4), 300, 0.7)
    whole = Followed(followed.last_day, followed.died | (followed.last_day < 365), 365)
    plain = METHODS[method](counts, years, baseline, design)
    weighted = METHODS[method](counts, years, baseline, design, followed=whole, **WEIGHTS)
    expect_same_numbers(weighted, plain, 1e-10, "weights where nobody was lost")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("design_name", ["weighted", "pairs"])
def test_neither_order_nor_rows_outside_play_a_part(method: str, design_name: str) -> None:
    (counts, years, baseline, design), followed = world(np.random.default_rng(6), 400, 0.7)
    design = in_pairs(baseline, design) if design_name == "pairs" else weighting_design(baseline, design.treated)
    outside = (design.weights == 0) | (np.arange(400) % 10 == 0)
    design = replace(design, weights=np.where(outside, 0.0, design.weights))
    wanted = METHODS[method](counts, years, baseline, design, followed=followed, **WEIGHTS)
    order = np.random.default_rng(7).permutation(400)
    hidden = (np.where(outside, np.nan, counts)[order], np.where(outside, -1.0, years)[order])
    moved = Followed(np.where(outside, -1.0, followed.last_day)[order], followed.died[order], 365)
    again = METHODS[method](*hidden, rows_of(baseline, order), rows_of_design(design, order), followed=moved, **WEIGHTS)
    expect_same_numbers(again, wanted, 1e-7, "the order of rows, or rows outside, play a part")


def test_what_is_refused() -> None:
    (counts, years, baseline, design), followed = world(np.random.default_rng(4), 200, 0.7)
    with pytest.raises(ValueError, match="need the day until which"):
        quasi_poisson(counts, years, baseline, design, **WEIGHTS)
    with pytest.raises(ValueError, match="censoring must be"):
        quasi_poisson(counts, years, baseline, design, censoring="some")  # type: ignore[arg-type]
    short = Followed(np.where(design.treated, 30.0, followed.last_day), followed.died & ~design.treated, 365)
    with pytest.raises(ValueError, match="nobody in one of the arms was observed to the end"):
        quasi_poisson(counts, years, baseline, design, followed=short, censoring="weights")


def test_weights_remove_the_bias_of_losing_those_with_many_events() -> None:
    """30,000 people and a rate ratio of 0.8. Without weights the treated who stay are the others."""
    sample, followed = world(np.random.default_rng(5), 30_000, 0.8)
    for method in METHODS.values():
        plain, weighted = method(*sample)[1], method(*sample, followed=followed, **WEIGHTS)[1]
        assert np.log(plain.value / 0.8) < -5 * plain.std_error
        assert abs(np.log(weighted.value / 0.8)) < 3 * weighted.std_error


def test_coverage_where_those_with_many_events_are_lost() -> None:
    """100 worlds of 1,000 people; 95 % intervals must cover 0.8 in at least 89 of 100 (binomial, probability 0.01)."""
    rng = np.random.default_rng(12)
    covered = dict.fromkeys(METHODS, 0)
    for _ in range(100):
        sample, followed = world(rng, 1_000, 0.8)
        for name, method in METHODS.items():
            ratio = method(*sample, followed=followed, **WEIGHTS)[1]
            covered[name] += ratio.lower < 0.8 < ratio.upper
    assert min(covered.values()) >= 89, covered
