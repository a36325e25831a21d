"""A realistic fake run folder for the report: private/ files as the stages before it leave them, made from a seed.

All numbers are invented; there is no data behind them. Look at the page with
`python -m tests.report_fixture FOLDER` and open FOLDER/release/report.html.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipelines import store
from pipelines.attrition import ATTRITION_SCHEMA, PARTICIPANT_REASONS
from pipelines.protocol import RULE_ORDER, Protocol
from pipelines.quality import QUALITY_SCHEMA
from pipelines.store import RunFolder, write_json, write_parquet

FACTS: dict[str, Any] = {
    "run_id": "20a4f0c1d2e3",
    "protocol_hash": "sha256:6f1e0d9c8b7a6f1e0d9c8b7a6f1e0d9c",
    "code": "1c9a7e5",
    "versions": {"python": "3.11", "polars": "2.1.0", "numpy": "2.4.6"},
    "inputs": {"lake": "sha256:00aa11bb22cc33dd", "participants.csv": "sha256:99ee88ff77aa66bb"},
}
NUMERIC = (
    "age_years",
    "log_index_days",
    "n_prior_stays_730d",
    "prior_inpatient_days_730d",
    "is_female",
    "is_detained_on_admission",
    "is_settled",
    "n_dna_365d_before",
    "n_crht_365d_before",
    "honos_total",
    "imd_decile",
    "has_substance_disorder",
    "has_community_order",
)
MEANS = (39.7, 3.2, 1.9, 61.0, 0.52, 0.41, 0.72, 3.1, 2.2, 15.3, 3.9, 0.21, 0.04)
SPREADS = (13.1, 1.0, 1.2, 70.0, 0.5, 0.49, 0.45, 3.4, 2.9, 5.8, 2.4, 0.41, 0.2)
LEVELS = (
    "ethnic_group = asian",
    "ethnic_group = black",
    "ethnic_group = mixed",
    "ethnic_group = other",
    "stratum = other",
    "stratum = personality",
    "honos_total missing",
)
LEVEL_MEANS = (0.12, 0.17, 0.08, 0.008, 0.31, 0.22, 0.18)
OUTCOMES = (
    "readmitted_365d",
    "n_readmissions_365d",
    "days_in_hospital_365d",
    "is_formally_readmitted_365d",
    "n_dna_365d",
    "n_crht_365d",
)
BINARY = ("readmitted_365d", "is_formally_readmitted_365d")


@dataclass(frozen=True)
class Fake:
    """What a fake run is made of; the counts are exact numbers that must not be released as they are."""

    accepted: bool = True
    seed: int = 7
    n_peer: int = 283
    n_control: int = 281
    n_pool: int = 18_437
    n_left_out: int = 4
    participants_removed: Sequence[int] = (3, 6, 2, 0, 4, 0, 0, 0, 1, 5, 0, 9, 2, 1, 8)
    candidates_removed: Sequence[int] = (614, 1_903, 411, 5, 37, 2_218, 15_904, 1_127, 34, 7, 386)
    rows_set_aside: Sequence[int] = (3, 61, 1_294)
    protocol: dict[str, Any] = field(default_factory=dict)


def make_protocol(**changes: Any) -> Protocol:
    """The protocol of the fake study; `changes` replace whole sections."""
    sections: dict[str, Any] = {
        "study": {
            "name": "enrich_fake",
            "title": "Peer support after psychiatric discharge, compared with virtual controls",
            "question": "Among adults leaving acute psychiatric wards, does an offer of peer support lower the risk of "
            "readmission within a year, compared with usual care?",
            "is_synthetic": True,
        },
        "source": {"kind": "synthetic", "synthetic": {}},
        "eligibility": {},
        "strategies": {
            "treatment": "One-to-one peer support, begun on the ward and continued for four months, with usual care",
            "comparator": "Usual care",
            "treated_label": "peer",
        },
        "outcomes": {"primary": OUTCOMES[0], "secondary": OUTCOMES[1:]},
        "covariates": {"numeric": NUMERIC, "squared": ("age_years",), "categorical": ("ethnic_group", "stratum")},
        "design": {"methods": ("nearest_neighbour", "propensity_weighting"), "exact": ("trust", "stratum")},
        "effects": {"methods": ("weighted_difference", "aipw", "causal_forest", "cumulative_incidence")},
    }
    return Protocol.model_validate(sections | changes)


def make_table_protocol(**changes: Any) -> Protocol:
    """A study of ready-made rows: no attrition rules, no curves, no data account."""
    sections: dict[str, Any] = {
        "study": {
            "name": "training",
            "title": "A training programme and later earnings",
            "question": "Among people who joined the programme, did it raise earnings four years later?",
        },
        "source": {"kind": "table", "tables": ({"path": "rows.csv", "arm": "peer"},)},
        "time_zero": {"event": "row"},
        "strategies": {"treatment": "Training programme", "comparator": "No programme"},
        "outcomes": {"primary": "re78", "columns": {"re78": {"column": "re78", "kind": "continuous"}}},
        "covariates": {"numeric": ("age", "education", "black", "re74"), "is_zero": ("re74",)},
        "benchmark": {"value": 1794.0, "lower": 551.0, "upper": 3038.0, "source": "Experimental estimate (invented)"},
    }
    return Protocol.model_validate(sections | changes)


def write_run(folder: Path, fake: Fake = Fake()) -> RunFolder:
    """Write the private files of a fake run with raw records; returns its folder."""
    rng = np.random.default_rng(fake.seed)
    run = RunFolder(folder)
    for name, frame in _people(rng, fake).items():
        write_parquet(run.file(name), frame)
    write_parquet(run.file(store.ATTRITION), _attrition(fake))
    write_json(run.file(store.DESIGN_SUMMARY), _design(rng, fake))
    write_json(run.file(store.DATA_ACCOUNT), _account(fake))
    write_parquet(run.file(store.QUALITY), _quality(rng, fake))
    write_parquet(run.file(store.OUTCOME_QUALITY), _outcome_quality(fake))
    # Written even when the design is refused: a stale file of effects must not find its way into the page.
    write_parquet(run.file(store.ESTIMATES), _estimates(rng, fake))
    write_parquet(run.file(store.PROGNOSTIC), _prognostic(fake))
    curves = _curves(rng, fake)
    write_parquet(run.file(store.CURVES), curves)
    write_parquet(run.file(store.CURVE_DIFFERENCES), _differences(curves))
    write_parquet(run.file(store.INDIVIDUAL_EFFECTS), _individual(rng, fake))
    write_json(run.file(store.HETEROGENEITY), _heterogeneity(fake))
    notes = {
        "contrast": "peer_vs_virtual",
        "outcome": "n_crht_365d",
        "design": "propensity_weighting",
        "method": "causal_forest",
        "note": f"refused: only {fake.rows_set_aside[0]} treated people in a leaf, of {fake.n_peer}",
    }
    refused = {**notes, "outcome": "", "method": "", "note": "design not accepted, no effect estimated: max_abs_smd"}
    write_json(run.file(store.EFFECT_NOTES), [notes, refused])
    return run


def write_table_run(folder: Path) -> RunFolder:
    """Write the private files of a fake run of a ready-made table: one contrast, a continuous outcome."""
    rng = np.random.default_rng(3)
    run = RunFolder(folder)
    balance = [
        _balance_row(rng, "age", 25.8, 7.1, 0.2),
        _balance_row(rng, "black", 0.84, 0.36, 0.3),
        _balance_row(rng, "re74", 2095.6, 4886.6, 0.4),
        _balance_row(rng, "re74 is zero", 0.71, 0.45, 0.3),
    ]
    entry = _entry(rng, "nearest_neighbour", 185, 15_992, 185, 185, True, balance)
    contrast = {
        "contrast": "participants_vs_virtual",
        "treated_arm": "peer",
        "control_arm": "virtual",
        "designs": [entry],
    }
    write_json(run.file(store.DESIGN_SUMMARY), {"accepted": True, "contrasts": [contrast]})
    write_json(run.file(store.DATA_ACCOUNT), {})
    people = (("peer", 185), ("virtual", 15_992))
    write_parquet(
        run.file(store.QUALITY),
        pl.concat([_missing("re74", arm, None, n // 10, n) for arm, n in people]),
    )
    rows = []
    for method, value, error in (("weighted_difference", 1712.4, 742.1), ("aipw", 1588.9, 701.3)):
        row = ("participants_vs_virtual", "re78", "ATT", "mean_difference", "nearest_neighbour", method)
        rows.append(_estimate(row, value, error, (185, 185)))
    write_parquet(run.file(store.ESTIMATES), pl.DataFrame(rows, infer_schema_length=None))
    return run


def person_ids(run: RunFolder) -> list[str]:
    """Every pseudonym in the fake run."""
    return run.read(store.COHORT)["person_id"].to_list()


def _people(rng: np.random.Generator, fake: Fake) -> dict[str, pl.DataFrame]:
    n = 60
    ids = [f"PSEUDONYM{rng.integers(10**9):09d}X{i}" for i in range(n)]
    arms = np.where(np.arange(n) < 20, "peer", np.where(np.arange(n) < 40, "control", "virtual"))
    key = {"row_id": [f"r{i}" for i in range(n)], "person_id": ids, "index_date": [date(2018, 3, 1)] * n}
    values: dict[str, Any] = {}
    for name, mean, spread in zip(NUMERIC, MEANS, SPREADS, strict=True):
        is_share = name.startswith(("is_", "has_"))
        values[name] = rng.random(n) < mean if is_share else np.round(rng.normal(mean, spread, n), 1)
    return {
        store.COHORT: pl.DataFrame({**key, "arm": arms, "is_eligible": [True] * n}),
        store.BASELINE: pl.DataFrame({**key, **values}),
        store.EXCLUDED_PARTICIPANTS: pl.DataFrame(
            {"person_id": ["PSEUDONYMEXCLUDED1"], "arm": ["peer"], "reason": ["no_consent"]}
        ),
    }


def _attrition(fake: Fake) -> pl.DataFrame:
    groups = (
        ("participants", "listed", (*PARTICIPANT_REASONS, *RULE_ORDER), fake.participants_removed, 0, 1),
        ("candidates", "discharged_in_window", ("trial_participant", *RULE_ORDER), fake.candidates_removed, 0, 0.8),
    )
    rows: list[tuple[Any, ...]] = []
    for group, start, rules, removed, _, share in groups:
        end = fake.n_peer + fake.n_control if group == "participants" else fake.n_pool
        left = end + sum(removed)
        people = end if share == 1 else round(end * share)
        people += sum(round(n * share) for n in removed)
        rows.append((0, group, start, 0, 0, left, people))
        for step, (rule, n) in enumerate(zip(rules, removed, strict=True), start=1):
            left, people = left - n, people - round(n * share)
            rows.append((step, group, rule, n, round(n * share), left, people))
    return pl.DataFrame(rows, schema=ATTRITION_SCHEMA, orient="row")


def _design(rng: np.random.Generator, fake: Fake) -> dict[str, Any]:
    def rows(gap: float) -> list[dict[str, float | str]]:
        named = list(zip((*NUMERIC, *LEVELS), (*MEANS, *LEVEL_MEANS), strict=True))
        spreads = (*SPREADS, *(np.sqrt(m * (1 - m)) for m in LEVEL_MEANS))
        table = [_balance_row(rng, name, mean, s, gap) for (name, mean), s in zip(named, spreads, strict=True)]
        squared = _balance_row(rng, "age_years squared", 171.0, 210.0, gap)
        trusts = [_balance_row(rng, f"trust = R{i:02d}", 0.045, 0.2, 0.0) for i in range(20)]
        return [*table[:1], squared, *table[1:], *trusts]

    contrasts = []
    for name, treated, control, n in (
        ("peer_vs_virtual", "peer", "virtual", fake.n_peer),
        ("peer_vs_randomised", "peer", "control", fake.n_peer),
        ("randomised_vs_virtual", "control", "virtual", fake.n_control),
    ):
        if control == "control":
            designs = [
                {
                    "method": "randomised",
                    "estimand": "ATT",
                    "notes": {},
                    "balance": rows(0.05),
                    "accepted": True,
                    "verdicts": [],
                    "overlap": None,
                    "histogram": None,
                    "diagnostics": None,
                }
            ]
        else:
            kept = max(n - fake.n_left_out, 1)
            accepted = fake.accepted or name != "peer_vs_virtual"
            designs = [
                _entry(rng, "nearest_neighbour", n, fake.n_pool, kept, kept, accepted, rows(0.3)),
                _entry(rng, "propensity_weighting", n, fake.n_pool, n, fake.n_pool, True, rows(0.3)),
            ]
        contrasts.append({"contrast": name, "treated_arm": treated, "control_arm": control, "designs": designs})
    return {"accepted": fake.accepted, "contrasts": contrasts}


def _balance_row(rng: np.random.Generator, name: str, mean: float, spread: float, gap: float) -> dict[str, Any]:
    before, after = rng.normal(0, gap), rng.normal(0, 0.03)
    is_share = 0 <= mean <= 1
    shown = [mean, mean - before * spread, mean, mean - after * spread]
    treated, control, treated_after, control_after = (min(max(m, 0.0), 1.0) if is_share else m for m in shown)
    return {
        "covariate": name,
        "mean_treated_before": treated,
        "mean_control_before": control,
        "smd_before": (treated - control) / spread,
        "variance_ratio_before": 1.21,
        "mean_treated_after": treated_after,
        "mean_control_after": control_after,
        "smd_after": (treated_after - control_after) / spread,
        "variance_ratio_after": 1.04,
        "ks_before": 0.11,
        "ks_after": 0.04,
    }


def _entry(
    rng: np.random.Generator,
    method: str,
    n_treated: int,
    n_pool: int,
    kept: int,
    controls: int,
    accepted: bool,
    balance: list[dict[str, Any]],
) -> dict[str, Any]:
    is_matched = method == "nearest_neighbour"
    effective = float(controls) if is_matched else min(3.2 * n_treated, controls)
    worst = max(abs(row["smd_after"]) for row in balance) if accepted else 0.174
    checks = (
        ("max_abs_smd", 0.1, worst, accepted),
        ("min_effective_controls", 30.0, effective, True),
        ("min_share_treated_kept", 0.8, kept / n_treated, True),
        ("min_overlap", 0.1, 0.437, True),
    )
    edges = np.linspace(-7.4, -0.9, 31)
    treated = np.clip(rng.normal(-3.2, 0.9, n_treated), edges[0], edges[-1])
    pool = np.clip(rng.normal(-4.4, 1.0, n_pool), edges[0], edges[-1])
    chosen = np.clip(rng.normal(-3.2, 0.9, kept), edges[0], edges[-1])
    return {
        "method": method,
        "estimand": "ATT",
        "notes": {"n_treated_unmatched": n_treated - kept},
        "balance": balance,
        "accepted": accepted,
        "verdicts": [{"check": c, "limit": limit, "value": v, "passed": ok} for c, limit, v, ok in checks],
        "overlap": {
            "n_treated": n_treated,
            "n_control_pool": n_pool,
            "n_treated_kept": kept,
            "n_controls_kept": controls,
            "effective_n_treated": float(kept),
            "effective_n_controls": effective,
            "share_treated_kept": kept / n_treated,
            "overlap_coefficient": 0.437,
            "share_treated_in_control_range": 0.99,
            "max_control_weight_share": 1 / controls if is_matched else 0.006,
            "c_statistic_before": 0.78,
        },
        "histogram": {
            "edges": edges.tolist(),
            "treated": np.histogram(treated, edges)[0].astype(float).tolist(),
            "pool": np.histogram(pool, edges)[0].astype(float).tolist(),
            "controls": np.histogram(chosen, edges)[0].astype(float).tolist(),
        },
        "diagnostics": _diagnostics(n_treated, kept, effective, balance),
    }


def _diagnostics(n_treated: int, kept: int, effective: float, balance: list[dict[str, Any]]) -> dict[str, Any]:
    """Diagnostics as the design stage writes them; those left out are a little older."""
    left_out = n_treated - kept
    rows = [
        {
            "covariate": row["covariate"],
            "mean_all": row["mean_treated_before"],
            "mean_kept": row["mean_treated_after"],
            "mean_left_out": row["mean_treated_before"] if left_out else None,
            "smd_kept_vs_all": 0.01,
            "smd_left_out_vs_kept": 0.31 if left_out else None,
        }
        for row in balance
    ]
    worst = [{"product": "age_years × is_female", "smd_before": 0.4, "smd_after": 0.18}]
    return {
        "scores": {
            "equipoise": 0.612,
            "equipoise_treated": 0.7,
            "equipoise_control": 0.61,
            "c_statistic_after": 0.51,
            "c_statistic_refitted": 0.58,
            "c_statistic_by_chance": 0.6,
        },
        "products": {
            "n_products": 171,
            "n_rare": 12,
            "max_abs_smd": 0.18,
            "share_over": 0.05,
            "share_over_before": 0.4,
            "share_over_by_chance": 0.2,
            "worst": worst,
        },
        "generalisability": {"index": 0.97, "n_left_out": left_out, "max_abs_smd": 0.01, "rows": rows},
        "detectable": {
            "effective_n_treated": float(kept),
            "effective_n_control": effective,
            "sd_difference": 0.24,
            "risk_ratio_below": 0.77,
            "risk_ratio_above": 1.23,
        },
    }


def _account(fake: Fake) -> dict[str, Any]:
    few, some, many = fake.rows_set_aside
    files = [
        ("MHS501_2018.csv.gz", "spell", 412_338, 401_992, 10_346 - few, few),
        ("MHS502_2018.csv.gz", "ward_stay", 598_201, 580_177, 18_024 - some, some),
        ("MHS201_2018.csv.gz", "contact", 8_201_733, 8_139_020, 62_713 - many, many),
    ]
    names = ("file", "table", "rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
    return {
        "files": [dict(zip(names, row, strict=True)) | {"reasons": {}} for row in files],
        "reasons": {"no_start_date": few, "unknown_provider": some, "contact_after_extract": many},
        "nulled": {"bad_date:discharge_date": few, "bad_int:distance_home": some},
        "period_end": "2020-03-31",
        "ignored_files": ["README.txt"],
        "look_back": {
            "window_days": 730,
            "mhsds_from": "2016-01-01",
            "hes_from": "2014-04-01",
            "groups": [
                {"group": "candidates", "n_people": 41_236, "n_truncated": 1_012},
                {"group": "participants", "n_people": 588, "n_truncated": few},
            ],
        },
    }


def _quality(rng: np.random.Generator, fake: Fake) -> pl.DataFrame:
    """Sixty providers over six years, covariates over the recruitment months, codes and links: exact counts."""
    few, some, many = fake.rows_set_aside
    rows: list[dict[str, Any]] = []
    for number in range(60):
        gap = range(40 + number, 44 + number) if number % 9 == 4 else range(0)
        for month in range(1369, 1441):
            state = "nothing" if month - 1369 in gap else "too_few" if (number, month) == (7, 1420) else "submitted"
            state = "before_first" if number == 59 and month < 1400 else state
            state = "after_last" if number == 58 and month > 1430 else state
            n = {"submitted": 40 + number, "too_few": few}.get(state, 0)
            row = {"part": "provider_month", "subject": f"R{number:02d}", "month_id": month, "state": state, "n": n}
            rows.append(row)
    named = {
        "linkage": ("rows_submitted", "spells_latest_month", "spells_without_twins", "continuous_stays"),
        "repair": ("placeholder_date", "discharge_before_start", "still_open"),
        "stay": ("of_several_spells", "is_zero_day", "ended_by_discharge"),
    }
    for part, names in named.items():
        rows += [
            {"part": part, "subject": name, "n": n} for name, n in zip(names, (many, some, few, some), strict=False)
        ]
    for subject in ("spell.method_code", "ward_stay.bed_class_code"):
        for state, n in (("valid", many), ("missing", some), ("unknown", few)):
            rows.append({"part": "code", "subject": subject, "state": state, "n": n})
    frames = [pl.DataFrame([{**dict.fromkeys(QUALITY_SCHEMA), **row} for row in rows], schema=QUALITY_SCHEMA)]
    for arm, people in (("peer", fake.n_peer), ("control", fake.n_control), ("virtual", fake.n_pool)):
        for month in range(1401, 1428):
            n = max(people // 27, 1)
            for name, share in (("honos_total", 0.2), ("imd_decile", 0.02), ("age_years", 0.0)):
                frames.append(_missing(name, arm, month, int(rng.binomial(n, share)), n))
    return pl.concat(frames)


def _missing(name: str, arm: str, month: int | None, missing: int, people: int) -> pl.DataFrame:
    row = {"part": "missing", "subject": name, "arm": arm, "month_id": month}
    states = [{**row, "state": "missing", "n": missing}, {**row, "state": "known", "n": people - missing}]
    return pl.DataFrame(states, schema=QUALITY_SCHEMA)


def _outcome_quality(fake: Fake) -> pl.DataFrame:
    few, some, _ = fake.rows_set_aside
    rows = []
    for arm, people in (("peer", fake.n_peer), ("control", fake.n_control), ("virtual", fake.n_pool)):
        kinds = (
            ("readmission", "same_provider", people // 2),
            ("readmission", "another_provider", few),
            ("observation", "whole", people),
            ("observation", "end_of_data", some),
            ("observation", "provider_sent_nothing", few),
        )
        rows += [
            {"part": part, "subject": None, "arm": arm, "month_id": None, "state": s, "n": n} for part, s, n in kinds
        ]
    return pl.DataFrame(rows, schema=QUALITY_SCHEMA)


def _estimate(
    key: tuple[str, str, str, str, str, str],
    value: float,
    error: float,
    people: tuple[int, int],
    subgroup: str = "all",
    n_unobserved: int = 0,
) -> dict[str, Any]:
    names = ("contrast", "outcome", "estimand", "scale", "design", "method")
    is_ratio = key[3].endswith("ratio")
    lower, upper = (
        (value * np.exp(-1.96 * error), value * np.exp(1.96 * error))
        if is_ratio
        else (value - 1.96 * error, value + 1.96 * error)
    )
    return {
        **dict(zip(names, key, strict=True)),
        "subgroup": subgroup,
        "value": float(value),
        "std_error": float(error),
        "lower": float(lower),
        "upper": float(upper),
        "p_value": 0.41,
        "n_treated": people[0],
        "n_control": people[1],
        "effective_n": float(people[1]),
        "n_unobserved": n_unobserved,
    }


def _estimates(rng: np.random.Generator, fake: Fake) -> pl.DataFrame:
    rows = []
    designs = (("peer_vs_virtual", "nearest_neighbour"), ("peer_vs_virtual", "propensity_weighting"))
    designs += (("peer_vs_randomised", "randomised"), ("randomised_vs_virtual", "nearest_neighbour"))
    designs += (("randomised_vs_virtual", "propensity_weighting"),)
    for contrast, design in designs:
        n = fake.n_control if contrast.startswith("randomised") else fake.n_peer
        n = max(n - 4, 1) if design == "nearest_neighbour" else n
        controls = fake.n_control if design == "randomised" else n if design == "nearest_neighbour" else fake.n_pool
        for outcome in OUTCOMES:
            for method in ("weighted_difference", "aipw"):
                key = (contrast, outcome, "ATT")
                tail = (design, method)
                risk = 0.48 if outcome == OUTCOMES[0] else 0.19
                gap = rng.normal(-0.02, 0.01)
                if outcome in BINARY:
                    scales = [("risk_difference", gap, 0.039), ("risk_ratio", 1 + gap / risk, 0.08)]
                else:
                    scales = [("mean_difference", 40 * gap, 0.9), ("mean_ratio", 1 + gap, 0.07)]
                for scale, value, error in scales:
                    few = fake.rows_set_aside[0]
                    rows.append(_estimate((*key, scale, *tail), value, error, (n, controls), n_unobserved=few))
    black = ("peer_vs_virtual", OUTCOMES[0], "ATT", "risk_difference", "nearest_neighbour", "weighted_difference")
    rows.append(_estimate(black, -0.071, 0.081, (48, 48), "ethnic_group = black"))
    rows.append(_estimate(black, -0.333, 0.27, (fake.rows_set_aside[0], 9), "ethnic_group = other"))
    return pl.DataFrame(rows, infer_schema_length=None)


def _prognostic(fake: Fake) -> pl.DataFrame:
    rows = [
        {
            "contrast": "peer_vs_virtual",
            "design": design,
            "outcome": OUTCOMES[0],
            "smd_before": 0.412,
            "smd_after": 0.031,
            "n_learnt_from": fake.n_pool,
            "fit": 0.33,
            "note": None,
        }
        for design in ("nearest_neighbour", "propensity_weighting")
    ]
    return pl.DataFrame(rows)


def _curves(rng: np.random.Generator, fake: Fake) -> pl.DataFrame:
    parts = []
    n = max(fake.n_peer - 4, 1)
    for outcome, final in (("readmitted_365d", 0.47), ("died_365d", 0.012)):
        for arm, shift in (("peer", -0.02), ("virtual", 0.0)):
            risk = max(final + shift, 0.0) if outcome == "readmitted_365d" else final
            days = np.sort(np.minimum(rng.exponential(110, round(risk * n)), 365).round())
            day = np.unique(np.concatenate([[0.0], days, [365.0]]))
            events = np.searchsorted(days, day, side="right").astype(float)
            incidence = events / n
            error = np.sqrt(incidence * (1 - incidence) / n)
            parts.append(
                pl.DataFrame(
                    {
                        "contrast": "peer_vs_virtual",
                        "outcome": outcome,
                        "design": "nearest_neighbour",
                        "method": "cumulative_incidence",
                        "arm": arm,
                        "day": day,
                        "incidence": incidence,
                        "lower": np.maximum(incidence - 1.96 * error, 0),
                        "upper": incidence + 1.96 * error,
                        "band_lower": np.maximum(incidence - 2.9 * error, 0),
                        "band_upper": np.where(events < 10, np.nan, incidence + 2.9 * error),
                        "at_risk": n - events,
                    }
                )
            )
    return pl.concat(parts)


def _differences(curves: pl.DataFrame) -> pl.DataFrame:
    """Of the weekly values of both arms, as if they were independent."""
    day = np.arange(0.0, 365.0, 7.0)
    parts = []
    for (outcome,), of_outcome in curves.group_by(["outcome"], maintain_order=True):
        incidence, half = [], []
        for arm in ("peer", "virtual"):
            line = of_outcome.filter(pl.col("arm") == arm)
            place = np.searchsorted(line["day"].to_numpy(), day, side="right") - 1
            incidence.append(line["incidence"].to_numpy()[place])
            half.append((line["upper"] - line["incidence"]).to_numpy()[place])
        value, reach = incidence[0] - incidence[1], np.hypot(*half)
        band = np.where(day < 60, np.nan, 1.5 * reach)
        edges = {
            "lower": value - reach,
            "upper": value + reach,
            "band_lower": value - band,
            "band_upper": value + band,
        }
        place_of = {
            "contrast": "peer_vs_virtual",
            "outcome": str(outcome),
            "design": "nearest_neighbour",
            "method": "cumulative_incidence",
        }
        frame = pl.DataFrame({"day": day, "value": value, **edges}).with_columns(
            pl.col("band_lower", "band_upper").fill_nan(None), **{name: pl.lit(text) for name, text in place_of.items()}
        )
        parts.append(frame)
    return pl.concat(parts)


def _individual(rng: np.random.Generator, fake: Fake) -> pl.DataFrame:
    effect = rng.normal(-0.021, 0.034, fake.n_peer)
    return pl.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(fake.n_peer)],
            "effect": effect,
            "lower": effect - 0.07,
            "upper": effect + 0.07,
        }
    )


def _heterogeneity(fake: Fake) -> dict[str, Any]:
    """What a forest leaves: one quarter and one leaf of the rule hold fewer people than may be shown."""
    treated = fake.n_peer

    def group(name: str, n_treated: int) -> dict[str, Any]:
        numbers = {"value": -0.0317, "std_error": 0.05, "lower": -0.1297, "upper": 0.0663, "p_value": 0.53}
        return {"name": name, **numbers, "n_treated": n_treated, "n_control": 150, "effective_n": 99.0}

    def leaf(offer: bool, n_treated: int) -> dict[str, Any]:
        ends = {"covariate": "", "threshold": 0.0, "left": None, "right": None}
        return {"offer": offer, "n_treated": n_treated, "n_control": 75, **ends}

    quarters = ("lowest quarter", "second quarter", "third quarter", "highest quarter")
    return {
        "contrast": "peer_vs_virtual",
        "design": "nearest_neighbour",
        "outcome": "readmitted_365d",
        "scale": "risk_difference",
        "settings": {"better": "lower", "multiplicity": "holm", "trees": 500},
        "groups": [],
        "interactions": [{"covariate": "is_female", "n_levels": 2, "p_value": 0.0413, "p_adjusted": 0.1239}],
        "projection": {
            "term": ["mean effect", "age_years"],
            **{name: [-0.021, 0.004] for name in ("value", "std_error", "lower", "upper")},
            "p_value": [0.3, 0.8],
        },
        "ranking": {
            "calibration": [0.4871, 0.3, -0.1, 1.075],
            "calibration_p_value": 0.052,
            "autoc": [0.0123, 0.01, -0.0073, 0.0319, 0.22],
            "qini": [0.005, 0.004, -0.003, 0.013, 0.21],
            "toc": [0.0] * 10,
            "quarters": [group(name, 3 if at == 0 else treated // 4) for at, name in enumerate(quarters)],
        },
        "importance": {"age_years": {"share": 0.62, "least": 0.5, "most": 0.7, "among_first": 0.9}},
        "policy": {
            "tree": {
                "offer": None, "n_treated": treated, "n_control": 300, "covariate": "age_years", "threshold": 41.37,
                "left": leaf(True, treated - 2), "right": leaf(False, 2),
            },
            "over_nobody": [0.01, -0.02, 0.04], "over_everybody": [0.002, -0.03, 0.034], "share_offered": 0.81,
        },
        "monte_carlo_error": 0.011,
        "notes": ["linear projection: only 3 people of a level"],
    }  # fmt: skip


if __name__ == "__main__":
    from pipelines.report import render_report

    target = Path(sys.argv[1])
    for kind in ("accepted", "refused"):
        made = write_run(target / kind, Fake(accepted=kind == "accepted"))
        render_report(made, target / kind, make_protocol(), FACTS)
    render_report(write_table_run(target / "table"), target / "table", make_table_protocol(), FACTS)
