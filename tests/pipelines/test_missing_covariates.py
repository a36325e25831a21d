"""Missing covariates by protocol: complete cases are counted, imputations are made without outcomes and pooled."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.forest.subgroups import levels_of
from models.imputation import pool
from models.results import Design
from models.standardisation import g_computation
from pipelines import store
from pipelines.design import design_study, seeded
from pipelines.design_matrix import build_baseline
from pipelines.errors import ProtocolError
from pipelines.estimate import accepted_designs, estimate_study
from pipelines.estimate.collected import Results
from pipelines.estimate.sites import SMALL
from pipelines.imputation import complete_copies, complete_given_outcome, pool_designs, within_a_copy
from pipelines.protocol import Protocol
from pipelines.report import render_report
from pipelines.store import RunFolder, write_parquet
from tests.acceptance import WHOEVER_IS_LEFT
from tests.report_fixture import FACTS, make_table_protocol

N_TREATED, N_POOL, COPIES = 80, 500, 3
SETS = np.full(N_TREATED + N_POOL, -1)
OUTCOMES = {"back": {"column": "back", "kind": "binary"}}


def protocol_with(missing: str, **changes: Any) -> Protocol:
    sections: dict[str, Any] = {
        "covariates": {
            "numeric": ("age", "need", "is_settled"),
            "categorical": ("group",),
            "missing": missing,
            "imputation": {"copies": COPIES, "iterations": 2},
        },
        "outcomes": {"primary": "back", "columns": OUTCOMES},
        "design": {"methods": ["propensity_weighting", "nearest_neighbour"]},
        "effects": {"methods": ["weighted_difference"]},
        "acceptance": {"max_abs_smd": 0.5, "min_share_treated_kept": 0.3},
        "benchmark": None,
    }
    return make_table_protocol(**(sections | changes))


def people(seed: int = 5) -> dict[str, pl.DataFrame]:
    """Gaps in a number, an indicator and a category; more where `age` is high."""
    rng = np.random.default_rng(seed)
    n = N_TREATED + N_POOL
    treated = np.arange(n) < N_TREATED
    age = rng.normal(40 + 3 * treated, 10).round(1)
    need = (0.05 * (age - 40) + rng.normal(size=n)).round(2)
    gone = rng.random((3, n)) < 1 / (1 + np.exp(2.0 - 0.05 * (age - 40)))
    key = {"row_id": np.arange(n), "person_id": [f"p{k:04d}" for k in range(n)], "index_date": [None] * n}
    dates = {"index_date": pl.Date}
    arms = {"arm": np.where(treated, "peer", "virtual"), "is_eligible": [True] * n}
    values = {
        "age": age,
        "need": [None if gap else value for gap, value in zip(gone[0], need.tolist(), strict=True)],
        "is_settled": [None if gap else bool(rng.random() < 0.6) for gap in gone[1]],
        "group": [None if gap else str(rng.choice(["a", "b", "c"])) for gap in gone[2]],
    }
    back = rng.random(n) < 1 / (1 + np.exp(-need + 0.4 * treated))
    return {
        store.COHORT: pl.DataFrame({**key, **arms}, schema_overrides=dates),
        store.BASELINE: pl.DataFrame({**key, **values}, schema_overrides=dates),
        store.OUTCOMES: pl.DataFrame({**key, "back": back}, schema_overrides=dates),
    }


def write(folder: Path, tables: dict[str, pl.DataFrame]) -> RunFolder:
    for name, table in tables.items():
        write_parquet(folder / name, table)
    return RunFolder(folder)


def study(folder: Path, protocol: Protocol, tables: dict[str, pl.DataFrame] | None = None) -> RunFolder:
    run = write(folder, people() if tables is None else tables)
    design_study(run, run.path, protocol)
    estimate_study(run, run.path, protocol)
    return run


@pytest.fixture(scope="module")
def imputed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return study(tmp_path_factory.mktemp("imputed"), protocol_with("multiple_imputation"))


def designs(run: RunFolder) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in run.read_json(store.DESIGN_SUMMARY)["contrasts"][0]["designs"]}


def test_complete_cases_only_and_those_who_left_are_counted(tmp_path: Path) -> None:
    protocol = protocol_with("complete_case")
    run = study(tmp_path, protocol)
    baseline = run.read(store.BASELINE)
    complete = baseline.drop_nulls(["need", "is_settled", "group"])
    kept = run.read(store.OTHER_DESIGNS).filter(pl.col("design") == "propensity_weighting")
    assert set(kept["row_id"]) == set(complete["row_id"])
    gone = (complete["row_id"] < N_TREATED).sum()
    entry = designs(run)["propensity_weighting"]
    assert entry["incomplete"] == {"treated": N_TREATED - gone, "control": N_POOL - complete.height + gone}
    share = next(v["value"] for v in entry["verdicts"] if v["check"] == "min_share_treated_kept")
    assert share == pytest.approx(gone / N_TREATED)
    # Weighting keeps everybody with a complete record; the others are no part of the designed sample.
    generalisability = entry["diagnostics"]["generalisability"]
    assert (generalisability["n_left_out"], generalisability["n_incomplete"]) == (0, N_TREATED - gone)
    assert generalisability["index"] == pytest.approx(np.sqrt(gone / N_TREATED))
    assert not any("missing" in row["covariate"] for row in entry["balance"])
    render_report(run, tmp_path, protocol, FACTS)
    page = (tmp_path / store.REPORT).read_text()
    assert "left the comparison before the design (complete cases)" in page
    assert "the answer speaks for people with complete records" in page
    measures = pl.read_csv(tmp_path / store.RELEASED_DIAGNOSTICS)
    left_out = measures.filter(measure="n_left_out", design="propensity_weighting")["value"].item()
    assert abs(left_out - (N_TREATED - gone)) <= 2  # rounded to five


def test_too_few_missing_values_for_an_indicator_are_no_level_of_a_forest_s_subgroups(tmp_path: Path) -> None:
    tables = people()
    baseline = tables[store.BASELINE].with_columns(
        is_settled=pl.when(pl.col("row_id") % 100 == 3).then(None).otherwise(pl.col("is_settled").fill_null(value=True))
    )
    protocol = protocol_with(
        "indicator",
        effects={"methods": ["weighted_difference", "causal_forest"], "causal_forest": {"subgroups": ["is_settled"]}},
    )
    run = write(tmp_path, {**tables, store.BASELINE: baseline})
    design_study(run, run.path, protocol)
    accepted = next(accepted_designs(run, run.read(store.COHORT), protocol, Results()))
    assert "is_settled missing" not in accepted.baseline.columns  # 6 of 580, fewer than rare_level_below
    of_forests = accepted.baseline_for_forests
    levels = levels_of("is_settled", of_forests.columns, of_forests.matrix, np.ones(of_forests.person.size))
    assert {name: int(inside.sum()) for name, inside in levels.items()} == {
        "is_settled = no": baseline.filter(~pl.col("is_settled")).height,
        "is_settled = yes": baseline.filter(pl.col("is_settled")).height,
        "is_settled = missing": 6,
    }
    assert of_forests.columns[:-1] == accepted.baseline.columns


def test_one_covariate_may_be_complete_and_another_flagged(tmp_path: Path) -> None:
    chosen = protocol_with("indicator").covariates.model_dump() | {"missing_of": {"need": "complete_case"}}
    run = study(tmp_path, protocol_with("indicator", covariates=chosen))
    names = {row["covariate"] for row in designs(run)["propensity_weighting"]["balance"]}
    assert "is_settled missing" in names
    assert "need missing" not in names
    assert designs(run)["propensity_weighting"]["incomplete"]["control"] > 0


def test_one_covariate_may_be_complete_and_others_imputed(tmp_path: Path) -> None:
    chosen = protocol_with("multiple_imputation").covariates.model_dump() | {"missing_of": {"need": "complete_case"}}
    run = study(tmp_path, protocol_with("multiple_imputation", covariates=chosen))
    complete = run.read(store.BASELINE).drop_nulls(["need"])
    of_treated = int((complete["row_id"] < N_TREATED).sum())
    entry = designs(run)["propensity_weighting"]
    assert entry["incomplete"] == {
        "treated": N_TREATED - of_treated,
        "control": N_POOL - complete.height + of_treated,
    }
    copy = run.imputation(1).read(store.BASELINE).filter(pl.col("need").is_not_null())
    assert copy.select("is_settled", "group").null_count().row(0) == (0, 0)
    assert run.read(store.ESTIMATES).height > 0


@pytest.mark.parametrize("name", ["group", "is_settled"])
def test_an_exact_covariate_does_not_predict_itself(name: str) -> None:
    """Its levels among its own predictors would put nearly all missing values into one level (99 % before)."""
    tables = people()
    rows = tables[store.COHORT].join(tables[store.BASELINE].drop("person_id", "index_date"), on="row_id")
    protocol = protocol_with("multiple_imputation", design={"methods": ["nearest_neighbour"], "exact": [name]})
    _, completed = next(complete_copies(rows, protocol, np.random.default_rng))
    imputed = completed.filter(rows[name].is_null())[name]
    assert imputed.value_counts()["count"].max() < 0.8 * imputed.len()


def test_each_copy_is_complete_and_keeps_what_was_observed(imputed: RunFolder) -> None:
    given = imputed.read(store.BASELINE)
    copies = [imputed.imputation(k).read(store.BASELINE) for k in range(1, COPIES + 1)]
    for copy in copies:
        assert copy.schema == given.schema
        assert copy["row_id"].equals(given["row_id"])
        for name in ("need", "is_settled", "group"):
            known = given[name].is_not_null()
            assert copy[name].null_count() == 0
            assert copy[name].filter(known).equals(given[name].filter(known))
            assert set(copy[name].unique()) <= set(given[name].drop_nulls().unique())
    assert not copies[0]["need"].equals(copies[1]["need"])


DESIGNS = ("propensity_weighting", "nearest_neighbour")


def independent_units(run: RunFolder, number: int, design: str) -> float:
    """Everybody has one row here: pairs less one, or treated and effective controls less two."""
    rows = (
        run.imputation(number).read(store.OTHER_DESIGNS).filter((pl.col("design") == design) & (pl.col("weight") > 0))
    )
    if design == "nearest_neighbour":
        return rows["matched_set"].n_unique() - 1
    controls = rows.filter(~pl.col("treated"))["weight"].to_numpy()
    return float(rows["treated"].sum() + controls.sum() ** 2 / (controls @ controls) - 2)


def test_effects_are_pooled_by_rubin_s_rules(imputed: RunFolder) -> None:
    """The same by hand from the copies' own designs."""
    protocol, estimates = protocol_with("multiple_imputation"), imputed.read(store.ESTIMATES)
    within = within_a_copy(protocol)
    each = []
    for k in range(1, COPIES + 1):
        folder = imputed.path / f"alone_{k}"
        for name in (store.BASELINE, store.OTHER_DESIGNS):
            write_parquet(folder / name, imputed.imputation(k).read(name))
        store.write_json(folder / store.DESIGN_SUMMARY, imputed.imputation(k).read_json(store.DESIGN_SUMMARY))
        for name in (store.COHORT, store.OUTCOMES):
            write_parquet(folder / name, imputed.read(name))
        estimate_study(RunFolder(folder), folder, within)
        each.append(pl.read_parquet(folder / store.ESTIMATES))
    freedom = {name: np.mean([independent_units(imputed, k, name) for k in range(1, COPIES + 1)]) for name in DESIGNS}
    for row in estimates.iter_rows(named=True):
        same = [one.filter((pl.col("scale") == row["scale"]) & (pl.col("design") == row["design"])) for one in each]
        pooled = pool(
            np.array([one["value"][0] for one in same]),
            np.array([one["std_error"][0] for one in same]),
            is_ratio=row["scale"] != "risk_difference",
            df_complete=freedom[row["design"]],
        )
        for name in ("value", "std_error", "lower", "upper", "p_value"):
            assert row[name] == pytest.approx(getattr(pooled, name)), (row["scale"], name)
    assert estimates.height == 6
    notes = imputed.read_json(store.EFFECT_NOTES)
    assert any("share of its variance that comes from the imputations" in note["note"] for note in notes)


