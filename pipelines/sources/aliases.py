"""configs/sources/*.toml -> where each canonical column is in the files of a release.

The alias maps are data: a release's file says which source table feeds which canonical table, under which header names
a column may stand, which date formats are accepted. A release may state only how it differs from another (`based_on`).
A file is given to the release whose columns its header holds, so one extract may mix layouts (DOMAIN B3: "always
detect by header, not by date"). The lower-case, cut and hashed headers of a DARS extract are spellings of the same
names, whatever the release.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.sources.csv_files import Header
from pipelines.tables import Column, Table

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "sources"
HASHED = "_deid"  # a DARS extract hashes local identifiers and says so in the header (DOMAIN B4)
LONGEST_HEADER = 32  # and cuts headers after as many characters


@dataclass(frozen=True)
class SourceColumn:
    """Where one canonical (or carried) column is. `names` is a list of choices, each of names for one thing: in a row
    the first choice that holds a value wins; of a `joined` column all values stand, one space between them. `recoded`
    gives values that are written in several ways one way. A file that has the header `absent_beside` may do without.

    Of the names of a choice the first header that exists is read; with `side_by_side` all that exist are, and in a row
    the first that holds a value wins; those of `only_alone` are read where there is no other. `also` are further names
    of the first choice, those of other releases, each with its own `recoded`: a layout is not recognised by them, but
    they are read (see read_side_by_side)."""

    column: Column
    names: tuple[tuple[str, ...], ...]
    may_be_absent: bool
    joined: bool = False
    recoded: Mapping[str, str] = field(default_factory=dict)
    absent_beside: str | None = None
    side_by_side: bool = False
    only_alone: frozenset[str] = frozenset()
    also: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def is_needed(self, header: Header) -> bool:
        """Whether a file with this header cannot be used without the column."""
        return not self.may_be_absent and not self.is_excused(header)

    def is_excused(self, header: Header) -> bool:
        """Whether the file has the header beside which it may do without the column."""
        return self.absent_beside is not None and _find((self.absent_beside,), header) is not None

    def is_missing(self, header: Header) -> bool:
        """Whether a file with this header cannot be used for want of the column."""
        return self.is_needed(header) and not self.headers(header)

    def found(self, header: Header) -> tuple[tuple[str, ...], ...]:
        """The case-folded headers to read, choice by choice, in order of preference."""
        first, *rest = self.names or ((),)
        found = (self._found_of(choice, header) for choice in ((*first, *self.also), *rest))
        return tuple(names for names in found if names)

    def _found_of(self, choice: Sequence[str], header: Header) -> tuple[str, ...]:
        usual = [name for name in choice if name not in self.only_alone]
        names = tuple(_find_all(usual, header)) or tuple(_find_all(choice, header))[:1]
        return names if self.side_by_side else names[:1]

    def headers(self, header: Header) -> tuple[str, ...]:
        """The case-folded headers to read, in order of preference; empty where the file has none of them."""
        return tuple(name for names in self.found(header) for name in names)

    def is_own(self, header: Header) -> bool:
        """Whether the file has the column under a name that the release itself has for it."""
        return any(_find(choice, header) is not None for choice in self.names)

    def recoding(self, name: str) -> Mapping[str, str]:
        """How values under a case-folded header are brought to one way of writing them."""
        return next((recoded for also, recoded in self.also.items() if name in spellings(also)), self.recoded)

    def n_own(self, header: Header) -> int:
        """How many of the choices stand under the release's own name, the first."""
        return sum(_find(choice[:1], header) is not None for choice in self.names)


