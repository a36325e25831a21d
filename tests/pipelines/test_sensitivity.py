"""Variants of a protocol: one run makes their cohorts, designs and effects, and opens and releases what may be.

On the cut of a third-party sample (tests/data/mhsds_mini_v5) with a design of two covariates."""

import json
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines import sensitivity, store
from pipelines.cohort import build_cohort, save_cohort
from pipelines.design import design_study
from pipelines.disclosure import DisclosureLog
from pipelines.estimate import estimate_study
from pipelines.estimates_table import EXACT_SCHEMA
from pipelines.lake import Lake, write_lake
from pipelines.protocol import Protocol, Variant, load_protocol, variants_of, with_variant
from pipelines.report import render_report
from pipelines.report.sensitivity_facts import release_sensitivity
from pipelines.sources.participants import read_participants
from pipelines.store import RunFolder, write_json, write_parquet

ROOT = Path(__file__).parents[2]
MINI = ROOT / "tests/data/mhsds_mini_v5"
STUDY = tomllib.loads((ROOT / "configs/studies/mhsds_sample_v5.toml").read_text())
LINK_0 = {"name": "link_0_days", "eligibility": {"link_gap_days": 0, "transfer_gap_days": 0}}
LINK_3 = {"name": "link_3_days", "eligibility": {"link_gap_days": 3, "transfer_gap_days": 3}}
NOBODY = {"name": "nobody", "eligibility": {"minimum_age_years": 119}}
# 19 candidate discharges are of people of 45 or over: fewer than min_effective_controls.
OLDER = {"name": "older", "eligibility": {"minimum_age_years": 45}}
FACTS: dict[str, Any] = {"run_id": "r", "protocol_hash": "h", "code": "c", "versions": {}, "inputs": {}}


def small_study(**changes: Any) -> Protocol:
    """The sample study with a design that the few people of the cut can meet."""
    small = {
        "outcomes": {"primary": "readmitted_365d"},
        "covariates": {"numeric": ["age_years", "is_female"]},
        "design": {"methods": ["propensity_weighting"], "exact": []},
        "acceptance": {
            "max_abs_smd": 0.5,
            "min_effective_controls": 20,
            "min_share_treated_kept": 0.1,
            "min_overlap": 0.0,
        },
        "effects": {"methods": ["weighted_difference"]},
        "disclosure": {"suppress_below": 2, "round_to": 1},
        "sensitivity": [],
    }
    return Protocol.model_validate(STUDY | small | changes)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_lake(MINI, tmp_path_factory.mktemp("lake"), n_buckets=2)


def run_stages(lake: Lake, protocol: Protocol, folder: Path) -> RunFolder:
    """Every stage up to the report, as the flow calls them."""
    run = RunFolder(folder)
    listed, quarantined = read_participants(MINI / "participants.csv")
    with run.stage("cohort", {}) as out:
        save_cohort(build_cohort(lake, listed, quarantined, protocol), out)
        sensitivity.build_variants(lake, listed, quarantined, protocol, out)
    with run.stage("design", {}) as out:
        design_study(run, out, protocol)
        sensitivity.design_variants(run, out, protocol)
    with run.stage("estimate", {}) as out:
        estimate_study(run, out, protocol)
        sensitivity.estimate_variants(run, out, protocol)
    with run.stage("report", {}) as out:
        render_report(run, out, protocol, FACTS)
    return run


