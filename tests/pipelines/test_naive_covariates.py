"""The pipeline's covariates are those of the slow reference, name by name, on worlds drawn at the look-backs' edges."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from pipelines.covariate_registry import OF_THE_COHORT, REGISTRY
from pipelines.tables import PERSON_TABLES
from tests.covariate_histories import world_with_covariates
from tests.naive_covariates import naive_baseline
from tests.naive_stays import Row
from tests.worlds import World

SEEDS = range(30)
NAMED = sorted({table for covariate in REGISTRY.values() for table in covariate.tables if "." in table})
ONE_VALUE_IN_THESE_WORLDS = {"imd_decile", "imd_2019_decile", "imd_decile_of_period"}  # no lookup of areas


@pytest.fixture(scope="module")
def met() -> dict[str, Counter[object]]:
    """How often each value of each covariate was met, after the comparison of all worlds."""
    values: dict[str, Counter[object]] = {name: Counter() for name in REGISTRY if name not in OF_THE_COHORT}
    for seed in SEEDS:
        world = world_with_covariates(seed, most_people=60)
        for row in compare(world):
            assert row.keys() - {"person_id", "index_date"} == values.keys()
            for name, seen in values.items():
                seen[row[name]] += 1
    return values


def test_they_agree_where_tables_leave_months_out() -> None:
    unknown: Counter[str] = Counter()
    for seed in range(15):
        world, draw = world_with_covariates(seed, most_people=60), Random(seed)
        months = sorted({row["period_start_date"] for row in world.facts.submissions})
        tables = {"contact", "spell", "legal_period", *draw.sample(sorted(PERSON_TABLES), 12)}
        gaps = {name: frozenset(draw.sample(months, draw.choice([1, 3, 9]))) for name in sorted(tables)}
        # A table that was not sent lacks its columns and codes, and stays lack what spells or ward stays do.
        gaps |= {name: gaps[name.partition(".")[0]] for name in NAMED if name.partition(".")[0] in gaps}
        gaps["stays"] = gaps["spell"] | gaps.get("ward_stay", frozenset())
        slow = compare(replace(world, facts=replace(world.facts, gaps=gaps)))
        unknown.update(name for row in slow for name, value in row.items() if value is None)
    whole = Counter(
        name
        for seed in range(15)
        for row in naive_baseline(world_with_covariates(seed, most_people=60))
        for name, value in row.items()
        if value is None
    )
    claimed = {name for name, covariate in REGISTRY.items() if covariate.none_is_known}
    assert {name for name in claimed if unknown[name] > whole[name]} >= {
        *("n_attended_365d_before", "is_detained_on_admission", "n_prior_stays_730d", "has_psychotic_disorder_ever"),
    }


def compare(world: World) -> list[Row]:
    """The reference's covariates, which the pipeline's must equal."""
    slow = sorted(naive_baseline(world), key=lambda row: (row["person_id"], row["index_date"]))
    fast = world.people().baseline.sort("person_id", "index_date").to_dicts()
    assert len(fast) == len(slow)
    for one, other in zip(fast, slow, strict=True):
        for name, value in other.items():
            expected = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            assert one[name] == expected, f"{name} of {one['person_id']} at {one['index_date']}"
    return slow


def test_they_agree_and_every_value_is_met(met: dict[str, Counter[object]]) -> None:
    alike = {name for name, values in met.items() if len(values.keys() - {None}) < 2}
    assert alike == ONE_VALUE_IN_THESE_WORLDS


def test_nothing_found_is_sometimes_nought_and_sometimes_not_known(met: dict[str, Counter[object]]) -> None:
    claimed = [name for name, covariate in REGISTRY.items() if covariate.none_is_known]
    assert {name for name in claimed if not met[name][0]} == set()  # False counts as 0
    states_of_the_day = {name for name in claimed if REGISTRY[name].look_back_days in (0, 31)}
    assert {name for name in claimed if not met[name][None]} <= states_of_the_day | DIAGNOSES_EVER


DIAGNOSES_EVER = {name for name in REGISTRY if name.endswith("_disorder_ever")}
