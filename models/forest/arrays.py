"""Turns a forest kept as plain arrays into effects and their intervals, without EconML.

Choice made: a forest's effect solves the average of its leaves' equations (Athey, Tibshirani & Wager 2019, Ann Stat
47:1148): mean jacobian × (effect, intercept) = mean moment. Variances come from little bags (ibid., section 4): trees
of one bag share a half-sample, bags do not, so the spread between bags less what the trees inside them explain is the
sampling error. The formulas, and the correction that keeps a variance positive, are those of EconML 0.17, whose
numbers are met to 1e-10.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import erfc

from models.results import BoolArray, FloatArray

ForestArrays = Mapping[str, NDArray[Any]]
"""A forest as plain arrays.

columns         (p,) names of the covariates
first_node      (trees,) where each tree's nodes begin in the arrays below
left, right     (nodes,) node numbers of the children within the tree, -1 in a leaf
feature         (nodes,) column asked about
threshold       (nodes,) left when the value is at most this
moment          (nodes, 2) mean of outcome residual × (treatment residual, 1) in a leaf's honest half
jacobian        (nodes, 2, 2) mean of (treatment residual, 1)(treatment residual, 1)'
bag_size        () trees of one little bag; bags follow each other
"""

SINGULAR = 1e-12
"""A mean jacobian whose determinant is below this share of its squared size is inverted as a pseudo-inverse."""


def save_trees(arrays: ForestArrays, path: Path) -> None:
    """Write a forest to an .npz file (no pickle inside; the same forest gives the same bytes)."""
    content: dict[str, Any] = dict(arrays)
    with open(path, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **content)


def predict_trees(arrays: ForestArrays, X: FloatArray) -> FloatArray:
    """(m,) effects for the (m, p) covariates of anybody, from the plain arrays alone.

    Raises ValueError when X has another number of columns or missing values.
    """
    return predict_bags(arrays, X)[0]


def predict_bags(arrays: ForestArrays, X: FloatArray, use: BoolArray | None = None) -> tuple[FloatArray, FloatArray]:
    """((m,) effects, (m,) their variances) from the bags that each row may use.

    use  (bags, m) which bags speak for which row (all when not given), for predictions out of bag

    A row without a bag has effect nan; a variance needs two bags. Raises ValueError when X has another number of
    columns or missing values.
    """
    forest = {name: np.asarray(arrays[name]) for name in arrays}
    if X.ndim != 2 or X.shape[1] != forest["columns"].size or not np.isfinite(X).all():
        raise ValueError(f"X must have {forest['columns'].size} columns and no missing values")
    bag_size = int(forest["bag_size"])
    n_bags = forest["first_node"].size // bag_size
    allowed = np.ones((n_bags, len(X)), dtype=np.bool_) if use is None else np.ascontiguousarray(use)
    tree_parts = ("first_node", "left", "right", "feature", "threshold", "moment", "jacobian")
    walk: Any = _walk
    walked = walk(*(forest[name] for name in tree_parts), np.ascontiguousarray(X, dtype=np.float64), allowed, bag_size)
    effect, used, mean, between, total = walked.T
    return effect, _variance(used, mean, between, total, bag_size)


def _variance(
    n_bags: FloatArray, mean: FloatArray, between: FloatArray, total: FloatArray, bag_size: int
) -> FloatArray:
    """Sampling variance from the mean, the mean square between bags and the mean square of all trees' errors. Where
    the difference would be negative, its expectation under a flat prior on positive numbers (as grf and EconML)."""
    if bag_size < 2:
        return np.full(len(mean), np.nan)
    raw = between - mean**2
    within = (total - between) / (bag_size - 1)
    naive = raw - within
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.maximum(raw, within) * np.sqrt(2.0 / n_bags)
        z = naive / np.clip(error, 1e-10, np.inf)
        density, above = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), 0.5 * erfc(-z / np.sqrt(2.0))
        variance = np.maximum(naive + error * density / above, 1e-32)
    return np.where(n_bags > 1, variance, np.nan)


@njit(cache=True, nogil=True)
def _walk(  # noqa: PLR0915 (one pass over a row, without calls in between)
    first_node: Any,
    left: Any,
    right: Any,
    feature: Any,
    threshold: Any,
    moment: Any,
    jacobian: Any,
    X: Any,
    allowed: Any,
    bag_size: int,
) -> Any:
    """(m, 5): effect; bags used; mean of the bags' errors, of their squares, of the trees' squares. A tree's error is
    the first component of inverse jacobian × (its jacobian × parameter - its moment)."""
    n_bags = allowed.shape[0]
    n_trees = n_bags * bag_size
    out = np.full((X.shape[0], 5), np.nan)
    leaf = np.empty(n_trees, dtype=np.int64)
    for row in range(X.shape[0]):
        a0 = a1 = j00 = j01 = j10 = j11 = 0.0
        used = 0
        for bag in range(n_bags):
            if not allowed[bag, row]:
                continue
            used += 1
            for tree in range(bag * bag_size, (bag + 1) * bag_size):
                first = first_node[tree]
                node = first
                while left[node] >= 0:
                    goes_left = X[row, feature[node]] <= threshold[node]
                    node = first + (left[node] if goes_left else right[node])
                leaf[tree] = node
                a0 += moment[node, 0]
                a1 += moment[node, 1]
                j00 += jacobian[node, 0, 0]
                j01 += jacobian[node, 0, 1]
                j10 += jacobian[node, 1, 0]
                j11 += jacobian[node, 1, 1]
        if used == 0:
            continue
        n = used * bag_size
        a0, a1, j00, j01, j10, j11 = a0 / n, a1 / n, j00 / n, j01 / n, j10 / n, j11 / n
        det = j00 * j11 - j01 * j10
        if abs(det) > SINGULAR * (j00 * j00 + j01 * j01 + j10 * j10 + j11 * j11):
            i00, i01, i10, i11 = j11 / det, -j01 / det, -j10 / det, j00 / det
        else:
            inverse = np.linalg.pinv(np.array([[j00, j01], [j10, j11]]))
            i00, i01, i10, i11 = inverse[0, 0], inverse[0, 1], inverse[1, 0], inverse[1, 1]
        effect, intercept = i00 * a0 + i01 * a1, i10 * a0 + i11 * a1
        mean = between = total = 0.0
        for bag in range(n_bags):
            if not allowed[bag, row]:
                continue
            of_bag = 0.0
            for tree in range(bag * bag_size, (bag + 1) * bag_size):
                node = leaf[tree]
                m0 = jacobian[node, 0, 0] * effect + jacobian[node, 0, 1] * intercept - moment[node, 0]
                m1 = jacobian[node, 1, 0] * effect + jacobian[node, 1, 1] * intercept - moment[node, 1]
                error = i00 * m0 + i01 * m1
                of_bag += error
                total += error * error
            of_bag /= bag_size
            mean += of_bag
            between += of_bag * of_bag
        out[row, 0] = effect
        out[row, 1] = used
        out[row, 2] = mean / used
        out[row, 3] = between / used
        out[row, 4] = total / n
    return out
