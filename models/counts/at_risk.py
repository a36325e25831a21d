"""What the methods for rates share: counts and exposures of a design are checked, two rates become estimates."""

from collections.abc import Mapping

import numpy as np

from models.contrasts import ArmMeans, contrast_arms, outcome_in_design
from models.counts.whole_windows import WholeWindows
from models.influence import find_clusters
from models.refusals import Refused
from models.results import Baseline, Design, Estimate, FloatArray, Scale
from models.times.events import FEWEST, fewest_of

RATE_SCALES: tuple[Scale, ...] = ("rate_difference", "rate_ratio")


def counts_in_design(outcome: FloatArray, exposure: FloatArray, design: Design) -> tuple[FloatArray, FloatArray]:
    """(n,) counts and (n,) exposures, 0 outside the design.

    Raises ValueError: wrong shapes, a missing or negative number, a count that is no whole number. Raises Refused: an
    empty arm, an arm without exposure.
    """
    counts = outcome_in_design(outcome, design, "continuous")
    if exposure.shape != design.weights.shape:
        raise ValueError(f"exposure has shape {exposure.shape}, the design {design.weights.shape}")
    inside = design.weights > 0
    if not np.isfinite(exposure[inside]).all() or (exposure[inside] < 0).any():
        raise ValueError("every row of the design needs an exposure of 0 or more")
    exposures = np.where(inside, exposure, 0.0).astype(np.float64)
    if (counts < 0).any() or (counts != np.round(counts)).any():
        raise ValueError("counts must be whole numbers of 0 or more")
    if any(not (exposures[arm] > 0).any() for arm in (design.treated, ~design.treated)):
        raise Refused("nobody in one of the arms has any time at risk")
    return counts, exposures


def without_time(counts: FloatArray, exposures: FloatArray, counted: Design) -> tuple[int, int]:
    """How many people have events and no exposure (in hospital all the time that counts), and how many events."""
    has = (counted.weights > 0) & (counts > 0) & (exposures == 0)
    return int(has.sum()), int(counts[has].sum())


def contrast_rates(
    rates: tuple[float, float],
    influence: FloatArray,
    counts: FloatArray,
    baseline: Baseline,
    windows: WholeWindows,
    *,
    method: str,
    confidence: float,
    notes: Mapping[str, float | str],
) -> tuple[Estimate, ...]:
    """Difference and ratio of two rates (treated, control) whose (n, 2) influence is given. Its people are those whose
    windows count."""
    design, counted = windows.design, windows.weighted
    means = ArmMeans(
        treated=rates[0],
        control=rates[1],
        influence=influence,
        clusters=find_clusters(baseline, design),
        control_weights=np.where(design.treated, 0.0, counted.weights),
    )
    facts = {**notes, FEWEST: fewest_with_events(counts, counted)}
    return contrast_arms(means, counted, method=method, scales=RATE_SCALES, confidence=confidence, notes=facts)


def fewest_with_events(counts: FloatArray, design: Design) -> float:
    """People of the design with an event, in the arm with fewest of those that have any: disclosure control asks."""
    has = (counts > 0) & (design.weights > 0)
    return fewest_of(((has & design.treated).sum(), (has & ~design.treated).sum()))


def dispersion(counts: FloatArray, expected: FloatArray, weights: FloatArray) -> float:
    """Weighted mean of squared Pearson residuals of a Poisson: above 1 is over-dispersion; nan without events."""
    has = (weights > 0) & (expected > 0)
    if not has.any():
        return float("nan")
    squared = (counts[has] - expected[has]) ** 2 / expected[has]
    return float(weights[has] @ squared / weights[has].sum())
