"""What happened after time zero: readmission, death, contacts, emergency use; and when observation ended.

Choice made (DOMAIN A5, K11-K15): the first later adult psychiatric stay at any provider within the follow-up; death
competes; the end of the data and a provider's silence censor. A value that was not observed is null, never 0.
"""

from collections.abc import Mapping

import polars as pl

from pipelines.emergency import emergency_attendances, mental_health_attendances
from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts, month_id_of
from pipelines.protocol import FollowUp
from pipelines.stays import deaths, latest

KEY = ["person_id", "index_date"]
ATTENDED = ["5", "6"]
DID_NOT_ATTEND = ["3"]
CRISIS_TEAMS = ["A02", "A03", "A04"]


def measure_outcomes(
    index: pl.DataFrame,
    stays: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    facts: ExtractFacts,
    follow_up: FollowUp,
    has_emergency: bool,
) -> pl.DataFrame:
    """Outcomes of each index row (person_id, index_date, provider_id as submitted), in the order of `index`.

    `stays` holds the stays that count as readmissions. Returns the columns of the run folder's outcomes.parquet
    (days after the index date; readmitted_365d and so on keep their names whatever `follow_up.days` is, which is
    why the protocol allows another length only together with the outcome's documentation).
    """
    observed = observation_end(index, tables["death"], facts, follow_up)
    readmissions = _readmissions(observed, stays, follow_up)
    parts = [
        _count(observed, attended_or_missed(tables["contact"], DID_NOT_ATTEND), "n_dna_365d", follow_up),
        _count(observed, crisis_contacts(tables["contact"], tables["referral_team"]), "n_crht_365d", follow_up),
        _count(observed, emergency_attendances(tables["emergency_attendance"]), "n_ed_365d", follow_up),
        _count(observed, mental_health_attendances(tables["emergency_attendance"]), "n_mh_ed_365d", follow_up),
    ]
    frame = observed.join(readmissions, on=KEY, how="left", maintain_order="left")
    for part in parts:
        frame = frame.join(part, on=KEY, how="left", maintain_order="left")
    return _null_where_unobserved(frame, has_emergency).select(
        *KEY,
        "readmitted_365d",
        "days_to_readmission",
        "n_readmissions_365d",
        "days_in_hospital_365d",
        "is_first_readmission_formal",
        "is_formally_readmitted_365d",
        "died_day",
        "censored_day",
        "n_dna_365d",
        "n_crht_365d",
        "n_ed_365d",
        "n_mh_ed_365d",
    )


def observation_end(index: pl.DataFrame, death: pl.DataFrame, facts: ExtractFacts, follow_up: FollowUp) -> pl.DataFrame:
    """Adds died_day (1..days, else null), censored_day (0..days-1, else null) and last_day, the last day whose
    events count: the earliest of the end of follow-up, of observation, and death."""
    next_month = month_id_of(pl.col("index_date")) + 1
    silent = (pl.col("silent_from_month_id").fill_null(next_month) - 1).alias("month_id")
    ends = []
    if "end_of_data" in follow_up.censor_at:
        ends.append(pl.lit(facts.period_end))
    if "provider_silence" in follow_up.censor_at:
        ends.append(pl.when(pl.col("month_id") < facts.last_month_id).then(LAST_DAY_OF_MONTH_ID))
    observed_until = pl.min_horizontal(*ends) if ends else pl.lit(None, pl.Date)
    return (
        index.select(*KEY, "provider_id")
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
        .drop("silent_from_month_id", "month_id", "death_date", "provider_id")
    )


def attended_or_missed(contact: pl.DataFrame, attendance_codes: list[str]) -> pl.DataFrame:
    """person_id, event_date of contacts with one of the attendance codes, each contact once."""
    return (
        _each_contact_once(contact)
        .filter(pl.col("attendance_code").is_in(attendance_codes))
        .select("person_id", event_date="contact_date")
    )