REGRESSED = {
    "effects": {"methods": ["weighted_difference", "g_computation", "adjusted_regression", "aipw", "tmle"]},
    "design": {"methods": ["propensity_weighting"]},
}


def with_outcome(**changes: Any) -> Protocol:
    protocol = protocol_with("multiple_imputation", **(REGRESSED | changes))
    chosen = protocol.covariates.model_copy(
        update={"imputation": protocol.covariates.imputation.model_copy(update={"regressions": "with_outcome"})}
    )
    return protocol.model_copy(update={"covariates": chosen})


def test_regressions_may_have_covariates_imputed_with_the_outcome(tmp_path: Path) -> None:
    """The design and what rests on it alone stay to the last bit; regressions are those on the values drawn again."""
    plain = study(tmp_path / "plain", protocol_with("multiple_imputation", **REGRESSED))
    run = study(tmp_path / "again", with_outcome())
    for k in range(1, COPIES + 1):
        for name in (store.BASELINE, store.OTHER_DESIGNS):
            assert run.imputation(k).read(name).equals(plain.imputation(k).read(name))
    found, before = (one.read(store.ESTIMATES).filter(pl.col("scale") == "risk_difference") for one in (run, plain))
    assert found["method"].to_list() == before["method"].to_list()
    same = dict(zip(found["method"], found["value"] == before["value"], strict=True))
    assert same == dict.fromkeys(REGRESSED["effects"]["methods"], False) | {"weighted_difference": True}
    protocol = with_outcome()
    eligible = run.read(store.COHORT).join(run.read(store.BASELINE).drop("person_id", "index_date"), on="row_id")
    rows, values = eligible.sort("row_id"), run.read(store.OUTCOMES).sort("row_id")["back"].cast(pl.Float64).to_numpy()
    by_hand = []
    for k in range(1, COPIES + 1):
        rng = seeded(protocol, "imputation", "outcome", "back", str(k))
        completed = complete_given_outcome(rows, values, protocol, rng).sort("row_id")
        baseline = build_baseline(completed, within_a_copy(protocol).covariates, [])
        design = run.imputation(k).read(store.OTHER_DESIGNS).sort("row_id")
        whole = Design(
            "x", "ATT", design["treated"].to_numpy(), *(design[n].to_numpy() for n in ("score", "weight")), SETS
        )
        by_hand.append(g_computation(values, baseline, whole, rng=rng, kind="binary")[0].value)
    assert found["value"][1] == pytest.approx(np.mean(by_hand), rel=1e-9)


