"""A protocol becomes the words of the report that need no result: the target trial table, methods, limits, glossary.

The components are Hernán & Robins' (2016, Am J Epidemiol 183:758); TARGET (2025) asks that each is stated with its
emulation, and that the report says it is one.
"""

from datetime import date

from models.registry import DESIGNS
from pipelines.estimate.collected import REGRESSIONS
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
    ends = {"end_of_data": "the end of the data", "provider_silence": "a provider that stopped submitting"}
    reasons = " or ".join(ends[name] for name in protocol.follow_up.censor_at)
    censored = f"; ended early by {reasons}" if reasons else ""
    return f"{protocol.follow_up.days} days{censored}. Death is a competing event"


def _analysis(protocol: Protocol) -> str:
    methods = ", ".join(dict.fromkeys(mid(label(name)) for name in protocol.effects.methods_by_name().values()))
    return f"{methods[:1].upper()}{methods[1:]}; {protocol.effects.confidence:.0%} intervals".replace("%", " %")


_MODELS_OF_SCORES = {
    "logistic": "Logistic regression",
    "elastic_net": "Logistic regression with a cross-validated elastic-net penalty (Tian et al. 2018, Int J Epidemiol "
    "47:2005)",
    "boosting": "Boosted trees, cross-fitted and calibrated (McCaffrey et al. 2004, Psychol Methods 9:403),",
}
DESIGNED_BY = {
    "matching_weights": (
        "Matching weights",
        "Weights whose population is that of a one-to-one match: people who could have been in either group.",
        "Li & Greene 2013, Int J Biostat 9:215",
    ),
    "entropy_balancing": (
        "Entropy balancing",
        "The weights nearest to equal ones under which the groups have exactly the same means of the covariates.",
        "Hainmueller 2012, Polit Anal 20:25; Zhao & Percival 2017, J Causal Inference 5:20160010",
    ),
    "covariate_balancing_score": (
        "Covariate-balancing propensity score",
        "A propensity score whose coefficients are chosen so that the weights balance the covariates.",
        "Imai & Ratkovic 2014, JRSS B 76:243",
    ),
    "stable_balancing": (
        "Stable balancing weights",
        "The weights of least variance that keep the groups’ means of the covariates within a tolerance.",
        "Zubizarreta 2015, JASA 110:910",
    ),
    "nearest_neighbour": (
        "Nearest-neighbour matching",
        "Treated people take the nearest free controls within the limits, one after the other.",
        "Rubin 1973, Biometrics 29:159; Austin 2011, Pharm Stat 10:150",
    ),
    "optimal_matching": (
        "Optimal matching",
        "As many people as possible are served; among all ways of doing so, distances sum to the least possible.",
        "Rosenbaum 1989, JASA 84:1024",
    ),
    "full_matching": (
        "Full matching",
        "Everybody with a partner within the limits is in a set of one treated person and several controls or the "
        "other way round; distances sum to the least possible.",
        "Rosenbaum 1991, JRSS B 53:597; Hansen & Klopfer 2006, J Comput Graph Stat 15:609",
    ),
    "coarsened_exact": (
        "Coarsened exact matching",
        "People in the same bin of every covariate form a stratum; strata without one of the groups are left out.",
        "Iacus, King & Porro 2012, Polit Anal 20:1",
    ),
    "subclassification": (
        "Subclassification",
        "People between the same quantiles of the propensity score form a subclass.",
        "Rosenbaum & Rubin 1984, JASA 79:516",
    ),
    "cardinality_matching": (
        "Cardinality matching",
        "The largest set of people whose balance is as good as was asked for.",
        "Zubizarreta, Paredes & Rosenbaum 2014, Ann Appl Stat 8:204",
    ),
    "risk_set_matching": (
        "Risk-set matching",
        "In calendar order, each treated person takes controls who had been discharged by then and were not treated.",
        "Li, Propert & Rosenbaum 2001, JASA 96:870",
    ),
}


