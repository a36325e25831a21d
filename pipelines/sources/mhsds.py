"""MHSDS releases -> canonical tables: the layouts, and the joins that a layout asks for.

In version 6 the type of a team stands in MHS902, keyed by team id, submission and month (by provider instead of the
submission where an extract has none); a referral's main team is in
MHS101, its further teams in MHS102; the site of a ward stands in MHS903 (NHS England's pre-processing, DOMAIN B3). An
MHS607 assessment and an MHS202 activity have no date of their own: they take that of their care contact in the same
record; the items of a cluster assessment (MHS802) take that of their MHS801 (DOMAIN B4).
"""

from collections import Counter
from collections.abc import Mapping
from functools import cache

import polars as pl

from pipelines.sources.aliases import SourceTable, load_aliases, read_side_by_side
from pipelines.sources.csv_files import Header
from pipelines.tables import MONTHLY, TABLES, Column, Table

RELEASES = ("mhsds_v5", "mhsds_v4", "mhsds_v6")
MANDATORY = ("person_month", "spell", "ward_stay")
SUBMISSION_KEY = (
    Column("month_id", "int", True, "UniqMonthID"),
    Column("submission_id", "id", True, "NHSEUniqSubmissionID"),
)
DETAIL_KEY = (
    Column("provider_id", "code", False, "OrgIDProv"),
    SUBMISSION_KEY[0],
    Column("submission_id", "id", False, "NHSEUniqSubmissionID"),
)
DETAILS = {
    table.name: table
    for table in (
        Table(
            "team_detail",
            "Teams of a submission and their type (MHS902)",
            (
                *DETAIL_KEY,
                Column("team_id", "id", True, "UniqCareProfTeamLocalID"),
                Column("team_type_code", "code", False, "A02 crisis resolution, ..."),
            ),
            by_person=False,
        ),
        Table(
            "ward_detail",
            "Wards of a submission (MHS903)",
            (
                *DETAIL_KEY,
                Column("ward_code", "id", True, "UniqWardCode"),
                Column("site_code", "code", False, "SiteIDOfWard"),
            ),
            by_person=False,
        ),
        Table(
            "submission_flag",
            "Which submission of a provider and month counts (MHSDS_SubmissionFlags)",
            (
                Column("provider_id", "code", True, "submitting organisation"),
                *SUBMISSION_KEY,
                Column("is_latest_code", "code", False, "Der_IsLatest: Y or N"),
            ),
            by_person=False,
        ),
        Table(
            "cluster_tool",
            "Cluster assessments, whose items are in `assessment` (MHS801)",
            (
                *MONTHLY,
                Column("cluster_id", "id", False, "UniqClustID"),
                Column("assessment_date", "date", False, "when it was completed"),
            ),
        ),
    )
}
TOGETHER = (("referral", "referral_team"), ("contact", "assessment", "care_activity", "cluster_tool"))
"""Tables of a person that are completed from one another."""
NEEDS = {"referral_team": "team_detail", "ward_stay": "ward_detail"}
"""Tables that are completed from a table that belongs to no person."""


@cache
def layouts() -> tuple[SourceTable, ...]:
    """Every source table of all releases; version 5 first, so that it names the tables they share."""
    return read_side_by_side([table for name in RELEASES for table in load_aliases(name, TABLES | DETAILS)])


def missing_details(chosen: list[SourceTable]) -> list[str]:
    """Problems of a version 6 extract whose referrals name teams that no file describes."""
    needs = any(column.column.name == "_main_team_id" for layout in chosen for column in layout.columns)
    if needs and all(layout.target.name != "team_detail" for layout in chosen):
        return ["no file of MHS902ServiceTeamDetails: version 6 referrals need it for the type of their teams"]
    return []


def missing_keys(file: str, header: Header, layout: SourceTable) -> list[str]:
    """Problems of a file of details that can be joined neither by submission nor by provider."""
    keys = ("submission_id", "provider_id")
    if layout.target.name not in NEEDS.values() or not all(layout.lacks(key, header) for key in keys):
        return []
    return [f"{file}: neither NHSEUniqSubmissionID nor OrgIDProv is there; one of them is needed"]


