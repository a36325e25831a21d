"""Estimates of sites: each of its own people, small ones together or left out, pooled as models/pooling.py does."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.effects import weighted_difference
from models.pooling import pool_sites
from models.results import Baseline, Design
from pipelines.design import Contrast
from pipelines.estimate.collected import AcceptedDesign, Results
from pipelines.estimate.sites import estimate_sites
from pipelines.method_settings import Effects
from pipelines.method_settings.acceptance import Acceptance
from tests.acceptance import WHOEVER_IS_LEFT
from tests.models.contract_estimates import rows_of, rows_of_design

OUTCOME = "readmitted_365d"
SITES = np.repeat(["A", "B", "C", "D"], [60, 50, 40, 12])


def _sample() -> tuple[AcceptedDesign, pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(4)
    n = SITES.size
    treated = np.arange(n) % 3 == 0
    person = np.arange(n)
    group = np.unique(SITES, return_inverse=True)[1]
    baseline = Baseline(rng.normal(size=(n, 1)), ("x",), group, np.zeros(n, dtype=np.int64), person)
    weights = np.where(treated, 1.0, rng.uniform(0.2, 1.5, n))
    design = Design("propensity_weighting", "ATT", treated, np.full(n, 0.5), weights, np.full(n, -1))
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    row_id = pl.Series("row_id", person)
    accepted = AcceptedDesign(design.method, contrast, row_id, baseline, design, is_primary=True)
    outcomes = pl.DataFrame({"row_id": person, OUTCOME: rng.random(n) < np.where(treated, 0.3, 0.5)})
    return accepted, outcomes, pl.DataFrame({"row_id": person[::-1], "site": SITES[::-1]})


def _run(
    accepted: AcceptedDesign,
    outcomes: pl.DataFrame,
    sites: pl.DataFrame,
    below: int = 1,
    acceptance: Acceptance = WHOEVER_IS_LEFT,
    **settings: Any,
) -> Results:
    protocol = SimpleNamespace(
        acceptance=acceptance,
        effects=Effects.model_validate({"sites": {"by": "trust", **settings}}),
        outcomes=SimpleNamespace(primary=OUTCOME, secondary=(), columns={}),
        source=SimpleNamespace(kind="mhsds"),
        study=SimpleNamespace(seed=1),
        disclosure=SimpleNamespace(suppress_below=below),
    )
    results = Results()
    estimate_sites(accepted, outcomes, sites, protocol, results)
    return results


def test_each_site_is_the_comparison_of_its_own_rows_and_small_ones_count_together() -> None:
    accepted, outcomes, sites = _sample()
    results = _run(accepted, outcomes, sites, min_treated=15)
    found = {row["subgroup"]: row for row in results.estimates}
    # Sites of 60, 50, 40 and 12 rows have 20, 17, 13 and 4 treated, so C and D are small.
    assert list(found) == [
        "trust = A",
        "trust = B",
        "trust = small sites together",
        "trust: fixed effect",
        "trust: random effects",
    ]
    for name, own in (("A", SITES == "A"), ("small sites together", np.isin(SITES, ["C", "D"]))):
        rows = np.flatnonzero(own)
        alone = weighted_difference(
            outcomes[OUTCOME].cast(pl.Float64).to_numpy()[rows],
            rows_of(accepted.baseline, rows),
            rows_of_design(accepted.design, rows),
            rng=np.random.default_rng(0),
            kind="binary",
        )[0]
        row = found[f"trust = {name}"]
        assert (row["value"], row["std_error"]) == pytest.approx((alone.value, alone.std_error), rel=1e-9)
        assert (row["n_treated"], row["n_control"]) == (alone.n_treated, alone.n_control)
    own = [row for name, row in found.items() if " = " in name]
    pooled = pool_sites([row["value"] for row in own], [row["std_error"] for row in own])
    assert found["trust: random effects"]["value"] == pytest.approx(pooled.random.value)
    assert found["trust: fixed effect"]["lower"] == pytest.approx(pooled.fixed.lower)
    assert found["trust: fixed effect"]["n_treated"] == accepted.design.treated.sum()
    assert results.sites is not None
    assert (results.sites["n_small"], results.sites["pooled"]["n_sites"]) == (2, 3)


def test_small_sites_left_out_and_ratios() -> None:
    accepted, outcomes, sites = _sample()
    results = _run(accepted, outcomes, sites, min_treated=15, small_sites="left_out", scale="ratio")
    found = {row["subgroup"]: row for row in results.estimates}
    assert set(found) == {"trust = A", "trust = B", "trust: fixed effect", "trust: random effects"}
    logs = [np.log(found[f"trust = {name}"]["value"]) for name in "AB"]
    errors = [found[f"trust = {name}"]["std_error"] for name in "AB"]
    pooled = pool_sites(logs, errors)
    assert found["trust: random effects"]["upper"] == pytest.approx(np.exp(pooled.random.upper))
    assert results.sites is not None
    assert results.sites["pooled"]["prediction_lower"] == pytest.approx(np.exp(pooled.prediction_lower))


def test_a_site_without_variation_has_no_estimate_and_is_counted() -> None:
    accepted, outcomes, sites = _sample()
    none = outcomes.with_columns(pl.when(pl.Series(SITES == "A")).then(False).otherwise(OUTCOME).alias(OUTCOME))
    results = _run(accepted, none, sites, min_treated=15)
    assert "trust = A" not in [row["subgroup"] for row in results.estimates]
    assert results.sites is not None
    assert results.sites["n_without_estimate"] == 1
    assert results.notes[0]["note"].startswith("site A has no estimate to pool: the outcome does not vary")


def test_only_the_primary_design_has_sites() -> None:
    accepted, outcomes, sites = _sample()
    other = AcceptedDesign("b", accepted.contrast, accepted.row_id, accepted.baseline, accepted.design, False)
    results = _run(other, outcomes, sites)
    assert (results.estimates, results.sites) == ([], None)


def test_a_site_that_must_be_withheld_is_not_pooled_since_subtraction_would_give_it_away() -> None:
    accepted, outcomes, sites = _sample()
    # 5 of the 17 treated of site B have the outcome.
    first = np.flatnonzero((SITES == "B") & accepted.design.treated)
    has = outcomes[OUTCOME].to_numpy().copy()
    has[accepted.design.treated | np.isin(SITES, ["A", "C", "D"])] = (
        np.arange(has.size)[accepted.design.treated | np.isin(SITES, ["A", "C", "D"])] % 2 == 0
    )
    has[first] = np.arange(first.size) < 5
    found = _run(accepted, outcomes.with_columns(pl.Series(OUTCOME, has)), sites, below=8, min_treated=15)
    subgroups = [row["subgroup"] for row in found.estimates]
    assert "trust = A" in subgroups
    assert "trust = B" not in subgroups
    assert found.notes[0]["note"].startswith("site B has no estimate to pool: too few of its people")


def test_people_not_observed_are_counted_by_site_and_count_for_the_error_of_their_site_alone() -> None:
    accepted, outcomes, sites = _sample()
    rng = np.random.default_rng(8)
    x = accepted.baseline.matrix
    treated = rng.random(SITES.size) < 0.4
    score = 1 / (1 + np.exp(-0.8 * x[:, 0] + 0.5))
    weights = np.where(treated, 1.0, score / (1 - score))
    baseline = replace(accepted.baseline, exact_group=np.zeros(SITES.size, dtype=np.int64))
    design = replace(accepted.design, treated=treated, score=score, weights=weights)
    accepted = replace(accepted, baseline=baseline, design=design)
    # Nobody of sites A and B is lost, so their estimates are those of a study in which nobody is lost anywhere.
    lost = np.isin(SITES, ["C", "D"]) & (rng.random(SITES.size) < 0.5)
    outcomes = outcomes.with_columns(pl.Series(OUTCOME, rng.random(SITES.size) < 1 / (1 + np.exp(-3 * x[:, 0]))))
    some = outcomes.with_columns(pl.when(pl.Series(~lost)).then(OUTCOME).alias(OUTCOME))
    whole, partly = (
        {row["subgroup"]: row for row in _run(accepted, of, sites, min_treated=2, min_controls=2).estimates}
        for of in (outcomes, some)
    )
    for name in ("trust = A", "trust = B"):
        assert partly[name]["n_unobserved"] == 0
        assert partly[name]["std_error"] == pytest.approx(whole[name]["std_error"], rel=0.02)
    assert partly["trust = C"]["n_unobserved"] == (lost & (SITES == "C")).sum()


def test_weights_that_balance_over_all_sites_count_as_constants_within_one() -> None:
    accepted, outcomes, sites = _sample()
    design = replace(accepted.design, notes={"weight_formula": "entropy"})
    found = {row["subgroup"]: row for row in _run(replace(accepted, design=design), outcomes, sites).estimates}
    rows = np.flatnonzero(SITES == "A")
    alone = weighted_difference(
        outcomes[OUTCOME].cast(pl.Float64).to_numpy()[rows],
        rows_of(accepted.baseline, rows),
        rows_of_design(design, rows),
        rng=np.random.default_rng(0),
        kind="binary",
        weights_are="fixed",
    )[0]
    assert found["trust = A"]["std_error"] == pytest.approx(alone.std_error, rel=1e-9)
