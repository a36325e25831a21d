"""Repeated events until death: against R, by hand, over a grid of designs, and where the truth is known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.counts import quasi_poisson
from models.recurrent import lwyy, mean_cumulative_count
from models.results import Baseline, Curve, Design, Estimate
from models.times.risks import cumulative_incidence
from tests.models.contract_estimates import (
    expect_same_numbers,
    expect_sound_numbers,
    other_numbers,
    shuffled_rows,
)
from tests.models.count_samples import in_pairs
from tests.models.effect_samples import GOLDEN, baseline_of, golden_values, read_columns, weighting_design

R = golden_values("recurrent_values.csv")
ARMS = ("treated", "control")
DESIGNS = ("plain", "att", "ate")
Events = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def golden(name: str) -> tuple[Events, Baseline, Design]:
    """The sample of make_recurrent.R, without weights ("plain") or weighted."""
    data, events = read_columns(GOLDEN / "recurrent.csv"), read_columns(GOLDEN / "recurrent_events.csv")
    baseline = baseline_of(np.column_stack([data["x1"], data["x2"]]), data["person"])
    weights = np.ones(len(data["row"])) if name == "plain" else data[f"weight_{name}"]
    no_set = np.full(len(weights), -1, dtype=np.int64)
    score = np.full(len(weights), 0.5) if name == "plain" else data["score"]
    design = Design("by_hand", "ATE" if name == "ate" else "ATT", data["treated"] == 1, score, weights, no_set)
    return (events["row"].astype(np.int64), events["day"], data["last"], data["died"] == 1), baseline, design


def at(curve: Curve, day: float, what: str = "incidence") -> float:
    """A right-continuous step function, read on a day."""
    return float(getattr(curve, what)[np.searchsorted(curve.day, day, side="right") - 1])


def error_of(curve: Curve, day: float) -> float:
    """The standard error behind a limit on the log scale."""
    return float(np.log(at(curve, day, "upper") / at(curve, day)) / 1.959963984540054 * at(curve, day))


def mcc(*sample: Any, **options: Any) -> tuple[Estimate, ...]:
    return mean_cumulative_count(*sample, **options).estimates


METHODS: dict[str, Callable[..., tuple[Estimate, ...]]] = {"mean_cumulative_count": mcc, "lwyy": lwyy}


@pytest.mark.parametrize("name", DESIGNS)
def test_mean_counts_agree_with_refitting_everything_in_r(name: str) -> None:
    events, baseline, design = golden(name)
    found = mean_cumulative_count(*events, baseline, design)
    for estimate, what in zip(found.estimates, ("difference", "ratio"), strict=True):
        assert estimate.value == pytest.approx(R[name, f"{what} value"], rel=1e-9)
        assert estimate.std_error == pytest.approx(R[name, f"{what} std_error"], rel=1e-6)
    for curve in found.curves:
        assert at(curve, 100) == pytest.approx(R[name, f"{curve.arm}_100 value"], rel=1e-9)
        assert error_of(curve, 100) == pytest.approx(R[name, f"{curve.arm}_100 std_error"], rel=1e-6)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_ratio_of_rates_agrees_with_refitting_everything_in_r(name: str) -> None:
    events, baseline, design = golden(name)
    (ratio,) = lwyy(*events, baseline, design)
    assert ratio.value == pytest.approx(R[name, "lwyy value"], rel=1e-9)
    assert ratio.std_error == pytest.approx(R[name, "lwyy std_error"], rel=1e-6)


def test_independent_rows_agree_with_coxph_and_cluster() -> None:
    events, baseline, design = golden("plain")
    baseline = replace(baseline, person=np.arange(len(design.weights)))
    (ratio,) = lwyy(*events, baseline, design)
    assert ratio.value == pytest.approx(R["independent", "lwyy value"], rel=1e-7)
    assert ratio.std_error == pytest.approx(R["independent", "lwyy std_error"], rel=1e-7)


@pytest.mark.parametrize("arm", ARMS)
def test_curves_without_ties_agree_with_the_package_mets(arm: str) -> None:
    """mets has the martingale form of the variance, without the factor 1 - hazard of a death: equal to 1 / at risk."""
    data, events = read_columns(GOLDEN / "recurrent.csv"), read_columns(GOLDEN / "recurrent_events.csv")
    _, baseline, design = golden("plain")
    baseline = replace(baseline, person=np.arange(len(design.weights)))
    rows = events["row"].astype(np.int64)
    found = mean_cumulative_count(rows, events["day_exact"], data["last_exact"], data["died"] == 1, baseline, design)
    curve = found.curves[ARMS.index(arm)]
    for day in (100, 300):
        key = f"mets {1 if arm == 'treated' else 0} {day}"
        assert at(curve, day) == pytest.approx(R["independent", f"{key} value"], rel=1e-9)
        assert error_of(curve, day) == pytest.approx(R["independent", f"{key} std_error"], rel=0.01)


@pytest.mark.parametrize("name", [*DESIGNS, "pairs"])
@pytest.mark.parametrize("method", METHODS)
def test_contract(method: str, name: str) -> None:
    events, baseline, design = golden("plain" if name == "pairs" else name)
    if name == "pairs":
        design = in_pairs(baseline, design)
    function, (row, day, last, died) = METHODS[method], events
    estimates = function(*events, baseline, design)
    for estimate in estimates:
        expect_sound_numbers(estimate, design, 0.95)
    assert function(*events, baseline, design) == estimates

    order = np.random.default_rng(3).permutation(len(last))
    moved = (np.argsort(order)[row][::-1], day[::-1], last[order], died[order])
    again = function(*moved, *shuffled_rows(baseline, design, order))
    expect_same_numbers(again, estimates, 1e-7, "the order of rows or events plays a part")
    renamed = function(*events, *other_numbers(baseline, design))
    expect_same_numbers(renamed, estimates, 1e-7, "the numbering plays a part")

    outside = design.weights == 0
    hidden = (row, np.where(outside[row], -1.0, day), np.where(outside, 0.0, last), died)
    assert function(*hidden, baseline, design) == estimates, "a row outside the design was looked at"
    halved = function(row, day / 2, last / 2, died, baseline, design, horizon=183)
    if name != "pairs":
        expect_same_numbers(
            halved, function(*events, baseline, design, horizon=366), 1e-9, "the unit of time plays a part"
        )
    narrow = function(*events, baseline, design, confidence=0.5)
    assert all(wide.lower < less.lower < less.upper < wide.upper for wide, less in zip(estimates, narrow, strict=True))


def by_hand(row, day, last, died, treated):
    n = len(last)
    no_set = np.full(n, -1, dtype=np.int64)
    design = Design("by_hand", "ATT", np.array(treated, dtype=bool), np.full(n, 0.5), np.ones(n), no_set)
    events = (np.array(row, dtype=np.int64), np.array(day, dtype=float), np.array(last, dtype=float), np.array(died))
    return *events, baseline_of(np.arange(n, dtype=float)[:, None]), design


def test_the_mean_count_by_hand() -> None:
    # Controls: events on days 10, 20 (of one person) and 40; one dies on day 30. Alive before day 40: 2/3.
    # Treated: two people, three events in all, nobody dies and nobody is censored before the horizon.
    sample = by_hand(
        [2, 2, 3, 0, 0, 1], [10, 20, 40, 5, 5, 90], [365, 365, 365, 365, 30], [0, 0, 0, 0, 1], [1, 1, 0, 0, 0]
    )
    treated, control = mean_cumulative_count(sample[0], sample[1], sample[2], sample[3] == 1, *sample[4:]).curves
    assert (at(treated, 5), at(treated, 365)) == (1.0, 1.5)
    assert at(control, 20) == pytest.approx(2 / 3)
    assert at(control, 365) == pytest.approx(2 / 3 + (2 / 3) / 2)
    assert at(control, 25, "at_risk") == 3
    assert at(control, 365, "at_risk") == 2


def test_an_event_on_the_day_of_death_counts_and_the_dead_have_no_more() -> None:
    sample = by_hand([0, 1, 2], [7, 7, 200], [365, 7, 365, 365], [0, 1, 0, 0], [1, 0, 0, 0])
    died = sample[3] == 1
    curve = mean_cumulative_count(*sample[:3], died, *sample[4:]).curves[1]
    assert at(curve, 7) == pytest.approx(1 / 3)
    assert at(curve, 365) == pytest.approx(1 / 3 + (2 / 3) / 2)
    # As if censored: the rate on day 200 would be taken for that of everybody.
    censored = mean_cumulative_count(*sample[:3], np.zeros(4, dtype=bool), *sample[4:]).curves[1]
    assert at(censored, 365) == pytest.approx(1 / 3 + 1 / 2)


def test_with_at_most_one_event_that_ends_follow_up_it_is_the_cumulative_incidence() -> None:
    (row, day, last, died), baseline, design = golden("att")
    first = np.full(len(last), np.inf)
    np.minimum.at(first, row, day)
    ends = np.minimum(first, last)
    has = np.isfinite(first)
    event = np.where(has, 1, np.where(died, 2, 0)).astype(np.int64)
    incidence = cumulative_incidence(ends, event, baseline, design)
    # Somebody with an event leaves like the dead: observation ends with it, and it comes first.
    found = mean_cumulative_count(np.flatnonzero(has), first[has], ends, died | has, baseline, design)
    for count, risk in zip(found.estimates, incidence.estimates, strict=True):
        assert count.value == pytest.approx(risk.value, rel=1e-9)
        assert count.std_error == pytest.approx(risk.std_error, rel=1e-8)


def test_without_death_or_censoring_the_count_is_the_mean_and_the_ratio_that_of_the_rates() -> None:
    (row, day, last, _), baseline, design = golden("att")
    n = len(last)
    everyone, nobody = np.full(n, 400.0), np.zeros(n, dtype=bool)
    counts = np.bincount(row, weights=day <= 365, minlength=n)
    rates = quasi_poisson(counts, np.ones(n), baseline, design)
    found = mean_cumulative_count(row, day, everyone, nobody, baseline, design).estimates
    (ratio,) = lwyy(row, day, everyone, nobody, baseline, design)
    for one, other in zip([*found, ratio], [*rates, rates[1]], strict=True):
        assert (one.value, one.std_error) == pytest.approx((other.value, other.std_error), rel=1e-8)


@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize(
    ("row", "day", "last", "message"),
    [
        ([0], [5], [10, 0, 10, 10], "last day above 0"),
        ([0], [11], [10, 10, 10, 10], "none may come after the last day"),
        ([0], [0], [10, 10, 10, 10], "every event needs a day above 0"),
        ([4], [5], [10, 10, 10, 10], "rows that the design does not have"),
        ([0], [5, 6], [10, 10, 10, 10], "one for each event_row"),
    ],
)
def test_what_is_refused(method, row, day, last, message) -> None:
    sample = by_hand(row, day, last, [0, 0, 0, 0], [1, 1, 0, 0])
    with pytest.raises(ValueError, match=message):
        method(*sample[:3], sample[3] == 1, *sample[4:])


def test_arms_without_events_or_without_follow_up_have_no_contrast() -> None:
    sample = by_hand([2], [5], [365, 365, 365, 365], [0, 0, 0, 0], [1, 1, 0, 0])
    difference, ratio = mcc(*sample[:3], sample[3] == 1, *sample[4:])
    assert difference.value == -0.5
    assert np.isnan(ratio.value)
    with pytest.raises(ValueError, match="events in both arms"):
        lwyy(*sample[:3], sample[3] == 1, *sample[4:])
    short = by_hand([0, 2], [5, 5], [365, 365, 100, 90], [0, 0, 0, 0], [1, 1, 0, 0])
    found = mcc(*short[:3], short[3] == 1, *short[4:])
    assert all(np.isnan(estimate.value) for estimate in found)
    assert "ends before the horizon" in str(found[0].notes["not_estimable"])


def world(rng: np.random.Generator, n: int, ratio: float) -> tuple[Any, ...]:
    """Frail people come back more often and die sooner (gamma frailty, variance 1): rate 2 a year times frailty,
    treatment multiplies it by `ratio`; death 0.4 a year times frailty; half are censored within the year."""
    frailty = rng.gamma(1.0, 1.0, n)
    treated = np.arange(n) < n // 3
    death = np.ceil(rng.exponential(365 / (0.4 * frailty)))
    censored = np.where(rng.random(n) < 0.5, rng.integers(30, 365, n), 366)
    last = np.minimum(death, censored)
    counts = rng.poisson(2 * frailty * np.where(treated, ratio, 1.0) * last / 365)
    row = np.repeat(np.arange(n), counts)
    day = np.ceil(rng.random(row.size) * last[row])
    baseline = baseline_of(np.zeros((n, 1)))
    design = replace(weighting_design(baseline, treated), weights=np.ones(n), score=np.full(n, 0.5))
    return row, day, last, death <= censored, baseline, design


def test_coverage_where_death_goes_with_the_rate_of_events() -> None:
    """100 worlds of 600 people. Truth: treatment multiplies everybody's rate by 0.7 and leaves death alone, so both
    ratios are 0.7 exactly; the control count is the mean of 2 f (1 - exp(-0.4 f)) / (0.4 f) over a standard exponential
    f, 5 (1 - 1 / 1.4) = 1.4286, less what rounding days up does (below 0.01). 95 % intervals must cover in at least 89
    of 100 (binomial, probability 0.01)."""
    rng = np.random.default_rng(11)
    covered = {"mean_count_ratio": 0, "rate_ratio": 0, "control": 0}
    for _ in range(100):
        sample = world(rng, 600, 0.7)
        found = mean_cumulative_count(*sample)
        for estimate in (found.estimates[1], *lwyy(*sample)):
            covered[estimate.scale] += estimate.lower < 0.7 < estimate.upper
        control = found.curves[1]
        covered["control"] += at(control, 365, "lower") < 1.4286 < at(control, 365, "upper")
    assert min(covered.values()) >= 89, covered
