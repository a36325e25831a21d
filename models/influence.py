"""Turns influence functions into a robust covariance: who is one independent unit.

Choice made: every effect method hands over one influence value a row (its share in the error of the estimate); the
values are summed within clusters and the sums are squared. Clusters are matched sets for matching designs, because
matching makes the members of a set dependent (Abadie & Spiess 2022, JASA 117:983), joined further when one person sits
in several sets; they are persons for weighting designs, and for strata, whose members chance alone brought together.
Over G matched sets the covariance carries the factor G/(G-1), since sets are as few as the treated: R's
`sandwich::vcovCL(type = "HC0", cadjust = TRUE)`, and `survey`. Over persons it does not: `cadjust = FALSE`, the robust
errors of `geepack` and `survival`; their number is the size of the pool, so that the factor would be next to 1 and say
nothing about the few treated. HC1's (n - 1)/(n - 2), vcovCL's default for linear models, is in neither. Where a
weighted arm has few people its error is too small by about 1 / (2 n) of them, which neither factor mends.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from models.results import Baseline, Design, FloatArray, IntArray


@dataclass(frozen=True)
class Clusters:
    """The independent units.

    code    (n,) one number a cluster, the smallest rank of a person in it: the order of the rows plays no part
    count   number of clusters with at least one row of positive weight
    factor  what the sum of squares is multiplied by: G/(G-1) for matched sets, 1 for persons
    """

    code: IntArray
    count: int
    factor: float


def find_clusters(baseline: Baseline, design: Design) -> Clusters:
    """Connected components of persons and matched sets; persons alone where there are no sets but strata."""
    rank = np.unique(baseline.person, return_inverse=True)[1].astype(np.int64)
    n_persons = int(rank.max()) + 1 if rank.size else 0
    linked = (design.matched_set >= 0) & (design.weights > 0) & (design.notes.get("sets_are") != "strata")
    sets, set_rank = np.unique(design.matched_set[linked], return_inverse=True)
    size = n_persons + sets.size
    links = coo_matrix((np.ones(set_rank.size), (rank[linked], n_persons + set_rank)), shape=(size, size))
    n_components, component = connected_components(links, directed=False)
    smallest = np.full(n_components, n_persons, dtype=np.int64)
    np.minimum.at(smallest, component[:n_persons], np.arange(n_persons))
    code = smallest[component[rank]]
    count = int(np.unique(code[design.weights > 0]).size)
    return Clusters(code, count, factor=count / (count - 1) if sets.size and count > 1 else 1.0)


def degrees_of_freedom(baseline: Baseline, design: Design) -> float:
    """Degrees of freedom of a comparison without any missing value, at least 1: matched sets less one; else the
    effective number of persons in each arm (Kish: their weights are summed first), less two.

    Sets that one person joins count as one. Rows are not independent of each other, so their number plays no part.
    """
    clusters = find_clusters(baseline, design)
    inside = design.weights > 0
    if np.any(design.matched_set[inside] >= 0) and design.notes.get("sets_are") != "strata":
        return max(clusters.count - 1.0, 1.0)
    code = np.unique(clusters.code, return_inverse=True)[1]
    sums = [np.bincount(code, weights=design.weights * arm) for arm in (design.treated, ~design.treated)]
    effective = [float(of_arm.sum() ** 2 / (of_arm @ of_arm)) if of_arm.any() else 0.0 for of_arm in sums]
    return max(sum(effective) - 2.0, 1.0)


def robust_covariance(influence: FloatArray, clusters: Clusters) -> FloatArray:
    """(k, k) covariance of k estimates from their (n, k) influence values; nan with fewer than two clusters."""
    if clusters.count < 2:
        return np.full((influence.shape[1], influence.shape[1]), np.nan)
    sums = np.column_stack([np.bincount(clusters.code, weights=column) for column in influence.T])
    return np.asarray(sums.T @ sums * clusters.factor, dtype=np.float64)
