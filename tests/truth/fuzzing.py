"""One case of the fuzzing: an extract is spoiled, loaded over a good lake, and what came of it is judged.

What must hold of every case:

1. it ends in one of pipelines.errors, whose message holds no id or date of anybody, or in a finished load;
2. after a load, rows read = kept + deduplicated + quarantined, file by file and rule by rule, the number of lines is
   the one counted here by other means, and no file of the lake is damaged;
3. nobody's rows change unseen: see corruptions.Reach and `_expect_others_unchanged`;
4. after an error the lake of before is whole, and the same.

Some cases go on to build the cohort. `python -m tests.truth.fuzzing 1234` runs case 1234 again and says what it does.
"""

import csv
import io
import os
import random
import re
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dask
import polars as pl

from pipelines.cohort import build_cohort
from pipelines.errors import VirtualControlsError
from pipelines.lake import Lake, bucket_of, find_damage, open_lake, write_lake
from pipelines.protocol import load_protocol
from pipelines.sources import aliases, csv_files
from pipelines.sources.participants import read_participants
from pipelines.tables import PERSON_TABLES, TABLES
from tests.truth import corruptions
from tests.truth.base_extracts import BASES, HOUSE, PARTICIPANTS, Base, base, write_files
from tests.truth.corruptions import Files, Reach
from tests.truth.parquet_corruptions import read_rows, spoil_parquet

SEED = 20261124
N_BUCKETS = 2
COHORT_EVERY, FRESH_EVERY = 8, 10
_BLANKS = re.compile(rb"\r\n|\r|\n")
_CELLS = re.compile(r"[,|\t;\"\r\n]")
_LIKE_A_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d/\d\d/\d{4}|\d{8}")
_REFERENCES = ("MHS000", "MHS902", "MHS903", "imd_lookup", "provider_successors", "CARE_SITE", "person_bridge")
_FED: dict[str, dict[str, set[str]]] = {
    "MHS902": {"referral_team": {"team_type_code"}},
    "MHS903": {"ward_stay": {"site_code"}},
    "CARE_SITE": {table: {"provider_id", "site_code"} for table in PERSON_TABLES},
}
"""Columns of people's tables that a table of no person fills."""
_ALSO_FEEDS = {
    "MHS101": {"referral", "referral_team"},
    "MHS201": {"contact", "assessment", "care_activity"},
}


class ViolationError(AssertionError):
    """What must hold of a case does not."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended: refused or loaded, the message, what was done, how the cohort ended ("" if not tried)."""

    number: int
    end: str
    message: str
    done: tuple[str, ...]
    cohort: str = ""


