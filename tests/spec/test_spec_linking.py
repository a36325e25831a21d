"""How spells are linked into continuous stays, and which stays are no admissions (DOMAIN K1, K2), one rule per test."""

import pytest

from tests.spec.text_tables import Follow

# K1: linking


def test_k1_spells_at_most_one_day_apart_are_one_stay(follow: Follow) -> None:
    follow("""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-11  2018-01-20  10
        c      2018-01-20  2018-01-25  10
    """).stays("""
        start_date  end_date    n_spells  los_days
        2018-01-01  2018-01-25  3         24
    """)


def test_k1_spells_two_days_apart_are_two_stays(follow: Follow) -> None:
    follow("""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-12  2018-01-20  10
    """).stays("""
        start_date  end_date    n_spells
        2018-01-01  2018-01-10  1
        2018-01-12  2018-01-20  1
    """)


def test_k1_days_between_linked_spells_count_as_days_in_hospital(follow: Follow) -> None:
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  53
        b      2018-01-13  2018-01-20  19
    """).stays("""
        start_date  end_date    n_spells  los_days
        2018-01-01  2018-01-20  2         19
    """)


def test_k1_a_transfer_links_over_three_days_but_not_four(follow: Follow) -> None:
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  53
        b      2018-01-14  2018-01-20  19
    """).stays("""
        start_date  end_date
        2018-01-01  2018-01-10
        2018-01-14  2018-01-20
    """)


ONE_STAY = [
    *[f"destination:{code}" for code in ("48", "49", "50", "51", "52", "53", "84", "87")],
    *[f"source:{code}" for code in ("49", "51", "52", "53", "87")],
    *[f"method:{code}" for code in ("2B", "81")],
]
TWO_STAYS = [
    *[f"destination:{code}" for code in ("19", "29", "30", "54", "79", "88", "-")],
    *[f"source:{code}" for code in ("19", "48", "50", "84", "-")],  # some are signals of a destination only
    *[f"method:{code}" for code in ("21", "2A", "25", "82", "-")],
]


def test_k1_what_is_a_transfer_signal(follow: Follow) -> None:
    spells = "person spell start end destination source method\n"
    for case in ONE_STAY + TWO_STAYS:
        name, code = case.split(":")
        said = {"destination": "19", "source": "19", "method": "21"} | {name: code}
        spells += f"{case} {case}-a 2018-01-01 2018-01-10 {said['destination']} 19 21\n"
        spells += f"{case} {case}-b 2018-01-13 2018-01-20 19 {said['source']} {said['method']}\n"
    stays = follow(spells).found["stays"]
    assert {stay["person_id"] for stay in stays if stay["n_spells"] == 2} == set(ONE_STAY)
    assert {stay["person_id"] for stay in stays if stay["n_spells"] == 1} == set(TWO_STAYS)


def test_k1_the_signal_must_come_from_the_spell_that_ends_last(follow: Follow) -> None:
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  19
        b      2018-01-02  2018-01-05  53
        c      2018-01-13  2018-01-20  19
    """).stays("""
        start_date  end_date    n_spells
        2018-01-01  2018-01-10  2
        2018-01-13  2018-01-20  1
    """)


def test_k1_overlapping_spells_join_and_the_latest_end_counts(follow: Follow) -> None:
    follow("""
        spell  start       end         provider
        a      2018-01-01  2018-02-10  RAA
        b      2018-01-05  2018-01-20  RBB
        c      2018-02-11  2018-02-12  RAA
    """).stays("""
        start_date  end_date    n_spells  trust
        2018-01-01  2018-02-12  3         RAA
    """)


def test_k1_people_are_not_linked_to_each_other(follow: Follow) -> None:
    follow("""
        person  spell  start       end
        p       a      2018-01-01  2018-01-10
        q       b      2018-01-11  2018-01-20
    """).stays("""
        person_id  start_date  end_date    n_spells
        p          2018-01-01  2018-01-10  1
        q          2018-01-11  2018-01-20  1
    """)


def test_k1_the_gap_is_a_choice_of_the_protocol(follow: Follow) -> None:
    next_day = """
        spell  start       end
        a      2018-01-01  2018-01-10
        b      2018-01-11  2018-01-20
    """
    follow(next_day, eligibility={"link_gap_days": 0, "transfer_gap_days": 3}).stays("""
        start_date  end_date
        2018-01-01  2018-01-10
        2018-01-11  2018-01-20
    """)


# K2: what is no admission


def test_k2_a_stay_that_ends_the_day_it_starts_is_zero_day(follow: Follow) -> None:
    follow("""
        spell  start       end
        a      2018-01-01  2018-01-01
        b      2018-02-01  2018-02-02
    """).stays("""
        start_date  is_zero_day  los_days
        2018-01-01  true         0
        2018-02-01  false        1
    """)


def test_k2_two_zero_day_spells_a_day_apart_are_not_a_zero_day_stay(follow: Follow) -> None:
    follow("""
        spell  start       end
        a      2018-01-01  2018-01-01
        b      2018-01-02  2018-01-02
    """).stays("""
        start_date  end_date    is_zero_day
        2018-01-01  2018-01-02  false
    """)


@pytest.mark.parametrize(
    ("end", "first", "second", "expected"),
    [
        ("2018-01-02", "20", "20", "true"),
        ("2018-01-02", "19", "20", "true"),
        ("2018-01-03", "20", "20", "false"),  # longer than a day
        ("2018-01-02", "20", "02", "false"),  # detained as well
        ("2018-01-02", "20", "-", "false"),  # an unknown status is not a place of safety
    ],
)
def test_k2_place_of_safety_only(follow: Follow, end: str, first: str, second: str, expected: str) -> None:
    follow(
        f"""
        spell  start       end
        a      2018-01-01  {end}
        """,
        legal_period=f"""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          {first}     2018-01-01  2018-01-02
        e2          1          {second}    2018-01-02  2018-01-09
        """,
    ).stays(f"""
        start_date  is_place_of_safety_only
        2018-01-01  {expected}
    """)


def test_k2_periods_of_other_days_say_nothing(follow: Follow) -> None:
    follow(
        """
        spell  start       end
        a      2018-01-01  2018-01-02
        b      2018-03-01  2018-03-02
        """,
        legal_period="""
        episode_id  period_id  legal_code  start_date  end_date
        e1          1          20          2018-01-02  2018-01-02
        e2          1          02          2018-01-03  2018-01-09
        e3          1          20          2018-03-03  2018-03-03
        """,
    ).stays("""
        start_date  is_place_of_safety_only
        2018-01-01  true
        2018-03-01  false
    """)


def test_k2_of_a_period_the_latest_month_counts(follow: Follow) -> None:
    follow(
        """
        spell  start       end
        a      2018-01-01  2018-01-02
        """,
        legal_period="""
        month    episode_id  period_id  legal_code  start_date  end_date
        2018-02  e1          1          20          2018-01-01  2018-01-02
        2018-01  e1          1          02          2018-01-01  -
        """,
    ).stays("""
        start_date  is_place_of_safety_only
        2018-01-01  true
    """)
