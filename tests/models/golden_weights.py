"""The pool of tests/golden/effects with R's weights and standard errors (tests/golden/weights/make_weights.R)."""

import csv
from functools import cache
from typing import Any

import numpy as np

from models.results import Baseline, BoolArray, FloatArray
from tests.models.effect_samples import GOLDEN, ROOT, baseline_of, read_columns

FOLDER = ROOT / "golden" / "weights"


@cache
def pool(variant: str) -> tuple[Baseline, BoolArray, dict[str, FloatArray]]:
    """400 rows of 350 persons; three sites are exact groups in the variant "by_site"."""
    data: dict[str, Any] = read_columns(GOLDEN / "weighted.csv")
    group = data["site"] if variant == "by_site" else None
    return baseline_of(np.column_stack([data["x1"], data["x2"]]), data["person"], group), data["treated"] == 1, data


@cache
def r_weights() -> dict[str, FloatArray]:
    return dict(read_columns(FOLDER / "weights.csv"))


@cache
def r_values() -> dict[tuple[str, str], float]:
    with (FOLDER / "values.csv").open(newline="", encoding="utf-8") as file:
        return {(row["data"], row["quantity"]): float(row["value"]) for row in csv.DictReader(file)}


@cache
def r_joint() -> dict[tuple[str, str], float]:
    """Over-identified balancing scores of LaLonde's data (make_joint.R)."""
    with (FOLDER / "joint.csv").open(newline="", encoding="utf-8") as file:
        return {(row["data"], row["quantity"]): float(row["value"]) for row in csv.DictReader(file)}
