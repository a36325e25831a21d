"""Options of designs that a protocol sets and that change nothing where they are set: the faults in words.

An option that is silently without effect lets its author believe in a design that was not made.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.method_settings.section import Section

if TYPE_CHECKING:
    from pipelines.protocol import Protocol

Rules = Mapping[str, tuple[Callable[[Any], bool], str]]

_OF_SCORE: Rules = {
    "l2_penalty": (lambda score: score.method == "logistic", "is for method = 'logistic'"),
    "l1_ratio": (lambda score: score.method == "elastic_net", "is for method = 'elastic_net'"),
    "penalty_choice": (lambda score: score.method == "elastic_net", "is for method = 'elastic_net'"),
    "folds": (lambda score: score.method != "logistic", "is for method = 'elastic_net' or 'boosting'"),
    "least_in_a_stratum": (lambda score: score.by_stratum, "is for by_stratum = true"),
}
_OF_DESIGN: Rules = {
    "distance_covariates": (
        lambda design: design.distance != "log_odds",
        "is for distance = 'mahalanobis' or 'robust_mahalanobis'",
    ),
}


def options_without_effect(protocol: "Protocol") -> list[str]:
    """Of designs and of their scores. A further design inherits options; only those it sets itself are its own."""
    design, problems = protocol.design, []
    scores = [one.propensity for one in design.specifications()]
    for option, says in _unused(design.propensity, design.propensity.model_fields_set, _OF_SCORE):
        if not any(_OF_SCORE[option][0](score) for score in scores):  # a further design may use it
            problems.append(f"design.propensity.{option} {says}")
    made = {one.name: one for one in design.specifications()}
    set_in: dict[str, tuple[set[str], set[str]]] = {
        **{name: (getattr(design, name).model_fields_set, set()) for name in design.methods},
        **{one.name: (set(one.options), set(one.propensity)) for one in design.also},
    }
    for name, (options, of_score) in set_in.items():
        settings = made[name].settings
        problems += [f"design.{name}.{option} {says}" for option, says in _unused(settings, options, _OF_DESIGN)]
        found = _unused(made[name].propensity, of_score, _OF_SCORE)
        problems += [f"design.{name}.propensity.{option} {says}" for option, says in found]
        if getattr(settings, "stabilise", False) and "stabilise" in options and protocol.estimand.target != "ATE":
            problems.append(f"design.{name}.stabilise is for the ATE; other weights have one arm's total")
    return problems


def _unused(settings: Section, given: Any, rules: Rules) -> list[tuple[str, str]]:
    """The options that were given another value than the default's, and what they are for."""
    fields = type(settings).model_fields
    return [
        (option, says)
        for option, (is_used, says) in rules.items()
        if option in given and getattr(settings, option) != fields[option].default and not is_used(settings)
    ]
