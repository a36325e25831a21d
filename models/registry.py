"""The names a protocol may use → the method behind each name and what it can do.

Methods are named by address and imported when called: scikit-learn costs two seconds to import and EconML three, and
a protocol can be read and judged without either.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, get_args

from models.results import Estimand

OutcomeKind = Literal["binary", "continuous", "count", "time_to_event", "recurrent"]
"""count: events with each person's time at risk; recurrent: every event's day, death ending them."""
EVERY_KIND: tuple[OutcomeKind, ...] = get_args(OutcomeKind)
EVERY_ESTIMAND: tuple[Estimand, ...] = get_args(Estimand)
"""What a method can estimate that compares the weighted arms as they are: the design carries the estimand."""
TIME_KINDS: frozenset[OutcomeKind] = frozenset({"time_to_event", "recurrent"})


@dataclass(frozen=True)
class Method:
    """A design or effect method and its capabilities.

    address             "module:function"
    estimands           what it can estimate or design for
    kinds               outcome kinds it can work with (designs never see outcomes: every kind)
    makes_matched_sets  designs: whether rows come in matched sets, in which a person serves once (otherwise in
                        weights only, or in strata, where every row serves)
    person_once         designs without matched sets in which a person serves once all the same
    not_yet_treated     designs: whether discharges of people treated later may serve
    individual_effects  effects: whether it also estimates each person's effect
    own_people          effects: whether it counts the people of the ATO by a score of its own, as overlap weights do
    """

    address: str
    estimands: tuple[Estimand, ...]
    kinds: tuple[OutcomeKind, ...] = EVERY_KIND
    makes_matched_sets: bool = False
    person_once: bool = False
    not_yet_treated: bool = False
    individual_effects: bool = False
    own_people: bool = False

    @property
    def uses_a_person_once(self) -> bool:
        """Whether one of a candidate's discharges would have to be chosen, were there several."""
        return self.makes_matched_sets or self.person_once

    @property
    def function(self) -> Callable[..., Any]:
        module, name = self.address.split(":")
        return getattr(import_module(module), name)


DESIGNS: dict[str, Method] = {
    "nearest_neighbour": Method("models.matching:nearest_neighbour", ("ATT", "ATC"), makes_matched_sets=True),
    "optimal_matching": Method("models.matching:optimal_matching", ("ATT",), makes_matched_sets=True),
    "full_matching": Method("models.matching:full_matching", ("ATT", "ATC", "ATE"), makes_matched_sets=True),
    "coarsened_exact": Method("models.matching:coarsened_exact", ("ATT", "ATC", "ATE")),
    "subclassification": Method("models.matching:subclassification", ("ATT", "ATC", "ATE")),
    "cardinality_matching": Method("models.matching:cardinality_matching", ("ATT",), person_once=True),
    "risk_set_matching": Method(
        "models.matching:risk_set_matching", ("ATT",), makes_matched_sets=True, not_yet_treated=True
    ),
    "propensity_weighting": Method(
        "models.weighting:propensity_weighting", ("ATT", "ATE", "ATC", "ATO"), not_yet_treated=True
    ),
    "entropy_balancing": Method("models.weighting:entropy_balancing", ("ATT", "ATE", "ATC")),
    "covariate_balancing_score": Method("models.weighting:covariate_balancing_score", ("ATT", "ATE", "ATC")),
    "stable_balancing": Method("models.weighting:stable_balancing", ("ATT", "ATE", "ATC")),
    "matching_weights": Method("models.weighting:matching_weights", ("ATO",)),
}

