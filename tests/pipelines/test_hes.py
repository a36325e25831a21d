"""HES APC, HES A&E, ECDS and ONS deaths through the lake: NHS Digital's artificial HES, and hand-written rows."""

import csv
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.lake import Lake, check_source, write_lake
from tests.tiny_extract import Rows, account, load, read_all, tiny, write_extract

ARTIFICIAL = Path(__file__).parents[1] / "data" / "nhs_artificial_hes"
APC = ARTIFICIAL / "artificial_hes_apc_0102_cut.csv"
AE = ARTIFICIAL / "artificial_hes_ae_0708_cut.csv"

EPISODE = {
    "ENCRYPTED_HESID": "Anna",
    "EPIKEY": "1",
    "PROCODE3": "RX1",
    "EPISTART": "2015-05-02",
    "EPIEND": "2015-05-09",
    "ADMIDATE": "2015-05-02",
    "DISDATE": "2015-05-09",
    "ADMIMETH": "21",
    "MAINSPEF": "710",
    "TRETSPEF": "710",
    "DIAG_01": "F200",
    "DIAG_02": "",
    "DIAG_03": "I10X",
    "SEX": "2",
}
ATTENDANCE = {
    "PSEUDO_HESID": "Anna",
    "AEKEY": "7",
    "ARRIVALDATE": "2015-06-01",
    "ARRIVALTIME": "0930",
    "AEDEPTTYPE": "1",
    "AEATTENDCAT": "1",
}


