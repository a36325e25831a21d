"""Small worlds of canonical tables, drawn by Hypothesis or at random, biased to the edges of the rules (DOMAIN K).

A world is a few people with a handful of spells each, submitted by providers that merge, pause and fall silent. Choice:
every date hangs on the start or end of some spell, moved by the few days at which a rule changes its mind (gaps of 0-4
days, 90/91 days from discharge, day 365/366, the eighteenth birthday); odd values are the minority, so that people get
past the first rules and failing examples shrink to ordinary histories.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from itertools import count
from random import Random
from typing import Any

from hypothesis import strategies as st

from pipelines.protocol import Eligibility, FollowUp
from pipelines.tables import PERSON_TABLES, TABLES
from tests.naive_stays import Facts, Row, first_day, last_day, month_of, years_before
from tests.worlds import World, submissions_of, successor, whole_row

Choose = Callable[[Sequence[Any]], Any]  # one of the options
Spells = list[tuple[date, date]]

FIRST_MONTH = month_of(date(2014, 12, 1))
RECRUITMENT = {"recruitment_start": date(2017, 1, 1), "recruitment_end": date(2017, 12, 31)}
PROVIDERS = ("RAA", "RBB", "RC1", "RC2", "RC3")
SUCCESSORS = (("RC1", "RC2"), ("RC2", "RC3"))  # a chain: RC1 became RC2 became RC3
# Days between spells at which a rule changes its mind: linking, the windows of outcomes, prior stays.
GAPS = (4, 3, 2, 1, 0, -1, -3, 13, 14, 30, 31, 90, 91, 364, 365, 366, 729, 730, 731)
PLACEHOLDERS = (date(1900, 1, 1), date(1900, 12, 31))


@st.composite
def worlds(draw: Callable[[st.SearchStrategy[Any]], Any]) -> World:
    """Worlds of one to three people; failing ones shrink."""
    return _write_world(lambda options: draw(st.sampled_from(options)), most_people=3)


def random_world(seed: int, most_people: int) -> World:
    """A larger world from plain random choices: more variety for the time than Hypothesis gives, but no shrinking."""
    return _write_world(Random(seed).choice, most_people)


def _write_world(choose: Choose, most_people: int) -> World:
    """People with their trial arms, the providers' calendar and the options of the protocol."""
    period_end = choose([date(2018, 12, 31)] * 3 + [date(2018, 6, 30), date(2018, 2, 28)])
    writer = _Writer(choose, month_of(period_end), counts_down=choose([False, True]))
    participants = []
    for number in range(choose(range(1, most_people + 1))):
        person_id = f"p{number}"
        spells = _write_spells(writer, person_id, period_end)
        _write_care(writer, person_id, spells)
        _write_person(writer, person_id, spells)
        if writer.pick(False, False, True):
            participants.append(_participant(writer, person_id, spells))
    if writer.mostly(False, True):
        del writer.tables["emergency_attendance"]
    rules = _facts(writer, period_end), participants, _eligibility(writer), _follow_up(writer)
    _close_referrals(writer)
    return World(writer.tables, *rules)


class _Writer:
    """Chooses values and collects rows; row_ids are unique, and of two rows either may have the larger number and
    either the more digits (of_many_lengths), since 9 comes before 10; some worlds have zeros before them or letters in
    them."""

    def __init__(self, choose: Choose, last_month_id: int, *, counts_down: bool) -> None:
        self.choose, self.last_month_id = choose, last_month_id
        self.tables: dict[str, list[Row]] = {name: [] for name in PERSON_TABLES}
        self._numbers = count(choose([100_020, 1_000_040]), -1) if counts_down else count(choose([1, 80, 99_970]))
        self._written = choose(["{}", "{}", "{}", "00{}", "A{}"])

    def number(self) -> str:
        """An id nobody else has."""
        return str(self._written).format(of_many_lengths(next(self._numbers)))

    def pick(self, *values: Any) -> Any:
        """Any of the values."""
        return self.choose(values)

    def mostly(self, plain: Any, *odd: Any) -> Any:
        """The plain value, or one time in five an odd one."""
        return self.choose([plain] * (4 * len(odd)) + list(odd))

    def times(self, most: int) -> range:
        """Something that happens up to `most` times."""
        return range(self.choose(range(most + 1)))

    def add(self, table: str, person_id: str, *, month_id: int | None = None, **given: Any) -> None:
        """One row of a table; monthly tables get a month and its record."""
        if month_id is not None:
            given = {"month_id": month_id, "provider_id": "RAA", "record_id": f"{person_id}-{month_id}"} | given
        if any(column.name == "row_id" for column in TABLES[table].columns):
            given["row_id"] = self.number()
        self.tables[table].append(whole_row(table, person_id=person_id, **given))


