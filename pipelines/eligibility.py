"""Which stays can be an index stay: participants' links, age, and the exclusion rules in their declared order.

Choice made (DOMAIN A2, K3-K5, K10, K16): the first rule that fails is recorded; a participant's index stay is the one
that holds the allocation date.
"""

import polars as pl

from pipelines.extract import LAST_DAY_OF_MONTH_ID, ExtractFacts, month_id_of
from pipelines.hospital import psychiatric_stays
from pipelines.id_order import sort_by_id
from pipelines.protocol import Eligibility

KEY = ["person_id", "index_date"]


def in_recruitment_window(stays: pl.DataFrame, eligibility: Eligibility) -> pl.DataFrame:
    """Stays that ended, by discharge or death, within the recruitment window."""
    return stays.filter(
        pl.col("end_reason").is_in(["discharge", "death"])
        & pl.col("end_date").is_between(eligibility.recruitment_start, eligibility.recruitment_end)
    )


def find_candidates(
    pool: pl.DataFrame, participants: pl.DataFrame, also_in_trial: pl.DataFrame, eligibility: Eligibility
) -> pl.DataFrame:
    """The stays of `pool` that may serve as controls: those of people on no row of the allocation list, and, where the
    protocol takes those not yet treated, stays of participants who agreed to linkage that ended before the day of their
    allocation. Of people in `also_in_trial` the day is not known, so that none of theirs may.
    """
    in_trial = pl.concat([participants.select("person_id"), also_in_trial.select("person_id")])
    never = pool.join(in_trial, on="person_id", how="anti")
    if eligibility.candidates == "never_treated":
        return never
    agreed = participants.filter(pl.col("consent_code") == "Y").join(also_in_trial, on="person_id", how="anti")
    not_yet = (
        pool.join(agreed.select("person_id", "allocation_date"), on="person_id")
        .filter(pl.col("end_date") < pl.col("allocation_date"))
        .select(pool.columns)
    )
    return pl.concat([never, not_yet])


