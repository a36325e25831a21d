"""A third-party sample extract -> a small folder of the same shape, line by line as they were written.

    python tests/data/cut_mini.py <sample folder> tests/data/mhsds_mini_v5 --people 120
    python tests/data/cut_mini.py <sample folder> tests/data/mhsds_mini_v6 --people 40

Lines are copied as bytes, so byte-order marks, quotes, header case, column order, stray spaces and placeholders stay.
People are taken in this order: 25 participants of both arms (also without consent, without an index spell), then for
each kind of mess the first few people it happens to, then people with a hospital spell, all in order of their ids.
The same sample gives the same bytes.
"""

import argparse
import csv
import gzip
import re
from collections import defaultdict
from pathlib import Path

N_PARTICIPANTS = 25
N_PER_MESS = 4
N_ANONYMOUS_LINES = 3
PERSON_HEADERS = {"person_id", "encrypted_hesid", "token_person_id"}
MERGED = {"ZC2", "ZC8", "ZC9"}  # the providers of provider_successors.csv in the version 5 sample

Line = tuple[bytes, dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--people", type=int, required=True)
    arguments = parser.parse_args()
    files = {path.name: read_lines(path) for path in sorted(arguments.source.glob("*.csv*"))}
    owners = find_owners(files)
    people = choose_people(files, owners, arguments.people)
    arguments.target.mkdir(parents=True, exist_ok=True)
    lsoas, teams = follow_references(files, owners, people)
    for name, (header, lines) in files.items():
        kept = [raw for raw, row in lines if is_kept(name, row, owners, people, lsoas, teams)]
        anonymous = [raw for raw, row in lines if row.get("orgidprov", "").strip().upper() == "DFC"]
        kept += [raw for raw in anonymous[:N_ANONYMOUS_LINES] if raw not in kept]
        write_lines(arguments.target / name, [header, *kept])
    description = arguments.source / "extract_manifest.json"
    (arguments.target / description.name).write_bytes(description.read_bytes())


def read_lines(path: Path) -> tuple[bytes, list[Line]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header, *lines = content.splitlines(keepends=True)
    names = [name.strip().lower() for name in next(csv.reader([header.decode("utf-8-sig").strip()]))]
    rows = csv.reader(line.decode() for line in lines)
    return header, [(raw, dict(zip(names, row, strict=True))) for raw, row in zip(lines, rows, strict=True)]


def write_lines(path: Path, lines: list[bytes]) -> None:
    content = b"".join(lines)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def own_id(row: dict[str, str]) -> str:
    """The person a row names itself; '' for blanks and placeholders."""
    person = next((row[name].strip() for name in PERSON_HEADERS if name in row), "")
    return "" if person.startswith("<") else person


def find_owners(files: dict[str, tuple[bytes, list[Line]]]) -> dict[str, str]:
    """Record number -> person, from every table, so that rows without an id stay with their person."""
    return {
        row["recordnumber"]: own_id(row)
        for _, lines in files.values()
        for _, row in lines
        if "recordnumber" in row and own_id(row)
    }


def owner(row: dict[str, str], owners: dict[str, str]) -> str:
    return own_id(row) or owners.get(row.get("recordnumber", ""), "")


def choose_people(files: dict[str, tuple[bytes, list[Line]]], owners: dict[str, str], n_people: int) -> set[str]:
    listed = [row for _, row in files["participants.csv"][1]]
    special = [row for row in listed if row["consent_to_linkage"] != "Y" or not row["index_spell_id"]]
    arms = [[row for row in listed if row["arm"] == arm and row not in special[:5]] for arm in ("peer", "control")]
    alternating = [row for pair in zip(*arms, strict=False) for row in pair]
    chosen = [row["person_id"] for row in [*special[:5], *alternating][:N_PARTICIPANTS]]
    others = {row["person_id"] for row in listed}
    by_mess: dict[str, set[str]] = defaultdict(set)
    for name, (_, lines) in files.items():
        seen = set()
        for raw, row in lines:
            person = owner(row, owners)
            if person and person not in others:
                for mess in messes(name, raw, row, seen):
                    by_mess[mess].add(person)
            seen.add(raw)
    for mess in sorted(by_mess):
        chosen += sorted(by_mess[mess])[:N_PER_MESS]
    chosen += sorted(by_mess["has_spell"])
    return set(list(dict.fromkeys(chosen))[:n_people])


def messes(name: str, raw: bytes, row: dict[str, str], seen: set[bytes]) -> list[str]:
    table = name[:6]
    spell = table in {"MHS501", "MHS502"}
    found = {
        f"no_id_{table}": "recordnumber" in row and not own_id(row),
        f"placeholder_{table}": b"<NHS_No>" in raw,
        f"duplicate_{table}": raw in seen,
        "1900": spell and bool(re.search(rb"1900-01-01|01/01/1900", raw)),
        "slashes": spell and bool(re.search(rb"\d\d/\d\d/\d{4}", raw)),
        "merged": spell and row["orgidprov"] in MERGED,
        "order": table == "MHS404",
        "leave": table == "MHS509",
        "death": table == "ONS_de",
        "has_spell": table == "MHS501",
    }
    return [mess for mess, is_so in found.items() if is_so]


def follow_references(
    files: dict[str, tuple[bytes, list[Line]]], owners: dict[str, str], people: set[str]
) -> tuple[set[str], set[tuple[str, str]]]:
    """Areas, and teams and wards of a submission, that the people's rows point to."""
    lsoas, details = set(), set()
    for _, lines in files.values():
        for _, row in lines:
            if owner(row, owners) in people:
                lsoas |= {row.get("lsoa2011", "").strip(), row.get("lsoa11", "").strip()}
                for column in ("uniqcareprofteamlocalid", "uniqothercareprofteamlocalid", "uniqwardcode"):
                    details.add((row.get("nhseuniqsubmissionid", ""), row.get(column, "")))
    return lsoas, details


def is_kept(
    name: str,
    row: dict[str, str],
    owners: dict[str, str],
    people: set[str],
    lsoas: set[str],
    details: set[tuple[str, str]],
) -> bool:
    if name.startswith("imd_lookup"):
        return row["lsoa2011"] in lsoas
    if name.startswith(("MHS902", "MHS903")):
        place = row.get("uniqcareprofteamlocalid") or row.get("uniqwardcode", "")
        return (row["nhseuniqsubmissionid"], place) in details
    if name.startswith(("MHS000", "provider_successors")):
        return True
    return owner(row, owners) in people


if __name__ == "__main__":
    main()
