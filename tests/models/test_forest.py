"""The causal forest: its mean effect, its arrays against EconML, and when it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from econml.grf import CausalForest
from scipy.special import expit
from scipy.stats import norm

from models.forest import arrays, causal_forest, growing, predict_trees, save_trees
from models.forest.arrays import predict_bags
from models.forest.growing import as_arrays
from tests.models.contract_estimates import expect_good_estimate, rows_of, rows_of_design
from tests.models.effect_samples import baseline_of, golden_matched, golden_weighted, weighting_design


def world(n=600, log_odds=-0.8, seed=1, kind="continuous"):
    """(outcome, baseline, design, individual effect): the effect is 1 ± 1 by the sign of the second covariate."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    treated = rng.random(n) < expit(log_odds + 0.5 * x[:, 0])
    effect = np.where(x[:, 1] > 0, 2.0, 0.0)
    outcome = x[:, 0] + effect * treated + rng.normal(size=n)
    if kind == "binary":
        effect = np.where(x[:, 1] > 0, 0.3, 0.0)
        outcome = (rng.random(n) < 0.3 + 0.05 * np.clip(x[:, 0], -2, 2) + effect * treated).astype(float)
    baseline = baseline_of(x)
    return outcome, baseline, weighting_design(baseline, treated), effect


def grow(outcome, baseline, design, kind="continuous", seed=1, **options):
    options = {"trees": 100, **options}
    return causal_forest(outcome, baseline, design, rng=np.random.default_rng(seed), kind=kind, **options)


@pytest.fixture(scope="module")
def grown():
    """A forest and its world."""
    outcome, baseline, design, effect = world(1_000)
    return grow(outcome, baseline, design, trees=200, subgroups=("x1", "x0")), baseline, design, effect


@pytest.fixture(scope="module")
def econml_forest():
    """EconML's own forest of little bags on residuals."""
    rng = np.random.default_rng(3)
    x, treatment = rng.normal(size=(800, 4)), rng.normal(size=800)
    outcome = np.where(x[:, 1] > 0, 2.0, 0.0) * treatment + rng.normal(size=800)
    forest = CausalForest(n_estimators=80, criterion="het", n_jobs=1, random_state=1).fit(x, treatment, outcome)
    return forest, as_arrays([tree.tree_ for tree in forest.estimators_], [f"x{at}" for at in range(4)], 4)


