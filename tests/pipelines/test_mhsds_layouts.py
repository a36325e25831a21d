"""The releases of MHSDS: their columns exist, a file is known by its header, and layouts can be mixed."""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from pipelines.lake import Lake, write_lake
from pipelines.sources import mhsds
from pipelines.sources.aliases import LONGEST_HEADER, SourceTable, choose_layouts, spellings
from pipelines.sources.csv_files import Header, match_table
from pipelines.sources.normalise import normalise
from pipelines.tables import PERSON_TABLES, TABLES
from tests.tiny_extract import Rows, read_all, write_csv

DATA = Path(__file__).parents[1] / "data"
SPEC = DATA / "mhsds_columns"

# Every table has its own primary key MHSnnnUniqID and the keys of DOMAIN B2, which the lists leave out of most tables.
KEY = re.compile(r"MHS\d{3}UniqID|OrgIDProv|UniqMonthID|RecordNumber|(NHSE)?UniqSubmissionID|.*Submission_?Flag")
PERSON_KEYS = {"Person_ID", "Der_Person_ID", "TokenID", "Token_Person_ID", "UniqMHSDSPersID"}
# No public code names these; they are read where they stand, as in the two other tables of leave.
AS_IN_OTHER_LEAVE = {
    ("MHS511AbsenceWithoutLeave", name) for name in ("UniqHospProvSpellID", "UniqHospProvSpellNum", "UniqWardStayID")
}

IN_THE_SAMPLES = {("MHS404CommTreatOrder", "ExpiryDateCommTreatOrd")}  # and in DOMAIN B4; public code reads MHS401's


def read_rows(path: Path) -> Rows:
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))


def test_every_column_of_the_alias_maps_is_one_that_public_code_reads() -> None:
    known = {(row["table"], row["column"].casefold()) for row in read_rows(SPEC / "columns.csv")}
    unknown = {
        (layout.names[0], name)
        for layout in mhsds.layouts()
        for column in layout.columns
        for choice in column.names
        for name in choice
        if not KEY.fullmatch(name) and name not in PERSON_KEYS and (layout.names[0], name.casefold()) not in known
    }
    assert unknown == AS_IN_OTHER_LEAVE | IN_THE_SAMPLES


def test_what_no_public_code_names_may_be_absent() -> None:
    for layout in mhsds.layouts():
        for column in layout.columns:
            if {(layout.names[0], name) for choice in column.names for name in choice} & AS_IN_OTHER_LEAVE:
                assert column.may_be_absent


@pytest.mark.parametrize("release", mhsds.RELEASES)
def test_every_release_feeds_every_table_of_mhsds(release: str) -> None:
    fed = {layout.target.name for layout in mhsds.layouts() if layout.release == release}
    other_sources = {"person", "observation_period", "hospital_episode", "emergency_attendance", "death"}
    assert set(PERSON_TABLES) - other_sources <= fed


@pytest.mark.parametrize("release", mhsds.RELEASES)
def test_no_header_could_be_two_columns_of_a_table(release: str) -> None:
    for layout in mhsds.layouts():
        owners: dict[str, set[str]] = defaultdict(set)
        for column in layout.columns:
            names = {*column.also, *(name for choice in column.names for name in choice)}
            for text in {text for name in names for text in spellings(name)}:
                owners[text].add(column.column.name)
        assert {text: names for text, names in owners.items() if len(names) > 1} == {}


def header_of(names: list[str]) -> Header:
    return Header(tuple(names), ",", True)


def recognise(table: str, names: list[str]) -> SourceTable:
    """The layout of a file that stands alone in its extract."""
    choices = [layout for layout in mhsds.layouts() if table in layout.names]
    return choose_layouts([(header_of(names), choices)])[0]


KEYS = ["Person_ID", "RecordNumber", "OrgIDProv", "UniqMonthID"]


