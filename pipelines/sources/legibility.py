"""Counts of cells and lines that could be read -> whether a file is in a form that is not read at all.

A cell that cannot be read is emptied or sets its row aside, and is counted. Where that happens to most cells of a
column that the file cannot do without, or to most lines, the file is in another form than is read, and a load of what
is left would be a load of another extract: it is refused.

Choice made: more than half, since in a file that is read rightly mistyped cells are few, and in one that is not they
are nearly all; and at least FEWEST cells or lines, so that a few mistyped ones in a small file stay what they are.
Numbers of months are judged in files of any size: where they count otherwise, every day that follows from one is off.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

FEWEST = 10
LINES = ""  # in the place of a header
_FORMS = {"%Y-%m-%d": "yyyy-mm-dd", "%d/%m/%Y": "dd/mm/yyyy", "%Y%m%d": "yyyymmdd"}
_NOT_READ = {
    "date": "are no date that is read",
    "int": "are no whole number that can stand there",
    "month": "number another month than their row reports on",
}
_WHOLE = "digits, as in 1402 or 1402.0"
_COUNTED = "months counted with April 1900 as 1 (January 2017 is 1402)"


class Legibility(NamedTuple):
    """Of the cells under a header: their kind, how many hold something, how many of these cannot be read, and the line
    of the first (0: none). With the header LINES it is about the lines of a file, which have as many fields as it has
    columns or not."""

    header: str
    kind: str
    written: int
    unreadable: int
    line: int

    @property
    def is_mostly_unreadable(self) -> bool:
        return (self.written >= FEWEST or self.kind == "month") and self.unreadable * 2 > self.written


def add_legibility(parts: Sequence[Legibility]) -> tuple[Legibility, ...]:
    """One for each header; of the lines the first."""
    ordered = sorted(parts, key=lambda part: (part.header, part.kind))
    return tuple(
        Legibility(
            header,
            kind,
            sum(part.written for part in same),
            sum(part.unreadable for part in same),
            min((part.line for part in same if part.line), default=0),
        )
        for (header, kind), group in groupby(ordered, key=lambda part: (part.header, part.kind))
        for same in [list(group)]
    )


def unreadable_problems(
    file: str, legibility: Sequence[Legibility], date_formats: Sequence[str], quarantined: Mapping[str, int]
) -> list[str]:
    """What of a whole file cannot be read for the most part; never what is written there.

    Args:
        quarantined: rows set aside, by reason.
    """
    problems = [_problem(file, one, date_formats) for one in legibility if one.is_mostly_unreadable]
    n_lines = sum(one.written for one in legibility if one.header == LINES)
    n_bad = sum(n for reason, n in quarantined.items() if reason == "malformed_line" or reason.startswith("bad_"))
    if not problems and n_lines >= FEWEST and n_bad * 2 > n_lines:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(quarantined.items()) if n)
        problems = [f"{file}: {n_bad:,} of {n_lines:,} lines cannot be used ({reasons}); allowed: at most half"]
    return problems


def _problem(file: str, one: Legibility, date_formats: Sequence[str]) -> str:
    of = f"{one.unreadable:,} of {one.written:,}"
    if one.header == LINES:
        return (
            f"{file}: {of} lines, line {one.line} the first, have another number of fields than line 1 has names (a "
            "delimiter at the end of each line?); allowed: at most half, which are set aside"
        )
    dates = " or ".join(_FORMS[form] for form in date_formats)
    forms = {"date": dates, "int": _WHOLE, "month": _COUNTED}[one.kind]
    return (
        f"{file}: column {one.header}: {of} cells that hold something, line {one.line} the first, "
        f"{_NOT_READ[one.kind]}; allowed: {forms} in at least half of them"
    )
