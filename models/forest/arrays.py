"""Turns a forest kept as plain arrays into effects and their intervals, without EconML.

Choice made: a forest's effect solves the average of its leaves' equations (Athey, Tibshirani & Wager 2019, Ann Stat
47:1148): mean jacobian × (effect, intercept) = mean moment. Variances come from little bags (ibid., section 4): trees
of one bag share a half-sample, bags do not, so the spread between bags less what the trees inside them explain is the
sampling error. The formulas, and the correction that keeps a variance positive, are those of EconML 0.17, whose
numbers are met to 1e-10.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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

ROWS_AT_ONCE = 1_024
ROWS_TOGETHER = 256
"""Rows that go down a tree level by level, side by side: their covariates and the tree stay in the cache."""

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
    return _walk_all(arrays, X, None, with_errors=False)[0]


def predict_bags(arrays: ForestArrays, X: FloatArray, use: BoolArray | None = None) -> tuple[FloatArray, FloatArray]:
    """((m,) effects, (m,) their variances) from the bags that each row may use.

    use  (bags, m) which bags speak for which row (all when not given), for predictions out of bag

    A row without a bag has effect nan; a variance needs two bags. Raises ValueError when X has another number of
    columns or missing values.
    """
    effect, used, mean, between, total = _walk_all(arrays, X, use, with_errors=True)
    return effect, _variance(used, mean, between, total, int(np.asarray(arrays["bag_size"])))


def predict_effects(arrays: ForestArrays, X: FloatArray, use: BoolArray) -> FloatArray:
    """(m,) effects as `predict_bags` gives them, without their variances."""
    return _walk_all(arrays, X, use, with_errors=False)[0]


def _walk_all(arrays: ForestArrays, X: FloatArray, use: BoolArray | None, *, with_errors: bool) -> FloatArray:
    """(5, m) columns of `_walk` for every row."""
    forest = {name: np.asarray(arrays[name]) for name in arrays}
    if X.ndim != 2 or X.shape[1] != forest["columns"].size or not np.isfinite(X).all():
        raise ValueError(f"X must have {forest['columns'].size} columns and no missing values")
    bag_size = int(forest["bag_size"])
    allowed = np.ones((forest["first_node"].size // bag_size, len(X)), dtype=np.bool_) if use is None else use
    nodes = _linked_nodes(forest)
    walk: Any = _walk

    def block(first: int) -> FloatArray:
        chosen = slice(first, first + ROWS_AT_ONCE)
        rows = np.ascontiguousarray(X[chosen], dtype=np.float64)
        return np.asarray(walk(*nodes, rows, np.ascontiguousarray(allowed[:, chosen]), bag_size, with_errors))

    firsts = range(0, len(X), ROWS_AT_ONCE)
    if len(firsts) < 2:
        return block(0).T
    with ThreadPoolExecutor(workers()) as pool:
        return np.concatenate(list(pool.map(block, firsts))).T


def _linked_nodes(forest: ForestArrays) -> tuple[NDArray[Any], ...]:
    """The trees as `_walk` takes them: children numbered across the forest, one after the other, a leaf its own child;
    a leaf's moment and jacobian side by side. Numbers without a sign, since those with one are checked at every use."""
    left, first_node = forest["left"].astype(np.int64), forest["first_node"].astype(np.int64)
    is_inner = left >= 0
    first = np.repeat(first_node, np.diff(np.append(first_node, left.size)))
    child = np.column_stack([left, forest["right"]]) + first[:, None]
    child[~is_inner] = np.flatnonzero(~is_inner)[:, None]
    return (
        first_node.astype(np.uint32),
        np.where(is_inner, forest["feature"], 0).astype(np.uint32),
        forest["threshold"].astype(np.float64),
        child.astype(np.uint32).ravel(),
        is_inner.astype(np.uint32),
        np.column_stack([forest["moment"], forest["jacobian"].reshape(-1, 4)]).astype(np.float64),
    )


