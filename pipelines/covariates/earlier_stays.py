"""Psychiatric stays before the index admission: how many, how long, how long ago."""

import polars as pl

from pipelines.covariates.records import KEY, Records

CAP = 4


def measure(records: Records) -> pl.DataFrame:
    """Covariates of earlier stays; rows without any earlier stay have none."""
    before = stays_before(records)
    days_inside = {
        days: (pl.col("left") - pl.max_horizontal("start_date", _opens(days))).dt.total_days().clip(lower_bound=0)
        for days in (730, 365)
    }
    is_recent = pl.col("left") >= _opens(365)
    measured = before.group_by(KEY).agg(
        n_prior_stays_730d=pl.len().cast(pl.Int64),
        n_prior_stays_365d=is_recent.sum().cast(pl.Int64),
        prior_inpatient_days_730d=days_inside[730].sum(),
        prior_inpatient_days_365d=days_inside[365].sum(),
        days_since_last_discharge=(pl.col("admission_date") - pl.col("end_date")).dt.total_days().min(),
    )
    capped = pl.col("n_prior_stays_730d").clip(upper_bound=CAP)
    # Nothing in the last year is for the coverage of the year to say, as for those without any earlier stay.
    has_recent = pl.col("n_prior_stays_365d") > 0
    recent = [
        pl.when(has_recent).then(name).alias(name) for name in ("n_prior_stays_365d", "prior_inpatient_days_365d")
    ]
    return measured.with_columns(capped.alias("n_prior_stays_730d_capped"), *recent)


def stays_before(records: Records) -> pl.DataFrame:
    """Each index row's stays with a day in [-730, 0) of its admission; `left` is the last day that lies before it."""
    return (
        records.index.select(*KEY, "admission_date")
        .join(records.stays.select("person_id", "start_date", "end_date"), on="person_id")
        .filter((pl.col("start_date") < pl.col("admission_date")) & (pl.col("end_date") >= _opens(730)))
        .with_columns(left=pl.min_horizontal("end_date", "admission_date"))
    )


def _opens(days: int) -> pl.Expr:
    return pl.col("admission_date").dt.offset_by(f"-{days}d")
