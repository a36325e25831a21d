"""Covariates: the registry and the functions agree, and nothing found is nought only where that is known."""

import importlib
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.cohort import follow_people
from pipelines.covariate_registry import EVER, FORMS, OF_THE_COHORT, REGISTRY, unknown_names
from pipelines.covariates import service_use
from pipelines.extract import Span
from pipelines.look_back import count_months, table_reach
from pipelines.report.covariate_labels import COVARIATE_LABELS
from pipelines.report.wording import label
from pipelines.sources import mhsds
from pipelines.tables import PARTICIPANT, TABLES
from tests.spec.eligible_person import ELIGIBLE  # admitted on 1 March 2017, index date 31 March 2017
from tests.spec.text_tables import write_world
from tests.tiny_extract import CONTACT, KEYS, SPELL, WARD, header_of, load
from tests.worlds import World

# The spec worlds begin in December 2014, so that all look-backs of the eligible person are covered.
FIRST, LAST = date(2014, 12, 1), date(2020, 3, 31)
MEASURED = [name for name in REGISTRY if name not in OF_THE_COHORT]
KIND = {"count": pl.Int64, "days_since": pl.Int64, "rate": pl.Float64, "indicator": pl.Boolean, "category": pl.String}


def baseline(
    world: World, reach: dict[str, Span] | None = None, gaps: dict[str, tuple[Span, ...]] | None = None
) -> dict[str, object]:
    """Covariates of the only eligible row of a world whose tables reach as given and leave the gaps out."""
    facts = replace(world.extract_facts(), reach=reach or {}, gaps=gaps or {})
    nobody = pl.DataFrame(schema=PARTICIPANT.schema)
    held = frozenset(world.tables)
    people = follow_people(world.frames(), facts, nobody, world.eligibility, world.follow_up, held)
    assert people.baseline.height == 1
    return people.baseline.row(0, named=True)


# The registry


def test_exactly_the_covariates_of_the_registry_are_measured() -> None:
    found = write_world(ELIGIBLE).people().baseline
    assert found.columns == ["person_id", "index_date", *MEASURED]


def test_a_covariate_has_the_type_of_its_form_also_where_nobody_has_a_value() -> None:
    schema = write_world(ELIGIBLE).people().baseline.schema
    assert {REGISTRY[name].form for name in MEASURED} == FORMS.keys()
    assert {name for name in MEASURED if KIND.get(REGISTRY[name].form, schema[name]) != schema[name]} == set()


def test_the_functions_named_by_the_registry_exist() -> None:
    for covariate in REGISTRY.values():
        module, function = covariate.measured_by.split(".")
        places = [f"pipelines.covariates.{module}", f"pipelines.{module}"]
        held = [importlib.import_module(place) for place in places if importlib.util.find_spec(place) is not None]
        assert any(hasattr(place, function) for place in held), covariate.measured_by


def test_the_tables_named_by_the_registry_exist() -> None:
    for table in {table for covariate in REGISTRY.values() for table in covariate.tables}:
        base, _, rest = table.partition(".")
        assert base == "stays" or base in TABLES
        column = rest.partition("=")[0]
        assert not column or column in TABLES[base].schema


def test_the_report_has_words_for_every_covariate() -> None:
    assert set(COVARIATE_LABELS) <= set(REGISTRY)
    as_in_the_code = re.compile(r"^N |\d+d\b|\b(dna|crht|cmht|ed|imd)\b")
    assert [name for name in REGISTRY if as_in_the_code.search(label(name))] == []


def test_every_kind_of_event_is_used_and_every_count_says_what_none_means() -> None:
    used = {c.measured_by.removeprefix("service_use.") for c in REGISTRY.values()}
    assert set(service_use.EVENTS) <= used
    assert [c.name for c in REGISTRY.values() if c.form == "count" and not c.none_is_known] == []


