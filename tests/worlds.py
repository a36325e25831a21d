"""A small world of canonical tables as plain rows, and the two ways of following its people.

Choice: rows are dicts with every canonical column, so that the reference reads them as they are and the pipeline gets
them as typed frames. Used by the drawn worlds (tests/histories.py) and the written ones (tests/spec).
"""

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import polars as pl

from pipelines.cohort import People, follow_people
from pipelines.extract import ExtractFacts, count_spells, months_in, thin_months
from pipelines.protocol import Eligibility, FollowUp
from pipelines.tables import PARTICIPANT, PERSON_TABLES, TABLES
from tests.naive import COLUMNS, SHORTER, naive_follow
from tests.naive_stays import Facts, Row, first_day, last_day, month_of

Found = dict[str, list[Row]]


@dataclass(frozen=True)
class World:
    """Everything `follow_people` is given, as plain rows."""

    tables: dict[str, list[Row]]
    facts: Facts
    participants: list[Row] = field(default_factory=list)
    eligibility: Eligibility = field(default_factory=Eligibility)
    follow_up: FollowUp = field(default_factory=FollowUp)
    also_in_trial: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """What is there, without nulls, so that a failing example can be read."""
        lines = [f"{self.eligibility!r}", f"{self.follow_up!r}", f"until {self.facts.period_end}"]
        for name, rows in [*self.tables.items(), ("participant", self.participants)]:
            lines += [name + "".join(f" {k}={v}" for k, v in row.items() if v is not None) for row in rows]
        months = {row["month_id"] for row in self.facts.submissions}
        for provider in sorted({row["provider_id"] for row in self.facts.submissions}):
            own = {row["month_id"] for row in self.facts.submissions if row["provider_id"] == provider}
            lines.append(f"{provider} silent in months {sorted(months - own)}")
        return "\n".join(lines)

    def follow_slowly(self) -> Found:
        """The reference's answer."""
        rules = (self.eligibility, self.follow_up, self.also_in_trial)
        found = naive_follow(self.tables, self.facts, self.participants, *rules)
        return {name: in_order(rows) for name, rows in found.items()}

    def follow_fast(self) -> Found:
        """The pipeline's answer, in the same columns and order."""
        people = self.people()
        emergencies = pl.col("outcome").str.contains("n_mh_ed")  # the reference has no such outcome
        people = replace(people, observed=people.observed.filter(~emergencies))
        return {name: in_order(getattr(people, name).select(COLUMNS[name].split()).to_dicts()) for name in COLUMNS}

    def people(self) -> People:
        """Everything the pipeline finds."""
        participants = pl.DataFrame(self.participants, schema=PARTICIPANT.schema)
        held = frozenset(self.tables)
        also = pl.DataFrame({"person_id": self.also_in_trial}, schema={"person_id": pl.String})
        rules = (self.eligibility, self.follow_up, held, also)
        return follow_people(self.frames(), self.extract_facts(), participants, *rules, named=SHORTER)

    def extract_facts(self) -> ExtractFacts:
        """What is known of the extract as a whole."""
        submissions = pl.DataFrame(self.facts.submissions, schema=TABLES["submission"].schema)
        rule = (self.follow_up.silence_below, self.follow_up.silence_chance, self.follow_up.silence_minimum_spells)
        gaps = {
            table: tuple((month, last_day(month_of(month))) for month in sorted(months))
            for table, months in self.facts.gaps.items()
        }
        sent = thin_months(submissions, count_spells(self.frames()["spell"]), *rule)
        return ExtractFacts(
            period_end=self.facts.period_end,
            last_month_id=self.facts.last_month_id,
            submissions=submissions,
            successors=pl.DataFrame(self.facts.successors, schema=TABLES["provider_successor"].schema),
            deprivation=TABLES["area_deprivation"].empty(),
            thin=pl.concat([sent, months_in(submissions, gaps.get("stays", ()))]).unique(),
            reach=self.facts.reach,
            gaps=gaps,
        )

    def frames(self) -> dict[str, pl.DataFrame]:
        """Every table by person; one the extract does not hold is empty."""
        return {name: pl.DataFrame(self.tables.get(name, []), schema=TABLES[name].schema) for name in PERSON_TABLES}


def in_order(rows: list[Row]) -> list[Row]:
    """By person, then by the first date of the row, the outcome and the day."""

    def place(row: Row) -> tuple[str, str, str, int]:
        first = str(row.get("start_date") or row.get("index_date"))
        return row["person_id"], first, str(row.get("outcome")), row.get("day") or 0

    return sorted(rows, key=place)


def whole_row(table: str, **given: Any) -> Row:
    """A row with every column of the canonical table, null where nothing is given."""
    columns = [column.name for column in TABLES[table].columns]
    assert set(given) <= set(columns), f"{table} has no {set(given) - set(columns)}"
    return {column: given.get(column) for column in columns}


def submissions_of(provider_id: str, months: list[int]) -> list[Row]:
    """One primary submission for each month."""
    return [
        whole_row(
            "submission",
            provider_id=provider_id,
            month_id=month,
            period_start_date=first_day(month),
            period_end_date=last_day(month),
            file_type_code="1",
        )
        for month in months
    ]


def successor(old: str, new: str) -> Row:
    """A merger; its date plays no part in the rules."""
    return {"old_provider_id": old, "new_provider_id": new, "effective_date": date(2018, 4, 1)}
