"""Continuous stays become a cohort: who is eligible, when time zero is, and why everybody else is left out.

Choice made (DOMAIN A2, K3-K5, K8-K10, K16): time zero is the discharge from the index stay; a participant's index stay
is the one that holds the allocation date; both trial arms are removed from the candidates, with everything or, where
the protocol says so, from their allocation on; exposure is the allocation list and never a contact after discharge.
Attrition is recorded by every step.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from dask.base import compute
from dask.delayed import delayed

from pipelines import store
from pipelines.attrition import ATTRITION_SCHEMA, add_up_attrition, count_attrition
from pipelines.covariates import Records, measure_covariates
from pipelines.covariates.codes import measure_codes
from pipelines.diagnosis import add_diagnosis, clean_icd10
from pipelines.eligibility import (
    add_age,
    add_stays_before_mhsds,
    add_whole_persons,
    apply_rules,
    find_candidates,
    in_recruitment_window,
    keep_first_discharge,
    link_participants,
    readmission_stays,
)
from pipelines.errors import CohortError
from pipelines.extract import MONTH, ExtractFacts, add_up_spells, count_spells, months_in, thin_months
from pipelines.lake import Lake, bucket_of
from pipelines.look_back import (
    count_months,
    count_truncated,
    describe_coverage,
    describe_deaths,
    hospital_reach,
    look_back_start,
    table_gaps,
    table_reach,
)
from pipelines.negative_controls import measure_negative_controls
from pipelines.outcomes import count_observed, follow_outcomes, list_readmissions, measure_outcomes, windows_of
from pipelines.outcomes.exposure import OBSERVED_SCHEMA, READMISSION_SCHEMA
from pipelines.protocol import Eligibility, FollowUp, Protocol, outcome_kinds
from pipelines.quality import (
    QUALITY_SCHEMA,
    BucketQuality,
    add_up,
    count_missing,
    count_provider_months,
    list_table_gaps,
    measure_bucket,
    refuse_unknown_moves,
)
from pipelines.sources.participants import UNLINKED, account_of_list, bridge_participants, list_unlinked
from pipelines.sources.table import read_table
from pipelines.stays import LinkingRules, build_stays, usable_deaths
from pipelines.store import write_json, write_parquet
from pipelines.tables import PERSON_TABLES

KEY = ["person_id", "index_date"]


@dataclass(frozen=True)
class People:
    """What a set of persons contributes: their stays, their rows of the cohort with baseline and outcomes of the
    eligible ones, participants left out with the reason, and the attrition they cause (which adds up over persons).
    `observed` counts events over the days in which they were seen, `readmissions` lists every one of them
    (outcomes.exposure)."""

    stays: pl.DataFrame
    cohort: pl.DataFrame
    baseline: pl.DataFrame
    outcomes: pl.DataFrame
    observed: pl.DataFrame
    readmissions: pl.DataFrame
    excluded: pl.DataFrame
    attrition: pl.DataFrame


def follow_people(
    tables: Mapping[str, pl.DataFrame],
    facts: ExtractFacts,
    participants: pl.DataFrame,
    eligibility: Eligibility,
    follow_up: FollowUp,
    present: frozenset[str] | None = None,
    also_in_trial: pl.DataFrame | None = None,
    named: Sequence[str] = (),
) -> People:
    """Everything the study needs to know of the persons in `tables` (canonical tables of one bucket).

    `participants` are the allocation-list rows of these persons (tables.PARTICIPANT); `present` names the tables the
    extract holds (default: those that are not empty); `also_in_trial` (person_id) are people on rows of the list that
    cannot be used: whatever is wrong with the row, they took part and are no candidates; `named` are the outcomes of
    the protocol.
    """
    held = present if present is not None else frozenset(name for name, frame in tables.items() if frame.height)
    tables = {**tables, "death": usable_deaths(tables)}
    diagnosis = tables["diagnosis"].with_columns(icd10_code=clean_icd10("diagnosis_code", "scheme_code"))
    months = add_whole_persons(tables["person_month"], tables["person"])
    coded = {**tables, "diagnosis": diagnosis, "person_month": months}
    rules = LinkingRules(eligibility.link_gap_days, eligibility.transfer_gap_days, eligibility.acute_ward)
    stays = build_stays(tables, facts, rules)
    real = stays.filter(~pl.col("is_zero_day") & ~pl.col("is_place_of_safety_only"))
    real = add_stays_before_mhsds(real, tables["hospital_episode"], facts, eligibility)
    known = pl.concat([tables[name].select("person_id") for name in PERSON_TABLES]).unique()
    linked, excluded = link_participants(participants, stays, known)
    pool = in_recruitment_window(stays, eligibility)
    unusable = also_in_trial if also_in_trial is not None else participants.select("person_id").clear()
    candidates = find_candidates(pool, participants, unusable, eligibility).with_columns(arm=pl.lit("virtual"))
    index = pl.concat([linked, candidates.select(linked.columns)]).rename(
        {"start_date": "admission_date", "end_date": "index_date"}
    )
    index = add_diagnosis(add_age(index, tables["person_month"], tables["person"]), coded)
    index = keep_first_discharge(apply_rules(index, real, eligibility), eligibility).sort(KEY)
    eligible = index.filter("is_eligible")
    stays_from = look_back_start(facts, eligibility) if facts.first_day else None
    records = Records(eligible, real, coded, facts, held, stays_from)
    happened = follow_outcomes(eligible, readmission_stays(stays, eligibility), tables, facts, follow_up, held)
    outcomes = measure_outcomes(happened, tables, facts, follow_up, named)
    followed = outcomes.join(eligible.select(*KEY, "admission_date"), on=KEY, how="left", maintain_order="left")
    episode = tables["hospital_episode"] if "hospital_episode" in held else None
    windows = windows_of("neg_control_admission", follow_up, named)
    negative = measure_negative_controls(followed, real, episode, facts, eligibility, windows)
    outcomes = outcomes.join(negative, on=KEY, how="left", maintain_order="left")
    attrition = count_attrition(pool, candidates, excluded, index, eligibility)
    return People(
        stays=stays,
        cohort=_cohort_columns(index),
        baseline=measure_covariates(records),
        outcomes=outcomes,
        observed=count_observed(happened.rows, happened.events, happened.reach, follow_up, named, happened.gaps),
        readmissions=list_readmissions(happened.rows, happened.events),
        excluded=excluded,
        attrition=attrition,
    )


def _cohort_columns(index: pl.DataFrame) -> pl.DataFrame:
    return index.select(
        "person_id",
        "index_date",
        "admission_date",
        "trust",
        "stratum",
        "arm",
        "is_eligible",
        "first_failed_rule",
    )


@dataclass(frozen=True)
class Followed:
    """What one bucket of people contributes, small enough that those of all buckets can wait for each other: the frames
    of People that are still needed, by name, as compressed Arrow files. A hundred columns of a few hundred rows each
    would hold several times the memory of what is in them."""

    frames: dict[str, bytes]
    quality: BucketQuality

    def frame(self, name: str) -> pl.DataFrame:
        """One of the frames: `cohort`, `baseline`, `outcomes`, `observed`, `readmissions`, `excluded`, `attrition`."""
        return pl.read_ipc(io.BytesIO(self.frames[name]))


@dataclass(frozen=True)
class Cohort:
    """The cohort of a study. Rows of `people`, `baseline` and `outcomes` share row_id, given in the order of
    person_id and index_date; so do the rows of `observed` (one for each outcome that is counted over time) and
    `readmissions` (one for each). `quarantined` names the source lines that could not be used (of raw records: those
    of the allocation list; the extract's own are in the lake), `excluded` every row of the list that has no index stay
    (participants.UNLINKED). `quality` counts what the records and the baseline are like,
    `outcome_quality` what of follow-up was seen (quality.QUALITY_SCHEMA)."""

    people: pl.DataFrame
    baseline: pl.DataFrame
    outcomes: pl.DataFrame
    observed: pl.DataFrame
    readmissions: pl.DataFrame
    attrition: pl.DataFrame
    excluded: pl.DataFrame
    quarantined: pl.DataFrame
    account: dict[str, Any]
    quality: pl.DataFrame
    outcome_quality: pl.DataFrame


def build_cohort(lake: Lake, listed: pl.DataFrame, quarantined: pl.DataFrame, protocol: Protocol) -> Cohort:
    """The cohort of a study on raw records, one person bucket after the other on the active Dask scheduler.

    `listed` is the allocation list, `quarantined` its unusable lines (sources.participants). Raises CohortError when
    nobody can be studied.
    """
    assert protocol.eligibility is not None
    listed, quarantined = bridge_participants(listed, quarantined, lake.read_reference("person_bridge"))
    bucket = bucket_of(listed["person_id"], lake.n_buckets)
    named = quarantined.select("person_id").drop_nulls().unique(maintain_order=True)
    bucket_of_named = bucket_of(named["person_id"], lake.n_buckets)
    submitted = count_submitted_spells(lake)
    counts = count_months(lake)
    facts = lake_facts(lake, submitted, counts, protocol.follow_up)
    options = (facts, protocol.eligibility, protocol.follow_up, tuple(outcome_kinds(protocol)))
    parts = [
        delayed(_follow_bucket)(
            lake, number, listed.filter(bucket == number), named.filter(bucket_of_named == number), *options
        )
        for number in range(lake.n_buckets)
    ]
    found: Sequence[Followed] = compute(*parts)
    cohort = _number_rows(_frames(found, "cohort"))
    _refuse_empty(cohort)
    key = cohort.select("row_id", *KEY)
    baseline = _with_row_id(key, _frames(found, "baseline"))
    missing = count_missing(cohort, baseline)
    records = add_up([part.quality.records for part in found])
    refuse_unknown_moves(records, protocol.follow_up)
    if protocol.covariates.codes is not None:
        eligible = [part.filter("is_eligible") for part in _frames(found, "cohort")]
        codes = measure_codes(lake, eligible, facts, protocol.covariates.codes)
        baseline = baseline.join(codes, on=KEY, how="left", maintain_order="left")
    providers = count_provider_months(facts, submitted)
    tables = describe_coverage(counts, facts)
    gaps = list_table_gaps(tables)
    unlinked = list_unlinked(listed, quarantined, pl.concat(_frames(found, "excluded")))
    account = account_of(lake) | _look_back_account(lake, cohort, facts, protocol.eligibility)
    account |= {"deaths": describe_deaths(facts, is_held=lake.has("death"))}
    account |= {"tables": tables}
    if protocol.not_yet_treated:
        account |= {"not_yet_treated": count_not_yet_treated(cohort, listed, protocol.follow_up)}
    return Cohort(
        people=cohort,
        baseline=baseline,
        outcomes=_with_row_id(key, _frames(found, "outcomes")),
        observed=_with_row_id(key, _frames(found, "observed")).drop(KEY),
        readmissions=_with_row_id(key, _frames(found, "readmissions")).drop(KEY),
        attrition=add_up_attrition(_frames(found, "attrition")),
        excluded=unlinked,
        quarantined=quarantined,
        account=account | {"participants": account_of_list(listed, quarantined, unlinked)},
        quality=add_up([records, providers, gaps, missing]),
        outcome_quality=add_up([part.quality.outcomes for part in found]),
    )


def count_not_yet_treated(cohort: pl.DataFrame, listed: pl.DataFrame, follow_up: FollowUp) -> dict[str, int]:
    """How many eligible candidate discharges are of people who took part later, of how many people, and how many of
    the discharges were followed by the allocation within follow-up."""
    waiting = cohort.filter(pl.col("is_eligible") & (pl.col("arm") == "virtual")).join(
        listed.select("person_id", "allocation_date"), on="person_id"
    )
    days = (waiting["allocation_date"] - waiting["index_date"]).dt.total_days()
    return {
        "n_discharges": waiting.height,
        "n_people": waiting["person_id"].n_unique(),
        "n_treated_within_follow_up": int((days <= follow_up.days).sum()),
    }


def _look_back_account(
    lake: Lake, cohort: pl.DataFrame, facts: ExtractFacts, eligibility: Eligibility
) -> dict[str, Any]:
    """Whose look-back opens before the sources; a CDM observes each person from another day on and gets no entry."""
    if lake.has("observation_period"):
        return {}
    return {"look_back": count_truncated(cohort, facts, eligibility)}


def count_submitted_spells(lake: Lake) -> pl.DataFrame:
    """Spells in each provider's monthly submission (pipelines.extract.count_spells), from a pass over four columns."""
    parts: Sequence[pl.DataFrame] = compute(*[delayed(_count_spells)(lake, n) for n in range(lake.n_buckets)])
    return add_up_spells(parts)


def _count_spells(lake: Lake, number: int) -> pl.DataFrame:
    return count_spells(lake.read_bucket(number, "spell", ["person_id", "spell_id", "provider_id", "month_id"]))


def _follow_bucket(
    lake: Lake,
    number: int,
    participants: pl.DataFrame,
    also_in_trial: pl.DataFrame,
    facts: ExtractFacts,
    eligibility: Eligibility,
    follow_up: FollowUp,
    named: Sequence[str],
) -> Followed:
    tables = {name: lake.read_bucket(number, name) for name in PERSON_TABLES}
    present = frozenset(name for name in PERSON_TABLES if lake.has(name))
    people = follow_people(tables, facts, participants, eligibility, follow_up, present, also_in_trial, named)
    quality = measure_bucket(tables, people.stays, people.cohort, people.outcomes, facts, follow_up)
    names = ("cohort", "baseline", "outcomes", "observed", "readmissions", "excluded", "attrition")
    return Followed({name: _packed(getattr(people, name)) for name in names}, quality)


def _packed(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_ipc(content, compression="lz4")
    return content.getvalue()


def _frames(parts: Sequence[Followed], name: str) -> list[pl.DataFrame]:
    return [part.frame(name) for part in parts]


def account_of(lake: Lake) -> dict[str, Any]:
    """What became of every raw row: the run folder's data_account.json."""
    manifest = lake.manifest
    reasons: Counter[str] = Counter()
    nulled: Counter[str] = Counter()
    differing: Counter[str] = Counter()
    files = []
    for entry in manifest["files"]:
        names = ("file", "table", "rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
        files.append({**{name: entry[name] for name in names}, "reasons": entry["quarantined_by_reason"]})
        reasons.update(entry["quarantined_by_reason"])
        nulled.update(entry["cells_nulled_by_rule"])
        differing.update(entry["rows_differing_by_columns"])
    return {
        "files": files,
        "reasons": dict(reasons),
        "nulled": dict(nulled),
        "differing": dict(differing),
        "period_end": manifest["period_end"],
        "ignored_files": manifest["ignored_files"],
        "notes": manifest["notes"],
    }


def lake_facts(
    lake: Lake, submitted: pl.DataFrame, counts: Mapping[str, pl.DataFrame], follow_up: FollowUp
) -> ExtractFacts:
    """What the stages need to know of the extract behind a lake; `submitted` as of count_submitted_spells, `counts` of
    look_back.count_months. A month in which hardly anybody sent spells or ward stays counts as sent by nobody."""
    submissions = lake.submissions
    first, last = hospital_reach(counts) or (None, None)
    reach = table_reach(lake, counts)
    gaps = table_gaps(counts, reach, follow_up.gap_below, follow_up.silence_chance)
    rule = (follow_up.silence_below, follow_up.silence_chance, follow_up.silence_minimum_spells)
    thin = [thin_months(submissions, submitted, *rule), months_in(submissions, gaps.get("stays", ()))]
    return ExtractFacts(
        lake.period_end,
        lake.last_month_id,
        submissions,
        lake.read_reference("provider_successor"),
        lake.read_reference("area_deprivation"),
        pl.concat(thin).unique().sort(MONTH),
        first,
        last,
        reach,
        gaps,
    )


def _number_rows(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).sort(KEY).with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int64))


def _with_row_id(key: pl.DataFrame, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return key.join(pl.concat(parts), on=KEY, how="inner", maintain_order="left")


def _refuse_empty(cohort: pl.DataFrame) -> None:
    arms = set(cohort.filter("is_eligible")["arm"])
    problems = []
    if "peer" not in arms:
        problems.append("no participant of the peer arm is linked and eligible; see the allocation list and its ids")
    if "virtual" not in arms:
        problems.append("no candidate discharge is eligible within the recruitment window")
    if problems:
        raise CohortError(problems)


def cohort_from_table(protocol: Protocol) -> Cohort:
    """The cohort of a ready-made table: every readable row is a person at time zero."""
    wanted = [*protocol.covariates.numeric, *protocol.covariates.categorical]
    outcomes = {name: column.column for name, column in protocol.outcomes.columns.items()}
    table = read_table(protocol.source, protocol.covariates, outcomes)
    rows = table.rows.with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int64))
    key = ["row_id", "person_id", "index_date"]
    people = rows.select(
        *key, "arm", pl.lit(True).alias("is_eligible"), pl.lit(None, pl.String).alias("first_failed_rule")
    )
    _refuse_empty(people)
    named = {f"outcome:{name}": name for name in outcomes}
    baseline = rows.select(*key, *wanted, *[name for name in protocol.design.exact if name not in wanted])
    return Cohort(
        people=people,
        baseline=baseline,
        outcomes=rows.select(*key, *named).rename(named),
        observed=_numbered(OBSERVED_SCHEMA),
        readmissions=_numbered(READMISSION_SCHEMA),
        attrition=pl.DataFrame(schema=ATTRITION_SCHEMA),
        excluded=UNLINKED.to_frame(),
        quarantined=table.quarantined,
        account=table.account,
        quality=count_missing(people, baseline),
        outcome_quality=pl.DataFrame(schema=QUALITY_SCHEMA),
    )


def _numbered(schema: Mapping[str, Any]) -> pl.DataFrame:
    """An empty table with row_id in place of the person and the date."""
    return pl.DataFrame(schema={"row_id": pl.Int64, **{name: kind for name, kind in schema.items() if name not in KEY}})


def save_cohort(cohort: Cohort, out: Path) -> None:
    """Write the cohort into a folder that mirrors the run folder."""
    write_parquet(out / store.COHORT, cohort.people)
    write_parquet(out / store.BASELINE, cohort.baseline)
    write_parquet(out / store.OUTCOMES, cohort.outcomes)
    write_parquet(out / store.OBSERVED, cohort.observed)
    write_parquet(out / store.READMISSIONS, cohort.readmissions)
    write_parquet(out / store.ATTRITION, cohort.attrition)
    write_parquet(out / store.EXCLUDED_PARTICIPANTS, cohort.excluded)
    write_parquet(out / store.QUARANTINE, cohort.quarantined)
    write_json(out / store.DATA_ACCOUNT, cohort.account)
    write_parquet(out / store.QUALITY, cohort.quality)
    write_parquet(out / store.OUTCOME_QUALITY, cohort.outcome_quality)
