"""Codes as they come, in the manner of the high-dimensional propensity score: how often each was recorded before time
zero becomes indicators of the codes that are neither rare nor universal.

Choice made (Schneeweiss et al. 2009, Epidemiology 20:512, steps 1 to 3): in each dimension the codes are ranked by
min(p, 1 - p), p being their prevalence among all eligible rows together, and the first n are kept; each gives up to
three indicators: recorded once or more, at least as often as the median (sporadic) and as the upper quartile (frequent)
of the rows that have it. The paper's further selection by the Bross bias formula needs outcomes and is left out: the
design never sees them, nor does the ranking see who was treated. A code that fewer than `min_persons` people have, or
lack, gets no name.
"""

from collections.abc import Callable, Mapping, Sequence

import polars as pl
from dask.base import compute
from dask.delayed import delayed

from pipelines.contacts import ATTENDED, OF_REFERRAL, contacts_with, teams_of_referrals
from pipelines.covariate_registry import Covariate
from pipelines.covariates.coverage import is_covered, observed_from
from pipelines.covariates.records import KEY, Records
from pipelines.errors import ProtocolError
from pipelines.extract import ExtractFacts
from pipelines.lake import Lake
from pipelines.protocol import CODE_PREFIX, CodeCovariates, CodeLevel

TABLES_OF_DIMENSION: dict[str, tuple[str, ...]] = {
    "diagnosis": ("diagnosis",),
    "procedure": ("care_activity",),
    "team": ("contact", "referral_team"),
    "hospital_diagnosis": ("hospital_episode",),
    "hospital_procedure": ("hospital_episode",),
}
COLUMNS = {
    "diagnosis": ["person_id", "position_code", "scheme_code", "diagnosis_code", "diagnosis_date"],
    "care_activity": ["person_id", "contact_id", "activity_date", "procedure_code"],
    "contact": [
        *("person_id", "record_id", "referral_id", "contact_id", "contact_date", "attendance_code"),
        *("month_id", "row_id"),
    ],
    "referral_team": ["person_id", "record_id", "referral_id", "team_type_code"],
    "hospital_episode": ["person_id", "episode_start_date", "all_diagnosis_codes", "all_procedure_codes"],
}
QUANTILE_OF_LEVEL: dict[CodeLevel, float] = {"once": 0.0, "sporadic": 0.5, "frequent": 0.75}
KNOWN_ON_THE_INDEX_DATE = ("diagnosis",)  # the diagnosis of the index stay is coded at its end
CERTAIN_POSITIONS = ["P", "S"]
ICD10 = r"^[A-Z][0-9]{2}"
TALLY = {"dimension": pl.String, "code": pl.String, "n": pl.Int64, "n_rows": pl.Int64, "n_persons": pl.Int64}


def measure_codes(
    lake: Lake, eligible: Sequence[pl.DataFrame], facts: ExtractFacts, settings: CodeCovariates
) -> pl.DataFrame:
    """person_id, index_date and a column per chosen code and level (true, false; null where the extract does not cover
    the look-back), of every eligible row. Two passes over the buckets on the active Dask scheduler.

    Args:
        eligible: eligible rows (person_id, index_date, admission_date) of each bucket.

    Raises ProtocolError where the extract lacks the tables of a dimension.
    """
    _refuse_missing_tables(lake, settings)
    tallies: Sequence[pl.DataFrame] = compute(
        *[delayed(_tally_bucket)(lake, number, rows, settings) for number, rows in enumerate(eligible)]
    )
    n_rows = sum(rows.height for rows in eligible)
    n_persons = sum(rows["person_id"].n_unique() for rows in eligible)
    chosen = choose_codes(pl.concat(tallies), n_rows, n_persons, settings)
    columns: Sequence[pl.DataFrame] = compute(
        *[delayed(_mark_bucket)(lake, number, rows, chosen, facts, settings) for number, rows in enumerate(eligible)]
    )
    return pl.concat(columns)


def _refuse_missing_tables(lake: Lake, settings: CodeCovariates) -> None:
    problems = [
        f"covariates.codes.dimensions: '{dimension}' needs the table {table}, which the extract does not hold"
        for dimension in settings.dimensions
        for table in TABLES_OF_DIMENSION[dimension]
        if not lake.has(table)
    ]
    if problems:
        raise ProtocolError(problems)


def _read(lake: Lake, number: int, settings: CodeCovariates) -> dict[str, pl.DataFrame]:
    names = {table for dimension in settings.dimensions for table in TABLES_OF_DIMENSION[dimension]}
    return {name: lake.read_bucket(number, name, COLUMNS[name]) for name in sorted(names)}


def _tally_bucket(lake: Lake, number: int, rows: pl.DataFrame, settings: CodeCovariates) -> pl.DataFrame:
    return tally_codes(count_codes(rows, _read(lake, number, settings), settings))


