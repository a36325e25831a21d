"""What the command `lake` does: load an extract, or what is new in it, and show what became of every raw row."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cluster import dask_of
from flows.failures import guard
from flows.ingest import ensure_extract, ensure_lake
from flows.plan import plan_study
from flows.progress import TerminalWatcher, watch
from flows.settings import Settings, read_settings
from pipelines.errors import SourceError
from pipelines.tables import PERSON_TABLES

if TYPE_CHECKING:
    from pipelines.lake import Lake

COUNTS = ("rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
RULES = ("deduplicated_by_rule", "quarantined_by_reason", "cells_nulled_by_rule", "rows_differing_by_columns")
TITLES = (
    "Rows deduplicated",
    "Rows quarantined",
    "Cells without a value of their kind, row kept",
    "Rows where two columns for one thing differ, the first stands",
)


def load_lake(study: Path, source: Path | None, runs: Path | None, *, check: bool) -> "Lake":
    """The lake of a study's extract, loaded where that is needed; with `check`, every file's bytes are compared.

    Raises:
        VirtualControlsError: the user's mistakes, each of its kind.
        DefectError: ours.
    """
    settings = read_settings(runs)
    watch(TerminalWatcher())
    return guard(lambda: _load(study, source, settings, check), settings.runs)


def show_lake(lake: "Lake", console: Console) -> None:
    """Print the account of a lake: counts of rows only, file by file and rule by rule."""
    files: list[dict[str, Any]] = lake.manifest["files"]
    console.print(_files(files))
    for name, title in zip(RULES, TITLES, strict=True):
        rows = [(file["file"], rule, n) for file in files for rule, n in file[name].items()]
        if rows:
            console.print(_rules(title, rows))
    if unread := lake.manifest["ignored_files"]:
        console.print(Text(f"Not read as a table: {', '.join(unread)}"), soft_wrap=True)
    for note, n in lake.manifest["notes"].items():
        console.print(Text(f"Note: {note}: {n:,}"))
    used = {rule for file in files for name in RULES for rule in file[name]}
    used |= set(lake.manifest["notes"]) | {f"{note.split(':')[0]}:TABLE" for note in lake.manifest["notes"]}
    for rule, meaning in lake.manifest["rules"].items():
        if rule in used:
            console.print(Text(f"{rule}: {meaning}"))
    totals = lake.manifest["totals"]
    console.print(
        Text(f"{totals['rows_read']:,} rows read = " + " + ".join(f"{totals[key]:,} {key[5:]}" for key in COUNTS[1:]))
    )
    console.print(Text("These counts are exact: they stay where the data may be."))
    for line in _how_to_open(lake):
        console.print(Text(line), soft_wrap=True)


def _load(study: Path, source: Path | None, settings: Settings, check: bool) -> "Lake":
    plan = plan_study(study, source, settings.runs)
    if plan.extract is None:
        raise SourceError(f"{study}: reads ready-made tables, which need no lake")
    extract = ensure_extract(plan)
    with dask_of(settings):
        location = ensure_lake(plan, extract)
    from pipelines.lake import find_damage, open_lake

    lake = open_lake(location)
    damaged = find_damage(lake) if check else []
    if damaged:
        raise SourceError([f"{lake.folder / name}: is gone or not what was written" for name in damaged])
    return lake


def _files(files: Iterable[dict[str, Any]]) -> Table:
    table = Table(title="Raw files", title_justify="left")
    table.add_column("file")
    table.add_column("table")
    table.add_column("layout")
    for key in COUNTS:
        table.add_column(key.replace("rows_", "rows "), justify="right")
    for file in files:
        table.add_row(file["file"], file["table"], file["release"], *(f"{file[key]:,}" for key in COUNTS))
    return table


def _rules(title: str, rows: Iterable[tuple[str, str, int]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("file")
    table.add_column("rule")
    table.add_column("number", justify="right")
    for file, rule, n in sorted(rows):
        table.add_row(file, rule, f"{n:,}")
    return table


def _how_to_open(lake: "Lake") -> list[str]:
    tables: Counter[str] = Counter({name: facts["rows"] for name, facts in lake.manifest["tables"].items()})
    name = max(tables, key=lambda table: (table in PERSON_TABLES, tables[table]))
    files = f"{lake.folder}/tables/{name}/*.parquet"
    return [
        f"Lake: {lake.folder}",
        f"DuckDB: SELECT * FROM read_parquet('{files}') LIMIT 10",
        f'Polars: polars.scan_parquet("{files}").head(10).collect()',
    ]
