"""A lake that is loaded month by month, interrupted, or kept elsewhere holds the same bytes as one loaded at once."""

import gzip
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from pipelines.errors import SourceError
from pipelines.lake import Lake, find_damage, open_lake, update_lake, write_lake
from pipelines.lake.places import place_of
from tests.tiny_extract import SPELL, load, tiny, write_extract

ROOT = Path(__file__).resolve().parents[2]
MINI = {name: ROOT / "tests/data" / name for name in ("mhsds_mini_v5", "mhsds_mini_v6")}
N_BUCKETS = 3


def contents(lake: Lake) -> dict[str, bytes]:
    """Everything a reader can see, by name within the generation."""
    files = [path for path in lake.folder.rglob("*") if path.is_file()]
    return {str(path).removeprefix(str(lake.folder)): path.read_bytes() for path in files}


def add(source: Path, pool: list[Path]) -> None:
    """A month comes."""
    source.mkdir(exist_ok=True)
    shutil.copy(pool.pop(), source)


def resubmit(source: Path, draw: random.Random) -> None:
    """A file comes again with a row less."""
    path = draw.choice(sorted(source.glob("MHS[2-6]*")))
    is_packed = path.suffix == ".gz"
    lines = (gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()).splitlines(keepends=True)
    content = b"".join(lines[:-1])
    path.write_bytes(gzip.compress(content) if is_packed else content)


def withdraw(source: Path, draw: random.Random) -> None:
    """A file that no other depends on goes."""
    optional = sorted(source.glob("MHS[246]*"))
    if optional:
        draw.choice(optional).unlink()


@pytest.mark.parametrize("release", sorted(MINI))
def test_any_order_of_changes_ends_in_the_lake_of_a_full_load(release: str, tmp_path: Path) -> None:
    draw = random.Random(20)
    pool = [path for path in sorted(MINI[release].iterdir()) if path.name.startswith("MHS")]
    kept = {"MHS000", "MHS001", "MHS501", "MHS502", "MHS902"}
    source = tmp_path / "source"
    source.mkdir()
    for path in [path for path in pool if path.name[:6] in kept]:
        shutil.copy(path, source)
        pool.remove(path)
    draw.shuffle(pool)
    changes: list[Callable[[], None]] = []
    for number in range(4):
        changes += [lambda: add(source, pool)] * 2 if len(pool) > 2 * number + 2 else []
        changes += [lambda: resubmit(source, draw), lambda: withdraw(source, draw)]
    draw.shuffle(changes)
    for number, change in enumerate(changes):
        change()
        if number % 3 == 2:
            write_lake(source, tmp_path / "grown", n_buckets=N_BUCKETS)
    grown = write_lake(source, tmp_path / "grown", n_buckets=N_BUCKETS)
    whole = write_lake(source, tmp_path / "whole", n_buckets=N_BUCKETS)
    assert contents(grown) == contents(whole)
    assert find_damage(grown) == []


