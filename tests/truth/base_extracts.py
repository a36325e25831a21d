"""Small valid extracts of every source, to be corrupted: file name -> bytes, people and record numbers they hold.

made        hand-written MHSDS version 5 with HES, ECDS and deaths; letters beyond ASCII, submissions, a bridge
pieces      the same with a month that was submitted again, its files cut into pieces of a few lines
mhsds_v5    a dozen people of tests/data/mhsds_mini_v5, one of them under an old pseudonym; some files packed
mhsds_v6    a dozen people of tests/data/mhsds_mini_v6
hes         rows of NHS Digital's artificial HES, with ECDS and deaths of the same people
omop_csv    a dozen people of tests/data/omop_mini, plain, gzip and in a zip archive
omop_parquet  the same as Parquet
"""

import csv
import gzip
import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import polars as pl

from pipelines.sources.extract import Source
from pipelines.sources.omop import OmopSource
from tests.pipelines.test_hes import ATTENDANCE, EPISODE
from tests.tiny_extract import CONTACT, PERSON, SPELL, SUBMISSION, WARD, Rows

HOUSE = Path(__file__).resolve().parents[2]
DATA = HOUSE / "tests" / "data"
N_PEOPLE = 12
PERSON_HEADERS = ("person_id", "encrypted_hesid", "token_person_id", "pseudo_hesid")
PARTICIPANTS = ("participants.csv", "participants.parquet")
_YEARS = ("_2017", "_2018")
_LEFT_OUT = ("MHS003", "MHS004", "MHS404", "MHS509", "MHS605")  # enough others of the same kind stay
_OLD = "PT0000000001"
STATEMENT = b'{"contains_real_data": false, "opt_out_applied": true}\n'


@dataclass(frozen=True)
class Base:
    """A valid extract. `people`: every id it calls somebody; `owners`: record number -> the people it belongs to;
    `bridge`: old id -> present id; `piece_bytes`: about how many bytes of a file a task reads (0: as usual)."""

    name: str
    files: Mapping[str, bytes]
    study: str
    people: frozenset[str]
    owners: Mapping[str, frozenset[str]] = field(default_factory=dict)
    bridge: Mapping[str, str] = field(default_factory=dict)
    piece_bytes: int = 0

    @property
    def is_omop(self) -> bool:
        return self.name.startswith("omop")

    def source(self, folder: Path) -> Path | Source:
        return OmopSource(folder, "any_inpatient") if self.is_omop else folder


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def unpack(name: str, content: bytes) -> bytes:
    """The text of a file; packed ones are known by the ending of their name, else by their first bytes."""
    return gzip.decompress(content) if name.endswith(".gz") or content.startswith(b"\x1f\x8b") else content


def pack(name: str, content: bytes) -> bytes:
    return gzip.compress(content, mtime=0) if name.endswith(".gz") else content


@cache
def base(name: str) -> Base:
    return BASES[name]()


def _csv(rows: Rows) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([list(rows[0]), *(list(row.values()) for row in rows)])
    return text.getvalue().encode()


def _dicts(content: bytes) -> tuple[list[str], Rows]:
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    rows = list(reader)
    return list(reader.fieldnames or ()), rows


def _person_of(row: Mapping[str, str]) -> str:
    return next((value.strip() for name, value in row.items() if name.strip().casefold() in PERSON_HEADERS), "")


def _summarise(name: str, files: dict[str, bytes], study: str, bridge: Mapping[str, str] | None = None) -> Base:
    """The people of the files that are CSV, and whose each record number is."""
    people: set[str] = set(bridge or ()) | set((bridge or {}).values())
    owners: dict[str, set[str]] = defaultdict(set)
    for file, content in files.items():
        if ".csv" in file and file not in PARTICIPANTS:
            for row in _dicts(unpack(file, content))[1]:
                person = _person_of(row)
                record = next((value for key, value in row.items() if key.strip().casefold() == "recordnumber"), "")
                if person and not person.startswith("<"):
                    people.add(person)
                    if record:
                        owners[record.strip()].add(person)
    return Base(name, files, study, frozenset(people), {k: frozenset(v) for k, v in owners.items()}, bridge or {})


