"""Turns repeated events into one ratio of the arms' rates, taken to be the same on every day.

Choice made: the proportional rates model (Lin, Wei, Yang & Ying 2000, J R Stat Soc B 62:711): the estimating equation
of Andersen and Gill on treatment alone, with an error that minds that a person's events go together. Death ends the
time at risk, so the ratio is that of the rates among those alive, and says nothing of a treatment that changes who
lives: mean_cumulative_count does. Where the ratio changes over time it is an average of it, over the days of the events
(and of the censoring). Ties within a day are Breslow's: the estimating equation is linear in the events.
"""

import numpy as np

from models.contrasts import check_confidence, log_ratio
from models.estimated_weights import WeightsAre, model_weights
from models.influence import find_clusters
from models.recurrent.histories import Histories, histories_in_design
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray, IntArray
from models.times.events import FEWEST

NEWTON_STEPS = 100
CONVERGED = 1e-12
"""Largest step of the log ratio of a finished fit."""


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
) -> tuple[Estimate, ...]:
    """Rate ratio over `horizon` days.

    event_row, event_day, last_day, died   as for mean_cumulative_count
    weights_are                            as for weighted_difference

    Raises ValueError on days, events or designs out of range, Refused where an arm has no event while the other is at
    risk.
    """
    check_confidence(confidence)
    histories = histories_in_design(event_row, event_day, last_day, died, design, horizon)
    model = model_weights(baseline, design, weights_are)
    log_value, per_weight = _fit(histories, design)
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
        notes={"variance": model.says, "n_events": float(histories.row.size), FEWEST: float(fewest)},
    )
    return (estimate,)


def _fit(histories: Histories, design: Design) -> tuple[float, FloatArray]:
    """The log ratio, and (n,) its derivative with respect to each row's weight."""
    inside = design.weights > 0
    days = np.unique(histories.day)
    at, ends = np.searchsorted(days, histories.day), np.searchsorted(days, histories.last_day, side="right") - 1
    weight, treated = design.weights[histories.row], design.treated[histories.row]
    events = [_total(at, weight * (treated == arm), days.size) for arm in (True, False)]
    at_risk = []
    for arm in (design.treated, ~design.treated):
        here = inside & arm & (ends >= 0)
        at_risk.append(_total(ends[here], design.weights[here], days.size)[::-1].cumsum()[::-1])
    both = (at_risk[0] > 0) & (at_risk[1] > 0)
    if not (events[0][both] > 0).any() or not (events[1][both] > 0).any():
        raise Refused("a ratio of rates needs events in both arms while both are at risk")
    log_value, share, information = _solve(events, at_risk)
    hazard = (events[0] + events[1]) / (at_risk[1] + np.exp(log_value) * at_risk[0])
    gain = np.bincount(histories.row, weights=treated - share[at], minlength=inside.size)
    spent = np.zeros((2, days.size + 1))
    spent[0, 1:] = ((1 - share) * np.exp(log_value) * hazard).cumsum()
    spent[1, 1:] = (-share * hazard).cumsum()
    cost = np.where(design.treated, spent[0][ends + 1], spent[1][ends + 1])
    return log_value, np.where(inside, gain - cost, 0.0) / information


def _total(places: IntArray, amounts: FloatArray, size: int) -> FloatArray:
    return np.bincount(places, weights=amounts, minlength=size).astype(np.float64)


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
