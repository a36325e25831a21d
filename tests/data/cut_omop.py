"""The Synthea 1k set in OMOP layout -> a small folder of the same shape, and a list of participants drawn at random.

    python tests/data/cut_omop.py <folder of the CSV files> tests/data/omop_mini

Everybody with an inpatient visit is kept, with every inpatient visit, so that counts of stays are those of the whole
set; of the other visits and the procedures only those of the first 40 people, in order of their ids. Lines are copied
as they were written. The list of participants is invented: 60 of the people with an inpatient visit as adults between
1990 and 2017, drawn with a fixed seed, the first of those visits being the stay of their allocation.
"""

import argparse
import csv
import gzip
import random
from datetime import date
from pathlib import Path

WHOLE = ("PERSON", "OBSERVATION_PERIOD", "CONDITION_OCCURRENCE")
FIRST_PEOPLE = ("VISIT_OCCURRENCE", "PROCEDURE_OCCURRENCE")
N_FIRST = 40
INPATIENT = "9201"
N_PEER, N_CONTROL = 40, 20
SEED = 20190109
WINDOW = (date(1990, 1, 1), date(2017, 12, 31))
ADULT_YEARS = 18
STATEMENT = '{\n "contains_real_data": false,\n "generator": "Synthea"\n}\n'

Rows = list[tuple[str, dict[str, str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    _, visits = read(arguments.source / "VISIT_OCCURRENCE.csv")
    stays = [row for _, row in visits if row["visit_concept_id"] == INPATIENT]
    people = sorted({row["person_id"] for row in stays}, key=int)
    first = set(people[:N_FIRST])
    for table in (*WHOLE, *FIRST_PEOPLE):
        header, rows = read(arguments.source / f"{table}.csv")
        kept = [
            line
            for line, row in rows
            if row["person_id"] in people
            and (table in WHOLE or row["person_id"] in first or row.get("visit_concept_id") == INPATIENT)
        ]
        write(arguments.target / f"{table}.csv.gz", "".join([header, *kept]))
    (arguments.target / "extract_manifest.json").write_text(STATEMENT, encoding="utf-8")
    _, persons = read(arguments.source / "PERSON.csv")
    (arguments.target / "participants.csv").write_text(draw_participants(persons, stays), encoding="utf-8")


def read(path: Path) -> tuple[str, Rows]:
    """The header line, and every line with its cells; no cell of the set holds a line break."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = file.readlines()
    names = header.strip().split(",")
    return header, [(line, dict(zip(names, next(csv.reader([line])), strict=True))) for line in lines]


def write(path: Path, text: str) -> None:
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        packed.write(text.encode())


def draw_participants(people: Rows, stays: list[dict[str, str]]) -> str:
    """An allocation list as CSV text: 40 people of the peer arm and 20 of the control arm, each in their first stay
    that they began as adults, that lasted a night and that ended in the window."""
    births = {row["person_id"]: int(row["year_of_birth"]) for _, row in people}
    first: dict[str, date] = {}
    for row in sorted(stays, key=lambda row: row["visit_start_date"]):
        start, end = date.fromisoformat(row["visit_start_date"]), date.fromisoformat(row["visit_end_date"])
        is_adult = start.year - births[row["person_id"]] > ADULT_YEARS
        if is_adult and end > start and WINDOW[0] <= end <= WINDOW[1]:
            first.setdefault(row["person_id"], start)
    rng = random.Random(SEED)
    drawn = rng.sample(sorted(first, key=int), N_PEER + N_CONTROL)
    lines = ["person_id,arm,site,allocation_date,consent"]
    for place, person in enumerate(drawn):
        arm = "PEER" if place < N_PEER else "CONTROL"
        lines.append(f"{person},{arm},S1,{first[person]},Y")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
