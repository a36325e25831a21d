"""The propensity score: R's glm, the penalised optimum, rare treatment, and columns that break a careless fit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from models.propensity import comparable_rows, fit_propensity, l2_penalty_of
from models.results import Baseline, BoolArray, FloatArray
from tests.models.golden_design import COLUMNS, by_row, lalonde, unpenalised, values


def baseline_of(matrix: FloatArray, **parts: list[int]) -> Baseline:
    n = len(matrix)
    named = {"exact_group": [0] * n, "index_day": [0] * n, "person": list(range(n))} | parts
    return Baseline(
        matrix, tuple(f"x{j}" for j in range(matrix.shape[1])), **{k: np.array(v) for k, v in named.items()}
    )


def sample(n: int, n_treated: int, p: int) -> tuple[FloatArray, BoolArray]:
    rng = np.random.default_rng([n, n_treated, p])
    matrix = rng.normal(size=(n, p))
    odds = np.exp(matrix[:, 0] - 0.5 * matrix[:, 1])
    treated = np.zeros(n, dtype=np.bool_)
    treated[rng.choice(n, n_treated, replace=False, p=odds / odds.sum())] = True
    return matrix, treated


def test_unpenalised_fit_is_r_glm() -> None:
    found = unpenalised()
    scaler, logistic = found.model["scale"], found.model["logistic"]
    slopes = logistic.coef_[0] / scaler.scale_
    expected = values()["coefficient"]
    np.testing.assert_allclose(slopes, [expected[name] for name in COLUMNS], rtol=1e-9)
    assert logistic.intercept_[0] - slopes @ scaler.mean_ == pytest.approx(expected["(Intercept)"], rel=1e-9)
    np.testing.assert_allclose(found.linear, by_row("log_odds"), atol=1e-10)
    np.testing.assert_allclose(found.score, by_row("score"), rtol=1e-9)


def test_penalised_fit_is_the_penalised_optimum() -> None:
    """Against a general optimiser of summed log-loss + penalty / 2 × Σ slope² (intercept free)."""
    baseline, treated = lalonde()
    standard = StandardScaler().fit_transform(baseline.matrix)

    def objective(beta: FloatArray) -> tuple[float, FloatArray]:
        linear = beta[0] + standard @ beta[1:]
        residual = expit(linear) - treated
        loss = np.logaddexp(0, linear).sum() - linear[treated].sum() + 0.5 * 7.0 * (beta[1:] ** 2).sum()
        return loss, np.concatenate([[residual.sum()], standard.T @ residual + 7.0 * beta[1:]])

    best = minimize(objective, np.zeros(9), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    found = fit_propensity(baseline, treated, l2_penalty=7.0)
    np.testing.assert_allclose(found.model["logistic"].coef_[0], best[1:], atol=1e-7)
    np.testing.assert_allclose(found.linear, best[0] + standard @ best[1:], atol=1e-6)
    assert l2_penalty_of(found) == pytest.approx(7.0)


@pytest.mark.parametrize("l2_penalty", [0.0, 1.0, 100.0])
def test_scores_of_a_rare_treatment_sum_to_the_number_treated(l2_penalty: float) -> None:
    matrix, treated = sample(60_000, 60, 8)
    found = fit_propensity(baseline_of(matrix), treated, l2_penalty=l2_penalty)
    assert found.score.sum() == pytest.approx(60, rel=1e-8)
    assert found.calibration_gap < 1e-8
    # What the check is for: the same model at scikit-learn's default tolerance.
    careless = make_pipeline(StandardScaler(), LogisticRegression(C=1.0)).fit(matrix, treated)
    assert abs(careless.predict_proba(matrix)[:, 1].sum() / 60 - 1) > 1e-4


@pytest.mark.parametrize("l2_penalty", [0.0, 1.0])
def test_pipeline_reproduces_the_score(l2_penalty: float) -> None:
    baseline, treated = lalonde()
    found = fit_propensity(baseline, treated, l2_penalty=l2_penalty)
    assert type(found.model) is Pipeline
    np.testing.assert_allclose(found.model.predict_proba(baseline.matrix)[:, 1], found.score, rtol=1e-12)
    np.testing.assert_allclose(expit(found.linear), found.score, rtol=1e-15)


def test_pipeline_can_be_stored_without_pickle() -> None:
    from skops import io

    baseline, _ = lalonde()
    stored = io.dumps(unpenalised().model)
    assert io.get_untrusted_types(data=stored) == []
    again = io.loads(stored).predict_proba(baseline.matrix)
    np.testing.assert_array_equal(again, unpenalised().model.predict_proba(baseline.matrix))


@pytest.mark.parametrize("l2_penalty", [0.0, 1.0])
def test_constant_columns_change_nothing(l2_penalty: float) -> None:
    matrix, treated = sample(500, 60, 3)
    plain = fit_propensity(baseline_of(matrix), treated, l2_penalty=l2_penalty)
    wider = np.column_stack([np.full(500, 0.1), matrix, np.zeros(500)])
    found = fit_propensity(baseline_of(wider), treated, l2_penalty=l2_penalty)
    np.testing.assert_allclose(found.linear, plain.linear, atol=1e-9)
    np.testing.assert_allclose(found.model["logistic"].coef_[0][[0, 4]], 0, atol=1e-12)


def test_duplicate_columns_share_one_coefficient() -> None:
    matrix, treated = sample(500, 60, 3)
    plain = fit_propensity(baseline_of(matrix), treated, l2_penalty=0.0)
    doubled = np.column_stack([matrix, 3.0 * matrix[:, 0] + 1.0])
    found = fit_propensity(baseline_of(doubled), treated, l2_penalty=0.0)
    np.testing.assert_allclose(found.linear, plain.linear, atol=1e-9)
    first, last = found.model["logistic"].coef_[0][[0, 3]]
    assert first == pytest.approx(last, rel=1e-6)
    # Under a penalty two copies of a column share it: as if the column were penalised half as much.
    assert np.isfinite(fit_propensity(baseline_of(doubled), treated, l2_penalty=1.0).linear).all()


def test_units_do_not_matter() -> None:
    matrix, treated = sample(500, 60, 3)
    plain = fit_propensity(baseline_of(matrix), treated)
    scaled = fit_propensity(baseline_of(matrix * [1e6, 1e-6, 1.0] + [1e6, 0.0, -5.0]), treated)
    np.testing.assert_allclose(scaled.linear, plain.linear, atol=1e-7)


def separated(x: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Treated exactly where x > 1."""
    return x, x > 1.0


