"""The command's face: help that costs little, errors with exit codes of their kind and every problem at once."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, Command

from flows.settings import read_settings
from pipelines import errors

STUDIES = ROOT / "configs/studies"
HEAVY = {"numpy", "polars", "pydantic", "prefect", "dask", "sklearn", "rich.progress"}


def test_help_names_every_command_and_imports_nothing_heavy(command: Command) -> None:
    shown = command.python("-X", "importtime", "-m", "flows.cli", "--help")
    assert shown.returncode == 0
    for name in ("check", "run", "show", "synth", "serve", "Exit codes", "virtual-controls run configs/studies"):
        assert name in shown.stdout
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & HEAVY


@pytest.mark.parametrize("name", ["check", "run", "show", "synth", "serve"])
def test_every_command_teaches_by_example(name: str) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"virtual-controls {name}" in shown.stdout


def test_all_faults_of_a_protocol_are_shown_with_exit_code_3(tmp_path: Path, command: Command) -> None:
    study = tmp_path / "bad.toml"
    study.write_text('[study]\nname = "bad"\nfavourite = 1\n')
    shown = command.run("check", study)
    assert shown.returncode == errors.ProtocolError.exit_code == 3
    for place in ("study.title: missing", "study.favourite: unknown key", "covariates: missing"):
        assert f"{study}: {place}" in shown.stderr
    assert shown.stdout == ""
    assert "Traceback" not in shown.stderr


def test_a_missing_source_has_exit_code_4(tmp_path: Path, command: Command) -> None:
    shown = command.run("check", STUDIES / "mhsds_sample_v5.toml", "--source", tmp_path / "nowhere")
    assert shown.returncode == errors.SourceError.exit_code == 4
    assert "nowhere: there is no such folder" in shown.stderr


def test_a_missing_table_has_exit_code_4_before_prefect_starts(study: Path, command: Command) -> None:
    (study.parent / "people.csv").unlink()
    shown = command.run("run", study, "--runs", study.parent / "runs")
    assert shown.returncode == errors.SourceError.exit_code == 4
    assert "people.csv: there is no such file" in shown.stderr
    assert not (study.parent / "runs/.prefect").exists()


def test_real_data_without_statements_have_exit_code_5(tmp_path: Path, command: Command) -> None:
    extract = tmp_path / "extract"
    extract.mkdir()
    (extract / "extract_manifest.json").write_text(json.dumps({"contains_real_data": True}))
    shown = command.run("check", STUDIES / "mhsds_sample_v5.toml", "--source", extract)
    assert shown.returncode == errors.GovernanceError.exit_code == 5
    assert "opt_out_applied: missing" in shown.stderr
    assert "legal_basis: missing" in shown.stderr


def test_a_check_of_good_studies_moves_no_data(study: Path, command: Command) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.parent.iterdir()}
    shown = command.run("check", study)
    assert shown.returncode == 0, shown.stderr
    assert "keeps every rule" in shown.stdout
    assert {path: path.stat().st_mtime_ns for path in study.parent.iterdir()} == before


def test_a_column_that_is_not_there_is_named(study: Path, command: Command) -> None:
    people = study.parent / "people.csv"
    people.write_text(people.read_text().replace("treated,age,ward", "treated,years,ward", 1))
    shown = command.run("check", study)
    assert shown.returncode == 4
    assert "no column 'age'; the file has: treated, years, ward, better" in shown.stderr


def test_show_without_a_run_has_exit_code_7(tmp_path: Path, command: Command) -> None:
    shown = command.run("show", "--runs", tmp_path)
    assert shown.returncode == errors.RunError.exit_code == 7
    assert "no finished run at all" in shown.stderr


def test_synth_never_writes_into_a_folder_that_holds_something(tmp_path: Path, command: Command) -> None:
    (tmp_path / "kept.csv").write_text("a\n")
    shown = command.run("synth", tmp_path, "--people", "500", "--seed", "1")
    assert shown.returncode == 7
    assert [path.name for path in tmp_path.iterdir()] == ["kept.csv"]


def test_a_schedule_that_is_none_is_refused(study: Path, command: Command) -> None:
    # The address is never asked: the schedule is wrong before anything is served.
    away = Command(command.environment | {"PREFECT_API_URL": "http://127.0.0.1:9/api"})
    shown = away.run("serve", study, "--cron", "every now and then")
    assert shown.returncode == 3
    assert "'every now and then' in 'Europe/London' is no schedule" in shown.stderr


def test_a_user_s_own_prefect_server_is_found_where_prefect_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(
        'active = "secure"\n[profiles.secure]\nPREFECT_API_URL = "http://server:4200/api"\n'
    )
    settings = read_settings(None, {"PREFECT_HOME": str(tmp_path), "VIRTUAL_CONTROLS_RUNS": str(tmp_path / "r")})
    assert settings.prefect_api_url == settings.server_name == "http://server:4200/api"
    assert settings.runs == tmp_path / "r"
    other = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": "http://other/api"}
    assert read_settings(tmp_path, other).prefect_api_url == "http://other/api"


def test_an_embedded_server_has_one_name_whatever_its_port(tmp_path: Path) -> None:
    before = read_settings(tmp_path, {"PREFECT_HOME": str(tmp_path / "home")})
    address = "http://127.0.0.1:40001/api"
    during = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": address}
    inside = read_settings(tmp_path, during | {"VIRTUAL_CONTROLS_EMBEDDED_SERVER": address})
    assert before.server_name == inside.server_name == str(tmp_path / "home")
    assert read_settings(tmp_path, during).server_name == address
