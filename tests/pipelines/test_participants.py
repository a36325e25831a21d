"""The allocation list: what is read, and what is set aside with its reason."""

import gzip
import zipfile
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from pipelines.errors import SourceError
from pipelines.sources import csv_files
from pipelines.sources.participants import (
    LISTED,
    SET_ASIDE,
    UNLINKED,
    account_of_list,
    list_unlinked,
    read_participants,
)
from tests.tiny_extract import write_csv

MINI = Path(__file__).parents[1] / "data" / "mhsds_mini_v5" / "participants.csv"
ROW = {
    "person_id": "Anna",
    "arm": "peer",
    "site": "RX1",
    "allocation_date": "2017-01-05",
    "index_spell_id": "S1",
    "consent_to_linkage": "Y",
}


def read(folder: Path, *rows: dict[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    write_csv(folder / "participants.csv", list(rows))
    return read_participants(folder / "participants.csv")


def test_a_row_is_typed(tmp_path: Path) -> None:
    people, aside = read(tmp_path, ROW)
    assert people.schema == LISTED
    assert people.rows() == [("Anna", "PEER", "RX1", date(2017, 1, 5), "S1", "Y", None, None, 2, None)]
    assert aside.is_empty()


@pytest.mark.parametrize(("arm", "expected"), [("Peer", "PEER"), ("CONTROL", "CONTROL"), (" control ", "CONTROL")])
def test_arms_in_any_case(tmp_path: Path, arm: str, expected: str) -> None:
    people, _ = read(tmp_path, ROW | {"arm": arm})
    assert people["arm_code"].to_list() == [expected]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"arm": "usual care"}, "bad_code:arm_code"),
        ({"arm": ""}, "missing:arm_code"),
        ({"person_id": ""}, "missing:person_id"),
        ({"person_id": "<NHS_No>"}, "missing:person_id"),
        ({"allocation_date": "2017-02-30"}, "bad_date:allocation_date"),
        ({"allocation_date": ""}, "missing:allocation_date"),
        ({"consent_to_linkage": ""}, "missing:consent_code"),
        ({"consent_to_linkage": "maybe"}, "bad_code:consent_code"),
        ({"site": "RX1,more"}, "malformed_line"),
    ],
)
def test_a_bad_row_is_set_aside_with_reason_and_line(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    people, aside = read(tmp_path, ROW, ROW | {"person_id": "Ben"} | change)
    assert people["person_id"].to_list() == ["Anna"]
    assert aside.select("line", "reason").rows() == [(3, reason)]


def test_a_person_listed_again_counts_once(tmp_path: Path) -> None:
    people, aside = read(tmp_path, ROW, ROW | {"person_id": "Ben"}, ROW | {"site": "RX2"})
    assert people.select("person_id", "site_code").rows() == [("Anna", "RX1"), ("Ben", "RX1")]
    assert aside.select("line", "reason").rows() == [(4, "duplicate_person")]
    assert '"site":"RX2"' in aside["raw"][0]


def test_nobody_is_guessed_to_be_in_one_of_two_arms(tmp_path: Path) -> None:
    people, aside = read(tmp_path, ROW, ROW | {"person_id": "Ben"}, ROW | {"arm": "control"})
    assert people["person_id"].to_list() == ["Ben"]
    assert aside.select("line", "reason", "person_id").rows() == [
        (2, "in_both_arms", "Anna"),
        (4, "in_both_arms", "Anna"),
    ]


@pytest.mark.parametrize(
    ("change", "own", "others"),
    [
        ({"consent_to_linkage": "N"}, "consent_in_doubt", "consent_in_doubt"),
        # What cannot be read may be a refusal.
        ({"consent_to_linkage": "withdrawn"}, "consent_in_doubt", "bad_code:consent_code"),
        ({"allocation_date": "2017-09-05"}, "allocation_in_doubt", "allocation_in_doubt"),
        ({"allocation_date": "May"}, "allocation_in_doubt", "bad_date:allocation_date"),
        ({"arm": "usual care"}, "arm_in_doubt", "bad_code:arm_code"),
        ({"arm": "control", "consent_to_linkage": "N"}, "in_both_arms", "in_both_arms"),
        # Consent is refused in a row that is unusable for another reason.
        ({"arm": "", "consent_to_linkage": "N"}, "consent_in_doubt", "missing:arm_code"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_rows_of_a_person_that_disagree_are_all_set_aside(
    tmp_path: Path, change: dict[str, str], own: str, others: str, is_first: bool
) -> None:
    pair = [(ROW, own), (ROW | change, others)]
    pair = pair if is_first else pair[::-1]
    people, aside = read(tmp_path, *(row for row, _ in pair), ROW | {"person_id": "Ben"})
    assert people["person_id"].to_list() == ["Ben"]
    assert aside.select("line", "reason", "person_id").rows() == [
        (line, reason, "Anna") for line, (_, reason) in enumerate(pair, start=2)
    ]


@pytest.mark.parametrize(
    "same",
    [{}, {"allocation_date": "05/01/2017"}, {"arm": "PEER"}, {"consent_to_linkage": "y"}, {"person_id": " Anna "}],
)
def test_rows_that_say_the_same_are_one(tmp_path: Path, same: dict[str, str]) -> None:
    people, aside = read(tmp_path, ROW, ROW | same)
    assert people["person_id"].to_list() == ["Anna"]
    assert aside["reason"].to_list() == ["duplicate_person"]


@pytest.mark.parametrize("empty", ["consent_to_linkage", "allocation_date", "arm"])
def test_an_empty_cell_contradicts_nothing(tmp_path: Path, empty: str) -> None:
    people, _ = read(tmp_path, ROW, ROW | {empty: ""})
    assert people["person_id"].to_list() == ["Anna"]


def test_doubt_in_a_list_whose_ids_are_concealed(tmp_path: Path) -> None:
    write_csv(tmp_path / "participants.csv", [ROW, ROW | {"consent_to_linkage": "N"}, ROW | {"person_id": "Ben"}])
    people, aside = read_participants(tmp_path / "participants.csv", key=b"k" * 32)
    assert (people.height, aside["reason"].to_list()) == (1, ["consent_in_doubt"] * 2)
    assert aside["person_id"].n_unique() == 1


def test_an_unusable_first_row_does_not_block_the_second(tmp_path: Path) -> None:
    people, aside = read(tmp_path, ROW | {"arm": ""}, ROW)
    assert people.height == 1
    assert aside["line"].to_list() == [2]


def test_people_without_consent_are_read(tmp_path: Path) -> None:
    people, _ = read(tmp_path, ROW | {"consent_to_linkage": "n"})
    assert people["consent_code"].to_list() == ["N"]


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"person_id": "Ben", "index_spell_id": ""}, ROW]
    expected, expected_aside = read(tmp_path, *rows)
    table = pl.DataFrame(rows).with_columns(pl.col("allocation_date").str.to_date()).rename({"arm": "Arm"})
    table.write_parquet(tmp_path / "participants.parquet")
    people, aside = read_participants(tmp_path / "participants.parquet")
    assert people.equals(expected)
    assert aside.drop("raw").equals(expected_aside.drop("raw"))


def test_missing_columns_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, {"person_id": "Anna", "site": "RX1", "consent_to_linkage": "Y"})
    assert caught.value.problems == [
        "participants.csv: column arm_code is missing; accepted names: arm",
        "participants.csv: column allocation_date is missing; accepted names: allocation_date",
    ]


@pytest.mark.parametrize("name", ["participants.csv", "participants.parquet"])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=name):
        read_participants(tmp_path / name)