def test_only_look_backs_beyond_a_year_reach_the_placebo_window() -> None:
    assert REGISTRY["n_prior_stays_730d"].sees_earlier_years
    assert not REGISTRY["n_prior_stays_365d"].sees_earlier_years
    assert not REGISTRY["has_personality_disorder"].sees_earlier_years  # diagnoses may (DECISIONS)
    assert not REGISTRY["ethnic_group"].sees_earlier_years
    assert REGISTRY["ethnic_group"].look_back_days == EVER


def test_an_unknown_name_gets_the_names_nearest_to_it() -> None:
    (problem,) = unknown_names(["age_years", "n_crht_365d"])
    assert "'n_crht_365d' is not measured" in problem
    assert "n_crht_365d_before" in problem
    (problem,) = unknown_names(["zzz"])
    assert "docs/covariates.md" in problem


# Nothing found


CONTACTS_BEFORE = """
    contact_date  attendance_code
    2017-03-01    3
    2016-04-01    5
    2016-03-31    6
    2016-03-30    5
    2017-03-31    5
    2017-02-01    2
"""


def test_dna_rate_is_3_of_3_5_and_6_and_the_index_date_does_not_count() -> None:
    found = baseline(write_world(ELIGIBLE, contact=CONTACTS_BEFORE))
    # Day 365 is 31 March 2016; 30 March 2016 lies before it, and 2 is a cancellation.
    assert (found["n_dna_365d_before"], found["n_attended_365d_before"]) == (1, 2)
    assert found["dna_rate_365d_before"] == pytest.approx(1 / 3)
    assert found["days_since_last_dna"] == 30
    assert found["days_since_last_attended_contact"] == 364


def test_without_an_appointment_there_is_no_rate_and_no_day() -> None:
    found = baseline(write_world(ELIGIBLE, contact="contact_date attendance_code\n2017-06-01 3"))
    assert found["n_dna_365d_before"] == 0
    assert found["dna_rate_365d_before"] is None
    assert found["days_since_last_dna"] is None


NOTHING = "contact_date attendance_code\n2019-06-01 5"


@pytest.mark.parametrize(
    ("first", "n"),
    [(date(2016, 3, 31), 0), (date(2016, 4, 1), None)],  # day 365 is the former
)
def test_none_is_nought_only_where_the_table_covers_the_whole_look_back(first: date, n: int | None) -> None:
    world = write_world(ELIGIBLE, contact=NOTHING)
    assert baseline(world, {"contact": (first, LAST)})["n_dna_365d_before"] == n


PARTS: dict[str, dict[str, Any]] = {
    "begins late": {"reach": {"contact": (date(2016, 10, 1), LAST)}},
    "leaves a month out": {"gaps": {"contact": ((date(2016, 12, 1), date(2016, 12, 31)),)}},
    "leaves its first month out": {"gaps": {"contact": ((date(2016, 3, 1), date(2016, 3, 31)),)}},
}


@pytest.mark.parametrize("part", PARTS)
def test_a_count_or_share_is_of_the_whole_look_back_or_null(part: str) -> None:
    # Of two missed contacts in the year the table may hold one: neither 1 nor 1 of 1 is the year's number.
    found = baseline(write_world(ELIGIBLE, contact=CONTACTS_BEFORE), **PARTS[part])
    assert found["n_dna_365d_before"] is None
    assert found["n_attended_365d_before"] is None
    assert found["dna_rate_365d_before"] is None
    assert found["days_since_last_dna"] == 30  # 1 March 2017: nothing is missing between it and the index date


@pytest.mark.parametrize(
    ("gap", "days"),
    [
        ((date(2017, 2, 1), date(2017, 2, 28)), 30),  # the event is on 1 March
        ((date(2017, 1, 1), date(2017, 3, 31)), None),
        ((date(2017, 4, 1), date(2017, 4, 30)), 30),  # after the index date
    ],
)
def test_the_latest_event_is_not_known_where_a_later_one_may_be_missing(
    gap: tuple[date, date], days: int | None
) -> None:
    world = write_world(ELIGIBLE, contact=CONTACTS_BEFORE)
    assert baseline(world, gaps={"contact": (gap,)})["days_since_last_dna"] == days