def workers() -> int:
    """Threads that grow or walk trees: the processors this process may use. They decide nothing but the time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
def _walk(
    first_node: Any,
    feature: Any,
    threshold: Any,
    child: Any,
    is_inner: Any,
    value: Any,
    X: Any,
    allowed: Any,
    bag_size: int,
    with_errors: bool,
) -> Any:
    """(m, 5): effect; bags used; mean of the bags' errors, of their squares, of the trees' squares (0 unless
    `with_errors`)."""
    n_trees, n_rows = len(first_node), len(X)
    out = np.full((n_rows, 5), np.nan)
    leaf = np.empty((n_trees if with_errors else 1, ROWS_TOGETHER), dtype=np.uint32)
    going, speaking = np.empty(ROWS_TOGETHER, dtype=np.uint32), np.empty(ROWS_TOGETHER, dtype=np.uint32)
    for start in range(0, n_rows, ROWS_TOGETHER):
        stop = min(start + ROWS_TOGETHER, n_rows)
        rows, here, found = X[start:stop], allowed[:, start:stop], out[start:stop]
        sums, bags = np.zeros((stop - start, 6)), np.zeros(stop - start, dtype=np.int64)
        n_speaking: Any = 0
        for tree in range(n_trees):
            bag = tree // bag_size
            if tree % bag_size == 0:
                n_speaking = 0
                for row in range(len(rows)):
                    speaking[n_speaking] = row
                    n_speaking += here[bag, row]
                    bags[row] += here[bag, row]
            at = leaf[tree if with_errors else 0]
            for number in range(n_speaking):
                going[number] = speaking[number]
                at[speaking[number]] = first_node[tree]
            _go_down(feature, threshold, child, is_inner, rows, at, going, n_speaking)
            for number in range(np.uint64(n_speaking)):
                row_number = np.uint64(speaking[number])
                node = np.uint64(at[row_number])
                for part in range(6):
                    sums[row_number, part] += value[node, part]
        solved = _solve(sums, bags * bag_size)
        for row in range(len(rows)):
            if bags[row] == 0:
                continue
            found[row] = 0.0
            found[row, 0], found[row, 1] = solved[row, 0], bags[row]
        if with_errors:
            _add_errors(value, leaf, solved, here, bag_size, found)
    return out


@njit(cache=True, nogil=True)
def _go_down(
    feature: Any, threshold: Any, child: Any, is_inner: Any, X: Any, at: Any, going: Any, n_going: Any
) -> None:
    """From the root to the leaf, all rows a level at a time: which side a row goes is added to a number, not jumped to,
    so that the processor never guesses and works on several rows at once. Rows in a leaf drop out of `going`."""
    while n_going > 0:
        still: Any = np.uint64(0)
        for number in range(np.uint64(n_going)):
            row = np.uint64(going[number])
            node = np.uint64(at[row])
            goes_right = np.uint64(X[row, np.uint64(feature[node])] > threshold[node])
            node = np.uint64(child[np.uint64(2) * node + goes_right])
            at[row] = node
            going[still] = row
            still += np.uint64(is_inner[node])
        n_going = still


@njit(cache=True, nogil=True)
def _solve(sums: Any, n_trees: Any) -> Any:
    """(m, 6): effect, intercept and the inverse jacobian of the mean equations."""
    solved = np.zeros((len(sums), 6))
    for row in range(len(sums)):
        n = n_trees[row]
        if n == 0:
            continue
        a0, a1, j00 = sums[row, 0] / n, sums[row, 1] / n, sums[row, 2] / n
        j01, j10, j11 = sums[row, 3] / n, sums[row, 4] / n, sums[row, 5] / n
        det = j00 * j11 - j01 * j10
        if abs(det) > SINGULAR * (j00 * j00 + j01 * j01 + j10 * j10 + j11 * j11):
            i00, i01, i10, i11 = j11 / det, -j01 / det, -j10 / det, j00 / det
        else:
            inverse = np.linalg.pinv(np.array([[j00, j01], [j10, j11]]))
            i00, i01, i10, i11 = inverse[0, 0], inverse[0, 1], inverse[1, 0], inverse[1, 1]
        solved[row, 0], solved[row, 1] = i00 * a0 + i01 * a1, i10 * a0 + i11 * a1
        solved[row, 2], solved[row, 3], solved[row, 4], solved[row, 5] = i00, i01, i10, i11
    return solved


@njit(cache=True, nogil=True)
def _add_errors(value: Any, leaf: Any, solved: Any, allowed: Any, bag_size: int, found: Any) -> None:
    """A tree's error is the first component of inverse jacobian × (its jacobian × parameter - its moment)."""
    of_bag = np.zeros(len(solved))
    for tree in range(len(leaf)):
        bag, is_last = tree // bag_size, tree % bag_size == bag_size - 1
        for row in range(len(solved)):
            if not allowed[bag, row]:
                continue
            node, effect, intercept = np.uint64(leaf[tree, row]), solved[row, 0], solved[row, 1]
            m0 = value[node, 2] * effect + value[node, 3] * intercept - value[node, 0]
            m1 = value[node, 4] * effect + value[node, 5] * intercept - value[node, 1]
            error = solved[row, 2] * m0 + solved[row, 3] * m1
            of_bag[row] += error
            found[row, 4] += error * error
            if is_last:
                mean = of_bag[row] / bag_size
                found[row, 2] += mean
                found[row, 3] += mean * mean
                of_bag[row] = 0.0
    for row in range(len(solved)):
        used = found[row, 1]
        if used > 0:
            found[row, 2] /= used
            found[row, 3] /= used
            found[row, 4] /= used * bag_size
