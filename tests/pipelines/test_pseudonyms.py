"""Keyed pseudonyms: HMAC-SHA-256 by its published vectors; no clear id anywhere; the same in extract and list."""

import hmac
import json
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from pipelines.errors import SourceError
from pipelines.lake import Lake, write_lake
from pipelines.sources import mhsds, pseudonyms
from pipelines.sources.csv_files import Batch, Header, Letters
from pipelines.sources.omop import OmopSource
from pipelines.sources.participants import read_participants
from pipelines.sources.pseudonyms import KEY, KEY_FILE, conceal, fingerprint_of, key_of, pseudonymise, read_key
from pipelines.tables import PERSON_TABLES
from tests.tiny_extract import CONTACT, PERSON, SPELL, WARD, read_all, read_quarantine, tiny, write_csv, write_extract

SECRET = b"a key of more than sixteen bytes"
CLEAR = "9434765919"
HIDDEN = hmac.new(SECRET, CLEAR.encode(), "sha256").hexdigest()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_FILE, raising=False)
    monkeypatch.setenv(KEY, SECRET.decode())
    key_of.cache_clear()


def extract_of(folder: Path) -> Path:
    """The tiny extract about somebody with a clear id, with everything that sets rows aside or keeps them waiting."""
    me = {"Person_ID": CLEAR}
    contacts = [
        CONTACT | me,
        CONTACT | me | {"CareContDate": "soon", "MHS201UniqID": "2"},
        CONTACT | {"Person_ID": "", "MHS201UniqID": "3", "UniqCareContID": "C3"},
        CONTACT | {"Person_ID": "<NHS_No>", "MHS201UniqID": "4", "UniqCareContID": "C4", "RecordNumber": "no"},
        CONTACT | me | {"MHS201UniqID": "5", "ConsMechanismMH": f"01,{CLEAR}"},
    ]
    tables = tiny(
        MHS001MPI=[PERSON | me | {"NHSNumber": CLEAR, "Der_Person_ID": CLEAR}],
        MHS501HospProvSpell=[SPELL | {"Person_ID": f"  {CLEAR} "}],
        MHS502WardStay=[WARD | {"Person_ID": "0" + CLEAR}],
        MHS201CareContact=contacts,
        HES_APC=[],
        ONS_deaths=[{"ENCRYPTED_HESID": CLEAR, "DOD": "2018-01-01", "DOR": "", "CAUSE_OF_DEATH": ""}],
        person_bridge=[{"old_person_id": "0" + CLEAR, "new_person_id": CLEAR}],
    )
    del tables["HES_APC"]
    return write_extract(folder / "source", tables)


def lake_of(folder: Path, **options: bool) -> Lake:
    return write_lake(extract_of(folder), folder / "lake", n_buckets=2, pseudonyms=fingerprint_of(SECRET), **options)


