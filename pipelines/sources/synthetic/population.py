"""People before anything happens to them: who they are, where they live, what ails them, when they die."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.timeline import NEVER, Array, draw_labels, expit, month_of

ICD10 = {
    "psychotic": ["F200", "F209", "F220", "F231", "F250", "F29X"],
    "personality": ["F602", "F603", "F609", "F61X"],
    "other": ["F311", "F319", "F322", "F331", "F411", "F431", "F432", "F845"],
    "eating": ["F500"],
    "learning": ["F700", "F711"],
    "substance": ["F102", "F112", "F192"],
    "organic": ["F009", "F03X", "F059"],
}
GROUPS = list(ICD10)
MAIN_GROUPS = 3  # the first three are the trial's strata
CODES = [code for codes in ICD10.values() for code in codes]
GROUP_OF_CODE = np.array([number for number, codes in enumerate(ICD10.values()) for _ in codes])
_FIRST_CODE = np.array([CODES.index(codes[0]) for codes in ICD10.values()])
_N_CODES = np.array([len(codes) for codes in ICD10.values()])
EMPLOYMENT = ["01", "02", "04", "06", "08"]
_PRIME = 9_999_999_967  # the largest prime below 10^10: a person's number times an odd factor never repeats modulo it


@dataclass(frozen=True)
class People:
    """A chunk of people; every array has one value per person. `birth_month` counts from April 2014 (birthdays are
    the first of a month); `death_day` and `first_admission_day` are day numbers."""

    number: Array
    person_id: pl.Series
    severity: Array
    is_female: Array
    birth_month: Array
    ethnicity: Array
    is_black: Array
    area: Array
    imd_decile: Array
    home_trust: Array
    code: Array
    second_code: Array
    organic_secondary: Array
    is_settled: Array
    employment: Array
    marital: Array
    distance_km: Array
    death_day: Array
    death_rate: Array
    first_admission_day: Array

    def __len__(self) -> int:
        return len(self.number)

    def age_at(self, person: Array, day: Array) -> Array:
        """Completed years."""
        years: Array = (month_of(day) - self.birth_month[person]) // 12
        return years


def person_ids(number: Array, seed: int) -> pl.Series:
    """Pseudonyms: the running number of a person, scattered."""
    scattered = (number.astype(np.int64) * 904_613 + (seed * 7919 + 12_345) % _PRIME) % _PRIME
    return pl.DataFrame({"n": scattered}).select(pl.format("PT{}", 10_000_000_000 + pl.col("n"))).to_series()


def draw_areas(a: Assumptions, rng: np.random.Generator) -> tuple[Array, Array]:
    """IMD deciles 2015 and 2019 of every area."""
    decile = rng.integers(1, 11, a["people.areas"])
    return decile, np.clip(decile + rng.choice([-1, 0, 0, 0, 1], len(decile)), 1, 10)


def draw_people(
    first: int, n: int, seed: int, network: Network, imd_decile: Array, a: Assumptions, rng: np.random.Generator
) -> People:
    """People `first` to `first + n - 1` of the extract."""
    severity = rng.standard_normal(n)
    weight = np.exp(a["people.deprivation_slope"] * imd_decile)
    area = rng.choice(len(imd_decile), n, p=weight / weight.sum())
    shares = a["people.ethnic_shares"]
    ethnicity = np.array(list(shares))[draw_labels(rng, shares, n)]
    earliest, latest = a["stays.first_admission_days"]
    first_day = rng.integers(earliest, latest, n)
    low, high = a["people.age_range"]
    age = np.clip(rng.normal(a["people.age_mean"], a["people.age_sd"], n), low, high)
    group = draw_labels(rng, a["people.diagnosis_shares"], n)
    code = _draw_code(group, rng)
    second_group = (np.minimum(group, MAIN_GROUPS - 1) + rng.integers(1, MAIN_GROUPS, n)) % MAIN_GROUPS
    has_second = (rng.random(n) < a["people.second_diagnosis"]) & (group < MAIN_GROUPS)
    employed = rng.random(n) < expit(_linear(a["people.employed"], severity))
    death_rate = _death_rate(age, a)
    return People(
        number=np.arange(first, first + n),
        person_id=person_ids(np.arange(first, first + n), seed),
        severity=severity,
        is_female=rng.random(n) < a["people.female"],
        birth_month=month_of(first_day) - np.floor(age * 12).astype(np.int64),
        ethnicity=ethnicity,
        is_black=np.isin(ethnicity, ["M", "N", "P"]),
        area=area,
        imd_decile=imd_decile[area],
        home_trust=network.draw(rng, n),
        code=code,
        second_code=np.where(has_second, _draw_code(second_group, rng), code),
        organic_secondary=rng.random(n) < a["people.organic_secondary"],
        is_settled=rng.random(n) >= expit(_linear(a["people.unsettled"], severity)),
        employment=np.where(employed, 0, np.where(age >= 66, 4, rng.integers(1, 4, n))),
        marital=np.array(list(a["codes.marital"]))[draw_labels(rng, a["codes.marital"], n)],
        distance_km=np.minimum(np.exp(rng.normal(1.8, 0.8, n)), 80.0),
        death_day=np.minimum(first_day + rng.exponential(1 / death_rate), NEVER).astype(np.int64) + 1,
        death_rate=death_rate,
        first_admission_day=first_day,
    )


def _linear(coefficients: list[float], severity: Array) -> Array:
    return coefficients[0] + coefficients[1] * severity


def _draw_code(group: Array, rng: np.random.Generator) -> Array:
    codes: Array = _FIRST_CODE[group] + np.floor(rng.random(len(group)) * _N_CODES[group]).astype(np.int64)
    return codes


def _death_rate(age: Array, a: Assumptions) -> Array:
    """Deaths a day; its mean over people is the declared rate."""
    relative = np.exp(a["people.death_log_per_year_of_age"] * (age - a["people.age_mean"]))
    rate: Array = a["people.death_per_year"] / 365.25 * relative / relative.mean()
    return rate
