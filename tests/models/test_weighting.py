"""Weights: a table that can be worked out by hand, R's weights, and each option alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.balance import kish_effective_n
from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from models.weighting import matching_weights, propensity_weighting
from tests.models.golden_design import by_row, lalonde, unpenalised, values

RNG = np.random.default_rng(0)


def weigh(baseline: Baseline, treated: BoolArray, linear: FloatArray, **options: Any) -> Design:
    with np.errstate(over="ignore"):
        score = 1 / (1 + np.exp(-linear))
    return propensity_weighting(baseline, treated, Propensity(score, linear, None, 0.0), rng=RNG, **options)


def people(linear: list[float], treated: list[int], group: list[int] | None = None) -> Any:
    n = len(linear)
    baseline = Baseline(
        np.array(linear)[:, None],
        ("x",),
        np.array(group if group is not None else [0] * n),
        np.zeros(n, dtype=np.int64),
        np.arange(n),
    )
    return baseline, np.array(treated) == 1, np.array(linear)


@pytest.mark.parametrize("estimand", ["ATT", "ATE"])
def test_weights_are_those_of_r_up_to_their_stated_scale(estimand: Estimand) -> None:
    baseline, treated = lalonde()
    design = propensity_weighting(baseline, treated, unpenalised(), estimand=estimand, rng=RNG)
    expected = by_row(f"weight_{estimand.lower()}")
    for arm in (treated, ~treated):
        total = treated.sum() if estimand == "ATT" else len(treated)
        np.testing.assert_allclose(design.weights[arm], expected[arm] * total / expected[arm].sum(), rtol=1e-9)
    assert kish_effective_n(design.weights[~treated]) == pytest.approx(values()["ess"][estimand.lower()], rel=1e-9)
    assert (design.matched_set == -1).all()


def test_a_saturated_score_gives_each_arm_the_target_population() -> None:
    """Three cells with 4, 2, 2 treated and 4, 8, 20 untreated: shares of the target worked out by hand."""
    cell = np.repeat([0, 0, 1, 1, 2, 2], [4, 4, 2, 8, 2, 20])
    treated = np.repeat([1, 0, 1, 0, 1, 0], [4, 4, 2, 8, 2, 20]) == 1
    matrix = np.column_stack([cell == 1, cell == 2]).astype(np.float64)
    same = np.zeros(40, dtype=np.int64)
    baseline = Baseline(matrix, ("one", "two"), same, same, np.arange(40))
    propensity = fit_propensity(baseline, treated, l2_penalty=0.0)
    att = propensity_weighting(baseline, treated, propensity, rng=RNG)
    # Odds 1, 1/4 and 1/10: each cell's controls weigh what its treated do, 4, 2 and 2.
    np.testing.assert_allclose(np.unique(att.weights[~treated]), [0.1, 0.25, 1.0], rtol=1e-9)
    ate = propensity_weighting(baseline, treated, propensity, estimand="ATE", rng=RNG)
    # 1 / score: 2, 5, 11; 1 / (1 - score): 2, 1.25, 1.1; both arms then weigh 8, 10 and 22 in the cells.
    np.testing.assert_allclose(np.unique(ate.weights[treated].round(9)), [2, 5, 11])
    np.testing.assert_allclose(np.unique(ate.weights[~treated].round(9)), [1.1, 1.25, 2])
    stabilised = propensity_weighting(baseline, treated, propensity, estimand="ATE", rng=RNG, stabilise=True)
    np.testing.assert_allclose(stabilised.weights, ate.weights * np.where(treated, 8 / 40, 32 / 40), rtol=1e-12)
    unchanged = propensity_weighting(baseline, treated, propensity, rng=RNG, stabilise=True)
    np.testing.assert_array_equal(unchanged.weights, att.weights)
    assert att.notes["l2_penalty"] == 0.0


def test_exact_groups_are_scaled_one_by_one_and_useless_ones_left_out() -> None:
    """Group 0: two treated, controls with odds 1 and 3; 1: one treated, odds 2 and 2; 2 no treated; 3 no controls."""
    log = np.log
    linear = [0.0, 0.0, log(1.0), log(3.0), 0.0, log(2.0), log(2.0), log(9.0), 0.0]
    treated = [1, 1, 0, 0, 1, 0, 0, 0, 1]
    group = [0, 0, 0, 0, 1, 1, 1, 2, 3]
    design = weigh(*people(linear, treated, group))
    np.testing.assert_allclose(design.weights, [1, 1, 0.5, 1.5, 1, 0.5, 0.5, 0, 0])
    assert design.notes["n_treated_no_comparable_row"] == 1
    ate = weigh(*people(linear, treated, group), estimand="ATE")
    # 1 / (1 - score) is 2 and 4 in group 0, 3 and 3 in group 1; groups number 4 and 3.
    np.testing.assert_allclose(ate.weights, [2, 2, 4 / 3, 8 / 3, 3, 1.5, 1.5, 0, 0])


def test_truncation_caps_controls_at_their_own_quantile_before_scaling() -> None:
    odds = [1.0, 2.0, 3.0, 4.0, 100.0]
    world = people([5.0, *np.log(odds)], [1, 0, 0, 0, 0, 0])
    design = weigh(*world, truncate_quantile=0.75)
    np.testing.assert_allclose(design.weights, [1, *(np.array([1, 2, 3, 4, 4]) / 14)])
    assert design.notes["weight_cap_control"] == pytest.approx(4.0)
    assert design.notes["n_truncated_control"] == 1
    both = weigh(*people([0.0, -3.0, 0.0, 3.0], [1, 1, 0, 0]), estimand="ATE", truncate_quantile=0.6)
    # 1 / probability is 2 and 1 + e³ = 21.1 in either arm; their 0.6 quantile is 2 + 0.6 × 19.1.
    assert both.notes["weight_cap_treated"] == both.notes["weight_cap_control"]
    assert both.notes["weight_cap_treated"] == pytest.approx(2 + 0.6 * (np.exp(3) - 1))


def test_trimming_drops_rows_outside_the_other_arms_range() -> None:
    world = people([-2.0, 0.0, 3.0, -3.0, -2.0, 1.0, 2.0], [1, 1, 1, 0, 0, 0, 0])
    design = weigh(*world, trim="common_support")
    assert (design.weights > 0).tolist() == [True, True, False, False, True, True, True]
    assert (design.notes["n_treated_trimmed"], design.notes["n_controls_trimmed"]) == (1, 1)
    assert design.weights[3:].sum() == pytest.approx(2.0)


def test_trimming_that_empties_one_arm_of_a_group_drops_the_group() -> None:
    """The control at 5 lies beyond the treated rows' 0 to 2; without it the treated row at 1 has nobody left."""
    world = people([0.0, 2.0, 0.5, 2.0, 1.0, 5.0], [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1])
    design = weigh(*world, trim="common_support")
    assert (design.weights > 0).tolist() == [False, True, True, True, False, False]


