"""Limits on the sets of full matching, from a protocol's words to design, estimates and report."""

import json
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import tomli_w

from pipelines import store
from pipelines.protocol import Protocol
from pipelines.report import render_report
from tests.pipelines.test_multiverse import grid, study
from tests.report_fixture import FACTS


def full(also: tuple[dict[str, Any], ...] = (), **options: Any) -> Protocol:
    design = {"methods": ["full_matching"], "full_matching": options, "also": also}
    return grid(design=design, effects={"methods": ["weighted_difference"]})


def test_a_fraction_written_in_words_survives_the_resolved_protocol() -> None:
    settings = full(min_controls="1/3", max_controls=60).design.full_matching
    content = settings.model_dump(exclude_none=True)
    assert content["min_controls"] == 1 / 3
    again = full(**tomllib.loads(tomli_w.dumps(content)))
    assert again.design.full_matching == settings


def test_sets_keep_the_limits_and_the_report_names_them(tmp_path: Path) -> None:
    protocol = full(
        ({"name": "one_for_two", "method": "full_matching", "options": {"max_controls": "1/2"}},),
        min_controls="1/3",
        max_controls=14,
    )
    run = study(tmp_path, protocol)
    rows = run.read(store.DESIGN).filter(pl.col("weight") > 0)
    sets = rows.group_by("matched_set").agg(n_treated=pl.col("treated").sum(), n=pl.len())
    ratio = (sets["n"] - sets["n_treated"]) / sets["n_treated"]
    assert ratio.min() >= 1 / 3 - 1e-12
    assert 1 < ratio.max() <= 14
    verdicts = json.loads(run.file(store.DESIGN_SUMMARY).read_text())
    assert "max_controls cannot be kept" in json.dumps(verdicts)
    render_report(run, run.path, protocol, FACTS)
    page = run.file(store.REPORT).read_text()
    assert "full_matching: at least 1/3 and at most 14; one_for_two: at least 1/3 and at most 1/2" in page
    assert "every control is placed when a treated person may have 10 controls" in page
