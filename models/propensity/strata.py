"""Exact groups → the strata in which a score of their own is fitted."""

import numpy as np

from models.results import Baseline, BoolArray


def strata_of(baseline: Baseline, treated: BoolArray, rows: BoolArray, least: int) -> list[BoolArray]:
    """(n,) members among `rows` of each stratum: every exact group with at least `least` rows of either arm by itself,
    all others together last (where there are any)."""
    groups, number = np.unique(baseline.exact_group, return_inverse=True)
    n_treated = np.bincount(number, weights=rows & treated, minlength=len(groups))
    n_others = np.bincount(number, weights=rows & ~treated, minlength=len(groups))
    alone = np.minimum(n_treated, n_others) >= least
    strata = [rows & (number == place) for place in np.flatnonzero(alone)]
    rest = rows & ~alone[number]
    return [*strata, rest] if rest.any() else strata
