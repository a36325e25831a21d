"""Turns first events into curves that hold although those with some covariates are lost to observation earlier.

Choice made: inverse-probability-of-censoring weights (Robins & Finkelstein 2000, Biometrics 56:779; Graf et al. 1999,
Stat Med 18:2529). An event counts one over the probability of having been observed until just before it, so it stands
for those alike who were lost. That probability comes from a Cox model of the end of observation with a baseline hazard
for each arm and the baseline covariates (Breslow ties; its baseline as in models/times/staying.py; a ridge penalty on
standardised covariates keeps many covariates and few censored people apart; it stands beside Kish's effective number
of people, so that the unit of the weights means nothing). Estimand: the risk if nobody's observation
had ended early, given that its end depends on nothing else that bears on the outcome. The estimation of the weights is
part of each row's influence; treating them as known would make the errors too large.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.penalty import penalty_of_weighted
from models.refusals import Refused
from models.results import BoolArray, Design, FloatArray, IntArray
from models.times.arm_curve import Arm, ArmCurve, is_arm
from models.times.cox import AtRisk, CoxFit, NotEstimableError, fit_cox
from models.times.events import CENSORED, censored_early
from models.times.staying import Staying, find_staying

Censoring = Literal["none", "weights"]

MOST_PIECES = 5_000_000
"""Pieces of rows held at once by models of hazards."""


@dataclass(frozen=True)
class CensoringWeights:
    """The weights of rows of the design, one over the probability of still being observed just before their last day.

    used          (m,) the rows of the design they are for
    weight        (m,) capped
    is_capped     (m,)
    stratum       (m,) 1 for the treated, 0 for controls
    fit, staying  the model of the end of observation; None where nobody's observation ended early
    watched       (m,) how many of the fit's days lie before the row's last day, counted over all strata
    """

    used: IntArray
    weight: FloatArray
    is_capped: BoolArray
    stratum: IntArray
    covariates: FloatArray
    fit: CoxFit | None
    watched: IntArray
    staying: Staying | None = None


def check_censoring(censoring: str) -> None:
    """Raises ValueError unless it is one of the two ways."""
    if censoring not in ("none", "weights"):
        raise ValueError(f'censoring must be "none" or "weights", not {censoring!r}')


def censoring_weights(
    day: FloatArray,
    event: IntArray,
    matrix: FloatArray,
    design: Design,
    horizon: float,
    *,
    l2_penalty: float,
    largest: float,
) -> CensoringWeights:
    """Weights of the design's rows; days and codes as `within_horizon` gives them, `matrix` the (n, p) covariates.

    Raises Refused when the weights cannot be found.
    """
    if not largest > 1:
        raise ValueError(f"the largest censoring weight must be above 1, not {largest}")
    used = np.flatnonzero(design.weights > 0)
    day, event, covariates = day[used], event[used], matrix[used]
    stratum = design.treated[used].astype(np.int64)
    is_early = censored_early(day, event, horizon)
    # On one day events come before the end of observation: whoever has one is not at risk of it any more.
    rows = AtRisk(
        np.zeros(day.size), np.where(is_early, day, np.nextafter(day, 0)), is_early, design.weights[used], stratum
    )
    if not is_early.any():
        nothing = np.zeros(day.size, dtype=np.int64)
        return CensoringWeights(used, np.ones(day.size), nothing > 0, stratum, covariates, None, nothing)
    try:
        penalty = penalty_of_weighted(l2_penalty, rows.weights)
        fit = fit_cox(rows, covariates, ties="breslow", l2_penalty=penalty)
    except NotEstimableError as error:
        raise Refused(f"the model of the end of observation: {error}") from error
    watched = _days_watched(fit, stratum, day, "left")
    staying = find_staying(fit, rows.weights, covariates)
    weight = np.exp(fit.relative_risk * _since_start(fit, staying.step[:, None], watched, stratum)[:, 0])
    capped = np.minimum(weight, largest)
    return CensoringWeights(used, capped, weight > largest, stratum, covariates, fit, watched, staying)


@dataclass(frozen=True)
class Pieces:
    """Rows cut on the days on which people were lost to observation, each piece with the weight of its time.

    owner        (q,) number of the row
    start, stop  (q,)
    is_last      (q,) whether the row's own end is the piece's
    weight       (q,) capped
    is_capped    (q,)
    watched      (q,) as in CensoringWeights
    """

    owner: IntArray
    start: FloatArray
    stop: FloatArray
    is_last: BoolArray
    weight: FloatArray
    is_capped: BoolArray
    watched: IntArray


def whole_rows(day: FloatArray) -> Pieces:
    """One piece a row, of weight 1."""
    nothing = np.zeros(day.size, dtype=np.int64)
    every = np.arange(day.size)
    return Pieces(every, np.zeros(day.size), day, every >= 0, np.ones(day.size), nothing > 0, nothing)


def weighted_pieces(day: FloatArray, by: CensoringWeights, largest: float) -> Pieces:
    """The rows in pieces. In a large pool the weights are renewed on fewer, evenly spread days than people were lost on
    (MOST_PIECES pieces in all)."""
    if by.fit is None or by.staying is None:
        return whole_rows(day)
    cuts = np.unique(by.fit.days.day)
    most = max(int(MOST_PIECES / day.size), 1)
    if cuts.size > most:
        cuts = cuts[np.unique(np.linspace(0, cuts.size - 1, most).round().astype(np.int64))]
    n_pieces = 1 + np.searchsorted(cuts, day, side="left")
    owner = np.repeat(np.arange(day.size), n_pieces)
    number = np.arange(owner.size) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
    edges = np.concatenate([np.zeros(1), cuts, np.full(1, np.inf)])
    start, stop = edges[number], np.minimum(edges[number + 1], day[owner])
    stratum = by.stratum[owner]
    watched = _days_watched(by.fit, stratum, start, "right")
    hazard = _since_start(by.fit, by.staying.step[:, None], watched, stratum)[:, 0]
    weight = np.exp(by.fit.relative_risk[owner] * hazard)
    is_last = number == n_pieces[owner] - 1
    return Pieces(owner, start, stop, is_last, np.minimum(weight, largest), weight > largest, watched)


def weights_on(
    by: CensoringWeights, owner: IntArray, day: FloatArray, largest: float
) -> tuple[FloatArray, BoolArray, IntArray]:
    """(q,) weights of rows on days of their own, one over the probability of still being observed just before the day;
    whether each is capped; and how many of the fit's days they hold, counted as in CensoringWeights.

    owner  (q,) number of the row among those the weights are for
    """
    if by.fit is None or by.staying is None:
        nothing = np.zeros(day.size, dtype=np.int64)
        return np.ones(day.size), nothing > 0, nothing
    watched = _days_watched(by.fit, by.stratum[owner], day, "left")
    hazard = _since_start(by.fit, by.staying.step[:, None], watched, by.stratum[owner])[:, 0]
    weight = np.exp(by.fit.relative_risk[owner] * hazard)
    return np.minimum(weight, largest), weight > largest, watched


def piece_of(pieces: Pieces, owner: IntArray, day: FloatArray) -> IntArray:
    """(q,) the piece of each row `owner` in which a day lies, days after the last belonging to the last."""
    longest = max(float(pieces.stop.max()), float(day.max(initial=0))) + 1
    place = np.searchsorted(pieces.owner * longest + pieces.start, owner * longest + day, side="left") - 1
    return np.asarray(place, dtype=np.int64)


def of_rows(per_weight: FloatArray, pieces: Pieces, by: CensoringWeights | None, weights: FloatArray) -> FloatArray:
    """(m, p) derivatives by the rows' weights from (q, p) those by the weights of the pieces, also through the model of
    the end of observation. weights (m,) of the rows."""
    moved = per_weight * pieces.weight[:, None]
    moves: FloatArray = np.column_stack(
        [np.bincount(pieces.owner, column, weights.size).astype(np.float64) for column in moved.T]
    )
    if by is None or by.fit is None or by.staying is None:
        return moves
    pull = np.where(pieces.is_capped[:, None], 0.0, moved * weights[pieces.owner, None])
    for arm in (1, 0):
        mine = by.stratum[pieces.owner] == arm
        rows = np.flatnonzero(by.stratum == arm)
        moves += through_model(by, by.fit, by.staying, rows, pieces.owner[mine], pieces.watched[mine], pull[mine])
    return moves


def describe_weights(by: CensoringWeights, event: IntArray) -> str:
    """One sentence on the weights of the rows with an event, which are the ones that count."""
    has_event = event[by.used] != CENSORED
    return say_weights(by, by.weight[has_event], by.is_capped[has_event])


def say_weights(by: CensoringWeights, counted: FloatArray, capped: BoolArray) -> str:
    """One sentence on the weights with which events counted."""
    if by.fit is None or counted.size == 0:
        return "weights for the end of observation: nobody's observation ended early"
    return (
        f"weights for the end of observation by arm and covariates: {counted.mean():.2f} on average, at most "
        f"{counted.max():.2f}, {100 * capped.mean():.1f} % of events at the cap; the estimate is for nobody's "
        "observation having ended early, provided its end depends on nothing else that bears on the outcome"
    )


def _days_watched(fit: CoxFit, stratum: IntArray, day: FloatArray, side: Literal["left", "right"]) -> IntArray:
    """(q,) how many of the fit's days lie before a day (`side` "right": or on it), with all those of earlier strata."""
    watched = np.zeros(day.size, dtype=np.int64)
    for arm in (0, 1):
        mine = stratum == arm
        first, end = np.searchsorted(fit.days.stratum, (arm, arm + 1))
        watched[mine] = first + np.searchsorted(fit.days.day[first:end], day[mine], side=side)
    return watched


