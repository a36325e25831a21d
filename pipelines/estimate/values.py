"""Effect methods for outcomes that are one number a person: binary, continuous."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.influence import degrees_of_freedom
from models.observation import OBSERVATION_NOTE, observation_weights
from models.refusals import Refused
from models.registry import EFFECTS, check_capability, methods_for
from models.results import Baseline, Design, Estimate, FloatArray
from pipelines.design import seeded
from pipelines.errors import naming
from pipelines.estimate.analysed import is_withheld
from pipelines.estimate.collected import AcceptedDesign, Results, fewest_apart, note_of, row_of, task_of, with_fewest
from pipelines.estimate.forest import keep_forest
from pipelines.outcome_registry import window_of
from pipelines.protocol import Protocol, can_measure, outcome_kinds, weighing_the_unobserved

WHEN_RANDOMISED: dict[str, dict[str, Any]] = {
    "weighted_difference": {"weights_are": "fixed"},
    "adjusted_regression": {"weights_are": "fixed"},
    "aipw": {"is_randomised": True},
    "tmle": {"is_randomised": True},
    "two_part": {"weights_are": "fixed"},
    "cluster_bootstrap": {"weights_are": "fixed"},
}
"""What the methods are told of a comparison whose score is known and was not fitted."""


NOT_ADJUSTED = ("weighted_difference", "cluster_bootstrap")
MANY_UNOBSERVED = 0.05
UNOBSERVED = (
    "the outcome of more than a twentieth of the design was not observed: this method takes those observed as they "
    "are, and is biased where covariates foretell that differently in the two arms; unobserved = 'weights' of "
    "weighted_difference, and aipw, tmle, g_computation and adjusted_regression adjust for such covariates"
)


def estimate_values(
    accepted: AcceptedDesign,
    of_rows: pl.DataFrame,
    outcome: str,
    kind: Literal["binary", "continuous"],
    protocol: Protocol,
    results: Results,
    out: Path,
) -> None:
    """One outcome by every effect method of its kind on one design; `of_rows` holds outcomes in the design's order.
    Nothing where people leave and those left fall short of the protocol's thresholds."""
    values = outcome_values(of_rows, outcome)
    in_design = accepted.design.weights > 0
    n_unobserved = int((np.isnan(values) & in_design).sum())
    is_many = n_unobserved > MANY_UNOBSERVED * in_design.sum()
    observed = keep_observed(values, accepted.baseline, accepted.design)
    if not (observed[2].weights > 0).any():
        note = "no observed outcome in the design"
        results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, "", note))
        return
    everybody = (values, accepted.baseline, accepted.design)
    is_seen = np.isfinite(values)
    methods = _methods_for(accepted, outcome, kind, protocol)
    weighing = [method for method in methods if method in weighing_the_unobserved(protocol)]
    if len(weighing) < len(methods) and is_withheld(accepted, outcome, observed[2].weights, is_seen, protocol, results):
        methods = weighing
    freedom = dict.fromkeys(methods, degrees_of_freedom(*observed[1:]))
    if weighing:
        freedom |= dict.fromkeys(weighing, degrees_of_freedom(*everybody[1:]))
    apart = fewest_apart(of_rows, outcome, outcome_kinds(protocol), accepted.design)
    for method in methods:
        refusal = check_capability(accepted.design.method, method, accepted.design.estimand, kind)
        estimates: tuple[Estimate, ...] = ()
        if refusal is None:
            try:
                with naming(task_of(accepted, outcome, method)):
                    known = everybody if method in weighing else observed
                    if method in weighing and is_withheld(
                        accepted,
                        outcome,
                        _weights_of_observed(method, everybody, protocol),
                        is_seen,
                        protocol,
                        results,
                        method,
                    ):
                        continue
                    if EFFECTS[method].individual_effects:
                        known = keep_observed(values, accepted.baseline_for_forests, accepted.design)
                    found = _run(method, accepted, outcome, kind, known, protocol, results, out)
                    estimates = with_fewest(found, known[0], known[2], kind)
            except Refused as error:
                refusal = str(error)
        if refusal is not None:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, refusal))
        for item in estimates:
            n_left_out = 0 if method in weighing else n_unobserved
            row = row_of(accepted, outcome, item, n_left_out, freedom[method])
            results.estimates.append(row | {"fewest_apart": apart})
        remarks = remarks_of(estimates, outcome == protocol.outcomes.primary)
        if estimates and method in NOT_ADJUSTED and method not in weighing and is_many:
            remarks.append(UNOBSERVED)
        for remark in remarks:
            results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, method, remark))


