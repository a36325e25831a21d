"""The lake as a whole: its account balances, it is there whole or not at all, the same extract gives the same bytes."""

import fcntl
import gzip
import json
from datetime import date
from pathlib import Path

import dask
import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.lake import Lake, bucket_of, check_source, fingerprint_source, open_lake, second_pass, write_lake
from pipelines.lake.account import BalanceError
from pipelines.tables import PERSON_TABLES, REFERENCE_TABLES, TABLES
from tests.tiny_extract import PERSON, SPELL, account, load, read_all, tiny, write_csv, write_extract

DATA = Path(__file__).parents[1] / "data"
MINIS = ("mhsds_mini_v5", "mhsds_mini_v6")
N_BUCKETS = 4


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lake]:
    folder = tmp_path_factory.mktemp("lakes")
    return {name: write_lake(DATA / name, folder / name, n_buckets=N_BUCKETS) for name in MINIS}


def raw_lines(path: Path) -> list[bytes]:
    """Lines of a raw file after its header; the samples hold no line breaks inside quotes."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.splitlines()[1:]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", MINIS)
def test_every_line_of_every_file_is_accounted_for(lakes: dict[str, Lake], name: str) -> None:
    files = lakes[name].manifest["files"]
    recognised = {path.name for path in (DATA / name).glob("*.csv*")} - {"participants.csv"}
    assert {entry["file"] for entry in files} == recognised
    for entry in files:
        assert entry["rows_read"] == len(raw_lines(DATA / name / entry["file"])), entry["file"]
        assert entry["rows_read"] == entry["rows_kept"] + entry["rows_deduplicated"] + entry["rows_quarantined"]
        assert sum(entry["quarantined_by_reason"].values()) == entry["rows_quarantined"]


@pytest.mark.parametrize("name", MINIS)
def test_duplicates_are_those_that_raw_lines_show(lakes: dict[str, Lake], name: str) -> None:
    for entry in lakes[name].manifest["files"]:
        lines = raw_lines(DATA / name / entry["file"])
        # In the samples no row that is set aside is repeated, and no row stands in two files.
        assert entry["rows_deduplicated"] == len(lines) - len(set(lines)), entry["file"]


@pytest.mark.parametrize("name", MINIS)
def test_tables_hold_the_rows_the_account_says(lakes: dict[str, Lake], name: str) -> None:
    lake = lakes[name]
    for table in (*PERSON_TABLES, *REFERENCE_TABLES):
        rows = read_all(lake, table) if TABLES[table].by_person else lake.read_reference(table)
        kept = sum(entry["rows_kept"] for entry in lake.manifest["files"] if entry["table"] == table)
        assert lake.manifest["tables"].get(table, {"rows": 0})["rows"] == rows.height
        if (name, table) != ("mhsds_mini_v6", "referral_team"):  # gets the main teams of MHS101 as well
            assert rows.height == kept


def test_quarantine_holds_the_rows_set_aside(lakes: dict[str, Lake]) -> None:
    lake = lakes["mhsds_mini_v5"]
    for entry in lake.manifest["files"]:
        path = lake.folder / "quarantine" / f"{entry['file']}.parquet"
        rows = pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema={"reason": pl.String})
        assert dict(rows.group_by("reason").len().rows()) == entry["quarantined_by_reason"]
    reasons = {reason for entry in lake.manifest["files"] for reason in entry["quarantined_by_reason"]}
    assert reasons == {"anonymous_provider", "no_person"}


@pytest.mark.parametrize("name", MINIS)
def test_everybody_is_in_their_bucket_and_in_order(lakes: dict[str, Lake], name: str) -> None:
    for table in PERSON_TABLES:
        for bucket in range(N_BUCKETS):
            rows = lakes[name].read_bucket(bucket, table)
            assert rows.schema == TABLES[table].schema
            assert set(bucket_of(rows["person_id"], N_BUCKETS)) <= {bucket}
            assert rows["person_id"].is_sorted()


def test_required_cells_are_never_null(lakes: dict[str, Lake]) -> None:
    for lake in lakes.values():
        for table in PERSON_TABLES:
            required = [column.name for column in TABLES[table].columns if column.required]
            assert sum(read_all(lake, table).select(required).null_count().row(0)) == 0, table


def test_the_messy_sample_comes_out_clean(lakes: dict[str, Lake]) -> None:
    spell = read_all(lakes["mhsds_mini_v5"], "spell")
    codes = spell.select(pl.col("method_code", "source_code", "destination_code").drop_nulls().unique().implode())
    assert all(code == code.strip().upper() for column in codes.row(0) for code in column)
    assert not spell["person_id"].str.contains("<").any()
    assert spell["start_date"].max() > date(2020, 1, 1)  # the 2019 file mixes ISO and dd/mm/yyyy
    assert (spell["start_date"].dt.year() == 1900).any()


def test_version_6_teams_all_have_a_type(lakes: dict[str, Lake]) -> None:
    teams = read_all(lakes["mhsds_mini_v6"], "referral_team")
    assert teams["team_type_code"].null_count() == 0
    assert {"A02", "A06", "A14"} <= set(teams["team_type_code"])


def test_the_manifest_names_what_it_did_not_read(lakes: dict[str, Lake]) -> None:
    manifest = lakes["mhsds_mini_v5"].manifest
    assert manifest["ignored_files"] == ["SOURCE.md", "participants.csv"]
    assert manifest["extract"]["contains_real_data"] is False


def test_buckets_do_not_change_between_versions() -> None:
    # CRC-32 (`gzip -c FILE | tail -c8 | od -tu4 -N4`): PT10517151802 722003111, Anna 2171474313; modulo 16.
    expected = [722003111 % 16, 2171474313 % 16, None]
    ids = pl.Series("person_id", ["PT10517151802", "Anna", None])
    assert bucket_of(ids, 16).to_list() == expected
    assert ids.to_frame().select(bucket_of(pl.col("person_id"), 16)).to_series().to_list() == expected


def test_the_same_extract_gives_the_same_bytes(lakes: dict[str, Lake], tmp_path: Path) -> None:
    with dask.config.set(scheduler="synchronous"):
        again = write_lake(DATA / "mhsds_mini_v5", tmp_path / "again", n_buckets=N_BUCKETS)
    assert tree(again.folder) == tree(lakes["mhsds_mini_v5"].folder)


def test_the_number_of_buckets_changes_nothing_but_the_place(lakes: dict[str, Lake], tmp_path: Path) -> None:
    one = write_lake(DATA / "mhsds_mini_v6", tmp_path / "one", n_buckets=1)
    for table in PERSON_TABLES:
        assert read_all(one, table).equals(read_all(lakes["mhsds_mini_v6"], table)), table


def test_some_columns_of_a_bucket(lakes: dict[str, Lake]) -> None:
    rows = lakes["mhsds_mini_v5"].read_bucket(0, "spell", ["discharge_date", "person_id"])
    assert rows.schema == {"discharge_date": pl.Date(), "person_id": pl.String()}
    assert rows.height > 0


def test_absent_tables_are_empty_and_typed(tmp_path: Path) -> None:
    lake = load(tmp_path)
    assert not lake.has("contact")
    assert lake.has("spell")
    assert lake.read_bucket(0, "contact").equals(TABLES["contact"].empty())
    assert lake.read_bucket(0, "contact", ["contact_date"]).schema == {"contact_date": pl.Date()}
    assert lake.read_reference("area_deprivation").equals(TABLES["area_deprivation"].empty())


def test_a_table_with_a_header_alone_is_there_but_empty(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    header = "Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqHospProvSpellID,StartDateHomeLeave,EndDateHomeLeave\n"
    (source / "MHS509HomeLeave_2017.csv").write_text(header)
    lake = write_lake(source, tmp_path / "lake")
    assert lake.has("leave")
    assert read_all(lake, "leave").is_empty()


def test_absent_optional_columns_are_listed(tmp_path: Path) -> None:
    person = {name: value for name, value in PERSON.items() if name != "MaritalStatus"}
    lake = load(tmp_path, MHS001MPI=[person])
    assert lake.manifest["tables"]["person_month"]["absent_columns"] == {"MHS001MPI_2017.csv": ["marital_code"]}


def test_a_wrong_source_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    spell = {
        name: value for name, value in SPELL.items() if name not in {"UniqHospProvSpellID", "DischDateHospProvSpell"}
    }
    source = write_extract(tmp_path / "source", {"MHS001MPI": [PERSON], "MHS501HospProvSpell": [spell]})
    write_csv(source / "MHS201CareContact_2017.csv", [{"Person_ID": "Anna"}])
    (source / "ECDS_2017.csv").write_text("")
    problems = [
        "ECDS_2017.csv: line 1 is empty; it must hold the column names",
        "MHS201CareContact_2017.csv: column record_id is missing; accepted names: RecordNumber",
        "MHS201CareContact_2017.csv: column provider_id is missing; accepted names: OrgIDProv",
        "MHS201CareContact_2017.csv: column month_id is missing; accepted names: UniqMonthID",
        "MHS201CareContact_2017.csv: column referral_id is missing; accepted names: UniqServReqID",
        "MHS201CareContact_2017.csv: column contact_id is missing; accepted names: UniqCareContID",
        "MHS201CareContact_2017.csv: column contact_date is missing; accepted names: CareContDate",
        "MHS201CareContact_2017.csv: column attendance_code is missing; accepted names: AttendOrDNACode",
        "MHS501HospProvSpell_2017.csv: column spell_id is missing; "
        "accepted names: UniqHospProvSpellID, UniqHospProvSpellNum",
        "MHS501HospProvSpell_2017.csv: column discharge_date is missing; accepted names: DischDateHospProvSpell",
        "no file of MHS502WardStay: the table ward_stay is mandatory",
    ]
    assert check_source(source) == problems
    with pytest.raises(SourceError) as caught:
        write_lake(source, tmp_path / "lake")
    assert caught.value.problems == problems
    assert not (tmp_path / "lake").exists()


def test_a_good_source_has_no_problems() -> None:
    assert [check_source(DATA / name) for name in MINIS] == [[], []]


def test_no_folder_is_a_problem(tmp_path: Path) -> None:
    assert check_source(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: is not a folder"]


def test_a_column_named_twice_is_a_problem(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    path = source / "MHS501HospProvSpell_2017.csv"
    path.write_text(path.read_text().replace("UniqServReqID", "person_id"))
    assert (
        check_source(source)[0] == "MHS501HospProvSpell_2017.csv: the header gives columns 2, 6 one name (case ignored)"
    )


class KilledError(Exception):
    pass


def test_a_failed_load_leaves_the_old_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = load(tmp_path)
    before = tree(old.folder)

    def fail(*_: object) -> None:
        raise KilledError

    monkeypatch.setattr(second_pass, "gather_bucket", fail)
    with pytest.raises(KilledError):
        load(tmp_path, MHS501HospProvSpell=[SPELL | {"DestOfDischHospProvSpell": "79"}])
    assert tree(old.folder) == before
    assert open_lake(tmp_path / "lake").folder == old.folder
    monkeypatch.undo()
    load(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "lake.lock", "source"]


def test_leftovers_of_killed_loads_are_removed(tmp_path: Path) -> None:
    lake = load(tmp_path)
    (tmp_path / "lake" / "generation-half" / "tables").mkdir(parents=True)
    (tmp_path / "lake" / ".work-1").mkdir()
    attempt = next((tmp_path / "lake" / "parts").iterdir()) / "attempt"
    attempt.mkdir()
    load(tmp_path)
    assert sorted(path.name for path in (tmp_path / "lake").iterdir()) == [lake.folder.name, "manifest.json", "parts"]
    assert not attempt.exists()


def test_a_new_load_replaces_the_lake(tmp_path: Path) -> None:
    load(tmp_path)
    lake = load(tmp_path, MHS501HospProvSpell=[SPELL | {"DestOfDischHospProvSpell": "79"}])
    assert read_all(lake, "spell")["destination_code"].to_list() == ["79"]


def test_a_reader_goes_on_while_a_new_load_takes_over(tmp_path: Path) -> None:
    old = load(tmp_path)
    new = load(tmp_path, MHS501HospProvSpell=[SPELL | {"DestOfDischHospProvSpell": "79"}])
    assert new.folder != old.folder
    assert read_all(old, "spell")["destination_code"].to_list() == [SPELL["DestOfDischHospProvSpell"]]
    assert open_lake(old.folder) == old
    assert open_lake(tmp_path / "lake") == new


def test_two_loads_do_not_write_one_lake(tmp_path: Path) -> None:
    with (tmp_path / "lake.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SourceError, match="another load is writing this lake"):
            load(tmp_path)


def test_lost_rows_are_our_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = second_pass.gather_bucket

    def lose(group, parts, *others):  # type: ignore[no-untyped-def]
        return kept(group, {table: [] if table == "spell" else rows for table, rows in parts.items()}, *others)

    monkeypatch.setattr(second_pass, "gather_bucket", lose)
    with pytest.raises(BalanceError, match=r"MHS501HospProvSpell_2017\.csv: 1 rows read, but 0 kept"):
        load(tmp_path)


def test_no_lake(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no lake here"):
        open_lake(tmp_path)


def test_a_lake_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 0}))
    with pytest.raises(SourceError, match="a lake of format 0"):
        open_lake(tmp_path)


def test_the_fingerprint_follows_content(tmp_path: Path) -> None:
    lake = load(tmp_path)
    source = tmp_path / "source"
    fingerprint = fingerprint_source(source)
    assert lake.manifest["fingerprint"] == fingerprint
    (source / "notes.txt").write_text("not a table")
    assert fingerprint_source(source) == fingerprint
    (source / "extract_manifest.json").write_text('{"opt_out_applied": true}')
    described = fingerprint_source(source)
    assert described != fingerprint
    path = source / "MHS502WardStay_2017.csv"
    path.write_text(path.read_text().replace(",10,", ",11,"))
    assert fingerprint_source(source) not in {fingerprint, described}


def test_a_description_that_is_no_json_is_a_problem(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    (source / "extract_manifest.json").write_text("{")
    assert check_source(source) == ["extract_manifest.json: is not a JSON object"]


def test_the_fingerprint_follows_names(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    fingerprint = fingerprint_source(source)
    (source / "MHS502WardStay_2017.csv").rename(source / "MHS502WardStay_2018.csv")
    assert fingerprint_source(source) != fingerprint


def test_the_account_of_a_clean_file(tmp_path: Path) -> None:
    entry = account(load(tmp_path), "MHS501")
    assert {key: entry[key] for key in ("rows_read", "rows_kept", "rows_deduplicated", "rows_quarantined")} == {
        "rows_read": 1,
        "rows_kept": 1,
        "rows_deduplicated": 0,
        "rows_quarantined": 0,
    }


def test_a_distributed_client_gives_the_same_bytes(lakes: dict[str, Lake], tmp_path: Path) -> None:
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0"):
        again = write_lake(DATA / "mhsds_mini_v6", tmp_path / "again", n_buckets=N_BUCKETS)
    assert tree(again.folder) == tree(lakes["mhsds_mini_v6"].folder)
