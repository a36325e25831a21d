"""The design's exact facts become the released parts of the report that exist without any outcome."""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from models.registry import DESIGNS
from pipelines import disclosure as dc
from pipelines import store
from pipelines.protocol import Disclosure, Protocol
from pipelines.report.released import name_of
from pipelines.report.wording import ARM_LABELS, label

FILE = store.SUMMARY
MAX_LEVELS_IN_TABLE = 12
BIN_STEPS = (1, 2, 3, 5)  # divisors of the 30 bins that the design stage makes
MAX_WITHHELD_SHARE = 0.15  # more than this in withheld bins and the figure no longer shows the distribution
OVERLAP_COUNTS = (
    "n_treated",
    "n_control_pool",
    "n_treated_kept",
    "n_controls_kept",
    "effective_n_treated",
    "effective_n_controls",
)


def released_overlap(entry: Mapping[str, Any], log: dc.DisclosureLog) -> dict[str, Any]:
    """Overlap with its counts rounded and its shares of people recomputed; the rest to two decimals."""
    exact = entry.get("overlap")
    if not exact:
        return {}
    released: dict[str, Any] = {
        name: log.count(exact.get(name), FILE, f"overlap/{name_of(entry)}/{name}") for name in OVERLAP_COUNTS
    }
    released["share_treated_kept"] = dc.release_share(exact["n_treated_kept"], exact["n_treated"], log.rule)
    for name in ("overlap_coefficient", "c_statistic_before"):
        value = exact.get(name)
        released[name] = None if value is None or not math.isfinite(value) else round(value, 2)
    return released


def read_verdicts(entry: Mapping[str, Any], log: dc.DisclosureLog) -> list[dict[str, Any]]:
    """Each acceptance check: name, kind of number, limit, released value (None when withheld) and whether it passed."""
    return [_read_verdict(verdict, entry, log) for verdict in entry["verdicts"]]


def _read_verdict(verdict: Mapping[str, Any], entry: Mapping[str, Any], log: dc.DisclosureLog) -> dict[str, Any]:
    check, value = verdict["check"], verdict["value"]
    is_finite = value is not None and math.isfinite(value)
    released: float | None = None
    kind = "number"
    if check in ("min_effective_controls", "min_effective_treated"):
        kind = "count"
        released = log.count(value, FILE, f"verdicts/{name_of(entry)}/{check}") if is_finite else None
    elif check in ("min_share_treated_kept", "min_share_population_kept"):
        kind = "share"
        released = share_of_people_kept(check.removeprefix("min_"), value, entry, log.rule)
        if released is None:
            log.note(FILE, f"verdicts/{name_of(entry)}/{check}", dc.SUPPRESSED)
    elif check == "min_equipoise":
        kind = "share"
        released = round(value, 2) if is_finite else None
    elif is_finite:
        released = float(f"{value:.3g}")
    direction = "at most" if check.startswith("max_") else "at least"
    return {
        "check": check,
        "kind": kind,
        "direction": direction,
        "limit": verdict["limit"],
        "value": released,
        "passed": bool(verdict["passed"]),
        "words": dc.mask_text(str(verdict["words"]), log.rule) if "words" in verdict else None,
    }


def share_of_people_kept(measure: str, value: float | None, entry: Mapping[str, Any], rule: Disclosure) -> float | None:
    """share_treated_kept or share_population_kept, from rounded counts; of people counted by overlap weights there are
    none, and two digits give nobody away. None where it has to be withheld."""
    overlap, estimand = entry.get("overlap") or {}, entry["estimand"]
    if "n_treated" not in overlap or value is None or not math.isfinite(value):
        return None
    if measure == "share_population_kept" and estimand == "ATO":
        return round(value, 2)
    arms = ["treated", "control"]
    if measure == "share_treated_kept" or estimand == "ATT":
        arms = ["treated"]
    elif estimand == "ATC":
        arms = ["control"]
    of_arm = {
        "treated": (overlap["n_treated_kept"], treated_asked_of(entry)),
        "control": (overlap["n_controls_kept"], control_asked_of(entry)),
    }
    kept, whole = (sum(of_arm[arm][part] for arm in arms) for part in (0, 1))
    return dc.release_share(kept, whole, rule)


def treated_asked_of(entry: Mapping[str, Any]) -> int:
    """Treated people before the design, those included who left for want of a covariate."""
    return int(entry["overlap"]["n_treated"]) + int(entry.get("incomplete", {}).get("treated", 0))


