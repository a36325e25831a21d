"""First pass of a load: raw files -> parts, each file parsed once for as long as its content stays the same.

    <lake>/parts/<key>/receipt.json    what became of the file's rows; written last: without it the parts are not whole
    <lake>/parts/<key>/<attempt>/      rows.arrow, unresolved.arrow, quarantine.parquet

The key is a hash of the file's content and of everything its parts depend on, so a resubmitted file has other parts,
and one that comes under another name has the same. A task that was killed, or that ran twice, leaves an attempt nobody
points to; the next load removes it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from uuid import uuid4

import polars as pl
import pyarrow as pa

from pipelines.errors import SourceError
from pipelines.lake.places import Place, checksum, entries, remove, workplace, write_whole
from pipelines.lake.scatter import Part, Receipt, scatter_file
from pipelines.lake.tasks import run
from pipelines.sources.csv_files import digest
from pipelines.sources.extract import SourceFile, aliases_version

PARTS, RECEIPT = "parts", "receipt.json"
FORMAT = 3  # of parts and tables; either is made again when it changes


def read_files(
    files: Sequence[SourceFile], lake: Place, n_buckets: int, bridge: Place | None = None
) -> tuple[list[Receipt], int]:
    """The receipts of all files, in their order, and how many of the files had to be parsed.

    `bridge` is an Arrow file of old and new pseudonyms; another bridge makes other parts of every file about people.

    Raises:
        SourceError: with the problems of every file that cannot be read.
    """
    digests = run([partial(digest, file.path) for file in files])
    crossing = checksum(bridge) if bridge is not None else ""
    keys = [key_of(file, content, n_buckets, crossing) for file, content in zip(files, digests, strict=True)]
    new = {key: file for key, file in zip(keys, files, strict=True) if not (parts_of(lake, key) / RECEIPT).is_file()}
    # The largest files go first, so that none is left to last.
    order = sorted(new, key=lambda key: -new[key].path.stat().st_size)
    run([partial(read_file, new[key], key, lake, n_buckets, bridge) for key in order])
    receipts = [
        replace(_load(lake, key, place), name=file.name, digest=content)
        for place, (key, file, content) in enumerate(zip(keys, files, digests, strict=True))
    ]
    return receipts, len(new)


def key_of(file: SourceFile, content: str, n_buckets: int, bridge: str = "") -> str:
    """Name of the parts of a file: its content, how it is read, and with what; `bridge` is a checksum."""
    known = [content, file.layout.release, file.layout.names[0], aliases_version(), str(n_buckets)]
    known += [bridge] if file.layout.target.by_person else []
    versions = [str(FORMAT), pl.__version__, pa.__version__]
    return blake2b("\0".join([*known, *versions]).encode(), digest_size=16).hexdigest()


def read_file(file: SourceFile, key: str, lake: Place, n_buckets: int, bridge: Place | None) -> None:
    """Parse a file into its parts."""
    before = file.path.stat()
    attempt = parts_of(lake, key) / uuid4().hex[:8]
    with workplace(attempt) as folder:
        receipt = scatter_file(file, folder, n_buckets, bridge)
    after = file.path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise SourceError(f"{file.name}: was changed while it was being read; load again when it is complete")
    write_whole(parts_of(lake, key) / RECEIPT, _dump(receipt, attempt.name))


def parts_of(lake: Place, key: str) -> Place:
    return lake / PARTS / key


def forget_unused(lake: Place, used: set[str]) -> None:
    """Remove the parts of files that are no longer there, and attempts that came to nothing."""
    for parts in entries(lake / PARTS):
        receipt = parts / RECEIPT
        if parts.name not in used or not receipt.is_file():
            remove(parts)
            continue
        attempt = json.loads(receipt.read_text(encoding="utf-8"))["attempt"]
        for other in entries(parts):
            if other.name not in {RECEIPT, attempt}:
                remove(other)


def _dump(receipt: Receipt, attempt: str) -> bytes:
    content = {**vars(receipt), "attempt": attempt}
    content["parts"] = [(part.path.name, part.batch, part.bucket) for part in receipt.parts]
    content["unresolved"] = receipt.unresolved and receipt.unresolved.name
    content["aside"] = receipt.aside and receipt.aside.name
    return json.dumps(content, sort_keys=True).encode()


def _load(lake: Place, key: str, place: int) -> Receipt:
    content = json.loads((parts_of(lake, key) / RECEIPT).read_text(encoding="utf-8"))
    folder = parts_of(lake, key) / content.pop("attempt")
    parts = tuple(
        Part(folder / name, batch, bucket, f"{key}/{name}/{batch}", place) for name, batch, bucket in content["parts"]
    )
    paths = {name: folder / content[name] if content[name] else None for name in ("unresolved", "aside")}
    counters = {name: Counter(content[name]) for name in ("quarantined", "nulled")}
    rest = {"absent": tuple(content["absent"]), "parts": parts, "key": key, "place": place}
    rest["submissions"] = tuple((provider, month, number) for provider, month, number in content["submissions"])
    return Receipt(**{**content, **paths, **counters, **rest})
