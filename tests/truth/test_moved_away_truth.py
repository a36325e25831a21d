"""Moving away as informative censoring: closed referrals in, curves and whole windows out, in a world with known truth.

Who is likely to be readmitted is likely to move, the treated more so. The records see everything that happens after a
move, so that what ends observation is the rule alone. Bounds are those of a binomial count, as in test_times_truth.py:
with 200 replicates a coverage of 95 % comes out between 90.4 and 99.6 % unless something is wrong.
"""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from models.effects import keep_observed
from models.propensity import fit_propensity
from models.registry import EFFECTS
from models.results import Baseline, Design
from models.times.risks import cumulative_incidence
from pipelines.estimate.times import time_and_event
from pipelines.estimate.values import outcome_values
from pipelines.extract import ExtractFacts
from pipelines.outcomes import day_of_leaving, observation_end
from pipelines.protocol import FollowUp
from pipelines.tables import TABLES, month_id
from tests.models.effect_samples import baseline_of

REPLICATES, HORIZON = 200, 365
LOW, HIGH = 0.904, 0.996
DYING, SELDOM_DYING = 0.0004, 0.00003  # about 14 and 1 in 100 a year
INDEX_DATE = date(2017, 3, 31)
FOLLOW_UP = FollowUp(censor_at=("end_of_data", "moved_away"), moved_away_codes=("03",))
WEIGHTS = {"censoring": "weights", "censoring_penalty": 0.0, "largest_censoring_weight": 50.0}
FACTS = ExtractFacts(
    date(2020, 3, 31),
    int(month_id(2020, 3)),
    TABLES["submission"].empty(),
    TABLES["provider_successor"].empty(),
    TABLES["area_deprivation"].empty(),
)


def events(rng: np.random.Generator, x: np.ndarray, treated: np.ndarray, dying: float) -> tuple[np.ndarray, np.ndarray]:
    """Days of readmission and of death, whatever is seen of them; `dying` is the daily hazard of death at x = 0."""
    readmitted = rng.exponential(1 / (0.002 * np.exp(0.8 * x - 0.5 * treated)))
    return np.ceil(readmitted), np.ceil(rng.exponential(1 / (dying * np.exp(0.4 * x))))


def records(x: np.ndarray, moved: np.ndarray, died: np.ndarray) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Index rows and the tables that tell of moves and deaths: nobody moves after death, some of the closings stand in
    the team's row, and everybody has a referral that was closed for another reason."""
    people = [f"p{number}" for number in range(x.size)]
    index = pl.DataFrame({"person_id": people, "index_date": INDEX_DATE, "provider_id": "RAA"})
    by_team = np.arange(x.size) % 2 == 0
    rows: dict[str, list[dict[str, object]]] = {"referral": [], "referral_team": []}
    for number in range(x.size):
        common = {"person_id": people[number], "provider_id": "RAA", "month_id": 1420, "row_id": str(number)}
        rows["referral"].append(
            common | {"referral_id": "other", "closed_date": INDEX_DATE, "closure_reason_code": "02"}
        )
        if moved[number] < died[number]:
            day = INDEX_DATE + timedelta(days=int(min(moved[number], 900)))
            closing = common | {"referral_id": "own", "closed_date": day}
            team = common | {"referral_id": "own", "team_id": "t", "closure_reason_code": "03"}
            rows["referral"].append(closing | {"closure_reason_code": None if by_team[number] else "03"})
            rows["referral_team"] += [team] if by_team[number] else []
    tables = {name: pl.DataFrame(found, schema=TABLES[name].schema) for name, found in rows.items()}
    deaths = [
        (person, INDEX_DATE + timedelta(days=int(min(day, 900)))) for person, day in zip(people, died, strict=True)
    ]
    tables["death"] = pl.DataFrame(deaths, schema={"person_id": pl.String, "death_date": pl.Date}, orient="row")
    return index, tables


def sample(
    seed: int, n: int, follow_up: FollowUp = FOLLOW_UP, *, dying: float = DYING
) -> tuple[pl.DataFrame, Baseline, Design]:
    """Outcomes as observed until moves, death or the year, in a confounded sample with ATE weights."""
    rng = np.random.default_rng([20261124, seed])
    x = rng.normal(size=n)
    treated = rng.random(n) < expit(-0.4 + 0.7 * x)
    readmitted, died = events(rng, x, treated, dying)
    moved = np.ceil(rng.exponential(1 / (0.0006 * np.exp(1.0 * x + 0.5 * treated))))
    index, tables = records(x, moved, died)
    left = day_of_leaving(index, tables, FACTS, follow_up)
    seen = observation_end(index, tables["death"], left, FACTS, follow_up).with_columns(
        back=pl.Series(readmitted), died=pl.Series(died)
    )
    # The dead are readmitted no more.
    is_seen = (pl.col("back") <= pl.col("last_day")) & (pl.col("back") <= pl.col("died"))
    seen = seen.with_columns(days_to_readmission=pl.when(is_seen).then(pl.col("back").cast(pl.Int64)))
    is_known = pl.col("censored_day").is_null() | (pl.col("died_day") <= pl.col("censored_day"))
    seen = seen.with_columns(
        readmitted_365d=pl.when(pl.col("days_to_readmission").is_not_null()).then(True).when(is_known).then(False)
    )
    baseline = baseline_of(x[:, None])
    score = fit_propensity(baseline, treated, l2_penalty=0.0).score
    weights = np.where(treated, 1 / score, 1 / (1 - score))
    return seen, baseline, Design("by_hand", "ATE", treated, score, weights, np.full(n, -1), {"l2_penalty": 0.0})