@pytest.mark.parametrize(
    ("release", "table", "names"),
    [
        (
            "mhsds_v4",
            "MHS501HospProvSpell",
            "UniqServReqID UniqHospProvSpellNum StartDateHospProvSpell SourceAdmCodeHospProvSpell "
            "AdmMethCodeHospProvSpell DischDateHospProvSpell DischMethCodeHospProvSpell DischDestCodeHospProvSpell",
        ),
        (
            "mhsds_v5",
            "MHS501HospProvSpell",
            "UniqServReqID UniqHospProvSpellID StartDateHospProvSpell SourceAdmMHHospProvSpell "
            "MethAdmMHHospProvSpell DischDateHospProvSpell MethOfDischMHHospProvSpell DestOfDischHospProvSpell",
        ),
        ("mhsds_v4", "MHS201CareContact", "UniqServReqID UniqCareContID CareContDate AttendOrDNACode ConsMediumUsed"),
        ("mhsds_v5", "MHS201CareContact", "UniqServReqID UniqCareContID CareContDate AttendOrDNACode ConsMechanismMH"),
        ("mhsds_v6", "MHS201CareContact", "UniqServReqID UniqCareContID CareContDate AttendStatus ConsMechanismMH"),
        ("mhsds_v4", "MHS604PrimDiag", "UniqServReqID DiagSchemeInUse PrimDiag DiagDate"),
        ("mhsds_v5", "MHS604PrimDiag", "UniqServReqID DiagSchemeInUse PrimDiag CodedDiagTimestamp"),
        ("mhsds_v6", "MHS202CareActivity", "UniqCareContID Procedure"),
        ("mhsds_v6", "MHS102ServiceTypeReferredTo", "UniqServReqID UniqOtherCareProfTeamLocalID NHSEUniqSubmissionID"),
        ("mhsds_v5", "MHS102ServiceTypeReferredTo", "UniqServReqID UniqCareProfTeamID ServTeamTypeRefToMH"),
    ],
)
def test_a_file_is_known_by_its_header(release: str, table: str, names: str) -> None:
    layout = recognise(table, [*KEYS, *names.split()])
    assert (layout.release, layout.missing(header_of([*KEYS, *names.split()]))) == (release, [])


def dars_files() -> dict[str, list[str]]:
    files: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(SPEC / "dars_headers.csv"):
        files[row["file"]].append(row["header"])
    return files


@pytest.mark.parametrize(
    ("start", "canonical", "found"),
    [
        ("mhs001mpi", "person_month", {"person_id": "tokenid", "lsoa_code": "lsoa2011"}),
        ("mhs101referral", "referral", {"person_id": "tokenid", "referral_id": "uniqservreqid_deid"}),
        ("mhs201carecontact", "contact", {"contact_id": "uniqcarecontid_deid", "mechanism_code": "consmechanismmh"}),
        ("mhs202careactivity", "care_activity", {"contact_id": "uniqcarecontid_deid"}),
    ],
)
def test_a_real_dars_extract_is_known(start: str, canonical: str, found: dict[str, str]) -> None:
    file, names = next((file, names) for file, names in dars_files().items() if file.startswith(start))
    table = match_table(file, [name for layout in mhsds.layouts() for name in layout.names])
    assert table is not None
    layout = recognise(table, names)
    assert (layout.target.name, layout.missing(header_of(names))) == (canonical, [])
    read = {column.column.name: column.headers(header_of(names)) for column in layout.columns}
    assert {name: read[name] for name in found} == {name: (header,) for name, header in found.items()}
    assert read["record_id"] == ()


def test_how_a_dars_extract_writes_a_name() -> None:
    assert spellings("UniqServReqID") == ("uniqservreqid", "uniqservreqid_deid")
    # 29 characters; with _deid 34, of which 32 are left.
    assert spellings("MHActLegalStatusClassPeriodId")[-1] == "mhactlegalstatusclassperiodid_de"
    # countattendedcarecontactsinfinan stands in the real header for a longer name.
    assert "countattendedcarecontactsinfinan" in spellings("CountAttendedCareContactsInFinancialYear")


def test_a_file_of_another_kind_cannot_do_without_its_record_numbers() -> None:
    names = ["Person_ID", "OrgIDProv", "UniqMonthID", "UniqServReqID", "ReferralRequestReceivedDate", "ServDischDate"]
    layout = recognise("MHS101Referral", names)
    assert [column.column.name for column in layout.missing(header_of(names))] == ["record_id"]
    names[0] = "tokenid"
    assert layout.missing(header_of(names)) == []


# One extract in version 6 layout, written again with the names that other layouts have for the same columns (DOMAIN B3,
# columns.csv). It is the small sample, with rows for the tables that it lacks.

EXTRACT = DATA / "mhsds_mini_v6"
V5_NAMES = {
    "MHAdmittedPatientClass": "HospitalBedTypeMH",
    "AttendStatus": "AttendOrDNACode",
    "Procedure": "CodeProcAndProcStatus",
    "StartDateClinReadyforDisch": "StartDateDelayDisch",
    "EndDateClinReadyforDisch": "EndDateDelayDisch",
    "MHS518UniqID": "MHS504UniqID",
}
V4_NAMES = V5_NAMES | {
    "UniqHospProvSpellID": "UniqHospProvSpellNum",
    "SourceAdmMHHospProvSpell": "SourceAdmCodeHospProvSpell",
    "MethAdmMHHospProvSpell": "AdmMethCodeHospProvSpell",
    "MethOfDischMHHospProvSpell": "DischMethCodeHospProvSpell",
    "DestOfDischHospProvSpell": "DischDestCodeHospProvSpell",
    "ConsMechanismMH": "ConsMediumUsed",
    "AccommodationType": "AccommodationStatusCode",
    "AccommodationTypeDate": "AccommodationStatusDate",
    "CodedDiagTimestamp": "DiagDate",
    "AssToolCompTimestamp": "AssToolCompDate",
    "UniqWardCode": "WardCode",
}
Extract = dict[str, Rows]  # rows by table, of one year


