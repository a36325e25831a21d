"""What a causal forest leaves beside its estimates: effects of persons, trees, what differences are worth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from models.results import Baseline, Estimate
from pipelines import store
from pipelines.artefacts import describe_heterogeneity, save_forest
from pipelines.estimate.collected import AcceptedDesign, Results

NOT_FOR = (
    "deciding about one person: the intervals of individual effects are pointwise and too short (nominal 95 % covered "
    "41 % (500 people) to 92 % (4,800) of effects that differ, in simulations), and nobody's own effect can be seen"
)
OPEN_WITH = {
    "trees.npz": "models.forest.predict_trees(numpy.load(path), X): effects for rows with these columns",
    "scores.parquet": "the doubly robust scores: the effect in any group is sum(contribution) / sum(count)",
    "heterogeneity.json": "subgroups, projection, ranking (RATE), importance, policy tree; before disclosure control",
}


def keep_forest(
    forest: Any,
    accepted: AcceptedDesign,
    outcome: str,
    baseline: Baseline,
    observed_ids: pl.Series,
    options: dict[str, Any],
    results: Results,
    out: Path,
    name: str = "causal_forest",
) -> tuple[Estimate, ...]:
    """Save what a forest found; give back its estimates. `forest` as models.forest gives it; `observed_ids` the row
    ids of the rows it was given, `name` the folder. The report shows the causal forest's differences between people."""
    forest = _with_names_of_reference_levels(forest, accepted)
    row_id = observed_ids.gather(forest.row_index)
    individual = pl.DataFrame({"row_id": row_id, "effect": forest.effect, "lower": forest.lower, "upper": forest.upper})
    scores = individual.with_columns(
        **{
            "treated": pl.Series(forest.scores.treated),
            "cluster": pl.Series(forest.scores.cluster),
            "count": pl.Series(forest.scores.count),
            "contribution": pl.Series(forest.scores.contribution),
            "stand_in_weight": pl.Series(forest.scores.stand_in_weight),
            "effect_out_of_fold": pl.Series(forest.out_of_fold),
        }
    )
    card = {
        "model": "causal forest (EconML's trees) on the designed sample, cross-fitted nuisances",
        "outcome": outcome,
        "estimand": accepted.design.estimand,
        "columns": list(baseline.columns),
        "settings": options,
        "open_with": OPEN_WITH,
        "not_for": NOT_FOR,
    }
    save_forest(out / store.MODELS / accepted.contrast.name / accepted.name / name, forest, scores, card)
    if name != "causal_forest":
        return tuple(forest.estimates)
    results.individual = individual
    results.heterogeneity = {
        "contrast": accepted.contrast.name,
        "design": accepted.name,
        "outcome": outcome,
        "scale": forest.estimates[0].scale,
        "settings": options,
        **describe_heterogeneity(forest, baseline.columns),
    }
    return tuple(forest.estimates)


def _with_names_of_reference_levels(forest: Any, accepted: AcceptedDesign) -> Any:
    """The commonest level of a category has no column, so the forest does not know what it is called."""
    from models.forest.subgroups import REFERENCE

    def named(subgroup: str) -> str:
        covariate, _, level = subgroup.partition(" = ")
        return f"{covariate} = {accepted.reference_levels.get(covariate, level)}" if level == REFERENCE else subgroup

    found = forest.heterogeneity
    groups = tuple(replace(group, name=named(group.name)) for group in found.groups)
    estimates = tuple(replace(estimate, subgroup=named(estimate.subgroup)) for estimate in forest.estimates)
    return replace(forest, estimates=estimates, heterogeneity=replace(found, groups=groups))
