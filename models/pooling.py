"""Turns one estimate a site into a pooled one, and says how much the sites differ.

Choice made: the fixed effect weighs sites by precision and asks what the effect was in these sites, were it the same;
random effects (DerSimonian & Laird's model) let it differ, with the variance between sites by restricted maximum
likelihood (Viechtbauer 2005, J Educ Behav Stat 30:261) and the interval of Hartung & Knapp (2001, Stat Med 20:3875):
few sites tell little of how much they differ, which a normal interval forgets. Where the sites agree more than chance
would have them, that interval can be shorter than the fixed effect's; the factor is then taken as 1 (the ad hoc guard
of Knapp & Hartung 2003; Jackson et al. 2017, Stat Med 36:3923). The interval of the variance is that of the Q profile
(Viechtbauer 2007, Stat Med 26:37); the prediction interval, where the effect of another such site may lie, has k - 1
degrees of freedom. All as R's metafor has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

from models.contrasts import check_confidence
from models.results import FloatArray

GRID = 400
"""Values of the variance at which the likelihood is looked at before the best is refined: it may have two peaks."""
CONVERGED = 1e-14


@dataclass(frozen=True)
class Mean:
    """A pooled estimate with its error, limits and p-value of no effect (0)."""

    value: float
    std_error: float
    lower: float
    upper: float
    p_value: float


@dataclass(frozen=True)
class Pooled:
    """What several sites say together. q has k - 1 degrees of freedom; i_squared is the share of variance that lies
    between sites; tau_squared their variance with its limits; prediction the limits for another site;
    without_site (k,) the random effects without each site in turn, none where fewer than three are left to pool."""

    n_sites: int
    fixed: Mean
    random: Mean
    q: float
    q_p_value: float
    i_squared: float
    tau_squared: float
    tau_squared_lower: float
    tau_squared_upper: float
    prediction_lower: float
    prediction_upper: float
    without_site: tuple[Mean, ...]


def pool_sites(values: Sequence[float], std_errors: Sequence[float], *, confidence: float = 0.95) -> Pooled:
    """Pool estimates of independent sites, on a scale where normal errors make sense (differences, log ratios).

    values, std_errors  one finite number a site, errors above 0; their order plays no part but in `without_site`

    Raises ValueError with fewer than two sites, and on numbers that are not finite.
    """
    check_confidence(confidence)
    y, v = np.asarray(values, dtype=np.float64), np.asarray(std_errors, dtype=np.float64) ** 2
    if y.size < 2 or y.shape != v.shape:
        raise ValueError(f"pooling needs the estimates of at least two sites, not {y.size}")
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError("every site needs an estimate and an error above 0")
    df = y.size - 1
    reach = norm.ppf(0.5 + confidence / 2)
    fixed = _mean(y, 1 / v, 1.0, reach, norm.sf)
    q = float(((y - fixed.value) ** 2 / v).sum())
    tau_squared = _restricted_likelihood(y, v)
    random = _random(y, v, tau_squared, confidence)
    typical = df * (1 / v).sum() / ((1 / v).sum() ** 2 - (1 / v**2).sum())
    spread = float(t.ppf(0.5 + confidence / 2, df) * np.sqrt(tau_squared + random.std_error**2))
    lower, upper = _q_profile(y, v, confidence)
    return Pooled(
        n_sites=y.size,
        fixed=fixed,
        random=random,
        q=q,
        q_p_value=float(chi2.sf(q, df)),
        i_squared=float(tau_squared / (tau_squared + typical)),
        tau_squared=tau_squared,
        tau_squared_lower=lower,
        tau_squared_upper=upper,
        prediction_lower=random.value - spread,
        prediction_upper=random.value + spread,
        without_site=_without_each(y, v, confidence) if y.size > 3 else (),
    )


def _mean(y: FloatArray, w: FloatArray, factor: float, reach: float, tail: object) -> Mean:
    value, std_error = float(w @ y / w.sum()), float(np.sqrt(factor / w.sum()))
    p_value = float(2 * tail(abs(value) / std_error))  # type: ignore[operator]
    return Mean(value, std_error, value - reach * std_error, value + reach * std_error, p_value)


def _random(y: FloatArray, v: FloatArray, tau_squared: float, confidence: float) -> Mean:
    """Hartung and Knapp's mean, its factor at least 1."""
    w, df = 1 / (v + tau_squared), y.size - 1
    factor = max(1.0, float(w @ (y - w @ y / w.sum()) ** 2 / df))
    return _mean(y, w, factor, t.ppf(0.5 + confidence / 2, df), lambda z: t.sf(z, df))


def _without_each(y: FloatArray, v: FloatArray, confidence: float) -> tuple[Mean, ...]:
    found = []
    for site in range(y.size):
        rest = np.arange(y.size) != site
        found.append(_random(y[rest], v[rest], _restricted_likelihood(y[rest], v[rest]), confidence))
    return tuple(found)


def _restricted_likelihood(y: FloatArray, v: FloatArray) -> float:
    """The variance between sites at which the restricted likelihood is largest, 0 or above."""
    scale = float(np.ptp(y) ** 2 + v.max())
    grid = np.concatenate([np.zeros(1), np.geomspace(1e-8, 4, GRID) * scale])
    best = int(np.argmax([_log_likelihood(at, y, v) for at in grid]))
    low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, grid.size - 1)])
    if _slope(low, y, v) <= 0:
        return 0.0
    return float(brentq(_slope, low, high, args=(y, v), xtol=CONVERGED * scale, rtol=1e-14))


def _log_likelihood(tau_squared: float, y: FloatArray, v: FloatArray) -> float:
    w = 1 / (v + tau_squared)
    rest = y - w @ y / w.sum()
    return float(0.5 * np.log(w).sum() - 0.5 * np.log(w.sum()) - 0.5 * w @ rest**2)


def _slope(tau_squared: float, y: FloatArray, v: FloatArray) -> float:
    """Derivative of the restricted log-likelihood in the variance between sites."""
    w = 1 / (v + tau_squared)
    rest = y - w @ y / w.sum()
    return float(-0.5 * w.sum() + 0.5 * (w**2).sum() / w.sum() + 0.5 * w**2 @ rest**2)


def _q_profile(y: FloatArray, v: FloatArray, confidence: float) -> tuple[float, float]:
    """Limits of the variance between sites: where the generalised Q is at the quantiles of its distribution."""

    def beyond(tau_squared: float, wanted: float) -> float:
        w = 1 / (v + tau_squared)
        return float(w @ (y - w @ y / w.sum()) ** 2 - wanted)

    limits = []
    for share in (0.5 + confidence / 2, 0.5 - confidence / 2):
        wanted = float(chi2.ppf(share, y.size - 1))
        if beyond(0.0, wanted) <= 0:
            limits.append(0.0)
            continue
        high = float(np.ptp(y) ** 2 + v.max())
        while beyond(high, wanted) > 0:
            high *= 2
        limits.append(float(brentq(beyond, 0.0, high, args=(wanted,), xtol=CONVERGED * high, rtol=1e-14)))
    return limits[0], limits[1]
