"""Entropy balancing: weights of R's survey package, exact balance, and refusals that a linear programme confirms."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from models.propensity import comparable_rows, fit_propensity
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from models.weighting import entropy_balancing
from tests.models.effect_samples import baseline_of
from tests.models.golden_design import lalonde
from tests.models.golden_weights import pool, r_weights
from tests.models.test_design_contract import world

RNG = np.random.default_rng(0)


def balance(baseline: Baseline, treated: BoolArray, **options: Any) -> Design:
    nobody_minds = np.full(len(treated), 0.5)
    return entropy_balancing(baseline, treated, Propensity(nobody_minds, nobody_minds, None, 0.0), rng=RNG, **options)


@pytest.mark.parametrize("variant", ["plain", "by_site"])
@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
def test_weights_are_those_of_survey_calibrate(estimand: Estimand, variant: str) -> None:
    baseline, treated, _ = pool(variant)
    design = balance(baseline, treated, estimand=estimand)
    np.testing.assert_allclose(design.weights, r_weights()[f"entropy_{estimand.lower()}_{variant}"], rtol=1e-8)
    assert design.notes["largest_imbalance"] < 1e-10


@pytest.mark.parametrize("moments", ["means", "variances"])
def test_lalonde_is_balanced_exactly_by_the_weights_of_largest_entropy(moments: str) -> None:
    baseline, treated = lalonde()
    design = balance(baseline, treated, moments=moments)
    matrix = baseline.matrix
    if moments == "variances":
        matrix = np.column_stack([matrix, matrix[:, [0, 1, 6, 7]] ** 2])
    share = design.weights[~treated] / treated.sum()
    standard = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    np.testing.assert_allclose(share @ standard[~treated], standard[treated].mean(axis=0), atol=1e-9)
    # Of largest entropy: log weights are linear in what was balanced.
    columns = np.column_stack([np.ones((~treated).sum()), standard[~treated]])
    fitted = columns @ np.linalg.lstsq(columns, np.log(share), rcond=None)[0]
    np.testing.assert_allclose(fitted, np.log(share), atol=1e-6)
    if moments == "means":
        # The same from a general optimiser of the dual (Hainmueller 2012, equation 8).
        target = standard[treated].mean(axis=0)

        def dual(b: FloatArray) -> float:
            return float(np.log(np.exp((standard[~treated] - target) @ b).sum()))

        b = minimize(dual, np.zeros(8), method="BFGS", options={"gtol": 1e-7}).x
        expected = np.exp((standard[~treated] - target) @ b)
        np.testing.assert_allclose(share, expected / expected.sum(), rtol=1e-4)


def test_a_rare_level_that_no_treated_person_has_is_left_out() -> None:
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(300, 2))
    treated = rng.random(300) < 0.2
    level = (~treated) & (rng.random(300) < 0.1)
    design = balance(baseline_of(np.column_stack([matrix, level])), treated)
    assert design.notes["n_beyond_the_limit"] == level.sum() > 0
    assert (design.weights[level] == 0).all()
    assert (design.weights[~level] > 0).all()
    alone = balance(baseline_of(matrix[~level]), treated[~level])
    np.testing.assert_allclose(design.weights[~level], alone.weights, rtol=1e-8)


def test_a_covariate_beyond_all_controls_is_named() -> None:
    matrix = np.column_stack([np.arange(10.0), [5, 6, 1, 2, 3, 4, 1, 2, 3, 4]])
    treated = np.arange(10) < 2
    baseline = replace(baseline_of(matrix), columns=("fine", "far"))
    with pytest.raises(ValueError, match=r"no weights balance these covariates: far \(.* SD away\), fine"):
        balance(baseline, treated)


def has_weights(baseline: Baseline, treated: BoolArray) -> bool:
    """Whether any weights at all balance the means within totals of exact groups, by linear programming."""
    usable = comparable_rows(baseline, treated)
    arm, source = usable & ~treated, usable & treated
    groups = np.unique(baseline.exact_group[usable])
    of_group = (baseline.exact_group[:, None] == groups).astype(np.float64)
    equations = np.column_stack([of_group, baseline.matrix])
    found = linprog(np.zeros(arm.sum()), A_eq=equations[arm].T, b_eq=equations[source].sum(axis=0))
    return found.status == 0


def test_it_refuses_exactly_where_no_weights_exist() -> None:
    answers = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        matrix = rng.normal(size=(60, 3))
        treated = rng.random(60) < 1 / (1 + np.exp(1.0 - 1.6 * matrix[:, 0]))
        baseline = baseline_of(matrix, group=rng.integers(0, 3, 60))
        reached = has_weights(baseline, treated)
        if reached:
            assert balance(baseline, treated).notes["largest_imbalance"] < 1e-8
        else:
            with pytest.raises(ValueError, match="no weights balance"):
                balance(baseline, treated)
        answers.append(reached)
    assert 10 < sum(answers) < 50


def test_impossible_options_are_refused() -> None:
    baseline, treated = world("continuous")
    propensity = fit_propensity(baseline, treated)
    for options, message in (({"estimand": "ATO"}, "ATT, ATE or ATC"), ({"moments": "skews"}, "moments must be")):
        with pytest.raises(ValueError, match=message):
            entropy_balancing(baseline, treated, propensity, rng=RNG, **options)  # type: ignore[arg-type]
