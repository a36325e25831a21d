"""Contacts and emergency attendances in the year after discharge (DOMAIN K14), one rule per test."""

import pytest

from tests.spec.eligible_person import ELIGIBLE  # index date 31 March 2017, day 365 is 31 March 2018
from tests.spec.text_tables import Follow, write_world

CRISIS_TEAM = """
    month    referral_id  team_id  team_type_code
    2017-06  r1           t1       A02
"""


@pytest.mark.parametrize(
    ("day", "n"),
    [("2017-03-31", 0), ("2017-04-01", 1), ("2018-03-31", 1), ("2018-04-01", 0)],
)
def test_k14_the_window_is_day_1_to_365(follow: Follow, day: str, n: int) -> None:
    follow(
        ELIGIBLE,
        contact=f"""
        month    contact_date  attendance_code  referral_id
        2017-06  {day}         3                r1
        2017-06  {day}         5                r1
        """,
        referral_team=CRISIS_TEAM,
        emergency_attendance=f"""
        arrival_date  department_type_code  attendance_category_code
        {day}         01                    1
        """,
    ).outcomes(f"""
        n_dna_365d  n_crht_365d  n_ed_365d
        {n}         {n}          {n}
    """)


@pytest.mark.parametrize(
    ("code", "n_dna", "n_crht"),
    [("3", 1, 0), ("5", 0, 1), ("6", 0, 1), ("2", 0, 0), ("4", 0, 0), ("7", 0, 0), ("-", 0, 0)],
)
def test_k14_attendance_codes(follow: Follow, code: str, n_dna: int, n_crht: int) -> None:
    follow(
        ELIGIBLE,
        contact=f"""
        contact_date  attendance_code  referral_id
        2017-06-10    {code}           r1
        """,
        referral_team=CRISIS_TEAM,
    ).outcomes(f"""
        n_dna_365d  n_crht_365d
        {n_dna}     {n_crht}
    """)


@pytest.mark.parametrize(
    ("month", "referral", "team", "n"),
    [
        *[("2017-06", "r1", team, 1) for team in ("A02", "A03", "A04")],
        *[("2017-06", "r1", team, 0) for team in ("A06", "A11", "A18", "-")],
        ("2017-05", "r1", "A02", 0),  # the team of another month's record
        ("2017-06", "r2", "A02", 0),  # the team of another referral
    ],
)
def test_k14_crisis_contacts_belong_to_a_referral_to_a_crisis_team(
    follow: Follow, month: str, referral: str, team: str, n: int
) -> None:
    follow(
        ELIGIBLE,
        contact="""
        month    contact_date  attendance_code  referral_id
        2017-06  2017-06-10    5                r1
        """,
        referral_team=f"""
        month    referral_id  team_id  team_type_code
        {month}  {referral}   t1       {team}
        """,
    ).outcomes(f"""
        n_crht_365d
        {n}
    """)


def test_k14_a_contact_of_two_crisis_teams_is_one_contact(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        contact="""
        month    contact_date  attendance_code  referral_id
        2017-06  2017-06-10    5                r1
        """,
        referral_team="""
        month    referral_id  team_id  team_type_code
        2017-06  r1           t1       A02
        2017-06  r1           t2       A04
        """,
    ).outcomes("""
        n_crht_365d
        1
    """)


def test_k14_a_contact_sent_in_two_months_counts_as_it_was_sent_last(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        contact="""
        month    contact_id  contact_date  attendance_code
        2017-07  c1          2017-06-10    3
        2017-06  c1          2017-06-10    5
        2017-06  c2          2017-06-10    3
        2017-07  c2          2017-06-10    5
        2017-06  c3          2017-06-10    3
        2017-06  c3          2017-06-11    3
        """,
    ).outcomes("""
        n_dna_365d
        2
    """)  # c1 and c3; c2 became an attendance


def test_k14_contacts_without_an_id_all_count(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        contact="""
        contact_id  contact_date  attendance_code
        -           2017-06-10    3
        -           2017-06-10    3
        """,
    ).outcomes("""
        n_dna_365d
        2
    """)


