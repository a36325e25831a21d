"""Outcomes that the intervention cannot have changed (DOMAIN E3), one rule per test.

The pipeline only: the rules are the text tables themselves. Somebody eligible, discharged on 31 March 2017; day 365 is
31 March 2018, and 730 and 365 days before are 1 April 2015 and 31 March 2016.
"""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from pipelines.codelists import read_codelist
from pipelines.extract import ExtractFacts
from pipelines.negative_controls import physical_admission
from pipelines.tables import TABLES
from tests.spec.eligible_person import ELIGIBLE
from tests.spec.text_tables import write_world

ONLY_THE_INDEX: dict[str, Any] = {"recruitment_start": date(2017, 3, 1)}


def outcome(name: str, spells: str = ELIGIBLE, **tables: Any) -> bool | None:
    """The one eligible row's outcome."""
    world = write_world(spells, eligibility=ONLY_THE_INDEX, **tables)
    (value,) = world.people().outcomes.filter(pl.col("index_date") == date(2017, 3, 31))[name]
    found: bool | None = value
    return found


def admission(start: str, diagnosis: str = "K359") -> str:
    return f"""
    episode_start_date  episode_end_date  provider_id  main_specialty_code  diagnosis_1_code
    {start}             {start}           RAA          100                  {diagnosis}
    """


@pytest.mark.parametrize(
    ("start", "diagnosis", "found"),
    [
        ("2017-03-31", "K359", False),
        ("2017-04-01", "K359", True),
        ("2018-03-31", "K359", True),
        ("2018-04-01", "K359", False),
        *[("2017-06-01", code, True) for code in ("K35", "K46", "K81X", "H259", "H36", "N20", "N23X")],
        *[("2017-06-01", code, False) for code in ("K34", "K47", "K82", "H24", "H37", "N24", "S720", "T391", "-")],
    ],
)
def test_an_admission_of_the_list_in_the_year_after(start: str, diagnosis: str, found: bool) -> None:
    name = "neg_control_admission_365d"
    assert outcome(name, hospital_episode=admission(start, diagnosis)) is found


def test_only_the_primary_diagnosis_of_the_first_episode_counts() -> None:
    later = """
    episode_start_date  episode_end_date  admission_date  episode_order  provider_id  diagnosis_1_code  diagnosis_2_code
    2017-06-01          2017-06-03        2017-06-01      1              RAA          R104              K359
    2017-06-03          2017-06-09        2017-06-01      2              RAA          K359              -
    """
    assert outcome("neg_control_admission_365d", hospital_episode=later) is False


def test_without_hospital_data_it_is_not_known() -> None:
    assert outcome("neg_control_admission_365d", without=("hospital_episode",)) is None


@pytest.mark.parametrize(
    ("died", "hospital_end", "admitted", "found"),
    [
        (None, "2018-03-31", None, False),
        (None, "2018-03-30", None, None),  # hospital data end a day early
        (None, "2018-03-30", "2017-06-01", None),  # whatever was seen until then
        ("2017-09-01", "2018-03-31", None, False),  # death ends the year
        ("2017-09-01", "2017-12-31", None, None),
        ("2017-09-01", "2018-12-31", "2017-09-02", False),  # somebody else's record
    ],
)
def test_what_was_not_observed_is_not_known(
    died: str | None, hospital_end: str, admitted: str | None, found: bool | None
) -> None:
    assert in_hospital(("2014-04-01", hospital_end), admitted, died) is found


def test_a_table_of_episodes_without_a_row_tells_nothing() -> None:
    whole = {"contact": ("2014-12-01", "2020-03-31"), "hospital_episode": ("2014-12-01", "2020-03-31")}
    none = "episode_start_date\n"
    assert outcome("neg_control_admission_365d", hospital_episode=none, reach=whole) is False
    world = write_world(ELIGIBLE, eligibility=ONLY_THE_INDEX, hospital_episode=none, reach=whole)
    facts = replace(world.facts, reach={"contact": world.facts.reach["contact"]})
    (found,) = replace(world, facts=facts).people().outcomes["neg_control_admission_365d"]
    assert found is None


@pytest.mark.parametrize(
    ("hospital_start", "admitted", "found"),
    [
        ("2017-04-01", None, False),  # day 1
        ("2017-04-02", None, None),
        ("2017-04-02", "2017-06-01", None),  # whatever was seen from then on
        ("2019-01-01", None, None),  # hospital data begin after the whole window
    ],
)
def test_nor_is_what_lies_before_hospital_data_begin(
    hospital_start: str, admitted: str | None, found: bool | None
) -> None:
    assert in_hospital((hospital_start, "2020-03-31"), admitted) is found


def in_hospital(reach: tuple[str, str], admitted: str | None, died: str | None = None) -> bool | None:
    """The year's outcome of somebody discharged on 31 March 2017, where hospital data reach from and to these days."""
    died_day = None if died is None else (date.fromisoformat(died) - date(2017, 3, 31)).days
    followed = pl.DataFrame(
        {"person_id": ["p"], "index_date": [date(2017, 3, 31)], "died_day": pl.Series([died_day], dtype=pl.Int64)}
    )
    day = None if admitted is None else date.fromisoformat(admitted)
    rows = [] if day is None else [{"person_id": "p", "episode_start_date": day, "diagnosis_1_code": "K35"}]
    facts = ExtractFacts(
        date(2020, 3, 31),
        1440,
        TABLES["submission"].empty(),
        TABLES["provider_successor"].empty(),
        TABLES["area_deprivation"].empty(),
        hospital_start=date.fromisoformat(reach[0]),
        hospital_end=date.fromisoformat(reach[1]),
    )
    episode = pl.DataFrame(rows, schema=TABLES["hospital_episode"].schema)
    found: bool | None = physical_admission(followed, episode, facts, 365)["neg_control_admission_365d"].item()
    return found


@pytest.mark.parametrize(
    ("start", "found"),
    [("2015-04-01", True), ("2015-03-31", False), ("2016-03-30", True), ("2016-03-31", False), ("2016-11-01", False)],
)
def test_another_stay_begun_in_months_13_to_24_before(start: str, found: bool) -> None:
    end = date.fromisoformat(start) + timedelta(days=9)
    spells = f"{ELIGIBLE.rstrip()}\n    older   {start}  {end}  10    RAA"
    assert outcome("placebo_readmission_prior", spells) is found


def test_the_index_stay_itself_is_no_earlier_admission() -> None:
    long = """
        spell   start       end         ward  provider
        prior   2015-02-01  2015-02-20  10    RAA
        index   2015-08-01  2017-03-31  10    RAA
    """
    assert outcome("placebo_readmission_prior", long) is False


def test_a_window_that_opens_before_the_data_is_not_known() -> None:
    # The first submitted month becomes May 2015, a month after the window opens.
    silent = "\n".join(["provider from until", *(f"{code} 2014-12 2015-04" for code in ("RAA", "RBB", "RCC", "RDD"))])
    assert outcome("placebo_readmission_prior", silent=silent) is None


def test_the_list_holds_what_its_source_names_and_no_injury() -> None:
    chapters = {code[0] for code in read_codelist("negative_control")}
    assert chapters == {"K", "H", "N"}
