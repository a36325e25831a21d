"""The slow reference and the pipeline agree on every outcome of an extract that somebody else made.

On the cut of a third-party sample (tests/data/mhsds_mini_v5), read through the lake, so that what the reader makes of
real mess meets the rules as well.
"""

from pathlib import Path

import pytest

from pipelines.lake import Lake, write_lake
from pipelines.protocol import Eligibility
from pipelines.sources.participants import read_participants
from pipelines.tables import PERSON_TABLES
from tests.naive_stays import Facts
from tests.worlds import World

MINI = Path(__file__).parents[1] / "data" / "mhsds_mini_v5"
RULES = {
    "links of 0 days": {"link_gap_days": 0, "transfer_gap_days": 0},
    "links of 3 days": {"link_gap_days": 3, "transfer_gap_days": 3},
    "everybody, zero-day readmissions": {"rules": (), "zero_day_stays_are_readmissions": True},
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_lake(MINI, tmp_path_factory.mktemp("lake"), n_buckets=1)


def world_of(lake: Lake, eligibility: Eligibility) -> World:
    """The whole lake as a world of plain rows."""
    listed, _ = read_participants(MINI / "participants.csv")
    return World(
        tables={name: lake.read_bucket(0, name).to_dicts() for name in PERSON_TABLES if lake.has(name)},
        facts=Facts(
            period_end=lake.period_end,
            last_month_id=lake.last_month_id,
            submissions=lake.read_reference("submission").to_dicts(),
            successors=lake.read_reference("provider_successor").to_dicts(),
        ),
        participants=[row | {"arm_code": row["arm_code"].upper()} for row in listed.to_dicts()],
        eligibility=eligibility,
    )


@pytest.mark.parametrize("rules", RULES)
def test_every_stay_and_outcome(lake: Lake, rules: str) -> None:
    world = world_of(lake, Eligibility(**RULES[rules]))  # type: ignore[arg-type]
    slow, fast = world.follow_slowly(), world.follow_fast()
    assert len(slow["outcomes"]) > 50
    for name, rows in slow.items():
        assert fast[name] == rows, name
    assert any(row["readmitted_nhs_14d"] for row in slow["outcomes"])
    assert any(row["n_crht_episodes_365d"] for row in slow["outcomes"])
    assert any(row["n_liaison_365d"] for row in slow["outcomes"])
