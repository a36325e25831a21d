"""One short function for each family of outcomes (pipelines/outcome_registry.py), named as the family is.

Each takes what was seen in a window (seen.Seen) and gives a value per index row, in order; null is unknown.
"""

import polars as pl

from pipelines.outcomes.seen import Events, Seen, where

WHOLE_FOLLOW_UP = 10_000  # days; events end with follow-up


def describe_first_readmission(rows: pl.DataFrame, events: Events) -> list[pl.Series]:
    """Day, kind and whole length of the first readmission, null for people who were not readmitted."""
    seen = Seen(WHOLE_FOLLOW_UP, rows, events)
    return [
        seen.first("readmission", "day").alias("days_to_readmission"),
        seen.first("readmission", "is_formal").alias("is_first_readmission_formal"),
        seen.first("readmission", "los_days").alias("first_readmission_los_days"),
    ]


def readmitted(seen: Seen) -> pl.Series:
    """Whether anybody came back (K11)."""
    return seen.happened(seen.first("readmission", "day").is_not_null())


def n_readmissions(seen: Seen) -> pl.Series:
    """Readmissions begun."""
    return seen.count("readmission")


def readmission_free_days(seen: Seen) -> pl.Series:
    """Day of the first readmission, else of death, else the window's length."""
    day = seen.first("readmission", "day")
    return day.zip_with(day.is_not_null(), seen.known(seen.last_day))


def is_formally_readmitted(seen: Seen) -> pl.Series:
    """Whether the first readmission was formal (K13)."""
    return _first_readmission_was(seen, is_formal=True)


def is_informally_readmitted(seen: Seen) -> pl.Series:
    """Whether the first readmission was informal (K13)."""
    return _first_readmission_was(seen, is_formal=False)


def _first_readmission_was(seen: Seen, *, is_formal: bool) -> pl.Series:
    came_back = seen.first("readmission", "day").is_not_null()
    formal = seen.first("readmission", "is_formal")
    return (formal == is_formal).zip_with(came_back, seen.happened(pl.repeat(False, formal.len(), eager=True)))


def days_in_hospital(seen: Seen) -> pl.Series:
    """Days of all readmission stays inside the window."""
    return seen.total("readmission", _days_inside(seen))


def days_alive_out_of_hospital(seen: Seen) -> pl.Series:
    """Days until death or the window's end that no readmission stay took."""
    return seen.known(seen.last_day) - days_in_hospital(seen)


def days_in_first_readmission(seen: Seen) -> pl.Series:
    """Days of the first readmission stay inside the window."""
    return seen.total("readmission", _days_inside(seen).head(1))


def _days_inside(seen: Seen) -> pl.Expr:
    return pl.min_horizontal("until_day", "last_day", pl.lit(seen.days)) - pl.col("day")


def n_dna(seen: Seen) -> pl.Series:
    """Missed appointments (B7)."""
    return seen.count("missed")


def n_attended(seen: Seen) -> pl.Series:
    """Attended contacts (B7)."""
    return seen.count("attended")


def dna_rate(seen: Seen) -> pl.Series:
    """Missed appointments in missed and attended ones; null without any (B7)."""
    missed = seen.count("missed")
    kept = missed + seen.count("attended")
    return where(kept > 0, missed / kept)


def n_crht(seen: Seen) -> pl.Series:
    """Attended contacts with a crisis team (K14)."""
    return seen.count("crisis_contact")


def n_crht_episodes(seen: Seen) -> pl.Series:
    """Referrals to a crisis team open in the window."""
    return seen.count("crisis_episode")


def n_crht_starts(seen: Seen) -> pl.Series:
    """Referrals to a crisis team received in the window."""
    return seen.count("crisis_start")


def n_liaison(seen: Seen) -> pl.Series:
    """Attended contacts with psychiatric liaison (B6)."""
    return seen.count("liaison_contact")


def n_ed(seen: Seen) -> pl.Series:
    """Emergency attendances (K14)."""
    return seen.count("emergency")


def n_mh_ed(seen: Seen) -> pl.Series:
    """Emergency attendances for mental health (C2)."""
    return seen.count("mental_health_emergency")


def died(seen: Seen) -> pl.Series:
    """Whether a death in the window was observed (K15)."""
    until = pl.min_horizontal("censored_day", pl.lit(seen.days))
    return seen.happened(seen.rows.select(pl.col("died_day") <= until).to_series())