class Bench:
    """Good lakes of all bases, made once, and the room to work in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tables: dict[str, dict[str, pl.DataFrame]] = {}

    def good(self, base_: Base) -> Path:
        place = self.folder / "good" / base_.name
        if not (place / "manifest.json").is_file():
            source = write_files(self.folder / "sources" / base_.name, base_.files)
            write_lake(base_.source(source), place, n_buckets=N_BUCKETS)
        return place

    def tables(self, base_: Base) -> dict[str, pl.DataFrame]:
        if base_.name not in self._tables:
            self._tables[base_.name] = read_tables(open_lake(self.good(base_)))
        return self._tables[base_.name]


def run_case(number: int, bench: Bench) -> Outcome:
    """Run and judge a case. Raises ViolationError (with what was done) where something does not hold."""
    rng = random.Random(f"{SEED}-{number}")
    chosen = base(rng.choice(("made", "made", *BASES)))
    files = Files(dict(chosen.files))
    work = bench.folder / f"case-{number}"
    try:
        with dask.config.set(scheduler="synchronous"), warnings.catch_warnings():
            warnings.simplefilter("error")
            touched = _spoil(rng, chosen, files)
            bench.good(chosen)
            with _cut_into_pieces(chosen):
                return judge(number, bench, chosen, files, touched, work)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library is no Exception
        again = f"python -m tests.truth.fuzzing {number}"
        done = "; ".join(files.done)
        raise ViolationError(
            f"case {number} ({chosen.name}): {done}\nagain: {again}\n{type(error).__name__}: {error}"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _cut_into_pieces(chosen: Base) -> Iterator[None]:
    """Files are cut as a base says, while its good lake was made of whole files: the two must be the same."""
    if not chosen.piece_bytes:
        yield
        return
    bytes_ = chosen.piece_bytes
    with patch.object(csv_files, "PIECE_BYTES", bytes_), patch.object(csv_files, "READ_BYTES", bytes_ // 2):
        yield


def _spoil(rng: random.Random, chosen: Base, files: Files) -> set[str]:
    """Corrupt the files; the people touched, where no line tells it."""
    touched: set[str] = set()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        what = rng.random()
        if what < 0.04:
            _try(files, lambda: corruptions.spoil_description(rng, files))
        elif what < 0.08 and not chosen.is_omop:
            corruptions.spoil_bridge(rng, files, sorted(chosen.people))
        else:
            touched |= _spoil_file(rng, chosen, files, what)
    return touched


def _try(files: Files, corrupt: Callable[[], Any]) -> Any:
    """Spoil a file; one that was spoiled before so that it cannot be spoiled in this way stays as it is."""
    kept = dict(files.contents)
    try:
        return corrupt()
    except Exception as error:
        files.contents = kept
        files.done.append(f"({type(error).__name__})")
        return None


def _spoil_file(rng: random.Random, chosen: Base, files: Files, what: float) -> set[str]:
    name = rng.choice(sorted(name for name in files.contents if name != "extract_manifest.json"))
    if what > 0.9 and any(name in files.contents for name in PARTICIPANTS):
        name = next(name for name in PARTICIPANTS if name in files.contents)
    if name.endswith(".parquet"):
        if rng.random() < 0.25:
            _try(files, lambda: corruptions.spoil_bytes(rng, files, name))
            return set()
        return _try(files, lambda: spoil_parquet(rng, files, name)) or set()
    if name.endswith(".zip") and rng.random() < 0.5:
        _try(files, lambda: corruptions.spoil_archive(rng, files, name))
    elif name.endswith(".gz") and rng.random() < 0.3:
        _try(files, lambda: corruptions.spoil_bytes(rng, files, name))
    else:
        inner = f"{name}!cdm/PROCEDURE_OCCURRENCE.csv" if name.endswith(".zip") else name
        group = corruptions.WHOLE if rng.random() < 0.12 and inner == name else corruptions.TEXT
        kind = rng.choice(list(group))
        _try(files, lambda: group[kind](rng, files, inner))
    return set()


def judge(number: int, bench: Bench, chosen: Base, files: Files, touched: set[str], work: Path) -> Outcome:
    """Load what became of the files over the good lake of `chosen`, in the folder `work`; raises ViolationError."""
    source = write_files(work / "source", files.contents)
    for make in files.places:
        make(source)
    shutil.copytree(bench.good(chosen), work / "lake", copy_function=os.link)
    before = (work / "lake" / "manifest.json").read_bytes()
    try:
        lake = write_lake(chosen.source(source), work / "lake", n_buckets=N_BUCKETS)
    except VirtualControlsError as error:
        _expect_no_values(str(error), chosen, files)
        _expect((work / "lake" / "manifest.json").read_bytes() == before, "the lake is another after an error")
        old = open_lake(work / "lake")
        _expect(not find_damage(old), "the lake is damaged after an error")
        _expect(_leftovers(work) == [], f"left behind: {_leftovers(work)}")
        return Outcome(number, "refused", str(error), tuple(files.done))
    _expect_balance(lake, chosen, files)
    _expect_sound(lake)
    _expect_others_unchanged(lake, bench, chosen, files, touched)
    if number % FRESH_EVERY == 0:
        fresh = write_lake(chosen.source(source), work / "fresh", n_buckets=N_BUCKETS)
        _expect(fresh.manifest == lake.manifest, "loaded at once it is another lake")
    cohort = _try_cohort(lake, chosen, files, source, number)
    return Outcome(number, "loaded", "", tuple(files.done), cohort)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ViolationError(otherwise)


def _leftovers(work: Path) -> list[str]:
    return [path.name for path in (work / "lake").iterdir() if path.name.startswith(".work-")]


def _expect_no_values(message: str, chosen: Base, files: Files) -> None:
    """No id and no date of any line stands in a message, unless it is part of a file's name."""
    written = " ".join([*files.contents, *files.renamed.values(), *chosen.files])
    rest = message
    for name in sorted(files.contents, key=len, reverse=True):
        rest = rest.replace(name, " ")
    tokens = set(re.split(r"[^\w/\-.<>]+", rest))
    leaked = [token for token in tokens if _is_secret(token.strip("."), chosen) and token not in written]
    _expect(not leaked, f"a message holds {leaked}: {message}")


