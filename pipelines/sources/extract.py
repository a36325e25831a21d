"""A folder of raw files -> which of them are which table in which layout, or everything that is wrong with it.

Only headers are read here, so a wrong extract is refused in seconds, with all its faults at once.
"""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pipelines.errors import SourceError
from pipelines.sources import csv_files, hes, mhsds
from pipelines.sources.aliases import SourceTable, aliases_digest, choose_layouts, load_aliases
from pipelines.sources.csv_files import Header
from pipelines.tables import TABLES

DESCRIPTION = "extract_manifest.json"
_ALIAS_MAPS = (*mhsds.RELEASES, *hes.RELEASES, "lookups")


@dataclass(frozen=True)
class SourceFile:
    """A raw file with the layout its header fits."""

    path: Path
    header: Header
    layout: SourceTable

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True)
class Extract:
    """What a source folder holds: files in order of their names, names of files that are no table, the description
    its sender put beside them (extract_manifest.json, as it is), and every problem found."""

    files: tuple[SourceFile, ...]
    ignored: tuple[str, ...]
    description: dict[str, Any]
    problems: tuple[str, ...]


def examine(folder: Path) -> Extract:
    """Recognise the files of a source folder by name and header."""
    if not folder.is_dir():
        return Extract((), (), {}, (f"{folder}: is not a folder",))
    layouts = (*mhsds.layouts(), *hes.layouts(), *load_aliases("lookups", TABLES))
    by_name: dict[str, list[SourceTable]] = {}
    for layout in layouts:
        for name in layout.names:
            by_name.setdefault(name, []).append(layout)
    found, ignored, problems = [], [], []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        table = csv_files.match_table(path.name, list(by_name)) if path.is_file() else None
        if table is None:
            ignored += [path.name] if path.name != DESCRIPTION else []
            continue
        try:
            header = csv_files.read_header(path)
        except SourceError as error:
            problems += error.problems
            continue
        found.append((path, header, by_name[table]))
    chosen = choose_layouts([(header, choices) for _, header, choices in found])
    files = [SourceFile(path, header, layout) for (path, header, _), layout in zip(found, chosen, strict=True)]
    problems += [problem for file in files for problem in _missing_columns(file)]
    problems += _missing_tables(files)
    description, faults = _read_description(folder)
    return Extract(tuple(files), tuple(ignored), description, (*problems, *faults))


def check_source(source: Path) -> list[str]:
    """Everything that keeps a study from using a source folder, from the headers alone. Hospital data alone can be
    loaded (see `examine`), but a study needs the MHSDS tables that its stays come from."""
    extract = examine(source)
    return [*extract.problems, *(_mandatory_tables(extract.files) if _is_hospital_data(extract.files) else [])]


def fingerprint_source(source: Path) -> str:
    """Checksum of all recognised files, by name and content, whatever their order, of the extract's description and
    of the alias maps; reads every byte once. It stands in the manifest of a lake as "fingerprint".

    Raises:
        SourceError: the folder cannot be used (all problems).
    """
    extract = examine(source)
    if extract.problems:
        raise SourceError(extract.problems)
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(csv_files.digest, [file.path for file in extract.files]))
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


def _missing_columns(file: SourceFile) -> list[str]:
    return [
        f"{file.name}: column {column.column.name} is missing; accepted names: "
        + ", ".join(name for choice in column.names for name in choice)
        for column in file.layout.missing(file.header)
    ]


def _missing_tables(files: Sequence[SourceFile]) -> list[str]:
    problems = [] if _is_hospital_data(files) else _mandatory_tables(files)
    return problems + mhsds.missing_details([file.layout for file in files])


def _is_hospital_data(files: Sequence[SourceFile]) -> bool:
    """HES, ECDS or ONS files, and no MHSDS."""
    releases = {file.layout.release for file in files}
    return bool(releases & set(hes.RELEASES)) and not releases & set(mhsds.RELEASES)


def _mandatory_tables(files: Sequence[SourceFile]) -> list[str]:
    found = Counter(file.layout.target.name for file in files)
    expected = {layout.target.name: layout.names[0] for layout in reversed(mhsds.layouts())}
    missing = [table for table in mhsds.MANDATORY if not found[table]]
    return [f"no file of {expected[table]}: the table {table} is mandatory" for table in missing]


def _read_description(folder: Path) -> tuple[dict[str, Any], list[str]]:
    path = folder / DESCRIPTION
    if not path.is_file():
        return {}, []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    return (content, []) if isinstance(content, dict) else ({}, [f"{DESCRIPTION}: is not a JSON object"])
