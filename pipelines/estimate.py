"""Accepted designs and outcomes become estimates: the first place where an outcome is read.

Choice made: outcomes are opened only when the primary design was accepted; further designs and contrasts are estimated
only when they were accepted themselves. People whose outcome was not observed leave the estimate of that outcome and
are counted; cumulative incidence uses them until they were censored.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.registry import EFFECTS, check_capability
from models.results import Baseline, Curve, Design, Estimate, FloatArray, IntArray
from pipelines import store
from pipelines.artefacts import save_forest
from pipelines.design import Contrast, contrasts_of, seeded
from pipelines.design_matrix import build_baseline
from pipelines.outcome_registry import window_of
from pipelines.protocol import Protocol, outcome_kinds
from pipelines.store import RunFolder, write_json, write_parquet

ESTIMATE_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "estimand": pl.String,
    "scale": pl.String,
    "design": pl.String,
    "method": pl.String,
    "subgroup": pl.String,
    "value": pl.Float64,
    "std_error": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "p_value": pl.Float64,
    "n_treated": pl.Int64,
    "n_control": pl.Int64,
    "effective_n": pl.Float64,
    "n_unobserved": pl.Int64,
}
CURVE_SCHEMA = {
    "contrast": pl.String,
    "outcome": pl.String,
    "design": pl.String,
    "arm": pl.String,
    "day": pl.Float64,
    "incidence": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "at_risk": pl.Float64,
}


@dataclass(frozen=True)
class AcceptedDesign:
    """One design of one contrast, ready for outcomes: rows in the order of baseline and design."""

    contrast: Contrast
    row_id: pl.Series
    baseline: Baseline
    design: Design
    is_primary: bool


@dataclass
class Results:
    """What the estimate stage collects."""

    estimates: list[dict[str, Any]] = field(default_factory=list)
    curves: list[pl.DataFrame] = field(default_factory=list)
    notes: list[dict[str, str]] = field(default_factory=list)
    individual: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"row_id": pl.Int64, "effect": pl.Float64, "lower": pl.Float64, "upper": pl.Float64}
        )
    )


def estimate_study(run: RunFolder, out: Path, protocol: Protocol) -> None:
    """Estimate every outcome on every accepted design of a run; write the estimate files into `out`.

    When the primary design was not accepted, the outcomes file is not opened and the files are empty.
    """
    results = Results()
    summary = run.read_json(store.DESIGN_SUMMARY)
    if summary["accepted"]:
        outcomes = run.read(store.OUTCOMES)
        for accepted in accepted_designs(run, summary, protocol, results):
            estimate_design(accepted, outcomes, protocol, results, out)
    estimates = pl.DataFrame(results.estimates, schema=ESTIMATE_SCHEMA, orient="row")
    write_parquet(out / store.ESTIMATES, estimates)
    write_parquet(out / store.CURVES, pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *results.curves]))
    write_parquet(out / store.INDIVIDUAL_EFFECTS, results.individual)
    write_json(out / store.EFFECT_NOTES, results.notes)


def accepted_designs(
    run: RunFolder, summary: dict[str, Any], protocol: Protocol, results: Results
) -> Iterator[AcceptedDesign]:
    """The designs of a run that may see outcomes, primary first; the others leave a note."""
    people = run.read(store.COHORT)
    covariates = run.read(store.BASELINE)
    shared = [name for name in covariates.columns if name in people.columns and name != "row_id"]
    rows = people.join(covariates.drop(shared), on="row_id", how="inner")
    saved = run.read(store.OTHER_DESIGNS)
    contrasts = {contrast.name: contrast for contrast in contrasts_of(people, protocol)}
    for number, contrast_entry in enumerate(summary["contrasts"]):
        contrast = contrasts[contrast_entry["contrast"]]
        for place, entry in enumerate(contrast_entry["designs"]):
            if not entry["accepted"]:
                note = "design not accepted, no effect estimated: " + "; ".join(_shortfalls(entry))
                results.notes.append(_note(contrast.name, "", entry["method"], "", note))
                continue
            is_this = (pl.col("contrast") == contrast.name) & (pl.col("design") == entry["method"])
            table = saved.filter(is_this).join(rows, on="row_id", how="left", maintain_order="left")
            exact = [] if contrast.is_randomised else list(protocol.design.exact)
            baseline = build_baseline(table, protocol.covariates, exact)
            yield AcceptedDesign(
                contrast, table["row_id"], baseline, _design_of(table, entry), number == 0 and place == 0
            )


def _shortfalls(entry: dict[str, Any]) -> list[str]:
    return [verdict["check"] for verdict in entry["verdicts"] if not verdict["passed"]]


def _design_of(table: pl.DataFrame, entry: dict[str, Any]) -> Design:
    return Design(
        method=entry["method"],
        estimand=entry["estimand"],
        treated=table["treated"].to_numpy(),
        score=table["score"].to_numpy(),
        weights=table["weight"].to_numpy(),
        matched_set=table["matched_set"].to_numpy(),
        notes=entry["notes"],
    )


def estimate_design(
    accepted: AcceptedDesign, outcomes: pl.DataFrame, protocol: Protocol, results: Results, out: Path
) -> None:
    """Every outcome by every effect method on one design."""
    of_rows = accepted.row_id.to_frame().join(outcomes, on="row_id", how="left", maintain_order="left")
    for outcome, kind in outcome_kinds(protocol).items():
        values = outcome_values(of_rows, outcome)
        in_design = accepted.design.weights > 0
        n_unobserved = int((np.isnan(values) & in_design).sum())
        observed = keep_observed(values, accepted.baseline, accepted.design)
        if not (observed[2].weights > 0).any():
            note = "no observed outcome in the design"
            results.notes.append(_note(accepted.contrast.name, outcome, accepted.design.method, "", note))
            continue
        for method in _methods_for(accepted, outcome, protocol):
            refusal = check_capability(accepted.design.method, method, accepted.design.estimand, kind)
            estimates: tuple[Estimate, ...] = ()
            if refusal is None:
                try:
                    seen = accepted.row_id.filter(pl.Series(~np.isnan(values)))
                    estimates = _run(method, accepted, outcome, kind, observed, seen, protocol, results, out)
                except ValueError as error:
                    refusal = str(error)
            if refusal is not None:
                results.notes.append(_note(accepted.contrast.name, outcome, accepted.design.method, method, refusal))
            results.estimates += [_row(accepted, outcome, item, n_unobserved) for item in estimates]
        if outcome == time_outcome(protocol) and "cumulative_incidence" in protocol.effects.methods:
            _incidence(accepted, of_rows, protocol, results)


def time_outcome(protocol: Protocol) -> str:
    """The outcome whose time is analysed: readmission over the whole follow-up."""
    return f"readmitted_{protocol.follow_up.days}d"


def outcome_values(of_rows: pl.DataFrame, outcome: str) -> FloatArray:
    """The outcome as numbers, NaN where it was not observed or where observation was to end before the window did.

    An event or a death that was seen in a window cut short does not count: without an event such a window is unknown,
    so that keeping it for its event would let people leave the comparison for want of one. When observation ends (the
    end of the data, a provider's silence) is known for everybody beforehand, whatever happens to them. Windows that a
    table of the outcome's events leaves before that are null already, for the same reason (outcomes/seen.py).
    """
    values = pl.col(outcome).cast(pl.Float64)
    window = window_of(outcome)
    if window is not None and "censored_day" in of_rows.columns:
        values = pl.when((pl.col("censored_day") >= window).fill_null(True)).then(values)
    return of_rows.select(values.fill_null(float("nan"))).to_series().to_numpy()


def _methods_for(accepted: AcceptedDesign, outcome: str, protocol: Protocol) -> list[str]:
    """Forests only where they are read: the primary outcome on the primary design."""
    is_headline = accepted.is_primary and outcome == protocol.outcomes.primary
    named = [name for name in protocol.effects.methods if name != "cumulative_incidence"]
    return [name for name in named if name != "causal_forest" or is_headline]


def _run(
    method: str,
    accepted: AcceptedDesign,
    outcome: str,
    kind: Literal["binary", "continuous"],
    observed: tuple[FloatArray, Baseline, Design],
    observed_ids: pl.Series,
    protocol: Protocol,
    results: Results,
    out: Path,
) -> tuple[Estimate, ...]:
    options = getattr(protocol.effects, method).model_dump()
    if accepted.contrast.is_randomised:
        options |= {"weighted_difference": {"weights_are": "fixed"}, "aipw": {"is_randomised": True}}.get(method, {})
    rng = seeded(protocol, "effect", accepted.contrast.name, accepted.design.method, outcome, method)
    result = EFFECTS[method].function(*observed, rng=rng, kind=kind, confidence=protocol.effects.confidence, **options)
    if method != "causal_forest":
        return tuple(result)
    results.individual = pl.DataFrame(
        {
            "row_id": observed_ids.gather(result.row_index),
            "effect": result.effect,
            "lower": result.lower,
            "upper": result.upper,
        }
    )
    card = {
        "model": "EconML causal forest on the designed sample, cross-fitted nuisances",
        "outcome": outcome,
        "columns": list(observed[1].columns),
        "importance": dict(zip(observed[1].columns, np.asarray(result.importance).tolist(), strict=True)),
        "settings": options,
        "open_with": "models.forest.predict_trees(numpy.load(path), X): effects for rows with these columns",
        "not_for": "deciding about one person; the intervals are pointwise",
    }
    folder = out / store.MODELS / accepted.contrast.name / accepted.design.method
    save_forest(folder, result.trees, card)
    return tuple(result.estimates)


def _incidence(accepted: AcceptedDesign, of_rows: pl.DataFrame, protocol: Protocol, results: Results) -> None:
    """Cumulative incidence of readmission with death competing; everybody counts until censored."""
    day, event = time_and_event(of_rows, protocol.follow_up.days)
    seen = day > 0
    never_seen = np.where(seen, 0.0, np.nan)
    _, baseline, design = keep_observed(never_seen, accepted.baseline, accepted.design)
    curve = EFFECTS["cumulative_incidence"].function(
        day[seen],
        event[seen],
        baseline,
        design,
        horizon=protocol.follow_up.days,
        confidence=protocol.effects.confidence,
    )
    treated_name, control_name = accepted.contrast.name.split("_vs_")
    n_unobserved = int(((~seen) & (accepted.design.weights > 0)).sum())
    outcome = time_outcome(protocol)
    results.estimates += [_row(accepted, outcome, item, n_unobserved) for item in curve.estimates]
    results.curves += [
        _curve_frame(accepted, outcome, arm, item)
        for arm, item in zip((treated_name, control_name), curve.curves, strict=True)
    ]


def time_and_event(of_rows: pl.DataFrame, horizon: int) -> tuple[FloatArray, IntArray]:
    """Day of the first of readmission (event 1), death (2), censoring or the horizon (0)."""
    far = horizon + 1
    readmitted = pl.col("days_to_readmission").fill_null(far)
    died = pl.col("died_day").fill_null(far)
    censored = pl.col("censored_day").fill_null(horizon)
    day = pl.min_horizontal(readmitted, died, censored)
    event = pl.when(readmitted == day).then(1).when((died == day) & (died <= horizon)).then(2).otherwise(0)
    frame = of_rows.select(day=day.cast(pl.Float64), event=event.cast(pl.Int64))
    return frame["day"].to_numpy(), frame["event"].to_numpy()


def _curve_frame(accepted: AcceptedDesign, outcome: str, arm: str, curve: Curve) -> pl.DataFrame:
    steps = {name: getattr(curve, name) for name in ("day", "incidence", "lower", "upper", "at_risk")}
    labels = {
        "contrast": pl.lit(accepted.contrast.name),
        "outcome": pl.lit(outcome),
        "design": pl.lit(accepted.design.method),
        "arm": pl.lit(arm),
    }
    return (
        pl.DataFrame(steps)
        .with_columns(**labels)
        .select(pl.col(name).cast(kind) for name, kind in CURVE_SCHEMA.items())
    )


def _row(accepted: AcceptedDesign, outcome: str, estimate: Estimate, n_unobserved: int) -> dict[str, Any]:
    values = {name: value for name, value in asdict(estimate).items() if name in ESTIMATE_SCHEMA}
    place = {"contrast": accepted.contrast.name, "outcome": outcome, "design": accepted.design.method}
    return {**values, **place, "n_unobserved": n_unobserved}


def _note(contrast: str, outcome: str, design: str, method: str, note: str) -> dict[str, str]:
    return {"contrast": contrast, "outcome": outcome, "design": design, "method": method, "note": note}
