"""Which discharges are index dates, of candidates and of participants (DOMAIN K5, K16), one rule per test."""

from typing import Any

import pytest

from tests.spec.eligible_person import ELIGIBLE
from tests.spec.text_tables import Follow


def test_k5_time_zero_is_the_last_day_of_the_continuous_stay(follow: Follow) -> None:
    follow("""
        spell  start       end         ward  provider
        prior  2016-11-01  2016-11-20  10    RAA
        a      2017-03-01  2017-03-31  10    RAA
        b      2017-04-01  2017-04-20  17    RBB
    """).cohort("""
        index_date  admission_date  trust  first_failed_rule
        2017-04-20  2017-03-01      RBB    -
    """)


def test_k5_open_and_inactive_stays_are_no_index(follow: Follow) -> None:
    follow("""
        person  spell  month    start       end         ward
        p       a      2016-11  2016-11-01  2016-11-20  10
        p       b      2020-03  2017-03-01  -           10
        q       c      2016-11  2016-11-01  2016-11-20  10
        q       d      2017-04  2017-03-01  -           10
    """).cohort("""
        index_date
    """)


def test_k16_every_discharge_in_the_recruitment_window_is_a_candidate(follow: Follow) -> None:
    follow("""
        spell  start       end         ward
        a      2016-10-01  2016-11-30  10
        b      2016-12-01  2016-12-01  10
        c      2017-03-01  2017-03-31  10
        d      2019-02-01  2019-02-28  10
        e      2019-03-02  2019-03-20  10
    """).cohort("""
        index_date  first_failed_rule
        2016-12-01  no_prior_stay_730
        2017-03-31  -
        2019-02-28  -
    """)


def test_k16_people_of_either_trial_arm_are_not_candidates(follow: Follow) -> None:
    follow(
        """
        person  spell  start       end         ward
        p       a      2016-11-01  2016-11-20  10
        p       b      2017-03-01  2017-03-31  10
        p       c      2017-06-01  2017-06-30  10
        q       d      2016-11-01  2016-11-20  10
        q       e      2017-03-01  2017-03-31  10
        q       f      2017-06-01  2017-06-30  10
        """,
        participants="""
        person_id  arm_code  allocation_date
        p          PEER      2017-03-20
        q          CONTROL   2017-06-01
        """,
    ).cohort("""
        person_id  index_date  arm
        p          2017-03-31  peer
        q          2017-06-30  control
    """)


NOT_YET: dict[str, Any] = {"eligibility": {"candidates": "not_yet_treated"}}


@pytest.mark.parametrize(
    ("allocated", "consent", "candidates"),
    [
        ("2017-06-10", "Y", ["2017-03-31"]),  # in the third stay
        ("2017-06-30", "Y", ["2017-03-31"]),  # on its last day
        ("2017-05-15", "Y", ["2017-03-31"]),  # at home: no index stay, but the day is known
        ("2017-03-31", "Y", []),  # on the day of the second discharge
        ("2017-06-10", "N", []),  # not agreed to linkage
    ],
)
def test_k16_those_not_yet_treated_are_candidates_where_the_protocol_says_so(
    follow: Follow, allocated: str, consent: str, candidates: list[str]
) -> None:
    answer = follow(
        """
        person  spell  start       end         ward
        p       a      2016-11-01  2016-11-20  10
        p       b      2017-03-01  2017-03-31  10
        p       c      2017-06-01  2017-06-30  10
        p       d      2017-09-01  2017-09-30  10
        """,
        participants=f"""
        person_id  arm_code  allocation_date  consent_code
        p          PEER      {allocated}      {consent}
        """,
        **NOT_YET,
    )
    rows = [row for row in answer.found["cohort"] if row["arm"] == "virtual"]
    assert [str(row["index_date"]) for row in rows] == candidates
    assert all(row["is_eligible"] for row in rows)


def test_k16_a_later_participant_is_followed_as_everybody_is(follow: Follow) -> None:
    """The readmission in which support began ends no follow-up: it is the outcome."""
    follow(
        """
        person  spell  start       end         ward
        p       a      2016-11-01  2016-11-20  10
        p       b      2017-03-01  2017-03-31  10
        p       c      2017-06-01  2017-06-30  10
        """,
        participants="""
        person_id  arm_code  allocation_date
        p          PEER      2017-06-10
        """,
        **NOT_YET,
    ).outcomes("""
        index_date  readmitted_365d  days_to_readmission  n_readmissions_365d  censored_day
        2017-03-31  true             62                   1                    -
        2017-06-30  false            -                    0                    -
    """)


