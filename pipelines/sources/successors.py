"""The files of provider mergers (provider_successors) -> what keeps them from being followed.

Choice made (DOMAIN I12, K5): a code has one successor, whatever the day, so that the site of a stay is the same before
and after a merger; EffectiveDate is kept in the lake for whoever checks the file and decides nothing. A code that was
split between two has no end that could be trusted, and the load is refused, as with a pseudonym that becomes two.
"""

import re
from collections.abc import Sequence

import polars as pl

from pipelines.errors import SourceError
from pipelines.sources.csv_files import Piece
from pipelines.sources.extract import RawFile
from pipelines.sources.normalise import normalise

_ORGANISATION = r"[A-Z0-9]{3,6}"  # anything else in the column may be from another one, and is not shown
_STEPS = pl.Schema({"old_provider_id": pl.String, "new_provider_id": pl.String, "file": pl.String, "line": pl.Int64})


def expect_one_successor(files: Sequence[RawFile]) -> None:
    """Raises SourceError where a provider code has two different successors; with code, files and lines."""
    steps = pl.concat([_STEPS.to_frame(), *(_read_steps(file) for file in files if _is_of_mergers(file))])
    steps = steps.filter(pl.col("old_provider_id") != pl.col("new_provider_id"))
    forked = steps.filter(pl.col("new_provider_id").n_unique().over("old_provider_id") > 1)
    problems = [
        f"{', '.join(f'{file}, line {line}' for file, line in rows.select('file', 'line').iter_rows())}: "
        f"{_shown(str(code))} is given two successors; allowed: one for each code"
        for (code,), rows in forked.sort("old_provider_id", "file", "line").group_by(
            "old_provider_id", maintain_order=True
        )
    ]
    if problems:
        raise SourceError(problems)


def _is_of_mergers(file: RawFile) -> bool:
    return file.layout.target.name == "provider_successor"


def _read_steps(file: RawFile) -> pl.DataFrame:
    whole = Piece(file.look_through().encoding)
    batches = [batch for batch in file.read(whole) if batch.rows.height]
    rows = [normalise(batch.rows, file.header, file.layout).rows for batch in batches]
    steps = [frame.select(*_STEPS.names()[:2], file=pl.lit(file.name), line="_line") for frame in rows]
    return pl.concat([_STEPS.to_frame(), *steps])


def _shown(code: str) -> str:
    return f"the provider code {code}" if re.fullmatch(_ORGANISATION, code) else "a provider code"
