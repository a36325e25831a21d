"""Turns a Cox model of the end of observation into the share of people who stay under observation, day by day.

Choice made: Kalbfleisch and Prentice's discrete baseline (1973, Biometrika 60:267; The Statistical Analysis of Failure
Time Data, ch. 4.3), so that without covariates the share is the Kaplan-Meier curve however many are lost on one day. A
provider that falls silent takes many at once: the exponential of Breslow's cumulative hazard says that more stay than
do (0.741 for 0.7 where 30 of 100 are lost together), and those who stay would then stand for too few.
"""

from dataclasses import dataclass

import numpy as np

from models.refusals import Refused
from models.results import BoolArray, FloatArray
from models.times.cox import CoxFit

NEWTON_STEPS = 500
CONVERGED = 1e-13
"""Relative change of the steps at which they are found."""


@dataclass(frozen=True)
class Staying:
    """Steps of minus the logarithm of the share that stays, for somebody at the fit's `centre`; of others the step
    times their relative risk. On a day on which everybody leaves there is none: nobody is left for whom it counts.

    step      (k,) at the fit's event days
    step_x    (k, p) minus its derivative by the coefficients
    slope     (k,) minus its derivative by one more unit of weight at risk, of somebody at the centre
    own_gain  (n,) what leaving adds to that derivative, in units of `slope`; 0 for rows that do not leave
    """

    step: FloatArray
    step_x: FloatArray
    slope: FloatArray
    own_gain: FloatArray


def find_staying(fit: CoxFit, weights: FloatArray, covariates: FloatArray) -> Staying:
    """From a fit with Breslow ties; weights (n,) and covariates (n, p) of its rows.

    On each day the step g solves Σ w r / (1 - exp(-g r)) over those who leave = Σ w r over those at risk.
    """
    days, n_days = fit.days, fit.days.day.size
    leaves = np.flatnonzero(days.own >= 0)
    own, w, r = days.own[leaves], weights[leaves], fit.relative_risk[leaves]

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(own, values, n_days).astype(np.float64)

    at_risk = days.weight / fit.hazard
    stays = at_risk > total(w * r) * (1 + 1e-9)
    step = _solve(fit.hazard, own, w, r, at_risk, stays)
    left, gone = np.exp(-step[own] * r), -np.expm1(-step[own] * r)
    curvature = total(w * r**2 * left / gone**2)
    slope = np.divide(1.0, curvature, out=np.zeros(n_days), where=stays & (curvature > 0))
    pull = w * r * (1 / gone - step[own] * r * left / gone**2)
    at_risk_x = fit.hazard_x * (at_risk / fit.hazard)[:, None]
    leaving_x = np.column_stack([total(column) for column in (pull[:, None] * (covariates[leaves] - fit.centre)).T])
    own_gain = np.zeros(weights.size)
    own_gain[leaves] = r / gone
    return Staying(np.where(stays, step, 0.0), slope[:, None] * (at_risk_x - leaving_x), slope, own_gain)


def _solve(
    hazard: FloatArray, own: np.ndarray, w: FloatArray, r: FloatArray, at_risk: FloatArray, stays: BoolArray
) -> FloatArray:
    """Newton's method from Breslow's step, which is never too large: the sum is convex and falls, none overshoots.

    Raises Refused where it is not reached.
    """
    step = hazard.copy()
    for _ in range(NEWTON_STEPS):
        left, gone = np.exp(-step[own] * r), -np.expm1(-step[own] * r)
        excess = np.bincount(own, w * r / gone, hazard.size) - at_risk
        with np.errstate(over="ignore", invalid="ignore"):
            curvature = np.bincount(own, w * r**2 * left / gone**2, hazard.size)
        if not np.isfinite(curvature[stays]).all():  # risks so far apart that they leave the range of numbers
            break
        change = np.divide(excess, curvature, out=np.zeros_like(step), where=stays & (curvature > 0))
        step = step + np.maximum(change, 0.0)
        if (change <= CONVERGED * step).all():
            return step
    raise Refused("the share of people still under observation was not found")