def test_what_was_seen_is_true_whatever_was_not() -> None:
    incidents = "month incident_kind_code\n2016-05 SELF_HARM"
    world = write_world(ELIGIBLE, ward_incident=incidents, diagnosis="diagnosis_date diagnosis_code\n2016-01-01 F60")
    gap = ((date(2016, 7, 1), date(2016, 7, 31)),)
    kind = "ward_incident.incident_kind_code"
    found = baseline(world, gaps={"diagnosis": gap, f"{kind}=SELF_HARM": gap, f"{kind}=SUBSTANCE": gap})
    assert found["has_personality_disorder"] is True
    assert found["has_substance_disorder"] is None
    assert found["has_ward_self_harm_730d_before"] is True
    assert found["has_ward_substance_misuse_730d_before"] is None


def test_earlier_stays_are_counted_where_no_month_of_stays_is_missing() -> None:
    for gap, n, since in (
        ((date(2016, 6, 1), date(2016, 6, 30)), None, 101),  # from 20 November 2016 to 1 March 2017
        ((date(2017, 1, 1), date(2017, 1, 31)), None, None),
        ((date(2017, 4, 1), date(2017, 4, 30)), 1, 101),
    ):
        found = baseline(write_world(ELIGIBLE), gaps={"stays": (gap,), "spell": (gap,)})
        assert (found["n_prior_stays_730d"], found["days_since_last_discharge"]) == (n, since)


def test_none_is_not_known_where_the_table_ended_before_the_index_date() -> None:
    world = write_world(ELIGIBLE, contact=NOTHING)
    assert baseline(world, {"contact": (FIRST, date(2017, 3, 30))})["n_dna_365d_before"] is None


def test_none_is_not_known_where_the_table_is_not_held() -> None:
    found = baseline(write_world(ELIGIBLE, without=("contact", "referral_team", "legal_period")))
    for name in ("n_dna_365d_before", "n_liaison_365d_before", "is_detained_on_admission", "is_on_care_programme"):
        assert found[name] is None, name
    assert found["n_ed_365d_before"] == 0  # the spec worlds hold emergency attendances


def test_all_tables_of_a_covariate_must_be_held() -> None:
    found = baseline(write_world(ELIGIBLE, contact=NOTHING), {"contact": (FIRST, LAST)})
    assert found["n_attended_365d_before"] == 0
    assert found["n_crht_365d_before"] is None  # without teams


def test_a_kind_of_incident_that_was_never_sent_is_not_known() -> None:
    world = write_world(ELIGIBLE, ward_incident="month incident_kind_code\n2016-05 SELF_HARM")
    sent = {"ward_incident.incident_kind_code=SELF_HARM": (FIRST, LAST)}
    found = baseline(world, sent)
    assert found["has_ward_self_harm_730d_before"] is True
    assert found["has_ward_substance_misuse_730d_before"] is None


def test_an_incident_counts_once_its_month_is_over() -> None:
    world = write_world(ELIGIBLE, ward_incident="month incident_kind_code\n2017-03 SELF_HARM")
    assert baseline(world)["has_ward_self_harm_730d_before"] is False  # March ends on the index date


def test_a_column_that_was_never_filled_is_not_known() -> None:
    world = write_world(ELIGIBLE)
    assert baseline(world, {"spell": (FIRST, LAST)})["has_planned_discharge"] is None
    planned = {"spell": (FIRST, LAST), "spell.planned_discharge_date": (FIRST, LAST)}
    assert baseline(world, planned)["has_planned_discharge"] is False


