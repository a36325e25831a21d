"""Which rows can take part in a comparison at all."""

import numpy as np

from models.results import Baseline, BoolArray, IntArray

NEVER = np.iinfo(np.int64).max


def comparable_rows(baseline: Baseline, treated: BoolArray) -> BoolArray:
    """(n,) True for rows that some design could use: not an untreated row of a treated person (or, where those not yet
    treated count, one before the person's treated time zero), and in an exact group that holds both treated and
    untreated rows of that kind."""
    own_row = ~treated & np.isin(baseline.person, baseline.person[treated])
    if baseline.not_yet_treated:
        own_row &= baseline.index_day >= day_of_treatment(baseline, treated)
    return in_groups_with_both(baseline, treated, ~own_row)


def in_groups_with_both(baseline: Baseline, treated: BoolArray, among: BoolArray) -> BoolArray:
    """(n,) True for rows of `among` whose exact group has treated and untreated rows in `among`."""
    groups = baseline.exact_group
    both = np.intersect1d(groups[among & treated], groups[among & ~treated])
    return among & np.isin(groups, both)


def day_of_treatment(baseline: Baseline, treated: BoolArray) -> IntArray:
    """(n,) the first treated index_day of each row's person, NEVER for people never treated."""
    people, first = np.unique(baseline.person[treated], return_inverse=True)
    day = np.full(len(people) + 1, NEVER, dtype=np.int64)
    np.minimum.at(day, first, baseline.index_day[treated])
    place = np.searchsorted(people, baseline.person)
    place[~np.isin(baseline.person, people)] = len(people)
    return day[place]
