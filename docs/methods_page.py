"""The registry of methods, their docstrings and settings → docs/methods.md. docs/generate.py writes it; a test keeps it
current and complete.

What a method assumes, which error it has and where its intervals miss is said here, a sentence each, by name.
"""

from dataclasses import dataclass
from inspect import getdoc
from pathlib import Path

from models.registry import DESIGNS, EFFECTS, EVERY_ESTIMAND, EVERY_KIND, Method
from models.results import Scale
from pipelines.method_settings import CandidateDischarges, DesignSection
from pipelines.protocol import Protocol
from pipelines.report.known_misses import MISSES

METHODS_PAGE = Path(__file__).with_name("methods.md")
OPENING = """# Methods

<!-- Written by docs/generate.py from models/registry.py and the methods' own docstrings and settings, with
docs/methods_page.py for what they assume (`make docs`); change those, not this page. -->

A protocol names design methods (`design.methods`) and effect methods (`effects.methods`); the keys of each are in
[protocol.md](protocol.md). A pair that does not go together is refused before data are read.

**All designs assume** that nothing but the covariates drives both taking part and the outcome, that everybody
compared could have been in either arm, and that values not recorded do no harm ([missing.md](missing.md)). No method
can test the first. **The estimand** is whose effect it is: the treated's (ATT), the untreated's (ATC), everybody's
(ATE), or that of people who could have been in either arm (ATO). Where a design leaves people out, the effect is that
of the people kept; the report says how many and how they differ.

## Where intervals are known to miss

Intervals are nominal 95 % and normal. In simulations with known truth:

{misses}
- **Nothing here covers bias**: an interval holds the truth as often as it says only if the design's assumptions hold.

The note `variance` of an estimate says which error was used. Errors are always clustered by person.
"""


@dataclass(frozen=True)
class Words:
    """A sentence each; `misses` is empty where nothing is known beyond what the page says of all."""

    assumes: str
    error: str
    misses: str = ""


OF_SETS = "By matched set and person together; the matching itself counts as given (Abadie & Spiess 2022)."
OF_STRATA = "By person, the scaling within strata counting as estimated; strata with one row of an arm are pooled."
OF_A_SCORE = (
    "By person, the logistic score and the weights counting as estimated (stacked equations); truncated weights and "
    "other scores count as fixed."
)
OF_BALANCE = "By person, the equations that made the weights stacked under those of the effect."
AS_FIXED = "By person, weights as fixed."
SCORE_IS_RIGHT = "The score model is right: weights correct nothing that it leaves out."

DESIGN_WORDS: dict[str, Words] = {
    "nearest_neighbour": Words(
        "Whoever is within the caliper is alike enough; differences left inside it are not corrected.",
        OF_SETS,
        "The effect is that of the treated who found a control. With replacement sets merge, and few are left to tell "
        "the error from.",
    ),
    "optimal_matching": Words("As nearest_neighbour; the total distance is the least there is.", OF_SETS),
    "full_matching": Words(
        "As nearest_neighbour; nobody within the limits is dropped, so the worst sets may be far apart.",
        OF_SETS,
        "Very unequal sets leave few effective controls: read the effective number. `min_controls` and `max_controls` "
        "bound them; where they cannot be kept without leaving somebody out, the design is refused and the nearest "
        "limits that can are named.",
    ),
    "coarsened_exact": Words(
        "Within a bin of every covariate people are alike; covariates not named are not balanced.", OF_STRATA
    ),
    "subclassification": Words(
        "Within a class of the score people are alike: with five classes about a tenth of a covariate's bias remains.",
        OF_STRATA,
        "What remains of the bias shifts intervals; more classes leave less.",
    ),
    "cardinality_matching": Words(
        "Balance of the listed means is enough: squares and products are balanced only when they are listed.",
        AS_FIXED,
    ),
    "risk_set_matching": Words(
        "As nearest_neighbour, and nobody's later treatment or readmission decides who serves: with "
        '`eligibility.candidates = "not_yet_treated"` that holds for later participants too, whose discharges before '
        "their allocation then serve.",
        OF_SETS,
        "Without them the controls look too well where support follows readmissions: see DECISIONS.md.",
    ),
    "propensity_weighting": Words(SCORE_IS_RIGHT, OF_A_SCORE, "Elastic-net or boosted score: see above."),
    "entropy_balancing": Words(
        "The score is logistic in the balanced covariates, or the outcome linear in them: either suffices.", OF_BALANCE
    ),
    "covariate_balancing_score": Words(
        "As entropy_balancing for ATT and ATC; for the ATE a logistic score that balances the arms. "
        "`equations = balance_and_fit`: a logistic score, which `j_p_value` in design.json tests.",
        OF_BALANCE,
    ),
    "stable_balancing": Words(
        "The outcome is nearly linear in the balanced covariates, up to the tolerance.",
        AS_FIXED,
        "See above.",
    ),
    "matching_weights": Words(SCORE_IS_RIGHT, OF_A_SCORE, "Elastic-net or boosted score: see above."),
}

