"""Which Mental Health Act periods there were, and when somebody was detained (DOMAIN B8), one rule per test."""

import pytest

from tests.spec.text_tables import Follow, one_person_for_each

STAY = """
    spell  start       end
    a      2018-01-10  2018-01-30
"""


@pytest.mark.parametrize(
    ("start", "end", "on_admission", "at_discharge", "ever"),
    [
        ("2018-01-01", "2018-01-09", "false", "false", "false"),
        ("2018-01-01", "2018-01-10", "true", "false", "true"),
        ("2018-01-11", "2018-01-11", "true", "false", "true"),  # the day after admission still counts as on admission
        ("2018-01-12", "2018-01-29", "false", "false", "true"),
        ("2018-01-12", "2018-01-30", "false", "true", "true"),
        ("2018-01-30", "2018-03-30", "false", "true", "true"),
        ("2018-01-31", "2018-03-30", "false", "false", "false"),
        ("2018-01-01", "2018-03-30", "true", "true", "true"),
    ],
)
def test_b8_detained_on_admission_at_discharge_and_ever(
    follow: Follow, start: str, end: str, on_admission: str, at_discharge: str, ever: str
) -> None:
    follow(
        STAY,
        legal_period=f"""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          03          {start}     {end}
        """,
    ).stays(f"""
        is_detained_on_admission  is_detained_at_discharge  is_ever_detained
        {on_admission}            {at_discharge}            {ever}
    """)


def test_b8_of_an_open_stay_nobody_knows_the_discharge(follow: Follow) -> None:
    follow(
        """
        spell  start       end  month
        a      2020-01-10  -    2020-03
        """,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          03          2020-02-01  2020-02-20
        """,
    ).stays("""
        end_date  is_detained_on_admission  is_detained_at_discharge  is_ever_detained
        -         false                     -                         true
    """)


@pytest.mark.parametrize("code", ["01", "04", "05", "06", "19", "20", "34", "35", "36", "98", "99"])
def test_b8_short_orders_and_guardianship_are_no_hospital_detention(follow: Follow, code: str) -> None:
    follow(
        STAY,
        legal_period=f"""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          {code}      2018-01-01  2018-03-30
        """,
    ).stays("""
        is_detained_on_admission  is_detained_at_discharge  is_ever_detained
        false                     false                     false
    """)


def test_b8_a_period_sent_again_under_new_ids_is_the_later_one(follow: Follow) -> None:
    follow(
        STAY,
        legal_period="""
        month    episode_id  period_id  legal_code  start_date  end_date
        2018-02  e1          1          03          2018-01-01  -
        2018-03  e2          7          03          2018-01-01  2018-01-05
        """,
    ).stays("""
        is_detained_on_admission  is_ever_detained
        false                     false
    """)


def test_b8_periods_of_another_provider_start_or_status_are_other_periods(follow: Follow) -> None:
    people = ["provider", "start", "status"]
    later = {
        "provider": "2018-03 RBB e2 03 2018-01-01 2018-01-05",
        "start": "2018-03 RAA e2 03 2018-01-02 2018-01-05",
        "status": "2018-03 RAA e2 02 2018-01-01 2018-01-05",
    }
    rows = "\n".join(
        f"{person} {row}" for person in people for row in ("2018-02 RAA e1 03 2018-01-01 -", later[person])
    )
    follow(
        one_person_for_each(people, STAY),
        legal_period=f"""
        person_id  month  provider_id  episode_id  legal_code  start_date  end_date
        {rows}
        """,
    ).stays("""
        is_detained_on_admission
        true
        true
        true
    """)


def test_b8_a_provider_that_was_taken_over_sends_the_same_period(follow: Follow) -> None:
    follow(
        STAY,
        mergers="""
        old  new
        RAA  RBB
        """,
        legal_period="""
        month    provider_id  episode_id  legal_code  start_date  end_date
        2018-02  RAA          e1          03          2018-01-01  -
        2018-03  RBB          e2          03          2018-01-01  2018-01-05
        """,
    ).stays("""
        is_detained_on_admission
        false
    """)


def test_b8_without_period_ids_the_periods_of_an_episode_differ_by_their_start(follow: Follow) -> None:
    follow(
        STAY,
        legal_period="""
        month    episode_id  period_id  legal_code  start_date  end_date
        2018-01  e1          -          02          2018-01-10  2018-01-12
        2018-02  e1          -          01          2018-01-13  2018-02-12
        """,
    ).stays("""
        is_detained_on_admission  is_detained_at_discharge  is_ever_detained
        true                      false                     true
    """)


@pytest.mark.parametrize(("month", "ever"), [("2017-12", "false"), ("2018-01", "true"), ("2020-03", "true")])
def test_b8_a_period_without_end_that_stopped_arriving_ends_with_its_last_month(
    follow: Follow, month: str, ever: str
) -> None:
    follow(
        STAY,
        legal_period=f"""
        month    episode_id  period_id  legal_code  start_date  end_date
        {month}  e1          1          03          2017-12-01  -
        """,
    ).stays(f"""
        is_ever_detained
        {ever}
    """)
