"""A design → how much of the people its estimand is about it kept.

People count as the estimand counts them (Li, Morgan & Zaslavsky 2018, JASA 113:390): the treated by 1 under the ATT,
the untreated under the ATC, everybody under the ATE; under the ATO by the overlap weight score × (1 - score), or by
min(score, 1 - score) where the design has matching weights. People without a score, who left before the design, count
under the ATO as their arm does on average.
"""

from dataclasses import dataclass

import numpy as np

from models.results import BoolArray, Design, FloatArray


@dataclass(frozen=True)
class Population:
    """People of the estimand by arm, and those of them with a weight above 0; sums of counts, or of overlap weights."""

    treated: float
    treated_kept: float
    control: float
    control_kept: float


def measure_population(design: Design) -> Population:
    """Everybody of the baseline against everybody with a weight."""
    counts, kept = _counts(design), design.weights > 0

    def total(rows: BoolArray) -> float:
        return float(counts[rows].sum())

    treated = design.treated
    return Population(total(treated), total(treated & kept), total(~treated), total(~treated & kept))


def share_kept(
    population: Population, *, n_treated: int, n_control: int, n_treated_left: int = 0, n_control_left: int = 0
) -> float:
    """Share of the people of the estimand that the design kept, of those too who left before it was made; n_treated and
    n_control are the rows of the baseline. 0 where there are none."""
    treated = population.treated * (1 + n_treated_left / max(n_treated, 1))
    control = population.control * (1 + n_control_left / max(n_control, 1))
    everybody = treated + control
    return (population.treated_kept + population.control_kept) / everybody if everybody > 0 else 0.0


def _counts(design: Design) -> FloatArray:
    score, treated = design.score, design.treated
    if design.notes.get("weight_formula") == "matching":
        return np.asarray(np.minimum(score, 1 - score))
    counts = {"ATT": treated, "ATC": ~treated, "ATE": np.ones(len(score)), "ATO": score * (1 - score)}
    return np.asarray(counts[design.estimand], dtype=np.float64)
