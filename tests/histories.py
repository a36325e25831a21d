"""Small worlds of canonical tables, drawn by Hypothesis and biased to the edges of the cohort rules (DOMAIN K).

A world is a few people with a handful of spells each, submitted by providers that merge, pause and fall silent. Choice:
every date hangs on the start or end of some spell, moved by the few days at which a rule changes its mind (gaps of 0-4
days, 90/91 days from discharge, day 365/366, the eighteenth birthday), and the first value of every list is the plain
one, so that most people still pass most rules and failing examples shrink to ordinary histories.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from typing import Any

import polars as pl
from hypothesis import strategies as st

from pipelines.protocol import Eligibility, FollowUp
from pipelines.tables import PARTICIPANT, PERSON_TABLES, TABLES
from tests.naive import COLUMNS, naive_follow
from tests.naive_stays import Facts, Row, first_day, last_day, month_of, years_before

Draw = Callable[[st.SearchStrategy[Any]], Any]
Found = dict[str, list[Row]]

FIRST_MONTH = month_of(date(2014, 12, 1))
RECRUITMENT = {"recruitment_start": date(2017, 1, 1), "recruitment_end": date(2017, 12, 31)}
PROVIDERS = ("RAA", "RBB", "RC1", "RC2", "RC3")
SUCCESSORS = (("RC1", "RC2"), ("RC2", "RC3"))  # a chain: RC1 became RC2 became RC3
LAST_DAYS = (date(2018, 12, 31), date(2018, 6, 30), date(2018, 2, 28))
PLACEHOLDER = date(1900, 1, 1)


@dataclass(frozen=True)
class World:
    """Everything `follow_people` is given, as plain rows."""

    tables: dict[str, list[Row]]
    facts: Facts
    participants: list[Row] = field(default_factory=list)
    eligibility: Eligibility = field(default_factory=Eligibility)
    follow_up: FollowUp = field(default_factory=FollowUp)

    def follow_slowly(self) -> Found:
        """The reference's answer."""
        found = naive_follow(self.tables, self.facts, self.participants, self.eligibility, self.follow_up)
        return {name: in_order(rows) for name, rows in found.items()}

    def follow_fast(self) -> Found:
        """The pipeline's answer, in the same columns and order."""
        from pipelines.cohort import follow_people
        from pipelines.extract import ExtractFacts

        facts = ExtractFacts(
            period_end=self.facts.period_end,
            last_month_id=self.facts.last_month_id,
            submissions=pl.DataFrame(self.facts.submissions, schema=TABLES["submission"].schema),
            successors=pl.DataFrame(self.facts.successors, schema=TABLES["provider_successor"].schema),
            deprivation=TABLES["area_deprivation"].empty(),
        )
        participants = pl.DataFrame(self.participants, schema=PARTICIPANT.schema)
        people = follow_people(self.frames(), facts, participants, self.eligibility, self.follow_up)
        return {name: in_order(getattr(people, name).select(COLUMNS[name].split()).to_dicts()) for name in COLUMNS}

    def frames(self) -> dict[str, pl.DataFrame]:
        """The canonical tables; an extract without emergency attendances has no such table at all."""
        names = [name for name in PERSON_TABLES if name in self.tables or name != "emergency_attendance"]
        return {name: pl.DataFrame(self.tables.get(name, []), schema=TABLES[name].schema) for name in names}


def in_order(rows: list[Row]) -> list[Row]:
    """By person, then by the first date of the row."""
    return sorted(rows, key=lambda row: (row["person_id"], str(row.get("start_date") or row.get("index_date"))))


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


# ------------------------------------------------------------------------------------------------- strategies


@st.composite
def worlds(draw: Draw) -> World:
    """One or two people, their trial arms, the providers' calendar and the options of the protocol."""
    period_end = draw(st.sampled_from(LAST_DAYS))
    writer = _Writer(draw, month_of(period_end), counts_down=draw(st.booleans()))
    participants = []
    for person_id in ["p1", "p2"][: draw(st.integers(1, 2))]:
        spells = _write_spells(writer, person_id, period_end)
        _write_care(writer, person_id, spells)
        _write_person(writer, person_id, spells)
        if draw(st.sampled_from([False, False, True])):
            participants.append(_participant(writer, person_id, spells))
    if draw(st.sampled_from([False, False, False, True])):
        del writer.tables["emergency_attendance"]
    return World(writer.tables, _facts(draw, period_end), participants, _eligibility(draw), _follow_up(draw))


