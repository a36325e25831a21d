"""Who can be an index person: the earlier stay and the order of the rules (DOMAIN K2-K4, K10), one rule per test."""

from datetime import date

import pytest

from tests.spec.eligible_person import ELIGIBLE
from tests.spec.text_tables import Follow

PRIOR = "prior  2016-11-01  2016-11-20  10"


def test_somebody_who_passes_every_rule(follow: Follow) -> None:
    follow(ELIGIBLE).cohort("""
        person_id  index_date  admission_date  trust  stratum  arm      is_eligible  first_failed_rule
        p          2017-03-31  2017-03-01      RAA    unknown  virtual  true         -
    """)


# K3: an earlier stay


@pytest.mark.parametrize(
    ("prior_end", "failed"),
    [
        ("2015-03-02", "-"),  # 730 days before 1 March 2017: 2016 was a leap year
        ("2015-03-01", "no_prior_stay_730"),
        ("2017-02-27", "-"),
    ],
)
def test_k3_a_stay_in_the_730_days_before_admission(follow: Follow, prior_end: str, failed: str) -> None:
    only_the_index = {"recruitment_start": date(2017, 3, 1)}
    follow(
        f"""
        spell  start       end          ward
        prior  2015-02-01  {prior_end}  17
        index  2017-03-01  2017-03-31   10
        """,
        eligibility=only_the_index,
    ).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)


def test_k3_a_linked_transfer_is_not_an_earlier_stay(follow: Follow) -> None:
    follow("""
        spell  start       end         ward
        a      2017-02-20  2017-03-01  10
        b      2017-03-01  2017-03-31  10
    """).cohort("""
        index_date  admission_date  first_failed_rule
        2017-03-31  2017-02-20      no_prior_stay_730
    """)


@pytest.mark.parametrize(
    ("end", "ward", "failed"),
    [
        ("2016-11-20", "23", "-"),  # any bed class, a child's too
        ("2016-11-20", "-", "-"),
        ("2016-11-01", "10", "no_prior_stay_730"),  # zero-day
    ],
)
def test_k2_k3_which_earlier_stays_count(follow: Follow, end: str, ward: str, failed: str) -> None:
    follow(f"""
        spell  start       end         ward
        prior  2016-11-01  {end}       {ward}
        index  2017-03-01  2017-03-31  10
    """).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)


@pytest.mark.parametrize(("code", "failed"), [("20", "no_prior_stay_730"), ("02", "-")])
def test_k2_k3_a_place_of_safety_is_no_earlier_stay(follow: Follow, code: str, failed: str) -> None:
    follow(
        """
        spell  start       end         ward
        prior  2016-11-01  2016-11-02  10
        index  2017-03-01  2017-03-31  10
        """,
        legal_period=f"""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          {code}      2016-11-01  2016-11-02
        """,
    ).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)


def test_k3_k5_a_stay_that_stopped_arriving_is_an_earlier_stay_but_no_index(follow: Follow) -> None:
    follow("""
        spell  month    start       end         ward
        prior  2016-12  2016-12-01  -           10
        index  2017-03  2017-03-01  2017-03-31  10
    """).cohort("""
        index_date  first_failed_rule
        2017-03-31  -
    """)


# K10: each rule alone, then which of two is named


