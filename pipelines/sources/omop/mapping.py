"""Staged tables of an OMOP CDM, all of one bucket of people -> canonical tables.

Choice made (DOMAIN D1-D4): a visit that is a stay to follow becomes a spell, sent once, in the month it ended; an
inpatient visit that is none becomes a hospital episode; an emergency visit an attendance; any other visit a contact
that was kept. The end of a visit of somebody who is still a patient is the day of extraction, never a discharge.
Ethnicity is what the source wrote, never race_concept_id, which knows no mixed group. What the CDM does not hold (bed
classes, legal status, missed contacts) stays empty.

Every table is put into one order that depends on nothing but its cells, so that a CDM gives the same bytes whatever it
is read from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import polars as pl

from pipelines.codelists import read_codelist
from pipelines.sources.omop.psychiatric import Stays, find_stays, is_main_condition, one_each
from pipelines.sources.omop.staged import BY_PERSON, REFERENCES
from pipelines.tables import TABLES, month_id

STILL_PATIENT = 32220
EMERGENCY_VISIT = 9203
UNKNOWN_KIND = 0  # "No matching concept"
UNKNOWN_PROVIDER = "UNKNOWN"
COLLECTION = "OMOP"
GENDERS = {8507: "1", 8532: "2"}
ATTENDED = "5"
ICD10_SCHEME, CONCEPT_SCHEME = "02", "OMOP"
_ICD10 = r"^[A-Z]\d[0-9A-Z](?:\.?[0-9A-Z]{1,4})?$"
_LSOA = r"^[EWSN]\d{8}$"
_LISTS = (
    "omop_psychiatric_visit",
    "omop_inpatient_visit",
    "omop_mental_disorder",
    "omop_primary_condition",
    "ethnic_category",
    "source_of_admission",
    "destination_of_discharge",
)
RULES = {
    "omop_visit_of_unknown_kind": "kept as a contact that is neither attended nor missed: it has no visit concept",
    "omop_detail_outside_stays": "not used: a visit_detail that belongs to no stay in hospital that is followed",
    "omop_second_death": "not used: a person has another row in death; the earliest date counts",
    "omop_second_person": "not used: a person has another row in person; the first in order of its cells counts",
    "omop_observed_after_release": "cut: an observation period that ends after the day the source was extracted",
}
"""Notes that the assembly counts, and what they mean."""


@dataclass(frozen=True)
class CdmAssembly:
    """How the staged tables of a bucket become canonical ones; `stays` says which inpatient visits are followed."""

    stays: Stays
    tables: tuple[str, ...] = BY_PERSON
    references: tuple[str, ...] = REFERENCES

    @property
    def version(self) -> str:
        known = [sorted(read_codelist(name).items()) for name in _LISTS]
        return f"omop_{self.stays}_{blake2b(repr(known).encode(), digest_size=6).hexdigest()}"

    def __call__(self, staged: Mapping[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
        """The canonical tables of the people in `staged` (omop_* frames), and the notes (RULES)."""
        visits = _add_provider(find_stays(staged, self.stays), staged["omop_care_site"])
        conditions = _add_codes(staged["omop_condition"])
        followed = visits.filter(pl.col("found_by_code").is_not_null())
        people, n_people = _people(staged["omop_person"], staged["omop_location"])
        periods, n_cut = _observation_periods(staged["omop_observation_period"], staged["omop_cdm_source"])
        wards, n_outside = _ward_stays(staged["omop_visit_detail"], followed)
        contacts = visits.filter(~pl.col("is_inpatient") & (pl.col("visit_concept_id") != EMERGENCY_VISIT))
        deaths, n_deaths = _deaths(staged["omop_death"])
        tables = {
            "person": people,
            "observation_period": periods,
            "spell": _spells(followed),
            "ward_stay": wards,
            "hospital_episode": _episodes(visits, conditions),
            "emergency_attendance": _emergencies(visits.filter(visit_concept_id=EMERGENCY_VISIT)),
            "contact": _contacts(contacts),
            "diagnosis": _diagnoses(conditions, visits),
            "care_activity": _activities(staged["omop_procedure"], visits),
            "death": deaths,
        }
        notes = {
            "omop_visit_of_unknown_kind": contacts.filter(visit_concept_id=UNKNOWN_KIND).height,
            "omop_detail_outside_stays": n_outside,
            "omop_second_death": n_deaths,
            "omop_second_person": n_people,
            "omop_observed_after_release": n_cut,
        }
        return {name: _in_order(frame, name) for name, frame in tables.items()}, notes


def _in_order(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """All canonical columns, rows in the order of their cells, which `_line` then keeps."""
    schema = TABLES[name].schema
    absent = [pl.lit(None, kind).alias(column) for column, kind in schema.items() if column not in frame.columns]
    rows = frame.with_columns(absent).select(pl.col(column).cast(kind) for column, kind in schema.items())
    ordered = rows.sort(rows.columns, nulls_last=True)
    return ordered.with_columns(_file=pl.lit(0, pl.Int32), _line=pl.int_range(pl.len(), dtype=pl.Int64))


def _add_provider(visits: pl.DataFrame, care_sites: pl.DataFrame) -> pl.DataFrame:
    """Adds provider_id: the care site as the source calls it, else its number."""
    sites = one_each(care_sites, "care_site_id").select("care_site_id", _site="care_site_source")
    joined = visits.join(sites, on="care_site_id", how="left", maintain_order="left")
    provider = pl.coalesce("_site", "care_site_id", pl.lit(UNKNOWN_PROVIDER)).str.to_uppercase()
    return joined.with_columns(provider_id=provider).drop("_site")


def _add_codes(conditions: pl.DataFrame) -> pl.DataFrame:
    """Adds icd10: the source value where it is shaped like an ICD-10 code; and whether the condition is a main one."""
    source = pl.col("condition_source").str.strip_chars().str.to_uppercase()
    return conditions.with_columns(icd10=pl.when(source.str.contains(_ICD10)).then(source), is_main=is_main_condition())


def _month_of(day: str) -> pl.Expr:
    """UniqMonthID of a day (DOMAIN B1)."""
    date = pl.col(day).dt
    return month_id(date.year().cast(pl.Int64), date.month().cast(pl.Int64))


def _people(person: pl.DataFrame, locations: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    single = one_each(person, "person_id")
    year, month, day = pl.col("year_of_birth"), pl.col("month_of_birth"), pl.col("day_of_birth")
    to_day = pl.format("{}-{}-{}", year, month, day).str.to_date("%Y-%m-%d", strict=False)
    to_month = pl.format("{}-{}-01", year, month).str.to_date("%Y-%m-%d", strict=False)
    to_year = pl.format("{}-01-01", year).str.to_date("%Y-%m-%d", strict=False)
    letter = [pl.col(name).str.strip_chars().str.to_uppercase() for name in ("race_source", "ethnicity_source")]
    known = list(read_codelist("ethnic_category"))
    area = pl.col("location_source").str.strip_chars().str.to_uppercase()
    places = one_each(locations, "location_id").select(
        "location_id", lsoa_code=pl.when(area.str.contains(_LSOA)).then(area)
    )
    rows = single.join(places, on="location_id", how="left").with_columns(
        birth_date=pl.coalesce(to_day, to_month, to_year),
        birth_precision_code=pl.when(to_day.is_not_null())
        .then(pl.lit("D"))
        .when(to_month.is_not_null())
        .then(pl.lit("M"))
        .when(to_year.is_not_null())
        .then(pl.lit("Y")),
        gender_code=pl.col("gender_concept_id").replace_strict(GENDERS, default=None, return_dtype=pl.String),
        ethnicity_code=pl.coalesce(pl.when(text.is_in(known)).then(text) for text in letter),
        ethnicity_source=pl.coalesce("race_source", "ethnicity_source"),
    )
    return rows, person.height - single.height


def _observation_periods(periods: pl.DataFrame, cdm_source: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    release = cdm_source["source_release_date"].max()
    is_late = pl.col("end_date") > pl.lit(release, pl.Date)
    cut = periods.with_columns(end_date=pl.min_horizontal("end_date", pl.lit(release, pl.Date)))
    return cut, periods.filter(is_late).height


def _spells(followed: pl.DataFrame) -> pl.DataFrame:
    is_here = (pl.col("visit_type_concept_id") == STILL_PATIENT).fill_null(False)
    rows = followed.with_columns(_month=pl.coalesce("end_date", "start_date"))
    return rows.with_columns(
        month_id=_month_of("_month"),
        spell_id=pl.col("row_id"),
        discharge_date=pl.when(~is_here).then("end_date"),
        source_code=_nhs_code("admitted_from_source", "source_of_admission"),
        destination_code=_nhs_code("discharged_to_source", "destination_of_discharge"),
    )


def _nhs_code(column: str, codelist: str) -> pl.Expr:
    """A source value that is a code of the NHS data dictionary; anything else says nothing here."""
    code = pl.col(column).str.strip_chars().str.to_uppercase()
    return pl.when(code.is_in(list(read_codelist(codelist)))).then(code)


def _ward_stays(details: pl.DataFrame, followed: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    stays = one_each(followed.select("person_id", "provider_id", visit_id="row_id"), "person_id", "visit_id")
    rows = details.join(stays, on=["person_id", "visit_id"]).with_columns(
        spell_id="visit_id",
        ward_stay_id="row_id",
        ward_code="care_site_id",
        _month=pl.coalesce("end_date", "start_date"),
    )
    return rows.with_columns(month_id=_month_of("_month")), details.height - rows.height


def _episodes(visits: pl.DataFrame, conditions: pl.DataFrame) -> pl.DataFrame:
    """Stays in hospital that are not followed, with their ICD-10 codes, main ones first."""
    codes = (
        conditions.filter(pl.col("icd10").is_not_null() & pl.col("visit_id").is_not_null())
        .sort(pl.col("is_main").not_(), "start_date", "row_id", "icd10")
        .group_by("person_id", "visit_id", maintain_order=True)
        .agg(pl.col("icd10").unique(maintain_order=True), main=pl.col("icd10").filter("is_main").first())
        .select("person_id", "main", row_id="visit_id", joined=pl.col("icd10").list.join(" "))
    )
    is_here = (pl.col("visit_type_concept_id") == STILL_PATIENT).fill_null(False)
    left = pl.when(~is_here).then("end_date")
    others = visits.filter(pl.col("is_inpatient") & pl.col("found_by_code").is_null())
    return others.join(codes, on=["person_id", "row_id"], how="left").with_columns(
        episode_start_date="start_date",
        episode_end_date=left,
        admission_date="start_date",
        discharge_date=left,
        diagnosis_1_code="main",
        all_diagnosis_codes="joined",
    )


def _emergencies(visits: pl.DataFrame) -> pl.DataFrame:
    return visits.with_columns(collection_code=pl.lit(COLLECTION), arrival_date="start_date")


def _contacts(visits: pl.DataFrame) -> pl.DataFrame:
    took_place = pl.col("visit_concept_id") != UNKNOWN_KIND
    return visits.with_columns(
        month_id=_month_of("start_date"),
        contact_id="row_id",
        contact_date="start_date",
        attendance_code=pl.when(took_place).then(pl.lit(ATTENDED)),
    )


def _diagnoses(conditions: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    rows = _with_provider_of_visit(conditions, visits)
    has_icd10 = pl.col("icd10").is_not_null()
    return rows.with_columns(
        month_id=_month_of("start_date"),
        position_code=pl.when("is_main").then(pl.lit("P")).otherwise(pl.lit("S")),
        scheme_code=pl.when(has_icd10).then(pl.lit(ICD10_SCHEME)).otherwise(pl.lit(CONCEPT_SCHEME)),
        diagnosis_code=pl.coalesce("icd10", pl.col("condition_concept_id").cast(pl.String)),
        diagnosis_date="start_date",
    )


def _activities(procedures: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    concept = pl.col("procedure_concept_id")
    mapped = pl.when(concept != 0).then(concept.cast(pl.String))
    return _with_provider_of_visit(procedures, visits).with_columns(
        month_id=_month_of("procedure_date"),
        contact_id="visit_id",
        activity_date="procedure_date",
        procedure_code=pl.coalesce(mapped, pl.col("procedure_source").str.strip_chars().str.to_uppercase()),
    )


def _with_provider_of_visit(rows: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    single = one_each(visits.select("person_id", "provider_id", visit_id="row_id"), "person_id", "visit_id")
    joined = rows.join(single, on=["person_id", "visit_id"], how="left", maintain_order="left")
    return joined.with_columns(pl.col("provider_id").fill_null(UNKNOWN_PROVIDER))


def _deaths(death: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    code = pl.col("cause_source").str.strip_chars().str.to_uppercase()
    single = one_each(death.select("person_id", "death_date", "cause_source"), "death_date", "person_id")
    earliest = single.unique("person_id", keep="first", maintain_order=True)
    return earliest.with_columns(
        cause_code=pl.when(code.str.contains(_ICD10)).then(code)
    ), death.height - earliest.height
