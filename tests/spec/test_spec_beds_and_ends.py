"""Which beds a stay was in, how it ended and whose it was (DOMAIN K4, K5), one rule per test."""

import pytest

from tests.spec.text_tables import Follow

# K4: beds


@pytest.mark.parametrize(
    ("wards", "is_acute", "is_adult"),
    [
        ("10", "true", "true"),
        ("200", "true", "true"),
        ("12,10", "true", "true"),
        ("12", "false", "true"),  # intensive care alone
        ("11", "false", "true"),
        ("23", "false", "false"),
        ("34,300", "false", "false"),
        ("311", "false", "false"),
        ("35", "false", "true"),
        ("299", "false", "true"),  # no such class: nothing known, not thought a child
        ("ZZ", "false", "true"),
        ("ZZ,23", "false", "false"),
        ("41,23", "false", "false"),  # B5 ends at 40
        ("23,10", "true", "true"),
        ("-", "false", "true"),
    ],
)
def test_k4_bed_classes(follow: Follow, wards: str, is_acute: str, is_adult: str) -> None:
    follow(f"""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  {wards}
    """).stays(f"""
        start_date  is_acute    is_adult
        2018-01-01  {is_acute}  {is_adult}
    """)


def test_k4_any_ward_of_the_whole_stay_counts(follow: Follow) -> None:
    follow("""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-10  2018-01-30  17
    """).stays("""
        start_date  is_acute
        2018-01-01  true
    """)


def test_k4_in_the_variant_only_the_last_ward_with_a_class_counts(follow: Follow) -> None:
    last_ward = {"acute_ward": "last"}
    spells = """
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-10  2018-01-30  17
        c      2018-01-30  2018-02-01  ZZ
        d      2018-06-01  2018-06-10  17
        e      2018-06-10  2018-06-20  10
    """
    follow(spells, eligibility=last_ward).stays("""
        start_date  is_acute
        2018-01-01  false
        2018-06-01  true
    """)


def test_k4_of_a_ward_stay_the_latest_month_counts(follow: Follow) -> None:
    follow(
        """
        spell  start       end
        a      2018-01-01  2018-02-10
        """,
        ward_stay="""
        month    spell_id  ward_stay_id  start_date  end_date    bed_class_code
        2018-02  a         w1            2018-01-01  2018-02-10  17
        2018-01  a         w1            2018-01-01  -           10
        """,
    ).stays("""
        start_date  is_acute
        2018-01-01  false
    """)


# K5: how a stay ends


def test_k5_open_inactive_and_ended_stays(follow: Follow) -> None:
    follow("""
        person  spell  start       end         month
        p       a      2018-01-01  2018-01-10  2018-01
        q       b      2018-01-01  -           2020-03
        r       c      2018-01-01  -           2020-02
    """).stays("""
        person_id  end_date    end_reason
        p          2018-01-10  discharge
        q          -           open
        r          2020-02-29  inactive
    """)


@pytest.mark.parametrize(
    ("method", "destination", "reason"),
    [("4", "19", "death"), ("1", "79", "death"), ("1", "19", "discharge"), ("5", "-", "discharge")],
)
def test_k5_death_in_hospital(follow: Follow, method: str, destination: str, reason: str) -> None:
    follow(f"""
        spell  start       end         discharge_method  destination
        a      2018-01-01  2018-01-10  {method}          {destination}
    """).stays(f"""
        end_date    end_reason
        2018-01-10  {reason}
    """)


@pytest.mark.parametrize(("died", "reason"), [("2018-01-10", "death"), ("2018-01-11", "discharge")])
def test_k5_a_registered_death_by_the_last_day_is_death_in_hospital(follow: Follow, died: str, reason: str) -> None:
    follow(
        """
        spell  start       end
        a      2018-01-01  2018-01-10
        """,
        death=f"""
        death_date
        {died}
        """,
    ).stays(f"""
        end_reason
        {reason}
    """)


DIED_IN_2015 = """
        death_date
        2015-03-04
"""


def test_k15_a_death_before_everything_known_of_the_person_is_not_used(follow: Follow) -> None:
    follow("spell start end\na 2018-01-01 2018-01-10", death=DIED_IN_2015).stays("end_reason\ndischarge")


def test_k15_a_later_registration_is_used_beside_one_that_is_not(follow: Follow) -> None:
    follow("spell start end\na 2018-01-01 2018-01-10", death=f"{DIED_IN_2015}        2018-01-10").stays(
        "end_reason\ndeath"
    )


@pytest.mark.parametrize(
    "known",
    [
        {"contact": "contact_date\n2015-03-04"},
        {"hospital_episode": "episode_start_date\n2015-03-01"},
        {"emergency_attendance": "arrival_date\n2015-03-04"},
        {"ward_stay": "spell_id ward_stay_id start_date\nz w 2015-03-01"},
    ],
)
def test_k15_a_death_after_something_known_is_used(follow: Follow, known: dict[str, str]) -> None:
    follow("spell start end\na 2018-01-01 2018-01-10", death=DIED_IN_2015, **known).stays("end_reason\ndeath")


def test_k5_only_the_last_spell_says_how_the_stay_ended(follow: Follow) -> None:
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  79
        b      2018-01-10  2018-01-20  19
    """).stays("""
        end_date    end_reason  n_spells
        2018-01-20  discharge   2
    """)


def test_k5_the_trust_is_the_last_provider_under_its_final_code(follow: Follow) -> None:
    follow(
        """
        spell  start       end         provider
        a      2018-01-01  2018-01-10  RDD
        b      2018-01-10  2018-01-20  RAA
        c      2018-06-10  2018-06-20  RDD
        """,
        mergers="""
        old  new
        RAA  RBB
        RBB  RCC
        """,
    ).stays("""
        start_date  trust
        2018-01-01  RCC
        2018-06-10  RDD
    """)
