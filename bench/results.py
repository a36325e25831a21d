"""Sections of RESULTS.md, each between its own marks, so that one benchmark can be run again by itself."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "RESULTS.md"


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Replace a benchmark's section, or put it at the end; the others stay as they are."""
    mark = f"<!-- {name} -->\n"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    parts = f"{old.rstrip()}\n".split(mark)
    section = f"{mark}{text.rstrip()}\n{mark}"
    new = f"{parts[0]}{section}{parts[2]}" if len(parts) == 3 else f"{old.rstrip()}\n\n{section}"
    path.write_text(new, encoding="utf-8")


def describe_machine(libraries: Sequence[str], load_before: float) -> str:
    """Cores, how busy others kept them, and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    return (
        f"{os.cpu_count()} cores; load average {load_before:.1f} before the first run (0 is a quiet machine; where it "
        f"is higher, other work ran beside all tools alike, and CPU seconds tell more than wall seconds). {versions}."
    )


def as_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