@dataclass(frozen=True)
class SourceTable:
    """One source table of a release. `accepted` limits the values of a raw header; anything else counts as not sent.
    `may_be` are the releases of which a file's header may be, where it does not tell one (choose_layouts)."""

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
    may_be: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The release that a file with this layout is of, as far as headers tell: "mhsds_v5 or mhsds_v6"."""
        return " or ".join(self.may_be or (self.release,))

    def missing(self, header: Header) -> list[SourceColumn]:
        """The columns that a file with this header needs and lacks."""
        return [column for column in self.columns if column.is_missing(header)]

    def n_missing(self, header: Header) -> int:
        """How many columns a file with this header needs and lacks under the names of the release."""
        return sum(not column.is_own(header) for column in self.columns if column.names and column.is_needed(header))

    def n_found(self, header: Header) -> int:
        """How many columns the header feeds under the names of the release."""
        return sum(column.is_own(header) for column in self.columns)

    def n_own(self, header: Header) -> int:
        """How many headers stand under the release's own names."""
        return sum(column.n_own(header) for column in self.columns)

    def lacks(self, name: str, header: Header) -> bool:
        """Whether the release has this canonical column, but a file with this header does not."""
        return any(column.column.name == name and not column.headers(header) for column in self.columns)

    def may_lack(self, name: str, header: Header) -> bool:
        """Whether the release has this canonical column, but rows of a file with this header may be without it."""
        return any(
            column.column.name == name and (column.is_excused(header) or not column.headers(header))
            for column in self.columns
        )

    def absent(self, header: Header) -> list[str]:
        """Canonical columns that this file leaves empty altogether."""
        given = {column.column.name for column in self.columns if column.headers(header)} | set(self.constants)
        return [column.name for column in self.target.columns if column.name not in given]

    def absent_choices(self, header: Header) -> list[str]:
        """Headers this file lacks, though others feed the same canonical column ("death_date: DOD")."""
        return [
            f"{column.column.name}: {choice[0]}"
            for column in self.columns
            for choice in column.names
            if column.headers(header) and _find(choice, header) is None
        ]


def load_aliases(name: str, targets: dict[str, Table]) -> tuple[SourceTable, ...]:
    """The source tables of configs/sources/<name>.toml; `targets` are the tables they may feed."""
    content = _read(name)
    return tuple(_source_table(content, table, targets) for table in content["tables"])


def read_side_by_side(tables: Sequence[SourceTable]) -> tuple[SourceTable, ...]:
    """The layouts of several releases, each with the names that the others have for its columns (the other's recoding
    with them) and with the columns that only others have, which may be absent. Which layout a file has is decided by
    its own names; but an extract that was merged from several releases may hold the columns of all side by side, one
    filled in some rows and another in others (DOMAIN B3)."""
    return tuple(_beside(table, [other for other in tables if other is not table]) for table in tables)


def _beside(table: SourceTable, others: Sequence[SourceTable]) -> SourceTable:
    same = [other for other in others if other.names[0] == table.names[0] and other.target == table.target]
    columns = {column.column.name: column for column in table.columns}
    for other in (column for layout in same for column in layout.columns):
        name = other.column.name
        if name in columns:
            own = {text for choice in columns[name].names for text in choice}
            more = {text: other.recoded for choice in other.names for text in choice if text not in own}
            columns[name] = replace(columns[name], also=more | dict(columns[name].also))
        elif not name.startswith("_"):  # what is carried serves a join that the release does not make
            more = {text: other.recoded for choice in other.names for text in choice}
            columns[name] = replace(other, names=(), may_be_absent=True, recoded={}, also=more)
    return replace(table, columns=tuple(columns.values()))


def aliases_digest(names: Sequence[str]) -> str:
    """Version of the alias maps: changes with any byte of them."""
    checksum = hashlib.blake2b(digest_size=16)
    for name in sorted(names):
        checksum.update((CONFIGS / f"{name}.toml").read_bytes())
    return checksum.hexdigest()


def choose_layouts(files: Sequence[tuple[Header, Sequence[SourceTable]]]) -> list[SourceTable]:
    """For each file, of the layouts its name allows the one its header fits: fewest columns missing, then most found,
    then most under the release's own names (a release also accepts those of its neighbours).

    Many tables are the same in several releases; those are put down to the release that the other files speak for.
    Where these speak for several of those it may be of, or for none, it is read as the likeliest; `may_be` names all.
    """
    best = [_best_layouts(header, choices) for header, choices in files]
    votes = Counter(layouts[0].release for layouts in best if len(layouts) == 1)
    return [_chosen(layouts, votes) for layouts in best]


