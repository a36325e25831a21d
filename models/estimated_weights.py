"""Turns derivatives with respect to the weights into influence functions, minding where the weights came from.

Choice made: weights were estimated from the same rows, so the equations that made them are stacked under the estimating
equations of the effect (M-estimation: Lunceford & Davidian 2004, Stat Med 23:2937; Stefanski & Boos 2002, Am Stat
56:29): the score equations of the logistic regression under the ATT, ATC, ATE and overlap weights (Li, Morgan &
Zaslavsky 2018, JASA 113:390) and under matching weights, whose kink at a score of one half has probability nought (Li &
Greene 2013, Int J Biostat 9:215; Mao, Li & Greene 2019, Stat Methods Med Res 28:2439). Where the weights were scaled
within exact groups, that scaling, and the totals that were scaled to, are part of the estimator too. An approximation
where the score was fitted with an L2 penalty: the shrinkage bias of the coefficients is not part of the variance.

Outcomes that were not observed take rows out after the weights were made (`keep_observed`). The equations hold over all
rows, those included (`Design.before`), and so do totals that follow everybody (ATE, ATO); the weights of those observed
alone are used. Stacked so, the error is that of the two steps as they were done.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from models.propensity import comparable_rows, strata_of
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray
from models.score_equations import ScoreModel
from models.weighting.equations import equations_of
from models.weighting.overidentified import joint_equations

WeightsAre = Literal["estimated", "fixed"]

SAME_WEIGHT = 1e-6
"""A weight this close (relatively) to the formula follows it; a truncated weight does not."""

CALIBRATED = ("entropy", "balancing_score")
"""Values of `notes["weight_formula"]` of weights that balance covariates instead of following a score."""

CONSTANTS = ("stable",)
"""The same of weights that count as constants given the covariates and the arms."""

SINGULAR = 1e-10
"""Directions of the information matrix below this share of the largest are constant or collinear columns."""


@dataclass(frozen=True)
class Scaling:
    """Each arm of a group weighs together a total that follows Σ `adds` over the group's rows.

    group       (n,) number of the exact group
    adds        (n,) what a row adds to its group's total; 0 outside the design
    adds_slope  (n,) derivative of `adds` with respect to the row's log-odds
    """

    group: IntArray
    adds: FloatArray
    adds_slope: FloatArray


@dataclass(frozen=True)
class WeightModel:
    """How the weights of a design came about; `scores` is empty and `scaling` None when that plays no part.

    says      one phrase for the report
    blown_up  (n,) factors for the spread of rows around the mean of their group, None for 1
    """

    design: Design
    scores: tuple[ScoreModel, ...]
    scaling: Scaling | None
    says: str
    blown_up: FloatArray | None = None

    def influence(self, per_weight: FloatArray, arm: BoolArray) -> FloatArray:
        """(n, k) influence on k means of one arm, from (n, k) derivatives with respect to its rows' weights.

        arm is (n,) True for the rows of that arm; the derivatives are 0 elsewhere.
        """
        moves, per_added = per_weight, np.zeros_like(per_weight)
        adds, adds_slope = np.zeros(len(arm)), np.zeros(len(arm))
        if self.scaling is not None and not self._weighs_one(arm):
            moves, per_added = _follow_groups(per_weight, arm, self.scaling, self.design)
            adds, adds_slope = self.scaling.adds, self.scaling.adds_slope
            moves = moves if self.blown_up is None else moves * self.blown_up[:, None]
        influence = adds[:, None] * per_added + self.design.weights[:, None] * moves
        for score in self.scores:
            influence += score.influence(score.weight_slope[:, None] * moves + adds_slope[:, None] * per_added)
        return np.asarray(influence)

    def _weighs_one(self, arm: BoolArray) -> bool:
        """The arm whose rows are themselves the population was not scaled."""
        own = {"ATT": self.design.treated, "ATC": ~self.design.treated}.get(self.design.estimand)
        return own is not None and np.array_equal(arm, own)


def model_weights(baseline: Baseline, design: Design, weights_are: WeightsAre) -> WeightModel:
    """Find out what stands behind the weights of a design.

    Matched designs are left to their clusters, and strata carry their scaling. "fixed" asks for the classical sandwich.
    "estimated" needs weights that balance the covariates, as `notes["weight_formula"]` then says (entropy balancing,
    covariate-balancing scores), or that follow `design.score` by the formula of the estimand, or of matching weights
    where the note says so, up to a
    factor for each arm and exact group. Other weights count as fixed, and so do those of a score that is no plain
    logistic regression (a lasso's or a boosted one has no such equations) or the same for all (a randomised
    comparison). Truncated weights are constants, trimmed rows stay trimmed. The penalty of the score is read from
    `notes["l2_penalty"]` (on standardised columns; 0 when absent).
    """
    if weights_are not in ("estimated", "fixed"):
        raise ValueError(f'weights_are must be "estimated" or "fixed", not {weights_are!r}')
    inside = design.weights > 0
    if np.any(design.matched_set[inside] >= 0):
        is_stratified = design.notes.get("sets_are") == "strata"
        return _model_strata(design) if is_stratified else WeightModel(design, (), None, "clustered by matched set")
    fixed = WeightModel(design, (), None, "weights as fixed")
    if weights_are == "fixed" or design.notes.get("weight_formula") in CONSTANTS:
        return fixed
    group = np.unique(baseline.exact_group, return_inverse=True)[1].astype(np.int64)
    if design.notes.get("weight_formula") in CALIBRATED:
        return _model_calibrated(baseline, design, group)
    score_model = design.notes.get("score_model", "logistic")
    if score_model not in ("logistic", "logistic_by_stratum", "overidentified") or np.ptp(design.score[inside]) == 0:
        return fixed
    slope = _weight_slope(design, group)
    if slope is None:
        return fixed
    is_scaled = is_scaled_within_groups(design.before or design, group)
    scaling = Scaling(group, *_population(design, group)) if is_scaled else None
    strata = [comparable_rows(baseline, design.treated)]
    if score_model == "logistic_by_stratum":
        least = int(design.notes["least_in_a_stratum"])
        strata = strata_of(baseline, design.treated, strata[0], least)
    if score_model == "overidentified":
        scores: tuple[ScoreModel, ...] = (joint_equations(baseline, design, strata[0], slope),)
    else:
        scores = tuple(_score_model(baseline, design, slope, members) for members in strata)
    return WeightModel(design, scores, scaling, "weights as estimated")


def _model_calibrated(baseline: Baseline, design: Design, group: IntArray) -> WeightModel:
    """The equations hold the totals of the groups as well; totals of those observed alone are scaled to since."""
    if design.before is None:
        return WeightModel(design, equations_of(baseline, design), None, "weights as estimated")
    made = design.before
    change = np.divide(design.weights, made.weights, out=np.zeros_like(made.weights), where=made.weights > 0)
    equations = tuple(replace(each, weight_slope=each.weight_slope * change) for each in equations_of(baseline, made))
    scaling = Scaling(group, *_population(design, group)) if is_scaled_within_groups(made, group) else None
    return WeightModel(design, equations, scaling, "weights as estimated")


def _model_strata(design: Design) -> WeightModel:
    """Weights scaled to the population of the estimand within strata. The spread around the mean of a stratum's n rows
    is blown up by n / (n - 1); strata with a single row of an arm whose weights are scaled have no spread of their own
    and are taken together, which can only make the error larger."""
    made, used = design.before or design, (design.weights > 0) & (design.matched_set >= 0)
    number = np.where(made.weights > 0, made.matched_set + 1, 0).astype(np.int64)
    scaled = used & {"ATT": ~design.treated, "ATC": design.treated}.get(design.estimand, np.ones_like(used))
    size = np.zeros((2, number.max() + 1))
    for arm in (0, 1):
        size[arm] = np.bincount(number[scaled & (design.treated == arm)], minlength=size.shape[1])
    has_one = (size == 1).any(axis=0)[number]
    own = size[design.treated.astype(np.int64), number]
    blown_up = np.where(scaled & ~has_one, np.sqrt(own / np.maximum(own - 1, 1)), 1.0)
    whole = (made.weights > 0) & (np.bincount(number, weights=used) > 0)[number] & (number > 0)
    adds = {"ATT": used & design.treated, "ATC": used & ~design.treated}.get(design.estimand, whole).astype(np.float64)
    scaling = Scaling(np.where(has_one, 0, number), adds, np.zeros_like(adds))
    return WeightModel(design, (), scaling, "scaled within strata", blown_up)


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
    per_weight: FloatArray, arm: BoolArray, scaling: Scaling, design: Design
) -> tuple[FloatArray, FloatArray]:
    """(derivatives once a group's total is held, derivative with respect to what a row adds to it), both (n, k)."""
    group, weights = scaling.group, np.where(arm, design.weights, 0.0)
    total = np.bincount(group, weights=weights)
    added = np.bincount(group, weights=scaling.adds)
    sums = np.column_stack([np.bincount(group, weights=weights * column) for column in per_weight.T])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, per_added = np.nan_to_num(sums / total[:, None]), np.nan_to_num(sums / added[:, None])
    moves = np.where((arm & (design.weights > 0))[:, None], per_weight - mean[group], 0.0)
    return moves, per_added[group]


def _score_model(baseline: Baseline, design: Design, slope: FloatArray, fitted_on: BoolArray) -> ScoreModel:
    matrix = np.column_stack([np.ones(len(baseline.matrix)), _standardised(baseline.matrix, fitted_on)])
    information = matrix.T @ (matrix * (fitted_on * design.score * (1 - design.score))[:, None])
    information[1:, 1:] += float(design.notes.get("l2_penalty", 0.0)) * np.eye(matrix.shape[1] - 1)
    bread = np.asarray(np.linalg.pinv(information, rcond=SINGULAR, hermitian=True), dtype=np.float64)
    return ScoreModel(matrix, fitted_on * (design.treated - design.score), bread, fitted_on * slope)


def _standardised(matrix: FloatArray, rows: BoolArray) -> FloatArray:
    """Columns that vary among `rows`, centred and scaled by their mean and standard deviation there."""
    centre, spread = matrix[rows].mean(axis=0), matrix[rows].std(axis=0)
    varies = spread > SINGULAR * np.abs(centre)
    return np.asarray((matrix[:, varies] - centre[varies]) / spread[varies], dtype=np.float64)


def _formula_of(design: Design) -> str:
    return "matching" if design.notes.get("weight_formula") == "matching" else design.estimand


def _population(design: Design, group: IntArray) -> tuple[FloatArray, FloatArray]:
    """(n,) what each row adds to the total of its group, and its derivative in the row's log-odds: under the ATT and
    the ATC the observed of that arm, else everybody the design was made with, in groups that are still there."""
    inside = design.weights > 0
    if design.before is not None and design.estimand not in ("ATT", "ATC"):
        inside = (design.before.weights > 0) & (np.bincount(group, weights=design.weights) > 0)[group]
    score = design.score
    variance, nought = score * (1 - score), np.zeros_like(score)
    population = {
        "ATT": (design.treated, nought),
        "ATC": (~design.treated, nought),
        "ATE": (np.ones_like(score), nought),
        "ATO": (variance, variance * (1 - 2 * score)),
        "matching": (np.minimum(score, 1 - score), np.where(score < 0.5, variance, -variance)),
    }
    adds, slope = population[_formula_of(design)]
    return inside * adds.astype(np.float64), inside * slope


def _formulas(design: Design) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """(n,) weights by the formula of the estimand and their derivatives in the log-odds: treated, then controls."""
    score = np.clip(design.score, 1e-15, 1 - 1e-15)
    odds, variance = score / (1 - score), score * (1 - score)
    one, nought = np.ones_like(odds), np.zeros_like(odds)
    formulas = {
        "ATT": ((one, nought), (odds, odds)),
        "ATC": ((1 / odds, -1 / odds), (one, nought)),
        "ATE": ((1 / score, -1 / odds), (1 / (1 - score), odds)),
        "ATO": ((1 - score, -variance), (score, variance)),
        "matching": (
            (np.minimum(1, 1 / odds), np.where(score > 0.5, -1 / odds, 0.0)),
            (np.minimum(1, odds), np.where(score < 0.5, odds, 0.0)),
        ),
    }
    return formulas[_formula_of(design)]


def _weight_slope(design: Design, group: IntArray) -> FloatArray | None:
    """(n,) derivative of the weights with respect to the log-odds; None when an arm mostly has other weights."""
    slope = np.zeros(len(design.weights))
    for arm, (formula, derivative) in zip((design.treated, ~design.treated), _formulas(design), strict=True):
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
