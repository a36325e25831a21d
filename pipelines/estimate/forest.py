"""What a causal forest leaves beside its estimates: each person's effect, and its trees with a card."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models.results import Baseline
from pipelines import store
from pipelines.artefacts import save_forest
from pipelines.estimate.collected import AcceptedDesign, Results


def keep_forest(
    forest: Any,
    accepted: AcceptedDesign,
    outcome: str,
    baseline: Baseline,
    observed_ids: pl.Series,
    options: dict[str, Any],
    results: Results,
    out: Path,
) -> None:
    """`forest` as models.forest gives it; `observed_ids` the row ids of the rows it was given."""
    results.individual = pl.DataFrame(
        {
            "row_id": observed_ids.gather(forest.row_index),
            "effect": forest.effect,
            "lower": forest.lower,
            "upper": forest.upper,
        }
    )
    card = {
        "model": "EconML causal forest on the designed sample, cross-fitted nuisances",
        "outcome": outcome,
        "columns": list(baseline.columns),
        "importance": dict(zip(baseline.columns, np.asarray(forest.importance).tolist(), strict=True)),
        "settings": options,
        "open_with": "models.forest.predict_trees(numpy.load(path), X): effects for rows with these columns",
        "not_for": "deciding about one person; the intervals are pointwise",
    }
    folder = out / store.MODELS / accepted.contrast.name / accepted.name
    save_forest(folder, forest.trees, card)
