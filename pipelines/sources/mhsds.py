"""MHSDS releases -> canonical tables: the two layouts, and the joins that a layout asks for.

In version 6 the type of a team stands in MHS902, keyed by team id, submission and month; a referral's main team is in
MHS101, its further teams in MHS102 (NHS England's pre-processing, DOMAIN B3). An MHS607 assessment has no date of its
own: it takes that of its care contact in the same record (DOMAIN B4).
"""

import polars as pl

from pipelines.sources.aliases import SourceTable, load_aliases
from pipelines.tables import TABLES, Column, Table

RELEASES = ("mhsds_v5", "mhsds_v6")
MANDATORY = ("submission", "person_month", "spell", "ward_stay")


def _detail(name: str, meaning: str, *columns: Column) -> Table:
    keys = (
        Column("month_id", "int", True, "UniqMonthID"),
        Column("submission_id", "id", True, "NHSEUniqSubmissionID"),
    )
    return Table(name, meaning, (*keys, *columns), by_person=False)


DETAILS = {
    table.name: table
    for table in (
        _detail(
            "team_detail",
            "Teams of a submission and their type (MHS902)",
            Column("team_id", "id", True, "UniqCareProfTeamLocalID"),
            Column("team_type_code", "code", False, "A02 crisis resolution, ..."),
        ),
        _detail(
            "ward_detail",
            "Wards of a submission (MHS903)",
            Column("ward_code", "id", True, "UniqWardCode"),
            Column("site_code", "code", False, "SiteIDOfWard"),
        ),
    )
}
_TEAM_KEY = ["team_id", "submission_id", "month_id"]


def layouts() -> tuple[SourceTable, ...]:
    """Every source table of both releases; version 5 first, so that it names the tables both share."""
    return tuple(table for name in RELEASES for table in load_aliases(name, TABLES | DETAILS))


def missing_details(chosen: list[SourceTable]) -> list[str]:
    """Problems of a version 6 extract whose referrals name teams that no file describes."""
    needs = any(any(column.column.name == "_submission_id" for column in layout.columns) for layout in chosen)
    if needs and all(layout.target.name != "team_detail" for layout in chosen):
        return ["no file of MHS902ServiceTeamDetails: version 6 referrals need it for the type of their teams"]
    return []


def list_teams(referral: pl.DataFrame, teams: pl.DataFrame, details: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """All teams of the referrals with their types, and how many rows stayed without a type.

    Args:
        referral: referrals; with `_main_team_id` and `_submission_id` where the layout is version 6.
        teams: referral_team rows; those of version 6 have `_submission_id` and no type yet.
        details: team_detail rows; a team with two types in one submission takes the first in code order.
    """
    main = _main_teams(referral)
    rows = pl.concat([teams, main], how="diagonal") if main.height else teams
    if "_submission_id" not in rows.columns:
        return rows, 0
    types = (
        details.group_by(_TEAM_KEY)
        .agg(_type=pl.col("team_type_code").min())
        .rename({"submission_id": "_submission_id"})
    )
    joined = rows.join(types, on=["team_id", "_submission_id", "month_id"], how="left", maintain_order="left")
    joined = joined.with_columns(team_type_code=pl.coalesce("team_type_code", "_type")).drop("_type")
    without = joined.filter(pl.col("_submission_id").is_not_null() & pl.col("team_type_code").is_null()).height
    return joined, without


def date_assessments(assessment: pl.DataFrame, contact: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Assessments made at a contact take its date (the earliest, should a record hold it twice); and how many of them
    stayed undated because the contact is not there."""
    if assessment.is_empty():
        return assessment, 0
    at_contact = pl.col("contact_id").is_not_null() & pl.col("assessment_date").is_null()
    dates = (
        contact.filter(pl.col("contact_id").is_not_null() & pl.col("record_id").is_not_null())
        .group_by("record_id", "contact_id")
        .agg(_contact_date=pl.col("contact_date").min())
    )
    joined = assessment.join(dates, on=["record_id", "contact_id"], how="left", maintain_order="left")
    dated = joined.with_columns(assessment_date=pl.coalesce("assessment_date", "_contact_date")).drop("_contact_date")
    return dated, dated.filter(at_contact).height


def _main_teams(referral: pl.DataFrame) -> pl.DataFrame:
    if "_main_team_id" not in referral.columns:
        return referral.clear()
    kept = [column.name for column in TABLES["referral_team"].columns if column.name != "team_type_code"]
    return (
        referral.filter(pl.col("_main_team_id").is_not_null())
        .with_columns(team_id=pl.col("_main_team_id"), team_type_code=pl.lit(None, pl.String))
        .select(*kept, "team_type_code", "_submission_id", "_file", "_line")
    )