def describe_methods(protocol: Protocol) -> list[dict[str, str]]:
    """What was done and on whose authority: name, text, source."""
    rows = [
        (
            "Target trial emulation",
            "The study states the trial it emulates and starts follow-up when eligibility and assignment are fixed.",
            "Hernán & Robins 2016, Am J Epidemiol 183:758; TARGET 2025, JAMA doi 10.1001/jama.2025.13350",
        ),
        (
            "Design before analysis",
            "Controls were chosen and judged against thresholds set beforehand; outcomes were opened only after that.",
            "Rubin 2008, Ann Appl Stat 2:808",
        ),
        (
            "Propensity score",
            f"{_MODELS_OF_SCORES[protocol.design.propensity.method]} for being a participant on the covariates; "
            "balance is the standardised mean difference, divided by the treated group’s standard deviation before the "
            "design.",
            "Rosenbaum & Rubin 1983, Biometrika 70:41; Stuart 2010, Stat Sci 25:1",
        ),
    ]
    chosen = {
        "weighted_difference": (
            "Weighted difference",
            "Weighted mean of each group, with errors that respect matched sets and people.",
            "Lunceford & Davidian 2004, Stat Med 23:2937",
        ),
        "g_computation": (
            "Outcome regression (g-computation)",
            "A regression of the outcome in each group, averaged over the people the effect is about; it rests on the "
            "regression alone.",
            "Snowden, Rose & Mortimer 2011, Am J Epidemiol 173:731",
        ),
        "adjusted_regression": (
            "Regression after the design",
            "The same regression with the design’s weights: it adjusts for what imbalance the design left.",
            "Lin 2013, Ann Appl Stat 7:295; Kang & Schafer 2007, Stat Sci 22:523",
        ),
        "aipw": (
            "Doubly robust estimate",
            "An outcome model and a propensity model of the designed sample together, cross-fitted and recalibrated: "
            "consistent when either is right.",
            "Chernozhukov et al. 2018, Econometrics J 21:C1",
        ),
        "tmle": (
            "Targeted maximum likelihood",
            "The outcome model, cross-fitted and moved until its weighted errors vanish in each group: consistent when "
            "either model is right, and never outside the range of the outcome.",
            "van der Laan & Rose 2011, Targeted Learning; Gruber & van der Laan 2010, Int J Biostat 6:26",
        ),
        "cluster_bootstrap": (
            "Cluster bootstrap",
            "The weighted difference with the spread it has when matched sets, or people, are drawn again; a check of "
            "the formula behind its standard error.",
            "Austin & Small 2014, Stat Med 33:4306; Abadie & Spiess 2022, JASA 117:983",
        ),
        "causal_forest": (
            "Causal forest",
            "Differences between people in the effect, as predicted from covariates by trees that did not know them; "
            "effects of groups, tests and rules rest on doubly robust scores, not on the predictions.",
            "Athey, Tibshirani & Wager 2019, Ann Stat 47:1148; Semenova & Chernozhukov 2021, Econom J 24:264; "
            "Yadlowsky et al. 2021, arXiv:2111.07966; Zhou, Athey & Wager 2023, Oper Res 71:148",
        ),
        "censored_forest": (
            "Causal forest with censoring weights",
            "The same for readmission until the end of follow-up and for days lost to it; people seen to the end stand "
            "for those alike who were lost to observation.",
            "Robins & Finkelstein 2000, Biometrics 56:779",
        ),
        "cumulative_incidence": (
            "Cumulative incidence",
            "Probability of the event by each day, with death as a competing event.",
            "Aalen & Johansen 1978, Scand J Stat 5:141",
        ),
        "kaplan_meier": (
            "Readmission or death",
            "Probability of having been readmitted or having died by each day.",
            "Kaplan & Meier 1958, JASA 53:457",
        ),
        "time_lost": (
            "Mean time lost to readmission",
            "Days of follow-up after the first readmission, on average: the area under the cumulative incidence.",
            "Andersen 2013, Stat Med 32:5278",
        ),
        "first_readmission_type": (
            "First readmission by kind",
            "Probability of a voluntary and of a detained first readmission by each day, death competing.",
            "Aalen & Johansen 1978, Scand J Stat 5:141",
        ),
        "cox": (
            "Cox model",
            "Ratio of the hazards of readmission or death; errors by person and matched set.",
            "Lin & Wei 1989, JASA 84:1074",
        ),
        "cause_specific_cox": (
            "Cause-specific Cox models",
            "Ratios of the hazards of readmission, and of death, among people without either so far.",
            "Lin & Wei 1989, JASA 84:1074",
        ),
        "fine_gray": (
            "Fine-Gray model",
            "Ratio of the subdistribution hazards of readmission, which orders the cumulative incidences.",
            "Fine & Gray 1999, JASA 94:496",
        ),
    }
    designs = dict.fromkeys(one.method for one in protocol.design.specifications())
    rows += [DESIGNED_BY[name] for name in designs if name in DESIGNED_BY]
    used = dict.fromkeys(protocol.effects.methods_by_name().values())
    rows += [chosen[name] for name in used if name in chosen]
    if len(protocol.design.specifications()) * len(protocol.effects.methods_by_name()) > 1:
        rows.append(
            (
                "Specification curve",
                "Every design with every effect method that the protocol names, side by side; it shows how far the "
                "answer hangs on choices that could have been others, and selects nothing.",
                "Simonsohn, Simmons & Nelson 2020, Nat Hum Behav 4:1208",
            )
        )
    return [{"name": name, "text": text, "source": source} for name, text, source in rows]


_OF_MISSING = {
    "indicator": "Filled with the mean and flagged ({names}): assumes that a value not recorded influenced who "
    "took part or the outcome only through its being missing (Blake et al. 2020, Stat Med 39:814). Where that is not "
    "so, confounding remains that no balance figure shows: with a third of a strong confounder missing, half of its "
    "confounding remained in a simulation (bias 0.30 of 0.58), and 95 % intervals covered the truth in 22.5 % of 200 "
    "worlds.",
    "median": "Filled with the median as if measured ({names}): assumes that those missing are like the middle of the "
    "others.",
    "complete_case": "Rows without a value left ({names}): the answer speaks for people with complete records, and "
    "assumes that being complete does not depend on the outcome, given arm and covariates.",
    "multiple_imputation": "Imputed {copies} times given arm and the other covariates, never the outcome ({names}): "
    "assumes that values are missing at random given those. As outcomes were kept out, imputed values are less related "
    "to them than the real ones: with a third of a strong confounder missing, two fifths of its confounding remained "
    "in a simulation (bias 0.23 of 0.58), and 95 % intervals covered the truth in 66.5 % of 200 worlds; with outcomes "
    "among the predictors it would have been 0.02 and 96 %.",
    "refuse": "",
}


