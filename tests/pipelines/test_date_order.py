"""dd/mm/yyyy and ISO are read, each file on its own; a date with the month first is never guessed."""

from datetime import date
from pathlib import Path

import pytest

from pipelines.errors import SourceError
from pipelines.lake import write_lake
from pipelines.sources import csv_files
from pipelines.sources.normalise import DateOrder, add_date_orders, month_first_problems
from tests.tiny_extract import CONTACT, WARD, account, load, read_all, tiny, write_csv, write_extract


def contacts(*days: str) -> list[dict[str, str]]:
    return [
        CONTACT | {"MHS201UniqID": f"{n}", "UniqCareContID": f"C{n}", "CareContDate": d} for n, d in enumerate(days)
    ]


def days_of(tmp_path: Path, *days: str) -> list[date]:
    lake = load(tmp_path, MHS201CareContact=contacts(*days))
    return read_all(lake, "contact").sort("contact_id")["contact_date"].to_list()


def test_a_file_of_dates_that_can_be_read_both_ways_has_the_day_first(tmp_path: Path) -> None:
    """No value says which it is; the two formats that are allowed leave one way, for all lines alike."""
    assert days_of(tmp_path, "01/02/2017", "03/04/2017", "05/05/2017") == [
        date(2017, 2, 1),
        date(2017, 4, 3),
        date(2017, 5, 5),
    ]


def test_each_file_of_a_table_has_its_own_format(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS201CareContact=contacts("2017-05-25")))
    write_csv(source / "MHS201CareContact_2018.csv", [contacts("", "02/01/2018")[1]])
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "contact")["contact_date"].to_list() == [date(2017, 5, 25), date(2018, 1, 2)]


def test_a_time_after_the_date_is_cut_off(tmp_path: Path) -> None:
    assert days_of(tmp_path, "13/02/2017 00:00", "2017-02-01T09:30:00") == [date(2017, 2, 13), date(2017, 2, 1)]


def test_a_column_with_the_month_first_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        load(tmp_path, MHS201CareContact=contacts("01/02/2017", "2017-02-01", "02/13/2017"))
    assert caught.value.problems == [
        "MHS201CareContact_2017.csv: column CareContDate: dates as in line 4 make sense only with the month first "
        "(mm/dd/yyyy), and no more of them only with the day first; allowed: yyyy-mm-dd or dd/mm/yyyy"
    ]


def test_all_such_columns_and_files_are_named_at_once(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS201CareContact=contacts("01/02/2017", "02/13/2017")))
    write_csv(source / "MHS201CareContact_2018.csv", contacts("01/02/2018", "03/30/2018"))
    with pytest.raises(SourceError) as caught:
        write_lake(source, tmp_path / "lake")
    assert [problem[:26] for problem in caught.value.problems] == [
        "MHS201CareContact_2017.csv",
        "MHS201CareContact_2018.csv",
    ]
    with pytest.raises(SourceError, match="2018"):  # and again, from what was kept of the files
        write_lake(source, tmp_path / "lake")


def wards(*days: tuple[str, str]) -> list[dict[str, str]]:
    return [
        WARD | {"MHS502UniqID": f"{n}", "UniqWardStayID": f"W{n}", "StartDateWardStay": start, "EndDateWardStay": end}
        for n, (start, end) in enumerate(days)
    ]


def test_one_column_shows_the_order_of_all_columns_of_its_file(tmp_path: Path) -> None:
    """Nobody writes two orders into one file: what can be read both ways beside it is the month first, too."""
    with pytest.raises(SourceError) as caught:
        load(tmp_path, MHS502WardStay=wards(("05/21/2018", "07/08/2018"), ("05/22/2018", "07/08/2018")))
    assert caught.value.problems == [
        "MHS502WardStay_2017.csv: column StartDateWardStay: dates as in line 2 make sense only with the month first "
        "(mm/dd/yyyy), and no more dates of the file only with the day first, while those of EndDateWardStay can be "
        "read both ways; allowed: yyyy-mm-dd or dd/mm/yyyy"
    ]


