"""Covariates → propensity scores by gradient-boosted trees that were kept from learning the few treated by heart.

scikit-learn's HistGradientBoosting at its defaults tells 300 treated from 100,000 others perfectly in the rows it saw.
Here trees are small, leaves hold many rows, and (1) everybody is scored by a model that saw no row of theirs
(cross-fitting over persons), (2) the number of trees is the one of smallest log-loss in those rows, (3) a logistic
regression of treatment on these log-odds calibrates them, so that they sum to the number treated (Platt 1999). Where
treatment is rare each model learns from the treated and a sample of the others, and the calibration puts the frequency
right again (McCaffrey, Ridgeway & Morral 2004, Psychol Methods 9:403, for boosting as a propensity score).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logit
from threadpoolctl import threadpool_limits

from models.propensity.folds import person_folds
from models.propensity.logistic import fit_logistic
from models.results import Baseline, BoolArray, FloatArray, IntArray

OTHERS_FOR_ONE = 50
MOST_TREES = 300
LEARNING_RATE, LEAVES = 0.05, 8
TREATED_IN_A_LEAF = 10
"""Rows a leaf must hold are as many as hold this number of treated on average."""
ONE_THREAD_BELOW = 100_000  # rows; OpenMP threads waiting for a busy machine cost more than they bring


@dataclass(frozen=True)
class BoostedScores:
    """(n,) calibrated log-odds, cross-fitted for the rows of the fit and the mean of all models for others; the models
    of the folds, what calibrated them, how many trees each has, and the sum of the scores over the rows of the fit."""

    linear: FloatArray
    models: list[Any]
    intercept: float
    slope: float
    n_trees: int
    total_score: float


def fit_boosted(
    baseline: Baseline, treated: BoolArray, rows: BoolArray, folds: int, rng: np.random.Generator
) -> BoostedScores:
    """Fit to the `rows`, score everybody. Raises ValueError when folds are asked for that the treated cannot fill."""
    fold = np.full(len(treated), -1, dtype=np.int64)
    fold[rows] = person_folds(baseline.person[rows], treated[rows], folds, rng)
    sample = _sample(baseline, treated, rows, rng)
    n_trees = _best_number(baseline.matrix, treated, fold, sample, folds)
    models = [_boost(baseline.matrix, treated, sample[fold[sample] != number], n_trees) for number in range(folds)]
    raw = _score_everybody(models, baseline.matrix, fold)
    fit = fit_logistic(raw[:, None], treated, rows, 1e-6)
    slope = float(fit.coefficients[0] / fit.moments.scale[0])
    if slope <= 0:  # nothing was learnt: people left out are not told apart
        share = float(treated[rows].mean())
        same = np.full(len(raw), float(logit(share)))
        return BoostedScores(same, models, float(logit(share)), 0.0, n_trees, share * float(rows.sum()))
    intercept = fit.intercept - slope * float(fit.moments.mean[0])
    return BoostedScores(fit.linear, models, intercept, slope, n_trees, fit.total_score)


def _sample(baseline: Baseline, treated: BoolArray, rows: BoolArray, rng: np.random.Generator) -> IntArray:
    """Rows to learn from, in an order that does not depend on the order they came in: all of the rarer arm and at most
    OTHERS_FOR_ONE of the other for each of them."""
    key = baseline.matrix @ np.random.default_rng(0).normal(size=baseline.matrix.shape[1])
    arms = []
    for arm in (treated, ~treated):
        here = np.flatnonzero(rows & arm)
        arms.append(here[np.lexsort((key[here], baseline.index_day[here], baseline.person[here]))])
    most = OTHERS_FOR_ONE * min(len(arm) for arm in arms)
    taken = [arm if len(arm) <= most else np.sort(rng.permutation(len(arm))[:most]) for arm in arms]
    chosen = [arm if len(arm) <= most else arm[place] for arm, place in zip(arms, taken, strict=True)]
    return np.concatenate(chosen).astype(np.int64)


def _boost(matrix: FloatArray, treated: BoolArray, rows: IntArray, n_trees: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    share = treated[rows].mean()
    model = HistGradientBoostingClassifier(
        learning_rate=LEARNING_RATE,
        max_iter=n_trees,
        max_leaf_nodes=LEAVES,
        min_samples_leaf=max(20, int(TREATED_IN_A_LEAF / min(share, 1 - share))),
        early_stopping=False,
        random_state=0,
    )
    with threadpool_limits(1 if len(rows) < ONE_THREAD_BELOW else None, user_api="openmp"):
        return model.fit(matrix[rows], treated[rows])


def _best_number(matrix: FloatArray, treated: BoolArray, fold: IntArray, sample: IntArray, folds: int) -> int:
    """Trees at which the log-loss of the folds left out is smallest."""
    loss = np.zeros(MOST_TREES)
    for number in range(folds):
        out = sample[fold[sample] == number]
        model = _boost(matrix, treated, sample[fold[sample] != number], MOST_TREES)
        for place, raw in enumerate(model.staged_decision_function(matrix[out])):
            loss[place] += np.logaddexp(0.0, raw).sum() - raw[treated[out]].sum()
    return int(np.argmin(loss)) + 1


def _score_everybody(models: list[Any], matrix: FloatArray, fold: IntArray) -> FloatArray:
    raw = np.zeros(len(matrix))
    for number, model in enumerate(models):
        own = fold == number
        raw[own] = model.decision_function(matrix[own])
        if (fold < 0).any():
            raw[fold < 0] += model.decision_function(matrix[fold < 0]) / len(models)
    return raw
