"""The sections of a study protocol: each with its keys, what they mean, their defaults, and the rules inside it."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from models.results import Estimand as TargetEstimand
from pipelines.covariate_registry import REGISTRY
from pipelines.method_settings.section import Section
from pipelines.outcome_registry import PresetName, expand_presets

ExclusionRule = Literal[
    "zero_day",
    "place_of_safety_only",
    "died_in_hospital",
    "under_18",
    "not_acute_adult",
    "no_prior_stay_730",
    "organic_any",
    "primary_F50",
    "primary_F70_F79",
    "primary_F10_F19",
]
RULE_ORDER: tuple[ExclusionRule, ...] = get_args(ExclusionRule)

NOT_IN_A_CDM = frozenset(
    {
        *(name for name, covariate in REGISTRY.items() if not covariate.is_in_a_cdm),
    }
)
"""Covariates that need legal status, missed appointments, teams or coded complaints."""

NOT_FOR_COUNTS = ("two_part",)
"""A two-part regression is for days; events that are counted over time have rates."""

MAIN_ANALYSIS = "main"
PLACEBO = "placebo_readmission_prior"
PLACEBO_UNTIL_DAYS = 365
CODE_PREFIX = "code_"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Study(Section):
    """What is asked, and of whom."""

    name: Name = Field(description="Name of the study; its run folders are runs/<name>/")
    title: str = Field(description="Title of the report")
    question: str = Field(description="The causal question in one sentence")
    seed: int = Field(20161201, ge=0, description="Seed of everything random")
    is_synthetic: bool = Field(False, description="True prints on every page that no row describes a real person")


class SyntheticExtract(Section):
    """The project's own generator of raw extracts."""

    people: int = Field(50_000, ge=500, description="People in the extract")
    seed: int = Field(1, ge=0, description="Seed of the extract")
    trusts: int = Field(30, ge=10, description="NHS trusts")


class TableFile(Section):
    """One analysis-ready table with a row per person."""

    path: Path = Field(description="CSV or Parquet file, relative to the protocol")
    arm_column: str | None = Field(None, description="Column that holds the arm; without it all rows have `arm`")
    arms: dict[str, Literal["peer", "control", "virtual"]] = Field(
        default_factory=dict, description="Value in arm_column = arm; rows with other values are quarantined"
    )
    arm: Literal["peer", "control", "virtual"] | None = Field(None, description="Arm of every row of this file")

    @model_validator(mode="after")
    def _one_way_to_name_the_arm(self) -> Self:
        if (self.arm is None) == (self.arm_column is None):
            raise ValueError("give either `arm` or `arm_column` with `arms`, not both and not neither")
        if self.arm_column is not None and not self.arms:
            raise ValueError("`arm_column` needs `arms`, for example {1 = 'peer', 0 = 'virtual'}")
        return self


class Source(Section):
    """Where the data come from."""

    kind: Literal["synthetic", "mhsds", "omop", "table"] = Field(
        description="synthetic: the generator writes the extract; mhsds: a folder of raw files; omop: an OMOP CDM; "
        "table: ready-made rows"
    )
    folder: Path | None = Field(
        None,
        description="Folder of the raw extract, relative to the protocol (mhsds, omop); of a CDM in a database, the "
        "folder of its allocation list and statements",
    )
    duckdb: Path | None = Field(None, description="DuckDB file that holds the CDM, relative to the protocol (omop)")
    postgres: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Schema that holds the CDM; the server's address is in VIRTUAL_CONTROLS_OMOP_DSN only (omop)",
    )
    stays: Literal["psychiatric", "any_inpatient"] = Field(
        "psychiatric", description="Inpatient visits that are followed: psychiatric ones (DOMAIN D3), or all (omop)"
    )
    participants: str = Field("participants.csv", description="Allocation list, a file in the extract's folder")
    pseudonymise: bool = Field(
        False,
        description="Keyed pseudonyms (HMAC-SHA-256) take the place of person ids in the extract and in the list; the "
        "key is in VIRTUAL_CONTROLS_PSEUDONYM_KEY or ..._KEY_FILE only (mhsds, omop)",
    )
    n_buckets: int = Field(16, ge=1, le=4096, description="Person buckets of the lake")
    synthetic: SyntheticExtract | None = Field(None, description="Settings of the generator (synthetic)")
    tables: tuple[TableFile, ...] = Field((), description="Files of a ready-made study (table)")
    id_column: str | None = Field(None, description="Column that names the person (table); else the row number")

    @model_validator(mode="after")
    def _what_each_kind_needs(self) -> Self:
        if self.kind == "mhsds" and self.folder is None:
            raise ValueError("kind = 'mhsds' needs `folder`")
        if self.kind == "omop":
            self._one_place_of_the_cdm()
        elif self.duckdb is not None or self.postgres is not None or self.stays != "psychiatric":
            raise ValueError("`duckdb`, `postgres` and `stays` are for kind = 'omop'")
        if self.pseudonymise and self.kind not in {"mhsds", "omop"}:
            raise ValueError("`pseudonymise` is for kind = 'mhsds' or 'omop'")
        if self.kind == "synthetic" and self.synthetic is None:
            raise ValueError("kind = 'synthetic' needs the section [source.synthetic]")
        if self.kind == "table" and not self.tables:
            raise ValueError("kind = 'table' needs at least one [[source.tables]]")
        return self

    def _one_place_of_the_cdm(self) -> None:
        if self.folder is None:
            raise ValueError("kind = 'omop' needs `folder`: the CDM's files, its allocation list and its statements")
        if self.duckdb is not None and self.postgres is not None:
            raise ValueError("give `duckdb` or `postgres`, not both")