def _is_secret(token: str, chosen: Base) -> bool:
    is_small_number = token.isdecimal() and len(token) < 5  # may as well be a line or a column
    return not is_small_number and bool(
        token in chosen.people or token in chosen.owners or _LIKE_A_DATE.fullmatch(token)
    )


def _expect_balance(lake: Lake, chosen: Base, files: Files) -> None:
    for entry in lake.manifest["files"]:
        name = entry["file"]
        total = entry["rows_kept"] + entry["rows_deduplicated"] + entry["rows_quarantined"]
        _expect(entry["rows_read"] == total, f"{name}: {entry['rows_read']} rows read, {total} accounted for")
        for rule, count in (
            ("deduplicated_by_rule", "rows_deduplicated"),
            ("quarantined_by_reason", "rows_quarantined"),
        ):
            _expect(sum(entry[rule].values()) == entry[count], f"{name}: {rule} does not add up to {count}")
        counted = _count_lines(files, name)
        _expect(counted in (None, entry["rows_read"]), f"{name}: {counted} lines, {entry['rows_read']} rows read")


def _count_lines(files: Files, name: str) -> int | None:
    """Data lines of a file as it lies there, without blank ones; None where that cannot be told from its bytes."""
    if name not in files.contents and "!" not in name:
        return None
    if name.endswith(".parquet"):
        return read_rows(files.contents[name])
    try:
        text = files.text(name.replace("!", "/").replace("/", "!", 1)) if "!" in name else files.text(name)
    except Exception:
        return None
    lines = [line for line in _BLANKS.split(text) if line]
    if b'"' not in text:
        return max(0, len(lines) - 1)
    return _count_quoted(text, name)


def _count_quoted(text: bytes, name: str) -> int | None:
    """Rows of a file with quotes, as Python's own reader finds them. A cell that holds the rest of a row and the
    beginning of another must have been refused."""
    delimiter = max((",", "|", "\t"), key=text.split(b"\n", 1)[0].decode("latin-1").count)
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    rows = [row for row in csv.reader(io.StringIO(text.decode("latin-1"), newline=""), delimiter=delimiter) if row]
    swallowed = [
        cell for row in rows for cell in row if "\n" in cell.strip() and cell.count(delimiter) >= len(rows[0]) - 1 > 0
    ]
    _expect(not swallowed, f"{name}: rows were swallowed by quotes")
    return len(rows) - 1


def _expect_sound(lake: Lake) -> None:
    _expect(not find_damage(lake), "a file of the lake is damaged")
    for table in PERSON_TABLES:
        required = [column.name for column in TABLES[table].columns if column.required]
        for bucket in range(lake.n_buckets):
            rows = lake.read_bucket(bucket, table)
            _expect(rows.schema == TABLES[table].schema, f"{table}: other columns")
            _expect(sum(rows.select(required).null_count().row(0)) == 0, f"{table}: a required cell is empty")
            keys = [name for name in ("person_id", "month_id") if name in rows.columns]
            _expect(rows.select(keys).equals(rows.select(keys).sort(keys)), f"{table}: out of order")
            _expect(set(bucket_of(rows["person_id"], lake.n_buckets)) <= {bucket}, f"{table}: in another bucket")


