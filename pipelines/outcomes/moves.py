"""Closed referrals become the days on which people moved out of the area of a trust.

Choice made: a person is lost on the day on which a referral was closed for that reason (ReferClosReason of MHS101 or of
its teams in MHS102), in the latest month it was sent, by the trust of the index stay or a code it became; another
trust's closing may mean that they moved towards this one. Nothing that is seen of them later changes it: those who
are seen again are those who came back or were admitted, and to keep them for that would choose people by outcome.
"""

from collections.abc import Mapping

import polars as pl

from pipelines.contacts import latest_teams
from pipelines.extract import ExtractFacts
from pipelines.protocol import FollowUp
from pipelines.stays import latest

MOVED = "moved_away"
MOVE_SCHEMA = {"person_id": pl.String, "provider_id": pl.String, "moved_date": pl.Date}
REFERRAL = ["person_id", "referral_id"]


def closed_referrals(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """REFERRAL, provider_id, closed_date, closure_reason_code (null where none was given) of every referral that is
    closed, and of every team's part of one; a team without a day of its own left with the referral."""
    columns = [*REFERRAL, "provider_id", "closed_date", "closure_reason_code"]
    referral = latest(tables["referral"], REFERRAL)
    day = referral.select(*REFERRAL, of_referral="closed_date")
    team = latest_teams(tables["referral_team"]).join(day, on=REFERRAL, how="left")
    team = team.with_columns(closed_date=pl.coalesce("closed_date", "of_referral"))
    return pl.concat([referral.select(columns), team.select(columns)]).drop_nulls("closed_date")


def find_moves(tables: Mapping[str, pl.DataFrame], follow_up: FollowUp) -> pl.DataFrame:
    """MOVE_SCHEMA: the closings with a code of `follow_up.moved_away_codes`; none where moves do not end observation.

    Args:
        tables: `referral` and `referral_team` of some people.
    """
    if MOVED not in follow_up.censor_at:
        return pl.DataFrame(schema=MOVE_SCHEMA)
    closed = closed_referrals(tables).filter(pl.col("closure_reason_code").is_in(follow_up.moved_away_codes))
    return closed.select("person_id", "provider_id", moved_date="closed_date").unique()


def first_move(index: pl.DataFrame, moves: pl.DataFrame, facts: ExtractFacts) -> pl.Series:
    """The first day, from time zero on, of a move away from the trust of each index row (person_id, index_date,
    provider_id), in order; null without one."""
    trust = pl.col("provider_id").replace(facts.final_code)
    rows = index.select("person_id", "index_date", trust=trust).with_row_index("place")
    later = (
        rows.join(moves.select("person_id", "moved_date", trust=trust), on=["person_id", "trust"])
        .filter(pl.col("moved_date") >= pl.col("index_date"))
        .group_by("place")
        .agg(pl.col("moved_date").min())
    )
    return rows.join(later, on="place", how="left", maintain_order="left")["moved_date"]
