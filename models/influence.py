"""Turns influence functions into a robust covariance: who is one independent unit, and what estimated weights add.

Choice made: every effect method hands over one influence value a row (its share in the error of the estimate); the
values are summed within clusters and the sums are squared. Clusters are matched sets for matching designs, because
matching makes the members of a set dependent (Abadie & Spiess 2022, JASA 117:983), joined further when one person sits
in several sets; they are persons for weighting designs. Over G matched sets the covariance carries the factor G/(G-1)
(the usual cluster correction: sets are as few as the treated); over persons it does not (the GEE sandwich: their number
is the size of the pool, so the factor would say nothing about the few treated).

A logistic propensity score was estimated from the same rows; its score equations are stacked under the estimating
equations of the effect (M-estimation: Lunceford & Davidian 2004, Stat Med 23:2937; Stefanski & Boos 2002).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray

SAME_WEIGHT = 1e-6
"""A weight this close (relatively) to the formula follows it; a truncated or trimmed weight does not."""

SINGULAR = 1e-10
"""Directions of the information matrix below this share of the largest are constant or collinear columns."""


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


@dataclass(frozen=True)
class ScoreModel:
    """The logistic propensity model as far as the variance needs it.

    design_matrix  (n, p + 1) intercept and standardised covariates
    residual       (n,) treated minus score, 0 for rows the score was not fitted on
    bread          (p + 1, p + 1) inverse of the (penalised) information
    weight_slope   (n,) derivative of each weight with respect to the row's log-odds
    """

    design_matrix: FloatArray
    residual: FloatArray
    bread: FloatArray
    weight_slope: FloatArray

    def coefficient_shift(self, unit_influence: FloatArray) -> FloatArray:
        """(p + 1, k) change of k estimates by a row's score equation, from (n, k) influence per unit of weight."""
        pull = self.design_matrix.T @ (self.weight_slope[:, None] * unit_influence)
        return self.bread @ pull

    def score_equations(self) -> FloatArray:
        """(n, p + 1) each row's term in the score equations."""
        return self.design_matrix * self.residual[:, None]

    def correction(self, unit_influence: FloatArray) -> FloatArray:
        """(n, k) what to add to the influence on k estimates because the weights were estimated."""
        return self.design_matrix @ self.coefficient_shift(unit_influence) * self.residual[:, None]


def find_clusters(baseline: Baseline, design: Design) -> Clusters:
    """Connected components of persons and matched sets; persons alone where there are no sets."""
    rank = np.unique(baseline.person, return_inverse=True)[1].astype(np.int64)
    n_persons = int(rank.max()) + 1 if rank.size else 0
    linked = (design.matched_set >= 0) & (design.weights > 0)
    sets, set_rank = np.unique(design.matched_set[linked], return_inverse=True)
    size = n_persons + sets.size
    links = coo_matrix((np.ones(set_rank.size), (rank[linked], n_persons + set_rank)), shape=(size, size))
    n_components, component = connected_components(links, directed=False)
    smallest = np.full(n_components, n_persons, dtype=np.int64)
    np.minimum.at(smallest, component[:n_persons], np.arange(n_persons))
    code = smallest[component[rank]]
    count = int(np.unique(code[design.weights > 0]).size)
    return Clusters(code, count, factor=count / (count - 1) if sets.size and count > 1 else 1.0)


def robust_covariance(influence: FloatArray, clusters: Clusters) -> FloatArray:
    """(k, k) covariance of k estimates from their (n, k) influence values; nan with fewer than two clusters."""
    if clusters.count < 2:
        return np.full((influence.shape[1], influence.shape[1]), np.nan)
    sums = np.column_stack([np.bincount(clusters.code, weights=column) for column in influence.T])
    return np.asarray(sums.T @ sums * clusters.factor, dtype=np.float64)


def score_model(baseline: Baseline, design: Design) -> ScoreModel | None:
    """The score equations behind a weighting design, or None when its weights do not come from `design.score`.

    None for matched designs (all weight is shared out in sets) and for weights that are neither e/(1-e) nor the
    inverse probability. Weights that were truncated are constants here, trimmed rows stay trimmed. The equations run
    over the rows the score was fitted on (`comparable_rows`). The penalty of an L2-penalised score is read from
    `design.notes["l2_penalty"]` (0 when absent; columns standardised); the variance is then an approximation, as the
    shrinkage bias of the coefficients is not part of it.
    """
    if np.any(design.matched_set[design.weights > 0] >= 0):
        return None
    slope = _weight_slope(design)
    if slope is None:
        return None
    fitted_on = comparable_rows(baseline, design.treated)
    matrix = np.column_stack([np.ones(len(baseline.matrix)), _standardised(baseline.matrix, fitted_on)])
    information = matrix.T @ (matrix * (fitted_on * design.score * (1 - design.score))[:, None])
    information[1:, 1:] += float(design.notes.get("l2_penalty", 0.0)) * np.eye(matrix.shape[1] - 1)
    bread = np.linalg.pinv(information, rcond=SINGULAR, hermitian=True)
    return ScoreModel(matrix, fitted_on * (design.treated - design.score), bread, slope)


def _standardised(matrix: FloatArray, rows: BoolArray) -> FloatArray:
    """Columns that vary among `rows`, centred and scaled by their mean and standard deviation there."""
    centre, spread = matrix[rows].mean(axis=0), matrix[rows].std(axis=0)
    varies = spread > SINGULAR * np.abs(centre)
    return np.asarray((matrix[:, varies] - centre[varies]) / spread[varies], dtype=np.float64)


def _weight_slope(design: Design) -> FloatArray | None:
    score = np.clip(design.score, 1e-15, 1 - 1e-15)
    odds = score / (1 - score)
    if design.estimand == "ATT":
        formulas = ((design.treated, np.ones_like(odds), np.zeros_like(odds)), (~design.treated, odds, odds))
    else:
        formulas = ((design.treated, 1 / score, -1 / odds), (~design.treated, 1 / (1 - score), odds))
    slope = np.zeros_like(odds)
    for arm, weight, derivative in formulas:
        rows = np.flatnonzero(arm & (design.weights > 0))
        scale = design.weights[rows] / weight[rows]
        usual = float(np.median(scale)) if rows.size else 1.0
        follows = np.abs(scale / usual - 1) < SAME_WEIGHT
        if follows.sum() < rows.size / 2:
            return None
        slope[rows[follows]] = usual * derivative[rows[follows]]
    return slope
