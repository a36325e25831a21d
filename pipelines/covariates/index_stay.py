"""The index stay itself: length, legal status, way and day of discharge, delay, distance (DOMAIN B8, B9, E1)."""

import polars as pl

from pipelines.covariates.records import KEY, Records, join_on_key
from pipelines.extract import LAST_DAY_OF_MONTH_ID, month_id_of
from pipelines.stays import PLACEHOLDER_BEFORE, latest

SELF_DISCHARGE_METHODS = ["2", "6", "7"]
USUAL_RESIDENCE = "19"
CARE_HOMES = ["54", "55", "56", "65", "85"]
NOT_A_DESTINATION = ["98", "99", "ZZ"]
DESTINATIONS = {
    USUAL_RESIDENCE: "home",
    "29": "temporary",
    **dict.fromkeys(CARE_HOMES, "care_home"),
    **dict.fromkeys(("48", "49", "50", "51", "52", "53", "84", "87"), "hospital"),
    **dict.fromkeys(("37", "38", "40", "42"), "justice"),
    **dict.fromkeys(("30", "66", "88", "89"), "other"),
}
OUT_OF_AREA = "10"
DELAY = ["start_date", "end_date", "first_day", "last_day"]
SATURDAY = 6


def measure(records: Records) -> pl.DataFrame:
    """Covariates of the index stay, a row per index row."""
    own = records.index.select(
        *KEY,
        *length(),
        *legal_status(),
        *way_of_discharge(),
        *calendar(),
        *place(),
        age_years="age_years",
        stratum="stratum",
    )
    return join_on_key(records, [own, delayed_days(records), out_of_area(records)])


def length() -> list[pl.Expr]:
    """Days of the stay, as they are and on the log scale."""
    days = pl.col("los_days")
    return [
        days.cast(pl.Float64).log1p().alias("log_index_days"),
        days.alias("index_days"),
        (days == 0).alias("is_zero_day_index"),
        (pl.col("n_spells") > 1).alias("is_transferred"),
    ]


def legal_status() -> list[pl.Expr]:
    """True where a detention was found; that there was none is for the coverage of the table to say."""
    names = ("is_detained_on_admission", "is_detained_at_discharge", "is_ever_detained")
    return [pl.when(pl.col(name)).then(pl.lit(True)).alias(name) for name in names]


def way_of_discharge() -> list[pl.Expr]:
    """Method, destination, and the discharge that had been planned."""
    destination = pl.col("destination_code")
    is_told = destination.is_in(NOT_A_DESTINATION).not_()
    planned = pl.col("planned_discharge_date")
    is_planned = planned >= PLACEHOLDER_BEFORE
    return [
        pl.col("discharge_method_code").is_in(SELF_DISCHARGE_METHODS).alias("is_self_discharge"),
        pl.when(is_told).then(destination == USUAL_RESIDENCE).alias("is_discharged_home"),
        pl.when(is_told).then(destination.is_in(CARE_HOMES)).alias("is_discharged_to_care_home"),
        destination.replace_strict(DESTINATIONS, default=None, return_dtype=pl.String).alias("discharge_destination"),
        pl.when(is_planned).then(pl.lit(True)).alias("has_planned_discharge"),
        pl.when(is_planned)
        .then((pl.col("index_date") - planned).dt.total_days())
        .alias("days_after_planned_discharge"),
    ]


def calendar() -> list[pl.Expr]:
    """The day of discharge as a month of the calendar, of the year, and as a day of the week (1 is Monday)."""
    day = pl.col("index_date")
    return [
        (day.dt.year().cast(pl.Int64) * 12 + day.dt.month()).alias("index_month"),
        day.dt.month().cast(pl.String).alias("discharge_month"),
        day.dt.weekday().cast(pl.String).alias("discharge_weekday"),
        (day.dt.weekday() >= SATURDAY).alias("is_weekend_discharge"),
    ]


def place() -> list[pl.Expr]:
    """Distance from home to the ward of the last stay that tells it."""
    return [pl.col("distance_home").alias("distance_home_km")]


