"""Turns outcomes and a designed sample into individual effects by a causal forest, and into the mean effect they imply.

Choice made: a forest of honest trees on residuals (Athey, Tibshirani & Wager 2019, Ann Stat 47:1148; EconML's
CausalForest grows it), where outcome and treatment residuals come from the same cross-fitted regressions as AIPW. The
mean effect has the ATT's own doubly robust score with out-of-bag effects, as grf's average_treatment_effect with
target "treated"; EconML's `att_` averages an ATE score, whose error grows with the pool when treatment is rare.
A forest cannot find effects among a handful of treated in a sea of controls: such a sample is refused.

Individual intervals are EconML's (bootstrap of little bags). They are pointwise, they know nothing of matched sets, and
smoothing makes them too short: nominal 95 % covered 0.71 to 0.83 of a linear effect and 0.83 to 0.99 of a constant one
(1,500 rows × 40 columns, 500 trees, two samples each). They describe a pattern; they decide nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from econml.grf import CausalForest
from numpy.random import Generator
from numpy.typing import NDArray

from models.contrasts import Kind, check_confidence, contrast_arms, outcome_in_design, scales_for
from models.cross_fitting import DIVISIONS
from models.doubly_robust import doubly_robust_means, largest_share
from models.influence import find_clusters
from models.nuisance import assign_folds, cross_predict, regression_columns, rows_in_order
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray, IntArray

SMALLEST_TREATED_SHARE = 0.02
"""Below this a leaf of five people holds no treated person nine times in ten."""

L2_PENALTY = 1.0
"""Of the cross-fitted regressions behind the residuals."""

ForestArrays = Mapping[str, NDArray[Any]]
"""A forest as plain arrays.