def test_a_header_alone_is_an_empty_list(tmp_path: Path) -> None:
    (tmp_path / "participants.csv").write_text(",".join(ROW) + "\n")
    people, aside = read_participants(tmp_path / "participants.csv")
    assert people.equals(LISTED.to_frame())
    assert aside.is_empty()


def test_the_sample_list() -> None:
    people, aside = read_participants(MINI)
    # cut_mini.py takes 25 participants; the counts are `cut -d, -f2,8 participants.csv | sort | uniq -c`.
    counts = people.group_by("arm_code", "consent_code").len().sort("arm_code", "consent_code").rows()
    assert counts == [("CONTROL", "Y", 12), ("PEER", "N", 4), ("PEER", "Y", 9)]
    assert aside.is_empty()


# kinds of files

Cell = str | int | float | datetime | None


def write_workbook(path: Path, sheets: dict[str, list[list[Cell]]], hidden: str = "", **options: bool) -> Path:
    book = xlsxwriter.Workbook(str(path), {"default_date_format": "dd/mm/yyyy", **options})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
        if name == hidden:
            sheet.hide()
    book.close()
    return path


def cells(**changes: Cell) -> list[Cell]:
    return list((ROW | changes).values())


def problems_of(path: Path) -> list[str]:
    with pytest.raises(SourceError) as caught:
        read_participants(path)
    return caught.value.problems


