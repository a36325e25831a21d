"""Bridging files: chains, circles, forks, and people who are one person in the lake."""

from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.lake import update_lake, write_lake
from pipelines.sources.bridge import cross_bridge, follow_bridge
from pipelines.sources.participants import SET_ASIDE, bridge_participants
from tests.tiny_extract import (
    CONTACT,
    PERSON,
    SPELL,
    WARD,
    Rows,
    load,
    read_all,
    read_quarantine,
    tiny,
    write_csv,
    write_extract,
)


def steps(*pairs: str) -> Rows:
    return [dict(zip(("old_person_id", "new_person_id"), pair.split(">"), strict=True)) for pair in pairs]


def people(tmp_path: Path, bridge: Rows, *ids: str) -> list[str]:
    """Whose the spells of some pseudonyms are."""
    rows = [
        SPELL | {"MHS501UniqID": str(n), "Person_ID": person, "UniqHospProvSpellID": f"S{n}"}
        for n, person in enumerate(ids)
    ]
    lake = load(tmp_path, MHS501HospProvSpell=rows, person_bridge=bridge)
    return read_all(lake, "spell").sort("row_id")["person_id"].to_list()


def test_an_old_pseudonym_becomes_the_new_one_in_every_table(tmp_path: Path) -> None:
    old = {"Person_ID": "Old"}
    lake = load(
        tmp_path,
        MHS001MPI=[PERSON | old],
        MHS501HospProvSpell=[SPELL | old],
        MHS502WardStay=[WARD],
        MHS201CareContact=[CONTACT | old],
        ONS_deaths=[{"ENCRYPTED_HESID": "Old", "DOD": "2018-01-01", "DOR": "", "CAUSE_OF_DEATH": ""}],
        person_bridge=steps("Old>Anna"),
    )
    for table in ("person_month", "spell", "ward_stay", "contact", "death"):
        assert read_all(lake, table)["person_id"].to_list() == ["Anna"]
    assert lake.read_reference("person_bridge").rows() == [("Old", "Anna")]


def test_chains_are_followed_to_their_end(tmp_path: Path) -> None:
    chain = steps("a>b", "b>c", "c>d", "d>e", "x>c")
    assert people(tmp_path, chain, "a", "c", "e", "x", "z") == ["e", "e", "e", "e", "z"]


def test_chains_go_on_from_file_to_file(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=[SPELL | {"Person_ID": "v3"}]))
    write_csv(source / "person_bridge_v4.csv", steps("v3>v4"))
    write_csv(source / "bridging_v5.csv", [{"Person_ID": "v4", "Pseudo_NHS_Number": "v5"}])
    assert read_all(write_lake(source, tmp_path / "lake"), "spell")["person_id"].to_list() == ["v5"]


def test_a_row_without_a_person_takes_the_new_pseudonym_of_its_record(tmp_path: Path) -> None:
    lake = load(
        tmp_path,
        MHS001MPI=[PERSON | {"Person_ID": "Old"}],
        MHS501HospProvSpell=[SPELL | {"Person_ID": ""}],
        person_bridge=steps("Old>Anna"),
    )
    assert read_all(lake, "spell")["person_id"].to_list() == ["Anna"]
    assert read_quarantine(lake).is_empty()


def test_two_pseudonyms_of_one_record_that_are_one_person_are_no_dispute(tmp_path: Path) -> None:
    lake = load(
        tmp_path,
        MHS001MPI=[PERSON, PERSON | {"MHS001UniqID": "2", "Person_ID": "Old"}],
        MHS501HospProvSpell=[SPELL | {"Person_ID": ""}],
        person_bridge=steps("Old>Anna"),
    )
    assert read_all(lake, "spell")["person_id"].to_list() == ["Anna"]


@pytest.mark.parametrize(
    ("pairs", "lines"),
    [
        (["a>b", "b>a"], "2, 3"),
        (["x>y", "a>b", "b>c", "c>a"], "3, 4, 5"),
        (["in>a", "a>b", "b>a"], "2, 3, 4"),  # what leads into a circle has no end either
    ],
)
def test_a_circle_is_refused_by_file_and_line(tmp_path: Path, pairs: list[str], lines: str) -> None:
    with pytest.raises(SourceError) as caught:
        people(tmp_path, steps(*pairs), "a")
    assert caught.value.problems == [f"person_bridge_2017.csv, line {lines}: the bridge leads in a circle"]


def test_a_circle_over_two_files_names_both(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny())
    write_csv(source / "person_bridge_a.csv", steps("x>y", "a>b"))
    write_csv(source / "person_bridge_b.csv", steps("b>a"))
    with pytest.raises(SourceError) as caught:
        write_lake(source, tmp_path / "lake")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "person_bridge_a.csv, line 3",
        "person_bridge_b.csv, line 2",
    ]


