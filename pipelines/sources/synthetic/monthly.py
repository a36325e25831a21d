"""Columns that all monthly tables share: person, RecordNumber, provider and month; and the person index (MHS001).

RecordNumber is one person, provider and month and joins the tables of a month (DOMAIN B2); the person index holds
exactly the record numbers that the other tables use.
"""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.messes import lose_person, soil
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import People
from pipelines.sources.synthetic.timeline import (
    FIRST_UNIQ_MONTH_ID,
    N_MONTHS,
    Array,
    date_series,
    month_end,
    month_of,
    month_start,
)

FIRST_RECORD = 1_000_000_000
ROWS_PER_CHUNK = 100_000_000  # room for the running numbers of a chunk
MAXIMUM_CODES = 512  # provider codes a record number has room for
ETHNIC_LETTERS = list("ABCDEFGHJKLMNPRS")


class MonthlyRows:
    """Builds monthly rows of a chunk of people and remembers which record numbers were used."""

    def __init__(self, people: People, network: Network, chunk: int, a: Assumptions, rng: np.random.Generator) -> None:
        self.people, self.network, self.chunk, self.a, self.rng = people, network, chunk, a, rng
        self._used: list[Array] = []
        assert len(network.codes) <= MAXIMUM_CODES

    def start(
        self, table_number: str, person: Array, trust: Array, month: Array, can_lose: bool = True
    ) -> pl.DataFrame:
        """Key columns of a monthly table, with `month`."""
        code = self.network.code_at[trust, month]
        key = (person * MAXIMUM_CODES + code) * N_MONTHS + month
        self._used.append(pl.Series(key).unique().to_numpy())
        frame = self._keys(person, code, month).with_columns(
            row_numbers(f"MHS{table_number}UniqID", self.chunk, len(person))
        )
        return frame.with_columns(lose_person(self.rng, len(person), self.a)) if can_lose else frame

    def _keys(self, person: Array, code: Array, month: Array) -> pl.DataFrame:
        number = self.people.number[person]
        return pl.DataFrame(
            {
                "Person_ID": self.people.person_id.gather(person),
                "RecordNumber": FIRST_RECORD + (number * MAXIMUM_CODES + code) * N_MONTHS + month,
                "OrgIDProv": pl.Series(self.network.codes).gather(code),
                "UniqMonthID": month + FIRST_UNIQ_MONTH_ID,
                "month": month,
            }
        )

    def person_index(self) -> pl.DataFrame:
        """MHS001MPI: a row for every record number used so far, its ethnicity now and then another or none."""
        key = pl.Series(np.concatenate(self._used)).unique().sort().to_numpy()
        person, code, month = key // (MAXIMUM_CODES * N_MONTHS), key // N_MONTHS % MAXIMUM_CODES, key % N_MONTHS
        people, rng, n = self.people, self.rng, len(key)
        first, last = month_start(month), month_end(month)
        has_died = people.death_day[person] <= last
        age = people.age_at(person, first)
        area = people.area[person]
        frame = self._keys(person, code, month).with_columns(
            row_numbers("MHS001UniqID", self.chunk, n),
            Gender=pl.Series(np.where(people.is_female[person], "2", "1")),
            GenderIDCode=pl.lit(None, pl.String),
            EthnicCategory=_ethnicity_sent(people.ethnicity[person], self.a, rng),
            EthnicCategory2021=pl.lit(None, pl.String),
            MaritalStatus=pl.Series(people.marital[person]),
            AgeRepPeriodStart=pl.Series(age),
            AgeRepPeriodEnd=pl.Series(people.age_at(person, last)),
            PersDeathDate=date_series(np.where(has_died, people.death_day[person], 0), has_died),
            AgeDeath=pl.when(pl.Series(has_died)).then(pl.Series(age)),
            LSOA2011=area_codes(area),
            LADistrictAuth=pl.Series([f"E0900{number:04d}" for number in range(33)]).gather(area % 33),
            PostcodeDistrict=pl.Series([f"ZZ{number}" for number in range(60)]).gather(area % 60),
            IMDQuart=pl.Series((people.imd_decile[person] * 2 + 3) // 5),
            PatMRecInRP=pl.lit("Y"),
            RecordStartDate=date_series(first),
            RecordEndDate=date_series(last),
        )
        return frame.with_columns(soil("EthnicCategory", rng, n, self.a)).with_columns(NHSDEthnicity="EthnicCategory")


def row_numbers(name: str, chunk: int, n: int) -> pl.Series:
    """Primary keys: running numbers, unique over chunks."""
    return pl.Series(name, chunk * ROWS_PER_CHUNK + 1 + np.arange(n))


def area_codes(area: Array) -> pl.Series:
    """LSOA codes of areas."""
    return pl.Series([f"E0109{number:04d}" for number in range(10_000)]).gather(area)


def _ethnicity_sent(ethnicity: Array, a: Assumptions, rng: np.random.Generator) -> pl.Series:
    n = len(ethnicity)
    draw = rng.random(n)
    other = np.array(ETHNIC_LETTERS)[rng.integers(0, len(ETHNIC_LETTERS), n)]
    none = np.array(["Z", "99", ""])[rng.integers(0, 3, n)]
    sent = np.where(draw < a["messes.other_ethnicity"], other, ethnicity)
    sent = np.where(draw > 1 - a["messes.no_ethnicity"], none, sent)
    return pl.Series(sent).replace("", None)


def months_of_days(person: Array, trust: Array, day: Array, network: Network) -> Array:
    """Whether the month that holds each day is submitted by the trust, within the data."""
    month = month_of(day)
    inside = (month >= 0) & (month < N_MONTHS)
    sent: Array = inside & network.is_sent[trust, np.clip(month, 0, N_MONTHS - 1)]
    return sent