def _since_start(fit: CoxFit, steps: FloatArray, watched: IntArray, stratum: IntArray) -> FloatArray:
    """(m, j) sums of the steps (k, j) of a row's own stratum before its last day."""
    so_far = np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])
    return so_far[watched] - so_far[np.searchsorted(fit.days.stratum, stratum)]


def weighted_incidence(
    day: FloatArray,
    event: IntArray,
    design: Design,
    arm: Arm,
    horizon: float,
    causes: tuple[int, ...],
    by: CensoringWeights,
) -> ArmCurve:
    """The arm's curve of first events with one of the codes `causes`, each counting its censoring weight."""
    used = by.used
    mine = np.flatnonzero(is_arm(design, arm)[used])
    weights = design.weights[used]
    total = weights[mine].sum()
    days, place = np.unique(day[used][mine], return_inverse=True)
    is_cause = np.isin(event[used][mine], causes)
    counted = weights[mine] * by.weight[mine] * is_cause
    incidence = np.bincount(place, counted, days.size).cumsum() / total
    at_risk = np.bincount(place, weights[mine], days.size)[::-1].cumsum()[::-1]
    is_last_censored = (event[used][mine] == CENSORED) & (place == days.size - 1)

    def per_weight(combinations: FloatArray) -> FloatArray:
        """Directly, and through the model of the end of observation."""
        later = np.cumsum(combinations[::-1], axis=0)[::-1]
        gain = np.where(is_cause[:, None], later[place], 0.0) * by.weight[mine, None]
        moves = np.zeros((used.size, combinations.shape[1]))
        moves[mine] = (gain - incidence @ combinations) / total
        if by.fit is not None and by.staying is not None:
            pull = np.where(by.is_capped[mine, None], 0.0, weights[mine, None] * gain / total)
            moves += through_model(by, by.fit, by.staying, mine, mine, by.watched[mine], pull)
        return moves

    return ArmCurve(
        arm=arm,
        day=days,
        incidence=incidence,
        at_risk=at_risk,
        n_events=np.bincount(place[is_cause], minlength=days.size).cumsum(),
        rows=used,
        per_weight=per_weight,
        known_until=np.inf if days[-1] >= horizon or not is_last_censored.any() else float(days[-1]),
    )


