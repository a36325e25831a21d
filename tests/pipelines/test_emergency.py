"""Attendances counted once, from ECDS and from HES A&E, and those for mental health (DOMAIN C2, K14)."""

from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.emergency import count_once, emergency_attendances, mental_health_attendances, self_harm_attendances
from pipelines.tables import TABLES
from tests.naive_stays import Row
from tests.spec.text_tables import read_cell, split_rows
from tests.worlds import whole_row

NAMES = {
    "from": "collection_code",
    "day": "arrival_date",
    "time": "arrival_time",
    "provider": "provider_id",
    "diagnosis": "diagnosis_codes",
    "treatment": "treatment_codes",
    "complaint": "chief_complaint_code",
    "intent": "injury_intent_code",
    "group": "patient_group_code",
    "type": "department_type_code",
    "category": "attendance_category_code",
    "deleted": "is_deleted_code",
    "status": "discharge_status_code",
    "person": "person_id",
}


def attendances(text: str) -> pl.DataFrame:
    """Attendances of person p at a type 1 department on 1 June 2019, unless the table says otherwise."""
    rows = []
    for number, cells in enumerate(split_rows(text)):
        typed = {NAMES[name]: read_cell("emergency_attendance", NAMES[name], cell) for name, cell in cells.items()}
        given: Row = {"person_id": "p", "row_id": str(number), "collection_code": "ECDS"}
        given |= {"arrival_date": read_cell("emergency_attendance", "arrival_date", "2019-06-01")}
        given |= {"department_type_code": "01", "attendance_category_code": "1"}
        rows.append(whole_row("emergency_attendance", **given | typed))
    return frame(rows)


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLES["emergency_attendance"].schema)


@pytest.mark.parametrize(
    ("second", "n"),
    [
        ("2019-06-01  1030  RAA  38  22", 1),  # an hour later
        ("2019-06-01  1031  RAA  38  22", 2),
        ("2019-06-01  10:30:00  RAA  38  22", 1),
        ("2019-06-01  0945  RBB  38  22", 2),
        ("2019-06-01  0945  RAA  14  22", 2),
        ("2019-06-01  0945  RAA  38  -", 2),
        ("2019-06-02  0930  RAA  38  22", 2),
        ("2019-06-01  -     RAA  38  22", 2),  # at an hour nobody knows
        ("2019-06-01  2561  RAA  38  22", 2),
    ],
)
def test_hes_repeats_within_the_hour_count_once(second: str, n: int) -> None:
    found = attendances(f"""
        from    day         time  provider  diagnosis  treatment
        HES_AE  2019-06-01  0930  RAA       38         22
        HES_AE  {second}
    """)
    assert emergency_attendances(found).height == n


def test_ecds_rows_are_not_taken_for_repeats() -> None:
    found = attendances("""
        from  time
        ECDS  09:30
        ECDS  09:40
    """)
    assert emergency_attendances(found).height == 2


@pytest.mark.parametrize(
    ("person", "day", "deleted", "kind", "n"),
    [
        ("p", "2019-06-01", "0", "01", 1),
        ("p", "2019-06-01", "1", "01", 1),
        ("p", "2019-06-02", "0", "01", 2),
        ("q", "2019-06-01", "0", "01", 2),
        ("p", "2019-06-01", "0", "03", 1),  # a minor injuries unit and the emergency department: only that one counts
    ],
)
def test_a_day_that_ecds_holds_is_not_counted_again(person: str, day: str, deleted: str, kind: str, n: int) -> None:
    # A deleted ECDS row does not count itself, and hides nothing.
    found = attendances(f"""
        from    person    day         deleted    type
        ECDS    {person}  {day}       {deleted}  {kind}
        HES_AE  p         2019-06-01  -          01
    """)
    assert emergency_attendances(found).height == n


