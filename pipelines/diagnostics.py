"""One design → everything measured of it before outcomes are opened, and the verdict of each threshold.

Choice made: every measure is taken of every design, whether or not the protocol has a threshold for it; thresholds
decide, measures inform. A value that cannot be computed passes no threshold.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from models.balance import Overlap, measure_balance, measure_overlap
from models.diagnostics import (
    Detectable,
    Generalisability,
    ProductBalance,
    ScoreDiagnostics,
    measure_generalisability,
    measure_products,
    measure_scores,
    minimum_detectable,
)
from models.results import BalanceRow, Baseline, Design, Estimand, Propensity
from pipelines.method_settings.acceptance import Acceptance, Power


@dataclass(frozen=True)
class Diagnostics:
    """The measures of one design, by the models/ file that takes them."""

    balance: tuple[BalanceRow, ...]
    overlap: Overlap
    scores: ScoreDiagnostics
    products: ProductBalance
    generalisability: Generalisability
    detectable: Detectable

    def as_entry(self) -> dict[str, Any]:
        """How design.json holds what goes beyond balance and overlap."""
        return {name: asdict(getattr(self, name)) for name in ("scores", "products", "generalisability", "detectable")}


def diagnose(baseline: Baseline, design: Design, propensity: Propensity, power: Power) -> Diagnostics:
    """Take every measure."""
    return Diagnostics(
        balance=measure_balance(baseline, design),
        overlap=measure_overlap(baseline, design, propensity),
        scores=measure_scores(baseline, design, propensity),
        products=measure_products(baseline, design),
        generalisability=measure_generalisability(baseline, design, propensity),
        detectable=minimum_detectable(baseline, design, **power.model_dump()),
    )


def judge(
    found: Diagnostics,
    acceptance: Acceptance,
    *,
    estimand: Estimand = "ATT",
    n_treated_left: int = 0,
    n_control_left: int = 0,
) -> list[dict[str, Any]]:
    """Each threshold of the protocol with what the design reached: check, limit, value, passed.

    Under the ATC and the ATE the treated stand in for others, so where the protocol has no threshold for their
    effective number, that of controls holds for them too; under the ATC it is candidates that have to be kept. People
    who left before the design (`n_treated_left`, `n_control_left`) were not kept either.
    """
    n_treated, n_control = found.overlap.n_treated + n_treated_left, found.overlap.n_control_pool + n_control_left
    ratios = [row.variance_ratio_after for row in found.balance if not math.isnan(row.variance_ratio_after)]
    reached = {
        "max_abs_smd": _worst(abs(row.smd_after) for row in found.balance),
        "min_effective_controls": found.overlap.effective_n_controls,
        "min_effective_treated": found.detectable.effective_n_treated,
        "min_share_treated_kept": found.overlap.n_treated_kept / n_treated if n_treated else 0.0,
        "min_share_control_kept": found.overlap.n_controls_kept / n_control if n_control else 0.0,
        "min_overlap": found.overlap.overlap_coefficient,
        "max_variance_ratio": max((max(r, 1 / r) if r > 0 else math.inf for r in ratios), default=1.0),
        "max_ks": _worst(row.ks_after for row in found.balance),
        "max_abs_smd_products": found.products.max_abs_smd,
        "min_equipoise": found.scores.equipoise,
        "min_generalisability": found.generalisability.index,
        "min_detectable_risk_ratio": found.detectable.risk_ratio_below,
    }
    limits = acceptance.model_dump()
    if estimand in ("ATC", "ATE") and acceptance.min_effective_treated is None:
        limits["min_effective_treated"] = acceptance.min_effective_controls
    if estimand == "ATC":
        limits["min_share_control_kept"] = limits.pop("min_share_treated_kept")
    asked = {check: limits[check] for check in reached if limits.get(check) is not None}
    return [_verdict(check, limit, reached[check]) for check, limit in asked.items()]


def _worst(values: Iterable[float]) -> float:
    return max(values, default=float("nan"))


def _verdict(check: str, limit: float, value: float) -> dict[str, Any]:
    passed = value <= limit if check.startswith("max_") else value >= limit  # nan passes neither
    return {"check": check, "limit": float(limit), "value": float(value), "passed": bool(passed)}