def of_many_lengths(number: int) -> int:
    """A number for each number, of as many digits, one more or two more: neighbours differ in length, so that the order
    of texts is not that of numbers. Numbers that become one have the same remainder by 3, and so are the same."""
    return number * 10 ** (number % 3)


def _moved(day: date, *, by: int) -> date:
    return day + timedelta(days=by)


def _write_spells(writer: _Writer, person_id: str, period_end: date) -> Spells:
    """Spells one after the other with telling gaps; returns their (start, last day), the anchors of all else."""
    spells: Spells = []
    start = writer.pick(date(2016, 11, 20), date(2016, 10, 5), date(2015, 3, 1), date(2016, 2, 28), date(2017, 1, 10))
    for _ in range(writer.pick(3, 2, 4, 5, 6, 1)):
        end = _moved(start, by=writer.pick(5, 30, 8, 0, 1))
        if start > period_end:
            break
        _write_spell(writer, person_id, start, end, is_over=end <= period_end)
        spells.append((start, min(end, period_end)))
        if writer.pick(True, True, False):
            start = _moved(end, by=writer.pick(40, 100, 200))
        else:
            start = _moved(end, by=writer.pick(*GAPS))
    return spells


def _write_spell(writer: _Writer, person_id: str, start: date, end: date, *, is_over: bool) -> None:
    ending = writer.mostly("told", "untold", "placeholder", "too early") if is_over else "still there"
    ending = writer.mostly(ending, ending, ending, "still there")
    discharge = {"told": end, "placeholder": writer.pick(*PLACEHOLDERS), "too early": _moved(start, by=-1)}.get(ending)
    month = min(month_of(end) + writer.mostly(0, 1), writer.last_month_id)
    if ending == "still there":
        month = writer.last_month_id
    spell_id, provider = writer.number(), writer.pick(*PROVIDERS)
    told = {
        "spell_id": spell_id,
        "provider_id": provider,
        "start_date": writer.mostly(start, *PLACEHOLDERS, None),
        "source_code": writer.mostly("19", "51", "53"),
        "method_code": writer.mostly("21", "2B", "81"),
        "discharge_date": discharge,
        "discharge_method_code": writer.mostly("1", "1", "6", "4", None) if discharge else None,
        "destination_code": writer.mostly("19", "53", "84", "53", "79") if discharge else None,
    }
    writer.add("spell", person_id, month_id=month, **told)
    if writer.mostly(False, True):  # an older or competing version of the same spell
        other = {"discharge_date": writer.pick(None, _moved(end, by=1)), "destination_code": writer.pick(None, "53")}
        writer.add("spell", person_id, month_id=month - writer.pick(1, 0), **told | other)
    for number in range(writer.mostly(1, 2, 2, 0)):
        _write_ward(writer, person_id, spell_id, start, end, month, number)
    if writer.mostly(False, True):
        twin = {"spell_id": writer.number(), "provider_id": "RC3" if provider in ("RC1", "RC2") else provider}
        twin_month = min(month + writer.pick(0, 1, -1), writer.last_month_id)
        twin["destination_code"] = writer.pick("19", "53")
        writer.add("spell", person_id, month_id=twin_month, **told | twin)
        for number in writer.times(1):
            _write_ward(writer, person_id, twin["spell_id"], start, end, twin_month, number)


def _write_ward(
    writer: _Writer, person_id: str, spell_id: str, start: date, end: date, month: int, number: int
) -> None:
    given = {
        "spell_id": spell_id,
        "ward_stay_id": writer.mostly(writer.number(), None),
        "start_date": writer.mostly(_moved(start, by=number), _moved(start, by=-1), *PLACEHOLDERS, None),
        "end_date": writer.mostly(end, _moved(end, by=-1), *PLACEHOLDERS, None),
        "bed_class_code": writer.mostly(writer.pick("10", "200"), "11", "23", "300", "311", "41", "ZZ", None),
    }
    writer.add("ward_stay", person_id, month_id=month, **given)
    if writer.mostly(False, True):
        older = {"end_date": None, "bed_class_code": writer.pick("10", "23")}
        writer.add("ward_stay", person_id, month_id=month - writer.pick(1, 0), **given | older)


