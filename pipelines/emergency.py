"""Attendances at emergency departments, each counted once, and which of them were for mental health (DOMAIN C2, K14).

Choice made: where both collections hold a person on one day at the same type of department, ECDS counts and HES A&E
does not. Providers moved from one to the other at different times, so a day on which ECDS starts for all would lose
those that moved late; ECDS rows name no provider, so person, day and type decide, and two true visits of that kind on
one day count once only where each collection holds one of them.
"""

import polars as pl

from pipelines.codelists import read_codelist

HES_AE = "HES_AE"
OMOP = "OMOP"  # emergency room visits of a CDM, which has no codes to choose among them
TYPE_1_DEPARTMENT = "01"
EMERGENCY_CATEGORIES = ["1", "2", "3"]
NOT_SEEN_IN_EMERGENCY = ["1077031000000103", "1077781000000101", "63238001"]  # streamed elsewhere, dead on arrival
SELF_HARM_COMPLAINT = "248062006"
SELF_INFLICTED = "276853009"
# HES A&E codes no complaint; its patient group 30 is taken for deliberate self-harm, which is not confirmed.
SELF_HARM_PATIENT_GROUP = "30"
DUPLICATE_WITHIN_MINUTES = 60


def emergency_attendances(attendance: pl.DataFrame) -> pl.DataFrame:
    """person_id, event_date of attendances at a type 1 department that count (K14)."""
    return _counted(attendance).select("person_id", event_date="arrival_date")


def mental_health_attendances(attendance: pl.DataFrame) -> pl.DataFrame:
    """person_id, event_date of those among them that NHS England flags as mental-health attendances: by complaint,
    a self-inflicted injury, or the first diagnosis (C2)."""
    first_diagnosis = pl.col("diagnosis_codes").str.extract(r"^\s*(\d+)")
    is_mental_health = (
        is_self_harm()
        | pl.col("chief_complaint_code").is_in(list(read_codelist("mental_health_complaint"))).fill_null(False)
        | first_diagnosis.is_in(list(read_codelist("mental_health_emergency_diagnosis"))).fill_null(False)
    )
    return _counted(attendance).filter(is_mental_health).select("person_id", event_date="arrival_date")


def self_harm_attendances(attendance: pl.DataFrame) -> pl.DataFrame:
    """person_id, event_date of those among them that were for self-harm."""
    return _counted(attendance).filter(is_self_harm()).select("person_id", event_date="arrival_date")


def is_self_harm() -> pl.Expr:
    """Whether an attendance was for self-harm, by complaint, intent of the injury or patient group (C2)."""
    in_hes = pl.col("collection_code").eq_missing(HES_AE)
    return (
        pl.col("chief_complaint_code").eq_missing(SELF_HARM_COMPLAINT)
        | pl.col("injury_intent_code").eq_missing(SELF_INFLICTED)
        | (in_hes & pl.col("patient_group_code").eq_missing(SELF_HARM_PATIENT_GROUP))
    )


def count_once(attendance: pl.DataFrame) -> pl.DataFrame:
    """Attendances without repeated HES A&E rows (same person, day, provider, diagnoses and treatments, at most an hour
    after the one before) and without HES A&E rows of a person, day and type of department that ECDS holds."""
    is_hes = pl.col("collection_code").eq_missing(HES_AE)
    hes, ecds = attendance.filter(is_hes), attendance.filter(~is_hes)
    if hes.is_empty():
        return attendance
    same = ["person_id", "arrival_date", "provider_id", "diagnosis_codes", "treatment_codes"]
    ordered = hes.with_columns(_minute=_minute_of_day()).sort(*same, "_minute", "row_id", nulls_last=True)
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in same)
    repeats = is_same & (pl.col("_minute") - pl.col("_minute").shift(1) <= DUPLICATE_WITHIN_MINUTES)
    kept_of_ecds = ecds.filter(pl.col("is_deleted_code").fill_null("0") != "1")
    single = (
        ordered.filter(repeats.fill_null(False).not_())
        .drop("_minute")
        .join(kept_of_ecds, on=["person_id", "arrival_date", "department_type_code"], how="anti")
    )
    return pl.concat([ecds, single])


def _counted(attendance: pl.DataFrame) -> pl.DataFrame:
    is_emergency = (pl.col("department_type_code") == TYPE_1_DEPARTMENT) & pl.col("attendance_category_code").is_in(
        EMERGENCY_CATEGORIES
    )
    return count_once(attendance).filter(
        (is_emergency | pl.col("collection_code").eq_missing(OMOP))
        & (pl.col("is_deleted_code").fill_null("0") != "1")
        & pl.col("discharge_status_code").is_in(NOT_SEEN_IN_EMERGENCY).fill_null(False).not_()
    )


def _minute_of_day() -> pl.Expr:
    """Minutes after midnight of 09:30, 09:30:00 or 0930; null for anything else."""
    digits = pl.col("arrival_time").str.replace_all(":", "", literal=True)
    digits = pl.when(digits.str.contains(r"^([01]\d|2[0-3])[0-5]\d(\d\d)?$")).then(digits)
    return digits.str.slice(0, 2).cast(pl.Int64) * 60 + digits.str.slice(2, 2).cast(pl.Int64)