def test_trimming_does_not_hang_on_the_last_bits() -> None:
    design = weigh(*people([1.0 + 1e-13, 0.5, 1.0, 0.5 - 1e-13], [1, 1, 0, 0]), trim="common_support")
    assert (design.weights > 0).all()


def test_trimming_rules_by_hand() -> None:
    """Nine rows, three of them treated, at log-odds of scores 0.05 to 0.95."""
    score = np.array([0.05, 0.2, 0.6, 0.95, 0.08, 0.3, 0.5, 0.7, 0.92])
    treated = [0, 1, 1, 1, 0, 0, 0, 0, 0]
    world = people(list(np.log(score / (1 - score))), treated)

    def kept(**options: Any) -> list[float]:
        design = weigh(*world, estimand="ATE", **options)
        return sorted(score[design.weights > 0].round(9))

    assert kept(trim="crump") == [0.2, 0.3, 0.5, 0.6, 0.7]
    assert kept(trim="crump", trim_at=0.06) == [0.08, 0.2, 0.3, 0.5, 0.6, 0.7, 0.92]
    # One third is treated, so preference 0.3 and 0.7 are odds 3/14 and 7/6: scores 0.176 and 0.538.
    assert kept(trim="preference") == [0.2, 0.3, 0.5]
    # Lower quartile of the treated half-way from 0.2 to 0.6, upper of the untreated three quarters from 0.5 to 0.7.
    assert kept(trim="asymmetric", trim_at=0.25) == [0.5, 0.6]


def test_percentiles_of_trimming_are_those_of_the_scores() -> None:
    score = np.array([0.1, 0.5, 0.9, 0.13, 0.2, 0.3, 0.8, 0.84, 0.9])
    world = people(list(np.log(score / (1 - score))), [1, 1, 1, 0, 0, 0, 0, 0, 0])
    kept = weigh(*world, estimand="ATE", trim="asymmetric", trim_at=0.05).weights > 0
    # Of the treated a tenth of the way from 0.1 to 0.5: 0.14 as a score, 0.122 as log-odds, and 0.13 lies between. Of
    # the untreated three quarters of the way from 0.84 to 0.9.
    assert sorted(score[kept]) == [0.2, 0.3, 0.5, 0.8, 0.84]


