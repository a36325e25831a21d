"""Baseline, log-odds and a protocol's limits → which row may stand in a set with which.

Choice made: a limit is a rule about pairs, whatever the distance: same exact group, calipers on the log-odds (in pooled
standard deviations: Austin 2011, Pharm Stat 10:150) and on covariates (in their own units), days between the two time
zeros, and columns on which the two must differ. Nobody stands in a set with themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.refusals import Refused
from models.results import Baseline, BoolArray, FloatArray, IntArray, Propensity

ANY_DAYS = 1 << 60

# Distances are compared after rounding, so that the last bits of a fit (which change with the order of the rows and
# the number of threads) never decide a tie.
DECIMALS = 9


@dataclass(frozen=True)
class Rules:
    """What has to hold between a row that seeks and a row that serves.

    group          (n,) both in the same
    linear, width  (n,) log-odds and the largest difference in them (inf: no limit)
    day            (n,) time zero; the server's lies at most `days_before` before and `days_after` after the seeker's
    values, widths (n, c), (c,) covariates and their largest differences
    differ         (n, d) codes of which every one must differ
    """

    group: IntArray
    linear: FloatArray
    width: float
    day: IntArray
    days_before: int
    days_after: int
    values: FloatArray
    widths: FloatArray
    differ: IntArray


def make_rules(
    baseline: Baseline,
    propensity: Propensity,
    width: float,
    *,
    days: tuple[int | None, int | None] = (None, None),
    covariate_calipers: Mapping[str, float] | None = None,
    anti_exact: Sequence[str] = (),
) -> Rules:
    """The rules of a protocol over all rows. Raises ValueError for senseless limits, Refused for no such column."""
    calipers = dict(covariate_calipers or {})
    for name, limit in calipers.items():
        if not limit >= 0:
            raise ValueError(f"covariate_calipers: the limit of {name!r} must be at least 0, not {limit}")
    codes = [_codes_of(baseline, name) for name in anti_exact]
    before, after = (ANY_DAYS if limit is None else int(limit) for limit in days)
    return Rules(
        group=baseline.exact_group,
        linear=propensity.linear,
        width=width,
        day=baseline.index_day,
        days_before=before,
        days_after=after,
        values=baseline.matrix[:, [_column(baseline, name, "covariate_calipers") for name in calipers]],
        widths=np.array(list(calipers.values()), dtype=np.float64),
        differ=np.column_stack(codes) if codes else np.empty((len(baseline.matrix), 0), dtype=np.int64),
    )


def caliper_width(linear: FloatArray, treated: BoolArray, usable: BoolArray, caliper: float | None) -> float:
    """A caliper in log-odds; inf for None. Raises ValueError unless it is at least 0."""
    if caliper is None:
        return np.inf
    if not caliper >= 0:
        raise ValueError(f"caliper must be at least 0 standard deviations or none, not {caliper}")
    return caliper * pooled_sd(linear, treated, usable)


def pooled_sd(linear: FloatArray, treated: BoolArray, usable: BoolArray) -> float:
    """sqrt((variance among treated + variance among untreated) / 2), each with n - 1; zero for an arm of one row."""
    arms = (linear[usable & treated], linear[usable & ~treated])
    return float(np.sqrt(sum(arm.var(ddof=1) if len(arm) > 1 else 0.0 for arm in arms) / 2.0))


def check_days(name: str, days: int | None) -> None:
    """Raises ValueError for a negative number of days."""
    if days is not None and days < 0:
        raise ValueError(f"{name} must be at least 0 or none, not {days}")


def columns_of(baseline: Baseline, name: str, option: str) -> list[int]:
    """The columns that a protocol calls by one name: the covariate itself, or the levels of a category."""
    found = [j for j, column in enumerate(baseline.columns) if column == name or column.startswith(f"{name} = ")]
    if not found:
        raise Refused(f"{option}: the design has no column {name!r}; it has {', '.join(baseline.columns)}")
    return found


def hardest_first(baseline: Baseline, linear: FloatArray, rows: IntArray, *, by_falling_odds: bool = True) -> IntArray:
    """Rows by falling log-odds (for whom controls are rarest first; Rubin 1973, Biometrics 29:159), or by rising ones
    where the untreated seek. Ties: earlier index_day, lower person code, lower exact_group."""
    sign = -1.0 if by_falling_odds else 1.0
    by = (baseline.exact_group, baseline.person, baseline.index_day, sign * np.round(linear, DECIMALS))
    return rows[np.lexsort([key[rows] for key in by])]


def as_codes(person: IntArray) -> NDArray[np.int64]:
    """(n,) numbers from 0 in the order of the codes, not necessarily without gaps: a code is a place in an array."""
    if person.size == 0:
        return person.astype(np.int64)
    low, high = int(person.min()), int(person.max())
    if high - low < 8 * person.size + 1024:
        return np.asarray(person - low, dtype=np.int64)
    return np.unique(person, return_inverse=True)[1].astype(np.int64)


def _column(baseline: Baseline, name: str, option: str) -> int:
    if name not in baseline.columns:
        raise Refused(f"{option}: the design has no column {name!r}; it has {', '.join(baseline.columns)}")
    return baseline.columns.index(name)


def _codes_of(baseline: Baseline, name: str) -> IntArray:
    """(n,) a number for each combination of values in the columns of that name."""
    values = baseline.matrix[:, columns_of(baseline, name, "anti_exact")]
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
