"""How far back the sources reach, and whose look-back starts before that (DOMAIN A8.5)."""

from datetime import date

import polars as pl

from pipelines.extract import ExtractFacts
from pipelines.look_back import count_truncated, look_back_start, months_covered
from pipelines.protocol import Eligibility
from pipelines.tables import TABLES
from tests.spec.text_tables import month_of
from tests.worlds import submissions_of

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


def test_months_with_a_few_mistyped_days_are_not_covered() -> None:
    ends = [
        date(1915, 5, 1),
        *[date(2014, 4, day) for day in range(1, 9)],
        *[date(2014, 5, day) for day in (1, 2, 3, 4)],
    ]
    ends += [date(2014, 6, day) for day in range(1, 9)] + [date(2024, 6, 1)]
    assert months_covered(pl.Series("day", [*ends, None])) == (date(2014, 4, 1), date(2014, 6, 30))


def test_no_episodes_cover_nothing() -> None:
    assert months_covered(pl.Series("day", [], dtype=pl.Date)) is None


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
