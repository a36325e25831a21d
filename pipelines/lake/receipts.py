"""First pass of a load: raw files -> parts, each piece parsed once for as long as its content stays the same.

    <lake>/parts/<key>/receipt.json    what became of the piece's rows; written last: without it the parts are not whole
    <lake>/parts/<key>/<attempt>/      rows.arrow, unresolved.arrow, quarantine.parquet

A large file is read in several pieces. The key is a hash of the file's content, of the piece and of everything its
parts depend on, so a resubmitted file has other parts, and one that comes under another name has the same. A task that
was killed, or that ran twice, leaves an attempt nobody points to; the next load removes it.
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
from pipelines.lake.places import Place, entries, remove, workplace, write_whole
from pipelines.lake.scatter import Aside, Manner, Part, Receipt, put_together, scatter_piece, submission_by_name
from pipelines.lake.tasks import run
from pipelines.sources.csv_files import Content, Piece
from pipelines.sources.extract import RawFile, aliases_version
from pipelines.sources.legibility import Legibility, unreadable_problems
from pipelines.sources.normalise import DateOrder, month_first_problems

PARTS, RECEIPT = "parts", "receipt.json"
FORMAT = 9  # of parts and tables; either is made again when it changes


def read_files(files: Sequence[RawFile], lake: Place, manner: Manner) -> tuple[list[Receipt], int]:
    """The receipts of all files, in their order, and how many of the files had to be parsed.

    Raises:
        SourceError: with the problems of every file that cannot be read.
    """
    contents = run([file.look_through for file in files])
    tasks = {
        piece_key(file, content, piece, manner): (file, piece)
        for file, content in zip(files, contents, strict=True)
        for piece in content.pieces
    }
    new = {key: task for key, task in tasks.items() if not (parts_of(lake, key) / RECEIPT).is_file()}
    # The largest pieces go first, so that none is left to last.
    order = sorted(new, key=lambda key: -_size(*new[key]))
    run([partial(read_piece, *new[key], key, lake, manner) for key in order])
    receipts = []
    for place, (file, content) in enumerate(zip(files, contents, strict=True)):
        keys = [piece_key(file, content, piece, manner) for piece in content.pieces]
        whole = put_together([_load(lake, key, place) for key in keys])
        receipts.append(replace(whole, name=file.name, digest=content.digest, keys=tuple(keys)))
    problems = [
        problem
        for file, of in zip(files, receipts, strict=True)
        for problem in month_first_problems(of.name, of.date_orders)
        or unreadable_problems(of.name, of.legibility, file.layout.date_formats, of.quarantined)
    ]
    if problems:
        raise SourceError(problems)
    parsed = {file.name for file, _ in new.values()}
    return receipts, len(parsed)


def piece_key(file: RawFile, content: Content, piece: Piece, manner: Manner) -> str:
    """Name of the parts of a piece of a file: the file's content, how it is read, and with what."""
    return _hash([content.digest, piece.encoding, str(piece.start), str(piece.end), reader_of(file, manner)])


def reader_of(file: RawFile, manner: Manner) -> str:
    """Name of the way a file is read: rows of the same content, read in the same way, give the same parts."""
    layout = [file.layout.release, file.layout.names[0], aliases_version(), str(manner.n_buckets)]
    layout += [manner.bridge_checksum] if file.layout.target.by_person else []
    layout += [f"pseudonyms {manner.pseudonyms}"] if manner.pseudonyms else []
    told = submission_by_name(file)
    layout += [told] if told is not None else []
    return _hash([*layout, str(FORMAT), pl.__version__, pa.__version__])


def read_piece(file: RawFile, piece: Piece, key: str, lake: Place, manner: Manner) -> None:
    """Parse a piece of a file into its parts."""
    before = file.stamp()
    attempt = parts_of(lake, key) / uuid4().hex[:8]
    with workplace(attempt) as folder:
        receipt = scatter_piece(file, piece, folder, manner)
    if file.stamp() != before:
        raise SourceError(f"{file.name}: was changed while it was being read; load again when it is complete")
    write_whole(parts_of(lake, key) / RECEIPT, _dump(receipt, attempt.name, reader_of(file, manner)))


def parts_of(lake: Place, key: str) -> Place:
    """Folder of a piece's parts and receipt; `key` as of piece_key."""
    return lake / PARTS / key


def forget_unused(lake: Place, used: set[str]) -> None:
    """Remove the parts of files that are no longer there, and attempts that came to nothing."""
    unused: list[Place] = []
    for parts in entries(lake / PARTS):
        receipt = parts / RECEIPT
        if parts.name not in used or not receipt.is_file():
            unused.append(parts)
            continue
        attempt = json.loads(receipt.read_text(encoding="utf-8"))["attempt"]
        unused += [other for other in entries(parts) if other.name not in {RECEIPT, attempt}]
    run([partial(remove, place) for place in unused])  # a file system takes long over gigabytes


def _dump(receipt: Receipt, attempt: str, reader: str) -> bytes:
    content = {**vars(receipt), "attempt": attempt, "reader": reader}
    content["parts"] = [(part.path.name, part.batch, part.bucket, part.content) for part in receipt.parts]
    content["unresolved"] = [aside.path.name for aside in receipt.unresolved]
    content["aside"] = [aside.path.name for aside in receipt.aside]
    return json.dumps(content, sort_keys=True).encode()


def _load(lake: Place, key: str, place: int) -> Receipt:
    content = json.loads((parts_of(lake, key) / RECEIPT).read_text(encoding="utf-8"))
    folder, reader = parts_of(lake, key) / content.pop("attempt"), content.pop("reader")
    parts = tuple(
        Part(folder / name, batch, bucket, f"{reader}/{digest}", place)
        for name, batch, bucket, digest in content["parts"]
    )
    asides = {kind: tuple(Aside(folder / name) for name in content[kind]) for kind in ("unresolved", "aside")}
    counters = {name: Counter(content[name]) for name in ("quarantined", "nulled", "differing")}
    submissions = tuple((provider, month, number) for provider, month, number in content["submissions"])
    absent = {name: tuple(content[name]) for name in ("absent", "absent_choices")}
    sent = tuple((provider, month, n) for provider, month, n in content["sent"])
    rest = {
        **absent,
        "months": tuple(content["months"]),
        "sent": sent,
        "parts": parts,
        "place": place,
        "submissions": submissions,
        "legibility": tuple(Legibility(*one) for one in content["legibility"]),
    }
    rest["date_orders"] = tuple(DateOrder(*order) for order in content["date_orders"])
    return Receipt(**{**content, **asides, **counters, **rest})


def _size(file: RawFile, piece: Piece) -> int:
    return (piece.end or file.size()) - piece.start


def _hash(texts: Sequence[str]) -> str:
    return blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()
