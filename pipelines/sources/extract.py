"""A folder of raw files -> which of them are which table in which layout, or everything that is wrong with it.

Only headers are read here, so a wrong extract is refused in seconds, with all its faults at once.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources import csv_files, hes, mhsds
from pipelines.sources.aliases import SourceTable, aliases_digest, choose_layouts, load_aliases
from pipelines.sources.csv_files import Batch, Content, Header, Piece
from pipelines.sources.packed import Member, list_members, no_files
from pipelines.sources.unread import judge_file, judge_other
from pipelines.tables import TABLES

DESCRIPTION = "extract_manifest.json"
DEEPEST = 50  # levels of it; far more than anybody writes, far fewer than writing it again could bear
_BRIDGE_OF_DEATHS = (
    ". ONS deaths without a person come with a bridge to HES: join its ENCRYPTED_HESID to them (DOMAIN C3)"
)
_ALIAS_MAPS = (*mhsds.RELEASES, *hes.RELEASES, "lookups", "omop")


class RawFile(Protocol):
    """What a load needs to know of a raw file, or of a piece of a table in a database.

    `name` is unique in its extract and can be part of a path; `digest` changes with the content and `stamp`, which is
    quicker, with any change of it while it is being read; `size` only orders the work.
    """

    @property
    def name(self) -> str: ...
    @property
    def header(self) -> Header: ...
    @property
    def layout(self) -> SourceTable: ...
    def digest(self) -> str: ...
    def stamp(self) -> str: ...
    def size(self) -> int: ...
    def look_through(self) -> Content:
        """Its digest, its encoding, and where it may be cut; raises SourceError, as does `read`."""
        ...

    def read(self, piece: Piece) -> Iterator[Batch]:
        """The rows of a piece in order."""
        ...


class Assembly(Protocol):
    """How staged tables of the people of one bucket become canonical ones, for a source whose tables are not.

    `tables` are staged by person, `references` are given whole to every bucket; a call returns the canonical tables
    (with `_file` and `_line`, in the order in which they are to be written) and things worth knowing, counted by rule.
    """

    @property
    def tables(self) -> tuple[str, ...]: ...
    @property
    def references(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> str:
        """Changes with everything but the rows that decides the result."""
        ...

    def __call__(self, staged: Mapping[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], Mapping[str, int]]: ...


class Source(Protocol):
    """Where an extract is, when it is not a folder of MHSDS, HES and ONS files."""

    def examine(self) -> "Extract": ...


@dataclass(frozen=True)
class SourceFile:
    """A raw file, or one in a zip archive, with the layout its header fits."""

    member: Member
    header: Header
    layout: SourceTable

    @property
    def name(self) -> str:
        return self.member.name

    def digest(self) -> str:
        return csv_files.digest(self.member)

    def stamp(self) -> str:
        status = self.member.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def size(self) -> int:
        return self.member.path.stat().st_size

    def look_through(self) -> Content:
        return csv_files.look_through(self.member)

    def read(self, piece: Piece) -> Iterator[Batch]:
        return csv_files.read_batches(self.member, self.header, piece)


@dataclass(frozen=True)
class Extract:
    """What a source folder holds: files in order of their names, names of files that are no table, the description
    its sender put beside them (extract_manifest.json, as it is), every problem found, and how its tables become
    canonical ones where they are not."""

    files: tuple[RawFile, ...]
    ignored: tuple[str, ...]
    description: dict[str, Any]
    problems: tuple[str, ...]
    assembly: Assembly | None = None


def examine(source: Path | Source) -> Extract:
    """Recognise the files of a source folder by name and header, or whatever another source is made of."""
    return _examine_folder(source) if isinstance(source, Path) else source.examine()


def _examine_folder(folder: Path) -> Extract:
    if not folder.is_dir():
        return Extract((), (), {}, (f"{folder}: is not a folder",))
    layouts = (*mhsds.layouts(), *hes.layouts(), *load_aliases("lookups", TABLES))
    by_name: dict[str, list[SourceTable]] = {}
    for layout in layouts:
        for name in layout.names:
            by_name.setdefault(name, []).append(layout)
    found, ignored = [], []
    problems: list[str] = []
    for member in list_members(folder, problems):
        table = None if member.is_of_macos else csv_files.match_table(member.file_name, list(by_name))
        if table is None:
            refusal = judge_file(member, layouts) if member.name != DESCRIPTION else None
            problems += [refusal] if refusal is not None else []
            ignored += [member.name] if member.name != DESCRIPTION else []
            continue
        try:
            header = csv_files.read_header(member)
        except SourceError as error:
            problems += error.problems
            continue
        found.append((member, header, by_name[table]))
    for other in no_files(folder):
        refusal = judge_other(other, layouts)
        problems += [refusal] if refusal is not None else []
        ignored.append(f"{other.name}/" if other.is_dir() else other.name)
    chosen = choose_layouts([(header, choices) for _, header, choices in found])
    files = [SourceFile(member, header, layout) for (member, header, _), layout in zip(found, chosen, strict=True)]
    problems += [problem for file in files for problem in missing_columns(file)]
    problems += [problem for file in files for problem in mhsds.missing_keys(file.name, file.header, file.layout)]
    problems += _missing_tables(files)
    description, faults = read_description(folder)
    return Extract(tuple(files), tuple(ignored), description, (*problems, *faults))


def check_source(source: Path | Source) -> list[str]:
    """Everything that keeps a study from using a source folder, from the headers alone. Hospital data alone can be
    loaded (see `examine`), but a study needs the MHSDS tables that its stays come from."""
    return problems_of_study(examine(source))


def problems_of_study(extract: Extract) -> list[str]:
    """check_source, of a source that was examined."""
    return [*extract.problems, *(_mandatory_tables(extract.files) if _is_hospital_data(extract.files) else [])]


def fingerprint_source(source: Path | Source) -> str:
    """Checksum of all recognised files, by name and content, whatever their order, of the extract's description and
    of the alias maps; reads every byte once. It stands in the manifest of a lake as "fingerprint".

    Raises:
        SourceError: the folder cannot be used (all problems).
    """
    extract = examine(source)
    if extract.problems:
        raise SourceError(extract.problems)
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(lambda file: file.digest(), extract.files))
    return fingerprint(extract, {file.name: digest for file, digest in zip(extract.files, digests, strict=True)})


def fingerprint(extract: Extract, digests: dict[str, str]) -> str:
    """One checksum for the extract's files (`digests` by name), its description and the alias maps it is read with."""
    checksum = blake2b(aliases_version().encode(), digest_size=16)
    checksum.update(json.dumps(extract.description, sort_keys=True).encode())
    for name in sorted(digests):
        checksum.update(f"\0{name}\0{digests[name]}".encode())
    return checksum.hexdigest()


