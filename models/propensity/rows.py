"""Which rows can take part in a comparison at all."""

import numpy as np

from models.results import Baseline, BoolArray


def comparable_rows(baseline: Baseline, treated: BoolArray) -> BoolArray:
    """(n,) True for rows that some design could use: not an untreated row of a treated person, and in an exact group
    that (without such rows) holds both treated and untreated rows."""
    own_row = ~treated & np.isin(baseline.person, baseline.person[treated])
    return in_groups_with_both(baseline, treated, ~own_row)


def in_groups_with_both(baseline: Baseline, treated: BoolArray, among: BoolArray) -> BoolArray:
    """(n,) True for rows of `among` whose exact group has treated and untreated rows in `among`."""
    groups = baseline.exact_group
    both = np.intersect1d(groups[among & treated], groups[among & ~treated])
    return among & np.isin(groups, both)
