"""Files of an extract: one CSV per table and financial year, to which chunks of people are appended; Parquet truth."""

from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

import polars as pl
import pyarrow.parquet as pq

from pipelines.sources.synthetic.timeline import N_MONTHS

FIRST_YEAR = 2014
MONTHS_A_YEAR = 12

HEADERS: dict[str, str] = {
    "MHS000Header": "UniqMonthID,ReportingPeriodStartDate,ReportingPeriodEndDate,OrgIDProvider,FileType",
    "MHS001MPI": "MHS001UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,Gender,GenderIDCode,EthnicCategory,"
    "EthnicCategory2021,NHSDEthnicity,MaritalStatus,AgeRepPeriodStart,AgeRepPeriodEnd,PersDeathDate,AgeDeath,LSOA2011,"
    "LADistrictAuth,PostcodeDistrict,IMDQuart,PatMRecInRP,RecordStartDate,RecordEndDate",
    "MHS003AccommStatus": "MHS003UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,AccommodationType,"
    "AccommodationTypeDate,SettledAccommodationInd",
    "MHS004EmpStatus": "MHS004UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,EmployStatus,EmployStatusRecDate",
    "MHS101Referral": "MHS101UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,"
    "ReferralRequestReceivedDate,ServDischDate,SourceOfReferralMH,ClinRespPriorityType,PrimReasonReferralMH,"
    "ReferRejectionDate,ReferClosReason",
    "MHS102ServiceTypeReferredTo": "MHS102UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,"
    "UniqCareProfTeamID,ServTeamTypeRefToMH,ReferClosureDate,ReferRejectionDate",
    "MHS201CareContact": "MHS201UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,UniqCareContID,"
    "CareContDate,CareContTime,AttendOrDNACode,ConsMechanismMH,ActLocTypeCode,PlannedCareContIndicator,"
    "ClinContDurOfCareCont,CareContCancelDate",
    "MHS401MHActPeriod": "MHS401UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqMHActEpisodeID,"
    "MHActLegalStatusClassPeriodId,LegalStatusCode,NHSDLegalStatus,StartDateMHActLegalStatusClass,"
    "StartTimeMHActLegalStatusClass,ExpiryDateMHActLegalStatusClass,EndDateMHActLegalStatusClass,"
    "EndTimeMHActLegalStatusClass,InactTimeMHAPeriod",
    "MHS404CommTreatOrder": "MHS404UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqMHActEpisodeID,"
    "StartDateCommTreatOrd,ExpiryDateCommTreatOrd,EndDateCommTreatOrd,CommTreatOrdEndReason",
    "MHS501HospProvSpell": "MHS501UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,"
    "UniqHospProvSpellID,StartDateHospProvSpell,StartTimeHospProvSpell,SourceAdmMHHospProvSpell,"
    "MethAdmMHHospProvSpell,DecidedToAdmitDate,EstimatedDischDateHospProvSpell,PlannedDischDateHospProvSpell,"
    "DischDateHospProvSpell,DischTimeHospProvSpell,MethOfDischMHHospProvSpell,DestOfDischHospProvSpell,InactTimeHPS",
    "MHS502WardStay": "MHS502UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,UniqHospProvSpellID,"
    "UniqWardStayID,StartDateWardStay,EndDateWardStay,HospitalBedTypeMH,WardCode,SiteIDOfTreat,WardSexTypeCode,"
    "IntendClinCareIntenCodeMH,WardSecLevel,WardAge,WardLocDistanceHome,BedDaysWSEndRP",
    "MHS509HomeLeave": "MHS509UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqHospProvSpellID,"
    "StartDateHomeLeave,EndDateHomeLeave",
    "MHS604PrimDiag": "MHS604UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,DiagSchemeInUse,"
    "PrimDiag,CodedDiagTimestamp",
    "MHS605SecDiag": "MHS605UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,DiagSchemeInUse,SecDiag,"
    "CodedDiagTimestamp",
    "MHS606CodedScoreAssessmentRefer": "MHS606UniqID,Person_ID,RecordNumber,OrgIDProv,UniqMonthID,UniqServReqID,"
    "CodedAssToolType,PersScore,AssToolCompTimestamp",
    "HES_APC": "ENCRYPTED_HESID,EPIKEY,EPISTART,EPIEND,EPIORDER,EPISTAT,EPITYPE,ADMIDATE,DISDATE,ADMIMETH,ADMISORC,"
    "DISMETH,DISDEST,CLASSPAT,CATEGORY,MAINSPEF,TRETSPEF,DIAG_01,DIAG_02,DIAG_03,PROCODE,PROCODE3,SITETRET,PROVSPNOPS,"
    "STARTAGE,SEX,ETHNOS,LSOA11,MYDOB,SUBDATE,FYEAR",
    "ECDS": "TOKEN_PERSON_ID,Arrival_Date,Arrival_Time,EC_Department_Type,EC_AttendanceCategory,EC_Departure_Date,"
    "EC_Departure_Time_Since_Arrival,EC_Chief_Complaint_SNOMED_CT,EC_Injury_Intent_SNOMED_CT,Der_EC_Diagnosis_All,"
    "EC_Discharge_Status_SNOMED_CT,Age_At_Arrival,Deleted",
    "ONS_deaths": "ENCRYPTED_HESID,DOD,DOR,CAUSE_OF_DEATH,COMMUNAL_ESTABLISHMENT,MATCH_RANK,DEATH_RECORD_USED",
}
WHOLE_PERIOD = ("ONS_deaths",)  # one file, not one a year


class ExtractFiles:
    """Open files of an extract; every table's files exist, with their header, from the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[tuple[str, int], IO[bytes]] = {}
        self._truth: dict[str, pq.ParquetWriter] = {}

    def __enter__(self) -> Self:
        (self._folder / "truth").mkdir(parents=True)
        for table, header in HEADERS.items():
            years = (0,) if table in WHOLE_PERIOD else range(N_MONTHS // MONTHS_A_YEAR)
            for year in years:
                name = table if table in WHOLE_PERIOD else f"{table}_{FIRST_YEAR + year}"
                file = self._stack.enter_context((self._folder / f"{name}.csv").open("wb"))
                file.write(f"{header}\n".encode())
                self._files[table, year] = file
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()
        for writer in self._truth.values():
            writer.close()

    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Append rows; `month` (number) says which year's file takes each of them."""
        columns = HEADERS[table].split(",")
        if table in WHOLE_PERIOD:
            rows.select(columns).write_csv(self._files[table, 0], include_header=False)
            return
        year = rows["month"] // MONTHS_A_YEAR
        for number in range(N_MONTHS // MONTHS_A_YEAR):
            part = rows.filter(year == number).select(columns)
            if part.height:
                part.write_csv(self._files[table, number], include_header=False)

    def append_truth(self, name: str, rows: pl.DataFrame) -> None:
        """Append rows to truth/<name>.parquet; the first call fixes the columns."""
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        if name not in self._truth:
            self._truth[name] = pq.ParquetWriter(self._folder / "truth" / f"{name}.parquet", table.schema)
        self._truth[name].write_table(table)
