"""Balance and attrition become released CSV files: the same rows after disclosure control.

Choice made: an empty cell is a suppressed (or undefined) number, and the disclosure log says which. A mean stands on a
grid no finer than what one person adds to it: the sums behind exact means of all and of the kept would differ by what
the one who was left out has.
"""

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.protocol import Disclosure
from pipelines.report.rounded_effects import round_step, round_to_step
from pipelines.store import RunFolder

SIDES = ("treated", "control")
MOMENTS = ("before", "after")
BALANCE_SCHEMA = {
    "contrast": pl.String,
    "design": pl.String,
    "covariate": pl.String,
    "is_proportion": pl.Boolean,
    **{
        f"{statistic}_{moment}": pl.Float64
        for moment in MOMENTS
        for statistic in ("mean_treated", "mean_control", "smd", "variance_ratio", "ks")
    },
}
ATTRITION_SCHEMA = {
    "step": pl.Int64,
    "group": pl.String,
    "rule": pl.String,
    "n_discharges_removed": pl.Int64,
    "n_people_removed": pl.Int64,
    "n_discharges_left": pl.Int64,
    "n_people_left": pl.Int64,
}


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def name_of(entry: Mapping[str, Any]) -> str:
    """What a design of design.json is called: its specification's name, else its method."""
    return str(entry.get("name", entry["method"]))


