"""Which submission of a month counts, and what becomes of the rows of the others (DOMAIN 0b.8)."""

from datetime import date
from pathlib import Path

import pytest

from pipelines.lake import Lake, update_lake, write_lake
from pipelines.lake.account import RULES
from pipelines.sources import csv_files
from tests.tiny_extract import (
    PERSON,
    SPELL,
    SUBMISSION,
    WARD,
    Rows,
    account,
    load,
    read_all,
    tiny,
    write_csv,
    write_extract,
)


def sent(spell: str, submission: str, **cells: str) -> dict[str, str]:
    """A row of MHS501 that came with a submission."""
    return (
        SPELL
        | {"MHS501UniqID": f"{spell}/{submission}", "UniqHospProvSpellID": spell}
        | {"NHSEUniqSubmissionID": submission}
        | cells
    )


def header(submission: str, file_type: str = "1", latest: str = "") -> dict[str, str]:
    return SUBMISSION | {"NHSEUniqSubmissionID": submission, "FileType": file_type, "Der_IsLatest": latest}


def flag(submission: str, latest: str) -> dict[str, str]:
    return {"OrgIDProvider": "RX1", "UniqMonthID": "1406", "NHSEUniqSubmissionID": submission, "Der_IsLatest": latest}


def spells(lake: Lake) -> list[str]:
    return sorted(read_all(lake, "spell")["row_id"].to_list())


TWICE = [sent("A", "9"), sent("B", "9"), sent("A", "10")]


@pytest.mark.parametrize(
    ("headers", "flags", "kept"),
    [
        # Nothing is said: the larger number, as a number.
        ([SUBMISSION], [], ["A/10"]),
        # The file type goes before the number, where all have one.
        ([header("9", "2"), header("10", "1")], [], ["A/9", "B/9"]),
        ([header("9", "Refresh"), header("10", "Primary")], [], ["A/9", "B/9"]),
        ([header("9", "2"), header("10", "")], [], ["A/10"]),
        ([header("9", "2")], [], ["A/10"]),
        # What the sender says goes before both.
        ([header("9", "1", "Y"), header("10", "2", "N")], [], ["A/9", "B/9"]),
        ([header("9", "1", "y"), header("10", "2")], [], ["A/9", "B/9"]),
        ([header("9"), header("10")], [flag("9", "Y"), flag("10", "N")], ["A/9", "B/9"]),
        ([SUBMISSION], [flag("10", "N")], ["A/9", "B/9"]),
        # The one that counts is not in the extract: none of the others does.
        ([SUBMISSION], [flag("9", "N"), flag("10", "N"), flag("11", "Y")], []),
        # A header alone, without a row, replaces nothing.
        ([header("9", "1"), header("10", "2"), header("11", "3")], [], ["A/10"]),
    ],
)
def test_the_submission_that_counts(tmp_path: Path, headers: Rows, flags: Rows, kept: list[str]) -> None:
    tables = {"MHS000Header": headers, "MHS501HospProvSpell": TWICE}
    if flags:
        tables["MHSDS_SubmissionFlags"] = flags
    lake = load(tmp_path, **tables)
    assert spells(lake) == kept
    entry = account(lake, "MHS501")
    assert (entry["rows_read"], entry["rows_kept"], entry["rows_deduplicated"]) == (3, len(kept), 3 - len(kept))
    assert entry["deduplicated_by_rule"] == {"superseded_submission": 3 - len(kept)}
    assert "superseded_submission" in RULES


def test_duplicates_go_first_and_each_row_is_counted_once(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[*TWICE, TWICE[0], TWICE[2]])
    assert spells(lake) == ["A/10"]
    assert account(lake, "MHS501")["deduplicated_by_rule"] == {"exact_duplicate": 2, "superseded_submission": 2}


def test_a_submission_of_another_provider_or_month_replaces_nothing(tmp_path: Path) -> None:
    rows = [sent("A", "9"), sent("B", "10", OrgIDProv="RX2"), sent("C", "11", UniqMonthID="1407")]
    assert spells(load(tmp_path, MHS501HospProvSpell=rows)) == ["A/9", "B/10", "C/11"]


def test_a_row_without_a_submission_stays(tmp_path: Path) -> None:
    assert spells(load(tmp_path, MHS501HospProvSpell=[*TWICE, sent("D", "")])) == ["A/10", "D/"]


