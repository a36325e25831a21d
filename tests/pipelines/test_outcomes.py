"""The registry of outcomes and what is measured agree; presets expand to names that can be studied."""

import inspect
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from pipelines.outcome_registry import (
    DESCRIBED,
    FAMILIES,
    FIXED,
    PRESETS,
    PresetName,
    expand_presets,
    family_of,
    fault_of,
    title_of,
)
from pipelines.outcomes import MEASURED_ELSEWHERE, measures
from pipelines.protocol import FollowUp, Protocol, load_protocol, outcome_kinds
from pipelines.tables import TABLES
from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import write_world

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "configs/studies/mhsds_sample_v5.toml"


def study_with(**outcomes: object) -> Protocol:
    """The sample study with other outcomes; its source lies elsewhere and is not read."""
    raw = tomllib.loads(STUDY.read_text())
    return Protocol.model_validate(raw | {"outcomes": {"primary": "readmitted_365d", **outcomes}})


def test_every_family_has_its_function_and_every_function_its_family() -> None:
    functions = {name for name, _ in inspect.getmembers(measures, inspect.isfunction) if not name.startswith("_")}
    measured = {name for name in functions if inspect.getmodule(getattr(measures, name)) is measures}
    assert measured - {"describe_first_readmission"} == set(FAMILIES) - set(MEASURED_ELSEWHERE)


def test_source_tables_are_canonical() -> None:
    for entry in [*FAMILIES.values(), *FIXED.values(), *DESCRIBED.values()]:
        assert set(entry.tables) <= set(TABLES), entry.name


def test_a_run_measures_every_family_over_the_whole_follow_up_and_what_is_named() -> None:
    outcomes = write_world(ELIGIBLE, follow_up={"days": 180}).people().outcomes
    assert {*(f"{family}_180d" for family in FAMILIES), *FIXED, *DESCRIBED, "readmitted_90d"} <= set(outcomes.columns)
    assert not [name for name in outcomes.columns if name.endswith("_365d")]


def test_another_length_of_follow_up() -> None:
    world = write_world(readmitted("2018-03-31", "2018-04-20"), **FIRST, follow_up={"days": 730})
    row = world.people().outcomes.row(0, named=True)
    assert row["days_to_readmission"] == 365  # 31 March 2017 to 31 March 2018
    assert row["days_in_hospital_730d"] == 20
    assert (row["readmitted_90d"], row["readmitted_730d"]) == (False, True)


def test_presets_are_added_once_and_the_resolved_protocol_shows_them() -> None:
    protocol = study_with(secondary=["readmitted_30d"], presets=["nhs_14_day", "30_day", "90_day"])
    assert protocol.outcomes.secondary == (
        "readmitted_30d",
        "readmitted_nhs_14d",
        "n_readmissions_30d",
        "days_in_hospital_30d",
        "readmitted_90d",
        "n_readmissions_90d",
        "days_in_hospital_90d",
    )
    again = Protocol.model_validate(protocol.model_dump())
    assert again == protocol
    assert outcome_kinds(protocol)["n_readmissions_90d"] == "continuous"


def test_every_preset_can_be_studied_in_a_year() -> None:
    assert set(PRESETS) == set(get_args(PresetName))
    for name in expand_presets(PRESETS):
        assert fault_of(name, FollowUp().days) is None
        assert family_of(name) is not None


def test_the_primary_outcome_is_not_repeated_by_a_preset() -> None:
    protocol = study_with(presets=["enrich"])
    assert "readmitted_365d" not in protocol.outcomes.secondary
    assert "dna_rate_365d" in protocol.outcomes.secondary


@pytest.mark.parametrize(
    "name", ["readmitted_0d", "readmitted_03d", "readmitted", "readmitted_nhs_30d", "n_dna_365d_before"]
)
def test_what_is_no_outcome(name: str) -> None:
    assert family_of(name) is None
    assert fault_of(name, 365) is not None


def test_titles_name_the_window() -> None:
    assert title_of("readmitted_90d") == "Psychiatric readmission within 90 days"
    assert title_of("n_dna_365d_before") is None


def test_the_studies_of_the_project_ask_for_nothing_that_is_refused() -> None:
    for path in sorted((ROOT / "configs/studies").glob("*.toml")):
        assert outcome_kinds(load_protocol(path))
