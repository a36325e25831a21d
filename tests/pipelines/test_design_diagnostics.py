"""Diagnostics of a design: what decides, what informs, and what of them may be released."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.diagnostics import minimum_detectable
from models.propensity import fit_propensity
from models.results import Baseline, Estimand
from models.weighting import entropy_balancing, propensity_weighting
from pipelines import store
from pipelines.design import Groundwork, choose_controls, contrasts_of
from pipelines.diagnostics import Diagnostics, diagnose, judge
from pipelines.disclosure import DisclosureLog
from pipelines.method_settings.acceptance import Acceptance, Power
from pipelines.protocol import Disclosure, Protocol
from pipelines.report import render_report
from pipelines.report.diagnostic_facts import KEPT_SCHEMA, release_diagnostics, release_kept
from tests.pipelines.test_multiverse import grid, study
from tests.report_fixture import FACTS, Fake, make_protocol, make_table_protocol, write_run

NEVER_REACHED = {
    "max_abs_smd": 1e-9,
    "max_variance_ratio": 1 + 1e-9,
    "max_ks": 1e-9,
    "max_abs_smd_products": 1e-9,
    "min_effective_controls": 1e9,
    "min_effective_treated": 1e9,
    "min_overlap": 1.0,
    "min_equipoise": 1.0,
    "min_detectable_risk_ratio": 1.0,
}


@pytest.fixture(scope="module")
def measured() -> Diagnostics:
    rng = np.random.default_rng(4)
    x = np.column_stack([rng.normal(size=(400, 2)), rng.random(400) < 0.4])
    treated = rng.random(400) < 1 / (1 + np.exp(1.5 - x[:, 0]))
    same = np.zeros(400, dtype=np.int64)
    baseline = Baseline(x, ("a", "b", "c"), same, same, np.arange(400))
    propensity = fit_propensity(baseline, treated)
    design = propensity_weighting(baseline, treated, propensity, rng=rng)
    return diagnose(baseline, design, propensity, Power(baseline_risk=0.5))


def verdicts(found: Diagnostics, **limits: float) -> dict[str, dict[str, Any]]:
    return {verdict["check"]: verdict for verdict in judge(found, Acceptance(**limits))}  # type: ignore[arg-type]


def test_thresholds_left_out_decide_nothing(measured: Diagnostics) -> None:
    assert set(verdicts(measured)) == {"max_abs_smd", "min_effective_controls", "min_share_treated_kept", "min_overlap"}


@pytest.mark.parametrize(("check", "limit"), NEVER_REACHED.items())
def test_every_threshold_can_refuse_and_can_accept(measured: Diagnostics, check: str, limit: float) -> None:
    refused = verdicts(measured, **{check: limit})[check]
    assert not refused["passed"]
    accepted = verdicts(measured, **{check: min(refused["value"], 1e6)})[check]
    assert accepted["passed"]
    assert accepted["value"] == refused["value"]


def design_for(estimand: Estimand) -> dict[str, dict[str, Any]]:
    """60 treated among 400; two in five of the untreated have a need that one of the treated has, and count 1 each."""
    need = np.concatenate([np.zeros(59), [1.0], np.repeat([0.0, 1.0], [204, 136])])
    treated, same = np.arange(400) < 60, np.zeros(400, dtype=np.int64)
    baseline = Baseline(need[:, None], ("need",), same, same, np.arange(400))
    propensity = fit_propensity(baseline, treated, l2_penalty=0.0)
    design = propensity_weighting(baseline, treated, propensity, estimand=estimand, rng=np.random.default_rng(0))
    found = diagnose(baseline, design, propensity, Power())
    limits = Acceptance().resolved(estimand)
    judged = judge(found, limits, estimand=estimand, n_treated_left=20, n_control_left=100, n_outside=240)
    return {verdict["check"]: verdict for verdict in judged}


def test_under_the_atc_the_treated_must_be_enough_and_the_candidates_kept() -> None:
    """204 candidates are stood for by 59 treated, 136 by one: effectively 340² / (59 (204/59)² + 136²) = 6.02 people.
    Of 680 candidates 340 left before the design."""
    judged = design_for("ATC")
    assert judged["min_effective_treated"]["value"] == pytest.approx(6.02, abs=0.005)
    assert judged["min_effective_treated"]["limit"] == Acceptance().min_effective_controls
    assert not judged["min_effective_treated"]["passed"]
    assert judged["min_share_population_kept"]["value"] == 0.5
    assert not judged["min_share_population_kept"]["passed"]
    assert "min_share_treated_kept" not in judged


def test_under_the_ate_either_arm_must_be_enough_and_under_the_att_the_controls() -> None:
    """ATE: 263 people are stood for by 59 treated, 137 by one: 400² / (59 (263/59)² + 137²) = 8.02."""
    both = design_for("ATE")
    assert both["min_effective_treated"]["value"] == pytest.approx(8.02, abs=0.005)
    assert not both["min_effective_treated"]["passed"]
    assert both["min_effective_controls"]["passed"]
    assert both["min_share_treated_kept"]["value"] == 0.75
    assert both["min_share_population_kept"]["value"] == 400 / 760
    assert not both["min_share_population_kept"]["passed"]
    assert not {"min_effective_treated", "min_share_population_kept"} & set(design_for("ATT"))
    assert design_for("ATT")["min_share_treated_kept"]["value"] == 0.75


def test_a_threshold_of_the_treated_that_follows_the_controls_stands_in_the_protocol() -> None:
    for estimand, expected in {"ATT": None, "ATO": 50.0, "ATE": 50.0, "ATC": 50.0}.items():
        content = make_table_protocol().model_dump()
        content["estimand"]["target"] = estimand
        content["design"]["methods"] = ["propensity_weighting"]
        content["acceptance"] |= {"min_effective_controls": 50.0, "min_effective_treated": None}
        assert Protocol.model_validate(content).acceptance.min_effective_treated == expected
        content["acceptance"]["min_effective_treated"] = 12.0
        assert Protocol.model_validate(content).acceptance.min_effective_treated == 12.0


@pytest.mark.parametrize("estimand", ["ATE", "ATC", "ATO"])
def test_untreated_people_who_are_trimmed_away_are_gated(estimand: Estimand) -> None:
    """1,200 of 3,000 people nobody would have treated: trimming leaves every participant and loses 40 % of the people
    of the ATE, more of the ATC, and next to nobody of those who overlap."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(size=1800), rng.normal(-9, 0.5, 1200)])[:, None]
    treated = rng.random(3000) < np.where(x[:, 0] > -5, 1 / (1 + np.exp(0.5 - x[:, 0])), 0.0)
    same = np.zeros(3000, dtype=np.int64)
    baseline = Baseline(x, ("x",), same, same, np.arange(3000))
    propensity = fit_propensity(baseline, treated)
    design = propensity_weighting(baseline, treated, propensity, estimand=estimand, rng=rng, trim="common_support")
    limits = Acceptance().resolved(estimand)
    found = {v["check"]: v for v in judge(diagnose(baseline, design, propensity, Power()), limits, estimand=estimand)}
    kept, score = design.weights > 0, propensity.score
    people = {"ATE": np.ones(3000), "ATC": ~treated * 1.0, "ATO": score * (1 - score)}[estimand]
    verdict = found["min_share_population_kept"]
    assert verdict["value"] == pytest.approx(people[kept].sum() / people.sum())
    assert verdict["passed"] == (estimand == "ATO")
    if estimand != "ATC":
        assert found["min_share_treated_kept"]["value"] > 0.99


