"""The Synthea 1k set in OMOP layout -> a small folder of the same shape, and a list of participants drawn at random.

    python tests/data/cut_omop.py <folder of the CSV files> tests/data/omop_mini

Everybody with an inpatient visit is kept, with every inpatient visit, so that counts of stays are those of the whole
set; of the other visits and the procedures only those of the first 40 people, in order of their ids. Lines are copied
as they were written. The list of participants is invented: 30 of the people with two inpatient visits within two years
between 2008 and 2017, drawn with a fixed seed, the second of those visits being the stay of their allocation.
"""

import argparse
import csv
import gzip
import random
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

WHOLE = ("PERSON", "OBSERVATION_PERIOD", "CONDITION_OCCURRENCE")
FIRST_PEOPLE = ("VISIT_OCCURRENCE", "PROCEDURE_OCCURRENCE")
N_FIRST = 40
INPATIENT = "9201"
N_PEER, N_CONTROL = 20, 10
SEED = 20190109
WINDOW = (date(2008, 1, 1), date(2017, 12, 31))
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
    (arguments.target / "participants.csv").write_text(draw_participants(stays), encoding="utf-8")


def read(path: Path) -> tuple[str, Rows]:
    """The header line, and every line with its cells; no cell of the set holds a line break."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = file.readlines()
    names = header.strip().split(",")
    return header, [(line, dict(zip(names, next(csv.reader([line])), strict=True))) for line in lines]


def write(path: Path, text: str) -> None:
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        packed.write(text.encode())


def draw_participants(stays: list[dict[str, str]]) -> str:
    """An allocation list as CSV text: 20 people of the peer arm and 10 of the control arm."""
    dates: dict[str, list[tuple[date, date]]] = {}
    for row in stays:
        span = (date.fromisoformat(row["visit_start_date"]), date.fromisoformat(row["visit_end_date"]))
        dates.setdefault(row["person_id"], []).append(span)
    choices = {person: _second_stays(sorted(spans)) for person, spans in dates.items()}
    rng = random.Random(SEED)
    eligible = sorted((person for person, found in choices.items() if found), key=int)
    drawn = rng.sample(eligible, N_PEER + N_CONTROL)
    lines = ["person_id,arm,site,allocation_date,consent"]
    for place, person in enumerate(drawn):
        arm = "PEER" if place < N_PEER else "CONTROL"
        lines.append(f"{person},{arm},S1,{rng.choice(choices[person])[0]},Y")
    return "\n".join(lines) + "\n"


def _second_stays(spans: list[tuple[date, date]]) -> list[tuple[date, date]]:
    return [
        span
        for before, span in pairwise(spans)
        if WINDOW[0] <= span[1] <= WINDOW[1] and span[0] - before[1] < timedelta(days=730) and span[0] > before[1]
    ]


if __name__ == "__main__":
    main()
