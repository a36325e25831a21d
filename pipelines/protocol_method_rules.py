"""What methods of design and effect ask of other sections of a protocol, and these cannot give: the faults in words.

Each function gives all faults of one kind, so that a file is put right in one go.
"""

from typing import TYPE_CHECKING, Literal

from models.registry import DESIGNS, EFFECTS, check_capability, methods_for, time_methods
from models.results import Estimand as TargetEstimand
from pipelines.outcome_registry import family_of, is_counted
from pipelines.protocol_sections import COVARIATE_OPTIONS, NOT_FOR_COUNTS

if TYPE_CHECKING:
    from pipelines.protocol import Protocol


def what_a_table_lacks(protocol: "Protocol") -> list[str]:
    """Methods that need dates."""
    named = protocol.effects.methods_by_name().items()
    timed = [name for name, method in named if method in time_methods()]
    problems = [f"effects.methods: {name} needs dated outcomes, which a table source has not" for name in timed]
    for one in protocol.design.specifications():
        if getattr(one.settings, "calendar_days", None) is not None:
            problems.append(f"design.{one.name}.calendar_days needs dates, which a table source has not")
        if one.method == "risk_set_matching":
            problems.append(f"design.{one.name} needs dates, which a table source has not")
    return problems


def what_methods_cannot_target(protocol: "Protocol") -> list[str]:
    """The capability table, before any data is read."""
    target, problems = protocol.estimand.target, []
    designs = dict.fromkeys(one.method for one in protocol.design.specifications())
    effects = dict.fromkeys(protocol.effects.methods_by_name().values())
    for section, methods, registry in (("design", designs, DESIGNS), ("effects", effects, EFFECTS)):
        able = [name for name, method in registry.items() if target in method.estimands]
        problems += [
            f"{section}.methods: {name} cannot target the {target}; those that can: {', '.join(able) or 'none'}"
            for name in methods
            if name not in able
        ]
    able = [name for name, method in DESIGNS.items() if method.not_yet_treated]
    if protocol.not_yet_treated and not set(designs) <= set(able):
        problems += [
            f"design.methods: {name} takes no candidates who are not yet treated (eligibility.candidates); those "
            f"that do: {', '.join(able)}"
            for name in designs
            if name not in able
        ]
    return problems + what_cannot_go_together(protocol)


def what_cannot_go_together(protocol: "Protocol") -> list[str]:
    """Pairs of a design and an effect method: every one of the primary design, and of a further design where none
    of the methods can follow it (a pair that is left out of a grid leaves a note)."""
    target, problems = protocol.estimand.target, []
    effects = dict.fromkeys(protocol.effects.methods_by_name().values())
    able = [name for name in effects if target in EFFECTS[name].estimands]
    designs = [one for one in protocol.design.specifications() if target in DESIGNS[one.method].estimands]
    asked = {"effects.methods": able}
    sites = protocol.effects.sites
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


def what_cannot_be_pooled(protocol: "Protocol") -> list[str]:
    """Each person's effect has no place in Rubin's rules."""
    if not protocol.covariates.named_with("multiple_imputation"):
        return []
    named = protocol.effects.methods_by_name().items()
    single = [name for name, method in named if EFFECTS[method].individual_effects]
    problems = [f"effects.methods: {name} is not pooled over multiple imputations; leave it out" for name in single]
    by = protocol.effects.sites.by
    if by in protocol.covariates.named_with("multiple_imputation"):
        problems.append(f"effects.sites.by: {by} is imputed, so that people would change sites between the copies")
    return problems