RISKS: tuple[Scale, ...] = ("risk_difference", "risk_ratio")
VALUES: tuple[Scale, ...] = ("risk_difference", "risk_ratio", "odds_ratio", "mean_difference", "mean_ratio")
TIMES_LOST: tuple[Scale, ...] = ("time_lost_difference", "time_lost_ratio")
RATES: tuple[Scale, ...] = ("rate_difference", "rate_ratio")
SCALES: dict[str, tuple[Scale, ...]] = {
    **dict.fromkeys(
        ("weighted_difference", "g_computation", "adjusted_regression", "aipw", "tmle", "cluster_bootstrap"), VALUES
    ),
    "causal_forest": VALUES,
    "two_part": ("mean_difference", "mean_ratio"),
    "quasi_poisson": RATES,
    "negative_binomial": RATES,
    "mean_cumulative_count": ("mean_count_difference", "mean_count_ratio"),
    "lwyy": ("rate_ratio",),
    "cumulative_incidence": RISKS,
    "kaplan_meier": RISKS,
    "time_lost": TIMES_LOST,
    "first_readmission_type": RISKS,
    "censored_forest": (*RISKS, *TIMES_LOST),
    "cox": ("hazard_ratio",),
    "cause_specific_cox": ("hazard_ratio",),
    "fine_gray": ("subdistribution_hazard_ratio",),
}
"""Scales of each effect method; which of them depends on the kind of outcome."""

BY_INFLUENCE = "From each row's influence, summed by person and matched set, weights counting as their design says."
STACKED = (
    "Stacked estimating equations of score, weights and regression, residuals corrected for leverage (HC2), by person "
    "and matched set."
)
CENSORED_AT_RANDOM = (
    "who is lost to observation is like those who stay in the arm (`censoring = weights`: given covariates)"
)

ALIKE_LATE = (
    "Where observation ends early, those still observed on each quarter of follow-up must meet the design's "
    "thresholds, or nothing is estimated."
)

UNOBSERVED_AT_RANDOM = (
    "people whose outcome was not observed are like those of their arm who were (`unobserved = weights`: like those of "
    "their arm and covariates)"
)

