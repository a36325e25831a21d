"""Spells into continuous stays, slowly (DOMAIN K1, K2, K4-K7, K13): the first half of tests/naive.py.

Choice: one function per rule, loops only. Source: DOMAIN section K; code sets B5, B8, B9.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from math import exp, lgamma, log
from statistics import median
from typing import Any

from pipelines.protocol import Eligibility, FollowUp

Row = dict[str, Any]
IdOrder = tuple[int, str]

FIRST_REAL_DAY = date(1901, 1, 2)  # dates before it are placeholders
FOREVER = date.max  # the running end of a stay that is still open

TRANSFER_DESTINATIONS = {"48", "49", "50", "51", "52", "53", "84", "87"}
TRANSFER_SOURCES = {"49", "51", "52", "53", "87"}
TRANSFER_METHODS = {"2B", "81"}
ADULT_ACUTE = {"10", "200"}
CHILDREN = {str(code) for code in [*range(23, 35), *range(300, 312)]}
BED_CLASSES = {str(code) for code in [*range(10, 41), *range(200, 214), *range(300, 312)]}
PLACE_OF_SAFETY = {"19", "20"}
DETENTION = {"02", "03", "07", "08", "09", "10", "12", "13", "14", "15", "16", "17", "18", "31", "32", "37", "38"}


@dataclass(frozen=True)
class Facts:
    """What is known of the extract as a whole; `submissions` and `successors` are rows of the reference tables,
    `thin` the provider and month of submissions that held too little to count, `reach` the first and last day that
    each table covers (empty: all of them the whole extract), `gaps` the months (their first days) in between that a
    table does not cover; `stays` names those of spells and wards."""

    period_end: date
    last_month_id: int
    submissions: list[Row]
    successors: list[Row]
    thin: frozenset[tuple[str, int]] = frozenset()
    reach: Mapping[str, tuple[date, date]] = field(default_factory=dict)
    gaps: Mapping[str, frozenset[date]] = field(default_factory=dict)


def find_thin_months(spells: list[Row], facts: Facts, follow_up: FollowUp) -> frozenset[tuple[str, int]]:
    """I15: months with far fewer spells than are usual for the provider, and months that hardly anybody sent."""
    found = {
        (row["provider_id"], row["month_id"])
        for row in facts.submissions
        if row["period_start_date"] in facts.gaps.get("stays", ())
    }
    for provider in {row["provider_id"] for row in facts.submissions}:
        months = {row["month_id"] for row in facts.submissions if row["provider_id"] == provider}
        counts = {}
        for month in sorted(months):
            sent = [row for row in spells if (row["provider_id"], row["month_id"]) == (provider, month)]
            counts[month] = len({(row["person_id"], row["spell_id"]) for row in sent})
        rule = (follow_up.silence_below, follow_up.silence_chance, follow_up.silence_minimum_spells)
        found |= {(provider, month) for month in months if is_too_low(counts, month, *rule)}
    return frozenset(found)


def is_too_low(counts: Mapping[int, int], month: int, below: float, chance: float, minimum: float = 0) -> bool:
    """Whether a month (a number) holds less than `below` of what is usual around it, and less than chance explains.

    Usual: the median of the 12 nearest months before it, or after it, whichever is less, among those with at least
    `below` of the median of all that hold anything. Chance: Poisson, after dividing by the variation between months.
    """
    some = [n for n in counts.values() if n]
    ordinary = [m for m in sorted(counts) if counts[m] and counts[m] >= below * median(some)]
    medians = []
    for side in ([m for m in ordinary if m < month][-12:], [m for m in ordinary if m > month][:12]):
        if side:
            medians.append(median(counts[m] for m in side))
    if not medians or below == 0 or len(ordinary) < len(counts) / 2:
        return False
    usual, n = min(medians), counts[month]
    if usual < minimum or n >= below * usual:
        return False
    spread = 1.0
    if len(ordinary) >= 8:
        run = [counts[m] for m in sorted(counts)]
        steps = [(b - a) ** 2 / (a + b) for a, b in pairwise(run) if a + b]
        spread = max(1.0, median(steps) / 0.4549) if steps else 1.0
    expected = usual / spread
    as_low = sum(exp(k * log(expected) - expected - lgamma(k + 1)) for k in range(int(n / spread + 1e-12) + 1))
    return chance == 1 or as_low < chance


def find_stays(own: Mapping[str, list[Row]], facts: Facts, eligibility: Eligibility) -> list[Row]:
    """One person's continuous stays, in order of time."""
    spells = find_spells(own, facts)
    deaths = death_date(own)
    legal_periods = clean_legal_periods(own, facts)
    detentions = hospital_detentions(own, facts)
    return [
        describe_stay(linked, legal_periods, deaths, eligibility) | describe_detention(linked, detentions)
        for linked in link(spells, eligibility)
    ]