def read_year(year: int) -> Extract:
    """The sample's tables of one year, with rows for those it lacks."""
    tables = {
        path.name.removesuffix(f"_{year}.csv"): read_rows(path) for path in sorted(EXTRACT.glob(f"MHS*_{year}.csv"))
    }
    wards, contacts, periods = (tables[name] for name in ("MHS502WardStay", "MHS201CareContact", "MHS401MHActPeriod"))
    people = tables["MHS001MPI"]
    for row in tables["MHS102ServiceTypeReferredTo"]:
        row["ReferClosReason"] = "3" if row["ReferClosureDate"] else ""  # a code that lost its nought
    spell = {"UniqHospProvSpellID": "UniqHospProvSpellID"}
    ward = spell | {"UniqWardStayID": "UniqWardStayID"}
    made = {
        "MHS202CareActivity": derive(contacts, {"UniqCareContID": "UniqCareContID"}, Procedure="718026005:363589002=1"),
        "MHS008CarePlanType": derive(
            wards,
            {"UniqCarePlanID": "UniqWardStayID", "CarePlanCreatDate": "StartDateWardStay"},
            CarePlanLastUpdateDate="",
            CarePlanTypeMH="10",
        ),
        "MHS507SelfHarm": derive(people, {}),
        "MHS513SubstanceMisuse": derive(people, {}),
        "MHS510LeaveOfAbsence": derive(
            wards, ward | {"StartDateMHLeaveAbs": "StartDateWardStay", "EndDateMHLeaveAbs": "EndDateWardStay"}
        ),
        "MHS511AbsenceWithoutLeave": derive(
            wards, ward | {"StartDateMHAbsWOLeave": "StartDateWardStay", "EndDateMHAbsWOLeave": "EndDateWardStay"}
        ),
        "MHS518ClinReadyforDischarge": derive(
            wards,
            spell | {"StartDateClinReadyforDisch": "StartDateWardStay", "EndDateClinReadyforDisch": "EndDateWardStay"},
        ),
        "MHS701CPACareEpisode": derive(
            wards, {"UniqCPAEpisodeID": "UniqWardStayID", "StartDateCPA": "StartDateWardStay"}, EndDateCPA=""
        ),
        "MHS801ClusterTool": derive(wards, {"UniqClustID": "UniqWardStayID", "AssToolCompDate": "StartDateWardStay"}),
        "MHS802ClusterAssess": derive(
            wards, {"UniqClustID": "UniqWardStayID"}, CodedAssToolType="979641000000103", PersScore="3"
        ),
    }
    for table, order in (
        ("MHS403ConditionalDischarge", "MHCondDisch"),
        ("MHS405CommTreatOrderRecall", "CommTreatOrdRecall"),
    ):
        made[table] = derive(
            periods,
            {"UniqMHActEpisodeID": "UniqMHActEpisodeID", f"StartDate{order}": "StartDateMHActLegalStatusClass"},
            **{f"EndDate{order}": ""},
        )
    for name, rows in made.items():
        tables[name] = [{f"{name[:6]}UniqID": str(n)} | row for n, row in enumerate(rows)]
    return {name: rows for name, rows in tables.items() if rows}


def derive(rows: Rows, named: dict[str, str], **same: str) -> Rows:
    """A row for each of `rows`: its keys, some of its cells under other names, and some cells that are the same."""
    return [{key: row[key] for key in KEYS} | {new: row[old] for new, old in named.items()} | same for row in rows]


def as_v6(tables: Extract) -> Extract:
    return tables


