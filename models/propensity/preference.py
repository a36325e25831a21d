"""Propensity log-odds → preference scores: how far a person leans to one arm, whatever the arms' sizes.

logit(preference) = logit(score) - logit(share treated) (Walker et al. 2013, Comp Eff Res 3:11). One half means as
likely as people are on average. Walker calls two treatments in equipoise when at least half of the people on
either have preference scores from 0.3 to 0.7.
"""

import numpy as np
from scipy.special import expit, logit

from models.results import BoolArray, FloatArray

EQUIPOISE = (0.3, 0.7)


def preference_log_odds(linear: FloatArray, treated: BoolArray, usable: BoolArray) -> FloatArray:
    """(n,) log-odds of the preference score; the share treated is that among the `usable` rows."""
    return np.asarray(linear - logit(treated[usable].mean()), dtype=np.float64)


def preference_score(linear: FloatArray, treated: BoolArray, usable: BoolArray) -> FloatArray:
    """(n,) preference scores, 0 to 1."""
    return np.asarray(expit(preference_log_odds(linear, treated, usable)), dtype=np.float64)


def share_in_equipoise(linear: FloatArray, treated: BoolArray, usable: BoolArray) -> tuple[float, float]:
    """Shares of the usable treated and of the usable untreated whose preference score lies from 0.3 to 0.7."""
    score = preference_score(linear, treated, usable)
    inside = (score >= EQUIPOISE[0]) & (score <= EQUIPOISE[1])
    return float(inside[usable & treated].mean()), float(inside[usable & ~treated].mean())
