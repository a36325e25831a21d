"""A study protocol: one TOML file whose sections are the stages of a target trial emulation.

The file is parsed into frozen pydantic models which are then used as they are. Unknown keys are refused, and every
fault of a file is reported at once with its place, what is wrong and what is allowed (Hernán & Robins 2016 for the
components; TARGET 2025 for what must be stated).
"""

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from models.registry import DESIGNS, EFFECTS, check_capability, methods_for, time_methods
from models.results import Estimand as TargetEstimand
from pipelines.covariate_registry import REGISTRY, unknown_names
from pipelines.errors import ProtocolError
from pipelines.method_settings import DesignSection, Effects
from pipelines.method_settings.acceptance import Acceptance, Power
from pipelines.method_settings.section import Section
from pipelines.outcome_registry import PresetName, expand_presets, family_of, fault_of, is_counted

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
    censor_at: tuple[Literal["end_of_data", "provider_silence"], ...] = Field(
        ("end_of_data", "provider_silence"), description="What ends observation; death is a competing event"
    )
    silence_below: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="A month with fewer than this share of the provider's median monthly spells counts as not "
        "submitted; 0: only a month without a submission does",
    )
    silence_minimum_spells: int = Field(
        30,
        ge=1,
        description="Smallest median for that rule. By chance alone (Poisson) a provider with 30 spells a month falls "
        "below half in 1 month of 1,100, one with 20 in 1 of 200",
    )


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


