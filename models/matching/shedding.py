"""Leaves at their nearest hubs → no hub with more than it may have, at the smallest sum of costs.

Choice made: one leaf after the other goes along the cheapest chain of moves to a hub that has room (successive shortest
paths; Dijkstra's search with prices, among hubs only, since a leaf has one hub here).
"""

import numpy as np
from numba import njit

from models.matching.flow import BLOCK, FAR, pop, push


@njit(cache=True)
def blocks_of(start):  # type: ignore[no-untyped-def]
    """(rows + 1,) where each row's blocks of links begin. Prices of the others only fall while one side is searched, so
    the highest one in a block bounds it from then on, and most blocks are passed by."""
    first = np.zeros(start.size, dtype=np.int64)
    for i in range(start.size - 1):
        first[i + 1] = first[i] + (start[i + 1] - start[i] + BLOCK - 1) // BLOCK
    return first


@njit(cache=True)
def shed(h_start, l_start, l_other, l_cost, most):  # type: ignore[no-untyped-def]
    """(hub of each leaf, prices of hubs, of leaves): every leaf with one hub, no hub with more than `most`, at the
    smallest sum. Prices of hubs fall from 0, and only those that are full have one below."""
    n, n_leaves = h_start.size - 1, l_start.size - 1
    price, leaf_price = np.zeros(n, dtype=np.int64), np.empty(n_leaves, dtype=np.int64)
    owner, after, before = (
        np.empty(n_leaves, dtype=np.int64),
        np.empty(n_leaves, np.int64),
        np.empty(n_leaves, np.int64),
    )
    head, number = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for leaf in range(n_leaves):
        leaf_price[leaf] = l_cost[l_start[leaf]]
        best = -1
        for k in range(l_start[leaf], l_start[leaf + 1]):
            if l_cost[k] > leaf_price[leaf]:
                break
            if best < 0 or number[l_other[k]] < number[best]:  # of hubs as near, the one with the fewest leaves
                best = l_other[k]
        owner[leaf] = best
        _link(best, leaf, head, after, before, number)
    first_block = blocks_of(l_start)
    highest = np.zeros(first_block[n_leaves], dtype=np.int64)
    reached, came_by = np.full(n, FAR, dtype=np.int64), np.full(n, -1, dtype=np.int64)
    settled, touched = np.zeros(n, dtype=np.bool_), np.empty(n, dtype=np.int64)
    level = np.empty(n, dtype=np.int64)
    for first in range(n):
        while number[first] > most:
            end, length, n_touched = _chain_of_moves(
                first,
                most,
                (l_start, l_other, l_cost, first_block, highest),
                (price, leaf_price, head, after, number),
                (reached, came_by, settled, touched, level),
            )
            assert end >= 0
            for t in range(n_touched):
                hub = touched[t]
                if settled[hub]:
                    price[hub] -= length - reached[hub]
                    leaf = head[hub]
                    while leaf >= 0:
                        leaf_price[leaf] += length - reached[hub]
                        leaf = after[leaf]
                reached[hub], settled[hub] = FAR, False
            while end != first:
                leaf = came_by[end]
                giver = owner[leaf]
                _unlink(giver, leaf, head, after, before, number)
                _link(end, leaf, head, after, before, number)
                owner[leaf] = end
                end = giver
    return owner, price, leaf_price


@njit(cache=True)
def _link(hub, leaf, head, after, before, number):  # type: ignore[no-untyped-def]
    after[leaf], before[leaf] = head[hub], -1
    if head[hub] >= 0:
        before[head[hub]] = leaf
    head[hub] = leaf
    number[hub] += 1


@njit(cache=True)
def _unlink(hub, leaf, head, after, before, number):  # type: ignore[no-untyped-def]
    if before[leaf] >= 0:
        after[before[leaf]] = after[leaf]
    else:
        head[hub] = after[leaf]
    if after[leaf] >= 0:
        before[after[leaf]] = before[leaf]
    number[hub] -= 1


@njit(cache=True)
def _chain_of_moves(first, most, graph, state, search):  # type: ignore[no-untyped-def]
    """(end, length, hubs touched) of the cheapest chain by which a hub passes a leaf on until one has room."""
    l_start, l_other, l_cost, first_block, highest = graph
    price, leaf_price, head, after, number = state
    reached, came_by, settled, touched, level = search
    keys, nodes = np.empty(256, dtype=np.int64), np.empty(256, dtype=np.int64)
    touched[0], reached[first], n_touched, n_level, so_far = first, 0, 1, 0, 0
    keys, nodes, size = push(keys, nodes, 0, 0, first)
    end, length = -1, FAR
    while size > 0 or n_level > 0:
        if n_level > 0:  # who is reached at no cost comes first, the latest before all: where costs tie, this dives
            n_level -= 1
            hub = level[n_level]
        else:
            so_far, hub, size = pop(keys, nodes, size)
        if so_far >= length:
            break
        if settled[hub] or so_far > reached[hub]:
            continue
        settled[hub] = True
        leaf = head[hub]
        while leaf >= 0:
            base = so_far - leaf_price[leaf]
            for block in range(first_block[leaf], first_block[leaf + 1]):
                low = l_start[leaf] + (block - first_block[leaf]) * BLOCK
                if base + l_cost[low] >= length:
                    break  # prices of hubs are at most 0 and links lie by rising cost
                if base + l_cost[low] - highest[block] >= length:
                    continue
                highest[block] = -FAR
                for k in range(low, min(low + BLOCK, l_start[leaf + 1])):
                    to = l_other[k]
                    highest[block] = max(highest[block], price[to])
                    onward = base + l_cost[k] - price[to]
                    if onward >= length or onward >= reached[to]:
                        continue
                    if reached[to] == FAR:
                        touched[n_touched] = to
                        n_touched += 1
                    reached[to], came_by[to] = onward, leaf
                    if number[to] < most:
                        end, length = to, onward
                    elif onward == so_far:
                        level[n_level] = to
                        n_level += 1
                    else:
                        keys, nodes, size = push(keys, nodes, size, onward, to)
            leaf = after[leaf]
    return end, length, n_touched