@pytest.fixture(scope="module")
def run(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    protocol = small_study(sensitivity=[LINK_0, LINK_3, NOBODY, OLDER])
    return run_stages(lake, protocol, tmp_path_factory.mktemp("run"))


def states(run: RunFolder) -> dict[str, str]:
    return {row["name"]: row["state"] for row in run.read_json(store.SUMMARY)["sensitivity"]}


def test_what_became_of_each_variant(run: RunFolder) -> None:
    assert states(run) == {
        "main": "open",
        "link_0_days": "open",
        "link_3_days": "open",
        "nobody": "no_cohort",
        "older": "refused",
    }


def test_a_variant_is_the_study_with_these_rules(run: RunFolder, lake: Lake, tmp_path: Path) -> None:
    alone = small_study(eligibility=STUDY["eligibility"] | LINK_0["eligibility"])  # type: ignore[operator]
    again = run_stages(lake, alone, tmp_path)
    variant = run.variant("link_0_days")
    for name in (store.COHORT, store.BASELINE, store.DESIGN, store.ESTIMATES):
        assert variant.read(name).equals(again.read(name)), name
    assert not variant.read(store.COHORT).equals(run.read(store.COHORT))


def test_the_main_analysis_is_that_of_a_study_without_variants(run: RunFolder, lake: Lake, tmp_path: Path) -> None:
    alone = run_stages(lake, small_study(), tmp_path)
    stamp = alone.read_stamp("estimate")
    assert stamp is not None
    same = [*stamp["files"], store.COHORT, store.OUTCOMES, store.DESIGN, store.RELEASED_ESTIMATES]
    assert {name: run.file(name).read_bytes() == alone.file(name).read_bytes() for name in same} == dict.fromkeys(
        same, True
    )
    for name in (store.SENSITIVITY, store.RELEASED_SENSITIVITY, store.VARIANTS):
        assert not alone.file(name).exists()
    assert 'id="sensitivity"' not in alone.file(store.REPORT).read_text()


def test_counts_are_those_of_the_cohorts(run: RunFolder) -> None:
    counts = run.read(store.SENSITIVITY)
    for name in ("main", "link_0_days", "link_3_days"):
        folder = run if name == "main" else run.variant(name)
        outcomes = folder.read(store.OUTCOMES).select("row_id", "n_readmissions_365d", "readmitted_365d")
        rows = folder.read(store.COHORT).filter("is_eligible").join(outcomes, on="row_id")
        for arm in ("peer", "control", "virtual"):
            seen = [r for r in rows.filter(arm=arm).to_dicts() if r["n_readmissions_365d"] is not None]
            row = counts.filter(variant=name, arm=arm).row(0, named=True)
            assert row["n_discharges"] == rows.filter(arm=arm).height
            assert row["n_observed"] == len(seen)
            assert row["n_readmitted"] == sum(r["readmitted_365d"] for r in seen)
            assert row["n_readmissions"] == sum(r["n_readmissions_365d"] for r in seen)


def test_a_refused_design_keeps_its_outcomes_closed(run: RunFolder) -> None:
    closed = run.read(store.SENSITIVITY).filter(variant="older")
    assert closed["n_discharges"].to_list() == [1, 2, 19]  # peer, control, virtual
    assert closed.select("n_observed", "n_readmitted", "n_readmissions").null_count().row(0) == (3, 3, 3)
    assert not run.variant("older").file(store.ESTIMATES).exists()
    released = pl.read_csv(run.file(store.RELEASED_SENSITIVITY_ESTIMATES))
    assert set(released["variant"]) == {"main", "link_0_days", "link_3_days"}
    page = run.file(store.REPORT).read_text()
    assert "outcomes not opened" in page
    assert "nobody to study" in page


def test_no_variant_is_opened_beside_a_refused_main_design(lake: Lake, tmp_path: Path) -> None:
    tight = small_study(sensitivity=[LINK_0])
    tight = tight.model_copy(update={"acceptance": tight.acceptance.model_copy(update={"min_effective_controls": 1e6})})
    refused = run_stages(lake, tight, tmp_path)
    accepted = refused.variant("link_0_days")
    summary = accepted.read_json(store.DESIGN_SUMMARY)
    write_json(accepted.file(store.DESIGN_SUMMARY), summary | {"accepted": True})
    sensitivity.estimate_variants(refused, tmp_path / "again", tight)
    assert not (tmp_path / "again" / store.VARIANTS).exists()
    assert pl.read_parquet(tmp_path / "again" / store.SENSITIVITY)["n_observed"].null_count() == 6  # two of three arms


def test_only_differences_are_released(run: RunFolder) -> None:
    released = pl.read_csv(run.file(store.RELEASED_SENSITIVITY_ESTIMATES))
    assert set(released["scale"]) == {"risk_difference"}
    assert set(released["contrast"]) == {"peer_vs_virtual", "randomised_vs_virtual"}
    main = released.filter(pl.col("variant") == "main").drop("variant")
    whole = pl.read_csv(run.file(store.RELEASED_ESTIMATES))
    assert main.join(whole, on=main.columns, how="semi", nulls_equal=True).height == main.height


def counts_of(run_folder: Path, **row: int | None) -> RunFolder:
    run = RunFolder(run_folder)
    frame = pl.DataFrame([{"variant": "main", "arm": "peer", **row}], schema=sensitivity.COUNT_SCHEMA)
    write_parquet(run.file(store.SENSITIVITY), frame)
    return run


@pytest.mark.parametrize(
    ("n_readmitted", "expected"),
    [
        (23, {"n_readmitted": 25, "n_readmissions": 40, "share_readmitted": 0.5}),  # 25 of 50
        (7, {"n_readmitted": None, "n_readmissions": None, "share_readmitted": None}),  # 1 to 7 are suppressed (F2)
        (45, {"n_readmitted": None, "n_readmissions": None, "share_readmitted": None}),  # all but 6 of 51
    ],
)
def test_counts_pass_disclosure_control(tmp_path: Path, n_readmitted: int, expected: Mapping[str, Any]) -> None:
    counts = {"n_discharges": 52, "n_people": 52, "n_observed": 51, "n_readmissions": 41}
    run = counts_of(tmp_path, **counts, n_readmitted=n_readmitted)
    protocol = small_study(sensitivity=[LINK_0], disclosure={})
    log = DisclosureLog(protocol.disclosure)
    row = release_sensitivity(run, protocol, log)[store.RELEASED_SENSITIVITY].row(0, named=True)
    assert row == {"variant": "main", "arm": "peer", "n_discharges": 50, "n_people": 50, "n_observed": 50, **expected}
    assert "51" not in json.dumps(log.entries)


def test_what_the_main_table_withholds_is_withheld_here_too(tmp_path: Path) -> None:
    # Five more events of the treated after day 90 could be found by subtraction from the whole year, which is not here.
    run = counts_of(tmp_path, n_discharges=400, n_people=400, n_observed=400, n_readmitted=100, n_readmissions=120)
    of_all = {"contrast": "peer_vs_virtual", "estimand": "ATT", "design": "propensity_weighting", "subgroup": "all"}
    of_all |= {"method": "weighted_difference", "n_treated": 200, "n_control": 200, "fewest_events": 40}
    rows = []
    for days, treated, control in ((90, 40, 60), (365, 45, 80)):
        one = {**of_all, "outcome": f"readmitted_{days}d"}
        rows.append({**one, "scale": "risk_difference", "value": (treated - control) / 200})
        rows.append({**one, "scale": "risk_ratio", "value": treated / control})
    write_parquet(run.file(store.ESTIMATES), pl.DataFrame(rows, schema=EXACT_SCHEMA))
    protocol = small_study(
        outcomes={"primary": "readmitted_90d", "secondary": ["readmitted_365d"]}, sensitivity=[LINK_0], disclosure={}
    )
    log = DisclosureLog(protocol.disclosure)
    found = release_sensitivity(run, protocol, log)[store.RELEASED_SENSITIVITY_ESTIMATES]
    assert found.select("outcome", "scale", "value").rows() == [("readmitted_90d", "risk_difference", None)]
    assert "readmitted_365d" not in json.dumps(log.entries)


def test_a_variant_leaves_out_methods_that_have_nothing_of_the_primary_outcome() -> None:
    protocol = small_study(
        outcomes={"primary": "readmitted_90d", "secondary": ["readmitted_365d"]},
        effects={"methods": ["cox", "weighted_difference"]},
        sensitivity=[LINK_0],
    )
    assert variants_of(protocol)["link_0_days"].effects.methods == ("weighted_difference",)


def test_a_variant_keeps_thresholds_covariates_and_seed() -> None:
    protocol = load_protocol(ROOT / "configs/studies/mhsds_sample_v5.toml")
    changed = variants_of(protocol)["link_3_days"]
    assert changed.eligibility is not None
    assert (changed.eligibility.link_gap_days, changed.eligibility.transfer_gap_days) == (3, 3)
    for section in ("acceptance", "covariates", "study", "estimand", "disclosure", "follow_up", "source"):
        assert getattr(changed, section) == getattr(protocol, section)
    assert changed.outcomes.primary == protocol.outcomes.primary
    assert changed.outcomes.secondary == ()
    assert changed.design.methods == protocol.design.methods[:1]
    assert changed.sensitivity == ()


def test_a_variant_of_follow_up() -> None:
    protocol = small_study()
    variant = Variant(name="no_silence", follow_up={"censor_at": ["end_of_data"]})
    assert with_variant(protocol, variant).follow_up.censor_at == ("end_of_data",)
    prior = Variant(name="a_year", eligibility={"prior_stay_window_days": 365, "recruitment_end": date(2018, 1, 1)})
    assert with_variant(protocol, prior).eligibility.prior_stay_window_days == 365  # type: ignore[union-attr]