@pytest.mark.parametrize(
    ("department", "category", "status", "deleted", "n"),
    [
        ("01", "1", "-", "-", 1),
        ("01", "2", "182992009", "0", 1),
        ("01", "3", "-", "0", 1),
        ("02", "1", "-", "-", 0),
        ("03", "1", "-", "-", 0),
        ("-", "1", "-", "-", 0),
        ("01", "4", "-", "-", 0),
        ("01", "-", "-", "-", 0),
        ("01", "1", "-", "1", 0),
        ("01", "1", "1077031000000103", "-", 0),
        ("01", "1", "1077781000000101", "-", 0),
        ("01", "1", "63238001", "-", 0),
    ],
)
def test_k14_which_emergency_attendances_count(
    follow: Follow, department: str, category: str, status: str, deleted: str, n: int
) -> None:
    follow(
        ELIGIBLE,
        emergency_attendance=f"""
        arrival_date  department_type_code  attendance_category_code  discharge_status_code  is_deleted_code
        2017-06-10    {department}          {category}                {status}               {deleted}
        """,
    ).outcomes(f"""
        n_ed_365d
        {n}
    """)


def test_k14_without_emergency_data_the_number_is_unknown_not_nought(follow: Follow) -> None:
    follow(ELIGIBLE, without=("emergency_attendance",)).outcomes("""
        n_ed_365d  n_dna_365d
        -          0
    """)


def test_k14_what_is_dated_after_death_is_not_counted(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        death="""
        death_date
        2017-06-10
        """,
        contact="""
        contact_date  attendance_code
        2017-06-10    3
        2017-06-11    3
        """,
        emergency_attendance="""
        arrival_date  department_type_code  attendance_category_code
        2017-06-10    01                    1
        2017-06-11    01                    1
        """,
    ).outcomes("""
        n_dna_365d  n_ed_365d
        1           1
    """)


def test_k14_before_ecds_hes_counts_and_never_twice(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        emergency_attendance="""
        collection_code  arrival_date  department_type_code  attendance_category_code
        HES_AE           2017-06-10    01                    1
        HES_AE           2017-10-02    01                    1
        ECDS             2017-10-02    01                    1
        ECDS             2017-12-05    01                    1
        """,
    ).outcomes("""
        n_ed_365d
        3
    """)


@pytest.mark.parametrize(
    ("codes", "rate"),
    [("3 5", "0.5"), ("3 6 5 5", "0.25"), ("5", "0"), ("3", "1"), ("2 4 7", "-"), ("3 2 4 7", "1")],
)
def test_b7_the_share_of_appointments_missed(follow: Follow, codes: str, rate: str) -> None:
    rows = "\n".join(f"2017-06-01 {code}" for code in codes.split())
    follow(ELIGIBLE, contact=f"contact_date attendance_code\n{rows}").outcomes(f"""
        dna_rate_365d
        {rate}
    """)


@pytest.mark.parametrize(("team", "n_liaison", "n_crht"), [("A11", 1, 0), ("A02", 0, 1), ("A18", 0, 0)])
def test_b6_liaison_is_a11(follow: Follow, team: str, n_liaison: int, n_crht: int) -> None:
    follow(
        ELIGIBLE,
        contact="""
        month    contact_date  attendance_code  referral_id
        2017-06  2017-06-01    5                r1
        2017-06  2017-06-02    3                r1
        """,
        referral_team=CRISIS_TEAM.replace("A02", team),
    ).outcomes(f"""
        n_liaison_365d  n_crht_365d  n_attended_365d  n_dna_365d
        {n_liaison}     {n_crht}     1                1
    """)


