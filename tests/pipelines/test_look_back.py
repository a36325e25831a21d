"""How far back the sources reach, and whose look-back starts before that (DOMAIN A8.5)."""

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipelines.cohort import build_cohort
from pipelines.extract import ExtractFacts
from pipelines.lake import write_lake
from pipelines.look_back import (
    count_months,
    count_truncated,
    describe_deaths,
    hospital_reach,
    look_back_start,
    table_reach,
    to_the_edges,
)
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
    return hospital_reach(count_months(load(folder, **episodes)))


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


YEAR = [date(2016, month, 1) for month in range(1, 13)]


@pytest.mark.parametrize(
    ("per_month", "reach"),
    [
        # Chance of nothing in k of 366 days with n rows in all: about exp(-n k / 366); 30 to 31 days a month.
        ([1] * 9 + [0] * 3, ("2016-01-01", "2016-12-31")),  # exp(-9 * 92 / 366) = 0.10
        ([10] * 9 + [0] * 3, ("2016-01-01", "2016-09-30")),  # exp(-22.6)
        ([0] * 3 + [1] * 9, ("2016-01-01", "2016-12-31")),
        ([0] * 3 + [10] * 9, ("2016-04-01", "2016-12-31")),
        ([7] * 11 + [0], ("2016-01-01", "2016-12-31")),  # exp(-77 * 31 / 366) = 0.0015
        ([8] * 11 + [0], ("2016-01-01", "2016-11-30")),  # exp(-7.5) = 0.0006
        ([40] * 11 + [1], ("2016-01-01", "2016-11-30")),  # 37 expected and one seen: part of a month was sent
    ],
)
def test_a_table_of_few_rows_stops_only_where_chance_cannot_have_left_them_out(
    per_month: list[int], reach: tuple[str, str]
) -> None:
    counts = pl.DataFrame({"month": YEAR, "n": per_month}).filter(pl.col("n") > 0)
    full = counts.filter(pl.col("n") >= counts["n"].median() / 2)["month"]
    seen = (min(full), max(full.dt.month_end()))
    found = to_the_edges(counts, seen, date(2016, 1, 1), date(2016, 12, 31))
    assert tuple(day.isoformat() for day in found) == reach


def test_a_table_without_a_row_in_the_extract_is_not_stretched_over_it() -> None:
    counts = pl.DataFrame({"month": [date(1915, 5, 1)], "n": [3]})
    reach = (date(1915, 5, 1), date(1915, 5, 31))
    assert to_the_edges(counts, reach, date(2016, 1, 1), date(2016, 12, 31)) == reach


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
        "has_gaps": False,
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


MINI = Path(__file__).parents[1] / "data" / "mhsds_mini_v5"
STUDY_YEARS = (date(2014, 4, 1), date(2020, 3, 31))  # the whole sample (its extract_manifest.json)


@pytest.mark.parametrize(
    ("left_out", "table", "reach", "outcomes"),
    [
        ("nothing", "contact", STUDY_YEARS, ()),
        ("ECDS_201[789]", "emergency_attendance", (date(2014, 4, 1), date(2017, 3, 31)), ("n_ed", "n_mh_ed")),
        ("MHS201*_201[789]", "contact", (date(2014, 4, 1), date(2017, 3, 31)), ("n_dna", "n_attended", "n_crht")),
        ("MHS401*_201[456]", "legal_period", (date(2017, 4, 1), date(2020, 3, 31)), ("is_formally_readmitted",)),
        ("ONS_deaths", "death", None, ("died",)),
    ],
)
def test_outcomes_after_a_table_stopped_or_before_it_began_are_null(
    tmp_path: Path, left_out: str, table: str, reach: tuple[date, date] | None, outcomes: tuple[str, ...]
) -> None:
    folder = tmp_path / "extract"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns(f"{left_out}*"))
    lake = write_lake(folder, tmp_path / "lake", n_buckets=1)
    assert table_reach(lake, count_months(lake)).get(table) == reach
    cohort = build_cohort(lake, *read_participants(MINI / "participants.csv"), load_protocol(SAMPLE))
    found = cohort.outcomes.filter(pl.col("censored_day").is_null())
    day_1, day_365 = (pl.col("index_date").dt.offset_by(by) for by in ("1d", "365d"))
    is_covered = (day_1 >= reach[0]) & (day_365 <= reach[1]) if reach else pl.lit(False)
    for name in outcomes:
        value = pl.col(f"{name}_365d")
        assert found.filter(value.is_not_null() != is_covered).is_empty(), name
    others = {"n_dna", "n_ed", "n_crht_starts", "is_formally_readmitted", "died"} - {*outcomes}
    kept = [f"{name}_365d" for name in others]
    assert set(found.select(kept).null_count().row(0)) == {0}


GAP = (date(2017, 4, 1), date(2018, 3, 31))


@pytest.mark.parametrize(
    ("left_out", "table", "outcomes"),
    [
        ("MHS201*_2017", "contact", ("n_dna", "n_attended", "n_crht")),
    ],
)
def test_outcomes_over_months_that_a_table_leaves_out_are_null(
    tmp_path: Path, left_out: str, table: str, outcomes: tuple[str, ...]
) -> None:
    folder = tmp_path / "extract"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns(f"{left_out}*"))
    lake = write_lake(folder, tmp_path / "lake", n_buckets=1)
    cohort = build_cohort(lake, *read_participants(MINI / "participants.csv"), load_protocol(SAMPLE))
    told = next(row for row in cohort.account["tables"] if row["table"] == table)
    months = [f"{2017 + (month > 12)}-{(month - 1) % 12 + 1:02d}" for month in range(4, 16)]
    assert [row["month"] for row in told["months_not_covered"]] == months
    found = cohort.outcomes.filter(pl.col("censored_day").is_null())
    day_1, day_365 = (pl.col("index_date").dt.offset_by(by) for by in ("1d", "365d"))
    is_covered = (day_365 < GAP[0]) | (day_1 > GAP[1])
    assert 0 < found.filter(is_covered).height < found.height
    for name in outcomes:
        assert found.filter(pl.col(f"{name}_365d").is_not_null() != is_covered).is_empty(), name


def test_the_account_says_that_deaths_are_not_known(tmp_path: Path) -> None:
    folder = tmp_path / "extract"
    shutil.copytree(MINI, folder, ignore=shutil.ignore_patterns("ONS_deaths*"))
    lake = write_lake(folder, tmp_path / "lake", n_buckets=1)
    cohort = build_cohort(lake, *read_participants(MINI / "participants.csv"), load_protocol(SAMPLE))
    assert cohort.account["deaths"] == {"is_held": False, "known_from": None, "known_until": None}
    assert cohort.outcomes["readmitted_365d"].null_count() == 0


def test_the_account_says_how_long_deaths_are_known() -> None:
    whole = (date(2016, 1, 1), date(2016, 3, 31))
    for reach, told in (
        (whole, (None, None)),
        ((date(2016, 2, 1), date(2016, 2, 29)), ("2016-02-01", "2016-02-29")),
    ):
        found = describe_deaths(replace(facts(None), reach={"death": reach}), is_held=True)
        assert (found["is_held"], found["known_from"], found["known_until"]) == (True, *told)
