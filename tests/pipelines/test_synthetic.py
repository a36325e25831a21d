"""The generator of synthetic extracts: layout, reproducibility, its faults, its truth and its calibration.

One extract of 8,000 people serves all tests that read one. Calibration limits are the declared target, give or take
about four standard errors of the share at that size (stated beside each), since the same number is drawn anew with
every seed.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.cohort import People, count_submitted_spells, follow_people, lake_facts
from pipelines.errors import SourceError
from pipelines.lake import Lake, write_lake
from pipelines.look_back import count_months
from pipelines.protocol import FollowUp, load_protocol
from pipelines.sources import synthetic
from pipelines.sources.participants import read_participants
from pipelines.sources.synthetic import write_extract
from pipelines.sources.synthetic.assumptions import load_assumptions
from pipelines.sources.synthetic.hazards import days_to_next, risk_within_a_year
from pipelines.tables import PERSON_TABLES

ROOT = Path(__file__).parents[2]
PEOPLE = 8_000
YEARS = range(2014, 2020)
HEADERS = {  # as in the third-party sample extract of the same layout (its files of 2017)
    "MHS000Header": "UniqMonthID,ReportingPeriodStartDate,ReportingPeriodEndDate,OrgIDProvider,FileType",
    "MHS001MPI": (
        "MHS001UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,Gender,GenderIDCode,EthnicCategory,"
        "EthnicCategory2021,NHSDEthnicity,MaritalStatus,AgeRepPeriodStart,AgeRepPeriodEnd,PersDeathDate,"
        "AgeDeath,LSOA2011,LADistrictAuth,PostcodeDistrict,IMDQuart,PatMRecInRP,RecordStartDate,"
        "RecordEndDate"
    ),
    "MHS003AccommStatus": (
        "MHS003UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,AccommodationType,"
        "AccommodationTypeDate,SettledAccommodationInd"
    ),
    "MHS004EmpStatus": ("MHS004UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,EmployStatus,EmployStatusRecDate"),
    "MHS101Referral": (
        "MHS101UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,"
        "ReferralRequestReceivedDate,ServDischDate,SourceOfReferralMH,ClinRespPriorityType,"
        "PrimReasonReferralMH,ReferRejectionDate,ReferClosReason"
    ),
    "MHS102ServiceTypeReferredTo": (
        "MHS102UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,UniqCareProfTeamID,"
        "ServTeamTypeRefToMH,ReferClosureDate,ReferRejectionDate"
    ),
    "MHS201CareContact": (
        "MHS201UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,UniqCareContID,"
        "CareContDate,CareContTime,AttendOrDNACode,ConsMechanismMH,ActLocTypeCode,"
        "PlannedCareContIndicator,ClinContDurOfCareCont,CareContCancelDate"
    ),
    "MHS401MHActPeriod": (
        "MHS401UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqMHActEpisodeID,"
        "MHActLegalStatusClassPeriodId,LegalStatusCode,NHSDLegalStatus,StartDateMHActLegalStatusClass,"
        "StartTimeMHActLegalStatusClass,ExpiryDateMHActLegalStatusClass,EndDateMHActLegalStatusClass,"
        "EndTimeMHActLegalStatusClass,InactTimeMHAPeriod"
    ),
    "MHS404CommTreatOrder": (
        "MHS404UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqMHActEpisodeID,"
        "StartDateCommTreatOrd,ExpiryDateCommTreatOrd,EndDateCommTreatOrd,CommTreatOrdEndReason"
    ),
    "MHS501HospProvSpell": (
        "MHS501UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,UniqHospProvSpellID,"
        "StartDateHospProvSpell,StartTimeHospProvSpell,SourceAdmMHHospProvSpell,MethAdmMHHospProvSpell,"
        "DecidedToAdmitDate,EstimatedDischDateHospProvSpell,PlannedDischDateHospProvSpell,"
        "DischDateHospProvSpell,DischTimeHospProvSpell,MethOfDischMHHospProvSpell,"
        "DestOfDischHospProvSpell,InactTimeHPS"
    ),
    "MHS502WardStay": (
        "MHS502UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,UniqHospProvSpellID,"
        "UniqWardStayID,StartDateWardStay,EndDateWardStay,HospitalBedTypeMH,WardCode,SiteIDOfTreat,"
        "WardSexTypeCode,IntendClinCareIntenCodeMH,WardSecLevel,WardAge,WardLocDistanceHome,"
        "BedDaysWSEndRP"
    ),
    "MHS509HomeLeave": (
        "MHS509UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqHospProvSpellID,"
        "StartDateHomeLeave,EndDateHomeLeave"
    ),
    "MHS604PrimDiag": (
        "MHS604UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,DiagSchemeInUse,"
        "PrimDiag,CodedDiagTimestamp"
    ),
    "MHS605SecDiag": (
        "MHS605UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,DiagSchemeInUse,"
        "SecDiag,CodedDiagTimestamp"
    ),
    "MHS606CodedScoreAssessmentRefer": (
        "MHS606UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,CodedAssToolType,"
        "PersScore,AssToolCompTimestamp"
    ),
    "HES_APC": (
        "ENCRYPTED_HESID,EPIKEY,EPISTART,EPIEND,EPIORDER,EPISTAT,EPITYPE,ADMIDATE,DISDATE,ADMIMETH,"
        "ADMISORC,DISMETH,DISDEST,CLASSPAT,CATEGORY,MAINSPEF,TRETSPEF,DIAG_01,DIAG_02,DIAG_03,PROCODE,"
        "PROCODE3,SITETRET,PROVSPNOPS,STARTAGE,SEX,ETHNOS,LSOA11,MYDOB,SUBDATE,FYEAR"
    ),
    "ECDS": (
        "TOKEN_PERSON_ID,Arrival_Date,Arrival_Time,EC_Department_Type,EC_AttendanceCategory,"
        "EC_Departure_Date,EC_Departure_Time_Since_Arrival,EC_Chief_Complaint_SNOMED_CT,"
        "EC_Injury_Intent_SNOMED_CT,Der_EC_Diagnosis_All,EC_Discharge_Status_SNOMED_CT,Age_At_Arrival,"
        "Deleted"
    ),
    "ONS_deaths": "ENCRYPTED_HESID,DOD,DOR,CAUSE_OF_DEATH,COMMUNAL_ESTABLISHMENT,MATCH_RANK,DEATH_RECORD_USED",
    "participants": (
        "person_id,arm,site,allocation_date,index_spell_id,sessions_attended,first_session_date,consent_to_linkage"
    ),
    "imd_lookup": "LSOA2011,LSOA2011Name,IMD2015Decile,IMD2019Decile",
    "provider_successors": "OldOrgCode,OldOrgName,NewOrgCode,NewOrgName,EffectiveDate,Reason",
}


@pytest.fixture(scope="module")
def extract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "extract"
    write_extract(folder, people=PEOPLE, seed=3)
    return folder


@cache
def read(folder: Path, table: str) -> pl.DataFrame:
    """All years of a table as text."""
    return pl.concat([pl.read_csv(path, infer_schema=False) for path in sorted(folder.glob(f"{table}*.csv"))])


def truth(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "truth" / f"{name}.parquet")


def eligible_outcomes(folder: Path) -> pl.DataFrame:
    index = truth(folder, "index").filter("is_eligible")
    return index.join(truth(folder, "outcomes"), on=["person_id", "index_date"], validate="1:1")


# layout


def test_every_table_has_a_file_for_each_year_with_the_layout_of_the_sample(extract: Path) -> None:
    whole = {"ONS_deaths", "participants", "imd_lookup", "provider_successors"}
    for table, header in HEADERS.items():
        names = [f"{table}.csv"] if table in whole else [f"{table}_{year}.csv" for year in YEARS]
        for name in names:
            with (extract / name).open(encoding="utf-8") as file:
                assert file.readline().rstrip("\n") == header, name
                assert file.readline(), name


def test_a_file_holds_the_months_of_its_financial_year(extract: Path) -> None:
    for year in YEARS:
        months = read(extract, f"MHS501HospProvSpell_{year}")["UniqMonthID"].cast(pl.Int64)
        first = (year - 1900) * 12 + 4 - 3  # DOMAIN B1
        assert (months.min(), months.max()) == (first, first + 11)


def test_the_manifest_says_what_the_extract_is(extract: Path) -> None:
    manifest = json.loads((extract / "extract_manifest.json").read_text())
    assert manifest["contains_real_data"] is False
    assert manifest["opt_out_applied"] is True
    assert (manifest["layout"], manifest["period_start"], manifest["period_end"]) == ("v5", "2014-04-01", "2020-03-31")


def test_record_numbers_join_the_tables_of_a_month_to_the_person_index(extract: Path) -> None:
    index = read(extract, "MHS001MPI")
    assert index["RecordNumber"].is_unique().all()
    assert index["Person_ID"].null_count() == 0
    key = ["RecordNumber", "OrgIDProv", "UniqMonthID"]
    for table in ("MHS101Referral", "MHS201CareContact", "MHS401MHActPeriod", "MHS501HospProvSpell", "MHS604PrimDiag"):
        rows = read(extract, table).filter(pl.col("OrgIDProv") != "DFC")
        assert rows.join(index, on=key, how="anti").is_empty(), table
        named = rows.filter(pl.col("Person_ID").str.starts_with("PT"))
        assert named.join(index, on=[*key, "Person_ID"], how="anti").is_empty(), table


# reproducibility


def test_the_same_people_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_extract(tmp_path / name, people=700, seed=9)
    write_extract(tmp_path / "other", people=700, seed=10)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) > 100
    differing = []
    for file in files:
        content = (tmp_path / "one" / file).read_bytes()
        assert content == (tmp_path / "two" / file).read_bytes(), file
        differing += [file.name] if content != (tmp_path / "other" / file).read_bytes() else []
    assert "MHS501HospProvSpell_2016.csv" in differing


def test_a_chunk_is_the_same_whatever_follows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "CHUNK_PEOPLE", 500)
    write_extract(tmp_path / "one", people=500, seed=4, participants=10)
    write_extract(tmp_path / "both", people=1000, seed=4, participants=20)
    alone, first = truth(tmp_path / "one", "stays"), truth(tmp_path / "both", "stays")
    assert first.height > 1.5 * alone.height
    assert first.head(alone.height).equals(alone)
    people = [set(part["person_id"]) for part in (alone, first.slice(alone.height))]
    assert not people[0] & people[1]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(SourceError, match="not an empty folder"):
        write_extract(tmp_path, people=500, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(synthetic, "write_chunk", fail)
    with pytest.raises(RuntimeError, match="disk"):
        write_extract(tmp_path / "extract", people=500, seed=1)
    assert not list(tmp_path.iterdir())


def test_all_wrong_numbers_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        write_extract(tmp_path / "extract", people=0, seed=-1, participants=5, trusts=3)
    assert [problem.split(":")[0] for problem in error.value.problems] == ["people", "seed", "participants", "trusts"]


def test_every_assumption_names_its_source() -> None:
    declared = load_assumptions().declared()
    assert all(entry["source"].strip() for entry in declared.values())
    assert len(declared) > 100


def test_an_assumption_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[effect]\nhazard_rate = { value = 1.0, source = "a slip" }\nhazard_ratio = 1.0\n')
    with pytest.raises(SourceError, match=r"effect\.hazard_ratio: must be"):
        load_assumptions(own)
    own.write_text('[effect]\nhazard_rate = { value = 1.0, source = "a slip" }\n')
    with pytest.raises(SourceError, match=r"effect\.hazard_rate: no such assumption"):
        load_assumptions(own)


# faults


def test_rows_are_repeated_exactly(extract: Path) -> None:
    for table in ("MHS101Referral", "MHS201CareContact"):
        rows = read(extract, table)
        repeated = rows.height - rows.unique().height
        assert 0.005 < repeated / rows.height < 0.015, table  # declared 1 %
        assert rows.unique()[rows.columns[0]].is_unique().all(), table


def test_person_ids_are_missing_and_can_be_found_through_the_record_number(extract: Path) -> None:
    for table in ("MHS501HospProvSpell", "MHS502WardStay", "MHS401MHActPeriod", "MHS604PrimDiag"):
        person = read(extract, table)["Person_ID"]
        assert person.null_count() > 0, table
        assert (person == "<NHS_No>").sum() > 0, table


def test_codes_have_stray_blanks_lower_case_and_unknown_values(extract: Path) -> None:
    spells, wards = read(extract, "MHS501HospProvSpell"), read(extract, "MHS502WardStay")
    assert spells["MethAdmMHHospProvSpell"].is_in(["2D ", "25 "]).any()
    assert spells["MethAdmMHHospProvSpell"].is_in(["2d", "2a"]).any()
    assert (spells["DestOfDischHospProvSpell"] == "ZZ").any()
    assert (wards["HospitalBedTypeMH"] == "ZZ").any()


def test_spells_carry_every_declared_fault(extract: Path) -> None:
    spells = read(extract, "MHS501HospProvSpell")
    start, end = pl.col("StartDateHospProvSpell"), pl.col("DischDateHospProvSpell")
    assert (spells["StartDateHospProvSpell"] == "1900-01-01").any()
    assert (spells["DischDateHospProvSpell"] == "1900-01-01").any()
    assert spells.filter((end < start) & (end > "1901")).height
    by_id = spells.group_by("UniqHospProvSpellID").agg(end.drop_nulls().n_unique().alias("dates"))
    assert (by_id["dates"] == 2).any()  # sent again with a corrected date
    key = ["Person_ID", "OrgIDProv", "UniqMonthID", "StartDateHospProvSpell", "DischDateHospProvSpell"]
    ids = spells.drop_nulls(key).group_by(key).agg(pl.col("UniqHospProvSpellID").n_unique())
    assert (ids["UniqHospProvSpellID"] == 2).any()
    last = spells.sort("UniqMonthID").unique("UniqHospProvSpellID", keep="last")
    never_ended = last.filter(end.is_null() & (pl.col("UniqMonthID") < "1440"))
    ward_ends = read(extract, "MHS502WardStay").filter(pl.col("EndDateWardStay").is_not_null())
    with_ward_end = never_ended.join(ward_ends, on="UniqHospProvSpellID", how="semi")
    assert 0 < with_ward_end.height < never_ended.height  # some are mended by their ward, others stop arriving


def test_ethnicity_changes_between_months_and_is_missing_in_some(extract: Path) -> None:
    letters = read(extract, "MHS001MPI").group_by("Person_ID").agg(pl.col("EthnicCategory").n_unique())
    assert (letters["EthnicCategory"] > 1).any()
    assert read(extract, "MHS001MPI")["EthnicCategory"].is_in(["Z", "99"]).any()


def test_providers_fall_silent_stop_and_merge(extract: Path) -> None:
    sent = read(extract, "MHS000Header").group_by("OrgIDProvider").agg(pl.col("UniqMonthID").cast(pl.Int64).unique())
    months = {code: sorted(ids) for code, ids in sent.iter_rows()}
    everything = set(range(1369, 1441))
    assert everything - set(months["ZF2"]) == {1412, 1413, 1414}  # November 2017 to January 2018
    assert max(months["ZF3"]) == 1421  # nothing from September 2018 on
    assert max(months["ZC2"]) == max(months["ZC8"]) == 1414  # February 2018: ZY1
    assert min(months["ZY1"]) == 1415
    spells = read(extract, "MHS501HospProvSpell").group_by("OrgIDProv").agg(pl.col("UniqMonthID").cast(pl.Int64))
    for code, ids in spells.iter_rows():
        assert set(ids) <= set(months[code]), code


def test_the_anonymous_provider_has_contacts_of_nobody(extract: Path) -> None:
    anonymous = read(extract, "MHS201CareContact").filter(pl.col("OrgIDProv") == "DFC")
    assert anonymous["Person_ID"].null_count() > 0
    assert anonymous.join(read(extract, "MHS001MPI"), on="RecordNumber", how="semi").is_empty()


def test_community_orders_flow_among_the_legal_periods_too(extract: Path) -> None:
    orders, periods = read(extract, "MHS404CommTreatOrder"), read(extract, "MHS401MHActPeriod")
    assert orders.height
    assert orders.join(periods, on="UniqMHActEpisodeID", how="anti").is_empty()


def test_some_deaths_have_only_a_date_of_registration(extract: Path) -> None:
    deaths = read(extract, "ONS_deaths")
    assert 0 < deaths["DOD"].null_count() < 0.15 * deaths.height
    assert deaths["DOR"].null_count() == 0


# truth


ENDS = ["end_of_data", "provider_silence", "moved_away"]


@pytest.fixture(scope="module")
def lake(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return write_lake(extract, tmp_path_factory.mktemp("lake"), n_buckets=1)


def follow(lake: Lake, extract: Path, follow_up: dict[str, Any]) -> People:
    """The people of the extract under the rules of the study, with other rules of follow-up."""
    tables = {name: lake.read_bucket(0, name) for name in PERSON_TABLES}
    listed, refused = read_participants(extract / "participants.csv")
    assert refused.is_empty()
    protocol = load_protocol(ROOT / "configs/studies/enrich_synthetic.toml")
    assert protocol.eligibility is not None
    rules = FollowUp(**(protocol.follow_up.model_dump() | follow_up))
    facts = lake_facts(lake, count_submitted_spells(lake), count_months(lake), rules)
    assert not facts.gaps  # no table has a hole
    assert facts.thin.is_empty()
    return follow_people(tables, facts, listed, protocol.eligibility, rules)


def test_the_pipeline_recovers_the_truth(lake: Lake, extract: Path) -> None:
    found = follow(lake, extract, {})
    recovered = {
        "stays": (found.stays, ["person_id", "start_date"]),
        "index": (found.cohort.with_columns(pl.col("first_failed_rule").fill_null("")), ["person_id", "index_date"]),
        "outcomes": (found.outcomes, ["person_id", "index_date"]),
    }
    for name, (frame, key) in recovered.items():
        expected = truth(extract, name)
        assert expected.height > 1_000, name
        assert frame.select(expected.columns).sort(key).equals(expected.sort(key)), name


def test_the_pipeline_ends_observation_with_the_moves_of_the_truth(lake: Lake, extract: Path) -> None:
    # What ends follow-up by itself is in truth/outcomes; a move of the trust ends it if it comes first.
    found = follow(lake, extract, {"censor_at": ENDS, "moved_away_codes": ["03"]}).outcomes
    rows = eligible_outcomes(extract).select("person_id", "index_date", "trust", "censored_day")
    moves = truth(extract, "moves")
    away = (pl.col("moved_date") - pl.col("index_date")).dt.total_days()
    moved = rows.join(moves, on=["person_id", "trust"]).with_columns(moved_day=away).filter(pl.col("moved_day") >= 0)
    first = moved.group_by("person_id", "index_date").agg(pl.col("moved_day").min())
    expected = rows.join(first, on=["person_id", "index_date"], how="left").with_columns(
        censored_day=pl.min_horizontal("censored_day", pl.when(pl.col("moved_day") < 365).then("moved_day"))
    )
    both = found.join(expected, on=["person_id", "index_date"], suffix="_expected", validate="1:1")
    assert both.height == rows.height
    assert both["censored_day"].to_list() == both["censored_day_expected"].to_list()
    # The share of discharges that it concerns is modest, and not nothing.
    assert 0.01 < (expected["moved_day"] < 365).sum() / rows.height < 0.10


def test_every_ending_and_every_exclusion_occurs(extract: Path) -> None:
    assert set(truth(extract, "stays")["end_reason"]) == {"discharge", "death", "inactive", "open"}
    assert set(truth(extract, "stays")["n_spells"]) == {1, 2, 3}
    failed = set(truth(extract, "index")["first_failed_rule"])
    assert failed == {
        "",
        "zero_day",
        "place_of_safety_only",
        "died_in_hospital",
        "under_18",
        "not_acute_adult",
        "no_prior_stay_730",
        "organic_any",
        "primary_F50",
        "primary_F70_F79",
        "primary_F10_F19",
    }


def test_participants_are_no_candidates_and_have_one_index_stay_at_most(extract: Path) -> None:
    listed = pl.read_csv(extract / "participants.csv")
    index = truth(extract, "index")
    virtual = index.filter(pl.col("arm") == "virtual")
    assert virtual.join(listed, on="person_id", how="semi").is_empty()
    linked = index.filter(pl.col("arm") != "virtual").join(listed, on="person_id", validate="1:1", suffix="_listed")
    assert (linked["arm"] == linked["arm_listed"]).all()
    assert (linked["consent_to_linkage"] == "Y").all()
    day = linked["allocation_date"].str.to_date()
    assert ((day >= linked["admission_date"]) & (day <= linked["index_date"])).all()
    assert 0 < listed.height - linked.height < 0.2 * listed.height  # no consent 4 %, not linked 2 %: 94 participants


def test_potential_outcomes_agree_with_what_happened(extract: Path) -> None:
    happened = eligible_outcomes(extract).join(
        truth(extract, "potential_outcomes"), on=["person_id", "index_date", "arm"], validate="1:1"
    )
    assert happened.height > 60
    expected = pl.select(pl.when(happened["arm"] == "peer").then(happened["y1"]).otherwise(happened["y0"])).to_series()
    assert (happened["readmitted_365d"] == expected).all()
    assert (~happened["y1"] | happened["y0"]).all()  # a lower hazard from the same draw never brings a readmission
    assert (happened["risk1"] < happened["risk0"]).all()


def test_the_true_effect_is_that_of_the_eligible_peers(extract: Path) -> None:
    effect = json.loads((extract / "truth" / "effect.json").read_text())
    key = ["person_id", "index_date"]
    peers = (
        eligible_outcomes(extract).filter(pl.col("arm") == "peer").join(truth(extract, "potential_outcomes"), on=key)
    )
    y0, y1 = (peers[name].cast(pl.Float64).mean() for name in ("y0", "y1"))
    assert effect["n_peers"] == peers.height
    assert effect["risk_difference"] == pytest.approx(y1 - y0)
    assert effect["risk_ratio"] == pytest.approx(y1 / y0)
    virtual = eligible_outcomes(extract).filter(pl.col("arm") == "virtual")["readmitted_365d"].cast(pl.Float64)
    assert effect["naive_risk_difference"] == pytest.approx(y1 - virtual.mean())


def test_without_an_effect_nothing_differs_between_the_arms(tmp_path: Path) -> None:
    own = tmp_path / "null.toml"
    entry = '{ value = 1.0, source = "null world" }'
    own.write_text(f"[effect]\nhazard_ratio = {entry}\nhazard_ratio_black = {entry}\n")
    write_extract(tmp_path / "null", people=1500, seed=2, assumptions=own)
    potential = truth(tmp_path / "null", "potential_outcomes")
    assert potential.height > 20
    assert potential["y0"].any()
    assert (potential["y0"] == potential["y1"]).all()
    assert json.loads((tmp_path / "null" / "truth" / "effect.json").read_text())["risk_difference"] == 0


def test_what_was_not_observed_is_null(extract: Path) -> None:
    outcomes = truth(extract, "outcomes")
    silent = outcomes.filter(
        pl.col("censored_day").is_not_null()
        & (pl.col("died_day").is_null() | (pl.col("died_day") > pl.col("censored_day")))
    )
    assert silent.height > 3
    for name in ("n_readmissions_365d", "days_in_hospital_365d", "n_dna_365d", "n_crht_365d", "n_ed_365d"):
        assert silent[name].null_count() == silent.height
        assert outcomes.filter(pl.col("censored_day").is_null())[name].null_count() == 0
    assert not (silent["readmitted_365d"] == False).any()  # noqa: E712 - null is neither
    readmitted = outcomes.filter(pl.col("readmitted_365d"))
    assert readmitted["days_to_readmission"].is_between(1, 365).all()
    assert readmitted["is_first_readmission_formal"].null_count() == 0


# calibration


def test_time_to_readmission_follows_the_declared_hazard() -> None:
    a = load_assumptions()
    gaps = days_to_next(np.random.default_rng(5).exponential(size=200_000), np.full(200_000, 0.6), a)
    shares = {day: (gaps <= day).mean() for day in (30, 90, 365)}
    baseline = dict(zip(a["readmission.days"], a["readmission.cumulative"], strict=True))
    for day, share in shares.items():
        assert share == pytest.approx(1 - np.exp(-0.6 * baseline[day]), abs=0.0045)  # 4 standard errors of 200,000
    assert gaps.min() == 2
    risk = risk_within_a_year(np.array([0.6]), np.array([1e-12]), a)
    assert risk[0] == pytest.approx(1 - np.exp(-0.6), abs=1e-6)


def test_a_year_of_readmissions_in_eligible_people(extract: Path) -> None:
    known = eligible_outcomes(extract).drop_nulls("readmitted_365d")
    within = pl.col("days_to_readmission")
    shares = known.select(
        month=(within <= 30).fill_null(False).mean(),
        quarter=(within <= 90).fill_null(False).mean(),
        year=pl.col("readmitted_365d").mean(),
    ).row(0, named=True)
    assert known.height > 1_300  # standard errors with repeated discharges of a person: about 1.7, 1.4 and 1.1 points
    assert 0.45 - 0.05 < shares["year"] < 0.50 + 0.05  # DOMAIN E2: 47-50 % in ENRICH-eligible people, unconfirmed
    assert 0.20 - 0.04 < shares["quarter"] < 0.25 + 0.04
    assert shares["month"] / 30 > 2 * (shares["year"] - shares["quarter"]) / 275  # falls steeply


def test_any_readmission_in_30_days_as_in_us_facilities(extract: Path) -> None:
    """READM-30-IPF counts any hospital and any cause: US mean 19.5-19.8 %, standard deviation 2.7 points between
    facilities (CMS IPFQR 07/2021-06/2023, 1,224 facilities)."""
    stays = truth(extract, "stays").with_row_index()
    left = stays.filter(
        (pl.col("end_reason") == "discharge")
        & pl.col("is_acute")
        & ~pl.col("is_zero_day")
        & ~pl.col("is_place_of_safety_only")
        & pl.col("end_date").is_between(pl.date(2014, 5, 1), pl.date(2020, 2, 29))
    )
    physical = read(extract, "HES_APC").filter(pl.col("EPITYPE") == "1")
    admitted = pl.concat(
        [
            stays.select("person_id", day="start_date"),
            physical.select(person_id="ENCRYPTED_HESID", day=pl.col("ADMIDATE").str.to_date()),
        ]
    )
    days = (pl.col("day") - pl.col("end_date")).dt.total_days()
    again = left.join(admitted, on="person_id").filter(days.is_between(1, 30))["index"].unique()
    left = left.with_columns(again=pl.col("index").is_in(again.implode()))
    assert left.height > 8_000
    assert left["again"].mean() == pytest.approx(0.1965, abs=0.02)  # standard error 0.4 points, and luck of trusts
    trust = left.group_by("trust").agg(pl.col("again").mean(), pl.len())
    noise = (trust["again"] * (1 - trust["again"]) / trust["len"]).mean()
    between = np.sqrt(max(trust["again"].var() - noise, 0))
    assert 0.01 < between < 0.05  # with 29 trusts a standard deviation is known to about 13 %, plus sampling noise


def test_recruitment_favours_people_at_risk(extract: Path) -> None:
    effect = json.loads((extract / "truth" / "effect.json").read_text())
    # A mean risk of about 43 peers has a standard error of 3 points; declared bias 8-12, effect -7 to -10 points.
    assert 0.08 - 0.08 < effect["expected_selection_bias"] < 0.12 + 0.10
    assert -0.10 - 0.01 < effect["expected_risk_difference"] < -0.07 + 0.01


def test_participants_resemble_the_declared_ones(extract: Path) -> None:
    listed = pl.read_csv(extract / "participants.csv")
    assert listed.height == 94  # 590 for 50,000 people, in proportion
    balance = listed["arm"].value_counts()["count"]
    assert abs(int(balance[0]) - int(balance[1])) < 30  # alternating within trust and diagnosis: one odd one a cell
    months = read(extract, "MHS001MPI").filter(pl.col("UniqMonthID") == "1413")  # some month within recruitment
    people = months.unique("Person_ID").join(listed, left_on="Person_ID", right_on="person_id")
    age = people["AgeRepPeriodStart"].cast(pl.Float64)
    assert people.height > 20
    assert age.mean() == pytest.approx(39.7, abs=4 * 13.7 / people.height**0.5)  # DOMAIN A7, unconfirmed
    assert 8 < age.std() < 19


def test_deaths_are_about_one_percent_a_year(extract: Path) -> None:
    deaths = (
        truth(extract, "stays")
        .select("person_id")
        .unique()
        .join(read(extract, "ONS_deaths"), left_on="person_id", right_on="ENCRYPTED_HESID")
    )
    years = truth(extract, "stays").group_by("person_id").agg(pl.col("start_date").min())
    exposure = (pl.date(2020, 3, 31) - pl.col("start_date")).dt.total_days() / 365.25
    rate = deaths.height / years.select(exposure.sum()).item()
    assert rate == pytest.approx(0.01, abs=0.0024)  # about 250 deaths: standard error 0.06 points
