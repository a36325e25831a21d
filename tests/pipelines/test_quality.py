"""What is counted of the records' quality, on worlds small enough to count by hand; buckets add up."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.codelists import CODELISTS, LIST_OF_COLUMN, read_codelist
from pipelines.errors import CohortError, SourceError
from pipelines.extract import add_up_spells, count_spells, thin_months
from pipelines.protocol import FollowUp
from pipelines.quality import (
    QUALITY_SCHEMA,
    BucketQuality,
    add_up,
    count_codes,
    count_missing,
    count_provider_months,
    measure_bucket,
    refuse_unknown_moves,
)
from pipelines.tables import TABLES
from tests.histories import random_world
from tests.naive_stays import Facts, find_thin_months, month_of
from tests.spec.eligible_person import ELIGIBLE, FIRST, readmitted
from tests.spec.text_tables import write_world
from tests.worlds import World, submissions_of, successor, whole_row


def measure(world: World) -> BucketQuality:
    people = world.people()
    return measure_bucket(
        world.frames(), people.stays, people.cohort, people.outcomes, world.extract_facts(), world.follow_up
    )


def counts(frame: pl.DataFrame, part: str, *by: str) -> dict[Any, int]:
    mine = frame.filter((pl.col("part") == part) & (pl.col("n") > 0))
    return {key[0] if len(by) == 1 else key: row[-1] for *key, _ in [] for row in []} or {
        (row[0] if len(by) == 1 else row[:-1]): row[-1] for row in mine.select(*by, "n").iter_rows()
    }


def test_spells_before_and_after_linking() -> None:
    world = write_world(
        """
        spell     start       end         ward  provider  month
        first     2016-01-01  -           10    RAA       2016-01
        first     2016-01-01  2016-02-10  10    RAA       2016-02
        moved     2016-02-11  2016-03-01  10    RBB       2016-03
        twin      2016-02-11  2016-03-01  10    RBB       2016-04
        reversed  2016-06-10  2016-06-01  -     RAA       2016-06
        old       1900-01-01  2016-08-01  -     RAA       2016-08
        none      -           2016-09-01  -     RAA       2016-09
        day       2016-10-01  2016-10-01  10    RAA       2016-10
        still     2020-03-01  -           10    RAA       2020-03
        """,
        ward_stay="""
        spell_id  ward_stay_id  start_date  end_date    bed_class_code
        reversed  w1            2016-06-10  2016-06-20  10
        old       w2            2016-07-15  2016-08-01  10
        """,
    )
    found = measure(world).records
    assert counts(found, "linkage", "subject") == {
        "rows_submitted": 9,
        "spells_latest_month": 8,  # first was sent twice
        "spells_with_a_start": 7,  # none has no ward either
        "spells_without_twins": 6,
        "continuous_stays": 5,  # first and moved lie a day apart
    }
    assert counts(found, "repair", "subject") == {
        "placeholder_date": 1,
        "discharge_before_start": 1,
        "start_from_ward": 1,
        "no_start_at_all": 1,
        "discharge_from_ward": 1,  # reversed ends with its ward
        "still_open": 1,
    }
    assert counts(found, "stay", "subject") == {
        "of_several_spells": 1,
        "is_zero_day": 1,
        "ended_by_discharge": 4,
        "open": 1,
    }


def test_a_spell_that_stopped_arriving_is_counted() -> None:
    found = measure(write_world("spell start end ward provider month\ngone 2016-01-01 - 10 RAA 2016-01")).records
    assert counts(found, "repair", "subject") == {"stopped_arriving": 1}
    assert counts(found, "stay", "subject") == {"inactive": 1}


def test_a_death_before_everything_known_of_the_person_is_counted() -> None:
    world = write_world(
        "spell start end ward provider month\na 2018-01-01 2018-01-10 10 RAA 2018-01", death="death_date\n2015-03-04"
    )
    assert counts(measure(world).records, "repair", "subject") == {"death_before_records": 1}


def test_codes_are_in_their_list_or_missing_or_neither() -> None:
    def spell(**cells: Any) -> dict[str, Any]:
        return whole_row("spell", **cells)

    tables = {name: table.empty() for name, table in TABLES.items()}
    gone = date(2017, 3, 1)
    tables["spell"] = pl.DataFrame(
        [
            spell(method_code="2A", discharge_date=gone, destination_code="19"),
            spell(method_code="2a", discharge_date=gone, destination_code="ZZ"),
            spell(method_code=None, discharge_date=gone),
            spell(method_code="82"),  # a birth; and without a discharge no destination is looked for
        ],
        schema=TABLES["spell"].schema,
    )
    tables["diagnosis"] = pl.DataFrame(
        [
            whole_row("diagnosis", scheme_code=scheme, diagnosis_code=code)
            for scheme, code in (
                ("02", "F20.0"),
                ("02", "2F0"),
                ("02", None),
                ("06", "Eu20"),
                ("ICD", "F20"),
                (None, "F31"),
            )
        ],
        schema=TABLES["diagnosis"].schema,
    )
    found = counts(count_codes(tables), "code", "subject", "state")
    assert found == {
        ("spell.method_code", "valid"): 1,
        ("spell.method_code", "unknown"): 2,
        ("spell.method_code", "missing"): 1,
        ("spell.source_code", "missing"): 4,
        ("spell.discharge_method_code", "missing"): 3,
        ("spell.destination_code", "valid"): 1,
        ("spell.destination_code", "unknown"): 1,
        ("spell.destination_code", "missing"): 1,
        ("diagnosis.scheme_code", "valid"): 4,
        ("diagnosis.scheme_code", "unknown"): 1,
        ("diagnosis.scheme_code", "missing"): 1,
        ("diagnosis.diagnosis_code", "valid"): 2,
        ("diagnosis.diagnosis_code", "unknown"): 1,
        ("diagnosis.diagnosis_code", "missing"): 1,
    }


@pytest.mark.parametrize(
    ("provider", "mergers", "where"),
    [("RAA", None, "same_provider"), ("RBB", None, "another_provider"), ("RBB", "old new\nRBB RAA", "same_provider")],
)
def test_where_people_were_readmitted(provider: str, mergers: str | None, where: str) -> None:
    world = write_world(readmitted("2017-05-01", "2017-05-20", provider=provider), mergers=mergers, **FIRST)
    assert counts(measure(world).outcomes, "readmission", "arm", "state") == {("virtual", where): 1}


ENDS = {"censor_at": ["end_of_data", "provider_silence", "moved_away"], "moved_away_codes": ["03"]}
MOVED = {"follow_up": ENDS}
IN_PERIODS = {"follow_up": {"censor_at": ["end_of_data", "observation_period"]}}
MOVE = "referral_id closed_date closure_reason_code\nr1 2017-06-15 03"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "whole"),
        ({"period_end": "2017-06-30"}, "end_of_data"),
        ({"silent": "provider from until\nRAA 2017-06 2017-06"}, "provider_sent_nothing"),
        ({"silent": "provider from until\nRAA 2017-06 2017-06", "death": "death_date\n2017-04-05"}, "whole"),
        ({"follow_up": {"silence_chance": 1, "silence_minimum_spells": 1}}, "provider_sent_too_few"),
        (MOVED | {"referral": MOVE}, "moved_away"),
        (MOVED | {"referral": MOVE, "period_end": "2017-05-31"}, "end_of_data"),
        (MOVED | {"referral": MOVE, "period_end": "2017-06-15"}, "end_of_data"),  # the day of the move
        (MOVED | {"referral": MOVE, "silent": "provider from until\nRAA 2017-05 2017-05"}, "provider_sent_nothing"),
        (MOVED | {"referral": MOVE, "silent": "provider from until\nRAA 2017-07 2017-07"}, "moved_away"),
        (IN_PERIODS | {"observation_period": "start_date end_date\n2010-01-01 2017-06-15"}, "observation_period"),
        (IN_PERIODS | {"observation_period": "start_date end_date\n2010-01-01 2019-12-31"}, "whole"),
    ],
)
def test_how_follow_up_ended(changes: dict[str, Any], state: str) -> None:
    # One spell of somebody else in every month: the median is 1, so a month without any is thin, June 2017 here.
    months = [f"{y}-{m:02d}" for y in range(2014, 2021) for m in range(1, 13) if f"{y}-{m:02d}" != "2017-06"]
    crowd = [f"q in 2014-12-01 - 20 RAA {month}" for month in months if "2014-12" <= month <= "2020-03"]
    mine = [f"p {line} -" for line in ELIGIBLE.strip().splitlines()[1:]]
    world = write_world("\n".join(["person spell start end ward provider month", *mine, *crowd]), **changes)
    assert counts(measure(world).outcomes, "observation", "arm", "state") == {("virtual", state): 1}


def test_why_referrals_were_closed() -> None:
    referral = """
        referral_id  closed_date  closure_reason_code  month
        sent_twice   2017-06-15   03                   2017-06
        sent_twice   2017-06-15   03                   2017-07
        another      2017-06-15   02                   2017-06
        unsaid       2017-06-15   -                    2017-06
        by_team      2017-06-15   -                    2017-06
        open         -            03                   2017-06
    """
    team = """
        referral_id  team_id  closed_date  closure_reason_code  month
        by_team      one      -            03                   2017-06
        by_team      two      2017-06-01   02                   2017-06
        another      one      -            -                    2017-06
    """
    world = write_world(ELIGIBLE, referral=referral, referral_team=team, **MOVED)
    found = counts(measure(world).records, "closing", "subject")
    assert found == {"closed_moved_away": 2, "closed_another_reason": 1, "closed_no_reason": 1}
    plain = write_world(ELIGIBLE, referral=referral, referral_team=team)
    assert counts(measure(plain).records, "closing", "subject") == {}


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("02", "no referral of the extract was closed with 03"),
        ("-", "no closed referral of the extract says why it was closed"),
        ("03", None),
    ],
)
def test_a_protocol_that_counts_on_moves_is_refused_where_none_is_told(reason: str, why: str | None) -> None:
    referral = f"referral_id closed_date closure_reason_code\nr1 2017-06-15 {reason}"
    world = write_world(ELIGIBLE, referral=referral, **MOVED)
    if why is None:
        refuse_unknown_moves(measure(world).records, world.follow_up)
    else:
        with pytest.raises(CohortError, match=why):
            refuse_unknown_moves(measure(world).records, world.follow_up)
    refuse_unknown_moves(measure(world).records, FollowUp())


def test_months_of_providers() -> None:
    months = list(range(1401, 1411))
    world = World(
        tables={
            "spell": [
                whole_row("spell", person_id=f"p{n}", spell_id=f"s{n}", provider_id=provider, month_id=month)
                for provider, sent in (("OLD", months[:4]), ("NEW", months[4:]), ("ODD", [*months[1:3], *months[5:7]]))
                for month in sent
                for n in range(1 if (provider, month) == ("NEW", 1408) else 4)
            ]
        },
        facts=Facts(
            date(2017, 9, 30),
            1410,
            [
                *submissions_of("OLD", months[:4]),
                *submissions_of("NEW", months[4:]),
                *submissions_of("ODD", [*months[1:3], *months[5:7]]),
                *submissions_of("COMMUNITY", months),  # never sent a spell: not listed
            ],
            [successor("OLD", "NEW")],
        ),
        follow_up=FollowUp(silence_minimum_spells=4, silence_chance=1),
    )
    found = count_provider_months(world.extract_facts(), count_spells(world.frames()["spell"]))
    states = {
        provider: [row["state"] for row in found.filter(pl.col("subject") == provider).to_dicts()]
        for provider in ("OLD", "NEW", "ODD")
    }
    assert set(found["subject"]) == set(states)
    assert states["OLD"] == ["submitted"] * 4 + ["merged"] * 6
    assert states["NEW"] == ["before_first"] * 4 + ["submitted"] * 3 + ["too_few"] + ["submitted"] * 2
    assert (
        states["ODD"]
        == ["before_first", "submitted", "submitted", "nothing", "nothing", "submitted", "submitted"]
        + ["after_last"] * 3
    )
    assert found.filter(pl.col("state") == "too_few")["n"].to_list() == [1]


def test_missing_values_by_arm_and_month() -> None:
    people = pl.DataFrame(
        {
            "row_id": [0, 1, 2, 3],
            "index_date": [date(2017, 3, 1), date(2017, 3, 31), date(2017, 4, 1), date(2017, 4, 1)],
            "arm": ["peer", "virtual", "virtual", "virtual"],
            "is_eligible": [True, True, True, False],
        }
    )
    baseline = people.select("row_id", "index_date", person_id=pl.col("row_id").cast(pl.String)).with_columns(
        age_years=pl.Series([40, None, 30, None]),
        score=pl.Series([None, float("nan"), 1.5, None]),
        ethnic_group=pl.Series(["unknown", "white", None, None]),
        is_settled=pl.Series([True, None, False, None]),
    )
    march, april = month_of(date(2017, 3, 1)), month_of(date(2017, 4, 1))
    found = count_missing(people, baseline)
    assert found.schema == pl.Schema(QUALITY_SCHEMA)
    missing = found.filter(pl.col("state") == "missing")
    assert counts(missing, "missing", "subject", "arm", "month_id") == {
        ("age_years", "virtual", march): 1,
        ("score", "peer", march): 1,
        ("score", "virtual", march): 1,
        ("ethnic_group", "peer", march): 1,
        ("ethnic_group", "virtual", april): 1,
        ("is_settled", "virtual", march): 1,
    }
    assert found["n"].sum() == 4 * 3  # four covariates of three eligible rows, missing or known


def test_missing_values_of_rows_without_dates_have_no_month() -> None:
    people = pl.DataFrame(
        {"row_id": [0, 1], "index_date": [None, None], "arm": ["peer", "virtual"], "is_eligible": [True, True]},
        schema_overrides={"index_date": pl.Date},
    )
    baseline = people.select("row_id", "index_date", person_id=pl.lit("x"), age=pl.Series([1.0, None]))
    found = count_missing(people, baseline)
    assert found["month_id"].null_count() == found.height
    assert counts(found, "missing", "arm", "state") == {("peer", "known"): 1, ("virtual", "missing"): 1}


@pytest.mark.parametrize("seed", range(5))
def test_buckets_add_up_to_the_whole(seed: int) -> None:
    world = random_world(seed, most_people=100)
    whole, people, facts = measure(world), world.people(), world.extract_facts()
    frames = world.frames()
    ids = sorted({row["person_id"] for rows in world.tables.values() for row in rows})
    parts = []
    for bucket in range(4):
        mine = pl.col("person_id").is_in(ids[bucket::4])
        tables = {name: frame.filter(mine) for name, frame in frames.items()}
        kept = [frame.filter(mine) for frame in (people.stays, people.cohort, people.outcomes)]
        parts.append(measure_bucket(tables, *kept, facts, world.follow_up))
    assert len(ids) > 4
    for name in ("records", "outcomes"):
        added = add_up([getattr(part, name) for part in parts]).sort(QUALITY_SCHEMA.keys())
        assert added.equals(add_up([getattr(whole, name)]).sort(QUALITY_SCHEMA.keys())), name
    spells = frames["spell"]
    split = [count_spells(spells.filter(pl.col("person_id").is_in(ids[bucket::4]))) for bucket in range(4)]
    assert add_up_spells(split).equals(count_spells(spells))


@settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    counted=st.lists(st.tuples(st.sampled_from("AB"), st.integers(1400, 1406), st.integers(0, 5)), max_size=14),
    submitted=st.sets(st.tuples(st.sampled_from("ABC"), st.integers(1400, 1406)), min_size=1),
    below=st.sampled_from([0.0, 0.4, 0.5, 0.9]),
    chance=st.sampled_from([1.0, 0.2, 0.001]),
    minimum=st.integers(1, 5),
)
def test_thin_months_are_those_of_the_reference(
    counted: list[tuple[str, int, int]],
    submitted: set[tuple[str, int]],
    below: float,
    chance: float,
    minimum: int,
) -> None:
    rows = [
        whole_row("spell", person_id=f"p{n}", spell_id=f"s{n % 3}", provider_id=provider, month_id=month)
        for provider, month, spells in counted
        for n in range(spells)
    ]
    submissions = [row for provider, month in sorted(submitted) for row in submissions_of(provider, [month])]
    rule = FollowUp(silence_below=below, silence_chance=chance, silence_minimum_spells=minimum)
    frame = pl.DataFrame(submissions, schema=TABLES["submission"].schema)
    spells = count_spells(pl.DataFrame(rows, schema=TABLES["spell"].schema))
    found = thin_months(frame, spells, below, chance, minimum)
    assert set(found.iter_rows()) == find_thin_months(rows, Facts(date(2017, 9, 30), 1410, submissions, []), rule)


def test_the_default_judges_a_provider_by_what_chance_would_leave() -> None:
    months = list(range(1401, 1413))
    submissions = pl.DataFrame(submissions_of("R1", months), schema=TABLES["submission"].schema)
    # Poisson: 14 or fewer of 30 with probability 0.0009; 15 is half.
    for usual, low, is_thin in ((29, 0, False), (30, 14, True), (30, 15, False)):
        spells = pl.DataFrame(
            {"provider_id": "R1", "month_id": months, "n_spells": [low if m == 1405 else usual for m in months]}
        )
        rule = FollowUp()
        found = thin_months(submissions, spells, rule.silence_below, rule.silence_chance, rule.silence_minimum_spells)
        assert found.rows() == [("R1", 1405)] * is_thin


@pytest.mark.parametrize("path", sorted(CODELISTS.glob("*.csv")), ids=lambda path: path.stem)
def test_every_code_list_says_where_it_comes_from(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines if line.startswith("#")]
    assert "Source: " in "".join(comment)
    terms = read_codelist(path.stem)
    assert len(terms) == len(lines) - len(comment) - 1
    assert all(code == code.strip().upper() and code for code in terms)
    code = "".join(module.read_text(encoding="utf-8") for module in (CODELISTS.parents[1] / "pipelines").rglob("*.py"))
    assert path.stem in LIST_OF_COLUMN.values() or f'read_codelist("{path.stem}")' in code


def test_a_code_list_with_another_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.codelists.CODELISTS", tmp_path)
    (tmp_path / "wrong.csv").write_text("# Source: none\ncode,meaning\n1,one\n")
    (tmp_path / "twice.csv").write_text("code,term\n1,one\n1,uno\n")
    with pytest.raises(SourceError, match="two columns, code,term"):
        read_codelist("wrong")
    with pytest.raises(SourceError, match="a code is named twice"):
        read_codelist("twice")
