"""Outcomes in windows that a table they need does not cover (DOMAIN I15, K12-K15), one rule per test.

Index date 31 March 2017: day 1 is 1 April 2017, day 30 is 30 April 2017 and day 365 is 31 March 2018.
"""

import pytest

from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import Follow

# Outcome, the tables whose rows are its events, and what it is when nothing happened.
NEEDS = [
    ("n_dna_365d", ("contact",), "0"),
    ("n_attended_365d", ("contact",), "0"),
    ("n_crht_365d", ("contact", "referral_team"), "0"),
    ("n_liaison_365d", ("contact", "referral_team"), "0"),
    ("n_crht_episodes_365d", ("referral", "referral_team"), "0"),
    ("n_crht_starts_365d", ("referral", "referral_team"), "0"),
    ("n_ed_365d", ("emergency_attendance",), "0"),
    ("is_formally_readmitted_365d", ("legal_period",), "false"),
    ("is_informally_readmitted_365d", ("legal_period",), "false"),
    ("died_365d", ("death",), "false"),
]
EACH = [(name, table, nothing) for name, tables, nothing in NEEDS for table in tables]


@pytest.mark.parametrize(("outcome", "table", "nothing"), EACH)
def test_nothing_is_nothing_only_where_every_table_covers_the_window(
    follow: Follow, outcome: str, table: str, nothing: str
) -> None:
    for first, last, value in (
        ("2017-04-01", "2018-03-31", nothing),
        ("2017-04-02", "2018-03-31", "-"),
        ("2017-04-01", "2018-03-30", "-"),
    ):
        follow(ELIGIBLE, reach={table: (first, last)}).outcomes(f"{outcome} n_readmissions_365d\n{value} 0")


@pytest.mark.parametrize(("outcome", "table", "nothing"), EACH)
def test_nothing_is_not_known_without_the_table(follow: Follow, outcome: str, table: str, nothing: str) -> None:
    follow(ELIGIBLE, without=(table,)).outcomes(f"{outcome} readmitted_365d\n- false")


def test_a_short_window_may_be_covered_where_a_long_one_is_not(follow: Follow) -> None:
    follow(ELIGIBLE, reach={"contact": ("2014-12-01", "2017-04-30")}).outcomes("""
        n_dna_30d  n_dna_90d  n_dna_365d
        0          -          -
    """)


def test_what_was_seen_in_a_window_that_the_table_leaves_is_not_told(follow: Follow) -> None:
    # Else only people with an event would be left of such windows.
    contact = """
        contact_date  attendance_code
        2017-04-10    5
    """
    follow(ELIGIBLE, contact=contact, reach={"contact": ("2014-12-01", "2017-12-31")}).outcomes("""
        n_attended_30d  n_attended_365d  dna_rate_30d  dna_rate_365d
        1               -                0             -
    """)


def test_nor_is_it_for_somebody_who_died_before_the_table_stopped(follow: Follow) -> None:
    # Else only the dead would be left of such windows.
    died = "death_date\n2017-06-01"
    follow(ELIGIBLE, death=died, reach={"contact": ("2014-12-01", "2017-12-31")}).outcomes("""
        died_day  n_dna_365d  n_readmissions_365d
        62        -           0
    """)


def test_a_death_before_the_end_of_the_data_still_ends_a_window_that_tables_cover_so_far(follow: Follow) -> None:
    died = "death_date\n2017-06-01"
    follow(ELIGIBLE, death=died, period_end="2017-12-31", reach={"contact": ("2014-12-01", "2017-12-31")}).outcomes("""
        died_day  n_dna_365d  n_readmissions_365d
        62        0           0
    """)


def test_deaths_that_stop_are_not_known_to_the_end(follow: Follow) -> None:
    died = "death_date\n2017-06-01"
    follow(ELIGIBLE, death=died, reach={"death": ("2014-12-01", "2017-06-29")}).outcomes("""
        died_day  died_30d  died_90d  died_365d
        62        false     true      -
    """)


@pytest.mark.parametrize(("last", "formal"), [("2017-06-01", "false"), ("2017-05-31", "-")])
def test_k13_the_kind_of_a_readmission_is_known_where_legal_periods_reach(
    follow: Follow, last: str, formal: str
) -> None:
    follow(readmitted("2017-06-01", "2017-06-10"), **FIRST, reach={"legal_period": ("2014-12-01", last)}).outcomes(f"""
        is_first_readmission_formal  is_formally_readmitted_365d  readmitted_365d
        {formal}                     -                            true
    """)
