"""Which submission of a month counts, and what becomes of the rows of the others (DOMAIN 0b.8)."""

from pathlib import Path

import pytest

from pipelines.lake import Lake, update_lake, write_lake
from pipelines.lake.account import RULES
from pipelines.sources import csv_files
from tests.tiny_extract import PERSON, SPELL, SUBMISSION, Rows, account, load, read_all, tiny, write_csv, write_extract


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
    return {"OrgIDProvider": "RX1", "UniqMonthID": "1402", "NHSEUniqSubmissionID": submission, "Der_IsLatest": latest}


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
    rows = [sent("A", "9"), sent("B", "10", OrgIDProv="RX2"), sent("C", "11", UniqMonthID="1403")]
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
    rows = [*TWICE, sent("C", "12", UniqMonthID="1403"), sent("D", "13", OrgIDProv="RX2")]
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