def _write_care(writer: _Writer, person_id: str, spells: Spells) -> None:
    """Legal periods, contacts and emergency attendances around the edges of the spells."""
    for _ in writer.times(3):
        start = _moved(writer.pick(*spells)[0], by=writer.pick(0, 1, -1, 2))
        length = writer.pick(1, 0, 10, None)
        given = {
            "episode_id": writer.pick("e1", "e2", "e3"),
            "period_id": writer.pick("1", "2", None),
            "legal_code": writer.pick("02", "03", "38", "20", "19", "01", "35", None),
            "provider_id": writer.pick("RC1", "RC3"),
            "start_date": start,
            "end_date": None if length is None else _moved(start, by=length),
        }
        month = writer.pick(month_of(start), month_of(start) + 1, writer.last_month_id)
        writer.add("legal_period", person_id, month_id=month, **given)
        if writer.mostly(False, True):  # the same period under another id, at a provider that may have taken over
            again = {"episode_id": "e4", "provider_id": writer.pick("RC3", "RAA"), "end_date": writer.pick(start, None)}
            writer.add("legal_period", person_id, month_id=month - writer.pick(1, 0, -1), **given | again)
    if writer.mostly(False, True):
        day = writer.pick(*spells)[0]
        writer.add("community_order", person_id, month_id=month_of(day), episode_id="e3", start_date=day)
    for _ in writer.times(4):
        _write_contact(writer, person_id, _moved(writer.pick(*spells)[1], by=writer.pick(10, 1, 0, 30, 31, 365, 366)))
    for _ in writer.times(3):
        _write_referral(writer, person_id, _moved(writer.pick(*spells)[1], by=writer.pick(10, 1, 0, 30, 365, 366)))
    for _ in writer.times(3):
        writer.add(
            "emergency_attendance",
            person_id,
            arrival_date=_moved(writer.pick(*spells)[1], by=writer.pick(10, 1, 0, 365, 366)),
            collection_code=writer.mostly("ECDS", "HES_AE"),
            department_type_code=writer.mostly("01", "03"),
            attendance_category_code=writer.mostly(writer.pick("1", "2", "3"), "4", None),
            is_deleted_code=writer.mostly(writer.pick("0", None), "1"),
            discharge_status_code=writer.mostly(writer.pick(None, "182992009"), "63238001"),
        )


def _write_contact(writer: _Writer, person_id: str, day: date) -> None:
    month, referral = month_of(day) + writer.mostly(0, 1), writer.pick("r1", "r2")
    writer.add(
        "contact",
        person_id,
        month_id=month,
        referral_id=referral,
        contact_id=writer.pick("c1", "c2", "c3", None),
        contact_date=day,
        attendance_code=writer.mostly(writer.pick("3", "5", "6"), "2", "7", None),
    )
    for _ in writer.times(2):
        writer.add(
            "referral_team",
            person_id,
            month_id=month - writer.mostly(0, 1),
            referral_id=writer.mostly(referral, "r3"),
            team_id=writer.mostly(writer.number(), None),
            team_type_code=writer.pick("A02", "A04", "A03", "A06", "A11"),
            closed_date=writer.mostly(None, day, _moved(day, by=30)),
            rejected_date=writer.mostly(None, None, day),
        )


def _write_referral(writer: _Writer, person_id: str, day: date) -> None:
    """A referral, sometimes sent again in another month with other dates."""
    referral_id, month = writer.pick("r1", "r2", "r3"), month_of(day) + writer.pick(0, 1)
    for _ in range(writer.mostly(1, 2)):
        writer.add(
            "referral",
            person_id,
            month_id=min(month + writer.mostly(0, 1, 3), writer.last_month_id),
            referral_id=referral_id,
            received_date=writer.mostly(day, _moved(day, by=-40), None),
            closed_date=writer.pick(None, day, _moved(day, by=1), _moved(day, by=60)),
            rejected_date=writer.mostly(None, None, day),
        )


def _write_person(writer: _Writer, person_id: str, spells: Spells) -> None:
    """Ages, diagnoses, hospital episodes and deaths."""
    _write_ages(writer, person_id, writer.pick(*spells)[0])
    for _ in writer.times(4):
        day = _moved(writer.pick(*spells)[1], by=writer.pick(0, -1, 1, 90, -90, 91, -91))
        useful = writer.pick("F20.0", "F603", "F32X", "F2X", "F41.1")
        excluded = writer.pick("F05.0", "F50", "F71", "F10.2", "F99")
        writer.add(
            "diagnosis",
            person_id,
            month_id=month_of(day) + writer.pick(0, 1),
            position_code=writer.pick("P", "P", "S", "V"),
            scheme_code=writer.mostly(writer.pick("02", None), "06"),
            diagnosis_code=writer.pick(useful, useful, excluded, writer.pick("Z03.2", "F4", None)),
            diagnosis_date=writer.mostly(day, None),
        )
    for _ in writer.times(2):
        start, end = writer.pick(*spells)
        main, treatment = writer.pick(("710", None), ("100", "712"), (None, "730"), ("300", "100"))
        begun = writer.pick(start, end, _moved(start, by=-1), _moved(end, by=1), _moved(start, by=-200))
        writer.add(
            "hospital_episode",
            person_id,
            episode_start_date=begun,
            episode_end_date=writer.pick(None, begun, _moved(begun, by=9)),
            provider_id=writer.pick("RAA", "RBB"),
            main_specialty_code=main,
            treatment_specialty_code=treatment,
            diagnosis_1_code=writer.mostly(writer.pick("F20.0", "F31X", "F60.2"), "F71.0", "F05", "K35", None),
            diagnosis_2_code=writer.mostly(None, "F03X", "F10.2"),
        )
    for _ in range(writer.mostly(0, 1, 2)):
        day = _moved(writer.pick(*spells)[1], by=writer.pick(100, 0, -1, 1, 365, 366))
        writer.add("death", person_id, death_date=writer.mostly(day, None))


