"""Turns derivatives with respect to the weights into influence functions, minding where the weights came from.

Choice made: propensity weights were estimated from the same rows, so the score equations of the logistic regression
are stacked under the estimating equations of the effect (M-estimation: Lunceford & Davidian 2004, Stat Med 23:2937;
Stefanski & Boos 2002, Am Stat 56:29). Where the weights were scaled to the treated (ATT) or to everybody (ATE) within
exact groups, that scaling is part of the estimator too. An approximation where the score was fitted with an L2
penalty: the shrinkage bias of the coefficients is not part of the variance.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray

WeightsAre = Literal["estimated", "fixed"]

SAME_WEIGHT = 1e-6
"""A weight this close (relatively) to the formula follows it; a truncated weight does not."""

SINGULAR = 1e-10
"""Directions of the information matrix below this share of the largest are constant or collinear columns."""


@dataclass(frozen=True)
class ScoreModel:
    """The logistic propensity model as far as the variance needs it.

    design_matrix  (n, q) intercept and standardised covariates
    residual       (n,) treated minus score, 0 for rows the score was not fitted on
    bread          (q, q) inverse of the (penalised) information
    weight_slope   (n,) derivative of each weight, before scaling, with respect to the row's log-odds
    """

    design_matrix: FloatArray
    residual: FloatArray
    bread: FloatArray
    weight_slope: FloatArray


@dataclass(frozen=True)
class WeightModel:
    """How the weights of a design came about; `score` and `group` are None when that plays no part in the variance.

    group     (n,) number of the exact group or stratum within which the weights were scaled
    says      one phrase for the report
    blown_up  (n,) factors for the spread of rows around the mean of their group, or None for none
    """

    design: Design
    score: ScoreModel | None
    group: IntArray | None
    says: str
    blown_up: FloatArray | None = None

    def influence(self, per_weight: FloatArray, arm: BoolArray) -> FloatArray:
        """(n, k) influence on k means of one arm, from (n, k) derivatives with respect to its rows' weights.

        arm is (n,) True for the rows of that arm; the derivatives are 0 elsewhere.
        """
        moves, influence = per_weight, np.zeros_like(per_weight)
        if self.group is not None:
            moves, influence = _follow_groups(per_weight, arm, self.group, self.design)
        if self.blown_up is not None:
            moves = moves * self.blown_up[:, None]
        influence = influence + self.design.weights[:, None] * moves
        if self.score is not None:
            pull = self.score.design_matrix.T @ (self.score.weight_slope[:, None] * moves)
            influence += self.score.residual[:, None] * (self.score.design_matrix @ (self.score.bread @ pull))
        return influence


def model_weights(baseline: Baseline, design: Design, weights_are: WeightsAre) -> WeightModel:
    """Find out what stands behind the weights of a design.

    Matched designs are left to their clusters. "fixed" asks for the classical sandwich. "estimated" needs weights that
    follow `design.score` as e/(1-e) (ATT) or the inverse probability of the own arm (ATE), up to a factor for each arm
    and exact group; other weights, and a score that is the same for all (a randomised comparison), count as fixed.
    Truncated weights are constants, trimmed rows stay trimmed. The penalty of the score is read from
    `design.notes["l2_penalty"]` (on standardised columns; 0 when absent).
    """
    if weights_are not in ("estimated", "fixed"):
        raise ValueError(f'weights_are must be "estimated" or "fixed", not {weights_are!r}')
    inside = design.weights > 0
    if design.notes.get("sets_are") == "strata":
        return _model_strata(design)
    if np.any(design.matched_set[inside] >= 0):
        return WeightModel(design, None, None, "clustered by matched set")
    group = np.unique(baseline.exact_group, return_inverse=True)[1].astype(np.int64)
    slope = None
    if weights_are == "estimated" and np.ptp(design.score[inside]) > 0:
        slope = _weight_slope(design, group)
    if slope is None:
        return WeightModel(design, None, None, "weights as fixed")
    scaled = is_scaled_within_groups(design, group)
    score = _score_model(baseline, design, slope)
    return WeightModel(design, score, group if scaled else None, "weights as estimated")


def _model_strata(design: Design) -> WeightModel:
    """Weights scaled to the focal arm (or all) within strata. The spread around the mean of a stratum's n rows is blown
    up by n / (n - 1); strata with a single row of an arm whose weights are scaled have no spread of their own and are
    taken together, which can only make the error larger."""
    used = (design.weights > 0) & (design.matched_set >= 0)
    number = np.where(used, design.matched_set + 1, 0).astype(np.int64)
    scaled = used & {"ATT": ~design.treated, "ATC": design.treated}.get(design.estimand, np.ones_like(used))
    size = np.zeros((2, number.max() + 1))
    for arm in (0, 1):
        size[arm] = np.bincount(number[scaled & (design.treated == arm)], minlength=size.shape[1])
    has_one = (size == 1).any(axis=0)
    own = size[design.treated.astype(np.int64), number]
    blown_up = np.sqrt(own / np.maximum(own - 1, 1))
    blown_up = np.where(scaled & ~has_one[number], blown_up, 1.0)
    return WeightModel(design, None, np.where(has_one[number], 0, number), "scaled within strata", blown_up)


def is_scaled_within_groups(design: Design, group: IntArray) -> bool:
    """Whether both arms' weights stand in the same proportion in each of two or more exact groups."""
    treated = np.bincount(group, weights=design.weights * design.treated)
    control = np.bincount(group, weights=design.weights * ~design.treated)
    used = treated + control > 0
    if used.sum() < 2 or not np.all(treated[used] > 0):
        return False
    proportion = control[used] / treated[used]
    return bool(np.ptp(proportion) <= SAME_WEIGHT * proportion.max())


