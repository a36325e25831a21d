"""A file of a source folder is read, or refused because it looks like records, or named: none is passed over unseen."""

import bz2
import gzip
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.lake import check_source, write_lake
from pipelines.sources.csv_files import match_table
from pipelines.sources.omop import OmopSource
from tests.tiny_extract import CONTACT, account, read_all, tiny, write_csv, write_extract

DEATH = {"ENCRYPTED_HESID": "Anna", "DOD": "2017-06-01", "CAUSE_OF_DEATH": "X70"}
SHARED_HES = Path(__file__).parents[1] / "data" / "nhs_artificial_hes"


def source_of(folder: Path) -> Path:
    return write_extract(folder / "source", tiny(MHS201CareContact=[CONTACT]))


def contacts(source: Path) -> Path:
    return source / "MHS201CareContact_2017.csv"


@pytest.mark.parametrize(
    "name",
    [
        "MHS201CareContact2017.csv",
        "MHS201CareContact.csv",
        "MHS201_CareContact.csv",
        "MHS201_CareContact_2017.csv",
        "MHS201_Care_Contact-2017.txt",
        "mhs201 carecontact 2017.TSV",
        "dbo.MHS201CareContact.csv",
        "MHSDS.dbo.MHS201CareContact_2017.csv",
    ],
)
def test_names_that_are_read(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path)
    contacts(source).rename(source / name)
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "contact")["contact_id"].to_list() == ["C1"]
    assert account(lake, name)["rows_read"] == 1


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("MHS502WardStay2018.csv", "MHS502WardStay"),
        ("MHS502WardStayOld.csv", None),
        ("MHS502WardStay(1).csv", None),
        ("old.MHS502WardStay.csv", None),
        ("NIC1_MHS502WardStay.csv", None),
        ("MHS502WardStay.dat", None),
    ],
)
def test_what_a_name_must_be(name: str, table: str | None) -> None:
    assert match_table(name, ["MHS502WardStay", "MHS501HospProvSpell"]) == table


@pytest.mark.parametrize(
    "name",
    [
        "MHS201CareContact.dat",
        "MHS201CareContact",
        "MHS201CareContact.csv.bak",
        "MHS201CareContact.csv.part",
        "MHS201CareContactOld.csv",
        "MHS201.csv",
        "Copy of MHS201CareContact.csv",
        "NIC393510_MHS201CareContact_2017.csv",
        "mhs-201 contacts.csv",
        "old.MHS201CareContact.csv",
    ],
)
def test_a_file_named_like_a_table_is_never_passed_over(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path)
    contacts(source).rename(source / name)
    (problem,) = check_source(source)
    assert problem.startswith(f"{name}: looks like MHS201CareContact by its name, but is not read; allowed names: ")
    with pytest.raises(SourceError, match="but is not read"):
        write_lake(source, tmp_path / "lake")


def as_parquet(path: Path) -> None:
    pl.read_csv(path, infer_schema=False).write_parquet(path.with_suffix(".parquet"))


def as_workbook(path: Path) -> None:
    pl.read_csv(path, infer_schema=False).write_excel(path.with_suffix(".xlsx"))


def as_bz2(path: Path) -> None:
    path.with_suffix(".csv.bz2").write_bytes(bz2.compress(path.read_bytes()))


def as_nested_zip(path: Path) -> None:
    inner = path.with_suffix(".zip")
    with zipfile.ZipFile(inner, "w") as target:
        target.write(path, path.name)
    with zipfile.ZipFile(path.with_name("delivery.zip"), "w") as target:
        target.write(inner, "part.zip")
    inner.unlink()


@pytest.mark.parametrize("pack", [as_parquet, as_workbook, as_bz2, as_nested_zip])
def test_a_table_of_a_kind_that_is_not_read(tmp_path: Path, pack: Callable[[Path], None]) -> None:
    source = source_of(tmp_path)
    pack(contacts(source))
    contacts(source).unlink()
    (problem,) = check_source(source)
    assert ("delivery.zip!part.zip: is an archive" if pack is as_nested_zip else "looks like MHS201") in problem


@pytest.mark.parametrize("name", ["archive.7z", "archive.rar", "archive.tar.gz", "archive.tgz"])
def test_an_archive_that_cannot_be_looked_into(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path)
    (source / name).write_bytes(b"7z\xbc\xaf\x27\x1c")
    (problem,) = check_source(source)
    assert problem.startswith(f"{name}: is an archive that is not looked into")