_WITH_OUTCOME = (
    "For {methods} they were drawn again with the outcome among the predictors, while the design stayed as it was: "
    "assumes that values are missing at random given the outcome as well, and that those regressions are right. In the "
    "same worlds that left a bias of 0.02 and covered in 94.5 to 95.5 %; after matching, intervals are too wide."
)


def _missing_covariates(protocol: Protocol) -> list[tuple[str, str]]:
    """What each way of handling missing values assumes, with the covariates it is for: up to three are named."""
    chosen = protocol.covariates
    said = []
    for use, text in _OF_MISSING.items():
        named = chosen.named_with(use)  # type: ignore[arg-type]
        if use in ("indicator", "median"):
            named = [name for name in named if name in chosen.numeric]
        if named and text:
            listed = ", ".join(mid(label(name)) for name in named)
            some = f"{len(named)} covariates" if len(named) > 3 else listed
            said.append(text.format(names=some, copies=chosen.imputation.copies))
    regressions = [name for name in REGRESSIONS if name in protocol.effects.methods_by_name().values()]
    if regressions and chosen.named_with("multiple_imputation") and chosen.imputation.regressions == "with_outcome":
        said.append(_WITH_OUTCOME.format(methods=", ".join(mid(label(name)) for name in regressions)))
    return [("Missing covariates", " ".join(said))] if said else []


_NOT_YET_TREATED = (
    "Not yet treated",
    "Discharges of later participants before their allocation serve as controls: leaving them out would leave out "
    "people because they were readmitted. What follows such a discharge counts as it happened: the comparison is with "
    "no support at this discharge, and support later where it came. A first readmission comes before the support that "
    "began in it; counts over a whole window also hold time after support had begun.",
)


def describe_assumptions(protocol: Protocol) -> list[dict[str, str]]:
    """The identifying assumptions in plain words: name, text."""
    rows = [
        (
            "No unmeasured confounding",
            "Given the covariates, who took part is unrelated to what would have happened without the intervention. "
            "It cannot be tested; the comparison with randomised controls, where there is one, is the best check.",
        ),
        ("Overlap", "Everybody in the comparison could have been in either group; see the overlap figure."),
        ("Consistency", "The intervention and usual care mean the same thing for everybody to whom they are ascribed."),
        ("No interference", "One person’s allocation does not change another person’s outcome."),
        *_missing_covariates(protocol),
        *([_NOT_YET_TREATED] if protocol.not_yet_treated else []),
        ("Honest records", "The records find events equally well in both groups; silence is not read as health."),
    ]
    return [{"name": name, "text": text} for name, text in rows]


def describe_limits(protocol: Protocol) -> list[str]:
    """What the design could not adjust for, whatever the results are."""
    participation = (
        "Participation itself: participants agreed to take part in a study, controls were never asked. People who "
        "agree may be more engaged or better supported in ways that no routine covariate captures."
    )
    if protocol.source.kind == "table":
        return [
            participation.replace("study, controls were never asked", "study; the controls come from elsewhere"),
            "Anything that is not a column of the table.",
        ]
    return [
        *(_cdm_limits(protocol) if protocol.source.kind == "omop" else []),
        participation,
        "Clinical judgement at recruitment, such as whether discharge was expected soon, and whatever else a "
        "clinician weighs at the bedside, is not in routine records.",
        "What controls received: candidates may have had peer support from a local service; routine records hold no "
        "reliable code for it.",
        "Psychosocial outcomes such as hope, stigma, social connection and the therapeutic relationship are not in "
        "routine data. They are not reported here and nothing is used in their place.",
        "Care outside the records: leaving the country, private care and providers that did not submit.",
    ]


def _cdm_limits(protocol: Protocol) -> list[str]:
    """What an OMOP CDM leaves open (DOMAIN D3, D4)."""
    unknown = (
        "The records come from an OMOP CDM, which holds no bed classes, legal status or missed appointments, and ends "
        "observation where its observation periods end."
    )
    if protocol.source.stays == "any_inpatient":
        return ["This study follows any stay in hospital: where the page says psychiatric, read any.", unknown]
    found = (
        "Psychiatric stays were found by the kind of hospital, by specialty, or by the main diagnosis of an inpatient "
        "visit; the last takes in physical wards. The rule that found each stay is in the lake (spell.found_by_code)."
    )
    return [found, unknown]


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
    "SMD": "Standardised mean difference: the difference in means in units of the treated group’s standard deviation.",
    "Time zero": "The day follow-up starts, when eligibility and allocation are already fixed.",
    "Virtual controls": "Candidates chosen so that, together, they resemble the participants at time zero.",
}
