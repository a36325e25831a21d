"""A protocol → where intervals of its methods are known to miss: the report says it of its own, the docs of all.

The figures are those of simulations with known effects (bench/RESULTS.md, bench/truth.csv, tests/truth/).
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.protocol import Protocol, weighing_the_unobserved

Concerns = Callable[["Chosen"], bool]


@dataclass(frozen=True)
class Chosen:
    """What of a protocol decides whether a miss concerns it."""

    designs: frozenset[str]
    effects: frozenset[str]
    scores: frozenset[str]
    target: str
    weighs_censored: bool
    weighs_unobserved: bool
    has_filled: bool
    waits: bool


@dataclass(frozen=True)
class Miss:
    """`where` in the words of a list's bold beginning, `text` what was found there."""

    where: str
    text: str
    concerns: Concerns


_FORESTS = {"causal_forest", "censored_forest"}
_RATES = {"quasi_poisson", "negative_binomial", "mean_cumulative_count", "lwyy"}
_WEIGHTED = {"propensity_weighting", "entropy_balancing", "covariate_balancing_score", "stable_balancing"}
_PLAIN = {"weighted_difference", "cluster_bootstrap"}

MISSES = (
    Miss(
        "Individual effects of the forests",
        "where effects really differ between people intervals covered 0.41 (500 people, an effect in steps) to 0.70 "
        "(4,800 people, an effect that hangs a little on each of many covariates), 0.80 (a straight one) and 0.92 (a "
        "curved one) of the true effects. They are pointwise, describe a pattern and decide nothing; effects of groups "
        "and the mean effect do not rest on them.",
        lambda of: bool(of.effects & _FORESTS),
    ),
    Miss(
        "Tests of whether a forest tells people apart",
        "in 500 worlds of 500 people whose effects do not differ, the 5 % tests of calibration and of the ranking "
        "(AUTOC) rejected in 8.6 and 8.8 %: a p-value just below 0.05 says less than it seems to. The test of "
        "interaction with a named covariate rejected in 5 %.",
        lambda of: bool(of.effects & _FORESTS),
    ),
    Miss(
        "Stable balancing",
        "weights are taken as fixed; errors were up to 1.25 times the spread, so that intervals are rather too wide, "
        "while the tolerance leaves a little bias (92 to 98 %).",
        lambda of: "stable_balancing" in of.designs,
    ),
    Miss(
        "Subclassification",
        "bias is left behind: 75 to 93 % for a continuous outcome, least where confounding is strong; 91 to 93 % in "
        "places for risks.",
        lambda of: "subclassification" in of.designs,
    ),
    Miss(
        "Coarsened exact matching",
        "errors were up to 1.14 times the spread: 97 to 98 %.",
        lambda of: "coarsened_exact" in of.designs,
    ),
    Miss(
        "Weak overlap",
        "where a few controls carry most of the weight, weighted rates and mean counts covered 88 %, their ratios 91 % "
        "(a warning names the share of the largest weight), and matching within a caliper leaves differences behind.",
        lambda of: bool(of.effects & _RATES) and bool(of.designs & _WEIGHTED),
    ),
    Miss(
        "Observation that ends early for people unlike the others",
        "without censoring weights rates and mean counts covered 90 to 93 %, their ratios 93 to 94 %. Every method for "
        "times, counts and repeated events has them (censoring = weights); the default is none. One coefficient of "
        "each covariate serves both groups: where a covariate acts on silence differently in the two, weights leave "
        "some of the bias.",
        lambda of: bool(of.effects & _RATES) and not of.weighs_censored,
    ),
    Miss(
        "Rates with censoring weights",
        "92 % with 200 treated, half of whom were lost, those with most events first.",
        lambda of: bool(of.effects & {"quasi_poisson", "negative_binomial"}) and of.weighs_censored,
    ),
    Miss(
        "Outcomes missing by covariates, otherwise in the two groups",
        "a weighted difference that leaves those people out covered 34 %, with weights (unobserved = weights) 95 %; "
        "the default leaves them out.",
        lambda of: bool(of.effects & _PLAIN) and not of.weighs_unobserved,
    ),
    Miss(
        "Matching to untreated people (ATC)",
        "with few treated to choose from the weighted difference covered 81 to 87 %; adjustment by regression, AIPW or "
        "TMLE after it 95 to 96 %.",
        lambda of: of.target == "ATC" and "nearest_neighbour" in of.designs and bool(of.effects & _PLAIN),
    ),
    Miss(
        "Weights for the effect in the untreated or in everybody (ATC, ATE)",
        "with few treated, a continuous outcome and effects that differ between people errors were 0.90 to 0.94 of the "
        "spread: 91 to 93 %, entropy balancing and the covariate-balancing score included.",
        lambda of: of.target in {"ATC", "ATE"} and bool(of.designs & _WEIGHTED),
    ),
    Miss(
        "Hazard ratios of a rare event",
        "that of death (5 % die) after weighting for the ATC or ATE covered 90 to 91 %.",
        lambda of: of.target in {"ATC", "ATE"} and "cause_specific_cox" in of.effects,
    ),
    Miss(
        "Risk-set matching without those not yet treated",
        "where support follows readmissions, controls look too well, because whoever is supported later has left "
        "them (eligibility.candidates = not_yet_treated lets them serve until then).",
        lambda of: "risk_set_matching" in of.designs and not of.waits,
    ),
    Miss(
        "Scores by elastic net or boosting",
        "weights are taken as fixed. For the ATE that is conservative where the score is right, for the ATT mostly but "
        "not always (Reifeis & Hudgens 2022, Am J Epidemiol 191:1092).",
        lambda of: bool(of.scores - {"logistic"}),
    ),
    Miss(
        "Missing values of a strong confounder",
        "bias, not width; 95 % intervals covered 22.5 % (a missing indicator) and 66.5 % (multiple imputation) with a "
        "third of it missing; regressions that see the outcome (covariates.imputation.regressions) covered 94.5 to "
        "95.5 %.",
        lambda of: of.has_filled,
    ),
)


def known_misses(protocol: Protocol) -> list[dict[str, str]]:
    """Those that concern the protocol's methods: where, text."""
    specifications = protocol.design.specifications()
    methods = protocol.effects.methods_by_name()
    settings = [getattr(one, one.methods[0]) for one in protocol.effects.of_specifications().values()]
    settings += [getattr(protocol.effects, name) for name in protocol.effects.methods]
    chosen = Chosen(
        designs=frozenset(one.method for one in specifications),
        effects=frozenset(methods.values()),
        scores=frozenset(getattr(one.propensity, "method", "logistic") for one in specifications),
        target=protocol.estimand.target,
        weighs_censored=any(getattr(one, "censoring", "none") == "weights" for one in settings),
        weighs_unobserved=bool(weighing_the_unobserved(protocol)),
        has_filled=any(protocol.covariates.named_with(use) for use in ("indicator", "multiple_imputation")),
        waits=protocol.not_yet_treated,
    )
    return [{"where": miss.where, "text": miss.text} for miss in MISSES if miss.concerns(chosen)]
