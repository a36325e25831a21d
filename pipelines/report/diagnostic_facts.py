"""The measures of every design become two released tables and the report's list of diagnostics.

Choice made: a share of people is recomputed from rounded counts, a number of people is rounded, other measures are cut
to three digits, which do not give counts away; who was left out is shown only where they are enough people.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.report.design_facts import share_of_people_kept
from pipelines.report.released import is_proportion, name_of, release_mean
from pipelines.report.wording import label

FILE = store.RELEASED_DIAGNOSTICS
KEPT_FILE = store.RELEASED_KEPT
DIAGNOSTICS_SCHEMA = {
    "contrast": pl.String,
    "design": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "limit": pl.Float64,
    "passed": pl.Boolean,
}
KEPT_SCHEMA = {
    "contrast": pl.String,
    "design": pl.String,
    "covariate": pl.String,
    "is_proportion": pl.Boolean,
    "mean_all": pl.Float64,
    "mean_kept": pl.Float64,
    "mean_left_out": pl.Float64,
    "smd_kept_vs_all": pl.Float64,
    "smd_left_out_vs_kept": pl.Float64,
}
COUNTS = (
    "effective_n_treated",
    "effective_n_controls",
    "detectable_n_treated",
    "detectable_n_control",
    "n_left_out",
    "n_untreated_left_out",
    "n_outside_exact_groups",
)
SHARES = ("share_treated_kept", "share_population_kept", "equipoise", "equipoise_treated", "equipoise_control")
MOST_DESIGNS = 4  # columns that a page has room for
GATES = {  # threshold of the protocol → the measure it is about
    "max_abs_smd": "max_abs_smd",
    "max_variance_ratio": "max_variance_ratio",
    "max_ks": "max_ks",
    "max_abs_smd_products": "max_abs_smd_products",
    "min_effective_controls": "effective_n_controls",
    "min_effective_treated": "effective_n_treated",
    "min_share_treated_kept": "share_treated_kept",
    "min_share_population_kept": "share_population_kept",
    "min_overlap": "overlap_coefficient",
    "min_equipoise": "equipoise",
    "min_generalisability": "generalisability_index",
    "min_detectable_risk_ratio": "detectable_risk_ratio_below",
}
SHOWN = (  # what the page lists, in this order; the file has every measure
    "max_abs_smd",
    "max_variance_ratio",
    "max_ks",
    "max_abs_smd_products",
    "share_products_over",
    "share_products_over_by_chance",
    "prognostic_smd_before",
    "prognostic_smd_after",
    "c_statistic_before",
    "c_statistic_refitted",
    "c_statistic_by_chance",
    "overlap_coefficient",
    "equipoise",
    "effective_n_treated",
    "effective_n_controls",
    "share_treated_kept",
    "share_population_kept",
    "generalisability_index",
    "max_abs_smd_kept_vs_all",
    "detectable_risk_ratio_below",
    "detectable_sd_difference",
)


def release_diagnostics(design: Mapping[str, Any], prognostic: pl.DataFrame, log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of DIAGNOSTICS_SCHEMA, a row for each measure of each contrast and design; a withheld or undefined value
    is empty. `passed` and `limit` are empty where the protocol has no threshold."""
    rows = []
    for contrast, entry in _measured(design):
        limits = {GATES[v["check"]]: v for v in entry["verdicts"] if v["check"] in GATES}
        for measure, value in _measures(contrast, entry, prognostic).items():
            place = f"{contrast['contrast']}/{name_of(entry)}/{measure}"
            verdict = limits.get(measure, {})
            rows.append(
                {
                    "contrast": contrast["contrast"],
                    "design": name_of(entry),
                    "measure": measure,
                    "value": _release(measure, value, entry, place, log),
                    "limit": verdict.get("limit"),
                    "passed": verdict.get("passed"),
                }
            )
    if rows:
        log.note(FILE, f"measures {', '.join(COUNTS)}", dc.ROUNDED)
        log.note(FILE, f"measures {', '.join(SHARES)}", dc.RECOMPUTED)
    return pl.DataFrame(rows, schema=DIAGNOSTICS_SCHEMA)


