"""Spells, ward stays, the referrals to them and home leave, as rows of the monthly tables."""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
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
from pipelines.sources.synthetic.spells import (
    DESTINATIONS,
    DISCHARGE_METHODS,
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


class HospitalRows:
    """Rows of the tables about hospital stays of a chunk."""

    def __init__(
        self, rows: MonthlyRows, stays: Columns, spells: Columns, a: Assumptions, rng: np.random.Generator
    ) -> None:
        self.rows, self.stays, self.spells, self.a, self.rng = rows, stays, spells, a, rng
        self.network = rows.network
        self.spell_number = rows.chunk * SPELLS_PER_CHUNK + 1 + np.arange(len(spells["stay"]))

    def start(self, table: str, spell: Array, month: Array) -> pl.DataFrame:
        """Key columns of rows about spells."""
        return self.rows.start(table, self.spells["person"][spell], self.spells["trust"][spell], month)

    def ids(self, prefix: str, spell: Array, second: Array | None = None) -> pl.Series:
        """Identifiers of spells; of their second ids where `second`."""
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
            self.start("501", row, month)
            .with_columns(
                UniqServReqID=self.ids("RI", row),
                UniqHospProvSpellID=self.ids("SP", row, second),
                StartDateHospProvSpell=date_series(start),
                StartTimeHospProvSpell=times(rng, n),
                SourceAdmMHHospProvSpell=pl.Series(SOURCES).gather(of["source"]),
                MethAdmMHHospProvSpell=pl.Series(METHODS).gather(of["method"]),
                DecidedToAdmitDate=date_series(start),
                EstimatedDischDateHospProvSpell=pl.lit(None, pl.Date),
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
            self.start("502", spell, month)
            .with_columns(
                UniqServReqID=self.ids("RI", spell),
                UniqHospProvSpellID=self.ids("SP", spell, second),
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

    def referral_rows(self) -> pl.DataFrame:
        """MHS101Referral: the referral to each hospital spell."""
        spells = self.spells
        months = months_sent(spells, self.network, spells["start"], spells["end"], np.arange(len(spells["stay"])))
        of, n = pick(spells, months.row), len(months.row)
        is_end = (months.month == month_of(of["end"])) & (of["end"] <= LAST_DAY)
        return (
            self.start("101", months.row, months.month)
            .with_columns(
                UniqServReqID=self.ids("RI", months.row),
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
        return self.start("509", spell, month_of(start)).with_columns(
            UniqHospProvSpellID=self.ids("SP", spell),
            StartDateHomeLeave=date_series(start),
            EndDateHomeLeave=date_series(end),
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