def test_few_treated_who_stand_for_everybody_can_be_refused() -> None:
    """180 treated whose covariate is far from the untreated's: under the ATC they count 27.7, the controls 1,820."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2000, 1))
    treated = rng.random(2000) < 1 / (1 + np.exp(3.2 - 1.6 * x[:, 0]))
    same = np.zeros(2000, dtype=np.int64)
    baseline = Baseline(x, ("x",), same, same, np.arange(2000))
    propensity = fit_propensity(baseline, treated)
    design = entropy_balancing(baseline, treated, propensity, estimand="ATC", rng=rng)
    found = verdicts(diagnose(baseline, design, propensity, Power()), min_effective_treated=30.0)
    assert found["min_effective_controls"]["passed"]
    weights = design.weights[treated]
    assert found["min_effective_treated"]["value"] == pytest.approx(weights.sum() ** 2 / (weights @ weights))
    assert not found["min_effective_treated"]["passed"]


def test_a_value_that_cannot_be_computed_passes_no_threshold(measured: Diagnostics) -> None:
    everybody = replace(measured, generalisability=replace(measured.generalisability, index=float("nan")))
    assert verdicts(measured, min_generalisability=0.0)["min_generalisability"]["passed"]
    assert not verdicts(everybody, min_generalisability=0.0)["min_generalisability"]["passed"]


def test_settings_of_power_are_those_of_the_function() -> None:
    parameters = inspect.signature(minimum_detectable).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert options == {key: field.default for key, field in Power.model_fields.items()}


def design_json(run: store.RunFolder) -> dict[str, Any]:
    return dict(run.read_json(store.DESIGN_SUMMARY))


def test_shares_and_counts_of_people_are_released_rounded(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    table = release_diagnostics(design_json(run), run.read(store.PROGNOSTIC), DisclosureLog(Disclosure()))
    mine = table.filter((pl.col("contrast") == "peer_vs_virtual") & (pl.col("design") == "nearest_neighbour"))
    value = dict(mine.select("measure", "value").iter_rows())
    assert value["equipoise_treated"] == pytest.approx(200 / 285, abs=1e-4)  # 0.7 × 283 = 198.1 of 283
    assert value["effective_n_treated"] == 280.0
    assert value["n_left_out"] is None  # four people
    assert value["prognostic_smd_after"] == 0.031
    passed = dict(mine.drop_nulls("limit").select("measure", "passed").iter_rows())
    assert set(passed) == {"max_abs_smd", "effective_n_controls", "share_treated_kept", "overlap_coefficient"}


def test_nothing_is_said_of_too_few_who_were_left_out(tmp_path: Path) -> None:
    log = DisclosureLog(Disclosure())
    assert release_kept(design_json(write_run(tmp_path)), {}, log).is_empty()
    assert {"file": store.RELEASED_KEPT, "place": "peer_vs_virtual/nearest_neighbour"}.items() <= log.entries[0].items()


def test_those_left_out_are_described_where_they_are_enough(tmp_path: Path) -> None:
    run = write_run(tmp_path, Fake(n_left_out=40))
    table = release_kept(design_json(run), {}, DisclosureLog(Disclosure()))
    assert list(table.schema) == list(KEPT_SCHEMA)
    age = table.filter((pl.col("covariate") == "age_years") & (pl.col("contrast") == "peer_vs_virtual"))
    assert age["smd_left_out_vs_kept"].to_list() == [0.31]  # the weighting design leaves nobody out
    rare = table.filter(pl.col("covariate") == "ethnic_group = other")  # 0.8 %: 2 of 283
    assert rare["mean_all"].to_list() == [None] * rare.height
    assert rare["smd_left_out_vs_kept"].to_list() == [None] * rare.height
    render_report(run, run.path, make_protocol(power={"baseline_risk": 0.5}), FACTS)
    page = run.file(store.REPORT).read_text()
    assert "Who was left out" in page
    assert "from an assumed risk of 50 %" in page
    assert "it chose nothing" in page


def test_candidates_left_out_are_described_where_the_estimand_is_about_them(tmp_path: Path) -> None:
    def trimmed(estimand: str) -> Protocol:
        design = {
            "methods": ["propensity_weighting"],
            "propensity_weighting": {"trim": "crump", "trim_at": 0.1},
            "also": (),
        }
        acceptance = {"max_abs_smd": 1.0, "min_share_treated_kept": 0.3, "min_share_population_kept": 0.3}
        effects = {"methods": ["weighted_difference"], "also": ()}
        return grid(design=design, effects=effects, estimand={"target": estimand}, acceptance=acceptance)

    protocol = trimmed("ATE")
    run = study(tmp_path / "ate", protocol)
    render_report(run, run.path, protocol, FACTS)
    table = pl.read_csv(run.file(store.RELEASED_CANDIDATES_KEPT))
    assert table.columns == list(KEPT_SCHEMA)
    rows = run.read(store.DESIGN).join(run.read(store.BASELINE), on="row_id").filter(~pl.col("treated"))
    kept = rows["weight"] > 0
    assert (~kept).sum() > 40
    age = table.filter(pl.col("covariate") == "age").row(0, named=True)
    parts = [part["age"].to_numpy() for part in (rows, rows.filter(kept), rows.filter(~kept))]
    for name, part in zip(("all", "kept", "left_out"), parts, strict=True):
        # Released to no finer than what one of them adds.
        assert abs(age[f"mean_{name}"] - np.mean(part)) < np.mean(part) / part.size
    assert age["smd_left_out_vs_kept"] == round(
        float((np.mean(parts[2]) - np.mean(parts[1])) / np.std(parts[0], ddof=1)), 2
    )
    page = run.file(store.REPORT).read_text()
    assert "Who was left out: candidates without a place in the primary design" in page
    counts = pl.read_csv(run.file(store.RELEASED_DIAGNOSTICS)).filter(pl.col("measure") == "n_untreated_left_out")
    assert abs(counts["value"].item() - (~kept).sum()) <= 2.5  # rounded to five

    protocol = trimmed("ATT")
    run = study(tmp_path / "att", protocol)
    render_report(run, run.path, protocol, FACTS)
    assert not run.file(store.RELEASED_CANDIDATES_KEPT).exists()
    assert "candidates without a place" not in run.file(store.REPORT).read_text()


@pytest.mark.parametrize(("estimand", "are_meant"), [("ATT", False), ("ATE", True)])
def test_untreated_people_in_groups_without_anybody_treated_are_counted(
    tmp_path: Path, estimand: str, are_meant: bool
) -> None:
    run = write_run(tmp_path)
    content = design_json(run)
    content["contrasts"][0]["designs"][0] |= {"outside_exact_groups": 1234, "estimand": estimand}
    store.write_json(run.file(store.DESIGN_SUMMARY), content)
    table = release_diagnostics(content, run.read(store.PROGNOSTIC), DisclosureLog(Disclosure()))
    counts = table.filter(pl.col("measure") == "n_outside_exact_groups")["value"].to_list()
    assert counts[0] == 1235
    assert set(counts[1:]) == {0}
    render_report(run, run.path, make_protocol(power={"baseline_risk": 0.5}), FACTS)
    page = run.file(store.REPORT).read_text()
    assert "1,235 untreated rows left before the design because nobody in their exact group (of NHS trust and " in page
    assert ("count as not kept; the estimate does not speak for them" in page) == are_meant


def test_a_refused_design_shows_no_prognostic_balance(tmp_path: Path) -> None:
    run = write_run(tmp_path, Fake(accepted=False))
    render_report(run, run.path, make_protocol(), FACTS)
    assert "prognostic" not in run.file(store.RELEASED_DIAGNOSTICS).read_text()
    assert "rognostic" not in run.file(store.REPORT).read_text()


def test_the_design_stage_judges_by_the_new_thresholds(tmp_path: Path) -> None:
    protocol: Protocol = make_table_protocol()
    rng = np.random.default_rng(9)
    n = 300
    rows = pl.DataFrame(
        {
            "row_id": np.arange(n),
            "person_id": [f"p{k}" for k in range(n)],
            "index_date": [None] * n,
            "arm": ["peer"] * 60 + ["virtual"] * (n - 60),
            "is_eligible": [True] * n,
            **{name: rng.normal(size=n).round(2) for name in ("age", "education", "black", "re74")},
        },
        schema_overrides={"index_date": pl.Date},
    )
    groundwork = Groundwork(rows, contrasts_of(rows, protocol)[0], protocol)
    designed = choose_controls(groundwork, protocol.design.specifications()[0])
    assert designed.propensity is not None
    found = diagnose(designed.baseline, designed.design, designed.propensity, protocol.power)
    assert np.isnan(found.detectable.risk_ratio_below)
    assert found.detectable.sd_difference > 0