def _measured(design: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Contrasts and designs that have diagnostics; a randomised comparison has none."""
    for contrast in design["contrasts"]:
        for entry in contrast["designs"]:
            if entry.get("diagnostics"):
                yield contrast, entry


def _measures(contrast: Mapping[str, Any], entry: Mapping[str, Any], prognostic: pl.DataFrame) -> dict[str, Any]:
    found, overlap, balance = entry["diagnostics"], entry["overlap"], entry["balance"]
    products, kept, detectable = found["products"], found["generalisability"], found["detectable"]
    after = [row["smd_after"] for row in balance]
    ratios = [row["variance_ratio_after"] for row in balance]
    measures = {
        "max_abs_smd": _largest(abs(value) if value is not None else None for value in after),
        "max_variance_ratio": _largest(
            (None if r is None else max(r, 1 / r) if r > 0 else math.inf for r in ratios), unknown_is_fine=True
        ),
        "max_ks": _largest(row.get("ks_after") for row in balance),
        "max_abs_smd_products": products["max_abs_smd"],
        "n_products": products["n_products"],
        "share_products_over": products["share_over"],
        "share_products_over_before": products["share_over_before"],
        "share_products_over_by_chance": products["share_over_by_chance"],
        **{name: overlap.get(name) for name in ("effective_n_treated", "effective_n_controls")},
        **{name: overlap[name] for name in ("share_treated_kept", "overlap_coefficient")},
        "share_population_kept": _population_kept(entry),
        "n_outside_exact_groups": entry.get("outside_exact_groups", 0),
        "c_statistic_before": overlap["c_statistic_before"],
        **found["scores"],
        "generalisability_index": kept["index"],
        "n_left_out": kept["n_left_out"] + kept.get("n_incomplete", 0),
        **({"n_untreated_left_out": kept["n_untreated_left_out"]} if kept.get("untreated_rows") else {}),
        "max_abs_smd_kept_vs_all": kept["max_abs_smd"],
        **{f"detectable_n_{arm}": detectable[f"effective_n_{arm}"] for arm in ("treated", "control")},
        "detectable_sd_difference": detectable["sd_difference"],
        "detectable_risk_ratio_below": detectable["risk_ratio_below"],
        "detectable_risk_ratio_above": detectable["risk_ratio_above"],
    }
    if not prognostic.is_empty():
        is_this = (pl.col("contrast") == contrast["contrast"]) & (pl.col("design") == name_of(entry))
        for row in prognostic.filter(is_this).to_dicts():
            measures |= {f"prognostic_{name}": row[name] for name in ("smd_before", "smd_after", "fit")}
    return measures


def _population_kept(entry: Mapping[str, Any]) -> float | None:
    """As the acceptance rule has it; under the ATT, which has no such rule, the share of participants says it."""
    checks = {verdict["check"]: verdict["value"] for verdict in entry["verdicts"]}
    return checks.get("min_share_population_kept")


def _largest(values: Any, *, unknown_is_fine: bool = False) -> float | None:
    """The largest; unknown (infinite when it was written) where one is, unless unknown ones say nothing."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    if not known or (len(known) < len(listed) and not unknown_is_fine):
        return None
    return float(max(known))


def _release(
    measure: str, value: float | None, entry: Mapping[str, Any], place: str, log: dc.DisclosureLog
) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    if measure in COUNTS:
        return log.count(value, FILE, place)
    if measure in ("share_treated_kept", "share_population_kept"):
        released = share_of_people_kept(measure, value, entry, log.rule)
        if released is None:
            log.note(FILE, place, dc.SUPPRESSED)
        return None if released is None else round(released, 4)
    if measure in SHARES:
        overlap = entry["overlap"]
        whole = overlap["n_treated"] if "treated" in measure else overlap["n_control_pool"]
        part = value * whole
        if measure == "equipoise":
            whole = overlap["n_treated"] + overlap["n_control_pool"]
            part = value * whole
        released = dc.release_share(part, whole, log.rule)
        if released is None:
            log.note(FILE, place, dc.SUPPRESSED)
        return None if released is None else round(released, 4)
    return float(f"{value:.3g}")


def release_kept(design: Mapping[str, Any], proportions: Mapping[str, bool], log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of KEPT_SCHEMA: all participants, those kept and those left out, by covariate. Of a design that leaves
    out too few people nothing is said."""
    return _released_arm(design, proportions, log, OF_PARTICIPANTS)


def release_candidates_kept(
    design: Mapping[str, Any], proportions: Mapping[str, bool], log: dc.DisclosureLog
) -> dict[str, pl.DataFrame]:
    """The same of the untreated, by the name of its file; nothing where no design has an estimand that is about them,
    since the ATT only chooses among them."""
    entries = [entry for _, entry in _measured(design)]
    if not any(entry["diagnostics"]["generalisability"].get("untreated_rows") for entry in entries):
        return {}
    return {OF_CANDIDATES.file: _released_arm(design, proportions, log, OF_CANDIDATES)}


@dataclass(frozen=True)
class _Arm:
    """Where design.json has the people of an arm, and the file that says who of them was left out."""

    file: str
    n_all: str
    n_kept: str
    n_left_out: str
    rows: str


OF_PARTICIPANTS = _Arm(KEPT_FILE, "n_treated", "n_treated_kept", "n_left_out", "rows")
OF_CANDIDATES = _Arm(
    store.RELEASED_CANDIDATES_KEPT, "n_control_pool", "n_controls_kept", "n_untreated_left_out", "untreated_rows"
)


def _released_arm(
    design: Mapping[str, Any], proportions: Mapping[str, bool], log: dc.DisclosureLog, arm: _Arm
) -> pl.DataFrame:
    rows = []
    for contrast, entry in _measured(design):
        overlap, found = entry["overlap"], entry["diagnostics"]["generalisability"]
        people = {"all": overlap[arm.n_all], "kept": overlap[arm.n_kept], "left_out": found.get(arm.n_left_out, 0)}
        if not people["left_out"]:
            continue
        if any(not dc.release_count(n, log.rule) for n in people.values()):
            log.note(arm.file, f"{contrast['contrast']}/{name_of(entry)}", dc.SUPPRESSED)
            continue
        by_name = {row["covariate"]: row for row in entry["balance"]}
        for row in found[arm.rows]:
            is_share = is_proportion(by_name[row["covariate"]], proportions)
            key = {"contrast": contrast["contrast"], "design": name_of(entry), "covariate": row["covariate"]}
            place = "/".join(key.values())
            released = _release_kept(row, people, is_share, place, log, arm.file)
            rows.append({**key, "is_proportion": is_share, **released})
    return pl.DataFrame(rows, schema=KEPT_SCHEMA)


def _release_kept(
    row: Mapping[str, Any], people: Mapping[str, int], is_share: bool, place: str, log: dc.DisclosureLog, file: str
) -> dict[str, float | None]:
    released: dict[str, float | None] = {}
    for group, n in people.items():
        mean = row[f"mean_{group}"]
        if mean is None:
            released[f"mean_{group}"] = None
        elif is_share:
            released[f"mean_{group}"] = dc.release_proportion(mean, n, log.rule)
        else:
            released[f"mean_{group}"] = release_mean(mean, n, log.rule)
    is_whole = None not in released.values()
    if not is_whole:  # two of three means would give the third away
        released = dict.fromkeys(released)
        log.note(file, place, dc.SUPPRESSED)
    for name in ("smd_kept_vs_all", "smd_left_out_vs_kept"):
        released[name] = round(row[name], 2) if is_whole and row[name] is not None else None
    return released


def list_diagnostics(table: pl.DataFrame, contrast: str, primary: str) -> list[dict[str, Any]]:
    """What the page lists of the primary contrast: a row for each measure, its value under the first designs."""
    mine = table.filter(pl.col("contrast") == contrast)
    names = mine["design"].unique(maintain_order=True).to_list()
    names.sort(key=lambda name: name != primary)
    total, names = len(names), names[:MOST_DESIGNS]
    rows = []
    for measure in SHOWN:
        of_measure = {row["design"]: row for row in mine.filter(pl.col("measure") == measure).to_dicts()}
        if any(row["value"] is not None for row in of_measure.values()):
            cells = [of_measure.get(name) for name in names]
            limit = next((cell["limit"] for cell in cells if cell and cell["limit"] is not None), None)
            rows.append({"measure": measure, "kind": _kind(measure), "limit": limit, "cells": cells})
    return [{"designs": names, "total": total, "rows": rows}] if rows else []


def _kind(measure: str) -> str:
    if measure in COUNTS:
        return "count"
    return "share" if measure in SHARES or measure.startswith("share_") else "number"


def most_different(kept: pl.DataFrame, contrast: str, design: str, n: int = 12) -> list[dict[str, Any]]:
    """The covariates in which those left out differ most from those kept under one design."""
    mine = kept.filter((pl.col("contrast") == contrast) & (pl.col("design") == design))
    mine = mine.filter(pl.col("smd_left_out_vs_kept").is_not_null() & ~pl.col("covariate").str.ends_with(" squared"))
    order = mine.sort(pl.col("smd_left_out_vs_kept").abs(), "covariate", descending=[True, False]).head(n)
    return [{**row, "name": label(row["covariate"])} for row in order.to_dicts()]