def test_values_drawn_with_the_outcome_follow_it_and_others_are_not_touched() -> None:
    tables = people()
    rows = tables[store.COHORT].join(tables[store.BASELINE].drop("person_id", "index_date"), on="row_id")
    # An outcome that is `need` itself for everybody in whom need is known, and high for those in whom it is not.
    wanted = rows["need"].fill_null(2.0).to_numpy().copy()
    wanted[:50] = np.nan
    completed = complete_given_outcome(rows, wanted, with_outcome(), np.random.default_rng(1))
    assert set(completed["row_id"]) == set(range(50, N_TREATED + N_POOL))
    both = completed.join(rows.select("row_id", given="need"), on="row_id")
    known = both["given"].is_not_null()
    assert both["need"].filter(known).equals(both["given"].filter(known).alias("need"))
    drawn = both["need"].filter(~known).to_numpy()
    assert drawn.size > 50
    assert np.abs(drawn - 2.0).mean() < 0.2
    assert completed.select("need", "is_settled", "group").null_count().row(0) == (0, 0, 0)


def test_rows_without_the_outcome_keep_the_values_of_the_design(tmp_path: Path) -> None:
    tables = people()
    tables[store.OUTCOMES] = tables[store.OUTCOMES].with_columns(
        pl.when(pl.col("row_id") % 7 != 0).then("back").alias("back")
    )
    run = study(tmp_path, with_outcome(), tables)
    estimates = run.read(store.ESTIMATES)
    assert set(estimates["method"]) == set(REGRESSED["effects"]["methods"])
    assert (estimates["n_unobserved"] > 0).all()
    assert estimates["value"].is_finite().all()


