"""Bridging files -> for each old pseudonym of a person the one that stands for the person now (DOMAIN B2, I14).

Person_ID changed around 2020/21, and each version of MHSDS comes with a bridging file of its own, so one step may lead
to the next: chains are followed to their end, across files. A circle, or a pseudonym that becomes two, has no end that
could be trusted, and the load is refused.
"""

from collections.abc import Sequence

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.csv_files import Piece
from pipelines.sources.extract import RawFile
from pipelines.sources.normalise import normalise
from pipelines.sources.pseudonyms import conceal, key_of

STEPS = pl.Schema({"old_person_id": pl.String, "new_person_id": pl.String})


def read_bridge(files: Sequence[RawFile], pseudonyms: str = "") -> pl.DataFrame:
    """The bridging files among `files` as one: old_person_id, new_person_id, in order of the former; `pseudonyms` as
    of scatter.Manner.

    Raises:
        SourceError: a file cannot be read, or leads in a circle or two ways; with files and lines.
    """
    bridging = [file for file in files if file.layout.target.name == "person_bridge"]
    if not bridging:
        return STEPS.to_frame()
    steps = pl.concat([_read_steps(file, pseudonyms) for file in bridging])
    steps = steps.filter(pl.col("old_person_id") != pl.col("new_person_id"))
    problems = _forks(steps) or _circles(steps)
    if problems:
        raise SourceError(problems)
    return follow_bridge(steps.select(STEPS.names()))


def follow_bridge(steps: pl.DataFrame) -> pl.DataFrame:
    """Every old pseudonym with the last one of its chain. Each round halves what is left of every chain.

    Args:
        steps: old_person_id, new_person_id (the table person_bridge); free of circles, an old pseudonym always with the
            same new one, as read_bridge has seen to.
    """
    bridge = steps.filter(pl.col("old_person_id") != pl.col("new_person_id")).unique().sort("old_person_id")
    while True:
        further = bridge.rename({"old_person_id": "new_person_id", "new_person_id": "_further"})
        joined = bridge.join(further, on="new_person_id", how="left", maintain_order="left")
        if joined["_further"].null_count() == joined.height:
            return bridge
        bridge = joined.select("old_person_id", new_person_id=pl.coalesce("_further", "new_person_id"))


def cross_bridge(rows: pl.DataFrame, bridge: pl.DataFrame) -> pl.DataFrame:
    """Rows with the pseudonym that stands for each person now; `bridge` as read_bridge gives it."""
    ids = rows.select(old_person_id="person_id").unique()
    # The large table is the one that is probed: hashing it for every block of rows would take longer than the rest.
    known = bridge.join(ids, on="old_person_id", how="semi")
    if not known.height:
        return rows
    return rows.with_columns(pl.col("person_id").replace(known["old_person_id"], known["new_person_id"]))


def _read_steps(file: RawFile, pseudonyms: str) -> pl.DataFrame:
    empty = pl.DataFrame(schema={**STEPS, "file": pl.String, "line": pl.Int64})
    whole = Piece(file.look_through().encoding)  # lines are counted through: a message names them
    batches = [batch for batch in file.read(whole) if batch.rows.height]
    if pseudonyms:
        batches = [conceal(batch, file.header, file.layout, key_of(pseudonyms)) for batch in batches]
    normal = [normalise(batch.rows, file.header, file.layout).rows for batch in batches]
    return pl.concat([empty, *(rows.select(*STEPS.names(), file=pl.lit(file.name), line="_line") for rows in normal)])


def _forks(steps: pl.DataFrame) -> list[str]:
    """Pseudonyms with two successors."""
    forked = steps.filter(pl.col("new_person_id").n_unique().over("old_person_id") > 1)
    return [f"{place}: gives a pseudonym that was given another successor too" for place in _places(forked)]


def _circles(steps: pl.DataFrame) -> list[str]:
    """What is left when every pseudonym that leads to an end is taken away again and again is in a circle, or leads
    into one."""
    left = steps
    while True:
        rest = left.join(
            left.select("old_person_id").unique(), left_on="new_person_id", right_on="old_person_id", how="semi"
        )
        if rest.height == left.height:
            break
        left = rest
    return [f"{place}: the bridge leads in a circle" for place in _places(left)]


def _places(rows: pl.DataFrame) -> list[str]:
    """Files, each with the lines concerned (the header is line 1); the first few are enough to find the others."""
    shown = (
        rows.sort("file", "line").group_by("file", maintain_order=True).agg(pl.col("line").unique(maintain_order=True))
    )
    return [
        f"{file}, line {', '.join(map(str, lines[:10]))}{', ...' * (len(lines) > 10)}" for file, lines in shown.rows()
    ]