def release_balance(summary: Mapping[str, Any], proportions: Mapping[str, bool], log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of BALANCE_SCHEMA for every contrast and design of design.json. `proportions` says of raw covariates
    that were seen in the baseline file whether they are 0/1."""
    rows = []
    for contrast in summary["contrasts"]:
        for design in contrast["designs"]:
            people = people_of(summary, contrast, design)
            for row in design["balance"]:
                place = f"{contrast['contrast']}/{name_of(design)}/{row['covariate']}"
                is_share = is_proportion(row, proportions)
                released = _release_row(row, people, is_share, place, log)
                key = {"contrast": contrast["contrast"], "design": name_of(design), "covariate": row["covariate"]}
                rows.append({**key, "is_proportion": is_share, **released})
    if rows:
        log.note(store.RELEASED_BALANCE, "means of 0/1 covariates", dc.RECOMPUTED)
    return pl.DataFrame(rows, schema=BALANCE_SCHEMA)


def people_of(summary: Mapping[str, Any], contrast: Mapping[str, Any], design: Mapping[str, Any]) -> dict[str, Any]:
    """Exact numbers of people behind a design's balance: treated and control, before and after, and the largest
    weight of one control. A randomised contrast has no overlap; its arms are counted where they are the treated arm
    of another contrast. None where unknown."""
    overlap = design.get("overlap")
    if overlap:
        weight = overlap.get("max_control_weight_share")
        return {
            "treated_before": overlap["n_treated"],
            "treated_after": overlap["n_treated_kept"],
            "control_before": overlap["n_control_pool"],
            "control_after": overlap["n_controls_kept"],
            "largest_weight": weight or None,
        }
    arms = {
        other["treated_arm"]: entry["overlap"]["n_treated"]
        for other in summary["contrasts"]
        for entry in other["designs"]
        if entry.get("overlap")
    }
    treated, control = arms.get(contrast["treated_arm"]), arms.get(contrast["control_arm"])
    counts = {f"treated_{m}": treated for m in MOMENTS} | {f"control_{m}": control for m in MOMENTS}
    return {**counts, "largest_weight": None}


def is_proportion(row: Mapping[str, Any], proportions: Mapping[str, bool]) -> bool:
    """Whether a covariate is 0/1: by its form, else as seen in the baseline file, else when all means could be."""
    name = row["covariate"]
    if " = " in name or name.endswith((" is zero", " missing")):
        return True
    if name in proportions:
        return proportions[name]
    means = [_finite(row[f"mean_{side}_{moment}"]) for side in SIDES for moment in MOMENTS]
    return all(mean is None or 0 <= mean <= 1 for mean in means)


def _release_row(
    row: Mapping[str, Any], people: Mapping[str, Any], is_share: bool, place: str, log: dc.DisclosureLog
) -> dict[str, float | None]:
    """Means and differences of one covariate. A standardised difference gives a suppressed mean away, and so does the
    Kolmogorov-Smirnov distance of a proportion, so they go with it; the variance ratio of a proportion is a function of
    the two means."""
    released: dict[str, float | None] = {}
    for moment in MOMENTS:
        for side in SIDES:
            weight = people["largest_weight"] if (side, moment) == ("control", "after") else None
            n, mean = people[f"{side}_{moment}"], _finite(row[f"mean_{side}_{moment}"])
            released[f"mean_{side}_{moment}"] = _release_mean(mean, n, weight, is_share, log.rule)
    means = ("mean_treated_before", "mean_control_before", "mean_treated_after", "mean_control_after")
    for name in means:
        if released[name] is None and _finite(row[name]) is not None:
            log.note(store.RELEASED_BALANCE, f"{place}/{name}", dc.SUPPRESSED)
    is_whole = all(released[name] is not None for name in means)
    for moment in MOMENTS:
        smd, ratio = _finite(row[f"smd_{moment}"]), _finite(row[f"variance_ratio_{moment}"])
        released[f"smd_{moment}"] = None if smd is None or not is_whole else round(smd, 2 if is_share else 3)
        keeps_ratio = ratio is not None and is_whole and not is_share
        released[f"variance_ratio_{moment}"] = round(ratio, 2) if keeps_ratio and ratio is not None else None
        distance = _finite(row.get(f"ks_{moment}"))
        released[f"ks_{moment}"] = None if distance is None or not is_whole else round(distance, 2)
    return released


def _release_mean(
    mean: float | None, people: float | None, weight: float | None, is_share: bool, rule: Disclosure
) -> float | None:
    if mean is None:
        return None
    if is_share:
        return dc.release_proportion(mean, people, rule, weight)
    return release_mean(mean, people, rule)


def release_mean(mean: float, people: float | None, rule: Disclosure) -> float | None:
    """A mean of numbers, to what one of `people` adds to it; None where these are too few, or too few have anything."""
    if people is None or dc.release_count(people, rule) in (None, 0):
        return None
    if rule.suppress_below <= 1:
        return float(f"{mean:.4g}")
    if 0 < round(abs(mean) * people, 6) < rule.suppress_below:
        return None  # of whole numbers, a sum of few is of few
    return round_to_step(mean, round_step(max(1.0, abs(mean)) / people))


def release_attrition(attrition: pl.DataFrame, log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of ATTRITION_SCHEMA. What is left is derived from the rounded start and the rounded removals; people
    removed are those whose last discharge went."""
    if attrition.is_empty():
        return pl.DataFrame(schema=ATTRITION_SCHEMA)
    parts = []
    for (group,), rows in attrition.group_by(["group"], maintain_order=True):
        part = rows.sort("step").select(list(ATTRITION_SCHEMA)).to_dict(as_series=False)
        for unit in ("discharges", "people"):
            left, first = part[f"n_{unit}_left"], part[f"n_{unit}_removed"][0]
            start = left[0] + first
            removed = [before - after for before, after in zip([start, *left[:-1]], left, strict=True)]
            part[f"n_{unit}_removed"] = [
                log.count(n, store.RELEASED_ATTRITION, f"{group}/{rule}/n_{unit}_removed")
                for n, rule in zip(removed, part["rule"], strict=True)
            ]
            part[f"n_{unit}_left"] = dc.release_running_left(start, removed, log.rule)
        parts.append(pl.DataFrame(part, schema=ATTRITION_SCHEMA))
    log.note(store.RELEASED_ATTRITION, "columns n_discharges_removed and n_people_removed", dc.ROUNDED)
    log.note(store.RELEASED_ATTRITION, "columns n_discharges_left and n_people_left", dc.DERIVED)
    return pl.concat(parts)


def read_proportions(run: RunFolder) -> dict[str, bool]:
    """Of every column of the baseline file, whether its values are 0/1; empty without the file."""
    if not run.file(store.BASELINE).exists():
        return {}
    frame = run.read(store.BASELINE)
    seen = {}
    for name, kind in frame.schema.items():
        if kind == pl.Boolean:
            seen[name] = True
        elif kind.is_numeric():
            seen[name] = bool(frame[name].drop_nulls().cast(pl.Float64).is_in([0.0, 1.0]).all())
    return seen