@pytest.mark.parametrize("options", [{}, {"date_1904": True}])
def test_a_workbook_reads_like_csv(tmp_path: Path, options: dict[str, bool]) -> None:
    """A title above the header, a sheet of notes, dates of Excel in either date system and dates as text, ids that
    Excel holds as numbers, an empty row, an extra column; lines are rows of the sheet."""
    header: list[Cell] = [*ROW, "Comment"]
    rows = [
        ["Allocation list"],
        [],
        header,
        cells(allocation_date=datetime(2017, 1, 5)),
        cells(person_id=9434765919, arm="Control", allocation_date="05/01/2017"),
        [],
        cells(person_id="Ben", allocation_date="2017-01-05"),
        cells(person_id="Cleo", allocation_date=42740),
    ]
    path = write_workbook(tmp_path / "list.xlsx", {"Notes": [["nothing"]], "List": rows}, **options)
    people, aside = read_participants(path)
    assert people.select("person_id", "arm_code", "allocation_date", "line").rows() == [
        ("Anna", "PEER", date(2017, 1, 5), 4),
        ("9434765919", "CONTROL", date(2017, 1, 5), 5),
        ("Ben", "PEER", date(2017, 1, 5), 7),
    ]
    # 42740 is 5 January 2017 in one date system and 2021 in the other: no date unless the cell says that it is one.
    assert aside.select("line", "reason", "person_id").rows() == [(8, "bad_date:allocation_date", "Cleo")]


def test_a_workbook_with_two_lists_is_refused(tmp_path: Path) -> None:
    both = {"Old": [[*ROW], cells()], "New": [[*ROW], cells()]}
    assert problems_of(write_workbook(tmp_path / "a.xlsx", both)) == [
        "a.xlsx: the sheets 'Old', 'New' all hold the columns of the list; allowed: one of them"
    ]
    people, _ = read_participants(write_workbook(tmp_path / "b.xlsx", both, hidden="New"))
    assert people.height == 1


def test_columns_that_no_sheet_holds_are_named_for_the_closest(tmp_path: Path) -> None:
    sheets: dict[str, list[list[Cell]]] = {"Notes": [["x"]], "List": [["person_id", "arm", "site", "consent"]]}
    assert problems_of(write_workbook(tmp_path / "a.xlsx", sheets)) == [
        "a.xlsx: sheet 'List': column allocation_date is missing; accepted names: allocation_date"
    ]
    assert problems_of(write_workbook(tmp_path / "b.xlsx", {"Empty": []})) == [
        "b.xlsx: no visible sheet holds anything"
    ]


