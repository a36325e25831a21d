"""Turns covariates into out-of-fold predictions of treatment and outcome that may bend: regressions and boosted trees.

Choice made: outcomes are foreseen by the best mix of ridge regression, boosted trees, and boosted trees on what the
regression left (weights at least 0, by least squares out of fold: Breiman 1996, Mach Learn 24:49); treatment by
logistic regression or boosted trees, whichever is the likelier out of fold. Where regressions are right they are chosen
and little is lost; where selection or outcome bends, trees follow. Trees are small, because arms are.
"""

from typing import Any

import numpy as np
from scipy.optimize import nnls

from models.contrasts import Kind
from models.fold_regressions import cross_predict_all
from models.nuisance import SURE, recalibrate
from models.results import BoolArray, FloatArray, IntArray

OUTCOME_TREES: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 8}
TREATMENT_TREES: dict[str, Any] = {"max_iter": 60, "max_leaf_nodes": 4, "max_features": 0.5}
"""A third of the treated stand against two thirds: who is treated is harder to foresee than what becomes of him."""


def foresee_outcome(
    columns: FloatArray,
    y: FloatArray,
    learn_from: BoolArray,
    fold: IntArray,
    fold_of_trees: IntArray,
    kind: Kind,
    l2_penalty: float,
) -> FloatArray:
    """(m,) outcomes predicted from the `learn_from` rows of other folds.

    columns              (m, q) standardised
    fold, fold_of_trees  (m, divisions) number of each row's fold in each division: of the regressions and of the trees,
                         which cost more; predictions are averaged over the divisions
    l2_penalty           of the regressions
    """
    regression = cross_predict_all(columns, y, learn_from, fold, kind, l2_penalty)
    boosted = _boosted(columns, y, learn_from, fold_of_trees)
    on_top = regression + _boosted(columns, y - regression, learn_from, fold_of_trees)
    return _mix(np.column_stack([regression, boosted, on_top]), y, learn_from)


def foresee_treatment(
    columns: FloatArray, treated: BoolArray, fold: IntArray, fold_of_trees: IntArray, l2_penalty: float
) -> FloatArray:
    """(m,) probabilities of treatment predicted from other folds; see `foresee_outcome`."""
    target, everyone = treated.astype(np.float64), np.ones_like(treated)
    regression = cross_predict_all(columns, target, everyone, fold, "binary", l2_penalty)
    boosted = _boosted(columns, target, everyone, fold_of_trees, is_probability=True)
    candidates = [recalibrate(each, target, everyone, "binary") for each in (regression, boosted)]
    return min(candidates, key=lambda score: _surprise(score, treated))


def _mix(predicted: FloatArray, y: FloatArray, learn_from: BoolArray) -> FloatArray:
    """(m,) mean outcome and what the (m, k) predictions say beyond it, each by its weight."""
    centre = predicted[learn_from].mean(axis=0)
    mean = float(y[learn_from].mean())
    weights, _ = nnls(predicted[learn_from] - centre, y[learn_from] - mean)
    return np.asarray(mean + (predicted - centre) @ weights, dtype=np.float64)


def _surprise(score: FloatArray, treated: BoolArray) -> float:
    chance = np.clip(np.where(treated, score, 1 - score), SURE, 1.0)
    return float(-np.log(chance).mean())


def _boosted(
    columns: FloatArray, y: FloatArray, learn_from: BoolArray, fold: IntArray, *, is_probability: bool = False
) -> FloatArray:
    """(m,) predictions by boosted trees of the other folds, averaged over the divisions. One thread, so that sums have
    one order."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    predicted = np.zeros(len(y))
    with threadpool_limits(1):
        for division in fold.T:
            for number in np.unique(division):
                here = division == number
                learn = learn_from & ~here
                model: Any
                if is_probability:
                    model = HistGradientBoostingClassifier(early_stopping=False, random_state=0, **TREATMENT_TREES)
                    found = model.fit(columns[learn], y[learn]).predict_proba(columns[here])[:, 1]
                else:
                    model = HistGradientBoostingRegressor(early_stopping=False, random_state=0, **OUTCOME_TREES)
                    found = model.fit(columns[learn], y[learn]).predict(columns[here])
                predicted[here] += found / fold.shape[1]
    return predicted
