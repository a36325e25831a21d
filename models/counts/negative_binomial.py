"""Turns events and time at risk into rates under a negative binomial: each person has a rate of his own.

Choice made: log-linear in treatment with log exposure as offset and the variance mean + mean²/theta (NB2; Lawless 1987,
Can J Stat 15:209); theta by weighted maximum likelihood, as MASS::glm.nb has it (Venables & Ripley 2002). The scores of
both rates and of theta are stacked under those of the propensity score, and the error is the sandwich of all of them by
cluster: it stays right where the variance is not of that form. It asks that a rate does not depend on how long somebody
is seen; quasi_poisson, which does not weigh people by theta, stands beside it as a check. Counts without
over-dispersion have no theta: the rates are then those of the Poisson, and the notes say so.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma

from models.contrasts import check_confidence
from models.counts.at_risk import contrast_rates, counts_in_design, dispersion, without_time
from models.counts.whole_windows import whole_windows
from models.estimated_weights import WeightsAre, model_weights
from models.refusals import Refused
from models.results import Baseline, Design, Estimate, FloatArray
from models.times.censoring import Censoring
from models.times.events import CENSORING_NOTE, Followed

NEWTON_STEPS = 200
CONVERGED = 1e-11
"""Largest step, in log rates and log theta, of a finished fit."""
THETA_LIMITS = (1e-4, 1e6)
"""Beyond the upper one the variance is the Poisson's to six digits for the counts people have."""


@dataclass(frozen=True)
class _Fit:
    """Log rates of (treated, control), theta (infinite without over-dispersion), and (n, 3 or 2) derivatives of these
    (the log of theta) with respect to each row's weight."""

    log_rate: FloatArray
    theta: float
    per_weight: FloatArray