class Eligibility(Section):
    """Which hospital stays can be an index stay (DOMAIN A2, K1-K10)."""

    recruitment_start: date = Field(date(2016, 12, 1), description="First discharge date of candidates")
    recruitment_end: date = Field(date(2019, 2, 28), description="Last discharge date of candidates")
    minimum_age_years: int = Field(18, ge=0, le=120, description="Age at the index admission")
    prior_stay_window_days: int = Field(730, ge=1, description="Days before admission in which another stay must lie")
    prior_stays_from_hes: bool = Field(
        True, description="Psychiatric stays in HES that ended before the first MHSDS month are prior stays as well"
    )
    link_gap_days: int = Field(1, ge=0, le=30, description="Spells at most this far apart are one continuous stay")
    transfer_gap_days: int = Field(3, ge=0, le=30, description="The same where either side carries a transfer signal")
    acute_ward: Literal["any", "last"] = Field("any", description="Which ward of the stay must be adult acute")
    zero_day_stays_are_readmissions: bool = Field(False, description="Sensitivity: zero-day stays count")
    rules: tuple[ExclusionRule, ...] = Field(RULE_ORDER, description="Exclusions applied, first that fails is recorded")
    candidates: Literal["never_treated", "not_yet_treated"] = Field(
        "never_treated",
        description="never_treated: nobody who is on the allocation list; not_yet_treated: also participants who "
        "agreed to linkage, with their discharges before their allocation, for designs that can (docs/methods.md)",
    )
    candidate_discharges: Literal["every", "first"] = Field(
        "every", description="Which eligible discharges of one person are in the cohort; a design says which serve"
    )

    @model_validator(mode="after")
    def _window_and_order(self) -> Self:
        if self.recruitment_end < self.recruitment_start:
            raise ValueError("recruitment_end lies before recruitment_start")
        if self.transfer_gap_days < self.link_gap_days:
            raise ValueError("transfer_gap_days must be at least link_gap_days")
        if list(self.rules) != [rule for rule in RULE_ORDER if rule in self.rules]:
            raise ValueError(f"rules must keep the order {', '.join(RULE_ORDER)} and name each at most once")
        return self


class Strategies(Section):
    """The two strategies that are compared. Exposure is the allocation, never contacts after discharge."""

    treatment: str = Field(description="What the treated were offered")
    comparator: str = Field(description="What the comparison group had")
    treated_label: Literal["peer", "participants"] = Field(
        "participants", description="Name of the treated arm in contrasts: peer_vs_virtual or participants_vs_virtual"
    )


class TimeZero(Section):
    """When follow-up starts; eligibility, assignment and follow-up must coincide."""

    event: Literal["discharge", "row"] = Field(
        "discharge", description="discharge: last day of the index stay; row: the table's rows are at time zero already"
    )
    participant_stay: Literal["holds_allocation_date"] = Field(
        "holds_allocation_date", description="Which stay of a participant is the index stay"
    )


