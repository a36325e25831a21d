"""Verdicts on those whose outcome is analysed become what the report says beside each outcome."""

import math
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store

Row = dict[str, Any]


def read_analysed(
    table: pl.DataFrame, contrast: str, design: str, method: str, log: dc.DisclosureLog
) -> dict[str, Row]:
    """By outcome that people of one design leave because theirs was not observed, of a method with weights of its own
    for that, else of all methods that leave them out:

    n_unobserved  released number of those people
    max_abs_smd   largest standardised difference of those left, None where few left: beside that of everybody it would
                  tell of them
    effective_n   released effective number of controls left
    failed        names of the checks that those left fall short of; if any, the outcome was not estimated
    """
    if table.is_empty():
        return {}
    mine = table.filter(
        (pl.col("contrast") == contrast) & (pl.col("design") == design) & pl.col("method").is_in(["", method])
    ).sort("method", maintain_order=True)
    found: dict[str, Row] = {}
    for outcome in mine["outcome"].unique(maintain_order=True):
        # By name, so that what was found of the method replaces what was of those that leave people out.
        checks = {row["check"]: row for row in mine.filter(pl.col("outcome") == outcome).to_dicts()}
        place = f"effects/outcomes/{outcome}/analysed"
        lost = log.count(next(iter(checks.values()))["n_unobserved"], store.SUMMARY, f"{place}/n_unobserved")
        smd = checks["max_abs_smd"]["value"]
        is_known = lost is not None and smd is not None and math.isfinite(smd)
        if not is_known:
            log.note(store.SUMMARY, f"{place}/max_abs_smd", dc.SUPPRESSED)
        effective = checks["min_effective_controls"]["value"]
        found[outcome] = {
            "n_unobserved": lost,
            "max_abs_smd": round(smd, 2) if is_known else None,
            "effective_n": None if lost is None else log.count(effective, store.SUMMARY, f"{place}/effective_n"),
            "failed": [check for check, row in checks.items() if not row["passed"]],
        }
    return found