@pytest.mark.parametrize("use", ["median", "multiple_imputation"])
def test_a_covariate_that_nobody_has_whose_outcome_was_observed_refuses_regressions_alone(
    tmp_path: Path, use: str
) -> None:
    """The protocol is no worse for it, and what needs no imputation with the outcome is estimated."""
    tables, is_even = people(), pl.col("row_id") % 2 == 0
    tables[store.BASELINE] = tables[store.BASELINE].with_columns(pl.when(is_even).then("age").alias("age"))
    tables[store.OUTCOMES] = tables[store.OUTCOMES].with_columns(pl.when(~is_even).then("back").alias("back"))
    protocol = with_outcome()
    covariates = protocol.covariates.model_copy(update={"missing_of": {"age": use}})
    run = study(tmp_path, protocol.model_copy(update={"covariates": covariates, "acceptance": WHOEVER_IS_LEFT}), tables)
    assert set(run.read(store.ESTIMATES)["method"]) == {"weighted_difference"}
    notes = {note["method"]: note["note"] for note in run.read_json(store.EFFECT_NOTES) if "imputed" in note["note"]}
    assert set(notes) == set(REGRESSED["effects"]["methods"]) - {"weighted_difference"}
    assert all("nobody in whom it was observed has a value of age" in note for note in notes.values())


