"""Small text tables become a world and expected rows: the language in which the spec tests are written.

Columns are separated by blanks, '-' is null. Spells are written with the dates and bed classes of a history; other
tables with the columns of pipelines.tables. Choice: one person 'p', provider RAA, and a row is submitted in the month
of its date unless the table says otherwise, so that each test shows only what its rule is about.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from itertools import count
from typing import Any

from pipelines.protocol import Eligibility, FollowUp
from pipelines.tables import PARTICIPANT, PERSON_TABLES, TABLES
from tests.naive_stays import Facts, Row, month_of
from tests.worlds import Found, World, submissions_of, successor, whole_row

PERIOD_END = date(2020, 3, 31)
FIRST_MONTH = month_of(date(2014, 12, 1))
LAST_MONTH = month_of(PERIOD_END)
HELD = (
    "contact",
    "referral",
    "referral_team",
    "legal_period",
    "emergency_attendance",
    "death",
)  # what every extract holds
SPELL_COLUMNS = {
    "person": "person_id",
    "spell": "spell_id",
    "start": "start_date",
    "end": "discharge_date",
    "provider": "provider_id",
    "source": "source_code",
    "method": "method_code",
    "discharge_method": "discharge_method_code",
    "destination": "destination_code",
}


def split_rows(text: str) -> list[dict[str, str | None]]:
    """The cells of a text table by column, all still text."""
    header, *lines = [line.split() for line in text.strip().splitlines()]
    assert all(len(line) == len(header) for line in lines), f"a row does not fit its header: {text}"
    return [{name: None if cell == "-" else cell for name, cell in zip(header, line, strict=True)} for line in lines]


def one_person_for_each(cases: Iterable[str], table: str, person: str = "person") -> str:
    """The same rows for several people, each named after a case, which the rows may mention as CASE."""
    header, *lines = table.strip().splitlines()
    rows = [f"{case} {line.replace('CASE', case)}" for case in cases for line in lines]
    return "\n".join([f"{person} {header}", *rows])


def read_cell(table: str, column: str, cell: str | None) -> Any:
    """A cell as the canonical table stores it."""
    columns = PARTICIPANT.columns if table == "participant" else TABLES[table].columns
    kind = next(known.kind for known in columns if known.name == column)
    if cell is None:
        return None
    read: dict[str, Callable[[str], Any]] = {"date": date.fromisoformat, "int": int, "float": float}
    return read.get(kind, str)(cell)


class WorldWriter:
    """Collects the rows of a world; row_ids rise with the order of writing, by a digit after the first."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {name: [] for name in HELD}
        self._numbers = count(99)

    def add(self, table: str, month_id: int | None = None, **cells: Any) -> None:
        """One row; what every monthly row needs is filled in."""
        given: Row = {"person_id": "p", "row_id": str(next(self._numbers))}
        if any(column.name == "month_id" for column in TABLES[table].columns):
            given |= {"provider_id": "RAA", "month_id": month_id, "record_id": f"record {month_id}"}
        known = {column.name for column in TABLES[table].columns}
        row = {name: value for name, value in given.items() if name in known} | cells
        self.tables.setdefault(table, []).append(whole_row(table, **row))

    def add_spell(self, row: dict[str, str | None]) -> None:
        """A spell, with a ward stay over its whole length for each class in the column `ward` (10,23)."""
        named = {SPELL_COLUMNS[name]: cell for name, cell in row.items() if name in SPELL_COLUMNS}
        cells = {column: read_cell("spell", column, cell) for column, cell in named.items()}
        month_id = month_in(row) or month_of(cells["discharge_date"])
        self.add("spell", month_id, **cells)
        for number, code in enumerate((row.get("ward") or "").split(","), start=1):
            if code:
                self.add(
                    "ward_stay",
                    month_id,
                    person_id=cells.get("person_id", "p"),
                    spell_id=cells["spell_id"],
                    ward_stay_id=f"{cells['spell_id']} ward {number}",
                    start_date=cells["start_date"],
                    end_date=cells["discharge_date"],
                    bed_class_code=code,
                )

    def add_row(self, table: str, row: dict[str, str | None]) -> None:
        """A row of any other table, in its own columns (and `month`)."""
        cells = {name: read_cell(table, name, cell) for name, cell in row.items() if name != "month"}
        dates = [value for value in cells.values() if isinstance(value, date)]
        self.add(table, month_in(row) or (month_of(dates[0]) if dates else LAST_MONTH), **cells)


def month_in(row: dict[str, str | None]) -> int | None:
    """The UniqMonthID of the column `month`, written 2018-03."""
    month = row.get("month")
    return None if month is None else month_of(date.fromisoformat(f"{month}-01"))


