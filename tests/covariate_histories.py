"""Random worlds with what covariates are about: contacts, attendances, diagnoses, statuses and plans before time zero.

Choice: the worlds of tests/histories.py, to which rows are added at and around the edges of the look-backs.
"""

from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any

from tests.histories import of_many_lengths, random_world
from tests.naive_covariates import HONOS
from tests.naive_stays import Row, month_of
from tests.worlds import World, whole_row

AROUND = (0, 1, 2, 20, 40, 89, 90, 91, 300, 364, 365, 366, 500, 729, 730, 731, -1, -5)
OPTIONAL = (
    "legal_period",
    "referral_team",
    "hospital_episode",
    "emergency_attendance",
    "care_plan",
    "delayed_discharge",
)
# By table: how many rows at most, and each column's choices ("day" stands for a day around a discharge).
ROWS: dict[str, tuple[int, dict[str, Any]]] = {
    "person_month": (
        4,
        {
            "gender_code": ("1", "2", "3", "X", None),
            "ethnicity_code": ("A", "N", "P", "G", "Z", None),
            "marital_code": ("M", "S", None),
        },
    ),
    "accommodation": (
        3,
        {
            "status_date": "day",
            "settled_code": ("Y", "N", "Z", None),
            "accommodation_code": ("MA01", "HM03", "HM09", "05"),
        },
    ),
    "employment": (3, {"status_date": "day", "employment_code": ("01", "1", "02", "ZZ", None)}),
    "referral": (
        3,
        {
            "referral_id": ("r1", "r2", "r3"),
            "received_date": "day",
            "rejected_date": (None, None, date(2016, 1, 1)),
            "out_of_area_code": (None, "10", "11"),
        },
    ),
    "referral_team": (
        14,
        {"referral_id": ("r1", "r2"), "team_type_code": ("A02", "A06", "A11", "A14", "A08")},
    ),
    "contact": (
        14,
        {
            "referral_id": ("r1", "r2", None),
            "contact_id": ("c1", "c2", "c3", "c4", "c5", None, None, None),
            "contact_date": "day",
            "attendance_code": ("3", "5", "6", "2", None),
        },
    ),
    "emergency_attendance": (
        4,
        {
            "arrival_date": "day",
            "collection_code": ("ECDS", "ECDS", "HES_AE"),
            "department_type_code": ("01", "01", "03"),
            "attendance_category_code": ("1", "2", "4"),
            "chief_complaint_code": ("248062006", "272022009", "1", None),
            "injury_intent_code": (None, "276853009"),
            "patient_group_code": (None, "30"),
            "diagnosis_codes": (None, "58214004 1", "1 58214004"),
        },
    ),
    "hospital_episode": (
        3,
        {
            "episode_start_date": "day",
            "admission_date": ("same", None),
            "main_specialty_code": ("100", "300", "710"),
            "diagnosis_1_code": ("K35", "X601", None),
            "all_diagnosis_codes": (None, "K35 X84", "K35 X85", "I10 AX61"),
            "provider_id": ("RAA", "RBB"),
        },
    ),
    "diagnosis": (
        4,
        {
            "diagnosis_date": "day",
            "position_code": ("P", "S", "S", "V"),
            "diagnosis_code": ("F60.3", "F10", "F19.2", "F20", "F29", "F32", None),
            "scheme_code": ("02", None, "06"),
        },
    ),
    "assessment": (3, {"assessment_date": "day", "tool_code": HONOS, "score": (0.0, 1.0, 2.0, 4.0, 9.0)}),
    "community_order": (
        2,
        {
            "episode_id": ("e7", "e8"),
            "order_kind_code": ("CTO", "COND", "RECALL"),
            "start_date": "day",
            "expiry_date": (None, "later"),
            "end_date": (None, None, "later"),
        },
    ),
    "care_programme": (3, {"episode_id": ("k1", "k2", None), "start_date": "day", "end_date": (None, "later")}),
    "care_plan": (2, {"plan_id": ("p1", None), "created_date": "day", "updated_date": (None, "later")}),
    "ward_incident": (2, {"incident_kind_code": ("SELF_HARM", "SUBSTANCE")}),
    "delayed_discharge": (4, {"spell_id": ("s1", None), "start_date": "day", "end_date": (None, None, "later")}),
}


