"""The three tables of results become the three released CSV files: the same rows after disclosure control.

Choice made: an empty cell is a suppressed (or undefined) number, and the disclosure log says which. Effects are exact;
but a risk difference and a risk ratio together give the two risks away, and the error of a hazard ratio the number of
events, so where these rest on too few people the whole estimate is withheld.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.store import RunFolder

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
    "effective_n": pl.Int64,
}
NUMBERS = ("value", "std_error", "lower", "upper", "p_value")
COUNTS = ("n_treated", "n_control", "effective_n")
GROUP = ("contrast", "outcome", "estimand", "design", "method", "subgroup")
Key = tuple[Any, ...]
COMPOSITE = "readmitted_or_died"
KINDS = ("is_informally_readmitted", "is_formally_readmitted")
_EVENT_AND_DAY = re.compile(r"([a-z_]+)_(\d+)d")
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


def release_estimates(estimates: pl.DataFrame, log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of ESTIMATE_SCHEMA, rows in the order given."""
    if estimates.is_empty():
        return pl.DataFrame(schema=ESTIMATE_SCHEMA)
    withheld = _rests_on_few(estimates, log)
    withheld |= _apart_by_few(estimates, withheld, log)
    rows = []
    for row in estimates.iter_rows(named=True):
        place = place_of(row)
        released: dict[str, Any] = {name: row[name] for name in ESTIMATE_SCHEMA if name not in (*NUMBERS, *COUNTS)}
        for name in COUNTS:
            released[name] = log.count(_finite(row[name]), store.RELEASED_ESTIMATES, f"{place}/{name}")
        few = released["n_treated"] is None or released["n_control"] is None or tuple(row[n] for n in GROUP) in withheld
        few = few or (row.get("fewest_events") is not None and _is_few(row["fewest_events"], log))
        if few:
            log.note(store.RELEASED_ESTIMATES, f"{place}/value", dc.SUPPRESSED)
        for name in NUMBERS:
            released[name] = None if few else _finite(row[name])
        rows.append(released)
    for name in COUNTS:
        log.note(store.RELEASED_ESTIMATES, f"column {name}", dc.ROUNDED)
    return pl.DataFrame(rows, schema=ESTIMATE_SCHEMA)


def place_of(row: Mapping[str, Any]) -> str:
    """Where an estimate stands, as the disclosure log names it."""
    return "/".join(str(row[name]) for name in (*GROUP, "scale"))


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _rests_on_few(estimates: pl.DataFrame, log: dc.DisclosureLog) -> set[Key]:
    """Groups of estimates whose two risks, solved from risk difference and ratio, rest on too few people."""
    found = set()
    wanted = estimates.filter(pl.col("scale").is_in(["risk_difference", "risk_ratio"]))
    for key, group in wanted.group_by(GROUP, maintain_order=True):
        values = dict(zip(group["scale"], group["value"], strict=True))
        if len(values) < 2:
            continue
        risks = _solve_risks(values.get("risk_difference"), values.get("risk_ratio"))
        for risk, people in zip(risks, (group["n_treated"][0], group["n_control"][0]), strict=True):
            if risk is None or not people:
                continue
            events = round(min(max(risk, 0.0), 1.0) * people)
            if None in (dc.release_count(events, log.rule), dc.release_count(people - events, log.rule)):
                found.add(key)
    return found


def _apart_by_few(estimates: pl.DataFrame, withheld: set[Key], log: dc.DisclosureLog) -> set[Key]:
    """Groups of estimates that would give a withheld or a small number away by subtraction: an earlier day of the same
    event, readmission or death beside readmission, one kind of readmission beside the other or beside both. By whatever
    methods: where nobody is lost to observation all count the same events. Estimates that do not tell on how many
    people they rest (of parts of a design) are no part of this."""
    studies: dict[Key, list[_Counted]] = {}
    if "fewest_events" not in estimates.columns:
        return set()
    wanted = estimates.filter(pl.col("scale").is_in(["risk_difference", "risk_ratio"]))
    for key, group in wanted.drop_nulls("fewest_events").group_by(GROUP, maintain_order=True):
        named = _EVENT_AND_DAY.fullmatch(str(key[1]))
        values = dict(zip(group["scale"], group["value"], strict=True))
        risks = _solve_risks(values.get("risk_difference"), values.get("risk_ratio"))
        if named is None or None in risks:
            continue
        people = (group["n_treated"][0], group["n_control"][0])
        counts = tuple(round((risk or 0.0) * n) for risk, n in zip(risks, people, strict=True))
        studies.setdefault((key[0], *key[2:4], key[5]), []).append(_Counted(key, named[1], int(named[2]), counts))
    return {one.key for known in studies.values() for one in known if _tells_more(one, known, withheld, log)}


@dataclass(frozen=True)
class _Counted:
    """Events of each arm until a day, as solved from a difference and a ratio."""

    key: Key
    event: str
    day: int
    counts: tuple[int, ...]


def _tells_more(one: _Counted, known: list[_Counted], withheld: set[Key], log: dc.DisclosureLog) -> bool:
    for other in known:
        is_earlier = one.event == other.event and one.day < other.day
        is_wider = (one.event, other.event) == (COMPOSITE, "readmitted") and one.day == other.day
        is_kind = one.event in KINDS and other.event in KINDS and one.day == other.day
        if is_kind and one.event != other.event and other.key in withheld:
            return True
        is_part = one.event in KINDS and other.event == "readmitted" and one.day == other.day
        if (is_earlier or is_wider or is_part) and any(
            _is_few(abs(a - b), log) for a, b in zip(one.counts, other.counts, strict=True)
        ):
            return True
    return False


def _is_few(count: int, log: dc.DisclosureLog) -> bool:
    return dc.release_count(count, log.rule) is None


def _solve_risks(difference: float | None, ratio: float | None) -> tuple[float | None, float | None]:
    difference, ratio = _finite(difference), _finite(ratio)
    if difference is None:
        return None, None
    if ratio is None:  # no event in one arm: the difference is the other arm's risk
        return (difference, None) if difference > 0 else (None, -difference)
    if abs(ratio - 1) < 1e-9:
        return None, None
    control = difference / (ratio - 1)
    return ratio * control, control


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
    mean: float | None, people: float | None, weight: float | None, is_share: bool, rule: Any
) -> float | None:
    if mean is None:
        return None
    if is_share:
        return dc.release_proportion(mean, people, rule, weight)
    if people is None or dc.release_count(people, rule) in (None, 0):
        return None
    return float(f"{mean:.4g}")  # four digits do not give away the number of people behind a mean


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
