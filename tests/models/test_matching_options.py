"""Options of nearest-neighbour matching beside R's MatchIt (tests/golden/design/make_matching_values.R)."""

from typing import Any

import numpy as np
import pytest

from models.matching import nearest_neighbour
from models.matching.distances import coordinates
from models.results import Design
from tests.models.golden_design import by_row, lalonde, numbers_of, sets_of, untied
from tests.models.test_matching import sets_in

FILE = "matching_values.csv"
ONCE: list[tuple[str, dict[str, Any]]] = [
    ("anti_exact", {"anti_exact": ("married",), "caliper": None}),
    ("anti_exact_two_caliper", {"anti_exact": ("married", "nodegree")}),
    ("covariate_calipers", {"covariate_calipers": {"age": 3.0, "re74": 2000.0}, "caliper": None}),
    ("covariate_calipers_2to1", {"covariate_calipers": {"age": 5.0, "educ": 1.0}, "caliper": None, "ratio": 2}),
    ("atc", {"estimand": "ATC", "caliper": None}),
    ("atc_caliper", {"estimand": "ATC"}),
]
AGAIN: list[tuple[str, dict[str, Any]]] = [
    ("replace_caliper", {"replace": True}),
    ("replace_3to1", {"replace": True, "ratio": 3}),
    ("replace", {"replace": True, "caliper": None}),
    ("atc_replace", {"replace": True, "estimand": "ATC"}),
]


def matched(options: dict[str, Any]) -> Design:
    return nearest_neighbour(*lalonde(), untied(), rng=np.random.default_rng(0), **options)


@pytest.mark.parametrize(("name", "options"), ONCE)
def test_sets_are_those_of_matchit(name: str, options: dict[str, Any]) -> None:
    found = sets_in(matched(options), options.get("estimand") == "ATC")
    assert len(found) > 50
    assert found == sets_of(f"pair_{name}", FILE)


@pytest.mark.parametrize(("name", "options"), ONCE + AGAIN)
def test_weights_are_those_of_matchit(name: str, options: dict[str, Any]) -> None:
    """Each arm's weights as shares, which the scaling of weights does not touch."""
    design = matched(options)
    for arm in (design.treated, ~design.treated):
        share = design.weights * arm / design.weights[arm].sum()
        np.testing.assert_allclose(share, by_row(f"share_{name}", FILE) * arm, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("most", [4, 5])
def test_variable_ratio_gives_as_many_as_matchit(most: int) -> None:
    """Who gets how many; whom, MatchIt 4.5.1 decides from a vector of distances, which goes wrong."""
    found = sets_in(matched({"ratio": 2, "max_ratio": most, "caliper": None}))
    wanted = numbers_of(f"count_2_of_1_to_{most}", FILE)
    assert {head + 1: len(controls) for head, controls in found.items()} == wanted


@pytest.mark.parametrize("start", [1, 10, 100])
@pytest.mark.parametrize(
    ("name", "distance", "named"),
    [
        ("mahalanobis", "mahalanobis", ()),
        ("mahalanobis_of_two", "mahalanobis", ("age", "re75")),
        ("robust_mahalanobis", "robust_mahalanobis", ()),
    ],
)
def test_distances_are_those_of_matchit(name: str, distance: Any, named: tuple[str, ...], start: int) -> None:
    baseline, treated = lalonde()
    place = coordinates(baseline, treated, np.ones(len(treated), dtype=np.bool_), distance, named)
    assert place is not None
    wanted = numbers_of(f"{name}_from_{start}", FILE)
    rows = np.array(list(wanted)) - 1
    far = np.linalg.norm(place[rows] - place[np.flatnonzero(treated)[start - 1]], axis=1)
    np.testing.assert_allclose(far, list(wanted.values()), rtol=1e-9)
