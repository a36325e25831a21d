"""Allowed pairs and how many partners each row may have → the cheapest choice of pairs within these numbers, proven.

Choice made: minimum-cost flow by successive shortest paths from a start whose prices are already right (Hansen &
Klopfer 2006, J Comput Graph Stat 15:609, state full matching as such a flow;
Ahuja, Magnanti & Orlin 1993, Network Flows, 9.7).
One arm are hubs, the other leaves. Each leaf starts at its nearest hub, the cheapest thing it can do; hubs with too
many leaves shed them (`shedding.py`), then hubs with too few draw some in (`drawing.py`). Whole numbers throughout: the
prices prove the answer optimal without a tolerance.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.matching.drawing import draw_in
from models.matching.shedding import shed
from models.results import IntArray


class Side(NamedTuple):
    """One arm's allowed partners in compressed rows, those of each row by rising cost."""

    start: NDArray[np.int64]
    other: NDArray[np.int32]
    cost: NDArray[np.int64]


def turned(side: Side, n_others: int) -> Side:
    """The same pairs as the other arm sees them; equal costs in the order of the rows."""
    return Side(*_turned(side.start, side.other, side.cost, n_others))


def cheapest_within(hubs: Side, leaves: Side, fewest: int, most: int, most_of_leaf: int) -> tuple[IntArray, IntArray]:
    """(hubs, leaves) of the pairs with the smallest sum of costs in which every hub has `fewest` to `most` leaves and
    every leaf 1 to `most_of_leaf` hubs. Everybody must have a link, and there must be such a choice
    (`set_sizes.unplaced`)."""
    owner, hub_price, leaf_price = shed(hubs.start, *leaves, most)
    hub, leaf = draw_in(*hubs, *leaves, owner, hub_price, leaf_price, (fewest, most_of_leaf))
    numbers = [(hub, hub_price, fewest, most), (leaf, leaf_price, 1, most_of_leaf)]
    assert all(_prices_fit(*each) for each in numbers), "the prices do not prove the pairs cheapest"
    assert _is_optimal(hubs, positions(hubs, hub, leaf), hub_price, leaf_price), "the pairs are not proven cheapest"
    return hub, leaf


def positions(side: Side, row: IntArray, other: IntArray) -> IntArray:
    """Where in the links of a side the pairs (row, other) stand, in rising order."""
    order = np.argsort(row, kind="stable")
    begin = np.searchsorted(row[order], np.arange(len(side.start))).astype(np.int64)
    n_others = int(side.other.max()) + 1 if len(side.other) else 0
    return np.asarray(_positions(side.start, side.other, begin, other[order], n_others), dtype=np.int64)


def _is_optimal(hubs: Side, chosen: IntArray, hub_price: IntArray, leaf_price: IntArray) -> bool:
    """Complementary slackness: a pair not chosen costs at least the sum of both prices, a chosen one at most."""
    hub = np.repeat(np.arange(len(hub_price), dtype=np.int32), np.diff(hubs.start))
    reduced = hubs.cost - hub_price[hub] - leaf_price[hubs.other]
    is_chosen = np.zeros(len(reduced), dtype=np.bool_)
    is_chosen[chosen] = True
    return bool((reduced[is_chosen] <= 0).all() and (reduced[~is_chosen] >= 0).all())


def _prices_fit(end: IntArray, price: IntArray, fewest: int, most: int) -> bool:
    """Everybody has `fewest` to `most` partners: the fewest where the price is above 0, the most where below."""
    number = np.bincount(end, minlength=len(price))
    within = (number >= fewest) & (number <= most)
    return bool((within & ((price <= 0) | (number == fewest)) & ((price >= 0) | (number == most))).all())


@njit(cache=True)
def _positions(start, other, begin, wanted, n_others):  # type: ignore[no-untyped-def]
    marked = np.full(n_others, -1, dtype=np.int64)
    found = np.empty(wanted.size, dtype=np.int64)
    n_found = 0
    for i in range(start.size - 1):
        for w in range(begin[i], begin[i + 1]):
            marked[wanted[w]] = i
        for k in range(start[i], start[i + 1]):
            if marked[other[k]] == i:
                found[n_found] = k
                n_found += 1
    assert n_found == wanted.size
    return found


@njit(cache=True)
def _turned(start, other, cost, n_others):  # type: ignore[no-untyped-def]
    begin = np.zeros(n_others + 1, dtype=np.int64)
    for k in range(other.size):
        begin[other[k] + 1] += 1
    for j in range(n_others):
        begin[j + 1] += begin[j]
    at = begin[:-1].copy()
    back, costs = np.empty(other.size, dtype=np.int32), np.empty(other.size, dtype=np.int64)
    for i in range(start.size - 1):
        for k in range(start[i], start[i + 1]):
            j = other[k]
            back[at[j]], costs[at[j]] = i, cost[k]
            at[j] += 1
    for j in range(n_others):
        low, high = begin[j], begin[j + 1]
        order = np.argsort(costs[low:high], kind="mergesort")
        back[low:high], costs[low:high] = back[low:high][order], costs[low:high][order]
    return begin, back, costs