def _mark_bucket(
    lake: Lake, number: int, rows: pl.DataFrame, chosen: pl.DataFrame, facts: ExtractFacts, settings: CodeCovariates
) -> pl.DataFrame:
    tables = _read(lake, number, settings)
    counts = count_codes(rows, tables, settings)
    held = frozenset(name for name in tables if lake.has(name))
    observation = {"observation_period": lake.read_bucket(number, "observation_period")}
    return mark_codes(counts, chosen, Records(rows, rows.clear(), tables | observation, facts, held), settings)


def count_codes(rows: pl.DataFrame, tables: Mapping[str, pl.DataFrame], settings: CodeCovariates) -> pl.DataFrame:
    """person_id, index_date, dimension, code and n: how often each code was recorded in the look-back of each row."""
    index = rows.select(KEY)
    parts = []
    for dimension in settings.dimensions:
        first_day = 0 if dimension in KNOWN_ON_THE_INDEX_DATE else 1
        events = DIMENSIONS[dimension](tables, settings.icd10_characters)
        clean = pl.col("code").str.to_uppercase().str.replace_all(r"[^A-Z0-9]+", "-")
        days = (pl.col("index_date") - pl.col("event_date")).dt.total_days()
        counted = (
            index.join(events.with_columns(code=clean), on="person_id")
            .filter(days.is_between(first_day, settings.look_back_days))
            .group_by(*KEY, "code")
            .agg(n=pl.len().cast(pl.Int64))
        )
        parts.append(counted.select(*KEY, pl.lit(dimension).alias("dimension"), "code", "n"))
    return pl.concat(parts)


def tally_codes(counts: pl.DataFrame) -> pl.DataFrame:
    """TALLY: how many rows have a code n times, and how many people at most n times; adds up over buckets."""
    key = ["dimension", "code", "n"]
    of_rows = counts.group_by(key).agg(n_rows=pl.len().cast(pl.Int64))
    most = counts.group_by("dimension", "code", "person_id").agg(pl.col("n").max())
    of_persons = most.group_by(key).agg(n_persons=pl.len().cast(pl.Int64))
    return (
        of_rows.join(of_persons, on=key, how="left").with_columns(pl.col("n_persons").fill_null(0)).select(list(TALLY))
    )


def choose_codes(tallies: pl.DataFrame, n_rows: int, n_persons: int, settings: CodeCovariates) -> pl.DataFrame:
    """dimension, code, level, threshold (times recorded) and name of every indicator, in order of dimension and code.

    A level whose threshold is no higher than that of the level before it would be the same indicator and is left out.
    `n_rows` and `n_persons` are those of all eligible rows.
    """
    of_code = ["dimension", "code"]
    whole = tallies.group_by(*of_code, "n").agg(pl.col("n_rows", "n_persons").sum()).sort(*of_code, "n")
    prevalence = pl.col("n_rows").sum() / n_rows
    enough = _enough(pl.col("n_persons").sum(), n_persons, settings)
    ranked = (
        whole.group_by(of_code)
        .agg(rank=pl.min_horizontal(prevalence, 1 - prevalence), is_named=enough)
        .filter("is_named")
        .sort("dimension", "rank", "code", descending=[False, True, False])
        .group_by("dimension", maintain_order=True)
        .head(settings.n_most_prevalent)
    )
    kept = whole.join(ranked.select(of_code), on=of_code, how="semi", maintain_order="left")
    levels = [_at_level(kept, level, n_persons, settings) for level in settings.levels]
    name = pl.format(CODE_PREFIX + "{}_{}_{}", "dimension", "code", "level")
    return (
        pl.concat(levels)
        .sort("dimension", "code", "threshold", "order")
        .unique(["dimension", "code", "threshold"], keep="first", maintain_order=True)
        .filter("is_named")
        .select("dimension", "code", "level", "threshold", name=name)
    )


def _at_level(tallies: pl.DataFrame, level: CodeLevel, n_persons: int, settings: CodeCovariates) -> pl.DataFrame:
    """The threshold of one level for each code: the smallest number that at least that share of the rows with the code
    does not exceed."""
    share = pl.col("n_rows").cum_sum() / pl.col("n_rows").sum()
    reached = pl.col("n").filter(share >= QUANTILE_OF_LEVEL[level]).min()
    threshold = reached if level != "once" else pl.lit(1, pl.Int64)
    with_threshold = tallies.with_columns(threshold=threshold.over("dimension", "code"))
    people = pl.col("n_persons").filter(pl.col("n") >= pl.col("threshold")).sum()
    return with_threshold.group_by("dimension", "code", maintain_order=True).agg(
        pl.lit(level).alias("level"),
        pl.lit(list(QUANTILE_OF_LEVEL).index(level)).alias("order"),
        pl.col("threshold").first(),
        is_named=_enough(people, n_persons, settings),
    )


