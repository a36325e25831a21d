"""Released estimates, curves and individual effects become the parts of the report that need outcomes."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from models.registry import methods_for
from pipelines import disclosure as dc
from pipelines import store
from pipelines.method_settings.acceptance import Acceptance
from pipelines.protocol import Protocol, outcome_kinds
from pipelines.report.analysed_facts import read_analysed
from pipelines.report.difference_facts import read_differences
from pipelines.report.heterogeneity_facts import read_heterogeneity
from pipelines.report.multiverse_facts import mask_reasons, read_specification_curve
from pipelines.report.rates_facts import read_rates
from pipelines.report.released_estimates import place_of
from pipelines.report.sites_facts import is_of_sites, read_sites
from pipelines.report.wording import ARM_LABELS, label, mid, specification_label

FILE = store.SUMMARY
DIFFERENCES = ("risk_difference", "mean_difference")
RATIOS = ("risk_ratio", "mean_ratio")
CURVE_COLUMNS = ("day", "incidence", "lower", "upper", "at_risk")
WEIGHTS_OF_OBSERVATION = "weights for the end of observation"
"""How remarks on censoring weights begin (models/times/censoring.py)."""
WEIGHTS_FOR_UNOBSERVED = "weights for outcomes not observed"
"""The same of weights for outcomes that were not observed (models/observation.py)."""
BAND_COLUMNS = ("band_lower", "band_upper")
LANDMARKS = (30, 90, 182, 365)
N_EFFECT_BINS = 12

Row = dict[str, Any]


def read_effects(
    private: Mapping[str, Any],
    estimates: pl.DataFrame,
    design: Mapping[str, Any],
    protocol: Protocol,
    log: dc.DisclosureLog,
) -> dict[str, Any]:
    """Everything the report says of effects. `private` holds the exact tables, `estimates` the released one, `design`
    what design.json says."""
    rows = _with_marks(estimates, log)
    arm = protocol.strategies.treated_label
    contrasts = [f"{arm}_vs_virtual", f"{arm}_vs_randomised", "randomised_vs_virtual"]
    primary = protocol.outcomes.primary
    mine = [row for row in rows if row["outcome"] == primary and row["subgroup"] == "all"]
    method = first_method(mine, contrasts[0], protocol)
    pick = Picker(rows, protocol.design.methods[0], method)
    headline = pick.one(contrasts[0], primary, DIFFERENCES)
    curves = _curves(private["curves"], contrasts[0], protocol, log)
    analysed = read_analysed(private["analysed"], contrasts[0], protocol.design.methods[0], method, log)
    has_benchmark_arm = any(row["contrast"] in contrasts[1:] for row in rows)
    return {
        "contrasts": contrasts,
        "method": method,
        "headline": {
            "difference": headline,
            "ratio": pick.one(contrasts[0], primary, RATIOS),
        },
        "multiverse": _multiverse(rows, private["notes"], design, protocol, headline, log),
        "triad": [
            {
                "contrast": name,
                "difference": pick.one(name, primary, DIFFERENCES),
                "ratio": pick.one(name, primary, RATIOS),
            }
            for name in contrasts
        ]
        if has_benchmark_arm
        else [],
        "benchmark": None if protocol.benchmark is None else protocol.benchmark.model_dump(),
        "forest": [row for row in mine if _is_of_main_lists(row, protocol) and row["contrast"] in contrasts[:2]],
        "outcomes": _outcomes(private["estimates"], pick, contrasts, protocol, has_benchmark_arm, analysed, log),
        "withheld": [name for name in outcome_kinds(protocol) if analysed.get(name, {}).get("failed")],
        "subgroups": [
            row
            for row in rows
            if row["subgroup"] != "all"
            and row["contrast"] == contrasts[0]
            and row["method"] != "causal_forest"
            and not is_of_sites(row, private["sites"])
        ],
        "sites": read_sites(rows, private["sites"], log),
        "rates": read_rates(rows, contrasts[0], (protocol.design.methods[0],), protocol.effects.methods_by_name()),
        "time_at_risk": protocol.effects.time_at_risk,
        "curves": curves,
        "differences": read_differences(private["differences"], curves, contrasts[0], protocol, log),
        "mean_counts": _curves(private["mean_counts"], contrasts[0], protocol, log, most=math.inf, figure="mean_count"),
        "times": _times(rows, contrasts[0], protocol),
        "heterogeneity": read_heterogeneity(private["heterogeneity"], rows, log),
        "individual": _individual(private["individual"], protocol, log),
        "notes": _notes(private["notes"], log),
        "weighs_unobserved": any(note["note"].startswith(WEIGHTS_FOR_UNOBSERVED) for note in private["notes"]),
        "weighs_end_of_observation": any(WEIGHTS_OF_OBSERVATION in note["note"] for note in private["notes"]),
    }


def _multiverse(
    rows: list[Row],
    notes: list[Mapping[str, Any]],
    design: Mapping[str, Any],
    protocol: Protocol,
    headline: Row | None,
    log: dc.DisclosureLog,
) -> Row | None:
    if headline is None:
        return None
    curve = mask_reasons(read_specification_curve(rows, notes, design, protocol, headline["scale"]), log)
    return None if curve is None or not curve["estimated"] else {**curve, "headline_method": headline["method"]}


def _is_of_main_lists(row: Row, protocol: Protocol) -> bool:
    """Differences by the designs and methods of the main lists; further specifications are in their own figure."""
    is_main = row["design"] in (*protocol.design.methods, "randomised") and row["method"] in protocol.effects.methods
    return row["scale"] in DIFFERENCES and is_main


def _with_marks(estimates: pl.DataFrame, log: dc.DisclosureLog) -> list[Row]:
    """Says of a missing value whether it was withheld or never existed (no event in an arm, too few to fit)."""
    withheld = {entry["place"] for entry in log.entries if entry["file"] == store.RELEASED_ESTIMATES}
    return [{**row, "is_suppressed": f"{place_of(row)}/value" in withheld} for row in estimates.to_dicts()]


def first_method(rows: list[Row], contrast: str, protocol: Protocol) -> str:
    """The first effect method of the protocol that has a difference in the primary outcome under the primary design: a
    hazard ratio or days lost, of that outcome too, are no headline."""
    have = {
        row["method"]
        for row in rows
        if (row["contrast"], row["design"]) == (contrast, protocol.design.methods[0]) and row["scale"] in DIFFERENCES
    }
    return next((name for name in protocol.effects.methods if name in have), protocol.effects.methods[0])


class Picker:
    """Finds the one estimate that stands for a contrast and an outcome: primary design and method where there are."""

    def __init__(self, rows: list[Row], design: str, method: str) -> None:
        self.rows, self.design, self.method = rows, design, method

    def one(self, contrast: str, outcome: str, scales: tuple[str, ...]) -> Row | None:
        found = [
            row
            for row in self.rows
            if row["contrast"] == contrast
            and row["outcome"] == outcome
            and row["subgroup"] == "all"
            and row["scale"] in scales
            and row["design"] in (self.design, "randomised")
        ]
        found.sort(key=lambda row: row["method"] != self.method)
        return found[0] if found else None


def _outcomes(
    private: pl.DataFrame,
    pick: Picker,
    contrasts: list[str],
    protocol: Protocol,
    has_benchmark_arm: bool,
    analysed: Mapping[str, Row],
    log: dc.DisclosureLog,
) -> list[Row]:
    """One row per outcome of the protocol: difference and ratio of the primary contrast, differences of the others, and
    of those analysed where people left. Where these fall short only a method that uses everybody until observation
    ends has a difference; `by_another` is its name."""
    rows = []
    for outcome in (protocol.outcomes.primary, *protocol.outcomes.secondary):
        difference = pick.one(contrasts[0], outcome, DIFFERENCES)
        left = analysed.get(outcome)
        is_other = left is not None and bool(left["failed"]) and difference is not None
        rows.append(
            {
                "analysed": left,
                "by_another": difference["method"] if is_other and difference is not None else None,
                "outcome": outcome,
                "difference": difference,
                "ratio": pick.one(contrasts[0], outcome, RATIOS),
                "others": [pick.one(name, outcome, DIFFERENCES) for name in contrasts[1:]] if has_benchmark_arm else [],
                "n_unobserved": _unobserved(private, difference, log),
            }
        )
    return rows


def _unobserved(private: pl.DataFrame, estimate: Row | None, log: dc.DisclosureLog) -> Row:
    """People of the design whose outcome was not observed: released count, and whether it is known at all."""
    if estimate is None or "n_unobserved" not in private.columns:
        return {"is_known": False, "n": None}
    same = private
    for name in ("contrast", "outcome", "design", "method", "scale", "subgroup"):
        same = same.filter(pl.col(name) == estimate[name])
    if same.is_empty() or same["n_unobserved"][0] is None:
        return {"is_known": False, "n": None}
    place = f"effects/outcomes/{estimate['outcome']}/n_unobserved"
    return {"is_known": True, "n": log.count(same["n_unobserved"][0], FILE, place)}


def _curves(
    curves: pl.DataFrame,
    contrast: str,
    protocol: Protocol,
    log: dc.DisclosureLog,
    *,
    most: float = 1.0,
    figure: str = "incidence",
) -> Row | None:
    """Cumulative incidence (at most 1) or mean counts of the primary contrast and design on whole weeks, and at the
    landmark days. An outcome has the curves of the first method of the protocol that gives it."""
    if curves.is_empty():
        return None
    mine = curves.filter((pl.col("contrast") == contrast) & (pl.col("design") == protocol.design.methods[0]))
    mine = mine.filter(pl.col("method") == pl.col("method").first().over("outcome"))
    days = protocol.follow_up.days
    weekly = sorted({*range(0, days + 1, 7), *(day for day in LANDMARKS if day <= days), days})
    lines = []
    for (outcome, arm), part in mine.group_by(["outcome", "arm"], maintain_order=True):
        day, incidence, lower, upper, at_risk = (part[name].to_list() for name in CURVE_COLUMNS)
        low, high = (part[name].to_list() for name in BAND_COLUMNS)
        curve = dc.release_curve(
            day, incidence, lower, upper, at_risk, days=weekly, rule=log.rule, band=(low, high), most=most
        )
        if curve is None:
            part_of = "curves" if figure == "incidence" else "mean_counts"
            log.note(FILE, f"effects/{part_of}/{outcome}/{arm}", dc.SUPPRESSED)
            continue
        lines.append(
            {
                "outcome": outcome,
                "arm": arm,
                "label": ARM_LABELS.get(str(arm), str(arm)),
                "day": curve.day,
                "incidence": [None if value is None else round(value, 4) for value in curve.incidence],
                "lower": [None if value is None else round(value, 4) for value in curve.lower],
                "upper": [None if value is None else round(value, 4) for value in curve.upper],
                "at_risk": curve.at_risk,
                "band_lower": [None if value is None else round(value, 4) for value in curve.band_lower],
                "band_upper": [None if value is None else round(value, 4) for value in curve.band_upper],
            }
        )
    if not lines:
        return None
    if not dc.is_exact(log.rule):
        log.note(FILE, "effects/curves" if figure == "incidence" else "effects/mean_counts", dc.MIDPOINT)
        log.note(f"{store.FIGURES}/{figure}.svg", "all curves", dc.MIDPOINT)
    return {"lines": lines, "landmarks": [day for day in LANDMARKS if day <= days] or [days]}


def _times(rows: list[Row], contrast: str, protocol: Protocol) -> list[Row]:
    """Estimates of the methods for times on the primary contrast and design, as they come, those of further
    specifications under their own names."""
    named = protocol.effects.methods_by_name()
    return [
        {**row, "method_words": specification_label(row["method"], named)}
        for row in rows
        if row["contrast"] == contrast
        and row["design"] == protocol.design.methods[0]
        and row["subgroup"] == "all"
        and named.get(row["method"]) in methods_for("time_to_event")
    ]


def _individual(effects: pl.DataFrame, protocol: Protocol, log: dc.DisclosureLog) -> Row | None:
    """Individual effects as bins that hold enough people each; None when there are too few people."""
    if effects.is_empty():
        return None
    values = [value for value in effects["effect"].to_list() if value is not None and math.isfinite(value)]
    width = _nice_width(values)
    binned = dc.bin_people(values, width, log.rule) if width else None
    if binned is None:
        log.note(FILE, "effects/individual", dc.SUPPRESSED)
        return None
    log.note(FILE, "effects/individual", dc.MERGED)
    log.note(FILE, "effects/individual", dc.ROUNDED)
    known = pl.col("effect").is_finite() & pl.col("lower").is_finite() & pl.col("upper").is_finite()
    clear = effects.filter(known & ((pl.col("lower") > 0) | (pl.col("upper") < 0))).height
    return {
        "outcome": protocol.outcomes.primary,
        "edges": [round(edge, 6) for edge in binned[0]],
        "counts": binned[1],
        "n": log.count(len(values), FILE, "effects/individual/n"),
        "share_clear": dc.release_share(clear, len(values), log.rule),
    }


def _nice_width(values: list[float]) -> float | None:
    """A round bin width, about N_EFFECT_BINS across the middle 90 % of the effects."""
    ordered = sorted(values)
    if len(ordered) < 20:
        return None
    spread = ordered[int(0.95 * len(ordered))] - ordered[int(0.05 * len(ordered))]
    if spread <= 0:
        return None
    raw = spread / N_EFFECT_BINS
    power = 10.0 ** math.floor(math.log10(raw))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= raw))


def _notes(notes: list[Mapping[str, Any]], log: dc.DisclosureLog) -> list[Row]:
    if notes:
        log.note(FILE, "effects/notes", dc.MASKED)
    return [{**note, "note": _in_words(dc.mask_text(str(note["note"]), log.rule))} for note in notes]


def _in_words(text: str) -> str:
    """Names of acceptance checks become their labels."""
    for check in (name for name in Acceptance.model_fields if name in text):
        text = text.replace(check, mid(label(check)))
    return text


def at_landmarks(curves: Row) -> list[Row]:
    """Table of the curves: a row per outcome and arm, incidence and number at risk at each landmark day."""
    rows = []
    for line in curves["lines"]:
        where = [line["day"].index(day) for day in curves["landmarks"]]
        cells = [{"incidence": line["incidence"][i], "at_risk": line["at_risk"][i]} for i in where]
        rows.append({"outcome": line["outcome"], "label": line["label"], "cells": cells})
    return rows
