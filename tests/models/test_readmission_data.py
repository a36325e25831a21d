"""Proportional rates on real readmissions against the Andersen-Gill ratio of R."""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.recurrent import lwyy
from models.results import Design
from tests.models.effect_samples import baseline_of

HERE = Path(__file__).parents[1]
DATA = HERE / "data" / "colorectal_readmission" / "readmission.csv"
R = HERE / "golden" / "times" / "readmission.csv"


def test_the_rate_ratio_without_weights_is_that_of_andersen_and_gill_in_r() -> None:
    rows = pl.read_csv(DATA)
    people = rows.group_by("id", maintain_order=True).agg(
        pl.col("chemo").first(), until=pl.col("stop").max(), died=pl.col("death").max()
    )
    events = rows.filter(pl.col("event") == 1).join(people.select("id").with_row_index("row"), on="id")
    assert (people.height, events.height, people["died"].sum()) == (403, 458, 109)
    n, treated = people.height, (people["chemo"] == "Treated").to_numpy()
    design = Design("by_hand", "ATE", treated, np.full(n, 0.5), np.ones(n), np.full(n, -1))
    (found,) = lwyy(
        events["row"].cast(pl.Int64).to_numpy(),
        events["stop"].cast(pl.Float64).to_numpy(),
        people["until"].cast(pl.Float64).to_numpy(),
        (people["died"] == 1).to_numpy(),
        baseline_of(np.zeros((n, 1)), np.arange(n)),
        design,
        horizon=int(rows["stop"].max()),  # type: ignore[arg-type]
    )
    with R.open(encoding="utf-8") as stream:
        expected = next(csv.DictReader(stream))
    assert found.value == pytest.approx(float(expected["ratio"]), rel=1e-8)
    assert found.std_error == pytest.approx(float(expected["log_error"]), rel=1e-8)
    assert (found.lower, found.upper) == pytest.approx((float(expected["lower"]), float(expected["upper"])), rel=1e-8)
