"""Rows without an outcome leave the design, and matched sets stay whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.effects import keep_observed
from tests.models.effect_samples import by_hand, golden_weighted

_ = np.nan
KEEP_CASES = {
    # name: (outcome, treated, weights, sets) -> weights and sets of the observed rows
    "a lost treated row takes its controls along": (
        ([_, 1, 0, 0, 1], [1, 1, 0, 0, 0], [1, 1, 0.5, 0.5, 1], [0, 1, 0, 0, 1]),
        ([1, 0, 0, 1], [1, -1, -1, 1]),
    ),
    "a lost control leaves its weight to the others of the set": (
        ([1, 1, _, 0, 1], [1, 1, 0, 0, 0], [1, 1, 0.5, 0.5, 1], [0, 1, 0, 0, 1]),
        ([1, 1, 1, 1], [0, 1, 0, 1]),
    ),
    "unequal weights are rescaled in proportion": (
        ([1, _, 0, 1], [1, 0, 0, 0], [1, 0.5, 0.3, 0.2], [0, 0, 0, 0]),
        ([1, 0.6, 0.4], [0, 0, 0]),
    ),
    "a set without controls goes": (
        ([1, 1, _, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1]),
        ([0, 1, 1], [-1, 1, 1]),
    ),
    "one of two treated rows takes half the control weight": (
        ([_, 1, 0, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]),
        ([1, 0.5, 0.5], [0, 0, 0]),
    ),
    "a row outside the design may be lost": (
        ([1, 1, _], [1, 0, 0], [1, 1, 0], [0, 0, -1]),
        ([1, 1], [0, 0]),
    ),
    "weights without sets stay": (
        ([1, _, 0, 1], [1, 0, 0, 0], [1, 2, 3, 4], [-1, -1, -1, -1]),
        ([1, 3, 4], [-1, -1, -1]),
    ),
}


@pytest.mark.parametrize("name", KEEP_CASES)
def test_keep_observed(name):
    given_rows, (weights, sets) = KEEP_CASES[name]
    outcome, baseline, design = by_hand(*given_rows)
    kept, kept_baseline, kept_design = keep_observed(outcome, baseline, design)
    observed = ~np.isnan(outcome)
    assert kept is outcome
    assert kept_baseline is baseline
    np.testing.assert_allclose(kept_design.weights[observed], weights)
    np.testing.assert_array_equal(kept_design.matched_set[observed], sets)
    assert not kept_design.weights[~observed].any()
    assert (kept_design.matched_set[~observed] == -1).all()
    assert kept_design.before is (None if observed[design.weights > 0].all() else design)


def test_keep_observed_counts_what_was_lost():
    outcome, baseline, design = by_hand(*KEEP_CASES["a lost treated row takes its controls along"][0])
    notes = keep_observed(outcome, baseline, design)[2].notes
    assert notes == {"n_treated_without_outcome": 1, "n_control_without_outcome": 0, "n_sets_lost": 1}


def test_under_the_ate_both_arms_of_a_set_keep_their_total():
    outcome, baseline, design = by_hand(
        [_, 1, 0, 1, _], [1, 1, 0, 0, 0], [2.5, 2.5, 5 / 3, 5 / 3, 5 / 3], [0, 0, 0, 0, 0], "ATE"
    )
    np.testing.assert_allclose(keep_observed(outcome, baseline, design)[2].weights, [0, 5, 2.5, 2.5, 0])


def test_weights_scaled_within_exact_groups_are_scaled_again():
    data, baseline, design = golden_weighted("att_by_site")
    outcome = np.where(np.arange(400) % 7 == 0, np.nan, data["y"])
    _, kept_baseline, kept = keep_observed(outcome, baseline, design)
    for site in range(3):
        here = kept_baseline.exact_group == site
        total = kept.weights[here & ~kept.treated].sum()
        assert total == pytest.approx(kept.weights[here & kept.treated].sum())


def test_nothing_missing_changes_nothing():
    given_rows = by_hand([1, 0], [1, 0], [1, 1], [0, 0])
    assert all(new is old for new, old in zip(keep_observed(*given_rows), given_rows, strict=True))


@given(st.data())
def test_sets_stay_balanced_whatever_is_lost(draw):
    sizes = draw.draw(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 4)), min_size=1, max_size=6))
    treated, weights, sets = [], [], []
    for number, (n_treated, n_controls) in enumerate(sizes):
        treated += [True] * n_treated + [False] * n_controls
        weights += [1.0] * n_treated + [n_treated / n_controls] * n_controls
        sets += [number] * (n_treated + n_controls)
    lost = np.array(draw.draw(st.lists(st.booleans(), min_size=len(sets), max_size=len(sets))))
    outcome, baseline, design = by_hand(np.where(lost, np.nan, 1.0), treated, weights, sets)
    kept = keep_observed(outcome, baseline, design)[2]
    assert not kept.weights[lost].any()
    for number in range(len(sizes)):
        original = (design.matched_set == number) & ~lost
        survives = (original & design.treated).any() and (original & ~design.treated).any()
        here = kept.matched_set == number
        assert here.sum() == (original.sum() if survives else 0)
        np.testing.assert_allclose(kept.weights[here & kept.treated], 1.0)
        assert kept.weights[here & ~kept.treated].sum() == pytest.approx((here & kept.treated).sum())
    assert (kept.weights[kept.matched_set < 0] == 0).all()
