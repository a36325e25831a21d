"""What is done with missing values, and with codes, on the way into the matrix of a design."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.design_matrix import build_baseline
from pipelines.errors import ProtocolError
from pipelines.protocol import CodeCovariates, Covariates

SCORES = [1.0, 2.0, 9.0, None, None]  # mean 4, median 2


def matrix(rows: dict[str, list[Any]], **settings: Any) -> dict[str, list[float]]:
    """Columns of the matrix by name, of rows of five people."""
    n = len(next(iter(rows.values())))
    frame = pl.DataFrame({"person_id": [str(k) for k in range(n)], "index_date": [None] * n} | rows).with_columns(
        pl.col("index_date").cast(pl.Date)
    )
    baseline = build_baseline(frame, Covariates(rare_level_below=1, **settings), [])
    return {name: baseline.matrix[:, k].tolist() for k, name in enumerate(baseline.columns)}


def test_a_missing_number_is_the_mean_with_an_indicator() -> None:
    assert matrix({"score": SCORES}, numeric=("score",)) == {
        "score": [1, 2, 9, 4, 4],
        "score missing": [0, 0, 0, 1, 1],
    }


def test_a_missing_number_may_be_the_median_without_one() -> None:
    assert matrix({"score": SCORES}, numeric=("score",), missing="median") == {"score": [1, 2, 9, 2, 2]}


def test_a_covariate_of_its_own_use_of_missing() -> None:
    rows = {"score": SCORES, "other": SCORES}
    found = matrix(rows, numeric=("score", "other"), missing_of={"other": "median"})
    assert list(found) == ["score", "score missing", "other"]


def test_refusing_may_be_asked_of_a_single_covariate() -> None:
    with pytest.raises(ProtocolError, match="'other' has missing values and missing = 'refuse'") as error:
        matrix({"score": SCORES, "other": SCORES}, numeric=("score", "other"), missing_of={"other": "refuse"})
    assert "'score'" not in str(error.value)


def test_one_covariate_may_be_filled_where_all_others_refuse() -> None:
    found = matrix({"score": SCORES}, numeric=("score",), missing="refuse", missing_of={"score": "median"})
    assert list(found) == ["score"]


CODES = {
    "age": [20, 30, 40, 50, 60],
    "code_diagnosis_F20_once": [True, False, True, None, None],
    "code_diagnosis_F32_once": [False, None, True, None, None],
    "code_hospital_diagnosis_I10_frequent": [True, False, False, False, True],
}
ALL = CodeCovariates(dimensions=("diagnosis", "hospital_diagnosis"))


def test_codes_enter_by_themselves_and_share_one_indicator_of_missing() -> None:
    found = matrix(CODES, numeric=("age",), codes=ALL)
    assert list(found) == [
        "age",
        "code_diagnosis_F20_once",
        "code_diagnosis_F32_once",
        "code_diagnosis missing",
        "code_hospital_diagnosis_I10_frequent",
    ]
    assert found["code_diagnosis_F20_once"] == pytest.approx([1, 0, 1, 2 / 3, 2 / 3])
    assert found["code_diagnosis missing"] == [0, 1, 0, 1, 1]


def test_without_the_section_no_code_enters() -> None:
    assert list(matrix(CODES, numeric=("age",))) == ["age"]


def test_codes_of_nobody_in_a_comparison_are_left_out() -> None:
    found = matrix(CODES | {"code_diagnosis_F60_once": [False] * 5}, numeric=("age",), codes=ALL)
    assert "code_diagnosis_F60_once" not in found
    assert all(np.isfinite(values).all() for values in found.values())
