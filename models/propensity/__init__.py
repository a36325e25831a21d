"""Baseline covariates and who was treated → the probability of being treated, and what is read off it."""

from models.propensity.fitting import fit_propensity, l2_penalty_of
from models.propensity.preference import preference_log_odds, preference_score, share_in_equipoise
from models.propensity.rows import NEVER, comparable_rows, day_of_treatment, in_groups_with_both
from models.propensity.strata import strata_of

__all__ = [
    "NEVER",
    "comparable_rows",
    "day_of_treatment",
    "fit_propensity",
    "in_groups_with_both",
    "l2_penalty_of",
    "preference_log_odds",
    "preference_score",
    "share_in_equipoise",
    "strata_of",
]