def control_asked_of(entry: Mapping[str, Any]) -> int:
    """Untreated rows before the design, those included who left for want of a covariate or of anybody treated in their
    exact group."""
    left = int(entry.get("incomplete", {}).get("control", 0)) + int(entry.get("outside_exact_groups", 0))
    return int(entry["overlap"]["n_control_pool"]) + left


def describe_gaps(entry: Mapping[str, Any], log: dc.DisclosureLog) -> dict[str, Any]:
    """Of the primary design: completed copies (None without), rows that left for want of a covariate, and untreated
    rows that left because nobody in their exact group was treated."""
    outside = int(entry.get("outside_exact_groups", 0))
    incomplete = entry.get("incomplete", {"treated": 0, "control": 0})
    place = f"gaps/{name_of(entry)}"
    return {
        "copies": entry.get("imputations"),
        "has_left": any(incomplete.values()),
        "has_outside": outside > 0,
        "n_outside": log.count(outside, FILE, f"{place}/n_outside"),
        "are_meant": entry["estimand"] in ("ATE", "ATC"),
        **{f"n_{arm}": log.count(n, FILE, f"{place}/n_{arm}") for arm, n in incomplete.items()},
    }


def list_designs(design: Mapping[str, Any], log: dc.DisclosureLog) -> list[dict[str, Any]]:
    """Every contrast and design with its verdict and its main facts."""
    rows = []
    for contrast in design["contrasts"]:
        for entry in contrast["designs"]:
            overlap = released_overlap(entry, log)
            verdicts = read_verdicts(entry, log)
            worst = next((v["value"] for v in verdicts if v["check"] == "max_abs_smd"), None)
            rows.append(
                {
                    "contrast": contrast["contrast"],
                    "method": name_of(entry),
                    "estimand": entry["estimand"],
                    "accepted": bool(entry["accepted"]),
                    "failed": [v["check"] for v in verdicts if not v["passed"]],
                    "is_judged": bool(verdicts),
                    "may_be_larger": entry.get("notes", {}).get("is_proven_within_gap") == "no",
                    "refused": next((v["words"] for v in verdicts if v["words"]), None),
                    "max_abs_smd": worst,
                    **{name: overlap.get(name) for name in (*OVERLAP_COUNTS, "overlap_coefficient")},
                }
            )
    return rows


def draw_up_flow(design: Mapping[str, Any], attrition: pl.DataFrame, log: dc.DisclosureLog) -> dict[str, Any] | None:
    """Boxes of the flow diagram; None for studies without attrition rules."""
    if attrition.is_empty():
        return None
    columns = []
    for group in ("participants", "candidates"):
        rows = attrition.filter(pl.col("group") == group).sort("step").to_dicts()
        if rows:
            columns.append(_flow_column(group, rows))
    primary = design["contrasts"][0]["designs"][0]
    overlap = released_overlap(primary, log)
    arms = []
    for contrast in design["contrasts"]:
        for entry in contrast["designs"][:1]:
            if entry.get("overlap"):
                arms.append({"arm": contrast["treated_arm"], "n": released_overlap(entry, log)["n_treated"]})
    return {
        "columns": columns,
        "arms": [{"label": ARM_LABELS.get(arm["arm"], label(arm["arm"])), "n": arm["n"]} for arm in arms],
        "method": name_of(primary),
        "estimand": primary["estimand"],
        "accepted": bool(primary["accepted"]),
        "unused": _unused_candidates(primary, log),
        **overlap,
    }


def _unused_candidates(entry: Mapping[str, Any], log: dc.DisclosureLog) -> list[dict[str, Any]]:
    """Why eligible discharges are not in the pool that the design chose from, in the order in which they left it."""
    left = {
        "candidate_incomplete": int(entry.get("incomplete", {}).get("control", 0)),
        "later_discharge": int(entry.get("later_discharges", 0)),
        "outside_exact_groups": int(entry.get("outside_exact_groups", 0)),
    }
    return [{"rule": rule, "n": log.count(n, FILE, f"flow/unused/{rule}")} for rule, n in left.items() if n]


