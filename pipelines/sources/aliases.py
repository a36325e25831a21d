"""configs/sources/*.toml -> where each canonical column is in the files of a release.

The alias maps are data: a release's file says which source table feeds which canonical table, under which header names
a column may stand, which date formats are accepted. A file is given to the release whose columns its header holds, so
one extract may mix layouts (DOMAIN B3: "always detect by header, not by date").
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.sources.csv_files import Header
from pipelines.tables import Column, Table

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "sources"


@dataclass(frozen=True)
class SourceColumn:
    """Where one canonical (or carried) column is. `names` is a list of choices: of each choice the first header that
    exists is read, and in a row the first choice that holds a value wins; of a `joined` column all values stand, one
    space between them. `recoded` gives values that are written in several ways one way."""

    column: Column
    names: tuple[tuple[str, ...], ...]
    may_be_absent: bool
    joined: bool = False
    recoded: Mapping[str, str] = field(default_factory=dict)

    def headers(self, header: Header) -> tuple[str, ...]:
        """The case-folded headers to read, in order of preference; empty where the file has none of them."""
        present = set(header.folded)
        found = [next((n.casefold() for n in choice if n.casefold() in present), None) for choice in self.names]
        return tuple(name for name in found if name is not None)


@dataclass(frozen=True)
class SourceTable:
    """One source table of a release. `accepted` limits the values of a raw header; anything else counts as not sent."""

    release: str
    names: tuple[str, ...]
    target: Table
    columns: tuple[SourceColumn, ...]
    constants: dict[str, str]
    accepted: dict[str, tuple[str, ...]]
    date_formats: tuple[str, ...]
    missing_dates: tuple[str, ...]
    anonymous_providers: tuple[str, ...]
    missing_codes: tuple[str, ...] = ()

    def missing(self, header: Header) -> list[SourceColumn]:
        return [column for column in self.columns if not column.may_be_absent and not column.headers(header)]

    def n_found(self, header: Header) -> int:
        return sum(bool(column.headers(header)) for column in self.columns)

    def absent(self, header: Header) -> list[str]:
        """Canonical columns that this file leaves empty altogether."""
        given = {column.column.name for column in self.columns if column.headers(header)} | set(self.constants)
        return [column.name for column in self.target.columns if column.name not in given]


def load_aliases(name: str, targets: dict[str, Table]) -> tuple[SourceTable, ...]:
    """The source tables of configs/sources/<name>.toml; `targets` are the tables they may feed."""
    content = tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))
    assert content["name"] == name, f"{name}.toml calls itself {content['name']}"
    return tuple(_source_table(content, table, targets) for table in content["tables"])


def aliases_digest(names: Sequence[str]) -> str:
    """Version of the alias maps: changes with any byte of them."""
    checksum = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        checksum.update((CONFIGS / f"{name}.toml").read_bytes())
    return checksum.hexdigest()


def choose_layouts(files: Sequence[tuple[Header, Sequence[SourceTable]]]) -> list[SourceTable]:
    """For each file, of the layouts its name allows the one its header fits: fewest columns missing, then most found.

    Many tables are the same in several releases; those are put down to the release that the other files speak for.
    """
    best = [_best_layouts(header, choices) for header, choices in files]
    votes = Counter(layouts[0].release for layouts in best if len(layouts) == 1)
    return [max(layouts, key=lambda layout: votes[layout.release]) for layouts in best]


def _best_layouts(header: Header, choices: Sequence[SourceTable]) -> list[SourceTable]:
    fits = [(len(layout.missing(header)), -layout.n_found(header)) for layout in choices]
    return [layout for layout, fit in zip(choices, fits, strict=True) if fit == min(fits)]


def _source_table(content: dict[str, Any], name: str, targets: dict[str, Table]) -> SourceTable:
    section = content["tables"][name]
    target = targets[section["table"]]
    shared = content.get("shared", {}).get(section.get("shared"), {})
    kinds = {column.name: column for column in target.columns}
    carried = {key: Column(f"_{key}", "id", False, "serves a join") for key in section.get("carried", {})}
    optional = set(section.get("may_be_absent", ()))
    recoded = section.get("recoded", {})
    numbered = {key: _numbered(**pattern) for key, pattern in section.get("joined", {}).items()}
    entries = [(kinds[key], names) for key, names in (shared | section["columns"]).items()]
    entries += [(carried[key], names) for key, names in section.get("carried", {}).items()]
    assert optional <= set(kinds), f"{name}: unknown columns {optional - set(kinds)}"
    columns = [
        SourceColumn(column, _choices(names), column.name in optional, recoded=recoded.get(column.name, {}))
        for column, names in entries
    ]
    columns += [SourceColumn(kinds[key], names, key in optional, joined=True) for key, names in numbered.items()]
    return SourceTable(
        release=content["name"],
        names=(name, *section.get("also_called", ())),
        target=target,
        columns=tuple(columns),
        constants=section.get("constants", {}),
        accepted={header.casefold(): tuple(codes) for header, codes in section.get("accepted", {}).items()},
        date_formats=tuple(content["date_formats"]),
        missing_dates=tuple(content.get("missing_dates", ())),
        anonymous_providers=tuple(content.get("anonymous_providers", ())),
        missing_codes=tuple(content.get("missing_codes", ())),
    )


def _choices(names: list[Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(choice) for choice in names) if isinstance(names[0], list) else (tuple(names),)


def _numbered(numbers: int, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.format(number) for name in names) for number in range(1, numbers + 1))
