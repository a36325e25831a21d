"""Which rows and how much time a rate is made of: whoever was seen for a day, and no more than was seen."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.results import Baseline, Design
from pipelines.design import Contrast
from pipelines.estimate.collected import AcceptedDesign, Results
from pipelines.estimate.counts import counts_and_exposure, estimate_rates, until_when
from pipelines.method_settings import Effects
from pipelines.method_settings.acceptance import Acceptance
from tests.acceptance import WHOEVER_IS_LEFT
from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import write_world

SCHEMA = {
    "row_id": pl.Int64,
    "outcome": pl.String,
    "n": pl.Int64,
    "days": pl.Int64,
    "days_in_hospital": pl.Int64,
    "chances": pl.Int64,
}
OBSERVED = pl.DataFrame(
    [
        (1, "n_readmissions_365d", 2, 365, 100, None),
        (2, "n_readmissions_365d", 0, 73, 0, None),
        (3, "n_readmissions_365d", 1, 10, 10, None),
        (1, "dna_rate_365d", 3, 365, 100, 12),
        (2, "dna_rate_365d", 0, 73, 0, 0),
    ],
    schema=SCHEMA,
    orient="row",
)
FATE = {"index_date": pl.Date, "died_day": pl.Int64, "censored_day": pl.Int64}
NOBODY_DIED = pl.DataFrame({name: [None] * 4 for name in FATE}, schema=FATE)
ROWS = pl.Series("row_id", [3, 4, 2, 1], dtype=pl.Int64)


@pytest.mark.parametrize(
    ("outcome", "time_at_risk", "counts", "exposure"),
    [
        ("n_readmissions_365d", "alive", [1, np.nan, 0, 2], [10 / 365.25, np.nan, 73 / 365.25, 365 / 365.25]),
        ("n_readmissions_365d", "out_of_hospital", [1, np.nan, 0, 2], [0, np.nan, 73 / 365.25, 265 / 365.25]),
        # Appointments, wherever the time was spent; row 2 had none and stays, rows 3 and 4 were not observed.
        ("dna_rate_365d", "out_of_hospital", [np.nan, np.nan, 0, 3], [np.nan, np.nan, 0, 12]),
    ],
)
def test_exposure(outcome: str, time_at_risk: str, counts: list[float], exposure: list[float]) -> None:
    found = counts_and_exposure(ROWS, OBSERVED, outcome, time_at_risk)
    np.testing.assert_allclose(found[0], counts)
    np.testing.assert_allclose(found[1], exposure)


def _protocol(effects: Effects, acceptance: Acceptance = WHOEVER_IS_LEFT) -> Any:
    return SimpleNamespace(effects=effects, acceptance=acceptance)


def _accepted() -> AcceptedDesign:
    treated = np.array([True, True, False, False])
    nothing = np.zeros(4, dtype=np.int64)
    baseline = Baseline(np.arange(4.0)[:, None], ("x",), nothing, nothing, np.arange(4))
    design = Design("propensity_weighting", "ATT", treated, np.full(4, 0.5), np.ones(4), nothing - 1)
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    return AcceptedDesign(design.method, contrast, ROWS, baseline, design, is_primary=True)


def test_people_seen_for_part_of_the_window_are_compared_and_the_others_counted() -> None:
    effects = Effects(methods=("weighted_difference", "quasi_poisson", "negative_binomial"))
    results = Results()
    estimate_rates(_accepted(), NOBODY_DIED, OBSERVED, "n_readmissions_365d", _protocol(effects), results)
    difference = results.estimates[0]
    # Row 3 has 1 event in 10 days; rows 2 and 1 have 2 in 438; row 4 was not observed at all.
    assert difference["value"] == pytest.approx(365.25 * (1 / 10 - 2 / 438))
    assert (difference["method"], difference["scale"]) == ("quasi_poisson", "rate_difference")
    assert (difference["n_treated"], difference["n_control"], difference["n_unobserved"]) == (1, 2, 1)
    assert [row["method"] for row in results.estimates] == 2 * ["quasi_poisson"] + 2 * ["negative_binomial"]


def test_who_has_no_appointment_does_not_hand_a_weight_to_the_matched_set() -> None:
    # Two pairs of controls, each with one treated: the first control of the second pair has no appointment.
    chances, n = [10, 20, 10, 10, 0, 40], [2, 4, 1, 3, 0, 4]
    observed = pl.DataFrame(
        [(row, "dna_rate_365d", n[row], 365, 0, chances[row]) for row in range(6)], schema=SCHEMA, orient="row"
    )
    rows, nothing = np.arange(6), np.zeros(6, dtype=np.int64)
    baseline = Baseline(rows[:, None].astype(float), ("x",), nothing, nothing, rows)
    weights, sets = np.array([1, 1, 0.5, 0.5, 0.5, 0.5]), np.array([0, 1, 0, 0, 1, 1])
    design = Design("nearest_neighbour", "ATT", rows < 2, np.full(6, 0.5), weights, sets)
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    accepted = AcceptedDesign(design.method, contrast, pl.Series("row_id", rows), baseline, design, is_primary=True)
    results = Results()
    estimate_rates(
        accepted,
        pl.DataFrame({name: [None] * 6 for name in FATE}, schema=FATE),
        observed,
        "dna_rate_365d",
        _protocol(Effects(methods=("quasi_poisson",))),
        results,
    )
    # By hand: treated 6 / 30, controls (0.5 + 1.5 + 0 + 2) / (5 + 5 + 0 + 20); handed on it would be 6 / 50.
    assert results.estimates[0]["value"] == pytest.approx(6 / 30 - 4 / 30)
    assert results.estimates[0]["n_unobserved"] == 0


def test_outcomes_that_are_no_counts_have_no_rate_and_what_is_refused_is_noted() -> None:
    effects = Effects(methods=("weighted_difference", "negative_binomial"))
    results = Results()
    estimate_rates(_accepted(), NOBODY_DIED, OBSERVED, "readmitted_365d", _protocol(effects), results)
    assert results.estimates == results.notes == []
    none = OBSERVED.with_columns(n=pl.lit(0, pl.Int64))
    estimate_rates(_accepted(), NOBODY_DIED, none, "n_readmissions_365d", _protocol(effects), results)
    assert not results.estimates
    assert results.notes[0]["note"] == "a negative binomial rate needs events in both arms"


def test_where_a_window_was_whole_the_counts_are_those_of_the_outcomes_file() -> None:
    world = write_world(readmitted("2017-06-10", "2017-07-20"), **FIRST)
    people = world.people()
    whole = people.outcomes.row(0, named=True)
    observed = {row["outcome"]: row for row in people.observed.to_dicts()}
    row = observed["n_readmissions_365d"]
    assert (row["n"], row["days"], row["days_in_hospital"]) == (1, 365, whole["days_in_hospital_365d"])
    # Discharged on 31 March 2017: the readmission of 10 June is day 71 and its end day 111.
    assert people.readmissions.select("day", "until_day").rows() == [(71, 111)]
    assert whole["days_alive_out_of_hospital_365d"] == 365 - 40


def test_nobody_is_in_the_list_of_readmissions_who_had_none() -> None:
    assert write_world(ELIGIBLE).people().readmissions.is_empty()


def test_where_censoring_is_weighted_for_only_whole_windows_count_and_others_stand_for_the_rest() -> None:
    options = {"censoring": "weights", "censoring_penalty": 1e12}
    effects = Effects.model_validate({"methods": ["quasi_poisson"], "quasi_poisson": options})
    rows, nothing = pl.Series("row_id", np.arange(8)), np.zeros(8, dtype=np.int64)
    # Controls 4 to 7: one seen to the end, one dead on day 100, one lost on day 100, one never observed.
    observed = pl.DataFrame(
        [(row, "n_readmissions_365d", row % 3, 100 if row in (5, 6) else 365, 0, None) for row in range(7)],
        schema=SCHEMA,
        orient="row",
    )
    died, silent = [None] * 5 + [100] + [None] * 2, [None] * 6 + [100, 0]
    of_rows = pl.DataFrame({"index_date": [None] * 8, "died_day": died, "censored_day": silent}, schema=FATE)
    until = until_when(rows, of_rows, observed, "n_readmissions_365d")
    assert until.last_day.tolist() == [365] * 5 + [100, 100, 0.5]
    assert until.died.tolist() == [False] * 5 + [True, False, False]
    baseline = Baseline(np.arange(8.0)[:, None], ("x",), nothing, nothing, np.arange(8))
    design = Design("propensity_weighting", "ATT", np.arange(8) < 4, np.full(8, 0.5), np.ones(8), nothing - 1)
    contrast = Contrast("peer_vs_virtual", "peer", "virtual")
    accepted = AcceptedDesign(design.method, contrast, rows, baseline, design, is_primary=True)
    results = Results()
    estimate_rates(accepted, of_rows, observed, "n_readmissions_365d", _protocol(effects), results)
    # By hand: 4 / 3 for the dead (one of four was lost before), and twice that for who was seen on after day 100, when
    # one of two was lost: (8/3 × 1 + 4/3 × 2) events in (8/3 × 365 + 4/3 × 100) days.
    control = (8 / 3 * 1 + 4 / 3 * 2) / (8 / 3 * 365 + 4 / 3 * 100) * 365.25
    assert results.estimates[0]["value"] == pytest.approx(3 / 4 / 365 * 365.25 - control)
    assert (results.estimates[0]["n_control"], results.estimates[0]["n_unobserved"]) == (2, 2)
    assert results.notes[0]["note"].startswith("only windows seen to their end or to death count")
    assert results.notes[-1]["note"].startswith("of 1 people of the design nothing was observed")
