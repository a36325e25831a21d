"""What ends observation: silence, the end of the data, death (DOMAIN I15, K12, K15), one rule per test."""

from typing import Any

import pytest

from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import Follow


def test_k12_the_end_of_the_data(follow: Follow) -> None:
    answer = follow(ELIGIBLE, period_end="2017-06-30")
    answer.outcomes("""
        readmitted_365d  days_to_readmission  n_readmissions_365d  days_in_hospital_365d  censored_day
        -                -                    -                    -                      91
    """)
    answer.outcomes("""
        n_dna_365d  n_crht_365d  n_ed_365d
        -           -            -
    """)


@pytest.mark.parametrize(("period_end", "censored_day"), [("2018-03-31", "-"), ("2018-02-28", "334")])
def test_k12_follow_up_is_whole_when_the_data_reach_day_365(follow: Follow, period_end: str, censored_day: str) -> None:
    follow(ELIGIBLE, period_end=period_end).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_k12_a_provider_that_stops_for_good_ends_observation_with_its_last_month(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        silent="""
        provider  from     until
        RAA       2017-06  2020-03
        """,
    ).outcomes("""
        censored_day  readmitted_365d
        61            -
    """)  # until 31 May


@pytest.mark.parametrize(
    ("month", "censored_day"),
    [
        ("2017-04", "0"),  # observation ended on the day of discharge, the last of March
        ("2017-05", "30"),
        ("2018-03", "334"),
        ("2018-04", "-"),  # after the year
        ("2017-03", "-"),  # the month of the discharge was seen, whatever the list of submissions says
        ("2017-02", "-"),  # a gap before the discharge says nothing
    ],
)
def test_k12_a_gap_ends_observation_before_it(follow: Follow, month: str, censored_day: str) -> None:
    follow(
        ELIGIBLE,
        silent=f"""
        provider  from     until
        RAA       {month}  {month}
        """,
    ).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_k12_the_silence_of_another_provider_is_nothing_to_the_index_stay(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        silent="""
        provider  from     until
        RBB       2017-04  2020-03
        """,
    ).outcomes("""
        censored_day
        -
    """)


@pytest.mark.parametrize("silent_from", ["2017-06", "2014-12"])
def test_k12_a_merged_provider_goes_on_as_its_successor(follow: Follow, silent_from: str) -> None:
    follow(
        ELIGIBLE,
        silent=f"""
        provider  from           until
        RAA       {silent_from}  2020-03
        RBB       2014-12        2017-05
        """
        if silent_from == "2017-06"
        else f"""
        provider  from           until
        RAA       {silent_from}  2020-03
        """,
        mergers="""
        old  new
        RAA  RBB
        """,
    ).outcomes("""
        censored_day
        -
    """)


def test_k12_a_successor_is_not_helped_by_its_predecessor(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        silent="""
        provider  from     until
        RAA       2017-06  2020-03
        """,
        mergers="""
        old  new
        RBB  RAA
        """,
    ).outcomes("""
        censored_day
        61
    """)


def crowd(usual: int, other: dict[str, int], first: str = "2014-12", last: str = "2020-03") -> str:
    """The eligible person, and people who lie in hospital: `usual` spells in each month of RAA, but for the `other`."""
    months = [f"{year}-{month:02d}" for year in range(2014, 2021) for month in range(1, 13)]
    rows = [
        f"crowd{number}  in{number}  2014-12-01  -  20  RAA  {month}"
        for month in months
        if first <= month <= last
        for number in range(other.get(month, usual))
    ]
    mine = [f"p {line} -" for line in ELIGIBLE.strip().splitlines()[1:]]
    return "\n".join(["person spell start end ward provider month", *mine, *rows])


@pytest.mark.parametrize(
    ("month", "sent", "censored_day"),
    [
        ("2017-06", 1, "61"),  # 1 of 4: until 31 May, as if it had not been submitted
        ("2017-06", 2, "-"),  # half of the median is not fewer than half
        ("2017-06", 0, "61"),  # a header without a spell
        ("2018-04", 1, "-"),  # after the year
        ("2017-02", 1, "-"),  # before the discharge
        ("2017-03", 0, "-"),  # the month of the discharge was seen: it holds the person's own spell
    ],
)
def test_i15_a_month_with_fewer_than_half_of_the_usual_spells_was_not_submitted(
    follow: Follow, month: str, sent: int, censored_day: str
) -> None:
    follow(crowd(4, {month: sent}), follow_up={"silence_chance": 1, "silence_minimum_spells": 4}).outcomes(f"""
        censored_day
        {censored_day}
    """)


