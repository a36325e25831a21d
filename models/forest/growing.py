"""Turns residuals into a forest of honest trees, grown by EconML little bag by little bag.

Choice made: EconML's CausalForest grows four trees at a time on a half-sample of clusters (persons, matched sets) that
is drawn here. EconML itself draws rows, so that a person's other discharge, or the control of a pair, would stand on
both sides of what it calls out of bag, and intervals would take them for strangers. Every bag leaves a whole fold of
clusters out, in turn, and draws its half from the others: still a half-sample, and each fold has bags that know nothing
of it. Bags have seeds of their own and are put together in their order, so that the number of threads cannot change a
digit.

Splits are EconML's own defaults: the criterion "mse", which takes the shares of the arms on either side of a split into
account where "het" has only the difference of the effects, and every covariate as a candidate: where few of many
covariates matter, a random part of them often holds none (grf draws about 20 + sqrt(p), which is faster). Others were
also tried on settings 1 and 2 of ACIC 2016, true effects in sight: those settings are no evidence for either choice.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from models.forest.arrays import ForestArrays, workers
from models.results import BoolArray, FloatArray, IntArray

BAG_SIZE = 4
"""Trees of one half-sample; EconML's own number."""
TREE_SHARE = 0.9
"""Of a half-sample, for one tree: EconML's 0.45 of all rows."""
FEWEST_BAGS = 2
"""Bags that leave out one fold: fewer have no variance."""


@dataclass(frozen=True)
class Grown:
    """A forest and who took no part in which bag.

    outside     (bags, m) the row's cluster is not in the half-sample
    other_fold  (bags, m) the row's whole fold is not in the half-sample
    importance  (bags, p) share of the heterogeneity along each covariate; zero where no tree has a split
    """

    arrays: ForestArrays
    outside: BoolArray
    other_fold: BoolArray
    importance: FloatArray


def check_trees(trees: int, folds: int) -> None:
    """Raises ValueError unless the trees come in whole bags, at least two of them a fold."""
    least = BAG_SIZE * FEWEST_BAGS * folds
    if trees < least or trees % BAG_SIZE:
        raise ValueError(f"trees must be a multiple of {BAG_SIZE}, at least {least} with {folds} folds, not {trees}")


def grow(
    x: FloatArray,
    treatment: FloatArray,
    outcome: FloatArray,
    *,
    columns: Sequence[str],
    treated: BoolArray,
    cluster: IntArray,
    fold: IntArray,
    trees: int,
    min_leaf: int,
    rng: Generator,
) -> Grown:
    """A forest on residuals.

    x                   (m, p) covariates
    treatment, outcome  (m,) residuals
    cluster, fold       (m,) independent units, and the fold each is in, from 0
    """
    n_bags, folds = trees // BAG_SIZE, int(fold.max()) + 1
    codes, member = np.unique(cluster, return_inverse=True)
    has_treated = np.bincount(member, weights=treated) > 0
    of_cluster = np.zeros(codes.size, dtype=np.int64)
    of_cluster[member] = fold
    halves = [_half_sample(of_cluster == bag % folds, has_treated, rng)[member] for bag in range(n_bags)]
    seeds = rng.integers(2**31 - 1, size=n_bags)

    def bag(number: int) -> Any:
        half = np.flatnonzero(halves[number])
        return _grow_bag(x[half], treatment[half], outcome[half], min_leaf, int(seeds[number]))

    with ThreadPoolExecutor(workers()) as pool:
        bags = list(pool.map(bag, range(n_bags)))
    with np.errstate(invalid="ignore"):  # trees without a split
        importance = np.array([np.nan_to_num(forest.feature_importances()) for forest in bags])
    return Grown(
        arrays=as_arrays([tree.tree_ for forest in bags for tree in forest.estimators_], columns, BAG_SIZE),
        outside=~np.array(halves),
        other_fold=np.arange(n_bags)[:, None] % folds == fold[None, :],
        importance=importance,
    )


def as_arrays(trees: Sequence[Any], columns: Sequence[str], bag_size: int) -> ForestArrays:
    """EconML's trees (their `tree_`) as models.forest.arrays.ForestArrays."""
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
        "bag_size": np.array(bag_size, dtype=np.int64),
    }


def _half_sample(left_out: BoolArray, has_treated: BoolArray, rng: Generator) -> BoolArray:
    """(clusters,) half of all clusters, none of those left out; clusters with a treated row are halved apart."""
    chosen = np.zeros(left_out.size, dtype=np.bool_)
    for stratum in (has_treated, ~has_treated):
        allowed = rng.permutation(np.flatnonzero(stratum & ~left_out))
        chosen[allowed[: (int(stratum.sum()) + 1) // 2]] = True
    return chosen


def _grow_bag(x: FloatArray, treatment: FloatArray, outcome: FloatArray, min_leaf: int, seed: int) -> Any:
    from econml.grf import CausalForest

    forest = CausalForest(
        n_estimators=BAG_SIZE,
        criterion="mse",
        min_samples_leaf=min_leaf,
        min_samples_split=2 * min_leaf,
        max_samples=TREE_SHARE,
        inference=False,
        n_jobs=1,
        random_state=seed,
    )
    return forest.fit(x, treatment, outcome)
