"""The registry: every address leads to a function, nothing heavy is imported, and refusals say what is allowed."""

import inspect
import subprocess
import sys

import pytest

from models.registry import DESIGNS, EFFECTS, Method, check_capability


@pytest.mark.parametrize("name", [*DESIGNS, *EFFECTS])
def test_every_name_leads_to_the_function_of_that_name(name: str) -> None:
    method = (DESIGNS | EFFECTS)[name]
    assert method.function.__name__ == name
    assert method.function is method.function


@pytest.mark.parametrize(("name", "method"), DESIGNS.items())
def test_designs_are_called_alike_and_never_see_outcomes(name: str, method: Method) -> None:
    parameters = list(inspect.signature(method.function).parameters.values())
    assert [p.name for p in parameters[:3]] == ["baseline", "treated", "propensity"]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters[3:])
    assert {"estimand", "rng"} <= {p.name for p in parameters[3:]}
    assert not any("outcome" in p.name for p in parameters)


@pytest.mark.parametrize(("name", "method"), EFFECTS.items())
def test_effects_take_baseline_and_design_after_the_outcome(name: str, method: Method) -> None:
    positional = [
        p.name for p in inspect.signature(method.function).parameters.values() if p.kind is not p.KEYWORD_ONLY
    ]
    of_kind = {"time_to_event": ["day", "event"], "count": ["outcome", "exposure"]}
    of_kind["recurrent"] = ["event_row", "event_day", "last_day", "died"]
    assert positional == [*of_kind.get(method.kinds[0], ["outcome"]), "baseline", "design"]


def test_reading_the_registry_imports_no_learning_library() -> None:
    code = (
        "import sys, models.registry as r; r.check_capability('nearest_neighbour', 'aipw', 'ATT', 'binary');"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'sklearn', 'econml', 'scipy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("design", "effect", "estimand", "kind", "refusal"),
    [
        ("nearest_neighbour", "weighted_difference", "ATT", "binary", None),
        ("propensity_weighting", "aipw", "ATE", "continuous", None),
        ("propensity_weighting", "causal_forest", "ATT", "binary", None),
        ("nearest_neighbour", "cumulative_incidence", "ATT", "time_to_event", None),
        ("randomised", "weighted_difference", "ATT", "binary", None),
        (
            "nearest_neighbour",
            "aipw",
            "ATE",
            "binary",
            "nearest_neighbour cannot target the ATE; allowed: ATT, ATC",
        ),
        (
            "matching_weights",
            "weighted_difference",
            "ATC",
            "binary",
            "matching_weights cannot target the ATC; allowed: ATO",
        ),
        (
            "nearest_neighbour",
            "aipw",
            "ATT",
            "time_to_event",
            "aipw cannot work with time_to_event outcomes; allowed: binary, continuous",
        ),
        (
            "randomised",
            "cumulative_incidence",
            "ATT",
            "binary",
            "cumulative_incidence cannot work with binary outcomes; allowed: time_to_event",
        ),
        (
            "nearest",
            "aipw",
            "ATT",
            "binary",
            "there is no design method 'nearest'; allowed: " + ", ".join([*DESIGNS, "randomised"]),
        ),
        (
            "nearest_neighbour",
            "ols",
            "ATT",
            "binary",
            f"there is no effect method 'ols'; allowed: {', '.join(EFFECTS)}",
        ),
    ],
)
def test_refusals(design: str, effect: str, estimand: str, kind: str, refusal: str | None) -> None:
    assert check_capability(design, effect, estimand, kind) == refusal


def test_only_forests_claim_individual_effects() -> None:
    assert [name for name, method in EFFECTS.items() if method.individual_effects] == [
        "causal_forest",
        "censored_forest",
    ]
