"""Counts of data quality become what may be shown of them: shares, rounded counts, and states of provider months.

Choice made (DOMAIN F2): shares are recomputed from rounded counts and withheld when they or their complement rest on
too few people. Of a provider's month only its state is released, never a count and never the provider's median: that a
submission came is no statement about people, and 'too few' spans more than the counts that must be suppressed.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.design_matrix import NOTHING_MISSING
from pipelines.protocol import Protocol
from pipelines.thin import usual_numbers

FILE = store.RELEASED_QUALITY
SCHEMA = {
    "part": pl.String,
    "subject": pl.String,
    "arm": pl.String,
    "month": pl.String,
    "state": pl.String,
    "n": pl.Int64,
    "share": pl.Float64,
}
ARMS = ("peer", "control", "virtual")
MAX_PROVIDERS = 80  # rows of the heat map; providers with gaps come first
MAX_COVARIATES = 40  # the same for covariates
GAPS = ("nothing", "too_few", "nothing_or_too_few")
MERGED = dict.fromkeys(GAPS[:2], GAPS[2])
STATES = ("submitted", "too_few", "nothing", "nothing_or_too_few", "before_first", "after_last", "merged")
CODE_STATES = ("valid", "missing", "unknown")

Rows = list[dict[str, Any]]


def release_quality(quality: pl.DataFrame, protocol: Protocol, log: dc.DisclosureLog) -> pl.DataFrame:
    """Columns of SCHEMA for every part of `quality` (pipelines.quality.QUALITY_SCHEMA), all released.

    Of `missing` the rows hold the share that is missing and the number of eligible rows; of `provider_month` and
    `table_month` neither number; of `readmission` and `observation` the share within the arm; of the others the count.
    """
    rows: Rows = []
    for part, release in (
        ("observation", _release_shares),
        ("readmission", _release_shares),
        ("missing", _release_missing),
        ("code", _release_counts),
        ("linkage", _release_counts),
        ("repair", _release_counts),
        ("stay", _release_counts),
        ("closing", _release_counts),
    ):
        mine = quality.filter(pl.col("part") == part)
        if mine.height:
            rows += release(mine, log)
    rows += _release_provider_months(quality.filter(pl.col("part") == "provider_month"), protocol)
    rows += _release_table_months(quality.filter(pl.col("part") == "table_month"))
    if rows:
        log.note(FILE, "column n", dc.ROUNDED)
        log.note(FILE, "column share", dc.RECOMPUTED)
    return pl.DataFrame([{**dict.fromkeys(SCHEMA), **row} for row in rows], schema=SCHEMA)


def _release_shares(part: pl.DataFrame, log: dc.DisclosureLog) -> Rows:
    """Each state's count and its share of the arm."""
    rows: Rows = []
    for row in part.sort("arm", "state").to_dicts():
        place = f"{row['part']}/{row['arm']}/{row['state']}"
        whole = int(part.filter(pl.col("arm") == row["arm"])["n"].sum())
        share = dc.release_share(row["n"], whole, log.rule)
        n = log.count(row["n"], FILE, f"{place}/n") if share is not None else None
        if share is None:
            log.note(FILE, f"{place}/share", dc.SUPPRESSED)
        names = ("part", "arm", "state")
        rows.append({name: row[name] for name in names} | {"n": n, "share": _shown(share)})
    return rows


def _release_missing(part: pl.DataFrame, log: dc.DisclosureLog) -> Rows:
    """The share missing of each covariate, by arm over all months and by arm and month."""
    wide = (
        part.group_by("subject", "arm", "month_id")
        .agg(missing=pl.col("n").filter(pl.col("state") == "missing").sum(), whole=pl.col("n").sum())
        .sort("subject", "arm", "month_id")
    )
    whole = wide.group_by("subject", "arm").agg(pl.col("missing", "whole").sum()).sort("subject", "arm")
    rows: Rows = []
    for row in [*whole.to_dicts(), *wide.drop_nulls("month_id").to_dicts()]:
        month = row.get("month_id")
        share = dc.release_share(row["missing"], row["whole"], log.rule)
        if share is None:
            when = "" if month is None else "/by month"
            log.note(FILE, f"missing/{row['subject']}/{row['arm']}{when}/share", dc.SUPPRESSED)
        rows.append(
            {
                "part": "missing",
                "subject": row["subject"],
                "arm": row["arm"],
                "month": None if month is None else month_name(month),
                "state": "missing",
                "n": dc.release_count(row["whole"], log.rule),
                "share": _shown(share),
            }
        )
    return rows