def nearly_separated(x: FloatArray) -> tuple[FloatArray, BoolArray]:
    """A binary column: all treated where it is 1, a fifth where it is 0. Only its own slope runs away."""
    return (x > 0).astype(np.float64), (x > 0) | (np.arange(len(x)) % 5 == 0)


@pytest.mark.parametrize("case", [separated, nearly_separated])
def test_separated_treatment_is_refused_without_a_penalty(
    case: Callable[[FloatArray], tuple[FloatArray, BoolArray]],
) -> None:
    column, treated = case(np.sort(np.random.default_rng(3).normal(size=200)))
    matrix = np.column_stack([column, np.cos(np.arange(200))])
    with pytest.raises(ValueError, match="separate treated from untreated"):
        fit_propensity(baseline_of(matrix), treated, l2_penalty=0.0)
    found = fit_propensity(baseline_of(matrix), treated, l2_penalty=1.0)
    assert found.score.sum() == pytest.approx(treated.sum(), rel=1e-8)


def test_comparable_rows_by_hand() -> None:
    """Group 0 has both arms; 1 no treated; 2 no untreated; 3 no untreated but the treated person's own other row."""
    rows = [  # group, person, treated, comparable
        (0, 1, 1, 1),
        (0, 2, 0, 1),
        (0, 1, 0, 0),
        (0, 3, 0, 1),
        (1, 4, 0, 0),
        (1, 3, 0, 0),
        (2, 5, 1, 0),
        (3, 6, 1, 0),
        (3, 6, 0, 0),
    ]
    group, person, treated, expected = (list(column) for column in zip(*rows, strict=True))
    baseline = baseline_of(np.zeros((9, 1)), exact_group=group, person=person)
    assert comparable_rows(baseline, np.array(treated) == 1).tolist() == [bool(flag) for flag in expected]


def test_comparable_rows_of_people_not_yet_treated_by_hand() -> None:
    """Person 1 is treated on days 50 and 70: rows before day 50 count, where those not yet treated do."""
    rows = [  # day, person, treated, comparable
        (50, 1, 1, 1),
        (70, 1, 1, 1),
        (49, 1, 0, 1),
        (50, 1, 0, 0),
        (60, 1, 0, 0),
        (80, 2, 0, 1),
    ]
    day, person, treated, expected = (np.array(column) for column in zip(*rows, strict=True))
    baseline = baseline_of(np.zeros((6, 1)), index_day=day.tolist(), person=person.tolist())
    found = comparable_rows(replace(baseline, not_yet_treated=True), treated == 1)
    assert found.tolist() == [bool(flag) for flag in expected]
    assert not comparable_rows(baseline, treated == 1)[2]


def test_rows_that_cannot_be_compared_get_a_score_but_do_not_shape_it() -> None:
    matrix, treated = sample(500, 60, 2)
    alone = fit_propensity(baseline_of(matrix), treated)
    others = np.random.default_rng(4).normal(3.0, 5.0, size=(200, 2))
    baseline = baseline_of(np.vstack([matrix, others]), exact_group=[0] * 500 + [1] * 200)
    found = fit_propensity(baseline, np.concatenate([treated, np.zeros(200, dtype=np.bool_)]))
    np.testing.assert_allclose(found.linear[:500], alone.linear, atol=1e-12)
    np.testing.assert_allclose(found.score[500:], alone.model.predict_proba(others)[:, 1], rtol=1e-9)
    assert found.calibration_gap < 1e-8


def test_impossible_input_is_refused() -> None:
    baseline, treated = lalonde()
    cases: list[tuple[Baseline, Any, float, str]] = [
        (baseline, np.ones_like(treated), 1.0, "needs treated and untreated rows"),
        (baseline, np.zeros_like(treated), 1.0, "needs treated and untreated rows"),
        (baseline, treated[:-1], 1.0, "one value for each row"),
        (baseline, treated.astype(np.int64), 1.0, "boolean"),
        (baseline, treated, -1.0, "l2_penalty"),
        (baseline, treated, np.inf, "l2_penalty"),
        (replace(baseline, exact_group=treated.astype(np.int64)), treated, 1.0, "no exact group holds both"),
        (
            replace(baseline, matrix=np.where(baseline.matrix == 46, np.nan, baseline.matrix)),
            treated,
            1.0,
            "columns: age$",
        ),
    ]
    for bad_baseline, bad_treated, penalty, message in cases:
        with pytest.raises(ValueError, match=message):
            fit_propensity(bad_baseline, bad_treated, l2_penalty=penalty)
