"""Group effects, projections, ranking and policy: R's numbers, hand-computed cases, brute force, and known truths."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from models.forest import causal_forest
from models.forest.policy import find_policy
from models.forest.ranking import judge_ranking, rank_weighted, rank_within
from models.forest.scores import EffectScores, effect_scores, project
from models.forest.subgroups import SMALLEST_ARM, adjust_p_values, group_effects, levels_of, linear_projection
from tests.models.effect_samples import GOLDEN, baseline_of, read_columns, weighting_design


def scores_of(contribution, count=None, treated=None, cluster=None):
    contribution = np.asarray(contribution, dtype=float)
    n = len(contribution)
    treated = np.arange(n) % 2 == 0 if treated is None else np.asarray(treated, dtype=bool)
    return EffectScores(
        np.ones(n) if count is None else np.asarray(count, dtype=float),
        contribution,
        np.where(treated, 0.0, 1.0),
        treated,
        np.arange(n) if cluster is None else np.asarray(cluster),
    )


def golden_projection():
    import csv

    with open(GOLDEN / "projection_values.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [(row["case"], float(row["value"]), float(row["error"].replace("NA", "nan"))) for row in rows]
    return {case: np.array([row[1:] for row in numbers if row[0] == case]) for case in {row[0] for row in numbers}}


@pytest.mark.parametrize("case", ["ate_single", "ate_cluster", "att_cluster"])
def test_projections_are_those_of_r(case):
    """make_projection.R: sandwich's HC3, its clustered HC3, and deletion of clusters for the ATT."""
    data = read_columns(GOLDEN / "projection.csv")
    scores = scores_of(
        data["contribution"],
        data["treated"] if case.startswith("att") else None,
        data["treated"] == 1,
        None if case.endswith("single") else data["cluster"].astype(int),
    )
    columns = np.column_stack([np.ones(120), data["x1"], data["x2"]])
    found, expected = project(scores, columns, 0.95), golden_projection()[case]
    np.testing.assert_allclose(found.value, expected[:, 0], rtol=1e-10)
    np.testing.assert_allclose(found.std_error, expected[:, 1], rtol=1e-8)


@pytest.mark.parametrize("multiplicity", ["holm", "benjamini_hochberg"])
def test_adjusted_p_values_are_those_of_r(multiplicity):
    p_values = np.array([0.04, 0.001, np.nan, 0.03, 0.5, 0.02])
    found = adjust_p_values(p_values, multiplicity)
    assert np.isnan(found[2])
    np.testing.assert_allclose(np.delete(found, 2), golden_projection()[multiplicity][:, 0], rtol=1e-12)
    np.testing.assert_array_equal(adjust_p_values(p_values, "none"), p_values)


def test_scores_over_everybody_give_the_weighted_mean_by_hand():
    # Two treated (outcomes 3, 5), controls with odds 1 and 3 (outcomes 1, 2), predictions 0: 4 - (1 + 6) / 4 = 2.25.
    y, treated = np.array([3.0, 5.0, 1.0, 2.0]), np.array([True, True, False, False])
    score, zero = np.array([0.5, 0.5, 0.5, 0.75]), np.zeros(4)
    scores = effect_scores(y, treated, score, zero, zero, "ATT", np.arange(4))
    assert scores.contribution.sum() / scores.count.sum() == pytest.approx(2.25)
    # Predictions that are wrong by a constant for everybody change nothing.
    moved = effect_scores(y, treated, score, zero + 7, zero - 7, "ATT", np.arange(4))
    assert moved.contribution.sum() / moved.count.sum() == pytest.approx(2.25)
    # ATE: (3 + 5) / 2 weighted 2, 2 against (1 × 2 + 2 × 4) / 6.
    scores = effect_scores(y, treated, score, zero, zero, "ATE", np.arange(4))
    assert scores.contribution.sum() / scores.count.sum() == pytest.approx(4 - 10 / 6)