def through_model(
    by: CensoringWeights,
    fit: CoxFit,
    staying: Staying,
    mine: IntArray,
    owner: IntArray,
    watched: IntArray,
    pull: FloatArray,
) -> FloatArray:
    """(m, j) what one more unit of a row's weight does by way of the hazards of the end of observation.

    mine            the rows of one arm
    owner, watched  (q,) a weight is the row's `owner`, and holds the fit's days before `watched`
    pull            (q, j) what a unit of that cumulative hazard does
    """
    days, n_days = fit.days, fit.days.day.size
    pull = pull * fit.relative_risk[owner, None]
    sums = np.column_stack([np.bincount(watched, column, n_days + 1) for column in pull.T])
    still_to_come = sums[::-1].cumsum(axis=0)[::-1][1:]
    per_step = still_to_come * staying.slope[:, None]

    so_far = np.concatenate([np.zeros((1, pull.shape[1])), np.cumsum(per_step, axis=0)])
    exposed = so_far[days.last[mine]] - so_far[days.first[mine]]
    moves = np.zeros((by.used.size, pull.shape[1]))
    moves[mine] = -fit.relative_risk[mine, None] * exposed
    left = mine[days.own[mine] >= 0]
    moves[left] += staying.own_gain[left, None] * per_step[days.own[left]]

    hazard = _since_start(fit, staying.step[:, None], watched, by.stratum[owner])
    hazard_x = _since_start(fit, staying.step_x, watched, by.stratum[owner])
    through = ((by.covariates[owner] - fit.centre) * hazard - hazard_x).T @ pull
    return moves + fit.per_weight @ through
