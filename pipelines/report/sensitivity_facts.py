"""The main analysis and its variants become two released tables and the part of the report that sets them side by side.

Choice made: variants differ by few people, so what is released of them must not be subtracted. Counts differ by
multiples of the rounding only. Of the effects, differences alone are released, and only of weighted or matched
comparisons: with a ratio beside it, a difference gives away the number of events of an arm, and so would the plain
difference of two randomised arms; two variants together would then tell how few people a rule moved.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.estimates_table import RELEASED_SCHEMA
from pipelines.protocol import MAIN_ANALYSIS, Protocol, Variant
from pipelines.report.effects_facts import DIFFERENCES, Picker, first_method
from pipelines.report.released_estimates import place_of, release_estimates
from pipelines.report.wording import label
from pipelines.store import RunFolder

FILE = store.RELEASED_SENSITIVITY
ESTIMATES_FILE = store.RELEASED_SENSITIVITY_ESTIMATES
COUNTS = ("n_discharges", "n_people", "n_observed", "n_readmitted", "n_readmissions")
SENSITIVITY_SCHEMA = {
    "variant": pl.String,
    "arm": pl.String,
    **dict.fromkeys(COUNTS, pl.Int64),
    "share_readmitted": pl.Float64,
}

Row = dict[str, Any]


def release_sensitivity(run: RunFolder, protocol: Protocol, log: dc.DisclosureLog) -> dict[str, pl.DataFrame]:
    """The two released tables by the names of their files; none without variants."""
    if not protocol.sensitivity:
        return {}
    rows = [_release_counts(row, log) for row in run.read(store.SENSITIVITY).to_dicts()]
    log.note(FILE, f"columns {', '.join(COUNTS)}", dc.ROUNDED)
    log.note(FILE, "column share_readmitted", dc.RECOMPUTED)
    names = [MAIN_ANALYSIS, *(variant.name for variant in protocol.sensitivity)]
    estimates = [_release_variant(run, name, protocol, log) for name in names]
    return {
        FILE: pl.DataFrame(rows, schema=SENSITIVITY_SCHEMA),
        ESTIMATES_FILE: pl.concat(estimates),
    }


def _release_counts(row: Row, log: dc.DisclosureLog) -> Row:
    """Readmissions rest on the readmitted: where these are too few, or all but too few, both go."""
    place = f"{row['variant']}/{row['arm']}"
    released = {name: log.count(row[name], FILE, f"{place}/{name}") for name in COUNTS}
    share = None
    if row["n_observed"] is not None:
        share = dc.release_share(row["n_readmitted"], row["n_observed"], log.rule)
        if share is None:
            log.note(FILE, f"{place}/n_readmitted, n_readmissions, share_readmitted", dc.SUPPRESSED)
            released |= {"n_readmitted": None, "n_readmissions": None}
    return {"variant": row["variant"], "arm": row["arm"], **released, "share_readmitted": share}


def _release_variant(run: RunFolder, name: str, protocol: Protocol, log: dc.DisclosureLog) -> pl.DataFrame:
    """Differences in the primary outcome under the primary design, after disclosure control."""
    folder = run if name == MAIN_ANALYSIS else run.variant(name)
    released = pl.DataFrame(schema=RELEASED_SCHEMA)
    if folder.file(store.ESTIMATES).exists():
        own_log = dc.DisclosureLog(log.rule)
        # All are judged together, as in estimates.csv: what is withheld there must not be found here.
        released = release_estimates(folder.read(store.ESTIMATES), own_log).filter(
            (pl.col("outcome") == protocol.outcomes.primary)
            & (pl.col("design") == protocol.design.methods[0])
            & (pl.col("method") != "causal_forest")
            & pl.col("scale").is_in(DIFFERENCES)
        )
        kept = {place_of(row) for row in released.iter_rows(named=True)}
        for entry in own_log.entries:
            if entry["place"].rpartition("/")[0] in kept or entry["place"].startswith("column "):
                log.note(ESTIMATES_FILE, f"{name}/{entry['place']}", entry["rule"])
    return released.select(pl.lit(name).alias("variant"), pl.all())


def read_sensitivity(
    run: RunFolder, tables: Mapping[str, pl.DataFrame], protocol: Protocol, log: dc.DisclosureLog
) -> list[Row] | None:
    """What the report says of the main analysis and of each variant, from the released tables; None without variants.

    Keys: name, title, changes (key, value, instead_of), state (open | refused | main_refused | no_cohort), failed
    (checks of the design), problems (why there is no cohort), arms (rows of sensitivity.csv), difference.
    """
    if not protocol.sensitivity:
        return None
    main: Row = {"name": MAIN_ANALYSIS, "title": "As in the protocol", "changes": []}
    rows = [main, *(_describe(variant, protocol) for variant in protocol.sensitivity)]
    return [row | _state(run, row["name"]) | _numbers(row["name"], tables, protocol, log) for row in rows]


def _describe(variant: Variant, protocol: Protocol) -> Row:
    changes = [
        {"key": f"{section}.{key}", "value": _in_words(value), "instead_of": _in_words(before[key])}
        for section in ("eligibility", "follow_up")
        for before in [getattr(protocol, section).model_dump()]
        for key, value in getattr(variant, section).items()
        if value != before[key]
    ]
    return {"name": variant.name, "title": variant.title or label(variant.name), "changes": changes}


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _state(run: RunFolder, name: str) -> Row:
    folder = run if name == MAIN_ANALYSIS else run.variant(name)
    if folder.file(store.REFUSED_COHORT).exists():
        return {"state": "no_cohort", "failed": [], "problems": folder.read_json(store.REFUSED_COHORT)}
    design = folder.read_json(store.DESIGN_SUMMARY)
    failed = [v["check"] for v in design["contrasts"][0]["designs"][0]["verdicts"] if not v["passed"]]
    is_main_open = bool(run.read_json(store.DESIGN_SUMMARY)["accepted"])
    state = "refused" if not design["accepted"] else "open" if is_main_open else "main_refused"
    return {"state": state, "failed": failed, "problems": []}


def _numbers(name: str, tables: Mapping[str, pl.DataFrame], protocol: Protocol, log: dc.DisclosureLog) -> Row:
    arms = tables[FILE].filter(pl.col("variant") == name).drop("variant").to_dicts()
    withheld = {entry["place"] for entry in log.entries if entry["file"] == ESTIMATES_FILE}
    estimates = [
        {**row, "is_suppressed": f"{name}/{place_of(row)}/value" in withheld}
        for row in tables[ESTIMATES_FILE].filter(pl.col("variant") == name).drop("variant").to_dicts()
    ]
    contrast, primary = f"{protocol.strategies.treated_label}_vs_virtual", protocol.outcomes.primary
    pick = Picker(estimates, protocol.design.methods[0], first_method(estimates, contrast, protocol))
    return {"arms": arms, "difference": pick.one(contrast, primary, DIFFERENCES)}
