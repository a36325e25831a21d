"""Propensity scores and a design → equipoise before it, and how well scores still tell the arms apart after it.

Equipoise: a row with a preference score of 0.3 to 0.7 could have gone either way (models/propensity/preference.py).
The c-statistic after the design is that of a score fitted anew to the designed sample (Franklin et al. 2014, Stat Med
33:1685). Fitted and judged on the same rows it exceeds 0.5 by chance alone, so what chance gives stands beside it:
under balance the sample distance D² between two arms of n1 and n0 rows in p covariates is on average
p (n1 + n0) / (n1 n0) × (n1 + n0 - 2) / (n1 + n0 - p - 3), and c = Φ(D / √2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from models.penalty import penalty_of_weighted
from models.propensity import comparable_rows
from models.propensity.preference import EQUIPOISE, preference_score
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity

SAME = 1e-9  # log-odds this close are tied: the last bits of a fit decide nothing
MOST_CELLS = 100_000_000  # a fit to more than 800 MB is not worth its memory for a diagnostic
SINGULAR = 1e-10  # a spread below this share of the column's size is none


@dataclass(frozen=True)
class ScoreDiagnostics:
    """Shares and c-statistics, 0..1; nan where an arm has no row. No score is fitted anew to more than 10^8 cells.

    equipoise                share of all comparable rows with a preference score of 0.3 to 0.7
    equipoise_treated        the same of the treated
    equipoise_control        the same of the untreated
    c_statistic_after        of the score the design was made with, under its weights
    c_statistic_refitted     of a score fitted anew to the designed rows, under the weights
    c_statistic_by_chance    what the latter would be on average in a randomised trial of that effective size
    """

    equipoise: float
    equipoise_treated: float
    equipoise_control: float
    c_statistic_after: float
    c_statistic_refitted: float
    c_statistic_by_chance: float


def measure_scores(baseline: Baseline, design: Design, propensity: Propensity) -> ScoreDiagnostics:
    """See `ScoreDiagnostics` for each measure."""
    usable, treated = comparable_rows(baseline, design.treated), design.treated
    balanced = _in_equipoise(propensity.linear, treated, usable)
    refitted, by_chance = _refitted(baseline, design)
    return ScoreDiagnostics(
        equipoise=_share(balanced, usable),
        equipoise_treated=_share(balanced, usable & treated),
        equipoise_control=_share(balanced, usable & ~treated),
        c_statistic_after=weighted_c_statistic(propensity.linear, treated, design.weights),
        c_statistic_refitted=refitted,
        c_statistic_by_chance=by_chance,
    )


def weighted_c_statistic(score: FloatArray, treated: BoolArray, weights: FloatArray) -> float:
    """Chance that a treated row scores above an untreated one, both drawn by their weights (ties count half)."""
    score = np.round(score / SAME) * SAME
    control = ~treated & (weights > 0)
    case = treated & (weights > 0)
    if not case.any() or not control.any():
        return float("nan")
    order = np.argsort(score[control], kind="stable")
    at, cumulated = score[control][order], np.concatenate([[0.0], np.cumsum(weights[control][order])])
    below = cumulated[np.searchsorted(at, score[case], "left")]
    not_above = cumulated[np.searchsorted(at, score[case], "right")]
    wins = float(weights[case] @ (below + not_above)) / 2.0
    return wins / float(weights[case].sum() * cumulated[-1])


def _in_equipoise(linear: FloatArray, treated: BoolArray, usable: BoolArray) -> BoolArray:
    if not (usable & treated).any() or treated[usable].all():
        return np.zeros(len(treated), dtype=np.bool_)
    preference = preference_score(linear, treated, usable)
    inside: BoolArray = (preference >= EQUIPOISE[0]) & (preference <= EQUIPOISE[1])
    return inside


def _share(which: BoolArray, among: BoolArray) -> float:
    return float(which[among].mean()) if among.any() else float("nan")


def _refitted(baseline: Baseline, design: Design) -> tuple[float, float]:
    inside = design.weights > 0
    treated, weights = design.treated[inside], design.weights[inside]
    if not treated.any() or treated.all() or treated.size * baseline.matrix.shape[1] > MOST_CELLS:
        return float("nan"), float("nan")
    columns = _standardised(baseline.matrix[inside], weights)
    if columns.shape[1] == 0:
        return 0.5, 0.5
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=200)
    # The penalty (C = 1) stands beside as many people as the weights are worth, whatever their unit.
    model.fit(columns, treated, sample_weight=weights / penalty_of_weighted(1.0, weights))
    found = weighted_c_statistic(columns @ model.coef_[0], treated, weights)
    return found, _by_chance(columns, treated, weights)


def _standardised(matrix: FloatArray, weights: FloatArray) -> FloatArray:
    share = weights / weights.sum()
    centre = share @ matrix
    spread = np.sqrt(share @ (matrix - centre) ** 2)
    varies = spread > SINGULAR * np.abs(matrix).max(axis=0)
    return np.asarray((matrix[:, varies] - centre[varies]) / spread[varies], dtype=np.float64)


def _by_chance(columns: FloatArray, treated: BoolArray, weights: FloatArray) -> float:
    n_1, n_0 = (float(w.sum() ** 2 / (w @ w)) for w in (weights[treated], weights[~treated]))
    eigenvalues = np.linalg.eigvalsh(columns.T @ (weights[:, None] * columns))
    p = int((eigenvalues > SINGULAR * eigenvalues[-1]).sum())
    if n_1 + n_0 - p - 3.0 <= 0:
        return float("nan")
    distance = p * (n_1 + n_0) / (n_1 * n_0) * (n_1 + n_0 - 2.0) / (n_1 + n_0 - p - 3.0)
    return float(ndtr(np.sqrt(distance / 2.0)))
