"""Text rows of a raw file or list -> the same rows in which keyed pseudonyms stand for the ids of people.

A pseudonym is HMAC-SHA-256 (RFC 2104, FIPS 198-1) of the trimmed id, as 64 hex digits, so whoever holds the key can
make the same one with any other tool. The key comes from the environment or a file that it names, on every machine that
reads, and from nowhere else: it is in no object, file or message. Loads and runs know it by its fingerprint.

This happens to a file's text before anything else looks at it. Columns that nobody reads may hold other identifiers:
of them no more is kept than a keyed hash, which still tells exact duplicates; of a malformed line only its number.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable, spellings
from pipelines.sources.csv_files import Batch, Header, Letters
from pipelines.sources.normalise import stands_for_nothing

KEY, KEY_FILE = "VIRTUAL_CONTROLS_PSEUDONYM_KEY", "VIRTUAL_CONTROLS_PSEUDONYM_KEY_FILE"
MINIMUM_BYTES = 16  # 128 bits
PERSON_COLUMNS = frozenset({"person_id", "old_person_id", "new_person_id"})
WITHHELD = "withheld: a malformed line may hold the id of a person anywhere"
UNREAD = "_unread"
_FINGERPRINT_OF = b"virtual-controls: fingerprint of a pseudonym key"
_FINGERPRINT_DIGITS = 12
_SEED_OF = b"virtual-controls: seed of row hashes"
_HEX = Letters(ord("0"), ord("f"), 64, 64)  # of an HMAC-SHA-256, as it is written


def read_key(environment: Mapping[str, str] = os.environ) -> bytes:
    """The key: the bytes after `hex:` or `base64:`, or else the text itself in UTF-8; the line break that ends a file
    is no part of it.

    Raises:
        SourceError: it is not given, given twice, cannot be read, or is too short.
    """
    text, file = environment.get(KEY), environment.get(KEY_FILE)
    allowed = (
        f"allowed: one of {KEY} and {KEY_FILE}, with hex:..., base64:... or a text, at least {MINIMUM_BYTES} bytes"
    )
    if bool(text) == bool(file):
        raise SourceError(f"pseudonymise = true, but the key is {'given twice' if text else 'missing'}; {allowed}")
    place = KEY if text else KEY_FILE
    if file:
        try:
            text = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise SourceError(f"{KEY_FILE}: the file cannot be read as text; {allowed}") from None
    assert text is not None
    try:
        key = _decode(text)
    except (ValueError, binascii.Error):
        raise SourceError(f"{place}: what follows hex: or base64: is neither; {allowed}") from None
    if len(key) < MINIMUM_BYTES:
        raise SourceError(f"{place}: the key has {len(key)} bytes; {allowed}")
    return key


def fingerprint_of(key: bytes) -> str:
    """What tells keys apart without giving them away."""
    return hmac.digest(key, _FINGERPRINT_OF, "sha256").hex()[:_FINGERPRINT_DIGITS]


@lru_cache(maxsize=8)
def key_of(fingerprint: str) -> bytes:
    """This process's own key, if it is the one with that fingerprint. Raises SourceError when there is none or another
    one, as on a worker that was set up differently."""
    try:
        key = read_key()
    except SourceError as error:
        raise SourceError([f"a process that reads files: {problem}" for problem in error.problems]) from None
    if fingerprint_of(key) != fingerprint:
        raise SourceError(
            f"{KEY} or {KEY_FILE} of a process that reads files gives another key than the command was started with "
            "(their fingerprints differ); every worker needs the same"
        )
    return key


def pseudonymise(ids: pl.Series, key: bytes) -> pl.Series:
    """Pseudonyms of ids; null where there is none. Each distinct id is hashed once."""
    trimmed = ids.str.strip_chars()
    known = trimmed.unique().drop_nulls()
    hashed = [hmac.digest(key, text.encode(), "sha256").hex() for text in known.to_list()]
    return trimmed.replace_strict(known, pl.Series(hashed, dtype=pl.String), default=None, return_dtype=pl.String)


def conceal(batch: Batch, header: Header, layout: SourceTable, key: bytes) -> Batch:
    """A batch with pseudonyms in all columns of people, placeholders as they are; other columns that are not read as
    one hash; malformed lines as their numbers."""
    people = people_columns(header, layout) & set(batch.rows.columns)
    read = {name for column in layout.columns for name in column.headers(header)}
    unread = sorted(set(batch.rows.columns) - read - people - {"_line"})
    rows, printable = batch.rows, dict(batch.printable)
    for name in sorted(people):
        rows = rows.with_columns(_conceal_column(rows[name], layout, key))
        printable.pop(name, None)
        if not rows[name].str.contains(r"[^0-9a-f]").any():
            printable[name] = _HEX
    if unread:
        hashed = rows.select(unread).hash_rows(seed=_seed(key)).cast(pl.String).alias(UNREAD)
        rows = rows.drop(unread).with_columns(hashed)
        printable = {name: highest for name, highest in printable.items() if name in rows.columns}
    return Batch(rows, tuple((line, WITHHELD) for line, _ in batch.malformed), printable)


def people_columns(header: Header, layout: SourceTable) -> set[str]:
    """The case-folded headers that hold ids of people, also under a name that is not the one read."""
    names = {
        text
        for column in layout.columns
        if column.column.name in PERSON_COLUMNS
        for choice in column.names
        for name in choice
        for text in spellings(name)
    }
    return names & set(header.folded)


def _conceal_column(ids: pl.Series, layout: SourceTable, key: bytes) -> pl.Series:
    """Pseudonyms where an id stands, and what stands for none (empty, <...>, NULL, codes for missing) as it is."""
    text = ids.str.strip_chars()
    some = text.set(stands_for_nothing(text, layout).fill_null(True), None)
    return pl.select(pl.coalesce(pseudonymise(some, key), text).alias(ids.name)).to_series()


def _seed(key: bytes) -> int:
    return int.from_bytes(hmac.digest(key, _SEED_OF, "sha256")[:8], "little")


def _decode(text: str) -> bytes:
    if text.startswith("hex:"):
        return bytes.fromhex(text[len("hex:") :])
    if text.startswith("base64:"):
        return base64.b64decode(text[len("base64:") :], validate=True)
    return text.encode()