def test_a_pseudonym_that_becomes_two_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=r"person_bridge_2017\.csv, line 2, 4: gives a pseudonym that was given"
    ) as caught:
        people(tmp_path, steps("secret>b", "c>d", "secret>e"), "a")
    assert "secret" not in str(caught.value)


def test_a_pseudonym_that_stays_or_is_told_twice_is_no_error(tmp_path: Path) -> None:
    assert people(tmp_path, steps("a>a", "b>c", "b>c"), "a", "b") == ["a", "c"]


def test_another_bridge_is_another_load_and_no_bridge_the_first(tmp_path: Path) -> None:
    source = write_extract(tmp_path / "source", tiny(MHS501HospProvSpell=[SPELL | {"Person_ID": "Old"}]))
    lakes = tmp_path / "lake"
    first = write_lake(source, lakes, n_buckets=2)
    write_csv(source / "person_bridge.csv", steps("Old>Anna"))
    bridged, work = update_lake(source, lakes, n_buckets=2)
    assert read_all(bridged, "spell")["person_id"].to_list() == ["Anna"]
    assert work.n_files_parsed == 4  # the bridge, and all that is about people; the header stays
    (source / "person_bridge.csv").unlink()
    again = write_lake(source, lakes, n_buckets=2)
    assert again.manifest == first.manifest


def test_long_chains_in_any_order() -> None:
    length = 1000
    links = pl.DataFrame({"old_person_id": [str(n) for n in range(length)]}).with_columns(
        new_person_id=(pl.col("old_person_id").cast(pl.Int64) + 1).cast(pl.String)
    )
    followed = follow_bridge(links.sample(fraction=1, shuffle=True, seed=1))
    assert followed.height == length
    assert followed["new_person_id"].unique().to_list() == [str(length)]


def test_rows_of_others_are_left_as_they_are() -> None:
    bridge = pl.DataFrame({"old_person_id": ["a"], "new_person_id": ["b"]})
    rows = pl.DataFrame({"person_id": ["x", None, "a", "b"], "n": [1, 2, 3, 4]})
    assert cross_bridge(rows, bridge)["person_id"].to_list() == ["x", None, "b", "b"]
    assert cross_bridge(rows.head(2), bridge).equals(rows.head(2))


def test_participants_are_found_under_their_new_pseudonym_once() -> None:
    listed = pl.DataFrame(
        {"person_id": ["b", "old", "new", "x"], "arm_code": ["PEER", "PEER", "PEER", "CONTROL"], "line": [2, 3, 5, 6]},
        schema_overrides=dict.fromkeys(("person_id", "arm_code"), pl.String),
    )
    set_aside = pl.DataFrame([(4, "missing:arm_code", "{}", "mid")], schema=SET_ASIDE, orient="row")
    bridge = pl.DataFrame({"old_person_id": ["old", "mid", "b", "x"], "new_person_id": ["mid", "new", "b", "b"]})
    crossed, aside = bridge_participants(listed, set_aside, bridge)
    assert crossed.rows() == [("new", "PEER", 3)]
    assert aside.rows() == [
        (2, "in_both_arms", '{"person_id":"b","arm_code":"PEER"}', "b"),
        (4, "missing:arm_code", "{}", "new"),
        (5, "duplicate_person", '{"person_id":"new","arm_code":"PEER"}', "new"),
        (6, "in_both_arms", '{"person_id":"b","arm_code":"CONTROL"}', "b"),
    ]


@pytest.mark.parametrize(
    ("reason", "doubt"),
    [
        ("bad_code:consent_code", "consent_in_doubt"),
        ("consent_in_doubt", "consent_in_doubt"),
        ("bad_date:allocation_date", "allocation_in_doubt"),
        ("in_both_arms", "arm_in_doubt"),
        ("missing:consent_code", None),
    ],
)
def test_doubt_under_one_pseudonym_is_doubt_under_the_other(reason: str, doubt: str | None) -> None:
    listed = pl.DataFrame({"person_id": ["new"], "arm_code": ["PEER"], "line": [2]})
    set_aside = pl.DataFrame([(3, reason, "{}", "old")], schema=SET_ASIDE, orient="row")
    bridge = pl.DataFrame({"old_person_id": ["old"], "new_person_id": ["new"]})
    crossed, aside = bridge_participants(listed, set_aside, bridge)
    assert crossed.height == (doubt is None)
    assert aside.select("line", "reason", "person_id").rows() == [
        *([(2, doubt, "new")] if doubt else []),
        (3, reason, "new"),
    ]


def test_consent_that_two_pseudonyms_give_and_refuse() -> None:
    listed = pl.DataFrame(
        {"person_id": ["old", "new"], "arm_code": ["PEER"] * 2, "consent_code": ["Y", "N"], "line": [2, 3]}
    )
    bridge = pl.DataFrame({"old_person_id": ["old"], "new_person_id": ["new"]})
    crossed, aside = bridge_participants(listed, SET_ASIDE.to_frame(), bridge)
    assert crossed.is_empty()
    assert aside["reason"].to_list() == ["consent_in_doubt"] * 2
