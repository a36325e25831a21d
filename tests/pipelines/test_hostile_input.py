"""Faults that fuzzing found (tests/truth/fuzzing.py), each as the smallest file that shows it."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.cohort import count_submitted_spells, lake_facts
from pipelines.errors import SourceError
from pipelines.extract import ExtractFacts
from pipelines.lake import Lake, check_source, find_damage, write_lake
from pipelines.look_back import count_months
from pipelines.protocol import FollowUp
from pipelines.sources.csv_files import read_header
from pipelines.sources.extract import DEEPEST, read_description
from pipelines.sources.omop import OmopSource
from pipelines.sources.parquet_files import NO_DAY, as_text
from pipelines.sources.participants import read_participants
from tests.tiny_extract import (
    CONTACT,
    PERSON,
    SPELL,
    SUBMISSION,
    account,
    header_of,
    load,
    read_all,
    tiny,
    write_extract,
)

SPELL_FILE = "MHS501HospProvSpell_2017.csv"
BERTA = {"Person_ID": "Berta", "RecordNumber": "200"}


def refusal(folder: Path, content: bytes, file: str = SPELL_FILE) -> list[str]:
    """The problems of the tiny extract with one file replaced."""
    source = write_extract(folder / "source", tiny())
    (source / file).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        write_lake(source, folder / "lake", n_buckets=2)
    return caught.value.problems


def spells(*rows: dict[str, str], ending: bytes = b"\n") -> bytes:
    lines = [list(SPELL), *(list((SPELL | row).values()) for row in rows)]
    return b"".join(",".join(line).encode() + ending for line in lines)


def test_one_odd_byte_does_not_change_the_letters_of_everybody_else(tmp_path: Path) -> None:
    content = spells({"Person_ID": "Zoë"}, {"Person_ID": "Odd"}).replace(b"Odd", b"Odd\xe9")
    assert refusal(tmp_path, content) == [f"{SPELL_FILE}: line 2 is UTF-8, and line 3 is not; one encoding is needed"]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_two_stray_quotes_do_not_make_one_row_of_two(tmp_path: Path, ending: bytes) -> None:
    # From the provider of one row to the provider of the next: one row of the right width, one person less.
    content = spells({"OrgIDProv": '"RX1'}, {"OrgIDProv": 'RX2"', "Person_ID": "Berta"}, ending=ending)
    assert refusal(tmp_path, content) == [f"{SPELL_FILE}: line 2 opens a quote that its row does not close"]


def test_a_quote_that_is_never_closed_does_not_swallow_the_rest(tmp_path: Path) -> None:
    content = spells({}, {"DestOfDischHospProvSpell": '"19'}, {"Person_ID": "Berta"}, {"Person_ID": "Cara"})
    assert refusal(tmp_path, content) == [f"{SPELL_FILE}: line 3 opens a quote that its row does not close"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (spells({}, ending=b"\r"), "line 1 holds a carriage return; lines must end with LF or CR LF"),
        (b"\x1f\x8b\x08\x00\r\r\n\x00", "cannot be read (EOFError"),  # the first bytes of gzip
        (b"A" * 200_000 + b"\n1\n", "line 1 is longer than 131,072 bytes; it must hold the column names"),
        (b"PK\x03\x04\r", "is a zip archive or a workbook, whatever its name says; allowed: comma-"),
        (spells({}).decode().encode("utf-16"), "is UTF-16 text; allowed: comma-, pipe- or tab-separated text"),
        (spells({}).decode().encode("utf-16-le"), "is no text (line 1 holds null bytes)"),
    ],
)
def test_what_is_no_csv_file_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    assert refusal(tmp_path, content)[0].startswith(f"{SPELL_FILE}: {problem}")


def test_a_file_without_a_header_does_not_show_its_first_row(tmp_path: Path) -> None:
    path = tmp_path / SPELL_FILE
    path.write_text("Anna,2017-05-01,2017-05-01\nBerta,2017-05-02,2017-05-03\n")
    with pytest.raises(SourceError) as caught:
        read_header(path)
    assert caught.value.problems == [f"{SPELL_FILE}: the header gives columns 2, 3 one name (case ignored)"]


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": "\xff"}',
    ],
)
def test_a_description_that_cannot_be_kept_is_a_problem(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "extract_manifest.json").write_bytes(text)
    assert read_description(tmp_path) == ({}, ["extract_manifest.json: is not a JSON object"])


def test_a_description_too_deep_to_be_written_again(tmp_path: Path) -> None:
    (tmp_path / "extract_manifest.json").write_bytes(b'{"a":' * 60 + b"1" + b"}" * 60)
    problem = f"extract_manifest.json: is nested more than {DEEPEST} levels deep"
    assert read_description(tmp_path) == ({}, [problem])


def test_a_description_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "extract_manifest.json").write_bytes(b'\xef\xbb\xbf{"contains_real_data": false}')
    assert read_description(tmp_path) == ({"contains_real_data": False}, [])


def test_a_record_number_of_two_people_lends_no_date_to_the_other(tmp_path: Path) -> None:
    score = {"MHS607UniqID": "1", "Person_ID": "Anna", **{key: PERSON[key] for key in ("RecordNumber", "OrgIDProv")}}
    score |= {"UniqMonthID": "1406", "UniqServReqID": "R1", "UniqCareContID": "C1"}
    score |= {"CodedAssToolType": "979641000000103", "PersScore": "3"}
    contacts = [CONTACT, CONTACT | {"Person_ID": "Berta", "CareContDate": "2017-05-03"}]
    tables = {"MHS201CareContact": contacts, "MHS607CodedScoreAssessmentAct": [score]}
    source = write_extract(tmp_path / "source", tiny(**tables))
    lake = write_lake(source, tmp_path / "lake", n_buckets=1)  # both are in one bucket
    assert read_all(lake, "assessment")["assessment_date"].to_list() == [date(2017, 5, 25)]


def participants(folder: Path, **columns: pa.Array) -> Path:
    table = {
        "person_id": pa.array(["Anna"]),
        "arm": pa.array(["peer"]),
        "site": pa.array(["RX1"]),
        "allocation_date": pa.array([date(2017, 1, 5)]),
        "consent": pa.array(["Y"]),
    }
    pq.write_table(pa.table(table | columns), folder / "participants.parquet")
    return folder / "participants.parquet"


@pytest.mark.parametrize(
    ("column", "cells", "kind"),
    [
        ("arm", pa.array([["peer"]]), "list<element: string>"),
        ("arm", pa.array([{"a": "peer"}]), "struct<a: string>"),
        ("person_id", pa.array([True]), "bool"),
        ("person_id", pa.array([date(2017, 1, 1)]), "date32[day]"),
        ("site", pa.array([Decimal(1)], pa.decimal256(70, 2)), "decimal256(70, 2)"),
    ],
)
def test_a_parquet_column_of_an_impossible_type_is_refused(
    tmp_path: Path, column: str, cells: pa.Array, kind: str
) -> None:
    path = participants(tmp_path, **{column: cells})
    with pytest.raises(SourceError) as caught:
        read_participants(path)
    assert caught.value.problems == [f"participants.parquet: column {column} has the type {kind}; text is expected"]


def test_parquet_names_that_differ_in_case_only_are_one_name(tmp_path: Path) -> None:
    path = participants(tmp_path, ARM=pa.array(["control"]))
    with pytest.raises(SourceError, match="the header gives columns 2, 6 one name"):
        read_participants(path)


def test_parquet_columns_that_are_not_read_may_have_any_type(tmp_path: Path) -> None:
    people, aside = read_participants(participants(tmp_path, note=pa.array([[{"a": [1]}]])))
    assert (people.height, aside.height) == (1, 0)


def test_bytes_are_text_where_they_are_utf8() -> None:
    read = [pl.Series("arm", [text], pl.Binary) for text in (b"peer", b"\xff\xfe")]
    assert as_text(read[0], "x.parquet").to_list() == ["peer"]
    with pytest.raises(SourceError, match=r"x\.parquet: column arm \(Binary\) cannot be read as text"):
        as_text(read[1], "x.parquet")


@pytest.mark.parametrize("kind", [pl.Date, pl.Datetime("us")])
def test_a_parquet_day_outside_the_calendar_is_unreadable(kind: Any) -> None:
    days = pl.Series("day", [0, 2**31 - 1 if kind == pl.Date else 2**62, None], pl.Int64)
    days = days.cast(pl.Int32 if kind == pl.Date else pl.Int64).cast(kind)
    first, odd, missing = as_text(days, "x.parquet").to_list()
    assert (first[:10], odd, missing) == ("1970-01-01", NO_DAY, None)


def test_a_parquet_table_of_a_cdm_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"person_id": pa.array(["1"]), "PERSON_ID": pa.array(["2"])}), tmp_path / "PERSON.parquet")
    assert "PERSON.parquet: the header gives columns 1, 2 one name (case ignored)" in check_source(OmopSource(tmp_path))


def test_a_second_choice_that_stands_in_for_everybody_is_seen(tmp_path: Path) -> None:
    lake = load(tmp_path, ONS_deaths=[{"ENCRYPTED_HESID": "Anna", "D0D": "2019-01-01", "DOR": "2019-02-03"}])
    assert lake.manifest["tables"]["death"]["absent_choices"] == {"ONS_deaths_2017.csv": ["death_date: DOD"]}


def test_a_list_of_participants_may_have_a_column_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "participants.csv"
    path.write_text("person_id,arm,site,allocation_date,,consent\nAnna,peer,RX1,2017-01-05,x,Y\n")
    people, _ = read_participants(path)
    assert people["person_id"].to_list() == ["Anna"]


def test_a_file_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    (source / SPELL_FILE).rename(source / "MHS501HospProvSpell_\udcff.csv")
    problem = "MHS501HospProvSpell_\\udcff.csv: the name of this file is not UTF-8; rename it"
    assert check_source(source)[0] == problem


def test_a_file_with_the_longest_name_may_have_rows_in_quarantine(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    name = f"MHS501HospProvSpell_{'x' * 231}.csv"  # 255 bytes
    (source / SPELL_FILE).rename(source / name)
    (source / name).write_bytes(spells({}, {"OrgIDProv": ""}))
    lake = write_lake(source, tmp_path / "lake", n_buckets=2)
    assert account(lake, name)["quarantined_by_reason"] == {"missing:provider_id": 1}
    assert find_damage(lake) == []


def test_a_parquet_file_with_letters_that_are_none_is_refused(tmp_path: Path) -> None:
    content = participants(tmp_path).read_bytes()
    (tmp_path / "participants.parquet").write_bytes(content.replace(b"site", b"s\xff\xfee"))
    with pytest.raises(SourceError, match=r"participants\.parquet: cannot be read as Parquet"):
        read_participants(tmp_path / "participants.parquet")


@pytest.mark.parametrize("month", ["0", "-5", "12345678", "9223372036854775807", "99999999999999999999"])
def test_a_month_that_is_far_away_sets_the_row_aside(tmp_path: Path, month: str) -> None:
    lake = load(tmp_path, MHS000Header=[SUBMISSION, SUBMISSION | {"UniqMonthID": month}])
    assert account(lake, "MHS000")["quarantined_by_reason"] == {"bad_int:month_id": 1}
    assert lake.last_month_id == int(SUBMISSION["UniqMonthID"])


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("9999-12-31", "bad_date:period_end_date"),
        ("9998-12-31", "no_month"),
        ("2017-06-01", "no_month"),
        ("2017-04-30", "no_month"),
    ],
)
def test_one_mistyped_day_does_not_move_the_end_of_the_data(tmp_path: Path, end: str, reason: str) -> None:
    lake = load(tmp_path, MHS000Header=[SUBMISSION, SUBMISSION | {"ReportingPeriodEndDate": end}])
    assert account(lake, "MHS000")["quarantined_by_reason"] == {reason: 1}
    assert str(lake.period_end) == SUBMISSION["ReportingPeriodEndDate"]


@pytest.mark.parametrize(
    "mistyped",
    [
        {"ReportingPeriodStartDate": "2108-05-01", "ReportingPeriodEndDate": "2108-05-31"},
        {"ReportingPeriodStartDate": "1917-05-01", "ReportingPeriodEndDate": "1917-05-31"},
        {"UniqMonthID": "2402"},
        {"UniqMonthID": "1419"},  # 13 months after May 2017 (DOMAIN B1: 1406)
        {"UniqMonthID": "1393"},
    ],
)
def test_a_submission_far_from_its_month_does_not_move_the_end_of_the_data(
    tmp_path: Path, mistyped: dict[str, str]
) -> None:
    lake = load(tmp_path, MHS000Header=[SUBMISSION, SUBMISSION | mistyped])
    assert account(lake, "MHS000")["quarantined_by_reason"] == {"no_month": 1}
    assert (str(lake.period_end), lake.last_month_id) == (SUBMISSION["ReportingPeriodEndDate"], 1406)


@pytest.mark.parametrize("month", ["1394", "1418"])
def test_an_extract_that_numbers_its_months_otherwise_is_refused(tmp_path: Path, month: str) -> None:
    """Every day that follows from a number, as that on which a provider fell silent, would be off."""
    headers = [
        SUBMISSION,
        SUBMISSION | {"UniqMonthID": month},
        SUBMISSION | {"UniqMonthID": month, "OrgIDProvider": "RBB"},
    ]
    with pytest.raises(SourceError) as caught:
        load(tmp_path, MHS000Header=headers)
    assert str(caught.value) == (
        "MHS000Header_2017.csv: column UniqMonthID: 2 of 3 cells that hold something, line 3 the first, number another "
        "month than their row reports on; allowed: months counted with April 1900 as 1 (January 2017 is 1402) in at "
        "least half of them"
    )


MONTH = int(SUBMISSION["UniqMonthID"])


@pytest.mark.parametrize("months", [2, 11, 12, 13, 24, 88 * 12, -2, -12, -13, -115 * 12])  # to 2105 and 1902
def test_a_header_of_a_month_of_nobody_beyond_a_gap_moves_neither_start_nor_end(tmp_path: Path, months: int) -> None:
    lake = load(tmp_path, MHS000Header=[SUBMISSION, header_of(MONTH + months)], MHS201CareContact=[CONTACT])
    facts = facts_of(lake)
    assert (str(lake.period_end), lake.last_month_id) == ("2017-05-31", MONTH)
    assert (facts.first_day, facts.submissions["month_id"].to_list()) == (date(2017, 5, 1), [MONTH])
    assert facts.reach_of("contact") == (date(2017, 5, 1), date(2017, 5, 31))
    assert facts.silence["month_id"].min() == MONTH - 1
    assert lake.manifest["notes"] == {"header_of_a_month_of_nobody": 1}
    assert account(lake, "MHS000")["rows_kept"] == 2


@pytest.mark.parametrize("months", [2, 12, 24, -2, -12, -24])
def test_a_header_beyond_a_gap_counts_where_somebody_has_records(tmp_path: Path, months: int) -> None:
    people = [PERSON, PERSON | {"UniqMonthID": str(MONTH + months)}]
    lake = load(tmp_path, MHS000Header=[SUBMISSION, header_of(MONTH + months)], MHS001MPI=people)
    assert lake.submissions["month_id"].to_list() == sorted([MONTH, MONTH + months])
    assert lake.last_month_id == max(MONTH, MONTH + months)
    assert lake.manifest["notes"] == {}


def test_months_of_nobody_count_as_long_as_each_follows_the_one_before(tmp_path: Path) -> None:
    months = [MONTH - 4, MONTH - 2, MONTH - 1, MONTH, MONTH + 1, MONTH + 2, MONTH + 4]
    lake = load(tmp_path, MHS000Header=[header_of(month) for month in months])
    assert lake.submissions["month_id"].to_list() == months[1:-1]
    assert (facts_of(lake).first_day, str(lake.period_end)) == (date(2017, 3, 1), "2017-07-31")


def test_a_gap_between_records_ends_nothing(tmp_path: Path) -> None:
    months = [MONTH, MONTH + 3, MONTH + 9]  # of the one in the middle nobody has a record
    people = [PERSON, PERSON | {"UniqMonthID": str(MONTH + 9)}]
    lake = load(tmp_path, MHS000Header=[header_of(month) for month in months], MHS001MPI=people)
    assert lake.submissions["month_id"].to_list() == months


@pytest.mark.parametrize("year", ["2016", "2018"])
def test_the_date_of_a_header_that_lies_a_year_off_its_number_is_read_by_the_number(tmp_path: Path, year: str) -> None:
    """A year off is near enough to its number for the header not to be set aside."""
    wrong = {"ReportingPeriodStartDate": f"{year}-06-01", "ReportingPeriodEndDate": f"{year}-06-30"}
    lake = load(tmp_path, MHS000Header=[SUBMISSION, header_of(MONTH + 1, **wrong), header_of(MONTH + 2)])
    assert (facts_of(lake).first_day, str(lake.period_end)) == (date(2017, 5, 1), "2017-07-31")
    assert lake.submissions["period_end_date"].to_list()[1] == date(2017, 6, 30)
    assert lake.manifest["notes"] == {"header_dates_unlike_the_others": 1}


def facts_of(lake: Lake) -> ExtractFacts:
    return lake_facts(lake, count_submitted_spells(lake), count_months(lake), FollowUp())


def test_a_month_without_people_shortly_after_the_others_counts(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS000Header=[SUBMISSION, header_of(1407)])
    assert (str(lake.period_end), lake.last_month_id) == ("2017-06-30", 1407)
