"""Turns rates over whatever was seen into rates over whole windows, where people lost to observation are unlike others.

Choice made: counts come without their days, so an event cannot be weighted on its own day. Instead only windows that
were seen to their end, or to death, count, each one over the probability of having been observed so far (inverse
probability of censoring: Robins & Rotnitzky 1992, in AIDS Epidemiology, 297; the model is that of
models/times/censoring.py). The events and the time at risk of the others are not used, which widens the interval; in
return a rate needs neither to be as fast late as early nor to have nothing to do with how long somebody is seen. That
asks that anybody might have been seen to the end: where the data end first, late recruits could not, and those who were
are early recruits, which weights by arm and covariates do not mend (pipelines/estimate/counts.py refuses that). The
estimation of the weights is part of each row's influence.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.refusals import Refused
from models.results import Baseline, Design, FloatArray
from models.times.censoring import (
    Censoring,
    CensoringWeights,
    censoring_weights,
    check_censoring,
    say_weights,
    through_model,
)
from models.times.events import CENSORED, DIED, Followed


@dataclass(frozen=True)
class WholeWindows:
    """factor (n,) what a row's weight is multiplied by: 0 for windows not seen to their end. `by` None: 1 for all."""

    design: Design
    factor: FloatArray
    by: CensoringWeights | None

    @property
    def weighted(self) -> Design:
        """The design with the weights multiplied; not for finding out where its weights came from."""
        return replace(self.design, weights=self.design.weights * self.factor)

    def per_row(self, per_weight: FloatArray) -> FloatArray:
        """(n, k) derivatives by the design's weights from those by the multiplied ones, also through the model."""
        moves = per_weight * self.factor[:, None]
        by = self.by
        if by is None or by.fit is None or by.staying is None:
            return moves
        pull = np.where(by.is_capped[:, None], 0.0, self.design.weights[by.used, None] * moves[by.used])
        through = np.zeros_like(moves)
        for arm in (1, 0):
            mine = np.flatnonzero(by.stratum == arm)
            through[by.used] += through_model(by, by.fit, by.staying, mine, mine, by.watched[mine], pull[mine])
        return np.asarray(moves + through)

    def says(self, counts: FloatArray) -> str:
        """One sentence for the report; empty where nothing was weighted."""
        if self.by is None:
            return ""
        counted = (counts > 0) & (self.factor > 0)
        has_events = counted[self.by.used]
        sentence = say_weights(self.by, self.by.weight[has_events], self.by.is_capped[has_events])
        return f"only windows seen to their end or to death count; {sentence}"


def whole_windows(
    followed: Followed | None,
    baseline: Baseline,
    design: Design,
    censoring: Censoring,
    l2_penalty: float,
    largest: float,
) -> WholeWindows:
    """Raises ValueError where it is not known until when people were observed, Refused where no whole window of an arm
    was."""
    check_censoring(censoring)
    if censoring == "none":
        return WholeWindows(design, np.ones(design.weights.size), None)
    if followed is None:
        raise ValueError("censoring weights of rates need the day until which each row was observed")
    inside = design.weights > 0
    if not (followed.last_day[inside] > 0).all():
        raise ValueError("every row of the design needs a last day above 0")
    last = np.where(inside, np.minimum(followed.last_day, followed.window), followed.window).astype(np.float64)
    event = np.where(followed.died & (followed.last_day <= followed.window), DIED, CENSORED).astype(np.int64)
    by = censoring_weights(
        last, event, baseline.matrix, design, followed.window, l2_penalty=l2_penalty, largest=largest
    )
    is_whole = (event == DIED) | (last >= followed.window)
    factor = np.zeros(design.weights.size)
    factor[by.used] = by.weight * is_whole[by.used]
    if any(not (factor[inside & arm] > 0).any() for arm in (design.treated, ~design.treated)):
        raise Refused("nobody in one of the arms was observed to the end of the window")
    return WholeWindows(design, factor, by)
