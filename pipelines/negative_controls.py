"""Outcomes that peer support cannot have changed: an effect on them is confounding that the design left (DOMAIN E3).

Choice made: a physical-health admission after time zero, all named causes together because each is rare;
and a psychiatric admission in months 13 to 24 before it, which is a test only where no covariate looks into that
window (the protocol refuses those that do).
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from pipelines.codelists import read_codelist
from pipelines.extract import ExtractFacts, Span
from pipelines.hospital import continuous_stays
from pipelines.look_back import look_back_start
from pipelines.protocol import Eligibility

KEY = ["person_id", "index_date"]
PLACEBO_FROM_DAYS, PLACEBO_UNTIL_DAYS = -730, -365


def measure_negative_controls(
    followed: pl.DataFrame,
    stays: pl.DataFrame,
    episode: pl.DataFrame | None,
    facts: ExtractFacts,
    eligibility: Eligibility,
    windows: Sequence[int],
) -> pl.DataFrame:
    """person_id, index_date, neg_control_admission_<days>d of each window and placebo_readmission_prior, in the order
    of `followed`.

    Args:
        followed: index rows with person_id, index_date, admission_date, died_day.
        stays: psychiatric stays that count, those of HES before MHSDS among them.
        episode: canonical hospital_episode rows; None where the extract has no such table.
    """
    found = followed.select(KEY)
    for days in windows:
        admitted = physical_admission(followed, episode, facts, days)
        found = found.join(admitted, on=KEY, how="left", maintain_order="left")
    placebo = placebo_stay(followed, stays, look_back_start(facts, eligibility), facts.gaps_of("stays"))
    return found.join(placebo, on=KEY, how="left", maintain_order="left")


def physical_admission(
    followed: pl.DataFrame, episode: pl.DataFrame | None, facts: ExtractFacts, days: int
) -> pl.DataFrame:
    """KEY and neg_control_admission_<days>d: whether a continuous inpatient spell with a primary diagnosis of the list
    began in (index, index + days] and before a death; null where hospital data begin after or end before the window
    does, whatever was seen in them, have a gap in it, or are not there at all."""
    name = f"neg_control_admission_{days}d"
    if episode is None:
        return followed.select(*KEY, pl.lit(None, pl.Boolean).alias(name))
    is_listed = pl.col("primary_code").str.slice(0, 3).is_in(list(read_codelist("negative_control")))
    begun = continuous_stays(episode).filter(is_listed).select("person_id", "start_date")
    day = (pl.col("start_date") - pl.col("index_date")).dt.total_days()
    day_1, last_day = (pl.col("index_date").dt.offset_by(f"{day}d") for day in (1, days))
    reach = _hospital_reach(facts)
    is_covered = (day_1 >= reach[0]) & (last_day <= reach[1]) if reach else pl.lit(False)
    for first, last in facts.gaps_of("hospital_episode"):
        is_covered &= (last_day < first) | (day_1 > last)
    until = pl.min_horizontal(pl.lit(days), "died_day")
    happened = (
        followed.select(*KEY, "died_day")
        .join(begun, on="person_id")
        .filter((day > 0) & (day <= until))
        .select(KEY)
        .unique()
        .with_columns(happened=pl.lit(True))
    )
    return followed.join(happened, on=KEY, how="left", maintain_order="left").select(
        *KEY, pl.when(is_covered).then(pl.col("happened").fill_null(False)).alias(name)
    )


def _hospital_reach(facts: ExtractFacts) -> tuple[date, date] | None:
    """First and last day that hospital episodes cover; None where the extract has a table of them without a row."""
    if facts.reach:
        return facts.reach.get("hospital_episode")
    return facts.hospital_start or facts.first_day or date.min, facts.hospital_end or facts.period_end


def placebo_stay(
    followed: pl.DataFrame, stays: pl.DataFrame, known_from: date | None, gaps: Sequence[Span] = ()
) -> pl.DataFrame:
    """KEY and placebo_readmission_prior: whether another psychiatric stay began in [index - 730, index - 365); null
    where the sources do not reach back to the start of that window or have a gap in it."""
    day = (pl.col("start_date") - pl.col("index_date")).dt.total_days()
    happened = (
        followed.select(*KEY, "admission_date")
        .join(stays.select("person_id", "start_date"), on="person_id")
        .filter(
            (day >= PLACEBO_FROM_DAYS) & (day < PLACEBO_UNTIL_DAYS) & (pl.col("start_date") < pl.col("admission_date"))
        )
        .select(KEY)
        .unique()
        .with_columns(happened=pl.lit(True))
    )
    opens, closes = (
        pl.col("index_date").dt.offset_by(f"{days}d") for days in (PLACEBO_FROM_DAYS, PLACEBO_UNTIL_DAYS - 1)
    )
    reaches_back = opens >= pl.lit(known_from, pl.Date)
    for first, last in gaps:
        reaches_back &= (closes < first) | (opens > last)
    return followed.join(happened, on=KEY, how="left", maintain_order="left").select(
        *KEY,
        placebo_readmission_prior=pl.when(reaches_back.fill_null(False)).then(pl.col("happened").fill_null(False)),
    )
