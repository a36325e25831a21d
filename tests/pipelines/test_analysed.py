"""Those left of a design, where outcomes were not observed, are judged as the design was, and the page says so."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.effects import keep_observed
from models.results import Baseline, Design
from pipelines import store
from pipelines.design import RANDOMISED, Contrast, design_study
from pipelines.diagnostics import judge_analysed
from pipelines.estimate import estimate_study
from pipelines.estimate.analysed import WITHHELD, is_withheld, worst_of_copies
from pipelines.estimate.collected import ANALYSED_SCHEMA, AcceptedDesign, Results
from pipelines.estimate.counts import estimate_rates, read_data_end
from pipelines.estimate.values import estimate_values
from pipelines.method_settings import Effects
from pipelines.method_settings.acceptance import Acceptance
from pipelines.protocol import Protocol
from pipelines.report import render_report
from pipelines.store import RunFolder, write_json, write_parquet
from tests.acceptance import WHOEVER_IS_LEFT
from tests.report_fixture import FACTS, make_table_protocol

COLUMNS = {name: {"column": name, "kind": "continuous"} for name in ("early", "late")}
SPEC = SimpleNamespace
RATE = "n_readmissions_365d"
LAST_DAY = date(2020, 3, 31)


def study_protocol(**acceptance: float) -> Protocol:
    return make_table_protocol(
        covariates={"numeric": ("age",)},
        outcomes={"primary": "late", "secondary": ("early",), "columns": COLUMNS},
        design={"methods": ["propensity_weighting"]},
        effects={"methods": ["weighted_difference", "aipw"]},
        acceptance={"max_abs_smd": 0.3, "min_effective_controls": 30, **acceptance},
        benchmark=None,
    )


def make_study(folder: Path, protocol: Protocol, is_seen: Any) -> RunFolder:
    """150 treated among 900; `late` is age with noise, no effect, and `is_seen` of treated, age and chance where it was
    observed; `early` always was."""
    rng = np.random.default_rng(20261124)
    n = 900
    treated = np.arange(n) < 150
    age, chance = rng.normal(40 + 2 * treated, 10).round(1), rng.random(n)
    late = age + rng.normal(0, 3, n)
    key = {"row_id": np.arange(n), "person_id": [f"p{k}" for k in range(n)], "index_date": [None] * n}
    arms = {"arm": np.where(treated, "peer", "virtual"), "is_eligible": [True] * n}
    seen = is_seen(treated, age, chance)
    found = {
        "early": rng.normal(age, 3),
        "late": [value if one else None for value, one in zip(late, seen, strict=True)],
    }
    run = RunFolder(folder)
    for name, columns in ((store.COHORT, arms), (store.BASELINE, {"age": age}), (store.OUTCOMES, found)):
        write_parquet(run.file(name), pl.DataFrame({**key, **columns}, schema_overrides={"index_date": pl.Date}))
    assert design_study(run, run.path, protocol)
    estimate_study(run, run.path, protocol)
    return run


def until_the_data_end(treated: np.ndarray, age: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Of the treated the older were seen, of the others the younger: SMDs of the whole say nothing of those left."""
    return chance < 1 / (1 + np.exp(-np.where(treated, 1, -1) * (age - 41) / 4))


def verdicts_of(run: RunFolder) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in run.read(store.ANALYSED).filter(pl.col("outcome") == "late").to_dicts()}


def test_an_outcome_is_withheld_where_those_left_are_out_of_balance(tmp_path: Path) -> None:
    before = make_study(
        tmp_path / "before", study_protocol(max_share_unobserved=1.0, max_abs_smd=5.0), until_the_data_end
    )
    wrong = before.read(store.ESTIMATES).filter(
        (pl.col("outcome") == "late")
        & (pl.col("method") == "weighted_difference")
        & (pl.col("scale") == "mean_difference")
    )
    assert wrong["value"].item() > 5 * wrong["std_error"].item()  # the effect is none
    protocol = study_protocol(max_share_unobserved=1.0)
    run = make_study(tmp_path / "after", protocol, until_the_data_end)
    assert set(run.read(store.ESTIMATES)["outcome"]) == {"early"}
    found = verdicts_of(run)
    assert found["max_abs_smd"]["value"] > 0.6
    assert not found["max_abs_smd"]["passed"]
    assert found["min_effective_controls"]["passed"]
    said = [note["note"] for note in run.read_json(store.EFFECT_NOTES) if note["outcome"] == "late"]
    assert said == [f"{WITHHELD}max_abs_smd"]
    assert run.read(store.ANALYSED)["outcome"].unique().to_list() == ["late"]  # nobody leaves the other
    render_report(run, run.path, protocol, FACTS)
    page = run.file(store.REPORT).read_text()
    assert "Not so those whose outcome was observed" in page
    assert "The primary outcome was not estimated" in page
    assert f"<span class=over>{found['max_abs_smd']['value']:.2f}</span>" in page
    assert "no effect estimated: largest standardised mean difference after the design" in page