EFFECT_WORDS: dict[str, Words] = {
    "weighted_difference": Words(
        f"The design alone has made the arms alike; {UNOBSERVED_AT_RANDOM}.",
        f"{BY_INFLUENCE} Observation weights count as estimated.",
        "Outcomes left out that covariates foretell otherwise in the two arms: see above.",
    ),
    "g_computation": Words(
        "The regression of the outcome is right in both arms: the design only chooses the people. Who was not observed "
        "is none of the people of the estimand, with `unobserved = weights` one of them.",
        STACKED,
    ),
    "adjusted_regression": Words(
        "The design or the regression of the outcome is right. `unobserved = weights`: the design and the model of who "
        "is observed, or the regression; the people of the estimand are all of them, observed or not.",
        STACKED,
    ),
    "aipw": Words(
        'The refitted score or the regression of the outcome is right; with `nuisances = "boosted"` neither need be a '
        "straight line. The design chooses the sample, its set weights are not used.",
        "Efficient influence function, cross-fitted, corrected for rows that carry much of a mean, by person and set.",
    ),
    "tmle": Words(
        "As aipw; no estimate leaves the range of the outcome.",
        "Efficient influence function, cross-fitted, by person and set.",
    ),
    "cluster_bootstrap": Words(
        "As weighted_difference, which it checks.",
        "Matched sets or persons drawn again; an estimated logistic score moves by one Newton step in each replicate.",
    ),
    "causal_forest": Words(
        "As aipw for the mean and for groups; individual effects also need many people for what they vary with.",
        "Mean: efficient influence function. Groups: jackknife over persons or sets. Individuals: bags of trees.",
        "Intervals of individual effects: 0.41 to 0.92 where effects differ.",
    ),
    "two_part": Words(
        "The design or both parts (any day; how many) are right.",
        "Stacked scores of both parts and of the propensity, by person and set.",
    ),
    "quasi_poisson": Words(
        "Events come as fast late as early, so that short and long follow-up may be added up; who is lost to "
        "observation is like those who stay in the arm. `censoring = weights`: neither is asked, given covariates, "
        "but only windows seen to their end or to death count, and are its people; refused where the end of the data "
        "cuts more than a twentieth of the windows of an arm, since the others are those of early recruits. Where "
        "windows are cut short the design's thresholds must hold with weights times the days people were to be "
        "observed.",
        "Sandwich, by person and set: over-dispersion widens it.",
        "`censoring = weights`: 92 % with 200 treated, half of whom were lost, those with most events first.",
    ),
    "negative_binomial": Words(
        "As quasi_poisson, and a person's rate does not depend on how long the person is seen.",
        "Sandwich of both rates, theta and the propensity, by person and set.",
        "`censoring = weights`: as quasi_poisson.",
    ),
    "mean_cumulative_count": Words(
        f"A treatment that keeps people alive raises it; {CENSORED_AT_RANDOM}. {ALIKE_LATE}",
        "Infinitesimal jackknife (Ghosh & Lin 2000), by person and set.",
    ),
    "lwyy": Words(
        f"The ratio of rates is the same on every day; it is a ratio among the living; {CENSORED_AT_RANDOM}. "
        "As mean_cumulative_count where observation ends early.",
        "Robust, by person and set.",
        "Where the ratio changes it is an average that depends on follow-up.",
    ),
    "cumulative_incidence": Words(
        f"Death competes; {CENSORED_AT_RANDOM}. Where those still observed late are not alike, a remark says from "
        "which day on.",
        BY_INFLUENCE,
    ),
    "kaplan_meier": Words(f"Readmission or death is one event; {CENSORED_AT_RANDOM}.", BY_INFLUENCE),
    "time_lost": Words(f"As cumulative_incidence: {CENSORED_AT_RANDOM}.", BY_INFLUENCE),
    "first_readmission_type": Words(
        "As cumulative_incidence, and the kind of every first readmission is known (or it is refused).", BY_INFLUENCE
    ),
    "censored_forest": Words(
        "As causal_forest, and those lost are like those who stay, given arm and covariates.",
        "As causal_forest, censoring weights as known, which makes it too large rather than too small.",
        "Intervals of individual effects: as causal_forest.",
    ),
    "cox": Words(
        "Hazards are proportional for the ratio to be one number; a test stands beside it.",
        "Robust, by person and set, weights counting as their design says.",
        "Without proportional hazards it is an average that depends on follow-up.",
    ),
    "cause_specific_cox": Words(
        "As cox, for readmission and for death; neither alone says who is readmitted more.", "As cox."
    ),
    "fine_gray": Words(
        f"Subdistribution hazards are proportional for the ratio to be one number; a test stands beside it; "
        f"{CENSORED_AT_RANDOM}.",
        "Robust, the censoring curve and the weights counting as estimated.",
        "Without proportional hazards it is an average that depends on follow-up.",
    ),
}