def read_tables(lake: Lake) -> dict[str, pl.DataFrame]:
    """All tables of people, whatever the buckets, in the order of their cells."""
    frames = {}
    for table in PERSON_TABLES:
        rows = pl.concat([lake.read_bucket(bucket, table) for bucket in range(lake.n_buckets)])
        frames[table] = rows.sort(rows.columns)
    return frames


def _expect_others_unchanged(lake: Lake, bench: Bench, chosen: Base, files: Files, touched: set[str]) -> None:
    """People who are in no changed line keep all their rows.

    Beyond that, and only then:
    - a file that no longer says what it is (Reach.FILE) may change its own tables for everybody, and then its entry in
      the account differs; Reach.UNSEEN need not show;
    - tables of no person change the columns that they fill;
    - a row that came with another submission may supersede others of its provider and month, and then they are counted;
      where two columns of a file exchange their names, each of its rows may be such a row.
    """
    good = bench.tables(chosen)
    old = open_lake(bench.good(chosen)).manifest
    new = lake.manifest
    words = _words_of_changed_lines(chosen, files)
    touched = touched | (words & chosen.people) | {p for word in words for p in chosen.owners.get(word, ())}
    touched |= {chosen.bridge.get(person, person) for person in touched}
    free = _free_columns(chosen, files, old, new)
    is_replaced = _superseded(old) != _superseded(new)
    sent = words | _words_of_files(files) if is_replaced else words
    found = read_tables(lake)
    for table, frame in good.items():
        if "*" in free.get(table, ()):
            continue
        kept = [name for name in frame.columns if name not in free.get(table, set())]
        pair = []
        for rows in (frame, found[table]):
            others = rows.filter(~pl.col("person_id").is_in(list(touched | words)))
            if is_replaced and "month_id" in rows.columns:
                others = others.filter(
                    ~(pl.col("provider_id").is_in(list(sent)) & pl.col("month_id").cast(pl.String).is_in(list(sent)))
                )
            pair.append(others.select(kept).sort(kept))
        _expect(pair[0].equals(pair[1]), _difference(table, *pair))


def _difference(table: str, before: pl.DataFrame, after: pl.DataFrame) -> str:
    gone = before.join(after, on=before.columns, how="anti", nulls_equal=True)
    new = after.join(before, on=before.columns, how="anti", nulls_equal=True)
    return f"{table}: rows of people who were not touched: {gone.height} gone, {new.height} new\n{gone}\n{new}"


def _words_of_changed_lines(chosen: Base, files: Files) -> set[str]:
    """Cells of the lines that are there only before, or only after, where a corruption reaches as far as lines."""
    words: set[str] = set()
    good = Files(dict(chosen.files))
    for name, reach in files.reaches.items():
        if reach == Reach.NOBODY or name.endswith(".parquet"):
            continue
        texts = []
        for which, file in ((good, files.renamed.get(name, name)), (files, name)):
            try:
                texts.append(_BLANKS.split(which.text(file)))
            except Exception:
                texts.append([])
        before, after = Counter(texts[0]), Counter(texts[1])
        for line in (before - after) + (after - before):
            for encoding in ("utf-8", "cp1252"):
                text = line.decode(encoding, errors="replace")
                words |= {cell.strip() for cell in _CELLS.split(text)}
                words |= {cell.strip() for each in (text, text.replace('"', "")) for cell in (*each.split(","), each)}
    return words


def _words_of_files(files: Files) -> set[str]:
    """Cells of all lines of the files that a corruption reaches as a whole."""
    words: set[str] = set()
    for name, reach in files.reaches.items():
        if reach >= Reach.FILE and not name.endswith(".parquet"):
            with suppress(Exception):
                words |= {cell.strip() for cell in _CELLS.split(files.text(name).decode("cp1252", errors="replace"))}
    return words


