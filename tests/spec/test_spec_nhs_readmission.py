"""NHS England's own 14-day readmission rule, spell by spell (DOMAIN B11), one rule per test."""

import pytest

from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import Follow

# Index date 31 March 2017: day 13 is 13 April.


def index_that_ended(method: str, destination: str) -> str:
    return f"""
        spell   start       end         ward  discharge_method  destination
        prior   2016-11-01  2016-11-20  10    1                 19
        index   2017-03-01  2017-03-31  10    {method}          {destination}
        again   2017-04-05  2017-04-09  10    1                 19
    """


@pytest.mark.parametrize(("start", "answer"), [("2017-04-13", "true"), ("2017-04-14", "false")])
def test_b11_fewer_than_14_days(follow: Follow, start: str, answer: str) -> None:
    follow(readmitted(start, "2017-05-01"), **FIRST).outcomes(f"""
        readmitted_nhs_14d
        {answer}
    """)


def test_b11_day_0_counts_and_is_no_readmission_under_k2(follow: Follow) -> None:
    # A spell that begins and ends on the day of discharge is linked to the stay (K1) and would be zero-day (K2).
    follow(readmitted("2017-03-31", "2017-03-31", provider="RBB"), **FIRST).outcomes("""
        index_date  readmitted_nhs_14d  readmitted_365d
        2017-03-31  true                false
    """)


def test_b11_a_spell_linked_to_the_index_stay_moves_time_zero_and_is_no_readmission(follow: Follow) -> None:
    # For NHS England the next day's spell is a readmission on day 1; under K1 it is the same stay.
    follow(readmitted("2017-04-01", "2017-04-10", provider="RBB"), **FIRST).outcomes("""
        index_date  readmitted_nhs_14d
        2017-04-10  false
    """)


@pytest.mark.parametrize("method", ["6", "7", "8"])  # after method 4, died, nobody is eligible
def test_b11_methods_that_are_left_out(follow: Follow, method: str) -> None:
    follow(index_that_ended(method, "19"), **FIRST).outcomes("""
        readmitted_nhs_14d  readmitted_365d
        -                   true
    """)


@pytest.mark.parametrize("destination", ["48", "49", "50", "53", "84", "87"])
def test_b11_destinations_that_are_left_out(follow: Follow, destination: str) -> None:
    unlinked = {"link_gap_days": 0, "transfer_gap_days": 0, "candidate_discharges": "first"}
    follow(index_that_ended("1", destination), eligibility=unlinked).outcomes("""
        readmitted_nhs_14d  readmitted_365d
        -                   true
    """)


@pytest.mark.parametrize(("method", "destination"), [("-", "-"), ("1", "51"), ("2", "37"), ("3", "19")])
def test_b11_any_other_or_missing_code_is_counted(follow: Follow, method: str, destination: str) -> None:
    follow(index_that_ended(method, destination), **FIRST).outcomes("""
        readmitted_nhs_14d
        true
    """)


@pytest.mark.parametrize("ward", ["23", "300", "17", "-"])
def test_b11_any_bed_type(follow: Follow, ward: str) -> None:
    follow(readmitted("2017-04-05", "2017-04-09", ward), **FIRST).outcomes("""
        readmitted_nhs_14d
        true
    """)


def test_b11_zero_day_and_place_of_safety_spells_count(follow: Follow) -> None:
    follow(
        readmitted("2017-04-05", "2017-04-05"),
        **FIRST,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          20          2017-04-05  2017-04-05
        """,
    ).outcomes("""
        readmitted_nhs_14d  readmitted_30d
        true                false
    """)


def test_b11_the_same_spell_under_two_ids_is_not_its_own_readmission(follow: Follow) -> None:
    follow(f"{ELIGIBLE.rstrip()}\n    twin    2017-03-01  2017-03-31  10    RAA", **FIRST).outcomes("""
        readmitted_nhs_14d
        false
    """)


@pytest.mark.parametrize(("period_end", "answer"), [("2017-04-12", "-"), ("2017-04-13", "false")])
def test_b11_is_known_once_day_13_was_observed(follow: Follow, period_end: str, answer: str) -> None:
    follow(ELIGIBLE, period_end=period_end).outcomes(f"""
        readmitted_nhs_14d
        {answer}
    """)


def test_b11_death_within_the_window_ends_it(follow: Follow) -> None:
    follow(readmitted("2017-04-09", "2017-04-12"), **FIRST, death="death_date\n2017-04-08").outcomes("""
        readmitted_nhs_14d
        false
    """)
