"""The allocation list: what is read, and what is set aside with its reason."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.sources.participants import LISTED, read_participants
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
    people, aside = read(tmp_path, ROW, ROW | {"person_id": "Ben"}, ROW | {"arm": "control"})
    assert people.select("person_id", "arm_code").rows() == [("Anna", "PEER"), ("Ben", "PEER")]
    assert aside.select("line", "reason").rows() == [(4, "duplicate_person")]
    assert '"arm":"control"' in aside["raw"][0]


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
