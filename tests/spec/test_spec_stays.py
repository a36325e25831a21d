"""How raw spells become continuous stays (DOMAIN K1, K2, K4-K7), one rule per test."""

import pytest


# K1: linking


def test_k1_spells_at_most_one_day_apart_are_one_stay(follow):
    follow("""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-11  2018-01-20  10
        c      2018-01-20  2018-01-25  10
    """).stays("""
        start_date  end_date    n_spells  los_days
        2018-01-01  2018-01-25  3         24
    """)


def test_k1_spells_two_days_apart_are_two_stays(follow):
    follow("""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-12  2018-01-20  10
    """).stays("""
        start_date  end_date    n_spells
        2018-01-01  2018-01-10  1
        2018-01-12  2018-01-20  1
    """)


def test_k1_days_between_linked_spells_count_as_days_in_hospital(follow):
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  53
        b      2018-01-13  2018-01-20  19
    """).stays("""
        start_date  end_date    n_spells  los_days
        2018-01-01  2018-01-20  2         19
    """)


def test_k1_a_transfer_links_over_three_days_but_not_four(follow):
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  53
        b      2018-01-14  2018-01-20  19
    """).stays("""
        start_date  end_date
        2018-01-01  2018-01-10
        2018-01-14  2018-01-20
    """)


@pytest.mark.parametrize(
    ("destination", "source", "method", "n_stays"),
    [
        ("19", "19", "21", 2),
        *[(code, "19", "21", 1) for code in ("48", "49", "50", "51", "52", "53", "84", "87")],
        *[(code, "19", "21", 2) for code in ("29", "30", "54", "79", "88", "-")],
        *[("19", code, "21", 1) for code in ("49", "51", "52", "53", "87")],
        *[("19", code, "21", 2) for code in ("48", "50", "84", "-")],  # signals of a destination, not of a source
        *[("19", "19", code, 1) for code in ("2B", "81")],
        *[("19", "19", code, 2) for code in ("2A", "25", "82", "-")],
    ],
)
def test_k1_what_is_a_transfer_signal(follow, destination, source, method, n_stays):
    answer = follow(f"""
        spell  start       end         destination    source    method
        a      2018-01-01  2018-01-10  {destination}  19        21
        b      2018-01-13  2018-01-20  19             {source}  {method}
    """)
    assert len(answer.found["stays"]) == n_stays


def test_k1_the_signal_must_come_from_the_spell_that_ends_last(follow):
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


def test_k1_overlapping_spells_join_and_the_latest_end_counts(follow):
    follow("""
        spell  start       end         provider
        a      2018-01-01  2018-02-10  RAA
        b      2018-01-05  2018-01-20  RBB
        c      2018-02-11  2018-02-12  RAA
    """).stays("""
        start_date  end_date    n_spells  trust
        2018-01-01  2018-02-12  3         RAA
    """)


def test_k1_people_are_not_linked_to_each_other(follow):
    follow("""
        person  spell  start       end
        p       a      2018-01-01  2018-01-10
        q       b      2018-01-11  2018-01-20
    """).stays("""
        person_id  start_date  end_date    n_spells
        p          2018-01-01  2018-01-10  1
        q          2018-01-11  2018-01-20  1
    """)


def test_k1_the_gap_is_a_choice_of_the_protocol(follow):
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


def test_k2_a_stay_that_ends_the_day_it_starts_is_zero_day(follow):
    follow("""
        spell  start       end
        a      2018-01-01  2018-01-01
        b      2018-02-01  2018-02-02
    """).stays("""
        start_date  is_zero_day  los_days
        2018-01-01  true         0
        2018-02-01  false        1
    """)


def test_k2_two_zero_day_spells_a_day_apart_are_not_a_zero_day_stay(follow):
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
def test_k2_place_of_safety_only(follow, end, first, second, expected):
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


def test_k2_periods_of_other_days_say_nothing(follow):
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


