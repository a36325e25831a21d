"""Turns covariates, a target and several divisions into folds into out-of-fold predictions, all regressions at once.

Choice made: the same penalised regressions as models/nuisance.py, to the same precision, without fitting each of
divisions × folds from nothing. A linear fit without a fold is the whole's normal equations less the fold's. A logistic
fit without a fold starts at the fit to all, takes steps with the information of all less the fold's, there, and is
done when a step no longer moves it; gradients of all fits are computed in one pass over the rows, in blocks that stay
in the cache. Where such steps do not shrink (few people, a rare outcome) a fit is made by Newton's method on its own.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import expit

from models.contrasts import Kind
from models.nuisance import CONVERGED, fit_coefficients, solve_symmetric
from models.refusals import Refused
from models.results import BoolArray, FloatArray, IntArray

ROWS_AT_ONCE = 8_192
STEPS = 12


def cross_predict_all(
    matrix: FloatArray, target: FloatArray, learn_from: BoolArray, folds: IntArray, kind: Kind, l2_penalty: float
) -> FloatArray:
    """(n,) prediction of each row by models that did not see its fold, averaged over the divisions.

    matrix      (n, p) columns, standardised
    learn_from  (n,) rows the models are fitted on
    folds       (n, divisions) number of each row's fold, from 0, in each division
    Raises Refused when a fold leaves nothing to learn from, ValueError when the penalty is not positive.
    """
    if not l2_penalty > 0:
        raise ValueError(f"l2_penalty must be positive, not {l2_penalty}")
    columns = np.column_stack([np.ones(len(matrix)), matrix])
    n_folds = int(folds.max()) + 1
    constants = _constant_targets(target, learn_from, folds, n_folds)
    y = np.where(learn_from, target, 0.0)
    fit = _logistic if kind == "binary" else _linear
    coefficients = fit(columns, y, learn_from, folds, n_folds, l2_penalty, ~np.isnan(constants))
    predicted = np.empty(len(target))
    for rows in _blocks(len(target)):
        by_model = columns[rows] @ coefficients.reshape(-1, columns.shape[1]).T
        if kind == "binary":
            by_model = expit(by_model)
        by_model = np.where(np.isnan(constants.ravel()), by_model, constants.ravel())
        mine = folds[rows] + n_folds * np.arange(folds.shape[1])
        predicted[rows] = np.take_along_axis(by_model, mine, axis=1).mean(axis=1)
    return predicted


def _blocks(n: int) -> Iterator[slice]:
    for first in range(0, n, ROWS_AT_ONCE):
        yield slice(first, min(first + ROWS_AT_ONCE, n))


def _constant_targets(target: FloatArray, learn_from: BoolArray, folds: IntArray, n_folds: int) -> FloatArray:
    """(divisions, n_folds) the value of a target that never varies among the rows a model learns from, else nan."""
    constants = np.full((folds.shape[1], n_folds), np.nan)
    for division in range(folds.shape[1]):
        own = folds[learn_from, division]
        lowest, highest = np.full(n_folds, np.inf), np.full(n_folds, -np.inf)
        np.minimum.at(lowest, own, target[learn_from])
        np.maximum.at(highest, own, target[learn_from])
        for fold in range(n_folds):
            others = np.arange(n_folds) != fold
            low, high = lowest[others].min(), highest[others].max()
            if low > high:
                raise Refused("a fold has no rows left to learn from: use fewer folds")
            if low == high:
                constants[division, fold] = low
    return constants


def _information_by_fold(columns: FloatArray, weights: FloatArray, folds: IntArray, n_folds: int) -> FloatArray:
    """(divisions, n_folds, q, q) weighted cross-products of each fold's rows."""
    size = columns.shape[1]
    sums = np.zeros((folds.shape[1], n_folds, size, size))
    for rows in _blocks(len(columns)):
        weighted = columns[rows] * weights[rows, None]
        for division in range(folds.shape[1]):
            for fold in range(n_folds):
                here = folds[rows, division] == fold
                sums[division, fold] += weighted[here].T @ columns[rows][here]
    return sums


