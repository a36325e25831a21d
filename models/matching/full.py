"""Baseline and propensity → sets of one treated and several untreated rows or the other way round, everybody used.

Choice made: full matching (Rosenbaum 1991, J R Stat Soc B 53:597; Hansen & Klopfer 2006, J Comput Graph Stat 15:609)
without limits on the size of sets is the cheapest way of giving every row at least one partner: a minimum-cost edge
cover, whose parts are always stars. That is solved exactly as a matching: whoever is not matched takes the nearest
partner, and a pair is worth making where it costs less than the two nearest partners together. So only such pairs are
searched, which are few, and the prices of the flow prove the answer. Limits on the size of sets that this answer
does not keep already lead to a flow of its own (`set_sizes.py`, `bounded_flow.py`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.matching.distances import Distance, coordinates
from models.matching.rules import (
    DECIMALS,
    as_codes,
    caliper_width,
    check_days,
    hardest_first,
    make_rules,
    pooled_sd,
)
from models.matching.set_sizes import ANY_SIZE, SetSizes, set_sizes
from models.matching.sets import number_sets, weights_of_sets
from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, Estimand, IntArray, Propensity

if TYPE_CHECKING:
    from models.matching.links import Links


def full_matching(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    distance: Distance = "log_odds",
    distance_covariates: Sequence[str] = (),
    caliper: float | None = 0.2,
    covariate_calipers: Mapping[str, float] | None = None,
    calendar_days: int | None = None,
    anti_exact: Sequence[str] = (),
    min_controls: float | None = None,
    max_controls: float | None = None,
) -> Design:
    """Put every row that has anybody within the limits into a set with one treated or one untreated row, so that the
    distances between the one and the others of all sets sum to the least possible.

    min_controls  the smallest number of controls for each treated row in a set; 1/k: one control for up to k of them
    max_controls  the largest number; 1/k: one control for at least k treated rows

    Other options as in `nearest_neighbour`. Of an untreated person's rows only the one nearest to any treated row takes
    part. `rng` is not used; the order of rows does not matter.

    Returns the weights of stratification by set: under the ATT 1 for the treated and n_treated / n_control of the set
    for its controls; the mirror image under the ATC; (n_treated + n_control) / n of the own arm under the ATE. The note
    `total_distance` is the sum.

    Raises ValueError for limits that make no sense; Refused for more pairs within the limits than can be held in
    memory, and where `min_controls` or `max_controls` would leave somebody over who has anybody within the others.
    """
    check_days("calendar_days", calendar_days)
    if estimand not in ("ATT", "ATC", "ATE"):
        raise ValueError(f"full_matching targets the ATT, the ATC or the ATE, not the {estimand}")
    sizes = set_sizes(min_controls, max_controls)
    from models.matching.links import link, nearest_row_a_server  # compiled when first used

    usable = comparable_rows(baseline, treated)
    rules = make_rules(
        baseline,
        propensity,
        caliper_width(propensity.linear, treated, usable, caliper),
        days=(calendar_days, calendar_days),
        covariate_calipers=covariate_calipers,
        anti_exact=anti_exact,
    )
    place = coordinates(baseline, treated, usable, distance, distance_covariates)
    seekers = hardest_first(baseline, propensity.linear, np.flatnonzero(usable & treated))
    pool = np.flatnonzero(usable & ~treated)
    rows = np.arange(len(treated))
    links = nearest_row_a_server(
        link(rules, place, as_codes(baseline.person), rows, seekers, pool), as_codes(baseline.person)
    )
    seat, used, total = cover_everybody(links, sizes)
    member = links.pool[links.member[used]]
    matched_set = number_sets(links.seekers[seat], member[:, None], len(treated))
    weights = weights_of_sets(matched_set, treated, estimand)
    in_set = matched_set >= 0
    notes: dict[str, float | str] = {
        "caliper_width": "none" if caliper is None else float(rules.width),
        "log_odds_sd": pooled_sd(propensity.linear, treated, usable),
        "distance": distance,
        "total_distance": total,
        "n_pairs_allowed": len(links.member),
        "n_treated_unmatched": int((treated & ~in_set).sum()),
        "n_treated_no_comparable_row": int((treated & ~usable).sum()),
        "n_sets": int(matched_set.max()) + 1,
        "mean_controls_per_set": float((in_set & ~treated).sum()) / max(int(matched_set.max()) + 1, 1),
        "n_controls_used": int((in_set & ~treated).sum()),
        **({} if min_controls is None else {"min_controls": sizes.min_controls}),
        **({} if max_controls is None else {"max_controls": sizes.max_controls}),
    }
    return Design("full_matching", estimand, treated, propensity.score, weights, matched_set, notes)


def cover_everybody(links: "Links", sizes: SetSizes = ANY_SIZE) -> tuple[IntArray, IntArray, float]:
    """(seekers, links) of the cheapest cover, entry by entry (positions), and the sum of its distances. Of several that
    cost the same, one whose sets are of even sizes (`ties.py`). Raises Refused as `full_matching` does."""
    n, n_pool = len(links.seekers), len(links.pool)
    seat = np.repeat(np.arange(n), np.diff(links.start))
    used = _cheapest_cover(links, seat)
    if not sizes.hold(np.bincount(seat[used], minlength=n), np.bincount(links.member[used], minlength=n_pool)):
        from models.matching.bounded_sets import cheapest_sets

        used = cheapest_sets(links, sizes)
    return seat[used], used, float(links.cost[used].sum()) / 10.0**DECIMALS


def _cheapest_cover(links: "Links", seat: IntArray) -> IntArray:
    """Positions of the links that give everybody a partner, without any limit on sizes."""
    from models.matching.ties import pair_at_no_cost, spread, without_idle

    n, n_pool = len(links.seekers), len(links.pool)
    nearest_of_seeker = np.full(n, -1, dtype=np.int64)
    has_any = np.diff(links.start) > 0
    nearest_of_seeker[has_any] = links.start[:-1][has_any]
    nearest_of_member = _cheapest_link(links, n_pool)
    # What a pair saves against both taking their nearest partner.
    saved = links.cost[nearest_of_seeker[seat]] + links.cost[nearest_of_member[links.member]] - links.cost
    picked = _most_saved(links, seat, saved)
    covered_seeker, covered_member = np.zeros(n, dtype=np.bool_), np.zeros(n_pool, dtype=np.bool_)
    covered_seeker[seat[picked]], covered_member[links.member[picked]] = True, True
    pairs = pair_at_no_cost(links.start, links.member, saved, covered_seeker, covered_member)
    picked = np.concatenate([picked, pairs])
    load = [np.bincount(seat[picked], minlength=n), np.bincount(links.member[picked], minlength=n_pool)]
    is_nearest = [
        links.cost == links.cost[nearest_of_seeker[seat]],
        links.cost == links.cost[nearest_of_member[links.member]],
    ]
    tied_of_seeker, tied_of_member = (np.flatnonzero(each) for each in is_nearest)
    others = [
        spread(seat, links.member, tied_of_seeker, ~covered_seeker, load[1]),
        spread(links.member, seat, tied_of_member, ~covered_member, load[0]),
    ]
    return without_idle(np.unique(np.concatenate([picked, *others])), seat, links.member, n, n_pool)


def _cheapest_link(links: "Links", n_pool: int) -> IntArray:
    """(p,) the cheapest link of each member of the pool (ties: the seeker who comes first), -1 for none."""
    by_cost = np.lexsort((np.arange(len(links.cost)), links.cost))[::-1]
    cheapest = np.full(n_pool, -1, dtype=np.int64)
    cheapest[links.member[by_cost]] = by_cost
    return cheapest


def _most_saved(links: "Links", seat: IntArray, saved: NDArray[np.int64]) -> IntArray:
    """Links of the matching that saves most; a seeker left out saves nothing."""
    from models.matching.flow import cheapest_pairs
    from models.matching.links import Links, sorted_by_cost

    worth = np.flatnonzero(saved > 0)
    if len(worth) == 0:
        return worth
    most = int(saved[worth].max())
    start = np.searchsorted(seat[worth], np.arange(len(links.seekers) + 1)).astype(np.int64)
    members = np.arange(len(links.pool), dtype=np.int64)
    reduced, order = sorted_by_cost(
        Links(links.seekers, links.pool, start, links.member[worth], most - saved[worth], members)
    )
    nothing = np.full(len(links.seekers), most, dtype=np.int64)
    picked = cheapest_pairs(reduced, np.ones(len(links.seekers), dtype=np.int64), nothing, nothing)
    return np.asarray(worth[order[picked[picked >= 0]]], dtype=np.int64)
