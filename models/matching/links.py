"""Rules and distances → the sparse graph of all pairs that are allowed, with their costs.

Choice made: the graph holds what the caliper admits and nothing else, a row a seeker, nearest first, in twelve bytes a
pair: 100 million pairs take 1.2 GB. Costs are distances in whole billionths, so that sums are exact and no rounding
decides what is optimal. Who can serve only once is one node: of a person's rows the one nearest to the seeker stands
for the person.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.matching.greedy import arrange, distance_between, is_allowed, limits_of
from models.matching.rules import DECIMALS, Rules
from models.refusals import Refused
from models.results import FloatArray, IntArray

MOST_LINKS = 200_000_000
LARGEST_COST = 10**12


@dataclass(frozen=True)
class Links:
    """Allowed pairs in compressed rows: seeker s has links start[s] to start[s + 1], by rising cost.

    seekers  (s,) rows; pool  (p,) rows
    start    (s + 1,); member  (m,) positions in the pool; cost  (m,) distance in billionths
    server   (p,) number from 0 of what serves once
    """

    seekers: IntArray
    pool: IntArray
    start: NDArray[np.int64]
    member: NDArray[np.int32]
    cost: NDArray[np.int64]
    server: NDArray[np.int64]

    @property
    def n_servers(self) -> int:
        return int(self.server.max()) + 1 if len(self.server) else 0


def link(
    rules: Rules, place: FloatArray | None, person: IntArray, server: IntArray, seekers: IntArray, pool: IntArray
) -> Links:
    """Every allowed pair (arguments as for `greedy.arrange`). Raises Refused when there are too many to hold."""
    of_seekers, of_pool, key_is_bound = arrange(rules, place, person, server, seekers, pool)
    n_groups = int(of_seekers.group.max()) + 1 if len(seekers) else 0
    starts = np.searchsorted(of_pool.group, np.arange(n_groups + 1)).astype(np.int64)
    limits = limits_of(rules, key_is_bound, False)
    counts = _count(of_seekers, of_pool, starts, limits)
    start = np.concatenate([[0], np.cumsum(counts)])
    if start[-1] > MOST_LINKS:
        raise Refused(
            f"{start[-1]:,} pairs are within the limits, more than the {MOST_LINKS:,} that can be held: narrow the "
            "caliper or add exact columns"
        )
    member, cost = np.empty(start[-1], dtype=np.int32), np.empty(start[-1], dtype=np.int64)
    _fill(of_seekers, of_pool, starts, limits, start, member, cost)
    if len(cost) and cost.max() > LARGEST_COST:
        raise Refused("some distances within the limits are above 1,000: set a caliper")
    # Numbers that do not depend on the order of the rows, so that of equally good answers always the same is found.
    canonical = np.lexsort((of_pool.row, np.round(of_pool.linear, DECIMALS), of_pool.day, of_pool.person))
    rank = np.empty(len(canonical), dtype=np.int32)
    rank[canonical] = np.arange(len(canonical), dtype=np.int32)
    _number_and_sort(start, member, cost, rank)
    codes = np.unique(of_pool.server[canonical], return_inverse=True)[1].astype(np.int64)
    links = Links(seekers, of_pool.row[canonical], start, member, cost, codes)
    return _one_link_a_server(links) if links.n_servers < len(codes) else links


def nearest_row_a_server(links: Links, server: IntArray) -> Links:
    """Links to one row of each server (codes for all rows) only: the row with the cheapest link of all."""
    codes = np.unique(server[links.pool], return_inverse=True)[1].astype(np.int64)
    if len(codes) == 0 or int(codes.max()) + 1 == len(codes):
        return links
    cheapest = np.full(len(links.pool), np.iinfo(np.int64).max)
    np.minimum.at(cheapest, links.member, links.cost)
    order = np.lexsort((np.arange(len(codes)), cheapest, codes))
    is_first = np.append(True, codes[order][1:] != codes[order][:-1])
    stays = np.zeros(len(codes), dtype=np.bool_)
    stays[order[is_first]] = True
    return _only(links, stays[links.member])


def sorted_by_cost(links: Links) -> tuple[Links, IntArray]:
    """The links with each seeker's in rising order of cost, then member, and where each of them was before."""
    seat = np.repeat(np.arange(len(links.seekers)), np.diff(links.start))
    order = np.lexsort((links.member, links.cost, seat))
    return Links(links.seekers, links.pool, links.start, links.member[order], links.cost[order], links.server), order


def _only(links: Links, kept: NDArray[np.bool_]) -> Links:
    before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    start = before[links.start]
    return Links(links.seekers, links.pool, start, links.member[kept], links.cost[kept], links.server)


def _one_link_a_server(links: Links) -> Links:
    """Of a seeker's links to several rows of one server only the first (nearest)."""
    return _only(links, _first_of_server(links.start, links.member, links.server, links.n_servers))


@njit(cache=True)
def _bounds(seekers, i, pool, starts, limits):  # type: ignore[no-untyped-def]
    """The stretch of the pool in which somebody may be allowed."""
    start, end = starts[seekers.group[i]], starts[seekers.group[i] + 1]
    if limits.key_width == np.inf:
        return start, end
    slack = limits.key_width + 1e-6
    low = start + np.searchsorted(pool.key[start:end], seekers.key[i] - slack)
    return low, start + np.searchsorted(pool.key[start:end], seekers.key[i] + slack)


@njit(cache=True)
def _count(seekers, pool, starts, limits):  # type: ignore[no-untyped-def]
    counts = np.zeros(seekers.row.size, dtype=np.int64)
    for i in range(seekers.row.size):
        low, high = _bounds(seekers, i, pool, starts, limits)
        for j in range(low, high):
            counts[i] += is_allowed(seekers, i, pool, j, limits)
    return counts


@njit(cache=True)
def _fill(seekers, pool, starts, limits, start, member, cost):  # type: ignore[no-untyped-def]
    for i in range(seekers.row.size):
        low, high = _bounds(seekers, i, pool, starts, limits)
        at = start[i]
        for j in range(low, high):
            if is_allowed(seekers, i, pool, j, limits):
                member[at], cost[at] = j, distance_between(seekers, i, pool, j)
                at += 1


@njit(cache=True)
def _number_and_sort(start, member, cost, rank):  # type: ignore[no-untyped-def]
    """Each row by cost, then by rank; members become ranks."""
    for i in range(start.size - 1):
        low, high = start[i], start[i + 1]
        members, costs = rank[member[low:high]], cost[low:high].copy()
        by_rank = np.argsort(members)
        order = by_rank[np.argsort(costs[by_rank], kind="mergesort")]
        member[low:high], cost[low:high] = members[order], costs[order]


@njit(cache=True)
def _first_of_server(start, member, server, n_servers):  # type: ignore[no-untyped-def]
    kept = np.zeros(member.size, dtype=np.bool_)
    seen = np.full(n_servers, -1, dtype=np.int64)
    for i in range(start.size - 1):
        for k in range(start[i], start[i + 1]):
            if seen[server[member[k]]] != i:
                seen[server[member[k]]] = i
                kept[k] = True
    return kept
