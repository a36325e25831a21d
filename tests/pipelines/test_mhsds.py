"""One test for each habit of raw files and each rule of reading them, on an extract of a few hand-written rows."""

import gzip
from datetime import date
from pathlib import Path

import pytest

from pipelines.errors import SourceError
from pipelines.lake import check_source, open_lake, write_lake
from pipelines.sources import csv_files
from tests.tiny_extract import (
    CONTACT,
    KEYS,
    PERSON,
    SPELL,
    SUBMISSION,
    WARD,
    account,
    load,
    read_all,
    read_quarantine,
    tiny,
    write_csv,
    write_extract,
)

SPELL_FILE = "MHS501HospProvSpell_2017.csv"
OTHER = SPELL | {"MHS501UniqID": "2", "UniqHospProvSpellID": "S2", "DischDateHospProvSpell": ""}


def bytes_of(rows: list[dict[str, str]], delimiter: str = ",") -> bytes:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(delimiter.join(line) + "\n" for line in lines).encode()


def spoil_quotes(rows: list[dict[str, str]]) -> bytes:
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(",".join(f'"{cell}"' for cell in line) + "\r\n" for line in lines).encode()


HABITS = {
    "byte-order mark": lambda rows: b"\xef\xbb\xbf" + bytes_of(rows),
    "lower-case header": lambda rows: bytes_of([{name.lower(): cell for name, cell in row.items()} for row in rows]),
    "other column order": lambda rows: bytes_of([dict(reversed(row.items())) for row in rows]),
    "extra column": lambda rows: bytes_of([{"LocalNote": "x"} | row for row in rows]),
    "everything quoted": spoil_quotes,
    "pipes": lambda rows: bytes_of(rows, "|"),
    "tabs": lambda rows: bytes_of(rows, "\t"),
    "windows-1252": lambda rows: (
        bytes_of([row | {"Note": ""} for row in rows]).replace(b"2A,", b"2A,", 1)[:-1] + "£é\n".encode("cp1252")
    ),
    "blank last lines": lambda rows: bytes_of(rows) + b"\n\n",
    "no last line break": lambda rows: bytes_of(rows)[:-1],
    "spaces around values": lambda rows: bytes_of([{k: f" {v} " for k, v in row.items()} for row in rows]),
    "codes in lower case": lambda rows: bytes_of([row | {"MethAdmMHHospProvSpell": "2a"} for row in rows]),
    "dd/mm/yyyy": lambda rows: bytes_of([row | {"StartDateHospProvSpell": "02/05/2017"} for row in rows]),
    "both date formats": lambda rows: bytes_of(
        [row | {"StartDateHospProvSpell": "02/05/2017"} for row in rows[:1]] + rows[1:]
    ),
    "timestamps": lambda rows: bytes_of([row | {"StartDateHospProvSpell": "2017-05-02T10:15:00"} for row in rows]),
    "version 4 names": lambda rows: (
        bytes_of(rows)
        .replace(b"UniqHospProvSpellID", b"UniqHospProvSpellNum")
        .replace(b"MethAdmMHHospProvSpell", b"AdmMethCodeHospProvSpell")
    ),
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_of_a_file_changes_nothing(tmp_path: Path, habit: str) -> None:
    expected = read_all(load(tmp_path, MHS501HospProvSpell=[SPELL, OTHER]), "spell")
    (tmp_path / "source" / SPELL_FILE).write_bytes(HABITS[habit]([SPELL, OTHER]))
    spoilt = read_all(write_lake(tmp_path / "source", tmp_path / "spoilt", n_buckets=2), "spell")
    assert spoilt.equals(expected)
    assert expected.height == 2


def test_windows_1252_is_noticed(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    (source / SPELL_FILE).write_bytes(HABITS["windows-1252"]([SPELL]))
    assert account(write_lake(source, tmp_path / "lake"), "MHS501")["encoding"] == "cp1252"


def test_windows_1252_far_down_a_file_is_noticed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 4096)
    rows = [SPELL | {"UniqHospProvSpellID": f"S{n:03d}"} for n in range(300)]
    source = write_extract(tmp_path / "source", tiny())
    (source / SPELL_FILE).write_bytes(bytes_of(rows).replace(b"S290", "S£90".encode("cp1252")) + b"caf\xe9\n")
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "spell")["spell_id"].sort()[-1] == "S£90"
    assert read_all(lake, "spell").height == 300
    assert read_quarantine(lake).select("line", "reason", "raw").rows() == [(302, "malformed_line", "café")]


