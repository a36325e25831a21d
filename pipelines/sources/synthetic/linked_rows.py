"""Rows of the linked data: hospital episodes (HES APC), emergency attendances (ECDS) and deaths (ONS)."""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.hospital_rows import labels, times
from pipelines.sources.synthetic.monthly import ROWS_PER_CHUNK, area_codes
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import CODES, People
from pipelines.sources.synthetic.spells import DESTINATIONS, DISCHARGE_METHODS, METHODS, SOURCES
from pipelines.sources.synthetic.timeline import (
    LAST_DAY,
    MONTH_0,
    Array,
    Columns,
    date_series,
    draw_labels,
    month_of,
    pick,
)
from pipelines.sources.synthetic.writing import FIRST_YEAR, MONTHS_A_YEAR

GENERAL_HOSPITALS = ["ZH1", "ZH2"]
SURGEONS = {"K": "100", "H": "130"}
SELF_HARM = "248062006"
ED_DIAGNOSES = ["386661006", "125605004", "58214004", "35489007", "33449004", "197480006"]
NOT_SEEN = ["1077031000000103", "1077781000000101", "63238001"]
SEEN = "182992009"


def episode_rows(
    people: People,
    network: Network,
    stays: Columns,
    spells: Columns,
    chosen: Array,
    physical: Columns,
    chunk: int,
    a: Assumptions,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """HES_APC: psychiatric episodes of the chosen spells, and physical admissions."""
    of = pick(spells, chosen)
    physical = pick(physical, (physical["end"] >= 0) & (physical["end"] <= LAST_DAY))
    n_psychiatric, n_physical = len(chosen), len(physical["person"])
    provider = pl.Series(network.codes).gather(network.code_at[of["trust"], np.maximum(month_of(of["end"]), 0)])
    soon, any_time = a["codes.physical_early"], a["codes.physical_later"]
    early = rng.integers(0, len(soon), n_physical)
    later = rng.integers(0, len(any_time), n_physical) + len(soon)
    physical_code = pl.Series(soon + any_time).gather(np.where(physical["is_early"], early, later))
    specialty = physical_code.str.slice(0, 1).replace_strict(SURGEONS, default="300", return_dtype=pl.String)
    detained = stays["is_detained"][of["stay"]]

    def column(psychiatric: pl.Series, general: pl.Series) -> pl.Series:
        return pl.concat([psychiatric, general])

    def fixed(value: str) -> pl.Series:
        return pl.Series([value]).gather(np.zeros(n_physical, dtype=np.int64))

    person = np.concatenate([of["person"], physical["person"]])
    start = np.concatenate([of["start"], physical["start"]])
    end = np.concatenate([of["end"], physical["end"]])
    hospital = pl.Series(GENERAL_HOSPITALS).gather(rng.integers(0, 2, n_physical))
    main_specialty = column(pl.Series(["710"]).gather(np.zeros(n_psychiatric, dtype=np.int64)), specialty)
    n = n_psychiatric + n_physical
    second = rng.integers(0, 8, n)
    code = column(provider, hospital)
    year = month_of(end) // MONTHS_A_YEAR + FIRST_YEAR
    number = chunk * ROWS_PER_CHUNK + 1 + np.arange(n)
    return pl.DataFrame(
        {
            "ENCRYPTED_HESID": people.person_id.gather(person),
            "EPIKEY": number,
            "EPISTART": date_series(start),
            "EPIEND": date_series(end),
            "EPIORDER": np.ones(n, dtype=np.int64),
            "EPISTAT": np.full(n, 3),
            "EPITYPE": np.repeat([5, 1], [n_psychiatric, n_physical]),
            "ADMIDATE": date_series(start),
            "DISDATE": date_series(end),
            "ADMIMETH": column(pl.Series(METHODS).gather(of["method"]), fixed("21")),
            "ADMISORC": column(pl.Series(SOURCES).gather(of["source"]), fixed("19")),
            "DISMETH": column(pl.Series(DISCHARGE_METHODS).gather(of["discharge_method"]), fixed("1")),
            "DISDEST": column(pl.Series(DESTINATIONS).gather(of["destination"]), fixed("19")),
            "CLASSPAT": np.ones(n, dtype=np.int64),
            "CATEGORY": column(pl.Series(["10", "11"]).gather(detained.astype(np.int64)), fixed("10")),
            "MAINSPEF": main_specialty,
            "TRETSPEF": main_specialty,
            "DIAG_01": column(pl.Series(CODES).gather(stays["code"][of["stay"]]), physical_code),
            "DIAG_02": pl.Series(["F101", "I10X", "E119", None]).gather(np.minimum(second, 3)),
            "DIAG_03": pl.Series([None] * n, dtype=pl.String),
            "PROCODE": code,
            "PROCODE3": code,
            "SITETRET": code + "01",
            "PROVSPNOPS": labels("H", number),
            "STARTAGE": people.age_at(person, start),
            "SEX": np.where(people.is_female[person], "2", "1"),
            "ETHNOS": people.ethnicity[person],
            "LSOA11": area_codes(people.area[person]),
            "MYDOB": _birth_months(people, person),
            "SUBDATE": date_series(end + 45),
            "FYEAR": pl.select(pl.format("{}{}", pl.Series(year), pl.Series((year + 1) % 100))).to_series(),
            "month": month_of(end),
        }
    )


def _birth_months(people: People, person: Array) -> pl.Series:
    """MMYYYY."""
    born = MONTH_0 + people.birth_month.astype("timedelta64[M]")
    months = born.astype(np.int64) % 12 + 1
    years = born.astype("datetime64[Y]").astype(np.int64) + 1970
    return pl.Series([f"{month:02d}{year}" for month, year in zip(months, years, strict=True)]).gather(person)


def attendance_rows(people: People, emergencies: Columns, a: Assumptions, rng: np.random.Generator) -> pl.DataFrame:
    """ECDS: every attendance that counts, and some on the same days that do not."""
    sent = np.flatnonzero((emergencies["day"] >= 0) & (emergencies["day"] <= LAST_DAY))
    extra = sent[rng.random(len(sent)) < a["codes.attendances_that_do_not_count"]]
    rows = np.concatenate([sent, extra])
    why = np.concatenate([np.full(len(sent), -1), rng.integers(0, 4, len(extra))])
    person, day, n = emergencies["person"][rows], emergencies["day"][rows], len(rows)
    status = pl.Series([SEEN, *NOT_SEEN]).gather(np.where(why == 2, 1 + rng.integers(0, 3, n), 0))
    complaints = list(a["codes.complaint"])
    complaint = draw_labels(rng, a["codes.complaint"], n)
    harmed = (complaint == complaints.index(SELF_HARM)) | (rng.random(n) < a["codes.self_inflicted"])
    category = np.where(why == 3, 4, rng.integers(1, 4, n))
    return pl.DataFrame(
        {
            "TOKEN_PERSON_ID": people.person_id.gather(person),
            "Arrival_Date": date_series(day),
            "Arrival_Time": times(rng, n),
            "EC_Department_Type": np.where(why == 0, "03", "01"),
            "EC_AttendanceCategory": category,
            "EC_Departure_Date": date_series(day),
            "EC_Departure_Time_Since_Arrival": rng.integers(30, 480, n),
            "EC_Chief_Complaint_SNOMED_CT": pl.Series(complaints).gather(complaint),
            "EC_Injury_Intent_SNOMED_CT": pl.Series([None, "276853009"], dtype=pl.String).gather(
                harmed.astype(np.int64)
            ),
            "Der_EC_Diagnosis_All": pl.Series(ED_DIAGNOSES).gather(rng.integers(0, len(ED_DIAGNOSES), n)),
            "EC_Discharge_Status_SNOMED_CT": status,
            "Age_At_Arrival": people.age_at(person, day),
            "Deleted": (why == 1).astype(np.int64),
            "month": month_of(day),
        }
    )


def draw_registrations(people: People, a: Assumptions, rng: np.random.Generator) -> Columns:
    """Deaths within the data: person, day, registered, is_dated; and by rule K15 the day that is known."""
    person = np.flatnonzero((people.death_day >= 0) & (people.death_day <= LAST_DAY))
    day = people.death_day[person]
    registered = day + rng.integers(1, 15, len(person))
    is_dated = rng.random(len(person)) >= a["people.death_date_missing"]
    return {
        "person": person,
        "day": day,
        "registered": registered,
        "is_dated": is_dated,
        "known": np.where(is_dated, day, registered),
    }


def death_rows(people: People, deaths: Columns, a: Assumptions, rng: np.random.Generator) -> pl.DataFrame:
    """ONS_deaths."""
    n = len(deaths["person"])
    return pl.DataFrame(
        {
            "ENCRYPTED_HESID": people.person_id.gather(deaths["person"]),
            "DOD": date_series(deaths["day"], deaths["is_dated"]),
            "DOR": date_series(deaths["registered"]),
            "CAUSE_OF_DEATH": pl.Series(a["codes.death_causes"]).gather(
                rng.integers(0, len(a["codes.death_causes"]), n)
            ),
            "COMMUNAL_ESTABLISHMENT": pl.Series([None] * n, dtype=pl.String),
            "MATCH_RANK": np.ones(n, dtype=np.int64),
            "DEATH_RECORD_USED": pl.Series(["Y"] * n, dtype=pl.String),
        }
    )
