"""The few frozen records that every design and effect method takes and gives.

Rows are people at their time zero, in one fixed order; every array of length n follows that order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Estimand = Literal["ATT", "ATE", "ATC", "ATO"]
"""Whose effect: the treated's; everybody's; the untreated's; that of people in equipoise, who could have been in either
arm (overlap weights; Li, Morgan & Zaslavsky 2018, JASA 113:390; matching weights, whose population is that of a 1:1
match, go by ATO too and say so in their notes)."""

Scale = Literal[
    "risk_difference",
    "risk_ratio",
    "odds_ratio",
    "mean_difference",
    "mean_ratio",
    "rate_difference",
    "rate_ratio",
    "hazard_ratio",
    "subdistribution_hazard_ratio",
    "time_lost_difference",
    "time_lost_ratio",
    "mean_count_difference",
    "mean_count_ratio",
]


@dataclass(frozen=True)
class Baseline:
    """What was known at time zero. Outcomes have no place here.

    matrix       (n, p) covariates, no missing values, columns named by `columns`, in their natural units
    exact_group  (n,) integer code; matching never crosses groups (all zero when nothing is exact)
    index_day    (n,) time zero as days since 1970-01-01, for calendar windows (all zero when not used)
    person       (n,) integer code of the person: one person serves at most once as a control
    not_yet_treated  whether an untreated row of a treated person counts that lies before the person's own treated
                     time zero; otherwise none of their untreated rows does
    """

    matrix: FloatArray
    columns: tuple[str, ...]
    exact_group: IntArray
    index_day: IntArray
    person: IntArray
    not_yet_treated: bool = False


@dataclass(frozen=True)
class Propensity:
    """A fitted propensity score.

    score            (n,) probability of treatment given baseline
    linear           (n,) its log-odds, computed without passing through the probability
    model            the fitted scikit-learn pipeline, or None
    calibration_gap  |sum(score) / n_treated - 1|: not zero means the fit did not converge
    facts            how the score was made, numbers or short texts (score_model, l2_penalty, ...)
    """

    score: FloatArray
    linear: FloatArray
    model: Any
    calibration_gap: float
    facts: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Design:
    """Who is compared with whom, and with what weight.

    weights      (n,) finite, >= 0; 0 means not in the design. Under the ATT every kept treated row has weight 1.
    matched_set  (n,) set number from 0, or -1 for rows in no set (weighting designs: all -1)
    notes        facts worth reporting, numbers or short texts (n_treated_unmatched, caliper_width, ...)
    before       the design as it was made, where people whose outcome was not observed have left it since (their weight
                 is 0 now): the equations that made its weights hold with them
    """

    method: str
    estimand: Estimand
    treated: BoolArray
    score: FloatArray
    weights: FloatArray
    matched_set: IntArray
    notes: Mapping[str, float | str] = field(default_factory=dict)
    before: "Design | None" = None


@dataclass(frozen=True)
class Estimate:
    """One number with its uncertainty, on one scale.

    `value`, `lower`, `upper` are on the scale itself (a risk ratio of 1 is no effect); `std_error` is on the scale
    for differences and on the log scale for ratios. `effective_n` is Kish's effective number of those who stand in for
    the people of the estimand: of controls under the ATT, of the treated under the ATC, and under the ATE and the ATO,
    where both arms stand in, the smaller of the two.
    """

    method: str
    estimand: Estimand
    scale: Scale
    value: float
    std_error: float
    lower: float
    upper: float
    p_value: float
    n_treated: int
    n_control: int
    effective_n: float
    subgroup: str = "all"
    notes: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class BalanceRow:
    """Balance of one covariate, before and after the design, as models/balance.py measures it: standardised difference,
    variance ratio and Kolmogorov-Smirnov distance of the two weighted distributions."""

    covariate: str
    mean_treated_before: float
    mean_control_before: float
    smd_before: float
    variance_ratio_before: float
    mean_treated_after: float
    mean_control_after: float
    smd_after: float
    variance_ratio_after: float
    ks_before: float
    ks_after: float


@dataclass(frozen=True)
class Curve:
    """A cumulative incidence curve of one arm: right-continuous steps at `day`, with pointwise limits and, where there
    is one, a band that holds the whole curve at the same level (nan on days it does not reach)."""

    arm: str
    day: FloatArray
    incidence: FloatArray
    lower: FloatArray
    upper: FloatArray
    at_risk: FloatArray
    band_lower: FloatArray | None = None
    band_upper: FloatArray | None = None


@dataclass(frozen=True)
class CurveDifference:
    """Treated minus control of two cumulative incidence curves, in steps at `day` from day 0 on as far as both are
    known; limits on each day, and a band that holds the whole difference at that level (nan where there is none)."""

    day: FloatArray
    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    band_lower: FloatArray
    band_upper: FloatArray
