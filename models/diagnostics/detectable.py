"""Effective numbers of people and an assumed risk → the smallest effect a study would probably find.

Nothing here is read from outcomes: the risk without the intervention is an assumption of the protocol. The test is the
one the effects use: a normal (Wald) interval of the difference of two independent means,
|p1 - p0| = (z(1 - alpha / 2) + z(power)) √(p1 (1 - p1) / n1 + p0 (1 - p0) / n0)   (Fleiss, Levin & Paik 2003, ch. 4,
without the pooling of the null and without continuity correction). Matching on what predicts the outcome and covariate
adjustment gain precision that is not counted here: the real study does rather better.

The effective number of an arm: (Σw)² / ((1 - r) Σw² + r Σ over persons (Σ weights of the person)²), with r the
correlation between outcomes of one person's rows; for r = 0 Kish's, and for r = 1 a person counts once, however often.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from models.results import Baseline, Design, FloatArray, IntArray


@dataclass(frozen=True)
class Detectable:
    """What two-sided level `alpha` and `power` let one find.

    effective_n_treated, effective_n_control  as the module says
    sd_difference      smallest difference in means, in standard deviations of the outcome
    risk_ratio_below   ratio nearest to 1 of a fall in risk; 0 when not even its vanishing would be found
    risk_ratio_above   ratio nearest to 1 of a rise in risk; infinite when not even certainty would be found
    The two ratios are nan without a baseline risk.
    """

    effective_n_treated: float
    effective_n_control: float
    sd_difference: float
    risk_ratio_below: float
    risk_ratio_above: float


def minimum_detectable(
    baseline: Baseline,
    design: Design,
    *,
    baseline_risk: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    person_correlation: float = 1.0,
) -> Detectable:
    """Smallest detectable effects of a design whose outcome nobody has seen.

    Raises ValueError for a risk, power, level or correlation out of range. An arm without rows detects nothing.
    """
    _refuse_bad_options(baseline_risk, power, alpha, person_correlation)
    n_1, n_0 = (
        effective_number_of_people(design.weights[arm], baseline.person[arm], person_correlation)
        for arm in (design.treated, ~design.treated)
    )
    reach = float(ndtri(1.0 - alpha / 2.0) + ndtri(power))
    if min(n_1, n_0) == 0:
        return Detectable(n_1, n_0, np.inf, *((np.nan, np.nan) if baseline_risk is None else (0.0, np.inf)))
    below, above = float("nan"), float("nan")
    if baseline_risk is not None:
        below = _ratio(baseline_risk, n_1, n_0, reach, towards=0.0)
        above = _ratio(baseline_risk, n_1, n_0, reach, towards=1.0)
    return Detectable(n_1, n_0, reach * float(np.sqrt(1.0 / n_1 + 1.0 / n_0)), below, above)


def effective_number_of_people(weights: FloatArray, person: IntArray, correlation: float) -> float:
    """See the module; 0 when all weights are 0."""
    if not (weights > 0).any():
        return 0.0
    _, number = np.unique(person, return_inverse=True)
    by_person = np.bincount(number, weights=weights)
    spread = (1.0 - correlation) * float(weights @ weights) + correlation * float(by_person @ by_person)
    return float(weights.sum()) ** 2 / spread


def _ratio(risk: float, n_1: float, n_0: float, reach: float, *, towards: float) -> float:
    def excess(other: float) -> float:
        return abs(other - risk) - reach * float(np.sqrt(other * (1 - other) / n_1 + risk * (1 - risk) / n_0))

    if excess(towards) < 0:
        return 0.0 if towards == 0.0 else float("inf")
    return float(brentq(excess, risk, towards, xtol=1e-12)) / risk


def _refuse_bad_options(baseline_risk: float | None, power: float, alpha: float, correlation: float) -> None:
    if baseline_risk is not None and not 0 < baseline_risk < 1:
        raise ValueError(f"baseline_risk must lie between 0 and 1, not {baseline_risk}")
    if not 0 < alpha < 1 or not alpha / 2 < power < 1:
        raise ValueError(f"alpha must lie between 0 and 1 and power above alpha / 2, not {alpha} and {power}")
    if not 0 <= correlation <= 1:
        raise ValueError(f"person_correlation must lie between 0 and 1, not {correlation}")
