"""The cohort rules of DOMAIN section K once more, slowly: lists of rows in, lists of rows out.

The pipeline's columnar code must give exactly these rows (tests/pipelines/test_naive_agreement.py, tests/spec). Choice:
plain loops over people, spells and days in the order of the rules, so that a reviewer can hold each function against
its K rule; no data frames, no vectorised shortcuts, nothing imported from the stages it checks. Where K is silent the
lead's reading is followed and said at the place. Source: DOMAIN K1-K16, code sets B5, B7, B8, B9.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, timedelta

from pipelines.protocol import Eligibility, FollowUp
from tests.naive_hospital import naive_stays
from tests.naive_outcomes import WINDOWS, observe, observe_rates
from tests.naive_stays import (
    FOREVER,
    Facts,
    Row,
    age_of_row,
    find_stays,
    find_thin_months,
    first_day,
    id_order,
    last_day,
    month_of,
    years_before,
)

STAYS = """
    person_id start_date end_date end_reason trust n_spells is_acute is_adult
    is_zero_day is_place_of_safety_only los_days is_detained_on_admission is_detained_at_discharge is_ever_detained
"""
COHORT = "person_id index_date admission_date trust stratum arm is_eligible first_failed_rule"
OF_A_WINDOW = """
    readmitted is_formally_readmitted is_informally_readmitted readmission_free_days died n_readmissions
    days_in_hospital days_alive_out_of_hospital days_in_first_readmission
    n_dna n_attended dna_rate n_crht n_crht_episodes n_crht_starts
    n_liaison n_ed
"""
SHORTER = [f"{name}_{days}d" for name in OF_A_WINDOW.split() for days in WINDOWS] + ["readmitted_nhs_14d"]
OBSERVED = "person_id index_date outcome n days days_in_hospital chances"
READMISSIONS = "person_id index_date day until_day is_formal"
OUTCOMES = " ".join(
    [
        "person_id index_date days_to_readmission is_first_readmission_formal first_readmission_los_days",
        "died_day censored_day",
        *(f"{name}_365d" for name in OF_A_WINDOW.split()),
        *SHORTER,
    ]
)
EXCLUDED = "person_id arm reason"
COLUMNS = {
    "stays": STAYS,
    "cohort": COHORT,
    "outcomes": OUTCOMES,
    "observed": OBSERVED,
    "readmissions": READMISSIONS,
    "excluded": EXCLUDED,
}

PSYCHIATRIC_SPECIALTIES = {str(code) for code in [700, *range(710, 716), *range(720, 728), 730]}


def naive_follow(
    tables: Mapping[str, list[Row]],
    facts: Facts,
    participants: list[Row],
    eligibility: Eligibility,
    follow_up: FollowUp,
    also_in_trial: Collection[str] = (),
) -> dict[str, list[Row]]:
    """Stays, cohort, outcomes and excluded participants of a small world, as rows with the columns named above."""
    facts = replace(facts, thin=find_thin_months(tables.get("spell", []), facts, follow_up))
    stays: list[Row] = []
    cohort: list[Row] = []
    outcomes: list[Row] = []
    observed: list[Row] = []
    readmissions: list[Row] = []
    excluded: list[Row] = []
    everybody = {row["person_id"] for rows in tables.values() for row in rows}
    in_the_trial = {participant["person_id"]: participant for participant in participants}

    for person_id in sorted(everybody | set(in_the_trial)):
        own = {name: [row for row in rows if row["person_id"] == person_id] for name, rows in tables.items()}
        own_stays = find_stays(own, facts, eligibility)
        stays += own_stays
        before_mhsds = stays_before_mhsds(own, own_stays, facts, eligibility)

        # K16: participants serve with one stay, everybody else with every discharge of the recruitment window; so do,
        # where the protocol says so, participants with discharges before their allocation.
        arm, own_stay = "virtual", None
        indexes = [stay for stay in own_stays if is_candidate(stay, eligibility) and person_id not in also_in_trial]
        if person_id in in_the_trial:
            participant = in_the_trial[person_id]
            arm = {"PEER": "peer", "CONTROL": "control"}[participant["arm_code"]]
            indexes = [stay for stay in indexes if is_before_taking_part(stay, participant, eligibility)]
            reason, own_stay = place_participant(participant, own_stays, is_known=person_id in everybody)
            if own_stay is None:
                excluded.append({"person_id": person_id, "arm": arm, "reason": reason})
            else:
                indexes.append(own_stay)

        has_served = False
        for stay in indexes:
            is_own = arm != "virtual" and stay is own_stay
            row = judge(stay, [*own_stays, *before_mhsds], own, eligibility) | {"arm": arm if is_own else "virtual"}
            if row["is_eligible"] and has_served and not is_own and eligibility.candidate_discharges == "first":
                row |= {"is_eligible": False, "first_failed_rule": "not_first_discharge"}
            cohort.append(row)
            if row["is_eligible"]:
                has_served = has_served or not is_own
                outcomes.append(observe(stay, own_stays, own, facts, eligibility, follow_up))
                rates = observe_rates(stay, own_stays, own, facts, eligibility, follow_up)
                observed += rates[0]
                readmissions += rates[1]

    found = {"stays": stays, "cohort": cohort, "outcomes": outcomes, "observed": observed}
    found |= {"readmissions": readmissions, "excluded": excluded}
    return {
        name: [{column: row[column] for column in COLUMNS[name].split()} for row in rows]
        for name, rows in found.items()
    }


def is_candidate(stay: Row, eligibility: Eligibility) -> bool:
    """K5, K16: ended for certain (also by death, which fails its rule later), inside the recruitment window."""
    if stay["end_reason"] not in ("discharge", "death"):
        return False
    return bool(eligibility.recruitment_start <= stay["end_date"] <= eligibility.recruitment_end)


def is_before_taking_part(stay: Row, participant: Row, eligibility: Eligibility) -> bool:
    """Whether a participant who agreed to linkage was not yet one."""
    if eligibility.candidates != "not_yet_treated" or participant["consent_code"] != "Y":
        return False
    day = participant["allocation_date"]
    return day is not None and bool(stay["end_date"] < day)


def place_participant(participant: Row, stays: list[Row], *, is_known: bool) -> tuple[str | None, Row | None]:
    """The participant's index stay, or the reason why there is none."""
    if participant["consent_code"] != "Y":
        return "no_consent", None
    if not is_known:
        return "not_in_extract", None
    for stay in stays:
        if stay["start_date"] <= participant["allocation_date"] <= (stay["end_date"] or FOREVER):
            if stay["end_reason"] == "open":
                return "stay_not_ended", None
            if stay["end_reason"] == "inactive":
                return "stay_stopped_arriving", None
            return None, stay
    return "no_stay_holds_allocation_date", None


