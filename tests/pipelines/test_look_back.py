"""How far back the sources reach, and whose look-back starts before that (DOMAIN A8.5)."""

from datetime import date
from pathlib import Path

import polars as pl

from pipelines.cohort import build_cohort
from pipelines.extract import ExtractFacts
from pipelines.lake import write_lake
from pipelines.look_back import count_truncated, hospital_reach, look_back_start
from pipelines.protocol import Eligibility, load_protocol
from pipelines.sources.participants import read_participants
from pipelines.tables import TABLES
from tests.pipelines.test_hes import EPISODE
from tests.spec.text_tables import month_of
from tests.tiny_extract import load
from tests.worlds import submissions_of

SAMPLE = Path(__file__).parents[2] / "configs" / "studies" / "mhsds_sample_v5.toml"
MHSDS_FROM = month_of(date(2016, 1, 1))


def facts(hospital_start: date | None) -> ExtractFacts:
    return ExtractFacts(
        period_end=date(2016, 3, 31),
        last_month_id=MHSDS_FROM + 2,
        submissions=pl.DataFrame(
            submissions_of("RAA", list(range(MHSDS_FROM, MHSDS_FROM + 3))), schema=TABLES["submission"].schema
        ),
        successors=TABLES["provider_successor"].empty(),
        deprivation=TABLES["area_deprivation"].empty(),
        hospital_start=hospital_start,
        hospital_end=None if hospital_start is None else date(2016, 3, 31),
    )


PEOPLE = pl.DataFrame(
    {
        # 730 days before: 1 December 2014, 31 December 2015, 1 January 2016, 30 November 2014 (Python's datetime).
        "person_id": ["a", "b", "c", "d"],
        "arm": ["virtual", "virtual", "virtual", "peer"],
        "admission_date": [date(2016, 11, 30), date(2017, 12, 30), date(2017, 12, 31), date(2016, 11, 29)],
    }
)


def reach_of(folder: Path, ends: list[date]) -> tuple[date, date] | None:
    """hospital_reach of a lake whose episodes ended on these days, of two buckets."""
    rows = [{"ENCRYPTED_HESID": f"P{n}", "EPIKEY": f"{n}", "EPIEND": str(end)} for n, end in enumerate(ends)]
    episodes = {"HES_APC": [EPISODE | row for row in rows]} if ends else {}
    return hospital_reach(load(folder, **episodes))


def test_months_with_a_few_mistyped_days_are_not_covered(tmp_path: Path) -> None:
    ends = [
        date(1915, 5, 1),
        *[date(2014, 4, day) for day in range(1, 9)],
        *[date(2014, 5, day) for day in (1, 2, 3, 4)],
    ]
    ends += [date(2014, 6, day) for day in range(1, 9)] + [date(2024, 6, 1)]
    assert reach_of(tmp_path, [*ends, date(2014, 6, 30)]) == (date(2014, 4, 1), date(2014, 6, 30))


def test_no_episodes_cover_nothing(tmp_path: Path) -> None:
    assert reach_of(tmp_path, []) is None


def test_the_earlier_source_opens_the_look_back() -> None:
    both = facts(date(2014, 4, 1))
    assert look_back_start(both, Eligibility()) == date(2014, 4, 1)
    assert look_back_start(both, Eligibility(prior_stays_from_hes=False)) == date(2016, 1, 1)
    assert look_back_start(facts(None), Eligibility()) == date(2016, 1, 1)


def test_people_whose_window_opens_before_the_data_are_counted() -> None:
    answer = count_truncated(PEOPLE, facts(None), Eligibility())
    assert answer == {
        "window_days": 730,
        "mhsds_from": "2016-01-01",
        "hes_from": None,
        "groups": [
            {"group": "candidates", "n_people": 3, "n_truncated": 2},
            {"group": "participants", "n_people": 1, "n_truncated": 1},
        ],
    }


def test_hospital_data_make_the_window_whole() -> None:
    groups = count_truncated(PEOPLE, facts(date(2014, 12, 1)), Eligibility())["groups"]
    assert [group["n_truncated"] for group in groups] == [0, 1]


def test_the_account_of_a_cohort_says_how_far_back_it_looks(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "data" / "mhsds_mini_v5"
    lake = write_lake(folder, tmp_path / "lake", n_buckets=2)
    listed, quarantined = read_participants(folder / "participants.csv")
    cohort = build_cohort(lake, listed, quarantined, load_protocol(SAMPLE))
    found = cohort.account["look_back"]
    # The sample was made from April 2014 on (its extract_manifest.json), and recruits from December 2016.
    assert found["mhsds_from"] == "2014-04-01"
    assert found["hes_from"] in ("2014-04-01", "2014-05-01")
    assert [group["n_truncated"] for group in found["groups"]] == [0, 0]
    names = ["neg_control_admission_365d", "placebo_readmission_prior"]
    assert cohort.outcomes.select(names).null_count().row(0) == (0, 0)
    assert all(cohort.outcomes[name].any() for name in names)
