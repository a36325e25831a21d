"""The canonical tables, declared once: used for reading, checking, synthetic data and the documentation.

Columns carry their kind in their name: `_id`, `_code`, `_date`, `_time`, `_days`, `is_`, `n_`. Codes are text, trimmed
and upper-case, never numbers ('01', '2A', '200'). Identifiers are text, trimmed, case kept.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import polars as pl

Number = TypeVar("Number", int, pl.Expr)
Kind = Literal["id", "code", "date", "time", "int", "float", "text"]

POLARS_TYPE: dict[str, pl.DataType] = {
    "id": pl.String(),
    "code": pl.String(),
    "time": pl.String(),
    "text": pl.String(),
    "date": pl.Date(),
    "int": pl.Int64(),
    "float": pl.Float64(),
}


@dataclass(frozen=True)
class Column:
    """One column: its kind, whether a row without it can be used, and what it means."""

    name: str
    kind: Kind
    required: bool
    meaning: str


@dataclass(frozen=True)
class Table:
    """One canonical table. `by_person` tables are bucketed by a hash of person_id; others are small references."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    by_person: bool = True

    @property
    def schema(self) -> pl.Schema:
        """Columns in order, with their Polars types."""
        return pl.Schema({column.name: POLARS_TYPE[column.kind] for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """No rows of all columns."""
        return pl.DataFrame(schema=self.schema)


def _c(name: str, kind: Kind, meaning: str, required: bool = False) -> Column:
    return Column(name, kind, required, meaning)


PERSON = _c("person_id", "id", "pseudonym of the person; through RecordNumber in MHS001 when the row has none", True)
MONTHLY = (
    PERSON,
    _c("row_id", "id", "primary key of the source row (MHSnnnUniqID)"),
    _c("record_id", "id", "RecordNumber: one person, provider and month; joins the tables of a month"),
    _c("provider_id", "code", "submitting organisation, as submitted", True),
    _c("month_id", "int", "UniqMonthID: (year - 1900) * 12 + month - 3", True),
)

_ALL = (
    Table(
        "submission",
        "One row per provider, month and file type that was submitted",
        (
            _c("provider_id", "code", "submitting organisation", True),
            _c("month_id", "int", "UniqMonthID of the submission", True),
            _c("period_start_date", "date", "first day of the month", True),
            _c("period_end_date", "date", "last day of the month", True),
            _c("file_type_code", "code", "1 primary, 2 refresh"),
            _c("submission_id", "id", "NHSEUniqSubmissionID, where the header or the flags send it"),
            _c("is_latest_code", "code", "Der_IsLatest: Y for the submission of its provider and month that counts"),
        ),
        by_person=False,
    ),
    Table(
        "person_bridge",
        "Pseudonyms that changed between releases, and the one that stands for the person now",
        (
            _c("old_person_id", "id", "pseudonym in older rows", True),
            _c("new_person_id", "id", "pseudonym to use instead", True),
        ),
        by_person=False,
    ),
    Table(
        "provider_successor",
        "Provider codes that were merged into or renamed to another",
        (
            _c("old_provider_id", "code", "code before", True),
            _c("new_provider_id", "code", "code after", True),
            _c("effective_date", "date", "first day of the new code; kept for checking the file, decides nothing"),
        ),
        by_person=False,
    ),
    Table(
        "area_deprivation",
        "Index of Multiple Deprivation by area",
        (
            _c("lsoa_code", "code", "LSOA 2011", True),
            _c("imd_2015_decile", "int", "1 = most deprived, IMD 2015"),
            _c("imd_2019_decile", "int", "1 = most deprived, IMD 2019"),
        ),
        by_person=False,
    ),
    Table(
        "person",
        "One row per person and source that knows them whole (OMOP person); monthly demographics are in person_month",
        (
            PERSON,
            _c("birth_date", "date", "date of birth; the first day of what is known of it"),
            _c("birth_precision_code", "code", "D, M or Y: how much of the date of birth is known"),
            _c("gender_code", "code", "1 male, 2 female"),
            _c("ethnicity_code", "code", "16+1 letter, where the source keeps it"),
            _c("ethnicity_source", "text", "ethnicity or race as the source wrote it"),
            _c("lsoa_code", "code", "LSOA of residence"),
        ),
    ),
    Table(
        "observation_period",
        "Spans in which a person would have been seen (OMOP observation_period)",
        (
            PERSON,
            _c("start_date", "date", "first day", True),
            _c("end_date", "date", "last day", True),
        ),
    ),
    Table(
        "person_month",
        "Demographics of a person as one provider sent them for one month (MHS001)",
        (
            *MONTHLY,
            _c("gender_code", "code", "GenderIDCode when 1-4, else Gender (1 male, 2 female)"),
            _c("ethnicity_code", "code", "16+1 letter; Z not stated, 99 not known"),
            _c("marital_code", "code", "marital status"),
            _c("age_start_years", "int", "age at the start of the reporting period"),
            _c("age_end_years", "int", "age at the end of the reporting period"),
            _c("lsoa_code", "code", "LSOA 2011 of residence"),
        ),
    ),
    Table(
        "accommodation",
        "Accommodation status (MHS003)",
        (
            *MONTHLY,
            _c("status_date", "date", "date it was recorded"),
            _c("accommodation_code", "code", "type"),
            _c("settled_code", "code", "Y, N, Z not stated, 9 not known"),
        ),
    ),
    Table(
        "employment",
        "Employment status (MHS004)",
        (
            *MONTHLY,
            _c("status_date", "date", "date it was recorded"),
            _c("employment_code", "code", "01 employed, 02 unemployed, ..."),
        ),
    ),
    Table(
        "referral",
        "Referrals open in a month (MHS101)",
        (
            *MONTHLY,
            _c("referral_id", "id", "UniqServReqID", True),
            _c("received_date", "date", "referral received"),
            _c("closed_date", "date", "discharged from the service"),
            _c("closure_reason_code", "code", "ReferClosReason: why it was closed, such as a move out of the area"),
            _c("source_code", "code", "source of referral"),
            _c("reason_code", "code", "primary reason"),
            _c("rejected_date", "date", "referral rejected"),
            _c("out_of_area_code", "code", "ReasonOAT: 10 marks an inappropriate out-of-area placement"),
        ),
    ),
    Table(
        "referral_team",
        "Teams of a referral in a month, with their type (MHS102; in v6 joined with MHS902)",
        (
            *MONTHLY,
            _c("referral_id", "id", "UniqServReqID", True),
            _c("team_id", "id", "team"),
            _c("team_type_code", "code", "A02 crisis resolution, A11 liaison, ..."),
            _c("closed_date", "date", "referral to the team closed"),
            _c("closure_reason_code", "code", "ReferClosReason: why it was closed, such as a move out of the area"),
            _c("rejected_date", "date", "referral to the team rejected"),
        ),
    ),
    Table(
        "contact",
        "Care contacts (MHS201)",
        (
            *MONTHLY,
            _c("referral_id", "id", "UniqServReqID"),
            _c("contact_id", "id", "UniqCareContID"),
            _c("contact_date", "date", "date of the contact", True),
            _c("attendance_code", "code", "3 did not attend, 5 or 6 attended, 2 and 4 cancelled, 7 too late"),
            _c("mechanism_code", "code", "01 face to face, ..."),
        ),
    ),
    Table(
        "legal_period",
        "Mental Health Act legal status periods (MHS401)",
        (
            *MONTHLY,
            _c("episode_id", "id", "UniqMHActEpisodeID"),
            _c("period_id", "id", "MHActLegalStatusClassPeriodId"),
            _c("legal_code", "code", "NHSDLegalStatus, else LegalStatusCode"),
            _c("start_date", "date", "start of the period", True),
            _c("end_date", "date", "end of the period"),
        ),
    ),
    Table(
        "community_order",
        "Orders in the community: treatment orders (MHS404), their recalls (405), conditional discharges (403)",
        (
            *MONTHLY,
            _c("episode_id", "id", "UniqMHActEpisodeID"),
            _c("order_kind_code", "code", "CTO treatment order, RECALL of one, COND conditional discharge", True),
            _c("start_date", "date", "start of the order", True),
            _c("expiry_date", "date", "day on which a treatment order runs out unless it is renewed"),
            _c("end_date", "date", "end of the order"),
            _c("end_reason_code", "code", "reason of the end; 02 revoked"),
        ),
    ),
    Table(
        "spell",
        "Hospital provider spells, once for every month they were open (MHS501)",
        (
            *MONTHLY,
            _c("referral_id", "id", "UniqServReqID"),
            _c("spell_id", "id", "UniqHospProvSpellID", True),
            _c("start_date", "date", "start of the spell; may be a 1900 placeholder", False),
            _c("source_code", "code", "source of admission"),
            _c("method_code", "code", "method of admission"),
            _c("discharge_date", "date", "discharge; may be a 1900 placeholder or before the start"),
            _c("discharge_method_code", "code", "method of discharge; 4 died"),
            _c("destination_code", "code", "destination of discharge; 79 died"),
            _c("planned_discharge_date", "date", "PlannedDischDateHospProvSpell"),
            _c("found_by_code", "code", "OMOP: the rule that took the visit for a hospital stay (DOMAIN D3)"),
        ),
    ),
    Table(
        "ward_stay",
        "Ward stays, once for every month they were open (MHS502)",
        (
            *MONTHLY,
            _c("spell_id", "id", "UniqHospProvSpellID", True),
            _c("ward_stay_id", "id", "UniqWardStayID"),
            _c("start_date", "date", "start of the ward stay"),
            _c("end_date", "date", "end of the ward stay"),
            _c("bed_class_code", "code", "HospitalBedTypeMH (v4, v5) or MHAdmittedPatientClass (v6)"),
            _c("distance_home", "int", "km from home to ward"),
            _c("ward_code", "id", "ward (WardCode, UniqWardCode)"),
            _c("site_code", "code", "site of the ward; in v6 from MHS903"),
        ),
    ),
    Table(
        "leave",
        "Leave inside a spell, never a discharge: home leave (MHS509), leave of absence (510), absence without (511)",
        (
            *MONTHLY,
            _c("leave_kind_code", "code", "HOME, ABSENCE or AWOL", True),
            _c("spell_id", "id", "UniqHospProvSpellID"),
            _c("ward_stay_id", "id", "UniqWardStayID"),
            _c("start_date", "date", "start of leave"),
            _c("end_date", "date", "end of leave"),
        ),
    ),
    Table(
        "delayed_discharge",
        "Days in hospital after a person could have left (MHS504; in v6 MHS518, clinically ready for discharge)",
        (
            *MONTHLY,
            _c("spell_id", "id", "UniqHospProvSpellID"),
            _c("start_date", "date", "first day of delay", True),
            _c("end_date", "date", "last day of delay"),
        ),
    ),
    Table(
        "care_programme",
        "Care programme approach episodes (MHS701)",
        (
            *MONTHLY,
            _c("episode_id", "id", "UniqCPAEpisodeID"),
            _c("start_date", "date", "start", True),
            _c("end_date", "date", "end"),
        ),
    ),
    Table(
        "care_plan",
        "Care plans (MHS008)",
        (
            *MONTHLY,
            _c("plan_id", "id", "UniqCarePlanID"),
            _c("plan_type_code", "code", "CarePlanTypeMH"),
            _c("created_date", "date", "made"),
            _c("updated_date", "date", "last updated"),
        ),
    ),
    Table(
        "ward_incident",
        "Incidents on a ward: self-harm (MHS507), substance misuse (MHS513). No public code names a date of theirs, so "
        "an incident is known by the month it was sent for",
        (
            *MONTHLY,
            _c("incident_kind_code", "code", "SELF_HARM or SUBSTANCE", True),
        ),
    ),
    Table(
        "care_activity",
        "Procedures, findings and observations at a contact (MHS202), and procedures of an OMOP source",
        (
            *MONTHLY,
            _c("contact_id", "id", "UniqCareContID"),
            _c("activity_date", "date", "of MHS202, its care contact's date"),
            _c("procedure_code", "code", "SNOMED, before any ':' qualifier; OMOP: concept id or source value"),
        ),
    ),
    Table(
        "diagnosis",
        "Diagnoses (MHS604 primary, MHS605 secondary, MHS603 provisional; OMOP conditions)",
        (
            *MONTHLY,
            _c("referral_id", "id", "UniqServReqID"),
            _c("position_code", "code", "P primary, S secondary, V provisional", True),
            _c("scheme_code", "code", "02 = ICD-10, OMOP = concept id"),
            _c("diagnosis_code", "code", "as sent, trimmed and upper-case"),
            _c("diagnosis_date", "date", "when it was coded"),
        ),
    ),
    Table(
        "assessment",
        "Scored assessment items, HoNOS among them (MHS606, MHS607 with the date of its contact)",
        (
            *MONTHLY,
            _c("referral_id", "id", "UniqServReqID"),
            _c("tool_code", "code", "SNOMED code of the item"),
            _c("score", "float", "score as sent; range is checked where it is used"),
            _c("assessment_date", "date", "when it was completed; of MHS607, its care contact's date"),
            _c("contact_id", "id", "UniqCareContID of an MHS607 row"),
        ),
    ),
    Table(
        "hospital_episode",
        "Finished consultant episodes (HES APC)",
        (
            PERSON,
            _c("row_id", "id", "EPIKEY"),
            _c("provider_id", "code", "PROCODE3"),
            _c("episode_start_date", "date", "EPISTART", True),
            _c("episode_end_date", "date", "EPIEND"),
            _c("admission_date", "date", "ADMIDATE"),
            _c("discharge_date", "date", "DISDATE"),
            _c("method_code", "code", "ADMIMETH"),
            _c("main_specialty_code", "code", "MAINSPEF"),
            _c("treatment_specialty_code", "code", "TRETSPEF"),
            _c("diagnosis_1_code", "code", "DIAG_01"),
            _c("diagnosis_2_code", "code", "DIAG_02"),
            _c("diagnosis_3_code", "code", "DIAG_03"),
            _c("all_diagnosis_codes", "text", "DIAG_01 to DIAG_20 in order, joined by spaces"),
            _c("all_procedure_codes", "text", "OPERTN_01 to OPERTN_24 in order, joined by spaces"),
            _c("episode_order", "int", "EPIORDER"),
            _c("episode_status_code", "code", "EPISTAT; 3 finished"),
            _c("source_code", "code", "ADMISORC"),
            _c("destination_code", "code", "DISDEST"),
            _c("discharge_method_code", "code", "DISMETH; 8 and 9: not the last episode"),
            _c("category_code", "code", "CATEGORY; 11-13, 21-23, 31-33 detained"),
            _c("transit_code", "code", "TRANSIT"),
            _c("sent_date", "date", "SUBDATE: when the row was submitted"),
            _c("birth_month", "text", "MYDOB, MMYYYY"),
            _c("sex_code", "code", "1 male, 2 female"),
            _c("ethnicity_code", "code", "16+1 letter"),
            _c("lsoa_code", "code", "LSOA 2011"),
        ),
    ),
    Table(
        "emergency_attendance",
        "Emergency department attendances (ECDS, and HES A&E before it)",
        (
            PERSON,
            _c("collection_code", "code", "ECDS or HES_AE", True),
            _c("row_id", "id", "AEKEY"),
            _c("provider_id", "code", "PROCODE3"),
            _c("arrival_date", "date", "arrival", True),
            _c("arrival_time", "time", "arrival"),
            _c("department_type_code", "code", "01 = type 1"),
            _c("attendance_category_code", "code", "1-3 first and unplanned or planned follow-up"),
            _c("patient_group_code", "code", "HES A&E: AEPATGROUP"),
            _c("chief_complaint_code", "code", "SNOMED"),
            _c("injury_intent_code", "code", "SNOMED; 276853009 self-inflicted"),
            _c("diagnosis_codes", "text", "ECDS: SNOMED, as sent; HES A&E: DIAG_01 to DIAG_12 joined by spaces"),
            _c("treatment_codes", "text", "HES A&E: TREAT_01 to TREAT_12 joined by spaces"),
            _c("discharge_status_code", "code", "ECDS: SNOMED; HES A&E: AEATTENDDISP"),
            _c("is_deleted_code", "code", "1 = deleted"),
        ),
    ),
    Table(
        "death",
        "Death registrations (ONS)",
        (
            PERSON,
            _c("death_date", "date", "DOD, else DOR"),
            _c("cause_code", "code", "underlying cause, ICD-10"),
        ),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
PERSON_TABLES: tuple[str, ...] = tuple(table.name for table in _ALL if table.by_person)
REFERENCE_TABLES: tuple[str, ...] = tuple(table.name for table in _ALL if not table.by_person)

PARTICIPANT = Table(
    "participant",
    "The trial's allocation list, one row per randomised person",
    (
        _c("person_id", "id", "pseudonym, as in the extract", True),
        _c("arm_code", "code", "PEER or CONTROL", True),
        _c("site_code", "code", "site that recruited"),
        _c("allocation_date", "date", "randomisation", True),
        _c(
            "index_spell_id",
            "id",
            "spell on the ward at allocation, as the list has it; the index stay is found by the allocation date",
        ),
        _c("consent_code", "code", "Y when the person agreed to linkage", True),
        _c("n_sessions", "int", "sessions attended; described only, never the exposure"),
        _c("first_session_date", "date", "first session; described only"),
    ),
    by_person=False,
)


def month_id(year: Number, month: Number) -> Number:
    """UniqMonthID: months counted with April 1900 = 1 (DOMAIN B1); of whole numbers, or of columns of them."""
    return (year - 1900) * 12 + month - 3