def _penalty(size: int, l2_penalty: float) -> FloatArray:
    penalty = np.full(size, l2_penalty)
    penalty[0] = 0.0
    return penalty


def _linear(
    columns: FloatArray,
    y: FloatArray,
    learn_from: BoolArray,
    folds: IntArray,
    n_folds: int,
    l2_penalty: float,
    is_constant: BoolArray,
) -> FloatArray:
    """(divisions, n_folds, q) ridge coefficients without each fold."""
    grams = _information_by_fold(columns, learn_from.astype(np.float64), folds, n_folds)
    penalty = np.diag(_penalty(columns.shape[1], l2_penalty))
    coefficients = np.zeros(grams.shape[:3])
    for division in range(folds.shape[1]):
        gram, moments = grams[division].sum(axis=0), np.zeros((n_folds, columns.shape[1]))
        for fold in range(n_folds):
            here = folds[:, division] == fold
            moments[fold] = y[here] @ columns[here]
        for fold in np.flatnonzero(~is_constant[division]).tolist():
            without = gram - grams[division, fold] + penalty
            coefficients[division, fold] = solve_symmetric(without, moments.sum(axis=0) - moments[fold])
    return coefficients


def _logistic(
    columns: FloatArray,
    y: FloatArray,
    learn_from: BoolArray,
    folds: IntArray,
    n_folds: int,
    l2_penalty: float,
    is_constant: BoolArray,
) -> FloatArray:
    """(divisions, n_folds, q) penalised logistic coefficients without each fold."""
    coefficients = np.zeros((*is_constant.shape, columns.shape[1]))
    if is_constant.all():
        return coefficients
    everybody = columns if learn_from.all() else columns[learn_from]
    start = fit_coefficients(everybody, y[learn_from], np.ones(len(everybody)), "binary", l2_penalty)
    risk = expit(columns @ start)
    information = _information_by_fold(columns, learn_from * risk * (1 - risk), folds, n_folds)
    without = information.sum(axis=1, keepdims=True) - information
    penalty = _penalty(columns.shape[1], l2_penalty)
    inverse = np.linalg.inv(without + np.diag(penalty))
    coefficients += start
    done, last = is_constant.copy(), np.full(is_constant.shape, np.inf)
    for _ in range(STEPS):
        gradient = _gradients(columns, y, learn_from, folds, coefficients) - penalty * coefficients
        step = np.einsum("dfij,dfj->dfi", inverse, gradient)
        size = np.abs(step).max(axis=2)
        shrinks = ~done & (size < last)
        coefficients[shrinks] += step[shrinks]
        done |= shrinks & (size < CONVERGED)
        last = np.where(shrinks, size, -np.inf)
        if (done | np.isneginf(last)).all():
            break
    for division, fold in zip(*np.nonzero(~done), strict=True):
        learn = learn_from & (folds[:, division] != fold)
        coefficients[division, fold] = fit_coefficients(
            columns[learn], y[learn], np.ones(int(learn.sum())), "binary", l2_penalty
        )
    return coefficients


def _gradients(
    columns: FloatArray, y: FloatArray, learn_from: BoolArray, folds: IntArray, coefficients: FloatArray
) -> FloatArray:
    """(divisions, n_folds, q) gradients of the log-likelihoods without each fold."""
    flat = coefficients.reshape(-1, columns.shape[1])
    first_of_division = coefficients.shape[1] * np.arange(folds.shape[1])
    sums = np.zeros((columns.shape[1], len(flat)))
    for rows in _blocks(len(columns)):
        residual = y[rows, None] - expit(columns[rows] @ flat.T)
        residual *= learn_from[rows, None]
        np.put_along_axis(residual, folds[rows] + first_of_division, 0.0, axis=1)
        sums += columns[rows].T @ residual
    return sums.T.reshape(coefficients.shape)