def test_a_person_is_observed_in_a_cdm_from_their_own_period_on() -> None:
    for start, n in (("2016-03-31", 0), ("2016-04-01", None)):
        period = f"start_date end_date\n{start} 2019-12-31"
        assert baseline(write_world(ELIGIBLE, observation_period=period))["n_ed_365d_before"] == n


def test_an_earlier_stay_is_not_ruled_out_before_the_sources_begin() -> None:
    # Admitted on 1 December 2016, exactly 731 days after 1 December 2014; 730 days are covered.
    for admitted, n in (("2016-11-30", 0), ("2016-11-29", None)):
        world = write_world(
            f"spell start end ward\nindex {admitted} 2016-12-20 10",
            eligibility={"rules": (), "recruitment_start": date(2016, 12, 1)},
        )
        assert baseline(world)["n_prior_stays_730d"] == n


# Single covariates


def test_delayed_days_count_each_day_of_the_stay_once() -> None:
    found = baseline(
        write_world(
            ELIGIBLE,
            delayed_discharge="""
            spell_id  start_date  end_date
            index     2017-02-01  2017-03-03
            index     2017-03-20  2017-03-25
            index     2017-03-22  2017-03-26
            other     2017-03-29  -
            """,
        )
    )
    # 1 and 2 March, 20 to 25 March, 29 and 30 March: 2 + 6 + 2 of 30 days.
    assert found["n_delayed_days_index"] == 10
    assert found["delayed_share_index"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("delay", "n"),
    [
        ("2016-11 prior  2016-11-10 -", 0),  # never closed: it ended when its spell did, on 20 November
        ("2020-03 prior  2016-11-10 -", 0),  # and so it did where it is sent to this day
        ("2017-03 prior  2016-11-10 2017-03-10", 0),  # an end after the spell's, in another stay
        ("2016-11 -      2016-11-10 -", 0),  # without its spell: of the stay that it began in
        ("2017-03 index  2017-03-20 -", 11),  # 20 to 30 March
        ("2017-03 index  1900-01-01 -", 0),  # a placeholder
        ("2017-03 -      2017-03-20 -", 11),
        ("2017-03 gone   2017-03-20 -", 11),  # a spell the extract does not hold
        ("2017-03 prior  2017-03-20 -", 0),  # of another stay's spell
    ],
)
def test_a_delay_is_of_its_own_spell_and_ends_with_it(delay: str, n: int) -> None:
    found = baseline(write_world(ELIGIBLE, delayed_discharge=f"month spell_id start_date end_date\n{delay}"))
    assert found["n_delayed_days_index"] == n


@pytest.mark.parametrize(
    ("delay", "n"),
    [
        ("2017-01 first   2017-01-26 -", 5),  # the first spell left on 2 February, but it came no more after January
        ("2017-02 first   2017-01-26 -", 7),  # 26 January to 1 February
        ("2020-03 first   2017-01-26 -", 7),
        ("2017-02 second  2017-02-20 -", 8),  # sent to February: 20 to 27
        ("2017-03 second  2017-02-20 -", 18),  # 20 February to 9 March
        ("2017-02 second  2017-01-26 2017-02-05", 3),  # 2 to 4 February: before, the person was in the other spell
    ],
)
def test_an_open_delay_ends_with_the_last_month_it_was_sent_for(delay: str, n: int) -> None:
    world = write_world(
        """
        spell   start       end         ward
        first   2017-01-10  2017-02-02  10
        second  2017-02-02  2017-03-10  10
        """,
        eligibility={"rules": ()},
        delayed_discharge=f"month spell_id start_date end_date\n{delay}",
    )
    assert baseline(world)["n_delayed_days_index"] == n


def test_a_delay_counts_under_either_id_of_a_spell_that_was_sent_twice() -> None:
    for twin in ("index", "again"):
        world = write_world(
            f"{ELIGIBLE.rstrip()}\n    again   2017-03-01  2017-03-31  10    RAA",
            delayed_discharge=f"month spell_id start_date\n2017-03 {twin} 2017-03-20",
        )
        assert baseline(world)["n_delayed_days_index"] == 11


