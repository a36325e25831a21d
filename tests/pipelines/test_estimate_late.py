"""Where recruitment and the covariates change with the calendar, late follow-up compares people who are not alike."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.propensity import fit_propensity
from models.recurrent import mean_cumulative_count
from models.results import Baseline
from models.weighting import propensity_weighting
from pipelines.design import Contrast
from pipelines.estimate.collected import AcceptedDesign, Results
from pipelines.estimate.counts import estimate_rates, share_of_window
from pipelines.estimate.late import READ_EARLY, WITHHELD_LATE, days_judged, judge_late, planned_days
from pipelines.estimate.recurrent import estimate_recurrent
from pipelines.estimate.times import end_of_observation, estimate_times
from pipelines.method_settings import Effects
from pipelines.method_settings.acceptance import Acceptance
from tests.acceptance import WHOEVER_IS_LEFT

HORIZON, RECRUITED, DATA_END = 1100, 900, 1200
COUNT, BACK = f"n_readmissions_{HORIZON}d", f"readmitted_{HORIZON}d"


class World:
    """No effect; a covariate that readmissions depend on, and time zero over 900 days, the data ending 300 days after.

    A ninth have whole windows. "drifts": both the covariate and the share treated rise over recruitment, so that
    weights that make the arms alike as a whole make the controls of every single year differ from its treated.
    "crossed": at first those with the covariate are treated more often, at last those without. "steady": treatment
    depends on the covariate, and neither on the date.
    """

    def __init__(self, seed: int, kind: str, n: int = 6000) -> None:
        rng = np.random.default_rng(seed)
        entry = rng.integers(0, RECRUITED, n)
        late = (entry - RECRUITED / 2) / 260  # a standard deviation of the dates
        x = (rng.random(n) < 1 / (1 + np.exp(-1.5 * late * (kind == "drifts")))).astype(float)
        lean = {"drifts": late, "crossed": late * (1 - 2 * x), "steady": x}[kind]
        treated = rng.random(n) < 1 / (1 + np.exp(1.5 - lean))
        last = np.minimum(HORIZON, DATA_END - entry)
        per_day = 0.001 * 3**x
        row = np.repeat(np.arange(n), rng.poisson(per_day * last))
        day = np.ceil(rng.random(row.size) * last[row]).astype(np.int64)
        nothing = np.zeros(n, dtype=np.int64)
        baseline = Baseline(x[:, None], ("x",), nothing, entry.astype(np.int64), np.arange(n))
        design = propensity_weighting(
            baseline, treated, fit_propensity(baseline, treated, l2_penalty=1.0, rng=rng), rng=rng
        )
        contrast = Contrast("peer_vs_virtual", "peer", "virtual")
        self.accepted = AcceptedDesign(
            design.method, contrast, pl.Series("row_id", np.arange(n)), baseline, design, True
        )
        self.readmissions = pl.DataFrame({"row_id": row, "day": day}).sort("row_id", "day")
        first = self.readmissions.group_by("row_id").agg(days_to_readmission=pl.col("day").min())
        self.of_rows = (
            pl.DataFrame({"row_id": np.arange(n), "last": last})
            .join(first, on="row_id", how="left", maintain_order="left")
            .with_columns(
                died_day=pl.lit(None, pl.Int64),
                censored_day=pl.when(pl.col("last") < HORIZON).then("last"),
            )
        )
        counted = self.readmissions.group_by("row_id").agg(n=pl.len().cast(pl.Int64))
        self.observed = (
            self.of_rows.select("row_id", days="last")
            .join(counted, on="row_id", how="left", maintain_order="left")
            .with_columns(
                pl.col("n").fill_null(0),
                outcome=pl.lit(COUNT),
                days_in_hospital=pl.lit(0),
                chances=pl.lit(None, pl.Int64),
            )
        )

    def ratio(self, horizon: int) -> float:
        """Of mean counts, by the method alone."""
        last_day, died = end_of_observation(self.of_rows, HORIZON)
        events = (self.readmissions["row_id"].to_numpy(), self.readmissions["day"].to_numpy().astype(float))
        found = mean_cumulative_count(
            *events, last_day, died, self.accepted.baseline, self.accepted.design, horizon=horizon
        )
        return found.estimates[1].value

    def run(self, *methods: str, acceptance: Acceptance | None = None, **options: Any) -> Results:
        protocol: Any = SimpleNamespace(
            effects=Effects.model_validate({"methods": methods, **options}),
            follow_up=SimpleNamespace(days=HORIZON),
            acceptance=acceptance or Acceptance(),
            study=SimpleNamespace(seed=1),
        )
        results = Results()
        estimate_recurrent(self.accepted, self.of_rows, self.readmissions, COUNT, protocol, results)
        estimate_rates(self.accepted, self.of_rows, self.observed, COUNT, protocol, results)
        if "cumulative_incidence" in methods:
            estimate_times(self.accepted, self.of_rows, protocol, results, Path())
        return results


LIMITS = Acceptance(max_abs_smd=0.15)
"""Chance alone leaves up to 0.1 of a standard deviation between the few with whole windows."""
REPEATED = ("mean_cumulative_count", "lwyy")


@pytest.fixture(scope="module")
def drifting() -> World:
    return World(0, "drifts")


@pytest.fixture(scope="module")
def steady() -> World:
    return World(0, "steady")


def values(results: Results) -> dict[tuple[str, str], float]:
    return {(row["method"], row["scale"]): row["value"] for row in results.estimates}


def worst_smd(results: Results, method: str) -> dict[str, Any]:
    (row,) = [row for row in results.analysed if (row["method"], row["check"]) == (method, "max_abs_smd")]
    return row


@pytest.mark.slow
def test_ratios_drift_where_recruitment_does() -> None:
    worlds = [World(seed, "drifts") for seed in range(4)]
    found = np.array([[world.ratio(until) for until in (300, HORIZON)] for world in worlds])
    by_then, late = found.mean(axis=0)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(worlds))
    assert abs(by_then - 1) < 3 * error[0]  # all are observed for 300 days
    assert late < 0.96  # in 8 worlds 0.919 (standard error of the mean 0.012), 1.005 by day 300


def test_mean_counts_are_withheld_where_those_observed_late_are_not_alike(drifting: World) -> None:
    results = drifting.run(*REPEATED, acceptance=LIMITS)
    assert not results.estimates
    assert not results.mean_counts
    assert {note["method"] for note in results.notes} == set(REPEATED)
    for note in results.notes:
        assert note["note"] == (
            f"{WITHHELD_LATE}max_abs_smd, from day 550 on; 95 % of either arm were to be observed up to day 310"
        )
    row = worst_smd(results, "lwyy")
    assert not row["passed"]
    assert row["limit"] == 0.15
    assert row["n_unobserved"] == drifting.of_rows["censored_day"].is_not_null().sum()
    share = next(one for one in results.analysed if one["check"] == "max_share_unobserved")
    assert share["limit"] is None  # nine tenths are cut short, which is no loss by itself
    assert drifting.run(*REPEATED, acceptance=WHOEVER_IS_LEFT).estimates  # the protocol decides


def test_mean_counts_are_estimated_where_the_date_has_nothing_to_do_with_the_arms(steady: World) -> None:
    results = steady.run(*REPEATED, acceptance=LIMITS)
    assert set(values(results)) == {
        ("mean_cumulative_count", "mean_count_difference"), ("mean_cumulative_count", "mean_count_ratio"),
        ("lwyy", "rate_ratio"),
    }  # fmt: skip
    assert results.notes == []
    assert 0 < worst_smd(results, "lwyy")["value"] < 0.15


def test_those_left_are_judged_with_the_weights_that_they_count_with() -> None:
    """Everybody has a whole window, but for silence that meets controls with the covariate most."""
    world = World(2, "steady")
    rng, x = np.random.default_rng(7), world.accepted.baseline.matrix[:, 0]
    lost = rng.random(x.size) < np.where(world.accepted.design.treated, 0.1, 0.25) * (1 + 2 * x)
    day = rng.integers(1, HORIZON, x.size)
    world.of_rows = world.of_rows.with_columns(censored_day=pl.when(pl.Series(lost)).then(pl.Series(day)))
    after = pl.col("day") <= pl.col("censored_day").fill_null(HORIZON)
    cut = world.readmissions.join(world.of_rows.select("row_id", "censored_day"), on="row_id", maintain_order="left")
    world.readmissions = cut.filter(after).select("row_id", "day")
    plain = world.run(*REPEATED, acceptance=LIMITS)
    assert not plain.estimates
    assert worst_smd(plain, "lwyy")["value"] > 0.3
    weights = {"censoring": "weights"}
    mended = world.run(*REPEATED, acceptance=LIMITS, lwyy=weights, mean_cumulative_count=weights)
    assert worst_smd(mended, "lwyy")["value"] < 0.1
    assert mended.estimates


def test_effects_of_times_are_estimated_and_the_reader_is_told(drifting: World, steady: World) -> None:
    results = drifting.run("cumulative_incidence", acceptance=LIMITS)
    assert {row["outcome"] for row in results.estimates} >= {BACK}
    (note,) = results.notes
    assert note["note"].startswith(f"{READ_EARLY}max_abs_smd, from day 550 on")
    assert all(row["passed"] and row["limit"] is None for row in results.analysed)  # nothing was withheld for it
    assert worst_smd(results, "cumulative_incidence")["value"] > 0.15
    assert steady.run("cumulative_incidence", acceptance=LIMITS).notes == []


def test_rates_are_judged_by_the_days_that_people_count_with() -> None:
    world = World(1, "crossed")
    results = world.run("quasi_poisson", acceptance=Acceptance())
    row = worst_smd(results, "quasi_poisson")
    design, days = world.accepted.design, world.of_rows["last"].to_numpy()
    x, weights = world.accepted.baseline.matrix[:, 0], design.weights * days
    arms = [np.average(x[arm], weights=weights[arm]) for arm in (design.treated, ~design.treated)]
    spread = x[design.treated].std()
    assert row["value"] == pytest.approx((arms[0] - arms[1]) / spread)
    assert (
        abs(np.average(x[~design.treated], weights=design.weights[~design.treated]) - x[design.treated].mean()) < 0.01
    )
    assert not row["passed"]
    assert not results.estimates
    wrong = values(world.run("quasi_poisson", acceptance=WHOEVER_IS_LEFT))
    assert wrong["quasi_poisson", "rate_ratio"] > 1.08  # the effect is none


def test_who_died_was_to_be_observed_longer() -> None:
    of_rows = pl.DataFrame(
        {"died_day": [None, 10, 10, None, None], "censored_day": [None, None, 50, 50, None]},
        schema={"died_day": pl.Int64, "censored_day": pl.Int64},
    )
    days = [100, 10, 10, 50]
    observed = pl.DataFrame({"row_id": range(4), "outcome": "n_ed_100d", "days": days})
    found = share_of_window(pl.Series("row_id", range(5)), of_rows, observed, "n_ed_100d")
    assert found.tolist() == [1.0, 1.0, 0.5, 0.5, 0.0]


def test_the_days_judged_are_those_that_a_report_can_name() -> None:
    assert days_judged(365) == [90, 180, 275, 365]
    assert days_judged(HORIZON) == [275, 550, 825, HORIZON]
    assert days_judged(4) == [4]


def test_nobody_cut_short_leaves_no_verdict_and_a_trial_is_not_judged(drifting: World) -> None:
    accepted, protocol = drifting.accepted, SimpleNamespace(acceptance=LIMITS)
    n = accepted.design.weights.size

    def judge(one: AcceptedDesign, until: Any) -> Any:
        return judge_late(one, one.design, until, lambda day: np.ones(n), HORIZON, protocol)  # type: ignore[arg-type]

    assert judge(accepted, np.full(n, float(HORIZON))).verdicts == []
    trial = Contrast("peer_vs_randomised", "peer", "control", is_randomised=True)
    late = judge(replace(accepted, contrast=trial), planned_days(drifting.of_rows, HORIZON))
    assert late.failed == []
    assert {row["limit"] for row in late.verdicts} == {None}


def test_an_arm_that_nobody_is_left_of_falls_short(drifting: World) -> None:
    accepted = drifting.accepted
    until = np.where(accepted.design.treated, 1000.0, float(HORIZON))
    protocol: Any = SimpleNamespace(acceptance=LIMITS)
    late = judge_late(accepted, accepted.design, until, lambda day: np.ones(until.size), HORIZON, protocol)
    assert (late.from_day, late.covered) == (HORIZON, 1000)
    assert "max_abs_smd" in late.failed
