"""Partners at the same distance → whoever has the fewest of them: ties of full matching.

Where scores tie (few categories, whole years of age) countless covers have the least sum of distances, and among them
are sets of one control with all the treated of a cell, whose outcome would then count for all of theirs. Ties cost
nothing, so they are spread: first pairs, then one more to whoever has fewest.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.results import BoolArray, IntArray

Numbers = NDArray[np.int64] | NDArray[np.int32]


@njit(cache=True)
def pair_at_no_cost(start, member, saved, covered_seeker, covered_member):  # type: ignore[no-untyped-def]
    """Links between two who are not covered that cost as much as their two nearest partners together, one each; marks
    both as covered."""
    picked = []
    for i in range(start.size - 1):
        if covered_seeker[i]:
            continue
        for k in range(start[i], start[i + 1]):
            if saved[k] == 0 and not covered_member[member[k]]:
                covered_seeker[i], covered_member[member[k]] = True, True
                picked.append(k)
                break
    return np.array(picked, dtype=np.int64)


def spread(own: Numbers, other: Numbers, tied: NDArray[np.int64], waits: BoolArray, load: IntArray) -> IntArray:
    """One of the `tied` links (positions of links) for each who waits: to the partner with the smallest load, which
    grows by one; ties: the link that comes first.

    own, other  (links,) who chooses and whom, numbered from 0; load (others,) is changed
    """
    mine = tied[waits[own[tied]]]
    mine = mine[np.lexsort((mine, own[mine]))]
    start = np.searchsorted(own[mine], np.arange(len(waits) + 1)).astype(np.int64)
    return np.asarray(mine[_to_the_least(start, other[mine].astype(np.int64), load)], dtype=np.int64)


@njit(cache=True)
def _to_the_least(start, other, load):  # type: ignore[no-untyped-def]
    picked = []
    for i in range(start.size - 1):
        best = -1
        for k in range(start[i], start[i + 1]):
            if best < 0 or load[other[k]] < load[other[best]]:
                best = k
        if best >= 0:
            load[other[best]] += 1
            picked.append(best)
    return np.array(picked, dtype=np.int64)


def without_idle(used: IntArray, seat: Numbers, member: Numbers, n: int, n_pool: int) -> IntArray:
    """Links without those both of whose ends have others: they cost nothing, or the cover were not the cheapest."""
    of_seeker = np.bincount(seat[used], minlength=n)
    of_member = np.bincount(member[used], minlength=n_pool)
    kept = np.ones(len(used), dtype=np.bool_)
    for k in np.flatnonzero((of_seeker[seat[used]] > 1) & (of_member[member[used]] > 1)):
        s, m = seat[used[k]], member[used[k]]
        if of_seeker[s] > 1 and of_member[m] > 1:
            of_seeker[s] -= 1
            of_member[m] -= 1
            kept[k] = False
    return used[kept]


@njit(cache=True)
def even_out(start, other, cost, hub_of_leaf, number, fewest, most, may_receive):  # type: ignore[no-untyped-def]
    """Move leaves to hubs as near that have fewer leaves, until nobody's move makes two sets more alike. Changes
    hub_of_leaf and number.

    start, other, cost  links of the leaves, each one's by rising cost
    hub_of_leaf         (leaves,) the hub, -1 for who is no leaf; number (hubs,) leaves of each, `fewest` to `most`
    may_receive         (hubs,) whether another leaf leaves the set a star
    """
    moved = True
    while moved:
        moved = False
        for leaf in range(hub_of_leaf.size):
            hub, best, own_cost = hub_of_leaf[leaf], -1, -1
            if hub < 0 or number[hub] <= max(fewest, 1):
                continue
            for k in range(start[leaf], start[leaf + 1]):
                if other[k] == hub:
                    own_cost = cost[k]
                    break
            for k in range(start[leaf], start[leaf + 1]):
                to = other[k]
                if cost[k] == own_cost and may_receive[to] and number[to] < most and to != hub:
                    if best < 0 or number[to] < number[best]:
                        best = to
                elif cost[k] > own_cost:
                    break
            if best >= 0 and number[best] + 1 < number[hub]:
                hub_of_leaf[leaf], moved = best, True
                number[hub] -= 1
                number[best] += 1