def test_an_out_of_area_placement_is_reason_10_of_the_stays_referral() -> None:
    for reason, month, expected in (("10", "2017-03", True), ("11", "2017-03", False), ("10", "2016-11", False)):
        world = write_world(
            ELIGIBLE,
            referral=f"month referral_id out_of_area_code received_date\n{month} r1 {reason} 2016-10-01",
        )
        for spell in world.tables["spell"]:
            spell["referral_id"] = "r1"
        assert baseline(world)["is_out_of_area"] is expected


@pytest.mark.parametrize(
    ("code", "homeless"), [("HM01", True), ("HM08", False), ("MA00", False), ("03", None), ("-", None)]
)
def test_homelessness_is_told_by_the_codes_of_version_4_only(code: str, homeless: bool | None) -> None:
    found = baseline(write_world(ELIGIBLE, accommodation=f"status_date accommodation_code\n2017-01-01 {code}"))
    assert found["is_homeless"] is homeless


@pytest.mark.parametrize(("code", "n"), [("X60", 1), ("X849", 1), ("X85", 0), ("X59", 0), ("AX61", 0), ("X6", 0)])
def test_self_harm_admissions_are_x60_to_x84(code: str, n: int) -> None:
    world = write_world(
        ELIGIBLE,
        hospital_episode=f"""
        episode_start_date  admission_date  main_specialty_code  diagnosis_1_code
        2016-06-01          2016-05-30      300                  {code}
        2016-06-04          2016-05-30      300                  {code}
        """,
    )
    assert baseline(world)["n_self_harm_admissions_730d_before"] == n


def test_crisis_spells_are_accepted_referrals_counted_once() -> None:
    world = write_world(
        ELIGIBLE,
        referral="""
        month    referral_id  received_date  rejected_date
        2016-06  a            2016-06-10     -
        2016-07  a            2016-06-10     -
        2016-06  b            2016-06-11     2016-06-12
        2016-06  c            2016-06-13     -
        """,
        referral_team="""
        month    referral_id  team_type_code
        2016-06  a            A02
        2016-07  a            A02
        2016-06  b            A02
        2016-06  c            A06
        """,
    )
    found = baseline(world)
    assert found["n_crht_spells_365d_before"] == 1
    assert found["days_since_last_crht_spell"] == (date(2017, 3, 31) - date(2016, 6, 10)).days


def test_care_programmes_without_ids_are_told_apart_by_start_and_provider() -> None:
    # One began on 1 January 2016, 455 days before the index date, and is open; others, later or elsewhere, have ended.
    programmes = """
    month    provider_id  start_date  end_date
    2017-03  RAA          2016-01-01  -
    2017-03  RAA          2016-06-01  2016-07-01
    2017-03  RBB          2016-01-01  2016-02-01
    """
    found = baseline(write_world(ELIGIBLE, care_programme=programmes))
    assert (found["is_on_care_programme"], found["days_on_care_programme"]) == (True, 455)


def test_delays_without_spell_ids_are_told_apart_by_start_and_provider() -> None:
    delays = """
    month    provider_id  start_date  end_date
    2017-03  RAA          2017-03-02  2017-03-10
    2017-03  RBB          2017-03-02  2017-03-04
    2017-03  RAA          2017-03-20  2017-03-22
    """
    # 2 to 9 March, and 20 and 21 March.
    assert baseline(write_world(ELIGIBLE, delayed_discharge=delays))["n_delayed_days_index"] == 10


def test_a_care_programme_that_stopped_arriving_ended_with_its_last_month() -> None:
    for month, is_on in (("2017-02", False), ("2017-03", True)):
        programme = f"month episode_id start_date\n{month} k1 2016-01-01"
        assert baseline(write_world(ELIGIBLE, care_programme=programme))["is_on_care_programme"] is is_on


