"""Released estimates of the primary outcome become the specification curve: every design with every effect method.

Choice made (Simonsohn, Simmons & Nelson 2020, Nat Hum Behav 4:1208): all specifications the protocol named are counted,
also those that were refused, so that nothing drops out of sight; they share people and outcomes, so the summary counts
and ranges and tests nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any

from models.registry import EFFECTS
from pipelines import disclosure as dc
from pipelines.protocol import Protocol, outcome_kinds
from pipelines.report.released import name_of
from pipelines.report.wording import label, mid, no_effect, specification_label

STATES = ("estimated", "design_refused", "method_refused", "no_estimate", "withheld")

Row = dict[str, Any]


def read_specification_curve(
    rows: Sequence[Row], notes: Sequence[Mapping[str, Any]], design: Mapping[str, Any], protocol: Protocol, scale: str
) -> Row | None:
    """`rows` are released estimates, `notes` the remarks of the estimate stage, `scale` that of the headline. None with
    fewer than two specifications.

    Keys: scale, specifications (design, method, state, why, estimate; the estimated first, by value), designs, methods,
    and of specifications, not people: total, estimated, by_state, median, low, high, same_side, excluding (interval
    without the value of no effect).
    """
    contrast = design["contrasts"][0]
    primary = protocol.outcomes.primary
    mine = [
        row
        for row in rows
        if (row["contrast"], row["outcome"], row["subgroup"], row["scale"])
        == (contrast["contrast"], primary, "all", scale)
    ]
    found = {(row["design"], row["method"]): row for row in mine}
    of_primary = [row for row in rows if (row["contrast"], row["outcome"]) == (contrast["contrast"], primary)]
    with_any = {(row["design"], row["method"]) for row in of_primary}
    named = protocol.effects.methods_by_name()
    methods = _methods_on_scale(mine, protocol)
    of_place = (contrast["contrast"], primary)
    notes = [note for note in notes if (note["contrast"], note["outcome"]) == of_place]
    specifications = [
        _specification(entry, method, named, found, with_any, notes, place == 0)
        for place, entry in enumerate(contrast["designs"])
        for method in methods
        if place == 0 or not EFFECTS[named[method]].individual_effects
    ]
    if len(specifications) < 2:
        return None
    specifications.sort(key=_by_value)
    return {
        "scale": scale,
        "specifications": specifications,
        "designs": [name_of(entry) for entry in contrast["designs"]],
        "methods": methods,
        "total": len(specifications),
        "by_state": dict.fromkeys(STATES, 0) | Counter(one["state"] for one in specifications),
        **_joint([one["estimate"] for one in specifications if one["state"] == "estimated"], scale),
    }


def _methods_on_scale(mine: Sequence[Row], protocol: Protocol) -> list[str]:
    """Effect methods of the grid for this kind of outcome, and others that gave an estimate on the scale."""
    kind = outcome_kinds(protocol)[protocol.outcomes.primary]
    have = {row["method"] for row in mine}
    named = protocol.effects.methods_by_name()
    return [name for name, method in named.items() if name in have or kind in EFFECTS[method].kinds]


def _specification(
    entry: Mapping[str, Any],
    method: str,
    named: Mapping[str, str],
    found: Mapping[tuple[str, str], Row],
    with_any: Collection[tuple[str, str]],
    notes: Sequence[Mapping[str, Any]],
    is_primary: bool,
) -> Row:
    name = name_of(entry)
    estimate = found.get((name, method))
    words = specification_label(method, named)
    place = {"design": name, "method": method, "method_words": words, "is_primary_design": is_primary}
    if not entry["accepted"]:
        return {**place, "state": "design_refused", "why": _why_no_design(entry), "estimate": None}
    if estimate is None or estimate["value"] is None:
        said = [note["note"] for note in notes if note["design"] == name and note["method"] in (method, "")]
        if estimate is not None and estimate["is_suppressed"]:
            return {**place, "state": "withheld", "why": "", "estimate": None}
        if (name, method) in with_any or not said:
            return {**place, "state": "no_estimate", "why": "", "estimate": None}
        return {**place, "state": "method_refused", "why": said[0], "estimate": None}
    return {**place, "state": "estimated", "why": "", "estimate": estimate}


def _why_no_design(entry: Mapping[str, Any]) -> str:
    """What the design fell short of, or why it could not be made."""
    failed = [verdict for verdict in entry.get("verdicts", ()) if not verdict["passed"]]
    return "; ".join(verdict.get("words") or mid(label(verdict["check"])) for verdict in failed)


def _by_value(one: Row) -> tuple[bool, float, str, str]:
    estimate = one["estimate"]
    return (estimate is None, estimate["value"] if estimate else 0.0, one["design"], one["method"])


def _joint(estimates: Sequence[Row], scale: str) -> Row:
    values = [estimate["value"] for estimate in estimates]
    if not values:
        return {"estimated": 0, "median": None, "low": None, "high": None, "same_side": 0, "excluding": 0}
    none, middle = no_effect(scale), median(values)
    limits = [(one["lower"], one["upper"]) for one in estimates if one["lower"] is not None]
    return {
        "estimated": len(values),
        "median": middle,
        "low": min(values),
        "high": max(values),
        "same_side": sum((value - none) * (middle - none) > 0 for value in values),
        "excluding": sum(not lower <= none <= upper for lower, upper in limits),
    }


def mask_reasons(curve: Row | None, log: dc.DisclosureLog) -> Row | None:
    """Remarks may hold counts: they are masked like all others."""
    if curve is None:
        return None
    masked = [{**one, "why": dc.mask_text(one["why"], log.rule)} for one in curve["specifications"]]
    return {**curve, "specifications": masked}
