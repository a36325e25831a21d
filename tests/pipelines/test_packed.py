"""Files as they come: zip, gzip, zstd, and whatever can be wrong with them; each damage is named with file and line."""

import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import SourceError
from pipelines.lake import Lake, check_source, write_lake
from pipelines.sources import csv_files
from pipelines.sources.packed import Member
from tests.tiny_extract import CONTACT, SPELL, account, read_all, read_quarantine, tiny, write_csv, write_extract

TABLES = ("person_month", "spell", "ward_stay", "contact")
MANY = [CONTACT | {"MHS201UniqID": str(n), "UniqCareContID": f"C{n * 7919 % 100_003}"} for n in range(20_000)]
CONTACTS = "MHS201CareContact_2017.csv"


def zstd(content: bytes) -> bytes:
    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, "zstd") as stream:
        stream.write(content)
    return bytes(target.getvalue().to_pybytes())


def two_frames(content: bytes) -> bytes:
    """As two packed files that were put behind each other."""
    return zstd(content[:100]) + zstd(content[100:])


def source_of(folder: Path, contacts: list[dict[str, str]] | None = None) -> Path:
    return write_extract(folder / "source", tiny(MHS201CareContact=contacts or [CONTACT]))


def zip_up(source: Path, archive: str, pattern: str = "*.csv", inside: str = "", method: int = 8) -> Path:
    """Move the files of a folder that fit a pattern into an archive beside them."""
    with zipfile.ZipFile(source / archive, "w", method) as target:
        for path in sorted(source.glob(pattern)):
            target.write(path, f"{inside}{path.name}")
            path.unlink()
    return source / archive


def tables_of(lake: Lake) -> list[object]:
    return [read_all(lake, table).rows() for table in TABLES]


def problems_of(source: Path) -> list[str]:
    with pytest.raises(SourceError) as caught:
        write_lake(source, source.parent / "lake")
    return caught.value.problems


