"""First readmissions by their kind: against R, and with the kinds together."""

from dataclasses import replace

import numpy as np
import pytest

from models.times.risks import cumulative_incidence, first_readmission_type
from tests.models.effect_samples import golden_matched, golden_weighted
from tests.models.times_samples import golden_times

R = golden_times("kinds.csv")


def sample(name):
    """Day, event, event by kind (every third row of those readmitted under detention), baseline and design."""
    data, baseline, design = golden_matched() if name == "matched" else golden_weighted(name)
    event = data["event"].astype(np.int64)
    typed = np.where((event == 1) & (np.arange(event.size) % 3 == 0), 3, event)
    return data["day"], event, typed, baseline, design


@pytest.mark.parametrize("name", ["matched", "att_plain", "ate_plain"])
def test_kinds_of_readmission_agree_with_refitting_everything_in_r(name):
    day, _, typed, baseline, design = sample(name)
    found = first_readmission_type(day, typed, baseline, design, times=(90,))
    assert [(effect.event, effect.until) for effect in found.effects] == [
        (event, until) for event in ("is_informally_readmitted", "is_formally_readmitted") for until in (90, 365)
    ]
    for effect in found.effects:
        difference, ratio = effect.estimates
        of = f"{effect.event} {effect.until}"
        assert difference.value == pytest.approx(R[name, f"{of} difference value"], rel=1e-9)
        assert np.log(ratio.value) == pytest.approx(R[name, f"{of} log_ratio value"], rel=1e-9)
        # The errors in R are numerical derivatives: steps of 1e-4 in each cluster's weight.
        assert difference.std_error == pytest.approx(R[name, f"{of} difference std_error"], rel=1e-6)
        assert ratio.std_error == pytest.approx(R[name, f"{of} log_ratio std_error"], rel=1e-6)


def test_curves_of_kinds_without_weights_agree_with_r_cuminc():
    day, _, typed, baseline, design = sample("matched")
    alike = replace(design, weights=(design.weights > 0).astype(np.float64))
    found = first_readmission_type(day, typed, baseline, alike)
    for curves, kind in zip(found.event_curves, (1, 3), strict=True):
        for curve in curves.curves:
            for until in (90, 365):
                incidence = curve.incidence[np.searchsorted(curve.day, until, side="right") - 1]
                wanted = R["cuminc", f"{int(curve.arm == 'treated')} {kind} {until}"]
                assert incidence == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("name", ["matched", "att_plain"])
def test_the_kinds_of_readmission_add_up(name):
    day, event, typed, baseline, design = sample(name)
    found = first_readmission_type(day, typed, baseline, design, times=(90,))
    whole = cumulative_incidence(day, event, baseline, design, times=(90,))
    informal, formal = found.event_curves
    assert (informal.event, formal.event) == ("is_informally_readmitted", "is_formally_readmitted")
    for one, other, both in zip(informal.curves, formal.curves, whole.curves, strict=True):
        np.testing.assert_allclose(one.incidence + other.incidence, both.incidence, atol=1e-12)
    by_day = {(effect.event, effect.until): effect.estimates[0].value for effect in found.effects}
    for effect in whole.effects:
        parts = by_day["is_informally_readmitted", effect.until] + by_day["is_formally_readmitted", effect.until]
        assert parts == pytest.approx(effect.estimates[0].value, abs=1e-12)
    with pytest.raises(ValueError, match="event must be 0"):
        cumulative_incidence(day, typed, baseline, design)