@pytest.mark.parametrize(
    ("received", "closed", "episodes", "starts"),
    [
        ("2017-03-31", "2017-04-20", 1, 0),  # begun on the day of discharge
        ("2017-03-01", "2017-03-31", 0, 0),  # closed on it
        ("2017-03-01", "2017-04-01", 1, 0),
        ("2017-04-01", "-", 1, 1),
        ("2018-03-31", "-", 1, 1),  # day 365
        ("2018-04-01", "-", 0, 0),
        ("2017-04-10", "2017-04-09", 1, 1),  # closed before it was received: not closed
        ("-", "2017-06-30", 0, 0),
    ],
)
def test_j_crisis_episodes_open_in_the_window_and_begun_in_it(
    follow: Follow, received: str, closed: str, episodes: int, starts: int
) -> None:
    follow(
        ELIGIBLE,
        referral=f"""
        month    referral_id  received_date  closed_date
        2020-03  r1           {received}     {closed}
        """,
        referral_team=CRISIS_TEAM,
    ).outcomes(f"""
        n_crht_episodes_365d  n_crht_starts_365d
        {episodes}            {starts}
    """)


def test_j_a_referral_that_stopped_arriving_ends_with_its_last_month(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        referral="""
        month    referral_id  received_date
        2017-03  r1           2017-02-10
        2017-04  r2           2017-02-10
        """,
        referral_team="""
        month    referral_id  team_id  team_type_code
        2017-03  r1           t1       A02
        2017-03  r2           t1       A02
        """,
    ).outcomes("""
        n_crht_episodes_365d
        1
    """)


@pytest.mark.parametrize(("second_left", "episodes"), [("2017-03-20", 0), ("-", 1)])
def test_j_an_episode_lasts_until_its_last_crisis_team_left(follow: Follow, second_left: str, episodes: int) -> None:
    follow(
        ELIGIBLE,
        referral="""
        month    referral_id  received_date
        2020-03  r1           2017-02-10
        """,
        referral_team=f"""
        month    referral_id  team_id  team_type_code  closed_date
        2017-03  r1           t1       A02             2017-03-10
        2017-03  r1           t2       A04             {second_left}
        2017-03  r1           t3       A06             -
        """,
    ).outcomes(f"""
        n_crht_episodes_365d
        {episodes}
    """)


@pytest.mark.parametrize(("left", "rejected"), [("2017-03-10", "-"), ("-", "2017-02-11")])
def test_j_teams_without_ids_are_told_apart_by_their_type(follow: Follow, left: str, rejected: str) -> None:
    """The home treatment team had left, or did not take the person; the crisis resolution team is still there."""
    follow(
        ELIGIBLE,
        referral="""
        month    referral_id  received_date
        2020-03  r1           2017-02-10
        """,
        referral_team=f"""
        month    referral_id  team_id  team_type_code  closed_date  rejected_date
        2017-03  r1           -        A02             -            -
        2017-03  r1           -        A04             {left}       {rejected}
        """,
    ).outcomes("""
        n_crht_episodes_365d
        1
    """)


def test_j_an_episode_needs_a_crisis_team_that_did_not_reject_it(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        referral="""
        month    referral_id  received_date
        2017-06  r1           2017-06-01
        """,
        referral_team="""
        month    referral_id  team_id  team_type_code  rejected_date
        2017-06  r1           t1       A02             2017-06-02
        2017-06  r1           t2       A06             -
        """,
    ).outcomes("""
        n_crht_episodes_365d  n_crht_starts_365d
        0                     0
    """)


def test_j_a_rejected_referral_is_no_episode(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        referral="""
        month    referral_id  received_date  rejected_date
        2017-06  r1           2017-06-01     2017-06-02
        """,
        referral_team=CRISIS_TEAM,
    ).outcomes("""
        n_crht_episodes_365d  n_crht_starts_365d
        0                     0
    """)


def test_i15_without_the_tables_nothing_is_counted() -> None:
    world = write_world(ELIGIBLE, without=("contact", "referral_team", "legal_period"))
    answer = world.people().outcomes.row(0, named=True)
    unknown = ("n_dna", "n_attended", "dna_rate", "n_crht", "n_crht_episodes", "n_crht_starts", "n_liaison")
    assert [answer[f"{name}_365d"] for name in unknown] == [None] * len(unknown)
    assert answer["readmitted_365d"] is False
