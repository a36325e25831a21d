"""Rows of one month are told apart by their ids as numbers: 99 was sent before 100 (DOMAIN K6, I1)."""

from datetime import date
from itertools import permutations
from pathlib import Path
from random import Random

import polars as pl
import pytest

from pipelines.cohort import count_submitted_spells, lake_facts
from pipelines.contacts import attended_or_missed
from pipelines.id_order import sort_by_id
from pipelines.lake import Lake
from pipelines.look_back import count_months
from pipelines.protocol import FollowUp
from pipelines.stays import LinkingRules, build_stays, latest
from pipelines.tables import PERSON_TABLES
from tests.naive_stays import id_order
from tests.tiny_extract import CONTACT, SPELL, WARD, load, read_all

# No id, whole numbers by their size whatever it is (the last does not fit into 64 bits), texts by their length.
RISING = [None, "0", "7", "9", "10", "99", "A9", "100", "A99", "00100000", "B10000", "18446744073709551616"]
KEY = ["person_id", "spell_id"]


@pytest.mark.parametrize("seed", range(10))
def test_ids_in_order(seed: int) -> None:
    shuffled = Random(seed).sample(RISING, len(RISING))
    given = pl.DataFrame({"row_id": shuffled}, schema={"row_id": pl.String})
    assert sort_by_id(given, [])["row_id"].to_list() == RISING
    assert sorted(shuffled, key=id_order) == RISING


def rows(*cells: tuple[str, int, str | None, str | None]) -> pl.DataFrame:
    schema = {"spell_id": pl.String, "month_id": pl.Int64, "row_id": pl.String, "record_id": pl.String}
    return pl.DataFrame(cells, schema, orient="row").with_columns(person_id=pl.lit("p"))


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_latest_row_is_that_of_the_month_then_of_the_larger_id(order: tuple[int, ...]) -> None:
    sent = rows(("a", 1400, "99", "1"), ("a", 1400, "100", "1"), ("a", 1399, "1000", "1"), ("b", 1399, "9", "1"))
    assert set(latest(sent[list(order)], KEY).select("spell_id", "row_id").rows()) == {("a", "100"), ("b", "9")}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_without_row_ids_the_larger_record_number_is_the_later(order: list[int]) -> None:
    sent = rows(("a", 1400, None, "100"), ("a", 1400, None, "99"))
    assert latest(sent[order], KEY)["record_id"].to_list() == ["100"]


def stays_of(lake: Lake) -> list[tuple[object, ...]]:
    tables = {name: read_all(lake, name) for name in PERSON_TABLES}
    facts = lake_facts(lake, count_submitted_spells(lake), count_months(lake), FollowUp())
    return build_stays(tables, facts, LinkingRules()).select("end_date", "end_reason").rows()


@pytest.mark.parametrize(("first", "second"), [("99", "100"), ("9", "10"), ("099", "100"), ("999999", "1000000")])
def test_a_refresh_in_the_same_month_replaces_what_was_open(tmp_path: Path, first: str, second: str) -> None:
    # The primary submission had the person in hospital; the refresh of the same month knows the discharge.
    still_here = {"DischDateHospProvSpell": "", "MethOfDischMHHospProvSpell": "", "DestOfDischHospProvSpell": ""}
    lake = load(
        tmp_path,
        MHS501HospProvSpell=[SPELL | {"MHS501UniqID": second}, SPELL | still_here | {"MHS501UniqID": first}],
        MHS502WardStay=[WARD | {"MHS502UniqID": second}, WARD | {"MHS502UniqID": first, "EndDateWardStay": ""}],
    )
    assert stays_of(lake) == [(date(2017, 5, 20), "discharge")]


@pytest.mark.parametrize("ids", [{"MHS501UniqID": "7"}, {"MHS501UniqID": ""}])
@pytest.mark.parametrize("is_open_first", [True, False])
def test_a_discharge_beats_an_open_spell_where_no_id_tells_which_came_later(
    tmp_path: Path, ids: dict[str, str], is_open_first: bool
) -> None:
    gone, here = SPELL | ids, SPELL | ids | {"DischDateHospProvSpell": "", "DestOfDischHospProvSpell": "19"}
    lake = load(tmp_path, MHS501HospProvSpell=[here, gone] if is_open_first else [gone, here], MHS502WardStay=[WARD])
    assert stays_of(lake) == [(date(2017, 5, 20), "discharge")]


def test_the_latest_month_counts_though_it_has_no_end() -> None:
    sent = rows(("a", 1400, "9", "1"), ("a", 1401, None, None))
    sent = sent.with_columns(end_date=pl.Series([date(2017, 1, 1), None]))
    assert latest(sent, KEY)["month_id"].to_list() == [1401]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_rows_that_no_id_tells_apart_are_decided_by_what_they_say(order: tuple[int, ...]) -> None:
    days = [None, date(2017, 1, 1), date(2017, 1, 2)]
    sent = rows(*[("a", 1400, None, None)] * 3).with_columns(end_date=pl.Series(days))
    assert latest(sent[list(order)], KEY)["end_date"].to_list() == [date(2017, 1, 2)]


def test_a_contact_counts_as_it_was_last_sent(tmp_path: Path) -> None:
    missed = CONTACT | {"MHS201UniqID": "9", "AttendOrDNACode": "3"}
    contact = read_all(load(tmp_path, MHS201CareContact=[CONTACT | {"MHS201UniqID": "10"}, missed]), "contact")
    assert attended_or_missed(contact, ["3"]).is_empty()
    assert attended_or_missed(contact, ["5"]).height == 1