class FollowUp(Section):
    """How long, and what ends it early."""

    days: int = Field(365, ge=1, le=3650, description="Days of follow-up after time zero")
    censor_at: tuple[Literal["end_of_data", "provider_silence", "moved_away", "observation_period"], ...] = Field(
        ("end_of_data", "provider_silence"),
        description="What ends observation; death is a competing event. `moved_away`: the day on which the trust of "
        "the index stay closed a referral because the person had moved out of its area, whatever is seen of them "
        "afterwards; for extracts of some providers, since one of the whole country sees who moves within it. "
        "`observation_period` (of an OMOP CDM): the last day of "
        "the observation period that holds time zero; not where periods end with a person's last record",
    )
    moved_away_codes: tuple[Annotated[str, Field(pattern="^[0-9A-Z]{2}$")], ...] = Field(
        (),
        description="For `moved_away`: the codes of `ReferClosReason` (two characters) that say so in your release. "
        "There is no default: take them from the NHS Data Dictionary, REFERRAL CLOSURE REASON",
    )
    silence_below: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="A month with fewer than this share of the provider's usual monthly spells counts as not "
        "submitted, unless chance may have left so few (`silence_chance`); 0: only a month without a submission does",
    )
    silence_chance: float = Field(
        0.001,
        gt=0,
        le=1,
        description="Of providers and tables: how improbable so low a count must be (Poisson, with the dispersion of "
        "the series), so that of 30 rows a month fewer than half are noticed and of 7 only none; "
        "1: the share alone decides",
    )
    silence_minimum_spells: int = Field(
        30,
        ge=1,
        description="A provider whose usual number of spells a month is smaller is not judged; from 10 or so on, "
        "chance alone would be taken for silence in a few of 1,000 months",
    )
    gap_below: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="A month in which a whole table (spells, contacts, hospital episodes, ...) has fewer rows than "
        "this share of its usual number, unless chance may have left so few, is not covered by it: what needs the "
        "table then is missing, never 0. 0: no such month is looked for",
    )

    @model_validator(mode="after")
    def _codes_say_who_moved(self) -> Self:
        if ("moved_away" in self.censor_at) != bool(self.moved_away_codes):
            raise ValueError("censor_at with moved_away and moved_away_codes need each other: give both or neither")
        return self


class TableOutcome(Section):
    """An outcome column of a ready-made table."""

    column: str = Field(description="Column of the table")
    kind: Literal["binary", "continuous"] = Field(description="Scale of measurement")


class Outcomes(Section):
    """What is measured after time zero; opened only when the design was accepted."""

    primary: str = Field(description="The primary outcome; docs/outcomes.md lists those of raw records")
    secondary: tuple[str, ...] = Field((), description="Further outcomes")
    presets: tuple[PresetName, ...] = Field(
        (), description="Sets of outcomes that are added to `secondary`, as docs/outcomes.md says"
    )
    columns: dict[str, TableOutcome] = Field(default_factory=dict, description="Outcome columns of a table source")

    @model_validator(mode="after")
    def _expand_presets(self) -> Self:
        named = (self.primary, *self.secondary)
        added = [name for name in expand_presets(self.presets) if name not in named]
        object.__setattr__(self, "secondary", (*self.secondary, *added))
        return self


class Estimand(Section):
    """Whose effect is estimated."""

    target: TargetEstimand = Field(
        "ATT",
        description="ATT: the participants; ATE: everybody in the table; ATC: the candidates; ATO: the people who "
        "could as well have been participants as candidates (overlap weights)",
    )


CodeDimension = Literal["diagnosis", "procedure", "team", "hospital_diagnosis", "hospital_procedure"]
CodeLevel = Literal["once", "sporadic", "frequent"]
UseOfMissing = Literal["indicator", "median", "complete_case", "multiple_imputation", "refuse"]


class CodeCovariates(Section):
    """Covariates from codes as they come, in the manner of the high-dimensional propensity score (Schneeweiss 2009):
    those most evenly spread over all eligible rows. Neither outcomes nor arms play a part in the choice."""

    dimensions: tuple[CodeDimension, ...] = Field(
        ("diagnosis", "procedure", "team"), min_length=1, description="Kinds of codes; each is ranked by itself"
    )
    look_back_days: int = Field(365, ge=1, le=3650, description="Days before time zero in which codes count")
    n_most_prevalent: int = Field(
        200,
        ge=1,
        le=1000,
        description="Codes of each dimension: those of largest min(p, 1 - p), p the prevalence",
    )
    levels: tuple[CodeLevel, ...] = Field(
        ("once", "sporadic", "frequent"),
        min_length=1,
        description="Indicators of a code: recorded at least once, as often as the median, as the upper quartile",
    )
    icd10_characters: Literal[3, 4] = Field(3, description="Characters of an ICD-10 code that count")
    min_persons: int = Field(
        10, ge=10, description="A code or level that fewer people have, or lack, gets no indicator and no name"
    )


