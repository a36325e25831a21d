"""Estimates of several imputations become one: sites against R's mice and metafor, and what counts as independent."""

import csv
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.influence import degrees_of_freedom
from models.results import Baseline, Design
from pipelines.estimate.collected import Results
from pipelines.estimate.copies import Collected, pool_copies
from pipelines.estimate.prognostic import PROGNOSTIC_SCHEMA
from pipelines.method_settings import Effects

GOLDEN = Path(__file__).parents[1] / "golden" / "imputation" / "sites.csv"
COPIES = range(1, 6)
OUTCOME = "readmitted_365d"


@cache
def golden() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with GOLDEN.open() as file:
        for row in csv.DictReader(file):
            if row["site"] != "version":
                found.setdefault(row["site"], {})[row["key"]] = float(row["value"])
    return found


def estimate(site: str, value: float, std_error: float, df_complete: float) -> dict[str, Any]:
    place = {"contrast": "peer_vs_virtual", "outcome": OUTCOME, "estimand": "ATT", "design": "propensity_weighting"}
    limits = {"lower": value - 2 * std_error, "upper": value + 2 * std_error, "p_value": 0.5}
    counts = {"n_treated": 20, "n_control": 80, "effective_n": 60.0, "n_unobserved": 1, "fewest_events": 9}
    what = {"scale": "risk_difference", "method": "weighted_difference", "subgroup": f"trust = {site}"}
    return {**place, **what, "value": value, "std_error": std_error, **limits, **counts, "df_complete": df_complete}


def a_copy(number: int, left_out: tuple[str, ...] = ()) -> Collected:
    """The sites of copy `number`, but those left out, which had no estimate in it."""
    sites = [site for site in "ABCD" if site not in left_out]
    rows = [
        estimate(site, golden()[site][f"q{number}"], golden()[site][f"se{number}"], golden()[site]["df_complete"])
        for site in sites
    ]
    rows.append(estimate("A", 0.0, 1.0, 9.0) | {"subgroup": "trust: fixed effect"})  # of one copy: not to be pooled
    said = {"by": "trust", "method": "weighted_difference", "n_small": 2, "small_sites": "together"}
    told = {"n_without_estimate": len(left_out), "without_estimate": list(left_out), "with_estimate": sites}
    results = Results(estimates=rows, sites={**said, **told, "pooled": None})
    return Collected.of(results, pl.DataFrame(schema=PROGNOSTIC_SCHEMA))


def pooled(copies: list[Collected], scale: str = "difference") -> Collected:
    protocol = SimpleNamespace(
        effects=Effects.model_validate({"sites": {"by": "trust", "scale": scale}}),
        outcomes=SimpleNamespace(primary=OUTCOME),
    )
    return pool_copies(copies, protocol)  # type: ignore[arg-type]


def test_sites_are_pooled_as_mice_and_metafor_pool_them() -> None:
    found = pooled([a_copy(number) for number in COPIES])
    rows = {row["subgroup"]: row for row in found.estimates.to_dicts()}
    assert list(rows) == [*(f"trust = {site}" for site in "ABCD"), "trust: fixed effect", "trust: random effects"]
    for site in "ABCD":
        for name in ("value", "std_error", "lower", "upper"):
            assert rows[f"trust = {site}"][name] == pytest.approx(golden()[site][name], rel=1e-9), (site, name)
    for fit in ("fixed effect", "random effects"):
        for name in ("value", "std_error", "lower", "upper", "p_value"):
            assert rows[f"trust: {fit}"][name] == pytest.approx(golden()[fit][name], rel=1e-6), (fit, name)
        assert (rows[f"trust: {fit}"]["n_treated"], rows[f"trust: {fit}"]["n_unobserved"]) == (80, 4)
    assert found.sites is not None
    for name, value in golden()["heterogeneity"].items():
        assert found.sites["pooled"][name] == pytest.approx(value, rel=1e-6), name
    assert found.sites["n_small"] == 2


def test_a_site_without_an_estimate_in_some_copy_is_in_no_pooled_effect() -> None:
    found = pooled([a_copy(1), a_copy(2, left_out=("B",)), *(a_copy(number) for number in (3, 4, 5))])
    assert "trust = B" not in found.estimates["subgroup"].to_list()
    assert found.sites is not None
    assert (found.sites["n_without_estimate"], found.sites["pooled"]["n_sites"]) == (1, 3)
    assert any("trust = B is known in some imputations only" in note["note"] for note in found.notes)


def test_one_site_left_is_not_pooled() -> None:
    found = pooled([a_copy(number, left_out=("B", "C", "D")) for number in COPIES])
    assert found.estimates["subgroup"].to_list() == ["trust = A"]
    assert found.sites is not None
    assert found.sites["pooled"] is None


def design_of(weights: list[float], treated: list[int], sets: list[int], **notes: str) -> Design:
    arm = np.array(treated) == 1
    return Design("m", "ATT", arm, np.full(arm.size, 0.5), np.array(weights), np.array(sets), notes)


def baseline_of(person: list[int]) -> Baseline:
    same = np.zeros(len(person), dtype=np.int64)
    return Baseline(np.zeros((len(person), 1)), ("x",), same, same, np.array(person))


def test_degrees_of_freedom_by_hand() -> None:
    """Two sets of two controls each are two units, whatever their rows; one when a person is in both. Weights of one
    person count together: two treated rows of persons 1 and 2, controls of person 3 (1 + 1) and 4 (2) make 2 + 2 - 2.
    """
    matched = design_of([1, 0.5, 0.5] * 4, [1, 0, 0] * 4, [k // 3 for k in range(12)])
    assert degrees_of_freedom(baseline_of(list(range(12))), matched) == 3
    assert degrees_of_freedom(baseline_of([*range(11), 2]), matched) == 2
    weighted = design_of([1, 1, 1, 1, 2, 0], [1, 1, 0, 0, 0, 0], [-1] * 6)
    assert degrees_of_freedom(baseline_of([1, 2, 3, 3, 4, 5]), weighted) == pytest.approx(2)
    # Each row by itself: 2 + (1 + 1 + 2)² / (1 + 1 + 4) - 2
    assert degrees_of_freedom(baseline_of([1, 2, 3, 6, 4, 5]), weighted) == pytest.approx(16 / 6)
    strata = design_of([1, 1, 1, 1, 2, 0], [1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, -1], sets_are="strata")
    assert degrees_of_freedom(baseline_of([1, 2, 3, 3, 4, 5]), strata) == pytest.approx(2)
