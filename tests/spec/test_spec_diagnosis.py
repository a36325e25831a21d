"""Which diagnosis an index stay has, its stratum, and the diagnoses that exclude (DOMAIN K8-K10)."""

import pytest

from tests.spec.eligible_person import ELIGIBLE  # admitted 1 March, discharged 31 March 2017
from tests.spec.text_tables import Follow, one_person_for_each


def diagnoses(rows: str) -> str:
    return f"position_code scheme_code diagnosis_code diagnosis_date\n{rows}"


STRATA = {
    "psychotic": ["F20", "F20.0", "F200", "F29X", "F2X", "F25.9X"],
    "personality": ["F60.3", "F61", "F6X"],
    "other": ["F30", "F31.2", "F32.3", "F33X", "F41.1", "F59", "F62", "F69", "F80", "F98"],
    "unknown": ["F99", "Z03.2", "F4", "20.0", "G20"],
}


def test_k8_cleaning_and_strata(follow: Follow) -> None:
    sent = [code for codes in STRATA.values() for code in codes]
    coded = one_person_for_each(sent, diagnoses("P 02 CASE 2017-03-31"), person="person_id")
    cohort = follow(one_person_for_each(sent, ELIGIBLE), diagnosis=coded).found["cohort"]
    for stratum, codes in STRATA.items():
        assert {row["person_id"] for row in cohort if row["stratum"] == stratum} == set(codes)
    assert all(row["is_eligible"] for row in cohort)  # an unknown diagnosis excludes nobody


def test_k8_a_missing_code_is_an_unknown_diagnosis(follow: Follow) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses("P 02 - 2017-03-31")).cohort("""
        stratum  is_eligible
        unknown  true
    """)


@pytest.mark.parametrize(("scheme", "stratum"), [("02", "psychotic"), ("-", "psychotic"), ("06", "unknown")])
def test_k8_only_icd_10_is_read(follow: Follow, scheme: str, stratum: str) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses(f"P {scheme} F20 2017-03-31")).cohort(f"""
        stratum
        {stratum}
    """)


@pytest.mark.parametrize(
    ("coded", "stratum"),
    [
        ("2016-12-31", "psychotic"),  # 90 days before discharge
        ("2016-12-30", "unknown"),
        ("2017-06-29", "psychotic"),  # 90 days after
        ("2017-06-30", "unknown"),
        ("-", "unknown"),
    ],
)
def test_k8_within_90_days_of_discharge(follow: Follow, coded: str, stratum: str) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses(f"P 02 F20 {coded}")).cohort(f"""
        stratum
        {stratum}
    """)


def test_k8_a_secondary_diagnosis_gives_no_stratum(follow: Follow) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses("S 02 F20 2017-03-31")).cohort("""
        stratum
        unknown
    """)


@pytest.mark.parametrize(
    ("rows", "stratum"),
    [
        ("P 02 F20 2017-03-25 \n P 02 F60 2017-04-05", "personality"),  # five days is nearer than six
        ("P 02 F20 2017-03-26 \n P 02 F60 2017-04-05", "psychotic"),  # a tie goes to the earlier
        ("P 02 F60 2017-04-05 \n P 02 F20 2017-03-26", "psychotic"),
        ("P 02 Z03 2017-03-31 \n P 02 F20 2017-01-15", "psychotic"),  # only chapter F is looked at
        ("P 02 F20 2017-03-31 \n P 02 F60 2017-03-31", "personality"),  # same day and month: the later row
    ],
)
def test_k8_the_nearest_primary_diagnosis(follow: Follow, rows: str, stratum: str) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses(rows)).cohort(f"""
        stratum
        {stratum}
    """)


def test_k8_on_the_same_day_the_later_submission_wins(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        diagnosis="""
        month    position_code  diagnosis_code  diagnosis_date
        2017-05  P              F60             2017-03-31
        2017-04  P              F20             2017-03-31
        """,
    ).cohort("""
        stratum
        personality
    """)


@pytest.mark.parametrize(
    ("started", "main", "treatment", "code", "stratum"),
    [
        ("2017-03-01", "710", "-", "F20.0", "psychotic"),  # first day of the stay
        ("2017-03-31", "100", "712", "F60.3", "personality"),  # last day; the treatment specialty is enough
        ("2017-02-28", "710", "-", "F20.0", "unknown"),
        ("2017-04-01", "710", "-", "F20.0", "unknown"),
        ("2017-03-10", "300", "100", "F20.0", "unknown"),  # general medicine, surgery
        ("2017-03-10", "710", "-", "K35", "unknown"),
    ],
)
def test_k8_else_a_psychiatric_hospital_episode_inside_the_stay(
    follow: Follow, started: str, main: str, treatment: str, code: str, stratum: str
) -> None:
    follow(
        ELIGIBLE,
        hospital_episode=f"""
        episode_start_date  main_specialty_code  treatment_specialty_code  diagnosis_1_code
        {started}           {main}               {treatment}               {code}
        """,
    ).cohort(f"""
        stratum
        {stratum}
    """)


