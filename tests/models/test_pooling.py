"""Pooling of sites: against R's metafor, by hand, and coverage where the sites differ."""

import csv

import numpy as np
import pytest

from models.pooling import pool_sites
from tests.models.effect_samples import GOLDEN, golden_values

R = golden_values("pooling_values.csv")


def sites(name: str) -> tuple[list[float], list[float]]:
    with open(GOLDEN / "pooling.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["data"] == name]
    return [float(row["y"]) for row in rows], [float(row["se"]) for row in rows]


@pytest.mark.parametrize("name", ["differ", "agree", "few"])
def test_metafor(name: str) -> None:
    found = pool_sites(*sites(name))
    expected = {
        "fixed_value": found.fixed.value,
        "fixed_error": found.fixed.std_error,
        "fixed_lower": found.fixed.lower,
        "fixed_p": found.fixed.p_value,
        "q": found.q,
        "q_p": found.q_p_value,
        "tau2": found.tau_squared,
        "i2": found.i_squared,
        "random_value": found.random.value,
        "random_error": found.random.std_error,
        "random_lower": found.random.lower,
        "random_upper": found.random.upper,
        "random_p": found.random.p_value,
        "tau2_lower": found.tau_squared_lower,
        "tau2_upper": found.tau_squared_upper,
        "prediction_lower": found.prediction_lower,
        "prediction_upper": found.prediction_upper,
    }
    if found.without_site:
        expected["without_first"] = found.without_site[0].value
        expected["without_first_lower"] = found.without_site[0].lower
        expected["without_last"] = found.without_site[-1].value
    for quantity, value in expected.items():
        assert value == pytest.approx(R[name, quantity], rel=1e-6, abs=1e-9), quantity


def test_two_sites_by_hand() -> None:
    # Errors of 1 and 1: the mean is 2, Q = 4² / 2 = 8, and REML with equal errors is the sample variance less 1: 7.
    found = pool_sites([0.0, 4.0], [1.0, 1.0])
    assert (found.fixed.value, found.q, found.tau_squared) == pytest.approx((2, 8, 7))
    assert found.random.std_error == pytest.approx(2)  # half the distance
    assert found.without_site == ()


def test_sites_that_agree_too_well_do_not_shrink_the_interval() -> None:
    found = pool_sites([0.1, 0.1, 0.1001], [0.2, 0.3, 0.25])
    assert found.tau_squared == 0
    assert found.random.std_error == pytest.approx(found.fixed.std_error)
    assert found.random.upper - found.random.lower > found.fixed.upper - found.fixed.lower


def test_order_and_unit_play_no_part() -> None:
    values, errors = sites("differ")
    found, turned = pool_sites(values, errors), pool_sites(values[::-1], errors[::-1])
    assert turned.random.value == pytest.approx(found.random.value, rel=1e-12)
    assert turned.without_site[0].value == pytest.approx(found.without_site[-1].value, rel=1e-12)
    percent = pool_sites([100 * value for value in values], [100 * error for error in errors])
    assert percent.tau_squared == pytest.approx(1e4 * found.tau_squared, rel=1e-9)
    assert percent.prediction_upper == pytest.approx(100 * found.prediction_upper, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "errors", "message"),
    [([1.0], [1.0], "at least two sites"), ([1.0, np.nan], [1, 1], "above 0"), ([1.0, 2.0], [1, 0], "above 0")],
)
def test_what_is_refused(values: list[float], errors: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pool_sites(values, errors)


def test_coverage_where_sites_differ() -> None:
    """400 studies of 8 sites with effects of variance 0.01 and errors of 0.05 to 0.2: the random effects' interval must
    cover in at least 366 (binomial, 0.95, probability 0.001); the fixed effect's cannot."""
    rng = np.random.default_rng(12)
    random = fixed = 0
    for _ in range(400):
        errors = rng.uniform(0.05, 0.2, 8)
        found = pool_sites(rng.normal(rng.normal(-0.1, 0.1, 8), errors), errors)
        random += found.random.lower < -0.1 < found.random.upper
        fixed += found.fixed.lower < -0.1 < found.fixed.upper
    assert random >= 366
    assert fixed < 360
