"""Risk-set matching: who may serve on whose date, in hand-made cases and beside a slow matcher that walks the days."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.effects import weighted_difference
from models.influence import find_clusters
from models.matching import risk_set_matching
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity
from tests.models.test_matching import people, sets_in, small_worlds
from tests.naive_matching import naive_caliper_width, naive_comparable

RNG = np.random.default_rng(0)


def match(baseline: Baseline, treated: BoolArray, linear: FloatArray, **options: Any) -> Design:
    score = 1 / (1 + np.exp(-linear))
    return risk_set_matching(baseline, treated, Propensity(score, linear, None, 0.0), rng=RNG, **options)


def test_only_who_was_discharged_by_then_serves_and_the_earlier_participant_chooses_first() -> None:
    rows = [
        (1.0, 1, 0, 200, 1),
        (1.0, 1, 0, 100, 2),
        (1.0, 0, 0, 90, 3),  # the only one by day 100, though as near to the other
        (1.1, 0, 0, 150, 4),
        (1.0, 0, 0, 210, 5),  # too late for both
    ]
    assert sets_in(match(*people(rows), caliper=None)) == {1: {2}, 0: {3}}
    assert sets_in(match(*people(rows), caliper=None, look_back_days=40)) == {1: {2}}
    assert sets_in(match(*people(rows), caliper=None, look_ahead_days=10)) == {1: {2}, 0: {4}}


def test_a_participant_takes_all_controls_before_the_next_one_chooses() -> None:
    rows = [(0.0, 1, 0, 10, 1), (0.0, 1, 0, 20, 2), (0.1, 0, 0, 5, 3), (0.2, 0, 0, 5, 4), (0.3, 0, 0, 5, 5)]
    assert sets_in(match(*people(rows), caliper=None, ratio=2)) == {0: {2, 3}, 1: {4}}
    assert sets_in(match(*people(rows), caliper=None, ratio=2, min_ratio=2)) == {0: {2, 3}}


def test_several_discharges_serve_as_the_protocol_says() -> None:
    rows = [(0.0, 1, 0, 100, 1), (0.0, 1, 0, 200, 2), (0.0, 0, 0, 90, 3), (0.0, 0, 0, 190, 3), (5.0, 0, 0, 80, 4)]
    world = people(rows)
    assert sets_in(match(*world, caliper=None)) == {0: {2}, 1: {4}}
    each = match(*world, caliper=None, person_serves="each_discharge")
    assert sets_in(each) == {0: {2}, 1: {3}}
    assert find_clusters(world[0], each).count == 1  # one person in both sets


def test_a_later_participant_serves_until_their_own_date() -> None:
    """Person 2 is treated on day 500: the discharge of day 90 may serve, that of day 510 never, and none their own."""
    rows = [
        (0.0, 1, 0, 100, 1),
        (0.0, 1, 0, 500, 2),
        (0.0, 0, 0, 90, 2),
        (1.0, 0, 0, 80, 3),
        (1.0, 0, 0, 490, 4),
        (0.0, 0, 0, 510, 2),
        (0.0, 1, 0, 600, 5),
    ]
    baseline, treated, linear = people(rows)
    assert sets_in(match(baseline, treated, linear, caliper=None)) == {0: {3}, 1: {4}}
    waits = match(replace(baseline, not_yet_treated=True), treated, linear, caliper=None)
    assert sets_in(waits) == {0: {2}, 1: {4}}
    assert waits.notes["n_controls_who_take_part_later"] == 1
    any_day = match(
        replace(baseline, not_yet_treated=True), treated, linear, caliper=None, look_back_days=None, ratio=3
    )
    assert sets_in(any_day) == {0: {2, 3}, 1: {4}}
    assert find_clusters(baseline, waits).count == 1  # sets 0 and 1 share person 2


def test_nobody_is_their_own_control() -> None:
    rows = [(0.0, 1, 0, 500, 2), (0.0, 0, 0, 490, 2), (1.0, 0, 0, 495, 4)]
    baseline, treated, linear = people(rows)
    found = match(replace(baseline, not_yet_treated=True), treated, linear, caliper=None, ratio=2)
    assert sets_in(found) == {0: {2}}


def slow(
    baseline: Baseline, treated: BoolArray, linear: FloatArray, ratio: int, width: float, back: float, once: bool
) -> dict[int, set[int]]:
    day, person, rows = baseline.index_day, baseline.person, naive_comparable(baseline, treated)
    taken: set[int] = set()
    found: dict[int, set[int]] = {}
    heads = sorted((i for i in rows if treated[i]), key=lambda i: (day[i], -round(float(linear[i]), 9), person[i], i))
    for head in heads:
        for _ in range(ratio):
            allowed = [
                (round(abs(float(linear[j] - linear[head])), 9), day[head] - day[j], person[j], linear[j], j)
                for j in rows
                if not treated[j]
                and person[j] != person[head]
                and baseline.exact_group[j] == baseline.exact_group[head]
                and (person[j] if once else j) not in taken
                and 0 <= day[head] - day[j] <= back
                and abs(linear[j] - linear[head]) <= width
            ]
            if allowed:
                best = min(allowed)[-1]
                found.setdefault(head, set()).add(best)
                taken.add(int(person[best]) if once else best)
    return found


@given(
    world=small_worlds(),
    ratio=st.integers(1, 3),
    caliper=st.sampled_from([None, 0.2, 1.0]),
    back=st.sampled_from([None, 0, 2]),
    serves=st.sampled_from(["once", "each_discharge"]),
    not_yet=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_agrees_with_a_slow_matcher(
    world: tuple[Baseline, BoolArray, FloatArray],
    ratio: int,
    caliper: float | None,
    back: int | None,
    serves: str,
    not_yet: bool,
) -> None:
    world = (replace(world[0], not_yet_treated=not_yet), *world[1:])
    if not np.ptp(world[0].index_day):
        return
    design = match(*world, ratio=ratio, caliper=caliper, look_back_days=back, person_serves=serves)
    width = np.inf if caliper is None else naive_caliper_width(*world, caliper)
    if caliper is not None:
        assert design.notes["caliper_width"] == pytest.approx(width, rel=1e-9, abs=1e-15)
        width = float(design.notes["caliper_width"])
    expected = slow(*world, ratio, width, np.inf if back is None else back, serves == "once")
    assert sets_in(design) == expected


def test_impossible_options_are_refused() -> None:
    world = people([(0.0, 1, 0, 5, 1), (0.0, 0, 0, 1, 2)])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"estimand": "ATE"}, "the estimand is the ATT"),
        ({"ratio": 0}, "ratio"),
        ({"min_ratio": 2}, "min_ratio"),
        ({"look_back_days": -1}, "look_back_days"),
        ({"look_ahead_days": -1}, "look_ahead_days"),
        ({"person_serves": "twice"}, "person_serves"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            match(*world, **options)
    with pytest.raises(ValueError, match="the same day"):
        match(*people([(0.0, 1, 0, 5, 1), (0.0, 0, 0, 5, 2)]))


def test_errors_join_sets_of_one_person() -> None:
    rng = np.random.default_rng(1)
    n = 400
    treated, person = np.arange(n) < 40, np.where(np.arange(n) < 40, np.arange(n), rng.integers(100, 200, n))
    linear = rng.normal(size=n)
    same = np.zeros(n, dtype=np.int64)
    baseline = Baseline(linear[:, None], ("x",), same, rng.integers(0, 900, n), person)
    design = match(baseline, treated, linear, ratio=2, person_serves="each_discharge", caliper=None)
    sets = int(design.notes["n_sets"])
    estimate = weighted_difference(rng.normal(size=n), baseline, design, rng=RNG, kind="continuous")[0]
    assert 2 <= float(estimate.notes["n_clusters"]) < sets
