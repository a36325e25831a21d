"""Contacts, emergency attendances, hospital admissions and ward incidents before time zero, counted and dated.

Choice made: an event is a person and a day, and each kind of event is a short function; the registry says which forms
it is used in and how far back. Windows are [-days, 0): nothing of the index date counts.
"""

from collections.abc import Callable

import polars as pl

from pipelines.contacts import (
    ATTENDED,
    CRISIS_TEAMS,
    DID_NOT_ATTEND,
    LIAISON_TEAMS,
    OF_REFERRAL,
    attended_or_missed,
    referrals_to,
    team_contacts,
)
from pipelines.covariate_registry import REGISTRY, Covariate
from pipelines.covariates.records import KEY, Records, join_on_key, with_days_before
from pipelines.emergency import emergency_attendances, mental_health_attendances, self_harm_attendances
from pipelines.extract import LAST_DAY_OF_MONTH_ID
from pipelines.hospital import continuous_stays
from pipelines.stays import latest

COMMUNITY_TEAM = ["A06"]
SELF_HARM_CODE = r"(^| )X(6\d|7\d|8[0-4])"  # X60 to X84
_GROUP = "service_use."


def measure(records: Records) -> pl.DataFrame:
    """Every covariate of service use, a row per index row; null where nothing was found."""
    parts = [_forms_of(records, name, find) for name, find in EVENTS.items()]
    frame = join_on_key(records, [part for part in parts if part.width > len(KEY)])
    return frame.with_columns(
        dna_rate_365d_before=missed_share("n_dna_365d_before", "n_attended_365d_before"),
        cmht_dna_rate_365d_before=missed_share("n_cmht_dna_365d_before", "n_cmht_attended_365d_before"),
    )


def _forms_of(records: Records, name: str, find: Callable[[Records], pl.DataFrame]) -> pl.DataFrame:
    """Every form in which the registry uses one kind of event."""
    wanted = [c for c in REGISTRY.values() if c.measured_by == _GROUP + name]
    days = pl.col("days")
    before = with_days_before(records, find(records)).filter(
        (days > 0) & (days <= max(c.look_back_days for c in wanted))
    )
    return before.group_by(KEY).agg(_form(covariate).alias(covariate.name) for covariate in wanted)


def _form(covariate: Covariate) -> pl.Expr:
    """One form of the events of an index row; null where there is none in its look-back."""
    days = pl.col("days").filter(pl.col("days") <= covariate.look_back_days)
    if covariate.form == "days_since":
        return days.min()
    value = days.len().cast(pl.Int64) if covariate.form == "count" else pl.lit(True)
    return pl.when(days.len() > 0).then(value)


def missed_share(missed: str, attended: str) -> pl.Expr:
    """Missed contacts as a share of the missed and the attended, 3 / (3 + 5 + 6) (B7); null where there were none."""
    n_missed, n_attended = pl.col(missed).fill_null(0), pl.col(attended).fill_null(0)
    return pl.when(n_missed + n_attended > 0).then(n_missed / (n_missed + n_attended))


def attended_contacts(records: Records) -> pl.DataFrame:
    """Contacts that took place."""
    return attended_or_missed(records.tables["contact"], ATTENDED)


def missed_contacts(records: Records) -> pl.DataFrame:
    """Contacts to which the person did not come and had not said so."""
    return attended_or_missed(records.tables["contact"], DID_NOT_ATTEND)


def crisis_contacts(records: Records) -> pl.DataFrame:
    """Contacts of crisis resolution and home treatment teams that took place (K14)."""
    return _contacts_of(records, CRISIS_TEAMS, ATTENDED)


