"""Spells, ward stays, legal periods, community orders, leave, diagnoses and scores as rows of the monthly tables."""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.clinical import SECONDARY_CODES, Clinical
from pipelines.sources.synthetic.histories import HONOS_ITEMS
from pipelines.sources.synthetic.messes import (
    CORRECTED_DISCHARGE,
    DISCHARGE_BEFORE_START,
    MISSING_DISCHARGE,
    PLACEHOLDER_DISCHARGE,
    PLACEHOLDER_START,
    SECOND_ID,
    soil,
)
from pipelines.sources.synthetic.monthly import MonthlyRows
from pipelines.sources.synthetic.population import CODES
from pipelines.sources.synthetic.spells import (
    DESTINATIONS,
    DISCHARGE_METHODS,
    LEGAL_CODES,
    METHODS,
    SOURCES,
    WARD_CLASSES,
    Months,
    is_month_sent,
    months_sent,
)
from pipelines.sources.synthetic.timeline import (
    LAST_DAY,
    Array,
    Columns,
    date_series,
    day_number,
    month_end,
    month_of,
    month_start,
    pick,
)

PLACEHOLDER_DAY = day_number("1900-01-01")
SECOND_ID_OFFSET = 500_000_000_000
SPELLS_PER_CHUNK = 10_000_000
HONOS_TOOLS = [
    "979641000000103",
    "979651000000100",
    "979661000000102",
    "979671000000109",
    "979681000000106",
    "979691000000108",
] + ["979701000000108", "979711000000105", "979721000000104", "979731000000102", "979741000000106", "979751000000109"]
ACCOMMODATION = ["01", "03", "07"]
EMPLOYMENT = ["01", "02", "04", "06", "08"]