def test_sites_are_pooled_over_the_copies(tmp_path: Path) -> None:
    """Each site by Rubin's rules and then over sites; small in one copy is small in all."""
    tables = people()
    site = np.array(["A", "B", "C"])[np.arange(N_TREATED + N_POOL) % 3]
    tables[store.BASELINE] = tables[store.BASELINE].with_columns(site=pl.Series(site))
    changes: dict[str, Any] = {
        "design": {"methods": ["nearest_neighbour"], "exact": ["site"], "nearest_neighbour": {"caliper": 0.02}},
        "effects": {"methods": ["weighted_difference"], "sites": {"by": "site", "min_treated": 20}},
    }
    run = study(tmp_path, protocol_with("multiple_imputation", **changes), tables)
    sizes = [site_sizes(run, k, site) for k in range(1, COPIES + 1)]
    small = {name for name in "ABC" if min(one[name] for one in sizes) < 20}
    assert 0 < len(small) < 3
    assert any(one[name] >= 20 for one in sizes for name in small)  # not small in every copy
    found = run.read_json(store.SITES)
    assert found["n_small"] == len(small)
    named = {row.removeprefix("site = ") for row in run.read(store.ESTIMATES)["subgroup"] if row.startswith("site = ")}
    assert named <= {*"ABC"} - small | {SMALL}
    assert found["with_estimate"] == sorted(named)


def site_sizes(run: RunFolder, number: int, site: np.ndarray) -> dict[str, int]:
    rows = run.imputation(number).read(store.OTHER_DESIGNS).filter(pl.col("treated") & (pl.col("weight") > 0))
    names, counts = np.unique(site[rows["row_id"].to_numpy()], return_counts=True)
    return dict.fromkeys("ABC", 0) | dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_outcomes_play_no_part_in_imputation_and_design(imputed: RunFolder, tmp_path: Path) -> None:
    tables = people()
    tables[store.OUTCOMES] = tables[store.OUTCOMES].with_columns(back=~pl.col("back"))
    run = study(tmp_path, protocol_with("multiple_imputation"), tables)
    for k in range(1, COPIES + 1):
        assert run.imputation(k).read(store.BASELINE).equals(imputed.imputation(k).read(store.BASELINE))
        assert run.imputation(k).read(store.OTHER_DESIGNS).equals(imputed.imputation(k).read(store.OTHER_DESIGNS))
    assert not run.read(store.ESTIMATES).equals(imputed.read(store.ESTIMATES))


