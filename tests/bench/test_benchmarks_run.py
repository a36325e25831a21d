"""Each benchmark runs on a tiny size and writes its own section, so that none can rot unseen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = {
    "ingest": "--rows 3000 --runs 1 --buckets 3 --peers polars duckdb",
    "features": "--rows 3000 --runs 1 --buckets 3 --peers polars duckdb",
    "nation": "--people 500",
    "multiverse": "--people 3000 --runs 1",
    "effects": "--rows 3000 --aipw-rows 3000 --replicates 60 --refits 30 --runs 1",
    "matching": "--treated 60 --candidates 3000 --runs 1 --no-matchit",
    "methods_truth": (
        "--replicates 3 --worlds trusts --methods weighted_difference cumulative_incidence --processes 1 "
        "--numbers numbers.csv"
    ),
    "forest": "worlds --settings steps:0 --people 500",
    "methods_data": f"{ROOT}/tests/data --folders nhefs --methods weighted_difference",
}
SAID = {
    "ingest": "## Ingest: 3,000 contacts",
    "features": "All ten features of every person are the same for every tool",
    "multiverse": "## A multiverse on 3,000 synthetic people",
    "effects": "### AIPW for the treated, 3,000 people",
    "nation": "### Where the time goes (500 people",
    "matching": "| nearest 1:5, 60 x 30,000 | this project |",
    "methods_truth": "### binary outcome, ATT",
    "forest": "## Causal forest: simulated worlds, 500 people",
    "methods_data": "| propensity_weighting | weighted_difference | 3.4",
}
SECTION = {"forest": "forest_worlds"}
LONG = {"nation", "multiverse", "methods_truth", "forest", "effects", "matching"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in TINY])
def test_a_benchmark_runs_and_writes_its_section_only(name: str, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\n<!-- other -->\nkept\n<!-- other -->\n", encoding="utf-8")
    script = [sys.executable, str(ROOT / "bench" / f"{name}.py"), *TINY[name].split(), "--results", str(results)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"}
    subprocess.run(script, check=True, capture_output=True, env=environment, cwd=tmp_path)
    text = results.read_text(encoding="utf-8")
    assert "<!-- other -->\nkept\n<!-- other -->\n" in text
    assert text.count(f"<!-- {SECTION.get(name, name)} -->") == 2
    assert SAID[name] in text
