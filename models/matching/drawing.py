"""Leaves at hubs → every hub with the fewest it may have, at the smallest sum of costs.

Choice made: a hub gets one leaf after the other along the cheapest chain of exchanges (successive shortest paths;
Dijkstra's search with prices), which ends at a leaf that may have one more hub or at a hub that can spare a leaf.
"""

import numpy as np
from numba import njit

from models.matching.flow import BLOCK, FAR, pop, push
from models.matching.shedding import blocks_of


@njit(cache=True)
def draw_in(h_start, h_other, h_cost, l_start, l_other, l_cost, owner, price, leaf_price, numbers):  # type: ignore[no-untyped-def]
    """(hubs, leaves) of the pairs once every hub has its fewest; prices are changed in place: those of hubs rise, those
    of leaves fall.

    Nodes of the search: hubs 0 to n - 1, leaves n to n + n_leaves - 1. A pair in force sits in a place of a list by
    leaf.
    """
    fewest = numbers[0]
    n, n_leaves = h_start.size - 1, l_start.size - 1
    number, number_of_leaf = np.zeros(n, dtype=np.int64), np.ones(n_leaves, dtype=np.int64)
    for leaf in range(n_leaves):
        number[owner[leaf]] += 1
    held_hub, held_cost, head, after = _held(l_start, l_other, l_cost, owner, number, fewest)
    n_places = n_leaves
    first_block = blocks_of(h_start)
    highest = np.full(first_block[n], FAR, dtype=np.int64)
    ceiling = leaf_price.max() if n_leaves else 0
    search = (
        np.full(n + n_leaves, FAR, dtype=np.int64),
        np.zeros(n + n_leaves, dtype=np.bool_),
        np.empty(n + n_leaves, dtype=np.int64),
        np.full(n_leaves, -1, dtype=np.int64),  # the hub by which the search came to a leaf
        np.zeros(n_leaves, dtype=np.int64),  # at what cost
        np.full(n, -1, dtype=np.int64),  # the leaf by which it came to a hub
        np.full(n, -1, dtype=np.int64),  # and the place of that pair
    )
    reached, settled, touched, came_from, came_at, lost_leaf, lost_place = search
    for first in range(n):
        while number[first] < fewest:
            end, length, n_touched = _chain_of_draws(
                first,
                numbers,
                (h_start, h_other, h_cost, first_block, highest, ceiling),
                (price, leaf_price, number, number_of_leaf, held_hub, held_cost, head, after),
                search,
            )
            assert end >= 0
            for t in range(n_touched):
                node = touched[t]
                if settled[node]:
                    if node < n:
                        price[node] += length - reached[node]
                    else:
                        leaf_price[node - n] -= length - reached[node]
                reached[node], settled[node] = FAR, False
            number[first] += 1
            if end < n:
                number[end] -= 1
                leaf = lost_leaf[end]
                place = lost_place[end]
            else:
                leaf = end - n
                number_of_leaf[leaf] += 1
                place, n_places = n_places, n_places + 1
                after[place], head[leaf] = head[leaf], place
            while True:
                # The leaf gives up the hub of this place (or nobody) for the one by which the search came to it.
                hub = came_from[leaf]
                held_hub[place], held_cost[place] = hub, came_at[leaf]
                if hub == first:
                    break
                leaf, place = lost_leaf[hub], lost_place[hub]
    return _pairs_held(n_places, held_hub, head, after)


@njit(cache=True)
def _held(l_start, l_other, l_cost, owner, number, fewest):  # type: ignore[no-untyped-def]
    """(hub, cost) of the pair in each place, (first place, next place) of each leaf's list, with room for all pairs
    that hubs below their fewest may add."""
    n_leaves = owner.size
    room = n_leaves + np.maximum(fewest - number, 0).sum()
    held_hub, held_cost = np.full(room, -1, dtype=np.int64), np.zeros(room, dtype=np.int64)
    head, after = np.arange(n_leaves), np.full(room, -1, dtype=np.int64)
    for leaf in range(n_leaves):
        held_hub[leaf] = owner[leaf]
        for k in range(l_start[leaf], l_start[leaf + 1]):
            if l_other[k] == owner[leaf]:
                held_cost[leaf] = l_cost[k]
                break
    return held_hub, held_cost, head, after


