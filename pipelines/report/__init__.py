"""The last stage: results become a released page. results → disclosure control → plain dict → figures → page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipelines import store
from pipelines.disclosure import DisclosureLog
from pipelines.errors import RunError
from pipelines.protocol import Protocol
from pipelines.report import summarise
from pipelines.store import RunFolder, write_bytes, write_json

__all__ = ["render_report", "summarise_for_terminal"]


def render_report(run: RunFolder, out: Path, protocol: Protocol, facts: Mapping[str, Any]) -> None:
    """Write everything in release/ into `out`, an empty folder that mirrors the run folder.

    `facts` holds run_id, protocol_hash, code, versions and inputs (hashes), no times: the same results and facts give
    the same bytes. Nothing leaves private/ without passing pipelines/disclosure.py.
    """
    from pipelines.report.figures import draw_figures
    from pipelines.report.page import write_page

    log = DisclosureLog(protocol.disclosure)
    tables = summarise.release_tables(run, protocol, log)
    summary = summarise.summarise(run, protocol, facts, tables, log)
    figures = draw_figures(summary)
    for name, table in tables.items():
        write_bytes(out / name, table.write_csv().encode())
    for name, svg in figures.items():
        write_bytes(out / store.FIGURES / f"{name}.svg", svg.encode())
    write_bytes(out / store.REPORT, write_page(summary, figures).encode())
    write_json(out / summarise.NAME, summary)
    write_json(out / store.DISCLOSURE_LOG, log.entries)


def summarise_for_terminal(run: RunFolder) -> dict[str, Any]:
    """What `virtual-controls show` prints, from released files only: study, accepted, verdicts, headline, triad,
    sensitivity, estimates, attrition and balance (lists of dicts, one per row of the CSV files; None is withheld or
    undefined).

    Raises RunError when the run has no report.
    """
    if not run.file(summarise.NAME).exists():
        raise RunError(f"{run.path.name}: the run has no report yet; `virtual-controls run STUDY.toml` makes one")
    summary = json.loads(run.file(summarise.NAME).read_text(encoding="utf-8"))
    effects = summary["effects"] or {}
    return {
        "study": summary["study"],
        "accepted": summary["accepted"],
        "verdicts": summary["verdicts"],
        "designs": summary["designs"],
        "headline": effects.get("headline"),
        "triad": effects.get("triad", []),
        "notes": effects.get("notes", []),
        "sensitivity": summary.get("sensitivity") or [],
        "provenance": summary["provenance"],
        "estimates": _rows(run, store.RELEASED_ESTIMATES),
        "attrition": _rows(run, store.RELEASED_ATTRITION),
        "balance": _rows(run, store.RELEASED_BALANCE),
    }


def _rows(run: RunFolder, name: str) -> list[dict[str, Any]]:
    return pl.read_csv(run.file(name), infer_schema_length=None).to_dicts()
