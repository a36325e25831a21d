"""Turns a fitted Cox model into a test of whether its hazard ratio was the same all the time.

Choice made: the score test of an interaction of the covariate with a function of time (Grambsch & Therneau 1994,
Biometrika 81:515; R's cox.zph since survival 3.0), but with the variance of the score taken from its influence function
and summed by cluster, because with weights and matched sets the model's own variance is wrong. Time enters as one minus
the Kaplan-Meier curve just before the day, as in R, so that no late event dominates.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from models.estimated_weights import WeightModel
from models.influence import Clusters, robust_covariance
from models.results import FloatArray, IntArray
from models.times.cox import AtRisk, CoxFit, find_event_days, time_weighted, weight_at_risk


def share_gone(fit: CoxFit, rows: AtRisk) -> FloatArray:
    """(k,) one minus the weighted Kaplan-Meier curve of the event just before each event day, all strata together."""
    together = replace(rows, stratum=np.zeros(rows.stop.size, dtype=np.int64))
    days = find_event_days(together)
    stays = np.cumprod(1 - days.weight / weight_at_risk(days, together.weights))
    before = np.concatenate([np.ones(1), stays[:-1]])
    return 1 - before[np.searchsorted(days.day, fit.days.day)]


def proportional_hazards_p(
    fit: CoxFit,
    rows: AtRisk,
    covariates: FloatArray,
    used: IntArray,
    share: FloatArray,
    model: WeightModel,
    clusters: Clusters,
) -> float:
    """Robust p-value of proportional hazards of the first covariate; nan where it cannot be tested.

    used   (m,) number of the design's row that a row at risk belongs to
    share  (m,) its weight for one unit of the weight of that row; taken as known
    """
    clock = share_gone(fit, rows)
    clock = clock - (fit.days.weight @ clock) / fit.days.weight.sum()
    total, per_row, slope = time_weighted(fit, rows, covariates, clock)
    moves = share * (per_row[:, 0] - fit.per_weight @ slope[0])
    return trend_p(float(total[0]), moves, used, model, clusters) if fit.days.day.size > 1 else float("nan")


def trend_p(trend: float, moves: FloatArray, used: IntArray, model: WeightModel, clusters: Clusters) -> float:
    """Robust p-value of a score of mean 0, or nan; `moves` (m,) are its derivatives by the weights of rows `used`."""
    per_weight = np.bincount(used, moves, model.design.weights.size).astype(np.float64)[:, None]
    treated = model.design.treated
    influence = model.influence(per_weight * treated[:, None], treated)
    influence = influence + model.influence(per_weight * ~treated[:, None], ~treated)
    variance = float(robust_covariance(influence, clusters)[0, 0])
    return float(chi2.sf(trend**2 / variance, 1)) if variance > 0 else float("nan")
