"""Times to events in a simulated world with known truth: bias, coverage of limits and bands, size and power of tests.

The bounds are those of a binomial count: with 400 replicates a coverage of 95 % comes out between 91.7 and 98.3 %
(three standard errors) unless something is wrong.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import expit

from models.estimated_weights import model_weights
from models.influence import find_clusters
from models.propensity import fit_propensity
from models.results import Baseline, Design
from models.times.arm_curve import aalen_johansen
from models.times.events import TimeEffects, within_horizon
from models.times.hazards import cause_specific_cox, cox, fine_gray
from models.times.limits import with_limits
from models.times.risks import cumulative_incidence, kaplan_meier, time_lost
from tests.models.effect_samples import baseline_of

pytestmark = pytest.mark.slow

N, REPLICATES, HORIZON = 700, 400, 365
LOW, HIGH = 0.917, 0.983


def hazards(x: np.ndarray, treated: np.ndarray, log_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Daily hazards of readmission and death; x raises both, treatment multiplies that of readmission."""
    return 0.002 * np.exp(0.6 * x + log_ratio * treated), 0.0004 * np.exp(0.4 * x)


def first_events(
    rng: np.random.Generator, x: np.ndarray, treated: np.ndarray, log_ratio: float, *, changes: bool = False
) -> tuple[np.ndarray, ...]:
    """(day, event) of people who are all observed to the horizon. With `changes`, treatment lowers the hazard of
    readmission to 0.3 of what it was until day 60, and then raises it to 1.7."""
    of_readmission, of_death = hazards(x, treated, log_ratio)
    readmitted = rng.exponential(1 / of_readmission)
    if changes:
        warped = np.where(readmitted < 18, readmitted / 0.3, 60 + (readmitted - 18) / 1.7)
        readmitted = np.where(treated, warped, readmitted)
    readmitted, died = np.ceil(readmitted), np.ceil(rng.exponential(1 / of_death))
    return np.minimum(readmitted, died), np.where(readmitted <= died, 1, 2)


def sample(
    seed: int, *, log_ratio: float, lost: float = 0.0, changes: bool = False
) -> tuple[np.ndarray, np.ndarray, Baseline, Design]:
    """A confounded sample with ATE weights. `lost` makes people of high x leave observation early, in both arms."""
    rng = np.random.default_rng([20241124, seed])
    x = rng.normal(size=N)
    treated = rng.random(N) < expit(-0.4 + 0.7 * x)
    day, event = first_events(rng, x, treated, log_ratio, changes=changes)
    left = np.ceil(rng.exponential(1 / (0.0008 * np.exp(lost * x))))
    day, event = np.minimum(day, left), np.where(left < day, 0, event)
    baseline = baseline_of(x[:, None])
    score = fit_propensity(baseline, treated, l2_penalty=0.0).score
    weights = np.where(treated, 1 / score, 1 / (1 - score))
    design = Design("by_hand", "ATE", treated, score, weights, np.full(N, -1), {"l2_penalty": 0.0})
    return day, event, baseline, design