def crisis_spells(records: Records) -> pl.DataFrame:
    """Referrals to such teams that were not rejected, on the day they were received, each once."""
    to_crisis_team = referrals_to(records.tables["referral_team"], CRISIS_TEAMS)
    to_team = records.tables["referral"].join(to_crisis_team, on=OF_REFERRAL, how="semi")
    once = latest(to_team.drop_nulls("received_date"), ["person_id", "provider_id", "referral_id", "received_date"])
    return once.filter(pl.col("rejected_date").is_null()).select("person_id", event_date="received_date")


def liaison_contacts(records: Records) -> pl.DataFrame:
    """Contacts of psychiatric liaison that took place."""
    return _contacts_of(records, LIAISON_TEAMS, ATTENDED)


def community_contacts(records: Records) -> pl.DataFrame:
    """Contacts of community mental health teams that took place."""
    return _contacts_of(records, COMMUNITY_TEAM, ATTENDED)


def missed_community_contacts(records: Records) -> pl.DataFrame:
    """Contacts of these teams to which the person did not come."""
    return _contacts_of(records, COMMUNITY_TEAM, DID_NOT_ATTEND)


def _contacts_of(records: Records, team_types: list[str], attendance_codes: list[str]) -> pl.DataFrame:
    return team_contacts(records.tables["contact"], records.tables["referral_team"], team_types, attendance_codes)


def emergency(records: Records) -> pl.DataFrame:
    """Attendances at a type 1 emergency department (K14)."""
    return emergency_attendances(records.tables["emergency_attendance"])


def mental_health_emergency(records: Records) -> pl.DataFrame:
    """Those among them that were for mental health."""
    return mental_health_attendances(records.tables["emergency_attendance"])


def self_harm_emergency(records: Records) -> pl.DataFrame:
    """Those among them that were for self-harm."""
    return self_harm_attendances(records.tables["emergency_attendance"])


def self_harm_admissions(records: Records) -> pl.DataFrame:
    """Admissions to hospital with intentional self-harm (X60 to X84) in any position of any of their episodes."""
    codes = pl.concat_str(
        ["all_diagnosis_codes", "diagnosis_1_code", "diagnosis_2_code", "diagnosis_3_code"],
        separator=" ",
        ignore_nulls=True,
    )
    harmed = records.tables["hospital_episode"].filter(codes.str.contains(SELF_HARM_CODE))
    admitted = pl.coalesce("admission_date", "episode_start_date")
    return harmed.select("person_id", event_date=admitted).unique()


def self_harm(records: Records) -> pl.DataFrame:
    """Attendances and admissions for self-harm."""
    return pl.concat([self_harm_emergency(records), self_harm_admissions(records)])


def physical_admissions(records: Records) -> pl.DataFrame:
    """First days of continuous inpatient spells in which no episode has a psychiatric specialty (C1)."""
    stays = continuous_stays(records.tables["hospital_episode"])
    return stays.filter(~pl.col("is_psychiatric")).select("person_id", event_date="start_date")


def ward_self_harm(records: Records) -> pl.DataFrame:
    """Incidents of self-harm on a ward, on the last day of the month they were sent for."""
    return _ward_incidents(records, "SELF_HARM")


def ward_substance_misuse(records: Records) -> pl.DataFrame:
    """Incidents of substance misuse on a ward, likewise."""
    return _ward_incidents(records, "SUBSTANCE")


def _ward_incidents(records: Records, kind: str) -> pl.DataFrame:
    incidents = records.tables["ward_incident"].filter(pl.col("incident_kind_code") == kind)
    return incidents.select("person_id", event_date=LAST_DAY_OF_MONTH_ID).unique()


EVENTS: dict[str, Callable[[Records], pl.DataFrame]] = {
    find.__name__: find
    for find in (
        attended_contacts,
        missed_contacts,
        crisis_contacts,
        crisis_spells,
        liaison_contacts,
        community_contacts,
        missed_community_contacts,
        emergency,
        mental_health_emergency,
        self_harm_emergency,
        self_harm_admissions,
        self_harm,
        physical_admissions,
        ward_self_harm,
        ward_substance_misuse,
    )
}
