"""Canonical tables and stays become dated events of a person: what outcomes count (DOMAIN B6, B7, K11, K14).

Choice made: a crisis episode is a referral to a crisis team (DOMAIN J), from the day it was received until it or its
teams closed. Which contacts are a team's is said in pipelines/contacts.py.
"""

from collections.abc import Iterable, Mapping

import polars as pl

from pipelines.contacts import (
    ATTENDED,
    CRISIS_TEAMS,
    DID_NOT_ATTEND,
    LIAISON_TEAMS,
    attended_or_missed,
    latest_teams,
    team_contacts,
)
from pipelines.emergency import emergency_attendances, mental_health_attendances
from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts, Span
from pipelines.outcomes.seen import Events
from pipelines.stays import latest


def events_of(
    stays: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    facts: ExtractFacts,
    law_reach: Span | None,
) -> Events:
    """Every kind of event that outcomes count: person_id, event_date, and more of readmissions and episodes. An event
    that a missing table cannot show is not there; seen.is_covered tells where that means something.

    Args:
        law_reach: first and last day over which the legal status of a stay is known; None where it never is.
    """
    contact, team, emergency = (tables[name] for name in ("contact", "referral_team", "emergency_attendance"))
    episodes = crisis_episodes(tables["referral"], team, facts)
    return {
        "readmission": _readmissions(stays, law_reach, facts.gaps_of("legal_period")),
        "missed": attended_or_missed(contact, DID_NOT_ATTEND),
        "attended": attended_or_missed(contact, ATTENDED),
        "crisis_contact": team_contacts(contact, team, CRISIS_TEAMS),
        "liaison_contact": team_contacts(contact, team, LIAISON_TEAMS),
        "crisis_episode": episodes,
        "crisis_start": episodes,
        "emergency": emergency_attendances(emergency),
        "mental_health_emergency": mental_health_attendances(emergency),
    }


def _readmissions(stays: pl.DataFrame, law_reach: Span | None, law_gaps: Iterable[Span]) -> pl.DataFrame:
    """Stays as events with their end, kind where the law's records cover their start, and length where they ended for
    certain."""
    ended = pl.col("end_reason").is_in(["discharge", "death"])
    is_told = pl.col("start_date").is_between(*law_reach) if law_reach else pl.lit(False)
    for gap in law_gaps:
        is_told &= ~pl.col("start_date").is_between(*gap)
    return stays.select(
        "person_id",
        event_date="start_date",
        until_date="end_date",
        is_formal=pl.when(is_told).then("is_detained_on_admission"),
        los_days=pl.when(ended).then("los_days"),
    )


def crisis_episodes(referral: pl.DataFrame, referral_team: pl.DataFrame, facts: ExtractFacts) -> pl.DataFrame:
    """person_id, event_date, until_date (null while open) of referrals to a crisis team. One that was rejected, as a
    whole or by each such team, is none.

    An episode ends when the referral or the last of its crisis teams closed; one that stopped arriving without an end,
    with its last month. A closing before the referral was received is no closing.
    """
    key = ["person_id", "referral_id"]
    received = latest(referral, key).filter(pl.col("received_date").is_not_null() & pl.col("rejected_date").is_null())
    crisis = referral_team.filter(pl.col("team_type_code").is_in(CRISIS_TEAMS))
    teams = (
        latest_teams(crisis)
        .filter(pl.col("rejected_date").is_null())
        .select(*key, team_closed="closed_date")
        .join(received.select(*key, "received_date"), on=key)
        .with_columns(
            pl.when(pl.col("team_closed") >= pl.col("received_date")).then("team_closed").alias("team_closed")
        )
        .group_by(key)
        .agg(all_left=pl.when(pl.col("team_closed").is_not_null().all()).then(pl.col("team_closed").max()))
    )
    closed = pl.when(pl.col("closed_date") >= pl.col("received_date")).then("closed_date")
    stopped = pl.when(pl.col("month_id") < facts.last_month_id).then(
        pl.max_horizontal(LAST_DAY_OF_MONTH_ID, "received_date")
    )
    return received.join(teams, on=key).select(
        "person_id",
        event_date="received_date",
        until_date=pl.coalesce(pl.min_horizontal(closed, "all_left"), stopped),
    )
