"""Who was chosen for whom → set numbers and weights.

Choice made: weights are those of stratification by set (as MatchIt's): under the ATT a treated row counts 1 and the
controls of its set share that; the mirror image under the ATC; under the ATE each arm of a set counts as the whole set.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from models.results import BoolArray, Estimand, FloatArray, IntArray

STRATA = "strata"
"""Value of the note `sets_are`: the sets are few and large, people within them are independent of each other."""


def number_sets(seekers: IntArray, chosen: IntArray, n_rows: int) -> IntArray:
    """(n,) set numbers in the order of the seekers; sets that share a row are one (matching with replacement).

    seekers  (s,) rows in their order; one may appear several times
    chosen   (s, k) the rows that serve each, -1 for none; a seeker without any is in no set
    """
    found = chosen >= 0
    seat = np.repeat(np.arange(len(seekers)), found.sum(axis=1))
    own, of_seat = np.unique(seekers[seat], return_inverse=True)
    others, of_place = np.unique(chosen[found], return_inverse=True)
    size = len(own) + len(others)
    links = coo_matrix((np.ones(len(seat)), (of_seat, len(own) + of_place)), shape=(size, size))
    component = connected_components(links, directed=False)[1][of_seat]
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    number = np.argsort(np.argsort(first))[inverse]
    matched_set = np.full(n_rows, -1, dtype=np.int64)
    matched_set[seekers[seat]] = number
    matched_set[chosen[found]] = number
    return matched_set


def weights_of_seekers(seekers: IntArray, chosen: IntArray, n_rows: int) -> FloatArray:
    """(n,) 1 for a seeker with a match, 1 / (number chosen) for each it chose, summed over those a row serves."""
    found = chosen >= 0
    n_chosen = found.sum(axis=1)
    weights = np.zeros(n_rows)
    weights[seekers[n_chosen > 0]] = 1.0
    np.add.at(weights, chosen[found], np.repeat(1.0 / np.maximum(n_chosen, 1), n_chosen))
    return weights


def weights_of_sets(matched_set: IntArray, treated: BoolArray, estimand: Estimand) -> FloatArray:
    """(n,) weights of stratification by set; every set must hold both arms."""
    in_set = matched_set >= 0
    if not in_set.any():
        return np.zeros(len(matched_set))
    number = matched_set[in_set]
    size = [np.bincount(number[treated[in_set] == arm], minlength=number.max() + 1) for arm in (False, True)]
    target = {"ATT": size[1], "ATC": size[0], "ATE": size[0] + size[1]}[estimand]
    weights = np.zeros(len(matched_set))
    arm = treated[in_set]
    weights[in_set] = target[number] / np.where(arm, size[1][number], size[0][number])
    return weights