def truth(log_ratio: float, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The difference of a mean over everybody, treated and untreated, in four million people."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=4_000_000)
    arms = [measure(*first_events(rng, x, np.full(x.size, arm), log_ratio)).mean() for arm in (True, False)]
    return float(arms[0] - arms[1])


MEASURES = {
    "cumulative_incidence": (cumulative_incidence, lambda day, event: (event == 1) & (day <= HORIZON)),
    "kaplan_meier": (kaplan_meier, lambda day, event: day <= HORIZON),
    "time_lost": (time_lost, lambda day, event: np.where(event == 1, np.maximum(HORIZON - day, 0), 0)),
}


def replicate(method: Callable[..., TimeEffects], log_ratio: float, **world: float) -> np.ndarray:
    """(replicates, 4): value, error, and limits of the first estimate of each sample."""
    weights = {"censoring": "weights", "censoring_penalty": 0.0} if world else {}
    rows = []
    for seed in range(REPLICATES):
        first = method(*sample(seed, log_ratio=log_ratio, **world), **weights).estimates[0]
        rows.append((first.value, first.std_error, first.lower, first.upper))
    return np.array(rows)


@pytest.mark.parametrize("lost", [0.0, 1.0], ids=["censoring at random", "those at risk are lost"])
@pytest.mark.parametrize("name", MEASURES)
def test_differences_are_unbiased_and_covered(name: str, lost: float) -> None:
    method, measure = MEASURES[name]
    wanted = truth(-0.5, measure)
    found = replicate(method, -0.5, **({"lost": lost} if lost else {}))
    value, error, lower, upper = found.T
    assert abs(value.mean() - wanted) < 3.5 * value.std() / np.sqrt(REPLICATES)
    assert LOW < ((lower <= wanted) & (wanted <= upper)).mean() < HIGH
    assert 0.9 < error.mean() / value.std() < 1.12


def test_without_weights_losing_those_at_risk_biases_the_risks() -> None:
    wanted = truth(-0.5, MEASURES["cumulative_incidence"][1])
    rng = np.random.default_rng(1)
    x = rng.normal(size=1_000_000)
    risk = MEASURES["cumulative_incidence"][1](*first_events(rng, x, np.zeros(x.size), -0.5)).mean()
    plain, weighted = [], []
    for seed in range(100):
        data = sample(seed, log_ratio=-0.5, lost=1.0)
        plain.append(cumulative_incidence(*data).estimates[0].notes["mean_control"])
        options = {"censoring": "weights", "censoring_penalty": 0.0}
        weighted.append(cumulative_incidence(*data, **options).estimates[0].notes["mean_control"])
    # The error of a mean of 100 is about 0.003; those who stay are the ones of low risk.
    assert np.mean(plain) - risk < -0.012
    assert abs(np.mean(weighted) - risk) < 0.009
    assert wanted < 0


@pytest.mark.parametrize("method", [cox, cause_specific_cox, fine_gray])
def test_ratios_are_covered_without_an_effect(method: Callable[..., TimeEffects]) -> None:
    value, error, lower, upper = replicate(method, 0.0).T
    assert abs(np.log(value).mean()) < 3.5 * np.log(value).std() / np.sqrt(REPLICATES)
    assert LOW < ((lower <= 1) & (upper >= 1)).mean() < HIGH
    assert 0.9 < error.mean() / np.log(value).std() < 1.12


def test_weighted_subdistribution_ratios_are_covered_where_those_at_risk_are_lost() -> None:
    """Without an effect the subdistribution ratio is 1 whatever the covariates; those of high risk are lost early."""
    value, error, lower, upper = replicate(fine_gray, 0.0, lost=1.0).T
    assert abs(np.log(value).mean()) < 3.5 * np.log(value).std() / np.sqrt(REPLICATES)
    assert LOW < ((lower <= 1) & (upper >= 1)).mean() < HIGH
    assert 0.9 < error.mean() / np.log(value).std() < 1.12


@pytest.mark.parametrize("method", [cause_specific_cox, fine_gray])
def test_the_size_and_the_power_of_the_test_of_proportional_hazards(method: Callable[..., TimeEffects]) -> None:
    p_values, with_a_change = [], []
    for seed in range(REPLICATES):
        plain, changed = (method(*sample(seed, log_ratio=0.0, changes=one)) for one in (False, True))
        p_values.append(plain.estimates[0].notes["proportional_hazards_p"])
        with_a_change.append(changed.estimates[0].notes["proportional_hazards_p"])
    # Size 5 %: between 1.7 and 8.3 % of 400 (three standard errors).
    assert 0.017 < np.mean(np.array(p_values) < 0.05) < 0.083
    assert np.mean(np.array(with_a_change) < 0.05) > 0.5


def test_the_band_of_a_difference_holds_the_whole_difference_and_the_limits_of_each_day_do_not() -> None:
    days = np.arange(1, HORIZON + 1)
    rng = np.random.default_rng(1)
    x = rng.normal(size=2_000_000)
    true = np.zeros(days.size)
    for arm, sign in ((True, 1), (False, -1)):
        day, event = first_events(rng, x, np.full(x.size, arm), -0.5)
        true += sign * np.searchsorted(np.sort(day[event == 1]), days, side="right") / x.size
    in_band, in_limits = [], []
    for seed in range(REPLICATES // 2):
        found = cumulative_incidence(*sample(seed, log_ratio=-0.5)).event_curves[0].difference
        place = np.searchsorted(found.day, days, side="right") - 1
        known = np.isfinite(found.band_lower[place])
        for held, low, high in (
            (in_band, found.band_lower, found.band_upper),
            (in_limits, found.lower, found.upper),
        ):
            held.append(np.all((low[place] <= true)[known] & (true <= high[place])[known]))
    # 200 replicates: 95 % comes out between 90.4 and 99.6 % (three standard errors).
    assert 0.904 < np.mean(in_band) < 0.996
    assert np.mean(in_limits) < 0.9


def test_the_band_holds_the_whole_curve_and_the_limits_of_each_day_do_not() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=2_000_000)
    day, event = first_events(rng, x, np.zeros(x.size), 0.0)
    days = np.arange(1, HORIZON + 1)
    true = np.searchsorted(np.sort(day[event == 1]), days, side="right") / x.size
    in_band, in_limits = [], []
    for seed in range(REPLICATES // 2):
        day, event, baseline, design = sample(seed, log_ratio=0.0)
        day, event = within_horizon(day, event, design, HORIZON)
        steps = aalen_johansen(day, event, design, "control", HORIZON, (1,))
        model, clusters = model_weights(baseline, design, "estimated"), find_clusters(baseline, design)
        curve = with_limits(steps, model, clusters, 0.95)
        assert curve.band_lower is not None
        assert curve.band_upper is not None
        place = np.searchsorted(curve.day, days, side="right") - 1
        known = np.isfinite(curve.band_lower[place])
        for held, low, high in (
            (in_band, curve.band_lower, curve.band_upper),
            (in_limits, curve.lower, curve.upper),
        ):
            held.append(np.all((low[place] <= true)[known] & (true <= high[place])[known]))
    # 200 replicates: 95 % comes out between 90.4 and 99.6 % (three standard errors).
    assert 0.904 < np.mean(in_band) < 0.996
    assert np.mean(in_limits) < 0.9