def _write_ages(writer: _Writer, person_id: str, admission: date) -> None:
    """Most are forty, some eighteen, within days of an admission; some months contradict the others."""
    birthday_is = writer.pick(0, 1, -1, 20)  # days from an admission
    born = _moved(years_before(admission, writer.mostly(40, 18)), by=birthday_is)
    for _ in writer.times(3):
        month = month_of(admission) + writer.pick(0, -1, 1, 12)
        at_start, at_end = _age(born, first_day(month)), _age(born, last_day(month))
        writer.add(
            "person_month",
            person_id,
            month_id=month,
            age_start_years=writer.pick(at_start, None),
            age_end_years=writer.mostly(at_end, None, at_end + 1, 17),
        )


def _age(born: date, day: date) -> int:
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _participant(writer: _Writer, person_id: str, spells: Spells) -> Row:
    start, end = writer.pick(*spells)
    return {
        "person_id": writer.mostly(person_id, f"nobody like {person_id}"),
        "arm_code": writer.pick("PEER", "CONTROL"),
        "site_code": "S1",
        "allocation_date": writer.pick(end, start, _moved(start, by=-1), _moved(end, by=1)),
        "index_spell_id": None,
        "consent_code": writer.mostly("Y", "N"),
    }


def _facts(writer: _Writer, period_end: date) -> Facts:
    """Every provider submits every month, but for those that pause, fall silent, start late or never do."""
    months = range(writer.mostly(FIRST_MONTH, month_of(date(2016, 9, 1))), writer.last_month_id + 1)
    submissions = []
    for provider in PROVIDERS:
        gap_start = writer.choose(range(month_of(date(2016, 12, 1)), writer.last_month_id + 1))
        gap = writer.mostly(
            range(0), range(gap_start, gap_start + 1), range(gap_start, 9999), range(gap_start), range(9999)
        )
        submissions += submissions_of(provider, [month for month in months if month not in gap])
    return Facts(period_end, writer.last_month_id, submissions, [successor(old, new) for old, new in SUCCESSORS])


def _eligibility(writer: _Writer) -> Eligibility:
    link_gap_days, transfer_gap_days = writer.mostly((1, 3), (0, 3), (3, 3), (0, 0))
    return Eligibility(
        **RECRUITMENT,
        link_gap_days=link_gap_days,
        transfer_gap_days=transfer_gap_days,
        minimum_age_years=writer.mostly(18, 40),
        prior_stay_window_days=writer.mostly(730, 40, 100),  # gaps of 40 and 100 days are common, of 730 rare
        acute_ward=writer.mostly("any", "last"),
        zero_day_stays_are_readmissions=writer.mostly(False, True),
        candidate_discharges=writer.mostly("every", "first"),
        candidates=writer.mostly("never_treated", "not_yet_treated"),
    )


def _follow_up(writer: _Writer) -> FollowUp:
    # A provider of a small world has a spell or two in most months, if that.
    ends = writer.mostly(("end_of_data", "provider_silence"), ("end_of_data",))
    given = {
        "silence_below": writer.mostly(0.5, 0.9, 0.0),
        "silence_chance": writer.mostly(1.0, 0.4, 0.001),
        "silence_minimum_spells": writer.mostly(1, 2, 30),
    }
    codes = writer.pick((), (), ("03",), ("03", "04"))
    return FollowUp(
        censor_at=(*ends, "moved_away") if codes else ends,
        moved_away_codes=codes,
        **given,
    )


def _close_referrals(writer: _Writer) -> None:
    """By whom, mostly by where the person was in hospital, and why each row of a referral or of a team was closed."""
    known: dict[str, list[str]] = {}
    for spell in writer.tables["spell"]:
        known.setdefault(spell["person_id"], []).append(spell["provider_id"])
    for row in (*writer.tables["referral"], *writer.tables["referral_team"]):
        row["closure_reason_code"] = writer.pick("03", "03", "04", "02", None)
        row["provider_id"] = writer.pick(*PROVIDERS, *3 * known.get(row["person_id"], []))