def find_spells(own: Mapping[str, list[Row]], facts: Facts) -> list[Row]:
    """One person's usable spells, each once."""
    spells = []
    for row in latest_month_of_each(own.get("spell", []), "spell_id"):
        wards = [ward for ward in own.get("ward_stay", []) if ward["spell_id"] == row["spell_id"]]
        named = latest_month_of_each((ward for ward in wards if ward["ward_stay_id"] is not None), "ward_stay_id")
        nameless = latest_month_of_each((ward for ward in wards if ward["ward_stay_id"] is None), "start_date")
        wards = [clean_ward(ward) for ward in (*named, *nameless)]
        spell = clean_spell(row, wards, facts)
        if spell is not None:
            spells.append(spell)
    return join_twins(spells)


def latest_month_of_each(rows: Iterable[Row], *key: str) -> list[Row]:
    """K6: of the rows with the same key the one of the latest month; a tie goes to the larger row_id, as a number, then
    to the larger record number, then to the row that tells an end, that says more, and says the later or larger."""
    winners: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        group = tuple(row[column] for column in key)
        best = winners.get(group)
        if best is None or (age_of_row(row), content_of_row(row)) > (age_of_row(best), content_of_row(best)):
            winners[group] = row
    return list(winners.values())


def age_of_row(row: Row) -> tuple[int, IdOrder, IdOrder]:
    return row["month_id"], id_order(row["row_id"]), id_order(row["record_id"])


def content_of_row(row: Row) -> tuple[Any, ...]:
    cells = [row[name] for name in row]
    has_end = any(row.get(name) is not None for name in ("discharge_date", "end_date", "closed_date"))
    n_filled = sum(cell is not None for cell in cells)
    return has_end, n_filled, tuple((cell is not None, cell) for cell in cells)


def id_order(value: str | None) -> IdOrder:
    """Whole numbers by size (leading zeros do not count), everything else by length and then as text; nothing first."""
    if value is None:
        return -1, ""
    if value.isdecimal():
        value = str(int(value))
        return (0, "") if value == "0" else (len(value), value)
    while value.startswith("0"):
        value = value[1:]
    return len(value), value


def real(day: date | None) -> date | None:
    """A date, or None when it is missing or a 1900 placeholder."""
    return None if day is None or day < FIRST_REAL_DAY else day


def clean_ward(ward: Row) -> Row:
    start, end = real(ward["start_date"]), real(ward["end_date"])
    if start is not None and end is not None and end < start:
        end = None
    code = ward["bed_class_code"]
    known = code if code in BED_CLASSES else None
    return {
        "ward_stay_id": ward["ward_stay_id"],
        "start": start,
        "end": end,
        "bed_class": known,
        "distance": ward["distance_home"],
    }


def clean_spell(row: Row, wards: list[Row], facts: Facts) -> Row | None:
    """K6: the spell with a usable start and end (None = open), or None when it has no start at all."""
    start = real(row["start_date"])
    if start is None:
        ward_starts = [ward["start"] for ward in wards if ward["start"] is not None]
        if not ward_starts:
            return None
        start = min(ward_starts)

    end = real(row["discharge_date"])
    if end is not None and end < start:
        end = None
    is_inactive = False
    if end is None and row["month_id"] < facts.last_month_id:
        ward_ends = [ward["end"] for ward in wards]
        # K6 calls any discharge before the start missing, so a last ward end before the start is none either.
        if ward_ends and None not in ward_ends and max(ward_ends) >= start:
            end = max(ward_ends)
        else:
            end = max(last_day(row["month_id"]), start)
            is_inactive = True

    return {
        "person_id": row["person_id"],
        "spell_id": row["spell_id"],
        "month_id": row["month_id"],
        "provider_id": row["provider_id"],
        "final_provider": final_provider(row["provider_id"], facts),
        "start": start,
        "end": end,
        "is_inactive": is_inactive,
        "source": row["source_code"],
        "method": row["method_code"],
        "discharge_method": row["discharge_method_code"],
        "destination": row["destination_code"],
        "planned_end": real(row["planned_discharge_date"]),
        "wards": wards,
    }