def methods_page() -> str:
    """The page of the methods as Markdown."""
    misses = "\n".join(f"- **{miss.where}**: {miss.text}" for miss in MISSES)
    return "\n".join([OPENING.replace("{misses}", misses), *_designs(), *_effects()]).rstrip() + "\n"


def _designs() -> list[str]:
    head = ["design", *EVERY_ESTIMAND, "gives", "discharges of a candidate", "not yet treated"]
    rows = [
        [
            f"[`{name}`](#{name})",
            *_ticks(method.estimands),
            _gives(name),
            _serves(method),
            "yes" if method.not_yet_treated else "",
        ]
        for name, method in DESIGNS.items()
    ]
    said = (
        "Discharges of a candidate: the default of `design.candidate_discharges`, the first or every one. Not yet "
        "treated: whether discharges of participants before their allocation may serve (`eligibility.candidates`)."
    )
    lines = ["## Designs", "", said, "", *_table(head, rows), ""]
    for name, method in DESIGNS.items():
        lines += _described(
            name, method, DESIGN_WORDS[name], _options(DesignSection.model_fields[name].annotation), "design"
        )
    return lines


def _effects() -> list[str]:
    head = ["effect method", *(kind.replace("_", " ") for kind in EVERY_KIND), *EVERY_ESTIMAND, "scales"]
    rows = []
    for name, method in EFFECTS.items():
        kinds = ["yes" if kind in method.kinds else "" for kind in EVERY_KIND]
        scales = ", ".join(scale.replace("_", " ") for scale in SCALES[name])
        rows.append([f"[`{name}`](#{name})", *kinds, *_ticks(method.estimands), scales])
    lines = [
        "## Effect methods",
        "",
        "The estimand is the design's: a method needs it in its own row as well. Risk difference, risk ratio and odds "
        "ratio are of binary outcomes, mean difference and ratio of others; a ratio that does not exist (no event in "
        "an arm) is left empty with a note.",
        "",
        *_table(head, rows),
        "",
    ]
    effects = Protocol.model_fields["effects"].annotation
    assert effects is not None
    for name, method in EFFECTS.items():
        lines += _described(
            name, method, EFFECT_WORDS[name], _options(effects.model_fields[name].annotation), "effects"
        )
    return lines


def _described(name: str, method: Method, words: Words, options: list[str], section: str) -> list[str]:
    listed = ", ".join(f"`{option}`" for option in options) or "none"
    said = [
        f"### `{name}`",
        "",
        _first_sentence(method),
        "",
        f"- Assumes: {words.assumes}",
        f"- Standard error: {words.error}",
    ]
    if words.misses:
        said.append(f"- Known to miss: {words.misses}")
    return [*said, f"- Options (`[{section}.{name}]`): {listed}", ""]


def _first_sentence(method: Method) -> str:
    paragraph = " ".join((getdoc(method.function) or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."


def _options(settings: object) -> list[str]:
    return list(getattr(settings, "model_fields", {}))


def _ticks(estimands: tuple[str, ...]) -> list[str]:
    return ["yes" if estimand in estimands else "" for estimand in EVERY_ESTIMAND]


def _gives(name: str) -> str:
    if DESIGNS[name].makes_matched_sets:
        return "matched sets"
    return "strata" if DESIGN_WORDS[name].error == OF_STRATA else "weights"


def _serves(method: Method) -> str:
    """By the defaults of design.candidate_discharges."""
    discharges = CandidateDischarges()
    return discharges.matching if method.uses_a_person_once else discharges.weighting


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
