"""Readmission, censoring and death after time zero (DOMAIN K2, K11, K12, K13, K15), one rule per test."""

import pytest

from tests.spec.conftest import Follow
from tests.spec.text_tables import one_person_for_each

# An eligible person: index stay 1 to 31 March 2017. Day 365 after it is 31 March 2018.
BEFORE = """
    spell   start       end         ward  provider
    prior   2016-11-01  2016-11-20  10    RAA
    index   2017-03-01  2017-03-31  10    RAA
"""


def readmitted(start: str, end: str, ward: str = "10", provider: str = "RAA") -> str:
    return f"{BEFORE.rstrip()}\n    again {start} {end} {ward} {provider}"


def only_index(rows: str) -> dict[str, object]:
    """Later stays are within the recruitment window themselves: keep the first eligible discharge."""
    return {"eligibility": {"candidate_discharges": rows}}


FIRST = only_index("first")


# K11: readmission


def test_k11_nobody_came_back(follow: Follow) -> None:
    follow(BEFORE).outcomes("""
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


# K12: censoring


def test_k12_the_end_of_the_data(follow: Follow) -> None:
    answer = follow(BEFORE, period_end="2017-06-30")
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
    follow(BEFORE, period_end=period_end).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_k12_a_provider_that_stops_for_good_ends_observation_with_its_last_month(follow: Follow) -> None:
    follow(
        BEFORE,
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
        BEFORE,
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
        BEFORE,
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
        BEFORE,
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
        BEFORE,
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


# K13: formal readmission


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


@pytest.mark.parametrize(("episode", "formal"), [("e1", "false"), ("e2", "true")])
def test_k13_an_episode_that_is_a_community_order_is_no_detention(follow: Follow, episode: str, formal: str) -> None:
    follow(
        readmitted("2017-06-01", "2017-06-10"),
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          03          2017-05-20  2017-06-28
        """,
        community_order=f"""
        episode_id  start_date  end_date
        {episode}   2017-05-20  -
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
        BEFORE,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          02          2017-03-01  2017-08-28
        """,
    ).outcomes("""
        readmitted_365d  is_first_readmission_formal
        false            -
    """)


# K15: death


@pytest.mark.parametrize(
    ("died", "died_day"),
    [("2017-04-01", "1"), ("2018-03-31", "365"), ("2018-04-01", "-"), ("-", "-")],
)
def test_k15_day_of_death(follow: Follow, died: str, died_day: str) -> None:
    follow(
        BEFORE,
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
        BEFORE,
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
        BEFORE,
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
