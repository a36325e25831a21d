"""One design → everything measured of it before outcomes are opened, and the verdict of each threshold; and the verdict
on those whose outcome is analysed, where others leave.

Choice made: every measure is taken of every design, whether or not the protocol has a threshold for it; thresholds
decide, measures inform. A value that cannot be computed passes no threshold.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from models.balance import Overlap, kish_effective_n, measure_balance, measure_overlap
from models.diagnostics import (
    Detectable,
    Generalisability,
    Population,
    ProductBalance,
    ScoreDiagnostics,
    measure_generalisability,
    measure_population,
    measure_products,
    measure_scores,
    minimum_detectable,
    share_kept,
)
from models.results import BalanceRow, Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from pipelines.method_settings.acceptance import Acceptance, Power


@dataclass(frozen=True)
class Diagnostics:
    """The measures of one design, by the models/ file that takes them."""

    balance: tuple[BalanceRow, ...]
    overlap: Overlap
    scores: ScoreDiagnostics
    products: ProductBalance
    generalisability: Generalisability
    population: Population
    detectable: Detectable

    def as_entry(self) -> dict[str, Any]:
        """How design.json holds what goes beyond balance and overlap."""
        beyond = ("scores", "products", "generalisability", "population", "detectable")
        return {name: asdict(getattr(self, name)) for name in beyond}


def diagnose(
    baseline: Baseline, design: Design, propensity: Propensity, power: Power, *, n_treated_left: int = 0
) -> Diagnostics:
    """Take every measure. `n_treated_left` treated people left before the design for want of a covariate."""
    return Diagnostics(
        balance=measure_balance(baseline, design),
        overlap=measure_overlap(baseline, design, propensity),
        scores=measure_scores(baseline, design, propensity),
        products=measure_products(baseline, design),
        generalisability=measure_generalisability(baseline, design, propensity, n_incomplete=n_treated_left),
        population=measure_population(design),
        detectable=minimum_detectable(baseline, design, **power.model_dump()),
    )


def judge(
    found: Diagnostics,
    acceptance: Acceptance,
    *,
    estimand: Estimand = "ATT",
    n_treated_left: int = 0,
    n_control_left: int = 0,
    n_outside: int = 0,
) -> list[dict[str, Any]]:
    """Each threshold of the protocol with what the design reached: check, limit, value, passed.

    Under the ATT the participants have to be kept, under the other estimands the people they are about, and under the
    ATE and the ATO the participants too. People who left before the design for want of a covariate (`n_treated_left`,
    `n_control_left`) were not kept either, nor were untreated people in exact groups without anybody treated
    (`n_outside`), whom no overlap weight counts.
    """
    n_treated = found.overlap.n_treated + n_treated_left
    left_pool = n_control_left + (0 if estimand == "ATO" else n_outside)
    before = {"n_treated": found.overlap.n_treated, "n_control": found.overlap.n_control_pool}
    reached = {
        "max_abs_smd": _worst(abs(row.smd_after) for row in found.balance),
        "min_effective_controls": found.overlap.effective_n_controls,
        "min_effective_treated": found.overlap.effective_n_treated,
        "min_share_treated_kept": found.overlap.n_treated_kept / n_treated if n_treated else 0.0,
        "min_share_population_kept": share_kept(
            found.population, **before, n_treated_left=n_treated_left, n_control_left=left_pool
        ),
        "min_overlap": found.overlap.overlap_coefficient,
        "max_variance_ratio": _worst_ratio(found.balance),
        "max_ks": _worst(row.ks_after for row in found.balance),
        "max_abs_smd_products": found.products.max_abs_smd,
        "min_equipoise": found.scores.equipoise,
        "min_generalisability": found.generalisability.index,
        "min_detectable_risk_ratio": found.detectable.risk_ratio_below,
    }
    limits = acceptance.model_dump()
    if estimand == "ATC":
        del limits["min_share_treated_kept"]
    if estimand == "ATT":
        del limits["min_share_population_kept"]
    asked = {check: limits[check] for check in reached if limits.get(check) is not None}
    return [_verdict(check, limit, reached[check]) for check, limit in asked.items()]


def judge_analysed(
    baseline: Baseline,
    design: Design,
    analysed: FloatArray,
    observed: BoolArray,
    acceptance: Acceptance,
    *,
    is_randomised: bool,
) -> list[dict[str, Any]]:
    """The thresholds that people who leave can break, among those who stay: check, limit (None: not asked), value,
    passed. Standardised differences are over the standard deviation before the design, as for the whole of it.

    analysed  (n,) weights with which rows are analysed, times those for censoring or observation where there are any
    observed  (n,) whether the outcome was; of rows of weight 0 in the design it does not matter

    Of a randomised comparison only the share not observed has a limit, as nothing else of it is judged either.
    """
    left = replace(design, weights=analysed)
    balance = measure_balance(baseline, left, with_distances=acceptance.max_ks is not None)
    inside = design.weights > 0
    lost = [
        float(design.weights[inside & arm & ~observed].sum() / design.weights[inside & arm].sum())
        for arm in (design.treated, ~design.treated)
        if (inside & arm).any()
    ]
    reached = {
        "max_share_unobserved": max(lost, default=1.0),
        "max_abs_smd": _worst(abs(row.smd_after) for row in balance),
        "min_effective_controls": kish_effective_n(np.where(design.treated, 0.0, analysed)),
        "min_effective_treated": kish_effective_n(np.where(design.treated, analysed, 0.0)),
        "max_variance_ratio": _worst_ratio(balance),
    }
    if acceptance.max_ks is not None:
        reached["max_ks"] = _worst(row.ks_after for row in balance)
    if acceptance.max_abs_smd_products is not None:
        reached["max_abs_smd_products"] = measure_products(baseline, left).max_abs_smd
    limits = acceptance.model_dump()
    if is_randomised:
        limits = {"max_share_unobserved": limits["max_share_unobserved"]}
    return [_verdict(check, limits.get(check), value) for check, value in reached.items()]


def _worst_ratio(balance: Iterable[BalanceRow]) -> float:
    ratios = [row.variance_ratio_after for row in balance if not math.isnan(row.variance_ratio_after)]
    return max((max(r, 1 / r) if r > 0 else math.inf for r in ratios), default=1.0)


def _worst(values: Iterable[float]) -> float:
    return max(values, default=float("nan"))


def _verdict(check: str, limit: float | None, value: float) -> dict[str, Any]:
    if limit is None:
        return {"check": check, "limit": None, "value": float(value), "passed": True}
    passed = value <= limit if check.startswith("max_") else value >= limit  # nan passes neither
    return {"check": check, "limit": float(limit), "value": float(value), "passed": bool(passed)}
