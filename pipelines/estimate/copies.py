"""What the estimate stage leaves, and the pooling of what it found in each completed copy of the covariates.

Choice made: only what every copy could estimate is pooled, by Rubin's rules, ratios on the log scale; the complete-data
degrees of freedom are the treated and the effective controls (ATC: the controls and the effective treated) less two.
Curves have no limits of that kind and are left out; effects at a day are estimates like others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from models.imputation import pool
from pipelines import store
from pipelines.estimate.collected import CURVE_SCHEMA, DIFFERENCE_SCHEMA, Results, note_of
from pipelines.estimate.prognostic import PROGNOSTIC_SCHEMA
from pipelines.estimates_table import EXACT_SCHEMA
from pipelines.protocol import Protocol
from pipelines.store import write_json, write_parquet

KEY = ("contrast", "outcome", "estimand", "scale", "design", "method", "subgroup")


@dataclass(frozen=True)
class Collected:
    """The tables and notes of the estimate stage."""

    estimates: pl.DataFrame
    prognostic: pl.DataFrame
    notes: list[dict[str, str]]
    curves: pl.DataFrame
    differences: pl.DataFrame
    mean_counts: pl.DataFrame
    individual: pl.DataFrame
    heterogeneity: dict[str, Any]
    sites: dict[str, Any] | None

    @classmethod
    def of(cls, results: Results, prognostic: pl.DataFrame) -> "Collected":
        """What was collected, as tables."""
        return cls(
            estimates=pl.DataFrame(results.estimates, schema=EXACT_SCHEMA, orient="row"),
            prognostic=prognostic,
            notes=results.notes,
            curves=pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *results.curves]),
            differences=pl.concat([pl.DataFrame(schema=DIFFERENCE_SCHEMA), *results.differences]),
            mean_counts=pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *results.mean_counts]),
            individual=results.individual,
            heterogeneity=results.heterogeneity,
            sites=results.sites,
        )

    @classmethod
    def nothing(cls) -> "Collected":
        """When no outcome was opened."""
        return cls.of(Results(), pl.DataFrame(schema=PROGNOSTIC_SCHEMA))

    def write(self, out: Path) -> None:
        """Write the files of the stage into `out`."""
        write_parquet(out / store.PROGNOSTIC, self.prognostic)
        write_parquet(out / store.ESTIMATES, self.estimates)
        write_parquet(out / store.CURVES, self.curves)
        write_parquet(out / store.CURVE_DIFFERENCES, self.differences)
        write_parquet(out / store.MEAN_COUNTS, self.mean_counts)
        write_parquet(out / store.INDIVIDUAL_EFFECTS, self.individual)
        write_json(out / store.SITES, self.sites)
        write_json(out / store.HETEROGENEITY, self.heterogeneity)
        write_json(out / store.EFFECT_NOTES, self.notes)


def pool_copies(copies: Sequence[Collected], protocol: Protocol) -> Collected:
    """One estimate for each that every copy has; notes of all, each once, and how much the copies differ."""
    primary = protocol.outcomes.primary
    notes = list({tuple(note.items()): note for copy in copies for note in copy.notes}.values())
    rows: list[dict[str, Any]] = []
    for key, group in pl.concat([copy.estimates for copy in copies]).group_by(KEY, maintain_order=True):
        place = dict(zip(KEY, key, strict=True))
        where = (place["contrast"], place["outcome"], place["design"], place["method"])
        if group.height < len(copies):
            said = f"{place['scale']} of {place['subgroup']} is known in some imputations only and was not pooled"
            notes.append(note_of(*where, said))
            continue
        row, share = _pool_group(group, place, protocol.effects.confidence)
        rows.append(row)
        if place["outcome"] == primary and place["subgroup"] == "all" and share is not None:
            said = f"{place['scale']}: share of its variance that comes from the imputations {100 * share:.1f} %"
            notes.append(note_of(*where, said))
    return Collected.of(Results(estimates=rows, notes=notes), _mean_prognostic([copy.prognostic for copy in copies]))


def _pool_group(group: pl.DataFrame, place: dict[str, Any], confidence: float) -> tuple[dict[str, Any], float | None]:
    counts = {name: round(float(group[name].mean())) for name in ("n_treated", "n_control", "n_unobserved")}  # type: ignore[arg-type]
    effective = float(group["effective_n"].mean())  # type: ignore[arg-type]
    own = "n_control" if place["estimand"] == "ATC" else "n_treated"  # the effective number is the other arm's
    pooled = pool(
        group["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        group["std_error"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        is_ratio=place["scale"].endswith("ratio"),
        df_complete=max(counts[own] + effective - 2.0, 1.0),
        confidence=confidence,
    )
    numbers = {name: getattr(pooled, name) for name in ("value", "std_error", "lower", "upper", "p_value")}
    share = pooled.missing_information
    fewest = {name: group[name].min() for name in ("fewest_events", "fewest_apart")}
    row = {**place, **numbers, **counts, "effective_n": effective, **fewest}
    return {name: row[name] for name in EXACT_SCHEMA}, None if math.isnan(share) else share


def _mean_prognostic(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    numbers = ("smd_before", "smd_after", "fit")
    return (
        pl.concat(tables)
        .group_by("contrast", "design", "outcome", maintain_order=True)
        .agg(*(pl.col(name).mean() for name in numbers), pl.col("n_learnt_from").first(), pl.col("note").first())
        .select(list(PROGNOSTIC_SCHEMA))
    )
