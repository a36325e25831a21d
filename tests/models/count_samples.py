"""Samples for the tests of methods for counts: the golden ones, and worlds in which everybody has a rate of his own."""

from dataclasses import replace

import numpy as np
from scipy.special import expit

from models.results import Baseline, Design
from tests.models.effect_samples import GOLDEN, baseline_of, read_columns, weighting_design


def golden_counts(name: str) -> tuple[dict[str, np.ndarray], Baseline, Design]:
    """The sample of make_counts.R, matched or weighted ("att", "ate")."""
    data = read_columns(GOLDEN / "counts.csv")
    baseline = baseline_of(np.column_stack([data["x1"], data["x2"]]), data["person"])
    treated, no_set = data["treated"] == 1, np.full(len(data["n"]), -1, dtype=np.int64)
    if name == "matched":
        sets = np.where(data["matched"] > 0, data["set"], -1).astype(np.int64)
        return data, baseline, Design("by_hand", "ATT", treated, data["score"], data["matched"], sets)
    weights = data[f"weight_{name}"]
    return data, baseline, Design("by_hand", "ATT" if name == "att" else "ATE", treated, data["score"], weights, no_set)


def world_of_rates(
    rng: np.random.Generator, n: int, *, ratio: float, shape: float = 1.0
) -> tuple[np.ndarray, np.ndarray, Baseline, Design]:
    """(events, years, baseline, design): a gamma rate of each person's own (variance 1/shape), seen for a part of the
    year that has nothing to do with it; one confounder, weighted for. `ratio` is the true rate ratio of everybody."""
    matrix = rng.normal(size=(n, 2))
    treated = rng.random(n) < expit(-1 + 0.5 * matrix[:, 0])
    years = np.where(rng.random(n) < 0.4, rng.uniform(0.05, 1, n), 1.0)
    rate = rng.gamma(shape, 1 / shape, n) * np.exp(0.5 * matrix[:, 0]) * np.where(treated, ratio, 1.0)
    baseline = baseline_of(matrix)
    return rng.poisson(rate * years).astype(float), years, baseline, weighting_design(baseline, treated, l2_penalty=0.0)


def in_pairs(baseline: Baseline, design: Design) -> Design:
    """Sets of one treated and one control row in the order of the rows; the others weigh nothing."""
    treated, control = np.flatnonzero(design.treated), np.flatnonzero(~design.treated)
    pairs = min(treated.size, control.size)
    sets = np.full(len(design.weights), -1, dtype=np.int64)
    sets[treated[:pairs]] = sets[control[:pairs]] = np.arange(pairs)
    return replace(design, weights=(sets >= 0).astype(float), matched_set=sets, score=np.full(len(sets), 0.5))
