"""Elastic-net scores: R's glmnet and cv.glmnet, the optimum's own conditions, and a score made of many covariates."""

import csv
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.special import expit

from models.effects import weighted_difference
from models.propensity import fit_propensity
from models.propensity.elastic_net import cross_validate, fit_path, penalty_path
from models.propensity.folds import person_folds
from models.results import Baseline, BoolArray, FloatArray
from models.weighting import propensity_weighting
from tests.models.effect_samples import ROOT, baseline_of
from tests.models.golden_design import COLUMNS, lalonde

MIXINGS = (1.0, 0.5)


@cache
def r() -> dict[tuple[str, str], float]:
    with (ROOT / "golden" / "propensity" / "values.csv").open(newline="", encoding="utf-8") as file:
        return {(row["data"], row["quantity"]): float(row["value"]) for row in csv.DictReader(file)}


def series(data: str, quantity: str) -> FloatArray:
    return np.array([r()[data, f"{quantity} {k}".strip()] for k in range(1, 26)])


@pytest.mark.parametrize("mixing", MIXINGS)
def test_path_is_that_of_glmnet(mixing: float) -> None:
    baseline, treated = lalonde()
    path = fit_path(baseline.matrix, treated, series("lambda", ""), mixing)
    expected = np.column_stack([series(f"mixing_{mixing:g}", name) for name in COLUMNS]) * baseline.matrix.std(axis=0)
    # glmnet with thresh = 1e-16 is itself about 1e-8 from the optimum, which is found here to 1e-10.
    np.testing.assert_allclose(path.coefficients, expected, atol=1e-7)
    np.testing.assert_array_equal(path.coefficients == 0, expected == 0)
    first = r()[f"mixing_{mixing:g}", "first_lambda"]
    assert penalty_path(baseline.matrix, treated, mixing)[0] == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_cross_validation_is_that_of_cv_glmnet(mixing: float) -> None:
    baseline, treated = lalonde()
    name, fold = f"mixing_{mixing:g}", np.arange(len(treated)) % 5
    found = cross_validate(baseline.matrix, treated, fold, series("lambda", ""), mixing)
    np.testing.assert_allclose(found.deviance, series(name, "deviance"), rtol=1e-8)
    np.testing.assert_allclose(found.error, series(name, "deviance_error"), rtol=1e-6)
    assert (found.best + 1, found.one_se + 1) == (r()[name, "best"], r()[name, "one_se"])


def many_covariates(n: int = 3_000, p: int = 50) -> tuple[Baseline, BoolArray]:
    """Rare codes; the first five matter."""
    rng = np.random.default_rng(11)
    matrix = (rng.random((n, p)) < rng.uniform(0.02, 0.3, p)).astype(np.float64)
    treated = rng.random(n) < expit(-3.0 + matrix[:, :5] @ np.array([1.0, 1.5, -1.0, 1.2, 0.8]))
    return baseline_of(matrix), treated


def test_conditions_of_the_optimum_hold_for_every_column() -> None:
    baseline, treated = many_covariates()
    penalties = penalty_path(baseline.matrix, treated, 0.7)[[5, 20, 40]]
    path = fit_path(baseline.matrix, treated, penalties, 0.7)
    columns = (baseline.matrix - path.mean) / path.scale
    for k, penalty in enumerate(penalties):
        beta = path.coefficients[k]
        residual = treated - expit(path.intercepts[k] + columns @ beta)
        slopes = columns.T @ residual / len(treated) - 0.3 * penalty * beta
        inside = beta != 0
        assert abs(residual.mean()) < 1e-9
        np.testing.assert_allclose(slopes[inside], 0.7 * penalty * np.sign(beta[inside]), atol=1e-9)
        assert np.abs(slopes[~inside]).max() <= 0.7 * penalty + 1e-9
        assert 0 < inside.sum() < 50


@pytest.mark.parametrize("choice", ["best", "one_se"])
def test_score_finds_the_covariates_that_matter(choice: str) -> None:
    baseline, treated = many_covariates()
    rng = np.random.default_rng(3)
    found = fit_propensity(baseline, treated, rng=rng, method="elastic_net", penalty_choice=choice, folds=5)  # type: ignore[arg-type]
    coefficients = found.model["logistic"].coef_[0]
    assert (coefficients[[0, 1, 3]] > 0).all()
    assert found.facts["n_covariates_in_the_score"] == np.count_nonzero(coefficients) < 40
    assert found.score.sum() == pytest.approx(treated.sum(), rel=1e-8)
    np.testing.assert_allclose(found.model.predict_proba(baseline.matrix)[:, 1], found.score, rtol=1e-10)
    order = np.random.default_rng(4).permutation(len(treated))
    shuffled = replace(baseline, matrix=baseline.matrix[order], person=baseline.person[order])
    again = fit_propensity(
        shuffled,
        treated[order],
        rng=np.random.default_rng(3),
        method="elastic_net",
        penalty_choice=choice,
        folds=5,  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(again.linear, found.linear[order], atol=1e-7)


def test_the_standard_error_says_that_weights_count_as_fixed() -> None:
    baseline, treated = many_covariates()
    rng = np.random.default_rng(3)
    score = fit_propensity(baseline, treated, rng=rng, method="elastic_net", folds=3)
    design = propensity_weighting(baseline, treated, score, rng=rng)
    assert design.notes["score_model"] == "elastic_net"
    estimate = weighted_difference(baseline.matrix[:, 7], baseline, design, rng=rng, kind="binary")[0]
    assert estimate.notes["variance"] == "weights as fixed"


def test_ending_paths_early_changes_neither_choice() -> None:
    baseline, treated = many_covariates(1_500, 40)
    fold = np.arange(1_500) % 3
    penalties = penalty_path(baseline.matrix, treated, 1.0)
    whole = cross_validate(baseline.matrix, treated, fold, penalties, 1.0)
    early = cross_validate(baseline.matrix, treated, fold, penalties, 1.0, patience=10)
    assert (early.best, early.one_se) == (whole.best, whole.one_se)
    assert len(early.deviance) < len(whole.deviance) == len(penalties)
    np.testing.assert_array_equal(early.deviance, whole.deviance[: len(early.deviance)])


def test_folds_keep_persons_whole_and_share_out_the_treated() -> None:
    person = np.repeat(np.arange(200), 2)
    treated = person < 21
    fold = person_folds(person, treated, 5, np.random.default_rng(1))
    assert all(len(set(fold[person == one])) == 1 for one in range(200))
    assert set(np.bincount(fold[treated]) // 2) == {4, 5}
    with pytest.raises(ValueError, match="at least 25 treated people"):
        person_folds(person, treated, 25, np.random.default_rng(1))


def test_impossible_settings_are_refused() -> None:
    baseline, treated = lalonde()
    for options, message in (
        ({"method": "forest"}, "method must be"),
        ({"method": "elastic_net"}, "random generator"),
        ({"method": "elastic_net", "l1_ratio": 0.0}, "l1_ratio"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_propensity(baseline, treated, **options)  # type: ignore[arg-type]
