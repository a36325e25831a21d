"""Turns scores into a shallow tree that says who would be offered the treatment, and what such a rule would gain.

Choice made: the tree with the largest total gain of all trees of that depth, found by trying every pair of splits
(Zhou, Athey & Wager 2023, Oper Res 71:148), over at most CUTS cuts a covariate; leaves of fewer than a twentieth of the
rows are not allowed. What the rule gains is measured on folds that the tree did not see, on the doubly robust scores:
the value on the rows it was fitted to is always too good.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from models.forest.scores import EffectScores, project
from models.results import BoolArray, FloatArray, IntArray

CUTS = 15
SMALLEST_LEAF = 0.05
DEEPEST = 2


@dataclass(frozen=True)
class PolicyNode:
    """A leaf (`offer` says what it does) or a question; left when the covariate is at most `threshold`."""

    offer: bool | None
    n_treated: int
    n_control: int
    covariate: str = ""
    threshold: float = 0.0
    left: "PolicyNode | None" = None
    right: "PolicyNode | None" = None


@dataclass(frozen=True)
class Policy:
    """A rule and its worth, in units of the outcome a person of the estimand (gains are improvements).

    over_nobody, over_everybody  (value, lower, upper) of the rule against offering to nobody, to everybody; from trees
                                 that did not see the fold
    share_offered                of the people of the estimand, by the same trees
    """

    tree: PolicyNode
    over_nobody: tuple[float, float, float]
    over_everybody: tuple[float, float, float]
    share_offered: float


def find_policy(
    scores: EffectScores,
    x: FloatArray,
    columns: tuple[str, ...],
    fold: IntArray,
    *,
    sign: float,
    depth: int,
    confidence: float,
) -> Policy:
    """The best rule of the given depth (0, 1 or 2), judged across folds; sign is -1 where a lower outcome is better."""
    if not 0 <= depth <= DEEPEST:
        raise ValueError(f"policy_depth must be between 0 and {DEEPEST}, not {depth}")
    gain = scores.contribution * sign
    bins, cuts = _bin(x)
    everybody = np.arange(len(x))
    offered = np.zeros(len(x), dtype=np.bool_)
    for number in np.unique(fold):
        here = fold == number
        tree = _grow(bins, cuts, gain, everybody[~here], depth)
        offered[here] = _offers(tree, x[here])
    worth = []
    for baseline in (0.0, 1.0):
        moved = EffectScores(
            scores.count, gain * (offered - baseline), scores.stand_in_weight, scores.treated, scores.cluster
        )
        value = project(moved, np.ones((len(x), 1)), confidence)
        worth.append((float(value.value[0]), float(value.lower[0]), float(value.upper[0])))
    final = _named(_grow(bins, cuts, gain, everybody, depth), x, scores.treated, everybody, columns)
    return Policy(final, worth[0], worth[1], float(scores.count @ offered / scores.count.sum()))


Split = dict[str, Any]


def _bin(x: FloatArray) -> tuple[IntArray, list[FloatArray]]:
    """(m, p) number of cuts below each value, and the cuts: halfway between neighbouring values at even shares."""
    cuts = []
    for column in x.T:
        values = np.unique(column)
        middles = (values[1:] + values[:-1]) / 2
        if middles.size > CUTS:
            at = np.searchsorted(values, np.quantile(column, np.arange(1, CUTS + 1) / (CUTS + 1), method="lower"))
            middles = middles[np.unique(np.minimum(at, middles.size - 1))]
        cuts.append(middles)
    bins = np.column_stack([np.searchsorted(cut, column, side="left") for cut, column in zip(cuts, x.T, strict=True)])
    return bins.astype(np.int64), cuts


def _grow(bins: IntArray, cuts: list[FloatArray], gain: FloatArray, rows: IntArray, depth: int) -> Split:
    smallest = max(1, int(np.ceil(SMALLEST_LEAF * len(bins))))
    total = float(gain[rows].sum())
    leaf: Split = {"offer": total > 0}
    if depth == 0:
        return leaf
    n_cuts = np.array([len(cut) for cut in cuts])
    search = _best_pair if depth == 2 else _best_single
    value, feature, cut = search(bins[rows], gain[rows], n_cuts, smallest)
    if feature < 0 or value <= max(total, 0.0):
        return leaf
    goes_left = bins[rows, feature] <= cut
    left, right = (_grow(bins, cuts, gain, rows[side], depth - 1) for side in (goes_left, ~goes_left))
    if "feature" not in left and "feature" not in right and left["offer"] == right["offer"]:
        return leaf
    return {"feature": feature, "threshold": float(cuts[feature][cut]), "left": left, "right": right}


def _offers(tree: Split, x: FloatArray) -> BoolArray:
    if "feature" not in tree:
        return np.full(len(x), tree["offer"])
    left = x[:, tree["feature"]] <= tree["threshold"]
    return np.where(left, _offers(tree["left"], x), _offers(tree["right"], x))


def _named(tree: Split, x: FloatArray, treated: BoolArray, rows: IntArray, columns: tuple[str, ...]) -> PolicyNode:
    people = int(treated[rows].sum()), int((~treated[rows]).sum())
    if "feature" not in tree:
        return PolicyNode(tree["offer"], *people)
    left = x[rows, tree["feature"]] <= tree["threshold"]
    sides = (
        _named(tree[side], x, treated, rows[inside], columns) for side, inside in (("left", left), ("right", ~left))
    )
    return PolicyNode(None, *people, columns[tree["feature"]], tree["threshold"], *sides)


@njit(cache=True)
def _best_single(bins: Any, gain: Any, n_cuts: Any, smallest: int) -> Any:
    """(total gain, covariate, cut) of the best single split; covariate -1 when none is allowed."""
    sums, sizes = _histogram(bins, gain, n_cuts)
    return _best_of(sums, sizes, n_cuts, gain.sum(), len(gain), smallest)


@njit(cache=True)
def _best_pair(bins: Any, gain: Any, n_cuts: Any, smallest: int) -> Any:
    """(total gain, covariate, cut) of the first of two levels of splits, each side then split at its best."""
    n, p = bins.shape
    all_sums, all_sizes = _histogram(bins, gain, n_cuts)
    total = gain.sum()
    best_value, best_feature, best_cut = -np.inf, -1, -1
    for feature in range(p):
        sums, sizes = np.zeros_like(all_sums), np.zeros_like(all_sizes)
        order = np.argsort(bins[:, feature], kind="mergesort")
        at, left_total = 0, 0.0
        for cut in range(n_cuts[feature]):
            while at < n and bins[order[at], feature] <= cut:
                row = order[at]
                left_total += gain[row]
                for other in range(p):
                    sums[other, bins[row, other]] += gain[row]
                    sizes[other, bins[row, other]] += 1
                at += 1
            if at < smallest or n - at < smallest:
                continue
            left, _, _ = _best_of(sums, sizes, n_cuts, left_total, at, smallest)
            right, _, _ = _best_of(all_sums - sums, all_sizes - sizes, n_cuts, total - left_total, n - at, smallest)
            value = max(left, left_total, 0.0) + max(right, total - left_total, 0.0)
            if value > best_value + 1e-12 * (1 + abs(best_value)) or best_feature < 0:
                best_value, best_feature, best_cut = value, feature, cut
    return best_value, best_feature, best_cut


@njit(cache=True)
def _histogram(bins: Any, gain: Any, n_cuts: Any) -> Any:
    n, p = bins.shape
    sums = np.zeros((p, n_cuts.max() + 1))
    sizes = np.zeros((p, n_cuts.max() + 1), dtype=np.int64)
    for row in range(n):
        for feature in range(p):
            sums[feature, bins[row, feature]] += gain[row]
            sizes[feature, bins[row, feature]] += 1
    return sums, sizes


@njit(cache=True)
def _best_of(sums: Any, sizes: Any, n_cuts: Any, total: float, n: int, smallest: int) -> Any:
    best_value, best_feature, best_cut = -np.inf, -1, -1
    for feature in range(len(n_cuts)):
        gained, size = 0.0, 0
        for cut in range(n_cuts[feature]):
            gained += sums[feature, cut]
            size += sizes[feature, cut]
            if size < smallest or n - size < smallest:
                continue
            value = max(gained, 0.0) + max(total - gained, 0.0)
            if value > best_value + 1e-12 * (1 + abs(best_value)) or best_feature < 0:
                best_value, best_feature, best_cut = value, feature, cut
    return best_value, best_feature, best_cut