def test_levels_of_categories_numbers_and_indicators():
    columns = ("sex = F", "area = B", "area = C", "age", "has_plan", "visits")
    x = np.array([[1, 0, 0, 20, 0, 0], [0, 1, 0, 30, 1, 0], [0, 0, 1, 40, 0, 0], [1, 0, 0, 50, 1, 5]], dtype=float)
    count = np.ones(4)
    assert {name: member.tolist() for name, member in levels_of("area", columns, x, count).items()} == {
        "area = reference level": [True, False, False, True],
        "area = B": [False, True, False, False],
        "area = C": [False, False, True, False],
    }
    assert list(levels_of("age", columns, x, count)) == ["age <= 35", "age > 35"]
    assert list(levels_of("has_plan", columns, x, count)) == ["has_plan = no", "has_plan = yes"]
    assert levels_of("visits", columns, x, count)["visits > 0"].tolist() == [False, False, False, True]


def test_people_whose_value_was_filled_in_are_a_level_of_their_own():
    """Filled with the mean of the others (0.5; 40), nobody of them is a "no", a "yes", young or old."""
    columns = ("is_detained", "is_detained missing", "age", "age missing")
    x = np.array([[0, 0, 30, 0], [1, 0, 40, 1], [0.5, 1, 50, 0], [0.5, 1, 40, 1], [1, 0, 36, 0], [0, 0, 44, 0]])
    levels = levels_of("is_detained", columns, x, np.ones(6))
    assert {name: np.flatnonzero(member).tolist() for name, member in levels.items()} == {
        "is_detained = no": [0, 5],
        "is_detained = yes": [1, 4],
        "is_detained = missing": [2, 3],
    }
    levels = levels_of("age", columns, x, np.ones(6))
    assert {name: np.flatnonzero(member).tolist() for name, member in levels.items()} == {
        "age <= 40": [0, 4],
        "age > 40": [2, 5],
        "age = missing": [1, 3],
    }


def test_the_projection_holds_the_flag_of_what_was_filled_in():
    rng = np.random.default_rng(4)
    age, is_missing = rng.normal(40, 10, 200), np.arange(200) % 5 < 2
    x = np.column_stack([np.where(is_missing, age[~is_missing].mean(), age), is_missing])
    scores = scores_of(0.1 * (age - 40) + 2.0 * is_missing)
    found = linear_projection(scores, ("age",), ("age", "age missing"), x, 0.95)
    assert found["term"] == ["mean effect", "age", "age missing"]
    assert found["value"][2] == pytest.approx(2.0, abs=0.5)


def test_small_groups_have_no_effect_and_take_no_part_in_the_test():
    rng = np.random.default_rng(1)
    scores = scores_of(rng.normal(size=200))
    small = np.arange(200) < 2 * SMALLEST_ARM - 2
    effects, p_value = group_effects(scores, {"small": small, "large": ~small}, 0.95)
    assert np.isnan(effects[0].value)
    assert effects[1].value == pytest.approx(scores.contribution[~small].mean())
    assert np.isnan(p_value)


def test_a_group_within_one_matched_set_has_no_effect_and_spoils_no_other():
    scores = scores_of(np.random.default_rng(2).normal(size=200), cluster=np.maximum(np.arange(200), 60))
    inside = np.arange(200) <= 60
    effects, p_value = group_effects(scores, {"one set": inside, "others": ~inside}, 0.95)
    assert np.isnan(effects[0].value)
    assert effects[1].value == pytest.approx(scores.contribution[~inside].mean())
    assert np.isnan(p_value)


def test_rank_weighted_effects_by_hand():
    """Four people, gains 4, 2, 0, -2: mean 1, TOC 3, 2, 1, 0; AUTOC 6/4; Qini (3 × 1 + 2 × 2 + 1 × 3) / 16."""
    scores = scores_of([4.0, 2.0, 0.0, -2.0])
    autoc, qini = rank_weighted(scores, np.array([0.9, 0.7, 0.5, 0.1]), 1.0, 0.95, np.random.default_rng(1))
    assert autoc[0] == pytest.approx(1.5)
    assert qini[0] == pytest.approx(10 / 16)
    # Lower is better: the same people, gains the other way round, and the order as bad as it can be.
    autoc, _ = rank_weighted(scores, np.array([0.9, 0.7, 0.5, 0.1]), -1.0, 0.95, np.random.default_rng(1))
    assert autoc[0] == pytest.approx(-1.5)
    # Ties come together: two groups of two, TOC 2 and 0.
    autoc, _ = rank_weighted(scores, np.array([1.0, 1.0, 0.0, 0.0]), 1.0, 0.95, np.random.default_rng(1))
    assert autoc[0] == pytest.approx(1.0)


