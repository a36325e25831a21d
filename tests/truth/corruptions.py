"""Ways in which a file of an extract is spoiled, each with how far it may reach.

A corruption changes the files (name -> bytes) in place and says of the file how far the change may be felt:

    NOBODY   the file says the same in another way: every table stays as it is
    LINES    only the people named in lines that are not the same as before (or in lines taken away or added)
    FILE     everybody in the file's tables, but then it is refused or seen in the account
    UNSEEN   as FILE, but nothing can tell it from a valid file (two columns have exchanged their names)

Every one draws from the generator it is given and from nothing else, so a case can be made again from its number.
"""

import gzip
import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from tests.truth.base_extracts import pack, unpack

Rng = random.Random
DELIMITER = b","
BESIDE = [
    (one.encode(), other.encode())
    for pair in (
        ("UniqHospProvSpellID", "UniqHospProvSpellNum"),
        ("SourceAdmMHHospProvSpell", "SourceAdmCodeHospProvSpell"),
        ("MethAdmMHHospProvSpell", "AdmMethCodeHospProvSpell"),
        ("MethOfDischMHHospProvSpell", "DischMethCodeHospProvSpell"),
        ("DestOfDischHospProvSpell", "DischDestCodeHospProvSpell"),
        ("HospitalBedTypeMH", "MHAdmittedPatientClass"),
        ("AttendOrDNACode", "AttendStatus"),
        ("ConsMechanismMH", "ConsMediumUsed"),
        ("CodedDiagTimestamp", "DiagDate"),
        ("AccommodationType", "AccommodationStatusCode"),
        ("CodeProcAndProcStatus", "Procedure"),
        ("Person_ID", "TokenID"),
    )
    for one, other in (pair, pair[::-1])
]
"""Names of one column in two releases (DOMAIN B3)."""
MEMBER = "!"  # between an archive and a file in it


class Reach(IntEnum):
    NOBODY = 0
    LINES = 1
    FILE = 2
    UNSEEN = 3


