"""A grid of designs and effects: what each specification changes, what they share, and how the report counts them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import models.registry
from models.refusals import Refused
from pipelines import design as design_stage
from pipelines import store
from pipelines.design import design_study
from pipelines.estimate import estimate_study
from pipelines.protocol import Protocol
from pipelines.report import render_report
from pipelines.report.multiverse_facts import read_specification_curve
from pipelines.store import RunFolder, write_parquet
from tests.report_fixture import FACTS, make_table_protocol

N_TREATED, N_POOL = 60, 400
OUTCOMES = {name: {"column": name, "kind": kind} for name, kind in (("back", "binary"), ("days", "continuous"))}
ALSO: dict[str, Any] = {
    "design": {
        "methods": ["nearest_neighbour", "propensity_weighting"],
        "also": [
            {"name": "two_each", "method": "nearest_neighbour", "options": {"ratio": 2}},
            {"name": "by_site", "method": "propensity_weighting", "exact": ["site"]},
            {"name": "stiff_score", "method": "propensity_weighting", "propensity": {"l2_penalty": 50.0}},
        ],
    },
    "effects": {
        "methods": ["weighted_difference", "aipw"],
        "also": [{"name": "aipw_stiff", "method": "aipw", "options": {"l2_penalty": 100.0}}],
    },
}


def grid(**changes: Any) -> Protocol:
    sections = {
        "covariates": {"numeric": ("age", "need")},
        "outcomes": {"primary": "back", "secondary": ("days",), "columns": OUTCOMES},
        "acceptance": {"max_abs_smd": 1.0, "min_share_treated_kept": 0.3},
        "benchmark": None,
    }
    return make_table_protocol(**(sections | ALSO | changes))


def plain(protocol: Protocol) -> Protocol:
    """The same without further specifications."""
    content = protocol.model_dump()
    content["design"]["also"] = content["effects"]["also"] = ()
    return Protocol.model_validate(content)


def write_rows(folder: Path) -> RunFolder:
    rng = np.random.default_rng(5)
    n = N_TREATED + N_POOL
    treated = np.arange(n) < N_TREATED
    age, need = rng.normal(40 + 3 * treated, 10).round(1), rng.normal(0.3 * treated, 1).round(2)
    key = {"row_id": np.arange(n), "person_id": [f"p{k}" for k in range(n)], "index_date": [None] * n}
    dates = {"index_date": pl.Date}
    run = RunFolder(folder)
    arms = {"arm": np.where(treated, "peer", "virtual"), "is_eligible": [True] * n}
    write_parquet(run.file(store.COHORT), pl.DataFrame({**key, **arms}, schema_overrides=dates))
    values = {"age": age, "need": need, "site": np.where(rng.random(n) < 0.5, "A", "B")}
    write_parquet(run.file(store.BASELINE), pl.DataFrame({**key, **values}, schema_overrides=dates))
    back = rng.random(n) < 1 / (1 + np.exp(-need + 0.4 * treated))
    found = {"back": back, "days": rng.normal(10 + need, 3)}
    write_parquet(run.file(store.OUTCOMES), pl.DataFrame({**key, **found}, schema_overrides=dates))
    return run


def study(folder: Path, protocol: Protocol) -> RunFolder:
    run = write_rows(folder)
    design_study(run, run.path, protocol)
    estimate_study(run, run.path, protocol)
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return study(tmp_path_factory.mktemp("grid"), grid())


DESIGNS = ("nearest_neighbour", "propensity_weighting", "two_each", "by_site", "stiff_score")
EFFECTS = ("weighted_difference", "aipw", "aipw_stiff")


def test_every_pair_of_the_grid_is_estimated_under_its_own_name(made: RunFolder) -> None:
    estimates = made.read(store.ESTIMATES).filter(
        (pl.col("outcome") == "back") & (pl.col("scale") == "risk_difference")
    )
    assert set(estimates.select("design", "method").iter_rows()) == {(d, e) for d in DESIGNS for e in EFFECTS}
    assert estimates.height == 15
    # AIPW fits a score of its own, so that both of its specifications are alike under the stiff score and the other.
    assert estimates["value"].n_unique() == 13


def test_further_specifications_take_the_primary_outcome_only(made: RunFolder) -> None:
    other = made.read(store.ESTIMATES).filter(pl.col("outcome") == "days")
    assert set(other.select("design", "method").iter_rows()) == {(d, e) for d in DESIGNS[:2] for e in EFFECTS[:2]}


def test_further_specifications_change_nothing_of_the_main_lists(made: RunFolder, tmp_path: Path) -> None:
    alone = study(tmp_path, plain(grid()))
    kept = made.read(store.ESTIMATES).filter(pl.col("design").is_in(DESIGNS[:2]) & pl.col("method").is_in(EFFECTS[:2]))
    assert kept.equals(alone.read(store.ESTIMATES))
    assert made.read(store.DESIGN).equals(alone.read(store.DESIGN))


def test_options_are_those_of_the_specification(made: RunFolder) -> None:
    designs = made.read(store.OTHER_DESIGNS).filter(pl.col("weight") > 0)
    controls = {name: part.filter(~pl.col("treated")).height for (name,), part in designs.group_by("design")}
    assert controls["two_each"] > 1.5 * controls["nearest_neighbour"]
    sites = made.read(store.BASELINE).select("row_id", "site")
    for name, balanced in (("by_site", True), ("propensity_weighting", False)):
        rows = designs.filter(pl.col("design") == name).join(sites, on="row_id")
        shares = [
            part.filter(pl.col("site") == "A")["weight"].sum() / part["weight"].sum()
            for _, part in rows.group_by("treated", maintain_order=True)
        ]
        assert (abs(shares[0] - shares[1]) < 1e-9) is balanced


def test_a_score_is_fitted_once_for_all_designs_that_can_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five designs, three scores: matching and weighting take the same candidates here, except for those by site and
    the stiff one."""
    fitted = []
    original = design_stage.fit_propensity

    def counted(*args: Any, **options: Any) -> Any:
        fitted.append(options)
        return original(*args, **options)

    monkeypatch.setattr(design_stage, "fit_propensity", counted)
    every = {"matching": "every", "weighting": "every"}
    run = write_rows(tmp_path)
    design_study(run, run.path, grid(design={**ALSO["design"], "candidate_discharges": every}))
    assert len(fitted) == 3