def test_text_in_neither_encoding_is_refused(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    # 0x81 is no character of Windows-1252, and no UTF-8 by itself.
    (source / SPELL_FILE).write_bytes(bytes_of([SPELL]) + b"\x81\n")
    with pytest.raises(SourceError, match="is neither UTF-8 nor Windows-1252 text"):
        write_lake(source, tmp_path / "lake")


@pytest.mark.parametrize("ending", [b"", b'S9",x\n'])
def test_a_quote_that_swallows_rows_is_refused_without_quoting_them(tmp_path: Path, ending: bytes) -> None:
    source = write_extract(tmp_path / "source", tiny())
    row = bytes_of([SPELL]).splitlines(keepends=True)[1]
    (source / SPELL_FILE).write_bytes(bytes_of([SPELL]) + b'"secret,' + row * 3 + ending)
    with pytest.raises(SourceError) as caught:
        write_lake(source, tmp_path / "lake")
    assert caught.value.problems == ["MHS501HospProvSpell_2017.csv: line 3 opens a quote that its row does not close"]


def test_a_row_larger_than_a_block_is_refused_without_quoting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 1024)
    source = write_extract(tmp_path / "source", tiny())
    (source / SPELL_FILE).write_bytes(bytes_of([SPELL]) + b'"' + b"secret" * 1000 + b'"\n')
    with pytest.raises(SourceError, match=r"MHS501HospProvSpell_2017\.csv: cannot be read as a table") as caught:
        write_lake(source, tmp_path / "lake")
    assert "secret" not in str(caught.value)


def test_a_gzip_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    expected = read_all(load(tmp_path), "spell")
    plain = tmp_path / "source" / SPELL_FILE
    (tmp_path / "source" / "mhs501hospprovspell_2017.CSV.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert read_all(write_lake(tmp_path / "source", tmp_path / "zipped"), "spell").equals(expected)


def test_a_cut_off_gzip_file_is_refused_by_name(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    path = source / f"{SPELL_FILE}.gz"
    content = gzip.compress(bytes_of([SPELL | {"UniqHospProvSpellID": f"S{n}"} for n in range(5000)]))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"MHS501HospProvSpell_2017\.csv\.gz: (is cut off or damaged|cannot be read)"):
        write_lake(source, tmp_path / "lake")


def test_all_damaged_files_are_named(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    for name in ("MHS501HospProvSpell_2018.csv", "MHS502WardStay_2018.csv"):
        good = (source / name.replace("2018", "2017")).read_bytes()
        content = gzip.compress(good + b"".join(b"%d,\n" % n for n in range(20_000)))
        (source / f"{name}.gz").write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError) as caught:
        write_lake(source, tmp_path / "lake")
    assert [problem.split(":")[0] for problem in sorted(caught.value.problems)] == [
        "MHS501HospProvSpell_2018.csv.gz",
        "MHS502WardStay_2018.csv.gz",
    ]
    with pytest.raises(SourceError, match="no lake here"):
        open_lake(tmp_path / "lake")


def test_codes_are_upper_case_and_ids_keep_theirs(tmp_path: Path) -> None:
    row = SPELL | {"Person_ID": " aNNa ", "OrgIDProv": "rx1", "UniqHospProvSpellID": "s1"}
    spell = read_all(load(tmp_path, MHS501HospProvSpell=[row]), "spell")
    assert spell.select("person_id", "provider_id", "spell_id").rows() == [("aNNa", "RX1", "s1")]


def test_codes_keep_their_leading_zeros(tmp_path: Path) -> None:
    contact = read_all(load(tmp_path, MHS201CareContact=[CONTACT]), "contact")
    assert contact["mechanism_code"].to_list() == ["01"]


def test_placeholders_are_null(tmp_path: Path) -> None:
    spell = read_all(load(tmp_path, MHS501HospProvSpell=[SPELL | {"DestOfDischHospProvSpell": "<Unknown>"}]), "spell")
    assert spell["destination_code"].to_list() == [None]


def test_1900_placeholders_stay(tmp_path: Path) -> None:
    spell = read_all(load(tmp_path, MHS501HospProvSpell=[SPELL | {"StartDateHospProvSpell": "01/01/1900"}]), "spell")
    assert spell["start_date"].to_list() == [date(1900, 1, 1)]


@pytest.mark.parametrize("text", ["31/04/2017", "2017-13-01", "05/31/2017", "02/05/17", "2017-05-02x", "May 2017"])
def test_an_unreadable_optional_date_is_emptied_and_counted(tmp_path: Path, text: str) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[SPELL | {"DischDateHospProvSpell": text}, OTHER])
    assert read_all(lake, "spell")["discharge_date"].to_list() == [None, None]
    assert account(lake, "MHS501")["cells_nulled_by_rule"] == {"bad_date:discharge_date": 1}