class _Writer:
    """Collects rows; row_ids are unique within a world, rising or falling so that ties go either way."""

    def __init__(self, draw: Draw, last_month_id: int, *, counts_down: bool) -> None:
        self.draw, self.last_month_id = draw, last_month_id
        self.tables: dict[str, list[Row]] = {name: [] for name in PERSON_TABLES}
        self._numbers = count(999_999, -1) if counts_down else count(100_000)

    def number(self) -> str:
        return str(next(self._numbers))

    def pick(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def mostly(self, plain: Any, *odd: Any) -> Any:
        """The plain value four times in five."""
        return self.draw(st.sampled_from([plain] * (4 * len(odd)) + list(odd)))

    def some(self, most: int) -> range:
        return range(self.draw(st.integers(0, most)))

    def add(self, table: str, person_id: str, *, month_id: int | None = None, **given: Any) -> None:
        if month_id is not None:
            given = {"month_id": month_id, "provider_id": "RAA", "record_id": f"{person_id}-{month_id}"} | given
        if any(column.name == "row_id" for column in TABLES[table].columns):
            given["row_id"] = self.number()
        self.tables[table].append(whole_row(table, person_id=person_id, **given))


def _moved(day: date, *, by: int) -> date:
    return day + timedelta(days=by)


def _write_spells(writer: _Writer, person_id: str, period_end: date) -> list[tuple[date, date]]:
    """Spells one after the other with telling gaps; returns their (start, last day), the anchors of all else."""
    spells = []
    start = writer.pick(date(2016, 11, 20), date(2015, 3, 1), date(2016, 2, 28), date(2017, 1, 10))
    for _ in range(writer.draw(st.integers(1, 6))):
        end = _moved(start, by=writer.pick(5, 30, 0, 1, 2))
        if start > period_end:
            break
        _write_spell(writer, person_id, start, end, is_over=end <= period_end)
        spells.append((start, min(end, period_end)))
        start = _moved(end, by=writer.pick(40, 4, 3, 2, 1, 0, -1, -3, 200, 364, 365, 366, 729, 730, 731))
    return spells


def _write_spell(writer: _Writer, person_id: str, start: date, end: date, *, is_over: bool) -> None:
    ending = (
        writer.pick(*["told"] * 6, "untold", "still there", "placeholder", "too early") if is_over else "still there"
    )
    discharge = {"told": end, "placeholder": PLACEHOLDER, "too early": _moved(start, by=-1)}.get(ending)
    month = min(month_of(end) + writer.pick(0, 0, 0, 1), writer.last_month_id)
    if ending == "still there":
        month = writer.last_month_id
    spell_id, provider = writer.number(), writer.pick(*PROVIDERS)
    told = {
        "spell_id": spell_id,
        "provider_id": provider,
        "start_date": writer.pick(*[start] * 5, PLACEHOLDER, None),
        "source_code": writer.pick("19", "19", "19", "51", "53"),
        "method_code": writer.pick("21", "21", "21", "2B", "81"),
        "discharge_date": discharge,
        "discharge_method_code": writer.pick(*["1"] * 7, "4", None) if discharge else None,
        "destination_code": writer.pick(*["19"] * 6, "53", "84", "79") if discharge else None,
    }
    writer.add("spell", person_id, month_id=month, **told)
    if writer.pick(False, False, True):  # an older or competing version of the same spell
        other = {"discharge_date": writer.pick(None, _moved(end, by=1)), "destination_code": writer.pick(None, "53")}
        writer.add("spell", person_id, month_id=month - writer.pick(1, 0), **told | other)
    for number in range(writer.pick(1, 1, 1, 2, 2, 0)):
        _write_ward(writer, person_id, spell_id, start, end, month, number)
    if writer.pick(False, False, False, True):
        twin = {"spell_id": writer.number(), "provider_id": "RC3" if provider in ("RC1", "RC2") else provider}
        twin_month = min(month + writer.pick(0, 1, -1), writer.last_month_id)
        twin["destination_code"] = writer.pick("19", "53")
        writer.add("spell", person_id, month_id=twin_month, **told | twin)
        for number in writer.some(1):
            _write_ward(writer, person_id, twin["spell_id"], start, end, twin_month, number)


def _write_ward(
    writer: _Writer, person_id: str, spell_id: str, start: date, end: date, month: int, number: int
) -> None:
    given = {
        "spell_id": spell_id,
        "ward_stay_id": writer.number(),
        "start_date": writer.pick(*[_moved(start, by=number)] * 5, _moved(start, by=-1), PLACEHOLDER, None),
        "end_date": writer.pick(*[end] * 5, _moved(end, by=-1), PLACEHOLDER, None),
        "bed_class_code": writer.pick(*["10", "200"] * 4, "11", "12", "23", "300", "311", "ZZ", None),
    }
    writer.add("ward_stay", person_id, month_id=month, **given)
    if writer.pick(False, False, True):
        older = {"end_date": None, "bed_class_code": writer.pick("10", "23")}
        writer.add("ward_stay", person_id, month_id=month - writer.pick(1, 0), **given | older)


def _write_care(writer: _Writer, person_id: str, spells: list[tuple[date, date]]) -> None:
    """Legal periods, contacts and emergency attendances around the edges of the spells."""
    for _ in writer.some(3):
        start = _moved(writer.pick(*spells)[0], by=writer.pick(0, 1, -1, 2))
        length = writer.pick(1, 0, 10, None)
        writer.add(
            "legal_period",
            person_id,
            month_id=writer.pick(month_of(start), month_of(start) + 1, writer.last_month_id),
            episode_id=writer.pick("e1", "e2", "e3"),
            period_id=writer.pick("1", "2"),
            legal_code=writer.pick("02", "03", "20", "19", "20", "01", "35", "38", None),
            start_date=start,
            end_date=None if length is None else _moved(start, by=length),
        )
    if writer.pick(False, False, True):
        day = writer.pick(*spells)[0]
        writer.add("community_order", person_id, month_id=month_of(day), episode_id="e3", start_date=day)
    for _ in writer.some(4):
        day = _moved(writer.pick(*spells)[1], by=writer.pick(10, 1, 0, 365, 366))
        month, referral = month_of(day) + writer.pick(0, 0, 1), writer.pick("r1", "r2")
        writer.add(
            "contact",
            person_id,
            month_id=month,
            provider_id=writer.pick("RAA", "RAA", "RAA", "DFC"),
            referral_id=referral,
            contact_id=writer.pick("c1", "c2", "c3", None),
            contact_date=day,
            attendance_code=writer.pick("3", "5", "6", "3", "5", "2", "7", None),
        )
        if writer.pick(True, False):
            writer.add(
                "referral_team",
                person_id,
                month_id=month - writer.pick(0, 0, 1),
                referral_id=writer.pick(referral, referral, "r3"),
                team_id=writer.number(),
                team_type_code=writer.pick("A02", "A04", "A03", "A06"),
            )
    for _ in writer.some(3):
        writer.add(
            "emergency_attendance",
            person_id,
            arrival_date=_moved(writer.pick(*spells)[1], by=writer.pick(10, 1, 0, 365, 366)),
            department_type_code=writer.pick(*["01"] * 4, "03"),
            attendance_category_code=writer.pick("1", "2", "3", "4", None),
            is_deleted_code=writer.pick("0", None, "1"),
            discharge_status_code=writer.pick(*[None] * 4, "63238001", "182992009"),
        )


def _write_person(writer: _Writer, person_id: str, spells: list[tuple[date, date]]) -> None:
    """Ages, diagnoses, hospital episodes and deaths."""
    admission = writer.pick(*spells)[0]
    born = writer.pick(
        *[years_before(admission, 40)] * 4, _moved(years_before(admission, 18), by=writer.pick(0, 1, -1, 20))
    )
    for _ in writer.some(3):
        month = month_of(admission) + writer.pick(0, -1, 1, 12)
        months_lived = ((last_day(month).year - born.year) * 12) + last_day(month).month - born.month
        writer.add(
            "person_month",
            person_id,
            month_id=month,
            age_start_years=writer.pick(_age(born, first_day(month)), _age(born, first_day(month)), None),
            age_end_years=writer.pick(*[_age(born, last_day(month))] * 4, None, months_lived // 12, 17),
        )
    for _ in writer.some(4):
        day = _moved(writer.pick(*spells)[1], by=writer.pick(0, -1, 1, 90, -90, 91, -91))
        writer.add(
            "diagnosis",
            person_id,
            month_id=month_of(day) + writer.pick(0, 1),
            position_code=writer.pick("P", "P", "S"),
            scheme_code=writer.pick("02", "02", None, "06"),
            diagnosis_code=writer.pick(
                *["F20.0", "F603", "F32X", "F2X", "F41.1"] * 2,
                "F05.0",
                "F50",
                "F71",
                "F10.2",
                "F99",
                "Z03.2",
                "F4",
                None,
            ),
            diagnosis_date=writer.pick(day, day, day, None),
        )
    for _ in writer.some(2):
        start, end = writer.pick(*spells)
        main, treatment = writer.pick(("710", None), ("100", "712"), (None, "730"), ("300", "100"))
        writer.add(
            "hospital_episode",
            person_id,
            episode_start_date=writer.pick(start, end, _moved(start, by=-1), _moved(end, by=1)),
            main_specialty_code=main,
            treatment_specialty_code=treatment,
            diagnosis_1_code=writer.pick("F20.0", "F31X", "F60.2", "K35", None),
        )
    for _ in range(writer.pick(0, 0, 0, 1, 2)):
        day = _moved(writer.pick(*spells)[1], by=writer.pick(100, 0, -1, 1, 365, 366))
        writer.add("death", person_id, death_date=writer.pick(day, day, None))


def _age(born: date, day: date) -> int:
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _participant(writer: _Writer, person_id: str, spells: list[tuple[date, date]]) -> Row:
    start, end = writer.pick(*spells)
    return {
        "person_id": writer.pick(*[person_id] * 5, "somebody else"),
        "arm_code": writer.pick("PEER", "CONTROL"),
        "site_code": "S1",
        "allocation_date": writer.pick(end, start, _moved(start, by=-1), _moved(end, by=1)),
        "index_spell_id": None,
        "consent_code": writer.pick("Y", "Y", "Y", "N"),
    }


def _facts(draw: Draw, period_end: date) -> Facts:
    """Every provider submits every month, but for a pause or a silence that some of them keep."""
    last_month = month_of(period_end)
    submissions = []
    for provider in PROVIDERS:
        months = list(range(FIRST_MONTH, last_month + 1))
        if draw(st.sampled_from([False, False, True])):
            gap_start = draw(st.integers(month_of(date(2016, 12, 1)), last_month))
            gap_months = draw(st.sampled_from([1, 2, 100]))
            months = [month for month in months if not gap_start <= month < gap_start + gap_months]
        submissions += submissions_of(provider, months)
    return Facts(period_end, last_month, submissions, [successor(old, new) for old, new in SUCCESSORS])


def _eligibility(draw: Draw) -> Eligibility:
    link_gap_days, transfer_gap_days = draw(st.sampled_from([(1, 3), (1, 3), (0, 3), (3, 3), (0, 0)]))
    return Eligibility(
        **RECRUITMENT,
        link_gap_days=link_gap_days,
        transfer_gap_days=transfer_gap_days,
        acute_ward=draw(st.sampled_from(["any", "any", "last"])),
        zero_day_stays_are_readmissions=draw(st.sampled_from([False, False, True])),
    )


def _follow_up(draw: Draw) -> FollowUp:
    censor_at = draw(st.sampled_from([("end_of_data", "provider_silence")] * 3 + [("end_of_data",)]))
    return FollowUp(censor_at=censor_at)
