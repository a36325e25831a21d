"""RESULTS.md keeps the sections of the other benchmarks when one is run again."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from nation import growth  # noqa: E402
from results import write_section  # noqa: E402


def test_a_section_is_put_at_the_end_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    write_section("one", "first\n", path)
    write_section("two", "second\n", path)
    write_section("one", "first again\n", path)
    assert path.read_text(encoding="utf-8") == (
        "# Results\n\n<!-- one -->\nfirst again\n<!-- one -->\n\n<!-- two -->\nsecond\n<!-- two -->\n"
    )


def test_growth_is_told_for_ten_times_the_rows() -> None:
    def rung(people: int, rows: int, cpu: float) -> dict[str, object]:
        facts = {"rows": rows, "cpu": cpu, "gib": 0.5}
        return {"people": people, "stages": dict.fromkeys(("synth", "lake", "cohort"), facts)}

    # Four times the rows at eight times the cost: 10 ** (log 8 / log 4) = 10 ** 1.5 = 31.6 for ten times the rows.
    _, _, first, *_ = growth([rung(1_000, 100, 1.0), rung(4_000, 400, 8.0)])
    assert first == "| 1,000 | 4,000 | 4.0 times | synth | 8.0 times | 31.6 times | 1.0 times |"