def test_k8_which_specialties_are_psychiatric(follow: Follow) -> None:
    psychiatric = {"700", "710", "711", "712", "713", "714", "715", "720", "721", "727", "730"}
    others = {"100", "300", "709", "716", "719", "728", "731"}
    people = sorted(psychiatric | others)
    episodes = """
        main_specialty_code  episode_start_date  diagnosis_1_code
        CASE                 2017-03-10          F20.0
    """
    cohort = follow(
        one_person_for_each(people, ELIGIBLE),
        hospital_episode=one_person_for_each(people, episodes, person="person_id"),
    ).found["cohort"]
    assert {row["person_id"] for row in cohort if row["stratum"] == "psychotic"} == psychiatric
    assert {row["person_id"] for row in cohort if row["stratum"] == "unknown"} == others


def test_k8_of_several_episodes_the_latest(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        hospital_episode="""
        episode_start_date  main_specialty_code  diagnosis_1_code
        2017-03-10          710                  F60
        2017-03-05          710                  F20
        """,
    ).cohort("""
        stratum
        personality
    """)


def test_k8_the_mental_health_record_comes_before_the_hospital_episode(follow: Follow) -> None:
    follow(
        ELIGIBLE,
        diagnosis=diagnoses("P 02 F20 2017-01-15"),
        hospital_episode="""
        episode_start_date  main_specialty_code  diagnosis_1_code
        2017-03-31          710                  F60
        """,
    ).cohort("""
        stratum
        psychotic
    """)


@pytest.mark.parametrize(
    ("row", "failed"),
    [
        ("P 02 F00.1 2017-03-31", "organic_any"),
        ("V 02 F00.1 2017-03-31", "-"),  # provisional
        ("S 02 F09   2017-03-31", "organic_any"),
        ("S 02 F05.0 2010-01-01", "organic_any"),  # however long ago
        ("S 02 F03X  2017-04-01", "-"),  # after discharge
        ("S 02 F03X  -", "-"),
        ("S 06 F03X  2017-03-31", "-"),
        ("S 02 F10   2017-03-31", "-"),
    ],
)
def test_k9_organic_at_any_position_on_or_before_discharge(follow: Follow, row: str, failed: str) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses(row)).cohort(f"""
        first_failed_rule
        {failed}
    """)


@pytest.mark.parametrize(
    ("started", "specialty", "first", "second", "failed"),
    [
        ("2017-03-10", "710", "F05", "-", "organic_any"),
        ("2017-03-10", "710", "F20", "F03X", "organic_any"),
        ("2017-04-01", "710", "F05", "-", "-"),
        ("2017-03-10", "300", "F05", "-", "-"),
    ],
)
def test_k9_organic_in_a_psychiatric_hospital_episode(
    follow: Follow, started: str, specialty: str, first: str, second: str, failed: str
) -> None:
    follow(
        ELIGIBLE,
        hospital_episode=f"""
        episode_start_date  main_specialty_code  diagnosis_1_code  diagnosis_2_code
        {started}           {specialty}          {first}           {second}
        """,
    ).cohort(f"""
        first_failed_rule
        {failed}
    """)


@pytest.mark.parametrize(
    ("row", "failed"),
    [
        ("P 02 F50.0 2017-03-31", "primary_F50"),
        ("P 02 F70   2017-03-31", "primary_F70_F79"),
        ("P 02 F79.9 2017-03-31", "primary_F70_F79"),
        ("P 02 F10.2 2017-03-31", "primary_F10_F19"),
        ("P 02 F19   2017-03-31", "primary_F10_F19"),
        ("P 02 F51   2017-03-31", "-"),
        ("P 02 F69   2017-03-31", "-"),
        ("P 02 F80   2017-03-31", "-"),
        ("S 02 F50.0 2017-03-31", "-"),
        ("S 02 F70   2017-03-31", "-"),
        ("S 02 F10.2 2017-03-31", "-"),
        ("P 02 F10.2 2016-12-30", "-"),  # 91 days before discharge: not the stay's primary diagnosis
    ],
)
def test_k10_excluded_as_primary_diagnosis_only(follow: Follow, row: str, failed: str) -> None:
    follow(ELIGIBLE, diagnosis=diagnoses(row)).cohort(f"""
        first_failed_rule
        {failed}
    """)
