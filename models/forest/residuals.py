"""Turns outcomes and a designed sample into what is left of treatment and outcome once covariates have said their say.

Choice made: a forest is only as good as the residuals it splits (Chernozhukov et al. 2018, Econom J 21:C1): what bends
in the outcome or in who is treated, and is not foreseen, the forest takes for an effect. So outcomes are foreseen by
the best mix of ridge regression, boosted trees, and boosted trees on what the regression left (weights at least 0, by
least squares out of fold: Breiman 1996, Mach Learn 24:49); treatment by logistic regression or boosted trees, whichever
is the likelier out of fold. Both are chosen anew in each study and see no effect.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from models.contrasts import Kind
from models.cross_fitting import DIVISIONS, SURE
from models.fold_regressions import cross_predict_all
from models.influence import Clusters, find_clusters
from models.nuisance import assign_folds, recalibrate, regression_columns, rows_in_order
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray

L2_PENALTY = 1.0
"""Of the cross-fitted regressions."""

OUTCOME_TREES: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 8}
TREATMENT_TREES: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 4, "max_features": 0.5}
"""A third of the treated stand against two thirds: who is treated is harder to foresee than what becomes of him."""


@dataclass(frozen=True)
class Residuals:
    """The m rows of the designed sample, in an order that does not depend on how they came.

    rows             row numbers in the design
    score, expected  probability of treatment, and outcome whatever the treatment, both by models of other folds
    if_treated       outcome under treatment, learnt from the treated; the outcome itself where the estimand is theirs
    if_control       the same of controls
    fold             (m,) clusters stay whole; the folds that heterogeneity is judged across
    """

    rows: IntArray
    clusters: Clusters
    x: FloatArray
    y: FloatArray
    treated: BoolArray
    score: FloatArray
    expected: FloatArray
    if_treated: FloatArray
    if_control: FloatArray
    fold: IntArray

    @property
    def cluster(self) -> IntArray:
        return self.clusters.code[self.rows]


def find_residuals(
    values: FloatArray, baseline: Baseline, design: Design, kind: Kind, folds: int, rng: Generator
) -> Residuals:
    """Cross-fitted predictions of treatment and outcome on the designed sample."""
    clusters, rows = find_clusters(baseline, design), rows_in_order(values, baseline, design)
    treated, y = design.treated[rows], values[rows]
    columns, everyone = regression_columns(baseline, rows), np.ones_like(treated)
    divisions = [assign_folds(clusters, rows, design.treated, folds, rng) for _ in range(DIVISIONS)]
    fold = np.column_stack(divisions)
    # One thread, so that sums have one order: trees split on the last bit of what is left.
    with threadpool_limits(1):
        return Residuals(
            rows=rows,
            clusters=clusters,
            x=np.ascontiguousarray(baseline.matrix[rows]),
            y=y,
            treated=treated,
            score=np.clip(_foresee_treatment(columns, treated, fold), SURE, 1 - SURE),
            expected=_foresee_outcome(columns, y, everyone, fold, kind),
            if_treated=y if design.estimand == "ATT" else _foresee_outcome(columns, y, treated, fold, kind),
            if_control=y if design.estimand == "ATC" else _foresee_outcome(columns, y, ~treated, fold, kind),
            fold=divisions[0],
        )


def _foresee_outcome(
    columns: FloatArray, y: FloatArray, learn_from: BoolArray, fold: IntArray, kind: Kind
) -> FloatArray:
    """(m,) outcomes predicted from the `learn_from` rows of other folds."""
    regression = cross_predict_all(columns, y, learn_from, fold, kind, L2_PENALTY)
    boosted = _boosted(columns, y, learn_from, fold[:, 0])
    on_top = regression + _boosted(columns, y - regression, learn_from, fold[:, 0])
    return _mix(np.column_stack([regression, boosted, on_top]), y, learn_from)


def _mix(predicted: FloatArray, y: FloatArray, learn_from: BoolArray) -> FloatArray:
    """(m,) mean outcome and what the (m, k) predictions say beyond it, each by its weight."""
    centre = predicted[learn_from].mean(axis=0)
    mean = float(y[learn_from].mean())
    weights, _ = nnls(predicted[learn_from] - centre, y[learn_from] - mean)
    return np.asarray(mean + (predicted - centre) @ weights, dtype=np.float64)


def _foresee_treatment(columns: FloatArray, treated: BoolArray, fold: IntArray) -> FloatArray:
    """(m,) probabilities of treatment predicted from other folds."""
    target, everyone = treated.astype(np.float64), np.ones_like(treated)
    regression = cross_predict_all(columns, target, everyone, fold, "binary", L2_PENALTY)
    boosted = _boosted(columns, target, everyone, fold[:, 0], is_probability=True)
    candidates = [recalibrate(each, target, everyone, "binary") for each in (regression, boosted)]
    return min(candidates, key=lambda score: _surprise(score, treated))


def _surprise(score: FloatArray, treated: BoolArray) -> float:
    chance = np.clip(np.where(treated, score, 1 - score), SURE, 1.0)
    return float(-np.log(chance).mean())


def _boosted(
    columns: FloatArray, y: FloatArray, learn_from: BoolArray, fold: IntArray, *, is_probability: bool = False
) -> FloatArray:
    """(m,) predictions by boosted trees of the other folds."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    predicted = np.empty(len(y))
    for number in np.unique(fold):
        here = fold == number
        learn = learn_from & ~here
        model: Any
        if is_probability:
            model = HistGradientBoostingClassifier(early_stopping=False, random_state=0, **TREATMENT_TREES)
            predicted[here] = model.fit(columns[learn], y[learn]).predict_proba(columns[here])[:, 1]
        else:
            model = HistGradientBoostingRegressor(early_stopping=False, random_state=0, **OUTCOME_TREES)
            predicted[here] = model.fit(columns[learn], y[learn]).predict(columns[here])
    return predicted