def negative_binomial(
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
    """Rate difference and rate ratio of a negative binomial.

    outcome, exposure, weights_are, followed, censoring   as for quasi_poisson

    Clusters, factor and notes are those of weighted_difference; `theta` is the dispersion parameter, `dispersion` the
    weighted Pearson statistic of a Poisson with these rates. Raises as counts_in_design does, and
    Refused where an arm has no event: a log-linear rate does not exist then; and where somebody has events and no time:
    the likelihood is 0 then.
    """
    check_confidence(confidence)
    counts, time = counts_in_design(outcome, exposure, design)
    model = model_weights(baseline, design, weights_are)
    windows = whole_windows(followed, baseline, design, censoring, censoring_penalty, largest_censoring_weight)
    counted = windows.weighted
    if any(not counts[arm & (counted.weights > 0)].any() for arm in (design.treated, ~design.treated)):
        raise Refused("a negative binomial rate needs events in both arms")
    people, events = without_time(counts, time, counted)
    if people:
        raise Refused(
            f"{people} people had {events} events and no time at risk, which no negative binomial allows: take "
            "quasi_poisson, in whose rates they count, or effects.time_at_risk = 'alive'"
        )
    fit = _fit(counts, time, counted)
    moves = windows.per_row(fit.per_weight)
    influence = np.zeros_like(moves)
    for arm in (design.treated, ~design.treated):
        influence += model.influence(np.where(arm[:, None], moves, 0.0), arm)
    rate = np.exp(fit.log_rate)
    expected = time * np.where(design.treated, rate[0], rate[1])
    notes: dict[str, float | str] = {
        "variance": model.says,
        "theta": fit.theta if np.isfinite(fit.theta) else "none: no over-dispersion, rates of the Poisson",
        "dispersion": dispersion(counts, expected, counted.weights),
    }
    if windows.by is not None:
        notes[CENSORING_NOTE] = windows.says(counts)
    return contrast_rates(
        (float(rate[0]), float(rate[1])),
        influence[:, :2] * rate,
        counts,
        baseline,
        windows,
        method="negative_binomial",
        confidence=confidence,
        notes=notes,
    )


def _fit(counts: FloatArray, time: FloatArray, design: Design) -> _Fit:
    """Log rates and theta at which all weighted scores are 0: Newton on the two, in turn, then together."""
    used = (design.weights > 0) & (time > 0)
    w, y, t, arm = design.weights[used], counts[used], time[used], np.where(design.treated[used], 0, 1)
    log_rate = np.log(_by_arm(w * y, arm) / _by_arm(w * t, arm))
    log_theta = np.log(_moment_theta(w, y, t * np.exp(log_rate)[arm]))
    for _ in range(NEWTON_STEPS):
        before = (log_rate, log_theta)
        log_rate = _solve_rates(log_rate, log_theta, w, y, t, arm)
        log_theta = _solve_theta(log_theta, w, y, t * np.exp(log_rate)[arm])
        if max(np.abs(log_rate - before[0]).max(), _gap(log_theta, before[1])) < CONVERGED:
            break
    else:
        raise Refused("the negative binomial did not converge")
    derivatives, bread = _derivatives(log_rate, log_theta, y, t, w, arm)
    per_weight = np.zeros((len(design.weights), derivatives.shape[1]))
    per_weight[used] = derivatives @ bread
    return _Fit(log_rate, float(np.exp(log_theta)), per_weight)


def _gap(now: float, before: float) -> float:
    return 0.0 if now == before else abs(now - before)


def _by_arm(values: FloatArray, arm: np.ndarray) -> FloatArray:
    return np.bincount(arm, weights=values, minlength=2).astype(np.float64)


def _moment_theta(w: FloatArray, y: FloatArray, mean: FloatArray) -> float:
    """theta from the weighted variance beyond the Poisson's; infinite where there is none."""
    beyond = float(w @ ((y - mean) ** 2 - mean))
    return float(np.clip(w @ mean**2 / beyond, 1e-2, 1e3)) if beyond > 0 else float("inf")


def _solve_rates(
    log_rate: FloatArray, log_theta: float, w: FloatArray, y: FloatArray, t: FloatArray, arm: np.ndarray
) -> FloatArray:
    """Scoring steps for the two log rates at a given theta: each halved where it would leap."""
    alpha = float(np.exp(-log_theta))
    for _ in range(NEWTON_STEPS):
        mean = t * np.exp(log_rate)[arm]
        score = _by_arm(w * (y - mean) / (1 + alpha * mean), arm)
        information = _by_arm(w * mean / (1 + alpha * mean), arm)
        step = np.clip(score / information, -1.0, 1.0)
        log_rate = log_rate + step
        if np.abs(step).max() < CONVERGED / 10:
            return log_rate
    raise Refused("the rates of the negative binomial did not converge")


def _solve_theta(log_theta: float, w: FloatArray, y: FloatArray, mean: FloatArray) -> float:
    """Where the weighted likelihood is largest in theta, by Newton inside a bracket; infinite where it has no peak."""
    if float(w @ ((y - mean) ** 2 - y)) <= 0:  # the slope at infinite theta: less theta would not be likelier
        return float("inf")
    low, high = np.log(THETA_LIMITS[0]), np.log(THETA_LIMITS[1])
    at = float(np.clip(log_theta, low, high)) if np.isfinite(log_theta) else 0.0
    for _ in range(NEWTON_STEPS):
        slope, curve = _slope_in_log_theta(at, w, y, mean)
        low, high = (at, high) if slope > 0 else (low, at)
        step = -slope / curve if curve < 0 else np.inf
        following = at + step if low < at + step < high else (low + high) / 2
        if abs(following - at) < CONVERGED / 10:
            return float(following)
        at = following
    raise Refused("theta of the negative binomial did not converge")


def _slope_in_log_theta(log_theta: float, w: FloatArray, y: FloatArray, mean: FloatArray) -> tuple[float, float]:
    """First and second derivative of the weighted log-likelihood in log theta."""
    theta = float(np.exp(log_theta))
    slope, curve = _theta_scores(theta, y, mean)
    return float(theta * (w @ slope)), float(theta * (w @ slope) + theta**2 * (w @ curve))


def _theta_scores(theta: float, y: FloatArray, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) first and second derivatives of each row's log-likelihood in theta."""
    total = theta + mean
    slope = digamma(theta + y) - digamma(theta) + np.log(theta / total) + 1 - (theta + y) / total
    curve = polygamma(1, theta + y) - polygamma(1, theta) + 1 / theta - 2 / total + (theta + y) / total**2
    return slope, curve


def _derivatives(
    log_rate: FloatArray, log_theta: float, y: FloatArray, t: FloatArray, w: FloatArray, arm: np.ndarray
) -> tuple[FloatArray, FloatArray]:
    """(m, k) scores of each row of weight 1, and (k, k) minus the inverse of their weighted derivative; k = 2 log rates
    and, where there is a theta, its log."""
    mean = t * np.exp(log_rate)[arm]
    of_arm = (arm[:, None] == np.arange(2)).astype(np.float64)
    if not np.isfinite(log_theta):
        return (y - mean)[:, None] * of_arm, np.diag(1 / _by_arm(w * mean, arm))
    theta = float(np.exp(log_theta))
    total = theta + mean
    slope, curve = _theta_scores(theta, y, mean)
    scores = np.column_stack([(theta * (y - mean) / total)[:, None] * of_arm, theta * slope])
    hessian = np.zeros((3, 3))
    hessian[[0, 1], [0, 1]] = _by_arm(-w * theta * mean * (theta + y) / total**2, arm)
    hessian[2, :2] = hessian[:2, 2] = theta * _by_arm(w * mean * (y - mean) / total**2, arm)
    hessian[2, 2] = theta * (w @ slope) + theta**2 * (w @ curve)
    return scores, np.asarray(-np.linalg.inv(hessian), dtype=np.float64)
