"""The regressions behind doubly robust effects: against scikit-learn, in folds, and in one order of rows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from models.fold_regressions import cross_predict_all
from models.influence import find_clusters
from models.nuisance import (
    assign_folds,
    cross_predict,
    fit_ridge,
    regression_columns,
    rows_in_order,
)
from models.results import Design
from tests.models.effect_samples import (
    baseline_of,
    golden_matched,
    golden_weighted,
)

OUTCOMES = {"y": "binary", "z": "continuous"}


def sample(name):
    return golden_matched() if name == "matched" else golden_weighted(name)


@pytest.mark.parametrize("kind", OUTCOMES.values())
@pytest.mark.parametrize("penalty", [0.3, 5.0])
def test_regressions_agree_with_scikit_learn(kind, penalty):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4)) * [1, 3, 0.2, 1]
    y = (rng.random(300) < expit(x[:, 0] - 1)).astype(float) if kind == "binary" else x[:, 1] + rng.normal(size=300)
    predicted = fit_ridge(x, y, kind, penalty)(x)
    if kind == "binary":
        model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10).fit(x, y)
        np.testing.assert_allclose(predicted, model.predict_proba(x)[:, 1], rtol=1e-7)
    else:
        np.testing.assert_allclose(predicted, Ridge(alpha=penalty, solver="cholesky").fit(x, y).predict(x), rtol=1e-9)


def test_a_rare_treatment_is_fitted_to_the_end():
    # DEPENDENCIES of the project: default tolerances leave the sum of the scores 3 % off; here 40 in 40,000.
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40_000, 5))
    y = np.zeros(40_000)
    y[np.argsort(-(x[:, 0] + rng.gumbel(size=40_000)))[:40]] = 1
    assert fit_ridge(x, y, "binary", 1.0)(x).sum() == pytest.approx(40, rel=1e-9)


def test_separated_data_are_fitted():
    x = np.linspace(-1, 1, 50)[:, None]
    predicted = fit_ridge(x, (x[:, 0] > 0).astype(float), "binary", 0.01)(x)
    assert (np.diff(predicted) > 0).all()
    assert predicted[0] < 0.01
    assert predicted[-1] > 0.99


def test_a_target_that_never_varies_is_predicted_as_it_is():
    np.testing.assert_array_equal(fit_ridge(np.eye(3), np.zeros(3), "binary", 1.0)(np.eye(3)), 0)


def test_folds_keep_clusters_whole_and_treated_spread():
    data, baseline, design = golden_matched()
    clusters, rows = find_clusters(baseline, design), rows_in_order(data["y"], baseline, design)
    fold = assign_folds(clusters, rows, design.treated, 5, np.random.default_rng(4))
    for cluster in np.unique(clusters.code[rows]):
        assert np.unique(fold[clusters.code[rows] == cluster]).size == 1
    # 53 clusters in 5 folds: 10 or 11 each, with one or two treated a cluster.
    per_fold = [np.unique(clusters.code[rows][fold == number]).size for number in range(5)]
    assert sorted(per_fold) == [10, 10, 11, 11, 11]


def test_nobody_is_predicted_by_a_model_that_saw_him():
    x, fold = np.zeros((6, 0)), np.array([0, 0, 1, 1, 2, 2])
    target = np.array([1.0, 2, 3, 4, 5, 6])
    learn = np.array([True, True, True, True, True, False])
    # Without covariates the prediction is the mean of the other folds' rows to learn from.
    np.testing.assert_allclose(cross_predict(x, target, learn, fold, "continuous", 1.0), [4, 4, 8 / 3, 8 / 3, 2.5, 2.5])


@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize(("n", "level"), [(60, -0.5), (400, -2.5), (20_000, -4.0), (90, -3.0)])
def test_all_regressions_at_once_are_those_made_one_by_one(kind, n, level):
    rng = np.random.default_rng(n)
    x = np.exp(rng.normal(size=(n, 5))) - 1.6
    target = (rng.random(n) < expit(level + x[:, 0] / 2)).astype(float) if kind == "binary" else x @ np.ones(5)
    learn = rng.random(n) < 0.7
    folds = np.column_stack([rng.permutation(np.arange(n) % 4) for _ in range(3)])
    each = [cross_predict(x, target, learn, folds[:, division], kind, 0.5) for division in range(3)]
    found = cross_predict_all(x, target, learn, folds, kind, 0.5)
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=1e-8, atol=1e-10)


def test_all_regressions_at_once_when_the_target_never_varies_without_a_fold():
    # The only event lies in fold 0: the model that predicts fold 0 has seen none.
    target, folds = np.zeros(40), np.arange(40)[:, None] % 4
    target[4] = 1.0
    x = np.linspace(-1, 1, 40)[:, None]
    everyone = np.ones(40, dtype=bool)
    found = cross_predict_all(x, target, everyone, folds, "binary", 1.0)
    np.testing.assert_array_equal(found[folds[:, 0] == 0], 0.0)
    np.testing.assert_allclose(found, cross_predict(x, target, everyone, folds[:, 0], "binary", 1.0), rtol=1e-8)
    with pytest.raises(ValueError, match="use fewer folds"):
        cross_predict_all(x, target, folds[:, 0] == 0, folds, "binary", 1.0)


def test_rows_come_in_one_order_whatever_the_order_they_came_in():
    rng = np.random.default_rng(8)
    n = 500
    person = rng.integers(0, 300, n)
    baseline = baseline_of(rng.integers(0, 2, (n, 3)).astype(float), person)
    outcome, weights = rng.integers(0, 2, n).astype(float), (rng.random(n) < 0.8).astype(float)
    treated, no_set = rng.random(n) < 0.3, np.full(n, -1)
    design = Design("by_hand", "ATT", treated, np.full(n, 0.3), weights, no_set)
    rows = rows_in_order(outcome, baseline, design)
    keys = (outcome, *baseline.matrix.T[::-1], treated, baseline.index_day, person)
    inside = np.flatnonzero(weights > 0)
    np.testing.assert_array_equal(rows, inside[np.lexsort([key[inside] for key in keys])])


def test_exact_groups_become_indicators_and_constant_columns_go():
    baseline = replace(
        baseline_of(np.column_stack([[1.0, 3, 1, 3], np.full(4, 0.1)])), exact_group=np.array([4, 4, 7, 7])
    )
    np.testing.assert_array_equal(
        regression_columns(baseline, np.arange(4)), [[-1, 1, 0], [1, 1, 0], [-1, 0, 1], [1, 0, 1]]
    )