def test_an_unreadable_required_date_sets_the_row_aside(tmp_path: Path) -> None:
    bad = CONTACT | {"MHS201UniqID": "2", "CareContDate": "soon"}
    lake = load(tmp_path, MHS201CareContact=[CONTACT, bad, CONTACT | {"MHS201UniqID": "3", "CareContDate": ""}])
    assert read_all(lake, "contact")["row_id"].to_list() == ["1"]
    quarantine = read_quarantine(lake)
    assert quarantine.select("file", "line", "reason").rows() == [
        ("MHS201CareContact_2017.csv", 3, "bad_date:contact_date"),
        ("MHS201CareContact_2017.csv", 4, "missing:contact_date"),
    ]
    assert '"carecontdate":"soon"' in quarantine["raw"][0]
    assert account(lake, "MHS201")["cells_nulled_by_rule"] == {}


def test_an_unreadable_number(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS502WardStay=[WARD | {"WardLocDistanceHome": "far"}, WARD | {"UniqMonthID": "May"}])
    assert read_all(lake, "ward_stay")["distance_home"].to_list() == [None]
    assert account(lake, "MHS502")["cells_nulled_by_rule"] == {"bad_int:distance_home": 1}
    assert account(lake, "MHS502")["quarantined_by_reason"] == {"bad_int:month_id": 1}


def test_lines_with_another_number_of_fields_are_set_aside(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    good = bytes_of([SPELL, OTHER]).splitlines(keepends=True)
    (source / SPELL_FILE).write_bytes(
        b"".join([good[0], b"1,2,3\n", b"\n", good[1], b"x" + b",y" * 40 + b"\n", good[2]])
    )
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "spell").height == 2
    # The blank line is not counted: header 1, short line 2, row 3, long line 4, row 5.
    assert read_quarantine(lake).select("line", "reason").rows() == [(2, "malformed_line"), (4, "malformed_line")]
    assert account(lake, "MHS501")["rows_read"] == 4


