"""A graph of allowed pairs → the choice of pairs with the smallest sum of costs, proven by prices.

Choice made: minimum-cost flow by successive shortest paths (Edmonds & Karp 1972, J ACM 19:248; as assignment:
Jonker & Volgenant 1987, Computing 38:325). Every place of a seeker is filled one after the other along the cheapest
path of exchanges, Dijkstra's search with prices stops at the first free server, and a place that stays empty pays a
penalty above any sum of distances, so that as many places as possible are filled first. Whole numbers throughout: the
prices prove the answer optimal without a tolerance.
"""

import numpy as np
from numba import njit

from models.matching.links import Links
from models.results import IntArray

FAR = np.iinfo(np.int64).max // 4
BLOCK = 64


def cheapest_pairs(links: Links, wanted: IntArray, empty: IntArray, last_empty: IntArray, needed: int = 1) -> IntArray:
    """(s, k) links chosen for each seeker (positions in links.member), -1 for places left empty.

    wanted             (s,) places of each seeker
    empty, last_empty  (s,) what an empty place costs, and one of the `needed` last places of a seeker when it is empty
                       too (last_empty >= empty: the first places are worth most)

    No server is chosen twice. The sum of the costs of chosen links and of empty places is the smallest possible.
    """
    chosen, price_of_seeker, price_of_server = _fill_places(
        links.start, links.member, links.cost, links.server, links.n_servers, wanted, empty, last_empty, needed
    )
    assert _is_optimal(links, chosen, price_of_seeker, price_of_server), "the prices do not prove the matching optimal"
    return np.asarray(chosen, dtype=np.int64)


def _is_optimal(links: Links, chosen: IntArray, price_of_seeker: IntArray, price_of_server: IntArray) -> bool:
    """Complementary slackness: a link not chosen costs at least the difference in prices, a chosen one at most."""
    seeker = np.repeat(np.arange(len(links.seekers), dtype=np.int32), np.diff(links.start))
    reduced = links.cost + price_of_seeker[seeker] - price_of_server[links.server[links.member]]
    is_chosen = np.zeros(len(reduced), dtype=np.bool_)
    is_chosen[chosen[chosen >= 0]] = True
    return bool((reduced[is_chosen] <= 0).all() and (reduced[~is_chosen] >= 0).all())


@njit(cache=True)
def push(keys, nodes, size, key, node):  # type: ignore[no-untyped-def]
    """A binary heap in two arrays, smallest (key, node) first; returns arrays (larger ones when full) and the size."""
    if size == keys.size:
        keys, nodes = np.concatenate((keys, np.empty_like(keys))), np.concatenate((nodes, np.empty_like(nodes)))
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if keys[above] < key or (keys[above] == key and nodes[above] <= node):
            break
        keys[at], nodes[at] = keys[above], nodes[above]
        at = above
    keys[at], nodes[at] = key, node
    return keys, nodes, size + 1