def test_the_order_of_rows_does_not_matter() -> None:
    tables, protocol = people(), protocol_with("multiple_imputation")
    rows = tables[store.COHORT].join(tables[store.BASELINE].drop("person_id", "index_date"), on="row_id")
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=3)
    first, again = (
        next(complete_copies(frame, protocol, np.random.default_rng))[1].sort("row_id") for frame in (rows, shuffled)
    )
    assert first.equals(again)


def test_verdicts_are_those_of_the_worst_copy(imputed: RunFolder) -> None:
    """The main file says the worst; every copy's file accepts what all copies accept."""
    worst = {v["check"]: v for v in designs(imputed)["propensity_weighting"]["verdicts"]}
    balances = []
    for k in range(1, COPIES + 1):
        entry = imputed.imputation(k).read_json(store.DESIGN_SUMMARY)["contrasts"][0]["designs"][0]
        balances.append(max(abs(row["smd_after"]) for row in entry["balance"]))
        assert entry["accepted"] == designs(imputed)["propensity_weighting"]["accepted"]
    assert worst["max_abs_smd"]["value"] == pytest.approx(max(balances))
    assert len(set(balances)) == COPIES


def test_a_design_accepted_in_some_copies_only_opens_no_outcome(imputed: RunFolder, tmp_path: Path) -> None:
    entries = [
        imputed.imputation(k).read_json(store.DESIGN_SUMMARY)["contrasts"][0]["designs"][0]
        for k in range(1, COPIES + 1)
    ]
    worst = sorted(max(abs(row["smd_after"]) for row in entry["balance"]) for entry in entries)
    limit = (worst[0] + worst[-1]) / 2
    strict = protocol_with("multiple_imputation", acceptance={"max_abs_smd": limit, "min_share_treated_kept": 0.3})
    run = study(tmp_path, strict)
    assert not run.read_json(store.DESIGN_SUMMARY)["accepted"]
    assert run.read(store.ESTIMATES).is_empty()


def verdict(value: float, passed: bool, check: str = "max_abs_smd") -> dict[str, Any]:
    return {"check": check, "limit": 0.1, "value": value, "passed": passed}


def entry(value: float, smd: float, kept: int, index: float) -> dict[str, Any]:
    means = {"covariate": "age", "mean_treated_after": 40 + value}
    row = {**means, "smd_after": smd, "ks_after": 0.1, "variance_ratio_after": 1 + smd}
    return {
        "name": "a",
        "notes": {"n_treated_unmatched": 10 - kept, "distance": "log_odds"},
        "accepted": value <= 0.1,
        "verdicts": [verdict(value, value <= 0.1), verdict(kept, True, "min_effective_controls")],
        "balance": [row],
        "overlap": {
            "n_treated": 10,
            "n_control_pool": 40 + kept,
            "n_treated_kept": kept,
            "c_statistic_before": value,
        },
        "outside_exact_groups": 60 - kept,
        "diagnostics": {
            "scores": {"equipoise": index},
            "n": kept,
            "products": {"max_abs_smd": value, "worst": [f"of {value}"]},
            "generalisability": {
                "index": index,
                "n_left_out": 10 - kept,
                "max_abs_smd": value,
                "rows": (
                    {"covariate": "age", "mean_all": 40.0, "mean_left_out": 30.0 + kept if kept < 9 else math.nan},
                    *([{"covariate": "rare", "mean_all": 0.5, "mean_left_out": math.nan}] if kept == 8 else []),
                ),
                "n_untreated_left_out": kept,
                "untreated_rows": ({"covariate": "age", "mean_all": 40.0, "mean_left_out": 20.0 + kept},),
            },
        },
    }


