"""Turns the two arms' means and their influence functions into estimates on every scale asked for.

Choice made: normal intervals (not t: at 40 matched sets the width would differ by 3 %);
ratios are built on the log scale and carried back. A scale that does not exist (no event in an arm, a mean outside
its range) is nan with a note that says why, never a number made up by a continuity correction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from models.influence import Clusters, robust_covariance
from models.refusals import Refused
from models.results import Design, Estimand, Estimate, FloatArray, Scale

Kind = Literal["binary", "continuous"]

LARGE_SHARE = 0.1
MANY_CONTROLS = 30
"""Among fewer a tenth of the weight is nothing unusual."""

FEW_SETS = 20
"""As of matching with replacement (models/matching/nearest.py): no robust error can be trusted on fewer clusters."""


@dataclass(frozen=True)
class ArmMeans:
    """Mean outcome (or risk) under treatment and under control.

    influence        (n, 2) each row's share in the error of the two means, treated first
    control_weights  (n,) weights that make the control mean, 0 for other rows
    treated_weights  (n,) the same of the treated mean, where they can differ (None: not looked at)
    """

    treated: float
    control: float
    influence: FloatArray
    clusters: Clusters
    control_weights: FloatArray
    treated_weights: FloatArray | None = None


@dataclass(frozen=True)
class _Contrast:
    scale: Scale
    value: float
    gradient: tuple[float, float]
    is_ratio: bool
    why_not: str = ""


def check_confidence(confidence: float) -> None:
    """Raises ValueError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")


def outcome_in_design(outcome: FloatArray, design: Design, kind: Kind) -> FloatArray:
    """(n,) outcome, 0 outside the design.

    Raises ValueError: wrong shape, a missing value inside the design. Refused: an empty arm, a binary outcome not 0/1.
    """
    if kind not in ("binary", "continuous"):
        raise ValueError(f'kind must be "binary" or "continuous", not {kind!r}')
    if outcome.shape != design.weights.shape:
        raise ValueError(f"outcome has shape {outcome.shape}, the design {design.weights.shape}")
    inside = design.weights > 0
    if not (inside & design.treated).any() or not (inside & ~design.treated).any():
        raise Refused("the design has no row with a positive weight in one of its arms")
    if not np.isfinite(outcome[inside]).all():
        raise ValueError("outcome is missing for rows of the design: call keep_observed first")
    if kind == "binary" and not np.isin(outcome[inside], (0.0, 1.0)).all():
        raise Refused("a binary outcome must be 0 or 1")
    return np.where(inside, outcome, 0.0).astype(np.float64)


def contrast_arms(
    means: ArmMeans,
    design: Design,
    *,
    method: str,
    scales: tuple[Scale, ...],
    confidence: float,
    notes: Mapping[str, float | str] | None = None,
) -> tuple[Estimate, ...]:
    """One Estimate a scale, by the delta method; `mean_treated`, `mean_control` and `n_clusters` go to the notes."""
    covariance = robust_covariance(means.influence, means.clusters)
    inside = design.weights > 0
    n_treated, n_control = int((inside & design.treated).sum()), int((inside & ~design.treated).sum())
    effective_n = effective_n_of(design, means.treated_weights, means.control_weights)
    warnings = (
        _warn_of_few("treated", means.treated_weights, n_treated),
        _warn_of_few("control", means.control_weights, n_control),
        _warn_of_few_sets(means.clusters),
        str((notes or {}).get("warning", "")),
    )
    facts: dict[str, float | str] = {
        "mean_treated": means.treated,
        "mean_control": means.control,
        "n_clusters": float(means.clusters.count),
        **(notes or {}),
        **({"warning": "; ".join(filter(None, warnings))} if any(warnings) else {}),
    }
    made = []
    for scale in scales:
        contrast = _contrast(scale, means.treated, means.control)
        numbers, why_not = _interval(contrast, covariance, confidence)
        said = {"not_estimable": why_not, **facts} if why_not else facts
        made.append(Estimate(method, design.estimand, scale, *numbers, n_treated, n_control, effective_n, notes=said))
    return tuple(made)


def log_ratio(
    log_value: float,
    influence: FloatArray,
    clusters: Clusters,
    design: Design,
    *,
    method: str,
    scale: Scale,
    confidence: float,
    notes: Mapping[str, float | str] | None = None,
) -> Estimate:
    """The Estimate of a ratio whose log a regression gives, with the (n,) influence on that log."""
    inside = design.weights > 0
    variance = float(robust_covariance(influence[:, None], clusters)[0, 0])
    std_error = float(np.sqrt(variance)) if variance > 0 else np.nan
    reach = float(ndtri(0.5 + confidence / 2)) * std_error
    facts: dict[str, float | str] = {"n_clusters": float(clusters.count), **(notes or {})}
    if not variance > 0:
        facts["not_estimable"] = "fewer than two clusters" if np.isnan(variance) else "no variation between clusters"
    return Estimate(
        method=method,
        estimand=design.estimand,
        scale=scale,
        value=float(np.exp(log_value)),
        std_error=std_error,
        lower=float(np.exp(log_value - reach)),
        upper=float(np.exp(log_value + reach)),
        p_value=float(2 * ndtr(-abs(log_value) / std_error)),
        n_treated=int((inside & design.treated).sum()),
        n_control=int((inside & ~design.treated).sum()),
        effective_n=effective_n_of(design),
        notes=facts,
    )


