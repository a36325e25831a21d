"""Turns repeated events into one ratio of the arms' rates, taken to be the same on every day.

Choice made: the proportional rates model (Lin, Wei, Yang & Ying 2000, J R Stat Soc B 62:711): the estimating equation
of Andersen and Gill on treatment alone, with an error that minds that a person's events go together. Death ends the
time at risk, so the ratio is that of the rates among those alive, and says nothing of a treatment that changes who
lives: mean_cumulative_count does. Where the ratio changes over time it is an average of it, over the days of the events
(and of the censoring). Ties within a day are Breslow's: the estimating equation is linear in the events.

Where people lost to observation are unlike those who stay, everybody at risk can count one over the probability of
being still observed (models/times/censoring.py): rows are cut on the days on which people were lost.
"""

from dataclasses import dataclass

import numpy as np

from models.contrasts import check_confidence, log_ratio
from models.estimated_weights import WeightsAre, model_weights
from models.influence import find_clusters
from models.recurrent.histories import Histories, histories_in_design, weights_of_histories
from models.recurrent.weighted_count import describe_event_weights, numbers_among
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray, IntArray
from models.times.censoring import (
    Censoring,
    CensoringWeights,
    Pieces,
    check_censoring,
    of_rows,
    piece_of,
    weighted_pieces,
    whole_rows,
)
from models.times.events import CENSORING_NOTE, FEWEST

NEWTON_STEPS = 100
CONVERGED = 1e-12
"""Largest step of the log ratio of a finished fit."""


@dataclass(frozen=True)
class _AtRisk:
    """Pieces of rows of the design and the events in them.

    start, stop, weight, treated  (q,) at risk on days start < day <= stop
    owner                         (m,) piece of each event
    day                           (m,)
    """

    start: FloatArray
    stop: FloatArray
    weight: FloatArray
    treated: BoolArray
    owner: IntArray
    day: FloatArray


