"""What programs write where they have no value (NULL, \\N, NA) is nothing in every text source, and is counted."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.sources.csv_files import Header, Letters, Piece, read_batches, read_header
from pipelines.sources.normalise import MISSING_TEXTS
from pipelines.sources.participants import read_participants
from pipelines.sources.pseudonyms import fingerprint_of
from pipelines.tables import PERSON_TABLES
from tests.tiny_extract import CONTACT, PERSON, SPELL, WARD, Rows, account, load, read_all, read_quarantine

LEGAL = {
    "MHS401UniqID": "1",
    "Person_ID": "Anna",
    **{key: CONTACT[key] for key in ("RecordNumber", "OrgIDProv", "UniqMonthID")},
    "UniqMHActEpisodeID": "E1",
    "MHActLegalStatusClassPeriodId": "L1",
    "LegalStatusCode": "02",
    "NHSDLegalStatus": "",
    "StartDateMHActLegalStatusClass": "2017-05-02",
    "EndDateMHActLegalStatusClass": "",
}


def holes(text: str) -> dict[str, Rows]:
    """The tiny extract with a hole in every column that may have one, written as `text`."""
    nobody = {"Person_ID": text, "Der_Person_ID": "Anna"}
    return {
        "MHS001MPI": [PERSON | nobody | dict.fromkeys(("GenderIDCode", "MaritalStatus", "NHSDEthnicity"), text)],
        "MHS501HospProvSpell": [
            SPELL | nobody | dict.fromkeys(("DischDateHospProvSpell", "DestOfDischHospProvSpell"), text)
        ],
        "MHS502WardStay": [
            WARD | nobody | dict.fromkeys(("EndDateWardStay", "HospitalBedTypeMH", "WardLocDistanceHome"), text)
        ],
        "MHS201CareContact": [CONTACT | nobody | {"ConsMechanismMH": text}],
        "MHS401MHActPeriod": [
            LEGAL | nobody | dict.fromkeys(("NHSDLegalStatus", "EndDateMHActLegalStatusClass"), text)
        ],
    }


@pytest.mark.parametrize("text", [*MISSING_TEXTS, " NULL "])
def test_a_word_for_nothing_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "empty").mkdir()
    empty, said = load(tmp_path / "empty", **holes("")), load(tmp_path, **holes(text))
    for table in PERSON_TABLES:
        assert read_all(said, table).equals(read_all(empty, table)), table
    assert read_all(said, "spell")["person_id"].to_list() == ["Anna"]
    assert read_all(said, "legal_period")["legal_code"].to_list() == ["02"]
    assert account(said, "MHS501")["cells_nulled_by_rule"] == {
        "written_as_missing:DestOfDischHospProvSpell": 1,
        "written_as_missing:DischDateHospProvSpell": 1,
        "written_as_missing:Person_ID": 1,
    }
    assert account(empty, "MHS501")["cells_nulled_by_rule"] == {}


def test_a_row_of_nobody_is_set_aside(tmp_path: Path) -> None:
    rows = [CONTACT, CONTACT | {"Person_ID": "NULL", "RecordNumber": "NULL", "UniqCareContID": "C2"}]
    lake = load(tmp_path, MHS201CareContact=rows)
    assert read_all(lake, "contact")["person_id"].to_list() == ["Anna"]
    assert read_quarantine(lake)["reason"].to_list() == ["no_person"]


def test_a_column_that_a_row_needs_is_missing_and_not_unreadable(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS201CareContact=[CONTACT, CONTACT | {"CareContDate": "NULL", "UniqCareContID": "C2"}])
    assert account(lake, "MHS201")["quarantined_by_reason"] == {"missing:contact_date": 1}


def test_nobody_gets_a_pseudonym(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.lake import write_lake
    from pipelines.sources.pseudonyms import KEY
    from tests.tiny_extract import tiny, write_extract

    secret = b"a key of sixteen bytes"
    monkeypatch.setenv(KEY, secret.decode())
    rows = [CONTACT | {"Person_ID": text, "RecordNumber": ""} for text in ("Anna", "NULL", "\\N")]
    source = write_extract(tmp_path / "source", tiny(MHS201CareContact=rows))
    lake = write_lake(source, tmp_path / "lake", pseudonyms=fingerprint_of(secret))
    assert read_all(lake, "contact").height == 1


def test_hospital_rows_bridges_mergers_and_areas(tmp_path: Path) -> None:
    episodes = {"ENCRYPTED_HESID": "Anna", "PROCODE3": "RX1", "EPISTART": "2017-05-02", "EPIEND": "2017-05-09"}
    episodes |= {"ADMIDATE": "2017-05-02", "DISDATE": "NULL", "ADMIMETH": "21", "MAINSPEF": "100", "TRETSPEF": "100"}
    episodes |= {"DIAG_01": "K35", "DIAG_02": "NULL", "DIAG_03": "NULL", "SEX": "2"}
    lake = load(
        tmp_path,
        HES_APC=[episodes, episodes | {"ENCRYPTED_HESID": "NULL"}],
        ONS_deaths=[{"ENCRYPTED_HESID": "Anna", "DOD": "NULL", "DOR": "2018-01-02", "CAUSE_OF_DEATH": "NULL"}],
        person_bridge=[{"old_person_id": "old", "new_person_id": "NULL"}],
        provider_successors=[{"OldOrgCode": "RX1", "NewOrgCode": "NULL", "EffectiveDate": "NULL"}],
        imd_lookup=[{"LSOA2011": "NULL", "IMD2015Decile": "1", "IMD2019Decile": "1"}],
    )
    (episode,) = read_all(lake, "hospital_episode").to_dicts()
    assert (episode["person_id"], episode["discharge_date"], episode["all_diagnosis_codes"]) == ("Anna", None, "K35")
    (death,) = read_all(lake, "death").to_dicts()
    assert (death["death_date"].isoformat(), death["cause_code"]) == ("2018-01-02", None)
    for file in ("person_bridge", "provider_successors", "imd_lookup"):
        assert account(lake, file)["rows_quarantined"] == 1


def test_a_list_names_nobody_null(tmp_path: Path) -> None:
    path = tmp_path / "participants.csv"
    header = "person_id,arm,site,allocation_date,index_spell_id,consent_to_linkage,sessions_attended\n"
    path.write_text(header + "Anna,PEER,RX1,2017-05-20,NULL,Y,NULL\nNULL,PEER,RX1,2017-05-20,NULL,Y,3\n")
    listed, aside = read_participants(path)
    (anna,) = listed.to_dicts()
    assert (anna["person_id"], anna["index_spell_id"], anna["n_sessions"], anna["unreadable"]) == (
        "Anna",
        None,
        None,
        None,
    )
    assert aside.select("reason", "person_id").rows() == [("missing:person_id", None)]


@pytest.mark.parametrize(
    ("cells", "possible"),
    [
        (["2017-05-25", "2017-05-26"], set()),
        (["RX1", "RBA"], set()),
        (["P1537132", ""], set()),
        (["5", "3"], set()),
        (["1402", "NULL"], {"NULL"}),
        (["2.5", "."], {"."}),
    ],
)
def test_columns_that_cannot_hold_such_a_word_are_not_looked_through(
    tmp_path: Path, cells: list[str], possible: set[str]
) -> None:
    """The check that keeps a load of 20 million rows as fast as it was; a word of a column is never overlooked."""
    path = tmp_path / "file.csv"
    path.write_text("A,B\n" + "".join(f"{cell},x\n" for cell in cells))
    header = read_header(path)
    (batch,) = read_batches(path, header, Piece("utf-8"))
    found = {text for text in MISSING_TEXTS if batch.printable["a"].may_hold(text)}
    assert found == possible
    assert {cell for cell in cells if cell in MISSING_TEXTS} <= found


def test_letters_of_a_column_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_text("A,B\n,x\n,y\n")
    (batch,) = read_batches(path, Header(("A", "B"), ",", has_rows=True), Piece("utf-8"))
    assert batch.printable["a"] == Letters(0, 0, 0, 0)
    assert batch.rows["a"].to_list() == [None, None]
    assert not any(map(batch.printable["a"].may_hold, MISSING_TEXTS))
    assert isinstance(batch.rows, pl.DataFrame)
