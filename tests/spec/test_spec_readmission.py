"""Readmission after time zero, and whether it was formal (DOMAIN K2, K11, K13), one rule per test."""

import pytest

from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import Follow, one_person_for_each


def test_k11_nobody_came_back(follow: Follow) -> None:
    follow(ELIGIBLE).outcomes("""
        readmitted_365d  days_to_readmission  n_readmissions_365d  days_in_hospital_365d  died_day  censored_day
        false            -                    0                    0                      -         -
    """)


@pytest.mark.parametrize(
    ("start", "readmitted_365d", "day", "days_in"),
    [
        ("2017-04-02", "true", "2", "3"),
        ("2018-03-31", "true", "365", "0"),  # day 365: the window closes that day
        ("2018-04-01", "false", "-", "0"),
    ],
)
def test_k11_a_stay_that_starts_by_day_365(
    follow: Follow, start: str, readmitted_365d: str, day: str, days_in: str
) -> None:
    end = f"{start[:7]}-05" if start < "2018-03-31" else "2018-04-20"
    follow(readmitted(start, end), **FIRST).outcomes(f"""
        readmitted_365d    days_to_readmission  days_in_hospital_365d
        {readmitted_365d}  {day}                {days_in}
    """)


def test_k11_the_next_day_is_a_readmission_where_nothing_is_linked(follow: Follow) -> None:
    unlinked = {"link_gap_days": 0, "transfer_gap_days": 0, "candidate_discharges": "first"}
    follow(readmitted("2017-04-01", "2017-04-05"), eligibility=unlinked).outcomes("""
        readmitted_365d  days_to_readmission
        true             1
    """)


@pytest.mark.parametrize(
    ("ward", "provider", "readmitted_365d"),
    [
        ("10", "RBB", "true"),  # any provider
        ("17", "RAA", "true"),  # any adult bed
        ("-", "RAA", "true"),  # class unknown
        ("23", "RAA", "false"),  # a child's bed
        ("300", "RAA", "false"),
    ],
)
def test_k11_which_beds_count(follow: Follow, ward: str, provider: str, readmitted_365d: str) -> None:
    follow(readmitted("2017-06-01", "2017-06-10", ward, provider), **FIRST).outcomes(f"""
        readmitted_365d
        {readmitted_365d}
    """)


def test_k11_several_readmissions_are_counted_and_their_days_added(follow: Follow) -> None:
    follow(
        f"""{readmitted("2017-06-01", "2017-06-10")}
        more  2017-08-01  2017-08-02  10  RBB
        last  2018-03-21  2018-06-30  10  RAA
        """,
        **FIRST,
    ).outcomes("""
        days_to_readmission  n_readmissions_365d  days_in_hospital_365d
        62                   3                    20
    """)  # 9 + 1 + 10 to the end of day 365


def test_k11_an_open_readmission_runs_to_the_end_of_the_window(follow: Follow) -> None:
    follow(
        """
        spell  month    start       end         ward
        prior  2016-11  2016-11-01  2016-11-20  10
        index  2017-03  2017-03-01  2017-03-31  10
        again  2020-03  2018-03-01  -           10
        """
    ).outcomes("""
        n_readmissions_365d  days_in_hospital_365d
        1                    30
    """)


@pytest.mark.parametrize(("counts", "readmitted_365d", "n"), [(False, "false", "0"), (True, "true", "1")])
def test_k2_zero_day_stays_are_readmissions_only_in_the_sensitivity_analysis(
    follow: Follow, counts: bool, readmitted_365d: str, n: str
) -> None:
    follow(
        readmitted("2017-06-01", "2017-06-01"), eligibility={"zero_day_stays_are_readmissions": counts}
    ).outcomes(f"""
        index_date  readmitted_365d    n_readmissions_365d  days_in_hospital_365d
        2017-03-31  {readmitted_365d}  {n}                  0
    """)


@pytest.mark.parametrize(("code", "readmitted_365d"), [("20", "false"), ("19", "false"), ("04", "true")])
@pytest.mark.parametrize("end", ["2017-06-01", "2017-06-02"])
def test_k2_a_place_of_safety_is_no_readmission_in_any_analysis(
    follow: Follow, code: str, readmitted_365d: str, end: str
) -> None:
    follow(
        readmitted("2017-06-01", end),
        legal_period=f"""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          {code}      2017-06-01  2017-06-02
        """,
        eligibility={"zero_day_stays_are_readmissions": True, "candidate_discharges": "first"},
    ).outcomes(f"""
        readmitted_365d
        {readmitted_365d}
    """)


