"""What ends observation: silence, the end of the data, death (DOMAIN K12, K15), one rule per test."""

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
