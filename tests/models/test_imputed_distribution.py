"""Imputed values in distribution: the statistics of many copies against those of R's mice on the same people."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from models.imputation import Incomplete, impute
from models.results import FloatArray

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[1] / "golden" / "imputation"
COPIES, COPIES_OF_R = 400, 1000


def rows_of(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open() as file:
        return list(csv.DictReader(file))


def golden() -> dict[str, tuple[float, float]]:
    """Of each statistic: its mean over R's copies and their standard deviation."""
    rows = rows_of("imputed.csv")
    assert f"copies {COPIES_OF_R}" in [row["mean"] for row in rows]
    return {row["statistic"]: (float(row["mean"]), float(row["between_sd"])) for row in rows if row["between_sd"]}


def coefficients(target: FloatArray, columns: FloatArray, *, binary: bool) -> FloatArray:
    """Least squares, or maximum likelihood of a logistic regression; the intercept first."""
    x = np.column_stack([np.ones(len(target)), columns])
    if not binary:
        return np.linalg.lstsq(x, target, rcond=None)[0]
    beta = np.zeros(x.shape[1])
    for _ in range(20):
        risk = expit(x @ beta)
        beta = beta + np.linalg.solve((x * (risk * (1 - risk))[:, None]).T @ x, x.T @ (target - risk))
    return beta


def statistics(treated: FloatArray, z: FloatArray, filled: tuple[FloatArray, ...]) -> dict[str, float]:
    """Those of make_imputed.R, by the same names."""
    x, stays, b, level = filled
    of_x = coefficients(x, np.column_stack([z, treated, b, stays]), binary=False)
    of_b = coefficients(b, np.column_stack([z, x]), binary=True)
    of_treated = coefficients(treated, np.column_stack([z, x, stays, b, level == 1, level == 2]), binary=True)
    return {
        "mean_x": x.mean(),
        "sd_x": x.std(ddof=1),
        "mean_stays": stays.mean(),
        "sd_stays": stays.std(ddof=1),
        "mean_b": b.mean(),
        "share_1": (level == 1).mean(),
        "share_2": (level == 2).mean(),
        "x_on_z": of_x[1],
        "x_on_treated": of_x[2],
        "x_on_b": of_x[3],
        "x_on_stays": of_x[4],
        "b_on_z": of_b[1],
        "b_on_x": of_b[2],
        "treated_on_x": of_treated[2],
        "treated_on_level_2": of_treated[6],
    }


@cache
def found() -> dict[str, FloatArray]:
    people = rows_of("people.csv")
    column = {name: np.array([float(row[name] or "nan") for row in people]) for name in people[0]}
    kinds = {"x": "number", "stays": "number", "b": "indicator", "level": "category"}
    incomplete = [Incomplete(name, column[name], kind) for name, kind in kinds.items()]  # type: ignore[arg-type]
    complete = np.column_stack([column["treated"], column["z"]])
    copies = [
        statistics(
            column["treated"], column["z"], impute(incomplete, complete, rng=np.random.default_rng(seed), iterations=5)
        )
        for seed in range(COPIES)
    ]
    return {name: np.array([copy[name] for copy in copies]) for name in copies[0]}


STATISTICS = sorted(golden())
OF_THE_CATEGORY = {"share_1", "share_2", "treated_on_level_2"}


@pytest.mark.parametrize("name", STATISTICS)
def test_the_mean_over_copies_is_that_of_mice(name: str) -> None:
    """Within a quarter of what the copies differ by: four of its errors with 400 copies here and 1,000 in R."""
    mean, between = golden()[name]
    assert found()[name].mean() == pytest.approx(mean, abs=0.25 * between)


@pytest.mark.parametrize("name", STATISTICS)
def test_copies_differ_as_those_of_mice_do(name: str) -> None:
    """A ratio of standard deviations has an error of 0.06 here, and three are allowed. Polytomous regression in mice
    3.15 takes its coefficients as known, where here each dichotomy draws its own: the copies must differ by more."""
    ratio = found()[name].std(ddof=1) / golden()[name][1]
    assert (1.0 if name in OF_THE_CATEGORY else 0.83) < ratio < (1.45 if name in OF_THE_CATEGORY else 1.17)


def test_without_imputation_the_statistics_are_others() -> None:
    """The comparison can fail: those seen alone have another mean of x, by six times what copies differ by."""
    seen = np.array([float(row["x"]) for row in rows_of("people.csv") if row["x"]])
    mean, between = golden()["mean_x"]
    assert abs(seen.mean() - mean) > 5 * between
