"""Turns a half-sample of residuals into honest trees: EconML's, found from sums over coded covariates.

Choice made: the tree is the one EconML 0.17 grows by its criterion "mse" (a test holds them together, node by node). A
split is the one after which (treatment residual, 1) explains most of the outcome residual, fitted on either side by
itself: the gain is the sum over the sides of moment' jacobian^-1 moment. Nothing but six sums a side enters it, so
covariates are coded by at most CUTS cuts and the sums collected code by code, as in gradient boosting on histograms (Ke
et al. 2017, NeurIPS 30: LightGBM), where EconML sorts both halves of the node along every covariate. One half of the
people chooses the splits, the other makes the effects (honesty: Athey & Imbens 2016, PNAS 113:7353), and either has its
smallest leaf and at least a twentieth of the node on each side.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.results import FloatArray

CUTS = 64
"""Of a covariate, at even shares of the people: in simulated worlds (bench/forest_worlds.py) errors with 64 are those
with every value a cut, with 16 they are a fifteenth larger."""

SMALLEST_SIDE = 0.5 - 0.45
"""Share of a node on either side of a split: EconML's min_balancedness_tol."""

SMALLEST_DETERMINANT = 1e-6
"""Of a jacobian's sums; EconML's."""

IMPORTANCE_DEPTH = 4
"""Splits further down say nothing about what matters; above, they count by 1 / (1 + depth)²: EconML's."""

Codes = NDArray[np.uint8]


def find_cuts(x: FloatArray, most: int = CUTS) -> list[FloatArray]:
    """For each of the p columns the cuts between its values, halfway: all of them, or `most` at even shares."""
    cuts = []
    for column in x.T:
        values = np.unique(column)
        middles = (values[1:] + values[:-1]) / 2
        if middles.size > most:
            shares = np.quantile(column, np.arange(1, most + 1) / (most + 1), method="lower")
            middles = middles[np.unique(np.minimum(np.searchsorted(values, shares), middles.size - 1))]
        cuts.append(middles)
    return cuts


def encode(x: FloatArray, cuts: Sequence[FloatArray]) -> Codes:
    """(m, p) number of cuts below each value: a value is at most cut k where its code is at most k."""
    columns = [np.searchsorted(cut, column, side="left") for cut, column in zip(cuts, x.T, strict=True)]
    return np.ascontiguousarray(np.column_stack(columns).astype(np.uint8))


