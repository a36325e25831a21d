"""Boosted scores and scores by stratum: what they are for, that they are calibrated, and that they can be stored."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import rankdata

from models.effects import weighted_difference
from models.propensity import fit_propensity, strata_of
from models.results import Baseline, BoolArray, FloatArray
from models.weighting import propensity_weighting
from pipelines.artefacts import TREES
from pipelines.model_bytes import model_bytes
from tests.models.effect_samples import baseline_of


def curved_world(n: int = 6_000, seed: int = 1) -> tuple[Baseline, BoolArray, FloatArray]:
    """Rare treatment (about 4 %), likelier at both ends of one covariate: no straight line finds it."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 4))
    linear = -4.6 + 1.2 * np.minimum(np.abs(matrix[:, 0]), 2.5) + 0.5 * matrix[:, 1]
    return baseline_of(matrix), rng.random(n) < expit(linear), linear


def boosted(baseline: Baseline, treated: BoolArray):
    return fit_propensity(baseline, treated, rng=np.random.default_rng(2), method="boosting", folds=4)


def c_statistic(linear: FloatArray, treated: BoolArray) -> float:
    n = treated.sum()
    return float((rankdata(linear)[treated].sum() - n * (n + 1) / 2) / (n * (~treated).sum()))


def test_boosting_finds_a_curve_that_a_line_misses_and_stays_calibrated() -> None:
    baseline, treated, linear = curved_world()
    found, straight = boosted(baseline, treated), fit_propensity(baseline, treated)
    best, trees, line = (c_statistic(each, treated) for each in (linear, found.linear, straight.linear))
    assert line + 0.5 * (best - line) < trees <= best + 0.02  # the truth bounds what honest scores can tell apart
    assert found.score.sum() == pytest.approx(treated.sum(), rel=1e-6)
    assert 0.7 < found.facts["calibration_slope"] < 1.5
    squares = baseline.matrix[:, 0] ** 2
    off = []
    for score in (found, straight):
        design = propensity_weighting(baseline, treated, score, rng=np.random.default_rng(0))
        mean = np.average(squares[~treated], weights=design.weights[~treated])
        off.append(abs(mean - squares[treated].mean()) / squares[treated].std())
    assert off[0] < 0.6 * off[1]


def test_boosting_learns_nothing_where_nothing_is_to_learn() -> None:
    """At its defaults HistGradientBoosting separates 60 treated by chance from 3,000 others in the rows it saw."""
    rng = np.random.default_rng(5)
    baseline, treated = baseline_of(rng.normal(size=(3_000, 5))), np.arange(3_000) < 60
    found = boosted(baseline, treated)
    assert np.ptp(found.linear) < 1.0
    assert found.score.sum() == pytest.approx(60, rel=1e-6)


def test_boosting_does_not_hang_on_the_order_of_rows() -> None:
    baseline, treated, _ = curved_world(2_000)
    found = boosted(baseline, treated)
    order = np.random.default_rng(4).permutation(len(treated))
    shuffled = replace(baseline, matrix=baseline.matrix[order], person=baseline.person[order])
    again = boosted(shuffled, treated[order])
    np.testing.assert_allclose(again.linear, found.linear[order], atol=1e-8)


def test_boosted_scores_and_scores_by_stratum_can_be_stored_without_pickle() -> None:
    from skops import io

    baseline, treated, _ = curved_world(2_000)
    grouped = replace(baseline, exact_group=np.arange(2_000) % 2)
    for propensity in (boosted(baseline, treated), fit_propensity(grouped, treated, by_stratum=True)):
        stored = model_bytes(propensity.model)
        # One class of scikit-learn's trees is not on skops' own list; the model card names it.
        unlisted = [TREES] if "classifiers" in propensity.model else []
        assert io.get_untrusted_types(data=stored) == unlisted
        assert set(io.loads(stored, trusted=unlisted)) == set(propensity.model)


def stratified_world() -> tuple[Baseline, BoolArray]:
    """Two strata in which a covariate acts in opposite ways, and three small ones."""
    rng = np.random.default_rng(9)
    n = 1_500
    group = rng.choice(5, n, p=[0.45, 0.45, 0.04, 0.03, 0.03])
    matrix = rng.normal(size=(n, 2))
    direction = np.where(group == 1, -1.0, 1.0)
    treated = rng.random(n) < expit(-1.5 + direction * matrix[:, 0])
    return baseline_of(matrix, group=group), treated


def test_scores_by_stratum_are_those_of_separate_fits() -> None:
    baseline, treated = stratified_world()
    found = fit_propensity(baseline, treated, by_stratum=True)
    strata = strata_of(baseline, treated, np.ones_like(treated), 30)
    assert [set(baseline.exact_group[members]) for members in strata] == [{0}, {1}, {2, 3, 4}]
    for members in strata:
        alone = fit_propensity(baseline_of(baseline.matrix[members]), treated[members])
        np.testing.assert_allclose(found.linear[members], alone.linear, atol=1e-9)
        assert found.score[members].sum() == pytest.approx(treated[members].sum(), rel=1e-8)
    assert found.facts["n_strata"] == 3


def test_errors_by_stratum_are_those_of_refitting_each_stratum() -> None:
    """The jackknife over 60 persons (25 rows each), everything refitted without each of them."""
    baseline, treated = stratified_world()
    rows = np.arange(len(treated))
    person = np.where(treated, rows % 20, 20 + rows % 40)
    baseline = replace(baseline, exact_group=np.minimum(baseline.exact_group, 1), person=person)
    outcome = (baseline.matrix[:, 0] + np.random.default_rng(3).normal(size=len(treated)) > 0).astype(float)

    def effect(kept: BoolArray) -> tuple[float, float]:
        part = baseline_of(baseline.matrix[kept], person[kept], baseline.exact_group[kept])
        score = fit_propensity(part, treated[kept], by_stratum=True)
        design = propensity_weighting(part, treated[kept], score, estimand="ATO", rng=np.random.default_rng(0))
        found = weighted_difference(outcome[kept], part, design, rng=np.random.default_rng(0), kind="binary")[0]
        assert found.notes["variance"] == "weights as estimated"
        return found.value, found.std_error

    value, std_error = effect(np.ones_like(treated))
    without = np.array([effect(person != one)[0] for one in range(60)])
    # Without one person of 20 or 40 in an arm the others' shares move by 20/19 or 40/39: the jackknife is a bit wider.
    assert std_error == pytest.approx(np.sqrt(((without - value) ** 2).sum()), rel=0.06)


def test_impossible_settings_are_refused() -> None:
    baseline, treated = stratified_world()
    with pytest.raises(ValueError, match="by_stratum is for method"):
        fit_propensity(baseline, treated, method="boosting", by_stratum=True, rng=np.random.default_rng(1))
    with pytest.raises(ValueError, match="boosting needs a random generator"):
        fit_propensity(baseline, treated, method="boosting")