def _flow_column(group: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = rows[0], rows[-1]
    starts_whole = first["n_discharges_removed"] == 0
    return {
        "group": group,
        "start_rule": first["rule"] if starts_whole else group,
        "start": first["n_discharges_left"] if starts_whole else None,
        "start_people": first["n_people_left"] if starts_whole else None,
        "steps": [
            {"rule": row["rule"], "n": row["n_discharges_removed"]}
            for row in (rows[1:] if starts_whole else rows)
            if row["n_discharges_removed"] != 0
        ],
        "end": last["n_discharges_left"],
        "end_people": last["n_people_left"],
    }


def make_table_1(
    design: Mapping[str, Any], balance: pl.DataFrame, protocol: Protocol, log: dc.DisclosureLog
) -> dict[str, Any]:
    """Characteristics under the primary design: rows grouped by covariate, squares left to the CSV file."""
    contrast, entry = design["contrasts"][0], design["contrasts"][0]["designs"][0]
    rows = balance.filter((pl.col("contrast") == contrast["contrast"]) & (pl.col("design") == name_of(entry)))
    rows = rows.filter(pl.col("covariate").str.ends_with(" squared").not_())
    is_matched = entry["method"] in DESIGNS and DESIGNS[entry["method"]].makes_matched_sets
    left_out = _with_many_levels(rows["covariate"].to_list())
    kept = [row for row in rows.to_dicts() if _base(row["covariate"]) not in left_out]
    return {
        "rows": [{**row, "variable": _base(row["covariate"])} for row in kept],
        "left_out": left_out,
        "exact": list(protocol.design.exact) if is_matched else [],
        **released_overlap(entry, log),
    }


def _base(covariate: str) -> str:
    return covariate.partition(" = ")[0]


def _with_many_levels(covariates: list[str]) -> list[str]:
    """Categories (such as NHS trust) with too many levels for a page."""
    bases = [_base(name) for name in covariates if " = " in name]
    return sorted({base for base in bases if bases.count(base) > MAX_LEVELS_IN_TABLE})


def love_points(design: Mapping[str, Any], balance: pl.DataFrame, protocol: Protocol) -> dict[str, Any]:
    """Absolute standardised differences of the primary contrast before and after each design; withheld ones counted."""
    contrast = design["contrasts"][0]
    methods = [name_of(entry) for entry in contrast["designs"]]
    mine = balance.filter(pl.col("contrast") == contrast["contrast"])
    points: dict[str, dict[str, Any]] = {}
    n_withheld = 0
    many = _with_many_levels(mine["covariate"].unique().to_list())
    for row in mine.iter_rows(named=True):
        if _base(row["covariate"]) in many:
            continue
        if row["smd_before"] is None or row["smd_after"] is None:
            n_withheld += row["design"] == methods[0]
            continue
        point = points.setdefault(
            row["covariate"], {"covariate": row["covariate"], "before": abs(row["smd_before"]), "after": {}}
        )
        point["after"][row["design"]] = abs(row["smd_after"])
    ordered = sorted(points.values(), key=lambda point: (-point["before"], point["covariate"]))
    return {
        "methods": methods,
        "points": ordered,
        "n_withheld": int(n_withheld),
        "limit": protocol.acceptance.max_abs_smd,
    }


def read_overlap(entry: Mapping[str, Any], log: dc.DisclosureLog) -> dict[str, Any] | None:
    """The mirrored histogram of the primary design: bins as wide as the number of people asks for, rounded; small
    bins withheld, empty outer bins cut."""
    histogram = entry.get("histogram")
    if not histogram:
        return None
    histogram = _coarse_enough(histogram, log)
    place = f"overlap/{name_of(entry)}/histogram"
    groups = {
        name: [log.count(n, FILE, f"{place}/{name}/{i}") for i, n in enumerate(histogram[name])]
        for name in ("treated", "pool", "controls")
    }
    log.note(FILE, place, dc.ROUNDED)
    shown = [i for i in range(len(histogram["treated"])) if any(groups[name][i] for name in groups)]
    if not shown:
        return None
    first, last = shown[0], shown[-1] + 1
    edges = [round(edge, 3) for edge in histogram["edges"][first : last + 1]]
    return {
        "edges": edges,
        **{name: counts[first:last] for name, counts in groups.items()},
        "is_log_odds": min(histogram["edges"]) < 0 or max(histogram["edges"]) > 1,
        **released_overlap(entry, log),
    }


def _coarse_enough(histogram: Mapping[str, Any], log: dc.DisclosureLog) -> Mapping[str, Any]:
    """Neighbouring bins merged by the smallest step that leaves few treated people in withheld bins."""
    merged = dict(histogram)
    for step in BIN_STEPS:
        merged = {name: _sums(histogram[name], step) for name in ("treated", "pool", "controls")}
        merged["edges"] = [*histogram["edges"][:-1:step], histogram["edges"][-1]]
        hidden = sum(n for n in merged["treated"] if dc.release_count(n, log.rule) is None)
        if hidden <= MAX_WITHHELD_SHARE * sum(merged["treated"]):
            break
    return merged


def _sums(counts: list[float], step: int) -> list[float]:
    return [sum(counts[i : i + step]) for i in range(0, len(counts), step)]