class Protocol(Section):
    """A whole study."""

    study: Study
    source: Source
    eligibility: Eligibility | None = Field(None, description="Only for sources of raw records")
    time_zero: TimeZero = TimeZero()
    strategies: Strategies
    follow_up: FollowUp = FollowUp()
    outcomes: Outcomes
    estimand: Estimand = Estimand()
    covariates: Covariates
    design: DesignSection = DesignSection()
    acceptance: Acceptance = Acceptance()
    power: Power = Power()
    effects: Effects = Effects()
    benchmark: Benchmark | None = None
    sensitivity: tuple[Variant, ...] = Field((), description="Only for sources of raw records")
    disclosure: Disclosure = Disclosure()

    @model_validator(mode="after")
    def _rules_between_sections(self) -> Self:
        problems: list[str] = []
        is_table = self.source.kind == "table"
        if is_table and self.eligibility is not None:
            problems.append("[eligibility] is for raw records; a table source holds eligible rows already")
        if not is_table and self.eligibility is None:
            problems.append("[eligibility] is missing; an empty section takes the defaults of the ENRICH study")
        if is_table and self.time_zero.event != "row":
            problems.append("time_zero.event must be 'row' for a table source")
        if not is_table and self.time_zero.event != "discharge":
            problems.append("time_zero.event must be 'discharge' for raw records")
        named = (self.outcomes.primary, *self.outcomes.secondary)
        if len(set(named)) != len(named):
            problems.append("outcomes: an outcome is named twice")
        if is_table:
            if self.outcomes.presets:
                problems.append("outcomes.presets is for raw records; a table source names its own outcomes")
            unknown = sorted(set(named) - set(self.outcomes.columns))
            if unknown:
                problems.append(f"outcomes.columns has no entry for {', '.join(unknown)}")
        else:
            if self.outcomes.columns:
                problems.append("outcomes.columns is for table sources; outcomes of raw records are known by name")
            faults = (fault_of(name, self.follow_up.days) for name in named)
            problems += [f"outcomes: {fault}" for fault in faults if fault]
        problems += self._covariates_of_the_source()
        seen = self._sees_placebo_window()
        if not is_table and PLACEBO in named and seen:
            problems.append(
                f"outcomes: {PLACEBO} is a test only if no covariate looks into months 13 to 24 before time zero, as "
                f"{', '.join(seen)} do; take look-backs of at most {PLACEBO_UNTIL_DAYS} days"
            )
        if self.source.kind == "omop":
            problems += self._what_a_cdm_does_not_hold()
        problems += self._faults_of_variant_names()
        problems += self._what_methods_cannot_target()
        entered = {*self.covariates.numeric, *self.covariates.categorical}
        for forest in ("causal_forest", "censored_forest"):
            unknown = [name for name in getattr(self.effects, forest).subgroups if name not in entered]
            if unknown:
                problems.append(f"effects.{forest}.subgroups must be among the covariates: {', '.join(unknown)}")
        problems += self._what_power_cannot_say()
        problems += self._what_cannot_be_pooled()
        problems += self._what_a_table_lacks() if is_table else []
        problems += self._faults_of_design_options()
        problems += self._days_outside_follow_up()
        problems += self._what_methods_cannot_measure()
        problems += self._faults_of_sites()
        if problems:
            raise ValueError("; ".join(problems))
        object.__setattr__(self, "acceptance", self.acceptance.resolved(self.estimand.target))
        return self

    def _what_a_table_lacks(self) -> list[str]:
        """Methods that need dates."""
        named = self.effects.methods_by_name().items()
        timed = [name for name, method in named if method in time_methods()]
        problems = [f"effects.methods: {name} needs dated outcomes, which a table source has not" for name in timed]
        for one in self.design.specifications():
            if getattr(one.settings, "calendar_days", None) is not None:
                problems.append(f"design.{one.name}.calendar_days needs dates, which a table source has not")
            if one.method == "risk_set_matching":
                problems.append(f"design.{one.name} needs dates, which a table source has not")
        return problems

    def _what_methods_cannot_target(self) -> list[str]:
        """The capability table, before any data is read."""
        target, problems = self.estimand.target, []
        designs = dict.fromkeys(one.method for one in self.design.specifications())
        effects = dict.fromkeys(self.effects.methods_by_name().values())
        for section, methods, registry in (("design", designs, DESIGNS), ("effects", effects, EFFECTS)):
            able = [name for name, method in registry.items() if target in method.estimands]
            problems += [
                f"{section}.methods: {name} cannot target the {target}; those that can: {', '.join(able) or 'none'}"
                for name in methods
                if name not in able
            ]
        able = [name for name, method in DESIGNS.items() if method.not_yet_treated]
        if self.not_yet_treated and not set(designs) <= set(able):
            problems += [
                f"design.methods: {name} takes no candidates who are not yet treated (eligibility.candidates); those "
                f"that do: {', '.join(able)}"
                for name in designs
                if name not in able
            ]
        return problems + self._what_cannot_go_together()

    def _what_cannot_go_together(self) -> list[str]:
        """Pairs of a design and an effect method: every one of the primary design, and of a further design where none
        of the methods can follow it (a pair that is left out of a grid leaves a note)."""
        target, problems = self.estimand.target, []
        effects = dict.fromkeys(self.effects.methods_by_name().values())
        able = [name for name in effects if target in EFFECTS[name].estimands]
        designs = [one for one in self.design.specifications() if target in DESIGNS[one.method].estimands]
        asked = {"effects.methods": able}
        sites = self.effects.sites
        if sites.by is not None and target in EFFECTS[sites.method].estimands:
            asked["effects.sites.method"] = [sites.method]
        for place, names in asked.items():
            refusals = [_refusal(one.method, name, target) for one in designs[:1] for name in names]
            problems += [f"{place}: {refusal}" for refusal in refusals if refusal]
        for one in designs[1:]:
            refusals = [_refusal(one.method, name, target) for name in able]
            if refusals and all(refusals):
                problems.append(f"design.{one.name}: no effect method of the protocol can follow it: {refusals[0]}")
        return problems

    @property
    def not_yet_treated(self) -> bool:
        """Whether discharges of participants before their allocation are candidates."""
        return self.eligibility is not None and self.eligibility.candidates == "not_yet_treated"

    def _what_cannot_be_pooled(self) -> list[str]:
        """Each person's effect has no place in Rubin's rules."""
        if not self.covariates.named_with("multiple_imputation"):
            return []
        named = self.effects.methods_by_name().items()
        single = [name for name, method in named if EFFECTS[method].individual_effects]
        problems = [f"effects.methods: {name} is not pooled over multiple imputations; leave it out" for name in single]
        by = self.effects.sites.by
        if by in self.covariates.named_with("multiple_imputation"):
            problems.append(f"effects.sites.by: {by} is imputed, so that people would change sites between the copies")
        return problems

    def _what_methods_cannot_measure(self) -> list[str]:
        """The primary outcome needs a method of its kind; a method for rates needs an outcome that is counted."""
        methods, problems = self.effects.methods, []
        kind = outcome_kinds(self).get(self.outcomes.primary) if self._primary_is_known() else None
        if kind is not None and not set(methods).intersection(methods_for(kind)):
            problems.append(
                f"effects.methods: none can work with the {kind} outcome {self.outcomes.primary}; those that can: "
                f"{', '.join(methods_for(kind))}"
            )
        rates = [name for name in methods if name in methods_for("count")]
        if rates and self.source.kind == "table":
            problems += [
                f"effects.methods: {name} needs counts and time at risk, which a table has not" for name in rates
            ]
        elif rates and not any(is_counted(name) for name in (self.outcomes.primary, *self.outcomes.secondary)):
            problems.append(
                f"effects.methods: {rates[0]} needs an outcome that is counted, such as n_readmissions_365d"
            )
        for one in self.effects.also:
            primary = self.outcomes.primary
            is_able = {
                "binary": kind in ("binary", None),
                "continuous": kind in ("continuous", None) and can_measure(one.method, primary),
                "count": is_counted(primary),
                "recurrent": primary == recurrent_outcome(self),
                "time_to_event": primary == time_outcome(self),
            }
            if not any(is_able[able] for able in EFFECTS[one.method].kinds):
                problems.append(f"effects.also: {one.name} is of the primary outcome, which {one.method} cannot count")
        measured = outcome_kinds(self)
        for name in (name for name in methods if name in NOT_FOR_COUNTS):
            if measured and not any(
                measured[one] in EFFECTS[name].kinds and can_measure(name, one) for one in measured
            ):
                problems.append(f"effects.methods: {name} needs an outcome that is a number and no count of events")
        timed, wanted = [name for name in methods if name in methods_for("time_to_event")], time_outcome(self)
        if timed and self.source.kind != "table" and wanted not in (self.outcomes.primary, *self.outcomes.secondary):
            problems.append(f"effects.methods: {timed[0]} is of {wanted}, which is not among the outcomes")
        repeated = [name for name in methods if name in methods_for("recurrent")]
        wanted = recurrent_outcome(self)
        if repeated and self.source.kind != "table" and wanted not in (self.outcomes.primary, *self.outcomes.secondary):
            problems.append(f"effects.methods: {repeated[0]} is of {wanted}, which is not among the outcomes")
        return problems

    def _faults_of_sites(self) -> list[str]:
        """A site is compared within itself, and no number of it may rest on fewer people than may be released."""
        sites, problems = self.effects.sites, []
        if sites.by is not None and sites.by not in self.design.exact:
            problems.append(
                f"effects.sites.by: {sites.by} must be one of design.exact, so that each site compares its own people"
            )
        if sites.by is not None and min(sites.min_treated, sites.min_controls) < self.disclosure.suppress_below:
            problems.append("effects.sites: min_treated and min_controls must be at least disclosure.suppress_below")
        return problems

    def _primary_is_known(self) -> bool:
        primary = self.outcomes.primary
        return primary in self.outcomes.columns if self.source.kind == "table" else family_of(primary) is not None

    def _what_power_cannot_say(self) -> list[str]:
        """A detectable risk ratio is of an outcome that is a risk, and starts from an assumed one."""
        primary = self.outcomes.primary
        if self.source.kind == "table":
            is_risk = primary not in self.outcomes.columns or self.outcomes.columns[primary].kind == "binary"
        else:
            family = family_of(primary)
            is_risk = family is None or family.scale == "binary"
        problems = []
        if self.acceptance.min_detectable_risk_ratio is not None and self.power.baseline_risk is None:
            problems.append("acceptance.min_detectable_risk_ratio needs power.baseline_risk, an assumed risk")
        if not is_risk and (self.power.baseline_risk, self.acceptance.min_detectable_risk_ratio) != (None, None):
            problems.append(
                "power.baseline_risk and acceptance.min_detectable_risk_ratio are for a primary outcome that is yes or "
                f"no, and {primary} is not"
            )
        if self.acceptance.min_generalisability is not None and self.estimand.target not in ("ATT", "ATO"):
            problems.append(
                "acceptance.min_generalisability is of the kept among the participants, and the "
                f"{self.estimand.target} is not about them; leave it out"
            )
        return problems

    def _faults_of_design_options(self) -> list[str]:
        """Options of designs that name covariates name those the design has; strata and trimming have their basis."""
        chosen, problems = self.covariates, []
        may_serve = [self.design.candidate_discharges.matching]
        may_serve += [] if self.eligibility is None else [self.eligibility.candidate_discharges]
        for one in self.design.specifications():
            if getattr(one.propensity, "by_stratum", False) and not one.exact:
                problems.append(
                    f"design.{one.name}: propensity.by_stratum needs design.exact, whose columns are strata"
                )
            if getattr(one.settings, "trim", None) == "crump_optimal" and self.estimand.target != "ATE":
                problems.append(f"design.{one.name}.trim: crump_optimal is derived for the ATE only")
            if getattr(one.settings, "person_serves", None) == "each_discharge" and "first" in may_serve:
                problems.append(
                    f"design.{one.name}.person_serves: each_discharge needs candidate_discharges = 'every', both in "
                    "eligibility and for matching in design.candidate_discharges"
                )
            both = sorted(set(getattr(one.settings, "anti_exact", ())) & set(one.exact))
            if both:
                problems.append(
                    f"design.{one.name}.anti_exact: {', '.join(both)} is exact as well, so nobody could be matched"
                )
            has = {*chosen.numeric, *chosen.categorical, *one.exact}
            for option in COVARIATE_OPTIONS:
                unknown = sorted(set(getattr(one.settings, option, None) or ()) - has)
                if unknown:
                    problems.append(f"design.{one.name}.{option}: {', '.join(unknown)} not among the covariates")
            for option in ("covariate_calipers", "cut_points"):
                texts = sorted(set(getattr(one.settings, option, None) or ()) & has - set(chosen.numeric))
                if texts:
                    problems.append(f"design.{one.name}.{option}: {', '.join(texts)} not a numeric covariate")
        return problems

    def _days_outside_follow_up(self) -> list[str]:
        """Days at which methods for times are to compare, where they are in use."""
        problems = []
        further = {name: getattr(one, one.methods[0]) for name, one in self.effects.of_specifications().items()}
        chosen = {name: getattr(self.effects, name) for name in self.effects.methods} | further
        for name, settings in chosen.items():
            times = getattr(settings, "times", ())
            if len(set(times)) < len(times) or max(times, default=0) > self.follow_up.days:
                problems.append(
                    f"effects.{name}.times must be different days up to follow_up.days ({self.follow_up.days})"
                )
        return problems

    def _faults_of_variant_names(self) -> list[str]:
        names = [variant.name for variant in self.sensitivity]
        problems = []
        if names and self.source.kind == "table":
            problems.append("[[sensitivity]] is for raw records; a table source holds eligible rows already")
        if len(set(names)) != len(names):
            problems.append("sensitivity: a variant is named twice")
        if MAIN_ANALYSIS in names:
            problems.append(f"sensitivity: {MAIN_ANALYSIS!r} is the name of the analysis the variants stand beside")
        return problems

    def _covariates_of_the_source(self) -> list[str]:
        """Raw records give the covariates of the registry, each of its kind, and codes; a table its own columns."""
        chosen, codes = self.covariates, self.covariates.codes
        if self.source.kind == "table":
            return [] if codes is None else ["covariates.codes needs raw records; a table holds its covariates already"]
        exact = [name for one in self.design.specifications() for name in one.exact]
        problems = unknown_names(list(dict.fromkeys([*chosen.numeric, *chosen.categorical, *exact])))
        texts = [name for name in chosen.numeric if name in REGISTRY and REGISTRY[name].form == "category"]
        problems += [f"covariates.numeric: '{name}' is a category; list it under categorical" for name in texts]
        if codes is not None and codes.min_persons < self.disclosure.suppress_below:
            problems.append("covariates.codes.min_persons must be at least disclosure.suppress_below")
        return problems

    def _sees_placebo_window(self) -> list[str]:
        """The covariates that count events, other than diagnoses, further back than a year before time zero."""
        named = {*self.covariates.numeric, *self.covariates.categorical}
        seen = sorted(name for name in named if name in REGISTRY and REGISTRY[name].sees_earlier_years)
        codes = self.covariates.codes
        if codes is not None and codes.look_back_days > PLACEBO_UNTIL_DAYS and set(codes.dimensions) != {"diagnosis"}:
            seen.append("covariates.codes")
        return seen

    def _what_a_cdm_does_not_hold(self) -> list[str]:
        """What would be taken for "never" although an OMOP CDM cannot tell."""
        named = {self.outcomes.primary, *self.outcomes.secondary}
        entered = {*self.covariates.numeric, *self.covariates.categorical}
        families = {name: family_of(name) for name in named}
        without = {name for name, family in families.items() if family is not None and not family.is_in_a_cdm}
        unknown = sorted(without | (entered & NOT_IN_A_CDM))
        problems = [f"{name} cannot be known from an OMOP CDM" for name in unknown]
        if self.covariates.codes is not None and "team" in self.covariates.codes.dimensions:
            problems.append("covariates.codes.dimensions: leave out team; an OMOP CDM holds no types of teams")
        if self.eligibility is not None and "not_acute_adult" in self.eligibility.rules:
            problems.append("eligibility.rules: leave out not_acute_adult; an OMOP CDM holds no bed classes")
        if "first_readmission_type" in self.effects.methods_by_name().values():
            problems.append("effects.methods: first_readmission_type needs legal status, which an OMOP CDM has not")
        if "provider_silence" in self.follow_up.censor_at:
            problems.append(
                "follow_up.censor_at must be ['end_of_data']: an OMOP CDM does not tell which months a provider sent"
            )
        return problems


