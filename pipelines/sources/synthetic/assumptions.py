"""configs/synthetic/assumptions.toml -> the numbers the generator uses; a second file may replace some of them.

Choice made: every entry carries its source, and nothing is assumed anywhere else, so that what is invented can be read
in one place.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import SourceError

SHIPPED = Path(__file__).resolve().parents[3] / "configs" / "synthetic" / "assumptions.toml"


class Assumptions(Mapping[str, Any]):
    """Values by "section.name"."""

    def __init__(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Any:
        return self._entries[name]["value"]

    def __iter__(self) -> Any:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def declared(self) -> dict[str, dict[str, Any]]:
        """Every entry with its value and source, as used."""
        return {name: dict(entry) for name, entry in self._entries.items()}


def load_assumptions(path: Path | None = None) -> Assumptions:
    """The shipped assumptions, with the entries of `path` in place of theirs.

    Raises:
        SourceError: no such file, not TOML, an entry without value and source, or one that is not known (all named).
    """
    shipped = _read(SHIPPED)
    if path is None:
        return Assumptions(shipped)
    replaced = _read(path)
    unknown = sorted(set(replaced) - set(shipped))
    if unknown:
        raise SourceError([f"{path.name}: {name}: no such assumption; see {SHIPPED.name}" for name in unknown])
    return Assumptions(shipped | replaced)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SourceError(f"{path.name}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{path.name}: not valid TOML: {error}") from None
    entries: dict[str, dict[str, Any]] = {}
    problems = []
    for section, names in content.items():
        for name, entry in names.items() if isinstance(names, dict) else [("", None)]:
            if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
                problems.append(f"{path.name}: {section}.{name}: must be {{ value = ..., source = '...' }}")
            else:
                entries[f"{section}.{name}"] = entry
    if problems:
        raise SourceError(problems)
    return entries
