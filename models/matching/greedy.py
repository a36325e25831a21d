"""Seekers in order and a sorted pool → whom each of them gets, greedily: the inner loops of nearest-neighbour matching.

Choice made: the pool lies sorted by group and by a key (the log-odds, or one coordinate of the distance), and a seeker
looks outwards from its own place until nobody further out can be nearer. Who was taken is skipped by links that are
halved whenever they are walked (Tarjan 1975, J ACM 22:215), so that crowded places cost no more than empty ones.
Distances are compared in whole billionths, ties by nearest day, earlier day, lower person, lower log-odds:
exactly the rule that tests/naive_matching.py applies to every pair.
"""

import heapq
from typing import NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.matching.rules import DECIMALS, Rules
from models.results import FloatArray, IntArray

Number = TypeVar("Number", np.int64, np.float64)
UNIT = 10.0**DECIMALS
FAR = np.iinfo(np.int64).max


class Side(NamedTuple):
    """Seekers in the order they choose, or the pool sorted by (group, key): one entry a row in every field."""

    row: NDArray[np.int64]
    group: NDArray[np.int64]
    key: NDArray[np.float64]
    linear: NDArray[np.float64]
    place: NDArray[np.float64]
    day: NDArray[np.int64]
    person: NDArray[np.int64]
    server: NDArray[np.int64]
    values: NDArray[np.float64]
    differ: NDArray[np.int64]


class Limits(NamedTuple):
    """The limits of `Rules` and how the key relates to them.

    key_width     nobody whose key is further away is allowed
    key_is_bound  the distance is at least the difference in keys
    replace       who was taken may be taken again by another seeker
    all_at_once   a seeker takes all it may have before the next one chooses
    """

    width: float
    days_before: int
    days_after: int
    widths: NDArray[np.float64]
    key_width: float
    key_is_bound: bool
    replace: bool
    all_at_once: bool


def arrange(
    rules: Rules, place: FloatArray | None, person: IntArray, server: IntArray, seekers: IntArray, pool: IntArray
) -> tuple[Side, Side, bool]:
    """Seekers in their given order, the pool sorted, and whether the key is a lower bound of the distance.

    place  (n, q) coordinates of the distance, None for the log-odds
    server  (n,) codes of what can serve only once: persons, or single rows

    Only those of the pool whose key lies within the caliper of some seeker are kept.
    """
    by_odds = place is None or np.isfinite(rules.width)
    key = rules.linear if place is None or by_odds else np.ascontiguousarray(place[:, 0])
    if by_odds and np.isfinite(rules.width) and len(seekers):
        near = rules.width + 1e-6
        low, high = key[seekers].min() - near, key[seekers].max() + near
        pool = pool[(key[pool] >= low) & (key[pool] <= high)]
    pool = pool[np.argsort(key[pool])]
    groups = np.unique(rules.group[seekers])
    code = np.searchsorted(groups, rules.group[pool])
    inside = code < len(groups)
    inside[inside] = groups[code[inside]] == rules.group[pool][inside]
    pool, code = pool[inside], code[inside]
    # Few groups: sorting small whole numbers stably is linear in their number.
    pool = pool[np.argsort(code.astype(np.uint16) if len(groups) < 1 << 16 else code, kind="stable")]

    def side(rows: IntArray) -> Side:
        def of(values: NDArray[Number]) -> NDArray[Number]:
            return np.ascontiguousarray(values[rows] if len(values) else values)

        odds = of(rules.linear)
        return Side(
            row=rows,
            group=np.searchsorted(groups, rules.group[rows]).astype(np.int64),
            key=odds if by_odds else of(key),
            linear=odds,
            place=odds[:, None] if place is None else of(place),
            day=of(rules.day),
            person=of(person),
            server=of(server),
            values=of(rules.values),
            differ=of(rules.differ),
        )

    return side(seekers), side(pool), not by_odds or place is None


def limits_of(rules: Rules, key_is_bound: bool, replace: bool, all_at_once: bool = False) -> Limits:
    """The kernel's limits for sides that `arrange` made."""
    key_width = rules.width if np.isfinite(rules.width) else np.inf
    days = (rules.days_before, rules.days_after)
    return Limits(rules.width, *days, rules.widths, key_width, key_is_bound, replace, all_at_once)


@njit(cache=True)
def is_allowed(seekers, i, pool, j, limits):  # type: ignore[no-untyped-def]
    """Whether pool member j may serve seeker i, their groups being the same."""
    if abs(pool.linear[j] - seekers.linear[i]) > limits.width:
        return False
    earlier = seekers.day[i] - pool.day[j]
    if earlier > limits.days_before or -earlier > limits.days_after:
        return False
    if pool.person[j] == seekers.person[i]:
        return False
    for c in range(limits.widths.size):
        if abs(pool.values[j, c] - seekers.values[i, c]) > limits.widths[c]:
            return False
    for d in range(pool.differ.shape[1]):  # noqa: SIM110 (numba has no all())
        if pool.differ[j, d] == seekers.differ[i, d]:
            return False
    return True


@njit(cache=True)
def distance_between(seekers, i, pool, j):  # type: ignore[no-untyped-def]
    """Straight-line distance in whole billionths."""
    if pool.place.shape[1] == 1:
        return np.int64(np.rint(abs(pool.place[j, 0] - seekers.place[i, 0]) * UNIT))
    squares = 0.0
    for q in range(pool.place.shape[1]):
        gap = pool.place[j, q] - seekers.place[i, q]
        squares += gap * gap
    return np.int64(np.rint(np.sqrt(squares) * UNIT))