def _enough(people: pl.Expr, n_persons: int, settings: CodeCovariates) -> pl.Expr:
    """Whether neither those who have an indicator nor those who lack it are too few to be spoken of."""
    return (people >= settings.min_persons) & (n_persons - people >= settings.min_persons)


def mark_codes(counts: pl.DataFrame, chosen: pl.DataFrame, records: Records, settings: CodeCovariates) -> pl.DataFrame:
    """person_id, index_date and the chosen indicators of the rows of `records.index`, in their order."""
    reached = (
        counts.join(chosen, on=["dimension", "code"])
        .filter(pl.col("n") >= pl.col("threshold"))
        .select(*KEY, "name", found=pl.lit(True))
    )
    wide = reached.pivot(on="name", index=KEY, values="found") if reached.height else reached.select(KEY)
    days = records.index.select(*KEY, "admission_date")
    frame = days.join(wide, on=KEY, how="left", maintain_order="left").with_columns(observed_from(records, days))
    columns = []
    for name, dimension in chosen.select("name", "dimension").iter_rows():
        found = pl.col(name) if name in frame.columns else pl.lit(None, pl.Boolean)
        covered = is_covered(records, _as_covariate(dimension, settings))
        columns.append(pl.when(found.is_null() & covered).then(pl.lit(False)).otherwise(found).alias(name))
    return frame.select(*KEY, *columns)


def _as_covariate(dimension: str, settings: CodeCovariates) -> Covariate:
    tables = TABLES_OF_DIMENSION[dimension]
    return Covariate(dimension, "indicator", "codes", tables, dimension, "", settings.look_back_days)


def _diagnoses(tables: Mapping[str, pl.DataFrame], characters: int) -> pl.DataFrame:
    """Primary and secondary diagnoses: ICD-10 categories, or the codes of another scheme whole; each once a day."""
    text = pl.col("diagnosis_code").str.to_uppercase().str.replace_all(r"[. ]", "")
    is_icd10 = pl.col("scheme_code").fill_null("02") == "02"
    code = pl.when(~is_icd10).then(text).when(text.str.contains(ICD10)).then(text.str.slice(0, characters))
    certain = tables["diagnosis"].filter(pl.col("position_code").is_in(CERTAIN_POSITIONS))
    return certain.select("person_id", code=code, event_date="diagnosis_date").drop_nulls().unique()


def _procedures(tables: Mapping[str, pl.DataFrame], characters: int) -> pl.DataFrame:
    """Procedures of care activities, each once a contact and day."""
    activity = tables["care_activity"].select(
        "person_id", "contact_id", code="procedure_code", event_date="activity_date"
    )
    return activity.drop_nulls(["code", "event_date"]).unique().select("person_id", "code", "event_date")


def _teams(tables: Mapping[str, pl.DataFrame], characters: int) -> pl.DataFrame:
    """Types of the teams whose contacts took place, each once a contact."""
    attended = contacts_with(tables["contact"], ATTENDED)
    types = teams_of_referrals(tables["referral_team"])
    return attended.join(types, on=OF_REFERRAL).select("person_id", code="team_type_code", event_date="contact_date")


def _hospital_diagnoses(tables: Mapping[str, pl.DataFrame], characters: int) -> pl.DataFrame:
    """ICD-10 categories in any position of hospital episodes, each once a day of starting episodes."""
    codes = _of_episodes(tables, "all_diagnosis_codes")
    return (
        codes.filter(pl.col("code").str.contains(ICD10)).with_columns(pl.col("code").str.slice(0, characters)).unique()
    )


def _hospital_procedures(tables: Mapping[str, pl.DataFrame], characters: int) -> pl.DataFrame:
    """OPCS-4 codes of hospital episodes, whole, each once a day of starting episodes."""
    return _of_episodes(tables, "all_procedure_codes").unique()


def _of_episodes(tables: Mapping[str, pl.DataFrame], column: str) -> pl.DataFrame:
    listed = tables["hospital_episode"].drop_nulls(column)
    codes = pl.col(column).str.to_uppercase().str.replace_all(".", "", literal=True).str.split(" ")
    split = listed.select("person_id", event_date="episode_start_date", code=codes).explode("code")
    return split.filter(pl.col("code") != "").select("person_id", "code", "event_date")


DIMENSIONS: dict[str, Callable[[Mapping[str, pl.DataFrame], int], pl.DataFrame]] = {
    "diagnosis": _diagnoses,
    "procedure": _procedures,
    "team": _teams,
    "hospital_diagnosis": _hospital_diagnoses,
    "hospital_procedure": _hospital_procedures,
}