def _release_counts(part: pl.DataFrame, log: dc.DisclosureLog) -> Rows:
    rows: Rows = []
    for row in part.to_dicts():
        place = "/".join(str(row[name]) for name in ("part", "subject", "state") if row[name] is not None)
        names = ("part", "subject", "state")
        rows.append({name: row[name] for name in names} | {"n": log.count(row["n"], FILE, f"{place}/n")})
    return rows


def _release_provider_months(part: pl.DataFrame, protocol: Protocol) -> Rows:
    """The state of each month. Where a provider's 'too few' could span nothing but counts that must be suppressed, it
    and 'nothing' are one state."""
    rule, rows = protocol.follow_up, []
    for (subject,), months in part.sort("subject", "month_id").group_by("subject", maintain_order=True):
        sent = months.filter(pl.col("state").is_in(["submitted", "too_few"]))["n"].to_list()
        usual = max(min(usual_numbers(sent, rule.silence_below), default=0.0), rule.silence_minimum_spells)
        merged = {} if rule.silence_below * usual > protocol.disclosure.suppress_below else MERGED
        rows += [
            {
                "part": "provider_month",
                "subject": subject,
                "month": month_name(row["month_id"]),
                "state": merged.get(row["state"], row["state"]),
            }
            for row in months.to_dicts()
        ]
    return rows


def _release_table_months(part: pl.DataFrame) -> Rows:
    """Which months a table does not cover; how many rows it has in them is not released."""
    return [
        {"part": "table_month", "subject": row["subject"], "month": month_name(row["month_id"]), "state": row["state"]}
        for row in part.sort("subject", "month_id").to_dicts()
    ]