def test_a_share_not_observed_alone_withholds_and_the_protocol_decides(tmp_path: Path) -> None:
    def a_quarter_is_not(treated: np.ndarray, age: np.ndarray, chance: np.ndarray) -> np.ndarray:
        return chance > 0.25

    run = make_study(tmp_path / "default", study_protocol(), a_quarter_is_not)
    failed = [check for check, row in verdicts_of(run).items() if not row["passed"]]
    assert failed == ["max_share_unobserved"]
    assert set(run.read(store.ESTIMATES)["outcome"]) == {"early"}
    protocol = study_protocol(max_share_unobserved=0.4)
    run = make_study(tmp_path / "wide", protocol, a_quarter_is_not)
    assert set(run.read(store.ESTIMATES)["outcome"]) == {"early", "late"}
    render_report(run, run.path, protocol, FACTS)
    page = run.file(store.REPORT).read_text()
    assert "Not so those whose outcome was observed" not in page
    smd = verdicts_of(run)["max_abs_smd"]["value"]
    assert f"<span>{smd:.2f}</span>" in page


def hand_made(estimand: Any = "ATT") -> tuple[Baseline, Design]:
    """Two treated, three controls; x of the treated 1 and 3, so a standard deviation of sqrt(2) before the design."""
    nothing = np.zeros(5, dtype=np.int64)
    baseline = Baseline(np.array([[1.0], [3], [0], [2], [5]]), ("x",), nothing, nothing, np.arange(5))
    weights = np.array([1, 1, 0.5, 1, 0.5])
    return baseline, Design("propensity_weighting", estimand, np.arange(5) < 2, np.full(5, 0.5), weights, nothing - 1)


def test_verdicts_by_hand() -> None:
    baseline, design = hand_made()
    observed = np.array([True, False, True, True, False])
    analysed = np.where(observed, design.weights, 0.0)
    limits = Acceptance(max_abs_smd=0.3, min_effective_controls=1.5, max_share_unobserved=0.5, max_ks=0.9)
    rows = judge_analysed(baseline, design, analysed, observed, limits, is_randomised=False)
    found = {row["check"]: row for row in rows}
    # 1 against (0.5 × 0 + 1 × 2) / 1.5 = 4/3, over sqrt(2); Kish of (0.5, 1) is 1.5² / 1.25.
    assert found["max_abs_smd"]["value"] == pytest.approx((1 / 3) / np.sqrt(2))
    assert found["min_effective_controls"]["value"] == pytest.approx(1.8)
    assert found["min_effective_treated"] == {
        "check": "min_effective_treated", "limit": None, "value": 1.0, "passed": True
    }  # fmt: skip
    assert found["max_share_unobserved"]["value"] == 0.5  # one of two treated; of the controls 0.5 of 2
    assert found["max_ks"]["value"] == pytest.approx(2 / 3)
    assert all(row["passed"] for row in rows)
    trial = judge_analysed(baseline, design, analysed, observed, Acceptance(), is_randomised=True)
    assert [row["check"] for row in trial if row["limit"] is not None] == ["max_share_unobserved"]
    assert not next(row for row in trial if row["limit"] is not None)["passed"]


def test_people_outside_the_design_may_be_unobserved_and_all_observed_leaves_no_verdict() -> None:
    baseline, design = hand_made()
    out = replace(design, weights=np.array([1, 1, 0.5, 1, 0]))
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    accepted = AcceptedDesign(design.method, contrast, pl.Series("row_id", range(5)), baseline, out, is_primary=True)
    results = Results()
    observed = np.array([True, True, True, True, False])
    protocol: Any = SPEC(acceptance=Acceptance(max_abs_smd=1e-9))
    assert not is_withheld(accepted, "back", out.weights, observed, protocol, results)
    assert results.analysed == results.notes == []