@pytest.mark.parametrize(
    ("row", "for_mental_health", "for_self_harm"),
    [
        ("ECDS    248062006  -          -                  -", True, True),
        ("ECDS    -          276853009  -                  -", True, True),
        ("ECDS    6471006    -          -                  -", True, False),
        ("ECDS    21522001   -          35489007           -", True, False),
        ("ECDS    -          -          35489007,21522001  -", True, False),
        ("ECDS    -          -          21522001,35489007  -", False, False),  # the first diagnosis only
        ("ECDS    -          -          354890071          -", False, False),
        ("ECDS    21522001   -          -                  -", False, False),
        ("ECDS    -          -          -                  30", False, False),  # the group is a code of HES A&E
        ("HES_AE  -          -          -                  30", True, True),
        ("HES_AE  -          -          38                 80", False, False),
    ],
)
def test_which_attendances_are_for_mental_health(row: str, for_mental_health: bool, for_self_harm: bool) -> None:
    found = attendances(f"from complaint intent diagnosis group\n{row}")
    assert mental_health_attendances(found).height == for_mental_health
    assert self_harm_attendances(found).height == for_self_harm


@pytest.mark.parametrize(
    ("kind", "category", "deleted", "status"),
    [("02", "1", "0", "-"), ("01", "4", "0", "-"), ("01", "1", "1", "-"), ("01", "1", "0", "63238001")],
)
def test_an_attendance_that_does_not_count_is_none_for_mental_health(
    kind: str, category: str, deleted: str, status: str
) -> None:
    found = attendances(f"type category deleted status complaint\n{kind} {category} {deleted} {status} 248062006")
    assert mental_health_attendances(found).is_empty()
    assert self_harm_attendances(found).is_empty()


ROWS = st.fixed_dictionaries(
    {
        "collection_code": st.sampled_from(["ECDS", "HES_AE", "HES_AE", "HES_AE"]),
        "person_id": st.sampled_from(["p", "q"]),
        "arrival_date": st.sampled_from(
            [read_cell("emergency_attendance", "arrival_date", f"2019-06-0{n}") for n in (1, 2)]
        ),
        "arrival_time": st.sampled_from(["0900", "0930", "10:00", "1031", "1130", "23:59:59", "9:00", None]),
        "provider_id": st.sampled_from(["RAA", "RBB"]),
        "department_type_code": st.sampled_from(["01", "01", "01", "03", None]),
        "diagnosis_codes": st.sampled_from(["38", None]),
        "is_deleted_code": st.sampled_from(["0", "1", None]),
    }
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(ROWS, max_size=8))
def test_counting_once_agrees_with_plain_loops(drawn: list[dict[str, Any]]) -> None:
    rows = [whole_row("emergency_attendance", row_id=str(number), **cells) for number, cells in enumerate(drawn)]
    assert set(count_once(frame(rows))["row_id"]) == naive_once(rows)


def naive_once(rows: list[Row]) -> set[str]:
    """Ids of the rows that stay."""
    same = ("person_id", "arrival_date", "provider_id", "diagnosis_codes", "treatment_codes")
    held = {place(r) for r in rows if r["collection_code"] == "ECDS" and is_sent(r) and r["department_type_code"]}
    kept = {r["row_id"] for r in rows if r["collection_code"] == "ECDS"}
    hes = [r for r in rows if r["collection_code"] == "HES_AE"]
    for row in hes:
        alike = [r for r in hes if r is not row and all(r[name] == row[name] for name in same)]
        own = (minutes(row), row["row_id"])
        # Something of the same kind at the same minute with a smaller id, or up to an hour before.
        repeats = any(
            minutes(row) is not None
            and minutes(r) is not None
            and (minutes(r), r["row_id"]) < own
            and minutes(row) - minutes(r) <= 60
            for r in alike
        )
        if not repeats and place(row) not in held:
            kept.add(row["row_id"])
    return kept


def place(row: Row) -> Any:
    return row["person_id"], row["arrival_date"], row["department_type_code"]


def is_sent(row: Row) -> bool:
    return row["is_deleted_code"] != "1"


def minutes(row: Row) -> Any:
    clock = {"0900": 540, "0930": 570, "10:00": 600, "1031": 631, "1130": 690, "23:59:59": 1439}
    return clock.get(row["arrival_time"])
