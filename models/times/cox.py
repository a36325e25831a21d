"""Turns rows at risk from one day to another into Cox regression coefficients and each row's influence on them.

Choice made: one kernel for everything with a partial likelihood: first events, recurrent events (Andersen & Gill 1982,
Ann Stat 10:1100), strata, case weights (Binder 1992, Biometrika 79:139), and rows that stay at risk with a falling
weight after a competing event (Fine & Gray 1999, JASA 94:496). The influence of a row is the derivative of the
coefficients by its weight (Lin & Wei 1989, JASA 84:1074; R's dfbeta), so whatever made the weights can be stacked
under it. Tied days are the rule here: Efron's (1977, JASA 72:557) approximation with weights as in R's survival, or
Breslow's.

A row is at risk at a run of event days, so every sum over those at risk is one pass over the rows and one over the
days: nothing is quadratic.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from models.refusals import Refused
from models.results import BoolArray, FloatArray, IntArray

Ties = Literal["efron", "breslow"]

MAX_STEPS = 50
CONVERGED = 1e-10
"""Newton's decrement, in units of the mean weight, below which one more step, which squares the distance, is the
last."""

VANISHED = 1e-6
"""Where the information on a coefficient has fallen to this share of what it was at 0, the coefficient is infinite: the
likelihood rises for ever and ever more slowly."""

SINGULAR = 1e-10
"""Directions of the information below this share of the largest are constant or collinear covariates."""


@dataclass(frozen=True)
class AtRisk:
    """Rows at risk, one a period; a person may have several that do not overlap.

    start, stop  (n,) the row is at risk on days start < day <= stop
    event        (n,) whether the event of interest happens on day `stop`
    weights      (n,) > 0
    stratum      (n,) integer code; each stratum has its own baseline hazard
    """

    start: FloatArray
    stop: FloatArray
    event: BoolArray
    weights: FloatArray
    stratum: IntArray


@dataclass(frozen=True)
class EventDays:
    """The distinct (stratum, day) pairs with an event, in that order, and where each row lies among them.

    day, stratum  (k,)
    first, last   (n,) the row is at risk at the event days first, ..., last - 1
    end           (n,) where the event days of the row's stratum end
    own           (n,) the number of the row's own event day, -1 for rows without an event
    n_events, weight  (k,) number of events and their total weight
    """

    day: FloatArray
    stratum: IntArray
    first: IntArray
    last: IntArray
    end: IntArray
    own: IntArray
    n_events: IntArray
    weight: FloatArray


@dataclass(frozen=True)
class Carried:
    """Rows that stay at risk beyond their stop, with weight `factor` × `curve[group]` (Fine & Gray).

    factor  (n,) 0 for rows that do not stay
    group   (n,) whose curve
    curve   (groups, k) at the event days
    """

    factor: FloatArray
    group: IntArray
    curve: FloatArray


@dataclass(frozen=True)
class CoxFit:
    """A fitted model; `hazard` is the baseline hazard's step at each event day for somebody at the `centre`.

    coefficients  (p,)
    information   (p, p) observed, weighted
    bread         (p, p) its inverse, with the penalty: the covariance if weights were people and the model held
    score         (n, p) score residual of each row for one unit of its weight
    per_weight    (n, p) derivative of the coefficients by each row's weight: score @ bread
    centre        (p,) weighted mean of the covariates
    relative_risk (n,) exp(covariates @ coefficients), 1 at the centre
    hazard_x      (k, p) each step times the mean, less the centre, of the covariates of those at risk
    """

    coefficients: FloatArray
    information: FloatArray
    bread: FloatArray
    log_likelihood: float
    score: FloatArray
    per_weight: FloatArray
    centre: FloatArray
    relative_risk: FloatArray
    days: EventDays
    hazard: FloatArray
    hazard_x: FloatArray
    ties: Ties
    n_steps: int


class NotEstimableError(Refused):
    """The partial likelihood has no finite maximum; the message says why."""


def fit_cox(
    rows: AtRisk,
    covariates: FloatArray,
    *,
    ties: Ties = "efron",
    carried: Carried | None = None,
    l2_penalty: float = 0.0,
) -> CoxFit:
    """Maximise the weighted partial likelihood by Newton's method.

    covariates  (n, p), one value a row: a covariate that changes has several rows
    ties        "efron" or "breslow"; events on one day of one stratum are tied
    carried     for Fine-Gray: who stays at risk after a competing event; its curve follows `find_event_days(rows)`
    l2_penalty  half of it times the squared coefficients of standardised covariates is taken off the log likelihood, a
                sum with the rows' weights; the influence then leaves out that the standardisation follows the weights

    Constant or collinear covariates get the smallest coefficients that give the same fit.
    Raises ValueError on rows out of range, NotEstimableError when there is no event or a coefficient is infinite.
    """
    if ties not in ("efron", "breslow"):
        raise ValueError(f'ties must be "efron" or "breslow", not {ties!r}')
    _check_rows(rows, covariates)
    days = find_event_days(rows)
    if days.day.size == 0:
        raise NotEstimableError("nobody has the event")
    centre = rows.weights @ covariates / rows.weights.sum()
    spread = np.sqrt(rows.weights @ (covariates - centre) ** 2 / rows.weights.sum())
    spread[spread <= SINGULAR * np.abs(centre)] = 1.0
    problem = _Problem(rows, np.ascontiguousarray((covariates - centre) / spread), days, carried, ties)

    coefficients = np.zeros(covariates.shape[1])
    at = _evaluate(problem, coefficients)
    at_zero = np.diag(at.information)
    for n_steps in range(1, MAX_STEPS + 1):
        bread = _inverse(at.information + l2_penalty * np.eye(coefficients.size))
        downhill = at.gradient - l2_penalty * coefficients
        step = bread @ downhill
        is_flat = (np.diag(at.information) < VANISHED * at_zero) & (at_zero > SINGULAR * at_zero.max())
        if np.any(is_flat) and l2_penalty == 0:
            break
        is_last = step @ downhill <= CONVERGED * rows.weights.mean()
        coefficients, at = _climb(problem, at, coefficients, step, l2_penalty)
        if is_last:
            return _finish(problem, at, coefficients, centre, spread, n_steps, l2_penalty)
    raise NotEstimableError("a coefficient is infinite: in some group of rows nobody, or everybody, has the event")


def find_event_days(rows: AtRisk) -> EventDays:
    """The event days of the rows; O(n log n)."""
    events = np.flatnonzero(rows.event)
    strata, stratum = np.unique(rows.stratum, return_inverse=True)
    days, day_rank = np.unique(rows.stop[events], return_inverse=True)
    width = days.size + 1
    keys, number = np.unique(stratum[events] * width + day_rank, return_inverse=True)
    own = np.full(rows.stop.size, -1, dtype=np.int64)
    own[events] = number
    return EventDays(
        day=days[keys % width] if days.size else np.zeros(0),
        stratum=strata[keys // width],
        first=np.searchsorted(keys, stratum * width + np.searchsorted(days, rows.start, side="right")),
        last=np.searchsorted(keys, stratum * width + np.searchsorted(days, rows.stop, side="right")),
        end=np.searchsorted(keys, (stratum + 1) * width),
        own=own,
        n_events=np.bincount(number, minlength=keys.size),
        weight=_sums(number, rows.weights[events], keys.size),
    )


def time_weighted(
    fit: CoxFit, rows: AtRisk, covariates: FloatArray, by_day: FloatArray, carried: Carried | None = None
) -> tuple[FloatArray, ...]:
    """The score with each event day's part multiplied by `by_day` (k,): (total (p,), per row (n, p), slope (p, p)).

    The slope is minus the derivative of the total by the coefficients. For tests of proportional hazards; `carried` as
    the fit had it, its curve as known.
    """
    centred = np.ascontiguousarray(covariates - fit.centre)
    problem = _Problem(rows, centred, fit.days, carried, fit.ties)
    at = _evaluate(problem, fit.coefficients, by_day)
    return at.gradient, _score_residuals(problem, at), at.information


def weight_at_risk(days: EventDays, weights: FloatArray, carried: Carried | None = None) -> FloatArray:
    """(k,) the weight of the rows at risk at each event day, with those carried on."""
    total = _sums_at_risk(days.first, days.last, weights, np.zeros((weights.size, 0)), days.stratum)[0]
    for group, curve in enumerate(() if carried is None else carried.curve):
        assert carried is not None
        stays = np.flatnonzero((carried.factor > 0) & (carried.group == group))
        kept, nothing = weights[stays] * carried.factor[stays], np.zeros((stays.size, 0))
        total += curve * _sums_at_risk(days.last[stays], days.end[stays], kept, nothing, days.stratum)[0]
    return total


@dataclass(frozen=True)
class _Problem:
    rows: AtRisk
    centred: FloatArray
    days: EventDays
    carried: Carried | None
    ties: Ties


@dataclass(frozen=True)
class _At:
    """The likelihood at some coefficients. `exposure` is each row's sum of the hazard steps it was at risk for, and
    `exposure_x` the same with each step times the mean covariates of those at risk."""

    log_likelihood: float
    gradient: FloatArray
    information: FloatArray
    relative_risk: FloatArray
    hazard: FloatArray
    hazard_x: FloatArray
    mean: FloatArray
    exposure: FloatArray
    exposure_x: FloatArray
    by_day: FloatArray


def _check_rows(rows: AtRisk, covariates: FloatArray) -> None:
    if covariates.ndim != 2 or covariates.shape[0] != rows.stop.size:
        raise ValueError(f"covariates have shape {covariates.shape}, there are {rows.stop.size} rows")
    if not (rows.stop > rows.start).all():
        raise ValueError("every row must stop after it starts")
    if not (np.isfinite(rows.weights) & (rows.weights > 0)).all():
        raise ValueError("weights must be finite and above 0: leave out the rows outside the design")
    if not np.isfinite(covariates).all():
        raise ValueError("covariates must be finite")


def _evaluate(problem: _Problem, coefficients: FloatArray, by_day: FloatArray | None = None) -> _At:
    rows, days, x = problem.rows, problem.days, problem.centred
    by_day = np.ones(days.day.size) if by_day is None else by_day
    linear = x @ coefficients
    relative_risk = np.exp(linear)
    risk = rows.weights * relative_risk
    events = np.flatnonzero(rows.event)
    own = days.own[events]

    total, total_x = _sums_at_risk(days.first, days.last, risk, x, days.stratum)
    if problem.carried is not None:
        _add_carried(problem, problem.carried, risk, total, total_x)
    tied, tied_x = _sums(own, risk[events], days.day.size), _columns_by_day(own, risk[events], x[events], days)
    is_efron = problem.ties == "efron"
    steps = _hazard_steps(total, total_x, tied, tied_x, days.n_events, days.weight, by_day, is_efron)
    hazard, hazard_x, own_hazard, own_hazard_x, mean, logs, outer = steps

    exposure, exposure_x = _exposure(problem, hazard, hazard_x)
    exposure[events] += own_hazard[own] - hazard[own]
    exposure_x[events] += own_hazard_x[own] - hazard_x[own]
    event_weight = rows.weights[events] * by_day[own]
    return _At(
        log_likelihood=float(rows.weights[events] @ linear[events] - logs),
        gradient=event_weight @ (x[events] - mean[own]),
        information=x.T @ (x * (risk * exposure)[:, None]) - outer,
        relative_risk=relative_risk,
        hazard=hazard,
        hazard_x=hazard_x,
        mean=mean,
        exposure=exposure,
        exposure_x=exposure_x,
        by_day=by_day,
    )


def _columns_by_day(own: IntArray, risk: FloatArray, x: FloatArray, days: EventDays) -> FloatArray:
    return np.column_stack([_sums(own, risk * column, days.day.size) for column in x.T])


def _sums(place: IntArray, values: FloatArray, n_places: int) -> FloatArray:
    return np.bincount(place, values, n_places).astype(np.float64)


def _exposure(problem: _Problem, hazard: FloatArray, hazard_x: FloatArray) -> tuple[FloatArray, FloatArray]:
    days, carried = problem.days, problem.carried
    so_far, so_far_x = _running(hazard), _running(hazard_x)
    exposure, exposure_x = so_far[days.last] - so_far[days.first], so_far_x[days.last] - so_far_x[days.first]
    if carried is not None:
        for group, curve in enumerate(carried.curve):
            stays = np.flatnonzero((carried.factor > 0) & (carried.group == group))
            left, left_x = _running(curve * hazard), _running(curve[:, None] * hazard_x)
            since, until, factor = days.last[stays], days.end[stays], carried.factor[stays]
            exposure[stays] += factor * (left[until] - left[since])
            exposure_x[stays] += factor[:, None] * (left_x[until] - left_x[since])
    return exposure, exposure_x


def _running(steps: FloatArray) -> FloatArray:
    """Sums of the steps before each place; one longer than the steps."""
    return np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])


def _add_carried(problem: _Problem, carried: Carried, risk: FloatArray, total: FloatArray, total_x: FloatArray) -> None:
    days = problem.days
    for group, curve in enumerate(carried.curve):
        stays = np.flatnonzero((carried.factor > 0) & (carried.group == group))
        kept, kept_x = _sums_at_risk(
            days.last[stays],
            days.end[stays],
            risk[stays] * carried.factor[stays],
            np.ascontiguousarray(problem.centred[stays]),
            days.stratum,
        )
        total += curve * kept
        total_x += curve[:, None] * kept_x


def _score_residuals(problem: _Problem, at: _At) -> FloatArray:
    own = problem.days.own
    score = -at.relative_risk[:, None] * (problem.centred * at.exposure[:, None] - at.exposure_x)
    events = np.flatnonzero(problem.rows.event)
    score[events] += at.by_day[own[events], None] * (problem.centred[events] - at.mean[own[events]])
    return score


def _climb(
    problem: _Problem, at: _At, coefficients: FloatArray, step: FloatArray, l2_penalty: float
) -> tuple[FloatArray, _At]:
    """One Newton step, halved until the penalised likelihood does not fall; a step too small to matter is kept."""
    here = at.log_likelihood - l2_penalty / 2 * coefficients @ coefficients
    for _ in range(MAX_STEPS):
        there = coefficients + step
        with np.errstate(over="ignore", invalid="ignore"):  # a step beyond all numbers has no likelihood and is halved
            ahead = _evaluate(problem, there)
        if ahead.log_likelihood - l2_penalty / 2 * there @ there >= here - 1e-12 * abs(here):
            break
        step = step / 2
    return coefficients + step, ahead


def _finish(
    problem: _Problem,
    at: _At,
    coefficients: FloatArray,
    centre: FloatArray,
    spread: FloatArray,
    n_steps: int,
    l2_penalty: float,
) -> CoxFit:
    """Back to the covariates' own units."""
    score = _score_residuals(problem, at) * spread
    bread = _inverse(at.information + l2_penalty * np.eye(coefficients.size)) / np.outer(spread, spread)
    return CoxFit(
        coefficients=coefficients / spread,
        information=at.information * np.outer(spread, spread),
        bread=bread,
        log_likelihood=at.log_likelihood,
        score=score,
        per_weight=score @ bread,
        centre=centre,
        relative_risk=at.relative_risk,
        days=problem.days,
        hazard=at.hazard,
        hazard_x=at.hazard_x * spread,
        ties=problem.ties,
        n_steps=n_steps,
    )


