"""The hazard of readmission: a falling baseline times exp(a linear function of what the extract shows at discharge).

Choice made: piecewise-constant baseline, so that times can be drawn by inversion and risks have a closed form; the
same draw under two hazard ratios gives both potential outcomes of a person.
"""

import numpy as np

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.timeline import Array, Columns

YEAR = 365
COVARIATES = (
    "prior_stay",
    "prior_inpatient_day",
    "log_index_days",
    "detained",
    "psychotic",
    "personality",
    "age_decade",
    "female",
    "black",
    "imd_decile",
    "unsettled",
    "employed",
    "attended",
    "missed",
    "crisis",
    "emergency",
    "honos_point",
    "distance_km",
)


def log_hazard(seen: Columns, a: Assumptions) -> Array:
    """Log hazard of the next admission without peer support and without the trust's part, one value per discharge."""
    total = np.full(len(seen["prior_stay"]), float(a["readmission.level"]))
    for name in COVARIATES:
        total += a[f"readmission.{name}"] * seen[name]
    lowest, highest = a["readmission.log_hazard_range"]
    clipped: Array = np.clip(total, lowest, highest)
    return clipped


def days_to_next(exponential: Array, hazard: Array, a: Assumptions) -> Array:
    """Whole days (2 or more) to the next admission for unit-exponential draws; beyond the last knot, its last day."""
    days = np.interp(exponential / hazard, a["readmission.cumulative"], a["readmission.days"])
    whole: Array = np.ceil(days + 1e-9).astype(np.int64)  # day 1 itself would link the stays (DOMAIN K1)
    return whole


def risk_within_a_year(hazard: Array, death_rate: Array, a: Assumptions) -> Array:
    """Probability of readmission within 365 days, before death, for a constant death rate a day."""
    days, cumulative = np.array(a["readmission.days"], float), np.array(a["readmission.cumulative"])
    within = days <= YEAR
    assert days[within][-1] == YEAR, "readmission.days must hold 365"
    risk = np.zeros(len(hazard))
    alive_and_out = np.exp(-death_rate * days[0])
    for width, rise in zip(np.diff(days[within]), np.diff(cumulative[within]), strict=True):
        readmission = hazard * rise / width
        both = readmission + death_rate
        leaves = -np.expm1(-both * width)
        risk += alive_and_out * leaves * readmission / both
        alive_and_out = alive_and_out * (1 - leaves)
    return risk