@pytest.mark.parametrize(
    ("start", "end", "ward", "failed"),
    [
        ("2017-03-31", "2017-03-31", "10", "zero_day"),
        ("2017-03-30", "2017-03-31", "10", "place_of_safety_only"),
        ("2017-03-01", "2017-03-31", "12", "not_acute_adult"),
        ("2017-03-01", "2017-03-31", "23", "not_acute_adult"),
        ("2017-03-01", "2017-03-31", "ZZ", "not_acute_adult"),
        ("2017-03-01", "2017-03-31", "-", "not_acute_adult"),
        ("2017-03-01", "2017-03-31", "200", "-"),
    ],
)
def test_k10_rules_about_the_stay(follow: Follow, start: str, end: str, ward: str, failed: str) -> None:
    follow(
        f"""
        spell  start       end         ward
        {PRIOR}
        index  {start}     {end}       {ward}
        """,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          20          2017-03-30  2017-03-31
        """,
    ).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)


def test_k10_death_in_hospital_is_no_discharge(follow: Follow) -> None:
    follow(f"""
        spell  start       end         ward  destination
        {PRIOR}  19
        index  2017-03-01  2017-03-31  10    79
    """).cohort("""
        index_date  first_failed_rule  is_eligible
        2017-03-31  died_in_hospital   false
    """)


@pytest.mark.parametrize(
    ("month", "age_start", "age_end", "failed"),
    [
        ("2017-03", "17", "17", "under_18"),
        ("2017-03", "18", "18", "-"),
        ("2017-03", "17", "18", "under_18"),  # turned 18 after the first of March, the day of admission
        ("2017-02", "17", "18", "-"),  # turned 18 in February
        ("2018-03", "18", "19", "under_18"),  # turned 19 in March 2018, so 18 in March 2017 after the first
        ("2017-03", "-", "-", "-"),  # an unknown age is not under 18
    ],
)
def test_k10_age_on_the_day_of_admission(follow: Follow, month: str, age_start: str, age_end: str, failed: str) -> None:
    follow(
        ELIGIBLE,
        person_month=f"""
        month    age_start_years  age_end_years
        {month}  {age_start}      {age_end}
        """,
    ).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)


def test_k10_ages_of_several_months_narrow_the_birthday(follow: Follow) -> None:
    # 18 at the end of March leaves a birthday between the first and the end of March possible; 18 at the end of
    # January does not.
    follow(
        ELIGIBLE,
        person_month="""
        month    age_start_years  age_end_years
        2017-01  -                18
        2017-03  -                18
        """,
    ).cohort("""
        index_date  first_failed_rule
        2017-03-31  -
    """)
    follow(
        ELIGIBLE,
        person_month="""
        month    age_start_years  age_end_years
        2017-03  -                18
        """,
    ).cohort("""
        index_date  first_failed_rule
        2017-03-31  under_18
    """)


def test_k10_contradicting_ages_the_month_nearest_to_admission_is_believed(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        person_month="""
        month    age_start_years  age_end_years
        2017-02  17               17
        2017-12  40               40
        """,
    ).cohort("""
        index_date  first_failed_rule
        2017-03-31  under_18
    """)


@pytest.mark.parametrize(("before", "after", "failed"), [("17", "40", "under_18"), ("40", "17", "-")])
def test_k10_of_two_months_equally_near_the_earlier(follow: Follow, before: str, after: str, failed: str) -> None:
    follow(
        ELIGIBLE,
        person_month=f"""
        month    age_start_years  age_end_years
        2017-04  {after}          {after}
        2017-02  {before}         {before}
        """,
    ).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)


def test_k10_the_first_rule_that_fails_is_named(follow: Follow) -> None:
    everything_wrong = {
        "person_month": """
        month    age_start_years  age_end_years
        2017-03  16               16
        """,
        "diagnosis": """
        position_code  diagnosis_code  diagnosis_date
        P              F50             2017-03-31
        S              F03             2017-03-31
        """,
    }
    no_prior_and_not_acute = """
        spell  start       end         ward
        index  2017-03-01  2017-03-31  17
    """
    order = ["under_18", "not_acute_adult", "no_prior_stay_730", "organic_any", "primary_F50"]
    for position, first in enumerate(order):
        follow(no_prior_and_not_acute, **everything_wrong, eligibility={"rules": order[position:]}).cohort(f"""
            index_date  first_failed_rule
            2017-03-31  {first}
        """)


@pytest.mark.parametrize(
    ("start", "destination", "failed"),
    [
        ("2017-03-31", "79", "zero_day"),  # before place of safety and death
        ("2017-03-30", "79", "place_of_safety_only"),  # before death
        ("2017-03-29", "79", "died_in_hospital"),  # before under 18
        ("2017-03-29", "19", "under_18"),
    ],
)
def test_k10_order_of_the_first_four_rules(follow: Follow, start: str, destination: str, failed: str) -> None:
    follow(
        f"""
        spell  start       end         destination
        index  {start}     2017-03-31  {destination}
        """,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          20          2017-03-29  2017-03-31
        """,
        person_month="""
        month    age_start_years  age_end_years
        2017-03  16               16
        """,
    ).cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)