def what_methods_cannot_measure(protocol: "Protocol") -> list[str]:
    """The primary outcome needs a method of its kind; a method for rates needs an outcome that is counted."""
    methods, problems = protocol.effects.methods, []
    kind = outcome_kinds(protocol).get(protocol.outcomes.primary) if primary_is_known(protocol) else None
    if kind is not None and not set(methods).intersection(methods_for(kind)):
        problems.append(
            f"effects.methods: the headline compares the {kind} outcome {protocol.outcomes.primary} as a value, which "
            f"needs one of {', '.join(methods_for(kind))}; methods for times, rates and repeated events stand beside it"
        )
    rates = [name for name in methods if name in methods_for("count")]
    if rates and protocol.source.kind == "table":
        problems += [f"effects.methods: {name} needs counts and time at risk, which a table has not" for name in rates]
    elif rates and not any(is_counted(name) for name in (protocol.outcomes.primary, *protocol.outcomes.secondary)):
        problems.append(f"effects.methods: {rates[0]} needs an outcome that is counted, such as n_readmissions_365d")
    for one in protocol.effects.also:
        primary = protocol.outcomes.primary
        is_able = {
            "binary": kind in ("binary", None),
            "continuous": kind in ("continuous", None) and can_measure(one.method, primary),
            "count": is_counted(primary),
            "recurrent": primary == recurrent_outcome(protocol),
            "time_to_event": primary == time_outcome(protocol),
        }
        if not any(is_able[able] for able in EFFECTS[one.method].kinds):
            problems.append(f"effects.also: {one.name} is of the primary outcome, which {one.method} cannot count")
    measured = outcome_kinds(protocol)
    for name in (name for name in methods if name in NOT_FOR_COUNTS):
        if measured and not any(measured[one] in EFFECTS[name].kinds and can_measure(name, one) for one in measured):
            problems.append(f"effects.methods: {name} needs an outcome that is a number and no count of events")
    timed, wanted = [name for name in methods if name in methods_for("time_to_event")], time_outcome(protocol)
    if (
        timed
        and protocol.source.kind != "table"
        and wanted not in (protocol.outcomes.primary, *protocol.outcomes.secondary)
    ):
        problems.append(f"effects.methods: {timed[0]} is of {wanted}, which is not among the outcomes")
    repeated = [name for name in methods if name in methods_for("recurrent")]
    wanted = recurrent_outcome(protocol)
    if (
        repeated
        and protocol.source.kind != "table"
        and wanted not in (protocol.outcomes.primary, *protocol.outcomes.secondary)
    ):
        problems.append(f"effects.methods: {repeated[0]} is of {wanted}, which is not among the outcomes")
    return problems


def faults_of_sites(protocol: "Protocol") -> list[str]:
    """A site is compared within itself, and no number of it may rest on fewer people than may be released."""
    sites, problems = protocol.effects.sites, []
    if sites.by is not None and sites.by not in protocol.design.exact:
        problems.append(
            f"effects.sites.by: {sites.by} must be one of design.exact, so that each site compares its own people"
        )
    if sites.by is not None and min(sites.min_treated, sites.min_controls) < protocol.disclosure.suppress_below:
        problems.append("effects.sites: min_treated and min_controls must be at least disclosure.suppress_below")
    return problems


def what_weights_for_the_unobserved_cannot_do(protocol: "Protocol") -> list[str]:
    """A model of who is observed needs more people than a site has, and covariates that nobody's outcome touched."""
    effects, problems = protocol.effects, []
    sites = effects.sites
    if sites.by is not None and getattr(getattr(effects, sites.method), "unobserved", "") == "weights":
        problems.append(
            f"effects.sites.method: {sites.method} with unobserved = 'weights' would need a model of who is observed "
            "in every site; name another method there, or the weights under effects.also"
        )
    imputed = bool(protocol.covariates.named_with("multiple_imputation"))
    if imputed and protocol.covariates.imputation.regressions == "with_outcome":
        problems += [
            f"effects.{name}: unobserved = 'weights' needs covariates that were imputed alike for people observed and "
            "not observed, which covariates.imputation.regressions = 'with_outcome' does not; leave one of the two out"
            for name in weighing_the_unobserved(protocol)
            if effects.methods_by_name()[name] != "weighted_difference"
        ]
    return problems


def weighing_the_unobserved(protocol: "Protocol") -> list[str]:
    """Effect specifications that weigh people observed for those whose outcome was not."""
    further = {name: getattr(one, one.methods[0]) for name, one in protocol.effects.of_specifications().items()}
    chosen = {name: getattr(protocol.effects, name) for name in protocol.effects.methods} | further
    return [name for name, settings in chosen.items() if getattr(settings, "unobserved", "left_out") == "weights"]


