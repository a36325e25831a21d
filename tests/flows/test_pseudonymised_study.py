"""A study with keyed pseudonyms as a user runs it: the key is asked for, and nothing that is left holds a clear id."""

import gzip
import hashlib
import hmac
import json
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from conftest import ROOT, Command

from pipelines.sources.pseudonyms import KEY, KEY_FILE

MINI = ROOT / "tests/data/mhsds_mini_v5"
SECRET = "a key of more than sixteen bytes"
CLEAR = re.compile(rb"PT\d{11}")  # as every person of the extract is called
PACKED = {".parquet", ".arrow"}


@pytest.fixture
def pseudonymised(tmp_path: Path) -> Path:
    """The sample's protocol, with pseudonyms."""
    text = (ROOT / "configs/studies/mhsds_sample_v5.toml").read_text()
    study = tmp_path / "study.toml"
    study.write_text(text.replace('kind = "mhsds"', 'kind = "mhsds"\npseudonymise = true', 1))
    return study


def content_of(path: Path) -> bytes:
    """The bytes of a file, and of a packed one its cells as well."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        content += pl.read_parquet(path, glob=False).write_json().encode()
    if path.suffix == ".arrow":
        with pa.ipc.open_file(path) as reader:
            content += json.dumps(reader.read_all().to_pylist(), default=str).encode()
    return content


def files_holding(folder: Path, pattern: re.Pattern[bytes]) -> list[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path.relative_to(folder).as_posix() for path in files if pattern.search(content_of(path))]


def test_a_missing_key_is_asked_for_before_anything_is_read(command: Command, pseudonymised: Path) -> None:
    for order in ("check", "run"):
        ended = command.run(order, pseudonymised, "--source", MINI)
        assert ended.returncode == 4, ended.stderr
        assert f"the key is missing; allowed: one of {KEY} and {KEY_FILE}" in ended.stderr


def test_a_key_that_is_too_short_is_refused_and_not_shown(command: Command, pseudonymised: Path) -> None:
    short = Command(command.environment | {KEY: "tooshortakey"})
    ended = short.run("check", pseudonymised, "--source", MINI)
    assert ended.returncode == 4
    assert "the key has 12 bytes" in ended.stderr
    assert "tooshortakey" not in ended.stderr + ended.stdout


@pytest.mark.slow
def test_nothing_that_a_run_leaves_holds_a_clear_id_or_the_key(
    command: Command, pseudonymised: Path, tmp_path: Path
) -> None:
    """The lake, its parts and quarantine, the run folder, logs and Prefect's database; with tasks in processes of their
    own, which find the key in their environment."""
    runs = tmp_path / "runs"
    (tmp_path / "key").write_text(SECRET + "\n")
    secret = {
        KEY_FILE: str(tmp_path / "key"),
        "VIRTUAL_CONTROLS_DASK_ADDRESS": "local",
        "VIRTUAL_CONTROLS_WORKERS": "2",
    }
    ended = Command(command.environment | secret).run("run", pseudonymised, "--source", MINI, "--runs", runs)
    assert ended.returncode == 0, ended.stderr
    assert not CLEAR.search((ended.stdout + ended.stderr).encode())
    assert list(runs.glob(".prefect/*.db"))
    assert list(runs.glob(".cache/lakes/*/parts/*/*/rows.arrow"))
    assert files_holding(runs, CLEAR) == []
    assert files_holding(runs, re.compile(SECRET.encode())) == []
    run = next(runs.glob("mhsds_sample_v5/latest"))
    cohort = pl.read_parquet(run / "private/cohort.parquet")
    with gzip.open(MINI / "MHS001MPI_2017.csv.gz") as file:
        clear = set(CLEAR.findall(file.read()))
    hidden = {hmac.new(SECRET.encode(), person, hashlib.sha256).hexdigest() for person in clear}
    assert hidden & set(cohort["person_id"])
    assert set(cohort["arm"]) == {"peer", "control", "virtual"}  # the list met its people


@pytest.mark.slow
def test_clear_ids_would_be_found(command: Command, pseudonymised: Path, tmp_path: Path) -> None:
    """The same search on a lake without pseudonyms: in tables, parts and quarantine."""
    plain = tmp_path / "plain.toml"
    plain.write_text(pseudonymised.read_text().replace("pseudonymise = true\n", ""))
    ended = command.run("lake", plain, "--source", MINI, "--runs", tmp_path / "runs")
    assert ended.returncode == 0, ended.stderr
    found = files_holding(tmp_path / "runs", CLEAR)
    assert {Path(name).suffix for name in found} >= PACKED
    assert any("/quarantine/" in name for name in found)