def test_a_quoted_field_may_hold_delimiters_and_line_breaks(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    rows = bytes_of([{"Note": '"a, ""b""\nc"'} | SPELL, {"Note": "d"} | OTHER])
    (source / SPELL_FILE).write_bytes(rows)
    lake = write_lake(source, tmp_path / "lake")
    assert read_all(lake, "spell")["spell_id"].to_list() == ["S1", "S2"]
    assert read_quarantine(lake).is_empty()


def test_a_file_of_many_blocks_reads_like_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        SPELL | {"MHS501UniqID": str(n), "Person_ID": f"P{n % 40}", "UniqHospProvSpellID": f"S{n}"} for n in range(500)
    ]
    rows[250] |= {"UniqMonthID": "bad"}
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=rows))
    path = source / SPELL_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:100], b"short\n", *lines[100:400], b"short\n", *lines[400:]]))
    expected = write_lake(source, tmp_path / "one")
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 4096)
    lake = write_lake(source, tmp_path / "many")
    assert read_all(lake, "spell").equals(read_all(expected, "spell"))
    # rows[250] is line 252 of the intact file; one short line stands before it. The others: lines[100] is line 101,
    # and lines[400], with one short line before it, line 402.
    assert read_quarantine(lake)["line"].to_list() == [101, 253, 402]
    assert read_quarantine(lake).equals(read_quarantine(expected))


@pytest.mark.parametrize("habit", ["no quotes", "quotes in the header", "quoted line breaks"])
def test_blocks_are_cut_between_rows_whatever_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, habit: str
) -> None:
    rows = [
        SPELL | {"MHS501UniqID": str(n), "Person_ID": f"P{n % 40}", "UniqHospProvSpellID": f"S{n}"} for n in range(300)
    ]
    source = write_extract(tmp_path / "source", tiny())
    content = bytes_of(rows)
    expected = [f"S{n}" for n in range(300)]
    if habit == "quotes in the header":
        header, body = content.split(b"\n", 1)
        content = b",".join(b'"' + name + b'"' for name in header.split(b",")) + b"\n" + body
    elif habit == "quoted line breaks":
        for n in range(100, 300):
            content = content.replace(f",S{n},".encode(), f',"S\n{n}",'.encode())
        expected = [name if len(name) < 4 else f"S\n{name[1:]}" for name in expected]
    (source / SPELL_FILE).write_bytes(content)
    assert csv_files.look_through(source / SPELL_FILE).has_quotes is (habit == "quoted line breaks")
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 1024)
    lake = write_lake(source, tmp_path / "lake")
    assert sorted(read_all(lake, "spell")["spell_id"]) == sorted(expected)
    assert read_quarantine(lake).is_empty()


@pytest.mark.parametrize("nobody", ["", "<NHS_No>", "   "])
def test_a_row_without_a_person_takes_that_of_its_record(tmp_path: Path, nobody: str) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[SPELL | {"Person_ID": nobody}])
    assert read_all(lake, "spell")["person_id"].to_list() == ["Anna"]
    assert read_quarantine(lake).is_empty()


def test_the_own_id_goes_before_the_record(tmp_path: Path) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[SPELL | {"Person_ID": "Ben"}])
    assert read_all(lake, "spell")["person_id"].to_list() == ["Ben"]


def test_a_row_whose_record_names_nobody_or_two_people_is_set_aside(tmp_path: Path) -> None:
    two = PERSON | {"MHS001UniqID": "2", "Person_ID": "Ben"}
    unknown = SPELL | {"Person_ID": "", "RecordNumber": "999"}
    disputed = SPELL | {"Person_ID": ""}
    lake = load(tmp_path, MHS001MPI=[PERSON, two], MHS501HospProvSpell=[OTHER, unknown, disputed])
    assert read_all(lake, "spell")["spell_id"].to_list() == ["S2"]
    assert read_quarantine(lake).select("line", "reason").rows() == [(3, "no_person"), (4, "no_person")]


@pytest.mark.parametrize("service", ["dfc", "S9X2N"])
def test_rows_of_an_anonymous_provider_are_set_aside(tmp_path: Path, service: str) -> None:
    lake = load(tmp_path, MHS501HospProvSpell=[SPELL, OTHER | {"OrgIDProv": service, "Person_ID": ""}])
    assert read_all(lake, "spell")["spell_id"].to_list() == ["S1"]
    assert account(lake, "MHS501")["quarantined_by_reason"] == {"anonymous_provider": 1}


