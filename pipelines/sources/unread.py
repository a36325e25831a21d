"""Files of a source folder that no layout takes -> those that look like records, refused in words, and the rest, named.

Choice made: a file whose name or header says that it holds a table this program reads is never passed over, since its
rows would be missing from every count without a word. Tables that are not read (MHS002, HES outpatients), documents and
lists may stay; they are named wherever an extract is described. Subfolders are not read: whether one holds a part of
the extract, an older delivery or the truth of a simulation cannot be seen from here.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import DELIMITERS, HEADER_BYTES, Header
from pipelines.sources.packed import DAMAGE, Member, members_of, open_binary

ENDINGS = ".csv, .txt or .tsv, as it is or packed (.gz, .zst), or in a zip archive"
_ARCHIVE = re.compile(r"\.(?:zip|7z|rar|tar|tgz|tbz2?|txz|tar\.\w+)$", re.IGNORECASE)
_DOCUMENT = re.compile(
    r"\.(?:md|pdf|docx?|rtf|odt|pptx?|html?|sql|json|ya?ml|toml|xsd|log|py|r|sas|ipynb|png|jpe?g|svg|gif|md5|sha\d+|sig)$",
    re.IGNORECASE,
)
_WORKBOOK = re.compile(r"\.(?:xlsx?|xlsm|xlsb|ods)$", re.IGNORECASE)
_PARQUET = re.compile(r"\.(?:parquet|pq)$", re.IGNORECASE)
_NUMBER = re.compile(r"MHS\d{3}")
_SOURCE = re.compile(r"(?<![a-z])(?:hes|ecds|ons)(?![a-z])", re.IGNORECASE)
# What every monthly table has tells none of them apart.
_OF_EVERY_TABLE = {"row_id", "record_id", "provider_id", "month_id"}
_LEAST_TELLING = 2  # columns


def judge_file(member: Member, layouts: Sequence[SourceTable], endings: str = ENDINGS) -> str | None:
    """Why a file that no layout takes by its name may not be passed over; None where it may. `endings` are allowed."""
    name = member.file_name
    if member.is_of_macos or name.startswith("~$") or _DOCUMENT.search(name):
        return None
    if _ARCHIVE.search(name):
        return (
            f"{member.name}: is an archive that is not looked into; take its files out (zip archives that lie in the "
            "folder itself are read), or move it out of the folder if it holds no data"
        )
    table = named_table(name, layouts)
    if table is not None:
        return _refusal(member.name, f"looks like {table} by its name", table, endings)
    if _WORKBOOK.search(name):
        return None
    header = _peek(member)
    if header is None and _SOURCE.search(name):
        return (
            f"{member.name}: is named after HES, ECDS or ONS and cannot be looked into; allowed: text, {ENDINGS}. "
            "Move it out of the folder if it holds no data"
        )
    fits = [layout.names[0] for layout in layouts if header is not None and _tells(layout, header)]
    return _refusal(member.name, f"has the columns of {fits[0]}", fits[0], endings) if fits else None


def judge_other(path: Path, layouts: Sequence[SourceTable]) -> str | None:
    """Why a subfolder, or a link that leads nowhere, may not be passed over: it is named like a table, or a file in it
    is, at any depth."""
    if path.name.startswith(".") or path.name == "__MACOSX":
        return None
    what = "is a folder" if path.is_dir() else "cannot be opened"
    named = named_table(path.name, layouts)
    if named is not None:
        return f"{path.name}: {what}, and is named like a file of {named}; move its files out, or rename it"
    for name in _names_below(path):
        if not _DOCUMENT.search(name) and named_table(Path(name).name, layouts) is not None:
            return (
                f"{path.name}: is a folder that holds {name}; subfolders are not read. Move its files beside the "
                "others, or out of the folder"
            )
    return None


def named_table(name: str, layouts: Sequence[SourceTable]) -> str | None:
    """The table that a file's name speaks of, wherever in it: MHSDS tables by their number, others by their name."""
    return next((table for pattern, table in _patterns(tuple(_names(layouts))) if pattern.search(name)), None)


def _names(layouts: Sequence[SourceTable]) -> Iterator[tuple[str, str]]:
    """What stands for a table in a name, and the table's own name."""
    for layout in layouts:
        for name in layout.names:
            number = _NUMBER.match(name)
            yield (number.group() if number else name), layout.names[0]


@cache
def _patterns(names: tuple[tuple[str, str], ...]) -> list[tuple[re.Pattern[str], str]]:
    """Separators between the letters do not matter, a letter or digit beside them does."""
    found: dict[str, str] = {}
    for text, table in names:
        letters = [re.escape(letter) for letter in text if letter.isalnum()]
        after = r"(?!\d)" if _NUMBER.fullmatch(text) else "(?![a-z])"
        found.setdefault(r"(?<![a-z0-9])" + r"[_\-. ]?".join(letters) + after, table)
    return [(re.compile(pattern, re.IGNORECASE), table) for pattern, table in found.items()]


def _refusal(file: str, what: str, table: str, endings: str) -> str:
    return (
        f"{file}: {what}, but is not read; allowed names: {table}, alone or with digits or _, -, . or a space and more "
        f"after it, before it at most dbo., ending in {endings}. Rename it, or move it out of the folder"
    )


def _tells(layout: SourceTable, header: Header) -> bool:
    """Whether a header holds everything a layout needs, and enough that no other table has."""
    common = _OF_EVERY_TABLE | ({"person_id"} if any(c.column.name == "month_id" for c in layout.columns) else set())
    telling = [c for c in layout.columns if c.column.name not in common and not c.column.name.startswith("_")]
    return not layout.missing(header) and sum(bool(c.headers(header)) for c in telling) >= _LEAST_TELLING


def _peek(member: Member) -> Header | None:
    """The header of a file of unknown kind, if it has one; of text, of the first separator that gives most names."""
    try:
        if _PARQUET.search(member.file_name):
            with member.on_disk() as path:
                return Header(tuple(pq.read_schema(path).names), ",", has_rows=True)
        with open_binary(member) as stream:
            line = stream.readline(HEADER_BYTES)
        text = line.decode("utf-8-sig")
    except (*DAMAGE, UnicodeDecodeError, ValueError, SourceError):
        return None
    if "\0" in text:
        return None
    parts = max((text.split(mark) for mark in (*DELIMITERS, ";")), key=len)
    return Header(tuple(name.strip().strip('"') for name in parts), ",", has_rows=True)


def _names_below(folder: Path) -> Iterator[str]:
    """The files in a folder and in the zip archives in it, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.casefold() == ".zip":
            yield from (member.file_name for member in members_of(path)[0])
        elif path.is_file():
            yield path.relative_to(folder).as_posix()
