"""`virtual-controls lake`: what a user sees of a load, and that a lake stays where it is from month to month."""

import gzip
import shutil
from pathlib import Path

import polars as pl
import pytest
from conftest import Command

from flows.ingest import ensure_lake
from flows.lakes import load_lake
from flows.plan import plan_study
from pipelines.errors import SourceError

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "tests/data/mhsds_mini_v5"
STUDY = ROOT / "configs/studies/mhsds_sample_v5.toml"


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINI, tmp_path / "extract"))


def test_the_command_accounts_for_every_row(command: Command, extract: Path, tmp_path: Path) -> None:
    done = command.run("lake", STUDY, "--source", extract, "--runs", tmp_path / "runs", "--check")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    total = next(line for line in lines if " rows read = " in line)
    read, rest = total.split(" rows read = ")
    numbers = [int(part.split()[0].replace(",", "")) for part in rest.split(" + ")]
    assert int(read.replace(",", "")) == sum(numbers)
    raw = [path for path in extract.glob("*.csv*") if path.name != "participants.csv"]
    texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in raw]
    assert int(read.replace(",", "")) == sum(text.count(b"\n") - 1 for text in texts)
    polars = next(line for line in lines if line.startswith("Polars: "))
    shown = eval(polars.removeprefix("Polars: "), {"polars": pl})  # what a user would paste
    assert shown.height == 10


def test_a_changed_extract_is_loaded_into_the_same_lake(extract: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = load_lake(STUDY, extract, runs, check=True)
    path = extract / "MHS201CareContact_2019.csv.gz"
    path.write_bytes(gzip.compress(b"".join(gzip.decompress(path.read_bytes()).splitlines(keepends=True)[:-5])))
    second = load_lake(STUDY, extract, runs, check=True)
    assert second.folder.parent == first.folder.parent
    assert second.folder != first.folder
    assert second.manifest["totals"]["rows_read"] == first.manifest["totals"]["rows_read"] - 5
    assert load_lake(STUDY, extract, runs, check=True).folder == second.folder


def test_a_damaged_lake_is_named(extract: Path, tmp_path: Path) -> None:
    lake = load_lake(STUDY, extract, tmp_path / "runs", check=False)
    name = next(name for name in lake.manifest["written"] if name.startswith("tables/spell"))
    (lake.folder / name).write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"spell/bucket-\d+\.parquet: is gone or not what was written"):
        load_lake(STUDY, extract, tmp_path / "runs", check=True)


def test_lakes_lie_where_the_environment_says(extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_CONTROLS_LAKES", "memory://shared/lakes/")
    plan = plan_study(STUDY, extract, tmp_path / "runs")
    assert plan.lake is not None
    assert plan.lake.startswith("memory://shared/lakes/")
    there = ensure_lake(plan, extract)
    assert there.startswith(plan.lake)
    assert ensure_lake(plan, extract) == there
    monkeypatch.setenv("VIRTUAL_CONTROLS_LAKES", str(tmp_path / "elsewhere"))
    assert load_lake(STUDY, extract, tmp_path / "runs", check=True).folder.is_relative_to(tmp_path / "elsewhere")


def test_an_extract_that_changes_after_the_plan_is_refused(extract: Path, tmp_path: Path) -> None:
    plan = plan_study(STUDY, extract, tmp_path / "runs")
    (extract / "MHS201CareContact_2019.csv.gz").unlink()
    with pytest.raises(SourceError, match="was changed while it was being read"):
        ensure_lake(plan, extract)


def test_ready_made_tables_have_no_lake(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="need no lake"):
        load_lake(ROOT / "configs/studies/lalonde.toml", None, tmp_path / "runs", check=False)


def test_check_and_lake_name_the_files_that_are_not_read(command: Command, extract: Path, tmp_path: Path) -> None:
    (extract / "MHS002GP_2018.csv").write_text("Person_ID,OrgIDProv,UniqMonthID,GMPReg\n")
    checked = command.run("check", STUDY, "--source", extract)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[-1] == (
        "not read, since no table that is used was found in them: MHS002GP_2018.csv, SOURCE.md"
    )
    shown = command.run("lake", STUDY, "--source", extract, "--runs", tmp_path / "runs")
    assert "Not read as a table: MHS002GP_2018.csv, SOURCE.md, participants.csv" in shown.stdout.splitlines()
    (extract / "MHS501HospProvSpell_2018.csv.gz").rename(extract / "MHS501HospProvSpell_2018.dat")
    refused = command.run("check", STUDY, "--source", extract)
    assert refused.returncode == 4
    assert "MHS501HospProvSpell_2018.dat: looks like MHS501HospProvSpell by its name, but is not read" in refused.stderr