def judge(stay: Row, stays: list[Row], own: Mapping[str, list[Row]], eligibility: Eligibility) -> Row:
    """K10: the cohort row of a stay that ended; the first rule that fails is recorded."""
    admission, index_date = stay["start_date"], stay["end_date"]
    diagnosis = primary_diagnosis(admission, index_date, own)
    age = age_at(admission, own)
    fails = {
        "zero_day": stay["is_zero_day"],
        "place_of_safety_only": stay["is_place_of_safety_only"],
        "died_in_hospital": stay["end_reason"] == "death",
        "under_18": age is not None and age < eligibility.minimum_age_years,
        "not_acute_adult": not (stay["is_acute"] and stay["is_adult"]),
        "no_prior_stay_730": not any(is_prior(other, stay, eligibility) for other in stays),
        "organic_any": has_organic(index_date, own),
        "primary_F50": is_between(diagnosis, 50, 50),
        "primary_F70_F79": is_between(diagnosis, 70, 79),
        "primary_F10_F19": is_between(diagnosis, 10, 19),
    }
    failed = [rule for rule in eligibility.rules if fails[rule]]
    return {
        "person_id": stay["person_id"],
        "index_date": index_date,
        "admission_date": admission,
        "trust": stay["trust"],
        "stratum": stratum(diagnosis),
        "is_eligible": not failed,
        "first_failed_rule": failed[0] if failed else None,
    }


def is_prior(other: Row, stay: Row, eligibility: Eligibility) -> bool:
    """K2, K3: a real stay, any bed class, with a day in [admission - 730, admission - 1]."""
    if other is stay or other["is_zero_day"] or other["is_place_of_safety_only"]:
        return False
    earliest = stay["start_date"] - timedelta(days=eligibility.prior_stay_window_days)
    latest = stay["start_date"] - timedelta(days=1)
    return bool(other["start_date"] <= latest and (other["end_date"] or FOREVER) >= earliest)


def stays_before_mhsds(
    own: Mapping[str, list[Row]], stays: list[Row], facts: Facts, eligibility: Eligibility
) -> list[Row]:
    """A8.5: psychiatric stays of HES that ended before the first submitted day and are no real stay of MHSDS."""
    first_day = min((row["period_start_date"] for row in facts.submissions), default=None)
    if not eligibility.prior_stays_from_hes or first_day is None:
        return []
    found = []
    for hospital_stay in naive_stays(own.get("hospital_episode", [])):
        start, end = hospital_stay["psychiatric"] or (None, None)
        if end is None or end >= first_day or end == start:
            continue
        near = timedelta(days=eligibility.link_gap_days)
        if not any(
            stay["start_date"] - near <= end and start <= (stay["end_date"] or date.max - near) + near
            for stay in stays
            if not stay["is_zero_day"] and not stay["is_place_of_safety_only"]
        ):
            none = {"is_zero_day": False, "is_place_of_safety_only": False}
            found.append({"start_date": start, "end_date": end} | none)
    return found


