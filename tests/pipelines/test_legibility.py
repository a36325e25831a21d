"""A file in a form that is not read is refused, and not loaded as if its cells were empty; a few mistyped cells are
counted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import SourceError
from pipelines.lake import write_lake
from pipelines.sources import csv_files
from pipelines.sources.legibility import FEWEST, LINES, Legibility, add_legibility, unreadable_problems
from pipelines.sources.participants import read_participants
from tests.tiny_extract import PERSON, SPELL, WARD, Rows, account, load, read_all, tiny, write_extract

N = 29
FORMATS = ["%Y-%m-%d", "%d/%m/%Y"]


def spells(n: int = N, **cells: str) -> Rows:
    return [
        SPELL
        | {"MHS501UniqID": f"{i}", "UniqHospProvSpellID": f"S{i}", "StartDateHospProvSpell": f"2017-05-{i % 28 + 1:02}"}
        | cells
        for i in range(n)
    ]


def problems_of(tmp_path: Path, change: Callable[[str], str], rows: Rows | None = None) -> list[str]:
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=rows or spells()))
    path = source / "MHS501HospProvSpell_2017.csv"
    path.write_text(change(path.read_text()))
    for _ in range(2):  # and again, from what was kept of the files
        with pytest.raises(SourceError) as caught:
            write_lake(source, tmp_path / "lake", n_buckets=2)
    assert not (tmp_path / "lake" / "manifest.json").exists()
    return caught.value.problems


@pytest.mark.parametrize(
    "form",
    [r"\3-MAY-\1", r"\1\2\3", r"\3/\2/17", r"\3.\2.\1", r"\1/\2/\3", r"\3 May \1"],
    ids=lambda form: form.replace("\\", ""),
)
def test_dates_in_another_form(tmp_path: Path, form: str) -> None:
    problems = problems_of(tmp_path, lambda text: re.sub(r"(\d{4})-(\d\d)-(\d\d)", form, text))
    assert problems == [
        f"MHS501HospProvSpell_2017.csv: column {name}: 29 of 29 cells that hold something, line 2 the first, are no "
        "date that is read; allowed: yyyy-mm-dd or dd/mm/yyyy in at least half of them"
        for name in ("DischDateHospProvSpell", "StartDateHospProvSpell")
    ]


def test_month_numbers_of_another_kind(tmp_path: Path) -> None:
    assert problems_of(tmp_path, lambda text: text.replace(",1406,", ",201705,")) == [
        "MHS501HospProvSpell_2017.csv: column UniqMonthID: 29 of 29 cells that hold something, line 2 the first, are "
        "no whole number that can stand there; allowed: digits, as in 1402 or 1402.0 in at least half of them"
    ]


def test_a_delimiter_at_the_end_of_each_line(tmp_path: Path) -> None:
    def add(text: str) -> str:
        header, *lines = text.splitlines()
        return "\n".join([header, *(f"{line}," for line in lines), ""])

    assert problems_of(tmp_path, add) == [
        "MHS501HospProvSpell_2017.csv: 29 of 29 lines, line 2 the first, have another number of fields than line 1 has "
        "names (a delimiter at the end of each line?); allowed: at most half, which are set aside"
    ]


def test_lines_that_cannot_be_used_for_one_thing_or_another(tmp_path: Path) -> None:
    rows = [
        WARD | {"MHS502UniqID": f"{i}", "UniqWardStayID": f"W{i}"} | ({"UniqMonthID": "May"} if i < 6 else {})
        for i in range(20)
    ]
    source = write_extract(tmp_path / "source", tiny(MHS502WardStay=rows))
    path = source / "MHS502WardStay_2017.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:16], *(f"{line},x" for line in lines[16:])]) + "\n")
    with pytest.raises(SourceError) as caught:
        write_lake(source, tmp_path / "lake")
    assert caught.value.problems == [
        "MHS502WardStay_2017.csv: 11 of 20 lines cannot be used (bad_int:month_id 6, malformed_line 5); allowed: at "
        "most half"
    ]


@pytest.mark.parametrize("n", [1, FEWEST - 1])
def test_a_few_cells_of_a_small_file_are_counted(tmp_path: Path, n: int) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=spells(n, StartDateHospProvSpell="May 2017"))
    assert account(lake, "MHS501")["cells_nulled_by_rule"] == {"bad_date:start_date": n}


def test_half_of_the_cells_are_counted(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[*spells(10), *spells(10, StartDateHospProvSpell="May 2017")])
    assert account(lake, "MHS501")["cells_nulled_by_rule"] == {"bad_date:start_date": 10}


def test_empty_cells_say_nothing_of_the_form(tmp_path: Path) -> None:
    rows = [*spells(15, DischDateHospProvSpell=""), *spells(3), *spells(4, DischDateHospProvSpell="soon")]
    lake = load(tmp_path, MHS501HospProvSpell=rows)
    assert account(lake, "MHS501")["cells_nulled_by_rule"] == {"bad_date:discharge_date": 4}


@pytest.mark.parametrize("nothing", ["9999-12-31", "31/12/9999", "NULL", "1900-01-01", "<none>"])
def test_what_stands_for_no_date_is_not_unreadable(tmp_path: Path, nothing: str) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=spells(DischDateHospProvSpell=nothing))
    assert read_all(lake, "spell").height == N


def test_a_column_that_a_file_can_do_without_is_only_counted(tmp_path: Path) -> None:
    rows = [WARD | {"UniqWardStayID": f"W{i}", "WardLocDistanceHome": "7.5"} for i in range(N)]
    lake = load(tmp_path, MHS502WardStay=rows)
    assert account(lake, "MHS502")["cells_nulled_by_rule"] == {"bad_int:distance_home": N}


def test_whole_numbers_with_a_point_are_whole_numbers(tmp_path: Path) -> None:
    lake = load(
        tmp_path,
        MHS501HospProvSpell=spells(UniqMonthID="1406.0"),
        MHS001MPI=[PERSON | {"UniqMonthID": "1406.00", "AgeRepPeriodStart": "30.0", "AgeRepPeriodEnd": "30.5"}],
        MHS502WardStay=[WARD | {"WardLocDistanceHome": "7.0"}],
    )
    assert read_all(lake, "spell")["month_id"].to_list() == [1406] * N
    (person,) = read_all(lake, "person_month").to_dicts()
    assert (person["month_id"], person["age_start_years"], person["age_end_years"]) == (1406, 30, None)
    assert read_all(lake, "ward_stay")["distance_home"].to_list() == [7]


def test_the_pieces_of_a_file_are_judged_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of unreadable dates in a file of readable ones is counted; pieces of few cells add up."""
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 1_000)
    monkeypatch.setattr(csv_files, "READ_BYTES", 500)
    mixed = [*spells(60), *spells(40, StartDateHospProvSpell="May 2017")]
    assert account(load(tmp_path, MHS501HospProvSpell=mixed), "MHS501")["rows_kept"] == 100
    mixed = [*spells(40), *spells(60, StartDateHospProvSpell="May 2017")]
    with pytest.raises(SourceError, match="60 of 100 cells that hold something, line 42 the first"):
        load(tmp_path, MHS501HospProvSpell=mixed)


def test_a_list_of_participants_is_judged_as_well(tmp_path: Path) -> None:
    path = tmp_path / "participants.csv"
    rows = "".join(f"P{i},PEER,RX1,20-MAY-2017,Y\n" for i in range(12))
    path.write_text("person_id,arm,site,allocation_date,consent_to_linkage\n" + rows)
    with pytest.raises(SourceError) as caught:
        read_participants(path)
    assert caught.value.problems == [
        "participants.csv: column allocation_date: 12 of 12 cells that hold something, line 2 the first, are no date "
        "that is read; allowed: yyyy-mm-dd or dd/mm/yyyy in at least half of them"
    ]


def test_parts_add_up() -> None:
    parts = [Legibility("A", "date", 6, 6, 9), Legibility(LINES, "line", 5, 0, 0), Legibility("A", "date", 5, 1, 4)]
    assert add_legibility(parts) == (Legibility(LINES, "line", 5, 0, 0), Legibility("A", "date", 11, 7, 4))
    assert len(unreadable_problems("f", add_legibility(parts), FORMATS, {})) == 1
    assert unreadable_problems("f", parts, FORMATS, {"no_person": 5, "missing:month_id": 5}) == []
