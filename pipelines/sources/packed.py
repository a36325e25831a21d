"""A file as it comes, or a member of a zip archive -> its content as a stream of unpacked bytes.

gzip and zstd are known by the ending of the name, else by the first bytes; a member of an archive may be packed once
more. Nothing is unpacked to disk unless somebody needs a file, so no archive has to fit into memory or on the disk.
"""

import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO, TypeAlias, cast

import pyarrow as pa

from pipelines.errors import SourceError

DAMAGE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError, pa.ArrowException)
"""What libraries raise on a file that is cut off or damaged."""
_ENDINGS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_FIRST_BYTES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
ZIP = ".zip"
_IS_ENCRYPTED = 0x1
_LOCAL_HEADER_BYTES = 30  # then follow the name and an extra field, whose lengths it gives (APPNOTE 4.3.7)


@dataclass(frozen=True)
class Member:
    """The file `path`, or with `inside` a file in the zip archive `path`."""

    path: Path
    inside: str | None = None

    @property
    def file_name(self) -> str:
        """Its own name, without folders; some programs write them with backslashes."""
        return PurePosixPath(self.inside.replace("\\", "/")).name if self.inside else self.path.name

    @property
    def name(self) -> str:
        """Unique among the files of a folder, and fit to be part of a path: archive.zip!member."""
        inside = (self.inside or "").replace("\\", "/").replace("/", "!")
        return f"{self.path.name}!{inside}" if inside else self.path.name

    @property
    def is_of_macos(self) -> bool:
        """Whether it is something that macOS adds to an archive or a folder (__MACOSX, ._NAME, .DS_Store)."""
        folders = PurePosixPath((self.inside or "").replace("\\", "/")).parts
        return self.file_name.startswith(".") or "__MACOSX" in folders

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """The file itself, or a temporary copy of a member. Raises SourceError."""
        if self.inside is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / self.file_name
            try:
                with open_raw(self) as packed, copy.open("wb") as target:
                    copyfileobj(packed, target)
            except DAMAGE as error:
                raise SourceError(f"{self.name}: cannot be unpacked ({type(error).__name__})") from None
            yield copy


File: TypeAlias = Path | Member


def list_members(folder: Path, problems: list[str]) -> Iterator[Member]:
    """The files of a folder and those in its zip archives, in order of names; what is wrong with archives is added to
    `problems`."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if (odd := _odd_name(path.name)) is not None:
            problems.append(odd)
        elif path.is_file() and path.suffix.casefold() == ZIP:
            members, faults = members_of(path)
            problems += faults
            yield from members
        elif path.is_file():
            yield Member(path)


def no_files(folder: Path) -> list[Path]:
    """What else lies in a folder: subfolders, and links that lead nowhere, in order of names."""
    others = [path for path in folder.iterdir() if _odd_name(path.name) is None and not path.is_file()]
    return sorted(others, key=lambda path: path.name)


def _odd_name(name: str) -> str | None:
    """What is wrong with the name of a file, if it cannot be written down as text."""
    shown = name.encode("utf-8", "backslashreplace").decode()
    return f"{shown}: the name of this file is not UTF-8; rename it" if shown != name else None


def members_of(archive: Path) -> tuple[list[Member], list[str]]:
    """The files in a zip archive in order of names, and what is wrong with it."""
    try:
        with zipfile.ZipFile(archive) as content:
            infos = [info for info in content.infolist() if not info.is_dir()]
    except DAMAGE:
        return [], [f"{archive.name}: is no zip archive, or is cut off"]
    members = sorted((Member(archive, info.filename) for info in infos), key=lambda member: member.name)
    names = [member.name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    return ([], [f"{name}: is in the archive more than once" for name in twice]) if twice else (members, [])


def plain_path(file: File) -> Path | None:
    """Where the text of a file can be read as it lies on disk; None when it must be unpacked first."""
    return None if is_packed(file) else _archive(file)


def packing(file: File) -> str | None:
    """How the file itself, inside its archive if it is in one, is packed: gzip, zstd or None."""
    name = file.file_name if isinstance(file, Member) else file.name
    known = _ENDINGS.get(PurePosixPath(name).suffix.casefold())
    if known is not None:
        return known
    with open_raw(file) as stream:
        first = stream.read(4)
    return next((kind for start, kind in _FIRST_BYTES.items() if first.startswith(start)), None)


def is_packed(file: File) -> bool:
    """Whether the file must be unpacked before it is text."""
    return _inside(file) is not None or packing(file) is not None


@contextmanager
def open_binary(file: File) -> Iterator[IO[bytes]]:
    """The unpacked bytes. Raises one of DAMAGE when it is opened or read, or SourceError for a kind of archive that
    cannot be read."""
    kind = packing(file)
    with open_raw(file) as raw:
        if kind is None:
            yield raw
        elif kind == "gzip":
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), kind) as stream:
                yield cast(IO[bytes], io.BufferedReader(stream))


def arrow_stream(file: File) -> pa.NativeFile:
    """The unpacked bytes for Arrow; raises as open_binary."""
    kind = packing(file)
    if _inside(file) is None:
        return pa.input_stream(str(_archive(file)), compression=kind)
    source = pa.PythonFile(open_raw(file), mode="r")
    return source if kind is None else pa.CompressedInputStream(source, kind)


def open_raw(file: File) -> IO[bytes]:
    """The bytes of a file, or of a member as it is once it is out of its archive."""
    inside = _inside(file)
    if inside is None:
        return _archive(file).open("rb")
    with zipfile.ZipFile(_archive(file)) as archive:
        _refuse_unreadable(file, archive.getinfo(inside))
        return archive.open(inside)  # stays open for as long as it is used, whatever becomes of `archive`


@contextmanager
def stored_bytes(file: File) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of a file or member as they lie on disk, and how many they are: nothing is unpacked."""
    inside = _inside(file)
    with _archive(file).open("rb") as stream:
        if inside is None:
            yield stream, _archive(file).stat().st_size
            return
        with zipfile.ZipFile(_archive(file)) as archive:
            info = archive.getinfo(inside)
        stream.seek(info.header_offset)
        local = stream.read(_LOCAL_HEADER_BYTES)
        stream.seek(sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28)), io.SEEK_CUR)
        yield stream, info.compress_size


def count_readable_lines(file: File) -> int:
    """Lines that can be read before a file breaks off, without blank ones; the header is line 1."""
    lines = 0
    try:
        with open_binary(file) as stream:
            for line in stream:
                lines += bool(line.strip())
    except DAMAGE:
        pass
    return lines


def _refuse_unreadable(file: File, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _IS_ENCRYPTED:
        raise SourceError(f"{file.name}: is encrypted; take it out of its archive with its password first")
    if info.compress_type not in _METHODS:
        # Windows packs what is larger than 2 GiB with method 9, Deflate64.
        raise SourceError(
            f"{file.name}: is packed with zip method {info.compress_type}; allowed: stored (0), deflate (8), bzip2 "
            "(12), lzma (14). Unpack it, or pack it again with another program"
        )


def _inside(file: File) -> str | None:
    return file.inside if isinstance(file, Member) else None


def _archive(file: File) -> Path:
    return file.path if isinstance(file, Member) else file
