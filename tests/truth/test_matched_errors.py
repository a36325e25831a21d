"""Standard errors of matched designs against the spread of their estimates over simulated worlds."""

from typing import Any

import numpy as np
import pytest

from models.effects import weighted_difference
from models.propensity import fit_propensity
from models.registry import DESIGNS
from models.results import Baseline, BoolArray, FloatArray

WORLDS = 300
DESIGNS_TRIED: list[tuple[str, dict[str, Any]]] = [
    ("nearest_neighbour", {"ratio": 2}),
    ("nearest_neighbour", {"replace": True}),
    ("nearest_neighbour", {"ratio": 2, "distance": "mahalanobis", "order": "closest_first"}),
    ("nearest_neighbour", {"ratio": 2, "max_ratio": 4}),
    ("optimal_matching", {"ratio": 2}),
    ("full_matching", {}),
    ("full_matching", {"estimand": "ATE"}),
    ("risk_set_matching", {"ratio": 2, "look_back_days": None, "person_serves": "each_discharge"}),
]


def simulated(seed: int) -> tuple[Baseline, BoolArray, FloatArray]:
    """150 treated among 2,000 rows of up to 1,500 people; two covariates drive treatment and outcome; the effect is 1.
    Rows of one person share half of what the covariates do not explain."""
    rng = np.random.default_rng([17, seed])
    n = 2_000
    person = rng.integers(0, 1_500, n)
    x = np.column_stack([rng.normal(size=n), rng.integers(0, 2, n)])
    odds = np.exp(0.6 * x[:, 0] + 0.5 * x[:, 1])
    treated = np.zeros(n, dtype=np.bool_)
    treated[rng.choice(n, 150, replace=False, p=odds / odds.sum())] = True
    person[treated] = 1_500 + np.arange(150)
    own = rng.normal(size=1_650)
    outcome = 1.5 * x[:, 0] + x[:, 1] + treated + (own[person] + rng.normal(size=n)) / np.sqrt(2)
    same = np.zeros(n, dtype=np.int64)
    return Baseline(x, ("x", "z"), same, rng.integers(0, 900, n), person), treated, outcome


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), DESIGNS_TRIED, ids=str)
def test_the_error_is_the_spread_and_intervals_cover(method: str, options: dict[str, Any]) -> None:
    """Over 300 worlds the spread is known within 4 %, coverage within 1.3 points: the mean error may lie 8 % below and
    25 % above the spread (being too large is the lesser fault), and 91 % to 99 % of the intervals hold the effect."""
    found = []
    for seed in range(WORLDS):
        baseline, treated, outcome = simulated(seed)
        rng = np.random.default_rng(seed)
        design = DESIGNS[method].function(baseline, treated, fit_propensity(baseline, treated), rng=rng, **options)
        estimate = weighted_difference(outcome, baseline, design, rng=rng, kind="continuous")[0]
        found.append((estimate.value, estimate.std_error, estimate.lower <= 1 <= estimate.upper))
    value, error, covers = np.array(found, dtype=np.float64).T
    ratio = np.sqrt((error**2).mean()) / value.std(ddof=1)
    print(f"{method} {options}: bias {value.mean() - 1:+.3f}, error / spread {ratio:.2f}, coverage {covers.mean():.3f}")
    assert 0.92 <= ratio <= 1.25
    assert 0.91 <= covers.mean() <= 0.99
