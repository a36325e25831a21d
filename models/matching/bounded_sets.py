"""Allowed pairs and limits on the size of sets → the cheapest sets within them, or who cannot be placed.

Choice made: everybody stays in a set. Limits under which somebody would be left over are refused, with the nearest ones
that can be kept (as optmatch's maxControlsCap finds them), since who is left out changes whom the effect is about.
Whether they can be kept is two questions, one an arm, that do not touch each other: if the treated can be placed and
the controls can, so can both at once (Mendelsohn & Dulmage 1958, Can J Math 10:517).
"""

import numpy as np
from numba import njit

from models.matching.bounded_flow import Side, cheapest_within, positions, turned
from models.matching.links import Links
from models.matching.set_sizes import SetSizes
from models.matching.ties import even_out, without_idle
from models.refusals import Refused
from models.results import IntArray

FEW = 8


def cheapest_sets(links: Links, sizes: SetSizes) -> IntArray:
    """Positions of the links that make the cheapest sets within the sizes, of several that cost the same one whose sets
    are of even sizes. Raises Refused where somebody would be left over."""
    treated, controls = _sides(links)
    n_treated, n_controls = len(treated.start) - 1, len(controls.start) - 1
    _refuse_unless_placed(treated, controls, sizes)
    if sizes.fewest_of_control > 1:
        limits = (sizes.fewest_of_control, sizes.most_of_control, sizes.most_of_treated)
        control, row = cheapest_within(controls, treated, *limits)
    else:
        limits = (sizes.fewest_of_treated, sizes.most_of_treated, sizes.most_of_control)
        row, control = cheapest_within(treated, controls, *limits)
    kept = without_idle(np.arange(len(row)), row, control, n_treated, n_controls)
    row, control = row[kept], control[kept]
    row = _evened(controls, control, row, n_treated, (sizes.fewest_of_treated, sizes.most_of_treated))
    control = _evened(treated, row, control, n_controls, (sizes.fewest_of_control, sizes.most_of_control))
    return positions(treated, row, control)


def _evened(side: Side, own: IntArray, hub: IntArray, n_hubs: int, limits: tuple[int, int]) -> IntArray:
    """The hubs of the pairs (own, hub) after leaves with one hub went to others as near who have fewer leaves."""
    n_own = np.bincount(own, minlength=len(side.start) - 1)
    number = np.bincount(hub, minlength=n_hubs)
    is_leaf = n_own[own] == 1
    hub_of_leaf = np.full(len(n_own), -1, dtype=np.int64)
    hub_of_leaf[own[is_leaf]] = hub[is_leaf]
    may_receive = np.ones(n_hubs, dtype=np.bool_)
    may_receive[hub[~is_leaf]] = False
    even_out(*side, hub_of_leaf, number, *limits, may_receive)
    return np.where(is_leaf, hub_of_leaf[own], hub)


def unplaced(side: Side, n_others: int, wanted: int, capacity: int) -> int:
    """How many rows of a side cannot have `wanted` partners each when nobody on the other side serves more than
    `capacity` of them."""
    return int(_unplaced(*side, n_others, wanted, capacity))


def _sides(links: Links) -> tuple[Side, Side]:
    """The links as the treated and as the controls see them, those without any left out."""
    has_any = np.flatnonzero(np.diff(links.start) > 0)
    start = np.append(links.start[has_any], links.start[-1:]).astype(np.int64)
    linked = np.bincount(links.member, minlength=len(links.pool)) > 0
    number = (np.cumsum(linked) - 1).astype(np.int32)
    treated = Side(start, number[links.member], links.cost)
    return treated, turned(treated, int(linked.sum()))


def _refuse_unless_placed(treated: Side, controls: Side, sizes: SetSizes) -> None:
    """Words whose whole numbers may be rounded to fives, or masked where small, before they are released: the limits
    they name are then still ones that can be kept."""
    n_treated, n_controls = len(treated.start) - 1, len(controls.start) - 1
    words = "{} cannot be kept: there are too few {} near enough for {} the {}, and full matching leaves nobody out; {}"
    numbers = (sizes.fewest_of_control, sizes.most_of_treated)
    if left := unplaced(controls, n_treated, *numbers):
        wanted, capacity = _nearest_that_places(controls, n_treated, *numbers)
        possible = f"a treated person may have {_some(capacity, 'control')}"
        if wanted > 1:
            possible = f"a control needs only {wanted} treated people"
        share, possible = _share(left, n_controls, numbers[0]), f"every control is placed when {possible}"
        raise Refused(words.format("max_controls", "treated people", share, "controls", possible))
    numbers = (sizes.fewest_of_treated, sizes.most_of_control)
    if left := unplaced(treated, n_controls, *numbers):
        wanted, capacity = _nearest_that_places(treated, n_controls, *numbers)
        possible = f"a control may have {_some(capacity, 'treated person', 'treated people')}"
        if wanted > 1:
            possible = f"a treated person needs only {wanted} controls"
        share, possible = _share(left, n_treated, numbers[0]), f"every treated person is placed when {possible}"
        raise Refused(words.format("min_controls", "controls", share, "treated people", possible))