def test_optimal_trimming_has_the_smallest_variance_of_all_limits() -> None:
    """Crump et al. 2009: with equal variances the average effect of the rows with |log-odds| <= c has the variance
    mean of 1 / (e (1 - e)) over those rows, divided by their number."""
    rng = np.random.default_rng(8)
    linear = rng.normal(-1.0, 2.0, 2_000)
    treated = rng.random(2_000) < 1 / (1 + np.exp(-linear))
    design = weigh(*people(list(linear), list(treated.astype(int))), estimand="ATE", trim="crump_optimal")
    cost = 2 + 2 * np.cosh(linear)
    by_distance = np.argsort(np.abs(linear))
    variance = np.cumsum(cost[by_distance]) / np.arange(1, 2_001) ** 2
    n_kept = int((design.weights > 0).sum())
    assert variance[n_kept - 1] <= variance.min() * (1 + 1e-4)  # the rule is of a continuum, not of 2,000 rows
    assert variance[n_kept - 1] < 0.8 * variance[-1]


def test_overlap_and_matching_weights_by_hand() -> None:
    """Scores 1/2, 3/4 (treated) and 1/5, 3/4 (untreated)."""
    world = people(list(np.log([1.0, 3.0, 0.25, 3.0])), [1, 1, 0, 0])
    # h = e (1 - e) sums to 1/4 + 3/16 + 4/25 + 3/16 = 0.785; treated 1/2 : 1/4, untreated 1/5 : 3/4
    overlap = weigh(*world, estimand="ATO")
    np.testing.assert_allclose(overlap.weights, 0.785 * np.array([2 / 3, 1 / 3, 4 / 19, 15 / 19]))
    # h = min(e, 1 - e) sums to 1/2 + 1/4 + 1/5 + 1/4 = 1.2; treated 1 : 1/3, untreated 1/4 : 1
    propensity = Propensity(np.full(4, 0.5), world[2], None, 0.0)
    matching = matching_weights(world[0], world[1], propensity, rng=RNG)
    np.testing.assert_allclose(matching.weights, 1.2 * np.array([3 / 4, 1 / 4, 1 / 5, 4 / 5]))
    with pytest.raises(ValueError, match="1:1 match"):
        matching_weights(world[0], world[1], propensity, estimand="ATT", rng=RNG)


def test_untreated_as_the_population_mirrors_the_treated() -> None:
    world = people([1.0, 0.3, -0.5, 0.2, -1.0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0])
    mirrored = people([-1.0, -0.3, 0.5, -0.2, 1.0], [0, 0, 1, 1, 1])
    np.testing.assert_allclose(weigh(*world, estimand="ATC").weights, weigh(*mirrored).weights)


def test_disjoint_arms_trimmed_are_an_empty_design_not_a_crash() -> None:
    design = weigh(*people([5.0, 6.0, 0.0, 1.0], [1, 1, 0, 0]), trim="common_support", truncate_quantile=0.9)
    assert not design.weights.any()
    assert design.notes["n_treated_trimmed"] == 2


def test_extreme_log_odds_stay_finite() -> None:
    for estimand in ("ATT", "ATE"):
        design = weigh(*people([900.0, -900.0, 900.0, -900.0], [1, 1, 0, 0]), estimand=estimand)
        assert np.isfinite(design.weights).all()
        assert np.isfinite(kish_effective_n(design.weights))
        assert design.weights[2] == pytest.approx(2.0 if estimand == "ATT" else 4.0)


def test_own_rows_do_not_serve_and_repeated_persons_are_counted() -> None:
    baseline, treated, linear = people([0.0, 0.0, 0.0, 0.0, 0.0], [1, 0, 0, 0, 0])
    baseline = replace(baseline, person=np.array([7, 7, 8, 8, 9]))
    design = weigh(baseline, treated, linear)
    np.testing.assert_allclose(design.weights, [1, 0, 1 / 3, 1 / 3, 1 / 3])
    assert design.notes["n_control_rows_of_repeated_persons"] == 2


def test_impossible_options_are_refused() -> None:
    world = people([0.0, 0.0], [1, 0])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"estimand": "ATM"}, "ATT, ATE, ATC or ATO, not the ATM"),
        ({"trim": "often"}, "no rule of trimming"),
        ({"trim": "common_support", "trim_at": 0.1}, "trim_at has no meaning"),
        ({"trim": "crump", "trim_at": 0.5}, "between 0 and 0.5"),
        ({"trim": "crump_optimal"}, "derived for the ATE"),
        ({"truncate_quantile": 0.0}, "truncate_quantile"),
        ({"truncate_quantile": 1.5}, "truncate_quantile"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            weigh(*world, **options)