def test_it_does_so_from_another_piece_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 2_000)
    monkeypatch.setattr(csv_files, "READ_BYTES", 500)
    rows = wards(*[("2018-05-21", "07/08/2018")] * 99, ("05/21/2018", ""))
    with pytest.raises(SourceError, match=r"as in line 101 make sense .* those of EndDateWardStay can"):
        load(tmp_path, MHS502WardStay=rows)


def test_a_stray_one_does_not_outweigh_the_days_that_come_first_elsewhere_in_the_file(tmp_path: Path) -> None:
    rows = wards(("05/21/2018", "07/08/2018"), ("21/05/2018", "08/08/2018"), ("22/05/2018", ""))
    lake = load(tmp_path, MHS502WardStay=rows)
    assert read_all(lake, "ward_stay").sort("row_id")["end_date"].to_list() == [
        date(2018, 8, 7),
        date(2018, 8, 8),
        None,
    ]
    assert account(lake, "MHS502")["cells_nulled_by_rule"] == {"bad_date:start_date": 1}


def test_days_first_in_one_column_do_not_excuse_another(tmp_path: Path) -> None:
    rows = wards(*[("21/05/2018", "07/08/2018")] * 9, ("22/05/2018", "05/22/2018"))
    with pytest.raises(SourceError, match="column EndDateWardStay: dates as in line 11 make sense"):
        load(tmp_path, MHS502WardStay=rows)


def test_each_file_shows_its_own_order(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS502WardStay=wards(("2018-05-21", "07/08/2018"))))
    write_csv(source / "MHS502WardStay_2018.csv", wards(("", ""), ("2018-06-21", "07/13/2018"))[1:])
    lake = write_lake(source, tmp_path / "lake")
    assert account(lake, "MHS502WardStay_2018")["cells_nulled_by_rule"] == {"bad_date:end_date": 1}


def test_a_stray_one_among_days_that_come_first_is_unreadable(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS201CareContact=contacts("01/02/2017", "13/02/2017", "14/02/2017", "02/13/2017"))
    assert account(lake, "MHS201")["quarantined_by_reason"] == {"bad_date:contact_date": 1}


def test_a_stray_one_where_nothing_can_be_read_both_ways_is_unreadable(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS201CareContact=contacts("2017-05-25", "05/05/2017", "02/13/2017"))
    assert account(lake, "MHS201")["quarantined_by_reason"] == {"bad_date:contact_date": 1}


def test_a_year_of_two_digits_is_never_guessed(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS201CareContact=contacts("01/02/17", "2017-05-25"))
    assert account(lake, "MHS201")["quarantined_by_reason"] == {"bad_date:contact_date": 1}


def test_the_evidence_of_all_pieces_of_a_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece has what can be read both ways, the last one has the month first; the line is that of the
    file."""
    monkeypatch.setattr(csv_files, "PIECE_BYTES", 2_000)
    monkeypatch.setattr(csv_files, "READ_BYTES", 500)
    rows = contacts(*["01/02/2017"] * 99, "02/13/2017")
    with pytest.raises(SourceError, match="as in line 101 make sense"):
        load(tmp_path, MHS201CareContact=rows)


def test_counts_of_parts_add_up() -> None:
    numbers = [("A", 1, 0, 2, 0), ("B", 0, 1, 0, 5), ("A", 0, 1, 1, 9), ("A", 0, 1, 0, 7)]
    parts = [DateOrder(*one) for one in numbers]
    assert add_date_orders(parts) == (DateOrder("A", 1, 2, 3, 7), DateOrder("B", 0, 1, 0, 5))
    # B holds nothing that can be read both ways, but A does, and B shows the order of the file as well.
    assert [problem[:13] for problem in month_first_problems("f", add_date_orders(parts))] == [
        "f: column A: ",
        "f: column B: ",
    ]
