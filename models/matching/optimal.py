"""Baseline and propensity → matched sets whose distances sum to the least possible: optimal pair and ratio matching.

Choice made: as many treated rows as possible get a control (or as many of the controls they need at least, where that
is more than one), then as many places as possible are filled, and among all ways of doing that the sum of distances is
the smallest (Rosenbaum 1989, J Am Stat Assoc 84:1024). Minimum-cost flow on the graph of pairs within the caliper
(`links.py`, `flow.py`); the prices of the flow prove it, in every run.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.matching.distances import Distance, coordinates
from models.matching.nearest import facts_of
from models.matching.rules import (
    DECIMALS,
    as_codes,
    caliper_width,
    check_days,
    hardest_first,
    make_rules,
    pooled_sd,
)
from models.matching.sets import number_sets, weights_of_seekers
from models.propensity import comparable_rows
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, IntArray, Propensity

if TYPE_CHECKING:
    from models.matching.links import Links


def optimal_matching(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    ratio: int = 1,
    min_ratio: int = 1,
    distance: Distance = "log_odds",
    distance_covariates: Sequence[str] = (),
    caliper: float | None = 0.2,
    covariate_calipers: Mapping[str, float] | None = None,
    calendar_days: int | None = None,
    anti_exact: Sequence[str] = (),
) -> Design:
    """Match each treated row with up to `ratio` controls so that the distances of all pairs sum to the least possible.

    Options as in `nearest_neighbour`. A set smaller than `ratio` exists only where the limits and the number of
    controls leave no other way. The first `min_ratio` controls of everybody come before any further one, so all keep
    their set where that is possible; sets below `min_ratio` are dissolved afterwards. No person serves twice: of a
    person's rows the one nearest to the treated row stands for the person. `rng` is not used; the order of rows does
    not matter.

    Returns weights and sets as `nearest_neighbour` does; the note `total_distance` is the sum (before sets are
    dissolved).

    Raises ValueError for another estimand than the ATT and for limits that make no sense, Refused for more pairs within
    the limits than can be held in memory.
    """
    if estimand != "ATT":
        raise ValueError(f"optimal_matching chooses controls for the treated: the estimand is the ATT, not {estimand}")
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    if not 1 <= min_ratio <= ratio:
        raise ValueError(f"min_ratio must be from 1 to ratio ({ratio}), not {min_ratio}")
    check_days("calendar_days", calendar_days)
    from models.matching.links import link  # compiled when first used

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
    person = as_codes(baseline.person)
    links = link(rules, place, person, person, seekers, np.flatnonzero(usable & ~treated))
    wanted = np.full(len(seekers), ratio, dtype=np.int64)
    picked = pick_cheapest(links, wanted, min_ratio)
    chosen = np.where(picked >= 0, np.append(links.pool[links.member], -1)[picked], -1)
    total = float(links.cost[picked[picked >= 0]].sum()) / 10.0**DECIMALS
    chosen[(chosen >= 0).sum(axis=1) < min_ratio] = -1
    notes: dict[str, float | str] = {
        "caliper_width": "none" if caliper is None else float(rules.width),
        "log_odds_sd": pooled_sd(propensity.linear, treated, usable),
        "distance": distance,
        "total_distance": total,
        "n_pairs_allowed": len(links.member),
        **facts_of(chosen, wanted, treated, usable),
    }
    weights = weights_of_seekers(seekers, chosen, len(treated))
    matched_set = number_sets(seekers, chosen, len(treated))
    return Design("optimal_matching", estimand, treated, propensity.score, weights, matched_set, notes)


def pick_cheapest(links: "Links", wanted: IntArray, needed: int) -> IntArray:
    """`flow.cheapest_pairs` with penalties by which first the number of places filled among the `needed` first ones of
    the seekers, then the number of all places filled is the largest possible."""
    from models.matching.flow import cheapest_pairs

    n_places = int(wanted.sum())
    penalty = (int(links.cost.max()) if len(links.cost) else 0) * (n_places + 1) + 1
    if penalty > np.iinfo(np.int64).max // 64:
        raise Refused("the distances within the limits are too large to be summed exactly: set a narrower caliper")
    empty = np.full(len(wanted), penalty, dtype=np.int64)
    return cheapest_pairs(links, wanted, empty, 2 * empty, needed)