def crisis_contacts(contact: pl.DataFrame, referral_team: pl.DataFrame) -> pl.DataFrame:
    """Attended contacts of referrals to a crisis resolution or home treatment team (K14)."""
    return _team_contacts(contact, referral_team, CRISIS_TEAMS)


def _team_contacts(contact: pl.DataFrame, referral_team: pl.DataFrame, team_types: list[str]) -> pl.DataFrame:
    teams = (
        referral_team.filter(pl.col("team_type_code").is_in(team_types))
        .select("person_id", "record_id", "referral_id")
        .drop_nulls()
        .unique()
    )
    return (
        _each_contact_once(contact)
        .filter(pl.col("attendance_code").is_in(ATTENDED))
        .join(teams, on=["person_id", "record_id", "referral_id"], how="semi", maintain_order="left")
        .select("person_id", event_date="contact_date")
    )


def _each_contact_once(contact: pl.DataFrame) -> pl.DataFrame:
    named = contact.filter(pl.col("contact_id").is_not_null())
    nameless = contact.filter(pl.col("contact_id").is_null())
    return pl.concat([latest(named, ["person_id", "contact_id"]), nameless])


def _readmissions(observed: pl.DataFrame, stays: pl.DataFrame, follow_up: FollowUp) -> pl.DataFrame:
    """Readmissions on day 1..last_day of each index row, and days in hospital to the end of what was observed."""
    later = stays.select("person_id", "start_date", "end_date", "is_detained_on_admission")
    day = (pl.col("start_date") - pl.col("index_date")).dt.total_days()
    end_day = (pl.col("end_date") - pl.col("index_date")).dt.total_days()
    return (
        observed.select(*KEY, "last_day")
        .join(later, on="person_id")
        .with_columns(day=day)
        .filter((pl.col("day") > 0) & (pl.col("day") <= pl.col("last_day")))
        .with_columns(days_in=pl.min_horizontal(end_day, "last_day") - pl.col("day"))
        .sort("person_id", "index_date", "day")
        .group_by(KEY)
        .agg(
            days_to_readmission=pl.col("day").first(),
            is_first_readmission_formal=pl.col("is_detained_on_admission").first(),
            n_readmissions_365d=pl.len().cast(pl.Int64),
            days_in_hospital_365d=pl.col("days_in").sum(),
        )
    )


def _count(observed: pl.DataFrame, events: pl.DataFrame, name: str, follow_up: FollowUp) -> pl.DataFrame:
    day = (pl.col("event_date") - pl.col("index_date")).dt.total_days()
    return (
        observed.select(*KEY, "last_day")
        .join(events, on="person_id")
        .filter((day > 0) & (day <= pl.col("last_day")))
        .group_by(KEY)
        .agg(pl.len().cast(pl.Int64).alias(name))
    )


def _null_where_unobserved(frame: pl.DataFrame, has_emergency: bool) -> pl.DataFrame:
    """Counts are known only when follow-up was complete, or ended by death."""
    died_first = (pl.col("died_day") <= pl.col("censored_day")).fill_null(False)
    is_complete = pl.col("censored_day").is_null() | died_first
    counts = ["n_readmissions_365d", "days_in_hospital_365d", "n_dna_365d", "n_crht_365d"]
    was_readmitted = pl.col("days_to_readmission").is_not_null()
    emergency_known = is_complete & pl.lit(has_emergency)
    return frame.with_columns(
        *[pl.when(is_complete).then(pl.col(name).fill_null(0)).alias(name) for name in counts],
        n_ed_365d=pl.when(emergency_known).then(pl.col("n_ed_365d").fill_null(0)),
        n_mh_ed_365d=pl.when(emergency_known).then(pl.col("n_mh_ed_365d").fill_null(0)),
        readmitted_365d=pl.when(was_readmitted).then(pl.lit(True)).when(is_complete).then(pl.lit(False)),
        is_formally_readmitted_365d=pl.when(was_readmitted)
        .then("is_first_readmission_formal")
        .when(is_complete)
        .then(pl.lit(False)),
    )
