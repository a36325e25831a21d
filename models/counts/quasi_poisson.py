"""Turns events and time at risk into the two arms' rates: all events by all time, with an error that minds dispersion.

Choice made: the score of a Poisson regression on treatment with log exposure as offset, whose rate is the weighted sum
of events by the weighted sum of exposure. Only the rate is taken from the Poisson; the error is the sandwich
(McCullagh & Nelder 1989, ch. 9; Zeger & Liang 1986, Biometrics 42:121), so that over-dispersion, which readmissions and
contacts always have, widens the interval. Nobody's count is taken for more or less telling than another's: a person
with many events weighs as much as his time at risk.
"""

import numpy as np

from models.contrasts import check_confidence
from models.counts.at_risk import contrast_rates, counts_in_design, dispersion
from models.estimated_weights import WeightsAre, model_weights
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray


def quasi_poisson(
    outcome: FloatArray,
    exposure: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    confidence: float = 0.95,
    weights_are: WeightsAre = "estimated",
) -> tuple[Estimate, ...]:
    """Rate difference and rate ratio.

    outcome      (n,) events of each row, whole numbers
    exposure     (n,) time at risk (or chances, such as appointments) in which they were counted; the rates are per
                 unit of it. Rows of weight 0 are not looked at
    weights_are  as for weighted_difference

    Clusters, factor and notes are those of weighted_difference; `dispersion` is the weighted Pearson statistic by row.
    Raises ValueError on counts, exposures or designs that cannot be compared.
    """
    check_confidence(confidence)
    counts, time = counts_in_design(outcome, exposure, design)
    model = model_weights(baseline, design, weights_are)
    treated, gain_treated = _rate(counts, time, design.weights, design.treated)
    control, gain_control = _rate(counts, time, design.weights, ~design.treated)
    influence = [model.influence(gain_treated, design.treated), model.influence(gain_control, ~design.treated)]
    expected = time * np.where(design.treated, treated, control)
    notes: dict[str, float | str] = {
        "variance": model.says,
        "dispersion": dispersion(counts, expected, design.weights),
    }
    return contrast_rates(
        (treated, control),
        np.hstack(influence),
        counts,
        baseline,
        design,
        method="quasi_poisson",
        confidence=confidence,
        notes=notes,
    )


def _rate(counts: FloatArray, time: FloatArray, weights: FloatArray, arm: BoolArray) -> tuple[float, FloatArray]:
    """The arm's rate and (n, 1) its derivative with respect to each row's weight."""
    of_arm = np.where(arm, weights, 0.0)
    total = float(of_arm @ time)
    rate = float(of_arm @ counts) / total
    return rate, np.where(of_arm > 0, counts - rate * time, 0.0)[:, None] / total