@njit(cache=True)
def _live(links, at):  # type: ignore[no-untyped-def]
    while links[at] != at:
        links[at] = links[links[at]]
        at = links[at]
    return at


@njit(cache=True)
def _comes_first(pool, j, best):  # type: ignore[no-untyped-def]
    if pool.day[j] != pool.day[best]:
        return pool.day[j] < pool.day[best]
    if pool.person[j] != pool.person[best]:
        return pool.person[j] < pool.person[best]
    if pool.linear[j] != pool.linear[best]:
        return pool.linear[j] < pool.linear[best]
    return pool.row[j] < pool.row[best]


@njit(cache=True)
def _nearest(seekers, i, pool, start, end, right, left, taken, limits):  # type: ignore[no-untyped-def]
    """(position, distance) of the best free member of the pool between start and end; (-1, FAR) if there is none.

    right[p] leads to the first position >= p that is free, left[p] to the last p' <= p whose position p' - 1 is free.
    """
    target = seekers.key[i]
    low, high = start, end
    while low < high:
        middle = (low + high) // 2
        if pool.key[middle] < target:
            low = middle + 1
        else:
            high = middle
    up, down = _live(right, low), _live(left, low)
    best, best_distance, best_days = -1, FAR, FAR
    while True:
        gap_up = pool.key[up] - target if up < end else np.inf
        gap_down = target - pool.key[down - 1] if down > start else np.inf
        gap = min(gap_up, gap_down)
        if gap == np.inf or gap > limits.key_width:
            break
        if limits.key_is_bound and best >= 0 and gap * UNIT > best_distance + 1.5:
            break
        if gap_up <= gap_down:
            j = up
            up = _live(right, up + 1)
        else:
            j = down - 1
            down = _live(left, down - 1)
        if taken[pool.server[j]]:
            if not limits.replace:
                right[j], left[j + 1] = j + 1, j
            continue
        if not is_allowed(seekers, i, pool, j, limits):
            continue
        distance = distance_between(seekers, i, pool, j)
        if distance > best_distance:
            continue
        days = abs(pool.day[j] - seekers.day[i])
        is_better = distance < best_distance or days < best_days
        if not is_better and days == best_days:
            is_better = _comes_first(pool, j, best)
        if is_better:
            best, best_distance, best_days = j, distance, days
    return best, best_distance


@njit(cache=True)
def choose_in_order(seekers, pool, starts, wanted, n_servers, limits):  # type: ignore[no-untyped-def]
    """(s, k) positions in the pool, -1 for none: in each round every seeker still wanting takes its nearest free one.

    starts  (g + 1,) where each group begins in the pool; wanted  (s,) how many each seeker may have
    """
    n, most = seekers.row.size, max(wanted.max(), 1) if wanted.size else 1
    chosen = np.full((n, most), -1, dtype=np.int64)
    right, left = np.arange(pool.row.size + 1), np.arange(pool.row.size + 1)
    taken = np.zeros(n_servers, dtype=np.bool_)
    if limits.replace or limits.all_at_once:
        for i in range(n):
            start, end = starts[seekers.group[i]], starts[seekers.group[i] + 1]
            for k in range(wanted[i]):
                j, _ = _nearest(seekers, i, pool, start, end, right, left, taken, limits)
                if j < 0:
                    break
                chosen[i, k] = j
                taken[pool.server[j]] = True
            for k in range(wanted[i]):
                if limits.replace and chosen[i, k] >= 0:
                    taken[pool.server[chosen[i, k]]] = False
        return chosen
    for k in range(most):
        for i in range(n):
            # The pool only shrinks: who found nobody in an earlier round never will.
            if k >= wanted[i] or (k > 0 and chosen[i, k - 1] < 0):
                continue
            start, end = starts[seekers.group[i]], starts[seekers.group[i] + 1]
            j, _ = _nearest(seekers, i, pool, start, end, right, left, taken, limits)
            if j >= 0:
                chosen[i, k] = j
                taken[pool.server[j]] = True
    return chosen


@njit(cache=True)
def choose_closest(seekers, pool, starts, wanted, n_servers, limits):  # type: ignore[no-untyped-def]
    """As `choose_in_order`, but in each round the two who are nearest to each other are joined first."""
    n, most = seekers.row.size, max(wanted.max(), 1) if wanted.size else 1
    chosen = np.full((n, most), -1, dtype=np.int64)
    right, left = np.arange(pool.row.size + 1), np.arange(pool.row.size + 1)
    taken = np.zeros(n_servers, dtype=np.bool_)
    for k in range(most):
        waiting = [(np.int64(0), 0, np.int64(0)) for _ in range(0)]
        for i in range(n):
            if k < wanted[i] and (k == 0 or chosen[i, k - 1] >= 0):
                start, end = starts[seekers.group[i]], starts[seekers.group[i] + 1]
                j, distance = _nearest(seekers, i, pool, start, end, right, left, taken, limits)
                if j >= 0:
                    heapq.heappush(waiting, (distance, i, j))
        while len(waiting) > 0:
            distance, i, j = heapq.heappop(waiting)
            if not taken[pool.server[j]]:
                chosen[i, k] = j
                taken[pool.server[j]] = True
                continue
            start, end = starts[seekers.group[i]], starts[seekers.group[i] + 1]
            j, distance = _nearest(seekers, i, pool, start, end, right, left, taken, limits)
            if j >= 0:
                heapq.heappush(waiting, (distance, i, j))
    return chosen
