"""What is known of a look-back: the extract holds the tables over all of it, over some of it, or not at all.

Choice made: a count or a share is that of its whole look-back or null, since of one that is covered in part it would
be too small for some months and not for others; months between a table's first and last are part of it. An indicator
is true where the thing was seen, whatever was not, and false only where all is covered. Days since the latest event are
known where no month in between is missing. A CDM observes each person from another day on (observation_period).
"""

from datetime import date

import polars as pl

from pipelines.covariate_registry import EVER, OF_THE_COHORT, REGISTRY, Covariate, Form
from pipelines.covariates.records import KEY, Records

Reach = tuple[date, date]
KINDS: dict[Form, type[pl.DataType]] = {
    "count": pl.Int64,
    "days_since": pl.Int64,
    "rate": pl.Float64,
    "indicator": pl.Boolean,
    "category": pl.String,
}
OF_THE_WHOLE: tuple[Form, ...] = ("count", "rate")
NOTHING: dict[Form, int | float | bool] = {"count": 0, "rate": 0.0, "indicator": False}


def state_known_absences(records: Records, measured: pl.DataFrame) -> pl.DataFrame:
    """`measured` (a row per index row, in its order) with 0 or False for covariates of which nothing was found where
    that is knowledge, and null where what was found is not all there was. Every column gets the type of its form."""
    days = records.index.select(*KEY, "admission_date")
    frame = pl.concat([measured, days.select("admission_date"), observed_from(records, days)], how="horizontal")
    columns = []
    for name, covariate in REGISTRY.items():
        if name in OF_THE_COHORT:
            continue
        value = _typed(covariate)
        if covariate.none_is_known:
            nothing = pl.lit(NOTHING[covariate.form])
            is_none = value.is_null() & is_covered(records, covariate)
            value = pl.when(is_none).then(nothing.cast(KINDS[covariate.form])).otherwise(value)
        if covariate.form in OF_THE_WHOLE:
            value = pl.when(is_covered(records, covariate)).then(value)
        if covariate.form == "days_since" and covariate.look_back_days < EVER:
            value = pl.when(is_latest(records, covariate, value)).then(value)
        columns.append(value.alias(name))
    return frame.select(*KEY, *columns)


def is_covered(records: Records, covariate: Covariate) -> pl.Expr:
    """Whether the extract holds the covariate's tables over its whole look-back; needs admission_date, index_date and
    `:observed_from`."""
    reaches = [reach_of(records, table) for table in covariate.tables]
    known = [reach for reach in reaches if reach is not None]
    if len(known) < len(reaches):
        return pl.lit(False)
    day = pl.col("admission_date" if covariate.before == "admission" else "index_date")
    last = pl.col("admission_date" if covariate.before == "admission" and covariate.look_back_days else "index_date")
    covered = last <= min(end for _, end in known)
    opens = day.dt.offset_by(f"-{covariate.look_back_days}d")
    for first, end in (gap for table in covariate.tables for gap in records.facts.gaps_of(table)):
        covered &= (last < first) | (opens > end)
    if covariate.look_back_days >= EVER:
        return covered
    observed = (opens >= pl.col(":observed_from")).fill_null(True)
    return covered & observed & (opens >= max(start for start, _ in known))


def is_latest(records: Records, covariate: Covariate, days: pl.Expr) -> pl.Expr:
    """Whether an event `days` ago is the latest: the extract holds the tables from there to the day it counts from."""
    day = pl.col("admission_date" if covariate.before == "admission" else "index_date")
    known = pl.lit(True)
    for table in covariate.tables:
        reach = reach_of(records, table)
        if reach is not None:
            known &= day <= reach[1]
        for first, end in records.facts.gaps_of(table):
            known &= (day < first) | ((day - pl.lit(end)).dt.total_days() > days)
    return known


def reach_of(records: Records, table: str) -> Reach | None:
    """First and last day over which the extract holds a table as the registry names it; None where it does not."""
    facts = records.facts
    if table == "stays":
        first = records.stays_from or facts.first_day or date.min
        return (first, facts.period_end) if "spell" in records.present else None
    return facts.reach_of(table) if table.partition(".")[0] in records.present else None


def observed_from(records: Records, days: pl.DataFrame) -> pl.DataFrame:
    """`:observed_from` of each index row: the start of the observation period that holds it; null without one."""
    periods = records.tables["observation_period"].select("person_id", "start_date", "end_date")
    holds = pl.col("index_date").is_between(pl.col("start_date"), pl.col("end_date"))
    started = (
        days.join(periods, on="person_id")
        .filter(holds)
        .group_by(KEY)
        .agg(pl.col("start_date").min().alias(":observed_from"))
    )
    return days.join(started, on=KEY, how="left", maintain_order="left").select(":observed_from")


def _typed(covariate: Covariate) -> pl.Expr:
    value = pl.col(covariate.name)
    return value.cast(KINDS[covariate.form]) if covariate.form in KINDS else value