def clean_diagnosis(code: str | None, scheme: str | None = None) -> str | None:
    """K8: 'F32.X' -> 'F32'; None for anything that is not chapter F of ICD-10."""
    if code is None or scheme not in (None, "02"):
        return None
    three = code.upper().replace(".", "").replace(" ", "").replace("X", "0")[:3]
    return three if len(three) == 3 and three[0] == "F" and three[1:].isdecimal() else None


def primary_diagnosis(admission: date, index_date: date, own: Mapping[str, list[Row]]) -> str | None:
    """K8: nearest coded primary diagnosis, else that of the latest psychiatric hospital episode inside the stay."""
    best = None
    for row in own.get("diagnosis", []):
        code, day = clean_diagnosis(row["diagnosis_code"], row["scheme_code"]), row["diagnosis_date"]
        if row["position_code"] != "P" or code is None or day is None or abs((day - index_date).days) > 90:
            continue
        # The largest rank wins: near before far, earlier before later, then the later submission.
        rank = (-abs((day - index_date).days), (index_date - day).days, age_of_row(row))
        if best is None or rank > best[0]:
            best = (rank, code)
    if best is not None:
        return best[1]

    latest = None
    for episode in psychiatric_episodes(own):
        code = clean_diagnosis(episode["diagnosis_1_code"])
        if code is None or not admission <= episode["episode_start_date"] <= index_date:
            continue
        order = (episode["episode_start_date"], id_order(episode["row_id"]))
        if latest is None or order > latest[0]:
            latest = (order, code)
    return None if latest is None else latest[1]


def psychiatric_episodes(own: Mapping[str, list[Row]]) -> list[Row]:
    """C1: hospital episodes of a psychiatric specialty, whichever of the two says so."""
    return [
        episode
        for episode in own.get("hospital_episode", [])
        if {episode["main_specialty_code"], episode["treatment_specialty_code"]} & PSYCHIATRIC_SPECIALTIES
    ]


def has_organic(index_date: date, own: Mapping[str, list[Row]]) -> bool:
    """K9: F00-F09, primary or secondary, on or before discharge, from either source of diagnoses."""
    dated = [
        (row["diagnosis_date"], clean_diagnosis(row["diagnosis_code"], row["scheme_code"]))
        for row in own.get("diagnosis", [])
        if row["diagnosis_date"] is not None and row["position_code"] != "V"
    ]
    for episode in psychiatric_episodes(own):
        for column in ("diagnosis_1_code", "diagnosis_2_code", "diagnosis_3_code"):
            dated.append((episode["episode_start_date"], clean_diagnosis(episode[column])))
        for code in (episode["all_diagnosis_codes"] or "").split():
            dated.append((episode["episode_start_date"], clean_diagnosis(code)))
    return any(day <= index_date and is_between(code, 0, 9) for day, code in dated)


def is_between(code: str | None, first: int, last: int) -> bool:
    return code is not None and first <= int(code[1:]) <= last


def stratum(code: str | None) -> str:
    """K8; what lies outside the three groups (F00-F19, F70-F79, F99) is unknown."""
    if is_between(code, 20, 29):
        return "psychotic"
    if is_between(code, 60, 61):
        return "personality"
    if is_between(code, 30, 59) or is_between(code, 62, 69) or is_between(code, 80, 98):
        return "other"
    return "unknown"


def age_at(day: date, own: Mapping[str, list[Row]]) -> int | None:
    """A2: completed years at `day`, the person being as young as the monthly ages allow; None when no age is known."""
    rows = [row for row in own.get("person_month", []) if birth_bounds(row)]
    if not rows:
        return None
    bounds = [bound for row in rows for bound in birth_bounds(row)]
    born_after, born_until = max(after for after, _ in bounds), min(until for _, until in bounds)
    if born_after >= born_until:  # the months contradict each other: believe the one nearest to the admission
        month = month_of(day)
        nearest = min(abs(row["month_id"] - month) for row in rows)
        rows = [row for row in rows if abs(row["month_id"] - month) == nearest]
        earliest = min(row["month_id"] for row in rows)
        believed = max((row for row in rows if row["month_id"] == earliest), key=age_of_row)
        born_until = min(until for _, until in birth_bounds(believed))
    birthday_is_ahead = (day.month, day.day) < (born_until.month, born_until.day)
    return day.year - born_until.year - birthday_is_ahead


def birth_bounds(row: Row) -> list[tuple[date, date]]:
    """(after, until] for each age of the row: somebody aged a on day s was born after s - (a+1) y, until s - a y."""
    known = [(first_day(row["month_id"]), row["age_start_years"]), (last_day(row["month_id"]), row["age_end_years"])]
    return [(years_before(day, age + 1), years_before(day, age)) for day, age in known if age is not None]