def can_measure(method: str, outcome: str) -> bool:
    """Whether an effect method for values suits what the outcome counts, its kind aside."""
    return method not in NOT_FOR_COUNTS or not is_counted(outcome)


def _refusal(design: str, effect: str, target: TargetEstimand) -> str | None:
    """Why an effect method cannot follow a design, whatever the kind of outcome."""
    return check_capability(design, effect, target, EFFECTS[effect].kinds[0])


def time_outcome(protocol: Protocol) -> str:
    """The outcome whose time is analysed: readmission over the whole follow-up."""
    return f"readmitted_{protocol.follow_up.days}d"


def recurrent_outcome(protocol: Protocol) -> str:
    """The outcome whose events are followed one by one: readmissions over the whole follow-up."""
    return f"n_readmissions_{protocol.follow_up.days}d"


def outcome_kinds(protocol: Protocol) -> dict[str, Literal["binary", "continuous"]]:
    """Every outcome of the protocol, primary first, with its scale."""
    named = (protocol.outcomes.primary, *protocol.outcomes.secondary)
    if protocol.source.kind == "table":
        columns = protocol.outcomes.columns
        return {name: columns[name].kind for name in named if name in columns}
    families = {name: family_of(name) for name in named}
    return {name: family.scale for name, family in families.items() if family is not None}