def test_a_further_design_that_cannot_be_made_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol, matching = grid(), models.registry.DESIGNS["nearest_neighbour"]

    def refusing(*args: Any, ratio: int, **options: Any) -> Any:
        if ratio == 2:
            raise Refused("no 2 controls for 3 people")
        return matching.function(*args, ratio=ratio, **options)

    stub = SimpleNamespace(
        function=refusing, makes_matched_sets=True, uses_a_person_once=True, estimands=matching.estimands
    )
    monkeypatch.setitem(models.registry.DESIGNS, "nearest_neighbour", stub)
    run = study(tmp_path, protocol)
    entries = {entry["name"]: entry for entry in run.read_json(store.DESIGN_SUMMARY)["contrasts"][0]["designs"]}
    assert not entries["two_each"]["accepted"]
    assert "two_each" not in set(run.read(store.ESTIMATES)["design"])
    render_report(run, run.path, protocol, FACTS)
    page = run.file(store.REPORT).read_text()
    assert "could not be made: no fewer than 8 controls for fewer than 8 people" in page
    assert "12 of 15 specifications gave an estimate; 3 rest on a design that was not accepted" in page


def test_the_page_draws_the_curve_and_warns(made: RunFolder, tmp_path: Path) -> None:
    render_report(made, tmp_path, grid(), FACTS)
    page = (tmp_path / store.REPORT).read_text()
    assert "15 of 15 specifications gave an estimate." in page
    assert "This is no device for choosing a result." in page
    assert (tmp_path / store.FIGURES / "multiverse.svg").exists()


def row(design: str, method: str, value: float | None, **changes: Any) -> dict[str, Any]:
    reach = 0.05
    return {
        "contrast": "participants_vs_virtual",
        "outcome": "back",
        "subgroup": "all",
        "scale": "risk_difference",
        "design": design,
        "method": method,
        "value": value,
        "lower": None if value is None else value - reach,
        "upper": None if value is None else value + reach,
        "is_suppressed": False,
        **changes,
    }


def summary_of(accepted: dict[str, bool]) -> dict[str, Any]:
    failed = [{"check": "max_abs_smd", "passed": False}]
    entries = [
        {"name": name, "method": "x", "accepted": fine, "verdicts": [] if fine else failed}
        for name, fine in accepted.items()
    ]
    return {"contrasts": [{"contrast": "participants_vs_virtual", "designs": entries}]}


def test_the_curve_counts_by_hand() -> None:
    """Values -0.1, -0.02, 0.01: median -0.02, two below no effect, one interval (-0.15 to -0.05) without it."""
    protocol = grid()
    rows = [
        row("nearest_neighbour", "weighted_difference", 0.01),
        row("nearest_neighbour", "aipw", -0.1),
        row("propensity_weighting", "aipw", -0.02),
        row("propensity_weighting", "weighted_difference", None, is_suppressed=True),
        row("nearest_neighbour", "aipw", 0.9, outcome="days"),
        row("nearest_neighbour", "aipw", 0.9, scale="risk_ratio"),
        row("nearest_neighbour", "aipw", 0.9, subgroup="sex = f"),
    ]
    place = {"contrast": "participants_vs_virtual", "outcome": protocol.outcomes.primary}
    notes = [{**place, "design": "nearest_neighbour", "method": "aipw_stiff", "note": "too few folds"}]
    # What was said of another outcome or contrast is no reason here.
    elsewhere = {"design": "propensity_weighting", "method": "aipw_stiff", "note": "no event in an arm"}
    notes += [{**place, **elsewhere, "outcome": "days"}, {**place, **elsewhere, "contrast": "randomised_vs_virtual"}]
    accepted = {"nearest_neighbour": True, "propensity_weighting": True, "two_each": False}
    curve = read_specification_curve(rows, notes, summary_of(accepted), protocol, "risk_difference")
    assert curve is not None
    assert (curve["total"], curve["estimated"]) == (9, 3)
    assert curve["by_state"] == {
        "estimated": 3, "design_refused": 3, "method_refused": 1, "no_estimate": 1, "withheld": 1,
    }  # fmt: skip
    assert (curve["median"], curve["low"], curve["high"]) == (-0.02, -0.1, 0.01)
    why = {(one["design"], one["method"]): one["why"] for one in curve["specifications"] if one["why"]}
    assert why[("nearest_neighbour", "aipw_stiff")] == "too few folds"
    assert why[("two_each", "aipw")] == "largest standardised mean difference after the design"
    assert (curve["same_side"], curve["excluding"]) == (2, 1)
    assert [one["estimate"]["value"] for one in curve["specifications"][:3]] == [-0.1, -0.02, 0.01]
    assert all(one["estimate"] is None for one in curve["specifications"][3:])


def test_one_specification_is_no_curve() -> None:
    protocol = plain(grid(effects={"methods": ["aipw"]}))
    rows = [row("nearest_neighbour", "aipw", -0.1)]
    summary = summary_of({"nearest_neighbour": True})
    assert read_specification_curve(rows, [], summary, protocol, "risk_difference") is None
