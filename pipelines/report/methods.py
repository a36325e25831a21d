"""A protocol becomes the report's list of methods: name, what it does in a sentence or two, source."""

from pipelines.method_settings.matching import FullMatchingSettings
from pipelines.protocol import Protocol, weighing_the_unobserved

_MODELS_OF_SCORES = {
    "logistic": "Logistic regression",
    "elastic_net": "Logistic regression with a cross-validated elastic-net penalty (Tian et al. 2018, Int J Epidemiol "
    "47:2005)",
    "boosting": "Boosted trees, cross-fitted and calibrated (McCaffrey et al. 2004, Psychol Methods 9:403),",
}
_BOTH = "the root of the groups’ mean variance"
_DIVIDED_BY = {
    "ATT": "the treated group’s standard deviation",
    "ATC": "the untreated group’s standard deviation",
    "ATE": _BOTH,
    "ATO": _BOTH,
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
        "The people the effect is about take the nearest free people of the other group within the limits, one after "
        "the other.",
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
        "The largest set of people whose balance is as good as was asked for, as far as the search went.",
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
            f"balance is the standardised mean difference, divided by {_DIVIDED_BY[protocol.estimand.target]} before "
            "the design.",
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
        "two_part": (
            "Two-part model",
            "Whether there was any, by logistic regression, and how much among those with any, by a gamma "
            "regression with a log link; the two multiplied and averaged over the people the effect is about.",
            "Duan, Manning, Morris & Newhouse 1983, J Bus Econ Stat 1:115",
        ),
        "quasi_poisson": (
            "Rates (quasi-Poisson)",
            "Events over days at risk in each group, with errors that allow for people who have many.",
            "McCullagh & Nelder 1989, Generalized Linear Models",
        ),
        "negative_binomial": (
            "Rates (negative binomial)",
            "The same, with people’s own rates spread around the group’s.",
            "Lawless 1987, Can J Stat 15:209",
        ),
        "mean_cumulative_count": (
            "Mean cumulative count",
            "Readmissions per person by each day; nobody is readmitted after death.",
            "Ghosh & Lin 2000, Biometrics 56:554",
        ),
        "lwyy": (
            "Lin-Wei-Yang-Ying rate ratio",
            "Ratio of the rates of readmission among the living, all readmissions counting.",
            "Lin, Wei, Yang & Ying 2000, J R Stat Soc B 62:711",
        ),
        "fine_gray": (
            "Fine-Gray model",
            "Ratio of the subdistribution hazards of readmission, which orders the cumulative incidences.",
            "Fine & Gray 1999, JASA 94:496",
        ),
    }
    designs = dict.fromkeys(one.method for one in protocol.design.specifications())
    rows += [DESIGNED_BY[name] for name in designs if name in DESIGNED_BY]
    rows += _trimming(protocol)
    if "full_matching" in designs:
        rows += _limits_of_sets(protocol)
    used = dict.fromkeys(protocol.effects.methods_by_name().values())
    rows += [chosen[name] for name in used if name in chosen]
    if weighing_the_unobserved(protocol):
        rows.append(
            (
                "Weights for outcomes not observed",
                "Each outcome counts one over the probability, given group and covariates, that it was observed: a "
                "logistic regression in each group, whose estimation is in the errors.",
                "Robins, Rotnitzky & Zhao 1994, JASA 89:846; Seaman & White 2013, Stat Methods Med Res 22:278",
            )
        )
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


TRIMMED_BY = {
    "common_support": (
        "outside the range of the other group's scores",
        "Heckman, Ichimura & Todd 1997, Rev Econ Stud 64:605",
    ),
    "crump": ("with scores near 0 or 1", "Crump, Hotz, Imbens & Mitnik 2009, Biometrika 96:187"),
    "crump_optimal": (
        "with scores beyond the limits of smallest variance",
        "Crump, Hotz, Imbens & Mitnik 2009, Biometrika 96:187",
    ),
    "asymmetric": (
        "below a low percentile of the participants' scores or above a high one of the others'",
        "Stürmer, Rothman, Avorn & Glynn 2010, Am J Epidemiol 172:843",
    ),
    "preference": ("out of equipoise by their preference score", "Walker et al. 2013, Comp Eff Res 3:11"),
}


def _trimming(protocol: Protocol) -> list[tuple[str, str, str]]:
    """One row for each rule by which a design of the protocol leaves people out for their score."""
    rules = [getattr(one.settings, "trim", "none") for one in protocol.design.specifications()]
    return [
        (
            "Trimming",
            f"People {TRIMMED_BY[rule][0]} are left out, and effects are those of the people kept. Scores were fitted "
            "to everybody and not again to the people kept.",
            TRIMMED_BY[rule][1],
        )
        for rule in dict.fromkeys(rules)
        if rule != "none"
    ]


def _limits_of_sets(protocol: Protocol) -> list[tuple[str, str, str]]:
    """One row where a full matching of the protocol limits how many controls a treated person may have; else none."""
    limits = []
    for one in protocol.design.specifications():
        if isinstance(one.settings, FullMatchingSettings):
            low, high = (_as_ratio(ratio) for ratio in (one.settings.min_controls, one.settings.max_controls))
            named = [f"{word} {ratio}" for word, ratio in (("at least", low), ("at most", high)) if ratio]
            limits += [f"{one.name}: {' and '.join(named)}"] if named else []
    if not limits:
        return []
    text = (
        f"Controls for each treated person in a set of full matching ({'; '.join(limits)}). Nobody is left out for it."
    )
    return [("Limits on matched sets", text, "Hansen & Klopfer 2006, J Comput Graph Stat 15:609")]


def _as_ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.0f}" if ratio >= 1 else f"1/{1 / ratio:.0f}"