def test_k13_what_is_a_hospital_detention(follow: Follow) -> None:
    detained = ["02", "03", "07", "08", "09", "10", "12", "13", "14", "15", "16", "17", "18", "31", "32", "37", "38"]
    not_detained = ["01", "04", "05", "06", "19", "20", "34", "35", "36", "98", "99"]
    answer = follow(
        one_person_for_each(detained + not_detained, readmitted("2017-06-01", "2017-06-10")),
        legal_period=one_person_for_each(
            detained + not_detained,
            """
            episode_id  period_id  legal_code  start_date  end_date
            e1          1          CASE        2017-06-01  2017-06-28
            """,
            person="person_id",
        ),
        **FIRST,
    )
    formal = {row["person_id"] for row in answer.found["outcomes"] if row["is_first_readmission_formal"]}
    informal = {row["person_id"] for row in answer.found["outcomes"] if row["is_first_readmission_formal"] is False}
    assert (formal, informal) == (set(detained), set(not_detained))


def test_k13_an_unknown_status_is_no_detention(follow: Follow) -> None:
    follow(
        readmitted("2017-06-01", "2017-06-10"),
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          -           2017-06-01  2017-06-28
        """,
        **FIRST,
    ).outcomes("""
        is_first_readmission_formal
        false
    """)


@pytest.mark.parametrize(
    ("start", "end", "formal"),
    [
        ("2017-05-20", "2017-06-01", "true"),  # ends on the first day
        ("2017-05-20", "2017-05-31", "false"),
        ("2017-06-02", "2017-06-20", "true"),  # starts the next day
        ("2017-06-03", "2017-06-20", "false"),
    ],
)
def test_k13_touching_the_first_day_or_the_next(follow: Follow, start: str, end: str, formal: str) -> None:
    follow(
        readmitted("2017-06-01", "2017-06-10"),
        legal_period=f"""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          02          {start}     {end}
        """,
        **FIRST,
    ).outcomes(f"""
        is_first_readmission_formal
        {formal}
    """)


@pytest.mark.parametrize(("month", "formal"), [("2017-04", "false"), ("2017-06", "true"), ("2020-03", "true")])
def test_k13_a_period_without_end_lasts_while_it_is_submitted(follow: Follow, month: str, formal: str) -> None:
    follow(
        readmitted("2017-06-01", "2017-06-10"),
        legal_period=f"""
        month    episode_id  period_id  legal_code  start_date  end_date
        {month}  e1          1          03          2017-04-10  -
        """,
        **FIRST,
    ).outcomes(f"""
        is_first_readmission_formal
        {formal}
    """)


@pytest.mark.parametrize("kind", ["CTO", "RECALL", "COND"])
@pytest.mark.parametrize(("episode", "formal"), [("e1", "false"), ("e2", "true")])
def test_b8_k13_an_episode_that_is_an_order_in_the_community_is_no_detention(
    follow: Follow, episode: str, formal: str, kind: str
) -> None:
    follow(
        readmitted("2017-06-01", "2017-06-10"),
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          03          2017-05-20  2017-06-28
        """,
        community_order=f"""
        episode_id  order_kind_code  start_date  end_date
        {episode}   {kind}           2017-05-20  -
        """,
        **FIRST,
    ).outcomes(f"""
        is_first_readmission_formal
        {formal}
    """)


def test_k13_is_asked_of_the_first_readmission_only(follow: Follow) -> None:
    follow(
        f"""{readmitted("2017-06-01", "2017-06-10")}
        more  2017-08-01  2017-08-10  10  RAA
        """,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          02          2017-08-01  2017-08-28
        """,
        **FIRST,
    ).outcomes("""
        is_first_readmission_formal  n_readmissions_365d
        false                        2
    """)


def test_k13_is_unknown_of_somebody_who_was_not_readmitted(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          02          2017-03-01  2017-08-28
        """,
    ).outcomes("""
        readmitted_365d  is_first_readmission_formal
        false            -
    """)