def _inverse(information: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.pinv(information, rcond=SINGULAR, hermitian=True), dtype=np.float64)


@njit(cache=True)
def _sums_at_risk(
    first: IntArray, last: IntArray, risk: FloatArray, x: FloatArray, stratum: IntArray
) -> tuple[FloatArray, FloatArray]:
    """(k,) and (k, p): the sums of risk and of risk × x over the rows at risk at each event day. Each row is added at
    its last day and taken away before its first; the sums then run backwards within each stratum."""
    total, total_x = np.zeros(stratum.size), np.zeros((stratum.size, x.shape[1]))
    for row in range(risk.size):
        if last[row] > first[row]:
            place = last[row] - 1
            before = first[row] - 1
            is_late = before >= 0 and stratum[before] == stratum[place]
            total[place] += risk[row]
            if is_late:
                total[before] -= risk[row]
            for column in range(x.shape[1]):
                total_x[place, column] += risk[row] * x[row, column]
                if is_late:
                    total_x[before, column] -= risk[row] * x[row, column]
    for place in range(stratum.size - 2, -1, -1):
        if stratum[place] == stratum[place + 1]:
            total[place] += total[place + 1]
            for column in range(x.shape[1]):
                total_x[place, column] += total_x[place + 1, column]
    return total, total_x


