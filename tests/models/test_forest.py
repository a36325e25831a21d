"""The causal forest: its mean effect, its arrays against EconML, and when it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from models import forest as forest_file
from models.forest import causal_forest, predict_trees, save_trees
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
    """A forest, the EconML object it came from, and its world."""
    kept = {}
    original = forest_file._grow

    def spy(x, *rest):
        kept["econml"], kept["x"] = original(x, *rest), x
        return kept["econml"]

    forest_file._grow = spy
    try:
        outcome, baseline, design, effect = world(1_000)
        result = grow(outcome, baseline, design, trees=200)
    finally:
        forest_file._grow = original
    return result, kept["econml"], baseline, design, effect


def test_the_arrays_predict_what_econml_predicts(grown):
    result, econml, _, _, _ = grown
    anybody = np.random.default_rng(5).normal(size=(300, 4))
    np.testing.assert_allclose(predict_trees(result.trees, anybody), econml.predict(anybody)[:, 0], rtol=0, atol=1e-10)


def test_the_arrays_predict_the_individual_effects(grown):
    result, _, baseline, _, _ = grown
    np.testing.assert_allclose(
        predict_trees(result.trees, baseline.matrix[result.row_index]), result.effect, rtol=0, atol=1e-10
    )


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
    result, _, baseline, design, effect = grown
    np.testing.assert_array_equal(result.row_index, np.flatnonzero(design.weights > 0))
    assert np.argmax(result.importance) == 1
    assert result.importance.sum() == pytest.approx(1)
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
    [({"trees": 10}, "multiple of 4"), ({"trees": 0}, "multiple of 4"), ({"folds": 1}, "at least 2")],
)
def test_bad_options_are_refused(options, message):
    outcome, baseline, design, _ = world(200)
    with pytest.raises(ValueError, match=message):
        grow(outcome, baseline, design, **options)
