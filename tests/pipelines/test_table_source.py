"""Ready-made tables: what is read, what is quarantined, and how a wrong file is refused."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.protocol import Covariates, Source, TableFile
from pipelines.sources.table import read_table

ARMS = {"1": "peer", "0": "virtual"}


def read(folder: Path, text: str, **options: object) -> tuple[pl.DataFrame, dict]:
    path = folder / "people.csv"
    path.write_text(text)
    source = Source(kind="table", tables=(TableFile(path=path, arm_column="arm", arms=ARMS),), **options)
    study = read_table(source, Covariates(numeric=("age",), categorical=("sex",)), {"y": "outcome"})
    return study.rows, study.account["files"][0]


def test_good_rows_are_kept_with_their_arm_and_types(tmp_path: Path) -> None:
    rows, account = read(tmp_path, "arm,age,sex,outcome\n1,30,F,2.5\n0, 41 ,M,\n")
    assert rows["arm"].to_list() == ["peer", "virtual"]
    assert rows["age"].to_list() == [30.0, 41.0]
    assert rows["outcome:y"].to_list() == [2.5, None]
    assert (account["rows_read"], account["rows_kept"]) == (2, 2)


def test_rows_that_cannot_be_used_are_counted_with_their_reason(tmp_path: Path) -> None:
    text = "id,arm,age,sex,outcome\na,1,30,F,1\nb,7,30,F,1\nc,0,old,F,1\na,0,30,F,1\n,0,30,F,1\n"
    rows, account = read(tmp_path, text, id_column="id")
    assert rows["person_id"].to_list() == ["a"]
    assert account["reasons"] == {
        "arm_not_in_protocol": 1,
        "duplicate_person": 1,
        "no_person": 1,
        "not_a_number": 1,
    }
    assert account["rows_read"] == account["rows_kept"] + account["rows_quarantined"]


def test_every_missing_file_and_column_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("arm,age\n1,3\n")
    files = (
        TableFile(path=path, arm_column="arm", arms=ARMS),
        TableFile(path=tmp_path / "none.csv", arm="virtual"),
    )
    source = Source(kind="table", tables=files)
    with pytest.raises(SourceError) as error:
        read_table(source, Covariates(numeric=("age",), categorical=("sex",)), {"y": "outcome"})
    text = str(error.value)
    assert "no column 'sex'; the file has: arm, age" in text
    assert "no column 'outcome'" in text
    assert "none.csv: there is no such file" in text