def test_exact_duplicates_go_within_and_between_files(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=[SPELL, OTHER, SPELL]))
    again = [dict(reversed(row.items())) for row in (SPELL, OTHER | {"UniqMonthID": "1407"})]
    write_csv(source / "MHS501HospProvSpell_2018.csv", again)
    lake = write_lake(source, tmp_path / "lake")
    assert sorted(read_all(lake, "spell").select("spell_id", "month_id").rows()) == [
        ("S1", 1406),
        ("S2", 1406),
        ("S2", 1407),
    ]
    assert account(lake, "MHS501HospProvSpell_2017")["rows_deduplicated"] == 1
    assert account(lake, "MHS501HospProvSpell_2018")["rows_deduplicated"] == 1


def test_rows_that_differ_only_in_an_unused_column_are_no_duplicates(tmp_path: Path) -> None:
    rows = [SPELL | {"EstimatedDischDate": "2017-06-01"}, SPELL | {"EstimatedDischDate": "2017-06-02"}]
    assert read_all(load(tmp_path, MHS501HospProvSpell=rows), "spell").height == 2


@pytest.mark.parametrize(
    ("identity", "gender", "expected"), [("3", "1", "3"), ("", "1", "1"), ("X", "2", "2"), ("<Z>", "", None)]
)
def test_gender_identity_goes_before_gender_when_1_to_4(
    tmp_path: Path, identity: str, gender: str, expected: str | None
) -> None:
    lake = load(tmp_path, MHS001MPI=[PERSON | {"GenderIDCode": identity, "Gender": gender}])
    assert read_all(lake, "person_month")["gender_code"].to_list() == [expected]


def test_legal_status_is_the_derived_one_else_the_sent_one(tmp_path: Path) -> None:
    period = {"MHS401UniqID": "1", "Person_ID": "Anna", **KEYS, "UniqMHActEpisodeID": "E1"} | {
        "NHSDLegalStatus": "02",
        "LegalStatusCode": "03",
        "StartDateMHActLegalStatusClass": "2017-05-02",
        "EndDateMHActLegalStatusClass": "",
    }
    rows = [period, period | {"MHS401UniqID": "2", "NHSDLegalStatus": ""}]
    legal = read_all(load(tmp_path, MHS401MHActPeriod=rows), "legal_period").sort("row_id")
    assert legal["legal_code"].to_list() == ["02", "03"]


def test_primary_and_secondary_diagnoses_share_a_table(tmp_path: Path) -> None:
    base = {"Person_ID": "Anna", **KEYS, "UniqServReqID": "R1", "DiagSchemeInUse": "02"}
    coded = {"CodedDiagTimestamp": "2017-05-03 10:00:00"}
    lake = load(
        tmp_path,
        MHS604PrimDiag=[base | {"PrimDiag": "f20.0"} | coded],
        MHS605SecDiag=[base | {"SecDiag": "F101"} | coded],
    )
    rows = read_all(lake, "diagnosis").sort("position_code").select("position_code", "diagnosis_code", "diagnosis_date")
    assert rows.rows() == [("P", "F20.0", date(2017, 5, 3)), ("S", "F101", date(2017, 5, 3))]


def test_an_assessment_at_a_contact_takes_its_date_in_the_same_record(tmp_path: Path) -> None:
    item = {"Person_ID": "Anna", **KEYS, "UniqServReqID": "R1", "CodedAssToolType": "979641000000103"}
    at_contact = [
        item | {"MHS607UniqID": "1", "UniqCareContID": "C1", "PersScore": "2"},
        item | {"MHS607UniqID": "2", "UniqCareContID": "C9", "PersScore": "3"},
        item | {"MHS607UniqID": "3", "UniqCareContID": "C1", "PersScore": "4", "RecordNumber": "101"},
    ]
    lake = load(
        tmp_path,
        MHS201CareContact=[CONTACT],
        MHS606CodedScoreAssessmentRefer=[
            item | {"MHS606UniqID": "9", "PersScore": "1", "AssToolCompTimestamp": "2017-05-04"}
        ],
        MHS607CodedScoreAssessmentAct=at_contact,
    )
    rows = read_all(lake, "assessment").sort("score").select("score", "assessment_date").rows()
    assert rows == [(1.0, date(2017, 5, 4)), (2.0, date(2017, 5, 25)), (3.0, None), (4.0, None)]
    assert lake.manifest["notes"] == {"assessment_without_contact": 2}


