"""Fitted models become files that can be opened without running code: skops for scikit-learn, arrays for forests.

Every model has a card beside it: what it is, what it was fitted on, and what it must not be used for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import polars as pl

from models.results import Baseline, Propensity
from pipelines.model_bytes import model_bytes
from pipelines.store import write_bytes, write_json, write_parquet

TREES = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
MODELS_OF_SCORES = {
    "logistic": "logistic regression for the propensity score on standardised covariates",
    "logistic_by_stratum": "a logistic regression for each stratum, by the smallest code of its exact groups",
    "elastic_net": "logistic regression with an elastic-net penalty on standardised covariates",
    "boosting": "boosted trees, one classifier for each fold of persons; log-odds = intercept + slope × its log-odds",
}


def save_propensity(folder: Path, baseline: Baseline, propensity: Propensity | None) -> None:
    """Write propensity/propensity.skops and its model_card.json; nothing for a randomised contrast."""
    if propensity is None or propensity.model is None:
        return
    write_bytes(folder / "propensity" / "propensity.skops", model_bytes(propensity.model))
    card = {
        "model": MODELS_OF_SCORES[str(propensity.facts.get("score_model", "logistic"))],
        "made_by": dict(propensity.facts),
        "columns": list(baseline.columns),
        "n_rows": len(baseline.matrix),
        "calibration_gap": propensity.calibration_gap,
        "open_with": f"skops.io.load(path, trusted=['{TREES}']); columns in the order given here"
        if propensity.facts.get("score_model") == "boosting"
        else "skops.io.load (no untrusted types); columns in the order given here",
        "not_for": "predicting anything about a person; it describes who was in the trial",
    }
    write_json(folder / "propensity" / "model_card.json", card)


def save_forest(folder: Path, forest: Any, scores: pl.DataFrame, card: Mapping[str, Any]) -> None:
    """Write into the folder: trees.npz (models.forest.ForestArrays), scores.parquet, heterogeneity.json and
    model_card.json; `forest` as models.forest gives it, `scores` a row per person of the design."""
    from models.forest import save_trees

    path = folder / "trees.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_trees(forest.trees, path)
    write_parquet(path.with_name("scores.parquet"), scores)
    write_json(path.with_name("heterogeneity.json"), describe_heterogeneity(forest, card["columns"]))
    write_json(path.with_name("model_card.json"), dict(card))


def describe_heterogeneity(forest: Any, columns: Sequence[str]) -> dict[str, Any]:
    """models.forest.causal.Heterogeneity as plain numbers and texts; importance by covariate."""
    found = forest.heterogeneity
    importance = {
        name: {field.name: float(getattr(found.importance, field.name)[at]) for field in fields(found.importance)}
        for at, name in enumerate(columns)
    }
    parts = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "importance"}
    return {**{name: _plain(part) for name, part in parts.items()}, "importance": importance}


def _plain(part: Any) -> Any:
    if is_dataclass(part) and not isinstance(part, type):
        return {name: _plain(value) for name, value in asdict(part).items()}
    if isinstance(part, tuple | list):
        return [_plain(item) for item in part]
    return part