@njit(cache=True)
def _hazard_steps(
    total: FloatArray,
    total_x: FloatArray,
    tied: FloatArray,
    tied_x: FloatArray,
    n_events: IntArray,
    weight: FloatArray,
    by_day: FloatArray,
    is_efron: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, float, FloatArray]:
    """For each event day: the hazard step, the step times the mean of x, the same two as they count for the rows with
    an event on that day (Efron: a share of them is no longer at risk), and the mean of x. With them the sum of the
    weighted logarithms of those at risk and the sum of weighted squares of the means."""
    n_days, p = total_x.shape
    hazard, own_hazard = np.zeros(n_days), np.zeros(n_days)
    hazard_x, own_hazard_x, mean = np.zeros((n_days, p)), np.zeros((n_days, p)), np.zeros((n_days, p))
    outer, logs = np.zeros((p, p)), 0.0
    at = np.zeros(p)
    for day in range(n_days):
        n_parts = n_events[day] if is_efron else 1
        weight_part = weight[day] / n_parts
        for part in range(n_parts):
            gone = part / n_parts
            left = total[day] - gone * tied[day]
            step = by_day[day] * weight_part / left
            logs += weight_part * np.log(left)
            hazard[day] += step
            own_hazard[day] += step * (1 - gone)
            for column in range(p):
                at[column] = (total_x[day, column] - gone * tied_x[day, column]) / left
                mean[day, column] += at[column] / n_parts
                hazard_x[day, column] += step * at[column]
                own_hazard_x[day, column] += step * (1 - gone) * at[column]
            for row in range(p):
                for column in range(p):
                    outer[row, column] += by_day[day] * weight_part * at[row] * at[column]
    return hazard, hazard_x, own_hazard, own_hazard_x, mean, logs, outer
