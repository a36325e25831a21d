"""HES episodes to spells to continuous stays (DOMAIN C1): a rule per text table, and agreement with plain loops."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.hospital import continuous_stays, deduplicate_episodes, psychiatric_stays
from pipelines.tables import TABLES
from tests.naive_hospital import Row, naive_stays
from tests.spec.text_tables import read_cell, split_rows
from tests.worlds import whole_row

NAMES = {
    "start": "episode_start_date",
    "end": "episode_end_date",
    "admitted": "admission_date",
    "discharged": "discharge_date",
    "order": "episode_order",
    "provider": "provider_id",
    "source": "source_code",
    "destination": "destination_code",
    "dismeth": "discharge_method_code",
    "method": "method_code",
    "specialty": "main_specialty_code",
    "treatment": "treatment_specialty_code",
    "diagnosis": "diagnosis_1_code",
    "sent": "sent_date",
}


def episodes(text: str) -> pl.DataFrame:
    """Episodes of person p at RAA in general medicine, unless the table says otherwise; - is nothing."""
    rows = []
    for number, cells in enumerate(split_rows(text)):
        named = {NAMES[name]: cell for name, cell in cells.items()}
        typed = {name: read_cell("hospital_episode", name, cell) for name, cell in named.items()}
        given: Row = {"person_id": "p", "row_id": f"{number:03}", "provider_id": "RAA", "main_specialty_code": "300"}
        rows.append(whole_row("hospital_episode", **given | typed))
    return frame(rows)


def frame(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLES["hospital_episode"].schema)


def expect(stays: pl.DataFrame, text: str) -> None:
    """The stays in the columns of the table, in order."""
    expected = split_rows(text)
    found = stays.select(list(expected[0]) if expected else []).cast(pl.String).to_dicts()
    assert found == expected


def test_one_admission_of_several_episodes_is_one_spell() -> None:
    stays = continuous_stays(
        episodes("""
        start       end         admitted    discharged  order  diagnosis
        2018-01-01  2018-01-05  2018-01-01  -           1      K352
        2018-01-07  2018-01-09  2018-01-01  2018-01-09  2      R104
        """)
    )
    expect(
        stays,
        """
        start_date  end_date    n_spells  primary_code
        2018-01-01  2018-01-09  1         K352
        """,
    )


@pytest.mark.parametrize(
    ("dismeth", "next_start", "n_stays"),
    [("8", "2018-01-05", 1), ("9", "2018-01-05", 1), ("1", "2018-01-05", 2), ("8", "2018-01-06", 2)],
)
def test_a_spell_goes_on_where_an_episode_was_not_the_last(dismeth: str, next_start: str, n_stays: int) -> None:
    found = episodes(f"""
        start         end         order  dismeth
        2018-01-01    2018-01-05  2      {dismeth}
        {next_start}  2018-01-09  3      1
    """)
    assert continuous_stays(found).height == n_stays


def test_episodes_of_one_day_are_one_spell_at_one_provider_only() -> None:
    stays = continuous_stays(
        episodes("""
        start       end         order  provider
        2018-01-01  2018-01-05  2      RAA
        2018-01-01  2018-01-09  3      RAA
        2018-01-01  2018-01-03  2      RBB
        """)
    )
    expect(
        stays,
        """
        start_date  end_date    n_spells
        2018-01-01  2018-01-03  1
        2018-01-01  2018-01-09  1
        """,
    )


@pytest.mark.parametrize(("order", "source", "n_stays"), [("1", "19", 1), ("2", "19", 2), ("1", "51", 2)])
def test_a_missing_admission_date_is_the_start_of_a_first_episode(order: str, source: str, n_stays: int) -> None:
    # The second episode names the day of admission; the first has none of its own.
    found = episodes(f"""
        start       end         admitted    order    source
        2018-01-01  2018-01-05  -           {order}  {source}
        2018-01-06  2018-01-09  2018-01-01  3        19
    """)
    assert continuous_stays(found).height == n_stays


@pytest.mark.parametrize(
    ("destination", "source", "method", "start", "n_stays"),
    [
        ("51", "19", "21", "2018-01-08", 1),
        ("52", "19", "21", "2018-01-08", 1),
        ("19", "53", "21", "2018-01-08", 1),
        *[("19", "19", method, "2018-01-08", 1) for method in ("2B", "67", "81")],
        ("19", "19", "21", "2018-01-05", 2),  # the same day, no transfer code
        ("51", "53", "2B", "2018-01-09", 2),  # four days
    ],
)
def test_transfers_within_three_days_are_one_stay(
    destination: str, source: str, method: str, start: str, n_stays: int
) -> None:
    found = episodes(f"""
        start       end         order  provider  destination    source    method
        2018-01-01  2018-01-05  1      RAA       {destination}  19        21
        {start}     2018-01-20  1      RBB       19             {source}  {method}
    """)
    assert continuous_stays(found).height == n_stays


def test_the_most_complete_copy_stays_then_the_newest() -> None:
    kept = deduplicate_episodes(
        episodes("""
        start       end         order  diagnosis  sent
        2018-01-01  2018-01-05  1      K352       2018-02-01
        2018-01-01  2018-01-05  1      -          2018-04-01
        2018-01-01  2018-01-05  1      K353       2018-03-01
        """)
    )
    assert kept["diagnosis_1_code"].to_list() == ["K353"]


def test_an_unfinished_episode_is_followed_by_its_finished_version() -> None:
    # The yearly extract that ends in March sends it open, the next one with its end.
    stays = continuous_stays(
        episodes("""
        start       end         admitted    order
        2018-03-20  -           2018-03-20  1
        2018-03-20  2018-04-09  2018-03-20  1
        """)
    )
    expect(
        stays,
        """
        start_date  end_date    n_spells
        2018-03-20  2018-04-09  1
        """,
    )


@pytest.mark.parametrize(
    ("specialty", "treatment", "n"),
    [("710", "300", 1), ("300", "715", 1), ("700", "-", 1), ("724", "-", 1), ("300", "300", 0), ("728", "-", 0)],
)
def test_a_stay_is_psychiatric_by_either_specialty(specialty: str, treatment: str, n: int) -> None:
    found = episodes(f"""
        start       end         specialty    treatment
        2018-01-01  2018-01-05  {specialty}  {treatment}
    """)
    assert psychiatric_stays(found).height == n


def test_a_psychiatric_stay_leaves_out_the_general_hospital_around_it() -> None:
    stays = psychiatric_stays(
        episodes("""
        start       end         order  provider  specialty  destination
        2018-01-01  2018-01-05  1      RAA       300        51
        2018-01-05  2018-01-20  1      RBB       710        51
        2018-01-20  2018-01-22  1      RAA       300        51
        2018-01-22  2018-02-03  1      RBB       710        19
        2018-02-03  2018-02-08  1      RAA       300        19
        """)
    )
    expect(
        stays,
        """
        start_date  end_date
        2018-01-05  2018-02-03
        """,
    )


def days(first: int, last: int) -> st.SearchStrategy[date]:
    return st.integers(first, last).map(lambda number: date(2018, 1, 1) + timedelta(days=number))


ROWS = st.builds(
    lambda **cells: cells,
    person_id=st.sampled_from(["p", "q"]),
    provider_id=st.sampled_from(["RAA", "RAA", "RBB", None]),
    episode_start_date=days(0, 12),
    episode_end_date=st.none() | days(0, 16),
    admission_date=st.none() | days(0, 8),
    discharge_date=st.none() | days(0, 16),
    episode_order=st.sampled_from([1, 1, 2, None]),
    discharge_method_code=st.sampled_from(["1", "8", "9", None]),
    source_code=st.sampled_from(["19", "51", None]),
    method_code=st.sampled_from(["21", "2B", None]),
    destination_code=st.sampled_from(["19", "52", None]),
    main_specialty_code=st.sampled_from(["300", "710"]),
    diagnosis_1_code=st.sampled_from(["K35", "F20", None]),
    sent_date=st.none() | days(0, 2),
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(ROWS, max_size=9))
def test_the_columnar_rules_agree_with_plain_loops(drawn: list[dict[str, Any]]) -> None:
    rows = [whole_row("hospital_episode", row_id=f"{number:03}", **cells) for number, cells in enumerate(drawn)]
    slow = naive_stays(rows)
    columns = ["person_id", "start_date", "end_date", "primary_code", "n_spells", "is_psychiatric"]

    def in_order(found: list[Row]) -> list[str]:
        return sorted(str([row[name] for name in columns]) for row in found)

    assert in_order(continuous_stays(frame(rows)).to_dicts()) == in_order(slow)
    ended = [(row["person_id"], *row["psychiatric"]) for row in slow if row["psychiatric"] and row["psychiatric"][1]]
    assert psychiatric_stays(frame(rows)).rows() == sorted(ended)
