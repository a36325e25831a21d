"""Propensity log-odds → matched sets: each treated row with up to `ratio` untreated rows that resemble it.

Greedy nearest-neighbour matching on the log-odds of treatment, without replacement, within a caliper of 0.2 standard
deviations unless told otherwise (Austin 2011, Pharm Stat 10:150), hardest to match first (Rubin 1973, Biometrics
29:159). In k:1 matching every treated row gets its first control before any gets a second.

Greedy means: a pair once made is kept, so the sum of distances is near the smallest possible, not the smallest.
"""

from dataclasses import dataclass

import numpy as np

from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity

# Distances are compared after rounding, so that the last bits of a fit (which change with the order of the rows and
# the number of threads) never decide a tie.
DECIMALS = 9
FIRST_REACH = 32


def nearest_neighbour(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    ratio: int = 1,
    caliper: float | None = 0.2,
    calendar_days: int | None = None,
) -> Design:
    """Match each treated row with up to `ratio` controls.

    A control is in the same `exact_group`, has |difference in log-odds| <= caliper × SD and |difference in index_day|
    <= calendar_days. SD is sqrt((variance among treated + variance among untreated) / 2) of the log-odds over the
    comparable rows, each variance with n - 1 (Austin 2011). None switches a limit off. No person serves twice as a
    control, and untreated rows of a treated person never serve.

    Rounds 1 to `ratio`; in each, treated rows by falling log-odds (ties: earlier index_day, lower person code, lower
    exact_group) take the free control at the smallest log-odds distance (ties: nearest index_day, earlier index_day,
    lower person code). Nothing is drawn at random and the order of rows does not matter, so `rng` is not used.

    Returns weights 1 for a treated row with at least one control, 1 / (controls in the set) for its controls, 0 for
    the rest; sets are numbered in the order of matching. When nobody can be matched all weights are 0.

    Raises ValueError for another estimand than the ATT and for limits that make no sense.
    """
    _refuse_bad_options(estimand, ratio, caliper, calendar_days)
    usable = comparable_rows(baseline, treated)
    sd = _pooled_sd(propensity.linear, treated, usable)
    width = np.inf if caliper is None else caliper * sd
    pool = _Pool(baseline, propensity.linear, usable & ~treated, width, calendar_days)
    hardest_first = _hardest_first(baseline, propensity.linear, np.flatnonzero(usable & treated))
    controls = _match_in_rounds(pool, hardest_first, ratio)
    weights, matched_set = _weigh(controls, len(treated))
    n_sets, n_controls = len(controls), sum(len(chosen) for chosen in controls.values())
    notes: dict[str, float | str] = {
        "caliper_width": "none" if caliper is None else float(width),
        "log_odds_sd": sd,
        "n_treated_unmatched": int(treated.sum()) - n_sets,
        "n_treated_no_comparable_row": int((treated & ~usable).sum()),
        "n_sets": n_sets,
        "n_sets_with_all_controls": sum(len(chosen) == ratio for chosen in controls.values()),
        "mean_controls_per_set": n_controls / n_sets if n_sets else 0.0,
    }
    return Design("nearest_neighbour", estimand, treated, propensity.score, weights, matched_set, notes)


def _refuse_bad_options(estimand: Estimand, ratio: int, caliper: float | None, calendar_days: int | None) -> None:
    if estimand != "ATT":
        raise ValueError(f"nearest_neighbour chooses controls for the treated: the estimand is the ATT, not {estimand}")
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    if caliper is not None and not caliper >= 0:
        raise ValueError(f"caliper must be at least 0 standard deviations or none, not {caliper}")
    if calendar_days is not None and calendar_days < 0:
        raise ValueError(f"calendar_days must be at least 0 or none, not {calendar_days}")


def _pooled_sd(linear: FloatArray, treated: BoolArray, usable: BoolArray) -> float:
    """Zero variance for an arm of a single row."""
    arms = (linear[usable & treated], linear[usable & ~treated])
    return float(np.sqrt(sum(arm.var(ddof=1) if len(arm) > 1 else 0.0 for arm in arms) / 2.0))


def _hardest_first(baseline: Baseline, linear: FloatArray, rows: IntArray) -> IntArray:
    by = (baseline.exact_group, baseline.person, baseline.index_day, -np.round(linear, DECIMALS))
    return rows[np.lexsort([key[rows] for key in by])]