REFERRAL_6 = {"MHS101UniqID": "1", "Person_ID": "Anna", **KEYS, "UniqServReqID": "R1"} | {
    "ReferralRequestReceivedDate": "2017-04-01",
    "ServDischDate": "2017-05-30",
    "SourceOfReferralMH": "A1",
    "UniqCareProfTeamLocalID": "T1",
    "NHSEUniqSubmissionID": "70",
}
TEAM_6 = {"MHS102UniqID": "1", "Person_ID": "Anna", **KEYS, "UniqServReqID": "R1"} | {
    "UniqOtherCareProfTeamLocalID": "T2",
    "NHSEUniqSubmissionID": "70",
    "ReferClosureDate": "2017-05-10",
}
DETAIL_6 = {
    "UniqMonthID": "1406",
    "NHSEUniqSubmissionID": "70",
    "UniqCareProfTeamLocalID": "T1",
    "ServTeamTypeMH": "A06",
}


def test_version_6_teams_are_the_main_and_the_others_with_their_types(tmp_path: Path) -> None:
    details = [
        DETAIL_6,
        DETAIL_6 | {"UniqCareProfTeamLocalID": "T2", "ServTeamTypeMH": "a02"},
        DETAIL_6 | {"UniqMonthID": "1407", "ServTeamTypeMH": "A11"},
        DETAIL_6 | {"NHSEUniqSubmissionID": "71", "ServTeamTypeMH": "A14"},
    ]
    unknown = REFERRAL_6 | {"MHS101UniqID": "2", "UniqServReqID": "R2", "UniqCareProfTeamLocalID": "T3"}
    none = REFERRAL_6 | {"MHS101UniqID": "3", "UniqServReqID": "R3", "UniqCareProfTeamLocalID": ""}
    lake = load(
        tmp_path,
        MHS101Referral=[REFERRAL_6, unknown, none],
        MHS102ServiceTypeReferredTo=[TEAM_6],
        MHS902ServiceTeamDetails=details,
    )
    teams = read_all(lake, "referral_team").sort("team_id")
    assert teams.select("referral_id", "team_id", "team_type_code", "closed_date").rows() == [
        ("R1", "T1", "A06", date(2017, 5, 30)),
        ("R1", "T2", "A02", date(2017, 5, 10)),
        ("R2", "T3", None, date(2017, 5, 30)),
    ]
    assert lake.manifest["notes"] == {"team_without_type": 1}
    assert account(lake, "MHS101")["rows_kept"] == 3
    assert account(lake, "MHS102")["rows_kept"] == 1
    assert account(lake, "MHS902")["rows_kept"] == 4


def test_version_6_teams_without_their_details_are_refused(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS101Referral=[REFERRAL_6]))
    assert check_source(source) == [
        "no file of MHS902ServiceTeamDetails: version 6 referrals need it for the type of their teams"
    ]


def test_version_6_bed_class_and_attendance(tmp_path: Path) -> None:
    ward = {("MHAdmittedPatientClass" if k == "HospitalBedTypeMH" else k): v for k, v in WARD.items()}
    contact = {("AttendStatus" if k == "AttendOrDNACode" else k): v for k, v in CONTACT.items()}
    lake = load(tmp_path, MHS502WardStay=[ward | {"MHAdmittedPatientClass": "200"}], MHS201CareContact=[contact])
    assert read_all(lake, "ward_stay")["bed_class_code"].to_list() == ["200"]
    assert read_all(lake, "contact")["attendance_code"].to_list() == ["5"]
    assert account(lake, "MHS502")["release"] == "mhsds_v6"
    # The spell's columns are the same in both releases; it is put down to the one the other files speak for.
    assert account(lake, "MHS501")["release"] == "mhsds_v6"


