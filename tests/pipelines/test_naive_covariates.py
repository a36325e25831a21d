"""The pipeline's covariates are those of the slow reference, name by name, on worlds drawn at the look-backs' edges."""

from collections import Counter

import pytest

from pipelines.covariate_registry import OF_THE_COHORT, REGISTRY
from tests.covariate_histories import world_with_covariates
from tests.naive_covariates import naive_baseline

SEEDS = range(30)
ONE_VALUE_IN_THESE_WORLDS = {"imd_decile", "imd_2019_decile", "imd_decile_of_period"}  # no lookup of areas


@pytest.fixture(scope="module")
def met() -> dict[str, Counter[object]]:
    """How often each value of each covariate was met, after the comparison of all worlds."""
    values: dict[str, Counter[object]] = {name: Counter() for name in REGISTRY if name not in OF_THE_COHORT}
    for seed in SEEDS:
        world = world_with_covariates(seed, most_people=60)
        slow = sorted(naive_baseline(world), key=lambda row: (row["person_id"], row["index_date"]))
        fast = world.people().baseline.sort("person_id", "index_date").to_dicts()
        assert len(fast) == len(slow)
        for one, other in zip(fast, slow, strict=True):
            assert other.keys() - {"person_id", "index_date"} == values.keys()
            for name, seen in values.items():
                expected = pytest.approx(other[name], rel=1e-12) if isinstance(other[name], float) else other[name]
                assert one[name] == expected, f"{name} in world {seed} of {one['person_id']} at {one['index_date']}"
                seen[other[name]] += 1
    return values


def test_they_agree_and_every_value_is_met(met: dict[str, Counter[object]]) -> None:
    alike = {name for name, values in met.items() if len(values.keys() - {None}) < 2}
    assert alike == ONE_VALUE_IN_THESE_WORLDS


def test_nothing_found_is_sometimes_nought_and_sometimes_not_known(met: dict[str, Counter[object]]) -> None:
    claimed = [name for name, covariate in REGISTRY.items() if covariate.none_is_known]
    assert {name for name in claimed if not met[name][0]} == set()  # False counts as 0
    states_of_the_day = {name for name in claimed if REGISTRY[name].look_back_days in (0, 31)}
    assert {name for name in claimed if not met[name][None]} <= states_of_the_day | DIAGNOSES_EVER


DIAGNOSES_EVER = {name for name in REGISTRY if name.endswith("_disorder_ever")}