def test_a_later_submission_replaces_rows_of_tables_it_sent_nothing_of(tmp_path: Path) -> None:
    people = [PERSON | {"NHSEUniqSubmissionID": "10"}]
    lake = load(tmp_path, MHS001MPI=people, MHS501HospProvSpell=[sent("A", "9")])
    assert (spells(lake), read_all(lake, "person_month").height) == ([], 1)


def test_rows_that_wait_for_a_person_have_a_submission_too(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[sent("A", "9"), sent("A", "10", Person_ID="")])
    assert spells(lake) == ["A/10"]


def test_a_row_that_says_it_no_longer_counts(tmp_path: Path) -> None:
    rows = [
        SPELL | {"UniqHospProvSpellID": name, "MHS501UniqID": name, "IC_USE_Submission_Flag": use}
        for name, use in (("A", "Y"), ("B", "N"), ("C", ""), ("D", "n"))
    ]
    lake = load(tmp_path, MHS501HospProvSpell=rows)
    assert spells(lake) == ["A", "C"]
    assert account(lake, "MHS501")["deduplicated_by_rule"] == {"superseded_submission": 2}


def test_headers_say_which_of_them_count(tmp_path: Path) -> None:
    flags = [flag("9", "N"), flag("10", "Y")]
    lake = load(
        tmp_path, MHS000Header=[header("9"), header("10")], MHS501HospProvSpell=TWICE, MHSDS_SubmissionFlags=flags
    )
    headers = lake.read_reference("submission").sort("submission_id")
    assert headers.select("submission_id", "is_latest_code").rows() == [("10", "Y"), ("9", "N")]
    assert account(lake, "MHS000")["rows_kept"] == 2


def test_a_resubmitted_month_in_a_file_of_its_own_equals_a_full_load(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=[sent("A", "9"), sent("B", "9")]))
    first, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    assert spells(first) == ["A/9", "B/9"]
    write_csv(source / "MHS501HospProvSpell_again.csv", [sent("A", "10")])
    second, work = update_lake(source, tmp_path / "lake", n_buckets=2)
    assert (spells(second), work.n_files_parsed) == (["A/10"], 1)
    whole = write_lake(source, tmp_path / "whole", n_buckets=2)
    assert second.manifest == whole.manifest


def test_a_file_in_pieces_gives_the_lake_of_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The resubmission stands only at the end of the file, so the first piece knows nothing of it.
    rows = [*(sent(f"A{n}", "9") for n in range(40)), *(sent(f"A{n}", "10") for n in range(5))]
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=rows))
    whole = write_lake(source, tmp_path / "whole", n_buckets=2)
    monkeypatch.setattr(csv_files, "READ_BYTES", 512)
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 1_000)
    assert len(csv_files.look_through(source / "MHS501HospProvSpell_2017.csv").pieces) > 3
    cut = write_lake(source, tmp_path / "cut", n_buckets=2)
    assert spells(cut) == spells(whole) == [f"A{n}/10" for n in range(5)]
    assert {key: value for key, value in cut.manifest.items() if key != "generation"} == {
        key: value for key, value in whole.manifest.items() if key != "generation"
    }


@pytest.mark.parametrize(
    ("flags", "n"),
    [
        ([flag("9", "N"), flag("10", "N"), flag("11", "Y")], 1),
        ([flag("9", "N"), flag("10", "N")], 1),
        ([flag("9", "N"), flag("10", "Y")], 0),
        ([flag("9", "N")], 0),
    ],
)
def test_a_month_of_which_no_submission_counts_is_noted(tmp_path: Path, flags: Rows, n: int) -> None:
    rows = [*TWICE, sent("C", "12", UniqMonthID="1407"), sent("D", "13", OrgIDProv="RX2")]
    lake = load(tmp_path, MHS501HospProvSpell=rows, MHSDS_SubmissionFlags=flags)
    assert lake.manifest["notes"] == ({"month_without_latest_submission": n} if n else {})
    assert "month_without_latest_submission" in RULES
    assert len(spells(lake)) == 2 + (0 if n else 1)


