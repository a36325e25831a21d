"""Trees grown here against EconML's own, node by node, and the residuals they are grown on."""

from dataclasses import replace

import numpy as np
import pytest
from econml.grf import CausalForest
from scipy.special import expit

from models.forest import causal_forest, predict_trees
from models.forest.growing import grow
from models.forest.residuals import find_residuals
from models.forest.trees import encode, find_cuts, grow_tree
from tests.models.effect_samples import baseline_of, weighting_design


def residual_world(n: int = 900, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(covariates: three normal, a count and a yes or no; residual of treatment; residual of the outcome)."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=(n, 3)), rng.poisson(2.0, n), rng.random(n) < 0.3]).astype(float)
    treatment = (rng.random(n) < 0.4) - 0.4
    return x, treatment, np.where(x[:, 1] > 0, 2.0, 0.5 * x[:, 3]) * treatment + rng.normal(size=n)


@pytest.mark.parametrize("min_leaf", [10, 25])
@pytest.mark.parametrize("most", [15, 64, 250])
def test_a_tree_is_that_of_econml(min_leaf: int, most: int) -> None:
    """On the same codes and the same two halves: the same questions, leaves, moments, jacobians and importance. Where
    two covariates part a node alike EconML takes either; with leaves of ten that does not happen in these trees."""
    x, treatment, outcome = residual_world()
    cuts = find_cuts(x, most)
    codes, n_codes = encode(x, cuts), np.array([cut.size + 1 for cut in cuts])
    forest = CausalForest(
        n_estimators=8, inference=False, n_jobs=1, random_state=1, min_samples_leaf=min_leaf,
        min_samples_split=2 * min_leaf,
    ).fit(codes.astype(float), treatment, outcome)  # fmt: skip
    for tree, sample in zip(forest.estimators_, forest.get_subsample_inds(), strict=True):
        train, held = tree.get_train_test_split_inds()
        feature, threshold, left, right, moment, jacobian, importance = grow_tree(
            codes, n_codes, treatment, outcome, sample[train], sample[held], min_leaf
        )
        econml = tree.tree_
        assert econml.node_count > 3
        inner = econml.children_left >= 0
        np.testing.assert_array_equal(left, econml.children_left)
        np.testing.assert_array_equal(right, econml.children_right)
        np.testing.assert_array_equal(feature[inner], econml.feature[inner])
        np.testing.assert_array_equal(threshold[inner], np.floor(econml.threshold[inner]))
        np.testing.assert_allclose(moment.ravel(), np.ravel(econml.precond), rtol=0, atol=1e-12)
        np.testing.assert_allclose(jacobian.ravel(), np.ravel(econml.jac), rtol=0, atol=1e-12)
        np.testing.assert_allclose(importance, tree.feature_importances(), rtol=0, atol=1e-12)


def test_codes_part_people_as_their_values_do() -> None:
    x = residual_world()[0]
    x[:5] = x[5]  # ties
    for most in (3, 64, 250):
        cuts = find_cuts(x, most)
        codes = encode(x, cuts)
        for column, cut in enumerate(cuts):
            assert cut.size <= most
            for number, value in enumerate(cut):
                np.testing.assert_array_equal(codes[:, column] <= number, x[:, column] <= value)
    np.testing.assert_array_equal(cuts[4], [0.5])
    assert find_cuts(np.ones((7, 1)))[0].size == 0


@pytest.mark.parametrize("grown_by", ["this_project", "econml"])
def test_the_arrays_ask_about_values_not_codes(grown_by: str) -> None:
    """What the forest says of the people it was grown on, from leaves found by hand in their covariates: a leaf's
    moments are the means over some of the people who reach it, so they lie between the extremes among them."""
    x, treatment, outcome = residual_world(400)
    everybody = np.arange(400)
    grown = grow(
        x, treatment, outcome, columns=tuple("abcde"), treated=treatment > 0, cluster=everybody, fold=everybody % 5,
        trees=40, min_leaf=5, rng=np.random.default_rng(1), grown_by=grown_by,
    )  # fmt: skip
    forest = grown.arrays
    for first in forest["first_node"]:
        at = np.full(400, first)
        while (inner := forest["left"][at] >= 0).any():
            goes_left = x[everybody, forest["feature"][at]] <= forest["threshold"][at]
            at = np.where(inner, first + np.where(goes_left, forest["left"][at], forest["right"][at]), at)
        for leaf in np.unique(at):
            own = outcome[at == leaf]
            assert own.min() <= forest["moment"][leaf, 1] <= own.max()
            assert (at == leaf).sum() >= 10
    assert np.isfinite(predict_trees(forest, x)).all()
    np.testing.assert_allclose(grown.importance.sum(axis=1), 1.0)


def test_both_growers_find_the_same_effects() -> None:
    """Other random halves, so not the same digits: with 400 trees the two forests differ by less than each from the
    truth, and are equally far from it."""
    x, treatment, outcome = residual_world(1_500)
    everybody, truth = np.arange(1_500), np.where(x[:, 1] > 0, 2.0, 0.5 * x[:, 3])
    effects = [
        predict_trees(
            grow(
                x, treatment, outcome, columns=tuple("abcde"), treated=treatment > 0, cluster=everybody,
                fold=everybody % 5, trees=400, min_leaf=5, rng=np.random.default_rng(1), grown_by=grown_by,
            ).arrays,
            x,
        )
        for grown_by in ("this_project", "econml")
    ]  # fmt: skip
    errors = [float(np.sqrt(np.mean((effect - truth) ** 2))) for effect in effects]
    assert errors[0] == pytest.approx(errors[1], rel=0.1)
    assert np.sqrt(np.mean((effects[0] - effects[1]) ** 2)) < 0.5 * min(errors)


def test_what_bends_in_outcome_and_treatment_is_foreseen() -> None:
    """A wave in the outcome and a bend in who is treated: the regressions alone leave both in the residuals."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1_500, 4))
    chance, level = expit(np.abs(x[:, 0]) * 1.5 - 1.6), 2 * np.sin(2 * x[:, 1])
    treated = rng.random(1_500) < chance
    baseline = baseline_of(x)
    design = replace(weighting_design(baseline, treated), weights=np.ones(1_500), estimand="ATE")
    outcome = level + treated + 0.5 * rng.normal(size=1_500)
    found = find_residuals(outcome, baseline, design, "continuous", 5, np.random.default_rng(1))
    order = found.rows
    # A straight line explains about a tenth of the wave's variance of 2, and nothing of the bend (sd 0.2).
    assert np.mean((found.expected - level[order] - chance[order]) ** 2) < 0.25
    assert np.mean((found.if_control - level[order]) ** 2) < 0.3
    assert np.sqrt(np.mean((found.score - chance[order]) ** 2)) < 0.09


def test_an_option_lets_econml_grow_the_trees() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 3))
    treated = rng.random(300) < 0.4
    outcome, baseline = x[:, 0] + treated + rng.normal(size=300), baseline_of(x)
    design = weighting_design(baseline, treated)
    both = [
        causal_forest(
            outcome, baseline, design, rng=np.random.default_rng(1), kind="continuous", trees=40, grown_by=grown_by
        )
        for grown_by in ("this_project", "econml")
    ]
    assert both[0].estimates == both[1].estimates  # the mean effect owes nothing to the trees
    assert not np.array_equal(both[0].effect, both[1].effect)
    np.testing.assert_allclose(both[0].effect, both[1].effect, atol=1.0)
