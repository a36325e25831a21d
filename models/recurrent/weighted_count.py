"""Turns repeated events into mean counts that hold although those with some covariates are lost to observation earlier.

Choice made: inverse-probability-of-censoring weights (Ghosh & Lin 2002, Stat Sin 12:663). An event counts one over the
probability of having been observed until just before it (models/times/censoring.py, death being no end of observation
but the end of events), so that it stands for those of people alike who were lost; the sum is divided by everybody, and
the dead need no curve of their own. Where nothing distinguishes people it is the count of mean_count.py. The estimation
of the weights is part of each row's influence.
"""

import numpy as np

from models.recurrent.histories import Histories
from models.results import BoolArray, Design, FloatArray, IntArray
from models.times.arm_curve import Arm, ArmCurve, is_arm
from models.times.censoring import CensoringWeights, say_weights, through_model, weights_on


def numbers_among(used: IntArray, rows: IntArray, n_rows: int) -> IntArray:
    """(m,) the place of each of `rows` among the `used` rows of a design of `n_rows`; -1 for others."""
    place = np.full(n_rows, -1, dtype=np.int64)
    place[used] = np.arange(used.size)
    return place[rows]


def describe_event_weights(histories: Histories, by: CensoringWeights, largest: float) -> str:
    """One sentence on the censoring weights of all events of the design."""
    owner = numbers_among(by.used, histories.row, histories.last_day.size)
    weight, is_capped, _ = weights_on(by, owner, histories.day, largest)
    return say_weights(by, weight, is_capped)


def weighted_count(
    histories: Histories, design: Design, arm: Arm, horizon: float, by: CensoringWeights, largest: float
) -> ArmCurve:
    """The arm's mean cumulative count, each event counting its censoring weight, capped at `largest`."""
    mine = np.flatnonzero(is_arm(design, arm)[by.used])
    weights, last = design.weights[by.used], histories.last_day[by.used]
    total = weights[mine].sum()
    is_mine = is_arm(design, arm)[histories.row]
    owner = numbers_among(by.used, histories.row[is_mine], design.weights.size)
    weight, is_capped, watched = weights_on(by, owner, histories.day[is_mine], largest)
    days = np.unique(np.concatenate([last[mine], histories.day[is_mine]]))
    at = np.searchsorted(days, histories.day[is_mine])
    count = np.bincount(at, weights[owner] * weight, days.size).cumsum() / total
    ends = np.searchsorted(days, last[mine])

    def per_weight(combinations: FloatArray) -> FloatArray:
        """Directly, and through the model of the end of observation."""
        later = np.cumsum(combinations[::-1], axis=0)[::-1]
        gain = later[at] * weight[:, None]
        moves = np.column_stack([np.bincount(owner, column, by.used.size) for column in gain.T]).astype(np.float64)
        moves[mine] = (moves[mine] - count @ combinations) / total
        if by.fit is not None and by.staying is not None:
            pull = np.where(is_capped[:, None], 0.0, weights[owner, None] * gain / total)
            moves += through_model(by, by.fit, by.staying, mine, owner, watched, pull)
        return moves

    return ArmCurve(
        arm=arm,
        day=days,
        incidence=count,
        at_risk=np.bincount(ends, weights[mine], days.size)[::-1].cumsum()[::-1],
        n_events=np.bincount(at, minlength=days.size).cumsum(),
        rows=by.used,
        per_weight=per_weight,
        known_until=np.inf if _is_followed(days, last[mine], histories.died[by.used][mine], horizon) else days[-1],
    )


def _is_followed(days: FloatArray, last: FloatArray, died: BoolArray, horizon: float) -> bool:
    return bool(days[-1] >= horizon or died[last == days[-1]].all())
