"""Exact counts become releasable counts: each rule by hand-written rows, then by properties over many counts."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import disclosure as dc
from pipelines.protocol import Disclosure

RULE = Disclosure()
SMALL = range(1, 8)
counts = st.integers(0, 5_000)


@pytest.mark.parametrize(
    ("value", "to", "expected"),
    [(12, 5, 10), (12.5, 5, 15), (13, 5, 15), (2.5, 5, 5), (7.5, 5, 10), (1_794, 5, 1_795), (0, 5, 0), (15, 10, 20)],
)
def test_halves_go_up_where_python_would_go_to_even(value: float, to: int, expected: int) -> None:
    assert dc.round_half_up(value, to) == expected


def test_floating_point_dust_does_not_move_a_half() -> None:
    assert dc.round_half_up(0.1 * 3 / 0.3 * 12.5 - 1e-12, 5) == 15


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (1, None), (7, None), (7.9, None), (8, 10), (12, 10), (13, 15), (1e-9, 0)]
)
def test_counts_of_one_to_seven_are_suppressed_and_others_rounded(value: float, expected: int | None) -> None:
    assert dc.release_count(value, RULE) == expected


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_what_is_no_count_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="count"):
        dc.release_count(value, RULE)


@given(counts)
def test_a_released_count_is_never_small_nor_far_from_the_truth(n: int) -> None:
    released = dc.release_count(n, RULE)
    assert (released is None) == (n in SMALL)
    if released is not None:
        assert released not in SMALL
        assert abs(released - n) <= 2  # to the nearest 5
        assert released % 5 == 0


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (1, 3), (6, 3), (7, 9), (12, 9), (13, 15), (6.0000000001, 3), (6.4, 9)]
)
def test_midpoint_six_is_open_safely_s(value: float, expected: int) -> None:
    # OpenSAFELY documentation: ceil(x / 6) * 6 - 3, zero stays zero
    assert dc.midpoint_six(value) == expected


@given(counts, counts)
def test_a_share_is_recomputed_from_rounded_counts(a: int, b: int) -> None:
    part, whole = min(a, b), max(a, b)
    share = dc.release_share(part, whole, RULE)
    if part in SMALL or whole in SMALL or whole - part in SMALL or whole == 0:
        assert share is None
    else:
        assert share == min(dc.round_half_up(part, 5) / dc.round_half_up(whole, 5), 1)


@given(st.integers(8, 2_000), st.data())
def test_a_proportion_never_rests_on_few_people_or_all_but_few(people: int, data: st.DataObject) -> None:
    with_trait = data.draw(st.integers(0, people))
    released = dc.release_proportion(with_trait / people, people, RULE)
    if with_trait in SMALL or people - with_trait in SMALL:
        assert released is None
    else:
        assert released is not None
        assert abs(released - with_trait / people) <= 5 / people


def test_a_weighted_proportion_counts_people_by_the_largest_weight() -> None:
    # One control may hold 2 % of all weight, so 10 % can be five people; equal weights make it 100 of 1,000.
    assert dc.release_proportion(0.1, 1_000, RULE, largest_weight=0.02) is None
    assert dc.release_proportion(0.2, 1_000, RULE, largest_weight=0.02) == 0.2
    assert dc.release_proportion(0.1, 1_000, RULE) == 0.1


def test_a_proportion_of_unknown_people_is_withheld_and_none_or_all_is_not() -> None:
    assert dc.release_proportion(0.5, None, RULE) is None
    assert dc.release_proportion(0.5, 7, RULE) is None
    assert dc.release_proportion(0.0, 100, RULE) == 0.0
    assert dc.release_proportion(1.0, 100, RULE) == 1.0


def test_what_is_left_by_hand() -> None:
    # 603 -> 605; 3 is withheld and counts as 5 -> 600; 12 -> 10 -> 590; 0 -> 590
    assert dc.release_running_left(603, [3, 12, 0], RULE) == [600, 590, 590]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 3_000), st.data())
def test_subtracting_what_is_left_tells_nothing_of_a_suppressed_number(
    removed: list[int], end: int, data: st.DataObject
) -> None:
    start = sum(removed) + end
    hidden = [i for i, n in enumerate(removed) if n in SMALL]
    if not hidden or start - sum(removed) < 60:
        return
    other = list(removed)
    other[data.draw(st.sampled_from(hidden))] = data.draw(st.sampled_from(SMALL))
    assert dc.release_running_left(start, removed, RULE) == dc.release_running_left(start, other, RULE)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(0, 30))
def test_nothing_small_is_ever_left(removed: list[int], end: int) -> None:
    left = dc.release_running_left(sum(removed) + end, removed, RULE)
    assert not any(n in SMALL for n in left)
    if end == 0:
        assert left[-1] == 0


def test_a_curve_is_rebuilt_from_counts() -> None:
    # 100 people; 4 events by day 10 (too few to say), 9 by day 20 (-> 9), 15 by day 30 (-> 15); base 100 -> 99
    limits = [0, 0, 0, 0], [0, 0.1, 0.1, 0.2]
    days, at_risk = [0, 10, 20, 30], [100, 100, 96, 91]
    curve = dc.release_curve(days, [0, 0.04, 0.09, 0.15], *limits, at_risk, days=[0, 9, 10, 20, 30], rule=RULE)
    assert curve is not None
    assert curve.incidence == [0, None, None, 9 / 99, 15 / 99]
    assert curve.at_risk == [99, 99, 99, 93, 93]
    assert curve.upper[-1] == 24 / 97  # 20 are among 19 to 24, 100 people among 97 to 102


@given(st.integers(30, 400), st.floats(0, 1), st.floats(0, 1))
def test_limits_of_a_curve_are_no_narrower_than_they_were(people: int, one: float, other: float) -> None:
    lower, upper = sorted((one, other))
    share = (lower + upper) / 2
    band = ([None, lower], [None, upper])
    curve = dc.release_curve(
        [0, 5], [0, share], [0, lower], [0, upper], [people] * 2, days=[0, 5], rule=RULE, band=band
    )
    if share * people < RULE.suppress_below:
        return
    assert curve is not None
    for low, value, high in [
        (curve.lower[1], curve.incidence[1], curve.upper[1]),
        (curve.band_lower[1], curve.incidence[1], curve.band_upper[1]),
    ]:
        assert None not in (low, value, high)
        assert (low or 0.0) - 1e-6 <= min(lower, value or 0.0)
        assert (high or 0.0) + 1e-6 >= max(upper, value or 0.0)


def test_a_curve_does_not_tell_when_the_first_few_had_the_event() -> None:
    # Seven of 100 by day 90; whenever they had it, the curve is withheld, and with an eighth it begins with that one.
    none = [0.0] * 3
    few = dc.release_curve([0, 10, 90], [0, 0.01, 0.07], none, none, [100, 99, 93], days=[0, 10, 90], rule=RULE)
    assert few is None
    seen = [
        dc.release_curve([0, first, 90], [0, 0.01, 0.08], none, none, [100, 99, 92], days=[0, 10, 50, 90], rule=RULE)
        for first in (5, 60)
    ]
    assert seen[0] is not None
    assert seen[1] is not None
    assert seen[0].incidence == seen[1].incidence == [0, None, None, 9 / 99]
    nobody = dc.release_curve([0, 90], *[[0.0, 0.0]] * 3, [100, 100], days=[0, 90], rule=RULE)
    assert nobody is not None
    assert nobody.incidence == [0, 0]


def test_a_curve_says_nothing_of_days_on_which_nobody_was_observed() -> None:
    # Of 100 people 20 had the event by day 50, 30 were still observed on day 60, 5 on day 70, none after.
    day, share, at_risk = [0, 50, 60, 70], [0, 0.2, 0.3, 0.3], [100, 90, 30, 5]
    curve = dc.release_curve(day, share, share, share, at_risk, days=[0, 56, 63, 70, 77, 365], rule=RULE)
    assert curve is not None
    assert curve.incidence == [0, 21 / 99, 27 / 99, None, None, None]
    assert curve.upper[3:] == [None] * 3
    assert curve.at_risk == [99, 87, 27, None, None, None]
    # Seen to the last day asked for, it is known there, however few are left.
    whole = dc.release_curve(day, share, share, share, at_risk, days=[0, 56, 63, 70], rule=RULE)
    assert whole is not None
    assert whole.incidence == [0, 21 / 99, 27 / 99, 27 / 99]


def test_a_curve_of_nobody_or_of_few_is_none() -> None:
    assert dc.release_curve([], [], [], [], [], days=[0], rule=RULE) is None
    assert dc.release_curve([0], [0], [0], [0], [7], days=[0], rule=RULE) is None


def test_few_people_still_at_risk_are_withheld() -> None:
    curve = dc.release_curve([0, 5], [0, 0.5], [0, 0], [0, 1], [16, 7], days=[0, 5], rule=RULE)
    assert curve is not None
    assert curve.at_risk == [15, None]


@given(st.lists(st.floats(-0.5, 0.5), min_size=0, max_size=200))
def test_bins_hold_enough_people_and_outer_edges_hide_the_extremes(values: list[float]) -> None:
    binned = dc.bin_people(values, 0.05, RULE)
    if binned is None:
        return
    edges, released = binned
    assert edges == sorted(edges)
    assert len(edges) == len(released) + 1
    assert not any(n in SMALL for n in released)
    for low, high in itertools.pairwise(edges[1:-1]):
        assert sum(low - 1e-9 <= value < high - 1e-9 for value in values) >= 8
    assert edges[1] - edges[0] == pytest.approx(0.05)
    assert edges[-1] - edges[-2] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("only 3 treated people, of 283", "only fewer than 8 treated people, of 285"),
        ("1,234 rows", "1,235 rows"),
        ("0 controls", "0 controls"),
        ("caliper 0.25 on HC2 errors", "caliper 0.25 on HC2 errors"),
        ("needs 12.", "needs 10."),
        ("max_controls = 3 leaves 4 people", "max_controls = 3 leaves fewer than 8 people"),
        ("n_treated = 3", "n_treated = fewer than 8"),
        ("3 folds need 3 people on 4 covariates", "3 folds need fewer than 8 people on 4 covariates"),
    ],
)
def test_counts_in_remarks_are_masked(text: str, expected: str) -> None:
    assert dc.mask_text(text, RULE) == expected


def test_the_log_names_places_and_rules_once_and_no_value() -> None:
    log = dc.DisclosureLog(RULE)
    assert log.count(6, "release/x.csv", "a/n") is None
    assert log.count(6, "release/x.csv", "a/n") is None
    assert log.count(18, "release/x.csv", "b/n") == 20
    assert log.entries == [
        {"file": "release/x.csv", "place": "a/n", "rule": "suppressed: rests on fewer than 8 people"}
    ]


def test_without_control_counts_pass_as_they_are() -> None:
    off = Disclosure(suppress_below=0, round_to=1)
    assert [dc.release_count(n, off) for n in (1, 7, 12)] == [1, 7, 12]
    assert dc.release_running_left(20, [3, 4], off) == [17, 13]


def test_a_curve_of_public_data_is_exact() -> None:
    off = Disclosure(suppress_below=0, round_to=1)
    day, share = [0.0, 3.0, 10.0], [0.0, 0.0123, 0.1577]
    sides = [value / 2 for value in share], [value * 1.5 for value in share]
    band = ([None, 0.001, 0.05], [None, 0.03, 0.3])
    curve = dc.release_curve(day, share, *sides, [81, 80, 70.4], days=[0, 7, 10], rule=off, band=band)
    assert curve is not None
    assert curve.incidence == share
    assert (curve.lower, curve.upper) == sides
    assert curve.at_risk[:2] == [81, 80]  # one person had the event by then, and may be seen to have had it
    assert (curve.band_lower[1:2], curve.band_upper[1:2]) == ([0.001], [0.03])
    many = dc.release_curve(day, [0, 1.5, 2.5], *sides, [81, 80, 70], days=[0, 7], rule=off, most=float("inf"))
    assert many is not None
    assert many.incidence == [0, 1.5]


def test_a_curve_of_mean_counts_may_exceed_one() -> None:
    # 100 people count as 99 (midpoint of 97 to 102); 150 events as 147 (145 to 150), so 147 / 99 and not 1.
    day, count, at_risk = [0.0, 7.0], [0.0, 1.5], [100.0, 100.0]
    curve = dc.release_curve(day, count, count, count, at_risk, days=[0, 7], rule=RULE, most=float("inf"))
    assert curve is not None
    assert curve.incidence == [0, 147 / 99]
