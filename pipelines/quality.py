"""Records and the cohort become counts of their quality, which add up over buckets of people.

Choice made (DOMAIN I1-I10, I13, I15, I18, B5-B10): one long table of counts, so that a bucket's counts are a few
hundred rows and the whole study's are their sum; what concerns outcomes is kept apart from what may be seen before the
design.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from pipelines.codelists import LIST_OF_COLUMN, read_codelist
from pipelines.errors import CohortError
from pipelines.extract import MONTH, MONTH_SCHEMA, ExtractFacts, month_id_of
from pipelines.outcomes import closed_referrals, observation_end
from pipelines.outcomes.leaving import PERIOD_ENDED
from pipelines.outcomes.moves import MOVED, REFERRAL
from pipelines.protocol import FollowUp
from pipelines.stays import PLACEHOLDER_BEFORE, clean_wards, latest, repair_spells, usable_deaths
from pipelines.tables import month_id

QUALITY_SCHEMA = {
    "part": pl.String,
    "subject": pl.String,
    "arm": pl.String,
    "month_id": pl.Int64,
    "state": pl.String,
    "n": pl.Int64,
}
KEY = [name for name in QUALITY_SCHEMA if name != "n"]
UNKNOWN_LEVEL = "unknown"
ICD10 = "02"
ICD10_CODE = r"^[A-Z][0-9]{2}"
CLOSED_MOVED, CLOSED_OTHERWISE, CLOSED_UNSAID = "closed_moved_away", "closed_another_reason", "closed_no_reason"
ONLY_AFTER_DISCHARGE = ("discharge_method_code", "destination_code")


@dataclass(frozen=True)
class BucketQuality:
    """Counts of one bucket (QUALITY_SCHEMA): of the records, and of what happened after time zero."""

    records: pl.DataFrame
    outcomes: pl.DataFrame


def add_up(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The counts of all people from those of disjoint sets of people, in the order they first come in."""
    return pl.concat(parts).group_by(KEY, maintain_order=True).agg(pl.col("n").sum())


def measure_bucket(
    tables: Mapping[str, pl.DataFrame],
    stays: pl.DataFrame,
    cohort: pl.DataFrame,
    outcomes: pl.DataFrame,
    facts: ExtractFacts,
    follow_up: FollowUp,
) -> BucketQuality:
    """Quality of one bucket's canonical tables and of the stays, cohort and outcomes made of them."""
    records = pl.concat([count_codes(tables), count_linkage(tables, stays, facts), count_closings(tables, follow_up)])
    followed = outcomes.join(cohort.select("person_id", "index_date", "arm", "trust"), on=["person_id", "index_date"])
    ends = count_ends(followed, stays, tables, facts, follow_up)
    after = pl.concat([count_readmission_providers(followed, stays), ends])
    return BucketQuality(records, after)