def test_ids_that_are_longer_than_excel_keeps_are_refused(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", {"List": [[*ROW], cells(person_id=1234567890123456)]})
    assert problems_of(path) == [
        "a.xlsx: sheet 'List': person_id holds numbers of more than 15 digits, whose last ones Excel does not keep; "
        "allowed: text"
    ]
    text = write_workbook(tmp_path / "b.xlsx", {"List": [[*ROW], cells(person_id="12345678901234567890")]})
    people, _ = read_participants(text)
    assert people["person_id"].to_list() == ["12345678901234567890"]


def test_a_column_twice_in_a_sheet_is_refused(tmp_path: Path) -> None:
    path = write_workbook(tmp_path / "a.xlsx", {"List": [[*ROW, "Arm"], [*cells(), "control"]]})
    places = f"{list(ROW).index('arm') + 1}, {len(ROW) + 1}"
    problem = f"a.xlsx: sheet 'List': the header gives columns {places} one name (case ignored)"
    assert problems_of(path) == [problem]


@pytest.mark.parametrize("name", ["list.xlsx", "list.xls", "list.parquet"])
def test_what_is_no_workbook_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no workbook")
    (problem,) = problems_of(tmp_path / name)
    assert problem.startswith(f"{name}: cannot be read as ")


@pytest.mark.parametrize("ending", [".gz", ".zip"])
def test_a_packed_list_reads_like_a_plain_one(tmp_path: Path, ending: str) -> None:
    expected, _ = read(tmp_path, ROW, ROW | {"person_id": "Ben"})
    text = (tmp_path / "participants.csv").read_bytes()
    path = tmp_path / f"participants.csv{ending}"
    if ending == ".gz":
        path.write_bytes(gzip.compress(text))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("list.csv", text)
    people, _ = read_participants(path)
    assert people.equals(expected)


def test_an_archive_holds_the_list_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one.csv", "a")
        archive.writestr("two.csv", "a")
    assert problems_of(tmp_path / "a.zip") == ["a.zip: holds 2 files; allowed: one, the list as text"]


def test_ids_that_pandas_made_numbers_with_a_point(tmp_path: Path) -> None:
    table = pl.DataFrame([ROW, ROW]).with_columns(pl.Series("person_id", [9434765919.0, None]))
    table.write_parquet(tmp_path / "participants.parquet")
    people, _ = read_participants(tmp_path / "participants.parquet")
    assert people["person_id"].to_list() == ["9434765919"]


# what is said of rows that cannot be used


@pytest.mark.parametrize("day", ["1900-01-01", "01/01/1900", "1901-01-01", "9999-12-31"])
def test_a_date_that_stands_for_none_is_no_allocation(tmp_path: Path, day: str) -> None:
    _, aside = read(tmp_path, ROW | {"allocation_date": day})
    assert aside["reason"].to_list() == ["bad_date:allocation_date"]


def test_allocation_dates_with_the_month_first_are_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", [ROW | {"allocation_date": day} for day in ("01/02/2017", "02/13/2017")])
    assert problems_of(tmp_path / "a.csv") == [
        "a.csv: column allocation_date: dates as in line 3 make sense only with the month first (mm/dd/yyyy), and no "
        "more of them only with the day first; allowed: yyyy-mm-dd or dd/mm/yyyy"
    ]


def test_the_person_of_a_row_set_aside_is_known_where_it_is_named(tmp_path: Path) -> None:
    bad = [ROW | {"arm": "?", "person_id": " Ben "}, ROW | {"person_id": "<NHS_No>"}, ROW | {"site": "a,b"}, ROW]
    _, aside = read(tmp_path, ROW, *bad)
    assert aside.select("line", "reason", "person_id").rows() == [
        (3, "bad_code:arm_code", "Ben"),
        (4, "missing:person_id", None),
        (5, "malformed_line", None),
        (6, "duplicate_person", "Anna"),
    ]


def test_cells_that_cannot_be_read_are_named_in_their_row(tmp_path: Path) -> None:
    row = ROW | {"sessions": "", "first_session_date": ""}
    people, _ = read(
        tmp_path,
        row | {"sessions": "many", "first_session_date": "May"},
        row | {"person_id": "Ben", "sessions": "3"},
        row | {"person_id": "Cleo", "sessions": "2.5"},
    )
    assert people["unreadable"].to_list() == [
        "bad_int:n_sessions bad_date:first_session_date",
        None,
        "bad_int:n_sessions",
    ]
    account = account_of_list(people, SET_ASIDE.to_frame(), UNLINKED.to_frame())
    assert account["nulled"] == {"bad_date:first_session_date": 1, "bad_int:n_sessions": 2}
    assert account["sessions"] == {"n_people": 1, "mean": 3.0}  # of the supported whose number can be read


def test_every_row_without_a_stay_is_listed_with_its_reason(tmp_path: Path) -> None:
    people, aside = read(
        tmp_path, ROW, ROW | {"person_id": "Ben", "arm": "?"}, ROW | {"person_id": "Cleo", "arm": "control"}, ROW
    )
    excluded = pl.DataFrame({"person_id": ["Cleo"], "arm": ["control"], "reason": ["not_in_extract"]})
    unlinked = list_unlinked(people, aside, excluded)
    assert unlinked.rows() == [
        (3, "Ben", None, None, None, "bad_code:arm_code"),
        (4, "Cleo", "control", "RX1", date(2017, 1, 5), "not_in_extract"),
        (5, "Anna", None, None, None, "duplicate_person"),
    ]
    assert account_of_list(people, aside, unlinked) == {
        "rows": 4,
        "linked": 1,
        "unlinked": {"bad_code:arm_code": 1, "duplicate_person": 1, "not_in_extract": 1},
        "nulled": {},
        "sessions": {"n_people": 0, "mean": None},
    }


def test_lines_of_a_long_list_are_counted_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "READ_BYTES", 100)
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 200)
    write_csv(tmp_path / "a.csv", [ROW | {"person_id": f"P{n}", "arm": "?" if n % 2 else "peer"} for n in range(40)])
    assert len(csv_files.look_through(tmp_path / "a.csv").pieces) > 3
    people, aside = read_participants(tmp_path / "a.csv")
    assert people["person_id"].to_list() == [f"P{n}" for n in range(0, 40, 2)]
    assert aside["line"].to_list() == list(range(3, 43, 2))
