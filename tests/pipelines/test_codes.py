"""Covariates from codes: counted by hand, chosen without outcomes or arms, never named where few people have them."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.cohort import build_cohort
from pipelines.covariate_registry import OF_THE_COHORT, REGISTRY
from pipelines.covariates.codes import DIMENSIONS, TABLES_OF_DIMENSION, choose_codes, count_codes, tally_codes
from pipelines.design_matrix import build_baseline
from pipelines.errors import ProtocolError
from pipelines.lake import Lake, write_lake
from pipelines.protocol import CodeCovariates, CodeDimension, Protocol, load_protocol
from pipelines.sources.participants import read_participants
from pipelines.sources.synthetic import write_extract
from pipelines.tables import TABLES
from tests.worlds import whole_row

ROOT = Path(__file__).parents[2]
DAY = date(2017, 3, 31)
INDEX = pl.DataFrame({"person_id": ["p"], "index_date": [DAY]})


def counts(dimension: CodeDimension, settings: dict[str, Any] | None = None, **tables: list[dict[str, Any]]) -> Any:
    """How often each code was recorded for the person p before 31 March 2017."""
    names = TABLES_OF_DIMENSION[dimension]
    frames = {
        name: pl.DataFrame(
            [whole_row(name, person_id="p", **row) for row in tables.get(name, [])], schema=TABLES[name].schema
        )
        for name in names
    }
    found = count_codes(INDEX, frames, CodeCovariates(dimensions=(dimension,), **(settings or {})))
    return dict(found.sort("code").select("code", "n").iter_rows())


def ago(days: int) -> date:
    return DAY - timedelta(days=days)


def test_every_dimension_of_the_protocol_can_be_counted() -> None:
    named = set(CodeDimension.__args__)
    assert named == set(DIMENSIONS) == set(TABLES_OF_DIMENSION)


def test_a_diagnosis_counts_once_a_day_by_its_first_characters() -> None:
    def coded(code: str, days: int, position: str = "P", scheme: str | None = "02") -> dict[str, Any]:
        return {"diagnosis_code": code, "diagnosis_date": ago(days), "position_code": position, "scheme_code": scheme}

    rows = [
        coded("F20.0", 0),
        coded("F20.1", 0, "S"),  # another month's row, or another F20 of the day
        coded("f20", 365),
        coded("F20", 366),
        coded("F20", -1),
        coded("I10", 5, "S", None),
        coded("E11", 5, "V"),
        coded("F3", 5),
        coded("201826", 5, scheme="OMOP"),
    ]
    assert counts("diagnosis", diagnosis=rows) == {"201826": 1, "F20": 2, "I10": 1}
    four = counts("diagnosis", {"icd10_characters": 4}, diagnosis=rows)
    assert four == {"201826": 1, "F20": 1, "F200": 1, "F201": 1, "I10": 1}


def test_a_procedure_counts_once_a_contact_and_not_on_the_index_date() -> None:
    rows = [
        {"contact_id": contact, "activity_date": ago(days), "procedure_code": code}
        for contact, days, code in (
            ("c1", 1, "718026005"),
            ("c1", 1, "718026005"),
            ("c2", 1, "718026005"),
            ("c3", 0, "718026005"),
            ("c4", 2, None),
            ("c5", 2, "Local code 7"),
        )
    ]
    assert counts("procedure", care_activity=rows) == {"718026005": 2, "LOCAL-CODE-7": 1}


def test_a_team_counts_once_an_attended_contact() -> None:
    team = {"record_id": "m", "referral_id": "r"}
    contacts = [
        team | {"contact_id": contact, "contact_date": ago(days), "attendance_code": code, "month_id": month}
        for contact, days, code, month in (
            ("c1", 10, "3", 1400),
            ("c1", 10, "5", 1401),  # as it was sent last
            ("c2", 20, "6", 1401),
            ("c3", 20, "3", 1401),
        )
    ]
    teams = [team | {"team_type_code": code} for code in ("A06", "A06", "A02")]
    assert counts("team", contact=contacts, referral_team=teams) == {"A02": 2, "A06": 2}


def test_hospital_codes_count_once_a_first_day() -> None:
    rows = [
        {"episode_start_date": ago(30), "all_diagnosis_codes": "I10X E11.9 I109", "all_procedure_codes": "X65.1"},
        {"episode_start_date": ago(30), "all_diagnosis_codes": "I10X", "all_procedure_codes": None},
        {"episode_start_date": ago(3), "all_diagnosis_codes": "I10X &", "all_procedure_codes": "X651 Z94"},
    ]
    assert counts("hospital_diagnosis", hospital_episode=rows) == {"E11": 1, "I10": 2}
    assert counts("hospital_procedure", hospital_episode=rows) == {"X651": 2, "Z94": 1}


def recorded(code: str, times: list[int], persons: list[str] | None = None) -> pl.DataFrame:
    """Rows in which a code was recorded so many times each, of a person each unless they are named."""
    people = persons or [f"{k}" for k in range(len(times))]
    return pl.DataFrame(
        {"person_id": people, "index_date": [DAY + timedelta(days=k) for k in range(len(times))], "n": times}
    ).select("person_id", "index_date", dimension=pl.lit("diagnosis"), code=pl.lit(code), n="n")


def chosen(*parts: pl.DataFrame, rows: int = 100, persons: int = 100, **settings: Any) -> list[tuple[str, int]]:
    tallies = pl.concat([tally_codes(part) for part in parts])  # as of disjoint buckets
    found = choose_codes(tallies, rows, persons, CodeCovariates(dimensions=("diagnosis",), **settings))
    return list(found.select("name", "threshold").iter_rows())


def test_the_levels_are_the_median_and_the_upper_quartile_of_the_rows_that_have_the_code() -> None:
    # 1 to 40 once each: the 20th of 40 is the smallest that half do not exceed, the 30th of three quarters.
    assert chosen(recorded("F20", list(range(1, 41)))) == [
        ("code_diagnosis_F20_once", 1),
        ("code_diagnosis_F20_sporadic", 20),
        ("code_diagnosis_F20_frequent", 30),
    ]


def test_levels_that_would_be_the_same_indicator_are_left_out() -> None:
    assert chosen(recorded("F20", [1] * 30)) == [("code_diagnosis_F20_once", 1)]
    assert chosen(recorded("F20", [1] * 20 + [2] * 20)) == [
        ("code_diagnosis_F20_once", 1),
        ("code_diagnosis_F20_frequent", 2),
    ]


def test_only_levels_that_are_asked_for() -> None:
    assert chosen(recorded("F20", list(range(1, 41))), levels=("frequent",)) == [("code_diagnosis_F20_frequent", 30)]


def test_codes_are_ranked_by_how_evenly_they_divide_the_rows() -> None:
    parts = [recorded(code, [1] * n) for code, n in (("A01", 95), ("B02", 50), ("C03", 30), ("D04", 10), ("E05", 80))]
    # min(p, 1 - p) is .05, .50, .30, .10, .20.
    named = [name for name, _ in chosen(*parts, n_most_prevalent=3, min_persons=10)]
    assert named == ["code_diagnosis_B02_once", "code_diagnosis_C03_once", "code_diagnosis_E05_once"]


def test_a_tie_goes_to_the_first_code() -> None:
    parts = [recorded(code, [1] * 30) for code in ("C03", "A01", "B02")]
    assert [name for name, _ in chosen(*parts, n_most_prevalent=1)] == ["code_diagnosis_A01_once"]


@pytest.mark.parametrize(("n", "is_named"), [(9, False), (10, True), (90, True), (91, False)])
def test_a_code_that_few_people_have_or_lack_gets_no_name(n: int, is_named: bool) -> None:
    assert bool(chosen(recorded("F20", [1] * n))) == is_named


def test_people_are_counted_not_rows() -> None:
    assert chosen(recorded("F20", [1] * 30, [f"{k % 9}" for k in range(30)])) == []
    assert len(chosen(recorded("F20", [1] * 30, [f"{k % 10}" for k in range(30)]))) == 1


def test_a_level_that_few_people_reach_gets_no_name() -> None:
    # Three quarters have it once, nine people five times.
    assert chosen(recorded("F20", [1] * 11 + [5] * 9)) == [("code_diagnosis_F20_once", 1)]


def test_buckets_add_up() -> None:
    whole = recorded("F20", [1, 2, 3] * 14)
    parts = [whole.filter(pl.col("person_id").cast(pl.Int64) % 3 == k) for k in range(3)]
    assert chosen(whole) == chosen(*parts)


# End to end


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes") / "extract"
    folder.mkdir()
    write_extract(folder, people=2500, seed=5, trusts=10)
    return folder


@pytest.fixture(scope="module")
def lake(extract: Path) -> Lake:
    return write_lake(extract, extract.parent / "lake", n_buckets=3)


def with_codes(codes: CodeCovariates | None) -> Protocol:
    protocol = load_protocol(ROOT / "configs/studies/enrich_synthetic.toml")
    return protocol.model_copy(update={"covariates": protocol.covariates.model_copy(update={"codes": codes})})


def test_codes_stand_beside_the_covariates_and_change_nothing_else(extract: Path, lake: Lake, tmp_path: Path) -> None:
    listed, refused = read_participants(extract / "participants.csv")
    protocol = with_codes(CodeCovariates(dimensions=("diagnosis", "team", "hospital_diagnosis")))
    whole = write_lake(extract, tmp_path / "whole", n_buckets=1)
    found = [build_cohort(of, listed, refused, protocol) for of in (lake, whole)]
    assert found[0].baseline.equals(found[1].baseline)  # whatever the buckets
    plain = build_cohort(lake, listed, refused, with_codes(None))
    names = [name for name in found[0].baseline.columns if name.startswith("code_")]
    assert found[0].baseline.drop(names).equals(plain.baseline)
    assert found[0].quality.equals(plain.quality)

    baseline = found[0].baseline.select("person_id", *names)
    assert {name.split("_")[1] for name in names} == {"diagnosis", "team", "hospital"}
    n_persons = baseline["person_id"].n_unique()
    for name in names:
        having = baseline.filter(pl.col(name))["person_id"].n_unique()
        assert 10 <= having <= n_persons - 10, name
    eligible = found[0].people.filter("is_eligible")
    rows = eligible.join(found[0].baseline.drop("person_id", "index_date", "stratum"), on="row_id")
    entered = build_baseline(rows, protocol.covariates, ["trust", "stratum"]).columns
    assert set(names) <= set(entered)


def test_a_dimension_without_its_table_is_refused(extract: Path, lake: Lake) -> None:
    listed, refused = read_participants(extract / "participants.csv")
    with pytest.raises(ProtocolError, match="'procedure' needs the table care_activity, which the extract does not"):
        build_cohort(lake, listed, refused, with_codes(CodeCovariates()))


def test_what_the_generator_does_not_draw_is_said_in_the_registry(extract: Path, lake: Lake) -> None:
    listed, refused = read_participants(extract / "participants.csv")
    baseline = build_cohort(lake, listed, refused, with_codes(None)).baseline
    alike = {name for name in REGISTRY if name not in OF_THE_COHORT and baseline[name].drop_nulls().n_unique() < 2}
    not_drawn = {name for name, covariate in REGISTRY.items() if covariate.not_in_synthetic}
    # Zero-day stays are drawn, but the study's rules make none an index stay.
    assert alike - {"is_zero_day_index"} == not_drawn
