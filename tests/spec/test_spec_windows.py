"""Shorter windows, death and the end of observation in them (DOMAIN A5, K11, K12, K15), one rule per test."""

import pytest

from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import Follow

# Index date 31 March 2017: day 30 is 30 April, day 90 is 29 June.


@pytest.mark.parametrize(
    ("start", "by_30", "by_90"),
    [
        ("2017-04-30", "true", "true"),  # day 30
        ("2017-05-01", "false", "true"),
        ("2017-06-29", "false", "true"),  # day 90
        ("2017-06-30", "false", "false"),
    ],
)
def test_a5_a_window_closes_with_its_last_day(follow: Follow, start: str, by_30: str, by_90: str) -> None:
    follow(readmitted(start, "2017-08-01"), **FIRST).outcomes(f"""
        readmitted_30d  readmitted_90d  readmitted_365d
        {by_30}         {by_90}         true
    """)


def test_a5_days_in_hospital_stop_with_the_window(follow: Follow) -> None:
    follow(readmitted("2017-04-20", "2017-07-10"), **FIRST).outcomes("""
        days_in_hospital_30d  days_in_hospital_90d  days_in_hospital_365d  first_readmission_los_days
        10                    70                    81                     81
    """)


def test_a5_the_first_readmission_and_all_of_them(follow: Follow) -> None:
    follow(
        f"""{readmitted("2017-04-10", "2017-04-15")}
        more  2017-05-10  2017-05-30  10  RBB
        """,
        **FIRST,
    ).outcomes("""
        n_readmissions_30d  n_readmissions_90d  days_in_first_readmission_90d  days_in_hospital_90d
        1                   2                   5                              25
    """)


def test_a5_somebody_who_never_came_back_was_free_for_the_whole_window(follow: Follow) -> None:
    follow(ELIGIBLE).outcomes("""
        readmission_free_days_30d  readmission_free_days_365d  days_in_first_readmission_365d
        30                         365                         0
    """)


def test_a5_free_days_end_with_the_first_readmission(follow: Follow) -> None:
    follow(readmitted("2017-05-10", "2017-05-20"), **FIRST).outcomes("""
        readmission_free_days_30d  readmission_free_days_90d  first_readmission_los_days
        30                         40                         10
    """)


def test_a5_free_days_end_with_death(follow: Follow) -> None:
    follow(ELIGIBLE, death="death_date\n2017-05-10").outcomes("""
        readmission_free_days_30d  readmission_free_days_90d  died_30d  died_90d
        30                         40                         false     true
    """)


@pytest.mark.parametrize(
    ("period_end", "days_30", "days_90"),
    [("2017-04-29", "-", "-"), ("2017-04-30", "0", "-"), ("2017-06-28", "0", "-"), ("2017-06-29", "0", "0")],
)
def test_k12_a_window_is_known_once_its_last_day_was_observed(
    follow: Follow, period_end: str, days_30: str, days_90: str
) -> None:
    answer = {"0": "false", "-": "-"}
    follow(ELIGIBLE, period_end=period_end).outcomes(f"""
        n_readmissions_30d  readmitted_30d     n_dna_90d  readmitted_90d     died_90d           readmitted_365d
        {days_30}           {answer[days_30]}  {days_90}  {answer[days_90]}  {answer[days_90]}  -
    """)


def test_k12_a_readmission_seen_before_observation_ended_is_known_in_every_window_that_holds_it(follow: Follow) -> None:
    follow(readmitted("2017-05-10", "2017-05-20"), **FIRST, period_end="2017-05-31").outcomes("""
        readmitted_30d  readmitted_90d  n_readmissions_90d  is_informally_readmitted_90d  readmission_free_days_90d
        false           true            -                   true                          40
    """)


def test_k12_a_death_before_observation_ended_makes_every_window_known(follow: Follow) -> None:
    follow(ELIGIBLE, death="death_date\n2017-04-10", period_end="2017-04-20").outcomes("""
        died_30d  readmitted_90d  n_dna_365d  readmission_free_days_365d
        true      false           0           10
    """)


def test_k12_a_death_after_observation_ended_is_not_observed(follow: Follow) -> None:
    follow(ELIGIBLE, death="death_date\n2017-06-10", period_end="2017-04-30").outcomes("""
        died_30d  died_90d  readmitted_90d
        false     -         -
    """)


@pytest.mark.parametrize(("legal_code", "formal"), [("02", "true"), ("01", "false")])
def test_k13_the_first_readmission_is_formal_or_informal(follow: Follow, legal_code: str, formal: str) -> None:
    informal = {"true": "false", "false": "true"}[formal]
    follow(
        readmitted("2017-04-10", "2017-04-20"),
        **FIRST,
        legal_period=f"""
        episode_id  period_id  legal_code    start_date  end_date
        e1          1          {legal_code}  2017-04-10  2017-04-20
        """,
    ).outcomes(f"""
        is_formally_readmitted_30d  is_informally_readmitted_30d
        {formal}                    {informal}
    """)


def test_an_open_or_lost_readmission_has_no_length_yet(follow: Follow) -> None:
    follow(
        """
        spell  month    start       end         ward
        prior  2016-11  2016-11-01  2016-11-20  10
        index  2017-03  2017-03-01  2017-03-31  10
        again  2018-03  2018-03-01  -           10
        """,
        **FIRST,
    ).outcomes("""
        readmitted_365d  first_readmission_los_days  days_in_first_readmission_365d
        true             -                           30
    """)