def primary_is_known(protocol: "Protocol") -> bool:
    primary = protocol.outcomes.primary
    return primary in protocol.outcomes.columns if protocol.source.kind == "table" else family_of(primary) is not None


def what_power_cannot_say(protocol: "Protocol") -> list[str]:
    """A detectable risk ratio is of an outcome that is a risk, and starts from an assumed one."""
    primary = protocol.outcomes.primary
    if protocol.source.kind == "table":
        is_risk = primary not in protocol.outcomes.columns or protocol.outcomes.columns[primary].kind == "binary"
    else:
        family = family_of(primary)
        is_risk = family is None or family.scale == "binary"
    problems = []
    if protocol.acceptance.min_detectable_risk_ratio is not None and protocol.power.baseline_risk is None:
        problems.append("acceptance.min_detectable_risk_ratio needs power.baseline_risk, an assumed risk")
    if not is_risk and (protocol.power.baseline_risk, protocol.acceptance.min_detectable_risk_ratio) != (None, None):
        problems.append(
            "power.baseline_risk and acceptance.min_detectable_risk_ratio are for a primary outcome that is yes or "
            f"no, and {primary} is not"
        )
    if protocol.acceptance.min_generalisability is not None and protocol.estimand.target not in ("ATT", "ATO"):
        problems.append(
            "acceptance.min_generalisability is of the kept among the participants, and the "
            f"{protocol.estimand.target} is not about them; leave it out"
        )
    return problems


def faults_of_design_options(protocol: "Protocol") -> list[str]:
    """Options of designs that name covariates name those the design has; strata and trimming have their basis."""
    chosen, problems = protocol.covariates, []
    may_serve = [protocol.design.candidate_discharges.matching]
    may_serve += [] if protocol.eligibility is None else [protocol.eligibility.candidate_discharges]
    for one in protocol.design.specifications():
        if getattr(one.propensity, "by_stratum", False) and not one.exact:
            problems.append(f"design.{one.name}: propensity.by_stratum needs design.exact, whose columns are strata")
        if getattr(one.settings, "trim", None) == "crump_optimal" and protocol.estimand.target != "ATE":
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


def days_outside_follow_up(protocol: "Protocol") -> list[str]:
    """Days at which methods for times are to compare, where they are in use."""
    problems = []
    further = {name: getattr(one, one.methods[0]) for name, one in protocol.effects.of_specifications().items()}
    chosen = {name: getattr(protocol.effects, name) for name in protocol.effects.methods} | further
    for name, settings in chosen.items():
        times = getattr(settings, "times", ())
        if len(set(times)) < len(times) or max(times, default=0) > protocol.follow_up.days:
            problems.append(
                f"effects.{name}.times must be different days up to follow_up.days ({protocol.follow_up.days})"
            )
    return problems


def can_measure(method: str, outcome: str) -> bool:
    """Whether an effect method for values suits what the outcome counts, its kind aside."""
    return method not in NOT_FOR_COUNTS or not is_counted(outcome)


def _refusal(design: str, effect: str, target: TargetEstimand) -> str | None:
    """Why an effect method cannot follow a design, whatever the kind of outcome."""
    return check_capability(design, effect, target, EFFECTS[effect].kinds[0])


def time_outcome(protocol: "Protocol") -> str:
    """The outcome whose time is analysed: readmission over the whole follow-up."""
    return f"readmitted_{protocol.follow_up.days}d"


def recurrent_outcome(protocol: "Protocol") -> str:
    """The outcome whose events are followed one by one: readmissions over the whole follow-up."""
    return f"n_readmissions_{protocol.follow_up.days}d"


def outcome_kinds(protocol: "Protocol") -> dict[str, Literal["binary", "continuous"]]:
    """Every outcome of the protocol, primary first, with its scale."""
    named = (protocol.outcomes.primary, *protocol.outcomes.secondary)
    if protocol.source.kind == "table":
        columns = protocol.outcomes.columns
        return {name: columns[name].kind for name in named if name in columns}
    families = {name: family_of(name) for name in named}
    return {name: family.scale for name, family in families.items() if family is not None}
