"""A CDM in a DuckDB file or a PostgreSQL schema -> its pieces: each table in partitions of people, streamed as Arrow.

Partitions are made by the server: ranges of person_id that hold equally many people, which an index on person_id
serves, or remainders of a hash where person_id is not a whole number. A piece asks for the columns that are needed, as
text, and takes them batch by batch. What a piece holds is known by a checksum that the server computes, so nothing is
read again that has not changed.

The address of a PostgreSQL server comes from the environment alone, on every machine that reads: it is in no object, no
file and no message. Nor is anything that the driver says, which may quote it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from pipelines.errors import SourceError
from pipelines.sources.aliases import SourceTable
from pipelines.sources.csv_files import Batch, Content, Header, Piece
from pipelines.sources.omop.psychiatric import roots
from pipelines.sources.omop.rows import ANCESTOR, BATCH_ROWS, CONCEPT_ANCESTOR, needed_columns, text_batches
from pipelines.sources.omop.staged import layouts

DSN = "VIRTUAL_CONTROLS_OMOP_DSN"
WHOLE_NUMBERS = {"smallint", "integer", "bigint", "hugeint", "ubigint", "uinteger"}
_SQL_STATES = {
    "28": "it refuses the user or the password",
    "3D": "it has no such database",
    "42": "the user may not read a table, or a table is not as it was",
    "53": "it has no room or no connection left",
    "57": "it was stopped, or cancelled the query",
}


@dataclass(frozen=True)
class DuckdbFile:
    """A DuckDB file, opened for reading only."""

    path: Path

    @property
    def place(self) -> str:
        return self.path.name

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        import duckdb

        if not self.path.is_file():
            raise SourceError(f"{self.path}: there is no such file")
        try:
            with duckdb.connect(str(self.path), read_only=True, config={"threads": 1}) as connection:
                yield from connection.sql(sql).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise SourceError(f"{self.place}: cannot be read as a DuckDB file ({type(error).__name__})") from None

    def stamp(self) -> str:
        status = self.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def checksum(self, cells: Sequence[str]) -> str:
        return f"sum(hash({', '.join(cells)})::HUGEINT)"

    def bucket(self, person_id: str, n: int) -> str:
        return f"hash({person_id}) % {n}"

    def schema_filter(self) -> str:
        return "table_schema NOT IN ('information_schema', 'pg_catalog')"


@dataclass(frozen=True)
class PostgresSchema:
    """A schema of the PostgreSQL database that the environment names."""

    schema: str

    @property
    def place(self) -> str:
        return f"PostgreSQL schema {self.schema}"

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi

        address = os.environ.get(DSN)
        if not address:
            raise SourceError(f"{self.place}: the environment variable {DSN} is not set; it holds the server's address")
        try:
            with dbapi.connect(address) as connection, connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
                cursor.execute("SET datestyle TO 'ISO, YMD'")
                cursor.execute(sql)
                yield from cursor.fetch_record_batch()
        except Error as error:
            raise SourceError(f"{self.place}: {_explain(error)}") from None

    def stamp(self) -> str:
        """A server does not tell when a table was changed, so that the rows themselves must be compared."""
        return ""

    def checksum(self, cells: Sequence[str]) -> str:
        return f"sum(hashtextextended(ROW({', '.join(cells)})::text, 0)::numeric)::text"

    def bucket(self, person_id: str, n: int) -> str:
        return f"mod(mod(hashtextextended({person_id}, 0), {n}) + {n}, {n})"

    def schema_filter(self) -> str:
        return f"table_schema = '{self.schema}'"


Database: TypeAlias = DuckdbFile | PostgresSchema
"""They differ in how they are opened and in three expressions of SQL."""


@dataclass(frozen=True)
class TablePiece:
    """A partition of a table (see extract.RawFile). `source` is the table as SQL names it, `columns` are the names of
    columns as SQL knows them by their case-folded ones, `condition` says which rows belong to the piece."""

    database: Database
    table: str
    source: str
    number: int
    columns: tuple[tuple[str, str], ...]
    condition: str

    @property
    def name(self) -> str:
        return f"{self.table}-{self.number:03d}"

    @property
    def header(self) -> Header:
        return Header(tuple(name for name, _ in self.columns), ",", True)

    @property
    def layout(self) -> SourceTable:
        return layouts()[self.table]

    def digest(self) -> str:
        cells = [_text(column) for _, column in self._read_columns()]
        sql = f"SELECT count(*) AS n, {self.database.checksum(cells)} AS c FROM {self.source} WHERE {self.condition}"
        ((n, checksum),) = rows_of(self.database, sql)
        return f"{n}-{checksum}"

    def stamp(self) -> str:
        return self.database.stamp() or self.digest()

    def size(self) -> int:
        return 0  # partitions hold about equally many people

    def look_through(self) -> Content:
        return Content(self.digest(), "database", ())

    def read(self, piece: Piece) -> Iterator[Batch]:
        return text_batches(self._frames(), self.layout, self.header)

    def _frames(self) -> Iterator[pl.DataFrame]:
        columns = self._read_columns()
        cells = ", ".join(f"{_text(column)} AS {quoted(name)}" for name, column in columns)
        for batch in self.database.stream(f"SELECT {cells} FROM {self.source} WHERE {self.condition}"):
            rows = pl.from_arrow(pa.Table.from_batches([batch]))
            assert isinstance(rows, pl.DataFrame)
            texts = rows.with_columns(pl.col(pl.String).replace("", None))
            yield texts.with_columns(_line=_key(texts, self.layout, self.header))

    def _read_columns(self) -> list[tuple[str, str]]:
        needed = set(needed_columns(self.layout, self.header))
        return [(name, column) for name, column in self.columns if name in needed]


@dataclass(frozen=True)
class CdmTable:
    """A table of a database: its name as SQL knows it, and its columns with their types, in order."""

    source: str
    columns: tuple[tuple[str, str], ...]

    @property
    def header(self) -> Header:
        return Header(tuple(name for name, _ in self.columns), ",", True)

    def quoted(self, column: str) -> str:
        """The column of that case-folded name as an SQL identifier."""
        return next(quoted(name) for name, _ in self.columns if name.casefold() == column)

    def has_whole_numbers(self, column: str) -> bool:
        return any(name.casefold() == column and kind.casefold() in WHOLE_NUMBERS for name, kind in self.columns)


def find_tables(database: Database) -> dict[str, CdmTable]:
    """The tables of the CDM that are read, by their name in lower case.

    Raises:
        SourceError: the database cannot be read, or holds several CDMs.
    """
    cells = ", ".join(
        _text(name) + f" AS {name}" for name in ("table_schema", "table_name", "column_name", "data_type")
    )
    sql = f"SELECT {cells} FROM information_schema.columns WHERE {database.schema_filter()} ORDER BY ordinal_position"
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for schema, table, column, kind in rows_of(database, sql):
        found.setdefault(schema, {}).setdefault(table, []).append((column, kind))
    holding = [schema for schema, tables in found.items() if any(table.casefold() == "person" for table in tables)]
    if len(holding) > 1:
        raise SourceError(f"{database.place}: {len(holding)} schemas hold a table person; one CDM is expected")
    known = layouts()
    return {
        table.casefold(): CdmTable(f"{quoted(schema)}.{quoted(table)}", tuple(columns))
        for schema in holding
        for table, columns in found[schema].items()
        if table.casefold() in known
    }


def cut_tables(database: Database, tables: dict[str, CdmTable], n_partitions: int) -> list[TablePiece]:
    """The pieces of all tables. Raises SourceError."""
    by_person = [name for name in tables if layouts()[name].target.by_person]
    use_ranges = all(tables[name].has_whole_numbers("person_id") for name in by_person)
    bounds = _bounds(database, tables["person"], n_partitions) if use_ranges else []
    pieces = []
    for name, table in sorted(tables.items()):
        if name not in by_person:
            conditions = [_of_concepts(table) if name == CONCEPT_ANCESTOR else "TRUE"]
        elif use_ranges:
            conditions = _ranges(table.quoted("person_id"), bounds)
        else:
            person_id = f"coalesce(CAST({table.quoted('person_id')} AS VARCHAR), '')"
            conditions = [f"{database.bucket(person_id, n_partitions)} = {number}" for number in range(n_partitions)]
        columns = tuple((column.casefold(), column) for column, _ in table.columns)
        pieces += [
            TablePiece(database, name, table.source, number, columns, condition)
            for number, condition in enumerate(conditions)
        ]
    return pieces


def rows_of(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """A short answer as Python values."""
    batches = [pa.Table.from_batches([batch]).to_pylist() for batch in database.stream(sql)]
    return [tuple(row.values()) for batch in batches for row in batch]


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _text(column: str) -> str:
    return f"CAST({quoted(column)} AS VARCHAR)"


def _bounds(database: Database, person: CdmTable, n_partitions: int) -> list[int]:
    """The last person_id of every partition but the last, so that each holds about equally many people."""
    column = person.quoted("person_id")
    parts = f"SELECT {column} AS p, ntile({n_partitions}) OVER (ORDER BY {column}) AS part FROM {person.source}"
    sql = f"SELECT CAST(max(p) AS BIGINT) AS bound FROM ({parts}) AS parts GROUP BY part ORDER BY 1"
    bounds = [bound for (bound,) in rows_of(database, sql) if bound is not None]
    return bounds[:-1]


def _ranges(person_id: str, bounds: Sequence[int]) -> list[str]:
    """Conditions on person_id that every row meets one of, whether its person is in the table person or not."""
    if not bounds:
        return ["TRUE"]
    inner = [f"{person_id} > {low} AND {person_id} <= {high}" for low, high in pairwise(bounds)]
    return [f"({person_id} <= {bounds[0]} OR {person_id} IS NULL)", *inner, f"{person_id} > {bounds[-1]}"]


def _of_concepts(table: CdmTable) -> str:
    column = table.quoted(ANCESTOR)
    if table.has_whole_numbers(ANCESTOR):
        return f"{column} IN ({', '.join(str(concept) for concept in roots())})"
    codes = ", ".join(f"'{concept}'" for concept in roots())
    return f"CAST({column} AS VARCHAR) IN ({codes})"


def _key(texts: pl.DataFrame, layout: SourceTable, header: Header) -> pl.Series:
    """What stands for the line of a row: its key, where that is a whole number."""
    names = [name for column in layout.columns if column.column.name == "row_id" for name in column.headers(header)]
    numbers = texts[names[0]].cast(pl.Int64, strict=False) if names else pl.zeros(texts.height, pl.Int64, eager=True)
    return numbers.fill_null(0).alias("_line")


def _explain(error: Exception) -> str:
    """What a driver's error means, without its text."""
    state = str(getattr(error, "sqlstate", None) or "")
    meaning = _SQL_STATES.get(state[:2], "it cannot be reached, or broke off")
    return f"the server gave no answer to a query: {meaning} (SQLSTATE {state or 'none'}); see the server's own log"
