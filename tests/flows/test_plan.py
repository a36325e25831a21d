"""Which run a study file means: the name follows from content alone, and the written protocol names no machine."""

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, write_small_study

from flows import plan as planning
from flows.plan import Plan, plan_study, with_source
from pipelines.errors import ProtocolError, SourceError
from pipelines.protocol import load_protocol

SYNTHETIC = ROOT / "configs/studies/enrich_synthetic.toml"
MINI = ROOT / "tests/data/mhsds_mini_v5"


def planned(study: Path, source: Path | None = None) -> Plan:
    return plan_study(study, source, study.parent / "runs")


def test_the_same_content_elsewhere_is_the_same_run(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    write_small_study(here)
    shutil.copytree(here, there)
    first, second = planned(here / "small.toml"), planned(there / "small.toml")
    assert first.run_id == second.run_id
    assert first.resolved_toml == second.resolved_toml
    assert str(tmp_path) not in first.resolved_toml.decode()


def test_any_change_of_content_is_another_run(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = planned(study).run_id
    people = study.parent / "people.csv"
    people.write_text(people.read_text() + "0,40.0,w1,1\n")
    second = planned(study).run_id
    study.write_text(study.read_text().replace("seed = 7", "seed = 8"))
    third = planned(study).run_id
    monkeypatch.setattr(planning, "_source_files", lambda: (("models/effects.py", "another"),))
    fourth = planned(study).run_id
    monkeypatch.setattr(planning, "library_versions", lambda: {"polars": "another"})
    fifth = planned(study).run_id
    assert len({first, second, third, fourth, fifth}) == 5


def test_the_resolved_protocol_holds_every_default_and_loads_to_the_same_settings(study: Path) -> None:
    plan = planned(study)
    written = tomllib.loads(plan.resolved_toml.decode())
    assert written["design"]["nearest_neighbour"]["caliper"] == 0.2
    assert written["source"]["tables"][0]["path"] == "people.csv"
    beside = study.with_name("again.toml")
    beside.write_bytes(plan.resolved_toml)
    assert load_protocol(beside) == plan.protocol


def test_another_extract_switches_the_generator_off_and_keeps_synthetic_only_if_declared(tmp_path: Path) -> None:
    protocol = load_protocol(SYNTHETIC)
    declared = with_source(protocol, MINI)
    assert declared.source.kind == "mhsds"
    assert declared.source.synthetic is None
    assert declared.source.folder == MINI
    assert declared.study.is_synthetic
    assert not with_source(protocol, tmp_path).study.is_synthetic


def test_the_extract_of_another_release_is_another_run_with_another_lake(tmp_path: Path) -> None:
    study = shutil.copy(SYNTHETIC, tmp_path / "study.toml")
    v5, v6 = planned(study, MINI), planned(study, ROOT / "tests/data/mhsds_mini_v6")
    assert v5.run_id != v6.run_id
    assert v5.lake != v6.lake
    assert planned(study, MINI).lake == v5.lake
    assert set(v5.inputs) == {"extract", "participants", "statements"}
    assert tomllib.loads(v5.resolved_toml.decode())["source"]["folder"] == str(MINI)


def test_a_synthetic_plan_draws_nothing_and_follows_its_parameters(tmp_path: Path) -> None:
    study = shutil.copy(SYNTHETIC, tmp_path / "study.toml")
    first = planned(study)
    assert first.extract is not None
    assert not first.runs.exists()
    study.write_text(study.read_text().replace("people = 50000", "people = 40000"))
    second = planned(study)
    assert first.extract != second.extract
    assert first.run_id != second.run_id


def test_a_ready_made_study_takes_no_extract(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="reads ready-made tables"):
        planned(study, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no such folder"):
        planned(SYNTHETIC, tmp_path / "none")


def test_the_facts_of_a_report_hold_no_times(study: Path) -> None:
    plan = planned(study)
    later = replace(plan, runs=Path("elsewhere"))
    assert later.facts == plan.facts
    assert set(plan.facts) == {"study", "run_id", "protocol_hash", "inputs", "code", "seed", "versions"}