def delayed_days(records: Records) -> pl.DataFrame:
    """Days of the stay inside any of its periods of delay, each day once, and their share of the stay."""
    clipped = (
        pl.concat([_delays_of_spells(records), _delays_without_spell(records)])
        .select(
            *KEY,
            "los_days",
            begins=pl.max_horizontal("start_date", "first_day"),
            ends=pl.min_horizontal("end_date", "last_day"),
        )
        .filter(pl.col("begins") < pl.col("ends"))
        .sort(*KEY, "begins", "ends")
    )
    counted_to = pl.col("ends").cum_max().shift(1).over(KEY)
    fresh = (pl.col("ends") - pl.max_horizontal("begins", counted_to)).dt.total_days().clip(lower_bound=0)
    days = (
        clipped.with_columns(fresh=fresh)
        .group_by(KEY)
        .agg(n_delayed_days_index=pl.col("fresh").sum(), los_days=pl.col("los_days").first())
    )
    share = pl.when(pl.col("los_days") > 0).then(pl.col("n_delayed_days_index") / pl.col("los_days"))
    return days.select(*KEY, "n_delayed_days_index", delayed_share_index=share)


def _delays_of_spells(records: Records) -> pl.DataFrame:
    """Periods of delay of the stay's own spells, each with the first and last day of its spell."""
    own = (
        records.index.select(*KEY, "los_days", "spells")
        .explode("spells")
        .unnest("spells")
        .explode("spell_ids")
        .rename({"spell_ids": "spell_id", "spell_start": "first_day", "spell_end": "last_day"})
    )
    return own.join(_delays(records), on=["person_id", "spell_id"]).select(*KEY, "los_days", *DELAY)


def _delays_without_spell(records: Records) -> pl.DataFrame:
    """Periods that name no spell the extract holds for the person belong to the stay that they began in."""
    known = records.tables["spell"].select("person_id", "spell_id").unique()
    nowhere = _delays(records).join(known, on=["person_id", "spell_id"], how="anti")
    index = records.index.select(*KEY, "los_days", first_day="admission_date", last_day="index_date")
    begins_inside = pl.col("start_date").is_between(pl.col("first_day"), pl.col("last_day"))
    return index.join(nowhere, on="person_id").filter(begins_inside).select(*KEY, "los_days", *DELAY)


def _delays(records: Records) -> pl.DataFrame:
    """Periods of delay as they were last sent. One without an end that stopped arriving ended with its last month, or
    with its spell if that was sooner; a placeholder is no start."""
    stopped = pl.when(pl.col("month_id") < records.facts.last_month_id).then(LAST_DAY_OF_MONTH_ID)
    provider = pl.when(pl.col("spell_id").is_null()).then("provider_id")
    sent = records.tables["delayed_discharge"].with_columns(provider_without_id=provider)
    return (
        latest(sent, ["person_id", "spell_id", "provider_without_id", "start_date"])
        .filter(pl.col("start_date") >= PLACEHOLDER_BEFORE)
        .select("person_id", "spell_id", "start_date", end_date=pl.coalesce("end_date", stopped))
    )


def out_of_area(records: Records) -> pl.DataFrame:
    """Rows whose stay was an inappropriate out-of-area placement: ReasonOAT 10 of a spell's referral, in a record of a
    month of the stay (NHS England's measure OAP01)."""
    placed = records.tables["referral"].filter(pl.col("out_of_area_code") == OUT_OF_AREA)
    spells = records.tables["spell"].join(
        placed.select("person_id", "record_id", "referral_id").drop_nulls().unique(),
        on=["person_id", "record_id", "referral_id"],
        how="semi",
    )
    month = pl.col("month_id").is_between(month_id_of(pl.col("admission_date")), month_id_of(pl.col("index_date")))
    return (
        records.index.select(*KEY, "admission_date")
        .join(spells.select("person_id", "month_id", "start_date"), on="person_id")
        .filter(month & (pl.col("start_date") <= pl.col("index_date")))
        .select(KEY)
        .unique()
        .with_columns(is_out_of_area=pl.lit(True))
    )
