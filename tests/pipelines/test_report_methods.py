"""What the report says of the methods that a protocol chose."""

from typing import Any, get_args

from pipelines.method_settings.weighting import TrimRule
from pipelines.report.methods import TRIMMED_BY, describe_methods
from tests.pipelines.test_multiverse import grid


def trimmings(**options: Any) -> list[str]:
    design = {"methods": ["propensity_weighting"], "propensity_weighting": options, "also": ()}
    protocol = grid(design=design, effects={"methods": ["weighted_difference"]})
    return [row["text"] for row in describe_methods(protocol) if row["name"] == "Trimming"]


def test_the_rule_of_trimming_is_named_and_that_scores_are_those_of_everybody() -> None:
    assert trimmings() == []
    (text,) = trimmings(trim="asymmetric")
    assert "low percentile of the participants' scores" in text
    assert "not again to the people kept" in text
    assert set(TRIMMED_BY) == set(get_args(TrimRule)) - {"none"}