def test_half_sample_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(2)
    values, errors = [], []
    for _ in range(60):
        priority = rng.random(300)
        autoc, _ = rank_weighted(scores_of(priority + rng.normal(size=300)), priority, 1.0, 0.95, rng)
        values.append(autoc[0])
        errors.append(autoc[1])
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.3)  # 60 repetitions know a spread to 9 %


def test_calibration_does_not_compare_folds():
    """Scores without any pattern, predictions of noise around the mean of the other folds: the slope is 0 on average.
    Its standard deviation is 0.9, so the mean of 60 lies within 0.35; comparing folds as well gave -0.65."""
    slopes = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        fold, contribution = rng.permutation(500) % 5, rng.normal(size=500)
        of_others = np.array([contribution[fold != number].mean() for number in range(5)])
        predicted = of_others[fold] + 0.05 * rng.normal(size=500)
        slopes.append(judge_ranking(scores_of(contribution), predicted, fold, "lower", 0.95, rng).calibration[0])
    assert abs(np.mean(slopes)) < 3 * 0.9 / np.sqrt(60)


def test_ranks_are_within_folds():
    predicted, fold = np.array([1.0, 2.0, 101.0, 102.0]), np.array([0, 0, 1, 1])
    np.testing.assert_allclose(rank_within(predicted, fold, np.ones(4)), [0.25, 0.75, 0.25, 0.75])


def best_gain_by_brute_force(x, gain, smallest):
    """The largest total gain of depth two over every threshold between neighbouring values."""

    def best_leaf(rows):
        return max(gain[rows].sum(), 0.0)

    def splits(rows):
        for feature in range(x.shape[1]):
            for cut in np.unique(x[:, feature])[:-1]:
                left = rows & (x[:, feature] <= cut)
                if min(left.sum(), (rows & ~left).sum()) >= smallest:
                    yield left, rows & ~left

    def best_single(rows):
        return max([best_leaf(rows), *(best_leaf(a) + best_leaf(b) for a, b in splits(rows))])

    everybody = np.ones(len(x), dtype=bool)
    return max([best_single(everybody), *(best_single(a) + best_single(b) for a, b in splits(everybody))])


def offers(node, person, columns):
    while node.offer is None:
        node = node.left if person[columns.index(node.covariate)] <= node.threshold else node.right
    return node.offer


@pytest.mark.parametrize("seed", range(6))
def test_the_policy_tree_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    columns = ("a", "b", "c")
    x = np.column_stack([rng.integers(0, 5, 60), rng.integers(0, 2, 60), rng.integers(0, 9, 60)]).astype(float)
    gain = rng.normal(size=60) + np.where((x[:, 0] > 2) == (x[:, 2] > 4), 0.5, -0.5)
    policy = find_policy(scores_of(gain), x, columns, np.arange(60) % 3, sign=1.0, depth=2, confidence=0.95)
    chosen = np.array([offers(policy.tree, person, columns) for person in x])
    assert gain[chosen].sum() == pytest.approx(best_gain_by_brute_force(x, gain, 3))  # 3: a twentieth of 60
    assert policy.over_nobody[1] < policy.over_nobody[0] < policy.over_nobody[2]


def test_what_a_rule_gains_is_measured_where_it_was_not_fitted():
    """Pure noise: the tree finds a rule that looks good on its own rows, and is worth nothing across folds."""
    apparent, honest = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x, gain = rng.normal(size=(200, 4)), rng.normal(size=200)
        columns = tuple("abcd")
        policy = find_policy(scores_of(gain), x, columns, np.arange(200) % 5, sign=1.0, depth=2, confidence=0.95)
        apparent.append(gain[[offers(policy.tree, person, columns) for person in x]].sum() / 200)
        honest.append(policy.over_nobody[0])
    assert np.mean(apparent) > 0.1
    assert abs(np.mean(honest)) < 4 * np.std(honest) / np.sqrt(30)


