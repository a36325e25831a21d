"""What the estimate stage leaves, and the pooling of what it found in each completed copy of the covariates.

Choice made: only what every copy could estimate is pooled, by Rubin's rules, ratios on the log scale, with the degrees
of freedom of independent units (models.influence). Sites are pooled over the copies first, each by itself, and then
over sites (Burgess et al. 2013, Stat Med 32:4499): what is missing is not taken for a difference between them. Curves
have no limits of that kind and are left out; effects at a day are estimates like others.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from models.imputation import pool
from models.observation import SAID as WEIGHTS_SAID
from models.results import Estimate
from pipelines import store
from pipelines.estimate.analysed import worst_of_copies
from pipelines.estimate.collected import (
    ANALYSED_SCHEMA,
    CURVE_SCHEMA,
    DIFFERENCE_SCHEMA,
    FREEDOM,
    Results,
    note_of,
)
from pipelines.estimate.prognostic import PROGNOSTIC_SCHEMA
from pipelines.estimate.sites import FIXED, RANDOM, pool_estimates, subgroup_of
from pipelines.estimates_table import EXACT_SCHEMA
from pipelines.protocol import Protocol
from pipelines.store import write_json, write_parquet

KEY = ("contrast", "outcome", "estimand", "scale", "design", "method", "subgroup")
OF_AN_ESTIMATE = tuple(name.name for name in fields(Estimate) if name.name in EXACT_SCHEMA)


@dataclass(frozen=True)
class Collected:
    """The tables and notes of the estimate stage."""

    estimates: pl.DataFrame
    prognostic: pl.DataFrame
    notes: list[dict[str, str]]
    curves: pl.DataFrame
    differences: pl.DataFrame
    mean_counts: pl.DataFrame
    analysed: pl.DataFrame
    individual: pl.DataFrame
    heterogeneity: dict[str, Any]
    sites: dict[str, Any] | None

    @classmethod
    def of(cls, results: Results, prognostic: pl.DataFrame) -> "Collected":
        """What was collected, as tables."""
        return cls(
            estimates=pl.DataFrame(results.estimates, schema={**EXACT_SCHEMA, **FREEDOM}, orient="row"),
            prognostic=prognostic,
            notes=list({tuple(note.items()): note for note in results.notes}.values()),
            curves=pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *results.curves]),
            differences=pl.concat([pl.DataFrame(schema=DIFFERENCE_SCHEMA), *results.differences]),
            mean_counts=pl.concat([pl.DataFrame(schema=CURVE_SCHEMA), *results.mean_counts]),
            analysed=pl.DataFrame(results.analysed, schema=ANALYSED_SCHEMA, orient="row").unique(maintain_order=True),
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
        write_parquet(out / store.ANALYSED, self.analysed)
        write_parquet(out / store.ESTIMATES, self.estimates.select(list(EXACT_SCHEMA)))
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
    notes = _notes_of(copies)
    rows: list[dict[str, Any]] = []
    over_sites = _names_over_sites(protocol)
    estimates = pl.concat([copy.estimates for copy in copies]).filter(~pl.col("subgroup").is_in(over_sites))
    for key, group in estimates.group_by(KEY, maintain_order=True):
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
    sites = _pool_sites(rows, [copy.sites for copy in copies if copy.sites is not None], protocol)
    prognostic = _mean_prognostic([copy.prognostic for copy in copies])
    analysed = worst_of_copies([copy.analysed for copy in copies]).to_dicts()
    return Collected.of(Results(estimates=rows, notes=notes, sites=sites, analysed=analysed), prognostic)


def _notes_of(copies: Sequence[Collected]) -> list[dict[str, str]]:
    """Each note once. Sentences on weights, whose figures differ from copy to copy, are those of the first."""
    kept: dict[tuple[Any, ...], dict[str, str]] = {}
    for number, copy in enumerate(copies, start=1):
        for note in copy.notes:
            if not note["note"].startswith(WEIGHTS_SAID):
                kept[tuple(note.items())] = note
            elif number == 1:
                told = {**note, "note": f"{note['note']} (in the first imputation)"}
                kept[tuple(told.items())] = told
    return list(kept.values())


def _names_over_sites(protocol: Protocol) -> list[str]:
    return [subgroup_of(str(protocol.effects.sites.by), name) for name in (FIXED, RANDOM)]


def _pool_sites(
    rows: list[dict[str, Any]], of_copies: Sequence[dict[str, Any]], protocol: Protocol
) -> dict[str, Any] | None:
    """What sites.json says of all copies together; `rows` gain the pooled effects behind the last site. A site without
    an estimate in some copy is in no pooled effect."""
    if not of_copies:
        return None
    by, is_ratio = str(protocol.effects.sites.by), protocol.effects.sites.scale == "ratio"
    places = [number for number, row in enumerate(rows) if str(row["subgroup"]).startswith(subgroup_of(by, ""))]
    known = {str(rows[number]["subgroup"]).removeprefix(subgroup_of(by, "")): rows[number] for number in places}
    estimates = {site: Estimate(**{name: row[name] for name in OF_AN_ESTIMATE}) for site, row in known.items()}
    over_all, pooled = pool_estimates(estimates, is_ratio=is_ratio, confidence=protocol.effects.confidence)
    lost = sum(row["n_unobserved"] for row in known.values())
    for number, (name, item) in enumerate(over_all.items(), start=1):
        numbers = {"n_unobserved": lost, "fewest_events": None, "fewest_apart": None, "df_complete": math.nan}
        row = rows[places[-1]] | asdict(item) | numbers | {"subgroup": subgroup_of(by, name)}
        rows.insert(places[-1] + number, {column: row[column] for column in (*EXACT_SCHEMA, *FREEDOM)})
    without = {site for one in of_copies for site in (*one["without_estimate"], *one["with_estimate"])} - set(known)
    told = {"without_estimate": sorted(without), "n_without_estimate": len(without), "with_estimate": list(known)}
    return {**of_copies[0], "n_small": max(one["n_small"] for one in of_copies), **told, "pooled": pooled}


def _pool_group(group: pl.DataFrame, place: dict[str, Any], confidence: float) -> tuple[dict[str, Any], float | None]:
    counts = {name: round(float(group[name].mean())) for name in ("n_treated", "n_control", "n_unobserved")}  # type: ignore[arg-type]
    means = {name: float(group[name].mean()) for name in ("effective_n", "df_complete")}  # type: ignore[arg-type]
    pooled = pool(
        group["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        group["std_error"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        is_ratio=place["scale"].endswith("ratio"),
        df_complete=means["df_complete"],
        confidence=confidence,
    )
    numbers = {name: getattr(pooled, name) for name in ("value", "std_error", "lower", "upper", "p_value")}
    share = pooled.missing_information
    fewest = {name: group[name].min() for name in ("fewest_events", "fewest_apart")}
    row = {**place, **numbers, **counts, **means, **fewest}
    return {name: row[name] for name in (*EXACT_SCHEMA, *FREEDOM)}, None if math.isnan(share) else share


def _mean_prognostic(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    numbers = ("smd_before", "smd_after", "fit")
    return (
        pl.concat(tables)
        .group_by("contrast", "design", "outcome", maintain_order=True)
        .agg(*(pl.col(name).mean() for name in numbers), pl.col("n_learnt_from").first(), pl.col("note").first())
        .select(list(PROGNOSTIC_SCHEMA))
    )