def _follow_groups(
    per_weight: FloatArray, arm: BoolArray, group: IntArray, design: Design
) -> tuple[FloatArray, FloatArray]:
    """(derivatives once a group's total is held, influence of the rows that set that total), both (n, k).

    The total weight of an arm in a group follows the number of treated rows there (ATT), of untreated ones (ATC) or of
    all rows (ATE).
    """
    focal = {"ATT": design.treated, "ATC": ~design.treated}.get(design.estimand)
    is_source = (design.weights > 0) & (True if focal is None else focal)
    if focal is not None and np.array_equal(arm, focal):
        return per_weight, np.zeros_like(per_weight)
    weights = np.where(arm, design.weights, 0.0)
    total = np.bincount(group, weights=weights)
    n_source = np.bincount(group, weights=is_source.astype(np.float64))
    sums = np.column_stack([np.bincount(group, weights=weights * column) for column in per_weight.T])
    with np.errstate(invalid="ignore"):
        mean, per_source = np.nan_to_num(sums / total[:, None]), np.nan_to_num(sums / n_source[:, None])
    moves = np.where((arm & (design.weights > 0))[:, None], per_weight - mean[group], 0.0)
    return moves, is_source[:, None] * per_source[group]


def _score_model(baseline: Baseline, design: Design, slope: FloatArray) -> ScoreModel:
    fitted_on = comparable_rows(baseline, design.treated)
    matrix = np.column_stack([np.ones(len(baseline.matrix)), _standardised(baseline.matrix, fitted_on)])
    information = matrix.T @ (matrix * (fitted_on * design.score * (1 - design.score))[:, None])
    information[1:, 1:] += float(design.notes.get("l2_penalty", 0.0)) * np.eye(matrix.shape[1] - 1)
    bread = np.asarray(np.linalg.pinv(information, rcond=SINGULAR, hermitian=True), dtype=np.float64)
    return ScoreModel(matrix, fitted_on * (design.treated - design.score), bread, slope)


def _standardised(matrix: FloatArray, rows: BoolArray) -> FloatArray:
    """Columns that vary among `rows`, centred and scaled by their mean and standard deviation there."""
    centre, spread = matrix[rows].mean(axis=0), matrix[rows].std(axis=0)
    varies = spread > SINGULAR * np.abs(centre)
    return np.asarray((matrix[:, varies] - centre[varies]) / spread[varies], dtype=np.float64)


def _weight_slope(design: Design, group: IntArray) -> FloatArray | None:
    """(n,) derivative of the weights with respect to the log-odds; None when an arm mostly has other weights."""
    score = np.clip(design.score, 1e-15, 1 - 1e-15)
    odds = score / (1 - score)
    if design.estimand == "ATT":
        formulas = ((design.treated, np.ones_like(odds), np.zeros_like(odds)), (~design.treated, odds, odds))
    else:
        formulas = ((design.treated, 1 / score, -1 / odds), (~design.treated, 1 / (1 - score), odds))
    slope = np.zeros_like(odds)
    for arm, formula, derivative in formulas:
        rows = np.flatnonzero(arm & (design.weights > 0))
        factor = np.zeros(group.max() + 1)
        # Truncation only lowers weights, so the largest factor of a group is the one that was not truncated.
        np.maximum.at(factor, group[rows], design.weights[rows] / formula[rows])
        scale = factor[group[rows]]
        follows = np.abs(design.weights[rows] / (scale * formula[rows]) - 1) < SAME_WEIGHT
        if follows.sum() < rows.size / 2:
            return None
        slope[rows[follows]] = (scale * derivative[rows])[follows]
    return slope
