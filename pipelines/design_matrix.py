"""Named covariates become the numeric matrix that designs work on, with no missing value left.

Choice made: a missing number is filled with the mean and flagged by an indicator (valid for a propensity score, where
the indicator lets the score depend on being missing: Rosenbaum & Rubin 1984, JASA 79:516), or, where the protocol says
so, filled with the median; a missing category is a level of its own. Under complete_case and multiple_imputation
nothing is missing any more when the matrix is built. Booleans are 0 and 1. Squares are of the centred variable, which
spans the same space. Codes of one dimension are missing together and share one indicator.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from models.results import Baseline, FloatArray, IntArray
from pipelines.errors import ProtocolError
from pipelines.protocol import CODE_PREFIX, Covariates

NOTHING_MISSING = ("refuse", "complete_case", "multiple_imputation")
MISSING_LEVEL = "missing"
POOLED_LEVEL = "other levels"


def build_baseline(
    rows: pl.DataFrame,
    covariates: Covariates,
    exact: Sequence[str],
    *,
    may_be_empty: bool = False,
    not_yet_treated: bool = False,
) -> Baseline:
    """The baseline of `rows` (person_id, index_date, covariates and the columns of `exact`), in their order; with
    `may_be_empty` also one without columns. `not_yet_treated` as in Baseline.

    Exact columns enter the matrix as categories too, so that weighting designs balance them. Raises ProtocolError
    naming every covariate that is unknown, empty, or (under missing = 'refuse') incomplete.
    """
    categorical = list(dict.fromkeys([*covariates.categorical, *exact]))
    _check(rows, covariates, categorical)
    blocks: list[tuple[str, FloatArray]] = []
    for name in covariates.numeric:
        blocks += _numeric_block(rows[name], covariates)
    for name in categorical:
        blocks += _categorical_block(rows[name], name, covariates.rare_level_below)
    if covariates.codes is not None:
        blocks += _code_blocks(rows, covariates)
    varied = [(name, values) for name, values in blocks if np.ptp(values) > 0]
    dates = rows["index_date"].cast(pl.Int32)
    none = [np.empty((rows.height, 0))] if may_be_empty else []
    return Baseline(
        matrix=np.column_stack([*none, *(values for _, values in varied)]),
        columns=tuple(name for name, _ in varied),
        exact_group=group_codes(rows, exact),
        index_day=dates.fill_null(0).cast(pl.Int64).to_numpy(),
        person=rows["person_id"].rank("dense").cast(pl.Int64).to_numpy(),
        not_yet_treated=not_yet_treated,
    )


def with_flags(baseline: Baseline, rows: pl.DataFrame, names: Sequence[str]) -> Baseline:
    """The baseline with an indicator of missing for each of `names` that has filled-in values and none, however few: a
    filled-in value is no reason to count somebody among those who have it. `rows` in the baseline's order."""
    flags = {}
    for name in names:
        if name in baseline.columns and f"{name} missing" not in baseline.columns:
            missing = ~rows.select(_is_known(rows.schema[name], name)).to_series().to_numpy()
            if missing.any():
                flags[f"{name} missing"] = missing.astype(np.float64)
    if not flags:
        return baseline
    matrix = np.column_stack([baseline.matrix, *flags.values()])
    return replace(baseline, matrix=matrix, columns=(*baseline.columns, *flags))


def group_codes(rows: pl.DataFrame, columns: Sequence[str]) -> IntArray:
    """An integer code for each combination of `columns`, in their sorted order; all zero without columns."""
    if not columns:
        return np.zeros(rows.height, dtype=np.int64)
    keys = rows.select(
        pl.concat_str([pl.col(name).cast(pl.String).fill_null(MISSING_LEVEL) for name in columns], separator="|")
    )
    return keys.to_series().rank("dense").cast(pl.Int64).to_numpy()


def _check(rows: pl.DataFrame, covariates: Covariates, categorical: Sequence[str]) -> None:
    named = [*covariates.numeric, *categorical]
    known = ", ".join(sorted(set(rows.columns) - {"row_id", "person_id", "index_date", "arm"}))
    problems = [
        f"covariates: '{name}' is not measured; measured are: {known}" for name in named if name not in rows.columns
    ]
    present = [name for name in named if name in rows.columns]
    problems += [
        f"covariates.numeric: '{name}' is text; list it under categorical"
        for name in covariates.numeric
        if name in present and rows[name].dtype == pl.String
    ]
    problems += [
        f"covariates: '{name}' has no value in this extract; leave it out or add its table"
        for name in present
        if rows[name].is_null().all()
    ]
    problems += [
        f"covariates: '{name}' has missing values and missing = '{covariates.use_of_missing(name)}'"
        for name in present
        if _must_be_known(name, covariates) and 0 < _n_missing(rows[name]) < rows.height
    ]
    if problems:
        raise ProtocolError(problems)