def test_a_header_that_several_releases_share_is_of_one_of_those_that_are_there(tmp_path: Path) -> None:
    old_ward = WARD | {"MHS502UniqID": "2"}
    ward = {("MHAdmittedPatientClass" if k == "HospitalBedTypeMH" else k): v for k, v in WARD.items()}
    source = write_extract(tmp_path / "source", tiny(MHS502WardStay=[ward | {"MHAdmittedPatientClass": "200"}]))
    write_csv(source / "MHS502WardStay_old.csv", [old_ward])
    contact = {("AttendStatus" if k == "AttendOrDNACode" else k): v for k, v in CONTACT.items()}
    write_csv(source / "MHS201CareContact.csv", [contact])  # more files speak for version 6
    lake = write_lake(source, tmp_path / "lake", n_buckets=2)
    assert account(lake, "MHS502WardStay_2017")["release"] == "mhsds_v6"
    assert account(lake, "MHS502WardStay_old")["release"] == "mhsds_v5"
    assert account(lake, "MHS501")["release"] == "mhsds_v5 or mhsds_v6"
    assert account(lake, "MHS001")["release"] == "mhsds_v5 or mhsds_v6"


def test_submissions_tell_the_end_of_the_data(tmp_path: Path) -> None:
    later = SUBMISSION | {"UniqMonthID": "1407"}
    later |= {"ReportingPeriodStartDate": "01/06/2017", "ReportingPeriodEndDate": "30/06/2017"}
    lake = load(tmp_path, MHS000Header=[later, SUBMISSION, SUBMISSION])
    assert (lake.period_end, lake.last_month_id) == (date(2017, 6, 30), 1407)
    assert lake.read_reference("submission").height == 2


def test_death_is_registration_where_the_day_is_unknown_or_a_sentinel(tmp_path: Path) -> None:
    rows = [
        {"ENCRYPTED_HESID": "Anna", "DOD": "2018-01-01", "DOR": "2018-01-09", "CAUSE_OF_DEATH": "x70"},
        {"ENCRYPTED_HESID": "Ben", "DOD": "", "DOR": "09/01/2018", "CAUSE_OF_DEATH": ""},
        {"ENCRYPTED_HESID": "Cleo", "DOD": "1800-01-01", "DOR": "2018-02-09", "CAUSE_OF_DEATH": ""},
        {"ENCRYPTED_HESID": "Dora", "DOD": "", "DOR": "", "CAUSE_OF_DEATH": ""},
        {"ENCRYPTED_HESID": "", "DOD": "2018-01-01", "DOR": "", "CAUSE_OF_DEATH": ""},
    ]
    lake = load(tmp_path, ONS_deaths=rows)
    assert read_all(lake, "death").rows() == [
        ("Anna", date(2018, 1, 1), "X70"),
        ("Ben", date(2018, 1, 9), None),
        ("Cleo", date(2018, 2, 9), None),
        ("Dora", None, None),
    ]
    assert account(lake, "ONS")["quarantined_by_reason"] == {"no_person": 1}
    assert account(lake, "ONS")["cells_nulled_by_rule"] == {"bad_date:death_date": 1}


def test_emergency_attendances_go_by_their_own_person_token(tmp_path: Path) -> None:
    row = {
        "TOKEN_PERSON_ID": "Anna",
        "Arrival_Date": "2017-06-01",
        "Arrival_Time": "23:30:00",
        "EC_Department_Type": "01",
        "EC_AttendanceCategory": "1",
        "EC_Chief_Complaint_SNOMED_CT": "248062006",
        "EC_Injury_Intent_SNOMED_CT": "276853009",
        "Der_EC_Diagnosis_All": "",
        "EC_Discharge_Status_SNOMED_CT": "182992009",
        "Deleted": "0",
    }
    attendance = read_all(load(tmp_path, ECDS=[row]), "emergency_attendance")
    assert attendance.select("person_id", "arrival_date", "arrival_time", "department_type_code").rows() == [
        ("Anna", date(2017, 6, 1), "23:30:00", "01")
    ]