def aliases_version() -> str:
    """Version of all alias maps together."""
    return aliases_digest(_ALIAS_MAPS)


def missing_columns(file: RawFile) -> list[str]:
    """A problem for each column that the file needs and lacks, with the names it may have."""
    return [
        f"{file.name}: column {column.column.name} is missing; accepted names: "
        + ", ".join(name for choice in column.names for name in choice)
        + (_BRIDGE_OF_DEATHS if (file.layout.target.name, column.column.name) == ("death", "person_id") else "")
        for column in file.layout.missing(file.header)
    ]


def _missing_tables(files: Sequence[RawFile]) -> list[str]:
    problems = [] if _is_hospital_data(files) else _mandatory_tables(files)
    return problems + mhsds.missing_details([file.layout for file in files])


def _is_hospital_data(files: Sequence[RawFile]) -> bool:
    """HES, ECDS or ONS files, and no MHSDS."""
    releases = {file.layout.release for file in files}
    return bool(releases & set(hes.RELEASES)) and not releases & set(mhsds.RELEASES)


def _mandatory_tables(files: Sequence[RawFile]) -> list[str]:
    found = Counter(file.layout.target.name for file in files)
    expected = {layout.target.name: layout.names[0] for layout in reversed(mhsds.layouts())}
    missing = [table for table in mhsds.MANDATORY if not found[table]]
    return [f"no file of {expected[table]}: the table {table} is mandatory" for table in missing]


def read_description(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What the sender says of an extract (extract_manifest.json), and what is wrong with that file."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return {}, []
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair can be read, but not written
    except (OSError, ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and _is_nested(content, DEEPEST):
        return {}, [f"{DESCRIPTION}: is nested more than {DEEPEST} levels deep"]
    return (content, []) if isinstance(content, dict) else ({}, [f"{DESCRIPTION}: is not a JSON object"])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _is_nested(value: Any, levels: int) -> bool:
    """Whether a value holds others in more than as many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_nested(other, levels - 1) for other in inner)
