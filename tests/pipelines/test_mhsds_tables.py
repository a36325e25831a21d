"""What MHSDS tables are completed from, kinds that share a table, and the numbers of months."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.extract import LAST_DAY_OF_MONTH_ID, month_id_of
from pipelines.tables import month_id
from tests.tiny_extract import CONTACT, KEYS, SPELL, WARD, account, load, read_all

PERSON_KEYS = {"Person_ID": "Anna", **KEYS}


def test_a_care_activity_takes_the_date_of_its_contact_and_the_code_before_the_colon(tmp_path: Path) -> None:
    row = PERSON_KEYS | {"UniqCareContID": "C1", "CodeProcAndProcStatus": " 718026005:363589002=1 "}
    rows = [
        row | {"MHS202UniqID": "1"},
        row | {"MHS202UniqID": "2", "CodeProcAndProcStatus": ""},  # a finding or an observation
        row | {"MHS202UniqID": "3", "UniqCareContID": "C9"},
    ]
    lake = load(tmp_path, MHS201CareContact=[CONTACT], MHS202CareActivity=rows)
    activity = read_all(lake, "care_activity").sort("row_id").select("procedure_code", "activity_date")
    assert activity.rows() == [("718026005", date(2017, 5, 25)), (None, date(2017, 5, 25)), ("718026005", None)]
    assert lake.manifest["notes"] == {"activity_without_contact": 1}


def test_items_of_a_cluster_assessment_take_its_date_in_the_same_record(tmp_path: Path) -> None:
    tool = PERSON_KEYS | {"MHS801UniqID": "1", "UniqClustID": "K1", "AssToolCompDate": "2017-05-09"}
    item = PERSON_KEYS | {"UniqClustID": "K1", "CodedAssToolType": "979641000000103"}
    items = [
        item | {"MHS802UniqID": "1", "PersScore": "1"},
        item | {"MHS802UniqID": "2", "PersScore": "2", "RecordNumber": "101"},
    ]
    lake = load(tmp_path, MHS801ClusterTool=[tool], MHS802ClusterAssess=items)
    rows = read_all(lake, "assessment").sort("score").select("score", "assessment_date").rows()
    assert rows == [(1.0, date(2017, 5, 9)), (2.0, None)]
    assert account(lake, "MHS801")["rows_kept"] == 1
    assert lake.manifest["tables"]["cluster_tool"]["rows"] == 1


def test_three_kinds_of_leave_and_of_orders(tmp_path: Path) -> None:
    day = {"UniqWardStayID": "W1"}
    order = {"UniqMHActEpisodeID": "E1"}
    lake = load(
        tmp_path,
        MHS509HomeLeave=[PERSON_KEYS | day | {"StartDateHomeLeave": "2017-05-03", "EndDateHomeLeave": ""}],
        MHS510LeaveOfAbsence=[PERSON_KEYS | day | {"StartDateMHLeaveAbs": "2017-05-04", "EndDateMHLeaveAbs": ""}],
        MHS511AbsenceWithoutLeave=[
            PERSON_KEYS | {"StartDateMHAbsWOLeave": "2017-05-05", "EndDateMHAbsWOLeave": "2017-05-06"}
        ],
        MHS403ConditionalDischarge=[
            PERSON_KEYS | order | {"StartDateMHCondDisch": "2017-05-07", "EndDateMHCondDisch": ""}
        ],
        MHS404CommTreatOrder=[
            PERSON_KEYS
            | order
            | {"StartDateCommTreatOrd": "2017-05-08", "EndDateCommTreatOrd": "", "CommTreatOrdEndReason": "02"}
            | {"ExpiryDateCommTreatOrd": "2017-11-07"}
        ],
        MHS405CommTreatOrderRecall=[
            PERSON_KEYS | order | {"StartDateCommTreatOrdRecall": "2017-05-09", "EndDateCommTreatOrdRecall": ""}
        ],
    )
    leave = read_all(lake, "leave").sort("start_date").select("leave_kind_code", "ward_stay_id", "end_date")
    assert leave.rows() == [("HOME", "W1", None), ("ABSENCE", "W1", None), ("AWOL", None, date(2017, 5, 6))]
    of_order = ("order_kind_code", "expiry_date", "end_reason_code")
    orders = read_all(lake, "community_order").sort("start_date").select(of_order)
    assert orders.rows() == [("COND", None, None), ("CTO", date(2017, 11, 7), "02"), ("RECALL", None, None)]


def test_a_version_6_ward_has_the_site_of_its_submission(tmp_path: Path) -> None:
    ward = {("MHAdmittedPatientClass" if k == "HospitalBedTypeMH" else k): v for k, v in WARD.items()}
    ward |= {"UniqWardCode": "RX1A", "NHSEUniqSubmissionID": "70"}
    site = {"UniqMonthID": "1406", "NHSEUniqSubmissionID": "70", "UniqWardCode": "RX1A", "SiteIDOfWard": "rx101"}
    other = site | {"NHSEUniqSubmissionID": "71", "SiteIDOfWard": "RX102"}
    lake = load(
        tmp_path,
        MHS502WardStay=[ward, ward | {"MHS502UniqID": "2", "UniqWardCode": "RX1B"}],
        MHS903WardDetails=[site, other],
    )
    rows = read_all(lake, "ward_stay").sort("row_id").select("ward_code", "site_code").rows()
    assert rows == [("RX1A", "RX101"), ("RX1B", None)]


def test_a_person_id_that_is_empty_is_the_derived_one(tmp_path: Path) -> None:
    rows = [
        SPELL | {"Person_ID": "", "Der_Person_ID": "Ben"},
        SPELL | {"UniqHospProvSpellID": "S2", "Der_Person_ID": "Ben"},
    ]
    spell = read_all(load(tmp_path, MHS501HospProvSpell=rows), "spell").sort("spell_id")
    assert spell["person_id"].to_list() == ["Ben", "Anna"]


@pytest.mark.parametrize(
    ("number", "year", "month"),
    [
        # DOMAIN B1, from NHS code and training slides; 1 is April 1900.
        (1, 1900, 4),
        (1390, 2016, 1),
        (1401, 2016, 12),
        (1427, 2019, 2),
        (1429, 2019, 4),
        (1459, 2021, 10),
        (1468, 2022, 7),
        (1489, 2024, 4),
    ],
)
def test_months_are_numbered_from_april_1900(number: int, year: int, month: int) -> None:
    first = date(year, month, 1)
    assert month_id(year, month) == number
    day = pl.DataFrame({"day": [first], "month_id": [number]})
    assert day.select(month_id_of(pl.col("day"))).item() == number
    after = date(year + month // 12, month % 12 + 1, 1)
    assert day.select(LAST_DAY_OF_MONTH_ID).item() == after - timedelta(days=1)