def simulated(seed, n=500, effect=0.0):
    """(outcome, baseline, design): the effect differs with x1 by `effect` on either side of 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    treated = rng.random(n) < expit(-0.5 + 0.5 * x[:, 0])
    outcome = x[:, 0] + np.where(x[:, 1] > 0, effect, -effect) * treated + rng.normal(size=n)
    baseline = baseline_of(x)
    return outcome, baseline, weighting_design(baseline, treated)


def test_differences_that_are_there_are_found():
    outcome, baseline, design = simulated(1, n=800, effect=1.0)
    found = causal_forest(
        outcome, baseline, design, rng=np.random.default_rng(1), kind="continuous", trees=120, subgroups=("x1", "x2")
    )
    heterogeneity = found.heterogeneity
    assert heterogeneity.interactions[0].p_adjusted < 0.001
    assert heterogeneity.interactions[1].p_adjusted > 0.01
    for group, truth in zip(heterogeneity.groups[:2], (-1.0, 1.0), strict=True):
        assert abs(group.value - truth) < 3.5 * group.std_error
    assert heterogeneity.ranking.calibration[0] == pytest.approx(1, abs=3.5 * heterogeneity.ranking.calibration[1])
    assert heterogeneity.ranking.autoc[2] > 0
    assert heterogeneity.ranking.toc[-1] == pytest.approx(0, abs=1e-12)
    assert "x1" in {node.covariate for node in (heterogeneity.policy.tree, heterogeneity.policy.tree.left)}
    # Lower is better, so those with x1 <= 0 gain 1: the rule that treats them gains about 0.5 a person over nobody.
    # A rule found in 800 people gets part of it.
    assert heterogeneity.policy.over_nobody[1] > 0
    assert heterogeneity.policy.over_nobody[0] < 0.6
    assert heterogeneity.projection["term"] == ["mean effect", "x1", "x2"]
    assert heterogeneity.projection["value"][1] == pytest.approx(0.8, abs=0.3)  # E|x| = 0.80 for a sign effect of 1
    mean = found.scores.contribution.sum() / found.scores.count.sum()
    assert mean == pytest.approx(found.estimates[0].value, rel=1e-10)
    of_groups = [estimate for estimate in found.estimates if estimate.subgroup != "all"]
    assert [estimate.scale for estimate in of_groups] == ["mean_difference"] * 4


@pytest.mark.slow
def test_tests_of_heterogeneity_keep_their_level():
    """500 people, no difference in effects, 300 worlds. The test of interaction rejects 1 to 9 % of the time (5 % and
    3.2 errors); those of calibration and ranking, which known_misses.py says reject in 8.6 and 8.8 %, up to 14 %."""
    rejected = []
    for seed in range(300):
        outcome, baseline, design = simulated(seed)
        found = causal_forest(
            outcome, baseline, design, rng=np.random.default_rng(seed), kind="continuous", trees=80, subgroups=("x1",)
        ).heterogeneity
        p_values = (found.interactions[0].p_value, found.ranking.calibration_p_value, found.ranking.autoc[4])
        rejected.append([p < 0.05 for p in p_values])
    rates = np.mean(rejected, axis=0)
    assert (rates > 0.005).all(), rates
    assert (rates < [0.09, 0.14, 0.14]).all(), rates


def test_a_group_tells_on_how_few_events_it_rests() -> None:
    """A difference and its error give both arms' risks away: 10 treated with 3 events, 10 controls with 6."""
    treated = np.arange(40) % 2 == 0
    outcome = np.zeros(40)
    outcome[:20][treated[:20]] = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    outcome[:20][~treated[:20]] = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    outcome[20:] = 1.0
    first = np.arange(40) < 20
    scores = replace(scores_of(np.linspace(-1, 1, 40), treated=treated), outcome=outcome)
    effects, _ = group_effects(scores, {"first": first, "second": ~first}, 0.95)
    assert [effect.fewest_events for effect in effects] == [3.0, 10.0]
    amounts = replace(scores, outcome=outcome * 2.5)  # not a yes or no: those without any do not count
    assert group_effects(amounts, {"first": first}, 0.95)[0][0].fewest_events == 3.0
    assert np.isnan(group_effects(scores_of(np.ones(40)), {"first": first}, 0.95)[0][0].fewest_events)