def holding(folder: Path, text: str) -> list[str]:
    """Files of a folder that hold a text: in their bytes, and of Parquet and Arrow files, which are packed, in their
    cells."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pl.read_parquet(path).write_json().encode()
        elif path.suffix == ".arrow":
            with pa.ipc.open_file(path) as reader:
                content += json.dumps(reader.read_all().to_pylist(), default=str).encode()
        if text.encode() in content:
            found.append(path.relative_to(folder).as_posix())
    return found


# RFC 4231, test cases 1, 2, 6 and 7: key, data, HMAC-SHA-256. Those with data that are no text cannot be ids.
VECTORS = [
    (b"\x0b" * 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (
        b"\xaa" * 131,
        "Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
        "hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]


@pytest.mark.parametrize(("key", "text", "expected"), VECTORS)
def test_published_vectors(key: bytes, text: str, expected: str) -> None:
    ids = pl.Series("person_id", [f" {text} ", None, text])
    assert pseudonymise(ids, key).to_list() == [expected, None, expected]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("hex:" + "0b" * 20, b"\x0b" * 20),
        ("base64:CwsLCwsLCwsLCwsLCwsLCwsLCws=", b"\x0b" * 20),
        ("0b" * 20, b"0b" * 20),  # a text that looks like hex digits is still a text
        ("sixteen letters!", b"sixteen letters!"),
        ("schlüsselwörter.", "schlüsselwörter.".encode()),
    ],
)
def test_the_key_from_the_environment_and_from_a_file(tmp_path: Path, text: str, key: bytes) -> None:
    assert read_key({KEY: text}) == key
    (tmp_path / "key").write_text(f"{text}\r\n", encoding="utf-8")
    assert read_key({KEY_FILE: str(tmp_path / "key")}) == key


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, "pseudonymise = true, but the key is missing"),
        ({KEY: ""}, "pseudonymise = true, but the key is missing"),
        ({KEY: "sixteen letters!", KEY_FILE: "here"}, "pseudonymise = true, but the key is given twice"),
        ({KEY: "fifteen letters"}, f"{KEY}: the key has 15 bytes"),
        ({KEY: "hex:" + "0b" * 15}, f"{KEY}: the key has 15 bytes"),
        ({KEY: "hex:0x0b"}, f"{KEY}: what follows hex: or base64: is neither"),
        ({KEY: "base64:???"}, f"{KEY}: what follows hex: or base64: is neither"),
        ({KEY_FILE: "/no/such/file"}, f"{KEY_FILE}: the file cannot be read as text"),
    ],
)
def test_a_key_that_cannot_serve_is_refused_without_showing_it(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_key(environment)
    assert caught.value.problems == [
        f"{problem}; allowed: one of {KEY} and {KEY_FILE}, with hex:..., base64:... or a text, at least 16 bytes"
    ]


def test_every_table_the_bridge_and_the_list_have_the_same_pseudonym(tmp_path: Path) -> None:
    lake = lake_of(tmp_path)
    for table in ("person_month", "spell", "ward_stay", "contact", "death"):
        assert set(read_all(lake, table)["person_id"]) == {HIDDEN}, table
    row = {"person_id": f"{CLEAR} ", "arm": "peer", "site": "RX1", "allocation_date": "2017-05-05", "consent": "Y"}
    write_csv(tmp_path / "list.csv", [row, row | {"site": f"a,{CLEAR}"}, row])
    listed, aside = read_participants(tmp_path / "list.csv", SECRET)
    assert listed["person_id"].to_list() == [HIDDEN]
    assert aside["person_id"].to_list() == [None, HIDDEN]
    assert CLEAR not in listed.write_json() + aside.write_json()


def test_rows_are_kept_waiting_and_set_aside_as_without_pseudonyms(tmp_path: Path) -> None:
    clear = write_lake(extract_of(tmp_path), tmp_path / "clear", n_buckets=2)
    hidden = lake_of(tmp_path)
    for table in PERSON_TABLES:
        rows = read_all(clear, table)
        expected = rows.with_columns(pl.col("person_id").replace(CLEAR, HIDDEN)).sort(rows.columns)
        assert read_all(hidden, table).equals(expected), table
    reasons = read_quarantine(clear).select("file", "line", "reason")
    assert read_quarantine(hidden).select("file", "line", "reason").equals(reasons)
    assert set(reasons["reason"]) == {"bad_date:contact_date", "no_person", "malformed_line"}
    assert holding(tmp_path / "clear", CLEAR)  # or the next test could not fail


def test_no_file_of_a_lake_holds_a_clear_id_or_the_key(tmp_path: Path) -> None:
    """The person's own columns, the same id in a column nobody reads, in a malformed line and in a bridge."""
    lake = lake_of(tmp_path)
    assert read_quarantine(lake).height == 3
    assert holding(tmp_path / "lake", CLEAR) == []
    assert holding(tmp_path / "lake", SECRET.decode()) == []
    assert lake.manifest["pseudonym_key"] == fingerprint_of(SECRET)


def test_another_key_makes_everything_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lake_of(tmp_path)
    other = "another key of sixteen bytes"
    monkeypatch.setenv(KEY, other)
    second = write_lake(tmp_path / "source", tmp_path / "lake", n_buckets=2, pseudonyms=fingerprint_of(other.encode()))
    assert second.folder != first.folder
    expected = hmac.new(other.encode(), CLEAR.encode(), "sha256").hexdigest()
    assert set(read_all(second, "spell")["person_id"]) == {expected}