def _share(part: int, whole: int, wanted: int) -> str:
    """Of several partners wanted each, how many rows lack some depends on who comes first."""
    percent = round(100 * part / whole)
    return "some of" if wanted > 1 or percent < FEW else f"about {percent} % of"


def _some(n: int, one: str, several: str = "controls") -> str:
    return f"one {one}" if n == 1 else f"{n} {several}"


def _nearest_that_places(side: Side, n_others: int, wanted: int, capacity: int) -> tuple[int, int]:
    """The (wanted, capacity) nearest to one under which rows are left over that leaves nobody: fewer wanted down to 1,
    then more capacity; from `FEW` on the nearest multiple of five that leaves nobody."""

    def numbers(step: int) -> tuple[int, int]:
        return (1 - step, 1) if step < 0 else (1, step + 1)

    low = 1 - wanted if wanted > 1 else capacity - 1  # leaves somebody
    high = len(side.start) - 1  # room for all
    while high - low > 1:
        middle = min((low + high) // 2, max(2 * low, 16))  # from below: the answer is rarely far
        if unplaced(side, n_others, *numbers(middle)):
            low = middle
        else:
            high = middle
    wanted, capacity = numbers(high)
    return wanted // 5 * 5 if wanted >= FEW else wanted, -(-capacity // 5) * 5 if capacity >= FEW else capacity


@njit(cache=True)
def _unplaced(start, other, cost, n_others, wanted, capacity):  # type: ignore[no-untyped-def]
    """One place of a row after the other is filled by a search for whoever has room (Kuhn 1955). Where a search ends
    without, nobody it met can ever help another, so they are not met again."""
    n, left = start.size - 1, 0
    holds = np.full(n * wanted, -1, dtype=np.int64)  # by place: whom
    head, after, before = (
        np.full(n_others, -1, np.int64),
        np.full(n * wanted, -1, np.int64),
        np.full(n * wanted, -1, np.int64),
    )
    load = np.zeros(n_others, dtype=np.int64)
    seen, met = np.zeros(n, dtype=np.bool_), np.zeros(n_others, dtype=np.bool_)
    given_up, came_from = np.empty(n, dtype=np.int64), np.empty(n_others, dtype=np.int64)
    queue, met_now = np.empty(n, dtype=np.int64), np.empty(n_others, dtype=np.int64)
    for first in range(n):
        if start[first + 1] - start[first] < wanted:
            left += 1
            continue
        for number in range(wanted):
            queue[0], n_queue, at, n_met, end = first, 1, 0, 0, -1
            seen[first] = True
            while at < n_queue and end < 0:
                row, n_before = queue[at], n_met
                at += 1
                for k in range(start[row], start[row + 1]):
                    who = other[k]
                    if met[who] or _is_held(holds, row * wanted, row * wanted + wanted, who):
                        continue
                    met[who], came_from[who] = True, row
                    met_now[n_met] = who
                    n_met += 1
                    if load[who] < capacity:
                        end = who
                        break
                for m in range(n_before, n_met if end < 0 else n_before):
                    place = head[met_now[m]]
                    while place >= 0:
                        holder = place // wanted
                        if not seen[holder]:
                            seen[holder], given_up[holder] = True, place
                            queue[n_queue] = holder
                            n_queue += 1
                        place = after[place]
            if end < 0:
                left += 1
                break
            for q in range(n_queue):
                seen[queue[q]] = False
            for m in range(n_met):
                met[met_now[m]] = False
            load[end] += 1
            while True:
                row = came_from[end]
                place = first * wanted + number if row == first else given_up[row]
                old = _give(place, end, holds, head, after, before)
                if row == first:
                    break
                end = old
    return left


@njit(cache=True)
def _is_held(holds, low, high, who):  # type: ignore[no-untyped-def]
    for place in range(low, high):  # noqa: SIM110 (numba has no any())
        if holds[place] == who:
            return True
    return False


@njit(cache=True)
def _give(place, who, holds, head, after, before):  # type: ignore[no-untyped-def]
    """Put somebody into a place in the stead of whom it returns (-1: nobody); lists of places by who is in them."""
    old = holds[place]
    if old >= 0:
        if before[place] >= 0:
            after[before[place]] = after[place]
        else:
            head[old] = after[place]
        if after[place] >= 0:
            before[after[place]] = before[place]
    holds[place] = who
    after[place], before[place] = head[who], -1
    if head[who] >= 0:
        before[head[who]] = place
    head[who] = place
    return old