def test_pooling_of_designs_by_hand() -> None:
    copies = [entry(0.05, -0.05, 9, 0.5), entry(0.15, 0.15, 7, 0.7), entry(0.07, 0.02, 8, 0.9)]
    (contrast,) = pool_designs([{"accepted": True, "contrasts": [{"designs": [one]}]} for one in copies])["contrasts"]
    (pooled,) = contrast["designs"]
    assert not pooled["accepted"]
    assert [v["value"] for v in pooled["verdicts"]] == [0.15, 7]
    assert pooled["balance"][0]["mean_treated_after"] == pytest.approx(40.09)
    assert (pooled["balance"][0]["smd_after"], pooled["balance"][0]["variance_ratio_after"]) == (0.15, 1.15)
    assert pooled["overlap"] == {
        "n_treated": 10,
        "n_control_pool": 47,
        "n_treated_kept": 7,
        "c_statistic_before": 0.15,
    }
    assert pooled["outside_exact_groups"] + pooled["overlap"]["n_control_pool"] == 100  # as in every copy
    measured = pooled["diagnostics"]
    assert (measured["scores"], measured["n"]) == ({"equipoise": pytest.approx(0.7)}, 8)
    assert measured["products"] == {"max_abs_smd": 0.15, "worst": ["of 0.15"]}
    left_out = measured["generalisability"]
    assert (left_out["index"], left_out["n_left_out"], left_out["max_abs_smd"]) == (0.5, 3, 0.15)
    assert left_out["n_untreated_left_out"] == 9
    assert left_out["untreated_rows"] == [{"covariate": "age", "mean_all": 40.0, "mean_left_out": pytest.approx(28.0)}]
    # Nobody was left out with a known age in the first copy: 37 and 38 of the other two.
    assert left_out["rows"][0] == {"covariate": "age", "mean_all": 40.0, "mean_left_out": 37.5}
    assert left_out["rows"][1]["covariate"] == "rare"
    assert math.isnan(left_out["rows"][1]["mean_left_out"])
    assert pooled["imputations"] == 3
    assert pooled["notes"] == {"n_treated_unmatched": 2, "distance": "log_odds"}


def test_the_page_says_how_many_imputations_and_what_they_assume(imputed: RunFolder, tmp_path: Path) -> None:
    render_report(imputed, tmp_path, protocol_with("multiple_imputation"), FACTS)
    page = (tmp_path / store.REPORT).read_text()
    assert f"made in each of {COPIES} imputations of the covariates" in page
    assert f"Imputed {COPIES} times given arm and the other covariates, never the outcome" in page
    # docs/missing.md, table of 200 worlds
    for figure in ("bias 0.23 of 0.58", "66.5 % of 200 worlds", "0.02 and 96 %"):
        assert figure in page


def test_the_page_says_which_methods_see_the_outcome(tmp_path: Path) -> None:
    protocol = with_outcome()
    render_report(study(tmp_path, protocol), tmp_path, protocol, FACTS)
    page = (tmp_path / store.REPORT).read_text()
    assert "they were drawn again with the outcome among the predictors, while the design stayed as it was" in page
    assert "that left a bias of 0.02 and covered in 94.5 to 95.5 %" in page  # docs/missing.md, 200 worlds


def test_the_page_says_what_the_indicator_may_leave(tmp_path: Path) -> None:
    protocol = protocol_with("indicator")
    render_report(study(tmp_path, protocol), tmp_path, protocol, FACTS)
    page = (tmp_path / store.REPORT).read_text()
    assert "half of its confounding remained in a simulation (bias 0.30 of 0.58)" in page
    assert "covered the truth in 22.5 % of 200 worlds" in page


def test_a_covariate_without_any_value_is_refused_in_words(tmp_path: Path) -> None:
    tables = people()
    tables[store.BASELINE] = tables[store.BASELINE].with_columns(need=pl.lit(None, pl.Float64))
    run = write(tmp_path, tables)
    with pytest.raises(ProtocolError, match="need has no observed value"):
        design_study(run, run.path, protocol_with("multiple_imputation"))