def test_the_arrays_predict_what_econml_predicts(econml_forest):
    econml, plain = econml_forest
    anybody = np.random.default_rng(5).normal(size=(300, 4))
    point, lower, upper = econml.predict(anybody, interval=True, alpha=0.05)
    effect, variance = predict_bags(plain, anybody)
    np.testing.assert_allclose(effect, point[:, 0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(effect - norm.ppf(0.975) * np.sqrt(variance), lower[:, 0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(effect + norm.ppf(0.975) * np.sqrt(variance), upper[:, 0], rtol=0, atol=1e-10)


def test_a_naive_walk_over_the_arrays_agrees(grown):
    forest = {name: np.asarray(array) for name, array in grown[0].trees.items()}
    anybody = np.random.default_rng(6).normal(size=(20, 4))
    found = predict_trees(forest, anybody)
    for person, effect in zip(anybody, found, strict=True):
        moments, jacobians = [], []
        for first in forest["first_node"]:
            node = first
            while forest["left"][node] >= 0:
                side = "left" if person[forest["feature"][node]] <= forest["threshold"][node] else "right"
                node = first + forest[side][node]
            moments.append(forest["moment"][node])
            jacobians.append(forest["jacobian"][node])
        expected = np.linalg.solve(np.mean(jacobians, axis=0), np.mean(moments, axis=0))[0]
        assert effect == pytest.approx(expected, abs=1e-10)


def test_individual_effects_know_nothing_of_the_person_or_of_his_set():
    """Moving one person's outcome by 1,000 leaves his own effect as it was, and that of his matched set."""
    rng = np.random.default_rng(9)
    n = 240
    cluster, fold, treated = np.arange(n) // 2, (np.arange(n) // 2) % 3, np.arange(n) % 2 == 0
    x, treatment = rng.normal(size=(n, 3)), treated - 0.5
    outcome = rng.normal(size=n)

    def effects(y):
        grown = growing.grow(
            x, treatment, y, columns=("a", "b", "c"), treated=treated, cluster=cluster, fold=fold, trees=48,
            min_leaf=3, rng=np.random.default_rng(1),
        )  # fmt: skip
        assert not (grown.other_fold & ~grown.outside).any()
        return (
            predict_bags(grown.arrays, x, grown.outside)[0],
            predict_bags(grown.arrays, x, grown.other_fold)[0],
            grown,
        )

    out_of_bag, out_of_fold, grown = effects(outcome)
    assert (grown.outside[:, ::2] == grown.outside[:, 1::2]).all()
    np.testing.assert_array_equal((~grown.outside).sum(axis=1), n // 2)
    moved = outcome.copy()
    moved[10] += 1_000
    moved_bag, moved_fold, _ = effects(moved)
    assert moved_bag[10] == out_of_bag[10]
    assert moved_bag[11] == out_of_bag[11]
    same_fold = fold == fold[10]
    np.testing.assert_array_equal(moved_fold[same_fold], out_of_fold[same_fold])
    assert (moved_bag != out_of_bag).any()


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(grown, threads, monkeypatch):
    for module in (arrays, growing):
        monkeypatch.setattr(module, "workers", lambda: threads)
    outcome, baseline, design, _ = world(1_000)
    again = grow(outcome, baseline, design, trees=200, subgroups=("x1", "x0"))
    for name, array in grown[0].trees.items():
        np.testing.assert_array_equal(again.trees[name], array)
    np.testing.assert_array_equal(again.effect, grown[0].effect)
    np.testing.assert_array_equal(again.upper, grown[0].upper)
    assert again.estimates == grown[0].estimates
    assert again.heterogeneity.ranking == grown[0].heterogeneity.ranking
    assert again.heterogeneity.policy == grown[0].heterogeneity.policy


def test_saved_trees_come_back_the_same_and_the_bytes_repeat(grown, tmp_path):
    result = grown[0]
    for name in ("one.npz", "two.npz"):
        save_trees(result.trees, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    anybody = np.zeros((2, 4))
    with np.load(tmp_path / "one.npz", allow_pickle=False) as opened:  # as the model card says
        assert set(opened.files) == result.trees.keys()
        for name, array in result.trees.items():
            np.testing.assert_array_equal(opened[name], array)
        np.testing.assert_array_equal(predict_trees(opened, anybody), predict_trees(result.trees, anybody))


def test_the_predictor_refuses_other_columns(grown):
    for wrong in (np.zeros((2, 3)), np.full((2, 4), np.nan)):
        with pytest.raises(ValueError, match="4 columns"):
            predict_trees(grown[0].trees, wrong)


def test_individual_effects_find_the_covariate_that_matters(grown):
    result, baseline, design, effect = grown
    np.testing.assert_array_equal(result.row_index, np.flatnonzero(design.weights > 0))
    importance = result.heterogeneity.importance
    assert np.argmax(importance.share) == 1
    assert importance.share.sum() == pytest.approx(1)
    assert (importance.least <= importance.share).all()
    assert (importance.share <= importance.most).all()
    assert importance.among_first[1] == 1
    positive = baseline.matrix[result.row_index, 1] > 0.5
    negative = baseline.matrix[result.row_index, 1] < -0.5
    # True means 2 and 0; forests shrink, so within 0.4.
    assert result.effect[positive].mean() == pytest.approx(2, abs=0.4)
    assert result.effect[negative].mean() == pytest.approx(0, abs=0.4)
    assert (result.lower < result.effect).all()
    assert (result.effect < result.upper).all()
    assert np.mean((result.lower < effect) & (effect < result.upper)) > 0.7


@pytest.mark.parametrize("kind", ["continuous", "binary"])
def test_the_mean_effect_on_the_treated_is_found(kind):
    outcome, baseline, design, effect = world(1_500, seed=6, kind=kind)
    difference = grow(outcome, baseline, design, kind).estimates[0]
    assert difference.method == "causal_forest"
    assert abs(difference.value - effect[design.treated].mean()) < 3.5 * difference.std_error
    # About 500 treated: the two arms' residual variances alone give about 0.05 (continuous) and 0.025 (binary).
    assert difference.std_error < {"continuous": 0.09, "binary": 0.04}[kind]


@pytest.mark.parametrize("estimand", ["ATT", "ATE", "ATC", "ATO"])
def test_each_estimand_has_its_own_mean_effect(estimand):
    """The effect rises with the probability of treatment, so the four differ: their means are known."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1_500, 3))
    share = expit(1.5 * x[:, 0])
    treated, effect = rng.random(1_500) < share, 2 * share
    baseline = baseline_of(x)
    design = replace(weighting_design(baseline, treated), estimand=estimand, weights=np.ones(1_500))
    people = {"ATT": treated, "ATE": np.ones(1_500), "ATC": ~treated, "ATO": share * (1 - share)}[estimand]
    found = grow(x[:, 1] + effect * treated + rng.normal(size=1_500), baseline, design).estimates[0]
    assert found.estimand == estimand
    assert abs(found.value - np.average(effect, weights=people)) < 3.5 * found.std_error


def test_the_error_of_the_mean_effect_does_not_grow_with_the_pool():
    # 80 treated against 240 and 2,400 controls. EconML's own att_ stderr grows with the pool (DEPENDENCIES.md).
    errors = []
    for n_controls in (240, 2_400):
        rng = np.random.default_rng(7)
        treated = np.arange(80 + n_controls) < 80
        x = rng.normal(size=(len(treated), 3)) + 0.4 * treated[:, None]
        baseline = baseline_of(x)
        outcome = x[:, 0] + rng.normal(size=len(x))
        design = weighting_design(baseline, treated)
        errors.append(grow(outcome, baseline, design).estimates[0].std_error)
    assert errors[1] < errors[0]
    assert errors[1] > 0.9 / np.sqrt(80)  # the treated alone have 1 / sqrt(80)


def test_a_rare_treatment_is_refused():
    outcome, baseline, design, _ = world(2_000, log_odds=-5)
    assert 0 < design.treated.mean() < 0.02
    with pytest.raises(ValueError, match="at least 2% treated"):
        grow(outcome, baseline, design)
    # The same people are accepted once a design has left out most controls.
    few = replace(design, weights=np.where(design.treated | (np.arange(2_000) < 200), design.weights, 0.0))
    assert len(grow(outcome, baseline, few, folds=2, trees=40).effect) == (few.weights > 0).sum()


@pytest.mark.parametrize("name", ["matched", "att_by_site", "ate_plain"])
@pytest.mark.parametrize(("column", "kind"), [("y", "binary"), ("z", "continuous")])
def test_contract(name, column, kind):
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    expect_good_estimate(causal_forest, data[column], baseline, design, kind=kind, trees=40)


def test_same_seed_same_forest_in_any_order_of_rows_and_another_seed_another():
    outcome, baseline, design, _ = world(400)
    first, again, other = (grow(outcome, baseline, design, seed=seed, trees=40) for seed in (1, 1, 2))
    for name, array in first.trees.items():
        np.testing.assert_array_equal(again.trees[name], array)
    np.testing.assert_array_equal(first.effect, again.effect)
    assert not np.array_equal(first.effect, other.effect)
    order = np.random.default_rng(8).permutation(400)
    shuffled = grow(outcome[order], rows_of(baseline, order), rows_of_design(design, order), trees=40)
    np.testing.assert_array_equal(shuffled.effect, first.effect[order])
    np.testing.assert_array_equal(shuffled.lower, first.lower[order])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trees": 41}, "multiple of 2"),
        ({"trees": 38}, "at least 40 with 5 folds"),
        ({"folds": 1}, "at least 2"),
        ({"subgroups": ("age",)}, "'age' is not among the covariates"),
        ({"policy_depth": 3}, "between 0 and 2"),
    ],
)
def test_bad_options_are_refused(options, message):
    outcome, baseline, design, _ = world(200)
    with pytest.raises(ValueError, match=message):
        grow(outcome, baseline, design, **options)