def as_v5(tables: Extract, names: dict[str, str] = V5_NAMES) -> Extract:
    """Team types and sites beside the rows they belong to, main teams among the others, older names."""
    types = {
        (row["NHSEUniqSubmissionID"], row["UniqCareProfTeamLocalID"]): row["ServTeamTypeMH"]
        for row in tables["MHS902ServiceTeamDetails"]
    }
    sites = {
        (row["NHSEUniqSubmissionID"], row["UniqWardCode"]): row["SiteIDOfWard"] for row in tables["MHS903WardDetails"]
    }
    older = {name: [dict(row) for row in rows] for name, rows in tables.items() if name[:6] not in {"MHS902", "MHS903"}}
    older["MHS504DelayedDischarge"] = older.pop("MHS518ClinReadyforDischarge", [])
    for row in older["MHS502WardStay"]:
        row["SiteIDOfTreat"] = sites.get((row["NHSEUniqSubmissionID"], row["UniqWardCode"]), "")
    older["MHS102ServiceTypeReferredTo"] = [
        {"MHS102UniqID": row["MHS102UniqID"]}
        | team_row(row, row["UniqOtherCareProfTeamLocalID"], types, row["ReferClosureDate"], row["ReferClosReason"])
        for row in older["MHS102ServiceTypeReferredTo"]
    ] + [
        {"MHS102UniqID": f"main {row['MHS101UniqID']}"}
        | team_row(row, row["UniqCareProfTeamLocalID"], types, row["ServDischDate"], row["ReferClosReason"])
        for row in older["MHS101Referral"]
        if row["UniqCareProfTeamLocalID"]
    ]
    for row in older["MHS101Referral"]:
        del row["UniqCareProfTeamLocalID"]
    renamed = {
        name: [
            {names.get(key, key): cell for key, cell in row.items() if key != "NHSEUniqSubmissionID"} for row in rows
        ]
        for name, rows in older.items()
    }
    return {name: rows for name, rows in renamed.items() if rows}


def team_row(
    row: dict[str, str], team: str, types: dict[tuple[str, str], str], closed: str, reason: str
) -> dict[str, str]:
    cells = {key: row[key] for key in (*KEYS, "UniqServReqID")}
    kind = types.get((row["NHSEUniqSubmissionID"], team), "")
    closing = {"ReferClosureDate": closed, "ReferClosReason": reason}
    return cells | {"UniqCareProfTeamID": team, "ServTeamTypeRefToMH": kind} | closing


def as_v4(tables: Extract) -> Extract:
    return as_v5(tables, V4_NAMES)


def as_dars(tables: Extract) -> Extract:
    """Version 5 as DARS sends it: lower case, hashed ids, at most 32 characters; no record numbers, no row ids."""

    def spelled(name: str) -> str:
        hashed = name.startswith("Uniq") and name != "UniqMonthID"
        text = "tokenid" if name == "Person_ID" else name.lower() + ("_deid" if hashed else "")
        return text[:LONGEST_HEADER]

    dropped = re.compile(r"RecordNumber|MHS\d{3}UniqID")
    return {
        f"{name.lower()}_pseudo_dars": [
            {spelled(key): cell for key, cell in row.items() if not dropped.fullmatch(key)} for row in rows
        ]
        for name, rows in as_v5(tables).items()
    }


YEARS = {2014: as_v4, 2015: as_dars, 2016: as_v5, 2017: as_v6, 2018: as_dars, 2019: as_v4}


def load_years(folder: Path, layouts: dict[int, Callable[[Extract], Extract]]) -> Lake:
    source = folder / "source"
    source.mkdir(parents=True)
    for year, write_as in layouts.items():
        for name, rows in write_as(read_year(year)).items():
            write_csv(source / f"{name}_{year}.csv", rows)
    return write_lake(source, folder / "lake", n_buckets=2)


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Lake]:
    """The extract in version 6 alone, and with a layout for each year."""
    folder = tmp_path_factory.mktemp("layouts")
    return load_years(folder / "one", dict.fromkeys(YEARS, as_v6)), load_years(folder / "mixed", YEARS)


def test_the_files_are_what_they_were_written_as(lakes: tuple[Lake, Lake]) -> None:
    releases: dict[int, set[str]] = defaultdict(set)
    for file in lakes[1].manifest["files"]:
        if file["table"] in {"spell", "contact", "ward_stay"}:
            releases[int(file["file"][-8:-4])].add(file["release"])
    assert "mhsds_v4" in releases[2014]
    # The columns of spells are the same in versions 5 and 6, and files of both are there.
    assert releases[2016] == releases[2015] == {"mhsds_v5", "mhsds_v5 or mhsds_v6"}
    assert releases[2017] == {"mhsds_v6", "mhsds_v5 or mhsds_v6"}


