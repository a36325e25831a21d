"""When observation of each index row ended: the end of follow-up, of the data, of a provider's submissions, a reason
of the person's own (leaving.py), or death.

Choice made (DOMAIN I15-I17, K12, K15): death competes; all else censors, as far as the protocol names it.
"""

import polars as pl

from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts, month_id_of
from pipelines.outcomes.seen import KEY
from pipelines.protocol import FollowUp
from pipelines.stays import deaths


def observation_end(
    index: pl.DataFrame, death: pl.DataFrame, left: pl.Series, facts: ExtractFacts, follow_up: FollowUp
) -> pl.DataFrame:
    """Adds died_day (1..days, else null), censored_day (0..days-1, else null) and last_day, the last day whose
    events count: the earliest of the end of follow-up, of observation, and death. `left`: leaving.day_of_leaving."""
    next_month = month_id_of(pl.col("index_date")) + 1
    silent = (pl.col("silent_from_month_id").fill_null(next_month) - 1).alias("month_id")
    ends = []
    if "end_of_data" in follow_up.censor_at:
        ends.append(pl.lit(facts.period_end))
    if "provider_silence" in follow_up.censor_at:
        ends.append(pl.when(pl.col("month_id") < facts.last_month_id).then(LAST_DAY_OF_MONTH_ID))
    observed_until = pl.min_horizontal("left_date", *ends)
    return (
        index.select(*KEY, "provider_id", left_date=left)
        .with_columns(month_id=month_id_of(pl.col("index_date")))
        .join(facts.silence, on=["provider_id", "month_id"], how="left", maintain_order="left")
        .with_columns(silent)
        .join(deaths(death), on="person_id", how="left", maintain_order="left")
        .with_columns(
            died_day=(pl.col("death_date") - pl.col("index_date")).dt.total_days(),
            censored_day=pl.max_horizontal((observed_until - pl.col("index_date")).dt.total_days(), pl.lit(0)),
        )
        .with_columns(
            died_day=pl.when(pl.col("died_day").is_between(1, follow_up.days)).then("died_day"),
            censored_day=pl.when(pl.col("censored_day") < follow_up.days).then("censored_day"),
        )
        .with_columns(last_day=pl.min_horizontal(pl.lit(follow_up.days), "died_day", "censored_day"))
        .drop("silent_from_month_id", "month_id", "death_date", "provider_id", "left_date")
    )
