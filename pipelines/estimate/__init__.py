"""Accepted designs and outcomes become estimates: the first place where an outcome is read.

Choice made: outcomes are opened only when the primary design was accepted; further designs and contrasts are estimated
only when they were accepted themselves. People whose outcome was not observed leave the estimate of that outcome and
are counted, unless people alike are weighed for them, and those left are judged by the protocol's thresholds again;
times to events use them until they were censored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from models.registry import methods_for
from models.results import Baseline, Design
from pipelines import store
from pipelines.design import contrasts_of
from pipelines.design_matrix import build_baseline, reference_levels, with_flags
from pipelines.estimate.collected import AcceptedDesign, Results, note_of
from pipelines.estimate.copies import Collected, pool_copies
from pipelines.estimate.counts import estimate_rates, read_data_end, read_observed
from pipelines.estimate.outcome_copies import OutcomeCopies
from pipelines.estimate.prognostic import PrognosticBalances
from pipelines.estimate.recurrent import estimate_recurrent, read_readmissions
from pipelines.estimate.sites import estimate_sites, read_sites, small_sites
from pipelines.estimate.times import estimate_times
from pipelines.estimate.values import estimate_values
from pipelines.imputation import is_imputed, within_a_copy
from pipelines.protocol import Protocol, outcome_kinds, time_outcome
from pipelines.store import RunFolder


@dataclass(frozen=True)
class Opened:
    """What an accepted design may see: outcomes, and where a method needs them the counts with the time behind them and
    every readmission, and where sites are compared the site of each row and those too small in some imputation.
    `data_end` is the last day of the data, where that ends observation."""

    outcomes: pl.DataFrame
    observed: pl.DataFrame | None = None
    readmissions: pl.DataFrame | None = None
    sites: pl.DataFrame | None = None
    small_sites: frozenset[str] = frozenset()
    data_end: date | None = None


def estimate_study(run: RunFolder, out: Path, protocol: Protocol) -> None:
    """Estimate every outcome on every accepted design of a run; write the estimate files into `out`.

    When the primary design was not accepted, the outcomes file is not opened and the files are empty.
    """
    if not run.read_json(store.DESIGN_SUMMARY)["accepted"]:
        Collected.nothing().write(out)
        return
    people = run.read(store.COHORT)
    opened = Opened(
        run.read(store.OUTCOMES),
        read_observed(run, protocol),
        read_readmissions(run, protocol),
        read_sites(run, protocol),
        data_end=read_data_end(run, protocol),
    )
    if not is_imputed(protocol):
        estimate_copy(run, people, opened, protocol, out).write(out)
        return
    within = within_a_copy(protocol)
    opened = replace(opened, small_sites=_small_in_some_copy(run, people, opened, within))
    with_outcome = protocol.covariates.imputation.regressions == "with_outcome"
    recorded = _with_covariates(people.filter("is_eligible"), run.read(store.BASELINE)) if with_outcome else None
    copies = []
    for number in range(1, protocol.covariates.imputation.copies + 1):
        again = None if recorded is None else OutcomeCopies(recorded, opened.outcomes, protocol, number)
        place = RunFolder(out).imputation(number).path
        copies.append(estimate_copy(run.imputation(number), people, opened, within, place, again))
    pool_copies(copies, protocol).write(out)


def _small_in_some_copy(run: RunFolder, people: pl.DataFrame, opened: Opened, protocol: Protocol) -> frozenset[str]:
    """Sites that any copy leaves too small: counted together in one copy and alone in another, they would have no
    estimate to pool."""
    found: set[str] = set()
    if opened.sites is None:
        return frozenset()
    for number in range(1, protocol.covariates.imputation.copies + 1):
        primary = next(accepted_designs(run.imputation(number), people, protocol, Results()))
        of_rows = primary.row_id.to_frame().join(opened.outcomes, on="row_id", how="left", maintain_order="left")
        found |= small_sites(primary, of_rows, opened.sites, protocol)
    return frozenset(found)


def estimate_copy(
    designed: RunFolder,
    people: pl.DataFrame,
    opened: Opened,
    protocol: Protocol,
    out: Path,
    again: OutcomeCopies | None = None,
) -> Collected:
    """Every outcome on every accepted design in the folder `designed` (baseline, designs and their summary); `again`
    completes covariates anew for regressions of an outcome."""
    results, balances = Results(), PrognosticBalances(opened.outcomes, protocol)
    for accepted in accepted_designs(designed, people, protocol, results, again):
        estimate_design(accepted, opened, protocol, results, out)
        balances.add(accepted)
    return Collected.of(results, balances.table())


def _with_covariates(people: pl.DataFrame, covariates: pl.DataFrame) -> pl.DataFrame:
    shared = [name for name in covariates.columns if name in people.columns and name != "row_id"]
    return people.join(covariates.drop(shared), on="row_id", how="inner")


def accepted_designs(
    designed: RunFolder,
    people: pl.DataFrame,
    protocol: Protocol,
    results: Results,
    again: OutcomeCopies | None = None,
) -> Iterator[AcceptedDesign]:
    """The designs of a run that may see outcomes, primary first; the others leave a note."""
    summary = designed.read_json(store.DESIGN_SUMMARY)
    rows = _with_covariates(people, designed.read(store.BASELINE))
    saved = designed.read(store.OTHER_DESIGNS)
    contrasts = {contrast.name: contrast for contrast in contrasts_of(people, protocol)}
    exact = {one.name: one.exact for one in protocol.design.specifications()}
    baselines: dict[tuple[str, tuple[str, ...], int], Baseline] = {}
    for number, contrast_entry in enumerate(summary["contrasts"]):
        contrast = contrasts[contrast_entry["contrast"]]
        for place, entry in enumerate(contrast_entry["designs"]):
            name = entry["name"]
            if not entry["accepted"]:
                note = "design not accepted, no effect estimated: " + "; ".join(_shortfalls(entry))
                results.notes.append(note_of(contrast.name, "", name, "", note))
                continue
            is_this = (pl.col("contrast") == contrast.name) & (pl.col("design") == name)
            table = saved.filter(is_this).join(rows, on="row_id", how="left", maintain_order="left")
            columns = () if contrast.is_randomised else exact[name]
            key = (contrast.name, columns, hash(table["row_id"].to_numpy().tobytes()))
            if key not in baselines:
                baselines[key] = build_baseline(
                    table, protocol.covariates, columns, not_yet_treated=protocol.not_yet_treated
                )
            design = _design_of(table, entry)
            is_primary = number == 0 and place == 0
            references = reference_levels(table, protocol.covariates)
            regressed = None if again is None else again.baselines_of(table, columns, protocol)
            of_subgroups = [*protocol.effects.causal_forest.subgroups, *protocol.effects.censored_forest.subgroups]
            flagged = with_flags(baselines[key], table, list(dict.fromkeys(of_subgroups))) if is_primary else None
            yield AcceptedDesign(
                name, contrast, table["row_id"], baselines[key], design, is_primary, references, regressed, flagged
            )


def _shortfalls(entry: dict[str, Any]) -> list[str]:
    return [verdict.get("words", verdict["check"]) for verdict in entry["verdicts"] if not verdict["passed"]]


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
    accepted: AcceptedDesign,
    opened: Opened,
    protocol: Protocol,
    results: Results,
    out: Path,
) -> None:
    """Every outcome by every effect method on one design; further specifications of the grid, of designs and of
    effects, take the primary outcome alone."""
    of_rows = accepted.row_id.to_frame().join(opened.outcomes, on="row_id", how="left", maintain_order="left")
    is_further = not accepted.contrast.is_randomised and accepted.name not in protocol.design.methods
    everything, primary = tuple(outcome_kinds(protocol)), (protocol.outcomes.primary,)
    with results.named(accepted):
        _estimate_outcomes(accepted, of_rows, opened, primary if is_further else everything, protocol, results, out)
        estimate_sites(accepted, of_rows, opened.sites, protocol, results, opened.small_sites)
    for name, effects in protocol.effects.of_specifications().items():
        narrowed = protocol.model_copy(update={"effects": effects})
        with results.named(accepted, name, effects.methods[0]):
            _estimate_outcomes(
                replace(accepted, name=f"{accepted.name}/{name}"), of_rows, opened, primary, narrowed, results, out
            )


def _estimate_outcomes(
    accepted: AcceptedDesign,
    of_rows: pl.DataFrame,
    opened: Opened,
    outcomes: tuple[str, ...],
    protocol: Protocol,
    results: Results,
    out: Path,
) -> None:
    kinds = outcome_kinds(protocol)
    for outcome in outcomes:
        estimate_values(accepted, of_rows, outcome, kinds[outcome], protocol, results, out)
        estimate_rates(accepted, of_rows, opened.observed, outcome, protocol, results, opened.data_end)
        estimate_recurrent(accepted, of_rows, opened.readmissions, outcome, protocol, results)
        timed = set(protocol.effects.methods).intersection(methods_for("time_to_event"))
        if outcome == time_outcome(protocol) and timed:
            estimate_times(accepted, of_rows, protocol, results, out)
