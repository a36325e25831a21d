"""What is read of an OMOP CDM: the columns of each table before they are put together into canonical tables.

The first pass of a load makes typed rows of them, file by file or partition by partition; the second pass has all rows
of a bucket of people beside each other and turns them into canonical tables (mapping.py). Which rows cannot be used is
decided here by `required`, after the columns that the CDM says are never empty (DOMAIN D1).
"""

from pipelines.sources.aliases import SourceTable, load_aliases
from pipelines.tables import Column, Kind, Table


def _c(name: str, kind: Kind, meaning: str, required: bool = False) -> Column:
    return Column(name, kind, required, meaning)


PERSON = _c("person_id", "id", "person_id", True)
VISIT = _c("visit_id", "id", "visit_occurrence_id")
CARE_SITE = _c("care_site_id", "id", "care_site_id")

_BY_PERSON = (
    Table(
        "omop_person",
        "person",
        (
            PERSON,
            _c("gender_concept_id", "int", "gender_concept_id; 8507 male, 8532 female", True),
            _c("year_of_birth", "int", "year_of_birth", True),
            _c("month_of_birth", "int", "month_of_birth"),
            _c("day_of_birth", "int", "day_of_birth"),
            _c("race_source", "text", "race_source_value"),
            _c("ethnicity_source", "text", "ethnicity_source_value"),
            _c("location_id", "id", "location_id"),
        ),
    ),
    Table(
        "omop_observation_period",
        "observation_period",
        (
            PERSON,
            _c("row_id", "id", "observation_period_id"),
            _c("start_date", "date", "observation_period_start_date", True),
            _c("end_date", "date", "observation_period_end_date", True),
        ),
    ),
    Table(
        "omop_visit",
        "visit_occurrence",
        (
            PERSON,
            _c("row_id", "id", "visit_occurrence_id", True),
            _c("visit_concept_id", "int", "visit_concept_id", True),
            _c("visit_type_concept_id", "int", "visit_type_concept_id; 32220 still patient"),
            _c("start_date", "date", "visit_start_date", True),
            _c("end_date", "date", "visit_end_date"),
            CARE_SITE,
            _c("visit_source", "text", "visit_source_value"),
            _c("admitted_from_source", "text", "admitted_from_source_value"),
            _c("discharged_to_source", "text", "discharged_to_source_value"),
        ),
    ),
    Table(
        "omop_visit_detail",
        "visit_detail",
        (
            PERSON,
            _c("row_id", "id", "visit_detail_id", True),
            VISIT,
            _c("start_date", "date", "visit_detail_start_date", True),
            _c("end_date", "date", "visit_detail_end_date"),
            CARE_SITE,
        ),
    ),
    Table(
        "omop_condition",
        "condition_occurrence",
        (
            PERSON,
            _c("row_id", "id", "condition_occurrence_id", True),
            _c("condition_concept_id", "int", "condition_concept_id", True),
            _c("start_date", "date", "condition_start_date", True),
            _c("condition_status_concept_id", "int", "condition_status_concept_id"),
            VISIT,
            _c("condition_source", "text", "condition_source_value"),
        ),
    ),
    Table(
        "omop_procedure",
        "procedure_occurrence",
        (
            PERSON,
            _c("row_id", "id", "procedure_occurrence_id", True),
            _c("procedure_concept_id", "int", "procedure_concept_id", True),
            _c("procedure_date", "date", "procedure_date", True),
            VISIT,
            _c("procedure_source", "text", "procedure_source_value"),
        ),
    ),
    Table(
        "omop_death",
        "death",
        (PERSON, _c("death_date", "date", "death_date", True), _c("cause_source", "text", "cause_source_value")),
    ),
)
_REFERENCES = (
    Table(
        "omop_care_site",
        "care_site",
        (
            _c("care_site_id", "id", "care_site_id", True),
            _c("care_site_source", "text", "care_site_source_value"),
            _c("place_of_service_source", "text", "place_of_service_source_value"),
        ),
        by_person=False,
    ),
    Table(
        "omop_location",
        "location",
        (_c("location_id", "id", "location_id", True), _c("location_source", "text", "location_source_value")),
        by_person=False,
    ),
    Table(
        "omop_concept_ancestor",
        "concept_ancestor, of the concepts asked for only",
        (
            _c("ancestor_concept_id", "int", "ancestor_concept_id", True),
            _c("descendant_concept_id", "int", "descendant_concept_id", True),
        ),
        by_person=False,
    ),
    Table(
        "omop_cdm_source",
        "cdm_source",
        (
            _c("cdm_source_name", "text", "cdm_source_name"),
            _c("source_release_date", "date", "source_release_date: when the source was extracted"),
        ),
        by_person=False,
    ),
)

STAGED = {table.name: table for table in (*_BY_PERSON, *_REFERENCES)}
BY_PERSON = tuple(table.name for table in _BY_PERSON)
REFERENCES = tuple(table.name for table in _REFERENCES)
MANDATORY = ("person", "observation_period", "visit_occurrence", "condition_occurrence")
"""Tables without which there is nothing to study; the others add to it where they are there."""

FEEDS: dict[str, tuple[str, ...]] = {
    "omop_person": ("person",),
    "omop_observation_period": ("observation_period",),
    "omop_visit": ("spell", "contact", "emergency_attendance"),
    "omop_visit_detail": ("ward_stay",),
    "omop_condition": ("diagnosis",),
    "omop_procedure": ("care_activity",),
    "omop_death": ("death",),
}
"""Which canonical tables a staged one tells about, even where it holds no row of them."""

OTHER_CDM_TABLES = (
    "attribute_definition",
    "cohort",
    "cohort_attribute",
    "cohort_definition",
    "concept",
    "concept_class",
    "concept_relationship",
    "concept_synonym",
    "condition_era",
    "cost",
    "device_exposure",
    "domain",
    "dose_era",
    "drug_era",
    "drug_exposure",
    "drug_strength",
    "episode",
    "episode_event",
    "fact_relationship",
    "location_history",
    "measurement",
    "metadata",
    "note",
    "note_nlp",
    "observation",
    "payer_plan_period",
    "person_bridge",
    "provider",
    "relationship",
    "source_to_concept_map",
    "specimen",
    "vocabulary",
)
"""Tables of the CDM, and others beside them, that are not read; known, so that CONCEPT_ANCESTOR_OLD.csv is taken for a
piece of CONCEPT_ANCESTOR, and EPISODE_EVENT.csv or person_bridge.csv for a piece of nothing."""


def layouts() -> dict[str, SourceTable]:
    """The tables that are read, by their name in the CDM (lower case)."""
    return {layout.names[0]: layout for layout in load_aliases("omop", STAGED)}
