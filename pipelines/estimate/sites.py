"""The primary design's effect in each site, and pooled over sites by fixed and random effects.

Choice made: a site's people are compared among themselves, by the weights or sets of the whole design; so the sites
must be exact in it. Sites too small for an estimate count as one, or are left out, as the protocol says; a site whose
outcome does not vary has no error and cannot be pooled, and one whose estimate would have to be withheld must not be:
the others and the pooled effect would give it away. What was left out is counted. Pooled effects weigh sites by
precision and not by their participants: they say whether sites differ, and the study's effect stays the one over all.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from models.effects import keep_observed
from models.estimated_weights import CALIBRATED
from models.influence import degrees_of_freedom
from models.pooling import Mean, Pooled, pool_sites
from models.refusals import Refused
from models.registry import EFFECTS, check_capability
from models.results import Baseline, Design, Estimate, FloatArray
from models.times.events import FEWEST
from pipelines import store
from pipelines.design import seeded
from pipelines.errors import naming
from pipelines.estimate.analysed import is_withheld
from pipelines.estimate.collected import AcceptedDesign, Results, note_of, row_of, task_of, with_fewest
from pipelines.estimate.values import WHEN_RANDOMISED, outcome_values
from pipelines.protocol import Protocol, outcome_kinds
from pipelines.store import RunFolder

SMALL = "small sites together"
FIXED, RANDOM = "fixed effect", "random effects"


@dataclass(frozen=True)
class _Sites:
    """A design without the people whose outcome was not observed, the site of each row, sites too small under one name,
    and which those are. `lost` says by site how many treated and controls were not observed."""

    values: FloatArray
    baseline: Baseline
    design: Design
    site: np.ndarray
    names: list[str]
    small: frozenset[str]
    lost: dict[str, tuple[int, int]]

    @property
    def n_small(self) -> int:
        return len(self.small)

    def only(self, name: str) -> Design:
        """The design with the rows of one site alone."""
        treated, control = self.lost[name]
        notes = {**self.design.notes, "n_treated_without_outcome": treated, "n_control_without_outcome": control}
        here = replace(self.design, weights=np.where(self.site == name, self.design.weights, 0.0), notes=notes)
        if here.before is None:
            return here
        before = replace(here.before, weights=np.where(self.site == name, here.before.weights, 0.0))
        return replace(here, before=before)


def subgroup_of(by: str, site: str) -> str:
    """How `estimates.csv` names a site, or a pooled effect."""
    return f"{by}: {site}" if site in (FIXED, RANDOM) else f"{by} = {site}"


def read_sites(run: RunFolder, protocol: Protocol) -> pl.DataFrame | None:
    """row_id and site of every row, where the protocol names a column."""
    by = protocol.effects.sites.by
    if by is None:
        return None
    people = run.read(store.COHORT)
    table = people if by in people.columns else run.read(store.BASELINE)
    return table.select("row_id", site=pl.col(by).cast(pl.String).fill_null("not known"))


def estimate_sites(
    accepted: AcceptedDesign,
    of_rows: pl.DataFrame,
    sites: pl.DataFrame | None,
    protocol: Protocol,
    results: Results,
    always_small: frozenset[str] = frozenset(),
) -> None:
    """Estimates of each site and pooled ones for the primary outcome on the primary design; nothing elsewhere. Sites in
    `always_small` count as small whatever their size."""
    if sites is None or not accepted.is_primary:
        return
    chosen, outcome = protocol.effects.sites, protocol.outcomes.primary
    kind = outcome_kinds(protocol)[outcome]
    refusal = check_capability(accepted.design.method, chosen.method, accepted.design.estimand, kind)
    if refusal is not None:
        results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, chosen.method, refusal))
        return
    found = _sort_out(accepted, of_rows, sites, protocol, always_small)
    if is_withheld(accepted, outcome, found.design.weights, np.isfinite(found.values), protocol, results):
        return
    estimates, reasons = _estimate_each(found, accepted, kind, protocol)
    for site, reason in reasons.items():
        note = f"site {site} has no estimate to pool: {reason}"
        results.notes.append(note_of(accepted.contrast.name, outcome, accepted.design.method, chosen.method, note))
    over_all, pooled = pool_estimates(
        estimates, is_ratio=chosen.scale == "ratio", confidence=protocol.effects.confidence
    )
    n_lost = {site: sum(found.lost[site]) for site in estimates}
    n_lost |= dict.fromkeys((FIXED, RANDOM), sum(n_lost.values()))
    for site, item in [*estimates.items(), *over_all.items()]:
        freedom = degrees_of_freedom(found.baseline, found.only(site)) if site in estimates else float("nan")
        named = replace(item, subgroup=subgroup_of(str(chosen.by), site))
        results.estimates.append(row_of(accepted, outcome, named, n_lost[site], freedom))
    results.sites = {
        "by": chosen.by,
        "method": chosen.method,
        "n_small": found.n_small,
        "small_sites": chosen.small_sites,
        "n_without_estimate": len(reasons),
        "without_estimate": sorted(reasons),
        "with_estimate": list(estimates),
        "pooled": pooled,
    }


def pool_estimates(
    estimates: Mapping[str, Estimate], *, is_ratio: bool, confidence: float
) -> tuple[dict[str, Estimate], dict[str, Any] | None]:
    """Site → estimate becomes fixed and random effects, and what sites.json says of the pooling; nothing for fewer than
    two sites."""
    if len(estimates) < 2:
        return {}, None
    numbers = [np.log(item.value) if is_ratio else item.value for item in estimates.values()]
    pooled = pool_sites(numbers, [item.std_error for item in estimates.values()], confidence=confidence)
    means = {name: _as_estimate(mean, estimates, is_ratio) for name, mean in _means(pooled)}
    return means, _in_words(pooled, list(estimates), is_ratio)


def small_sites(
    accepted: AcceptedDesign, of_rows: pl.DataFrame, sites: pl.DataFrame, protocol: Protocol
) -> frozenset[str]:
    """The sites with too few people in a design for an estimate of their own."""
    return _sort_out(accepted, of_rows, sites, protocol, frozenset()).small


def _sort_out(
    accepted: AcceptedDesign,
    of_rows: pl.DataFrame,
    sites: pl.DataFrame,
    protocol: Protocol,
    always_small: frozenset[str],
) -> _Sites:
    """The observed rows; sites with too few people get one name, or none ("")."""
    chosen, values = protocol.effects.sites, outcome_values(of_rows, protocol.outcomes.primary)
    of_site = accepted.row_id.to_frame().join(sites, on="row_id", how="left", maintain_order="left")["site"].to_numpy()
    kept, baseline, design = keep_observed(values, accepted.baseline, accepted.design)
    is_lost = np.isnan(values) & (accepted.design.weights > 0)
    site = of_site.astype(object)
    inside = design.weights > 0
    names: list[str] = []
    small: list[str] = []
    for name in sorted(set(site[inside])):
        here = inside & (site == name)
        enough = name not in always_small and (here & design.treated).sum() >= chosen.min_treated
        enough &= (here & ~design.treated).sum() >= chosen.min_controls
        (names if enough else small).append(name)
    site[np.isin(site, small)] = SMALL if chosen.small_sites == "together" else ""
    here = inside & (site == SMALL)
    fits = (here & design.treated).sum() >= chosen.min_treated
    if fits and (here & ~design.treated).sum() >= chosen.min_controls:
        names.append(SMALL)
    treated = accepted.design.treated
    lost = {
        name: (
            int((is_lost & treated & (site == name)).sum()),
            int((is_lost & ~treated & (site == name)).sum()),
        )
        for name in names
    }
    return _Sites(kept, baseline, design, site, names, frozenset(small), lost)


def _estimate_each(
    found: _Sites, accepted: AcceptedDesign, kind: str, protocol: Protocol
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """The estimate of each site on the scale to be pooled, and why a site has none."""
    chosen, outcome = protocol.effects.sites, protocol.outcomes.primary
    options = getattr(protocol.effects, chosen.method).model_dump()
    if accepted.contrast.is_randomised:
        options |= WHEN_RANDOMISED.get(chosen.method, {})
    if found.design.notes.get("weight_formula") in CALIBRATED and "weights_are" in options:
        # Their equations hold over all sites and not within one, where they made an error of 0.39 for 0.24.
        options["weights_are"] = "fixed"
    estimates, reasons = {}, {}
    try:
        baseline, options = accepted.for_method(chosen.method, outcome, found.baseline, options)
    except Refused as error:
        return {}, dict.fromkeys(found.names, str(error))
    for name in found.names:
        design = found.only(name)
        rng = seeded(protocol, "site", accepted.contrast.name, accepted.design.method, outcome, name)
        given = {"rng": rng, "kind": kind, "confidence": protocol.effects.confidence, **options}
        try:
            with naming(f"{task_of(accepted, outcome, chosen.method)}, in one site"):
                scales = EFFECTS[chosen.method].function(found.values, baseline, design, **given)
        except Refused as error:
            reasons[name] = str(error)
            continue
        wanted = ("risk_ratio", "mean_ratio") if chosen.scale == "ratio" else ("risk_difference", "mean_difference")
        told = with_fewest(scales, found.values, design, kind)
        item = next((item for item in told if item.scale in wanted), None)
        if item is not None and 0 < float(item.notes[FEWEST]) < protocol.disclosure.suppress_below:
            reasons[name] = "too few of its people had the outcome, or had it not, for an estimate to be released"
        elif item is not None and item.std_error > 0:
            estimates[name] = item
        else:
            said = "" if item is None else str(item.notes.get("not_estimable", ""))
            reasons[name] = said or "it has no such ratio"
    return estimates, reasons


def _means(pooled: Pooled) -> list[tuple[str, Mean]]:
    return [(FIXED, pooled.fixed), (RANDOM, pooled.random)]


def _as_estimate(mean: Mean, sites: Mapping[str, Estimate], is_ratio: bool) -> Estimate:
    """A pooled mean as an Estimate of all the people of the sites."""
    first = next(iter(sites.values()))

    def back(value: float) -> float:
        return float(np.exp(value)) if is_ratio else value

    return replace(
        first,
        value=back(mean.value),
        std_error=mean.std_error,
        lower=back(mean.lower),
        upper=back(mean.upper),
        p_value=mean.p_value,
        n_treated=sum(item.n_treated for item in sites.values()),
        n_control=sum(item.n_control for item in sites.values()),
        effective_n=sum(item.effective_n for item in sites.values()),
        notes={},
    )


def _in_words(pooled: Pooled, names: list[str], is_ratio: bool) -> dict[str, Any]:
    """What sites.json says of the pooling: heterogeneity on the scale pooled, limits carried back to the ratio."""
    content = asdict(pooled)
    for side in ("prediction_lower", "prediction_upper"):
        content[side] = float(np.exp(content[side])) if is_ratio else content[side]
    carried = []
    for site, mean in zip(names, pooled.without_site, strict=False):
        limits = {name: getattr(mean, name) for name in ("value", "lower", "upper")}
        carried.append({"site": site, **{k: float(np.exp(x)) if is_ratio else x for k, x in limits.items()}})
    return {**{k: x for k, x in content.items() if k not in ("fixed", "random")}, "without_site": carried}