def _made() -> Base:
    names = ("Anna", "Berta", "Zoë", "Dörte", "Emil", "Frida")
    people, spells, wards, contacts, scores, episodes, arrivals, deaths, ecds = ([] for _ in range(9))
    for n, person in enumerate(names):
        for month in (1406, 1407):
            record = f"77{n}{month}"
            key = {"Person_ID": person, "RecordNumber": record, "OrgIDProv": "RX1" if n < 4 else "RX2"}
            key |= {"UniqMonthID": str(month), "NHSEUniqSubmissionID": f"900{month}"}
            people.append(PERSON | key | {"MHS001UniqID": f"1{n}{month}"})
            spell = {"UniqHospProvSpellID": f"Spéll{n}", "UniqServReqID": f"Ref{n}"}
            spells.append(SPELL | key | spell | {"MHS501UniqID": f"2{n}{month}"})
            ward = {"UniqHospProvSpellID": f"Spéll{n}", "UniqWardStayID": f"W{n}", "UniqWardCode": "Ashgrove–é"}
            wards.append(WARD | key | ward | {"MHS502UniqID": f"3{n}{month}"})
            contacts.append(CONTACT | key | {"UniqCareContID": f"C{n % 2}", "MHS201UniqID": f"4{n}{month}"})
            score = {"MHS607UniqID": f"5{n}{month}", "CodedAssToolType": "979641000000103", "PersScore": str(n)}
            scores.append(score | key | {"UniqServReqID": f"Ref{n}", "UniqCareContID": f"C{n % 2}"})
        episodes.append(EPISODE | {"ENCRYPTED_HESID": person, "EPIKEY": f"6000{n}"})
        arrivals.append(ATTENDANCE | {"PSEUDO_HESID": person, "AEKEY": f"7000{n}"})
        deaths.append({"ENCRYPTED_HESID": person, "DOD": f"2019-02-1{n}", "DOR": "2019-02-20"})
        ecds.append(_ecds(person, f"2019-06-0{n + 1}"))
    spells[3]["Person_ID"] = ""  # finds its person through the record number
    wards[2]["Person_ID"] = "<NHS_No>"
    contacts[1]["Person_ID"] = _OLD
    submissions = [
        SUBMISSION
        | {"UniqMonthID": str(month), "OrgIDProvider": provider, "NHSEUniqSubmissionID": f"900{month}"}
        | {"ReportingPeriodStartDate": first, "ReportingPeriodEndDate": last}
        for month, first, last in ((1406, "2017-05-01", "2017-05-31"), (1407, "2017-06-01", "2017-06-30"))
        for provider in ("RX1", "RX2")
    ]
    files = {
        "MHS000Header_2017.csv": _csv(submissions),
        "MHS001MPI_2017.csv": _csv(people),
        "MHS501HospProvSpell_2017.csv": _csv(spells),
        "MHS502WardStay_2017.csv": _csv(wards),
        "MHS201CareContact_2017.csv": _csv(contacts),
        "MHS607CodedScoreAssessmentAct_2017.csv": _csv(scores),
        "HES_APC_2015.csv": _csv(episodes),
        "HES_AE_2015.csv": _csv(arrivals),
        "ECDS_2019.csv": _csv(ecds),
        "ONS_deaths.csv": _csv(deaths),
        "person_bridge.csv": _csv([{"old_person_id": _OLD, "new_person_id": "Anna"}]),
        "provider_successors.csv": _csv([{"OldOrgCode": "RX2", "NewOrgCode": "RX3", "EffectiveDate": "2018-01-01"}]),
        "participants.csv": _csv([_participant("Anna", "peer"), _participant("Berta", "control")]),
        "extract_manifest.json": STATEMENT,
    }
    return _summarise("made", files, "mhsds_sample_v5", {_OLD: "Anna"})


def _pieces() -> Base:
    """Whoever has rows of 1407 sent them once more, at the end of each file: no piece but the last shows it."""
    made = _made()
    files = dict(made.files)
    for name, content in made.files.items():
        if name.startswith("MHS"):
            again = [line.replace(b"9001407", b"9101407") for line in content.splitlines(True) if b"9001407" in line]
            files[name] = content + b"".join(again)
    return replace(made, name="pieces", files=files, piece_bytes=400)


