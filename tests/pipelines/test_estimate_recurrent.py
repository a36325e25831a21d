"""Which readmissions and how much follow-up the methods for repeated events are given, and what comes of it."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from models.results import Baseline, Design
from pipelines.design import Contrast
from pipelines.estimate.collected import CURVE_SCHEMA, AcceptedDesign, Results
from pipelines.estimate.recurrent import estimate_recurrent, events_of_rows
from pipelines.estimate.times import end_of_observation
from pipelines.method_settings import Effects
from tests.acceptance import WHOEVER_IS_LEFT

SCHEMA = {"row_id": pl.Int64, "day": pl.Int64, "until_day": pl.Int64, "is_formal": pl.Boolean}
READMISSIONS = pl.DataFrame(
    [(1, 20, 30, None), (1, 100, None, True), (3, 5, 9, False), (9, 50, 60, None), (4, 40, 41, None)],
    schema=SCHEMA,
    orient="row",
)
ROWS = pl.Series("row_id", [4, 3, 2, 1], dtype=pl.Int64)
OF_ROWS = pl.DataFrame(
    {"row_id": [4, 3, 2, 1], "died_day": [None, 90, 200, None], "censored_day": [None, None, 60, 0]},
    schema={"row_id": pl.Int64, "died_day": pl.Int64, "censored_day": pl.Int64},
)


def test_death_or_the_end_of_observation_whichever_comes_first() -> None:
    last_day, died = end_of_observation(OF_ROWS, 365)
    assert last_day.tolist() == [365, 90, 60, 0]
    assert died.tolist() == [False, True, False, False]  # the death on day 200 was not observed


def test_events_are_those_of_the_rows_in_their_order() -> None:
    place, day = events_of_rows(ROWS, READMISSIONS)
    assert list(zip(place.tolist(), day.tolist(), strict=True)) == [(0, 40.0), (1, 5.0), (3, 20.0), (3, 100.0)]


def _accepted(n: int) -> AcceptedDesign:
    nothing = np.zeros(n, dtype=np.int64)
    baseline = Baseline(np.arange(float(n))[:, None], ("x",), nothing, nothing, np.arange(n))
    treated = np.arange(n) % 2 == 0
    design = Design("propensity_weighting", "ATT", treated, np.full(n, 0.5), np.ones(n), nothing - 1)
    row_id = pl.Series("row_id", np.arange(n))
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    return AcceptedDesign(design.method, contrast, row_id, baseline, design, is_primary=True)


def _protocol(*methods: str) -> SimpleNamespace:
    return SimpleNamespace(
        effects=Effects(methods=methods), follow_up=SimpleNamespace(days=365), acceptance=WHOEVER_IS_LEFT
    )


def test_estimates_and_curves_of_every_method() -> None:
    n = 40
    of_rows = pl.DataFrame({"row_id": np.arange(n)}).with_columns(
        died_day=pl.lit(None, pl.Int64),
        censored_day=pl.when(pl.col("row_id") == 7).then(0).otherwise(None).cast(pl.Int64),
    )
    # Row r has r % 3 readmissions, on days 10 and 20; row 7 was never observed.
    events = [(r, 10 * (k + 1), None, None) for r in range(n) for k in range(r % 3) if r != 7]
    readmissions = pl.DataFrame(events, schema=SCHEMA, orient="row")
    results, protocol = Results(), _protocol("mean_cumulative_count", "lwyy")
    estimate_recurrent(_accepted(n), of_rows, readmissions, "n_readmissions_365d", protocol, results)
    rows = pl.DataFrame(results.estimates)
    counts = np.arange(n) % 3
    treated, control = counts[::2].mean(), counts[1::2][np.arange(20) != 3].mean()  # row 7 is the fourth control
    np.testing.assert_allclose(rows["value"], [treated - control, treated / control, treated / control], rtol=1e-9)
    assert rows["scale"].to_list() == ["mean_count_difference", "mean_count_ratio", "rate_ratio"]
    assert rows["n_unobserved"].to_list() == [1, 1, 1]
    had = (counts > 0) & (np.arange(n) != 7)
    assert rows["fewest_events"].to_list() == [min(had[::2].sum(), had[1::2].sum())] * 3
    curves = pl.concat(results.mean_counts)
    assert curves.schema == pl.Schema(CURVE_SCHEMA)
    assert curves["arm"].unique(maintain_order=True).to_list() == ["peer", "virtual"]
    assert results.notes == []


def test_other_outcomes_have_none_and_what_is_refused_is_noted() -> None:
    of_rows = pl.DataFrame({"died_day": [None] * 4, "censored_day": [None] * 4}, schema_overrides={}).cast(pl.Int64)
    results, protocol = Results(), _protocol("lwyy")
    nobody = READMISSIONS.clear()
    estimate_recurrent(_accepted(4), of_rows, nobody, "n_readmissions_90d", protocol, results)
    assert results.notes == []
    estimate_recurrent(_accepted(4), of_rows, nobody, "n_readmissions_365d", protocol, results)
    assert "events in both arms" in results.notes[0]["note"]


def test_who_was_never_observed_is_stood_for_where_censoring_is_weighted_for() -> None:
    n = 40
    of_rows = pl.DataFrame({"row_id": np.arange(n)}).with_columns(
        died_day=pl.lit(None, pl.Int64),
        censored_day=pl.when(pl.col("row_id") == 7).then(0).otherwise(None).cast(pl.Int64),
    )
    events = [(r, 10 * (k + 1), None, None) for r in range(n) for k in range(r % 3) if r != 7]
    readmissions = pl.DataFrame(events, schema=SCHEMA, orient="row")
    options = {"censoring": "weights", "censoring_penalty": 1e12}
    effects = Effects.model_validate({"methods": ["mean_cumulative_count"], "mean_cumulative_count": options})
    results = Results()
    protocol = SimpleNamespace(effects=effects, follow_up=SimpleNamespace(days=365), acceptance=WHOEVER_IS_LEFT)
    estimate_recurrent(_accepted(n), of_rows, readmissions, "n_readmissions_365d", protocol, results)
    counts = np.arange(n) % 3
    # With a coefficient held at 0 row 7 is stood for by the other controls of its arm, alike.
    treated, control = counts[::2].mean(), counts[1::2][np.arange(20) != 3].mean()
    assert results.estimates[0]["value"] == pytest.approx(treated - control)
    assert (results.estimates[0]["n_control"], results.estimates[0]["n_unobserved"]) == (20, 0)
    assert [note["note"] for note in results.notes if note["note"].startswith("of 1 people of the design nothing")]
    assert results.notes[0]["note"].startswith("weights for the end of observation by arm and covariates")