@pytest.mark.parametrize(
    ("rule", "censored_day"),
    [
        ({"silence_chance": 1, "silence_minimum_spells": 4}, "61"),
        ({"silence_chance": 1, "silence_minimum_spells": 5}, "-"),  # a median of 4 is too small to tell
        ({}, "-"),  # of 4, chance leaves 1 or none once in 11 months (Poisson)
        ({"silence_chance": 1, "silence_minimum_spells": 1, "silence_below": 0.2}, "-"),
        ({"silence_chance": 1, "silence_minimum_spells": 1, "silence_below": 0.0}, "-"),
        ({"silence_chance": 1, "silence_minimum_spells": 1, "censor_at": ["end_of_data"]}, "-"),
    ],
)
def test_i15_the_rule_is_for_providers_large_enough_and_can_be_switched_off(
    follow: Follow, rule: dict[str, Any], censored_day: str
) -> None:
    follow(crowd(4, {"2017-06": 1}), follow_up=rule).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_i15_the_same_spell_sent_twice_in_a_month_counts_once(follow: Follow) -> None:
    again = "\n".join(["crowd0  in0  2014-12-01  -  20  RAA  2017-06"] * 3)
    follow(
        f"{crowd(4, {'2017-06': 1})}\n{again}", follow_up={"silence_chance": 1, "silence_minimum_spells": 4}
    ).outcomes("""
        censored_day
        61
    """)


def test_i15_the_median_is_that_of_the_months_submitted(follow: Follow) -> None:
    # Nothing came in 40 of 64 months: the 24 months that did come hold 4 spells each, but one.
    follow(
        crowd(4, {"2017-06": 1}, last="2018-04"),
        silent="""
        provider  from     until
        RAA       2018-05  2020-03
        RAA       2014-12  2016-04
        """,
        follow_up={"silence_chance": 1, "silence_minimum_spells": 4},
    ).outcomes("""
        censored_day
        61
    """)


def test_i15_k12_the_successor_of_a_fading_provider_goes_on_for_it(follow: Follow) -> None:
    # RAA hands its spells to RBB in June; RBB has 4 spells a month from then on, and none before.
    moved = crowd(4, {}, first="2017-06").replace("RAA", "RBB")
    crowd_of_successor = "\n".join(moved.splitlines()[3:])
    spells = f"{crowd(4, {'2017-06': 1}, last='2017-06')}\n{crowd_of_successor}"
    rule: dict[str, Any] = {"silence_chance": 1, "silence_minimum_spells": 4}
    gone = """
        provider  from     until
        RAA       2017-07  2020-03
        RBB       2014-12  2017-05
    """
    answer = follow(spells, silent=gone, mergers="old new\nRAA RBB", follow_up=rule)
    answer.outcomes("""
        censored_day
        -
    """)
    follow(spells, silent=gone, follow_up=rule).outcomes("""
        censored_day
        61
    """)


@pytest.mark.parametrize(
    ("start", "readmitted_365d", "day"),
    [("2017-05-31", "true", "61"), ("2017-06-01", "-", "-")],
)
def test_k11_k12_a_readmission_counts_up_to_the_censoring_day(
    follow: Follow, start: str, readmitted_365d: str, day: str
) -> None:
    # Seen at another trust; how often, and for how long, stays unknown.
    follow(
        readmitted(start, "2017-06-20", provider="RBB"),
        silent="""
        provider  from     until
        RAA       2017-06  2020-03
        """,
        **FIRST,
    ).outcomes(f"""
        readmitted_365d    days_to_readmission  n_readmissions_365d  days_in_hospital_365d  censored_day
        {readmitted_365d}  {day}                -                    -                      61
    """)


@pytest.mark.parametrize(
    ("died", "died_day"),
    [("2017-04-01", "1"), ("2018-03-31", "365"), ("2018-04-01", "-"), ("-", "-")],
)
def test_k15_day_of_death(follow: Follow, died: str, died_day: str) -> None:
    follow(
        ELIGIBLE,
        death=f"""
        death_date
        {died}
        """,
    ).outcomes(f"""
        died_day    readmitted_365d  n_readmissions_365d
        {died_day}  false            0
    """)


def test_k15_of_two_registrations_the_earlier_counts(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        death="""
        death_date
        2017-07-01
        2017-06-30
        """,
    ).outcomes("""
        died_day
        91
    """)


@pytest.mark.parametrize(
    ("died", "readmitted_365d", "n"),
    [
        ("2017-05-31", "false", "0"),  # day 61: dead by the day observation ended, so nothing is missing
        ("2017-06-01", "-", "-"),
    ],
)
def test_k12_k15_death_before_the_censoring_day_completes_follow_up(
    follow: Follow, died: str, readmitted_365d: str, n: str
) -> None:
    follow(
        ELIGIBLE,
        death=f"""
        death_date
        {died}
        """,
        silent="""
        provider  from     until
        RAA       2017-06  2020-03
        """,
    ).outcomes(f"""
        readmitted_365d    n_readmissions_365d  n_dna_365d  censored_day
        {readmitted_365d}  {n}                  {n}         61
    """)


def test_k15_days_in_hospital_end_with_death(follow: Follow) -> None:
    follow(
        f"""{readmitted("2017-06-01", "2017-06-10")}
        more  2017-08-01  2017-08-20  10  RAA
        """,
        death="""
        death_date
        2017-08-05
        """,
        **FIRST,
    ).outcomes("""
        died_day  n_readmissions_365d  days_in_hospital_365d
        127       2                    13
    """)  # 9 and 4 days
