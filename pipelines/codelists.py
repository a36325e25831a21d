"""configs/codelists/*.csv -> the codes that a coded column may hold, and what they mean.

A list is a CSV file `code,term` of one clinical idea; the comment above its header says where it comes from. It covers
every version of a data set, since one extract may hold several.
"""

import csv
from functools import cache
from pathlib import Path

from pipelines.errors import SourceError

CODELISTS = Path(__file__).resolve().parents[1] / "configs" / "codelists"

LIST_OF_COLUMN: dict[tuple[str, str], str] = {
    ("person_month", "gender_code"): "gender",
    ("person_month", "ethnicity_code"): "ethnic_category",
    ("accommodation", "settled_code"): "settled_accommodation",
    ("employment", "employment_code"): "employment_status",
    ("referral_team", "team_type_code"): "team_type",
    ("contact", "attendance_code"): "attendance",
    ("contact", "mechanism_code"): "consultation_mechanism",
    ("legal_period", "legal_code"): "legal_status",
    ("diagnosis", "scheme_code"): "diagnosis_scheme",
    ("spell", "source_code"): "source_of_admission",
    ("spell", "method_code"): "method_of_admission",
    ("spell", "discharge_method_code"): "method_of_discharge",
    ("spell", "destination_code"): "destination_of_discharge",
    ("ward_stay", "bed_class_code"): "bed_class",
}
"""Coded columns of the canonical tables whose whole list of codes is known, and the name of the list."""


@cache
def read_codelist(name: str) -> dict[str, str]:
    """Code -> term of configs/codelists/<name>.csv; the term is empty where it was not confirmed.

    Raises SourceError for a file whose header is not code,term, or that names a code twice.
    """
    path = CODELISTS / f"{name}.csv"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    header, *rows = list(csv.reader(lines))
    if header != ["code", "term"] or any(len(row) != 2 for row in rows):
        raise SourceError(f"{path}: a code list has two columns, code,term")
    terms: dict[str, str] = {row[0]: row[1] for row in rows}
    if len(terms) != len(rows):
        raise SourceError(f"{path}: a code is named twice")
    return terms