def test_k16_the_day_is_not_known_of_rows_that_cannot_be_used(follow: Follow) -> None:
    follow(
        """
        person  spell  start       end         ward
        q       c      2016-11-01  2016-11-20  10
        q       d      2017-03-01  2017-03-31  10
        """,
        also_in_trial=("q",),
        **NOT_YET,
    ).cohort("index_date  arm")


def test_k16_the_first_discharge_of_one_not_yet_treated(follow: Follow) -> None:
    """The treated discharge is no candidate's later discharge."""
    follow(
        """
        person  spell  start       end         ward
        p       a      2016-11-01  2016-11-20  10
        p       b      2017-03-01  2017-03-31  10
        p       c      2017-06-01  2017-06-30  10
        p       d      2017-09-01  2017-09-30  10
        """,
        participants="""
        person_id  arm_code  allocation_date
        p          PEER      2017-09-10
        """,
        eligibility={"candidates": "not_yet_treated", "candidate_discharges": "first"},
    ).cohort("""
        index_date  arm      is_eligible  first_failed_rule
        2017-03-31  virtual  true         -
        2017-06-30  virtual  false        not_first_discharge
        2017-09-30  peer     true         -
    """)


def test_k16_a_participant_serves_with_any_discharge_date_and_is_held_to_the_rules(follow: Follow) -> None:
    follow(
        """
        spell  start       end         ward
        a      2019-02-01  2019-06-30  10
        """,
        participants="""
        person_id  arm_code  allocation_date
        p          PEER      2019-02-20
        """,
    ).cohort("""
        index_date  arm   is_eligible  first_failed_rule
        2019-06-30  peer  false        no_prior_stay_730
    """)


@pytest.mark.parametrize(
    ("allocated", "consent", "reason"),
    [
        ("2017-03-01", "Y", None),  # the day of admission
        ("2017-03-31", "Y", None),  # the day of discharge
        ("2017-02-28", "Y", "no_stay_holds_allocation_date"),
        ("2017-04-01", "Y", "no_stay_holds_allocation_date"),
        ("2017-03-20", "N", "no_consent"),
        ("2018-01-15", "Y", "stay_stopped_arriving"),
        ("2018-06-15", "Y", "stay_not_ended"),
    ],
)
def test_k16_which_stay_is_a_participants(follow: Follow, allocated: str, consent: str, reason: str | None) -> None:
    answer = follow(
        """
        spell  month    start       end         ward
        prior  2016-11  2016-11-01  2016-11-20  10
        index  2017-03  2017-03-01  2017-03-31  10
        lost   2018-01  2018-01-10  -           10
        open   2020-03  2018-06-10  -           10
        """,
        participants=f"""
        person_id  arm_code  allocation_date  consent_code
        p          CONTROL   {allocated}      {consent}
        """,
    )
    if reason is None:
        answer.cohort("""
            index_date  arm
            2017-03-31  control
        """)
        answer.excluded("person_id  arm  reason")
    else:
        answer.cohort("index_date  arm")
        answer.excluded(f"""
            person_id  arm      reason
            p          control  {reason}
        """)


def test_k16_a_participant_the_extract_does_not_know(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        participants="""
        person_id  arm_code  allocation_date
        q          PEER      2017-03-20
        """,
    ).excluded("""
        person_id  arm   reason
        q          peer  not_in_extract
    """)


def test_k16_a_participant_known_but_never_in_hospital(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        person_month="""
        person_id  month    age_start_years
        q          2017-03  40
        """,
        participants="""
        person_id  arm_code  allocation_date
        q          PEER      2017-03-20
        """,
    ).excluded("""
        person_id  arm   reason
        q          peer  no_stay_holds_allocation_date
    """)


def test_k16_the_first_eligible_discharge_only_as_a_choice_of_the_protocol(follow: Follow) -> None:
    follow(
        """
        spell  start       end         ward
        a      2016-12-01  2016-12-20  10
        b      2017-03-01  2017-03-31  10
        c      2017-06-01  2017-06-30  10
        """,
        eligibility={"candidate_discharges": "first"},
    ).cohort("""
        index_date  is_eligible  first_failed_rule
        2016-12-20  false        no_prior_stay_730
        2017-03-31  true         -
        2017-06-30  false        not_first_discharge
    """)


def test_k16_people_on_rows_of_the_list_that_cannot_be_used_are_not_candidates(follow: Follow) -> None:
    """Whatever is wrong with the row, its person took part in the trial."""
    follow(
        """
        person  spell  start       end         ward
        p       a      2016-11-01  2016-11-20  10
        p       b      2017-03-01  2017-03-31  10
        q       c      2016-11-01  2016-11-20  10
        q       d      2017-03-01  2017-03-31  10
        """,
        also_in_trial=("q", "not in the extract"),
    ).cohort("""
        person_id  index_date  arm
        p          2017-03-31  virtual
    """)