def _match_in_rounds(pool: "_Pool", hardest_first: IntArray, ratio: int) -> dict[int, list[int]]:
    """Treated row → its controls, for the treated rows that have any."""
    controls: dict[int, list[int]] = {}
    waiting = [int(row) for row in hardest_first]
    for _ in range(ratio):
        served = []
        for row in waiting:
            control = pool.take_nearest(row)
            if control is not None:
                controls.setdefault(row, []).append(control)
                served.append(row)
        waiting = served  # the pool only shrinks: who found nobody now never will
    return controls


def _weigh(controls: dict[int, list[int]], n_rows: int) -> tuple[FloatArray, IntArray]:
    weights, matched_set = np.zeros(n_rows), np.full(n_rows, -1, dtype=np.int64)
    for number, (row, chosen) in enumerate(controls.items()):
        weights[row], weights[chosen] = 1.0, 1.0 / len(chosen)
        matched_set[[row, *chosen]] = number
    return weights, matched_set


@dataclass(frozen=True)
class _Shelf:
    """The candidates of one exact group, sorted by log-odds. `person` numbers people from 0."""

    row: IntArray
    linear: FloatArray
    day: IntArray
    person: IntArray


class _Pool:
    """The candidates still free: matching without replacement uses them up."""

    def __init__(
        self,
        baseline: Baseline,
        linear: FloatArray,
        is_candidate: BoolArray,
        width: float,
        calendar_days: int | None,
    ) -> None:
        self.baseline, self.linear, self.width = baseline, linear, width
        self.calendar_days = np.inf if calendar_days is None else calendar_days
        people, person = np.unique(baseline.person, return_inverse=True)
        self.has_served = np.zeros(len(people), dtype=np.bool_)
        rows = np.flatnonzero(is_candidate)
        rows = rows[np.lexsort((linear[rows], baseline.exact_group[rows]))]
        groups, starts = np.unique(baseline.exact_group[rows], return_index=True)
        self.shelves = {
            int(group): _Shelf(on_shelf, linear[on_shelf], baseline.index_day[on_shelf], person[on_shelf])
            for group, on_shelf in zip(groups, np.split(rows, starts)[1:], strict=True)
        }

    def take_nearest(self, row: int) -> int | None:
        """The best free candidate for this treated row, now taken; None if there is none.

        Looks at the candidates nearest in log-odds and reaches twice as far until nothing further out can be better.
        """
        shelf = self.shelves[int(self.baseline.exact_group[row])]
        target = self.linear[row]
        centre, reach = int(np.searchsorted(shelf.linear, target)), FIRST_REACH
        while True:
            low, high = max(centre - reach, 0), min(centre + reach, len(shelf.row))
            best, distance = self._best_between(shelf, low, high, row)
            left = np.inf if low == 0 else _distance(shelf.linear[low], target)
            right = np.inf if high == len(shelf.row) else _distance(shelf.linear[high - 1], target)
            nearest_beyond = min(left, right)  # everybody further out is at least this far away
            if nearest_beyond > min(distance, self.width + 10.0**-DECIMALS) or nearest_beyond == np.inf:
                break
            reach *= 2
        if best is None:
            return None
        self.has_served[shelf.person[best]] = True
        return int(shelf.row[best])

    def _best_between(self, shelf: _Shelf, low: int, high: int, row: int) -> tuple[int | None, float]:
        """Position and distance of the best free candidate on this stretch of the shelf."""
        stretch = slice(low, high)
        days = np.abs(shelf.day[stretch] - self.baseline.index_day[row])
        is_allowed = np.abs(shelf.linear[stretch] - self.linear[row]) <= self.width
        is_allowed &= (days <= self.calendar_days) & ~self.has_served[shelf.person[stretch]]
        allowed = np.flatnonzero(is_allowed)
        if len(allowed) == 0:
            return None, np.inf
        distance = _distance(shelf.linear[stretch][allowed], self.linear[row])
        ties = allowed[distance == distance.min()]
        first = np.lexsort((shelf.person[stretch][ties], shelf.day[stretch][ties], days[ties]))[0]
        return low + int(ties[first]), float(distance.min())


def _distance(linear: FloatArray, target: float) -> FloatArray:
    return np.asarray(np.round(np.abs(linear - target), DECIMALS))