def load_protocol(path: Path) -> Protocol:
    """Read a study protocol.

    Paths inside it become absolute, relative to the file. Raises ProtocolError naming every fault of the file.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ProtocolError(f"{path}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: not valid TOML: {error}") from None
    try:
        protocol = _with_absolute_paths(Protocol.model_validate(raw), path.resolve().parent)
    except ValidationError as error:
        raise ProtocolError([_explain(path, fault) for fault in error.errors()]) from None
    faults = [fault for number in range(len(protocol.sensitivity)) for fault in _variant_faults(path, protocol, number)]
    if faults:
        raise ProtocolError(faults)
    return protocol


def with_variant(protocol: Protocol, variant: Variant) -> Protocol:
    """The protocol of one sensitivity analysis: changed rules, the primary outcome, design and contrasts alone, and
    every effect method but individual effects.

    Raises ValidationError when the changed rules break a rule of a protocol.
    """
    content = protocol.model_dump(exclude={"sensitivity"})
    for section in ("eligibility", "follow_up"):
        content[section] = {**(content[section] or {}), **getattr(variant, section)}
    content["outcomes"] |= {"secondary": (), "presets": ()}
    content["design"] |= {"methods": content["design"]["methods"][:1], "also": ()}
    content["effects"]["also"] = ()
    kind = outcome_kinds(protocol).get(protocol.outcomes.primary)
    primary = protocol.outcomes.primary
    able = {name for name in (methods_for(kind) if kind else ()) if can_measure(name, primary)}
    is_timed = protocol.outcomes.primary == f"readmitted_{content['follow_up']['days']}d"
    able |= set(methods_for("time_to_event")) if is_timed else set()
    able |= set(methods_for("count")) if is_counted(protocol.outcomes.primary) else set()
    able |= set(methods_for("recurrent")) if protocol.outcomes.primary == recurrent_outcome(protocol) else set()
    named = content["effects"]["methods"]
    methods = [name for name in named if name in able and not EFFECTS[name].individual_effects]
    content["effects"]["methods"] = methods or [name for name in named if name in able] or named
    content["effects"]["sites"]["by"] = None
    return Protocol.model_validate(content)


def variants_of(protocol: Protocol) -> dict[str, Protocol]:
    """The protocols of the sensitivity analyses by name, in order."""
    return {variant.name: with_variant(protocol, variant) for variant in protocol.sensitivity}


def _variant_faults(path: Path, protocol: Protocol, number: int) -> list[str]:
    place = f"sensitivity.{number}"
    try:
        changed = with_variant(protocol, protocol.sensitivity[number])
    except ValidationError as error:
        return [_explain(path, fault, place) for fault in error.errors()]
    if (changed.eligibility, changed.follow_up) == (protocol.eligibility, protocol.follow_up):
        return [f"{path}: {place}: the variant changes nothing"]
    return []


def _with_absolute_paths(protocol: Protocol, base: Path) -> Protocol:
    source = protocol.source
    moved = source.model_copy(
        update={
            "folder": None if source.folder is None else (base / source.folder).resolve(),
            "duckdb": None if source.duckdb is None else (base / source.duckdb).resolve(),
            "tables": tuple(t.model_copy(update={"path": (base / t.path).resolve()}) for t in source.tables),
        }
    )
    return protocol.model_copy(update={"source": moved})


def _explain(path: Path, fault: Any, inside: str = "") -> str:
    parts = [inside, *(str(part) for part in fault["loc"])]
    place = ".".join(part for part in parts if part) or "the file as a whole"
    if fault["type"] == "extra_forbidden":
        return f"{path}: {place}: unknown key; allowed here: {', '.join(_keys_beside(fault['loc'])) or 'nothing'}"
    if fault["type"] == "missing":
        return f"{path}: {place}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | date) else ""
    return f"{path}: {place}: {message}{shown}"


def _keys_beside(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed in the section that holds `location`."""
    model: type[BaseModel] = Protocol
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        nested = None if field is None else _section_of(field.annotation)
        if nested is not None:
            model = nested
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The Section inside an annotation such as `Eligibility | None`, `tuple[TableFile, ...]` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _section_of(inner)
        if found is not None:
            return found
    return None