def true_risks(dying: float = DYING) -> tuple[float, float]:
    """Of being readmitted within the year, of everybody: treated, untreated; in four million people."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=4_000_000)
    risks = []
    for arm in (True, False):
        readmitted, died = events(rng, x, np.full(x.size, arm), dying)
        risks.append(float(((readmitted <= HORIZON) & (readmitted <= died)).mean()))
    return risks[0], risks[1]


def test_moves_end_observation_on_their_day_and_nothing_after_them_counts() -> None:
    seen, _, _ = sample(1, 2_000)
    everything, _, _ = sample(1, 2_000, FollowUp(censor_at=("end_of_data",)))
    assert everything["censored_day"].null_count() == 2_000
    moved = seen.filter(pl.col("censored_day").is_not_null())
    assert 400 < moved.height < 700
    assert (moved["days_to_readmission"] <= moved["censored_day"]).all()
    lost = everything["days_to_readmission"].is_not_null() & seen["days_to_readmission"].is_null()
    assert lost.sum() > 100  # seen in the records, but after the move


def test_weights_give_the_risk_that_curves_without_them_miss() -> None:
    treated, control = true_risks()
    seen, baseline, design = sample(2, 40_000)
    day, event = time_and_event(seen, HORIZON)
    plain = cumulative_incidence(day, event, baseline, design).estimates[0]
    weighted = cumulative_incidence(day, event, baseline, design, **WEIGHTS).estimates[0]
    assert plain.notes["mean_treated"] - treated < -0.02
    assert plain.notes["mean_control"] - control < -0.012
    assert abs(weighted.notes["mean_treated"] - treated) < 0.02
    assert abs(weighted.notes["mean_control"] - control) < 0.012
    assert abs(weighted.value - (treated - control)) < 4 * weighted.std_error


@pytest.mark.slow
def test_the_difference_is_unbiased_and_covered_with_weights_and_not_without() -> None:
    treated, control = true_risks()
    wanted = treated - control
    found: dict[str, list[tuple[float, ...]]] = {"none": [], "weights": []}
    for seed in range(REPLICATES):
        seen, baseline, design = sample(seed, 700)
        day, event = time_and_event(seen, HORIZON)
        for name, options in (("none", {}), ("weights", WEIGHTS)):
            one = cumulative_incidence(day, event, baseline, design, **options).estimates[0]
            found[name].append((one.value, one.std_error, one.lower, one.upper, one.notes["mean_control"]))
    value, error, lower, upper, risk = np.array(found["weights"]).T
    assert abs(value.mean() - wanted) < 3.5 * value.std() / np.sqrt(REPLICATES)
    assert abs(risk.mean() - control) < 3.5 * risk.std() / np.sqrt(REPLICATES)
    assert LOW < ((lower <= wanted) & (wanted <= upper)).mean() < HIGH
    assert 0.9 < error.mean() / value.std() < 1.12
    plain = np.array(found["none"])
    assert plain[:, 4].mean() - control < -0.015


@pytest.mark.slow
def test_whole_windows_are_weighted_for_whoever_moved() -> None:
    treated, control = true_risks(SELDOM_DYING)
    wanted = treated - control
    method = EFFECTS["weighted_difference"].function
    found: dict[str, list[tuple[float, ...]]] = {"left_out": [], "weights": []}
    for seed in range(REPLICATES):
        seen, baseline, design = sample(seed, 700, dying=SELDOM_DYING)
        values = outcome_values(seen, "readmitted_365d")
        weigh = {"unobserved": "weights", "observation_penalty": 0.0}
        for name, given, options in (
            ("weights", (values, baseline, design), weigh),
            ("left_out", keep_observed(values, baseline, design), {}),
        ):
            one = method(*given, rng=np.random.default_rng(1), kind="binary", confidence=0.95, **options)[0]
            found[name].append((one.value, one.std_error, one.lower, one.upper, one.notes["mean_control"]))
    value, _, lower, upper, risk = np.array(found["weights"]).T
    # Left over is that a logistic model is not quite the one that drew the moves. Where 14 % die the weights leave
    # -0.016 of the risk of controls (measured): the dead cannot move and are kept more often. Curves allow for that.
    assert abs(risk.mean() - control) < 0.012
    assert abs(value.mean() - wanted) < 0.012
    assert LOW < ((lower <= wanted) & (wanted <= upper)).mean() < HIGH
    assert np.array(found["left_out"])[:, 4].mean() - control < -0.04
