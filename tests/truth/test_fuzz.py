"""Hostile input: random corruption of valid extracts ends in a clear error or in a load whose account balances, and
nobody else's rows change unseen (fuzzing.py says exactly what is judged).

`make truth` runs all N_CASES, `make test` a sample. A case that fails names its number and how to run it again.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.lake import Lake, write_lake
from tests.truth import fuzzing
from tests.truth.base_extracts import base
from tests.truth.corruptions import TEXT, WHOLE, Files
from tests.truth.fuzzing import Bench, Outcome, ViolationError, open_bench, run_case

N_CASES, N_SAMPLE, AT_ONCE = 2_400, 45, 100
ENDS = ("loaded", "refused")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with open_bench() as opened:
        yield opened


def run_cases(numbers: range, bench: Bench) -> list[Outcome]:
    """All of the cases, and then every one that failed at once."""
    outcomes, faults = [], []
    for number in numbers:
        try:
            outcomes.append(run_case(number, bench))
        except ViolationError as violation:
            faults.append(str(violation))
    assert not faults, f"{len(faults)} of {len(numbers)} cases\n" + "\n\n".join(faults)
    return outcomes


def test_a_sample_of_corrupted_extracts(bench: Bench) -> None:
    outcomes = run_cases(range(N_SAMPLE), bench)
    # Two thirds load and a third is refused: a harness that does nothing would show here.
    assert all(Counter(outcome.end for outcome in outcomes)[end] >= N_SAMPLE // 6 for end in ENDS)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(N_SAMPLE, N_CASES, AT_ONCE))
def test_corrupted_extracts(bench: Bench, first: int) -> None:
    outcomes = run_cases(range(first, min(first + AT_ONCE, N_CASES)), bench)
    assert all(Counter(outcome.end for outcome in outcomes)[end] >= len(outcomes) // 6 for end in ENDS)
    assert any(outcome.cohort for outcome in outcomes)


def test_a_case_is_made_from_its_number_alone(bench: Bench) -> None:
    once, twice = (run_case(7, bench) for _ in range(2))
    assert (once.end, once.done) == (twice.end, twice.done)


def change_a_date(source: Path) -> None:
    path = source / "ONS_deaths.csv"
    path.write_bytes(path.read_bytes().replace(b"2019-02-11", b"2019-02-12"))


def lose_a_line(source: Path) -> None:
    path = source / "MHS502WardStay_2017.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def name_somebody(_: Path) -> None:
    raise SourceError("the row of Berta cannot be read")


def name_a_day(_: Path) -> None:
    raise SourceError("2019-02-11 is no date")


def break_down(_: Path) -> None:
    raise KeyError("person_id")


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (change_a_date, "death: rows of people who were not touched: 1 gone, 1 new"),
        (lose_a_line, r"MHS502WardStay_2017\.csv: 12 lines, 11 rows read"),
        (name_somebody, r"a message holds \['Berta'\]"),
        (name_a_day, r"a message holds \['2019-02-11'\]"),
        (break_down, "person_id"),
    ],
)
def test_the_judge_sees_what_must_not_happen(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], seen: str
) -> None:
    made = base("made")
    bench.tables(made)

    def write_harmed(source: Path, *others: Any, **settings: Any) -> Lake:
        harm(source)
        return write_lake(source, *others, **settings)

    monkeypatch.setattr(fuzzing, "write_lake", write_harmed)
    with pytest.raises((ViolationError, KeyError), match=seen):
        fuzzing.judge(1, bench, made, Files(dict(made.files)), set(), tmp_path)


def test_every_kind_of_corruption_changes_a_file() -> None:
    """None of the kinds is a corruption in name only."""
    for group in (TEXT, WHOLE):
        for kind, corrupt in group.items():
            changed = 0
            for seed in range(12):
                files = Files(dict(base("made").files))
                corrupt(random.Random(seed), files, "MHS501HospProvSpell_2017.csv")
                changed += bool(files.contents != base("made").files or files.places)
            assert changed >= 5, kind
