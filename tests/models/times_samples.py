"""R's values and samples for the tests of effect methods for times."""

import csv
from dataclasses import replace

import numpy as np

from models.results import Baseline, Design
from tests.models.effect_samples import ROOT, baseline_of, weighting_design


def golden_times(name: str) -> dict[tuple[str, str], float]:
    """R's values of tests/golden/times/<name> by (data, quantity)."""
    with open(ROOT / "golden" / "times" / name, newline="", encoding="utf-8") as file:
        return {(row["data"], row["quantity"]): float(row["value"]) for row in csv.DictReader(file)}


def small_sample(day, event, n_treated=2) -> tuple[np.ndarray, np.ndarray, Baseline, Design]:
    """A few people by hand, the first of them treated, all of weight 1."""
    day = np.array(day, dtype=float)
    treated = np.arange(len(day)) < n_treated
    design = weighting_design(baseline_of(np.zeros((len(day), 1))), treated)
    design = replace(design, weights=np.ones(len(day)))
    return day, np.array(event), baseline_of(np.arange(len(day), dtype=float)[:, None]), design
