"""Care in the community at discharge: orders, teams, care programme approach and care plans (DOMAIN B6, E1)."""

import polars as pl

from pipelines.covariate_registry import EVER
from pipelines.covariates.records import KEY, Records, join_on_key, up_to_time_zero
from pipelines.extract import LAST_DAY_OF_MONTH_ID
from pipelines.stays import latest

COMMUNITY_TEAMS = {"cmht": ["A06"], "early_intervention": ["A14"], "assertive_outreach": ["A08"]}
LONGEST_ORDER_DAYS = 3650
TEAM_DAYS = 31  # the month of discharge or the month before


def measure(records: Records) -> pl.DataFrame:
    """Covariates of community care, a row per index row; True where something was found."""
    parts = (community_order, treatment_order, teams, care_programme, care_plans)
    return join_on_key(records, [part(records) for part in parts])


def community_order(records: Records) -> pl.DataFrame:
    """Rows with an order of any kind that began before and had not ended at discharge."""
    return _in_force(records, records.tables["community_order"]).with_columns(has_community_order=pl.lit(True))


def treatment_order(records: Records) -> pl.DataFrame:
    """Rows with a community treatment order in force at discharge; recalls and conditional discharges are none."""
    orders = records.tables["community_order"].filter(pl.col("order_kind_code") == "CTO")
    return _in_force(records, orders).with_columns(has_community_treatment_order=pl.lit(True))


def _in_force(records: Records, orders: pl.DataFrame) -> pl.DataFrame:
    """Orders as they were last sent: an episode holds an order, and any number of recalls from it (MHS403 to 405), each
    with its own start. One without an end ended when it ran out, or with the last month it was sent for (B8); an expiry
    before the start is none."""
    expiry = pl.when(pl.col("expiry_date") >= pl.col("start_date")).then("expiry_date")
    known = latest(orders, ["person_id", "episode_id", "order_kind_code", "start_date"]).with_columns(
        end_date=pl.coalesce("end_date", pl.min_horizontal(expiry, _stopped(records)))
    )
    is_open = (pl.col("end_date") >= pl.col("index_date")).fill_null(True)
    return up_to_time_zero(records, known, "start_date", LONGEST_ORDER_DAYS).filter(is_open).select(KEY).unique()


def _stopped(records: Records) -> pl.Expr:
    """Last day of the last month that a row was sent for; null where that is the last month of the extract."""
    return pl.when(pl.col("month_id") < records.facts.last_month_id).then(LAST_DAY_OF_MONTH_ID)


def teams(records: Records) -> pl.DataFrame:
    """Teams of referrals in the records of the month of discharge or the month before. Records of a month that ends
    after the discharge do not count, since they may tell of what came after it."""
    known = records.tables["referral_team"].with_columns(month_end=LAST_DAY_OF_MONTH_ID)
    recent = up_to_time_zero(records, known, "month_end", TEAM_DAYS)
    code = pl.col("team_type_code")
    return recent.group_by(KEY).agg(
        **{
            f"has_{name}_team": pl.when(code.is_in(codes).any()).then(pl.lit(True))
            for name, codes in COMMUNITY_TEAMS.items()
        }
    )


def care_programme(records: Records) -> pl.DataFrame:
    """Episodes that were open at discharge. One without an end that stopped arriving ended with its last month; without
    ids those of a provider that began on one day are one."""
    provider = pl.when(pl.col("episode_id").is_null()).then("provider_id")
    known = records.tables["care_programme"].with_columns(provider_without_id=provider)
    episodes = latest(known, ["person_id", "episode_id", "provider_without_id", "start_date"]).with_columns(
        end_date=pl.coalesce("end_date", _stopped(records))
    )
    return (
        up_to_time_zero(records, episodes, "start_date", EVER)
        .filter((pl.col("end_date") >= pl.col("index_date")).fill_null(True))
        .group_by(KEY)
        .agg(days_on_care_programme=pl.col("days").max())
        .with_columns(is_on_care_programme=pl.lit(True))
    )


def care_plans(records: Records) -> pl.DataFrame:
    """Rows with a care plan that was made or updated in [-365, 0]."""
    plans = records.tables["care_plan"]
    days = pl.concat([plans.select("person_id", day=name) for name in ("created_date", "updated_date")])
    return (
        up_to_time_zero(records, days.drop_nulls("day"), "day", 365)
        .group_by(KEY)
        .agg(days_since_care_plan=pl.col("days").min())
        .with_columns(has_care_plan_365d_before=pl.lit(True))
    )