def _free_columns(chosen: Base, files: Files, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, set[str]]:
    """Columns of each table that may differ, "*" for the whole table."""
    free: dict[str, set[str]] = {}
    entries = {entry["file"]: entry for manifest in (old, new) for entry in manifest["files"]}
    for name, reach in files.reaches.items():
        original = files.renamed.get(name, name)
        start = next((start for start in _REFERENCES if original.startswith(start)), None)
        if reach >= Reach.LINES and start in _FED:
            for table, columns in _FED[start].items():
                free.setdefault(table, set()).update(columns)
        if reach < Reach.FILE:
            continue
        visible = reach == Reach.UNSEEN or _account(old) != _account(new)
        if not visible:
            continue
        target = next((entries[n]["table"] for n in (name, original) if n in entries), "")
        everywhere = chosen.is_omop or original.startswith(("MHS001", *_REFERENCES)) or not target
        also = next((tables for start, tables in _ALSO_FEEDS.items() if original.startswith(start)), {target})
        for table in PERSON_TABLES if everywhere else also:
            free[table] = {"*"}
    return free


def _account(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What an analyst sees of a load: everything counted, and what is absent."""
    left_out = {"checksum", "encoding", "file"}
    files = {entry["file"]: {k: v for k, v in entry.items() if k not in left_out} for entry in manifest["files"]}
    absent = {name: (table["absent_columns"], table["absent_choices"]) for name, table in manifest["tables"].items()}
    return {"files": files, "absent": absent, "ignored": manifest["ignored_files"], "notes": manifest["notes"]}


def _superseded(manifest: Mapping[str, Any]) -> int:
    return sum(entry["deduplicated_by_rule"].get("superseded_submission", 0) for entry in manifest["files"])


def _try_cohort(lake: Lake, chosen: Base, files: Files, source: Path, number: int) -> str:
    """The list of participants, judged; and now and then the cohort."""
    paths = [source / name for name in PARTICIPANTS if (source / name).is_file()]
    spoiled = any(name.startswith("participants") for name in files.reaches)
    if not paths or not (spoiled or number % COHORT_EVERY == 0):
        return ""
    try:
        listed, aside = read_participants(paths[0])
        counted = _count_lines(files, paths[0].name)
        _expect(
            counted in (None, listed.height + aside.height),
            f"participants: {counted} lines, {listed.height} + {aside.height}",
        )
        _expect_listed(listed, chosen, files, paths[0].name)
        cohort = build_cohort(lake, listed, aside, load_protocol(HOUSE / f"configs/studies/{chosen.study}.toml"))
    except VirtualControlsError as error:
        _expect_no_values(str(error), chosen, files)
        return f"refused: {error}"
    return f"{cohort.cohort.height} rows" if hasattr(cohort, "cohort") else "built"


def _expect_listed(listed: pl.DataFrame, chosen: Base, files: Files, name: str) -> None:
    """Participants in no changed line are as they were."""
    if files.reaches.get(name, Reach.NOBODY) >= Reach.FILE or name.endswith(".parquet"):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / files.renamed.get(name, name)
        path.write_bytes(chosen.files[path.name])
        good, _ = read_participants(path)
    words = _words_of_changed_lines(chosen, Files(files.contents, {name: files.reaches.get(name, Reach.NOBODY)}))
    pair = [
        rows.filter(~pl.col("person_id").is_in(list(words))).drop("line").sort("person_id") for rows in (good, listed)
    ]
    _expect(pair[0].equals(pair[1]), _difference("participants", *pair))


@contextmanager
def open_bench() -> Iterator[Bench]:
    """A bench in a temporary folder. The alias maps are read once, which is a fifth of the time of a case."""
    alias_maps = patch.object(aliases, "_read", cache(aliases._read))
    with alias_maps, tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        yield Bench(Path(folder))


def main() -> None:
    """Run the cases named (a number, or FROM-TO) and print how each ended."""
    numbers = [n for text in sys.argv[1:] for n in _range(text)]
    ends: Counter[str] = Counter()
    with open_bench() as bench:
        for number in numbers:
            try:
                outcome = run_case(number, bench)
            except ViolationError as violation:
                print(violation, "\n", flush=True)
                ends["FAULT"] += 1
                if len(numbers) == 1:
                    raise
                continue
            ends[outcome.end] += 1
            ends[f"cohort {outcome.cohort.split(':')[0][:7]}"] += bool(outcome.cohort)
            if len(numbers) == 1:
                print(outcome)
    print(dict(ends))


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    main()