def final_provider(provider_id: str, facts: Facts) -> str:
    """K5: follow mergers and renames to the last code, whatever their dates."""
    return providers_after(provider_id, facts)[-1]


def providers_after(provider_id: str, facts: Facts) -> list[str]:
    """The code itself, its successor, the successor's successor and so on."""
    chain = [provider_id]
    while True:
        following = [s["new_provider_id"] for s in facts.successors if s["old_provider_id"] == chain[-1]]
        if not following or following[0] in chain:
            return chain
        chain.append(following[0])


def join_twins(spells: list[Row]) -> list[Row]:
    """K7: same (final) provider, start and end: one spell, the row of the latest month with the wards of all."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for spell in spells:
        groups.setdefault((spell["final_provider"], spell["start"], spell["end"]), []).append(spell)
    joined = []
    for twins in groups.values():
        kept = max(twins, key=lambda spell: (spell["month_id"], id_order(spell["spell_id"])))
        ids = {twin["spell_id"] for twin in twins}
        joined.append(kept | {"wards": [ward for twin in twins for ward in twin["wards"]], "spell_ids": ids})
    return joined


def link(spells: list[Row], eligibility: Eligibility) -> list[list[Row]]:
    """K1: the spells of each continuous stay."""
    stays: list[list[Row]] = []
    for spell in sorted(spells, key=lambda s: (s["start"], s["end"] or FOREVER, s["spell_id"])):
        if stays and belongs_to(stays[-1], spell, eligibility):
            stays[-1].append(spell)
        else:
            stays.append([spell])
    return stays


def belongs_to(stay: list[Row], spell: Row, eligibility: Eligibility) -> bool:
    running_end = max(earlier["end"] or FOREVER for earlier in stay)
    gap_days = (spell["start"] - running_end).days
    if gap_days <= eligibility.link_gap_days:  # overlaps have a negative gap
        return True
    sent = any(s["destination"] in TRANSFER_DESTINATIONS for s in stay if s["end"] == running_end)
    received = spell["source"] in TRANSFER_SOURCES or spell["method"] in TRANSFER_METHODS
    return gap_days <= eligibility.transfer_gap_days and (sent or received)


def describe_stay(spells: list[Row], legal_periods: list[Row], death: date | None, eligibility: Eligibility) -> Row:
    last = max(spells, key=lambda s: (s["end"] or FOREVER, s["start"], id_order(s["spell_id"])))
    start, end = min(s["start"] for s in spells), last["end"]
    wards = [ward for spell in spells for ward in spell["wards"]]
    classes = {ward["bed_class"] for ward in wards if ward["bed_class"] is not None}
    return {
        "person_id": last["person_id"],
        "start_date": start,
        "end_date": end,
        "end_reason": end_reason(last, death),
        "trust": last["final_provider"],
        "submitted_provider": last["provider_id"],
        "n_spells": len(spells),
        "spells": spells,
        "is_acute": is_acute(wards, classes, eligibility),
        "is_adult": not classes or bool(classes - CHILDREN),
        "is_zero_day": end == start,
        "is_place_of_safety_only": is_place_of_safety_only(start, end, legal_periods),
        "los_days": None if end is None else (end - start).days,
        "discharge_method": last["discharge_method"],
        "destination": last["destination"],
        "planned_end": last["planned_end"],
        "distance_home": distance_of_last_ward(wards),
    }


def distance_of_last_ward(wards: list[Row]) -> int | None:
    """The distance to the last ward of a known class that tells one."""
    told = [ward for ward in wards if ward["bed_class"] is not None and ward["distance"] is not None]
    if not told:
        return None
    return max(told, key=place_of_ward)["distance"]


def place_of_ward(ward: Row) -> tuple[date, date, IdOrder]:
    return ward["end"] or FOREVER, ward["start"] or date.min, id_order(ward["ward_stay_id"])


def end_reason(last: Row, death: date | None) -> str:
    if last["end"] is None:
        return "open"
    if last["discharge_method"] == "4" or last["destination"] == "79":
        return "death"
    if death is not None and death <= last["end"]:
        return "death"
    return "inactive" if last["is_inactive"] else "discharge"


def is_acute(wards: list[Row], classes: set[str], eligibility: Eligibility) -> bool:
    """K4: any ward, or in the variant the last ward whose class is known (a missing start sorts first)."""
    if eligibility.acute_ward == "any":
        return bool(classes & ADULT_ACUTE)
    known = [ward for ward in wards if ward["bed_class"] is not None]
    if not known:
        return False
    last = max(known, key=place_of_ward)
    return last["bed_class"] in ADULT_ACUTE


def is_place_of_safety_only(start: date, end: date | None, legal_periods: list[Row]) -> bool:
    """K2: at most one day, held under 19 or 20 and nothing else; all MHS401 periods count here."""
    if end is None or (end - start).days > 1:
        return False
    touching = [p for p in legal_periods if p["start"] <= end and (p["end"] is None or p["end"] >= start)]
    return bool(touching) and all(period["code"] in PLACE_OF_SAFETY for period in touching)


def clean_legal_periods(own: Mapping[str, list[Row]], facts: Facts) -> list[Row]:
    """B8: the latest month of each period; without an end and no longer submitted it ends with its last month."""
    rows = []
    for row in own.get("legal_period", []):
        number = row["period_id"] or f"from {row['start_date']}"  # a file may have no period ids
        rows.append(row | {"number": number, "final_provider": final_provider(row["provider_id"], facts)})
    rows = latest_month_of_each(rows, "episode_id", "number")
    periods = []
    # The same period can come again under new ids.
    for row in latest_month_of_each(rows, "final_provider", "start_date", "legal_code"):
        end = row["end_date"]
        if end is None and row["month_id"] < facts.last_month_id:
            end = last_day(row["month_id"])
        periods.append(
            {"episode_id": row["episode_id"], "code": row["legal_code"], "start": row["start_date"], "end": end}
        )
    return periods


def hospital_detentions(own: Mapping[str, list[Row]], facts: Facts) -> list[Row]:
    """B8: periods of the hospital-detention set; episodes that are orders in the community (MHS403-405) left out."""
    community = {row["episode_id"] for row in own.get("community_order", []) if row["episode_id"] is not None}
    return [
        period
        for period in clean_legal_periods(own, facts)
        if period["episode_id"] not in community and period["code"] in DETENTION
    ]


def has_a_day_in(period: Row, first: date, last: date) -> bool:
    return bool(period["start"] <= last and (period["end"] is None or period["end"] >= first))


def is_detained_at(day: date, own: Mapping[str, list[Row]], facts: Facts) -> bool:
    """K13: a hospital-detention period that touches the day or the next."""
    return any(has_a_day_in(period, day, day + timedelta(days=1)) for period in hospital_detentions(own, facts))


def describe_detention(spells: list[Row], detentions: list[Row]) -> Row:
    """B8: detained on admission (K13), on the last day of the stay, on any day of it."""
    start = min(spell["start"] for spell in spells)
    end = max(spell["end"] or FOREVER for spell in spells)
    return {
        "is_detained_on_admission": any(has_a_day_in(p, start, start + timedelta(days=1)) for p in detentions),
        "is_detained_at_discharge": None if end == FOREVER else any(has_a_day_in(p, end, end) for p in detentions),
        "is_ever_detained": any(has_a_day_in(p, start, end) for p in detentions),
    }


def death_date(own: Mapping[str, list[Row]]) -> date | None:
    """K15: the earliest registered date that does not lie before everything else that is known of the person."""
    seen = [
        *(row["start_date"] for table in ("spell", "ward_stay") for row in own.get(table, [])),
        *(row["contact_date"] for row in own.get("contact", [])),
        *(row["episode_start_date"] for row in own.get("hospital_episode", [])),
        *(row["arrival_date"] for row in own.get("emergency_attendance", [])),
    ]
    first = min((day for day in seen if day is not None and day >= FIRST_REAL_DAY), default=date.min)
    days = [row["death_date"] for row in own.get("death", []) if row["death_date"] is not None]
    return min((day for day in days if day >= first), default=None)


def month_of(day: date) -> int:
    """UniqMonthID of a day (B1)."""
    return (day.year - 1900) * 12 + day.month - 3


def first_day(month_id: int) -> date:
    years, month = divmod(month_id + 2, 12)
    return date(1900 + years, month + 1, 1)


def last_day(month_id: int) -> date:
    first = first_day(month_id)
    return first.replace(day=monthrange(first.year, first.month)[1])


def years_before(day: date, years: int) -> date:
    """The same day `years` earlier; 29 February becomes 28 February."""
    if (day.month, day.day) == (2, 29) and monthrange(day.year - years, 2)[1] == 28:
        return date(day.year - years, 2, 28)
    return day.replace(year=day.year - years)