def _must_be_known(name: str, covariates: Covariates) -> bool:
    """Of an exact column that is no covariate, missing is a group of its own unless the protocol refuses it."""
    use = covariates.use_of_missing(name)
    is_covariate = name in (*covariates.numeric, *covariates.categorical)
    return use == "refuse" or (is_covariate and use in NOTHING_MISSING)


def complete_rows(rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The rows that have a value of every one of `names`."""
    present = [name for name in names if name in rows.columns]
    return rows.filter([_is_known(rows.schema[name], name) for name in present]) if present else rows


def _is_known(kind: pl.DataType, name: str) -> pl.Expr:
    known = pl.col(name).is_not_null()
    return known & pl.col(name).is_not_nan() if kind.is_float() else known


def _n_missing(values: pl.Series) -> int:
    return values.len() - int(values.to_frame().select(_is_known(values.dtype, values.name).sum()).item())


def _numeric_block(values: pl.Series, covariates: Covariates) -> list[tuple[str, FloatArray]]:
    name = values.name
    number = values.cast(pl.Float64).fill_nan(None)
    is_flagged = covariates.use_of_missing(name) != "median"
    filled = number.fill_null(number.mean() if is_flagged else number.median()).to_numpy()
    block = [(name, filled)]
    if name in covariates.squared:
        block.append((f"{name} squared", (filled - filled.mean()) ** 2))
    if name in covariates.is_zero:
        block.append((f"{name} is zero", (number == 0).fill_null(False).cast(pl.Float64).to_numpy()))
    if is_flagged and number.null_count() and number.null_count() >= covariates.rare_level_below:
        block.append((f"{name} missing", number.is_null().cast(pl.Float64).to_numpy()))
    return block


def _code_blocks(rows: pl.DataFrame, covariates: Covariates) -> list[tuple[str, FloatArray]]:
    """The indicators of codes, missing ones (a look-back that the extract does not cover) filled with the mean, and one
    indicator of missing for each dimension."""
    assert covariates.codes is not None
    blocks: list[tuple[str, FloatArray]] = []
    by_dimension: dict[str, list[str]] = {dimension: [] for dimension in covariates.codes.dimensions}
    for name in rows.columns:
        if name.startswith(CODE_PREFIX):
            by_dimension[name.removeprefix(CODE_PREFIX).rsplit("_", 2)[0]].append(name)
    for dimension, names in by_dimension.items():
        numbers = [rows[name].cast(pl.Float64) for name in names]
        known = [number for number in numbers if number.null_count() < number.len()]
        blocks += [(number.name, number.fill_null(number.mean()).to_numpy()) for number in known]
        if known and known[0].null_count() >= max(covariates.rare_level_below, 1):
            missing = pl.any_horizontal(pl.col(names).is_null()).cast(pl.Float64)
            blocks.append((f"{CODE_PREFIX}{dimension} missing", rows.select(missing).to_series().to_numpy()))
    return blocks


def _categorical_block(values: pl.Series, name: str, rare_below: int) -> list[tuple[str, FloatArray]]:
    pooled, levels = _levels(values, rare_below)
    return [(f"{name} = {text}", (pooled == text).cast(pl.Float64).to_numpy()) for text in sorted(levels[1:])]


def _levels(values: pl.Series, rare_below: int) -> tuple[pl.Series, list[str]]:
    """The category with rare levels pooled, and its levels, commonest first."""
    level = values.cast(pl.String).fill_null(MISSING_LEVEL)
    counts = level.value_counts().sort("count", level.name, descending=[True, False])
    rare = counts.filter(pl.col("count") < rare_below)[level.name].to_list()
    pooled = level.replace(dict.fromkeys(rare, POOLED_LEVEL)) if len(rare) > 1 else level
    return pooled, pooled.value_counts().sort("count", level.name, descending=[True, False])[level.name].to_list()


def reference_levels(rows: pl.DataFrame, covariates: Covariates) -> dict[str, str]:
    """The commonest level of each category: it has no column in the baseline."""
    named = [name for name in covariates.categorical if name in rows.columns]
    return {name: _levels(rows[name], covariates.rare_level_below)[1][0] for name in named}