@dataclass
class Files:
    """An extract while it is spoiled: contents by name, how far each file's corruption reaches, files under another
    name, things that are no regular files (made last, in the folder), and what was done."""

    contents: dict[str, bytes]
    reaches: dict[str, Reach] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    places: list[Callable[[Path], None]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def text(self, name: str) -> bytes:
        """The text of a file, unpacked; `archive!member` is in an archive."""
        archive, _, member = name.partition(MEMBER)
        if not member:
            return unpack(name, self.contents[name])
        with zipfile.ZipFile(io.BytesIO(self.contents[archive])) as packed:
            return packed.read(member)

    def put(self, name: str, text: bytes) -> None:
        archive, _, member = name.partition(MEMBER)
        if not member:
            self.contents[name] = pack(name, text)
            return
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(member, text)
        self.contents[archive] = written.getvalue()

    def reach(self, name: str, reach: Reach) -> None:
        self.reaches[name] = max(reach, self.reaches.get(name, Reach.NOBODY))


Corrupt = Callable[[Rng, Files, str], None]
TEXT: dict[str, Corrupt] = {}
PARQUET: dict[str, Corrupt] = {}
WHOLE: dict[str, Corrupt] = {}


def _kind(group: dict[str, Corrupt], reach: Reach | None) -> Callable[[Corrupt], Corrupt]:
    """Register a corruption under its name; with `reach` None it says itself how far it reaches."""

    def register(corrupt: Corrupt) -> Corrupt:
        def run(rng: Rng, files: Files, name: str) -> None:
            corrupt(rng, files, name)
            files.done.append(f"{corrupt.__name__}({name})")
            if reach is not None:
                files.reach(name, reach)

        group[corrupt.__name__] = run
        return corrupt

    return register


def _split(text: bytes) -> tuple[bytes, list[bytes]]:
    header, *lines = text.splitlines(keepends=True) or [b""]
    return header, lines


def _some(rng: Rng, lines: Sequence[bytes]) -> list[int]:
    """One to four places among the lines."""
    return sorted(rng.sample(range(len(lines)), min(len(lines), rng.choice((1, 1, 2, 4)))))


def _edit_lines(change: Callable[[Rng, bytes], bytes]) -> Corrupt:
    """Change some lines on their own, whatever they end with."""

    def corrupt(rng: Rng, files: Files, name: str) -> None:
        header, lines = _split(files.text(name))
        for place in _some(rng, lines):
            body = lines[place].rstrip(b"\r\n")
            lines[place] = change(rng, body) + lines[place][len(body) :]
        files.put(name, b"".join([header, *lines]))

    return corrupt


def _lines_kind(name: str, change: Callable[[Rng, bytes], bytes]) -> None:
    corrupt = _edit_lines(change)
    corrupt.__name__ = name
    _kind(TEXT, Reach.LINES)(corrupt)


def _cell_kind(name: str, values: Sequence[str]) -> None:
    """Put one of the values into a cell or two."""

    def change(rng: Rng, line: bytes) -> bytes:
        cells = line.split(DELIMITER)
        for _ in range(rng.choice((1, 1, 2))):
            cells[rng.randrange(len(cells))] = rng.choice(values).encode()
        return DELIMITER.join(cells)

    _lines_kind(name, change)


NUMBERS = (
    "1e400",
    "-1e400",
    "nan",
    "inf",
    "-inf",
    "NaN",
    "9" * 40,
    "-1",
    "0",
    "1.5",
    "0x1F",
    "1_000",
    "1,5"[:1] + ".5",
)
NUMBERS += ("９", "²", "+5", " 7 ", "7.0", "abc", "9223372036854775807", "9223372036854775808", "-9223372036854775808")
NUMBERS += ("2147483648", "1e5", "TRUE", "--", "1/0", "12345678")
DATES = ("31/02/2017", "0000-00-00", "0001-01-01", "9999-12-31", "1900-01-01", "01/02/17", "17-02-01", "2017-13-01")
DATES += ("2017-02-30", "20170203", "2017-02-03T10:11:12", "2017-02-03 10:11:12.123456", "2017-02-03T10:11:12+01:00")
DATES += ("42790", "42790.5", "03.02.2017", "Feb 3 2017", "2017-2-3", "3/2/2017", "12/31/2017", "99999-01-01")
DATES += ("-2017-01-01", "2017-02-03Z", "262142-01-01", "1582-10-15", "10000-01-01", "2017/02/03", "2017-06-31")
IDS = (
    "",
    " ",
    "<NHS_No>",
    "<>",
    "<",
    "x" * 5000,
    "\u200b",
    "\u202e123",
    "Ünï¢ödé",
    "日本",
    "💥",
    "\xa0",
    "NULL",
    "null",
)
IDS += ("=1+1", "-", "''", "../../x", "%00", "a b", "\\N", "\x1b[0m", "None", "NA", "0", "\ufeff", "a\x00b", "é")
_cell_kind("numbers", NUMBERS)
_cell_kind("dates", DATES)
_cell_kind("ids", IDS)


def _of_line(rng: Rng, line: bytes) -> int:
    return rng.randrange(len(line) + 1)


def _flip(rng: Rng, line: bytes) -> bytes:
    changed = bytearray(line)
    for _ in range(rng.choice((1, 1, 3)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(rng: Rng, line: bytes) -> bytes:
    at = _of_line(rng, line)
    return line[:at] + rng.randbytes(rng.choice((1, 1, 2, 7))) + line[at:]


def _delete(rng: Rng, line: bytes) -> bytes:
    at = _of_line(rng, line)
    return line[:at] + line[at + rng.choice((1, 1, 2, 20)) :]


def _put_in(*texts: bytes) -> Callable[[Rng, bytes], bytes]:
    def change(rng: Rng, line: bytes) -> bytes:
        at = _of_line(rng, line)
        return line[:at] + rng.choice(texts) + line[at:]

    return change


def _start_cell(text: bytes) -> Callable[[Rng, bytes], bytes]:
    def change(rng: Rng, line: bytes) -> bytes:
        cells = line.split(DELIMITER)
        place = rng.randrange(len(cells))
        cells[place] = text + cells[place]
        return DELIMITER.join(cells)

    return change


def _swap_cells(rng: Rng, line: bytes) -> bytes:
    cells = line.split(DELIMITER)
    one, two = rng.randrange(len(cells)), rng.randrange(len(cells))
    cells[one], cells[two] = cells[two], cells[one]
    return DELIMITER.join(cells)


def _shorten(rng: Rng, line: bytes) -> bytes:
    cells = line.split(DELIMITER)
    return DELIMITER.join(cells[: rng.randrange(len(cells))])


def _quote_whole_cell(rng: Rng, line: bytes) -> bytes:
    cells = line.split(DELIMITER)
    place = rng.randrange(len(cells))
    cells[place] = b'"' + cells[place] + rng.choice((b'"', b'""', b'" ', b'"x', b'\n"'))
    return DELIMITER.join(cells)


_lines_kind("flipped_bits", _flip)
_lines_kind("inserted_bytes", _insert)
_lines_kind("deleted_bytes", _delete)
_lines_kind("null_bytes", _put_in(b"\0", b"\0\0\0\0"))
_lines_kind("odd_bom", _put_in(b"\xef\xbb\xbf", b"\xff\xfe"))
_lines_kind("bom_before_a_line", lambda _, line: b"\xef\xbb\xbf" + line)
_lines_kind("stray_carriage_return", _put_in(b"\r", b"\r\r", b"\n\r"))
_lines_kind("stray_line_feed", _put_in(b"\n", b"\x0b", b"\x0c", b"\x85", b"\xe2\x80\xa8"))
_lines_kind("stray_quote", _put_in(b'"', b'""', b'"""', b"'"))
_lines_kind("opened_quote", _start_cell(b'"'))
_lines_kind("quoted_cell", _quote_whole_cell)
_lines_kind("windows_letter_in_a_line", _put_in(b"\xe9", b"\x80", b"\x81", b"\xc3", b"\xe9t\xe9"))
_lines_kind("utf8_letter_in_a_line", _put_in("é".encode(), "€".encode(), "Ω".encode(), "\u0085".encode()))
_lines_kind("utf16_line", lambda _, line: line.decode("latin-1").encode("utf-16"))
_lines_kind("other_delimiter_in_a_line", lambda rng, line: line.replace(b",", rng.choice((b";", b"|", b"\t"))))
_lines_kind("swapped_cells", _swap_cells)
_lines_kind("shortened_row", _shorten)
_lines_kind("lengthened_row", lambda rng, line: line + rng.choice((b",", b",,", b",x", b"," * 500, b",\xe9")))
_lines_kind("line_of_spaces", lambda rng, line: line + b"\n" + rng.choice((b" ", b"\t", b"   \t ", b",", b"\x1a")))
_lines_kind("garbage_line", lambda rng, line: line + b"\n" + rng.randbytes(rng.randrange(1, 60)))
_lines_kind("long_cell", lambda rng, line: line + rng.choice((b"x", b"\xc3\xa9", b" ")) * 70_000)
_lines_kind("emptied_row", lambda _, line: b"," * line.count(b","))


@_kind(TEXT, Reach.LINES)
def another_persons_cell(rng: Rng, files: Files, name: str) -> None:
    """A cell, with luck an id, a record number or a submission, of another line."""
    header, lines = _split(files.text(name))
    if len(lines) < 2:
        return
    one, two = rng.sample(range(len(lines)), 2)
    cells, others = (lines[place].split(DELIMITER) for place in (one, two))
    for place in rng.sample(range(min(len(cells), len(others))), rng.choice((1, 1, 3))):
        ends = b"\n" if place == len(cells) - 1 else b""
        cells[place] = others[place].rstrip(b"\r\n") + ends
    lines[one] = DELIMITER.join(cells)
    files.put(name, b"".join([header, *lines]))


@_kind(TEXT, Reach.LINES)
def two_stray_quotes(rng: Rng, files: Files, name: str) -> None:
    """An opening quote in one line and a closing one in a later line, so that all between may look like a cell."""
    header, lines = _split(files.text(name))
    if len(lines) < 2:
        return
    first = rng.randrange(len(lines) - 1)
    last = min(len(lines) - 1, first + rng.choice((1, 1, 2, 5)))
    above, below = lines[first].split(DELIMITER), lines[last].rstrip(b"\r\n").split(DELIMITER)
    place = rng.randrange(min(len(above), len(below)))
    above[place] = b'"' + above[place]
    place = place if rng.random() < 0.7 else rng.randrange(len(below))
    below[place] += b'"'
    lines[first], lines[last] = DELIMITER.join(above), DELIMITER.join(below) + b"\n"
    files.put(name, b"".join([header, *lines]))


@_kind(TEXT, Reach.LINES)
def cut_off(rng: Rng, files: Files, name: str) -> None:
    text = files.text(name)
    body = text.find(b"\n") + 1
    files.put(name, text[: rng.randrange(body, len(text) + 1)] if body else text)


@_kind(TEXT, None)
def cut_off_in_the_header(rng: Rng, files: Files, name: str) -> None:
    text = files.text(name)
    files.put(name, text[: rng.randrange(max(1, text.find(b"\n")))])
    files.reach(name, Reach.FILE)


@_kind(TEXT, Reach.LINES)
def lines_taken_away(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    gone = set(_some(rng, lines))
    files.put(name, b"".join([header, *(line for place, line in enumerate(lines) if place not in gone)]))


@_kind(TEXT, Reach.LINES)
def header_repeated_among_the_rows(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    lines.insert(rng.randrange(len(lines) + 1), header)
    files.put(name, b"".join([header, *lines]))


@_kind(TEXT, Reach.NOBODY)
def rows_repeated(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    for place in _some(rng, lines):
        ended = lines[place].rstrip(b"\r\n") + b"\n"
        lines.insert(rng.randrange(place + 1), ended)
    files.put(name, b"".join([header, *lines]))


@_kind(TEXT, Reach.NOBODY)
def rows_moved(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    lines = [line.rstrip(b"\r\n") + b"\n" for line in lines]
    rng.shuffle(lines)
    files.put(name, b"".join([header, *lines]))


@_kind(TEXT, Reach.NOBODY)
def blank_lines(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    ended = [header, *lines]
    for _ in range(rng.choice((1, 3, 10))):
        ended.insert(rng.randrange(1, len(ended) + 1), rng.choice((b"\n", b"\r\n")))
    files.put(name, b"".join(ended))


@_kind(TEXT, Reach.NOBODY)
def other_line_ends(rng: Rng, files: Files, name: str) -> None:
    ends = rng.choice(((b"\r\n",), (b"\r\n", b"\n"), (b"\n",)))
    header, *lines = (line.rstrip(b"\r\n") for line in _split_all(files.text(name)))
    text = b"".join(line + rng.choice(ends) for line in (header, *lines))
    files.put(name, text.rstrip(b"\r\n") if rng.random() < 0.3 else text)


def _split_all(text: bytes) -> list[bytes]:
    header, lines = _split(text)
    return [header, *lines]


@_kind(TEXT, Reach.FILE)
def carriage_returns_only(rng: Rng, files: Files, name: str) -> None:
    lines = [line.rstrip(b"\r\n") for line in _split_all(files.text(name))]
    mixed = rng.random() < 0.5
    files.put(name, b"".join(line + (rng.choice((b"\r", b"\n")) if mixed else b"\r") for line in lines))


@_kind(TEXT, None)
def other_delimiter(rng: Rng, files: Files, name: str) -> None:
    delimiter = rng.choice((b"|", b"\t", b";", b"^", b"\x1f", b" "))
    text = files.text(name)
    files.put(name, text.replace(b",", delimiter))
    read = delimiter in (b"|", b"\t") and delimiter not in text and b'"' not in text
    files.reach(name, Reach.NOBODY if read else Reach.FILE)


@_kind(TEXT, Reach.FILE)
def other_delimiter_in_the_header(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    files.put(name, b"".join([header.replace(b",", rng.choice((b"|", b"\t", b";"))), *lines]))


@_kind(TEXT, None)
def other_encoding(rng: Rng, files: Files, name: str) -> None:
    text = files.text(name).decode("utf-8", errors="ignore")
    encoding = rng.choice(("utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037", "utf-7"))
    files.put(name, text.encode(encoding, errors="ignore"))
    files.reach(name, Reach.NOBODY if encoding in ("utf-8-sig", "cp1252") else Reach.FILE)


def _edit_header(change: Callable[[Rng, list[bytes]], None], reach: Reach, name: str) -> None:
    def corrupt(rng: Rng, files: Files, file: str) -> None:
        header, lines = _split(files.text(file))
        names = header.rstrip(b"\r\n").split(DELIMITER)
        change(rng, names)
        files.put(file, b"".join([DELIMITER.join(names), b"\n", *lines]))

    corrupt.__name__ = name
    _kind(TEXT, reach)(corrupt)


def _rename(rng: Rng, names: list[bytes]) -> None:
    other = (b"renamed", b"", b" ", names[0][:-1], names[0] + b"2", b"\xff", "Spälte".encode(), b"x" * 3000, b"a\0b")
    names[rng.randrange(len(names))] = rng.choice(other)


def _repeat(rng: Rng, names: list[bytes]) -> None:
    names[rng.randrange(len(names))] = rng.choice(names).swapcase()


def _drop(rng: Rng, names: list[bytes]) -> None:
    del names[rng.randrange(len(names))]


def _exchange(rng: Rng, names: list[bytes]) -> None:
    one, two = rng.randrange(len(names)), rng.randrange(len(names))
    names[one], names[two] = names[two], names[one]


def _recase(rng: Rng, names: list[bytes]) -> None:
    change = rng.choice((bytes.lower, bytes.upper, bytes.swapcase))
    names[:] = [change(name) for name in names]


def _pad(rng: Rng, names: list[bytes]) -> None:
    names[:] = [rng.choice((b"", b" ")) + name + rng.choice((b"", b" ", b"\t"[:0])) for name in names]


def _quote(rng: Rng, names: list[bytes]) -> None:
    names[:] = [b'"' + name + b'"' if rng.random() < 0.5 else name for name in names]


def _spoil(rng: Rng, names: list[bytes]) -> None:
    place = rng.randrange(len(names))
    names[place] = rng.choice((_flip, _insert, _delete, _put_in(b'"', b"\r", b"\0", b"\xef\xbb\xbf")))(
        rng, names[place]
    )


_edit_header(_rename, Reach.FILE, "header_renamed")
_edit_header(_repeat, Reach.FILE, "header_repeated")
_edit_header(_drop, Reach.FILE, "header_dropped")
_edit_header(_exchange, Reach.UNSEEN, "header_exchanged")
_edit_header(_recase, Reach.NOBODY, "header_in_another_case")
_edit_header(_pad, Reach.NOBODY, "header_with_spaces")
_edit_header(_quote, Reach.NOBODY, "header_in_quotes")
_edit_header(_spoil, Reach.FILE, "header_spoiled")


@_kind(TEXT, Reach.NOBODY)
def union_of_layouts(rng: Rng, files: Files, name: str) -> None:
    """Columns under the names that another release has for them, at the end: each row is filled under the one name, the
    other, or both. Lines that are no rows stay none; rows that were the same stay the same."""
    header, lines = _split(files.text(name))
    names = header.rstrip(b"\r\n").split(DELIMITER)
    both = [(names.index(one), other) for one, other in BESIDE if one in names and other not in names]
    seed = rng.randrange(1000)
    for place, line in enumerate(lines):
        body = line.rstrip(b"\r\n")
        cells = body.split(DELIMITER)
        is_row = len(cells) == len(names) and b'"' not in body
        added = []
        for column, _ in both:
            what = zlib.crc32(body, seed + column) % 3 if is_row else 0
            added.append(cells[column] if what else b"")
            cells[column] = b"" if what == 1 else cells[column]
        if body:
            lines[place] = DELIMITER.join([*cells, *added]) + line[len(body) :]
    names += [other for _, other in both]
    files.put(name, b"".join([DELIMITER.join(names), b"\n", *lines]))


@_kind(TEXT, Reach.FILE)
def header_gone(rng: Rng, files: Files, name: str) -> None:
    _, lines = _split(files.text(name))
    files.put(name, b"".join(lines))


@_kind(TEXT, Reach.FILE)
def something_above_the_header(rng: Rng, files: Files, name: str) -> None:
    above = rng.choice((b"\n", b"Extract of 2019\n", b"\r\n\r\n", b"sep=,\n", b",,,\n", b"# x\n", b"\x00\n"))
    files.put(name, above + files.text(name))


def _columns(change: Callable[[Rng, list[int]], None], reach: Reach, name: str) -> None:
    """Change the order of whole columns (header and cells); lines with quotes or of another width stay."""

    def corrupt(rng: Rng, files: Files, file: str) -> None:
        lines = _split_all(files.text(file))
        width = lines[0].count(DELIMITER) + 1
        order = list(range(width))
        change(rng, order)
        if b'"' not in b"".join(lines) and all(line.count(DELIMITER) + 1 == width for line in lines):
            cells = [line.rstrip(b"\r\n").split(DELIMITER) for line in lines]
            files.put(file, b"".join(DELIMITER.join(row[place] for place in order) + b"\n" for row in cells))

    corrupt.__name__ = name
    _kind(TEXT, reach)(corrupt)


_columns(lambda rng, order: rng.shuffle(order), Reach.NOBODY, "columns_reordered")
_columns(lambda rng, order: order.pop(rng.randrange(len(order))) and None, Reach.FILE, "column_gone")


@_kind(TEXT, Reach.NOBODY)
def column_more(rng: Rng, files: Files, name: str) -> None:
    lines = _split_all(files.text(name))
    if b'"' in b"".join(lines):
        return
    extra = rng.choice((b"", b"x", b"2017-01-01"))
    text = [
        line.rstrip(b"\r\n") + b"," + (b"Another_Column" if not n else extra) + b"\n" for n, line in enumerate(lines)
    ]
    files.put(name, b"".join(text))


@_kind(TEXT, Reach.FILE)
def nothing_but(rng: Rng, files: Files, name: str) -> None:
    header, _ = _split(files.text(name))
    left = (
        b"",
        b"\n",
        b"\n\n \n",
        b"\xef\xbb\xbf",
        b"\0" * 100,
        rng.randbytes(300),
        header,
        header.rstrip(),
        b'"',
        b",",
    )
    files.put(name, rng.choice(left))


@_kind(TEXT, Reach.LINES)
def noise_all_over(rng: Rng, files: Files, name: str) -> None:
    header, lines = _split(files.text(name))
    spoiled = [rng.choice((_flip, _insert, _delete))(rng, line) if rng.random() < 0.3 else line for line in lines]
    files.put(name, b"".join([header, *spoiled]))


def _swap_file(files: Files, name: str, content: bytes, other: str) -> None:
    del files.contents[name]
    files.contents[other] = content
    files.renamed[other] = files.renamed.pop(name, name)
    files.reaches[other] = files.reaches.pop(name, Reach.NOBODY)


@_kind(WHOLE, None)
def packed_or_not(rng: Rng, files: Files, name: str) -> None:
    """gzip where there was none, or the other way round: the same rows."""
    text = files.text(name)
    other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
    parts = (b"", text) if rng.random() < 0.5 else (text[: len(text) // 2], text[len(text) // 2 :])
    packed = b"".join(gzip.compress(part, mtime=0) for part in parts)  # two members are one file
    _swap_file(files, name, packed if other.endswith(".gz") else text, other)
    files.reach(other, Reach.NOBODY)


@_kind(WHOLE, None)
def damaged_gzip(rng: Rng, files: Files, name: str) -> None:
    packed = bytearray(gzip.compress(files.text(name), mtime=0))
    how = rng.randrange(6)
    if how == 0:
        packed = packed[: rng.randrange(len(packed))]
    elif how == 1:
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    elif how == 2:
        packed += rng.randbytes(20)
    elif how == 3:
        packed = bytearray(rng.randbytes(200))
    elif how == 4:
        packed = bytearray(files.text(name))
    else:
        packed[-8:] = rng.randbytes(8)
    other = name if name.endswith(".gz") else f"{name}.gz"
    _swap_file(files, name, bytes(packed), other)
    files.reach(other, Reach.FILE)


@_kind(WHOLE, None)
def gzip_without_saying_so(rng: Rng, files: Files, name: str) -> None:
    other = name.removesuffix(".gz")
    _swap_file(files, name, gzip.compress(files.text(name), mtime=0), other)
    files.reach(other, Reach.FILE)


ODD_ENDINGS = (" copy", ".final", "_(1)", "_été", "_日本", "_'", '_"', "_[0-9]", "_*", "_%20", "_a\nb", "_" + "x" * 200)
ODD_ENDINGS += ("_" + "y" * 222, "_" + "é" * 105)
ODD_ENDINGS += ("_$HOME", "_\udcff", "_\x01", "_!", "_{}", "-v2", "_ ", "_;", "_\u202e", "_x" * 90, "_..")


@_kind(WHOLE, None)
def odd_name(rng: Rng, files: Files, name: str) -> None:
    stem, dot, suffix = name.partition(".")
    kept = stem.split("_20")[0]
    other = f"{kept}{rng.choice(ODD_ENDINGS)}{dot}{suffix}"
    other = other.upper() if rng.random() < 0.2 and "\udcff" not in other else other
    _swap_file(files, name, files.contents[name], other)
    files.reach(other, Reach.FILE)


@_kind(WHOLE, None)
def file_gone(rng: Rng, files: Files, name: str) -> None:
    del files.contents[name]
    files.reach(name, Reach.FILE)


@_kind(WHOLE, None)
def another_ending(rng: Rng, files: Files, name: str) -> None:
    other = name.split(".", maxsplit=1)[0] + rng.choice(
        (".CSV", ".txt", ".tsv", ".csv.bak", ".xlsx", "", ".parquet", ".csv.zip")
    )
    _swap_file(files, name, files.contents[name], other)
    files.reach(other, Reach.FILE)


@_kind(WHOLE, None)
def no_regular_file(rng: Rng, files: Files, name: str) -> None:
    """A folder, a pipe or a link under the name of a table, in place of the file or beside it."""
    stem, _, suffix = name.partition(".")
    there = name if rng.random() < 0.4 else f"{stem}_b.{suffix}"
    replaced = there == name
    how = rng.choice(("folder", "pipe", "loop", "nowhere", "twin", "device"))
    content = files.contents[name]

    def make(folder: Path) -> None:
        path = folder / there
        if replaced:
            path.unlink()
        if how == "folder":
            (path / "inner").mkdir(parents=True)
        elif how == "pipe":
            import os

            os.mkfifo(path)
        elif how == "twin":
            kept = folder.with_name("elsewhere")
            kept.write_bytes(content)
            path.symlink_to(kept)
        else:
            path.symlink_to({"loop": path, "nowhere": folder / "no such file", "device": Path("/dev/null")}[how])

    files.places.append(make)
    files.done.append(f"{how} {there}")
    files.reach(name if replaced else there, Reach.NOBODY if how == "twin" or not replaced else Reach.FILE)


DESCRIPTION_TEXTS = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"1e999",
    b"NaN",
    b'{"a": NaN, "b": Infinity, "c": 1e999}',
    b'{"a": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"a": "\xff"}',
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\0}\0",
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"a": ' + b"9" * 5_000 + b"}",
    b'{"a": 1, "a": 2}',
    b'{"contains_real_data": "perhaps", "opt_out_applied": [[]]}',
    b'{"a": "\\u0000", "": {"": {}}}',
    b"{}{}",
    b'{"generation": "x", "files": 7, "format": null, "omop": 1}',
    b'{"\xc3\xa9": "' + "💥".encode() + b'"}',
)


def spoil_description(rng: Rng, files: Files) -> None:
    """The statement about the data: JSON of every wrong kind."""
    text = bytearray(files.contents["extract_manifest.json"])
    if rng.random() < 0.3:
        text[rng.randrange(len(text))] = rng.randrange(256)
    else:
        text = bytearray(rng.choice(DESCRIPTION_TEXTS))
    files.contents["extract_manifest.json"] = bytes(text)
    files.done.append(f"description {bytes(text[:40])!r}")


def spoil_bridge(rng: Rng, files: Files, people: Sequence[str]) -> None:
    """A bridging file of its own: circles, forks, chains, people who become one."""
    header = rng.choice((b"old_person_id,new_person_id", b"OldPersonID,NewPersonID", b"Person_ID,Pseudo_NHS_Number"))
    n = rng.choice((1, 2, 3, 30))
    ids = [*rng.sample(list(people), min(len(people), 3)), "X1", "X2", "", "<NHS_No>", "Ω", "x" * 300]
    pairs = [(rng.choice(ids), rng.choice(ids)) for _ in range(n)]
    if rng.random() < 0.3:
        pairs = [(f"X{place}", f"X{place + 1}") for place in range(40)] + pairs[:1]
    lines = [f"{old},{new}".encode() for old, new in pairs]
    files.contents["person_bridge_z.csv"] = b"\n".join([header, *lines, b""])
    files.reach("person_bridge_z.csv", Reach.LINES)
    files.done.append(f"bridge of {len(pairs)}")


def spoil_archive(rng: Rng, files: Files, name: str) -> None:
    """A zip archive that is none, or holds what it should not."""
    content = bytearray(files.contents[name])
    how = rng.randrange(6)
    if how == 0:
        content = content[: rng.randrange(len(content))]
    elif how == 1:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == 2:
        content = bytearray(rng.randbytes(300))
    else:
        inner = ("../../PERSON.csv", "/DEATH.csv", "a/b/../DEATH_2.csv", "DEATH\n.csv", "DEATH_é.csv", "DEATH_x.csv.gz")
        with io.BytesIO(bytes(content)) as stream, zipfile.ZipFile(stream, "a") as packed:
            packed.writestr(
                rng.choice(inner), rng.choice((b"", b"person_id,death_date\n", b"\x1f\x8b", b"person_id\n\n"))
            )
            packed.close()
            content = bytearray(stream.getvalue())
    files.contents[name] = bytes(content)
    files.reach(name, Reach.FILE)
    files.done.append(f"archive {how}")


def spoil_bytes(rng: Rng, files: Files, name: str) -> None:
    """Bytes of a packed or binary file as they lie on disk."""
    content = bytearray(files.contents[name])
    how = rng.randrange(4)
    if how == 0:
        content = content[: rng.randrange(len(content))]
    elif how == 1:
        for _ in range(rng.choice((1, 1, 5, 50))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif how == 2:
        start = rng.randrange(len(content))
        content[start : start + rng.choice((1, 8, 100))] = rng.randbytes(8)
    else:
        content = bytearray(rng.choice((b"", b"PAR1", b"PAR1PAR1", rng.randbytes(500), json.dumps({}).encode())))
    files.contents[name] = bytes(content)
    files.reach(name, Reach.FILE)
    files.done.append(f"bytes {how} of {name}")
