"""What ends observation: silence, the end of the data, death (DOMAIN I15, K12, K15), one rule per test."""

from typing import Any

import pytest

from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import Follow


def test_k12_the_end_of_the_data(follow: Follow) -> None:
    answer = follow(ELIGIBLE, period_end="2017-06-30")
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
    follow(ELIGIBLE, period_end=period_end).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_k12_a_provider_that_stops_for_good_ends_observation_with_its_last_month(follow: Follow) -> None:
    follow(
        ELIGIBLE,
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
        ELIGIBLE,
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
        ELIGIBLE,
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
        ELIGIBLE,
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
        ELIGIBLE,
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


def crowd(usual: int, other: dict[str, int], first: str = "2014-12", last: str = "2020-03") -> str:
    """The eligible person, and people who lie in hospital: `usual` spells in each month of RAA, but for the `other`."""
    months = [f"{year}-{month:02d}" for year in range(2014, 2021) for month in range(1, 13)]
    rows = [
        f"crowd{number}  in{number}  2014-12-01  -  20  RAA  {month}"
        for month in months
        if first <= month <= last
        for number in range(other.get(month, usual))
    ]
    mine = [f"p {line} -" for line in ELIGIBLE.strip().splitlines()[1:]]
    return "\n".join(["person spell start end ward provider month", *mine, *rows])


@pytest.mark.parametrize(
    ("month", "sent", "censored_day"),
    [
        ("2017-06", 1, "61"),  # 1 of 4: until 31 May, as if it had not been submitted
        ("2017-06", 2, "-"),  # half of the median is not fewer than half
        ("2017-06", 0, "61"),  # a header without a spell
        ("2018-04", 1, "-"),  # after the year
        ("2017-02", 1, "-"),  # before the discharge
        ("2017-03", 0, "-"),  # the month of the discharge was seen: it holds the person's own spell
    ],
)
def test_i15_a_month_with_fewer_than_half_of_the_usual_spells_was_not_submitted(
    follow: Follow, month: str, sent: int, censored_day: str
) -> None:
    follow(crowd(4, {month: sent}), follow_up={"silence_chance": 1, "silence_minimum_spells": 4}).outcomes(f"""
        censored_day
        {censored_day}
    """)


@pytest.mark.parametrize(
    ("rule", "censored_day"),
    [
        ({"silence_chance": 1, "silence_minimum_spells": 4}, "61"),
        ({"silence_chance": 1, "silence_minimum_spells": 5}, "-"),  # a median of 4 is too small to tell
        ({}, "-"),  # of 4, chance leaves 1 or none once in 11 months (Poisson)
        ({"silence_chance": 1, "silence_minimum_spells": 1, "silence_below": 0.2}, "-"),
        ({"silence_chance": 1, "silence_minimum_spells": 1, "silence_below": 0.0}, "-"),
        ({"silence_chance": 1, "silence_minimum_spells": 1, "censor_at": ["end_of_data"]}, "-"),
    ],
)
def test_i15_the_rule_is_for_providers_large_enough_and_can_be_switched_off(
    follow: Follow, rule: dict[str, Any], censored_day: str
) -> None:
    follow(crowd(4, {"2017-06": 1}), follow_up=rule).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_i15_the_same_spell_sent_twice_in_a_month_counts_once(follow: Follow) -> None:
    again = "\n".join(["crowd0  in0  2014-12-01  -  20  RAA  2017-06"] * 3)
    follow(
        f"{crowd(4, {'2017-06': 1})}\n{again}", follow_up={"silence_chance": 1, "silence_minimum_spells": 4}
    ).outcomes("""
        censored_day
        61
    """)


def test_i15_the_median_is_that_of_the_months_submitted(follow: Follow) -> None:
    # Nothing came in 40 of 64 months: the 24 months that did come hold 4 spells each, but one.
    follow(
        crowd(4, {"2017-06": 1}, last="2018-04"),
        silent="""
        provider  from     until
        RAA       2018-05  2020-03
        RAA       2014-12  2016-04
        """,
        follow_up={"silence_chance": 1, "silence_minimum_spells": 4},
    ).outcomes("""
        censored_day
        61
    """)


def test_i15_k12_the_successor_of_a_fading_provider_goes_on_for_it(follow: Follow) -> None:
    # RAA hands its spells to RBB in June; RBB has 4 spells a month from then on, and none before.
    moved = crowd(4, {}, first="2017-06").replace("RAA", "RBB")
    crowd_of_successor = "\n".join(moved.splitlines()[3:])
    spells = f"{crowd(4, {'2017-06': 1}, last='2017-06')}\n{crowd_of_successor}"
    rule: dict[str, Any] = {"silence_chance": 1, "silence_minimum_spells": 4}
    gone = """
        provider  from     until
        RAA       2017-07  2020-03
        RBB       2014-12  2017-05
    """
    answer = follow(spells, silent=gone, mergers="old new\nRAA RBB", follow_up=rule)
    answer.outcomes("""
        censored_day
        -
    """)
    follow(spells, silent=gone, follow_up=rule).outcomes("""
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


@pytest.mark.parametrize(
    ("died", "died_day"),
    [("2017-04-01", "1"), ("2018-03-31", "365"), ("2018-04-01", "-"), ("-", "-")],
)
def test_k15_day_of_death(follow: Follow, died: str, died_day: str) -> None:
    follow(
        ELIGIBLE,
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
        ELIGIBLE,
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
        ELIGIBLE,
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


# moving away

MOVED: dict[str, Any] = {"follow_up": {"censor_at": ["end_of_data", "moved_away"], "moved_away_codes": ["03", "91"]}}


def closed(*rows: str) -> str:
    """Referrals by their closing: provider, day, reason; each row another referral."""
    lines = [f"r{number} {row}" for number, row in enumerate(rows)]
    return "\n".join(["referral_id provider_id closed_date closure_reason_code", *lines])


def test_who_moved_away_was_observed_until_the_referral_closed(follow: Follow) -> None:
    follow(ELIGIBLE, referral=closed("RAA 2017-06-30 03"), **MOVED).outcomes("""
        censored_day  readmitted_365d  readmitted_90d  n_readmissions_365d  days_alive_out_of_hospital_365d
        91            -                false           -                    -
    """)


@pytest.mark.parametrize(
    ("row", "censored_day"),
    [
        ("RAA 2017-06-30 91", "91"),  # another of the codes
        ("RAA 2017-06-30 02", "-"),  # another reason
        ("RAA 2017-06-30 -", "-"),  # no reason
        ("RAA - 03", "-"),  # no day
        ("RAA 2017-03-31 03", "0"),  # on the day of discharge
        ("RAA 2017-03-30 03", "-"),  # before it: back again
        ("RAA 2018-03-30 03", "364"),
        ("RAA 2018-03-31 03", "-"),  # after the year
        ("RBB 2017-06-30 03", "-"),  # away from another trust, perhaps to this one
    ],
)
def test_which_closings_are_a_move(follow: Follow, row: str, censored_day: str) -> None:
    follow(ELIGIBLE, referral=closed(row), **MOVED).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_the_first_move_counts(follow: Follow) -> None:
    referral = closed("RAA 2017-09-30 03", "RAA 2016-12-01 03", "RAA 2017-06-30 03")
    follow(ELIGIBLE, referral=referral, **MOVED).outcomes("""
        censored_day
        91
    """)


def test_moves_end_nothing_unless_the_protocol_says_so(follow: Follow) -> None:
    follow(ELIGIBLE, referral=closed("RAA 2017-06-30 03")).outcomes("""
        censored_day
        -
    """)


def test_a_trust_under_another_code_is_the_same_trust(follow: Follow) -> None:
    follow(ELIGIBLE, referral=closed("RBB 2017-06-30 03"), mergers="old new\nRAA RBB", **MOVED).outcomes("""
        censored_day
        91
    """)


def test_a_closing_that_was_corrected_is_no_move(follow: Follow) -> None:
    referral = """
        referral_id  closed_date  closure_reason_code  month
        r1           2017-06-30   03                   2017-06
        r1           2017-06-30   02                   2017-07
    """
    follow(ELIGIBLE, referral=referral, **MOVED).outcomes("""
        censored_day
        -
    """)


def test_a_team_says_why_and_leaves_with_its_referral(follow: Follow) -> None:
    referral = """
        referral_id  closed_date
        r1           2017-06-30
        r2           2017-05-31
        r3           2017-05-01
    """
    team = """
        referral_id  team_id  closed_date  closure_reason_code
        r1           one      -            03
        r2           one      2017-07-31   03
        r3           two      -            02
    """
    follow(ELIGIBLE, referral=referral, referral_team=team, **MOVED).outcomes("""
        censored_day
        91
    """)


def test_being_readmitted_after_a_move_changes_nothing(follow: Follow) -> None:
    # To keep those who are seen again would keep them for having been admitted.
    again = readmitted("2017-08-01", "2017-08-20")
    answer = follow(again, referral=closed("RAA 2017-06-30 03"), **(FIRST | MOVED))
    answer.outcomes("""
        censored_day  readmitted_365d  days_to_readmission  n_readmissions_365d
        91            -                -                    -
    """)


def test_what_was_seen_up_to_the_day_of_the_move_is_known(follow: Follow) -> None:
    again = readmitted("2017-06-30", "2017-07-20")
    answer = follow(again, referral=closed("RAA 2017-06-30 03"), **(FIRST | MOVED))
    answer.outcomes("""
        censored_day  readmitted_365d  days_to_readmission  n_readmissions_365d
        91            true             91                   -
    """)


def test_a_death_before_the_move_leaves_nothing_open(follow: Follow) -> None:
    death = "death_date\n2017-06-01"
    follow(ELIGIBLE, referral=closed("RAA 2017-06-30 03"), death=death, **MOVED).outcomes("""
        died_day  readmitted_365d  n_readmissions_365d
        62        false            0
    """)


# observation periods (OMOP)

IN_PERIODS: dict[str, Any] = {"follow_up": {"censor_at": ["end_of_data", "observation_period"]}}


def periods(*spans: str) -> str:
    """Observation periods: first and last day."""
    return "\n".join(["start_date end_date", *spans])


@pytest.mark.parametrize(
    ("spans", "censored_day"),
    [
        (["2010-01-01 2017-06-30"], "91"),
        (["2010-01-01 2018-03-31"], "-"),  # to the year's end
        (["2010-01-01 2017-03-31"], "0"),  # to the day of discharge
        (["2010-01-01 2017-03-30", "2017-05-01 2019-12-31"], "0"),  # nobody would have been seen on it
        (["2010-01-01 2017-06-30", "2017-07-01 2017-07-31"], "122"),  # without a day between them
        (["2010-01-01 2017-06-30", "2017-07-02 2019-12-31"], "91"),  # with one
        (["2010-01-01 2017-06-30", "2016-01-01 2016-12-31"], "91"),  # one within another
    ],
)
def test_observation_ends_with_the_period_that_holds_time_zero(
    follow: Follow, spans: list[str], censored_day: str
) -> None:
    follow(ELIGIBLE, observation_period=periods(*spans), **IN_PERIODS).outcomes(f"""
        censored_day
        {censored_day}
    """)


def test_an_observation_period_ends_nothing_unless_the_protocol_says_so(follow: Follow) -> None:
    follow(ELIGIBLE, observation_period=periods("2010-01-01 2017-06-30")).outcomes("""
        censored_day
        -
    """)
