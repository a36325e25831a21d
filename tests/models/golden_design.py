"""LaLonde's data and the values R gave for them (tests/golden/design/make_values.R; versions in values.csv)."""

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, FloatArray, Propensity

FOLDER = Path(__file__).parents[1] / "golden" / "design"
COLUMNS = ("age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75")


@cache
def lalonde() -> tuple[Baseline, BoolArray]:
    lines = [line for line in (FOLDER / "lalonde.csv").read_text().splitlines() if not line.startswith("#")]
    people = list(csv.DictReader(lines))
    for person in people:
        person["black"], person["hispan"] = (str(int(person["race"] == race)) for race in ("black", "hispan"))
    matrix = np.array([[float(person[column]) for column in COLUMNS] for person in people])
    treated = np.array([person["treat"] == "1" for person in people])
    same = np.zeros(len(people), dtype=np.int64)
    return Baseline(matrix, COLUMNS, same, same, np.arange(len(people))), treated


@cache
def unpenalised() -> Propensity:
    return fit_propensity(*lalonde(), l2_penalty=0.0)


def untied() -> Propensity:
    """The score with the log-odds that R matched on, in which no two rows tie."""
    return replace(unpenalised(), linear=by_row("untied_log_odds"))


@cache
def values() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in _stored():
        if row["quantity"] != "version" and not row["quantity"].startswith(("pair_", "Matching_")):
            number = np.nan if row["value"] == "NA" else float(row["value"])
            found.setdefault(row["quantity"], {})[row["key"]] = number
    return found


def by_row(quantity: str, file: str = "values.csv") -> FloatArray:
    """R numbers rows from 1."""
    found = numbers_of(quantity, file) if file != "values.csv" else _by_number(values()[quantity])
    return np.array([found[row + 1] for row in range(len(found))])


def numbers_of(quantity: str, file: str) -> dict[int, float]:
    """Row, numbered from 1 → value."""
    return {int(row["key"]): float(row["value"]) for row in _stored(file) if row["quantity"] == quantity}


def _by_number(found: dict[str, float]) -> dict[int, float]:
    return {int(key): value for key, value in found.items()}


def sets_of(quantity: str, file: str = "values.csv") -> dict[int, set[int]]:
    """Treated row → its controls (under the ATC the other way round), rows from 0."""
    sets: dict[int, set[int]] = {}
    for row in _stored(file):
        if row["quantity"] == quantity:
            sets.setdefault(int(row["key"]) - 1, set()).add(int(row["value"]) - 1)
    return sets


@cache
def _stored(file: str = "values.csv") -> list[dict[str, str]]:
    with (FOLDER / file).open() as opened:
        return list(csv.DictReader(opened))