@pytest.mark.parametrize(
    ("there", "problem"),
    [("a worker's other key", "gives another key than the command was started with"), (None, "the key is missing")],
)
def test_a_process_with_another_key_or_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str | None, problem: str
) -> None:
    if there is None:
        monkeypatch.delenv(KEY)
    else:
        monkeypatch.setenv(KEY, there)
    with pytest.raises(SourceError, match=problem) as caught:
        write_lake(extract_of(tmp_path), tmp_path / "lake", pseudonyms=fingerprint_of(SECRET))
    assert len(caught.value.problems) == 1  # said once, however many files there are
    assert SECRET.decode() not in str(caught.value)


def test_duplicates_are_told_by_columns_that_nobody_reads(tmp_path: Path) -> None:
    """Rows that differ only there are two rows, and stay two when those columns are no more than a hash."""
    rows = [CONTACT | {"Note": note} for note in ("a", "b", "a")]
    source = write_extract(tmp_path / "source", tiny(MHS201CareContact=rows))
    lake = write_lake(source, tmp_path / "lake", pseudonyms=fingerprint_of(SECRET))
    assert read_all(lake, "contact").height == 2


def test_placeholders_stay_and_what_is_read_keeps_its_marks() -> None:
    layout = next(table for table in mhsds.layouts() if table.names[0] == "MHS201CareContact")
    header = Header(("Person_ID", "CareContDate", "Note"), ",", True)
    rows = pl.DataFrame({"person_id": [CLEAR], "carecontdate": ["2017-01-01"], "note": ["x"], "_line": [2]})
    of_dates = Letters(45, 57, 10, 10)
    batch = Batch(rows, ((3, f"{CLEAR},a"),), {"person_id": of_dates, "carecontdate": of_dates, "note": of_dates})
    hidden = conceal(batch, header, layout, SECRET)
    assert hidden.rows.columns == ["person_id", "carecontdate", "_line", pseudonyms.UNREAD]
    assert hidden.printable == {"person_id": Letters(ord("0"), ord("f"), 64, 64), "carecontdate": of_dates}
    assert hidden.malformed == ((3, pseudonyms.WITHHELD),)
    empty = rows.with_columns(person_id=pl.Series(["<NHS_No>"]))
    kept = conceal(Batch(empty, (), {}), header, layout, SECRET)
    assert kept.rows["person_id"].to_list() == ["<NHS_No>"]
    assert "person_id" not in kept.printable


MINI_CDM = Path(__file__).parents[1] / "data" / "omop_mini"


def test_people_of_a_cdm_have_pseudonyms(tmp_path: Path) -> None:
    lake = write_lake(OmopSource(MINI_CDM), tmp_path / "lake", n_buckets=2, pseudonyms=fingerprint_of(SECRET))
    people = pl.read_csv(next(MINI_CDM.glob("PERSON.csv*")), infer_schema=False).rename(str.casefold)["person_id"]
    assert read_all(lake, "person")["person_id"].to_list() == sorted(pseudonymise(people, SECRET))
    for table in ("spell", "diagnosis", "observation_period"):
        assert set(read_all(lake, table)["person_id"]) <= set(pseudonymise(people, SECRET)), table


@pytest.mark.slow
def test_a_cdm_in_a_database_has_the_same_pseudonyms_as_in_files(tmp_path: Path) -> None:
    database = tmp_path / "cdm.duckdb"
    with duckdb.connect(str(database)) as connection:
        for path in MINI_CDM.glob("*.csv*"):
            if path.name != "participants.csv":
                name = path.name.split(".")[0]
                connection.execute(f"CREATE TABLE {name} AS FROM read_csv('{path}', all_varchar = true)")
    lakes = [
        write_lake(source, tmp_path / name, n_buckets=2, pseudonyms=fingerprint_of(SECRET))
        for name, source in (("files", OmopSource(MINI_CDM)), ("tables", OmopSource(MINI_CDM, duckdb=database)))
    ]
    for table in PERSON_TABLES:
        files, tables = (read_all(lake, table) for lake in lakes)
        assert files.equals(tables), table
