"""Care contacts, each once, and the teams they belong to (DOMAIN B6, B7, K14): what covariates and outcomes share.

Choice made: a contact belongs to a team when the team was on its referral in the same month's record (K14); a contact
that was sent for several months counts as it was last sent, one without an id as often as it was sent.
"""

import polars as pl

from pipelines.stays import latest

ATTENDED = ["5", "6"]
DID_NOT_ATTEND = ["3"]
CRISIS_TEAMS = ["A02", "A03", "A04"]
LIAISON_TEAMS = ["A11"]
OF_REFERRAL = ["person_id", "record_id", "referral_id"]


def contacts_with(contact: pl.DataFrame, attendance_codes: list[str]) -> pl.DataFrame:
    """The canonical rows of contacts with one of the attendance codes, each contact once."""
    has_id = pl.col("contact_id").is_not_null()
    once = pl.concat([latest(contact.filter(has_id), ["person_id", "contact_id"]), contact.filter(~has_id)])
    return once.filter(pl.col("attendance_code").is_in(attendance_codes))


def attended_or_missed(contact: pl.DataFrame, attendance_codes: list[str]) -> pl.DataFrame:
    """person_id, event_date of contacts with one of the attendance codes, each contact once."""
    return contacts_with(contact, attendance_codes).select("person_id", event_date="contact_date")


def team_contacts(
    contact: pl.DataFrame,
    referral_team: pl.DataFrame,
    team_types: list[str],
    attendance_codes: list[str] = ATTENDED,
) -> pl.DataFrame:
    """person_id, event_date of such contacts of referrals to a team of one of the types, each contact once."""
    referrals = referrals_to(referral_team, team_types)
    of_teams = contacts_with(contact, attendance_codes).join(
        referrals, on=OF_REFERRAL, how="semi", maintain_order="left"
    )
    return of_teams.select("person_id", event_date="contact_date")


def referrals_to(referral_team: pl.DataFrame, team_types: list[str]) -> pl.DataFrame:
    """OF_REFERRAL of referrals to a team of one of the types, each once for every month's record."""
    return teams_of_referrals(referral_team.filter(pl.col("team_type_code").is_in(team_types))).select(OF_REFERRAL)


def teams_of_referrals(referral_team: pl.DataFrame) -> pl.DataFrame:
    """OF_REFERRAL and team_type_code, each type once for a referral in a month's record."""
    return referral_team.select(*OF_REFERRAL, "team_type_code").drop_nulls().unique()


def latest_teams(referral_team: pl.DataFrame) -> pl.DataFrame:
    """Each team of a referral as it was last sent; without an id a team is known by its type."""
    type_without_id = pl.when(pl.col("team_id").is_null()).then("team_type_code")
    known = referral_team.with_columns(type_without_id=type_without_id)
    return latest(known, ["person_id", "referral_id", "team_id", "type_without_id"]).drop("type_without_id")
