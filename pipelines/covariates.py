"""What was known before time zero: one short function per group of covariates, each with its look-back window.

Choice made (DOMAIN E1): windows are [start, end) in whole days from the index date and nothing after discharge counts.
A value that no source holds is null, never 0; the design decides what to do with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from pipelines.emergency import emergency_attendances, self_harm_attendances
from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts
from pipelines.outcomes import ATTENDED, DID_NOT_ATTEND, attended_or_missed, crisis_contacts
from pipelines.stays import latest

KEY = ["person_id", "index_date"]
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
ETHNIC_GROUPS = {
    **dict.fromkeys("ABC", "white"),
    **dict.fromkeys("DEFG", "mixed"),
    **dict.fromkeys("HJKL", "asian"),
    **dict.fromkeys("MNP", "black"),
    **dict.fromkeys("RS", "other"),
}
COMMUNITY_TEAMS = {"cmht": ["A06"], "early_intervention": ["A14"], "assertive_outreach": ["A08"]}
SELF_DISCHARGE_METHODS = ["2", "6", "7"]
USUAL_RESIDENCE = "19"


@dataclass(frozen=True)
class Records:
    """One bucket's records, as the covariates need them. `index` has a row per index stay with its own facts;
    `stays` are all continuous stays that count as stays."""

    index: pl.DataFrame
    stays: pl.DataFrame
    tables: Mapping[str, pl.DataFrame]
    facts: ExtractFacts
    present: frozenset[str]


def measure_covariates(records: Records) -> pl.DataFrame:
    """All covariates of every index row: person_id, index_date and a column per covariate, in the order of `index`."""
    frame = records.index.select(KEY)
    for group in GROUPS:
        frame = frame.join(group(records), on=KEY, how="left", maintain_order="left")
    return frame.with_columns(_counts_known_to_be_zero(records))


def index_stay(records: Records) -> pl.DataFrame:
    """The index stay itself: age at admission, length, legal status, way of discharge, distance from home, calendar."""
    return records.index.select(
        *KEY,
        age_years=pl.col("age_years"),
        log_index_days=pl.col("los_days").cast(pl.Float64).log1p(),
        index_days=pl.col("los_days"),
        is_transferred=pl.col("n_spells") > 1,
        is_detained_on_admission=pl.col("is_detained_on_admission"),
        is_self_discharge=pl.col("discharge_method_code").is_in(SELF_DISCHARGE_METHODS),
        is_discharged_home=pl.when(pl.col("destination_code").is_in(["98", "99", "ZZ"]).not_()).then(
            pl.col("destination_code") == USUAL_RESIDENCE
        ),
        distance_home_km=pl.col("distance_home"),
        stratum=pl.col("stratum"),
        index_month=(pl.col("index_date").dt.year().cast(pl.Int64) * 12 + pl.col("index_date").dt.month()),
    )


def earlier_stays(records: Records) -> pl.DataFrame:
    """Stays before the index admission: number and days in [-730, 0) of admission, days since the last discharge."""
    window_start = pl.col("admission_date").dt.offset_by("-730d")
    end = pl.min_horizontal("end_date", pl.col("admission_date"))
    return (
        records.index.select(*KEY, "admission_date")
        .join(records.stays.select("person_id", "start_date", "end_date"), on="person_id")
        .filter((pl.col("start_date") < pl.col("admission_date")) & (pl.col("end_date") >= window_start))
        .group_by(KEY)
        .agg(
            n_prior_stays_730d=pl.len().cast(pl.Int64),
            prior_inpatient_days_730d=(end - pl.max_horizontal("start_date", window_start)).dt.total_days().sum(),
            days_since_last_discharge=(pl.col("admission_date") - pl.col("end_date")).dt.total_days().min(),
        )
    )


def demographics(records: Records) -> pl.DataFrame:
    """Sex, ethnic group (most frequent valid letter over all months, K15), marital status and deprivation: the
    months up to the index date, the latest first."""
    months = records.tables["person_month"].with_columns(month_end=LAST_DAY_OF_MONTH_ID)
    before = (
        records.index.select(KEY)
        .join(months, on="person_id")
        .filter(pl.col("month_end").dt.month_start() <= pl.col("index_date"))
        .sort("month_id", "row_id")
    )
    newest = before.group_by(KEY).agg(
        gender=pl.col("gender_code").drop_nulls().last(),
        is_married=(pl.col("marital_code").drop_nulls() == "M").last(),
        lsoa_code=pl.col("lsoa_code").drop_nulls().last(),
    )
    deprivation = records.facts.deprivation.select("lsoa_code", imd_decile="imd_2015_decile")
    return (
        records.index.select(KEY)
        .join(newest, on=KEY, how="left")
        .join(deprivation, on="lsoa_code", how="left")
        .join(_ethnic_group(months), on="person_id", how="left")
        .select(
            *KEY,
            is_female=pl.when(pl.col("gender").is_in(["1", "2"])).then(pl.col("gender") == "2"),
            ethnic_group=pl.col("ethnic_group").fill_null("unknown"),
            is_married=pl.col("is_married"),
            imd_decile=pl.col("imd_decile"),
        )
    )


def _ethnic_group(months: pl.DataFrame) -> pl.DataFrame:
    return (
        months.filter(pl.col("ethnicity_code").is_in(list(ETHNIC_GROUPS)))
        .group_by("person_id", "ethnicity_code")
        .len()
        .sort("len", "ethnicity_code", descending=[True, False])
        .group_by("person_id", maintain_order=True)
        .first()
        .select("person_id", ethnic_group=pl.col("ethnicity_code").replace_strict(ETHNIC_GROUPS, default=None))
    )


def circumstances(records: Records) -> pl.DataFrame:
    """Settled accommodation and employment as last recorded in [-365, 0]."""
    settled = _latest_status(records, "accommodation", "settled_code").select(
        *KEY, is_settled=pl.when(pl.col("settled_code").is_in(["Y", "N"])).then(pl.col("settled_code") == "Y")
    )
    employed = _latest_status(records, "employment", "employment_code").select(
        *KEY,
        is_employed=pl.when(pl.col("employment_code").is_in(["ZZ", "99"]).not_()).then(
            pl.col("employment_code").is_in(["01", "1"])
        ),
    )
    return settled.join(employed, on=KEY, how="full", coalesce=True)


def _latest_status(records: Records, table: str, code: str) -> pl.DataFrame:
    days = (pl.col("index_date") - pl.col("status_date")).dt.total_days()
    return (
        records.index.select(KEY)
        .join(records.tables[table].select("person_id", "status_date", "month_id", "row_id", code), on="person_id")
        .filter(days.is_between(0, 365) & pl.col(code).is_not_null())
        .sort("status_date", "month_id", "row_id")
        .group_by(KEY)
        .agg(pl.col(code).last())
    )


def service_use(records: Records) -> pl.DataFrame:
    """Contacts and emergency attendances in [-365, 0): attended, missed, crisis team, emergency; self-harm in
    [-730, 0)."""
    contact, team = records.tables["contact"], records.tables["referral_team"]
    emergency = records.tables["emergency_attendance"]
    counts = [
        _count_before(records, attended_or_missed(contact, ATTENDED), "n_attended_365d_before", 365),
        _count_before(records, attended_or_missed(contact, DID_NOT_ATTEND), "n_dna_365d_before", 365),
        _count_before(records, crisis_contacts(contact, team), "n_crht_365d_before", 365),
        _count_before(records, emergency_attendances(emergency), "n_ed_365d_before", 365),
        _count_before(records, self_harm_attendances(emergency), "n_self_harm_730d_before", 730),
    ]
    frame = records.index.select(KEY)
    for count in counts:
        frame = frame.join(count, on=KEY, how="left", maintain_order="left")
    return frame


def _count_before(records: Records, events: pl.DataFrame, name: str, days: int) -> pl.DataFrame:
    before = (pl.col("index_date") - pl.col("event_date")).dt.total_days()
    return (
        records.index.select(KEY)
        .join(events, on="person_id")
        .filter((before > 0) & (before <= days))
        .group_by(KEY)
        .agg(pl.len().cast(pl.Int64).alias(name))
    )


def _counts_known_to_be_zero(records: Records) -> list[pl.Expr]:
    """No event is a zero only where the extract holds the table; without it the count is unknown."""
    sources = {
        "n_prior_stays_730d": "spell",
        "prior_inpatient_days_730d": "spell",
        "n_attended_365d_before": "contact",
        "n_dna_365d_before": "contact",
        "n_crht_365d_before": "contact",
        "n_ed_365d_before": "emergency_attendance",
        "n_self_harm_730d_before": "emergency_attendance",
        "has_personality_disorder": "diagnosis",
        "has_substance_disorder": "diagnosis",
        "has_community_order": "community_order",
        **{f"has_{team}_team": "referral_team" for team in COMMUNITY_TEAMS},
    }
    return [
        pl.col(name).fill_null(False if name.startswith("has_") else 0)
        for name, table in sources.items()
        if table in records.present
    ]


def diagnoses(records: Records) -> pl.DataFrame:
    """Any personality disorder (F60-F61) or substance use disorder (F10-F19) coded in [-730, 0]."""
    code = pl.col("icd10_code")
    return (
        _between(records, records.tables["diagnosis"], "diagnosis_date", 730)
        .group_by(KEY)
        .agg(
            has_personality_disorder=code.is_in(["F60", "F61"]).any(),
            has_substance_disorder=code.is_between(pl.lit("F10"), pl.lit("F19")).any(),
        )
    )


def _between(records: Records, events: pl.DataFrame, day_column: str, days: int) -> pl.DataFrame:
    before = (pl.col("index_date") - pl.col(day_column)).dt.total_days()
    return records.index.select(KEY).join(events, on="person_id").filter(before.is_between(0, days))


def symptoms(records: Records) -> pl.DataFrame:
    """HoNOS items nearest to the index date in [-90, 0]: total of at least ten items, and items 2, 3, 6 and 11."""
    valid = records.tables["assessment"].filter(
        pl.col("tool_code").is_in(list(HONOS_ITEMS)) & pl.col("score").is_in([0.0, 1.0, 2.0, 3.0, 4.0])
    )
    item = pl.col("tool_code").replace_strict(HONOS_ITEMS, return_dtype=pl.Int64)
    nearest = (
        _between(records, valid, "assessment_date", 90)
        .sort("assessment_date", "month_id", "row_id")
        .with_columns(item=item)
        .group_by(*KEY, "item")
        .agg(pl.col("score").last())
    )
    score = pl.col("score")
    return nearest.group_by(KEY).agg(
        honos_total=pl.when(pl.len() >= 10).then(score.mean() * 12),
        **{f"honos_item_{number}": score.filter(pl.col("item") == number).first() for number in (2, 3, 6, 11)},
    )


def community_care(records: Records) -> pl.DataFrame:
    """Community treatment order at discharge, and community teams with an open referral in the month of discharge
    or the month before."""
    order = (
        _between(records, latest(records.tables["community_order"], ["person_id", "episode_id"]), "start_date", 3650)
        .filter((pl.col("end_date") >= pl.col("index_date")).fill_null(True))
        .select(KEY)
        .unique()
        .with_columns(has_community_order=pl.lit(True))
    )
    teams = records.tables["referral_team"].with_columns(month_end=LAST_DAY_OF_MONTH_ID)
    days = (pl.col("month_end") - pl.col("index_date")).dt.total_days()
    recent = records.index.select(KEY).join(teams, on="person_id").filter(days.is_between(-31, 0))
    has_team = recent.group_by(KEY).agg(
        **{f"has_{name}_team": pl.col("team_type_code").is_in(codes).any() for name, codes in COMMUNITY_TEAMS.items()}
    )
    return order.join(has_team, on=KEY, how="full", coalesce=True)


GROUPS: tuple[Callable[[Records], pl.DataFrame], ...] = (
    index_stay,
    earlier_stays,
    demographics,
    circumstances,
    service_use,
    diagnoses,
    symptoms,
    community_care,
)