class Imputation(Section):
    """Multiple imputation by chained equations: design and effect are made in each completed copy, and pooled."""

    copies: int = Field(10, ge=2, le=200, description="Completed copies of the covariates")
    iterations: int = Field(5, ge=1, le=100, description="Rounds of the chained equations for each copy")
    donors: int = Field(5, ge=1, le=50, description="Nearest observed rows from which a number is drawn")
    regressions: Literal["as_in_design", "with_outcome"] = Field(
        "as_in_design",
        description="Covariates of g_computation, adjusted_regression, aipw and tmle. as_in_design: the copies of the "
        "design, which no outcome entered; with_outcome: drawn again for each outcome, with it among the predictors. "
        "docs/missing.md says what either leaves of a confounder",
    )


class Covariates(Section):
    """What the design adjusts for, all measured before time zero. docs/covariates.md lists those of raw records."""

    numeric: tuple[str, ...] = Field((), description="Entered linearly")
    squared: tuple[str, ...] = Field((), description="Numeric covariates whose square enters as well")
    categorical: tuple[str, ...] = Field((), description="Entered as indicators of each level but the commonest")
    is_zero: tuple[str, ...] = Field((), description="Numeric covariates for which 'equals zero' enters as well")
    missing: UseOfMissing = Field(
        "indicator",
        description="indicator: mean filled in and a missing-indicator added; median: median filled in and nothing "
        "added, as if it had been measured; complete_case: rows without a value leave the comparison; "
        "multiple_imputation: drawn given the arm and all other covariates, never the outcome, several times over; "
        "refuse: an error. Of categories, missing is a level of its own, except under complete_case and "
        "multiple_imputation",
    )
    missing_of: dict[str, UseOfMissing] = Field(
        default_factory=dict, description="The same for single covariates, for example {honos_total = 'median'}"
    )
    imputation: Imputation = Imputation()
    rare_level_below: int = Field(
        10, ge=0, description="Levels with fewer rows are pooled, and fewer missing values get no indicator"
    )
    codes: CodeCovariates | None = Field(None, description="Without this section no codes enter")

    @model_validator(mode="after")
    def _forms_of_known_numbers(self) -> Self:
        unknown = sorted((set(self.squared) | set(self.is_zero)) - set(self.numeric))
        if unknown:
            raise ValueError(f"squared and is_zero must be listed in numeric too: {', '.join(unknown)}")
        if set(self.numeric) & set(self.categorical):
            raise ValueError("a covariate is either numeric or categorical, not both")
        if not self.numeric and not self.categorical:
            raise ValueError("name at least one covariate")
        unknown = sorted(set(self.missing_of) - {*self.numeric, *self.categorical})
        if unknown:
            raise ValueError(f"missing_of must be listed in numeric or categorical too: {', '.join(unknown)}")
        filled = sorted(name for name in self.categorical if self.missing_of.get(name) == "median")
        if filled:
            raise ValueError(f"missing_of: a category has no median: {', '.join(filled)}")
        return self

    def named_with(self, use: UseOfMissing) -> list[str]:
        """The covariates whose missing values are used in that way, in order."""
        return [name for name in (*self.numeric, *self.categorical) if self.use_of_missing(name) == use]

    def use_of_missing(self, name: str) -> UseOfMissing:
        """What is done where a covariate is missing."""
        return self.missing_of.get(name, self.missing)


class Benchmark(Section):
    """What is known from elsewhere, shown beside the estimate and never used for it."""

    value: float = Field(description="The reference value")
    lower: float | None = Field(None, description="Lower limit")
    upper: float | None = Field(None, description="Upper limit")
    source: str = Field(description="Where it comes from")


class Disclosure(Section):
    """What may leave the secure environment (DOMAIN F2)."""

    suppress_below: int = Field(8, ge=0, description="Counts from 1 to one less than this are suppressed")
    round_to: int = Field(5, ge=1, description="Other counts are rounded to this, halves up")


class Variant(Section):
    """One sensitivity analysis: the cohort, the primary design and its effect on the primary outcome are made again
    under other rules, beside the main analysis. Its outcomes stay closed unless its own design and the main one are
    accepted."""

    name: Name = Field(description="Name of the variant; its files are in private/variants/<name>/")
    title: str | None = Field(None, description="What the report calls it; else its name")
    eligibility: dict[str, Any] = Field(default_factory=dict, description="Keys of `[eligibility]` that are changed")
    follow_up: dict[str, Any] = Field(default_factory=dict, description="Keys of `[follow_up]` that are changed")


COVARIATE_OPTIONS = ("distance_covariates", "covariate_calipers", "anti_exact", "covariates", "cut_points")
"""Options of design methods that hold names of covariates."""