def count_codes(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Part `code`: rows of each coded column that hold a code of its list, none, or another one. Codes about a
    discharge are looked for in discharged spells only."""
    rows: list[dict[str, Any]] = []
    for (table, column), name in LIST_OF_COLUMN.items():
        frame = tables[table]
        if column in ONLY_AFTER_DISCHARGE:
            frame = frame.filter(pl.col("discharge_date").is_not_null())
        is_valid = frame[column].is_in(list(read_codelist(name)))
        rows += _code_states(f"{table}.{column}", frame[column], is_valid)
    icd10 = tables["diagnosis"].filter(pl.col("scheme_code").fill_null(ICD10) == ICD10)["diagnosis_code"]
    rows += _code_states("diagnosis.diagnosis_code", icd10, icd10.str.contains(ICD10_CODE))
    return _rows(rows)


def _code_states(subject: str, codes: pl.Series, is_valid: pl.Series) -> list[dict[str, Any]]:
    n_missing, n_valid = codes.null_count(), int(is_valid.sum())
    counts = {"valid": n_valid, "missing": n_missing, "unknown": codes.len() - n_missing - n_valid}
    return [{"part": "code", "subject": subject, "state": state, "n": n} for state, n in counts.items()]


def count_linkage(tables: Mapping[str, pl.DataFrame], stays: pl.DataFrame, facts: ExtractFacts) -> pl.DataFrame:
    """Part `linkage`: rows of spells, step by step until they are stays; `repair`: what had to be mended (K6);
    `stay`: what the stays are like."""
    newest = latest(tables["spell"], ["person_id", "spell_id"])
    repaired = repair_spells(tables["spell"], clean_wards(tables["ward_stay"]), facts)
    is_placeholder = (pl.col("start_date") < PLACEHOLDER_BEFORE) | (pl.col("discharge_date") < PLACEHOLDER_BEFORE)
    is_reversed = pl.col("discharge_date").is_between(PLACEHOLDER_BEFORE, "start_date", closed="left")
    has_no_start = pl.col("start_date").is_null() | (pl.col("start_date") < PLACEHOLDER_BEFORE)
    has_no_end = pl.col("discharge_date").is_null()
    n_unusable = newest.height - repaired.height
    steps = {
        "rows_submitted": tables["spell"].height,
        "spells_latest_month": newest.height,
        "spells_with_a_start": repaired.height,
        "spells_without_twins": int(stays["n_spells"].sum()),
        "continuous_stays": stays.height,
    }
    repairs = {
        "placeholder_date": _count(newest, is_placeholder),
        "discharge_before_start": _count(newest, is_reversed),
        "start_from_ward": _count(newest, has_no_start) - n_unusable,
        "no_start_at_all": n_unusable,
        "discharge_from_ward": _count(repaired, has_no_end & pl.col("end_date").is_not_null() & ~pl.col("is_inactive")),
        "stopped_arriving": _count(repaired, pl.col("is_inactive")),
        "still_open": _count(repaired, pl.col("end_date").is_null()),
        "death_before_records": tables["death"].height - usable_deaths(tables).height,
    }
    kinds = {
        "of_several_spells": _count(stays, pl.col("n_spells") > 1),
        "is_zero_day": _count(stays, pl.col("is_zero_day")),
        "is_place_of_safety_only": _count(stays, pl.col("is_place_of_safety_only")),
        **{f"ended_by_{end}": _count(stays, pl.col("end_reason") == end) for end in ("discharge", "death")},
        "inactive": _count(stays, pl.col("end_reason") == "inactive"),
        "open": _count(stays, pl.col("end_reason") == "open"),
    }
    parts = {"linkage": steps, "repair": repairs, "stay": kinds}
    return _rows(
        [{"part": part, "subject": name, "n": n} for part, counts in parts.items() for name, n in counts.items()]
    )


def count_readmission_providers(followed: pl.DataFrame, stays: pl.DataFrame) -> pl.DataFrame:
    """Part `readmission`: first readmissions by arm, at the provider of the index stay or at another (I13)."""
    back = followed.drop_nulls("days_to_readmission").with_columns(
        start_date=pl.col("index_date") + pl.duration(days=pl.col("days_to_readmission"))
    )
    there = stays.select("person_id", "start_date", readmitted_at="trust")
    is_same = pl.col("readmitted_at").eq_missing(pl.col("trust"))
    state = pl.when(is_same).then(pl.lit("same_provider")).otherwise(pl.lit("another_provider"))
    return _tally(back.join(there, on=["person_id", "start_date"]).with_columns(state=state), "readmission")


def count_closings(tables: Mapping[str, pl.DataFrame], follow_up: FollowUp) -> pl.DataFrame:
    """Part `closing`: closed referrals by why they, or a team's part of them, were closed; nothing where moves out of
    the area do not end observation."""
    if MOVED not in follow_up.censor_at:
        return _rows([])
    reason = pl.col("closure_reason_code")
    closed = closed_referrals(tables).group_by(REFERRAL)
    found = closed.agg(is_move=reason.is_in(follow_up.moved_away_codes).any(), is_said=reason.is_not_null().any())
    n_moved, n_said = int(found["is_move"].sum()), int(found["is_said"].sum())
    counts = {CLOSED_MOVED: n_moved, CLOSED_OTHERWISE: n_said - n_moved, CLOSED_UNSAID: found.height - n_said}
    return _rows([{"part": "closing", "subject": name, "n": n} for name, n in counts.items()])


def refuse_unknown_moves(records: pl.DataFrame, follow_up: FollowUp) -> None:
    """A protocol that counts on moves needs records that tell them: else everybody would be taken to have stayed.

    Raises CohortError where no referral was closed for that reason; `records` are the counts of everybody.
    """
    if MOVED not in follow_up.censor_at:
        return
    said = dict(records.filter(pl.col("part") == "closing").select("subject", "n").iter_rows())
    if said[CLOSED_MOVED] == 0:
        why = (
            "no closed referral of the extract says why it was closed (ReferClosReason)"
            if said[CLOSED_OTHERWISE] == 0
            else f"no referral of the extract was closed with {' or '.join(follow_up.moved_away_codes)}"
        )
        raise CohortError(f"follow_up.censor_at names moved_away, but {why}")


def count_ends(
    followed: pl.DataFrame,
    stays: pl.DataFrame,
    tables: Mapping[str, pl.DataFrame],
    facts: ExtractFacts,
    follow_up: FollowUp,
) -> pl.DataFrame:
    """Part `observation`: index stays by arm, followed to the end (or to death), or what cut that short (K12, I15);
    what ends on the same day as a move, or with an observation period, did not end by it."""
    death = usable_deaths(tables)
    submitted_as = stays.select("person_id", "provider_id", index_date="end_date")
    index = followed.join(submitted_as, on=["person_id", "index_date"], maintain_order="left")
    data_only = follow_up.model_copy(update={"censor_at": tuple(set(follow_up.censor_at) - {"provider_silence"})})
    never_thin = replace(facts, thin=pl.DataFrame(schema=MONTH_SCHEMA))
    nobody = pl.Series([None] * index.height, dtype=pl.Date)
    cut = index.select(
        "arm",
        "censored_day",
        "died_day",
        at_end_of_data=observation_end(index, death, nobody, facts, data_only)["censored_day"],
        at_silence=observation_end(index, death, nobody, never_thin, follow_up)["censored_day"],
        whoever_left=observation_end(index, death, nobody, facts, follow_up)["censored_day"],
    )
    is_whole = pl.col("censored_day").is_null() | (pl.col("died_day") <= pl.col("censored_day")).fill_null(False)
    state = (
        pl.when(is_whole)
        .then(pl.lit("whole"))
        .when(pl.col("censored_day").ne_missing(pl.col("whoever_left")))
        .then(pl.lit(PERIOD_ENDED if PERIOD_ENDED in follow_up.censor_at else MOVED))
        .when(pl.col("censored_day").eq_missing(pl.col("at_end_of_data")))
        .then(pl.lit("end_of_data"))
        .when(pl.col("censored_day").eq_missing(pl.col("at_silence")))
        .then(pl.lit("provider_sent_nothing"))
        .otherwise(pl.lit("provider_sent_too_few"))
    )
    return _tally(cut.with_columns(state=state), "observation")


def count_provider_months(facts: ExtractFacts, spells: pl.DataFrame) -> pl.DataFrame:
    """Part `provider_month`: spells in each month of each provider that ever sent one, and what the month counts as.

    `spells` as of extract.count_spells. States: submitted, too_few (extract.thin_months), nothing, before_first,
    after_last, merged (after the last month of a code that became another).
    """
    sent = facts.submissions.select(MONTH).unique()
    span = sent.group_by("provider_id").agg(first=pl.col("month_id").min(), last=pl.col("month_id").max())
    months = range(min(sent["month_id"], default=facts.last_month_id + 1), facts.last_month_id + 1)
    became = facts.successors.select(provider_id="old_provider_id", is_old=pl.lit(True)).unique()
    state = (
        pl.when(pl.col("month_id") < pl.col("first"))
        .then(pl.lit("before_first"))
        .when((pl.col("month_id") > pl.col("last")) & pl.col("is_old").fill_null(False))
        .then(pl.lit("merged"))
        .when(pl.col("month_id") > pl.col("last"))
        .then(pl.lit("after_last"))
        .when(pl.col("is_thin").fill_null(False))
        .then(pl.lit("too_few"))
        .when(pl.col("is_sent").fill_null(False))
        .then(pl.lit("submitted"))
        .otherwise(pl.lit("nothing"))
    )
    grid = span.join(spells.select("provider_id").unique(), on="provider_id", how="semi").join(
        pl.DataFrame({"month_id": list(months)}, schema={"month_id": pl.Int64}), how="cross"
    )
    return (
        grid.join(spells, on=MONTH, how="left")
        .join(sent.with_columns(is_sent=pl.lit(True)), on=MONTH, how="left")
        .join(facts.thin.with_columns(is_thin=pl.lit(True)), on=MONTH, how="left")
        .join(became, on="provider_id", how="left")
        .select(
            part=pl.lit("provider_month"),
            subject="provider_id",
            arm=pl.lit(None, pl.String),
            month_id="month_id",
            state=state,
            n=pl.col("n_spells").fill_null(0),
        )
        .sort(KEY)
    )


def list_table_gaps(tables: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Part `table_month`: rows of each table in each month that it does not cover between its first and its last
    (`tables` as of look_back.describe_coverage)."""
    return _rows(
        [
            {
                "part": "table_month",
                "subject": table["table"],
                "month_id": month_id(*map(int, month["month"].split("-"))),
                "state": "not_covered",
                "n": month["rows"],
            }
            for table in tables
            for month in table["months_not_covered"]
        ]
    )


def count_missing(people: pl.DataFrame, baseline: pl.DataFrame) -> pl.DataFrame:
    """Part `missing`: values of each covariate that are missing or known, by arm and by month of the index date (null
    where rows have no date), among eligible rows. The level 'unknown' of a category is missing.

    `people` holds row_id, index_date, arm, is_eligible; `baseline` row_id, person_id, index_date and the covariates.
    """
    kept = people.filter("is_eligible").select("row_id", "arm", month_id=month_id_of(pl.col("index_date")))
    rows = kept.join(baseline.drop("person_id", "index_date"), on="row_id")
    names = [name for name in baseline.columns if name not in ("row_id", "person_id", "index_date")]
    missing = [_is_missing(name, baseline.schema[name]).sum().cast(pl.Int64).alias(name) for name in names]
    counts = rows.group_by("arm", "month_id").agg(pl.len().cast(pl.Int64).alias("row_id"), *missing)
    long = counts.unpivot(names, index=["arm", "month_id", "row_id"], variable_name="subject", value_name="missing")
    states = long.with_columns(known=pl.col("row_id") - pl.col("missing")).unpivot(
        ["missing", "known"], index=["arm", "month_id", "subject"], variable_name="state", value_name="n"
    )
    return states.select(part=pl.lit("missing"), **{name: pl.col(name) for name in KEY[1:]}, n="n").sort(KEY)


def _is_missing(name: str, kind: pl.DataType) -> pl.Expr:
    if kind == pl.String:
        return pl.col(name).is_null() | (pl.col(name) == UNKNOWN_LEVEL)
    return pl.col(name).is_null() | (pl.col(name).is_nan() if kind.is_float() else pl.lit(False))


def _count(frame: pl.DataFrame, condition: pl.Expr) -> int:
    return frame.filter(condition).height


def _tally(frame: pl.DataFrame, part: str) -> pl.DataFrame:
    """Rows of `frame` by arm and state."""
    counts = frame.group_by("arm", "state").agg(n=pl.len().cast(pl.Int64)).sort("arm", "state")
    return _rows([{"part": part, **row} for row in counts.to_dicts()])


def _rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    whole: Iterator[dict[str, Any]] = ({**dict.fromkeys(QUALITY_SCHEMA), **row} for row in rows)
    return pl.DataFrame(list(whole), schema=QUALITY_SCHEMA)