@njit(cache=True)
def _pairs_held(n_places, held_hub, head, after):  # type: ignore[no-untyped-def]
    hubs, leaves = np.empty(n_places, dtype=np.int64), np.empty(n_places, dtype=np.int64)
    k = 0
    for leaf in range(head.size):
        place = head[leaf]
        while place >= 0:
            hubs[k], leaves[k] = held_hub[place], leaf
            k += 1
            place = after[place]
    return hubs, leaves


@njit(cache=True)
def _chain_of_draws(first, numbers, graph, state, search):  # type: ignore[no-untyped-def]
    """(end, length, nodes touched) of the cheapest chain by which a hub gets one more leaf: it ends at a leaf that may
    have one more hub, or at a hub that can spare a leaf."""
    h_start, h_other, h_cost, first_block, highest, ceiling = graph
    price, leaf_price, number, _, held_hub, _, head, after = state
    reached, settled, touched, came_from, came_at, _, _ = search
    n = number.size
    keys, nodes = np.empty(256, dtype=np.int64), np.empty(256, dtype=np.int64)
    touched[0], reached[first], n_touched, end, length = first, 0, 1, -1, FAR
    keys, nodes, size = push(keys, nodes, 0, 0, first)
    while size > 0:
        so_far, node, size = pop(keys, nodes, size)
        if so_far >= length:
            break
        if settled[node] or so_far > reached[node]:
            continue
        settled[node] = True
        if node >= n:
            end, length, n_touched, keys, nodes, size = _leave(
                node, so_far, numbers[1], state, search, end, length, n_touched, keys, nodes, size
            )
            continue
        base = so_far - price[node]
        if number[node] > numbers[0] and base < length:
            end, length = node, base
        for block in range(first_block[node], first_block[node + 1]):
            low = h_start[node] + (block - first_block[node]) * BLOCK
            if base + h_cost[low] - ceiling >= length:
                break
            if base + h_cost[low] - highest[block] >= length:
                continue
            highest[block] = -FAR
            for k in range(low, min(low + BLOCK, h_start[node + 1])):
                leaf = h_other[k]
                highest[block] = max(highest[block], leaf_price[leaf])
                onward = base + h_cost[k] - leaf_price[leaf]
                if onward >= length or onward >= reached[n + leaf] or _holds(leaf, node, held_hub, head, after):
                    continue
                if reached[n + leaf] == FAR:
                    touched[n_touched] = n + leaf
                    n_touched += 1
                reached[n + leaf], came_from[leaf], came_at[leaf] = onward, node, h_cost[k]
                keys, nodes, size = push(keys, nodes, size, onward, n + leaf)
    return end, length, n_touched


@njit(cache=True)
def _leave(node, so_far, most_of_leaf, state, search, end, length, n_touched, keys, nodes, size):  # type: ignore[no-untyped-def]
    """Carry the search from a leaf on: it may have one more hub, or gives up one of those it has."""
    price, leaf_price, number, number_of_leaf, held_hub, held_cost, head, after = state
    reached, _, touched, _, _, lost_leaf, lost_place = search
    leaf = node - number.size
    if number_of_leaf[leaf] < most_of_leaf and so_far + leaf_price[leaf] < length:
        end, length = node, so_far + leaf_price[leaf]
    place = head[leaf]
    while place >= 0:
        hub = held_hub[place]
        onward = so_far - held_cost[place] + price[hub] + leaf_price[leaf]
        if onward < reached[hub] and onward < length:
            if reached[hub] == FAR:
                touched[n_touched] = hub
                n_touched += 1
            reached[hub], lost_leaf[hub], lost_place[hub] = onward, leaf, place
            keys, nodes, size = push(keys, nodes, size, onward, hub)
        place = after[place]
    return end, length, n_touched, keys, nodes, size


@njit(cache=True)
def _holds(leaf, hub, held_hub, head, after):  # type: ignore[no-untyped-def]
    place = head[leaf]
    while place >= 0:
        if held_hub[place] == hub:
            return True
        place = after[place]
    return False
