"""The trusts of the extract: codes over time, who is silent when, sizes, and how readmission differs between them."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.timeline import (
    FIRST_UNIQ_MONTH_ID,
    N_MONTHS,
    Array,
    month_end,
    month_number,
    month_start,
    to_dates,
)

MERGED, MERGED_WITH, RENAMED = 1, 7, 8  # trust numbers
ANONYMOUS = "DFC"
SUCCESSORS = ("ZY1", "ZW4")
MINIMUM_TRUSTS = 10
_LETTERS = "CDEFGJKLMNQRSTUV"  # ZH is a general hospital, ZW and ZY are successors


@dataclass(frozen=True)
class Network:
    """Trusts by number. `codes` are all provider codes; `code_at` (trusts, months) and `final_code` (trusts,) number
    into it; `is_sent` (trusts, months) says whether anything was submitted; `is_regular` that it always was."""

    codes: tuple[str, ...]
    code_at: Array
    final_code: Array
    is_sent: Array
    size: Array
    log_hazard: Array
    is_trial: Array

    @property
    def n_trusts(self) -> int:
        return len(self.final_code)

    @property
    def is_regular(self) -> Array:
        regular: Array = np.all(self.is_sent, axis=1)
        return regular

    def draw(self, rng: np.random.Generator, n: int) -> Array:
        """Home trusts."""
        return rng.choice(self.n_trusts, n, p=self.size / self.size.sum())

    def draw_other(self, rng: np.random.Generator, trust: Array) -> Array:
        """A trust that submits every month, not the one given."""
        regular = np.flatnonzero(self.is_regular)
        drawn = regular[rng.integers(0, len(regular), len(trust))]
        return np.where(drawn == trust, regular[(np.searchsorted(regular, drawn) + 1) % len(regular)], drawn)


def build_network(trusts: int, a: Assumptions, rng: np.random.Generator) -> Network:
    """All trusts; their effects are evenly spaced normal quantiles, shared by merged trusts."""
    assert trusts >= MINIMUM_TRUSTS, "write_extract checks this"
    own = [f"Z{_LETTERS[number // 9]}{number % 9 + 1}" for number in range(trusts)]
    codes = (*own, *SUCCESSORS, ANONYMOUS)
    code_at = np.repeat(np.arange(trusts)[:, None], N_MONTHS, axis=1)
    merger, rename = (month_number(a[f"trusts.{name}_date"]) for name in ("merger", "rename"))
    code_at[[MERGED, MERGED_WITH], merger:] = codes.index("ZY1")
    code_at[RENAMED, rename:] = codes.index("ZW4")
    is_sent = np.ones((trusts, N_MONTHS), dtype=bool)
    first, last = (month_number(month) for month in a["trusts.gap_months"])
    is_sent[trusts - 2, first : last + 1] = False
    is_sent[trusts - 1, month_number(a["trusts.stop_month"]) :] = False
    is_trial = np.arange(trusts) < a["trusts.trial_trusts"]
    normal = NormalDist(0.0, a["trusts.log_hazard_sd"])
    effect = _spread_effects([normal.inv_cdf((rank + 0.5) / trusts) for rank in range(trusts)], is_trial, rng)
    effect[MERGED_WITH] = effect[MERGED]
    size = np.where(is_trial, a["trusts.trial_trust_size"], 1.0)
    return Network(codes, code_at, code_at[:, -1].copy(), is_sent, size, effect, is_trial)


def _spread_effects(quantiles: list[float], is_trial: Array, rng: np.random.Generator) -> Array:
    """Trial trusts get evenly spread quantiles, so that they differ from the others by no luck of the draw."""
    n, n_trial = len(quantiles), int(is_trial.sum())
    ranks = np.floor((np.arange(n_trial) + 0.5) * n / n_trial).astype(np.int64)
    effect = np.empty(n)
    effect[is_trial] = rng.permutation(np.array(quantiles)[ranks])
    effect[~is_trial] = rng.permutation(np.delete(np.array(quantiles), ranks))
    return effect


def header_rows(network: Network, a: Assumptions, rng: np.random.Generator) -> pl.DataFrame:
    """MHS000Header with its month number: one primary row per provider and month sent, some refreshes."""
    trust, month = np.nonzero(network.is_sent)
    sent = {(int(network.code_at[t, m]), int(m)) for t, m in zip(trust, month, strict=True)}
    sent |= {(network.codes.index(ANONYMOUS), m) for m in range(N_MONTHS)}
    code, months = (np.array(part) for part in zip(*sorted(sent, key=lambda pair: pair[::-1]), strict=True))
    again = np.flatnonzero(rng.random(len(code)) < a["trusts.refresh_share"])
    rows = np.concatenate([np.arange(len(code)), again])
    rows = rows[np.argsort(rows, kind="stable")]
    is_refresh = np.concatenate([[False], rows[1:] == rows[:-1]])
    months = months[rows]
    return pl.DataFrame(
        {
            "UniqMonthID": months + FIRST_UNIQ_MONTH_ID,
            "ReportingPeriodStartDate": pl.Series(to_dates(month_start(months)).astype("datetime64[ms]")).cast(pl.Date),
            "ReportingPeriodEndDate": pl.Series(to_dates(month_end(months)).astype("datetime64[ms]")).cast(pl.Date),
            "OrgIDProvider": pl.Series(network.codes).gather(code[rows]),
            "FileType": np.where(is_refresh, 2, 1),
            "month": months,
        }
    )


def successor_rows(network: Network, a: Assumptions) -> list[dict[str, Any]]:
    """provider_successors.csv."""
    merged = {
        "NewOrgCode": "ZY1",
        "NewOrgName": "Three Rivers, Ashdown and Moor NHS Trust",
        "EffectiveDate": a["trusts.merger_date"],
        "Reason": "merger",
    }
    renamed = {
        "NewOrgCode": "ZW4",
        "NewOrgName": "Easthaven and Fenside Care",
        "EffectiveDate": a["trusts.rename_date"],
        "Reason": "renamed",
    }
    old = [
        (MERGED, "Ashdown, Vale and Coast Partnership", merged),
        (MERGED_WITH, 'Moorland "North" Mental Health', merged),
    ]
    old += [(RENAMED, "Easthaven Care", renamed)]
    return [{"OldOrgCode": network.codes[trust], "OldOrgName": name, **new} for trust, name, new in old]