def name_records(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows without RecordNumber get a name for what it stands for: a person, provider and month (B2)."""
    named = pl.concat_str("person_id", "provider_id", "month_id", separator=" ")
    return rows.with_columns(record_id=pl.coalesce("record_id", named))


def complete(frames: dict[str, pl.DataFrame], details: Mapping[str, pl.DataFrame]) -> Counter[str]:
    """Make the joins that the tables at hand need, in place.

    Args:
        frames: some tables of the same people, by name; those of one of TOGETHER all at once.
        details: the tables that they need (NEEDS), by name.

    Returns:
        Rows that stayed without what they were to get, counted by rule.
    """
    notes = Counter[str]()
    if "referral_team" in frames:
        teams = frames["referral_team"], details["team_detail"]
        frames["referral_team"], notes["team_without_type"] = list_teams(frames["referral"], *teams)
    if "ward_stay" in frames:
        frames["ward_stay"] = place_wards(frames["ward_stay"], details["ward_detail"])
    if "assessment" in frames:
        contact, tool = frames["contact"], frames["cluster_tool"]
        frames["assessment"], notes["assessment_without_contact"] = date_assessments(
            frames["assessment"], contact, tool
        )
        frames["care_activity"], notes["activity_without_contact"] = date_activities(frames["care_activity"], contact)
    return +notes


def list_teams(referral: pl.DataFrame, teams: pl.DataFrame, details: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """All teams of the referrals with their types, and how many rows stayed without a type.

    Args:
        referral: referrals; with `_main_team_id` where the layout is version 6.
        teams: referral_team rows; those of version 6 have no type yet.
        details: team_detail rows (see _look_up).
    """
    main = _main_teams(referral)
    rows = pl.concat([teams, main], how="diagonal") if main.height else teams
    if details.is_empty() and "_submission_id" not in rows.columns:
        return rows, 0
    joined = _look_up(rows, details, "team_id", "team_type_code")
    without = joined.filter(pl.col("team_id").is_not_null() & pl.col("team_type_code").is_null()).height
    return joined, without


def place_wards(ward_stay: pl.DataFrame, details: pl.DataFrame) -> pl.DataFrame:
    """Ward stays of version 6 take the site of their ward, as _look_up finds it."""
    return ward_stay if details.is_empty() else _look_up(ward_stay, details, "ward_code", "site_code")


def _look_up(rows: pl.DataFrame, details: pl.DataFrame, key: str, column: str) -> pl.DataFrame:
    """`rows` with their empty `column` taken from the details of the same month and `key`: of the same submission (the
    first in code order, should it have two), or, where rows or details name none, of the same provider, if all its
    details say the same."""
    empty = [pl.lit(None, pl.String).alias(name) for name in ("_submission_id",) if name not in rows.columns]
    completed = rows.with_columns(empty)
    own = details.drop_nulls(["submission_id", column]).group_by(key, "submission_id", "month_id")
    by_submission = own.agg(_own=pl.col(column).min()).rename({"submission_id": "_submission_id"})
    named = details.drop_nulls(["provider_id", column])
    found = completed.join(by_submission, on=[key, "_submission_id", "month_id"], how="left", maintain_order="left")
    for name, those, takes in (
        ("_any", named, pl.col("_submission_id").is_null()),
        ("_unnumbered", named.filter(pl.col("submission_id").is_null()), pl.col("_submission_id").is_not_null()),
    ):
        one = those.group_by(key, "provider_id", "month_id").agg(pl.col(column).unique().alias(name))
        single = one.filter(pl.col(name).list.len() == 1).with_columns(pl.col(name).list.first())
        found = found.join(single, on=[key, "provider_id", "month_id"], how="left", maintain_order="left")
        found = found.with_columns(pl.when(takes).then(name).alias(name))
    return found.with_columns(pl.coalesce(column, "_own", "_any", "_unnumbered").alias(column)).drop(
        "_own", "_any", "_unnumbered", *(["_submission_id"] if empty else [])
    )


def date_assessments(
    assessment: pl.DataFrame, contact: pl.DataFrame, cluster_tool: pl.DataFrame
) -> tuple[pl.DataFrame, int]:
    """Assessments made at a contact take its date, items of a cluster assessment the date of that; and how many of
    the former stayed undated because the contact is not there."""
    dated = _take_date(assessment, "assessment_date", contact, "contact_date", "contact_id", "contact_id")
    if "_cluster_id" in dated.columns:
        dated = _take_date(dated, "assessment_date", cluster_tool, "assessment_date", "_cluster_id", "cluster_id")
    undated = pl.col("contact_id").is_not_null() & pl.col("assessment_date").is_null()
    return dated, dated.filter(undated).height


def date_activities(activity: pl.DataFrame, contact: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Activities at a contact with its date and the procedure's own code, without the qualifiers after a colon; and
    how many stayed undated because the contact is not there."""
    at_contact = pl.col("contact_id").is_not_null()
    own_code = pl.col("procedure_code").str.split(":").list.first().str.strip_chars()
    dated = _take_date(activity, "activity_date", contact, "contact_date", "contact_id", "contact_id").with_columns(
        procedure_code=pl.when(at_contact).then(own_code).otherwise("procedure_code")
    )
    return dated, dated.filter(at_contact & pl.col("activity_date").is_null()).height


def _take_date(
    rows: pl.DataFrame, column: str, others: pl.DataFrame, other_column: str, key: str, other_key: str
) -> pl.DataFrame:
    """`rows` with their empty dates taken from the row of the same person, record and key in `others`: the earliest,
    should the record hold it twice. A record number that two people were given must not lend the date of one to the
    other."""
    if rows.is_empty():
        return rows
    dates = (
        others.filter(pl.col(other_key).is_not_null() & pl.col("record_id").is_not_null())
        .group_by("person_id", "record_id", pl.col(other_key).alias(key))
        .agg(_date=pl.col(other_column).min())
    )
    joined = rows.join(dates, on=["person_id", "record_id", key], how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(column, "_date").alias(column)).drop("_date")


def _main_teams(referral: pl.DataFrame) -> pl.DataFrame:
    if "_main_team_id" not in referral.columns:
        return referral.clear()
    kept = [column.name for column in TABLES["referral_team"].columns if column.name != "team_type_code"]
    return (
        referral.filter(pl.col("_main_team_id").is_not_null())
        .with_columns(team_id=pl.col("_main_team_id"), team_type_code=pl.lit(None, pl.String))
        .select(*kept, "team_type_code", *(n for n in ("_submission_id",) if n in referral.columns), "_file", "_line")
    )
