"""Which outcomes are compared: those of windows that observation was to cover, with an event in them or without."""

import numpy as np
import polars as pl
import pytest

from pipelines.estimate.values import outcome_values


@pytest.mark.parametrize(
    ("outcome", "readmitted", "died_day", "censored_day", "value"),
    [
        ("readmitted_365d", True, None, None, 1.0),
        ("readmitted_365d", False, None, None, 0.0),
        ("readmitted_365d", None, None, 200, np.nan),
        ("readmitted_365d", True, None, 200, np.nan),  # seen, in a window that was cut short for everybody like them
        ("readmitted_365d", False, 100, 200, np.nan),  # a death tells no more than a readmission would
        ("readmitted_90d", True, None, 90, 1.0),  # the window of this outcome was covered
        ("readmitted_90d", False, None, 89, np.nan),
        ("readmitted_nhs_14d", True, None, 14, 1.0),
        ("readmitted_nhs_14d", True, None, 13, np.nan),
        ("placebo_readmission_prior", True, None, 0, 1.0),  # lies before time zero
    ],
)
def test_only_whole_windows_are_compared(
    outcome: str, readmitted: bool | None, died_day: int | None, censored_day: int | None, value: float
) -> None:
    schema = {outcome: pl.Boolean, "died_day": pl.Int64, "censored_day": pl.Int64}
    row = pl.DataFrame([(readmitted, died_day, censored_day)], schema=schema, orient="row")
    np.testing.assert_array_equal(outcome_values(row, outcome), [value])


def test_a_table_without_dates_is_taken_as_it_is() -> None:
    np.testing.assert_array_equal(outcome_values(pl.DataFrame({"better": [1, None]}), "better"), [1.0, np.nan])


def test_the_risk_is_right_where_half_of_the_windows_were_cut() -> None:
    """Readmission by an exponential time with a mean of 365 days, so 1 - 1/e in a year; for half of the people the data
    end within the year. Keeping the events of cut windows would give a risk of about 0.71."""
    rng = np.random.default_rng(20161201)
    n = 20_000
    day = np.ceil(rng.exponential(365, n)).astype(int)
    end = np.where(rng.random(n) < 0.5, rng.integers(1, 365, n), 10_000)
    seen = day <= np.minimum(end, 365)
    rows = pl.DataFrame({"day": day, "end": end, "seen": seen}).select(
        readmitted_365d=pl.when(pl.col("seen") | (pl.col("end") >= 365)).then("seen"),
        died_day=pl.lit(None, pl.Int64),
        censored_day=pl.when(pl.col("end") < 365).then("end"),
    )
    assert rows["readmitted_365d"].mean() > 0.69  # type: ignore[operator]
    found = outcome_values(rows, "readmitted_365d")
    error = np.sqrt(0.63 * 0.37 / np.isfinite(found).sum())
    assert abs(np.nanmean(found) - (1 - np.exp(-1))) < 3 * error