@pytest.mark.parametrize("ending", [".csv", ".dat", "", ".csv.gz", ".parquet"])
def test_records_under_any_name_are_known_by_their_header(tmp_path: Path, ending: str) -> None:
    source = source_of(tmp_path)
    content = contacts(source).read_bytes()
    if ending == ".parquet":
        pl.read_csv(contacts(source), infer_schema=False).write_parquet(source / "visits.parquet")
    else:
        (source / f"visits{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    (problem,) = check_source(source)
    assert problem.startswith(f"visits{ending}: has the columns of MHS201CareContact, but is not read")


def test_deaths_under_another_name(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    write_csv(source / "mortality_2017.csv", [DEATH])
    (problem,) = check_source(source)
    assert problem.startswith("mortality_2017.csv: has the columns of ONS_deaths")


@pytest.mark.parametrize("name", ["HES_2017.sas7bdat", "ons.bin", "ECDS2017.csv.bz2"])
def test_a_file_named_after_a_source_that_cannot_be_looked_into(tmp_path: Path, name: str) -> None:
    source = source_of(tmp_path)
    (source / name).write_bytes(bytes(range(256)))
    (problem,) = check_source(source)
    assert problem.startswith(f"{name}: ")


def test_what_may_lie_beside_an_extract_is_named(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    harmless = {
        "README_MHS201.md": b"MHS201",
        "MHS201CareContact_2017.csv.sha256": b"0",
        "HES_expected_columns.csv": b"table,column\nHES_APC,DIAG_01\n",
        "MHS002GP.csv": b"Person_ID,RecordNumber,OrgIDProv,UniqMonthID,GMPReg\nAnna,1,RX1,1406,G1\n",
        "MHS301GroupSession.csv": b"OrgIDProv,UniqMonthID,UniqGroupSessionID\nRX1,1406,1\n",
        "artificial_hes_op_0304.csv": b"PSEUDO_HESID,APPTDATE,ATTENDED\nAnna,2003-04-01,5\n",
        "tos_ecds.json": b"{}",
        "codes.xlsx": b"PK\x03\x04",
        "notes.txt": b"Sent on Monday.\n",
        "participants.csv": b"person_id,arm,site,allocation_date,consent_to_linkage\nAnna,peer,RX1,2017-05-10,Y\n",
    }
    for name, content in harmless.items():
        (source / name).write_bytes(content)
    (source / "truth").mkdir()
    (source / "truth" / "outcomes.parquet").write_bytes(b"PAR1")
    assert check_source(source) == []
    lake = write_lake(source, tmp_path / "lake")
    assert lake.manifest["ignored_files"] == [*sorted(harmless), "truth/"]


def test_a_part_of_the_extract_in_a_subfolder_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    (source / "2018" / "april").mkdir(parents=True)
    write_csv(source / "2018" / "april" / "MHS201CareContact.csv", [CONTACT])
    (problem,) = check_source(source)
    assert problem.startswith("2018: is a folder that holds april/MHS201CareContact.csv; subfolders are not read.")


def test_an_archive_in_a_subfolder_is_looked_into(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    (source / "more").mkdir()
    with zipfile.ZipFile(source / "more" / "a.zip", "w") as target:
        target.writestr("MHS501HospProvSpell_2018.csv", "x")
    (problem,) = check_source(source)
    assert problem.startswith("more: is a folder that holds MHS501HospProvSpell_2018.csv")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    (source / "MHS201CareContact_2018.csv").symlink_to(tmp_path / "gone.csv")
    (problem,) = check_source(source)
    assert problem.startswith("MHS201CareContact_2018.csv: cannot be opened, and is named like a file of MHS201")


def test_artificial_hes_loads_beside_its_own_documents(tmp_path: Path) -> None:
    # The names that NHS Digital's artificial HES comes with, outpatients and descriptions of columns among them.
    source = tmp_path / "source"
    source.mkdir()
    for path in SHARED_HES.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    for name in ("tos_ae.json", "tos_apc.json", "tos_deaths.json", "tos_ecds.json", "SOURCE.md"):
        (source / name).write_text("{}")
    (source / "HES_expected_columns_HFAnalyticsLab.csv").write_text("dataset,column\nAPC,ADMIDATE\n")
    lake = write_lake(source, tmp_path / "lake")
    assert sorted(file["table"] for file in lake.manifest["files"]) == ["emergency_attendance", "hospital_episode"]


# A folder of a CDM

MINI = Path(__file__).parents[1] / "data" / "omop_mini"


def cdm(folder: Path) -> Path:
    source = folder / "cdm"
    shutil.copytree(MINI, source)
    return source


def problems_of_cdm(source: Path) -> list[str]:
    return list(OmopSource(source).examine().problems)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("VISIT_OCCURRENCE_2.csv.bz2", "looks like visit_occurrence by its name"),
        ("site_a_visit_occurrence.csv", "looks like visit_occurrence by its name"),
        ("CONDITION_OCCURRENCE.xlsx", "looks like condition_occurrence by its name"),
        ("stays_of_site_b.csv.gz", "has the columns of visit_occurrence"),
        ("site_b.7z", "is an archive that is not looked into"),
    ],
)
def test_a_file_of_a_cdm_that_looks_like_records_is_refused(tmp_path: Path, name: str, what: str) -> None:
    source = cdm(tmp_path)
    shutil.copy(MINI / "VISIT_OCCURRENCE.csv.gz", source / name)
    if name.endswith("_visit_occurrence.csv"):
        (source / name).write_bytes(gzip.decompress((MINI / "VISIT_OCCURRENCE.csv.gz").read_bytes()))
    (problem,) = problems_of_cdm(source)
    assert problem.startswith(f"{name}: {what}")
    assert ".parquet" in problem or name.endswith(".7z")


def test_a_subfolder_of_a_cdm_with_records_is_refused(tmp_path: Path) -> None:
    source = cdm(tmp_path)
    (source / "part2").mkdir()
    shutil.copy(MINI / "PERSON.csv.gz", source / "part2")
    (problem,) = problems_of_cdm(source)
    assert problem.startswith("part2: is a folder that holds PERSON.csv.gz; subfolders are not read")


def test_other_tables_of_a_cdm_and_documents_are_named(tmp_path: Path) -> None:
    source = cdm(tmp_path)
    (source / "DRUG_ERA.csv").write_text("person_id,drug_concept_id,drug_era_start_date,drug_era_end_date\n1,2,,\n")
    (source / "visit_occurrence.pdf").write_bytes(b"%PDF")
    (source / "notes").mkdir()
    (source / "sites.csv").write_text("site,name\n1,A\n")
    found = OmopSource(source).examine()
    assert found.problems == ()
    others = {"SOURCE.md", "participants.csv"}
    assert set(found.ignored) == {"DRUG_ERA.csv", "visit_occurrence.pdf", "notes/", "sites.csv", *others}
