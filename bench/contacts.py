"""A large care contacts file as MHSDS sends it, to be loaded by this project and by its peers: the same bytes for all.

Rows stand in random order and people use services very unevenly. The header is MHS201's, with the columns that a load
reads and the duration of the contact, 72 bytes a row. As in MHSDS, identifiers of persons, referrals and contacts are
texts (the latter two begin with the provider's code), record numbers and months are numbers. Beside it lie the fewest
rows of the tables without which no extract is accepted, and index.csv, an index date for each person.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

CONTACTS, INDEX = "MHS201CareContact.csv", "index.csv"
COLUMNS = (
    "Person_ID",
    "RecordNumber",
    "OrgIDProv",
    "UniqMonthID",
    "UniqServReqID",
    "UniqCareContID",
    "CareContDate",
    "AttendOrDNACode",
    "ConsMechanismMH",
    "ClinContDurOfCareCont",
)
ROWS_PER_PERSON = 20
FEWEST_PEOPLE = 1_000
ROWS_AT_ONCE = 1_000_000
FIRST_PERSON, FIRST_CONTACT = 1_000_000, 100_000_000
FIRST_DAY, N_DAYS = np.datetime64("2016-01-01"), 8 * 365
FIRST_MONTH_ID = 1390  # UniqMonthID of January 2016
PROVIDERS = np.array([f"R{letter}{digit}" for letter in "ABCDEF" for digit in range(1, 5)])
ATTENDANCE, ATTENDANCE_SHARES = np.array(["5", "6", "3", "2", "4", "7"]), (0.70, 0.06, 0.13, 0.06, 0.04, 0.01)
MECHANISMS = np.array(["01", "02", "03", "04", "05", "06", "08", "09", "10", "11", "12", "98"])
MECHANISM_SHARES = (0.42, 0.20, 0.07, 0.08, 0.05, 0.04, 0.05, 0.03, 0.02, 0.02, 0.01, 0.01)

OTHER_TABLES = {
    "MHS000Header": "UniqMonthID,ReportingPeriodStartDate,ReportingPeriodEndDate,OrgIDProvider,FileType\n"
    "1485,2023-12-01,2023-12-31,RA1,1\n",
    "MHS001MPI": "MHS001UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,Gender,GenderIDCode,EthnicCategory,"
    "NHSDEthnicity,MaritalStatus,AgeRepPeriodStart,AgeRepPeriodEnd,LSOA2011\n"
    "1,P1000000,1000000095,RA1,1485,2,,A,A,S,30,30,E01000001\n",
    "MHS501HospProvSpell": "MHS501UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,"
    "UniqHospProvSpellID,StartDateHospProvSpell,SourceAdmMHHospProvSpell,MethAdmMHHospProvSpell,"
    "DischDateHospProvSpell,MethOfDischMHHospProvSpell,DestOfDischHospProvSpell\n"
    "1,P1000000,1000000095,RA1,1485,RA110000000,S1,2023-12-02,19,2A,2023-12-20,1,19\n",
    "MHS502WardStay": "MHS502UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqHospProvSpellID,UniqWardStayID,"
    "StartDateWardStay,EndDateWardStay,HospitalBedTypeMH,WardLocDistanceHome\n"
    "1,P1000000,1000000095,RA1,1485,S1,W1,2023-12-02,2023-12-20,10,7\n",
}


def write_contacts(folder: Path, rows: int, seed: int = 1) -> Path:
    """Write the extract unless it is there; returns the path of the contacts."""
    path = folder / CONTACTS
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    for table, content in OTHER_TABLES.items():
        (folder / f"{table}.csv").write_text(content, encoding="utf-8")
    rng = np.random.default_rng(seed)
    n_people = max(FEWEST_PEOPLE, rows // ROWS_PER_PERSON)
    unfinished = folder / f".{CONTACTS}"
    with unfinished.open("wb") as stream:
        for start in range(0, rows, ROWS_AT_ONCE):
            table = _draw(rng, start, min(ROWS_AT_ONCE, rows - start), n_people)
            style = arrow_csv.WriteOptions(include_header=False, quoting_style="none")
            stream.write(b"" if start else f"{','.join(COLUMNS)}\n".encode())
            arrow_csv.write_csv(table, stream, style)
    _write_index(folder / INDEX, rng, n_people)
    unfinished.rename(path)
    return path


def _draw(rng: np.random.Generator, start: int, n: int, n_people: int) -> pa.Table:
    person = (rng.beta(0.6, 1.6, n) * n_people).astype(np.int64) + FIRST_PERSON
    day = FIRST_DAY + rng.integers(0, N_DAYS, n)
    month = FIRST_MONTH_ID + (day.astype("datetime64[M]") - FIRST_DAY.astype("datetime64[M]")).astype(np.int64)
    provider = _coded(PROVIDERS, person % len(PROVIDERS))
    values = (
        _prefixed("P", person),
        person * 1_000 + (month - FIRST_MONTH_ID),
        provider,
        month,
        _prefixed(provider, person * 10 + rng.integers(0, 7, n)),
        _prefixed(provider, FIRST_CONTACT + start + np.arange(n)),
        pa.array(day),
        _coded(ATTENDANCE, rng.choice(len(ATTENDANCE), n, p=ATTENDANCE_SHARES)),
        _coded(MECHANISMS, rng.choice(len(MECHANISMS), n, p=MECHANISM_SHARES)),
        rng.integers(1, 24, n) * 5,
    )
    return pa.table(dict(zip(COLUMNS, values, strict=True)))


def _coded(names: np.ndarray, places: np.ndarray) -> pa.Array:
    return pa.DictionaryArray.from_arrays(places.astype(np.int8), names).cast(pa.string())


def _prefixed(prefix: str | pa.Array, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _write_index(path: Path, rng: np.random.Generator, n_people: int) -> None:
    days = FIRST_DAY + (N_DAYS * (0.3 + 0.6 * rng.random(n_people))).astype(np.int64)
    table = pa.table({"person_id": _prefixed("P", FIRST_PERSON + np.arange(n_people)), "index_date": pa.array(days)})
    with path.open("wb") as stream:
        stream.write(b"person_id,index_date\n")
        arrow_csv.write_csv(table, stream, arrow_csv.WriteOptions(include_header=False, quoting_style="none"))