@njit(cache=True, nogil=True)
def grow_tree(codes: Any, n_codes: Any, treatment: Any, outcome: Any, train: Any, held: Any, min_leaf: int) -> Any:
    """One honest tree, nodes numbered from the root, left before right.

    codes               (m, p) coded covariates
    n_codes             (p,) codes of each
    treatment, outcome  (m,) residuals
    train, held         rows that choose the splits, rows that make the effects

    (feature, threshold as a code, left, right, moment, jacobian, share of the heterogeneity along each covariate)
    """
    train, held = train.copy(), held.copy()
    most = 2 * (len(train) // min_leaf) + 1
    feature, threshold = np.full(most, -2, dtype=np.int32), np.full(most, -2.0)
    left, right = np.full(most, -1, dtype=np.int32), np.full(most, -1, dtype=np.int32)
    moment, jacobian, size = np.zeros((most, 2)), np.zeros((most, 2, 2)), np.zeros(most)
    depth = np.zeros(most, dtype=np.int64)
    sums = np.zeros((codes.shape[1], n_codes.max(), 6))
    waiting = np.zeros((most + 1, 6), dtype=np.int64)
    waiting[0] = np.array([0, len(train), 0, len(held), -1, 0])
    n_waiting, n_nodes = 1, 0
    while n_waiting > 0:
        n_waiting -= 1
        start, end, start_held, end_held, parent, is_left = waiting[n_waiting]
        node = n_nodes
        n_nodes += 1
        if parent >= 0:
            depth[node] = depth[parent] + 1
            if is_left == 1:
                left[parent] = node
            else:
                right[parent] = node
        size[node] = end_held - start_held
        _fill_node(treatment, outcome, held[start_held:end_held], moment[node], jacobian[node])
        if min(end - start, end_held - start_held) < 2 * min_leaf:
            continue
        best, cut = _best_split(
            codes, n_codes, treatment, outcome, train[start:end], held[start_held:end_held], min_leaf, sums
        )
        if best < 0:
            continue
        feature[node], threshold[node] = best, cut
        middle = start + _part(codes, best, cut, train[start:end])
        middle_held = start_held + _part(codes, best, cut, held[start_held:end_held])
        waiting[n_waiting] = np.array([middle, end, middle_held, end_held, node, 0])
        waiting[n_waiting + 1] = np.array([start, middle, start_held, middle_held, node, 1])
        n_waiting += 2
    importance = _importance(feature[:n_nodes], left, right, moment, jacobian, size, depth, codes.shape[1])
    return (
        feature[:n_nodes], threshold[:n_nodes], left[:n_nodes], right[:n_nodes], moment[:n_nodes],
        jacobian[:n_nodes], importance,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _fill_node(treatment: Any, outcome: Any, held: Any, moment: Any, jacobian: Any) -> None:
    for row in held:
        t, y = treatment[row], outcome[row]
        moment[0] += t * y
        moment[1] += y
        jacobian[0, 0] += t * t
        jacobian[0, 1] += t
    n = len(held)
    moment /= n
    jacobian[0] /= n
    jacobian[1, 0], jacobian[1, 1] = jacobian[0, 1], 1.0


@njit(cache=True, nogil=True)
def _best_split(
    codes: Any, n_codes: Any, treatment: Any, outcome: Any, train: Any, held: Any, min_leaf: int, sums: Any
) -> Any:
    """(covariate, code that still goes left), -1 when no split is allowed. `sums` holds zeros before and after."""
    p = codes.shape[1]
    whole = np.zeros(6)
    for row in train:
        t, y = treatment[row], outcome[row]
        tt, ty = t * t, t * y
        whole += np.array([1.0, t, tt, ty, y, 0.0])
        for column in range(p):
            of_code = sums[column, codes[row, column]]
            of_code[0] += 1.0
            of_code[1] += t
            of_code[2] += tt
            of_code[3] += ty
            of_code[4] += y
    for row in held:
        for column in range(p):
            sums[column, codes[row, column], 5] += 1.0
    whole[5] = len(held)
    best_gain, best, best_cut = -np.inf, -1, -1
    for column in range(p):
        gain, cut = _best_cut(sums[column, : n_codes[column]], whole, min_leaf)
        if gain > best_gain:
            best_gain, best, best_cut = gain, column, cut
    return best, best_cut


@njit(cache=True, nogil=True)
def _best_cut(sums: Any, whole: Any, min_leaf: int) -> Any:
    """(gain, code that still goes left) of the best cut along one covariate; cuts lie halfway between the codes that
    the choosing half has. Leaves zeros behind."""
    n, n_held = whole[0], whole[5]
    least, least_held = max(min_leaf, np.floor(SMALLEST_SIDE * n)), max(min_leaf, SMALLEST_SIDE * n_held)
    least_right = max(min_leaf, SMALLEST_SIDE * n)
    below = np.zeros(6)
    best_gain, best_cut, last, next_held = -np.inf, -1, -1, 0
    for code in range(len(sums)):
        if sums[code, 0] == 0:
            continue
        if last >= 0:
            cut = (last + code) // 2
            while next_held <= cut:
                below[5] += sums[next_held, 5]
                next_held += 1
            if (
                below[0] >= least
                and n - below[0] >= least_right
                and below[5] >= least_held
                and n_held - below[5] >= least_held
            ):
                gain = _explained(
                    below[0], below[1], below[2], below[3], below[4]
                ) + _explained(
                    n - below[0], whole[1] - below[1], whole[2] - below[2], whole[3] - below[3], whole[4] - below[4]
                )  # fmt: skip
                if gain > best_gain:
                    best_gain, best_cut = gain, cut
        for part in range(5):
            below[part] += sums[code, part]
        last = code
    sums[:] = 0.0
    return best_gain, best_cut


@njit(cache=True, nogil=True)
def _explained(n: float, t: float, tt: float, ty: float, y: float) -> float:
    """Of the sum of squares of the outcome residual, by effect × treatment residual + intercept."""
    det = tt * n - t * t
    if abs(det) < SMALLEST_DETERMINANT:
        det = SMALLEST_DETERMINANT
    effect, intercept = (n * ty - t * y) / det, (tt * y - t * ty) / det
    return effect * effect * tt + 2 * effect * intercept * t + intercept * intercept * n


@njit(cache=True, nogil=True)
def _part(codes: Any, column: int, cut: int, rows: Any) -> int:
    """Order `rows` so that those who go left come first; their number."""
    first, last = 0, len(rows)
    while first < last:
        if codes[rows[first], column] <= cut:
            first += 1
        else:
            last -= 1
            rows[first], rows[last] = rows[last], rows[first]
    return first


@njit(cache=True, nogil=True)
def _importance(feature: Any, left: Any, right: Any, moment: Any, jacobian: Any, size: Any, depth: Any, p: int) -> Any:
    """(p,) squared differences of the children's effects, weighted by people and depth; sums to 1, or all 0."""
    found = np.zeros(p)
    for node in range(len(feature)):
        if left[node] < 0 or depth[node] > IMPORTANCE_DEPTH:
            continue
        one, other = left[node], right[node]
        difference = _effect(moment[one], jacobian[one]) - _effect(moment[other], jacobian[other])
        found[feature[node]] += size[one] * size[other] / size[node] * (difference / (1 + depth[node])) ** 2
    total = found.sum()
    return found / total if total > 0 else found


@njit(cache=True, nogil=True)
def _effect(moment: Any, jacobian: Any) -> float:
    det = jacobian[0, 0] * jacobian[1, 1] - jacobian[0, 1] * jacobian[1, 0]
    if abs(det) < SMALLEST_DETERMINANT:
        det = SMALLEST_DETERMINANT
    return (jacobian[1, 1] * moment[0] - jacobian[0, 1] * moment[1]) / det
