"""Hospital episodes from before MHSDS began count as earlier stays (DOMAIN A8.5), one rule per test."""

from datetime import date

import pytest

from tests.spec.eligible_person import ELIGIBLE
from tests.spec.text_tables import Follow

# In the spec worlds the first submitted month is December 2014, and these two stays are 730 days and less after it.
INDEX = """
    spell  start       end         ward
    index  2016-11-20  2016-12-20  10
"""
ONLY_THE_INDEX = {"recruitment_start": date(2016, 12, 1), "recruitment_end": date(2017, 12, 31)}


def episode(start: str, end: str, specialty: str = "710") -> str:
    return f"""
    episode_start_date  episode_end_date  provider_id  main_specialty_code
    {start}             {end}             RAA          {specialty}
    """


@pytest.mark.parametrize(
    ("start", "end", "specialty", "failed"),
    [
        ("2014-11-10", "2014-11-30", "710", "-"),
        ("2014-11-10", "2014-11-21", "710", "-"),  # 730 days before 20 November 2016: 2016 was a leap year
        ("2014-11-10", "2014-11-20", "710", "no_prior_stay_730"),
        ("2014-11-10", "2014-11-30", "300", "no_prior_stay_730"),  # general medicine
        ("2014-11-30", "2014-11-30", "710", "no_prior_stay_730"),  # a stay of a day
        ("2014-11-10", "2014-12-01", "710", "no_prior_stay_730"),  # ended when MHSDS had begun, which does not hold it
        ("2014-11-10", "-", "710", "no_prior_stay_730"),
    ],
)
def test_a_psychiatric_stay_that_ended_before_mhsds_began(
    follow: Follow, start: str, end: str, specialty: str, failed: str
) -> None:
    follow(INDEX, hospital_episode=episode(start, end, specialty), eligibility=ONLY_THE_INDEX).cohort(f"""
        index_date  first_failed_rule
        2016-12-20  {failed}
    """)


@pytest.mark.parametrize(("from_hes", "failed"), [(True, "-"), (False, "no_prior_stay_730")])
def test_the_protocol_may_leave_hospital_stays_out(follow: Follow, from_hes: bool, failed: str) -> None:
    follow(
        INDEX,
        hospital_episode=episode("2014-11-10", "2014-11-30"),
        eligibility=ONLY_THE_INDEX | {"prior_stays_from_hes": from_hes},
    ).cohort(f"""
        index_date  first_failed_rule
        2016-12-20  {failed}
    """)


def test_the_index_stay_itself_is_no_earlier_stay_because_hes_holds_it_too(follow: Follow) -> None:
    # MHSDS sends the stay with its true start; HES ended its episode the day before MHSDS began.
    follow(
        """
        spell  start       end         ward
        index  2014-11-20  2016-12-20  10
        """,
        hospital_episode=episode("2014-11-20", "2014-11-30"),
        eligibility=ONLY_THE_INDEX,
    ).cohort("""
        index_date  first_failed_rule
        2016-12-20  no_prior_stay_730
    """)


@pytest.mark.parametrize(("code", "failed"), [("F03X", "organic_any"), ("F200", "-")])
def test_k9_an_organic_disorder_in_any_of_twenty_positions(follow: Follow, code: str, failed: str) -> None:
    world = follow(
        ELIGIBLE,
        hospital_episode=f"""
        episode_start_date  main_specialty_code  diagnosis_1_code  all_diagnosis_codes
        2017-03-02          710                  F200              {code}
        """,
        eligibility={"recruitment_start": date(2017, 3, 1)},
    )
    world.cohort(f"""
        index_date  first_failed_rule
        2017-03-31  {failed}
    """)
