"""A hand-written MHSDS extract of three people, to be spoiled in one way by each test."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from pipelines.lake import Lake, write_lake
from pipelines.tables import TABLES
from tests.naive_stays import first_day, last_day

Rows = list[dict[str, str]]

KEYS = {"RecordNumber": "100", "OrgIDProv": "RX1", "UniqMonthID": "1406"}  # May 2017 (DOMAIN B1)
SUBMISSION = {
    "UniqMonthID": "1406",
    "ReportingPeriodStartDate": "2017-05-01",
    "ReportingPeriodEndDate": "2017-05-31",
    "OrgIDProvider": "RX1",
    "FileType": "1",
}
PERSON = {
    "MHS001UniqID": "1",
    "Person_ID": "Anna",
    **KEYS,
    "Gender": "2",
    "GenderIDCode": "",
    "EthnicCategory": "A",
    "NHSDEthnicity": "A",
    "MaritalStatus": "S",
    "AgeRepPeriodStart": "30",
    "AgeRepPeriodEnd": "31",
    "LSOA2011": "E01000001",
}
SPELL = {
    "MHS501UniqID": "1",
    "Person_ID": "Anna",
    **KEYS,
    "UniqServReqID": "R1",
    "UniqHospProvSpellID": "S1",
    "StartDateHospProvSpell": "2017-05-02",
    "SourceAdmMHHospProvSpell": "19",
    "MethAdmMHHospProvSpell": "2A",
    "DischDateHospProvSpell": "2017-05-20",
    "MethOfDischMHHospProvSpell": "1",
    "DestOfDischHospProvSpell": "19",
}
WARD = {
    "MHS502UniqID": "1",
    "Person_ID": "Anna",
    **KEYS,
    "UniqHospProvSpellID": "S1",
    "UniqWardStayID": "W1",
    "StartDateWardStay": "2017-05-02",
    "EndDateWardStay": "2017-05-20",
    "HospitalBedTypeMH": "10",
    "WardLocDistanceHome": "7",
}
CONTACT = {
    "MHS201UniqID": "1",
    "Person_ID": "Anna",
    **KEYS,
    "UniqServReqID": "R1",
    "UniqCareContID": "C1",
    "CareContDate": "2017-05-25",
    "AttendOrDNACode": "5",
    "ConsMechanismMH": "01",
}


def header_of(month_id: int, **changes: str) -> dict[str, str]:
    """A header for a whole calendar month."""
    day = {"ReportingPeriodStartDate": first_day(month_id).isoformat()}
    day |= {"ReportingPeriodEndDate": last_day(month_id).isoformat()}
    return SUBMISSION | {"UniqMonthID": str(month_id), **day, **changes}


def tiny(**changes: Rows) -> dict[str, Rows]:
    """The extract's files by table name; `changes` replace or add some."""
    tables = {
        "MHS000Header": [SUBMISSION],
        "MHS001MPI": [PERSON],
        "MHS501HospProvSpell": [SPELL],
        "MHS502WardStay": [WARD],
    }
    return tables | changes


def write_csv(path: Path, rows: Rows, delimiter: str = ",") -> None:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    path.write_text("".join(delimiter.join(line) + "\n" for line in lines), encoding="utf-8")


def write_extract(folder: Path, tables: Mapping[str, Rows]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in tables.items():
        write_csv(folder / f"{name}_2017.csv", rows)
    return folder


def load(folder: Path, **changes: Rows) -> Lake:
    """The lake of the tiny extract with some tables changed."""
    return write_lake(write_extract(folder / "source", tiny(**changes)), folder / "lake", n_buckets=2)


def read_all(lake: Lake, table: str) -> pl.DataFrame:
    """A person table whole, whatever the buckets."""
    frame = pl.concat([lake.read_bucket(bucket, table) for bucket in range(lake.n_buckets)])
    assert frame.schema == TABLES[table].schema
    return frame.sort(frame.columns)


def read_quarantine(lake: Lake) -> pl.DataFrame:
    files = sorted((lake.folder / "quarantine").glob("*.parquet"))
    return pl.concat([pl.read_parquet(file) for file in files]) if files else pl.DataFrame()


def account(lake: Lake, file: str) -> dict[str, object]:
    return next(entry for entry in lake.manifest["files"] if entry["file"].startswith(file))