def _participant(person: str, arm: str) -> dict[str, str]:
    spell = {"allocation_date": "2017-05-10", "index_spell_id": ""}
    return {"person_id": person, "arm": arm, "site": "RX1", **spell, "consent_to_linkage": "Y"}


def _ecds(person: str, day: str) -> dict[str, str]:
    return {
        "TOKEN_PERSON_ID": person,
        "Arrival_Date": day,
        "EC_Department_Type": "01",
        "EC_AttendanceCategory": "1",
        "EC_Chief_Complaint_SNOMED_CT": "248062006",
        "EC_Injury_Intent_SNOMED_CT": "",
        "Der_EC_Diagnosis_All": "",
        "EC_Discharge_Status_SNOMED_CT": "",
        "Deleted": "0",
    }


def _mhsds(release: str) -> Base:
    """Participants first, since the cohort needs them; then others in order of their spells."""
    folder = DATA / f"mhsds_mini_{release}"
    found = sorted(folder.glob("*.csv*"))
    parts = {path.name.removesuffix(".gz"): unpack(path.name, path.read_bytes()) for path in found}
    kept = {name: text for name, text in parts.items() if not name.startswith(_LEFT_OUT)}
    kept = {name: text for name, text in kept.items() if name.split(".")[0][-5:] in _YEARS or "_20" not in name}
    listed = [row["person_id"] for row in _dicts(parts["participants.csv"])[1]]
    admitted = [_person_of(row) for row in _dicts(kept["MHS501HospProvSpell_2018.csv"])[1]]
    chosen = dict.fromkeys([*(p for p in listed if p in admitted), *admitted])
    people = set([person for person in chosen if person and not person.startswith("<")][:N_PEOPLE])
    owners = _owners(kept.values())
    moved = min(people & set(listed)) if release == "v5" else ""
    files = {}
    for name, text in kept.items():
        header, *lines = text.splitlines(keepends=True)
        own = [line for line, row in zip(lines, _dicts(text)[1], strict=True) if _is_kept(name, row, people, owners)]
        if own or name.startswith("MHS000"):
            content = b"".join([header, *own])
            content = content.replace(moved.encode(), _OLD.encode()) if moved and "_2017" in name else content
            files[name] = content
    if moved:
        files["person_bridge_v5.csv"] = f"OldPersonID,NewPersonID\n{_OLD},{moved}\n".encode()
        for name in ("MHS201CareContact_2018.csv", "MHS101Referral_2018.csv", "ECDS_2018.csv"):
            if name in files:
                files[f"{name}.gz"] = gzip.compress(files.pop(name), mtime=0)
    files["extract_manifest.json"] = STATEMENT
    return _summarise(f"mhsds_{release}", files, "mhsds_sample_v5", {_OLD: moved} if moved else None)


def _owners(texts: Iterable[bytes]) -> dict[str, str]:
    owners = {}
    for text in texts:
        for row in _dicts(text)[1]:
            keys = {name.strip().casefold(): value.strip() for name, value in row.items()}
            if keys.get("recordnumber") and not keys.get("person_id", "<").startswith("<"):
                owners[keys["recordnumber"]] = keys["person_id"]
    return owners


def _is_kept(name: str, row: Mapping[str, str], people: set[str], owners: Mapping[str, str]) -> bool:
    keys = {key.strip().casefold(): value.strip() for key, value in row.items()}
    person = _person_of(row)
    if name.startswith(("MHS902", "MHS903")):
        return int(next(iter(keys.values())) or 0) % 3 == 0
    if name.startswith(("MHS000", "provider_")):
        return True
    if name.startswith("imd"):
        return int(keys["lsoa2011"][-2:]) % 4 == 0
    return (person or owners.get(keys.get("recordnumber", ""), "")) in people or (
        person.startswith("<") and owners.get(keys.get("recordnumber", "")) in people
    )