@pytest.mark.parametrize(
    ("ending", "pack"),
    [(".gz", gzip.compress), (".zst", zstd), (".zst", two_frames), (".zstd", zstd), ("", gzip.compress), ("", zstd)],
)
def test_a_packed_file_reads_like_a_plain_one(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    source = source_of(tmp_path, MANY)
    expected = tables_of(write_lake(source, tmp_path / "plain", n_buckets=2))
    content = (source / CONTACTS).read_bytes()
    (source / CONTACTS).unlink()
    (source / f"{CONTACTS}{ending}").write_bytes(pack(content))
    assert tables_of(write_lake(source, tmp_path / "packed", n_buckets=2)) == expected


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_all_files_reads_like_a_folder(tmp_path: Path, method: int) -> None:
    source = source_of(tmp_path, MANY)
    expected = tables_of(write_lake(source, tmp_path / "plain", n_buckets=2))
    zip_up(source, "delivery.zip", inside="2017/", method=method)
    lake = write_lake(source, tmp_path / "packed", n_buckets=2)
    assert tables_of(lake) == expected
    assert account(lake, "delivery.zip!2017!MHS201CareContact_2017.csv")["rows_read"] == 20_000


def test_an_archive_may_hold_one_file_of_a_table_of_many(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    write_csv(source / "MHS201CareContact_2018.csv", [CONTACT | {"MHS201UniqID": "2", "UniqCareContID": "C2"}])
    zip_up(source, "MHS201CareContact_2018.zip", "MHS201*2018.csv")
    assert read_all(write_lake(source, tmp_path / "lake"), "contact")["contact_id"].to_list() == ["C1", "C2"]


def test_a_member_may_be_packed_once_more(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    for name, pack in ((CONTACTS, gzip.compress), ("MHS501HospProvSpell_2017.csv", zstd)):
        packed = source / f"{name}{'.gz' if pack is gzip.compress else '.zst'}"
        packed.write_bytes(pack((source / name).read_bytes()))
        (source / name).unlink()
    zip_up(source, "a.zip", "*2017.csv.*")
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "contact").height == read_all(lake, "spell").height == 1


def test_a_member_may_have_any_habit_of_a_file(tmp_path: Path) -> None:
    """Pipes, a byte-order mark, Windows-1252, a quoted separator, and a folder written with a backslash."""
    source = source_of(tmp_path)
    text = "|".join(CONTACT) + "|Note\r\n" + "|".join(CONTACT.values()) + '|"a|b é"\r\n'
    (source / CONTACTS).unlink()
    with zipfile.ZipFile(source / "a.zip", "w") as target:
        target.writestr(rf"year 2017\{CONTACTS}", text.encode("cp1252"))
        target.writestr("MHS201CareContact_2018.csv", b"\xef\xbb\xbf" + text.replace("|C1|", "|C2|").encode())
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "contact")["contact_id"].to_list() == ["C1", "C2"]
    assert account(lake, f"a.zip!year 2017!{CONTACTS}")["encoding"] == "cp1252"


def test_rows_set_aside_are_found_by_archive_member_and_line(tmp_path: Path) -> None:
    source = source_of(tmp_path, [CONTACT, CONTACT | {"CareContDate": "soon"}])
    zip_up(source, "a.zip", "MHS201*")
    quarantine = read_quarantine(write_lake(source, tmp_path / "lake"))
    assert quarantine.select("file", "line", "reason").rows() == [
        (f"a.zip!{CONTACTS}", 3, "bad_date:contact_date"),
    ]


def test_what_macos_adds_is_passed_over(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    with zipfile.ZipFile(source / "a.zip", "w") as target:
        target.writestr(f"__MACOSX/._{CONTACTS}", b"\0\5\x16\7")
        target.writestr("readme.txt", b"hello")
    assert write_lake(source, tmp_path / "lake").manifest["ignored_files"] == [
        f"a.zip!__MACOSX!._{CONTACTS}",
        "a.zip!readme.txt",
    ]


def test_the_checksum_is_of_the_members_bytes_as_they_lie(tmp_path: Path) -> None:
    """Stored, they are those of the file itself; another member does not change it."""
    source = source_of(tmp_path)
    expected = hashlib.sha256((source / CONTACTS).read_bytes()).hexdigest()
    archive = zip_up(source, "a.zip", method=zipfile.ZIP_STORED)
    assert csv_files.digest(Member(archive, CONTACTS)) == expected
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr("more.txt", b"more")
    assert csv_files.digest(Member(archive, CONTACTS)) == expected


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstd)])
def test_a_file_that_breaks_off_is_named_with_the_last_line_that_can_be_read(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    source = source_of(tmp_path, MANY)
    content = pack((source / CONTACTS).read_bytes())
    (source / f"{CONTACTS}{ending}").write_bytes(content[: len(content) * 3 // 4])
    (source / CONTACTS).unlink()
    (problem,) = problems_of(source)
    start, line = problem.split("(after line ")
    assert start == f"{CONTACTS}{ending}: is cut off or damaged "
    assert 10_000 < int(line.rstrip(")")) < 20_000  # three quarters of the bytes are more than half of the lines


def test_a_damaged_member_is_named_with_its_line(tmp_path: Path) -> None:
    source = source_of(tmp_path, MANY)
    archive = zip_up(source, "a.zip", "MHS201*")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    (problem,) = problems_of(source)
    assert problem.startswith(f"a.zip!{CONTACTS}: is cut off or damaged (after line ")


def test_all_unreadable_archives_and_files_are_named_at_once(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    whole = zip_up(source, "a.zip", "MHS201*").read_bytes()
    (source / "a.zip").write_bytes(whole[:-30])
    encrypted, other = bytearray(whole), bytearray(whole)
    directory = whole.index(b"PK\1\2")
    encrypted[directory + 8] |= 1
    other[directory + 10] = 9
    (source / "b.zip").write_bytes(encrypted)
    (source / "c.zip").write_bytes(other)
    twice = zipfile.ZipFile(source / "d.zip", "w")
    twice.writestr(CONTACTS, b"a")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice.writestr(CONTACTS, b"b")
    twice.close()
    assert check_source(source) == [
        "a.zip: is no zip archive, or is cut off",
        f"b.zip!{CONTACTS}: is encrypted; take it out of its archive with its password first",
        f"c.zip!{CONTACTS}: is packed with zip method 9; allowed: stored (0), deflate (8), bzip2 (12), lzma (14). "
        "Unpack it, or pack it again with another program",
        f"d.zip!{CONTACTS}: is in the archive more than once",
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16 text"),
        (b"PK\x03\x04rest of a workbook\n", "is a zip archive or a workbook, whatever its name says"),
        (b"PAR1 rest of a file\n", "is a Parquet file, whatever its name says"),
    ],
)
def test_what_is_no_text_is_named_with_what_is_allowed(tmp_path: Path, content: bytes, what: str) -> None:
    source = source_of(tmp_path)
    (source / CONTACTS).write_bytes(content)
    assert check_source(source) == [
        f"{CONTACTS}: {what}; allowed: comma-, pipe- or tab-separated text in UTF-8 or Windows-1252, as it is or "
        "packed with gzip (.gz), zstd (.zst) or in a zip archive (.zip)"
    ]


def test_text_of_neither_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    """0x81 has no meaning in Windows-1252, and none in UTF-8 where it stands; 0xE9 is é in the former."""
    source = source_of(tmp_path, [CONTACT, CONTACT | {"UniqCareContID": "@"}, CONTACT | {"UniqCareContID": "#"}])
    text = (source / CONTACTS).read_bytes().replace(b"@", b"\xe9").replace(b"#", b"\x81")
    (source / CONTACTS).write_bytes(text)
    assert problems_of(source) == [
        f"{CONTACTS}: is neither UTF-8 nor Windows-1252 text (line 4 is the first that is neither)"
    ]


@pytest.mark.parametrize("delimiter", [",", "|", "\t"])
def test_a_quoted_header_may_hold_another_separator(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'"One, two|three\tfour"{delimiter}Five\n1{delimiter}2\n')
    header = csv_files.read_header(path)
    assert header.names == ("One, two|three\tfour", "Five")
    assert header.delimiter == delimiter


def test_a_member_with_line_breaks_in_quotes_is_read_in_one_piece(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr("x.csv", 'a,b\n"1\n2",3\n')
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    member = Member(tmp_path / "a.zip", "x.csv")
    (piece,) = csv_files.look_through(member).pieces
    (batch,) = csv_files.read_batches(member, csv_files.read_header(member), piece)
    assert batch.rows.select("a", "b", "_line").rows() == [("1\n2", "3", 2)]


def test_spells_of_the_tiny_extract_are_unharmed(tmp_path: Path) -> None:
    """The checks above compare lakes with each other; this one compares with what was written by hand."""
    source = source_of(tmp_path)
    zip_up(source, "a.zip")
    spell = read_all(write_lake(source, tmp_path / "lake"), "spell")
    assert spell["spell_id"].to_list() == [SPELL["UniqHospProvSpellID"]]
