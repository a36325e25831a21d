"""Stable balancing weights: the optimum of a general solver, and refusals that a linear programme confirms."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Design, Propensity
from models.weighting import entropy_balancing, stable_balancing
from tests.models.effect_samples import baseline_of
from tests.models.golden_design import lalonde
from tests.models.test_entropy_balancing import has_weights

RNG = np.random.default_rng(0)


def balance(baseline: Baseline, treated: BoolArray, **options: Any) -> Design:
    nobody_minds = np.full(len(treated), 0.5)
    return stable_balancing(baseline, treated, Propensity(nobody_minds, nobody_minds, None, 0.0), rng=RNG, **options)


def small_sample(seed: int, n: int = 70) -> tuple[Baseline, BoolArray]:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 3))
    treated = rng.random(n) < 1 / (1 + np.exp(1.0 - 1.2 * matrix[:, 0]))
    return baseline_of(matrix, group=rng.integers(0, 2, n)), treated


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.3])
def test_weights_are_those_of_a_general_optimiser(tolerance: float) -> None:
    baseline, treated = small_sample(1)
    design = balance(baseline, treated, tolerance=tolerance)
    columns, group = baseline.matrix, baseline.exact_group
    controls, n = np.flatnonzero(~treated), int(treated.sum())
    limit = tolerance * columns[treated].std(axis=0) + 1e-12
    gap = columns[controls] / n, columns[treated].mean(axis=0)
    inside = [
        {
            "type": "ineq",
            "fun": lambda w, s=sign: limit + s * (w @ gap[0] - gap[1]),
            "jac": lambda w, s=sign: s * gap[0].T,
        }
        for sign in (1.0, -1.0)
    ]
    totals = [
        {"type": "eq", "fun": lambda w, g=g: w[group[controls] == g].sum() - (treated & (group == g)).sum()}
        for g in (0, 1)
    ]
    found = minimize(
        lambda w: (w @ w / 2, w),
        np.full(len(controls), n / len(controls)),
        jac=True,
        bounds=[(0, None)] * len(controls),
        constraints=[*inside, *totals],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    np.testing.assert_allclose(design.weights[controls], found.x, atol=1e-5)
    assert design.weights[controls] @ design.weights[controls] <= found.x @ found.x * (1 + 1e-6)
    assert design.notes["duality_gap"] <= 1e-8


def test_lalonde_keeps_its_tolerance_with_less_variance_than_entropy_balancing() -> None:
    baseline, treated = lalonde()
    exact, loose = balance(baseline, treated, tolerance=0.0), balance(baseline, treated, tolerance=0.05)
    entropy = entropy_balancing(baseline, treated, fit_propensity(baseline, treated), rng=RNG)
    squares = [float((design.weights[~treated] ** 2).sum()) for design in (loose, exact, entropy)]
    assert squares[0] < squares[1] < squares[2]
    matrix = (baseline.matrix - baseline.matrix[treated].mean(axis=0)) / baseline.matrix[treated].std(axis=0)
    off = [np.abs(design.weights[~treated] @ matrix[~treated]) / treated.sum() for design in (exact, loose)]
    assert off[0].max() < 1e-8
    # Some covariates use up the whole tolerance.
    assert off[1].max() == pytest.approx(0.05, abs=1e-7)
    assert loose.notes["largest_imbalance"] == pytest.approx(0.05, abs=1e-7)


def test_it_refuses_exactly_where_no_weights_exist() -> None:
    answers = []
    for seed in range(40):
        baseline, treated = small_sample(100 + seed, 45)
        if reached := has_weights(baseline, treated):
            assert balance(baseline, treated, tolerance=0.0).notes["largest_imbalance"] < 1e-8
        else:
            with pytest.raises(ValueError, match="no weights balance"):
                balance(baseline, treated, tolerance=0.0)
        answers.append(reached)
    assert 5 < sum(answers) < 35


def test_a_wide_tolerance_leaves_equal_weights() -> None:
    baseline, treated = small_sample(3)
    design = balance(baseline, treated, tolerance=5.0)
    for group in (0, 1):
        here = (~treated) & (baseline.exact_group == group)
        n_treated = (treated & (baseline.exact_group == group)).sum()
        np.testing.assert_allclose(design.weights[here], n_treated / here.sum())


def test_the_smallest_tolerance_that_exists_is_the_one_of_a_linear_programme() -> None:
    samples = (small_sample(seed, 45) for seed in range(100, 140))
    baseline, treated = next(sample for sample in samples if not has_weights(*sample))
    columns = baseline.matrix[~treated] / baseline.matrix[treated].std(axis=0)
    target = baseline.matrix[treated].mean(axis=0) / baseline.matrix[treated].std(axis=0)
    n, of_group = treated.sum(), (baseline.exact_group[:, None] == [0, 1]).astype(float)
    bound = np.vstack([np.hstack([s * columns.T / n, -np.ones((3, 1))]) for s in (1, -1)])
    least = linprog(
        np.append(np.zeros(len(columns)), 1.0),
        A_ub=bound,
        b_ub=np.concatenate([target, -target]),
        A_eq=np.hstack([of_group[~treated].T, np.zeros((2, 1))]),
        b_eq=of_group[treated].sum(axis=0),
    ).fun
    assert balance(baseline, treated, tolerance=least * 1.01).notes["largest_imbalance"] <= least * 1.011
    with pytest.raises(ValueError, match="no weights balance"):
        balance(baseline, treated, tolerance=least * 0.98)


def test_a_level_that_no_treated_person_has_is_held_to_the_spread_of_everybody() -> None:
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(300, 2))
    treated = rng.random(300) < 0.2
    level = ((~treated) & (rng.random(300) < 0.3)).astype(np.float64)
    design = balance(baseline_of(np.column_stack([matrix, level])), treated, tolerance=0.05)
    share = float(np.average(level[~treated], weights=design.weights[~treated]))
    assert share == pytest.approx(0.05 * level.std(), rel=1e-6)
    assert design.notes["largest_imbalance"] == pytest.approx(0.05, abs=1e-7)


def test_impossible_options_are_refused() -> None:
    baseline, treated = small_sample(1)
    for options, message in (({"estimand": "ATO"}, "ATT, ATE or ATC"), ({"tolerance": -0.1}, "tolerance must be")):
        with pytest.raises(ValueError, match=message):
            balance(baseline, treated, **options)
