"""Diagnoses coded up to the index date: personality, substance use and psychotic disorders (DOMAIN E1)."""

import polars as pl

from pipelines.covariate_registry import EVER
from pipelines.covariates.records import KEY, Records, up_to_time_zero

TWO_YEARS = 730


def measure(records: Records) -> pl.DataFrame:
    """True where a code was found; rows without any are missing or null."""
    coded_before = up_to_time_zero(records, records.tables["diagnosis"], "diagnosis_date", EVER)
    recent = pl.col("days") <= TWO_YEARS
    found = {name: condition.fill_null(False) for name, condition in coded().items()}
    aggregated = {name: (condition & recent).any() for name, condition in found.items()} | {
        f"{name}_ever": condition.any()
        for name, condition in found.items()
        if name != "has_secondary_substance_disorder"
    }
    return (
        coded_before.group_by(KEY)
        .agg(**aggregated)
        .with_columns(pl.when(pl.col(name)).then(pl.lit(True)).alias(name) for name in aggregated)
    )


def coded() -> dict[str, pl.Expr]:
    """Which rows of the table `diagnosis` say so, in whatever position unless a position is named."""
    code = pl.col("icd10_code")
    is_substance = code.is_between(pl.lit("F10"), pl.lit("F19"))
    return {
        "has_personality_disorder": code.is_in(["F60", "F61"]),
        "has_substance_disorder": is_substance,
        "has_secondary_substance_disorder": is_substance & (pl.col("position_code") == "S"),
        "has_psychotic_disorder": code.is_between(pl.lit("F20"), pl.lit("F29")),
    }
