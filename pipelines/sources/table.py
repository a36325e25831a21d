"""Ready-made tables (CSV or Parquet, a row per person at time zero) become one frame of arms, covariates and outcomes.

Rows that cannot be used go to quarantine with their reason and are counted: an arm that the protocol does not name,
or a value that is not a number where the protocol wants one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines.errors import SourceError
from pipelines.protocol import Covariates, Source, TableFile
from pipelines.sources import normalise

MISSING_TEXTS = ["", *normalise.MISSING_TEXTS]


@dataclass(frozen=True)
class TableStudy:
    """rows: person_id, index_date (null), arm, the covariates, and outcome:<name> columns; quarantined: file, line and
    reason of every row left out; account: rows read, kept and quarantined per file."""

    rows: pl.DataFrame
    quarantined: pl.DataFrame
    account: dict[str, Any]


def read_table(source: Source, covariates: Covariates, outcomes: Mapping[str, str]) -> TableStudy:
    """Read the files of a table source. Raises SourceError naming every missing file and column at once."""
    needed = [*covariates.numeric, *covariates.categorical, *outcomes.values()]
    if source.id_column is not None:
        needed.append(source.id_column)
    problems = check_tables(source, needed)
    if problems:
        raise SourceError(problems)
    frames, bad, files = [], [], []
    for number, table in enumerate(source.tables):
        kept, quarantined, entry = _read_one(table, number, source, covariates, outcomes)
        frames.append(kept)
        bad.append(quarantined)
        files.append(entry)
    rows = pl.concat(frames, how="vertical_relaxed")
    reasons: dict[str, int] = {}
    for entry in files:
        for reason, count in entry["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return TableStudy(rows, pl.concat(bad), {"files": files, "reasons": reasons, "ignored_files": []})


def check_tables(source: Source, needed: list[str]) -> list[str]:
    """Problems of the files' headers; moves no data."""
    problems = []
    for table in source.tables:
        if not table.path.is_file():
            problems.append(f"{table.path}: there is no such file")
            continue
        columns = _scan(table).collect_schema().names()
        wanted = needed if table.arm_column is None else [*needed, table.arm_column]
        problems += [
            f"{table.path}: no column '{name}'; the file has: {', '.join(columns)}"
            for name in dict.fromkeys(wanted)
            if name not in columns
        ]
    return problems


def _scan(table: TableFile) -> pl.LazyFrame:
    if table.path.suffix == ".parquet":
        return pl.scan_parquet(table.path)
    return pl.scan_csv(table.path, infer_schema=False, encoding="utf8-lossy")


def _read_one(
    table: TableFile, number: int, source: Source, covariates: Covariates, outcomes: Mapping[str, str]
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    raw = _scan(table).collect()
    arm = pl.lit(table.arm) if table.arm_column is None else _named_arm(table)
    person = (
        pl.col(source.id_column).cast(pl.String) if source.id_column else pl.format("{}:{}", pl.lit(number), "line")
    )
    numbers = list(dict.fromkeys([*covariates.numeric, *outcomes.values()]))
    read = raw.with_row_index("line", offset=1).with_columns(
        arm.alias(":arm"), person.alias(":person"), *[_number(name).alias(f":{name}") for name in numbers]
    )
    bad_number = pl.any_horizontal(*[_is_present(name) & pl.col(f":{name}").is_null() for name in numbers])
    judged = read.with_columns(
        reason=pl.when(pl.col(":person").is_null())
        .then(pl.lit("no_person"))
        .when(pl.col(":arm").is_null())
        .then(pl.lit("arm_not_in_protocol"))
        .when(bad_number)
        .then(pl.lit("not_a_number"))
        .when(pl.col(":person").is_duplicated() & (pl.col(":person").cum_count().over(":person") > 1))
        .then(pl.lit("duplicate_person"))
    )
    kept = judged.filter(pl.col("reason").is_null()).select(
        pl.col(":person").alias("person_id"),
        pl.lit(None, pl.Date).alias("index_date"),
        pl.col(":arm").alias("arm"),
        *[pl.col(f":{name}").alias(name) for name in covariates.numeric],
        *[_text(name).alias(name) for name in covariates.categorical],
        *[pl.col(f":{column}").alias(f"outcome:{name}") for name, column in outcomes.items()],
    )
    quarantined = judged.drop_nulls("reason").select(
        pl.lit(table.path.name).alias("file"), pl.col("line").cast(pl.Int64), "reason"
    )
    reasons = dict(quarantined.group_by("reason").len().sort("reason").iter_rows())
    return (
        kept,
        quarantined,
        {
            "file": table.path.name,
            "table": "person",
            "rows_read": raw.height,
            "rows_kept": kept.height,
            "rows_deduplicated": 0,
            "rows_quarantined": raw.height - kept.height,
            "reasons": reasons,
        },
    )


def _named_arm(table: TableFile) -> pl.Expr:
    assert table.arm_column is not None
    return pl.col(table.arm_column).cast(pl.String).str.strip_chars().replace_strict(dict(table.arms), default=None)


def _text(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.strip_chars()
    return pl.when(text.is_in(MISSING_TEXTS).not_()).then(text)


def _number(name: str) -> pl.Expr:
    """Null where the text is no finite number."""
    number = _text(name).cast(pl.Float64, strict=False)
    return pl.when(number.is_infinite().not_()).then(number)


def _is_present(name: str) -> pl.Expr:
    return _text(name).is_not_null()