def records(n: int = 400, seed: int = 3) -> tuple[AcceptedDesign, np.random.Generator]:
    rng = np.random.default_rng(seed)
    nothing = np.zeros(n, dtype=np.int64)
    baseline = Baseline(rng.normal(size=(n, 1)), ("x",), nothing, nothing, np.arange(n))
    design = Design(
        "propensity_weighting", "ATT", np.arange(n) < n // 2, np.full(n, 0.5), np.ones(n), nothing - 1,
        {"weights_are": "fixed"},
    )  # fmt: skip
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    return AcceptedDesign(design.method, contrast, pl.Series("row_id", np.arange(n)), baseline, design, True), rng


@pytest.mark.parametrize(
    ("outcome", "kind", "methods", "instead"),
    [
        ("readmitted_365d", "binary", ("weighted_difference", "cox"), "for the same event, cox use everybody until"),
        (
            "readmitted_90d",
            "binary",
            ("weighted_difference",),
            "for the same event, cumulative_incidence, cox would use everybody",
        ),
        (RATE, "continuous", ("weighted_difference", "lwyy"), "for the same event, lwyy use everybody"),
        ("n_ed_365d", "continuous", ("weighted_difference", "cox"), None),
    ],
)
def test_the_reason_names_what_answers_for_the_same_event(
    outcome: str, kind: Any, methods: tuple[str, ...], instead: str | None
) -> None:
    accepted, rng = records()
    values = pl.Series(outcome, (rng.random(400) < 0.5).astype(float))
    of_rows = pl.DataFrame([pl.select(pl.when(pl.Series(rng.random(400) > 0.3)).then(values).alias(outcome))[outcome]])
    protocol: Any = SPEC(
        acceptance=WHOEVER_IS_LEFT.model_copy(update={"max_share_unobserved": 0.2}),
        effects=Effects(methods=methods),
        outcomes=SPEC(primary=outcome, secondary=(), columns={}),
        source=SPEC(kind="mhsds"),
        study=SPEC(seed=1),
    )
    results = Results()
    estimate_values(accepted, of_rows, outcome, kind, protocol, results, Path())
    assert not results.estimates
    (note,) = results.notes
    assert note["method"] == ""
    reason, _, rest = note["note"].removeprefix(WITHHELD).partition("; ")
    assert reason == "max_share_unobserved"
    assert rest.startswith(instead) if instead else not rest


def test_a_trial_is_judged_by_the_share_alone() -> None:
    accepted, _ = records()
    design = replace(accepted.design, method=RANDOMISED)
    trial = replace(
        accepted, contrast=Contrast("peer_vs_randomised", "peer", "control", is_randomised=True), design=design
    )
    lost = np.where(design.treated, accepted.baseline.matrix[:, 0] > 1.2, accepted.baseline.matrix[:, 0] < -1.2)
    assert lost.mean() < 0.2
    weights = keep_observed(np.where(lost, np.nan, 1.0), trial.baseline, design)[2].weights
    results = Results()
    protocol: Any = SPEC(acceptance=Acceptance(max_abs_smd=0.1), effects=Effects())
    assert not is_withheld(trial, "back", weights, ~lost, protocol, results)
    assert next(row for row in results.analysed if row["check"] == "max_abs_smd")["value"] > 0.3  # told all the same
    assert is_withheld(accepted, "back", weights, ~lost, protocol, results)


def rates(
    ends: dict[str, Any], accepted: AcceptedDesign, acceptance: Acceptance, data_end: date | None = LAST_DAY
) -> Results:
    """A rate with censoring weights; `ends` gives index_date, censored_day, days."""
    n = accepted.row_id.len()
    schema = {"index_date": pl.Date, "died_day": pl.Int64, "censored_day": pl.Int64}
    of_rows = pl.DataFrame(
        {"index_date": ends["index_date"], "died_day": [None] * n, "censored_day": ends["censored_day"]}, schema=schema
    )
    observed = pl.DataFrame({"row_id": accepted.row_id, "days": ends["days"]}).with_columns(
        outcome=pl.lit(RATE), n=pl.col("row_id") % 3, days_in_hospital=0, chances=pl.lit(None, pl.Int64)
    )
    effects = Effects.model_validate({"methods": ["quasi_poisson"], "quasi_poisson": {"censoring": "weights"}})
    results = Results()
    protocol: Any = SPEC(effects=effects, acceptance=acceptance)
    estimate_rates(accepted, of_rows, observed, RATE, protocol, results, data_end)
    return results


