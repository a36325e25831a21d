"""Released tables and the design's facts become one plain dict, after disclosure: all that the page and figures know.

Choice made: effects are read only when the primary design was accepted, so a design-only report cannot show any.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.protocol import Protocol
from pipelines.quality import QUALITY_SCHEMA
from pipelines.report import (
    assumptions,
    design_facts,
    diagnostic_facts,
    effects_facts,
    methods,
    quality_facts,
    released,
    released_estimates,
    sensitivity_facts,
    trial,
)
from pipelines.report.known_misses import known_misses
from pipelines.sources.submissions import HEADER_DATES, HEADER_OF_NOBODY, MONTHS_OF_PEOPLE, SUBMISSION_UNKNOWN
from pipelines.store import RunFolder

NAME = store.SUMMARY
OVERLAP_CHECKS = (
    "min_share_treated_kept",
    "min_share_population_kept",
    "min_overlap",
    "min_effective_controls",
    "min_effective_treated",
)


def release_tables(run: RunFolder, protocol: Protocol, log: dc.DisclosureLog) -> dict[str, pl.DataFrame]:
    """The released tables by the names of their files."""
    design = run.read_json(store.DESIGN_SUMMARY)
    measured = [_read(run, store.QUALITY), _read(run, store.OUTCOME_QUALITY) if design["accepted"] else pl.DataFrame()]
    quality = pl.concat([part for part in measured if part.width] or [pl.DataFrame(schema=QUALITY_SCHEMA)])
    estimates = _read(run, store.ESTIMATES) if design["accepted"] else pl.DataFrame()
    prognostic = _read(run, store.PROGNOSTIC) if design["accepted"] else pl.DataFrame()
    proportions = released.read_proportions(run)
    return {
        store.RELEASED_ESTIMATES: released_estimates.release_estimates(estimates, log),
        store.RELEASED_BALANCE: released.release_balance(design, proportions, log),
        store.RELEASED_DIAGNOSTICS: diagnostic_facts.release_diagnostics(design, prognostic, log),
        store.RELEASED_KEPT: diagnostic_facts.release_kept(design, proportions, log),
        **diagnostic_facts.release_candidates_kept(design, proportions, log),
        store.RELEASED_ATTRITION: released.release_attrition(_read(run, store.ATTRITION), log),
        store.RELEASED_QUALITY: quality_facts.release_quality(quality, protocol, log),
        **sensitivity_facts.release_sensitivity(run, protocol, log),
    }


def summarise(
    run: RunFolder,
    protocol: Protocol,
    facts: Mapping[str, Any],
    tables: Mapping[str, pl.DataFrame],
    log: dc.DisclosureLog,
) -> dict[str, Any]:
    """The whole report as plain numbers and texts, all released. Keys without content are None or empty."""
    design = run.read_json(store.DESIGN_SUMMARY)
    accepted = bool(design["accepted"])
    primary = (design["contrasts"][0]["contrast"], protocol.design.methods[0])
    summary: dict[str, Any] = {
        "study": _study(protocol),
        "accepted": accepted,
        "disclosure": protocol.disclosure.model_dump(),
        "verdicts": (verdicts := design_facts.read_verdicts(design["contrasts"][0]["designs"][0], log)),
        "has_poor_overlap": any(v["check"] in OVERLAP_CHECKS and not v["passed"] for v in verdicts),
        "designs": design_facts.list_designs(design, log),
        "trial": trial.describe_trial(protocol),
        "flow": design_facts.draw_up_flow(design, tables[store.RELEASED_ATTRITION], log),
        "table1": design_facts.make_table_1(design, tables[store.RELEASED_BALANCE], protocol, log),
        "love": design_facts.love_points(design, tables[store.RELEASED_BALANCE], protocol),
        "diagnostics": diagnostic_facts.list_diagnostics(tables[store.RELEASED_DIAGNOSTICS], *primary),
        "left_out": diagnostic_facts.most_different(tables[store.RELEASED_KEPT], *primary),
        "candidates_left_out": diagnostic_facts.most_different(
            tables.get(store.RELEASED_CANDIDATES_KEPT, pl.DataFrame(schema=diagnostic_facts.KEPT_SCHEMA)), *primary
        ),
        "power": protocol.power.model_dump(),
        "exact": list(protocol.design.exact),
        "gaps": design_facts.describe_gaps(design["contrasts"][0]["designs"][0], log),
        "overlap": design_facts.read_overlap(design["contrasts"][0]["designs"][0], log),
        "data_account": release_data_account(_read_json(run, store.DATA_ACCOUNT), log),
        "quality": quality_facts.read_quality(tables[store.RELEASED_QUALITY], protocol),
        "sensitivity": sensitivity_facts.read_sensitivity(run, tables, protocol, log),
        "limits": assumptions.describe_limits(protocol),
        "methods": methods.describe_methods(protocol),
        "misses": known_misses(protocol),
        "assumptions": assumptions.describe_assumptions(protocol),
        "glossary": trial.GLOSSARY,
        "provenance": {name: facts[name] for name in ("run_id", "protocol_hash", "code", "versions", "inputs")},
        "effects": None,
    }
    if accepted:
        private = {
            "estimates": _read(run, store.ESTIMATES),
            "analysed": _read(run, store.ANALYSED),
            "curves": _read(run, store.CURVES),
            "differences": _read(run, store.CURVE_DIFFERENCES),
            "sites": _read_json(run, store.SITES),
            "mean_counts": _read(run, store.MEAN_COUNTS),
            "heterogeneity": _read_json(run, store.HETEROGENEITY),
            "individual": _read(run, store.INDIVIDUAL_EFFECTS),
            "notes": _read_json(run, store.EFFECT_NOTES) or [],
        }
        summary["effects"] = effects_facts.read_effects(
            private, tables[store.RELEASED_ESTIMATES], design, protocol, log
        )
    return summary


def _study(protocol: Protocol) -> dict[str, Any]:
    study = protocol.study
    label = protocol.strategies.treated_label
    return {
        "name": study.name,
        "title": study.title,
        "question": study.question,
        "is_synthetic": study.is_synthetic,
        "is_table": protocol.source.kind == "table",
        "treatment": protocol.strategies.treatment,
        "comparator": protocol.strategies.comparator,
        "treated_label": label,
        "primary_contrast": f"{label}_vs_virtual",
        "primary_outcome": protocol.outcomes.primary,
        "primary_design": protocol.design.methods[0],
        "confidence": f"{100 * protocol.effects.confidence:g} %",
        "target": protocol.estimand.target,
        "max_abs_smd": protocol.acceptance.max_abs_smd,
    }


def _read(run: RunFolder, name: str) -> pl.DataFrame:
    return run.read(name) if run.file(name).exists() else pl.DataFrame()


def _read_json(run: RunFolder, name: str) -> Any:
    return run.read_json(name) if run.file(name).exists() else None


def release_data_account(account: dict[str, Any] | None, log: dc.DisclosureLog) -> dict[str, Any] | None:
    """Rows by table and by reason, added up over files; None for sources without raw files."""
    if not account or not account.get("files"):
        return None
    file = NAME
    columns = ("rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")
    tables: dict[str, dict[str, int]] = {}
    for entry in account["files"]:
        row = tables.setdefault(entry["table"], dict.fromkeys(columns, 0))
        for column in columns:
            row[column] += entry[column]
    log.note(file, "data_account", dc.ROUNDED)
    return {
        "n_files": len(account["files"]),
        "ignored_files": account.get("ignored_files", []),
        "submissions": _submissions(account.get("notes", {})),
        "differing": _by_reason(account.get("differing", {}), "differing", log),
        "period_end": account.get("period_end"),
        "look_back": _look_back(account.get("look_back"), log),
        "not_yet_treated": _not_yet_treated(account.get("not_yet_treated"), log),
        "deaths": account.get("deaths"),
        "tables": [
            {"table": table, **{c: log.count(row[c], file, f"data_account/{table}/{c}") for c in columns}}
            for table, row in sorted(tables.items())
        ],
        "reasons": _by_reason(account.get("reasons", {}), "reasons", log),
        "nulled": _by_reason(account.get("nulled", {}), "nulled", log),
        "unlinked": _by_reason(account.get("participants", {}).get("unlinked", {}), "unlinked", log),
        "list_nulled": _by_reason(account.get("participants", {}).get("nulled", {}), "list_nulled", log),
        "sessions": _sessions(account.get("participants", {}).get("sessions"), log),
    }


def _submissions(notes: Mapping[str, int]) -> dict[str, Any]:
    """Months of providers, which are no counts of people: of which nothing says which submission counts, by table,
    those that are known from the rows of people alone, and headers that are not believed."""
    start = f"{SUBMISSION_UNKNOWN}:"
    unknown = [{"table": name.removeprefix(start), "months": n} for name, n in notes.items() if name.startswith(start)]
    return {
        "unknown": unknown,
        "from_people": notes.get(MONTHS_OF_PEOPLE, 0),
        "of_nobody": notes.get(HEADER_OF_NOBODY, 0),
        "odd_dates": notes.get(HEADER_DATES, 0),
    }


def _sessions(found: dict[str, Any] | None, log: dc.DisclosureLog) -> dict[str, Any] | None:
    """How many people's sessions are recorded, and their mean; None where it rests on too few, or on nobody."""
    if not found or not found["n_people"]:
        return None
    n_people = log.count(found["n_people"], NAME, "data_account/sessions")
    return None if n_people is None else {"n_people": n_people, "mean": round(found["mean"], 1)}


def _not_yet_treated(found: dict[str, int] | None, log: dc.DisclosureLog) -> dict[str, int | None] | None:
    """Candidate discharges of later participants; None where the protocol has none."""
    if found is None:
        return None
    return {name: log.count(n, NAME, f"data_account/not_yet_treated/{name}") for name, n in found.items()}


def _look_back(found: dict[str, Any] | None, log: dc.DisclosureLog) -> dict[str, Any] | None:
    """Since when earlier stays are known, and for how many people that is not the whole window."""
    if not found:
        return None
    counts = [
        {"group": row["group"]}
        | {name: log.count(row[name], NAME, f"look_back/{row['group']}/{name}") for name in ("n_people", "n_truncated")}
        for row in found["groups"]
    ]
    return {**found, "groups": counts}


def _by_reason(counts: Mapping[str, int], part: str, log: dc.DisclosureLog) -> list[dict[str, Any]]:
    return [
        {"reason": reason, "rows": log.count(rows, NAME, f"data_account/{part}/{reason}")}
        for reason, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
