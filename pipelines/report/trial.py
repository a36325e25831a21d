"""A protocol becomes the table of the target trial beside its emulation; and the report's glossary.

The components are Hernán & Robins' (2016, Am J Epidemiol 183:758); TARGET (2025) asks that each is stated with its
emulation, and that the report says it is one.
"""

from datetime import date

from models.registry import DESIGNS
from pipelines.protocol import Protocol
from pipelines.report.wording import ARM_LABELS, label, mid

_EXCLUSIONS = {
    "zero_day": "stays that ended the day they began",
    "place_of_safety_only": "place-of-safety stays",
    "died_in_hospital": "stays that ended in death",
    "organic_any": "any organic disorder (F00–F09)",
    "primary_F50": "a primary eating disorder (F50)",
    "primary_F70_F79": "a primary learning disability (F70–F79)",
    "primary_F10_F19": "a primary substance use disorder (F10–F19)",
}

_ESTIMANDS = {
    "ATT": "Average effect in those who were offered the intervention (ATT)",
    "ATE": "Average effect in everybody in the comparison (ATE)",
    "ATC": "Average effect in the candidates, had they been offered the intervention (ATC)",
    "ATO": "Average effect in people who could as well have been participants as candidates (ATO)",
}


def describe_trial(protocol: Protocol) -> list[dict[str, str]]:
    """The target trial beside its emulation: component, target trial, emulation."""
    is_table = protocol.source.kind == "table"
    strategies = protocol.strategies
    outcome = label(protocol.outcomes.primary)
    comparator = mid(strategies.comparator)
    estimand = _ESTIMANDS[protocol.estimand.target]
    rows = [
        ("Eligibility", _eligibility(protocol), _eligibility_emulated(protocol)),
        ("Strategies", f"{strategies.treatment}; or {comparator}", _strategies_emulated(protocol)),
        ("Assignment", "At random", _assignment(protocol)),
        (
            "Time zero",
            "Eligibility, assignment and start of follow-up coincide",
            "Each row is at time zero already"
            if is_table
            else "The day the index stay ended, in every group; allocation was fixed before it",
        ),
        (
            "Follow-up",
            "As long as the outcome needs" if is_table else f"{protocol.follow_up.days} days",
            "As recorded in the table" if is_table else _follow_up(protocol),
        ),
        ("Outcome", outcome, "As recorded in the table" if is_table else f"{outcome}, from routine records"),
        ("Causal contrast", "Intention to treat", f"By allocation, whatever was received. {estimand}"),
        ("Analysis", "Difference between the randomised groups", _analysis(protocol)),
    ]
    return [{"component": name, "target": target, "emulation": emulation} for name, target, emulation in rows]


def _eligibility(protocol: Protocol) -> str:
    rules = protocol.eligibility
    if rules is None:
        return "People the table holds"
    wanted = [f"aged {rules.minimum_age_years} or over"] if "under_18" in rules.rules else []
    if "not_acute_adult" in rules.rules:
        wanted.append("leaving an adult acute psychiatric ward")
    if "no_prior_stay_730" in rules.rules:
        kind = "stay in any hospital" if protocol.source.stays == "any_inpatient" else "psychiatric stay"
        wanted.append(f"with an earlier {kind} in the preceding {rules.prior_stay_window_days} days")
    without = [text for rule, text in _EXCLUSIONS.items() if rule in rules.rules]
    text = "People " + ", ".join(wanted) if wanted else "People leaving hospital"
    return text + (f"; not: {', '.join(without)}" if without else "")


def _eligibility_emulated(protocol: Protocol) -> str:
    rules = protocol.eligibility
    if rules is None:
        return "All rows of the table"
    which = "every eligible discharge" if rules.candidate_discharges == "every" else "the first eligible discharge"
    return (
        f"The same rules, applied to the records of participants and candidates alike; candidates are {which} from "
        f"{_day(rules.recruitment_start)} to {_day(rules.recruitment_end)} of people outside the trial"
        f"{', and of participants before their allocation' if protocol.not_yet_treated else ''}. "
        f"{_serving(protocol)}Clinicians’ judgements are not in the records"
    )


