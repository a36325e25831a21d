"""The table of exact estimates becomes estimates.csv: the same rows after disclosure control.

Choice made: an empty cell is a suppressed (or undefined) number, and the disclosure log says which. What rests on too
few people is withheld, and so is what would give it away by subtraction; everything else is rounded so that nothing
small can be found from it (rounded_effects.py).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.estimates_table import COUNTS, NUMBERS, RELEASED_SCHEMA
from pipelines.report.rounded_effects import Numbers, round_effects

GROUP = ("contrast", "outcome", "estimand", "design", "method", "subgroup")
Key = tuple[Any, ...]
COMPOSITE = "readmitted_or_died"
KINDS = ("is_informally_readmitted", "is_formally_readmitted")
_EVENT_AND_DAY = re.compile(r"([a-z_]+)_(\d+)d")
_PART = re.compile(r"(.+?) (?:=|<=|>) .+")
FILE = store.RELEASED_ESTIMATES


def release_estimates(estimates: pl.DataFrame, log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of RELEASED_SCHEMA, rows in the order given."""
    if estimates.is_empty():
        return pl.DataFrame(schema=RELEASED_SCHEMA)
    few = _rests_on_few(estimates, log)
    few |= _apart_by_few(estimates, few, log)
    exact = estimates.to_dicts()
    hidden = [group_of(row) in few or _is_of_few(row, log) for row in exact]
    hidden = _with_complements(exact, hidden, log)
    beside: dict[Key, dict[str, Any]] = {}
    for row in exact:
        beside.setdefault(group_of(row), {})[row["scale"]] = row
    rounded = {key: round_effects(by_scale, log.rule) for key, by_scale in beside.items()}
    rows = [
        _release_row(row, None if is_hidden else rounded[group_of(row)], log)
        for row, is_hidden in zip(exact, hidden, strict=True)
    ]
    for name in COUNTS:
        log.note(FILE, f"column {name}", dc.ROUNDED)
    if log.rule.suppress_below > 1:
        log.note(FILE, f"columns {', '.join(NUMBERS)}", dc.ROUNDED_EFFECT)
    return pl.DataFrame(rows, schema=RELEASED_SCHEMA)


def group_of(row: Mapping[str, Any]) -> Key:
    """What the estimates of one method on one outcome have in common: all but the scale."""
    return tuple(row[name] for name in GROUP)


def place_of(row: Mapping[str, Any]) -> str:
    """Where an estimate stands, as the disclosure log names it."""
    return "/".join(str(row[name]) for name in (*GROUP, "scale"))


def _release_row(
    row: Mapping[str, Any], rounded: Mapping[str, Numbers] | None, log: dc.DisclosureLog
) -> dict[str, Any]:
    place = place_of(row)
    released: dict[str, Any] = {name: row[name] for name in RELEASED_SCHEMA if name not in (*NUMBERS, *COUNTS)}
    for name in COUNTS:
        released[name] = log.count(_finite(row[name]), FILE, f"{place}/{name}")
    if rounded is None:
        log.note(FILE, f"{place}/value", dc.SUPPRESSED)
    elif row["scale"] not in rounded:
        log.note(FILE, f"{place}/value", dc.TOLD_BY_A_RATIO)
    return released | ((rounded or {}).get(row["scale"]) or dict.fromkeys(NUMBERS))


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _is_of_few(row: Mapping[str, Any], log: dc.DisclosureLog) -> bool:
    counts = (row["n_treated"], row["n_control"], row.get("fewest_events"), row.get("fewest_apart"))
    return any(count is not None and dc.release_count(count, log.rule) is None for count in counts)


def _with_complements(rows: list[dict[str, Any]], hidden: list[bool], log: dc.DisclosureLog) -> list[bool]:
    """Of the parts of one whole (levels of a covariate, sites) more than those of few are withheld: one alone would be
    the whole without the others, and several together must be enough people. The smallest others go with them. People
    without a recorded value are no part that was asked about; of them the rounding leaves too little to find."""
    hidden = list(hidden)
    parts: dict[Key, list[int]] = {}
    for place, row in enumerate(rows):
        named = _PART.fullmatch(str(row["subgroup"]))
        if named and not named[0].endswith(" = missing"):
            parts.setdefault((*group_of(row)[:-1], row["scale"], named[1]), []).append(place)
    for places in parts.values():
        shown = sorted((p for p in places if not hidden[p]), key=lambda p: (rows[p]["n_treated"], p), reverse=True)
        while shown and _is_given_away([rows[p] for p in places if hidden[p]], log):
            hidden[shown.pop()] = True
    return hidden


def _is_given_away(hidden: list[dict[str, Any]], log: dc.DisclosureLog) -> bool:
    if not hidden or log.rule.suppress_below <= 1:
        return False
    people = [sum(row[name] or 0 for row in hidden) for name in ("n_treated", "n_control")]
    return len(hidden) == 1 or min(people) < log.rule.suppress_below


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