columns         (p,) names of the covariates
first_node      (trees,) where each tree's nodes begin in the arrays below
left, right     (nodes,) node numbers of the children within the tree, -1 in a leaf
feature         (nodes,) column asked about
threshold       (nodes,) left when the value is at most this
moment          (nodes, 2) mean of outcome residual × (treatment residual, 1) in a leaf's honest half
jacobian        (nodes, 2, 2) mean of (treatment residual, 1)(treatment residual, 1)'
"""


@dataclass(frozen=True)
class ForestResult:
    """What a causal forest says about the m rows of the designed sample (weight above 0), in the order of the rows.

    estimates   the mean effect in the estimand's population, like any effect method
    row_index   (m,) row numbers
    effect      (m,) individual effects, as risk differences or in units of the outcome; `lower`, `upper` pointwise
    importance  (p,) share of the heterogeneity found along each covariate (sums to 1, or all 0 with no split)
    trees       the forest, for predict_trees and save_trees
    """

    estimates: tuple[Estimate, ...]
    row_index: IntArray
    effect: FloatArray
    lower: FloatArray
    upper: FloatArray
    importance: FloatArray
    trees: ForestArrays


def causal_forest(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    trees: int = 500,
    min_leaf: int = 5,
    folds: int = 5,
) -> ForestResult:
    """Individual and mean effects by a causal forest on the rows with positive weight.

    outcome   (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    trees     number of trees, a multiple of 4 (bags of little bags); 500 take 8 s on 1,500 rows × 40 columns
    min_leaf  smallest number of people in a leaf, on each half of an honest tree
    folds     of the regressions that leave the residuals

    One thread and a seed from rng: the same rng gives the same bytes, in whatever order the rows come. The design's
    weights choose the rows and are not used otherwise. Raises ValueError when fewer than 2 % of the rows are treated,
    when an arm has fewer clusters than folds, and when the outcome is missing or not of its kind.
    """
    check_confidence(confidence)
    if trees < 4 or trees % 4:
        raise ValueError(f"trees must be a multiple of 4, not {trees}")
    values = outcome_in_design(outcome, design, kind)
    _refuse_rare_treatment(design)
    clusters, rows = find_clusters(baseline, design), rows_in_order(values, baseline, design)
    treated, y = design.treated[rows], values[rows]
    columns = regression_columns(baseline, rows)
    divisions = [assign_folds(clusters, rows, design.treated, folds, rng) for _ in range(DIVISIONS)]

    def predict(target: FloatArray, target_kind: Kind) -> FloatArray:
        everyone = np.ones_like(treated)
        each = [cross_predict(columns, target, everyone, fold, target_kind, L2_PENALTY) for fold in divisions]
        return np.asarray(np.mean(each, axis=0), dtype=np.float64)

    score, expected = predict(treated.astype(np.float64), "binary"), predict(y, kind)
    x = np.ascontiguousarray(baseline.matrix[rows])
    forest = _grow(x, treated - score, y - expected, trees, min_leaf, int(rng.integers(2**31 - 1)))
    estimates = _mean_effect(forest, x, y, treated, score, expected, baseline, design, rows, kind, confidence)
    effect, lower, upper = (side[:, 0] for side in forest.predict(x, interval=True, alpha=1 - confidence))
    back = np.argsort(rows)
    return ForestResult(
        estimates=estimates,
        row_index=rows[back],
        effect=effect[back],
        lower=lower[back],
        upper=upper[back],
        importance=np.asarray(forest.feature_importances_, dtype=np.float64),
        trees=_as_arrays(forest, baseline.columns),
    )


def save_trees(arrays: ForestArrays, path: Path) -> None:
    """Write a forest to an .npz file (no pickle inside; the same forest gives the same bytes)."""
    content: dict[str, Any] = dict(arrays)
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **content)


def predict_trees(arrays: ForestArrays, X: FloatArray) -> FloatArray:
    """(m,) individual effects for the (m, p) covariates of anybody, from the plain arrays alone.

    A forest's effect solves the average of the leaves' equations: mean jacobian × (effect, intercept) = mean moment.
    Raises ValueError when X has another number of columns or missing values.
    """
    forest = {name: np.asarray(arrays[name]) for name in arrays}
    if X.ndim != 2 or X.shape[1] != forest["columns"].size or not np.isfinite(X).all():
        raise ValueError(f"X must have {forest['columns'].size} columns and no missing values")
    moment, jacobian = np.zeros((len(X), 2)), np.zeros((len(X), 2, 2))
    for first in forest["first_node"]:
        leaf = _leaves(forest, int(first), X)
        moment += forest["moment"][leaf]
        jacobian += forest["jacobian"][leaf]
    n_trees = forest["first_node"].size
    effects = np.linalg.pinv(jacobian / n_trees) @ (moment / n_trees)[:, :, None]
    return np.asarray(effects[:, 0, 0], dtype=np.float64)


def _refuse_rare_treatment(design: Design) -> None:
    share = float(design.treated[design.weights > 0].mean())
    if share < SMALLEST_TREATED_SHARE:
        raise ValueError(
            f"a causal forest needs at least {SMALLEST_TREATED_SHARE:.0%} treated among the rows of the design: match "
            "or trim the controls first"
        )


def _grow(x: FloatArray, treatment: FloatArray, outcome: FloatArray, trees: int, min_leaf: int, seed: int) -> Any:
    """EconML's forest on residuals. One thread: another number of threads differs in the last digits."""
    forest = CausalForest(
        n_estimators=trees,
        criterion="het",
        min_samples_leaf=min_leaf,
        min_samples_split=2 * min_leaf,
        n_jobs=1,
        random_state=seed,
    )
    return forest.fit(x, treatment, outcome)


def _mean_effect(
    forest: Any,
    x: FloatArray,
    y: FloatArray,
    treated: BoolArray,
    score: FloatArray,
    expected: FloatArray,
    baseline: Baseline,
    design: Design,
    rows: IntArray,
    kind: Kind,
    confidence: float,
) -> tuple[Estimate, ...]:
    effect = np.asarray(forest.oob_predict(x)[:, 0], dtype=np.float64)
    if np.isnan(effect).any():
        raise ValueError("too few trees: some rows were used by every tree and have no out-of-bag effect")
    if_control = expected - score * effect
    means = doubly_robust_means(
        y, treated, score, if_control + effect, if_control, design.estimand, find_clusters(baseline, design), rows
    )
    return contrast_arms(
        means,
        design,
        method="causal_forest",
        scales=scales_for(kind, y, (means.treated, means.control)),
        confidence=confidence,
        notes={"max_control_weight_share": largest_share(means.control_weights)},
    )


def _as_arrays(forest: Any, columns: tuple[str, ...]) -> ForestArrays:
    trees = [estimator.tree_ for estimator in forest.estimators_]
    n_nodes = np.array([tree.node_count for tree in trees])
    return {
        "columns": np.array(columns, dtype=np.str_),
        "first_node": np.concatenate([[0], np.cumsum(n_nodes)[:-1]]).astype(np.int64),
        "left": np.concatenate([tree.children_left for tree in trees]).astype(np.int32),
        "right": np.concatenate([tree.children_right for tree in trees]).astype(np.int32),
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        "moment": np.concatenate([np.asarray(tree.precond).reshape(-1, 2) for tree in trees]),
        "jacobian": np.concatenate([np.asarray(tree.jac).reshape(-1, 2, 2) for tree in trees]),
    }


def _leaves(forest: ForestArrays, first: int, X: FloatArray) -> IntArray:
    """(m,) the node each row ends in, counted over the whole forest."""
    node = np.full(len(X), first, dtype=np.int64)
    going = np.arange(len(X))
    while True:
        going = going[forest["left"][node[going]] >= 0]
        if going.size == 0:
            return node
        here = node[going]
        goes_left = X[going, forest["feature"][here]] <= forest["threshold"][here]
        node[going] = first + np.where(goes_left, forest["left"][here], forest["right"][here])
