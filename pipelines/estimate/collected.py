"""What the estimate stage works on and what it collects.

`fewest_events` of an estimate, where its method tells, is how many people had the event in the arm with fewest.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from models.results import Baseline, Design, Estimate
from pipelines.design import Contrast

ESTIMATE_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "estimand": pl.String,
    "scale": pl.String,
    "design": pl.String,
    "method": pl.String,
    "subgroup": pl.String,
    "value": pl.Float64,
    "std_error": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "p_value": pl.Float64,
    "n_treated": pl.Int64,
    "n_control": pl.Int64,
    "effective_n": pl.Float64,
    "n_unobserved": pl.Int64,
    "fewest_events": pl.Int64,
}
CURVE_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "design": pl.String,
    "method": pl.String,
    "arm": pl.String,
    "day": pl.Float64,
    "incidence": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "band_lower": pl.Float64,
    "band_upper": pl.Float64,
    "at_risk": pl.Float64,
}


@dataclass(frozen=True)
class AcceptedDesign:
    """One design of one contrast, ready for outcomes: rows in the order of baseline and design. `name` is the
    specification's, which is the method's unless the protocol lists the method more than once."""

    name: str
    contrast: Contrast
    row_id: pl.Series
    baseline: Baseline
    design: Design
    is_primary: bool


@dataclass
class Results:
    """What the estimate stage collects."""

    estimates: list[dict[str, Any]] = field(default_factory=list)
    curves: list[pl.DataFrame] = field(default_factory=list)
    mean_counts: list[pl.DataFrame] = field(default_factory=list)
    sites: dict[str, Any] | None = None
    notes: list[dict[str, str]] = field(default_factory=list)
    individual: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"row_id": pl.Int64, "effect": pl.Float64, "lower": pl.Float64, "upper": pl.Float64}
        )
    )


def row_of(accepted: AcceptedDesign, outcome: str, estimate: Estimate, n_unobserved: int) -> dict[str, Any]:
    values = {name: value for name, value in asdict(estimate).items() if name in ESTIMATE_SCHEMA}
    place = {"contrast": accepted.contrast.name, "outcome": outcome, "design": accepted.design.method}
    fewest = estimate.notes.get("n_events_in_the_arm_with_fewest")
    return {**values, **place, "n_unobserved": n_unobserved, "fewest_events": None if fewest is None else int(fewest)}


def note_of(contrast: str, outcome: str, design: str, method: str, note: str) -> dict[str, str]:
    return {"contrast": contrast, "outcome": outcome, "design": design, "method": method, "note": note}
