"""Who is left of an accepted design, where people's outcomes were not observed, is judged as the design was.

Choice made: thresholds were met by everybody of the design, but an effect is estimated in those whose outcome is known.
Where others leave, the same thresholds of balance and effective numbers must hold among those left, with the weights
they are analysed with, and no more than a share of either arm may be gone; else the outcome is not estimated. Only who
was observed is looked at for this, no outcome.
"""

from typing import Any

import numpy as np
import polars as pl

from models.registry import methods_for
from models.results import BoolArray, FloatArray
from pipelines.diagnostics import judge_analysed
from pipelines.estimate.collected import AcceptedDesign, Results, note_of
from pipelines.outcome_registry import split_name
from pipelines.protocol import Protocol

WITHHELD = "those whose outcome is analysed are not accepted, no effect estimated: "
UNTIL_LOST = {"readmitted": ("cumulative_incidence", "cox"), "n_readmissions": ("mean_cumulative_count", "lwyy")}
"""By family of outcome, methods for the same event that use everybody until observation ends."""


def judge_left(
    accepted: AcceptedDesign, analysed: FloatArray, observed: BoolArray, protocol: Protocol
) -> list[dict[str, Any]]:
    """Verdicts on those of the design who are analysed with the (n,) weights `analysed`; none where nobody leaves and
    all count as in the design."""
    inside = accepted.design.weights > 0
    if observed[inside].all() and np.array_equal(analysed[inside], accepted.design.weights[inside]):
        return []
    is_randomised = accepted.contrast.is_randomised
    return judge_analysed(
        accepted.baseline, accepted.design, analysed, observed, protocol.acceptance, is_randomised=is_randomised
    )


def is_withheld(
    accepted: AcceptedDesign,
    outcome: str,
    analysed: FloatArray,
    observed: BoolArray,
    protocol: Protocol,
    results: Results,
    method: str = "",
) -> bool:
    """Whether the outcome may not be estimated, by this method or by all that leave the unobserved out (""); keeps the
    verdicts, and where it may not the reason."""
    place = (accepted.contrast.name, outcome, accepted.design.method, method)
    verdicts = judge_left(accepted, analysed, observed, protocol)
    named = dict(zip(("contrast", "outcome", "design", "method"), place, strict=True))
    lost = int((~observed & (accepted.design.weights > 0)).sum())
    results.analysed += [named | verdict | {"n_unobserved": lost} for verdict in verdicts]
    failed = [verdict["check"] for verdict in verdicts if not verdict["passed"]]
    if failed:
        results.notes.append(note_of(*place, WITHHELD + "; ".join(failed) + _instead(outcome, protocol)))
    return bool(failed)


def _instead(outcome: str, protocol: Protocol) -> str:
    """Which methods answer for the same event with everybody until observation ends."""
    split = split_name(outcome)
    if split is None or split[0] not in UNTIL_LOST:
        return ""
    of_kind = methods_for("time_to_event" if split[0] == "readmitted" else "recurrent")
    chosen = [name for name in protocol.effects.methods if name in of_kind]
    names, use = (chosen, "use") if chosen else (UNTIL_LOST[split[0]], "would use")
    return f"; for the same event, {', '.join(names)} {use} everybody until observation ends"


def worst_of_copies(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Verdicts of all completed copies together: the worst value of each, passed where it is in every copy."""
    whole = pl.concat(tables)
    if whole.is_empty():
        return whole
    value = (
        pl.when(pl.col("check").str.starts_with("max_")).then(pl.col("value").max()).otherwise(pl.col("value").min())
    )
    return (
        whole.group_by("contrast", "outcome", "design", "method", "check", maintain_order=True)
        .agg(pl.col("limit", "n_unobserved").first(), value=value.first(), passed=pl.col("passed").all())
        .select(whole.columns)
    )