@njit(cache=True)
def pop(keys, nodes, size):  # type: ignore[no-untyped-def]
    key, node = keys[0], nodes[0]
    size -= 1
    moved_key, moved = keys[size], nodes[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        right = below + 1
        if right < size and (keys[right] < keys[below] or (keys[right] == keys[below] and nodes[right] < nodes[below])):
            below = right
        if moved_key < keys[below] or (moved_key == keys[below] and moved <= nodes[below]):
            break
        keys[at], nodes[at] = keys[below], nodes[below]
        at = below
    keys[at], nodes[at] = moved_key, moved
    return key, node, size


@njit(cache=True)
def _fill_places(start, member, cost, server, n_servers, wanted, empty, last_empty, needed):  # type: ignore[no-untyped-def]
    """(chosen links, prices of seekers, prices of servers). Prices: cost + price[seeker] - price[server] >= 0 for links
    not chosen, <= 0 for chosen ones; servers still free have price 0.

    Nodes of the search: seekers 0 to n - 1, servers n to n + n_servers - 1.
    """
    n = start.size - 1
    most = max(wanted.max(), 1) if n else 1
    chosen = np.full((n, most), -1, dtype=np.int64)
    n_empty = np.zeros(n, dtype=np.int64)
    owner = np.full(n_servers, -1, dtype=np.int64)  # the seeker a server serves
    by_link = np.full(n_servers, -1, dtype=np.int64)  # and through which link
    price = np.zeros(n + n_servers, dtype=np.int64)
    reached = np.full(n + n_servers, FAR, dtype=np.int64)
    settled = np.zeros(n + n_servers, dtype=np.bool_)
    came_by = np.full(n_servers, -1, dtype=np.int64)  # the link by which the search came to a server
    came_from = np.full(n_servers, -1, dtype=np.int64)  # and from which seeker
    lost = np.full(n, -1, dtype=np.int64)  # the server a seeker on the way would give up
    touched = np.empty(n + n_servers, dtype=np.int64)
    # Prices only ever fall, so the highest one in a block of links bounds it from then on: most blocks are passed by.
    first_block = np.zeros(n + 1, dtype=np.int64)
    for i in range(n):
        first_block[i + 1] = first_block[i] + (start[i + 1] - start[i] + BLOCK - 1) // BLOCK
    highest = np.zeros(first_block[n], dtype=np.int64)
    for place in range(most):
        for first in range(n):
            if place >= wanted[first]:
                continue
            end, length, n_touched = _search(
                first,
                (start, member, cost, server, first_block, highest),
                (wanted, empty, last_empty, n_empty, needed),
                (owner, by_link, price),
                (reached, settled, touched, came_by, came_from, lost),
            )
            for k in range(n_touched):
                node = touched[k]
                if settled[node]:
                    price[node] += reached[node] - length
                reached[node], settled[node] = FAR, False
            _exchange(end, first, n, chosen, n_empty, owner, by_link, came_by, came_from, lost)
    return chosen, price[:n], price[n:]


@njit(cache=True)
def _search(first, graph, places, state, search):  # type: ignore[no-untyped-def]
    """(end, length, nodes touched) of the cheapest path from a seeker to a free server or a place left empty."""
    wanted, empty, last_empty, n_empty, needed = places
    owner, by_link, price = state
    reached, settled, touched, _, _, lost = search
    cost, n = graph[2], wanted.size
    keys, nodes = np.empty(256, dtype=np.int64), np.empty(256, dtype=np.int64)
    n_touched, size = 1, 0
    touched[0], reached[first] = first, 0
    keys, nodes, size = push(keys, nodes, size, 0, first)
    end, length = -1, FAR
    while size > 0:
        so_far, node, size = pop(keys, nodes, size)
        if so_far >= length:
            break
        if settled[node] or so_far > reached[node]:
            continue
        settled[node] = True
        if node >= n:
            seat = node - n
            holder = owner[seat]
            onward = so_far - cost[by_link[seat]] + price[node] - price[holder]
            if onward < reached[holder]:
                if reached[holder] == FAR:
                    touched[n_touched] = holder
                    n_touched += 1
                reached[holder], lost[holder] = onward, seat
                keys, nodes, size = push(keys, nodes, size, onward, holder)
            continue
        is_last = n_empty[node] + needed >= wanted[node]
        if_empty = so_far + (last_empty[node] if is_last else empty[node]) + price[node]
        if if_empty < length:
            end, length = node, if_empty
        end, length, n_touched, keys, nodes, size = _look_from(
            node, so_far, graph, state, search, n, end, length, n_touched, keys, nodes, size
        )
    return end, length, n_touched


@njit(cache=True)
def _look_from(node, so_far, graph, state, search, n, end, length, n_touched, keys, nodes, size):  # type: ignore[no-untyped-def]
    """Carry the search from a seeker to all servers that may lie on the cheapest path."""
    start, member, cost, server, first_block, highest = graph
    owner, _, price = state
    reached, _, touched, came_by, came_from, _ = search
    for block in range(first_block[node], first_block[node + 1]):
        low = start[node] + (block - first_block[node]) * BLOCK
        if so_far + cost[low] + price[node] >= length:
            break  # prices of servers are at most 0 and links lie by rising cost
        if so_far + cost[low] + price[node] - highest[block] >= length:
            continue
        highest[block] = -FAR
        for k in range(low, min(low + BLOCK, start[node + 1])):
            seat = server[member[k]]
            highest[block] = max(highest[block], price[n + seat])
            onward = so_far + cost[k] + price[node] - price[n + seat]
            if onward >= length or onward >= reached[n + seat] or owner[seat] == node:
                continue
            if reached[n + seat] == FAR:
                touched[n_touched] = n + seat
                n_touched += 1
            reached[n + seat], came_by[seat], came_from[seat] = onward, k, node
            if owner[seat] < 0:
                end, length = n + seat, onward
            else:
                keys, nodes, size = push(keys, nodes, size, onward, n + seat)
    return end, length, n_touched, keys, nodes, size


@njit(cache=True)
def _exchange(end, first, n, chosen, n_empty, owner, by_link, came_by, came_from, lost):  # type: ignore[no-untyped-def]
    """Walk the cheapest path back from its end: each seeker on it takes one server and gives up the one before."""
    seat = end - n
    if end < n:
        n_empty[end] += 1
        if end == first:
            return
        seat = lost[end]
        _put(chosen, end, by_link[seat], -1)
    while True:
        link, seeker = came_by[seat], came_from[seat]
        owner[seat], by_link[seat] = seeker, link
        if seeker == first:
            _put(chosen, first, -1, link)
            return
        seat = lost[seeker]
        _put(chosen, seeker, by_link[seat], link)


@njit(cache=True)
def _put(chosen, seeker, old, new):  # type: ignore[no-untyped-def]
    for k in range(chosen.shape[1]):
        if chosen[seeker, k] == old:
            chosen[seeker, k] = new
            return
