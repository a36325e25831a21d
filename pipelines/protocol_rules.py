"""The rules between the sections of a study protocol: every fault in words, all at once."""

from typing import TYPE_CHECKING

from pipelines.covariate_registry import REGISTRY, unknown_names
from pipelines.outcome_registry import family_of, fault_of
from pipelines.protocol_method_rules import (
    days_outside_follow_up,
    faults_of_design_options,
    faults_of_sites,
    what_a_table_lacks,
    what_cannot_be_pooled,
    what_methods_cannot_measure,
    what_methods_cannot_target,
    what_power_cannot_say,
    what_weights_for_the_unobserved_cannot_do,
)
from pipelines.protocol_sections import MAIN_ANALYSIS, NOT_IN_A_CDM, PLACEBO, PLACEBO_UNTIL_DAYS
from pipelines.protocol_unused_options import options_without_effect

if TYPE_CHECKING:
    from pipelines.protocol import Protocol


def faults_between_sections(protocol: "Protocol") -> list[str]:
    """What is wrong between sections that are each sound, in words; empty when nothing is."""
    problems: list[str] = []
    is_table = protocol.source.kind == "table"
    if is_table and protocol.eligibility is not None:
        problems.append("[eligibility] is for raw records; a table source holds eligible rows already")
    if not is_table and protocol.eligibility is None:
        problems.append("[eligibility] is missing; an empty section takes the defaults of the ENRICH study")
    if is_table and protocol.time_zero.event != "row":
        problems.append("time_zero.event must be 'row' for a table source")
    if not is_table and protocol.time_zero.event != "discharge":
        problems.append("time_zero.event must be 'discharge' for raw records")
    named = (protocol.outcomes.primary, *protocol.outcomes.secondary)
    if len(set(named)) != len(named):
        problems.append("outcomes: an outcome is named twice")
    if is_table:
        if protocol.outcomes.presets:
            problems.append("outcomes.presets is for raw records; a table source names its own outcomes")
        unknown = sorted(set(named) - set(protocol.outcomes.columns))
        if unknown:
            problems.append(f"outcomes.columns has no entry for {', '.join(unknown)}")
    else:
        if protocol.outcomes.columns:
            problems.append("outcomes.columns is for table sources; outcomes of raw records are known by name")
        faults = (fault_of(name, protocol.follow_up.days) for name in named)
        problems += [f"outcomes: {fault}" for fault in faults if fault]
    problems += _covariates_of_the_source(protocol)
    seen = _sees_placebo_window(protocol)
    if not is_table and PLACEBO in named and seen:
        problems.append(
            f"outcomes: {PLACEBO} is a test only if no covariate looks into months 13 to 24 before time zero, as "
            f"{', '.join(seen)} do; take look-backs of at most {PLACEBO_UNTIL_DAYS} days"
        )
    if protocol.source.kind == "omop":
        problems += _what_a_cdm_does_not_hold(protocol)
    elif "observation_period" in protocol.follow_up.censor_at:
        problems.append("follow_up.censor_at: leave out observation_period; only an OMOP CDM has observation periods")
    problems += _faults_of_variant_names(protocol)
    problems += what_methods_cannot_target(protocol)
    entered = {*protocol.covariates.numeric, *protocol.covariates.categorical}
    for forest in ("causal_forest", "censored_forest"):
        unknown = [name for name in getattr(protocol.effects, forest).subgroups if name not in entered]
        if unknown:
            problems.append(f"effects.{forest}.subgroups must be among the covariates: {', '.join(unknown)}")
    problems += what_power_cannot_say(protocol)
    problems += what_cannot_be_pooled(protocol)
    problems += what_a_table_lacks(protocol) if is_table else []
    problems += faults_of_design_options(protocol) + options_without_effect(protocol)
    problems += days_outside_follow_up(protocol)
    problems += what_methods_cannot_measure(protocol)
    problems += faults_of_sites(protocol)
    problems += what_weights_for_the_unobserved_cannot_do(protocol)
    return problems


def _covariates_of_the_source(protocol: "Protocol") -> list[str]:
    """Raw records give the covariates of the registry, each of its kind, and codes; a table its own columns."""
    chosen, codes = protocol.covariates, protocol.covariates.codes
    if protocol.source.kind == "table":
        return [] if codes is None else ["covariates.codes needs raw records; a table holds its covariates already"]
    exact = [name for one in protocol.design.specifications() for name in one.exact]
    problems = unknown_names(list(dict.fromkeys([*chosen.numeric, *chosen.categorical, *exact])))
    texts = [name for name in chosen.numeric if name in REGISTRY and REGISTRY[name].form == "category"]
    problems += [f"covariates.numeric: '{name}' is a category; list it under categorical" for name in texts]
    if codes is not None and codes.min_persons < protocol.disclosure.suppress_below:
        problems.append("covariates.codes.min_persons must be at least disclosure.suppress_below")
    return problems


def _sees_placebo_window(protocol: "Protocol") -> list[str]:
    """The covariates that count events, other than diagnoses, further back than a year before time zero."""
    named = {*protocol.covariates.numeric, *protocol.covariates.categorical}
    seen = sorted(name for name in named if name in REGISTRY and REGISTRY[name].sees_earlier_years)
    codes = protocol.covariates.codes
    if codes is not None and codes.look_back_days > PLACEBO_UNTIL_DAYS and set(codes.dimensions) != {"diagnosis"}:
        seen.append("covariates.codes")
    return seen


def _what_a_cdm_does_not_hold(protocol: "Protocol") -> list[str]:
    """What would be taken for "never" although an OMOP CDM cannot tell."""
    named = {protocol.outcomes.primary, *protocol.outcomes.secondary}
    entered = {*protocol.covariates.numeric, *protocol.covariates.categorical}
    families = {name: family_of(name) for name in named}
    without = {name for name, family in families.items() if family is not None and not family.is_in_a_cdm}
    unknown = sorted(without | (entered & NOT_IN_A_CDM))
    problems = [f"{name} cannot be known from an OMOP CDM" for name in unknown]
    if protocol.covariates.codes is not None and "team" in protocol.covariates.codes.dimensions:
        problems.append("covariates.codes.dimensions: leave out team; an OMOP CDM holds no types of teams")
    if protocol.eligibility is not None and "not_acute_adult" in protocol.eligibility.rules:
        problems.append("eligibility.rules: leave out not_acute_adult; an OMOP CDM holds no bed classes")
    if "first_readmission_type" in protocol.effects.methods_by_name().values():
        problems.append("effects.methods: first_readmission_type needs legal status, which an OMOP CDM has not")
    if "provider_silence" in protocol.follow_up.censor_at:
        problems.append(
            "follow_up.censor_at: leave out provider_silence; an OMOP CDM does not tell which months a provider sent"
        )
    if "moved_away" in protocol.follow_up.censor_at:
        problems.append("follow_up.censor_at: leave out moved_away; an OMOP CDM does not tell why a referral closed")
    return problems


def _faults_of_variant_names(protocol: "Protocol") -> list[str]:
    names = [variant.name for variant in protocol.sensitivity]
    problems = []
    if names and protocol.source.kind == "table":
        problems.append("[[sensitivity]] is for raw records; a table source holds eligible rows already")
    if len(set(names)) != len(names):
        problems.append("sensitivity: a variant is named twice")
    if MAIN_ANALYSIS in names:
        problems.append(f"sensitivity: {MAIN_ANALYSIS!r} is the name of the analysis the variants stand beside")
    return problems