class HospitalRows:
    """Rows of the tables about hospital stays of a chunk."""

    def __init__(
        self, rows: MonthlyRows, stays: Columns, spells: Columns, a: Assumptions, rng: np.random.Generator
    ) -> None:
        self.rows, self.stays, self.spells, self.a, self.rng = rows, stays, spells, a, rng
        self.network = rows.network
        self.spell_number = rows.chunk * SPELLS_PER_CHUNK + 1 + np.arange(len(spells["stay"]))

    def _start(self, table: str, spell: Array, month: Array) -> pl.DataFrame:
        return self.rows.start(table, self.spells["person"][spell], self.spells["trust"][spell], month)

    def _ids(self, prefix: str, spell: Array, second: Array | None = None) -> pl.Series:
        number = self.spell_number[spell] + (0 if second is None else SECOND_ID_OFFSET * second)
        return labels(prefix, number)

    def spell_rows(self) -> pl.DataFrame:
        """MHS501HospProvSpell."""
        spells, rng = self.spells, self.rng
        months = months_sent(spells, self.network, spells["start"], spells["end"], np.arange(len(spells["stay"])))
        row, month, again, second = _repeat_faulty(months, spells)
        of = pick(spells, row)
        fault, n = of["fault"], len(row)
        is_end = (month == month_of(of["end"])) & (of["end"] <= LAST_DAY) | again
        early = np.maximum(of["end"] - 1 - rng.integers(0, 3, n), of["start"] + 1)
        discharge = np.select(
            [(fault == CORRECTED_DISCHARGE) & ~again, fault == PLACEHOLDER_DISCHARGE, fault == DISCHARGE_BEFORE_START],
            [early, np.full(n, PLACEHOLDER_DAY), of["start"] - rng.integers(1, 30, n)],
            of["end"],
        )
        has_discharge = is_end & (fault != MISSING_DISCHARGE)
        start = np.where(fault == PLACEHOLDER_START, PLACEHOLDER_DAY, of["start"])
        unknown = rng.random(n) < self.a["messes.unknown_code"]
        far = self.stays["far_after"][of["stay"]] & of["is_last"] & (of["destination"] < DESTINATIONS.index("53"))
        destination = np.where(unknown & far, DESTINATIONS.index("ZZ"), of["destination"])
        return (
            self._start("501", row, month)
            .with_columns(
                UniqServReqID=self._ids("RI", row),
                UniqHospProvSpellID=self._ids("SP", row, second),
                StartDateHospProvSpell=date_series(start),
                StartTimeHospProvSpell=times(rng, n),
                SourceAdmMHHospProvSpell=pl.Series(SOURCES).gather(of["source"]),
                MethAdmMHHospProvSpell=pl.Series(METHODS).gather(of["method"]),
                DecidedToAdmitDate=date_series(start, rng.random(n) < 0.4),
                EstimatedDischDateHospProvSpell=date_series(of["start"] + 28, rng.random(n) < 0.4),
                PlannedDischDateHospProvSpell=pl.lit(None, pl.Date),
                DischDateHospProvSpell=date_series(discharge, has_discharge),
                DischTimeHospProvSpell=pl.when(pl.Series(has_discharge)).then(times(rng, n)),
                MethOfDischMHHospProvSpell=_where(has_discharge, DISCHARGE_METHODS, of["discharge_method"]),
                DestOfDischHospProvSpell=_where(has_discharge, DESTINATIONS, destination),
                InactTimeHPS=pl.lit(None, pl.String),
            )
            .with_columns(
                soil(name, rng, n, self.a)
                for name in ("SourceAdmMHHospProvSpell", "MethAdmMHHospProvSpell", "DestOfDischHospProvSpell")
            )
        )

    def ward_rows(self, wards: Columns) -> pl.DataFrame:
        """MHS502WardStay."""
        rng, spells = self.rng, self.spells
        months = months_sent(spells, self.network, wards["start"], wards["end"], wards["spell"])
        twin = spells["fault"][wards["spell"][months.row]] == SECOND_ID
        row, month = np.repeat(months.row, 1 + twin), np.repeat(months.month, 1 + twin)
        second = np.concatenate([[False], (row[1:] == row[:-1]) & (month[1:] == month[:-1])])[: len(row)]
        of, n = pick(wards, row), len(row)
        spell = of["spell"]
        is_end = (month == month_of(of["end"])) & (of["end"] <= LAST_DAY)
        days = np.minimum(month_end(month), of["end"]) - np.maximum(month_start(month), of["start"])
        trust = spells["trust"][spell]
        site = pl.Series(self.network.codes).gather(self.network.code_at[trust, month]) + labels("0", 1 + spell % 5)
        return (
            self._start("502", spell, month)
            .with_columns(
                UniqServReqID=self._ids("RI", spell),
                UniqHospProvSpellID=self._ids("SP", spell, second),
                UniqWardStayID=labels("WS", (self.spell_number[spell] + SECOND_ID_OFFSET * second) * 10 + of["place"]),
                StartDateWardStay=date_series(of["start"]),
                EndDateWardStay=date_series(of["end"], is_end),
                HospitalBedTypeMH=pl.Series(WARD_CLASSES).gather(of["class"]),
                WardCode=labels("W", spell % 23),
                SiteIDOfTreat=site,
                WardSexTypeCode=pl.Series(["1", "2", "3"]).gather(spell % 3),
                IntendClinCareIntenCodeMH=pl.lit("51"),
                WardSecLevel=pl.lit("0"),
                WardAge=pl.lit("13"),
                WardLocDistanceHome=pl.Series(self.stays["distance"][spells["stay"][spell]]),
                BedDaysWSEndRP=pl.Series(np.maximum(days, 0) + ~is_end),
            )
            .with_columns(soil("HospitalBedTypeMH", rng, n, self.a))
        )

    def legal_rows(self, periods: Columns, orders: Columns, order_month: Months) -> pl.DataFrame:
        """MHS401MHActPeriod: periods in hospital, and community orders flowing there too."""
        spells, rng = self.spells, self.rng
        months = months_sent(spells, self.network, periods["start"], periods["end"], periods["spell"])
        of = pick(periods, months.row)
        number = self.spell_number[of["spell"]] * 10 + of["place"]
        inside = {"start": of["start"], "end": of["end"], "code": of["code"], "number": number}
        inside |= {
            "person": spells["person"][of["spell"]],
            "trust": spells["trust"][of["spell"]],
            "month": months.month,
        }
        ordered = pick(orders, order_month.row)
        outside = {name: ordered[name] for name in ("start", "end", "number", "person", "trust")}
        outside |= {"code": np.full(len(order_month.row), LEGAL_CODES.index("03")), "month": order_month.month}
        every = {name: np.concatenate([inside[name], outside[name]]) for name in inside}
        n = len(every["start"])
        is_end = (every["month"] == month_of(every["end"])) & (every["end"] <= LAST_DAY)
        only_other = pl.Series(rng.random(n) < 0.03)
        return (
            self.rows.start("401", every["person"], every["trust"], every["month"])
            .with_columns(
                UniqMHActEpisodeID=labels("MA", every["number"]),
                MHActLegalStatusClassPeriodId=labels("LP", every["number"]),
                LegalStatusCode=pl.Series(LEGAL_CODES).gather(every["code"]),
                NHSDLegalStatus=pl.when(~only_other).then(pl.Series(LEGAL_CODES).gather(every["code"])),
                StartDateMHActLegalStatusClass=date_series(every["start"]),
                StartTimeMHActLegalStatusClass=times(rng, n),
                ExpiryDateMHActLegalStatusClass=pl.lit(None, pl.Date),
                EndDateMHActLegalStatusClass=date_series(every["end"], is_end),
                EndTimeMHActLegalStatusClass=pl.when(pl.Series(is_end)).then(times(rng, n)),
                InactTimeMHAPeriod=pl.lit(None, pl.String),
            )
            .with_columns(soil("LegalStatusCode", rng, n, self.a), soil("NHSDLegalStatus", rng, n, self.a))
        )

    def order_rows(self, orders: Columns, order_month: Months) -> pl.DataFrame:
        """MHS404CommTreatOrder."""
        of = pick(orders, order_month.row)
        is_end = (order_month.month == month_of(of["end"])) & (of["end"] <= LAST_DAY)
        ended_early = of["end"] - of["start"] < 182
        return self.rows.start("404", of["person"], of["trust"], order_month.month).with_columns(
            UniqMHActEpisodeID=labels("MA", of["number"]),
            StartDateCommTreatOrd=date_series(of["start"]),
            ExpiryDateCommTreatOrd=date_series(of["start"] + 182),
            EndDateCommTreatOrd=date_series(of["end"], is_end),
            CommTreatOrdEndReason=pl.when(pl.Series(is_end)).then(pl.Series(np.where(ended_early, "02", "01"))),
        )

    def referral_rows(self) -> pl.DataFrame:
        """MHS101Referral: the referral to each hospital spell."""
        spells = self.spells
        months = months_sent(spells, self.network, spells["start"], spells["end"], np.arange(len(spells["stay"])))
        of, n = pick(spells, months.row), len(months.row)
        is_end = (months.month == month_of(of["end"])) & (of["end"] <= LAST_DAY)
        return (
            self._start("101", months.row, months.month)
            .with_columns(
                UniqServReqID=self._ids("RI", months.row),
                ReferralRequestReceivedDate=date_series(of["start"]),
                ServDischDate=date_series(of["end"], is_end),
                SourceOfReferralMH=pl.lit("I1"),
                ClinRespPriorityType=pl.lit("2"),
                PrimReasonReferralMH=pl.lit("18"),
                ReferRejectionDate=pl.lit(None, pl.Date),
                ReferClosReason=pl.when(pl.Series(is_end)).then(pl.lit("01")),
            )
            .with_columns(soil("SourceOfReferralMH", self.rng, n, self.a))
        )

    def leave_rows(self) -> pl.DataFrame:
        """MHS509HomeLeave: some nights at home inside a spell, in one month."""
        spells, rng = self.spells, self.rng
        days = np.minimum(spells["end"], LAST_DAY) - spells["start"]
        spell = np.flatnonzero((days >= 21) & (rng.random(len(days)) < self.a["stays.home_leave"]))
        start = spells["start"][spell] + 3 + np.floor(rng.random(len(spell)) * (days[spell] - 10)).astype(np.int64)
        sent = (start >= 0) & is_month_sent(spells, self.network, spell, np.maximum(month_of(start), 0))
        spell, start = spell[sent], start[sent]
        end = np.minimum(start + rng.integers(1, 7, len(spell)), month_end(month_of(start)))
        return self._start("509", spell, month_of(start)).with_columns(
            UniqHospProvSpellID=self._ids("SP", spell),
            StartDateHomeLeave=date_series(start),
            EndDateHomeLeave=date_series(end),
        )

    def diagnosis_rows(self, clinical: Clinical) -> tuple[pl.DataFrame, pl.DataFrame]:
        """MHS604PrimDiag and MHS605SecDiag."""
        parts = []
        secondary = pl.Series(SECONDARY_CODES).gather(clinical.secondary["code"])
        primary = pl.Series(CODES).gather(clinical.primary["code"])
        for table, name, coded, code in (
            ("604", "PrimDiag", clinical.primary, primary),
            ("605", "SecDiag", clinical.secondary, secondary),
        ):
            n = len(coded["stay"])
            dotted = pl.Series(self.rng.random(n) < 0.4)
            frame = self._start(table, coded["spell"], month_of(coded["day"])).with_columns(
                UniqServReqID=self._ids("RI", coded["spell"]),
                DiagSchemeInUse=pl.lit("02"),
                CodedDiagTimestamp=date_series(coded["day"]),
                **{name: code},
            )
            with_dot = pl.col(name).str.slice(0, 3) + "." + pl.col(name).str.slice(3).str.replace("X", "")
            frame = frame.with_columns(
                pl.when(dotted).then(with_dot.str.strip_chars_end(".")).otherwise(name).alias(name)
            )
            parts.append(frame.with_columns(soil(name, self.rng, n, self.a)))
        return parts[0], parts[1]

    def score_rows(self) -> pl.DataFrame:
        """MHS606CodedScoreAssessmentRefer: twelve HoNOS items of each assessment."""
        stays, spells = self.stays, self.spells
        spell = np.flatnonzero(spells["is_last"] & (stays["honos_day"][spells["stay"]] >= 0))
        stay = spells["stay"][spell]
        day = np.maximum(stays["honos_day"][stay], spells["start"][spell])
        sent = is_month_sent(spells, self.network, spell, month_of(day))
        spell, stay, day = (np.repeat(part[sent], HONOS_ITEMS) for part in (spell, stay, day))
        item = np.tile(np.arange(HONOS_ITEMS), int(sent.sum()))
        return self._start("606", spell, month_of(day)).with_columns(
            UniqServReqID=self._ids("RI", spell),
            CodedAssToolType=pl.Series(HONOS_TOOLS).gather(item),
            PersScore=pl.Series(stays["honos_items"][stay, item].astype(np.int64)),
            AssToolCompTimestamp=date_series(day),
        )

    def circumstance_rows(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """MHS003AccommStatus and MHS004EmpStatus, recorded on admission."""
        spells, stays, people, rng = self.spells, self.stays, self.rows.people, self.rng
        day = stays["status_day"][spells["stay"]]
        recorded = (spells["place"] == 0) & (day >= 0)
        sent = recorded & is_month_sent(
            spells, self.network, np.arange(len(day)), np.maximum(month_of(np.maximum(day, 0)), 0)
        )
        spell = np.flatnonzero(sent)
        person, month, n = spells["person"][spell], month_of(day[spell]), len(spell)
        settled = people.is_settled[person]
        accommodation = self._start("003", spell, month).with_columns(
            AccommodationType=pl.Series(ACCOMMODATION).gather(np.where(settled, rng.integers(0, 2, n), 2)),
            AccommodationTypeDate=date_series(day[spell]),
            SettledAccommodationInd=pl.Series(np.where(settled, "Y", "N")),
        )
        employment = self._start("004", spell, month).with_columns(
            EmployStatus=pl.Series(EMPLOYMENT).gather(people.employment[person]),
            EmployStatusRecDate=date_series(day[spell]),
        )
        return (
            accommodation.with_columns(soil("SettledAccommodationInd", rng, n, self.a)),
            employment.with_columns(soil("EmployStatus", rng, n, self.a)),
        )


def labels(prefix: str, numbers: Array) -> pl.Series:
    """Identifiers: a prefix and a number."""
    return pl.select(pl.lit(prefix) + pl.Series(np.asarray(numbers, dtype=np.int64)).cast(pl.String)).to_series()


def times(rng: np.random.Generator, n: int) -> pl.Series:
    """Times of day to the quarter of an hour."""
    quarters = pl.Series([f"{quarter // 4:02d}:{quarter % 4 * 15:02d}:00" for quarter in range(96)])
    return quarters.gather(rng.integers(0, 96, n))


def _where(known: Array, codes: list[str], number: Array) -> pl.Expr:
    return pl.when(pl.Series(known)).then(pl.Series(codes).gather(number))


def _repeat_faulty(months: Months, spells: Columns) -> tuple[Array, Array, Array, Array]:
    """Monthly spell rows with repetitions: row, month, `again` (a correction a month later), `second` (second id)."""
    fault = spells["fault"][months.row]
    last = months.month == month_of(spells["end"][months.row])
    corrected = (fault == CORRECTED_DISCHARGE) & last
    twin = fault == SECOND_ID
    row = np.repeat(months.row, 1 + (corrected | twin))
    month = np.repeat(months.month, 1 + (corrected | twin))
    repeated = np.concatenate([[False], (row[1:] == row[:-1]) & (month[1:] == month[:-1])])[: len(row)]
    again = repeated & (spells["fault"][row] == CORRECTED_DISCHARGE)
    return row, month + again, again, repeated & ~again
