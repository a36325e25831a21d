"""How missing and impossible dates are repaired and twins are joined (DOMAIN K6, K7), one rule per test."""

import pytest

from tests.spec.text_tables import Follow

# K6: repaired dates


def test_k6_the_latest_month_of_a_spell_wins(follow: Follow) -> None:
    follow("""
        spell  month    start       end
        a      2018-03  2018-01-02  2018-03-10
        a      2018-01  2018-01-01  -
        a      2018-02  2018-01-01  2018-02-20
    """).stays("""
        start_date  end_date    n_spells
        2018-01-02  2018-03-10  1
    """)


def test_k6_in_one_month_the_later_row_wins(follow: Follow) -> None:
    follow("""
        spell  month    start       end
        a      2018-02  2018-01-01  2018-02-20
        a      2018-02  2018-01-01  2018-02-21
    """).stays("""
        end_date
        2018-02-21
    """)


@pytest.mark.parametrize("discharge", ["2017-12-31", "1900-01-01", "-"])
def test_k6_impossible_discharges_are_missing_and_the_stay_is_inactive(follow: Follow, discharge: str) -> None:
    follow(f"""
        spell  month    start       end
        a      2018-02  2018-01-01  {discharge}
    """).stays("""
        start_date  end_date    end_reason
        2018-01-01  2018-02-28  inactive
    """)


def test_k6_an_inactive_stay_does_not_end_before_it_starts(follow: Follow) -> None:
    # Submitted once, in the month before its own start.
    follow("""
        spell  month    start       end
        a      2018-02  2018-03-05  -
    """).stays("""
        start_date  end_date    end_reason
        2018-03-05  2018-03-05  inactive
    """)


def test_k6_a_missing_discharge_is_the_end_of_the_last_ward(follow: Follow) -> None:
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


def test_k6_a_ward_that_has_not_ended_leaves_the_stay_inactive(follow: Follow) -> None:
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
def test_k6_impossible_ward_ends_are_missing(follow: Follow, ward_end: str) -> None:
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


def test_k6_a_spell_still_submitted_is_open_whatever_its_wards_say(follow: Follow) -> None:
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


@pytest.mark.parametrize("start", ["1900-01-01", "1900-12-31", "1901-01-01", "-"])
def test_k6_a_missing_start_is_the_start_of_the_first_ward(follow: Follow, start: str) -> None:
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


def test_k6_the_discharge_is_held_against_the_repaired_start(follow: Follow) -> None:
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


def test_k6_a_spell_without_any_start_cannot_be_used(follow: Follow) -> None:
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


def test_k6_nobody_with_a_usable_spell_is_an_empty_answer(follow: Follow) -> None:
    answer = follow("""
        spell  start  end
        a      -      2018-02-20
    """)
    names = ["stays", "cohort", "outcomes", "observed", "readmissions", "excluded"]
    assert answer.found == {name: [] for name in names}


# K7: twins


def test_k7_one_spell_under_two_ids_counts_once_with_the_wards_of_both(follow: Follow) -> None:
    follow("""
        spell  month    start       end         ward  destination
        a      2018-02  2018-01-01  2018-01-20  10    53
        b      2018-01  2018-01-01  2018-01-20  17    79
    """).stays("""
        end_date    n_spells  end_reason  is_acute
        2018-01-20  1         discharge   true
    """)


def test_k7_twins_are_found_under_the_final_provider(follow: Follow) -> None:
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


def test_k7_another_end_is_another_spell(follow: Follow) -> None:
    follow("""
        spell  start       end
        a      2018-01-01  2018-01-20
        b      2018-01-01  2018-01-21
    """).stays("""
        end_date    n_spells
        2018-01-21  2
    """)


def test_k7_two_open_ids_are_one_spell_with_the_wards_of_both(follow: Follow) -> None:
    follow("""
        spell  month    start       end  ward
        a      2020-03  2018-01-01  -    10
        b      2020-03  2018-01-01  -    17
    """).stays("""
        end_date  n_spells  end_reason  is_acute
        -         1         open        true
    """)