def test_k2_of_a_period_the_latest_month_counts(follow):
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
def test_k4_bed_classes(follow, wards, is_acute, is_adult):
    follow(f"""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  {wards}
    """).stays(f"""
        start_date  is_acute    is_adult
        2018-01-01  {is_acute}  {is_adult}
    """)


def test_k4_any_ward_of_the_whole_stay_counts(follow):
    follow("""
        spell  start       end         ward
        a      2018-01-01  2018-01-10  10
        b      2018-01-10  2018-01-30  17
    """).stays("""
        start_date  is_acute
        2018-01-01  true
    """)


def test_k4_in_the_variant_only_the_last_ward_with_a_class_counts(follow):
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


def test_k4_of_a_ward_stay_the_latest_month_counts(follow):
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


def test_k5_open_inactive_and_ended_stays(follow):
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
def test_k5_death_in_hospital(follow, method, destination, reason):
    follow(f"""
        spell  start       end         discharge_method  destination
        a      2018-01-01  2018-01-10  {method}          {destination}
    """).stays(f"""
        end_date    end_reason
        2018-01-10  {reason}
    """)


@pytest.mark.parametrize(("died", "reason"), [("2018-01-10", "death"), ("2018-01-11", "discharge")])
def test_k5_a_registered_death_by_the_last_day_is_death_in_hospital(follow, died, reason):
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


def test_k5_only_the_last_spell_says_how_the_stay_ended(follow):
    follow("""
        spell  start       end         destination
        a      2018-01-01  2018-01-10  79
        b      2018-01-10  2018-01-20  19
    """).stays("""
        end_date    end_reason  n_spells
        2018-01-20  discharge   2
    """)


def test_k5_the_trust_is_the_last_provider_under_its_final_code(follow):
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


# K6: repaired dates


def test_k6_the_latest_month_of_a_spell_wins(follow):
    follow("""
        spell  month    start       end
        a      2018-03  2018-01-02  2018-03-10
        a      2018-01  2018-01-01  -
        a      2018-02  2018-01-01  2018-02-20
    """).stays("""
        start_date  end_date    n_spells
        2018-01-02  2018-03-10  1
    """)


def test_k6_in_one_month_the_later_row_wins(follow):
    follow("""
        spell  month    start       end
        a      2018-02  2018-01-01  2018-02-20
        a      2018-02  2018-01-01  2018-02-21
    """).stays("""
        end_date
        2018-02-21
    """)


@pytest.mark.parametrize("discharge", ["2017-12-31", "1900-01-01", "-"])
def test_k6_impossible_discharges_are_missing_and_the_stay_is_inactive(follow, discharge):
    follow(f"""
        spell  month    start       end
        a      2018-02  2018-01-01  {discharge}
    """).stays("""
        start_date  end_date    end_reason
        2018-01-01  2018-02-28  inactive
    """)


def test_k6_a_missing_discharge_is_the_end_of_the_last_ward(follow):
    follow(
        """
        spell  month    start       end
        a      2018-02  2018-01-01  -
        """,
        ward_stay="""
        month    spell_id  ward_stay_id  start_date  end_date
        2018-01  a         w1            2018-01-01  2018-01-15
        2018-02  a         w2            2018-01-15  2018-02-07
        """,
    ).stays("""
        end_date    end_reason
        2018-02-07  discharge
    """)


def test_k6_a_ward_that_has_not_ended_leaves_the_stay_inactive(follow):
    follow(
        """
        spell  month    start       end
        a      2018-02  2018-01-01  -
        """,
        ward_stay="""
        month    spell_id  ward_stay_id  start_date  end_date
        2018-01  a         w1            2018-01-01  2018-01-15
        2018-02  a         w2            2018-01-15  -
        """,
    ).stays("""
        end_date    end_reason
        2018-02-28  inactive
    """)


