"""HES episodes to spells to continuous stays, slowly (DOMAIN C1): loops over the rows of one person after the other.

Choice: nothing is imported from the module it checks; rows are dicts with every column of hospital_episode.
"""

from datetime import date, timedelta
from itertools import groupby
from typing import Any

from tests.naive_stays import id_order

Row = dict[str, Any]

PSYCHIATRIC = {"700", *(str(code) for code in range(710, 716)), *(str(code) for code in range(720, 728)), "730"}
TRANSFER_PLACES = {"51", "52", "53"}
TRANSFER_METHODS = {"2B", "67", "81"}
SAME = "episode_start_date episode_end_date episode_order transit_code provider_id admission_date discharge_date"
BEGINNING = date.min


def naive_stays(episodes: list[Row]) -> list[Row]:
    """Continuous inpatient spells of everybody: person_id, start_date, end_date, primary_code, n_spells,
    is_psychiatric, psychiatric (start and end of its psychiatric part, or None)."""
    stays = []
    for person_id in sorted({row["person_id"] for row in episodes}):
        own = [dict(row) for row in episodes if row["person_id"] == person_id]
        spells = find_spells(without_duplicates(own))
        for stay in chain(spells):
            stays.append({"person_id": person_id} | summarise(stay))
    return stays


def without_duplicates(episodes: list[Row]) -> list[Row]:
    best: dict[tuple[Any, ...], Row] = {}
    for row in episodes:
        key = tuple(row[name] for name in SAME.split())
        if key not in best or rank(row) >= rank(best[key]):
            best[key] = row
    return list(best.values())


def rank(row: Row) -> tuple[Any, ...]:
    """The most complete, then the newest, then the larger id."""
    n_filled = sum(value is not None for value in row.values())
    return n_filled, row["sent_date"] or BEGINNING, id_order(row["row_id"])


def find_spells(episodes: list[Row]) -> list[Row]:
    """Spells of one person's episodes, provider by provider."""
    for row in episodes:
        if row["admission_date"] is None and row["episode_order"] == 1 and not arrives_by_transfer(row):
            row["admission_date"] = row["episode_start_date"]
    ordered = sorted(episodes, key=place_in_time)
    spells: list[list[Row]] = []
    for provider, rows in groupby(ordered, key=lambda row: row["provider_id"]):
        before = None
        for row in rows:
            if provider is not None and before is not None and goes_on(before, row):
                spells[-1].append(row)
            else:
                spells.append([row])
            before = row
    return [spell_of(rows) for rows in spells]


def place_in_time(row: Row) -> tuple[Any, ...]:
    return (
        row["provider_id"] or "",
        row["episode_start_date"],
        -1 if row["episode_order"] is None else row["episode_order"],
        row["transit_code"] or "",
        row["episode_end_date"] or BEGINNING,
        id_order(row["row_id"]),
    )


def goes_on(before: Row, row: Row) -> bool:
    same_admission = row["admission_date"] is not None and row["admission_date"] == before["admission_date"]
    same_start = row["episode_start_date"] == before["episode_start_date"]
    was_not_last = before["discharge_method_code"] in ("8", "9")
    return same_admission or same_start or (was_not_last and row["episode_start_date"] == before["episode_end_date"])


def spell_of(rows: list[Row]) -> Row:
    starts = [row["episode_start_date"] for row in rows]
    admissions = [row["admission_date"] for row in rows if row["admission_date"] is not None]
    ends = [end_of(row) for row in rows]
    return {
        "provider_id": rows[0]["provider_id"],
        "start_date": min(starts + admissions),
        "end_date": None if ends[-1] is None else max(end for end in ends if end is not None),
        "source_code": rows[0]["source_code"],
        "method_code": rows[0]["method_code"],
        "destination_code": rows[-1]["destination_code"],
        "primary_code": rows[0]["diagnosis_1_code"],
        "is_psychiatric": any(is_psychiatric(row) for row in rows),
    }


def end_of(row: Row) -> date | None:
    for end in (row["discharge_date"], row["episode_end_date"]):
        if end is not None and end >= row["episode_start_date"]:
            return end
    return None


def is_psychiatric(row: Row) -> bool:
    return bool({row["main_specialty_code"], row["treatment_specialty_code"]} & PSYCHIATRIC)


def arrives_by_transfer(row: Row) -> bool:
    return row["source_code"] in TRANSFER_PLACES or row["method_code"] in TRANSFER_METHODS


def chain(spells: list[Row]) -> list[list[Row]]:
    """Continuous stays: a transfer at most three days after the end of the spell before."""
    forever, last = date.max, "~"
    order = ["provider_id", "primary_code", "source_code", "method_code", "destination_code"]
    ordered = sorted(
        spells,
        key=lambda s: (s["start_date"], s["end_date"] or forever, *(last if s[n] is None else s[n] for n in order)),
    )
    stays: list[list[Row]] = []
    for spell in ordered:
        before = stays[-1][-1] if stays else None
        if (
            before is not None
            and before["end_date"] is not None
            and spell["start_date"] <= before["end_date"] + timedelta(days=3)
            and (before["destination_code"] in TRANSFER_PLACES or arrives_by_transfer(spell))
        ):
            stays[-1].append(spell)
        else:
            stays.append([spell])
    return stays


def summarise(spells: list[Row]) -> Row:
    psychiatric = [spell for spell in spells if spell["is_psychiatric"]]
    return {
        "start_date": min(spell["start_date"] for spell in spells),
        "end_date": end_of_all(spells),
        "primary_code": spells[0]["primary_code"],
        "n_spells": len(spells),
        "is_psychiatric": bool(psychiatric),
        "psychiatric": (psychiatric[0]["start_date"], end_of_all(psychiatric)) if psychiatric else None,
    }


def end_of_all(spells: list[Row]) -> date | None:
    ends = [spell["end_date"] for spell in spells]
    return None if None in ends else max(ends)
