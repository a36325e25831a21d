"""A folder of this machine, or any location that fsspec reaches, behind the same few verbs.

Local paths stay plain paths: Arrow files are memory-mapped, and what is written appears under its name at once or not
at all. At a remote location an object appears when it has been sent whole; what belongs together is announced by a
file that is written last.
"""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from pipelines.errors import SourceError

Place: TypeAlias = Path | UPath
BLOCK = 1 << 20


def place_of(location: str | Place) -> Place:
    """A local path for anything on this machine, else what fsspec makes of a URL such as s3://bucket/lakes.

    Raises:
        SourceError: fsspec does not know this kind of location, or needs a package for it that is not installed.
    """
    kind = str(location).partition("://")[0]  # what follows may hold a key
    try:
        place = UPath(location)
        if place.protocol in {"", "file", "local"}:
            return Path(place.path)
        _ = place.fs  # the package is first asked for here
    except ImportError as error:
        raise SourceError(
            f"a location that begins with {kind}:// needs a package that is not installed ({error}); "
            "install it into the environment of this command and of every worker"
        ) from None
    except ValueError:
        raise SourceError(
            f"{kind}:// is no kind of location that fsspec knows; allowed: a folder, or a URL that begins with s3://, "
            "gs://, abfs:// or the like"
        ) from None
    return place


def write_whole(place: Place, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(place, Path):
        place.write_bytes(content)
        return
    unfinished = _beside(place)
    unfinished.write_bytes(content)
    os.replace(unfinished, place)


def publish(file: Path, place: Place) -> None:
    """Move a finished local file to its place; on this machine both must be on one file system."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(place, Path):
        os.replace(file, place)
        return
    with file.open("rb") as source, place.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
    file.unlink()


def share(old: Place, new: Place) -> None:
    """Let a file have a second place: a hard link where that is possible, else a copy."""
    new.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(old, Path) and isinstance(new, Path):
        linked = _beside(new)
        try:
            os.link(old, linked)
        except OSError:
            shutil.copyfile(old, linked)
        os.replace(linked, new)
        return
    new.write_bytes(old.read_bytes())


@contextmanager
def workplace(place: Place) -> Iterator[Path]:
    """A local folder to write into: `place` itself on this machine, else a temporary one that is sent there."""
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
        yield place
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        yield folder
        for made in sorted(path for path in folder.rglob("*") if path.is_file()):
            publish(made, place / made.relative_to(folder).as_posix())


def entries(folder: Place) -> list[Place]:
    """What is in a folder, in order of names; nothing when it is not there."""
    found: list[Place] = list(folder.iterdir()) if folder.is_dir() else []
    return sorted(found, key=lambda place: place.name)


def remove(place: Place) -> None:
    """Remove a folder and everything in it; nothing happens when it is not there."""
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
    elif place.is_dir():
        place.rmdir(recursive=True)


@contextmanager
def open_arrow(place: Place) -> Iterator[Any]:
    """An Arrow file for random access."""
    if isinstance(place, Path):
        with pa.memory_map(str(place)) as source:
            yield source
        return
    with place.open("rb") as stream:
        yield pa.PythonFile(stream, mode="r")


def read_parquet(place: Place, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A Parquet file, or some of its columns."""
    if isinstance(place, Path):
        return pl.read_parquet(place, columns=list(columns) if columns is not None else None, glob=False)
    with place.open("rb") as stream:
        table = pq.read_table(stream, columns=list(columns) if columns is not None else None)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def write_parquet(place: Place, frame: pl.DataFrame) -> None:
    """A frame as a Parquet file that is there whole or not at all."""
    content = io.BytesIO()
    frame.write_parquet(content, compression="zstd")
    write_whole(place, content.getvalue())


def read_ipc(place: Place) -> pl.DataFrame:
    """A whole Arrow file."""
    with open_arrow(place) as source:
        frame = pl.from_arrow(pa.ipc.open_file(source).read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


def checksum(place: Place) -> str:
    """BLAKE2b (128 bit) of a file's bytes."""
    digest = hashlib.blake2b(digest_size=16)
    with place.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _beside(place: Path) -> Path:
    return place.with_name(f".{place.name}.{uuid4().hex[:8]}")
