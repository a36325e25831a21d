"""Baseline and propensity → matched sets: each treated row with the untreated rows nearest to it, chosen greedily.

Nearest-neighbour matching within a caliper of 0.2 standard deviations of the log-odds unless told otherwise (Austin
2011, Pharm Stat 10:150), hardest to match first (Rubin 1973, Biometrics 29:159). In k:1 matching every treated row gets
its first control before any gets a second.

Greedy means: a pair once made is kept, so the sum of distances is near the smallest possible, not the smallest
(`optimal_matching` finds that).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from models.matching.distances import Distance, coordinates
from models.matching.rules import (
    Rules,
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
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity

Order = Literal["hardest_first", "closest_first", "calendar", "random"]

FEWEST_JOINED_SETS = 20
"""With fewer independent sets a normal interval with cluster-robust errors is too narrow (Cameron & Miller 2015)."""


def nearest_neighbour(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    ratio: int = 1,
    min_ratio: int = 1,
    max_ratio: int | None = None,
    replace: bool = False,
    order: Order = "hardest_first",
    distance: Distance = "log_odds",
    distance_covariates: Sequence[str] = (),
    caliper: float | None = 0.2,
    covariate_calipers: Mapping[str, float] | None = None,
    calendar_days: int | None = None,
    anti_exact: Sequence[str] = (),
) -> Design:
    """Match each treated row with up to `ratio` controls; under the ATC each untreated row with treated ones.

    A control is in the same `exact_group`, has |difference in log-odds| <= caliper × SD, |difference in index_day| <=
    calendar_days, |difference| <= the limit of each of `covariate_calipers` (in the covariate's units), and differs in
    every column of `anti_exact` (a category counts as one column). SD is sqrt((variance among treated + variance among
    untreated) / 2) of the log-odds over the comparable rows, each variance with n - 1 (Austin 2011). None switches a
    limit off. Untreated rows of a treated person never serve.

    ratio, max_ratio  controls for each treated row: at most `ratio`; with `max_ratio`, from `min_ratio` to `max_ratio`
                      and `ratio` on average, more for those with low log-odds, for whom controls abound (Ming &
                      Rosenbaum 2000, Biometrics 56:118, with MatchIt's rule for how many)
    min_ratio         sets that found fewer are dissolved; the same as `ratio` for sets all of one size
    replace           whether a control may serve several treated rows (never the same one twice)
    order             hardest_first: by falling log-odds; closest_first: in each round the nearest pair of all first;
                      calendar: by index_day; random: drawn from `rng`, once. Ties: earlier index_day, lower person
                      code, lower exact_group
    distance          log_odds; mahalanobis or robust_mahalanobis (on ranks) of `distance_covariates` (none named: all),
                      with a caliper that is Mahalanobis matching within propensity calipers (Rosenbaum & Rubin 1985)

    Rounds 1 to `ratio`; in each, every treated row takes the free control at the smallest distance (ties: nearest
    index_day, earlier index_day, lower person code, lower log-odds). No person serves twice as a control unless with
    replacement. The order of rows does not matter.

    Returns weights 1 for a treated row with at least one control, 1 / (controls in the set) for its controls, summed
    over the sets a control serves; 0 for the rest. Sets are numbered in the order of choosing; with replacement sets
    that share a control are one set, because their errors depend on each other. When nobody can be matched all
    weights are 0.

    Raises ValueError for estimands it has not, for limits that make no sense; Refused when replacement joins nearly all
    sets, so that no standard error could be trusted.
    """
    _refuse_bad_options(estimand, ratio, min_ratio, max_ratio, order)
    check_days("calendar_days", calendar_days)
    usable = comparable_rows(baseline, treated)
    sought = treated if estimand == "ATT" else ~treated
    rules = make_rules(
        baseline,
        propensity,
        caliper_width(propensity.linear, treated, usable, caliper),
        days=(calendar_days, calendar_days),
        covariate_calipers=covariate_calipers,
        anti_exact=anti_exact,
    )
    place = coordinates(baseline, treated, usable, distance, distance_covariates)
    rows = np.flatnonzero(usable & sought)
    seekers = hardest_first(baseline, propensity.linear, rows, by_falling_odds=estimand == "ATT")
    wanted = _how_many(len(seekers), int(sought.sum()), ratio, min_ratio, max_ratio)
    seekers, wanted = _in_order(baseline, seekers, wanted, order, rng)
    person = as_codes(baseline.person)
    chosen = choose(rules, place, person, person, seekers, np.flatnonzero(usable & ~sought), wanted, replace, order)
    chosen[(chosen >= 0).sum(axis=1) < min_ratio] = -1
    matched_set = number_sets(seekers, chosen, len(treated))
    _refuse_one_cluster(replace, matched_set, chosen)
    notes: dict[str, float | str] = {
        "caliper_width": "none" if caliper is None else float(rules.width),
        "log_odds_sd": pooled_sd(propensity.linear, treated, usable),
        "distance": distance,
        **facts_of(chosen, wanted, sought, usable, seeks_treated=estimand == "ATC"),
    }
    weights = weights_of_seekers(seekers, chosen, len(treated))
    return Design("nearest_neighbour", estimand, treated, propensity.score, weights, matched_set, notes)


def choose(
    rules: Rules,
    place: FloatArray | None,
    person: IntArray,
    server: IntArray,
    seekers: IntArray,
    pool: IntArray,
    wanted: IntArray,
    replace: bool,
    order: Order,
    *,
    all_at_once: bool = False,
) -> IntArray:
    """(s, k) rows chosen for each seeker, -1 for none. `server` says what can serve only once (see `arrange`); with
    `all_at_once` a seeker takes all it may have before the next one chooses."""
    from models.matching.greedy import arrange, choose_closest, choose_in_order, limits_of  # compiled when first used

    of_seekers, of_pool, key_is_bound = arrange(rules, place, person, server, seekers, pool)
    n_groups = int(of_seekers.group.max()) + 1 if len(seekers) else 0
    starts = np.searchsorted(of_pool.group, np.arange(n_groups + 1)).astype(np.int64)
    kernel = choose_closest if order == "closest_first" and not replace else choose_in_order
    limits = limits_of(rules, key_is_bound, replace, all_at_once)
    n_servers = int(server.max()) + 1 if len(server) else 0
    position = kernel(of_seekers, of_pool, starts, wanted, n_servers, limits)
    rows = np.append(of_pool.row, -1)
    return np.asarray(rows[position], dtype=np.int64)


def facts_of(
    chosen: IntArray, wanted: IntArray, sought: BoolArray, usable: BoolArray, *, seeks_treated: bool = False
) -> dict[str, float | str]:
    """What the report says of the sets; `wanted` (s,) is how many each seeker could have had. Under the ATC untreated
    rows seek treated ones (`seeks_treated`), and the facts are named so."""
    n_chosen = (chosen >= 0).sum(axis=1)
    n_sets, n_served = int((n_chosen > 0).sum()), int(n_chosen.sum())
    uses = np.unique(chosen[chosen >= 0], return_counts=True)[1]
    seekers, servers, server = (
        ("control", "treated", "treated") if seeks_treated else ("treated", "controls", "control")
    )
    return {
        f"n_{seekers}_unmatched": int(sought.sum()) - n_sets,
        f"n_{seekers}_no_comparable_row": int((sought & ~usable).sum()),
        "n_sets": n_sets,
        f"n_sets_with_all_{servers}": int((n_chosen[n_chosen > 0] == wanted[n_chosen > 0]).sum()),
        f"mean_{servers}_per_set": n_served / n_sets if n_sets else 0.0,
        f"n_{servers}_used": len(uses),
        f"most_uses_of_a_{server}": int(uses.max()) if len(uses) else 0,
    }


def _refuse_bad_options(estimand: Estimand, ratio: int, min_ratio: int, max_ratio: int | None, order: str) -> None:
    if estimand not in ("ATT", "ATC"):
        raise ValueError(
            f"nearest_neighbour chooses controls for the treated: the estimand is the ATT (or, the other way round, "
            f"the ATC), not {estimand}"
        )
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    if not 1 <= min_ratio <= ratio:
        raise ValueError(f"min_ratio must be from 1 to ratio ({ratio}), not {min_ratio}")
    if max_ratio is not None and max_ratio <= ratio:
        raise ValueError(f"max_ratio must be above ratio ({ratio}) or none, not {max_ratio}")
    if max_ratio is not None and min_ratio == ratio:
        raise ValueError(f"with max_ratio, min_ratio must be below ratio ({ratio}), which is the average")
    if order not in ("hardest_first", "closest_first", "calendar", "random"):
        raise ValueError(f"order must be hardest_first, closest_first, calendar or random, not {order!r}")


def _how_many(n: int, n_sought: int, ratio: int, min_ratio: int, max_ratio: int | None) -> IntArray:
    """(n,) how many each may have, hardest first. With `max_ratio`, most get the fewest or the most, one gets what is
    left of n_sought × ratio: the rule of MatchIt's matchit(min.controls, max.controls), which may however leave that
    one with fewer than the fewest."""
    if max_ratio is None:
        return np.full(n, ratio, dtype=np.int64)
    n_most, left = divmod((ratio - min_ratio) * n_sought, max_ratio - min_ratio)
    counts = np.full(n_sought, min_ratio, dtype=np.int64)
    counts[n_sought - n_most :] = max_ratio
    if left:
        counts[n_sought - n_most - 1] += left
    return counts[n_sought - n :]


def _in_order(
    baseline: Baseline, seekers: IntArray, wanted: IntArray, order: Order, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    if order == "calendar":
        place = np.argsort(baseline.index_day[seekers], kind="stable")
    elif order == "random":
        place = rng.permutation(len(seekers))
    else:
        return seekers, wanted
    return seekers[place], wanted[place]


def _refuse_one_cluster(replace: bool, matched_set: IntArray, chosen: IntArray) -> None:
    n_sets, n_seekers = int(matched_set.max()) + 1, int((chosen >= 0).any(axis=1).sum())
    if replace and n_sets < min(FEWEST_JOINED_SETS, n_seekers):
        raise Refused(
            f"with replacement the same controls serve so many that only {n_sets} sets are independent of each other: "
            "too few for a standard error. Take a smaller ratio, match without replacement, or weight instead"
        )
