"""A declared world -> a raw extract in MHSDS v5 layout, and beside it the truth that the pipeline must recover.

Choice made: people are generated in independent chunks, each from its own seed, and appended to the files, so memory
stays flat and any chunk can be made again; all numbers stand in configs/synthetic/assumptions.toml. No row describes a
real person, trust or place.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.synthetic.assumptions import Assumptions, load_assumptions
from pipelines.sources.synthetic.chunk import write_chunk
from pipelines.sources.synthetic.listing import Listing
from pipelines.sources.synthetic.monthly import area_codes
from pipelines.sources.synthetic.network import MINIMUM_TRUSTS, build_network, header_rows, successor_rows
from pipelines.sources.synthetic.population import draw_areas
from pipelines.sources.synthetic.writing import ExtractFiles

CHUNK_PEOPLE = 25_000
PARTICIPANTS = 590  # ENRICH (DOMAIN A1), from this many people on:
PEOPLE_FOR_ALL_PARTICIPANTS = 50_000
MINIMUM_PARTICIPANTS = 40
MAXIMUM_TRUSTS = 144  # two letters and a digit from 1 to 9
SHARED_SEED = 2**32 - 1  # spawn key of what all chunks share

__all__ = ["write_extract"]


@dataclass(frozen=True)
class _Plan:
    """How many people and participants each chunk has."""

    first: tuple[int, ...]
    people: tuple[int, ...]
    quota: tuple[int, ...]


def write_extract(
    folder: Path,
    *,
    people: int,
    seed: int,
    participants: int | None = None,
    trusts: int = 30,
    assumptions: Path | None = None,
) -> None:
    """Write a synthetic extract: raw CSV files, allocation list, lookups, manifest and truth/.

    Args:
        folder: where to; must not exist, or be empty. It appears whole or not at all.
        people: persons in the extract; the same people and seed give the same bytes.
        seed: of everything random.
        participants: of the trial, both arms; 590 from 50,000 people on, else in proportion (at least 40).
        trusts: at least 10; the first seven take part in the trial.
        assumptions: a TOML file that replaces some of configs/synthetic/assumptions.toml.

    Raises:
        SourceError: the folder is not empty, a number is out of range, or the assumptions cannot be used.
    """
    a = load_assumptions(assumptions)
    wanted = _participants(people) if participants is None else participants
    _check(folder, people, seed, wanted, trusts)
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        _write(unfinished, _plan(people, wanted), seed, trusts, a)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _participants(people: int) -> int:
    in_proportion = round(people * PARTICIPANTS / PEOPLE_FOR_ALL_PARTICIPANTS)
    return min(PARTICIPANTS, max(MINIMUM_PARTICIPANTS, in_proportion))


def _check(folder: Path, people: int, seed: int, participants: int, trusts: int) -> None:
    problems = []
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problems.append(f"{folder.name}: exists already and is not an empty folder")
    if people < 1:
        problems.append("people: must be at least 1")
    if seed < 0:
        problems.append("seed: must not be negative")
    if not 0 <= participants <= people:
        problems.append("participants: must lie between 0 and the number of people")
    if not MINIMUM_TRUSTS <= trusts <= MAXIMUM_TRUSTS:
        problems.append(f"trusts: must lie between {MINIMUM_TRUSTS} and {MAXIMUM_TRUSTS}")
    if problems:
        raise SourceError(problems)


def _plan(people: int, participants: int) -> _Plan:
    first = tuple(range(0, people, CHUNK_PEOPLE))
    sizes = tuple(min(CHUNK_PEOPLE, people - start) for start in first)
    limits = [round(participants * (start + size) / people) for start, size in zip(first, sizes, strict=True)]
    return _Plan(first, sizes, tuple(int(part) for part in np.diff([0, *limits])))


def _write(folder: Path, plan: _Plan, seed: int, trusts: int, a: Assumptions) -> None:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SHARED_SEED,)))
    network = build_network(trusts, a, rng)
    deciles = draw_areas(a, rng)
    listing = Listing()
    with ExtractFiles(folder) as files:
        files.append("MHS000Header", header_rows(network, a, rng))
        for number, (first, size, quota) in enumerate(zip(plan.first, plan.people, plan.quota, strict=True)):
            write_chunk(files, listing, number, (first, size, quota), seed, network, deciles[0], a)
    listing.write(folder, a)
    areas = pl.DataFrame(
        {
            "LSOA2011": area_codes(np.arange(len(deciles[0]))),
            "LSOA2011Name": [f"Fenbury, {number:04d}" for number in range(len(deciles[0]))],
            "IMD2015Decile": deciles[0],
            "IMD2019Decile": deciles[1],
        }
    )
    areas.write_csv(folder / "imd_lookup.csv")
    pl.DataFrame(successor_rows(network, a)).select(
        "OldOrgCode", "OldOrgName", "NewOrgCode", "NewOrgName", "EffectiveDate", "Reason"
    ).write_csv(folder / "provider_successors.csv")
    _write_json(folder / "extract_manifest.json", MANIFEST)
    _write_json(folder / "truth" / "assumptions.json", a.declared())


MANIFEST = {
    "source": "synthetic MHSDS-shaped extract of this project's generator",
    "layout": "v5",
    "period_start": "2014-04-01",
    "period_end": "2020-03-31",
    "opt_out_applied": True,
    "opt_out_applied_date": "2020-06-01",
    "legal_basis": "none needed: no row describes a real person",
    "contains_real_data": False,
}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
