"""HoNOS ratings nearest to the index date (DOMAIN B10)."""

import polars as pl

from pipelines.covariates.records import KEY, Records, up_to_time_zero
from pipelines.id_order import sort_by_id

HONOS_ITEMS = {
    "979641000000103": 1,
    "979651000000100": 2,
    "979661000000102": 3,
    "979671000000109": 4,
    "979681000000106": 5,
    "979691000000108": 6,
    "979701000000108": 7,
    "979711000000105": 8,
    "979721000000104": 9,
    "979731000000102": 10,
    "979741000000106": 11,
    "979751000000109": 12,
}


def measure(records: Records) -> pl.DataFrame:
    """Covariates of symptoms; rows without a rating have none."""
    return honos(records)


def honos(records: Records) -> pl.DataFrame:
    """Each item nearest to the index date in [-90, 0]: the total of at least ten, items 2, 3, 6 and 11, and how long
    ago the latest was rated."""
    valid = records.tables["assessment"].filter(
        pl.col("tool_code").is_in(list(HONOS_ITEMS)) & pl.col("score").is_in([0.0, 1.0, 2.0, 3.0, 4.0])
    )
    item = pl.col("tool_code").replace_strict(HONOS_ITEMS, return_dtype=pl.Int64)
    nearest = (
        sort_by_id(up_to_time_zero(records, valid, "assessment_date", 90), ["assessment_date", "month_id"])
        .with_columns(item=item)
        .group_by(*KEY, "item")
        .agg(pl.col("score", "days").last())
    )
    score = pl.col("score")
    return nearest.group_by(KEY).agg(
        honos_total=pl.when(pl.len() >= 10).then(score.mean() * 12),
        days_since_honos=pl.col("days").min(),
        **{f"honos_item_{number}": score.filter(pl.col("item") == number).first() for number in (2, 3, 6, 11)},
    )