@pytest.mark.parametrize(
    ("month", "expiry", "end", "is_in_force"),
    [
        ("2017-02", "-", "-", False),  # no longer sent: ended with February (B8)
        ("2017-03", "-", "-", True),
        ("2017-02", "2017-08-31", "-", False),  # no longer sent before it ran out
        ("2017-03", "2017-03-30", "-", False),  # ran out the day before
        ("2017-03", "2017-03-31", "-", True),
        ("2017-03", "2016-12-31", "-", True),  # before its start
        ("2017-02", "2017-02-28", "2017-03-31", True),  # an end that was sent is the end
    ],
)
def test_an_order_without_an_end_is_in_force_while_it_is_sent_and_has_not_run_out(
    month: str, expiry: str, end: str, is_in_force: bool
) -> None:
    order = f"""
        month    episode_id  order_kind_code  start_date  expiry_date  end_date
        {month}  e1          CTO              2017-01-05  {expiry}     {end}
    """
    found = baseline(write_world(ELIGIBLE, community_order=order))
    assert found["has_community_order"] is is_in_force
    assert found["has_community_treatment_order"] is is_in_force


# How far tables reach


def test_a_table_reaches_from_the_first_to_the_last_month_it_was_sent_for(tmp_path: Path) -> None:
    incident = {"MHS507UniqID": "1", "Person_ID": "Anna", **KEYS}
    planned = SPELL | {"PlannedDischDateHospProvSpell": "2017-05-19"}
    # 1409 was not submitted. Twelve rows, all in the first of three months, are no chance; one would be.
    months = [*range(1406, 1410)] * 12
    contacts = [CONTACT | {"MHS201UniqID": str(n), "UniqMonthID": str(month)} for n, month in enumerate(months)]
    files = {
        "MHS000Header": [header_of(month) for month in (1406, 1407, 1408)],
        "MHS201CareContact": contacts,
        "MHS507SelfHarm": [incident | {"MHS507UniqID": str(n)} for n in range(12)],
        "MHS501HospProvSpell": [planned | {"MHS501UniqID": str(n)} for n in range(12)],
        "MHS502WardStay": [WARD | {"MHS502UniqID": str(n)} for n in range(12)],
    }
    lake = load(tmp_path, **files)
    reach = table_reach(lake, count_months(lake))
    may = (date(2017, 5, 1), date(2017, 5, 31))  # month 1406 (DOMAIN B1)
    assert reach == {
        "contact": (date(2017, 5, 1), date(2017, 7, 31)),
        "spell": may,
        "spell.planned_discharge_date": may,
        "ward_stay": may,
        "ward_incident.incident_kind_code=SELF_HARM": may,
    }


def test_care_plans_and_incidents_are_read(tmp_path: Path) -> None:
    keys = {"Person_ID": "Anna", **KEYS}
    plan = {"UniqCarePlanID": "P1", "CarePlanTypeMH": "10", "CarePlanCreatDate": "2017-05-03"}
    lake = load(
        tmp_path,
        MHS008CarePlanType=[keys | plan | {"CarePlanLastUpdateDate": "2017-05-08"}],
        MHS507SelfHarm=[keys],
        MHS513SubstanceMisuse=[keys],
    )
    plans = pl.concat([lake.read_bucket(n, "care_plan") for n in range(lake.n_buckets)])
    assert plans.select("plan_id", "created_date", "updated_date").rows() == [
        ("P1", date(2017, 5, 3), date(2017, 5, 8))
    ]
    incidents = pl.concat([lake.read_bucket(n, "ward_incident") for n in range(lake.n_buckets)])
    assert sorted(incidents["incident_kind_code"]) == ["SELF_HARM", "SUBSTANCE"]
    assert {"care_plan", "ward_incident"} <= {layout.target.name for layout in mhsds.layouts()}