def windows(accepted: AcceptedDesign, *, cut: np.ndarray, by_the_end: bool) -> dict[str, Any]:
    """A year of each row; `cut` windows end on day 100, by the end of the data or by a provider's silence."""
    last = [100 if one else 365 for one in cut]
    late, early = LAST_DAY - timedelta(days=100), date(2018, 1, 1)
    return {
        "index_date": [late if one and by_the_end else early for one in cut],
        "censored_day": [100 if one else None for one in cut],
        "days": last,
    }


def test_windows_cut_by_the_end_of_the_data_are_not_weighted_for() -> None:
    accepted, rng = records()
    cut = rng.random(400) < 0.3
    refused = rates(windows(accepted, cut=cut, by_the_end=True), accepted, WHOEVER_IS_LEFT)
    assert not refused.estimates
    assert refused.notes[0]["note"].startswith("the end of the data cuts the windows of")
    assert "early recruits" in refused.notes[0]["note"]
    silent = rates(windows(accepted, cut=cut, by_the_end=False), accepted, WHOEVER_IS_LEFT)
    whole = [int((~cut & arm).sum()) for arm in (accepted.design.treated, ~accepted.design.treated)]
    for row in silent.estimates:
        assert [row["n_treated"], row["n_control"]] == whole  # who carries the estimate
        assert row["n_unobserved"] == cut.sum()
    assert {row["scale"] for row in silent.estimates} == {"rate_difference", "rate_ratio"}
    few = cut & (np.cumsum(cut) <= 4)  # 2 % of an arm
    assert rates(windows(accepted, cut=few, by_the_end=True), accepted, WHOEVER_IS_LEFT).estimates


def test_a_table_that_ends_before_the_data_cuts_windows_as_they_do() -> None:
    accepted, rng = records()
    ends = windows(accepted, cut=rng.random(400) < 0.3, by_the_end=False) | {"censored_day": [None] * 400}
    refused = rates(ends, accepted, WHOEVER_IS_LEFT)
    assert not refused.estimates
    assert refused.notes[0]["note"].startswith("the end of the data cuts the windows of")


def test_whole_windows_are_judged_with_their_weights() -> None:
    accepted, rng = records(1000)
    x = accepted.baseline.matrix[:, 0]
    lost = rng.random(1000) < 1 / (1 + np.exp(2 - 2 * x))
    ends = windows(accepted, cut=lost, by_the_end=False)
    results = rates(ends, accepted, Acceptance(max_abs_smd=0.25, max_share_unobserved=0.5))
    assert results.estimates
    found = {row["check"]: row["value"] for row in results.analysed}
    assert {row["method"] for row in results.analysed} == {"quasi_poisson"}
    assert found["max_share_unobserved"] < 0.5
    assert found["min_effective_controls"] < (~lost & ~accepted.design.treated).sum()  # weights, not heads
    default = rates(ends, accepted, Acceptance(max_abs_smd=0.25))
    assert not default.estimates
    assert default.notes[0]["note"].startswith(f"{WITHHELD}max_share_unobserved; for the same event, mean_cumulative")


def test_the_end_of_the_data_is_that_of_the_account_where_it_censors(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    censors: Any = SPEC(follow_up=SPEC(censor_at=("end_of_data",)))
    assert read_data_end(run, censors) is None
    write_json(run.file(store.DATA_ACCOUNT), {"period_end": "2020-03-31"})
    assert read_data_end(run, censors) == LAST_DAY
    assert read_data_end(run, SPEC(follow_up=SPEC(censor_at=("provider_silence",)))) is None  # type: ignore[arg-type]


def test_of_all_copies_the_worst_is_told() -> None:
    def table(smd: float, controls: float) -> pl.DataFrame:
        place = {"contrast": "c", "outcome": "o", "design": "d", "method": ""}
        rows = [
            {**place, "check": "max_abs_smd", "limit": 0.1, "value": smd, "passed": smd <= 0.1, "n_unobserved": 9},
            {**place, "check": "min_effective_controls", "limit": 30.0, "value": controls, "passed": True,
             "n_unobserved": 9},
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=ANALYSED_SCHEMA)

    worst = worst_of_copies([table(0.05, 40.0), table(0.12, 50.0)])
    assert worst["value"].to_list() == [0.12, 40.0]
    assert worst["passed"].to_list() == [False, True]