def world_with_covariates(seed: int, most_people: int) -> World:
    """A random world whose people have rows of every table that covariates need; some tables are not held. No rule
    excludes anybody, so that every index stay is measured."""
    random = Random(seed)
    world = random_world(seed, most_people)
    tables = {name: list(rows) for name, rows in world.tables.items()}
    for spell in tables["spell"]:
        if random.random() < 0.3:
            spell["destination_code"] = random.choice(("29", "54", "85", "40", "88", "98"))
        spell |= {
            "referral_id": random.choice(["r1", "r2", None]),
            "planned_discharge_date": random.choice(
                [None, date(1900, 1, 1), spell["discharge_date"], date(2017, 3, 1)]
            ),
        }
    for ward in tables["ward_stay"]:
        ward["distance_home"] = random.choice([None, 0, 7, 120])
    ends: dict[str, list[date]] = {}
    for spell in tables["spell"]:
        day = spell["discharge_date"] or spell["start_date"]
        if day is not None and day.year > 1901:
            ends.setdefault(spell["person_id"], []).append(day)
    number = random.choice((1, 9_900, 99_900))
    for person_id, days in ends.items():
        spells = [spell for spell in tables["spell"] if spell["person_id"] == person_id]
        # Few days, so that contacts, referrals and teams meet in one record.
        pool = [random.choice(days) - timedelta(days=random.choice(AROUND)) for _ in range(3)]
        for table, (most, columns) in ROWS.items():
            for _ in range(random.randrange(most + 1)):
                number += 1
                row = _draw(random, table, columns, random.choice(pool))
                if table == "delayed_discharge" and random.random() < 0.7:
                    row["spell_id"] = random.choice(spells)["spell_id"]
                if table == "referral" and random.random() < 0.5:
                    row |= {key: random.choice(spells)[key] for key in ("record_id", "referral_id")}
                    row["referral_id"] = row["referral_id"] or "r1"
                tables.setdefault(table, []).append(row | {"person_id": person_id, "row_id": _id(number, table)})
        number = _rate_all_items(random, tables, person_id, random.choice(pool), number)
    gone = [name for name in OPTIONAL if random.random() < 0.15]
    everybody = world.eligibility.model_copy(update={"rules": ()})
    return replace(
        world, tables={name: rows for name, rows in tables.items() if name not in gone}, eligibility=everybody
    )


def _rate_all_items(random: Random, tables: dict[str, list[Row]], person_id: str, day: date, number: int) -> int:
    """Most items of a rating on one day; returns the last row number."""
    for item in HONOS:
        if random.random() < 0.9:
            number += 1
            given = {"tool_code": item, "score": random.choice((0.0, 1.0, 3.0)), "assessment_date": day}
            row = whole_row(
                "assessment", person_id=person_id, month_id=month_of(day), row_id=_id(number, "assessment"), **given
            )
            tables.setdefault("assessment", []).append(row)
    return number


def _id(number: int, table: str) -> str | None:
    """Two in five rows of some tables have no id, so that their content has to decide."""
    may_lack = table in ("care_programme", "delayed_discharge", "community_order", "referral", "contact")
    return None if may_lack and number % 5 in (2, 4) else str(of_many_lengths(number))


def _draw(random: Random, table: str, columns: dict[str, Any], day: date) -> Row:
    values: Row = {}
    for column, choices in columns.items():
        value = day if choices == "day" else random.choice(choices)
        values[column] = {"same": day, "later": day + timedelta(days=random.choice((0, 3, 40)))}.get(value, value)
    monthly = whole_row(table, **values)
    if "month_id" in monthly:
        month = month_of(day) + random.choice((0, 0, 0, 0, 0, 1, -1))
        monthly |= {
            "month_id": month,
            "provider_id": random.choice(("RAA", "RAA", "RBB")),
            "record_id": random.choice([f"x{month}"] * 7 + [None]),  # rows of one month share it, or have none
        }
    return monthly
