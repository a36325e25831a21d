"""Diagnosis rows become the diagnosis of an index stay: cleaning, the nearest one, strata and exclusions.

Choice made (DOMAIN A3, K8, K9): three characters of ICD-10 chapter F; the primary diagnosis nearest to discharge within
90 days either side, else that of a psychiatric hospital episode inside the stay, else unknown.
"""

from collections.abc import Mapping

import polars as pl

from pipelines.hospital import is_psychiatric
from pipelines.id_order import sort_by_id

KEY = ["person_id", "index_date"]
NEAREST_WITHIN_DAYS = 90
ICD10_SCHEME = "02"
EPISODE_DIAGNOSES = ["diagnosis_1_code", "diagnosis_2_code", "diagnosis_3_code"]


def clean_icd10(code: str, scheme: str | None = None) -> pl.Expr:
    """Three characters of an ICD-10 F code: dots and blanks stripped, X read as 0; null for anything else."""
    three = (
        pl.col(code)
        .str.to_uppercase()
        .str.replace_all(r"[.\s]", "")
        .str.replace_all("X", "0", literal=True)
        .str.slice(0, 3)
    )
    usable = three.str.contains(r"^F\d\d$")
    if scheme is not None:
        usable &= pl.col(scheme).fill_null(ICD10_SCHEME) == ICD10_SCHEME
    return pl.when(usable).then(three)


def add_diagnosis(index: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Adds primary_icd10 (three characters or null), stratum and has_organic to rows with person_id, admission_date
    and index_date. `tables` has `diagnosis` with a cleaned icd10_code, and `hospital_episode`."""
    diagnosis = tables["diagnosis"].filter(pl.col("icd10_code").is_not_null() & pl.col("diagnosis_date").is_not_null())
    episode = _psychiatric_episodes(tables["hospital_episode"])
    nearest = _nearest_primary(index, diagnosis)
    fallback = _episode_inside_stay(index, episode)
    organic = _organic(index, diagnosis, episode)
    return (
        index.join(nearest, on=KEY, how="left", maintain_order="left")
        .join(fallback, on=KEY, how="left", maintain_order="left")
        .join(organic, on=KEY, how="left", maintain_order="left")
        .with_columns(
            primary_icd10=pl.coalesce("nearest_icd10", "episode_icd10"),
            has_organic=pl.col("has_organic").fill_null(False),
        )
        .with_columns(stratum=stratum_of("primary_icd10"))
        .drop("nearest_icd10", "episode_icd10")
    )


def stratum_of(code: str) -> pl.Expr:
    """Diagnostic stratum of a cleaned three-character code (A3, K8)."""
    icd10 = pl.col(code)

    def lies_in(first: str, last: str) -> pl.Expr:
        return icd10.is_between(pl.lit(first), pl.lit(last))

    return (
        pl.when(lies_in("F20", "F29"))
        .then(pl.lit("psychotic"))
        .when(lies_in("F60", "F61"))
        .then(pl.lit("personality"))
        .when(lies_in("F30", "F59") | lies_in("F62", "F69") | lies_in("F80", "F98"))
        .then(pl.lit("other"))
        .otherwise(pl.lit("unknown"))
    )


def _nearest_primary(index: pl.DataFrame, diagnosis: pl.DataFrame) -> pl.DataFrame:
    days = (pl.col("diagnosis_date") - pl.col("index_date")).dt.total_days()
    near = (
        index.select(KEY)
        .join(diagnosis.filter(pl.col("position_code") == "P"), on="person_id")
        .with_columns(days_away=days.abs())
        .filter(pl.col("days_away") <= NEAREST_WITHIN_DAYS)
    )
    return (
        sort_by_id(near, [-pl.col("days_away"), -days, "month_id"])
        .group_by(KEY, maintain_order=True)
        .agg(nearest_icd10=pl.col("icd10_code").last())
    )


def _psychiatric_episodes(episode: pl.DataFrame) -> pl.DataFrame:
    cleaned = {name: clean_icd10(name) for name in EPISODE_DIAGNOSES}
    return episode.filter(is_psychiatric()).select(
        "person_id",
        "row_id",
        "episode_start_date",
        "all_diagnosis_codes",
        *[code.alias(name) for name, code in cleaned.items()],
    )


def _episode_inside_stay(index: pl.DataFrame, episode: pl.DataFrame) -> pl.DataFrame:
    inside = (
        index.select(*KEY, "admission_date")
        .join(episode.drop_nulls("diagnosis_1_code"), on="person_id")
        .filter(pl.col("episode_start_date").is_between(pl.col("admission_date"), pl.col("index_date")))
    )
    return (
        sort_by_id(inside, ["episode_start_date"])
        .group_by(KEY, maintain_order=True)
        .agg(episode_icd10=pl.col("diagnosis_1_code").last())
    )


def _organic(index: pl.DataFrame, diagnosis: pl.DataFrame, episode: pl.DataFrame) -> pl.DataFrame:
    """Any F00-F09, primary or secondary in whatever position, dated on or before discharge; a provisional diagnosis is
    neither."""
    certain = diagnosis.filter(pl.col("position_code").ne_missing("V"))
    coded = certain.select("person_id", "icd10_code", day="diagnosis_date")
    admitted = [
        episode.select("person_id", icd10_code=pl.col(name), day="episode_start_date") for name in EPISODE_DIAGNOSES
    ]
    further = (
        episode.drop_nulls("all_diagnosis_codes")
        .select("person_id", day="episode_start_date", code=pl.col("all_diagnosis_codes").str.split(" "))
        .explode("code")
        .select("person_id", icd10_code=clean_icd10("code"), day="day")
    )
    return (
        index.select(KEY)
        .join(pl.concat([coded, *admitted, further]), on="person_id")
        .filter((pl.col("day") <= pl.col("index_date")) & pl.col("icd10_code").str.starts_with("F0"))
        .select(KEY)
        .unique()
        .with_columns(has_organic=pl.lit(True))
    )
