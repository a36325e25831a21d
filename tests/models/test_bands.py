"""Bands for whole curves: their multiplier against R, from survfit's residuals and from Greenwood's variance."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from models.results import Curve
from models.times.risks import cumulative_incidence, kaplan_meier
from tests.models.effect_samples import golden_matched
from tests.models.times_samples import golden_times

R = golden_times("bands.csv")


def multiplier(curve: Curve) -> float:
    """By how much the band reaches farther than the limits on the log(-log) scale, times 1.96: the same on all days."""
    known = np.isfinite(curve.band_lower) & (curve.band_upper > curve.band_lower)

    def double_log(risk):
        return np.log(-np.log(risk[known]))

    found = (double_log(curve.band_lower) - double_log(curve.incidence)) / (
        double_log(curve.lower) - double_log(curve.incidence)
    )
    assert np.ptp(found) < 1e-8
    return float(found[0] * norm.ppf(0.975))


@pytest.mark.parametrize("arm", [0, 1])
def test_the_multiplier_of_clustered_and_weighted_incidence_agrees_with_r(arm):
    """10,000 draws here: the 95 % point of the largest error is then 0.5 % uncertain (three times that is allowed)."""
    data, baseline, design = golden_matched()
    found = cumulative_incidence(data["day"], data["event"].astype(np.int64), baseline, design)
    curve = found.event_curves[0].curves[arm]
    assert multiplier(curve) == pytest.approx(R["incidence", curve.arm], rel=0.015)


@pytest.mark.parametrize("arm", [0, 1])
def test_the_multiplier_of_kaplan_meier_is_that_of_independent_increments(arm):
    """Rows as independent and of one weight; Greenwood's variance against the influence function's, which differ by
    some 1/n: 2 % with 60 treated."""
    data, baseline, design = golden_matched()
    n = len(data["day"])
    apart = replace(baseline, person=np.arange(n))
    alike = replace(
        design, weights=(design.weights > 0).astype(float), matched_set=np.full(n, -1), score=np.full(n, 0.5)
    )
    found = kaplan_meier(data["day"], data["event"].astype(np.int64), apart, alike)
    curve = found.event_curves[0].curves[arm]
    assert curve.day[np.flatnonzero(np.isfinite(curve.band_lower))[0]] == R["kaplan_meier", f"{curve.arm} from"]
    assert multiplier(curve) == pytest.approx(R["kaplan_meier", curve.arm], rel=0.02)
