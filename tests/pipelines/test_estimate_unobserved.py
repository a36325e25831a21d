"""People observed stand for those alike whose outcome was not, where the protocol asks for it: from the settings to the
estimates, the remarks and the page."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.effects import weighted_difference
from models.influence import degrees_of_freedom
from models.observation import SAID
from models.results import Design
from pipelines import store
from pipelines.design import Contrast
from pipelines.estimate.collected import AcceptedDesign, Results
from pipelines.estimate.values import UNOBSERVED, estimate_values
from pipelines.method_settings import Effects
from pipelines.report import render_report
from tests.acceptance import WHOEVER_IS_LEFT
from tests.models.effect_samples import baseline_of
from tests.pipelines.test_missing_covariates import COPIES, people, protocol_with, study
from tests.report_fixture import FACTS

OUTCOME = "readmitted_365d"
METHODS = ("weighted_difference", "adjusted_regression", "g_computation")
WEIGHTS: dict[str, Any] = {"unobserved": "weights"}


def _sample() -> tuple[AcceptedDesign, pl.DataFrame]:
    """200 people in pairs; a fifth is not observed, of the treated where x is large, of the others where small."""
    rng = np.random.default_rng(6)
    n = 200
    treated, x = np.arange(n) < 100, rng.normal(size=n)
    sets = np.tile(np.arange(100), 2)
    design = Design("nearest_neighbour", "ATT", treated, np.full(n, 0.5), np.ones(n), sets)
    row_id = pl.Series("row_id", np.arange(n))
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    accepted = AcceptedDesign(design.method, contrast, row_id, baseline_of(x[:, None]), design, is_primary=True)
    lost = rng.random(n) < 1 / (1 + np.exp(1.5 + np.where(treated, -1.0, 1.0) * x))
    values = [None if gone else bool(value) for gone, value in zip(lost, rng.random(n) < 0.4, strict=True)]
    return accepted, pl.DataFrame({"row_id": row_id, OUTCOME: values})


def _run(accepted: AcceptedDesign, of_rows: pl.DataFrame, effects: Effects) -> Results:
    protocol = SimpleNamespace(
        acceptance=WHOEVER_IS_LEFT,
        effects=effects,
        outcomes=SimpleNamespace(primary=OUTCOME, secondary=(), columns={}),
        source=SimpleNamespace(kind="mhsds"),
        study=SimpleNamespace(seed=1),
    )
    results = Results()
    estimate_values(accepted, of_rows, OUTCOME, "binary", protocol, results, Path())  # type: ignore[arg-type]
    return results


def test_everybody_of_the_design_stays_where_others_stand_for_the_unobserved() -> None:
    accepted, of_rows = _sample()
    values = of_rows[OUTCOME].cast(pl.Float64).fill_null(np.nan).to_numpy()
    effects = Effects(methods=METHODS, weighted_difference=WEIGHTS, g_computation=WEIGHTS)
    results = _run(accepted, of_rows, effects)
    found = {(row["method"], row["scale"]): row for row in results.estimates}
    options = {"rng": np.random.default_rng(1), "kind": "binary", "unobserved": "weights"}
    expected = weighted_difference(values, accepted.baseline, accepted.design, **options)
    for estimate in expected:
        row = found["weighted_difference", estimate.scale]
        assert (row["value"], row["std_error"]) == (estimate.value, estimate.std_error)
    n_lost = int(np.isnan(values).sum())
    assert 30 < n_lost < 60
    for method in METHODS:
        row = found[method, "risk_difference"]
        is_everybody = method != "adjusted_regression"
        assert row["n_unobserved"] == (0 if is_everybody else n_lost)
        assert (row["n_treated"] == row["n_control"] == 100) == is_everybody
        assert (row["df_complete"] == degrees_of_freedom(accepted.baseline, accepted.design)) == is_everybody
        said = [note["note"] for note in results.notes if note["method"] == method]
        assert any(note.startswith(SAID) for note in said) == is_everybody
        assert UNOBSERVED not in said
    seen = [values[arm & np.isfinite(values)] for arm in (accepted.design.treated, ~accepted.design.treated)]
    fewest = min(min(y.sum(), (1 - y).sum()) for y in seen)
    assert {row["fewest_events"] for row in results.estimates if row["method"] != "adjusted_regression"} == {fewest}


def test_by_default_the_unobserved_are_left_out_and_the_report_says_what_adjusts() -> None:
    accepted, of_rows = _sample()
    results = _run(accepted, of_rows, Effects(methods=METHODS))
    assert [note["method"] for note in results.notes if note["note"] == UNOBSERVED] == ["weighted_difference"]
    assert not any(note["note"].startswith(SAID) for note in results.notes)


def test_a_further_specification_may_weigh_them() -> None:
    accepted, of_rows = _sample()
    also = [{"name": "weighed", "method": "weighted_difference", "options": WEIGHTS}]
    (narrowed,) = Effects.model_validate({"methods": METHODS, "also": also}).of_specifications().values()
    alone = _run(accepted, of_rows, narrowed).estimates
    chosen = _run(accepted, of_rows, Effects(methods=METHODS[:1], weighted_difference=WEIGHTS)).estimates
    assert alone == chosen


def test_what_the_model_of_observation_refuses_is_a_remark() -> None:
    accepted, of_rows = _sample()
    is_low = pl.Series(accepted.baseline.matrix[:, 0] < 0.5)
    told = of_rows.with_columns(pl.when(is_low).then(pl.col(OUTCOME).fill_null(value=True)).alias(OUTCOME))
    options = {**WEIGHTS, "observation_penalty": 0.0}
    results = _run(accepted, told, Effects(methods=METHODS[:1], weighted_difference=options))
    assert not results.estimates
    assert results.notes[0]["note"].startswith("the model of who is observed cannot be fitted without a penalty")


@pytest.fixture(scope="module")
def imputed(tmp_path_factory: pytest.TempPathFactory) -> tuple[store.RunFolder, Any]:
    """Three imputations of the covariates, and a seventh of the outcomes not observed."""
    tables = people()
    tables[store.OUTCOMES] = tables[store.OUTCOMES].with_columns(
        pl.when(pl.col("row_id") % 7 != 0).then("back").alias("back")
    )
    effects = {"methods": ["weighted_difference", "adjusted_regression"], "weighted_difference": WEIGHTS}
    protocol = protocol_with("multiple_imputation", effects=effects)
    return study(tmp_path_factory.mktemp("unobserved"), protocol, tables), protocol


def test_imputations_are_weighed_each_by_itself_and_pooled(imputed: tuple[store.RunFolder, Any]) -> None:
    run, _ = imputed
    estimates = run.read(store.ESTIMATES)
    assert set(estimates["method"]) == {"weighted_difference", "adjusted_regression"}
    assert estimates["std_error"].is_finite().all()
    of_pairs = estimates.filter((pl.col("design") == "nearest_neighbour") & (pl.col("scale") == "risk_difference"))
    n_treated = dict(of_pairs.select("method", "n_treated").iter_rows())
    assert n_treated["weighted_difference"] > n_treated["adjusted_regression"]
    said = [note for note in run.read_json(store.EFFECT_NOTES) if note["note"].startswith(SAID)]
    assert [note["design"] for note in said] == ["propensity_weighting", "nearest_neighbour"]  # once, not COPIES times
    assert COPIES > 1
    assert all(note["note"].endswith("(in the first imputation)") for note in said)


def test_the_page_says_what_the_weights_assume(imputed: tuple[store.RunFolder, Any], tmp_path: Path) -> None:
    run, protocol = imputed
    render_report(run, tmp_path, protocol, FACTS)
    page = (tmp_path / store.REPORT).read_text()
    assert "For weighted difference people whose outcome was observed stand for those of their group" in page
    assert "Weights for outcomes not observed" in page
    assert "weights for the end of observation, or for outcomes not observed, they are among the people instead" in page
    assert "those observed weigh at most" in page
    plain = protocol_with("multiple_imputation", effects={"methods": ["weighted_difference"]})
    render_report(study(tmp_path / "plain", plain), tmp_path / "plain", plain, FACTS)
    page = (tmp_path / "plain" / store.REPORT).read_text()
    assert "outcomes not observed" not in page.lower()
