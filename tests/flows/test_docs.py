"""The pages about protocol, outcomes, covariates and methods are those the code gives now, with everything."""

import sys
from typing import get_args

from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from generate import COVARIATES_PAGE, PAGE, covariates_page, protocol_page
from methods_page import DESIGN_WORDS, EFFECT_WORDS, METHODS_PAGE, SCALES, methods_page
from outcome_page import OUTCOMES_PAGE, outcomes_page

from models.registry import DESIGNS, EFFECTS
from models.results import Scale
from pipelines.covariate_registry import REGISTRY
from pipelines.outcome_registry import DESCRIBED, FAMILIES, FIXED, PRESETS
from pipelines.protocol import DesignSection, Eligibility, Protocol


def test_the_committed_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == protocol_page(), "run `make docs`"


def test_every_section_and_key_is_on_the_page() -> None:
    page = protocol_page()
    for section in Protocol.model_fields:
        assert f"## `[{section}]`" in page or f"## `[[{section}]]`" in page
    for key in (*Eligibility.model_fields, *DesignSection.model_fields):
        assert f"`{key}`" in page or f".{key}]`" in page or f".{key}]]`" in page
    assert "| `caliper` | number, > 0 | `0.2` |" in page


def test_the_committed_page_of_outcomes_is_current() -> None:
    assert OUTCOMES_PAGE.read_text(encoding="utf-8") == outcomes_page(), "run `make docs`"


def test_every_outcome_column_and_preset_is_on_the_page() -> None:
    page = outcomes_page()
    for name in (*(f"{family}_<days>d" for family in FAMILIES), *FIXED, *DESCRIBED, *PRESETS):
        assert f"| `{name}` |" in page
    assert "Psychosocial outcomes" in page


def test_the_committed_page_of_covariates_is_current_and_lists_them_all() -> None:
    page = covariates_page()
    assert COVARIATES_PAGE.read_text(encoding="utf-8") == page, "run `make docs`"
    assert [name for name in REGISTRY if f"| `{name}` |" not in page] == []


def test_the_committed_page_of_methods_is_current_and_describes_them_all() -> None:
    page = methods_page()
    assert METHODS_PAGE.read_text(encoding="utf-8") == page, "run `make docs`"
    assert (list(DESIGN_WORDS), set(EFFECT_WORDS), set(SCALES)) == (list(DESIGNS), set(EFFECTS), set(EFFECTS))
    assert {scale for scales in SCALES.values() for scale in scales} == set(get_args(Scale))
    assert [name for name in (*DESIGNS, *EFFECTS) if page.count(f"### `{name}`") != 1] == []
