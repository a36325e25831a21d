"""An extract merged from several releases has their columns side by side: in each row the one that holds a value is
read, and rows where two say two things are counted."""

from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from pipelines.lake import Lake
from pipelines.sources import mhsds
from pipelines.sources.aliases import SourceTable, choose_layouts
from pipelines.sources.csv_files import Header
from pipelines.sources.normalise import normalise
from tests.tiny_extract import CONTACT, PERSON, SPELL, WARD, Rows, account, load, read_all, read_quarantine


def differing(lake: Lake, file: str) -> dict[str, int]:
    found = account(lake, file)["rows_differing_by_columns"]
    assert isinstance(found, dict)
    return found


def renamed(row: dict[str, str], **names: str) -> dict[str, str]:
    return {names.get(key, key): cell for key, cell in row.items()}


def union(*rows: dict[str, str]) -> Rows:
    """Rows with the columns of all of them, empty where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in names} for row in rows]


V4_SPELL = {
    "UniqHospProvSpellID": "UniqHospProvSpellNum",
    "SourceAdmMHHospProvSpell": "SourceAdmCodeHospProvSpell",
    "MethAdmMHHospProvSpell": "AdmMethCodeHospProvSpell",
    "MethOfDischMHHospProvSpell": "DischMethCodeHospProvSpell",
    "DestOfDischHospProvSpell": "DischDestCodeHospProvSpell",
}


def test_spells_of_three_releases_in_one_file(tmp_path: Path) -> None:
    old = renamed(SPELL | {"MHS501UniqID": "0", "UniqHospProvSpellID": "S0"}, **V4_SPELL)
    lake = load(tmp_path, MHS501HospProvSpell=union(old, SPELL))
    spells = read_all(lake, "spell").sort("spell_id")
    assert spells["spell_id"].to_list() == ["S0", "S1"]
    for name in ("source_code", "method_code", "discharge_method_code", "destination_code"):
        assert spells[name].n_unique() == 1
        assert spells[name].null_count() == 0
    assert account(lake, "MHS501")["rows_quarantined"] == 0
    assert differing(lake, "MHS501") == {}


@pytest.mark.parametrize("medium", ["ConsMechanismMH", "ConsMediumUsed"])
def test_attendance_of_two_releases(tmp_path: Path, medium: str) -> None:
    rows = union(
        CONTACT | {"AttendOrDNACode": "3"},
        renamed(CONTACT | {"AttendOrDNACode": "03", "UniqCareContID": "C2"}, AttendOrDNACode="AttendStatus"),
        renamed(CONTACT | {"UniqCareContID": "C3"}, ConsMechanismMH=medium),
    )
    lake = load(tmp_path, MHS201CareContact=rows)
    contacts = read_all(lake, "contact").sort("contact_id")
    assert contacts["attendance_code"].to_list() == ["3", "3", "5"]
    assert contacts["mechanism_code"].to_list() == ["01", "01", "01"]


def test_bed_classes_of_two_releases_each_in_its_own_codes(tmp_path: Path) -> None:
    """The class of version 6 begins with 2 and is left alone; a padded one of the older versions is not."""
    rows = union(
        WARD | {"HospitalBedTypeMH": "010"},
        renamed(
            WARD | {"HospitalBedTypeMH": "200", "UniqWardStayID": "W2"}, HospitalBedTypeMH="MHAdmittedPatientClass"
        ),
        WARD | {"HospitalBedTypeMH": "", "UniqWardStayID": "W3"},
    )
    lake = load(tmp_path, MHS502WardStay=rows)
    assert read_all(lake, "ward_stay").sort("ward_stay_id")["bed_class_code"].to_list() == ["10", "200", None]


def test_rows_where_two_columns_say_two_things_are_counted_and_the_first_stands(tmp_path: Path) -> None:
    rows = [
        CONTACT | {"UniqCareContID": f"C{n}", "AttendOrDNACode": old, "AttendStatus": new}
        for n, (old, new) in enumerate([("5", "3"), ("5", "05"), ("", "3"), ("3", ""), ("3", "NULL"), ("6", "5")])
    ]
    lake = load(tmp_path, MHS201CareContact=rows)
    assert read_all(lake, "contact").sort("contact_id")["attendance_code"].to_list() == ["5", "5", "3", "3", "3", "6"]
    assert differing(lake, "MHS201") == {"AttendOrDNACode and AttendStatus": 2}


def test_two_items_that_complete_each_other_do_not_differ(tmp_path: Path) -> None:
    """Gender and GenderIDCode are two items, of which one is preferred: see the alias map."""
    lake = load(tmp_path, MHS001MPI=[PERSON | {"Gender": "1", "GenderIDCode": "2"}])
    assert read_all(lake, "person_month")["gender_code"].to_list() == ["2"]
    assert differing(lake, "MHS001") == {}


def test_people_of_a_dars_part_and_of_another(tmp_path: Path) -> None:
    dars = renamed(CONTACT | {"RecordNumber": "", "Person_ID": "Ben"}, Person_ID="TokenID")
    lake = load(tmp_path, MHS201CareContact=union(CONTACT, dars))
    contacts = read_all(lake, "contact").sort("person_id")
    assert contacts["person_id"].to_list() == ["Anna", "Ben"]
    assert contacts["record_id"].to_list() == ["100", "Ben RX1 1406"]


@pytest.mark.parametrize("der", ["Anna", ""])
def test_ids_of_another_numbering_do_not_fill_the_gaps_of_an_id(tmp_path: Path, der: str) -> None:
    ids = {"Person_ID": "", "UniqMHSDSPersID": "4711", "Der_Person_ID": der}
    lake = load(tmp_path, MHS201CareContact=[CONTACT | ids])
    assert read_all(lake, "contact")["person_id"].to_list() == ["Anna"]  # else through the record number


def test_teams_and_sites_of_two_releases(tmp_path: Path) -> None:
    keys = {key: CONTACT[key] for key in ("Person_ID", "RecordNumber", "OrgIDProv", "UniqMonthID", "UniqServReqID")}
    closed = {"ReferClosureDate": "", "ReferRejectionDate": ""}
    old = keys | closed | {"UniqCareProfTeamID": "T1", "ServTeamTypeRefToMH": "A02"}
    new = keys | closed | {"UniqOtherCareProfTeamLocalID": "T2", "NHSEUniqSubmissionID": "9"}
    detail = {"NHSEUniqSubmissionID": "9", "UniqMonthID": "1406", "UniqCareProfTeamLocalID": "T2"}
    ward = {"NHSEUniqSubmissionID": "9", "UniqMonthID": "1406", "UniqWardCode": "U2", "SiteIDOfWard": "RX102"}
    v6_ward = renamed(
        WARD | {"HospitalBedTypeMH": "200", "UniqWardStayID": "W2"}, HospitalBedTypeMH="MHAdmittedPatientClass"
    )
    lake = load(
        tmp_path,
        MHS102OtherServiceType=union(old, new),  # the name of version 6
        MHS902ServiceTeamDetails=[detail | {"ServTeamTypeMH": "A11"}],
        MHS502WardStay=union(
            WARD | {"SiteIDOfTreat": "RX101"}, v6_ward | {"UniqWardCode": "U2", "NHSEUniqSubmissionID": "9"}
        ),
        MHS903WardDetails=[ward],
    )
    teams = read_all(lake, "referral_team").sort("team_id")
    assert teams.select("team_id", "team_type_code").rows() == [("T1", "A02"), ("T2", "A11")]
    wards = read_all(lake, "ward_stay").sort("ward_stay_id")
    assert wards.select("bed_class_code", "site_code").rows() == [("10", "RX101"), ("200", "RX102")]


def test_no_row_is_set_aside_for_an_empty_column_beside_a_full_one(tmp_path: Path) -> None:
    rows = union(CONTACT, renamed(CONTACT | {"OrgIDProv": "RX1"}, UniqCareContID="uniqcarecontid_deid"))
    lake = load(tmp_path, MHS201CareContact=rows)
    assert read_all(lake, "contact").height == 2
    assert read_quarantine(lake).is_empty()


def of_table(table: str, pair: tuple[str, str]) -> list[SourceTable]:
    return [layout for layout in mhsds.layouts() if table in layout.names and layout.release in pair]


TABLES_OF_TWO = [
    (table, pair)
    for table in sorted({name for layout in mhsds.layouts() for name in layout.names})
    for pair in combinations(mhsds.RELEASES, 2)
    if len(of_table(table, pair)) == len(pair)
]


@pytest.mark.parametrize(("table", "pair"), TABLES_OF_TWO, ids=str)
def test_every_column_of_two_releases_is_read_from_their_union(table: str, pair: tuple[str, str]) -> None:
    """A file with the headers of two releases; each row is filled as in one of them, and gives what it gives alone."""
    layouts = of_table(table, pair)
    own = [[choice[0] for column in layout.columns for choice in column.names] for layout in layouts]
    names = list(dict.fromkeys(name for headers in own for name in headers))
    (chosen,) = choose_layouts([(Header(tuple(names), ",", has_rows=True), layouts)])
    for layout, headers in zip(layouts, own, strict=True):
        alone = read_row(layout, headers, headers)
        beside = read_row(chosen, names, headers)
        shared = [name for name in alone.columns if name in beside.columns and name != "_raw"]
        assert set(layout.target.schema) <= set(shared)
        assert beside.select(shared).equals(alone.select(shared)), (layout.release, chosen.release)


def read_row(layout: SourceTable, names: list[str], filled: list[str]) -> pl.DataFrame:
    """One row under all of the names, filled under some: dates and numbers where they are wanted, else the name."""
    kinds = {
        name: column.column.kind
        for other in mhsds.layouts()
        if other.names[0] == layout.names[0]
        for column in other.columns
        for choice in column.names
        for name in choice
    }
    sample = {"date": "2017-05-01", "int": "1406", "float": "3"}
    accepted = {"GenderIDCode": "2"}
    cells = {
        name.casefold(): [accepted.get(name, sample.get(kinds[name], name)) if name in filled else None]
        for name in names
    }
    raw = pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String)).with_columns(_line=pl.lit(2, pl.Int64))
    result = normalise(raw, Header(tuple(names), ",", has_rows=True), layout)
    assert result.quarantined.is_empty()
    return result.rows
