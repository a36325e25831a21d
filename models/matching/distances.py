"""Covariates or log-odds → coordinates whose Euclidean distance is the distance to match on.

Choice made: every distance is turned into a straight-line one once, so that matching needs one kernel. Mahalanobis
(Rubin 1980, Biometrics 36:293) with the covariance pooled within arms, as R's MatchIt; robust Mahalanobis on ranks, the
variances of tied columns blown up to those of untied ones, so that outliers and rare binaries do not rule (Rosenbaum
2010, Design of Observational Studies, 8.3). Columns that carry nothing more than others get no extra say
(generalised inverse).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from models.matching.rules import columns_of
from models.refusals import Refused
from models.results import Baseline, BoolArray, FloatArray

Distance = Literal["log_odds", "mahalanobis", "robust_mahalanobis"]

INVERTIBLE = 1e-10
"""Directions with less than this share of the largest variance (on the scale of correlations) are collinear columns."""


def coordinates(
    baseline: Baseline,
    treated: BoolArray,
    usable: BoolArray,
    distance: Distance,
    distance_covariates: Sequence[str] = (),
) -> FloatArray | None:
    """(n, q) coordinates, as many as the covariates have independent directions; None for the log-odds.

    distance_covariates  names of covariates (a category stands for all its levels); none: all of them
    Covariances and ranks are those of the `usable` rows; other rows get coordinates that nobody should use.
    Raises ValueError for an unknown distance, Refused for a column the design has not and when the covariates do not
    vary within the arms.
    """
    if distance == "log_odds":
        return None
    if distance not in ("mahalanobis", "robust_mahalanobis"):
        raise ValueError(f"distance must be log_odds, mahalanobis or robust_mahalanobis, not {distance!r}")
    names = [j for name in distance_covariates for j in columns_of(baseline, name, "distance_covariates")]
    matrix = baseline.matrix[:, names] if names else baseline.matrix
    varies = np.ptp(matrix[usable], axis=0) > 0 if usable.any() else np.zeros(matrix.shape[1], dtype=np.bool_)
    if not varies.any():
        raise Refused(f"distance = {distance!r} needs covariates that vary")
    matrix = matrix[:, varies]
    if distance == "robust_mahalanobis":
        return _robust(matrix, usable)
    scaled = matrix / matrix[usable].std(axis=0)
    within = scaled[usable]
    for arm in (treated[usable], ~treated[usable]):
        within[arm] -= within[arm].mean(axis=0)
    return _whitened(scaled, within.T @ within / max(len(within) - 2, 1))


def _robust(matrix: FloatArray, usable: BoolArray) -> FloatArray:
    ranks = np.zeros_like(matrix)
    ranks[usable] = rankdata(matrix[usable], axis=0)
    n = int(usable.sum())
    untied_sd = np.sqrt(n * (n + 1) / 12.0)
    correlation = np.atleast_2d(np.corrcoef(ranks[usable], rowvar=False))
    return _whitened(ranks / untied_sd, correlation)


def _whitened(matrix: FloatArray, covariance: FloatArray) -> FloatArray:
    """matrix × a square root of the generalised inverse of the covariance."""
    variances, directions = np.linalg.eigh(covariance)
    if not variances[-1] > 0:
        raise Refused("a Mahalanobis distance needs covariates that vary among the treated or the untreated")
    kept = variances > INVERTIBLE * variances[-1]
    return np.asarray(matrix @ (directions[:, kept] / np.sqrt(variances[kept])), dtype=np.float64)