def lwyy(
    event_row: IntArray,
    event_day: FloatArray,
    last_day: FloatArray,
    died: BoolArray,
    baseline: Baseline,
    design: Design,
    *,
    horizon: int = 365,
    confidence: float = 0.95,
    weights_are: WeightsAre = "estimated",
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> tuple[Estimate, ...]:
    """Rate ratio over `horizon` days.

    event_row, event_day, last_day, died   as for mean_cumulative_count
    weights_are                            as for weighted_difference
    censoring   "none": whoever is lost to observation is like those who stay, in each arm; "weights": like those who
                stay and are alike in the covariates; with the penalty and the cap of that model
                (models/times/censoring.py), whose estimation is in the error

    Raises ValueError on days, events or designs out of range, Refused where an arm has no event while the other is at
    risk.
    """
    check_confidence(confidence)
    check_censoring(censoring)
    histories = histories_in_design(event_row, event_day, last_day, died, design, horizon)
    model = model_weights(baseline, design, weights_are)
    by: CensoringWeights | None = None
    notes: dict[str, float | str] = {}
    if censoring == "weights":
        by = weights_of_histories(histories, baseline, design, horizon, censoring_penalty, largest_censoring_weight)
        notes = {CENSORING_NOTE: describe_event_weights(histories, by, largest_censoring_weight)}
    log_value, per_weight = _per_row(histories, design, by, largest_censoring_weight)
    had_events = np.unique(histories.row)
    fewest = min(int((design.treated[had_events] == arm).sum()) for arm in (True, False))
    influence = np.zeros(design.weights.size)
    for arm in (design.treated, ~design.treated):
        influence = influence + model.influence(np.where(arm, per_weight, 0.0)[:, None], arm)[:, 0]
    estimate = log_ratio(
        log_value,
        influence,
        find_clusters(baseline, design),
        design,
        method="lwyy",
        scale="rate_ratio",
        confidence=confidence,
        notes={"variance": model.says, "n_events": float(histories.row.size), FEWEST: float(fewest), **notes},
    )
    return (estimate,)


def _per_row(
    histories: Histories, design: Design, by: CensoringWeights | None, largest: float
) -> tuple[float, FloatArray]:
    """The log ratio, and (n,) its derivative with respect to each row's weight."""
    used = np.flatnonzero(design.weights > 0)
    last, weights = histories.last_day[used], design.weights[used]
    pieces: Pieces = whole_rows(last) if by is None else weighted_pieces(last, by, largest)
    owner = numbers_among(used, histories.row, design.weights.size)
    at_risk = _AtRisk(
        start=pieces.start,
        stop=pieces.stop,
        weight=weights[pieces.owner] * pieces.weight,
        treated=design.treated[used][pieces.owner],
        owner=piece_of(pieces, owner, histories.day),
        day=histories.day,
    )
    log_value, per_piece = _fit(at_risk)
    per_weight = np.zeros(design.weights.size)
    per_weight[used] = of_rows(per_piece[:, None], pieces, by, weights)[:, 0]
    return log_value, per_weight


def _fit(rows: _AtRisk) -> tuple[float, FloatArray]:
    """The log ratio, and (q,) its derivative with respect to each piece's weight."""
    days = np.unique(rows.day)
    at = np.searchsorted(days, rows.day)
    first, end = (np.searchsorted(days, edge, side="right") for edge in (rows.start, rows.stop))
    weight, treated = rows.weight[rows.owner], rows.treated[rows.owner]
    events = [_total(at, weight * (treated == arm), days.size) for arm in (True, False)]
    at_risk = [_at_risk(first[arm], end[arm], rows.weight[arm], days.size) for arm in (rows.treated, ~rows.treated)]
    both = (at_risk[0] > 0) & (at_risk[1] > 0)
    if not (events[0][both] > 0).any() or not (events[1][both] > 0).any():
        raise Refused("a ratio of rates needs events in both arms while both are at risk")
    log_value, share, information = _solve(events, at_risk)
    hazard = (events[0] + events[1]) / (at_risk[1] + np.exp(log_value) * at_risk[0])
    gain = np.bincount(rows.owner, weights=treated - share[at], minlength=rows.weight.size)
    spent = np.zeros((2, days.size + 1))
    spent[0, 1:] = ((1 - share) * np.exp(log_value) * hazard).cumsum()
    spent[1, 1:] = (-share * hazard).cumsum()
    cost = np.where(rows.treated, spent[0][end] - spent[0][first], spent[1][end] - spent[1][first])
    return log_value, (gain - cost) / information


def _total(places: IntArray, amounts: FloatArray, size: int) -> FloatArray:
    return np.bincount(places, weights=amounts, minlength=size).astype(np.float64)


def _at_risk(first: IntArray, end: IntArray, weight: FloatArray, n_days: int) -> FloatArray:
    """(d,) weight at risk on each day; exactly 0 where nobody is, whatever rounding leaves of the sums."""
    change = _total(first, weight, n_days + 1) - _total(end, weight, n_days + 1)
    number = np.bincount(first, minlength=n_days + 1) - np.bincount(end, minlength=n_days + 1)
    return np.where(number.cumsum() > 0, change.cumsum(), 0.0)[:n_days]


def _solve(events: list[FloatArray], at_risk: list[FloatArray]) -> tuple[float, FloatArray, float]:
    """(log ratio, (days,) treated share of the rate on each day, information) at which the score is 0: Newton."""
    all_events = events[0] + events[1]
    log_value = 0.0
    for _ in range(NEWTON_STEPS):
        of_treated = np.exp(log_value) * at_risk[0]
        share = of_treated / (of_treated + at_risk[1])
        score = float(events[0].sum() - all_events @ share)
        information = float(all_events @ (share * (1 - share)))
        step = float(np.clip(score / information, -1, 1))
        if abs(step) < CONVERGED:
            return log_value, share, information
        log_value += step
    raise Refused("the ratio of rates did not converge")