def test_the_note_goes_when_a_submission_that_counts_arrives(tmp_path: Path) -> None:
    tables = tiny(MHS501HospProvSpell=TWICE, MHSDS_SubmissionFlags=[flag("9", "N"), flag("10", "N"), flag("11", "Y")])
    source = write_extract(tmp_path / "source", tables)
    first, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    write_csv(source / "MHS501HospProvSpell_again.csv", [sent("A", "11")])
    second, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    assert (first.manifest["notes"], second.manifest["notes"]) == ({"month_without_latest_submission": 1}, {})
    assert spells(second) == ["A/11"]


REFRESHED = [SUBMISSION, SUBMISSION | {"FileType": "2"}]
UNNUMBERED = {name: SPELL | {"UniqHospProvSpellID": name, "MHS501UniqID": name} for name in "ABC"}


def sent_twice(folder: Path, headers: Rows, **files: list[str]) -> Lake:
    """The lake of an extract whose spells lie in files of these names."""
    source = write_extract(folder / "source", tiny(MHS000Header=headers))
    (source / "MHS501HospProvSpell_2017.csv").unlink()
    for name, those in files.items():
        write_csv(source / f"MHS501HospProvSpell_{name}.csv", [UNNUMBERED[spell] for spell in those])
    return write_lake(source, folder / "lake", n_buckets=2)


def test_files_that_say_primary_and_refresh(tmp_path: Path) -> None:
    lake = sent_twice(tmp_path, REFRESHED, primary=["A", "B"], refresh=["B", "C"])
    assert spells(lake) == ["B", "C"]
    assert account(lake, "MHS501HospProvSpell_primary")["deduplicated_by_rule"] == {"superseded_submission": 2}
    # Of the people and the ward stays nothing tells.
    assert lake.manifest["notes"] == {"submission_unknown:person_month": 1, "submission_unknown:ward_stay": 1}
    latest = lake.read_reference("submission").sort("file_type_code")["is_latest_code"].to_list()
    assert latest == ["N", None]


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        # The sender says that the primary counts.
        ([REFRESHED[0] | {"Der_IsLatest": "Y"}, REFRESHED[1] | {"Der_IsLatest": "N"}], ["A", "B"]),
        # The headers know of one only: a name alone drops nothing, and what is in both stands once.
        ([SUBMISSION], ["A", "B", "C"]),
        ([SUBMISSION | {"FileType": ""}], ["A", "B", "C"]),
        ([SUBMISSION, REFRESHED[1] | {"OrgIDProvider": "RX2"}], ["A", "B", "C"]),
    ],
)
def test_names_of_files_follow_the_headers(tmp_path: Path, headers: Rows, kept: list[str]) -> None:
    assert spells(sent_twice(tmp_path, headers, primary=["A", "B"], refresh=["B", "C"])) == kept


def test_a_name_that_says_both_says_nothing(tmp_path: Path) -> None:
    lake = sent_twice(tmp_path, REFRESHED, primary_and_refresh=["A"], refreshed=["B"])
    assert spells(lake) == ["A", "B"]
    assert lake.manifest["notes"]["submission_unknown:spell"] == 1


def test_months_of_which_nothing_tells_the_submission_are_counted(tmp_path: Path) -> None:
    months = [
        {"UniqMonthID": str(1406 + n), "ReportingPeriodStartDate": day, "ReportingPeriodEndDate": day}
        for n, day in enumerate(("2017-05-31", "2017-06-30", "2017-07-31"))
    ]
    headers = [SUBMISSION | month | {"FileType": kind} for month in months[:2] for kind in ("1", "2", "2")]
    rows = [SPELL | {"UniqMonthID": str(1406 + n), "MHS501UniqID": str(n)} for n in (0, 0, 1, 2)]
    people = [PERSON | {"Person_ID": f"P{n}", "UniqMonthID": "1407", "RecordNumber": str(n)} for n in range(20)]
    lake = load(
        tmp_path,
        MHS000Header=[*headers, SUBMISSION | months[2]],
        MHS001MPI=people,
        MHS501HospProvSpell=rows,
        MHS502WardStay=[WARD | {"UniqMonthID": "1408"}],
    )
    assert lake.manifest["notes"] == {"submission_unknown:person_month": 1, "submission_unknown:spell": 2}
    assert "submission_unknown:TABLE" in RULES


def test_rows_with_a_number_or_a_flag_are_not_in_doubt(tmp_path: Path) -> None:
    lake = load(
        tmp_path,
        MHS000Header=[header("9", "1"), header("10", "2")],
        MHS001MPI=[PERSON | {"NHSEUniqSubmissionID": "10"}],
        MHS501HospProvSpell=TWICE,
        MHS502WardStay=[WARD | {"IC_Use_Submission_Flag": "Y"}],
    )
    assert lake.manifest["notes"] == {}