def _chosen(layouts: Sequence[SourceTable], votes: Mapping[str, int]) -> SourceTable:
    """The likeliest of layouts that fit a file alike."""
    likeliest = max(layouts, key=lambda layout: votes.get(layout.release, 0))
    fitting = sorted(layout.release for layout in layouts)
    spoken_for = [release for release in fitting if votes.get(release)] or fitting
    return replace(likeliest, may_be=tuple(spoken_for)) if len(spoken_for) > 1 else likeliest


def _best_layouts(header: Header, choices: Sequence[SourceTable]) -> list[SourceTable]:
    fits = [(layout.n_missing(header), -layout.n_found(header), -layout.n_own(header)) for layout in choices]
    return [layout for layout, fit in zip(choices, fits, strict=True) if fit == min(fits)]


@cache
def spellings(name: str) -> tuple[str, ...]:
    """How a header may write an accepted name, case-folded: as it is, hashed, and either cut to 32 characters."""
    whole = name.casefold()
    written = (whole, whole + HASHED)
    return tuple(dict.fromkeys((*written, *(text[:LONGEST_HEADER] for text in written))))


def _find(names: Sequence[str], header: Header) -> str | None:
    """The case-folded header of the first of `names` that is there."""
    return next(_find_all(names, header), None)


def _find_all(names: Iterable[str], header: Header) -> Iterator[str]:
    """The case-folded headers of all of `names` that are there, each once."""
    present = set(header.folded)
    return iter(dict.fromkeys(text for name in names for text in spellings(name) if text in present))


def _read(name: str) -> dict[str, Any]:
    """The content of an alias map; one that is based on another takes over all that it does not say differently."""
    content = tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))
    assert content["name"] == name, f"{name}.toml calls itself {content['name']}"
    return _merge(_read(content["based_on"]), content) if "based_on" in content else content


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`own` over `base`, section by section; `without` names what of a section of `base` falls away."""
    kept = {key: value for key, value in base.items() if key not in own.get("without", ())}
    sections = {
        key: _merge(kept[key], value) if isinstance(value, dict) and key in kept else value
        for key, value in own.items()
        if key != "without"
    }
    return kept | sections


def _source_table(content: dict[str, Any], name: str, targets: dict[str, Table]) -> SourceTable:
    section = content["tables"][name]
    target = targets[section["table"]]
    shared = content.get("shared", {}).get(section.get("shared"), {})
    kinds = {column.name: column for column in target.columns}
    shared_carried = content.get("carried", {}).get(section.get("shared"), {})
    own_carried = section.get("carried", {})
    beside = content.get("may_be_absent_beside", {}).get(section.get("shared"), {})
    optional = set(section.get("may_be_absent", ()))
    # What is carried for all tables alike helps where it is sent; what one table carries, its join cannot do without.
    optional |= {f"_{key}" for key in shared_carried if key not in own_carried}
    recoded = _padded(section.get("padded", ())) | section.get("recoded", {})
    side_by_side = content.get("side_by_side", False)
    numbered = {key: _numbered(**pattern) for key, pattern in section.get("joined", {}).items()}
    entries = [(kinds[key], names) for key, names in (shared | section["columns"]).items()]
    carried = shared_carried | own_carried
    entries += [(Column(f"_{key}", "id", False, "serves a join"), names) for key, names in carried.items()]
    assert optional <= set(kinds) | {f"_{key}" for key in carried}, f"{name}: unknown columns among {optional}"
    columns = [
        SourceColumn(
            column,
            _choices(names),
            column.name in optional,
            recoded=recoded.get(column.name, {}),
            absent_beside=beside.get(column.name),
            side_by_side=side_by_side,
            only_alone=frozenset(content.get("only_alone", ())),
        )
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


def _padded(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each of `columns`, whose codes have two digits, those that lost the nought they begin with."""
    return {column: {str(digit): f"{digit:02}" for digit in range(1, 10)} for column in columns}


def _choices(names: list[Any]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(choice) for choice in names) if isinstance(names[0], list) else (tuple(names),)


def _numbered(numbers: int, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.format(number) for name in names) for number in range(1, numbers + 1))
