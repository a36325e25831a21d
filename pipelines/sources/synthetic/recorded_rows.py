"""What is recorded about people in hospital, as rows of the monthly tables: legal status, community orders, diagnoses,
HoNOS scores, accommodation and employment."""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.clinical import SECONDARY_CODES, Clinical
from pipelines.sources.synthetic.histories import HONOS_ITEMS
from pipelines.sources.synthetic.hospital_rows import HospitalRows, labels, times
from pipelines.sources.synthetic.messes import soil
from pipelines.sources.synthetic.population import CODES, EMPLOYMENT
from pipelines.sources.synthetic.spells import LEGAL_CODES, Months, is_month_sent, months_sent
from pipelines.sources.synthetic.timeline import LAST_DAY, Columns, date_series, month_of, pick

HONOS_TOOLS = [  # items 1 to 12 (DOMAIN B10)
    "979641000000103",
    "979651000000100",
    "979661000000102",
    "979671000000109",
    "979681000000106",
    "979691000000108",
    "979701000000108",
    "979711000000105",
    "979721000000104",
    "979731000000102",
    "979741000000106",
    "979751000000109",
]
ACCOMMODATION = ["01", "03", "07"]


def legal_rows(hospital: HospitalRows, periods: Columns, orders: Columns, order_month: Months) -> pl.DataFrame:
    """MHS401MHActPeriod: periods in hospital, and community orders flowing there too."""
    spells, rng = hospital.spells, hospital.rng
    months = months_sent(spells, hospital.network, periods["start"], periods["end"], periods["spell"])
    of = pick(periods, months.row)
    number = hospital.spell_number[of["spell"]] * 10 + of["place"]
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
    only_other = pl.Series(rng.random(n) < hospital.a["messes.no_derived_legal_status"])
    return (
        hospital.rows.start("401", every["person"], every["trust"], every["month"])
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
        .with_columns(soil("LegalStatusCode", rng, n, hospital.a), soil("NHSDLegalStatus", rng, n, hospital.a))
    )


def order_rows(hospital: HospitalRows, orders: Columns, order_month: Months) -> pl.DataFrame:
    """MHS404CommTreatOrder."""
    of = pick(orders, order_month.row)
    is_end = (order_month.month == month_of(of["end"])) & (of["end"] <= LAST_DAY)
    ended_early = of["end"] - of["start"] < 182
    return hospital.rows.start("404", of["person"], of["trust"], order_month.month).with_columns(
        UniqMHActEpisodeID=labels("MA", of["number"]),
        StartDateCommTreatOrd=date_series(of["start"]),
        ExpiryDateCommTreatOrd=date_series(of["start"] + 182),
        EndDateCommTreatOrd=date_series(of["end"], is_end),
        CommTreatOrdEndReason=pl.when(pl.Series(is_end)).then(pl.Series(np.where(ended_early, "02", "01"))),
    )


def diagnosis_rows(hospital: HospitalRows, clinical: Clinical) -> tuple[pl.DataFrame, pl.DataFrame]:
    """MHS604PrimDiag and MHS605SecDiag."""
    parts = []
    secondary = pl.Series(SECONDARY_CODES).gather(clinical.secondary["code"])
    primary = pl.Series(CODES).gather(clinical.primary["code"])
    for table, name, coded, code in (
        ("604", "PrimDiag", clinical.primary, primary),
        ("605", "SecDiag", clinical.secondary, secondary),
    ):
        n = len(coded["stay"])
        dotted = pl.Series(hospital.rng.random(n) < hospital.a["messes.dotted_diagnosis"])
        frame = hospital.start(table, coded["spell"], month_of(coded["day"])).with_columns(
            UniqServReqID=hospital.ids("RI", coded["spell"]),
            DiagSchemeInUse=pl.lit("02"),
            CodedDiagTimestamp=date_series(coded["day"]),
            **{name: code},
        )
        with_dot = pl.col(name).str.slice(0, 3) + "." + pl.col(name).str.slice(3).str.replace("X", "")
        frame = frame.with_columns(pl.when(dotted).then(with_dot.str.strip_chars_end(".")).otherwise(name).alias(name))
        parts.append(frame.with_columns(soil(name, hospital.rng, n, hospital.a)))
    return parts[0], parts[1]


def score_rows(hospital: HospitalRows) -> pl.DataFrame:
    """MHS606CodedScoreAssessmentRefer: twelve HoNOS items of each assessment."""
    stays, spells = hospital.stays, hospital.spells
    spell = np.flatnonzero(spells["is_last"] & (stays["honos_day"][spells["stay"]] >= 0))
    stay = spells["stay"][spell]
    day = np.maximum(stays["honos_day"][stay], spells["start"][spell])
    sent = is_month_sent(spells, hospital.network, spell, month_of(day))
    spell, stay, day = (np.repeat(part[sent], HONOS_ITEMS) for part in (spell, stay, day))
    item = np.tile(np.arange(HONOS_ITEMS), int(sent.sum()))
    return hospital.start("606", spell, month_of(day)).with_columns(
        UniqServReqID=hospital.ids("RI", spell),
        CodedAssToolType=pl.Series(HONOS_TOOLS).gather(item),
        PersScore=pl.Series(stays["honos_items"][stay, item].astype(np.int64)),
        AssToolCompTimestamp=date_series(day),
    )


def circumstance_rows(hospital: HospitalRows) -> tuple[pl.DataFrame, pl.DataFrame]:
    """MHS003AccommStatus and MHS004EmpStatus, recorded on admission."""
    spells, stays, people, rng = hospital.spells, hospital.stays, hospital.rows.people, hospital.rng
    day = stays["status_day"][spells["stay"]]
    recorded = (spells["place"] == 0) & (day >= 0)
    sent = recorded & is_month_sent(
        spells, hospital.network, np.arange(len(day)), np.maximum(month_of(np.maximum(day, 0)), 0)
    )
    spell = np.flatnonzero(sent)
    person, month, n = spells["person"][spell], month_of(day[spell]), len(spell)
    settled = people.is_settled[person]
    accommodation = hospital.start("003", spell, month).with_columns(
        AccommodationType=pl.Series(ACCOMMODATION).gather(np.where(settled, rng.integers(0, 2, n), 2)),
        AccommodationTypeDate=date_series(day[spell]),
        SettledAccommodationInd=pl.Series(np.where(settled, "Y", "N")),
    )
    employment = hospital.start("004", spell, month).with_columns(
        EmployStatus=pl.Series(EMPLOYMENT).gather(people.employment[person]),
        EmployStatusRecDate=date_series(day[spell]),
    )
    return (
        accommodation.with_columns(soil("SettledAccommodationInd", rng, n, hospital.a)),
        employment.with_columns(soil("EmployStatus", rng, n, hospital.a)),
    )