@pytest.mark.parametrize("table", [name for name in PERSON_TABLES if name in {t.target.name for t in mhsds.layouts()}])
def test_layouts_in_one_extract_give_the_tables_of_one_layout(lakes: tuple[Lake, Lake], table: str) -> None:
    # A DARS extract has no row ids and no record numbers.
    compared = [name for name in TABLES[table].schema.names() if name not in {"row_id", "record_id"}]
    one, mixed = (read_all(lake, table).select(compared).sort(compared, nulls_last=True) for lake in lakes)
    assert one.height > 0
    assert mixed.equals(one)


def test_nothing_is_lost_on_the_way(lakes: tuple[Lake, Lake]) -> None:
    for lake in lakes:
        assert {file["rows_quarantined"] for file in lake.manifest["files"]} == {0}
        assert lake.manifest["notes"] == {}


def test_rows_of_a_dars_month_are_joined_by_person_provider_and_month(lakes: tuple[Lake, Lake]) -> None:
    mixed = lakes[1]
    activity = read_all(mixed, "care_activity")
    assert activity["procedure_code"].unique().to_list() == ["718026005"]
    assert activity["activity_date"].null_count() == 0
    assessment = read_all(mixed, "assessment").filter(pl.col("tool_code") == "979641000000103")
    assert assessment["assessment_date"].null_count() == 0


SAMPLE = {"id": "1", "code": "1", "text": "1", "int": "1402", "date": "2017-05-01"}
PADDED = {
    # canonical column: table, header by release (4, 5, 6), and the code lists of DOMAIN B5, B7, B9, B10
    "contact.attendance_code": ("MHS201CareContact", ("AttendOrDNACode", "AttendOrDNACode", "AttendStatus"), "234567"),
    "spell.discharge_method_code": (
        "MHS501HospProvSpell",
        ("DischMethCodeHospProvSpell", "MethOfDischMHHospProvSpell", "MethOfDischMHHospProvSpell"),
        "12346789",
    ),
    "ward_stay.bed_class_code": (
        "MHS502WardStay",
        ("HospitalBedTypeMH", "HospitalBedTypeMH", "MHAdmittedPatientClass"),
        [str(code) for code in range(10, 41)],
    ),
    "person_month.gender_code": ("MHS001MPI", ("GenderIDCode", "GenderIDCode", "GenderIDCode"), "1234"),
}


def read_codes(release: str, table: str, header: str, column: str, codes: Sequence[str]) -> list[str | None]:
    """What becomes of the codes under a header of a release, in rows that have all else they cannot do without."""
    layout = next(layout for layout in mhsds.layouts() if (layout.release, layout.names[0]) == (release, table))
    needed = {c.names[0][0]: SAMPLE[c.column.kind] for c in layout.columns if c.column.required}
    cells = {name.casefold(): [value] * len(codes) for name, value in needed.items()}
    raw = pl.DataFrame({**cells, header.casefold(): list(codes), "_line": range(2, len(codes) + 2)})
    header_line = Header(tuple(name for name in raw.columns if name != "_line"), ",", has_rows=True)
    return normalise(raw, header_line, layout).rows[column].to_list()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", PADDED)
def test_a_padded_code_means_what_the_code_means(name: str, place: int) -> None:
    table, headers, codes = PADDED[name]
    release = ("mhsds_v4", "mhsds_v5", "mhsds_v6")[place]
    column = name.split(".")[1]
    padded = [f"0{code}" for code in codes]
    assert read_codes(release, table, headers[place], column, padded) == list(codes)
    assert read_codes(release, table, headers[place], column, list(codes)) == list(codes)


@pytest.mark.parametrize(
    ("table", "header", "column"),
    [
        ("MHS401MHActPeriod", "NHSDLegalStatus", "legal_code"),
        ("MHS201CareContact", "ConsMechanismMH", "mechanism_code"),
        ("MHS603ProvDiag", "DiagSchemeInUse", "scheme_code"),
        ("MHS604PrimDiag", "DiagSchemeInUse", "scheme_code"),
        ("MHS605SecDiag", "DiagSchemeInUse", "scheme_code"),
        ("MHS404CommTreatOrder", "CommTreatOrdEndReason", "end_reason_code"),
    ],
)
def test_a_nought_that_belongs_to_the_code_is_never_taken_and_is_given_back(
    table: str, header: str, column: str
) -> None:
    codes = ["01", "02", "1", "2", "9", "10", "98", "ZZ"]
    assert read_codes("mhsds_v5", table, header, column, codes) == ["01", "02", "01", "02", "09", "10", "98", "ZZ"]


def test_employment_is_known_with_and_without_its_nought() -> None:
    assert read_codes("mhsds_v5", "MHS004EmpStatus", "EmployStatus", "employment_code", ["1", "01", "8", "ZZ"]) == [
        "01",
        "01",
        "08",
        "ZZ",
    ]