def _shown(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def month_name(month_id: int) -> str:
    """UniqMonthID as year and month, 2018-04."""
    year, month = divmod(month_id + 2, 12)
    return f"{1900 + year}-{month + 1:02d}"


def read_quality(released: pl.DataFrame, protocol: Protocol) -> dict[str, Any] | None:
    """What the page and its figures show of data_quality.csv; None when nothing was measured."""
    if released.is_empty():
        return None
    parts = {str(key[0]): rows for key, rows in released.group_by("part", maintain_order=True)}
    empty = released.clear()
    missing = _without_the_unheld(parts.get("missing", empty), protocol)
    return {
        "missing": _missing_by_arm(missing, protocol),
        "months": _missing_by_month(missing, protocol),
        "providers": _provider_rows(parts.get("provider_month", empty), protocol),
        "table_gaps": _table_gaps(parts.get("table_month", empty)),
        "gap_below": protocol.follow_up.gap_below,
        "codes": _code_rows(parts.get("code", empty)),
        "linkage": _named_counts(parts.get("linkage", empty)),
        "repairs": _named_counts(parts.get("repair", empty)),
        "stays": _named_counts(parts.get("stay", empty)),
        "closings": _named_counts(parts.get("closing", empty)),
        "observation": _by_arm(parts.get("observation", empty)),
        "readmissions": _by_arm(parts.get("readmission", empty)),
    }


def _without_the_unheld(missing: pl.DataFrame, protocol: Protocol) -> pl.DataFrame:
    """Leaves out covariates that the design does not use and of which the extract holds nothing at all."""
    whole = missing.filter(pl.col("month").is_null())
    unheld = whole.group_by("subject").agg(is_unheld=(pl.col("share") == 1).fill_null(False).all())
    names = [name for name in unheld.filter("is_unheld")["subject"] if _use(name, protocol) == "none"]
    return missing.filter(~pl.col("subject").is_in(names))


def _missing_by_arm(missing: pl.DataFrame, protocol: Protocol) -> dict[str, Any]:
    """Covariates with anything missing, or withheld, in some arm: the share in each arm and what was done about it."""
    whole = missing.filter(pl.col("month").is_null())
    arms = [arm for arm in ARMS if arm in set(whole["arm"])]
    rows = []
    for (subject,), group in whole.group_by(["subject"], maintain_order=True):
        shares = dict(zip(group["arm"], group["share"], strict=True))
        if any(share != 0 for share in shares.values()):
            rows.append(
                {"covariate": subject, "shares": [shares.get(arm) for arm in arms], "use": _use(str(subject), protocol)}
            )
    rows.sort(key=lambda row: (row["use"] == "none", -max(share or 0 for share in row["shares"]), row["covariate"]))
    return {"arms": arms, "rows": rows, "complete": whole["subject"].n_unique() - len(rows)}


def _use(covariate: str, protocol: Protocol) -> str:
    """What the design did with a missing value: as the protocol names it, or level (of a category), or none where it
    does not use the covariate."""
    chosen = protocol.covariates
    if covariate in chosen.categorical and chosen.use_of_missing(covariate) in NOTHING_MISSING:
        return chosen.use_of_missing(covariate)
    if covariate in chosen.categorical or covariate in protocol.design.exact:
        return "level"
    if covariate not in chosen.numeric:
        return "none"
    return chosen.use_of_missing(covariate)


def _missing_by_month(missing: pl.DataFrame, protocol: Protocol) -> dict[str, Any] | None:
    """Shares of candidates by month for the covariates with anything missing, those that the design uses first;
    participants are too few by month."""
    mine = missing.filter((pl.col("arm") == "virtual") & pl.col("month").is_not_null())
    incomplete = mine.filter(pl.col("share").fill_null(0.0) > 0)["subject"].unique()
    months = sorted(set(mine["month"]))
    if len(months) < 2 or incomplete.is_empty():
        return None
    rows = []
    for (subject,), group in mine.filter(pl.col("subject").is_in(incomplete.to_list())).group_by(
        ["subject"], maintain_order=True
    ):
        shares = dict(zip(group["month"], group["share"], strict=True))
        rows.append({"covariate": subject, "shares": [shares.get(month) for month in months]})
    rows.sort(
        key=lambda row: (
            _use(row["covariate"], protocol) == "none",
            -sum(share or 0 for share in row["shares"]),
            row["covariate"],
        )
    )
    return {"calendar": months, "covariates": rows[:MAX_COVARIATES]}


def _provider_rows(provider_months: pl.DataFrame, protocol: Protocol) -> dict[str, Any] | None:
    """Each provider's months as runs of the same state; with many providers those with gaps are shown."""
    if provider_months.is_empty():
        return None
    calendar = sorted(set(provider_months["month"]))
    rows: Rows = []
    for (provider,), group in provider_months.group_by(["subject"], maintain_order=True):
        states = group.sort("month")["state"].to_list()
        gaps = sum(state in (*GAPS, "after_last") for state in states)
        rows.append({"provider": provider, "runs": _runs(states), "gaps": gaps})
    shown = sorted(sorted(rows, key=lambda row: (-row["gaps"], row["provider"]))[:MAX_PROVIDERS], key=_code)
    window = protocol.eligibility
    return {
        "calendar": calendar,
        "studied": [f"{day:%Y-%m}" for day in (window.recruitment_start, window.recruitment_end)] if window else None,
        "is_censored": "provider_silence" in protocol.follow_up.censor_at,
        "silence_below": protocol.follow_up.silence_below,
        "silence_chance": protocol.follow_up.silence_chance,
        "shown": shown,
        "left_out": len(rows) - len(shown),
        "with_gaps": sum(row["gaps"] > 0 for row in rows),
        "all_providers": len(rows),
        "states": [state for state in STATES if state in set(provider_months["state"])],
    }


def _table_gaps(table_months: pl.DataFrame) -> Rows:
    """Each table with months that it does not cover, as runs from a first to a last month."""
    rows: Rows = []
    for (table,), group in table_months.group_by(["subject"], maintain_order=True):
        runs: list[list[str]] = []
        for month in sorted(group["month"]):
            if runs and _next_month(runs[-1][-1]) == month:
                runs[-1].append(month)
            else:
                runs.append([month])
        rows.append({"table": table, "runs": [[run[0], run[-1]] for run in runs]})
    return rows


def _next_month(name: str) -> str:
    year, month = map(int, name.split("-"))
    return f"{year + month // 12}-{month % 12 + 1:02d}"


def _code(row: Mapping[str, Any]) -> str:
    return str(row["provider"])


def _runs(states: list[str]) -> list[tuple[str, int]]:
    runs: list[tuple[str, int]] = []
    for state in states:
        if runs and runs[-1][0] == state:
            runs[-1] = (state, runs[-1][1] + 1)
        else:
            runs.append((state, 1))
    return runs


def _code_rows(codes: pl.DataFrame) -> Rows:
    """Columns that hold any row: rows by state, withheld ones None."""
    rows: Rows = []
    for (subject,), group in codes.group_by(["subject"], maintain_order=True):
        counts = dict(zip(group["state"], group["n"], strict=True))
        if any(n != 0 for n in counts.values()):
            table, _, column = str(subject).partition(".")
            rows.append({"table": table, "column": column} | {f"rows_{state}": counts[state] for state in CODE_STATES})
    return rows


def _named_counts(part: pl.DataFrame) -> Rows:
    return [{"name": row["subject"], "n": row["n"]} for row in part.to_dicts()]


def _by_arm(part: pl.DataFrame) -> Rows:
    return [{"arm": row["arm"], "state": row["state"], "n": row["n"], "share": row["share"]} for row in part.to_dicts()]