def test_doubt_comes_with_the_second_header_and_equals_a_full_load(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    first, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    write_csv(source / "MHS000Header_refresh.csv", [REFRESHED[1]])
    second, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    tables = ("person_month", "spell", "ward_stay")
    assert first.manifest["notes"] == {}
    assert second.manifest["notes"] == {f"submission_unknown:{table}": 1 for table in tables}
    assert second.manifest == write_lake(source, tmp_path / "whole", n_buckets=2).manifest


def test_a_file_renamed_to_refresh_is_read_again(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS000Header=REFRESHED))
    first, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    write_csv(source / "MHS501HospProvSpell_primary.csv", [UNNUMBERED["A"]])
    (source / "MHS501HospProvSpell_2017.csv").rename(source / "MHS501HospProvSpell_refresh.csv")
    second, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    assert (spells(first), spells(second)) == (["1"], ["1"])
    assert second.manifest == write_lake(source, tmp_path / "whole", n_buckets=2).manifest


# Without headers


def without_headers(folder: Path, **changes: Rows) -> Lake:
    tables = {name: rows for name, rows in tiny(**changes).items() if name != "MHS000Header"}
    return write_lake(write_extract(folder / "source", tables), folder / "lake", n_buckets=2)


def people_in(months: dict[tuple[str, int], int]) -> Rows:
    """Rows of MHS001: as many people as said in each provider's month."""
    return [
        PERSON | {"Person_ID": f"P{n}", "OrgIDProv": provider, "UniqMonthID": str(month), "RecordNumber": f"{month}{n}"}
        for (provider, month), number in months.items()
        for n in range(number)
    ]


def test_months_are_those_of_people_where_no_header_came(tmp_path: Path) -> None:
    lake = without_headers(tmp_path, MHS001MPI=people_in({("RX1", 1401): 5, ("RX1", 1403): 5, ("RX2", 1402): 5}))
    # UniqMonthID 1401 is December 2016 (DOMAIN B1).
    rows = lake.read_reference("submission").select("provider_id", "month_id", "period_start_date", "period_end_date")
    assert rows.sort("provider_id", "month_id").rows() == [
        ("RX1", 1401, date(2016, 12, 1), date(2016, 12, 31)),
        ("RX1", 1403, date(2017, 2, 1), date(2017, 2, 28)),
        ("RX2", 1402, date(2017, 1, 1), date(2017, 1, 31)),
    ]
    assert (lake.period_end, lake.last_month_id) == (date(2017, 2, 28), 1403)
    assert lake.manifest["notes"] == {"months_from_person_rows": 3}
    assert "months_from_person_rows" in RULES


def test_a_mistyped_month_neither_fills_a_gap_nor_moves_the_end(tmp_path: Path) -> None:
    # RX1 was silent in 1403, and one of its rows says so; two others have a month of the next decade.
    months = {("RX1", 1402): 30, ("RX1", 1403): 1, ("RX1", 1404): 30, ("RX2", 1402): 20, ("RX2", 1403): 20}
    lake = without_headers(tmp_path, MHS001MPI=people_in(months | {("RX2", 1520): 1, ("RX3", 1530): 1}))
    found = lake.read_reference("submission").select("provider_id", "month_id").sort("provider_id", "month_id")
    assert found.rows() == [("RX1", 1402), ("RX1", 1404), ("RX2", 1402), ("RX2", 1403)]
    assert lake.period_end == date(2017, 3, 31)


def test_a_header_that_comes_later_is_believed(tmp_path: Path) -> None:
    tables = {name: rows for name, rows in tiny().items() if name != "MHS000Header"}
    source = write_extract(tmp_path / "source", tables)
    first, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    write_csv(source / "MHS000Header.csv", [SUBMISSION])
    second, _ = update_lake(source, tmp_path / "lake", n_buckets=2)
    assert (first.manifest["notes"], second.manifest["notes"]) == ({"months_from_person_rows": 1}, {})
    assert second.manifest == write_lake(source, tmp_path / "whole", n_buckets=2).manifest
    assert first.read_reference("submission").height == second.read_reference("submission").height == 1