def test_a_resubmitted_month_costs_its_own_file_and_buckets_only(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    people = [{**SPELL, "Person_ID": f"P{n}", "UniqHospProvSpellID": f"S{n}"} for n in range(8)]
    write_extract(source, {"MHS501HospProvSpell": people})
    _, first = update_lake(source, tmp_path / "lake", n_buckets=8)
    assert first.n_files_parsed == first.n_files == 4
    assert first.n_jobs_done == first.n_jobs
    old = open_lake(tmp_path / "lake")
    before = {path.name: path.stat().st_ino for path in (old.folder / "tables" / "spell").iterdir()}
    write_extract(source, {"MHS501HospProvSpell": [*people[:-1], {**people[-1], "DestOfDischHospProvSpell": "79"}]})
    new, second = update_lake(source, tmp_path / "lake", n_buckets=8)
    assert (second.n_files_parsed, second.n_jobs_done) == (1, 1)
    after = {path.name: path.stat().st_ino for path in (new.folder / "tables" / "spell").iterdir()}
    assert sum(before[name] != after[name] for name in before) == 1
    _, third = update_lake(source, tmp_path / "lake", n_buckets=8)
    assert (third.n_files_parsed, third.n_jobs_done) == (0, 0)


def test_without_kept_parts_only_the_tables_stay(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    lake = write_lake(source, tmp_path / "lake", n_buckets=2, keep_parts=False)
    assert not list((tmp_path / "lake" / "parts").iterdir())
    assert contents(lake) == contents(write_lake(source, tmp_path / "other", n_buckets=2))


def test_a_reader_keeps_its_generation_through_the_next_load_and_is_told_after_two(tmp_path: Path) -> None:
    reader = load(tmp_path)
    rows = pl.concat([reader.read_bucket(bucket, "spell") for bucket in range(2)])
    load(tmp_path, MHS501HospProvSpell=[SPELL | {"DestOfDischHospProvSpell": "79"}])
    assert pl.concat([reader.read_bucket(bucket, "spell") for bucket in range(2)]).equals(rows)
    load(tmp_path, MHS501HospProvSpell=[SPELL | {"DestOfDischHospProvSpell": "30"}])
    with pytest.raises(SourceError, match="later loads have replaced this lake"):
        [reader.read_bucket(bucket, "spell") for bucket in range(2)]


@pytest.mark.parametrize("location", ["memory://lakes/tiny", "file://{}/lake"])
def test_a_lake_at_an_fsspec_location_is_the_one_on_disk(location: str, tmp_path: Path) -> None:
    place = location.format(tmp_path)
    source = write_extract(tmp_path / "source", tiny())
    there = write_lake(source, place, n_buckets=2)
    assert contents(there) == contents(write_lake(source, tmp_path / "here", n_buckets=2))
    write_extract(source, {"MHS501HospProvSpell": [SPELL | {"DestOfDischHospProvSpell": "79"}]})
    there, work = update_lake(source, place, n_buckets=2)
    assert work.n_files_parsed == 1
    assert contents(there) == contents(write_lake(source, tmp_path / "here", n_buckets=2))
    assert find_damage(there) == []
    if place.startswith("memory"):
        assert isinstance(place_of(place), UPath)
        place_of(place).rmdir(recursive=True)


def test_a_location_whose_package_is_not_installed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # importing it fails, as where it is not installed
    source = write_extract(tmp_path / "source", tiny())
    for use in (open_lake, partial(write_lake, source)):
        with pytest.raises(SourceError, match=r"begins with s3:// needs a package .*s3fs.*; install it") as caught:
            use("s3://bucket/lakes")
        assert "bucket" not in str(caught.value)


def test_a_kind_of_location_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SourceError, match=r"^nowhere:// is no kind of location that fsspec knows; allowed: a folder, "):
        open_lake("nowhere://bucket/lakes")


def test_a_changed_or_lost_file_of_a_lake_is_found(tmp_path: Path) -> None:
    lake = load(tmp_path)
    person, submission = "tables/person_month/bucket-000.parquet", "reference/submission.parquet"
    person = next(name for name in lake.manifest["written"] if name.startswith("tables/person_month"))
    (lake.folder / person).write_bytes(b"PAR1")
    (lake.folder / submission).unlink()
    assert find_damage(lake) == [submission, person]


LOAD = """
import sys
from pathlib import Path
from pipelines.lake import write_lake
write_lake(Path(sys.argv[1]), sys.argv[2], n_buckets=3)
"""


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_load_killed_anywhere_leaves_the_old_lake_and_the_next_one_goes_on(share: float, tmp_path: Path) -> None:
    mini = MINI["mhsds_mini_v5"]
    source = tmp_path / "source"
    shutil.copytree(mini, source, ignore=shutil.ignore_patterns("*_2019*"))
    old = write_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    shutil.copytree(mini, source, dirs_exist_ok=True)
    started = time.monotonic()
    whole = write_lake(source, tmp_path / "whole", n_buckets=N_BUCKETS)
    seconds = time.monotonic() - started
    load = subprocess.Popen([sys.executable, "-c", LOAD, str(source), str(tmp_path / "lake")], cwd=ROOT)
    wait_for_work(tmp_path / "lake", old)
    time.sleep(share * seconds)
    load.send_signal(signal.SIGKILL)
    load.wait()
    left = open_lake(tmp_path / "lake")
    assert left.folder.name in {old.folder.name, whole.folder.name}
    assert find_damage(left) == []
    again = write_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    assert contents(again) == contents(whole)


def wait_for_work(lake: Path, old: Lake) -> None:
    n_parts = len(list((lake / "parts").iterdir()))
    for _ in range(3000):
        folders = {path.name for path in lake.iterdir()} - {"parts", "manifest.json", old.folder.name}
        if folders or len(list((lake / "parts").iterdir())) > n_parts:
            return
        time.sleep(0.01)
    raise AssertionError("the load did not begin")