def scales_for(kind: Kind, outcome: FloatArray, means: tuple[float, float]) -> tuple[Scale, ...]:
    """The scales of a kind of outcome; a mean ratio only where no outcome is negative and both means are positive."""
    if kind == "binary":
        return ("risk_difference", "risk_ratio", "odds_ratio")
    if outcome.min() >= 0 and min(means) > 0:
        return ("mean_difference", "mean_ratio")
    return ("mean_difference",)


def effective_n_of(
    design: Design, treated_weights: FloatArray | None = None, control_weights: FloatArray | None = None
) -> float:
    """Kish's effective number of the arm that stands in for the people of the estimand; under the ATE and the ATO,
    where both do, the smaller of the two. (n,) weights that make the arms' means, the design's where None."""
    treated = np.where(design.treated, design.weights, 0.0) if treated_weights is None else treated_weights
    control = np.where(design.treated, 0.0, design.weights) if control_weights is None else control_weights
    return smaller_effective_number(design.estimand, treated, control)


def smaller_effective_number(estimand: Estimand, treated: FloatArray, control: FloatArray) -> float:
    """As `effective_n_of`, from the weights of the two arms; 0 where an arm has none."""
    arms = {"ATT": (control,), "ATC": (treated,)}.get(estimand, (treated, control))
    return min(effective_number(weights) if weights.any() else 0.0 for weights in arms)


def effective_number(weights: FloatArray) -> float:
    """Kish's effective number of rows behind (n,) weights."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _warn_of_few_sets(clusters: Clusters) -> str:
    """A warning where the error rests on few matched sets, as full matching to few controls leaves; empty otherwise."""
    if clusters.factor == 1.0 or clusters.count >= FEW_SETS:
        return ""
    return "the error rests on fewer than twenty independent matched sets and may be too small"


def _warn_of_few(arm: Literal["treated", "control"], arm_weights: FloatArray | None, n: int) -> str:
    """A warning where one row of many of an arm stands for more than a tenth of all; empty otherwise."""
    if arm_weights is None or n < MANY_CONTROLS:
        return ""
    weights = np.abs(arm_weights)
    if weights.max() <= LARGE_SHARE * weights.sum():
        return ""
    who = {
        "treated": "treated person carries more than a tenth of the treated’s",
        "control": "control carries more than a tenth of the controls’",
    }[arm]
    return (
        f"a single {who} weight, so the estimate and its error lean on few people; narrow the sample to where the "
        "groups overlap"
    )


def _contrast(scale: Scale, treated: float, control: float) -> _Contrast:
    if scale.endswith("_difference"):
        return _Contrast(scale, treated - control, (1.0, -1.0), False)
    if scale != "odds_ratio":
        if min(treated, control) <= 0:
            return _Contrast(scale, np.nan, (np.nan, np.nan), True, "an arm's mean, rate or risk is not above 0")
        return _Contrast(scale, treated / control, (1 / treated, -1 / control), True)
    if min(treated, control) <= 0 or max(treated, control) >= 1:
        return _Contrast(scale, np.nan, (np.nan, np.nan), True, "an arm's risk is not strictly between 0 and 1")
    gradient = (1 / (treated * (1 - treated)), -1 / (control * (1 - control)))
    return _Contrast(scale, treated / (1 - treated) * (1 - control) / control, gradient, True)


def _interval(
    contrast: _Contrast, covariance: FloatArray, confidence: float
) -> tuple[tuple[float, float, float, float, float], str]:
    """(value, std_error, lower, upper, p_value) and, when there is no interval, the reason."""
    gradient = np.array(contrast.gradient)
    variance = float(gradient @ covariance @ gradient)
    if contrast.why_not or np.isnan(contrast.value):
        return (np.nan, np.nan, np.nan, np.nan, np.nan), contrast.why_not
    if not variance > 0:
        reason = "fewer than two clusters" if np.isnan(variance) else "the outcome does not vary within the arms"
        return (contrast.value, np.nan, np.nan, np.nan, np.nan), reason
    std_error = float(np.sqrt(variance))
    reach = float(ndtri(0.5 + confidence / 2)) * std_error
    centre = float(np.log(contrast.value)) if contrast.is_ratio else contrast.value
    p_value = float(2 * ndtr(-abs(centre) / std_error))
    if contrast.is_ratio:
        return (contrast.value, std_error, float(np.exp(centre - reach)), float(np.exp(centre + reach)), p_value), ""
    return (contrast.value, std_error, centre - reach, centre + reach, p_value), ""