def _serving(protocol: Protocol) -> str:
    """Which discharges of one candidate each design uses."""
    uses = {
        ("matching", "first"): "Matching uses each candidate’s first. ",
        ("matching", "every"): "Matching uses each candidate at most once. ",
        ("weighting", "first"): "Weighting uses each candidate’s first. ",
        ("weighting", "every"): "Weighting uses all of them, with errors by person. ",
    }
    which = protocol.design.candidate_discharges
    makes_sets = (DESIGNS[one.method].uses_a_person_once for one in protocol.design.specifications())
    families = dict.fromkeys("matching" if sets else "weighting" for sets in makes_sets)
    return "".join(uses[family, getattr(which, family)] for family in families)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _strategies_emulated(protocol: Protocol) -> str:
    who = ARM_LABELS[protocol.strategies.treated_label]
    who_else = f"Virtual controls: {mid(protocol.strategies.comparator)}, as it happened"
    return f"{who}: {'the rows of that arm' if protocol.source.kind == 'table' else 'the allocation list'}. {who_else}"


def _assignment(protocol: Protocol) -> str:
    exact = protocol.design.exact
    n = len(protocol.covariates.numeric) + len(protocol.covariates.categorical)
    groups = f"within the same {' and '.join(mid(label(name)) for name in exact)}, " if exact else ""
    methods = " and ".join(dict.fromkeys(mid(label(one.method)) for one in protocol.design.specifications()))
    return (
        f"Not at random. Controls were chosen {groups}by {methods} on {_score(protocol)}{n} covariates"
        f"{_codes(protocol)} known before time zero, without sight of any outcome"
    )


def _score(protocol: Protocol) -> str:
    """Some methods balance, or agree on, the covariates themselves."""
    without = {"entropy_balancing", "stable_balancing", "cardinality_matching", "coarsened_exact"}
    used = {one.method for one in protocol.design.specifications()}
    return "" if without.issuperset(used) else "a propensity score of "


def _codes(protocol: Protocol) -> str:
    codes = protocol.covariates.codes
    if codes is None:
        return ""
    kinds = ", ".join(mid(label(dimension)) for dimension in codes.dimensions)
    return (
        f" and of up to {codes.n_most_prevalent} of the most prevalent codes of each kind ({kinds}) of the "
        f"{codes.look_back_days} days before it,"
    )


def _follow_up(protocol: Protocol) -> str:
    ends = {
        "end_of_data": "the end of the data",
        "provider_silence": "a provider that stopped submitting",
        "moved_away": "a referral that the trust closed because the person had moved out of its area",
        "observation_period": "the end of the person’s observation period",
    }
    reasons = " or ".join(ends[name] for name in protocol.follow_up.censor_at)
    censored = f"; ended early by {reasons}" if reasons else ""
    return f"{protocol.follow_up.days} days{censored}. Death is a competing event"


def _analysis(protocol: Protocol) -> str:
    methods = ", ".join(dict.fromkeys(mid(label(name)) for name in protocol.effects.methods_by_name().values()))
    return f"{methods[:1].upper()}{methods[1:]}; {protocol.effects.confidence:.0%} intervals".replace("%", " %")


GLOSSARY = {
    "ATT, ATE, ATC, ATO": "Average effect in the treated; in everybody; in the untreated; in people who could as well "
    "have been in either group.",
    "Caliper": "The largest distance in propensity score at which two people may be matched.",
    "Candidate": "A person outside the trial whose discharge met the same eligibility rules.",
    "Confidence interval": "The range of effects that the data are reasonably compatible with.",
    "Effective number of controls": "How many equally weighted controls would be as informative as the weighted ones.",
    "Emulation": "An observational study laid out like the trial one would have liked to run. Nobody was randomised.",
    "Overlap": "How far participants and candidates are alike in propensity score, from 0 to 1.",
    "Propensity score": "The probability of being a participant, given what was known at time zero.",
    "SMD": "Standardised mean difference: the difference in means in units of a standard deviation taken before the "
    "design: the treated group’s (ATT), the untreated group’s (ATC), or the root of their mean variance (ATE, ATO).",
    "Time zero": "The day follow-up starts, when eligibility and allocation are already fixed.",
    "Virtual controls": "Candidates chosen so that, together, they resemble the participants at time zero.",
}