def _hes() -> Base:
    folder = DATA / "nhs_artificial_hes"
    apc = (folder / "artificial_hes_apc_0102_cut.csv").read_bytes().splitlines(keepends=True)[:25]
    ae = (folder / "artificial_hes_ae_0708_cut.csv").read_bytes().splitlines(keepends=True)[:20]
    people = sorted({_person_of(row) for row in _dicts(b"".join(apc))[1]})[:8]
    files = {
        "artificial_hes_apc_0102.csv": b"".join(apc),
        "artificial_hes_ae_0708.csv": b"".join(ae),
        "ECDS_2019.csv": _csv([_ecds(person, f"2019-06-0{n + 1}") for n, person in enumerate(people)]),
        "ONS_deaths.csv": _csv([{"ENCRYPTED_HESID": p, "DOD": "2019-02-11", "DOR": "2019-02-20"} for p in people[:3]]),
        "participants.csv": _csv([_participant(people[0], "peer"), _participant(people[1], "control")]),
        "extract_manifest.json": STATEMENT,
    }
    return _summarise("hes", files, "mhsds_sample_v5")


def _omop_tables() -> dict[str, bytes]:
    folder = DATA / "omop_mini"
    listed = [row["person_id"] for row in _dicts((folder / "participants.csv").read_bytes())[1]][:6]
    texts = {
        path.name.removesuffix(".gz"): unpack(path.name, path.read_bytes()) for path in sorted(folder.glob("*.csv.gz"))
    }
    everybody = [row["person_id"] for row in _dicts(texts["PERSON.csv"])[1]]
    people = set(dict.fromkeys([*listed, *everybody])) & {*listed, *everybody[: N_PEOPLE - len(listed)]}
    tables = {}
    for name, text in texts.items():
        header, *lines = text.splitlines(keepends=True)
        own = [line for line, row in zip(lines, _dicts(text)[1], strict=True) if row["person_id"] in people]
        tables[name] = b"".join([header, *own[:150]])
    first = sorted(people, key=int)
    tables["DEATH.csv"] = _csv(
        [{"person_id": person, "death_date": "2018-05-04", "cause_source_value": "I219"} for person in first[:2]]
    )
    tables["CARE_SITE.csv"] = _csv(
        [{"care_site_id": "1", "care_site_source_value": "RX1", "place_of_service_source_value": "21"}]
    )
    return tables


def _participants_of_omop(tables: Mapping[str, bytes]) -> bytes:
    people = {row["person_id"] for row in _dicts(tables["PERSON.csv"])[1]}
    rows = _dicts((DATA / "omop_mini" / "participants.csv").read_bytes())[1]
    return _csv([row for row in rows if row["person_id"] in people])


def _omop_csv() -> Base:
    tables = _omop_tables()
    whole = _summarise("omop_csv", dict(tables), "omop_synthea")
    files = {"participants.csv": _participants_of_omop(tables), "extract_manifest.json": STATEMENT}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("cdm/PROCEDURE_OCCURRENCE.csv", tables.pop("PROCEDURE_OCCURRENCE.csv"))
    files["cdm.zip"] = archive.getvalue()
    files["CONDITION_OCCURRENCE.csv.gz"] = gzip.compress(tables.pop("CONDITION_OCCURRENCE.csv"), mtime=0)
    return Base("omop_csv", files | tables, "omop_synthea", whole.people)


def _omop_parquet() -> Base:
    tables = _omop_tables()
    whole = _summarise("omop_parquet", dict(tables), "omop_synthea")
    files = {"extract_manifest.json": STATEMENT}
    for name, text in (tables | {"participants.csv": _participants_of_omop(tables)}).items():
        written = io.BytesIO()
        pl.read_csv(text, try_parse_dates=True, infer_schema_length=None).write_parquet(written)
        files[f"{name.removesuffix('.csv')}.parquet"] = written.getvalue()
    return Base("omop_parquet", files, "omop_synthea", whole.people)


BASES: dict[str, Callable[[], Base]] = {
    "made": _made,
    "pieces": _pieces,
    "mhsds_v5": lambda: _mhsds("v5"),
    "mhsds_v6": lambda: _mhsds("v6"),
    "hes": _hes,
    "omop_csv": _omop_csv,
    "omop_parquet": _omop_parquet,
}