EFFECTS: dict[str, Method] = {
    "weighted_difference": Method(
        "models.effects:weighted_difference", ("ATT", "ATE", "ATC", "ATO"), ("binary", "continuous")
    ),
    "g_computation": Method(
        "models.standardisation:g_computation", ("ATT", "ATE", "ATC", "ATO"), ("binary", "continuous")
    ),
    "adjusted_regression": Method(
        "models.standardisation:adjusted_regression", ("ATT", "ATE", "ATC", "ATO"), ("binary", "continuous")
    ),
    "aipw": Method("models.doubly_robust:aipw", EVERY_ESTIMAND, ("binary", "continuous"), own_people=True),
    "tmle": Method("models.targeted:tmle", EVERY_ESTIMAND, ("binary", "continuous"), own_people=True),
    "cluster_bootstrap": Method(
        "models.bootstrap:cluster_bootstrap", ("ATT", "ATE", "ATC", "ATO"), ("binary", "continuous")
    ),
    "causal_forest": Method(
        "models.forest:causal_forest",
        EVERY_ESTIMAND,
        ("binary", "continuous"),
        individual_effects=True,
        own_people=True,
    ),
    "two_part": Method("models.counts:two_part", ("ATT", "ATE"), ("continuous",)),
    "quasi_poisson": Method("models.counts:quasi_poisson", EVERY_ESTIMAND, ("count",)),
    "negative_binomial": Method("models.counts:negative_binomial", EVERY_ESTIMAND, ("count",)),
    "mean_cumulative_count": Method("models.recurrent:mean_cumulative_count", EVERY_ESTIMAND, ("recurrent",)),
    "lwyy": Method("models.recurrent:lwyy", EVERY_ESTIMAND, ("recurrent",)),
    "cumulative_incidence": Method("models.times.risks:cumulative_incidence", EVERY_ESTIMAND, ("time_to_event",)),
    "kaplan_meier": Method("models.times.risks:kaplan_meier", EVERY_ESTIMAND, ("time_to_event",)),
    "time_lost": Method("models.times.risks:time_lost", EVERY_ESTIMAND, ("time_to_event",)),
    "first_readmission_type": Method("models.times.risks:first_readmission_type", EVERY_ESTIMAND, ("time_to_event",)),
    "censored_forest": Method(
        "models.forest:censored_forest",
        EVERY_ESTIMAND,
        ("time_to_event",),
        individual_effects=True,
        own_people=True,
    ),
    "cox": Method("models.times.hazards:cox", EVERY_ESTIMAND, ("time_to_event",)),
    "cause_specific_cox": Method("models.times.hazards:cause_specific_cox", EVERY_ESTIMAND, ("time_to_event",)),
    "fine_gray": Method("models.times.hazards:fine_gray", EVERY_ESTIMAND, ("time_to_event",)),
}

GIVEN_ESTIMANDS: dict[str, tuple[Estimand, ...]] = {"randomised": ("ATT", "ATE")}
"""Comparisons that no method chose: in a trial everybody weighs 1 and both estimands coincide."""


OTHER_PEOPLE: dict[str, str] = {
    "matching_weights": "these weights speak for the people of a 1:1 match, min(e, 1 - e), and that method for those "
    "of overlap weights, e (1 - e); take propensity_weighting for it, or adjusted_regression for these people",
}
"""Designs of the ATO whose people are others than those of overlap weights."""


def time_methods() -> tuple[str, ...]:
    """Effect methods that need dated outcomes."""
    return tuple(name for name, method in EFFECTS.items() if TIME_KINDS.intersection(method.kinds))


def methods_for(kind: OutcomeKind) -> tuple[str, ...]:
    """Effect methods that can work with a kind of outcome."""
    return tuple(name for name, method in EFFECTS.items() if kind in method.kinds)


def check_capability(design_name: str, effect_name: str, estimand: str, kind: str) -> str | None:
    """Why these four do not go together, in words for the author of a protocol; None when they do."""
    designs = {name: method.estimands for name, method in DESIGNS.items()} | GIVEN_ESTIMANDS
    if design_name not in designs:
        return f"there is no design method {design_name!r}; allowed: {_listed(designs)}"
    if effect_name not in EFFECTS:
        return f"there is no effect method {effect_name!r}; allowed: {_listed(EFFECTS)}"
    effect = EFFECTS[effect_name]
    for name, estimands in ((design_name, designs[design_name]), (effect_name, effect.estimands)):
        if estimand not in estimands:
            return f"{name} cannot target the {estimand}; allowed: {_listed(estimands)}"
    if design_name in OTHER_PEOPLE and effect.own_people:
        return f"{effect_name} cannot follow {design_name}: {OTHER_PEOPLE[design_name]}"
    if kind not in effect.kinds:
        return f"{effect_name} cannot work with {kind} outcomes; allowed: {_listed(effect.kinds)}"
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