@pytest.fixture(scope="module")
def artificial(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_lake(ARTIFICIAL, tmp_path_factory.mktemp("hes") / "lake", n_buckets=3)


def raw_rows(path: Path) -> dict[str, dict[str, str]]:
    """Raw rows by EPIKEY or AEKEY, read by Python's own reader."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["EPIKEY" if path == APC else "AEKEY"]: row for row in rows}


def episodes(folder: Path, *rows: dict[str, str]) -> pl.DataFrame:
    """Canonical episodes of rows that differ from the one above."""
    return read_all(load(folder, HES_APC=[EPISODE | row for row in rows]), "hospital_episode")


def attendances(folder: Path, **changes: Rows) -> pl.DataFrame:
    return read_all(load(folder, **changes), "emergency_attendance")


def test_artificial_hes_loads_without_mhsds_and_every_row_is_accounted_for(artificial: Lake) -> None:
    # The cut has 151 episodes, one of them with 1801-01-01 for every date, and 60 attendances (csv.DictReader).
    apc, ae = account(artificial, "artificial_hes_apc"), account(artificial, "artificial_hes_ae")
    assert (apc["rows_read"], apc["rows_kept"], apc["rows_quarantined"]) == (151, 150, 1)
    assert apc["quarantined_by_reason"] == {"bad_date:episode_start_date": 1}
    assert (ae["rows_read"], ae["rows_kept"], ae["rows_quarantined"]) == (60, 60, 0)


def test_numbered_codes_are_joined_in_order(artificial: Lake) -> None:
    raw = raw_rows(APC)
    found = read_all(artificial, "hospital_episode")
    for row in found.iter_rows(named=True):
        cells = raw[row["row_id"]]
        for column, prefix, numbers in (("all_diagnosis_codes", "DIAG_4", 20), ("all_procedure_codes", "OPERTN_4", 24)):
            codes = [cells[f"{prefix}_{number:02}"].strip() for number in range(1, numbers + 1)]
            expected = " ".join(code.upper() for code in codes if code not in ("", "-", "&"))
            assert row[column] == (expected or None)
    assert found["all_diagnosis_codes"].str.contains(" ").any()
    assert found["all_procedure_codes"].null_count() > 0


def test_artificial_attendances(artificial: Lake) -> None:
    raw = raw_rows(AE)
    found = read_all(artificial, "emergency_attendance")
    assert set(found["collection_code"]) == {"HES_AE"}
    for row in found.iter_rows(named=True):
        cells = raw[row["row_id"]]
        assert row["arrival_date"] == date.fromisoformat(cells["ARRIVALDATE"])
        assert (row["arrival_time"], row["provider_id"]) == (cells["ARRIVALTIME"], cells["PROCODE3"])
        treatments = [cells[f"TREAT3_{number:02}"] for number in range(1, 13)]
        assert row["treatment_codes"] == (" ".join(code for code in treatments if code) or None)


def test_hospital_data_reach_to_their_last_row(artificial: Lake) -> None:
    arrivals = [row["ARRIVALDATE"] for row in raw_rows(AE).values()]
    ends = [row["EPIEND"] for row in raw_rows(APC).values()]
    assert str(artificial.period_end) == max(arrivals + ends)


def test_a_study_on_hospital_data_alone_is_told_what_is_missing() -> None:
    assert check_source(ARTIFICIAL) == [
        "no file of MHS001MPI: the table person_month is mandatory",
        "no file of MHS501HospProvSpell: the table spell is mandatory",
        "no file of MHS502WardStay: the table ward_stay is mandatory",
    ]


def test_an_mhsds_extract_with_hes_still_needs_its_own_tables(tmp_path: Path) -> None:
    files = {name: rows for name, rows in tiny(HES_APC=[EPISODE]).items() if name != "MHS501HospProvSpell"}
    with pytest.raises(SourceError, match="no file of MHS501HospProvSpell"):
        write_lake(write_extract(tmp_path / "source", files), tmp_path / "lake")


@pytest.mark.parametrize("name", ["ENCRYPTED_HESID", "TOKEN_PERSON_ID", "PSEUDO_HESID"])
def test_every_name_of_the_person(tmp_path: Path, name: str) -> None:
    row = {name if key == "ENCRYPTED_HESID" else key: value for key, value in EPISODE.items()}
    lake = load(tmp_path, HES_APC=[row])
    assert read_all(lake, "hospital_episode")["person_id"].to_list() == ["Anna"]


@pytest.mark.parametrize("day", ["1801-01-01", "1800-01-01", "1582-10-15", "15/10/1582"])
def test_days_that_stand_for_no_day_are_empty(tmp_path: Path, day: str) -> None:
    (row,) = episodes(tmp_path, {"DISDATE": day, "EPIEND": day}).to_dicts()
    assert (row["discharge_date"], row["episode_end_date"]) == (None, None)


def test_everything_about_an_episode_is_read(tmp_path: Path) -> None:
    sent = {
        "EPIORDER": "2",
        "EPISTAT": "3",
        "ADMISORC": "51",
        "DISDEST": "19",
        "DISMETH": "8",
        "CATEGORY": "11",
        "TRANSIT": "0",
        "SUBDATE": "20/06/2015",
        "OPERTN_01": "x352",
        "OPERTN_02": "-",
        "OPERTN_03": "Z942",
    }
    (row,) = episodes(tmp_path, sent).to_dicts()
    expected = {
        "episode_order": 2,
        "episode_status_code": "3",
        "source_code": "51",
        "destination_code": "19",
        "discharge_method_code": "8",
        "category_code": "11",
        "transit_code": "0",
        "sent_date": date(2015, 6, 20),
        "all_diagnosis_codes": "F200 I10X",
        "all_procedure_codes": "X352 Z942",
    }
    assert {name: row[name] for name in expected} == expected


def test_three_characters_are_the_last_resort(tmp_path: Path) -> None:
    plain = {name: value for name, value in EPISODE.items() if not name.startswith("DIAG")}
    both = plain | {"DIAG_3_01": "F20", "DIAG_4_01": "F200", "DIAG_3_02": "I10", "DIAG_3_03": ""}
    (row,) = read_all(load(tmp_path, HES_APC=[both]), "hospital_episode").to_dicts()
    assert (row["diagnosis_1_code"], row["diagnosis_2_code"], row["all_diagnosis_codes"]) == ("F200", "I10", "F200 I10")


def test_the_filled_admission_date_stands_in(tmp_path: Path) -> None:
    rows = [{"ADMIDATE": "", "ADMIDATE_FILLED": "2015-05-01"}, {"EPIKEY": "2", "ADMIDATE_FILLED": "2015-04-01"}]
    assert episodes(tmp_path, *rows)["admission_date"].to_list() == [date(2015, 5, 1), date(2015, 5, 2)]


@pytest.mark.parametrize(("sent", "kind"), [("1", "01"), ("01", "01"), ("2", "02"), ("99", "99")])
def test_department_types_are_written_one_way(tmp_path: Path, sent: str, kind: str) -> None:
    ecds = {
        "TOKEN_PERSON_ID": "Anna",
        "Arrival_Date": "2019-06-01",
        "EC_Department_Type": sent,
        "EC_AttendanceCategory": "01",
        "EC_Chief_Complaint_SNOMED_CT": "",
        "EC_Injury_Intent_SNOMED_CT": "",
        "Der_EC_Diagnosis_All": "",
        "EC_Discharge_Status_SNOMED_CT": "",
        "Deleted": "0",
    }
    found = attendances(tmp_path, HES_AE=[ATTENDANCE | {"AEDEPTTYPE": sent}], ECDS=[ecds])
    assert set(found["department_type_code"]) == {kind}
    assert set(found["attendance_category_code"]) == {"1"}
    assert set(found["collection_code"]) == {"ECDS", "HES_AE"}


def test_a_death_without_a_day_takes_that_of_its_registration(tmp_path: Path) -> None:
    rows = [
        {"ENCRYPTED_HESID": "Anna", "DOD": "", "DOR": "2019-02-03"},
        {"ENCRYPTED_HESID": "Berta", "DOD": "2019-01-01", "DOR": "2019-02-03"},
    ]
    deaths = read_all(load(tmp_path, ONS_deaths=rows), "death")
    assert deaths["death_date"].to_list() == [date(2019, 2, 3), date(2019, 1, 1)]


@pytest.mark.parametrize(
    "nothing", ["1899-12-30", "1899-12-31", "1900-01-01", "01/01/1900", "1901-01-01", "1801-01-01"]
)
def test_a_placeholder_is_no_day_of_death(tmp_path: Path, nothing: str) -> None:
    rows = [
        {"ENCRYPTED_HESID": "Anna", "DOD": nothing, "DOR": "2019-02-03"},
        {"ENCRYPTED_HESID": "Berta", "DOD": nothing, "DOR": nothing},
    ]
    deaths = read_all(load(tmp_path, ONS_deaths=rows), "death").sort("person_id")
    assert deaths["death_date"].to_list() == [date(2019, 2, 3), None]


def test_an_extract_without_a_column_that_nothing_uses(tmp_path: Path) -> None:
    episode = {name: cell for name, cell in EPISODE.items() if name != "SEX"}
    assert len(read_all(load(tmp_path, HES_APC=[episode]), "hospital_episode")) == 1


def test_deaths_that_name_nobody_need_the_bridge_to_hes(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(ONS_deaths=[{"RECORD_ID": "1", "DOD": "2017-06-01"}]))
    (problem,) = check_source(source)
    assert problem.startswith("ONS_deaths_2017.csv: column person_id is missing; accepted names: ENCRYPTED_HESID")
    assert problem.endswith("a bridge to HES: join its ENCRYPTED_HESID to them (DOMAIN C3)")
