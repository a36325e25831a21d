"""An OMOP CDM (5.3 or 5.4), in files, in a DuckDB file or in PostgreSQL -> what a load needs to know of it.

    folder      CSV or Parquet files, or zip archives of them    (files.py)
    duckdb      a DuckDB file                                    (databases.py)
    postgres    a schema; the server's address is in VIRTUAL_CONTROLS_OMOP_DSN and nowhere else

Whatever it is read from, the same CDM gives the same tables: all readers hand over the same text rows, piece by piece,
to the first pass of a load (staged.py says of which columns); the second pass puts the rows of a bucket of people
together (mapping.py, psychiatric.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Header
from pipelines.sources.extract import DESCRIPTION, Extract, RawFile, read_description
from pipelines.sources.omop.databases import DuckdbFile, PostgresSchema, cut_tables, find_tables
from pipelines.sources.omop.files import find_pieces
from pipelines.sources.omop.mapping import CdmAssembly
from pipelines.sources.omop.psychiatric import Stays
from pipelines.sources.omop.staged import MANDATORY, layouts

__all__ = ["OmopSource"]


@dataclass(frozen=True)
class OmopSource:
    """Where a CDM is, and which inpatient visits are the stays that a study follows.

    `folder` holds the list of participants and the statements about the data, and the CDM itself unless `duckdb` (a
    file) or `postgres` (a schema) says where else it is. A database's tables are read in `n_partitions` each.
    """

    folder: Path
    stays: Stays = "psychiatric"
    duckdb: Path | None = None
    postgres: str | None = None
    n_partitions: int = 16

    def examine(self) -> Extract:
        """What the CDM consists of, from its headers alone, or every problem with it."""
        if not self.folder.is_dir():
            return Extract((), (), {}, (f"{self.folder}: is not a folder",))
        description, problems = read_description(self.folder)
        try:
            pieces, ignored, faults = self._find()
        except SourceError as error:
            pieces, ignored, faults = [], [], error.problems
        return Extract(
            files=tuple(pieces),
            ignored=tuple(name for name in ignored if name != DESCRIPTION),
            description=description | {"omop": self._described()},
            problems=(*problems, *faults),
            assembly=CdmAssembly(self.stays),
        )

    def _described(self) -> dict[str, Any]:
        kind = "postgres" if self.postgres else "duckdb" if self.duckdb else "files"
        return {"read_from": kind, "stays": self.stays}

    def _find(self) -> tuple[Sequence[RawFile], list[str], list[str]]:
        """The pieces, names of files that are no table, and everything that is missing."""
        if self.duckdb is None and self.postgres is None:
            pieces, ignored, problems = find_pieces(self.folder)
            headers = [(piece.name, piece.layout, piece.header) for piece in pieces]
            return pieces, ignored, [*problems, *_missing(headers, str(self.folder))]
        database = DuckdbFile(self.duckdb) if self.duckdb else PostgresSchema(str(self.postgres))
        tables = find_tables(database)
        of_tables = [(name, layouts()[name], table.header) for name, table in sorted(tables.items())]
        missing = _missing(of_tables, database.place)
        return ([] if missing else cut_tables(database, tables, self.n_partitions)), [], missing


def _missing(found: Sequence[tuple[str, SourceTable, Header]], place: str) -> list[str]:
    """Tables and columns that are not there, all of them."""
    held = {layout.names[0] for _, layout, _ in found}
    tables = [f"{place}: the table {table} is missing" for table in MANDATORY if table not in held]
    columns = [
        f"{place}: {name}: the column {' or '.join(column.names[0])} is missing"
        for name, layout, header in found
        for column in layout.missing(header)
    ]
    return tables + columns
