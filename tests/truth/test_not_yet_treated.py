"""Support at later discharges goes to those who were readmitted often: what leaving them out of the controls does.

A person's discharges follow each other; who is readmitted is offered support the more often. Nothing is unmeasured, and
the effect of every discharge is known. Leaving later participants out leaves out discharges that were followed by a
readmission; a span of untreated days as long as follow-up leaves out nothing else.
"""

from dataclasses import replace

import numpy as np
import pytest

from models.effects import weighted_difference
from models.propensity import day_of_treatment, fit_propensity
from models.registry import DESIGNS
from models.results import Baseline, BoolArray, FloatArray
from tests.models.contract_estimates import rows_of

HORIZON, WINDOW, PEOPLE = 365, 1095, 3000
RATIO_OF_RATES = 0.6
ABLE = ("risk_set_matching", "propensity_weighting")

Error = tuple[float, float]


def one_world(seed: int) -> tuple[Baseline, BoolArray, FloatArray, FloatArray]:
    """Baseline, treated, readmitted within a year, and the true difference in risk, of every discharge until the first
    with support. x raises the rate of readmission and the chance of support; earlier discharges raise the latter."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(PEOPLE):
        x, day, n_earlier, treated = rng.normal(), rng.uniform(0, 700), 0, False
        rate = np.exp(-0.5 + 0.6 * x) / HORIZON
        while day < WINDOW and not treated:
            treated = bool(rng.random() < 1 / (1 + np.exp(3.6 - 0.5 * x - 1.3 * min(n_earlier, 2))))
            gap = rng.exponential() / (rate * (RATIO_OF_RATES if treated else 1.0))
            difference = np.exp(-rate * HORIZON) - np.exp(-rate * RATIO_OF_RATES * HORIZON)
            rows.append((x, min(n_earlier, 2), int(day), person, treated, gap <= HORIZON, difference))
            day, n_earlier = day + gap + rng.uniform(5, 40), n_earlier + 1
    x, n_earlier, day, person, treated, back, difference = np.array(rows, dtype=np.float64).T
    same = np.zeros(len(rows), dtype=np.int64)
    matrix = np.column_stack([x, n_earlier])
    baseline = Baseline(matrix, ("x", "n_earlier"), same, day.astype(np.int64), person.astype(np.int64))
    return baseline, treated == 1.0, back, difference


def error_of(baseline: Baseline, treated: BoolArray, back: FloatArray, difference: FloatArray, method: str) -> Error:
    """Estimate less the truth for the treated in the design, and the standard error."""
    rng = np.random.default_rng(0)
    options = {"person_serves": "each_discharge"} if method == "risk_set_matching" else {}
    score = fit_propensity(baseline, treated)
    design = DESIGNS[method].function(baseline, treated, score, rng=rng, **options)
    estimate = weighted_difference(back, baseline, design, rng=rng, kind="binary")[0]
    kept = treated & (design.weights > 0)
    assert kept.sum() > 0.8 * treated.sum()
    return estimate.value - float(difference[kept].mean()), estimate.std_error


def ways(seed: int, method: str) -> dict[str, Error]:
    baseline, treated, back, difference = one_world(seed)
    waits = replace(baseline, not_yet_treated=True)
    far = treated | (day_of_treatment(baseline, treated) - baseline.index_day >= HORIZON)
    of_far = [values[far] for values in (treated, back, difference)]
    return {
        "never treated": error_of(baseline, treated, back, difference, method),
        "not yet treated": not_yet_treated(seed, method),
        "untreated for a year": error_of(rows_of(waits, np.flatnonzero(far)), *of_far, method),
    }


def not_yet_treated(seed: int, method: str) -> Error:
    baseline, *rest = one_world(seed)
    return error_of(replace(baseline, not_yet_treated=True), *rest, method)


@pytest.mark.parametrize("method", ABLE)
def test_who_is_treated_later_must_not_be_left_out_for_it(method: str) -> None:
    """Six worlds, in which the standard deviation of an estimate is 0.026 (40 others): 0.011 for their mean, and 3 of
    those about the truth. Left out, whoever is treated later shifts the difference by 0.07 to 0.10."""
    worlds = [ways(seed, method) for seed in range(6)]
    bias = {way: float(np.mean([world[way][0] for world in worlds])) for way in worlds[0]}
    assert abs(bias["not yet treated"]) < 0.033
    assert bias["never treated"] > 0.045
    assert bias["untreated for a year"] > 0.045


@pytest.mark.slow
@pytest.mark.parametrize("method", ABLE)
def test_intervals_cover_where_those_not_yet_treated_serve(method: str) -> None:
    """0.95 less 3 standard errors of a share of 100; a bias of less than a third of the standard error."""
    found = np.array([not_yet_treated(seed, method) for seed in range(1000, 1100)])
    assert (np.abs(found[:, 0]) < 1.96 * found[:, 1]).mean() >= 0.885
    assert abs(found[:, 0].mean()) < found[:, 1].mean() / 3
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(ddof=1), rel=0.25)


def test_only_methods_tried_here_take_those_not_yet_treated() -> None:
    assert {name for name, method in DESIGNS.items() if method.not_yet_treated} == set(ABLE)
