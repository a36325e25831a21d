"""Real data are refused without the statements that allow their use (DOMAIN F1)."""

import json
from pathlib import Path

import pytest

from pipelines.errors import GovernanceError
from pipelines.governance import check_manifest

STATEMENTS = {
    "contains_real_data": True,
    "opt_out_applied": True,
    "opt_out_applied_date": "2020-06-01",
    "legal_basis": "section 251 support",
}


def state(folder: Path, **changes: object) -> Path:
    (folder / "extract_manifest.json").write_text(json.dumps(STATEMENTS | changes))
    return folder


def test_an_extract_must_say_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(GovernanceError, match=r"extract_manifest\.json: missing"):
        check_manifest(tmp_path)


def test_complete_statements_and_synthetic_data_are_let_through(tmp_path: Path) -> None:
    check_manifest(state(tmp_path))
    check_manifest(state(tmp_path, contains_real_data=False, opt_out_applied=None, legal_basis=""))


def test_every_missing_statement_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(GovernanceError) as error:
        check_manifest(state(tmp_path, opt_out_applied=None, opt_out_applied_date="", legal_basis=None))
    assert len(error.value.problems) == 3


def test_real_data_without_the_opt_out_must_be_anonymised(tmp_path: Path) -> None:
    with pytest.raises(GovernanceError, match="anonymised"):
        check_manifest(state(tmp_path, opt_out_applied=False))
    check_manifest(state(tmp_path, opt_out_applied=False, legal_basis="anonymised to the ICO code"))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_manifest_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "extract_manifest.json").write_text(text)
    with pytest.raises(GovernanceError, match=r"must be a JSON object|not valid JSON"):
        check_manifest(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("contains_real_data", "false"),
        ("contains_real_data", None),
        ("opt_out_applied", "no"),
        ("opt_out_applied", 1),
        ("opt_out_applied_date", "last spring"),
        ("opt_out_applied_date", "01/06/2020"),
        ("legal_basis", ["section 251"]),
        ("legal_basis", "  "),
    ],
)
def test_a_statement_of_another_kind_is_no_statement(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(GovernanceError, match=f"{key}: .*; allowed: ") as error:
        check_manifest(state(tmp_path, **{key: value}))
    assert len(error.value.problems) == 1
