"""What the report says of where the intervals of a study's own methods are known to miss."""

from typing import Any

import pytest

from pipelines.report.known_misses import MISSES, known_misses
from tests.report_fixture import make_table_protocol


def said_of(design: dict[str, Any], effects: dict[str, Any], target: str = "ATT") -> set[str]:
    protocol = make_table_protocol()
    chosen = protocol.model_dump()
    chosen["design"] |= design
    chosen["effects"] |= effects
    chosen["estimand"]["target"] = target
    return {miss["where"] for miss in known_misses(type(protocol).model_validate(chosen))}


@pytest.mark.parametrize(
    ("where", "design", "effects", "target"),
    [
        ("Subclassification", {"methods": ["subclassification"]}, {}, "ATT"),
        ("Stable balancing", {"methods": ["stable_balancing"]}, {}, "ATE"),
        ("Matching to untreated people (ATC)", {"methods": ["nearest_neighbour"]}, {}, "ATC"),
        ("Individual effects of the forests", {}, {"methods": ["weighted_difference", "causal_forest"]}, "ATT"),
        ("Scores by elastic net or boosting", {"propensity": {"method": "boosting"}}, {}, "ATT"),
    ],
)
def test_a_miss_is_said_of_the_methods_it_concerns(
    where: str, design: dict[str, Any], effects: dict[str, Any], target: str
) -> None:
    quiet = {"methods": ["entropy_balancing"], "propensity": {}}
    only_values = {"methods": ["weighted_difference"]}
    assert where in said_of(quiet | design, only_values | effects, target)
    assert where not in said_of(quiet, only_values)


def test_every_miss_has_a_name_of_its_own_and_a_number_or_a_reason() -> None:
    assert len({miss.where for miss in MISSES}) == len(MISSES)
    assert all(len(miss.text) > 40 for miss in MISSES)
