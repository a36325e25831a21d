"""Turns residuals into a forest of honest trees, little bag by little bag.

Choice made: two trees at a time grow on a half-sample of clusters (persons, matched sets) that is drawn here. EconML
itself draws rows, so that a person's other discharge, or the control of a pair, would stand on both sides of what it
calls out of bag, and intervals would take them for strangers. Every bag leaves a whole fold of clusters out, in turn,
and draws its half from the others: still a half-sample, and each fold has bags that know nothing of it. Bags have seeds
of their own and are put together in their order, so that the number of threads cannot change a digit.

Trees are EconML's at its defaults: the criterion "mse", which takes the shares of the arms on either side of a split
into account where "het" has only the difference of the effects, and every covariate as a candidate: where few of many
covariates matter, a random part of them often holds none (in a simulated world with three of fifty that matter, errors
were a tenth larger with half of them as candidates and three quarters larger with seven). By default they are grown by
models/forest/trees.py, in an eighth of the time; "econml" lets EconML grow them from the same coded covariates.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.random import Generator

from models.forest.arrays import ForestArrays, workers
from models.forest.trees import Codes, encode, find_cuts, grow_tree
from models.results import BoolArray, FloatArray, IntArray

GrownBy = Literal["this_project", "econml"]
BAG_SIZE = 2
"""Trees of one half-sample: grf's number. EconML's four leave half as many half-samples; in simulated worlds 95 %
intervals then covered 3 to 7 points less where effects differ, at the same error (DECISIONS.md)."""
TREE_SHARE = 0.9
"""Of a half-sample, for one tree: EconML's 0.45 of all rows."""
FEWEST_BAGS = 4
"""Bags that leave out one fold: a variance needs two, and one of two is hardly one."""


class Tree(NamedTuple):
    """Nodes of one tree as models.forest.arrays.ForestArrays has those of all."""

    feature: Any
    threshold: Any
    left: Any
    right: Any
    moment: Any
    jacobian: Any


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
    """Raises ValueError unless the trees come in whole bags, at least four of them a fold."""
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
    grown_by: GrownBy = "this_project",
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

    cuts = find_cuts(x)
    coded, n_codes = encode(x, cuts), np.array([cut.size + 1 for cut in cuts])

    def bag(number: int) -> tuple[list[Tree], FloatArray]:
        half, seed = np.flatnonzero(halves[number]), int(seeds[number])
        if grown_by == "econml":
            return _grow_bag_by_econml(coded[half], treatment[half], outcome[half], min_leaf, seed)
        return _grow_bag(coded, n_codes, treatment, outcome, half, min_leaf, seed)

    with ThreadPoolExecutor(workers()) as pool:
        bags = list(pool.map(bag, range(n_bags)))
    return Grown(
        arrays=_join([_uncoded(tree, cuts) for trees, _ in bags for tree in trees], columns, BAG_SIZE),
        outside=~np.array(halves),
        other_fold=np.arange(n_bags)[:, None] % folds == fold[None, :],
        importance=np.array([importance for _, importance in bags]),
    )


def as_arrays(trees: Sequence[Any], columns: Sequence[str], bag_size: int) -> ForestArrays:
    """EconML's trees (their `tree_`) as models.forest.arrays.ForestArrays."""
    return _join([_from_econml(tree) for tree in trees], columns, bag_size)


def _from_econml(tree: Any) -> Tree:
    moment, jacobian = np.asarray(tree.precond).reshape(-1, 2), np.asarray(tree.jac).reshape(-1, 2, 2)
    return Tree(tree.feature, tree.threshold, tree.children_left, tree.children_right, moment, jacobian)


def _uncoded(tree: Tree, cuts: Sequence[FloatArray]) -> Tree:
    """The tree with questions about the covariates' own values instead of their codes."""
    threshold = np.array(tree.threshold, dtype=np.float64)
    for node in np.flatnonzero(tree.left >= 0):
        threshold[node] = cuts[tree.feature[node]][int(threshold[node])]
    return tree._replace(threshold=threshold)


def _join(trees: Sequence[Tree], columns: Sequence[str], bag_size: int) -> ForestArrays:
    n_nodes = np.array([len(tree.feature) for tree in trees])
    return {
        "columns": np.array(columns, dtype=np.str_),
        "first_node": np.concatenate([[0], np.cumsum(n_nodes)[:-1]]).astype(np.int64),
        "left": np.concatenate([tree.left for tree in trees]).astype(np.int32),
        "right": np.concatenate([tree.right for tree in trees]).astype(np.int32),
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        "moment": np.concatenate([tree.moment for tree in trees]),
        "jacobian": np.concatenate([tree.jacobian for tree in trees]),
        "bag_size": np.array(bag_size, dtype=np.int64),
    }


def _half_sample(left_out: BoolArray, has_treated: BoolArray, rng: Generator) -> BoolArray:
    """(clusters,) half of all clusters, none of those left out; clusters with a treated row are halved apart."""
    chosen = np.zeros(left_out.size, dtype=np.bool_)
    for stratum in (has_treated, ~has_treated):
        allowed = rng.permutation(np.flatnonzero(stratum & ~left_out))
        chosen[allowed[: (int(stratum.sum()) + 1) // 2]] = True
    return chosen


def _grow_bag(
    codes: Codes,
    n_codes: IntArray,
    treatment: FloatArray,
    outcome: FloatArray,
    half: IntArray,
    min_leaf: int,
    seed: int,
) -> tuple[list[Tree], FloatArray]:
    """The trees of one half-sample, and (p,) share of the heterogeneity along each covariate."""
    rng = np.random.default_rng(seed)
    codes, treatment, outcome = codes[half], treatment[half], outcome[half]
    trees, importance = [], np.zeros(n_codes.size)
    grow_one: Any = grow_tree
    for _ in range(BAG_SIZE):
        drawn = rng.permutation(half.size)[: int(TREE_SHARE * half.size)]
        middle = drawn.size // 2
        *parts, share = grow_one(codes, n_codes, treatment, outcome, drawn[:middle], drawn[middle:], min_leaf)
        trees.append(Tree(*parts))
        importance += share
    return trees, importance / max(float(importance.sum()), 1.0)


def _grow_bag_by_econml(
    codes: Codes, treatment: FloatArray, outcome: FloatArray, min_leaf: int, seed: int
) -> tuple[list[Tree], FloatArray]:
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
    ).fit(codes.astype(np.float64), treatment, outcome)
    with np.errstate(invalid="ignore"):  # trees without a split
        importance = np.nan_to_num(forest.feature_importances())
    return [_from_econml(tree.tree_) for tree in forest.estimators_], importance