def _weights_of_observed(method: str, everybody: tuple[FloatArray, Baseline, Design], protocol: Protocol) -> FloatArray:
    """(n,) weights of the design times those for being observed, 0 where the outcome was not."""
    values, baseline, design = everybody
    options = getattr(protocol.effects, method)
    seen = observation_weights(
        values,
        baseline,
        design,
        "weights",
        l2_penalty=options.observation_penalty,
        largest=options.largest_observation_weight,
        counted=(design.weights > 0).astype(np.float64) if method == "g_computation" else None,
    )
    return seen.weighted.weights


def remarks_of(estimates: tuple[Estimate, ...], is_primary: bool) -> list[str]:
    """What a reader should know of one method's estimates: a warning, and for the primary outcome which errors these
    are. The scales of one outcome share their notes, so the first speaks for all."""
    if not estimates:
        return []
    notes = estimates[0].notes
    remarks = [str(notes[key]) for key in (OBSERVATION_NOTE, "warning") if key in notes]
    if is_primary and "variance" in notes:
        remarks.append(f"standard errors: {notes['variance']}")
    return remarks


def outcome_values(of_rows: pl.DataFrame, outcome: str) -> FloatArray:
    """The outcome as numbers, NaN where it was not observed or where observation was to end before the window did.

    An event or a death that was seen in a window cut short does not count: without an event such a window is unknown,
    so that keeping it for its event would let people leave the comparison for want of one. When observation ends (the
    end of the data, a provider's silence) is known for everybody beforehand, whatever happens to them; a move out of
    the area is not, but it is looked for in the whole window, after an event as before it. Windows that a table of the
    outcome's events leaves before that are null already, for the same reason (outcomes/seen.py).
    """
    values = pl.col(outcome).cast(pl.Float64)
    window = window_of(outcome)
    if window is not None and "censored_day" in of_rows.columns:
        values = pl.when((pl.col("censored_day") >= window).fill_null(True)).then(values)
    return of_rows.select(values.fill_null(float("nan"))).to_series().to_numpy()


def _methods_for(
    accepted: AcceptedDesign, outcome: str, kind: Literal["binary", "continuous"], protocol: Protocol
) -> list[str]:
    """The methods of this kind of outcome; forests only where they are read: the primary outcome on the primary
    design."""
    is_headline = accepted.is_primary and outcome == protocol.outcomes.primary
    named = [name for name in protocol.effects.methods if name in methods_for(kind)]
    named = [name for name in named if can_measure(name, outcome)]
    return [name for name in named if is_headline or not EFFECTS[name].individual_effects]


def _run(
    method: str,
    accepted: AcceptedDesign,
    outcome: str,
    kind: Literal["binary", "continuous"],
    observed: tuple[FloatArray, Baseline, Design],
    protocol: Protocol,
    results: Results,
    out: Path,
) -> tuple[Estimate, ...]:
    options = getattr(protocol.effects, method).model_dump()
    if accepted.contrast.is_randomised:
        options |= WHEN_RANDOMISED.get(method, {})
    values, of_design, design = observed
    baseline, options = accepted.for_method(method, outcome, of_design, options)
    rng = seeded(protocol, "effect", accepted.contrast.name, accepted.design.method, outcome, method)
    given = {"rng": rng, "kind": kind, "confidence": protocol.effects.confidence, **options}
    result = EFFECTS[method].function(values, baseline, design, **given)
    if not EFFECTS[method].individual_effects:
        return tuple(result)
    return keep_forest(result, accepted, outcome, baseline, accepted.row_id, options, results, out)