def link_participants(
    participants: pl.DataFrame, stays: pl.DataFrame, known: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Each participant's index stay, and (person_id, arm, reason) of those who have none that can be used.

    `known` holds the person_id of everybody of whom the extract has any row.
    """
    listed = participants.select(
        "person_id", arm=pl.col("arm_code").str.to_lowercase(), day="allocation_date", consent="consent_code"
    )
    holds_day = (pl.col("start_date") <= pl.col("day")) & (pl.col("end_date") >= pl.col("day")).fill_null(True)
    held = listed.join(stays, on="person_id").filter(holds_day)
    reason = (
        pl.when((pl.col("consent") == "Y").not_().fill_null(True))
        .then(pl.lit("no_consent"))
        .when(pl.col("is_known").is_null())
        .then(pl.lit("not_in_extract"))
        .when(pl.col("end_reason").is_null())
        .then(pl.lit("no_stay_holds_allocation_date"))
        .when(pl.col("end_reason") == "open")
        .then(pl.lit("stay_not_ended"))
        .when(pl.col("end_reason") == "inactive")
        .then(pl.lit("stay_stopped_arriving"))
    )
    judged = (
        listed.join(held.select("person_id", "end_reason"), on="person_id", how="left")
        .join(known.select("person_id", is_known=True), on="person_id", how="left")
        .with_columns(reason=reason)
    )
    excluded = judged.filter(pl.col("reason").is_not_null()).select("person_id", "arm", "reason")
    usable = held.join(excluded, on="person_id", how="anti").select(*stays.columns, "arm")
    return usable, excluded.sort("person_id")


def add_age(index: pl.DataFrame, person_month: pl.DataFrame, person: pl.DataFrame) -> pl.DataFrame:
    """Adds age_years at admission, from the birth date where the source knows it (table `person`), else from the ages
    that were submitted month by month.

    In MHSDS a birth date is not in the tables: each submitted age bounds it to a year, the bounds of all months are
    intersected, and the latest possible birth date is taken. Contradictory ages: the month nearest to admission.
    """
    last = LAST_DAY_OF_MONTH_ID
    months = sort_by_id(person_month, ["month_id"]).with_row_index("place")
    seen = [
        months.select("person_id", "month_id", "place", age="age_start_years", day=last.dt.month_start()),
        months.select("person_id", "month_id", "place", age="age_end_years", day=last),
    ]
    bounds = (
        pl.concat(seen)
        .drop_nulls("age")
        .with_columns(after=_years_before("day", pl.col("age") + 1), until=_years_before("day", pl.col("age")))
    )
    bound = bounds.group_by("person_id").agg(pl.col("after").max(), pl.col("until").min())
    birth = bound.filter(pl.col("after") < pl.col("until")).select("person_id", birth_date="until")
    nearest = (
        index.select("person_id", "admission_date")
        .join(birth, on="person_id", how="anti")
        .join(bounds, on="person_id")
        .with_columns(months_away=(month_id_of(pl.col("admission_date")) - pl.col("month_id")).abs())
        .sort("months_away", "month_id", "place", descending=[False, False, True])
        .group_by("person_id", "admission_date", maintain_order=True)
        .agg(fallback_birth=pl.col("until").filter(pl.col("place") == pl.col("place").first()).min())
    )
    return (
        index.join(birth, on="person_id", how="left", maintain_order="left")
        .join(nearest, on=["person_id", "admission_date"], how="left", maintain_order="left")
        .join(person.select("person_id", known_birth="birth_date"), on="person_id", how="left", maintain_order="left")
        .with_columns(birth_date=pl.coalesce("known_birth", "birth_date", "fallback_birth"))
        .with_columns(age_years=_completed_years("birth_date", "admission_date"))
        .drop("known_birth", "fallback_birth", "birth_date")
    )


def add_whole_persons(person_month: pl.DataFrame, person: pl.DataFrame) -> pl.DataFrame:
    """Monthly demographics with what a source knows of a person as a whole (table `person`), as if it had been sent in
    a month before all others."""
    whole = person.select(
        "person_id",
        "gender_code",
        "ethnicity_code",
        "lsoa_code",
        month_id=pl.lit(1, pl.Int64),
    )
    return pl.concat([person_month, whole], how="diagonal")


def _years_before(day: str, years: pl.Expr) -> pl.Expr:
    return pl.col(day).dt.offset_by(pl.format("-{}y", years))


def _completed_years(born: str, day: str) -> pl.Expr:
    had_birthday = pl.col(born).dt.strftime("%m%d") <= pl.col(day).dt.strftime("%m%d")
    return (
        pl.col(day).dt.year().cast(pl.Int64) - pl.col(born).dt.year().cast(pl.Int64) - 1 + had_birthday.cast(pl.Int64)
    )


def apply_rules(index: pl.DataFrame, real_stays: pl.DataFrame, eligibility: Eligibility) -> pl.DataFrame:
    """Adds is_eligible and first_failed_rule: the first rule of the protocol, in K10's order, that a row breaks."""
    window_start = pl.col("admission_date").dt.offset_by(f"-{eligibility.prior_stay_window_days}d")
    earlier = (
        index.select(*KEY, "admission_date")
        .join(real_stays.select("person_id", "start_date", "end_date"), on="person_id")
        .filter((pl.col("start_date") < pl.col("admission_date")) & (pl.col("end_date") >= window_start))
        .select(KEY)
        .unique()
        .with_columns(has_prior_stay=pl.lit(True))
    )
    primary = pl.col("primary_icd10")
    broken: dict[str, pl.Expr] = {
        "zero_day": pl.col("is_zero_day"),
        "place_of_safety_only": pl.col("is_place_of_safety_only"),
        "died_in_hospital": pl.col("end_reason") == "death",
        "under_18": pl.col("age_years") < eligibility.minimum_age_years,
        "not_acute_adult": ~pl.col("is_acute"),
        "no_prior_stay_730": pl.col("has_prior_stay").is_null(),
        "organic_any": pl.col("has_organic"),
        "primary_F50": primary == "F50",
        "primary_F70_F79": primary.is_between(pl.lit("F70"), pl.lit("F79")),
        "primary_F10_F19": primary.is_between(pl.lit("F10"), pl.lit("F19")),
    }
    first = pl.coalesce(
        *[pl.when(broken[rule].fill_null(False)).then(pl.lit(rule)) for rule in eligibility.rules],
        pl.lit(None, pl.String),
    )
    return (
        index.join(earlier, on=KEY, how="left", maintain_order="left")
        .with_columns(first_failed_rule=first)
        .with_columns(is_eligible=pl.col("first_failed_rule").is_null())
    )


def add_stays_before_mhsds(
    stays: pl.DataFrame, episode: pl.DataFrame, facts: ExtractFacts, eligibility: Eligibility
) -> pl.DataFrame:
    """`stays` with a column `source` (mhsds), and the psychiatric stays of HES that ended before the first submitted
    month (hes; of their columns only person_id, start_date, end_date and los_days are known) (DOMAIN A8.5).

    Stays of a day do not count (K2), nor do those that MHSDS holds too: it sends a stay that was open in its first
    month with its true start, so whatever touches one of a person's stays, or lies no further off than linked spells
    may, is taken for the same time in hospital.
    """
    known = stays.with_columns(source=pl.lit("mhsds"))
    if not eligibility.prior_stays_from_hes or facts.first_day is None:
        return known
    earlier = psychiatric_stays(episode).filter(
        (pl.col("end_date") < facts.first_day) & (pl.col("end_date") > pl.col("start_date"))
    )
    gap = pl.duration(days=eligibility.link_gap_days)
    seen_twice = earlier.join(stays.select("person_id", start="start_date", end="end_date"), on="person_id").filter(
        (pl.col("start") <= pl.col("end_date") + gap) & (pl.col("end") + gap >= pl.col("start_date")).fill_null(True)
    )
    key = ["person_id", "start_date", "end_date"]
    added = (
        earlier.join(seen_twice, on=key, how="anti")
        .unique(key)
        .with_columns(los_days=(pl.col("end_date") - pl.col("start_date")).dt.total_days(), source=pl.lit("hes"))
    )
    return pl.concat([known, added], how="diagonal_relaxed").sort("person_id", "start_date", "end_date")


def keep_first_discharge(index: pl.DataFrame, eligibility: Eligibility) -> pl.DataFrame:
    """Index rows; a candidate's later eligible discharges are so no more, unless every discharge serves (K16)."""
    if eligibility.candidate_discharges == "every":
        return index
    is_candidate = pl.col("is_eligible") & (pl.col("arm") == "virtual")
    first = pl.col("index_date").filter(is_candidate).min().over("person_id")
    is_later = is_candidate & (pl.col("index_date") > first)
    return index.with_columns(
        first_failed_rule=pl.when(is_later).then(pl.lit("not_first_discharge")).otherwise("first_failed_rule"),
        is_eligible=pl.col("is_eligible") & ~is_later,
    )


def readmission_stays(stays: pl.DataFrame, eligibility: Eligibility) -> pl.DataFrame:
    """Stays that count as readmissions: adult psychiatric beds, no place-of-safety-only and no zero-day stays."""
    counts = pl.col("is_adult") & ~pl.col("is_place_of_safety_only")
    if not eligibility.zero_day_stays_are_readmissions:
        counts &= ~pl.col("is_zero_day")
    return stays.filter(counts)