@pytest.mark.parametrize("ward_end", ["1900-01-01", "2018-01-14"])
def test_k6_impossible_ward_ends_are_missing(follow, ward_end):
    follow(
        """
        spell  month    start       end
        a      2018-02  2018-01-01  -
        """,
        ward_stay=f"""
        month    spell_id  ward_stay_id  start_date  end_date
        2018-02  a         w1            2018-01-15  {ward_end}
        """,
    ).stays("""
        end_date    end_reason
        2018-02-28  inactive
    """)


def test_k6_a_spell_still_submitted_is_open_whatever_its_wards_say(follow):
    follow(
        """
        spell  month    start       end
        a      2020-03  2018-01-01  -
        """,
        ward_stay="""
        month    spell_id  ward_stay_id  start_date  end_date
        2020-03  a         w1            2018-01-01  2018-01-15
        """,
    ).stays("""
        end_date  end_reason
        -         open
    """)


@pytest.mark.parametrize("start", ["1900-01-01", "1900-12-31", "-"])
def test_k6_a_missing_start_is_the_start_of_the_first_ward(follow, start):
    follow(
        f"""
        spell  start    end
        a      {start}  2018-02-20
        """,
        ward_stay="""
        spell_id  ward_stay_id  start_date  end_date
        a         w2            2018-01-15  2018-02-20
        a         w1            2018-01-03  2018-01-15
        a         w0            1900-01-01  2018-01-03
        """,
    ).stays("""
        start_date  end_date    end_reason
        2018-01-03  2018-02-20  discharge
    """)


def test_k6_the_discharge_is_held_against_the_repaired_start(follow):
    follow(
        """
        spell  month    start       end
        a      2018-03  1900-01-01  2018-01-02
        """,
        ward_stay="""
        spell_id  ward_stay_id  start_date  end_date
        a         w1            2018-01-03  -
        """,
    ).stays("""
        start_date  end_date    end_reason
        2018-01-03  2018-03-31  inactive
    """)


def test_k6_a_spell_without_any_start_cannot_be_used(follow):
    follow(
        """
        spell  start       end
        a      1900-01-01  2018-02-20
        b      2018-06-01  2018-06-20
        """,
        ward_stay="""
        spell_id  ward_stay_id  start_date  end_date
        a         w1            1900-01-01  2018-02-20
        """,
    ).stays("""
        start_date
        2018-06-01
    """)


def test_k6_nobody_with_a_usable_spell_is_an_empty_answer(follow):
    answer = follow("""
        spell  start  end
        a      -      2018-02-20
    """)
    assert answer.found == {"stays": [], "cohort": [], "outcomes": [], "excluded": []}


# K7: twins


def test_k7_one_spell_under_two_ids_counts_once_with_the_wards_of_both(follow):
    follow("""
        spell  month    start       end         ward  destination
        a      2018-02  2018-01-01  2018-01-20  10    53
        b      2018-01  2018-01-01  2018-01-20  17    79
    """).stays("""
        end_date    n_spells  end_reason  is_acute
        2018-01-20  1         discharge   true
    """)


def test_k7_twins_are_found_under_the_final_provider(follow):
    twins = """
        spell  provider  start       end
        a      RAA       2018-01-01  2018-01-20
        b      RBB       2018-01-01  2018-01-20
    """
    follow(twins).stays("""
        n_spells
        2
    """)
    merger = """
        old  new
        RAA  RBB
    """
    follow(twins, mergers=merger).stays("""
        n_spells
        1
    """)


def test_k7_another_end_is_another_spell(follow):
    follow("""
        spell  start       end
        a      2018-01-01  2018-01-20
        b      2018-01-01  2018-01-21
    """).stays("""
        end_date    n_spells
        2018-01-21  2
    """)


def test_k7_two_open_ids_are_one_spell(follow):
    follow("""
        spell  month    start       end
        a      2020-03  2018-01-01  -
        b      2020-03  2018-01-01  -
    """).stays("""
        end_date  n_spells  end_reason
        -         1         open
    """)
