"""The page about the protocol is the one the models give now, and every key is on it."""

import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from generate import PAGE, protocol_page

from pipelines.protocol import DesignSection, Eligibility, Protocol


def test_the_committed_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == protocol_page(), "run `make docs`"


def test_every_section_and_key_is_on_the_page() -> None:
    page = protocol_page()
    for section in Protocol.model_fields:
        assert f"## `[{section}]`" in page
    for key in (*Eligibility.model_fields, *DesignSection.model_fields):
        assert f"`{key}`" in page or f".{key}]`" in page
    assert "| `caliper` | number, > 0 | `0.2` |" in page
