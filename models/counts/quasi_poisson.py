"""Turns events and time at risk into the two arms' rates: all events by all time, with an error that minds dispersion.

Choice made: the score of a Poisson regression on treatment with log exposure as offset, whose rate is the weighted sum
of events by the weighted sum of exposure. So events of people without any time at risk count too, and are told: leaving
them out would choose by what happened, and a least time for them would be a number of ours. Only the rate is taken from
the Poisson; the error is the sandwich (McCullagh & Nelder 1989, ch. 9; Zeger & Liang 1986, Biometrics 42:121), so that
over-dispersion, which readmissions and contacts always have, widens the interval. Nobody's count is taken for more or
less telling than another's: a person with many events weighs as much as his time at risk.
"""

import numpy as np

from models.contrasts import check_confidence
from models.counts.at_risk import contrast_rates, counts_in_design, dispersion, without_time
from models.counts.whole_windows import whole_windows
from models.estimated_weights import WeightsAre, model_weights
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray
from models.times.censoring import Censoring
from models.times.events import CENSORING_NOTE, Followed


def quasi_poisson(
    outcome: FloatArray,
    exposure: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    confidence: float = 0.95,
    weights_are: WeightsAre = "estimated",
    followed: Followed | None = None,
    censoring: Censoring = "none",
    censoring_penalty: float = 1.0,
    largest_censoring_weight: float = 10.0,
) -> tuple[Estimate, ...]:
    """Rate difference and rate ratio.

    outcome      (n,) events of each row, whole numbers
    exposure     (n,) time at risk (or chances, such as appointments) in which they were counted; the rates are per
                 unit of it. Rows of weight 0 are not looked at
    weights_are  as for weighted_difference
    followed     until when each row was observed: needed for censoring weights
    censoring    "none": all that was seen counts, and whoever is lost has the rate of those who stay, in each arm;
                 "weights": whole windows count, weighted for those alike in the covariates that are not whole
                 (models/counts/whole_windows.py), with that model's ridge penalty and cap

    Clusters, factor and notes are those of weighted_difference; `dispersion` is the weighted Pearson statistic by row,
    of rows with time; `warning` how many people have events and none.
    Raises ValueError on counts, exposures or designs that cannot be compared.
    """
    check_confidence(confidence)
    counts, time = counts_in_design(outcome, exposure, design)
    model = model_weights(baseline, design, weights_are)
    windows = whole_windows(followed, baseline, design, censoring, censoring_penalty, largest_censoring_weight)
    weights = windows.weighted.weights
    treated, gain_treated = _rate(counts, time, weights, design.treated)
    control, gain_control = _rate(counts, time, weights, ~design.treated)
    moves = windows.per_row(np.hstack([gain_treated, gain_control]))
    influence = np.zeros_like(moves)
    for arm in (design.treated, ~design.treated):
        influence += model.influence(np.where(arm[:, None], moves, 0.0), arm)
    expected = time * np.where(design.treated, treated, control)
    notes: dict[str, float | str] = {"variance": model.says, "dispersion": dispersion(counts, expected, weights)}
    people, events = without_time(counts, time, windows.weighted)
    if people:
        notes["warning"] = (
            f"{people} people had {events} events and no time at risk: their events are among the events of the rate, "
            "and add nothing to its time"
        )
    if windows.by is not None:
        notes[CENSORING_NOTE] = windows.says(counts)
    return contrast_rates(
        (treated, control),
        influence,
        counts,
        baseline,
        windows,
        method="quasi_poisson",
        confidence=confidence,
        notes=notes,
    )


def _rate(counts: FloatArray, time: FloatArray, weights: FloatArray, arm: BoolArray) -> tuple[float, FloatArray]:
    """The arm's rate and (n, 1) its derivative with respect to each row's weight."""
    of_arm = np.where(arm, weights, 0.0)
    total = float(of_arm @ time)
    if not total > 0:
        raise Refused("nobody in one of the arms has any time at risk in a window seen to its end")
    rate = float(of_arm @ counts) / total
    return rate, np.where(of_arm > 0, counts - rate * time, 0.0)[:, None] / total