def write_world(
    spells: str,
    *,
    participants: str | None = None,
    silent: str | None = None,
    mergers: str | None = None,
    period_end: str = "2020-03-31",
    without: tuple[str, ...] = (),
    eligibility: dict[str, Any] | None = None,
    follow_up: dict[str, Any] | None = None,
    reach: dict[str, tuple[str, str]] | None = None,
    also_in_trial: tuple[str, ...] = (),
    **tables: str,
) -> World:
    """A world of spells and whatever else a rule is about.

    `also_in_trial` are people on rows of the allocation list that cannot be used; `silent` has columns provider, from,
    until (months without a submission); `mergers` old, new; `without` names tables the extract does not hold; `reach`
    gives the first and last day of tables that do not cover all of it.
    """
    writer = WorldWriter()
    for row in split_rows(spells):
        writer.add_spell(row)
    for table, text in tables.items():
        writer.tables.setdefault(table, [])
        for row in split_rows(text):
            writer.add_row(table, row)
    return World(
        tables={name: rows for name, rows in writer.tables.items() if name not in without},
        facts=_with_reach(_facts(date.fromisoformat(period_end), silent, mergers), reach or {}),
        participants=[_participant(row) for row in split_rows(participants)] if participants else [],
        eligibility=Eligibility(**(eligibility or {})),
        follow_up=FollowUp(**(follow_up or {})),
        also_in_trial=also_in_trial,
    )


def _participant(row: dict[str, str | None]) -> Row:
    empty = {column.name: None for column in PARTICIPANT.columns} | {"person_id": "p", "consent_code": "Y"}
    return empty | {name: read_cell("participant", name, cell) for name, cell in row.items()}


def _facts(period_end: date, silent: str | None, mergers: str | None) -> Facts:
    months = set(range(FIRST_MONTH, month_of(period_end) + 1))
    gaps: dict[str | None, set[int]] = {}
    for row in split_rows(silent) if silent else []:
        first, last = (month_of(date.fromisoformat(f"{row[side]}-01")) for side in ("from", "until"))
        gaps.setdefault(row["provider"], set()).update(range(first, last + 1))
    submissions = []
    for provider in ("RAA", "RBB", "RCC", "RDD"):
        submissions += submissions_of(provider, sorted(months - gaps.get(provider, set())))
    successors = [successor(str(row["old"]), str(row["new"])) for row in (split_rows(mergers) if mergers else [])]
    return Facts(period_end, month_of(period_end), submissions, successors)


def _with_reach(facts: Facts, given: dict[str, tuple[str, str]]) -> Facts:
    if not given:
        return facts
    whole = (min(row["period_start_date"] for row in facts.submissions), facts.period_end)
    some = {table: (date.fromisoformat(first), date.fromisoformat(last)) for table, (first, last) in given.items()}
    return replace(facts, reach=dict.fromkeys(PERSON_TABLES, whole) | some)


@dataclass(frozen=True)
class Answer:
    """What one of the two implementations found; each method compares the columns that the text names."""

    found: Found

    def stays(self, text: str) -> None:
        """Continuous stays, in order of person and start."""
        self._expect("stays", text)

    def cohort(self, text: str) -> None:
        """Rows of the cohort, in order of person and index date."""
        self._expect("cohort", text)

    def outcomes(self, text: str) -> None:
        """Outcomes of the eligible rows."""
        self._expect("outcomes", text)

    def excluded(self, text: str) -> None:
        """Participants left out."""
        self._expect("excluded", text)

    def _expect(self, name: str, text: str) -> None:
        columns = text.strip().splitlines()[0].split()
        expected = [{column: read_answer(column, row[column]) for column in columns} for row in split_rows(text)]
        assert [{column: row[column] for column in columns} for row in self.found[name]] == expected


def read_answer(column: str, cell: str | None) -> Any:
    """An expected cell: dates, true/false, whole numbers and words, told apart by the column's name."""
    if cell is None:
        return None
    if column.endswith("_date"):
        return date.fromisoformat(cell)
    if column.startswith(("is_", "readmitted_")) or re.fullmatch(r"died_\d+d", column):
        return {"true": True, "false": False}[cell]
    if column.startswith("dna_rate_"):
        return float(cell)
    is_number = column.startswith(("n_", "days_", "readmission_free_")) or column.endswith(("_day", "_days"))
    return int(cell) if is_number else cell


Follow = Callable[..., Answer]  # the fixture `follow`: spells and other tables in, as of write_world