def test_lookups(tmp_path: Path) -> None:
    lake = load(
        tmp_path,
        imd_lookup=[{"LSOA2011": "E01000001", "IMD2015Decile": "10", "IMD2019Decile": "11"}],
        provider_successors=[{"OldOrgCode": "rd3", "NewOrgCode": "R0D", "EffectiveDate": "2018-10-01"}],
    )
    # A decile of 11 does not exist.
    assert lake.read_reference("area_deprivation").rows() == [("E01000001", 10, None)]
    assert lake.read_reference("provider_successor").rows() == [("RD3", "R0D", date(2018, 10, 1))]


def merger(old: str, new: str, day: str = "2018-10-01") -> dict[str, str]:
    return {"OldOrgCode": old, "NewOrgCode": new, "EffectiveDate": day}


def test_a_provider_with_two_successors_is_refused(tmp_path: Path) -> None:
    rows = [merger("RD3", "R0D"), merger("RA4", "RH5"), merger("rd3", "RH5", "2019-10-01")]
    with pytest.raises(SourceError) as caught:
        load(tmp_path, provider_successors=rows)
    name = "provider_successors_2017.csv"
    assert caught.value.problems == [
        f"{name}, line 2, {name}, line 4: the provider code RD3 is given two successors; allowed: one for each code"
    ]
    assert not (tmp_path / "lake" / "manifest.json").exists()


def test_what_is_no_provider_code_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 3: a provider code is given two successors"):
        load(tmp_path, provider_successors=[merger("2018-10-01", "R0D"), merger("2018-10-01", "RH5")])


def test_one_merger_may_be_told_twice(tmp_path: Path) -> None:
    rows = [merger("RD3", "R0D"), merger("RD3", "R0D", "2018-11-01"), merger("RD3", "RD3")]
    assert load(tmp_path, provider_successors=rows).has("spell")


def test_version_6_teams_are_joined_by_provider_where_no_submission_is_named(tmp_path: Path) -> None:
    def without(row: dict[str, str]) -> dict[str, str]:
        return {name: cell for name, cell in row.items() if name != "NHSEUniqSubmissionID"}

    detail = without(DETAIL_6) | {"OrgIDProv": "RX1"}
    details = [detail, detail | {"OrgIDProv": "RX2", "ServTeamTypeMH": "A14"}]
    # Two types of one team, and nothing says which submission counts: neither is taken.
    details += [detail | {"UniqCareProfTeamLocalID": "T2", "ServTeamTypeMH": kind} for kind in ("A02", "A11")]
    lake = load(
        tmp_path,
        MHS101Referral=[without(REFERRAL_6)],
        MHS102ServiceTypeReferredTo=[without(TEAM_6)],
        MHS902ServiceTeamDetails=details,
    )
    teams = read_all(lake, "referral_team").sort("team_id")
    assert teams.select("team_id", "team_type_code").rows() == [("T1", "A06"), ("T2", None)]
    assert lake.manifest["notes"] == {"team_without_type": 1}


def test_details_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    detail = {name: cell for name, cell in DETAIL_6.items() if name not in {"NHSEUniqSubmissionID", "OrgIDProv"}}
    source = write_extract(tmp_path / "source", tiny(MHS101Referral=[REFERRAL_6], MHS902ServiceTeamDetails=[detail]))
    assert check_source(source) == [
        "MHS902ServiceTeamDetails_2017.csv: neither NHSEUniqSubmissionID nor OrgIDProv is there; one of them is needed"
    ]
