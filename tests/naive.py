"""The cohort rules of DOMAIN section K once more, slowly: lists of rows in, lists of rows out.

The pipeline's columnar code must give exactly these rows (tests/pipelines/test_naive_agreement.py, tests/spec). Choice:
plain loops over people, spells and days in the order of the rules, so that a reviewer can hold each function against
its K rule; no data frames, no vectorised shortcuts, nothing imported from the stages it checks. Where K is silent the
lead's reading is followed and said at the place. Source: DOMAIN K1-K16, code sets B5, B7, B8, B9.
"""

from calendar import monthrange
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pipelines.protocol import Eligibility, FollowUp

Row = dict[str, Any]

STAY_COLUMNS = [
    "person_id",
    "start_date",
    "end_date",
    "end_reason",
    "trust",
    "n_spells",
    "is_acute",
    "is_adult",
    "is_zero_day",
    "is_place_of_safety_only",
    "los_days",
]
COHORT_COLUMNS = [
    "person_id",
    "index_date",
    "admission_date",
    "trust",
    "stratum",
    "arm",
    "is_eligible",
    "first_failed_rule",
]  # rows: every candidate discharge and every participant's index stay
OUTCOME_COLUMNS = [
    "person_id",
    "index_date",
    "readmitted_365d",
    "days_to_readmission",
    "n_readmissions_365d",
    "days_in_hospital_365d",
    "is_first_readmission_formal",
    "died_day",
    "censored_day",
    "n_dna_365d",
    "n_crht_365d",
    "n_ed_365d",
]
EXCLUDED_COLUMNS = ("person_id", "arm", "reason")

FIRST_REAL_DAY = date(1901, 1, 1)  # dates before it are placeholders
FOREVER = date.max  # the running end of a stay that is still open

TRANSFER_DESTINATIONS = {"48", "49", "50", "51", "52", "53", "84", "87"}
TRANSFER_SOURCES = {"49", "51", "52", "53", "87"}
TRANSFER_METHODS = {"2B", "81"}
ADULT_ACUTE = {"10", "200"}
CHILDREN = {str(code) for code in [*range(23, 35), *range(300, 312)]}
BED_CLASSES = {str(code) for code in [*range(10, 41), *range(200, 214), *range(300, 312)]}
PLACE_OF_SAFETY = {"19", "20"}
DETENTION = set(["02", "03", "07", "08", "09", "10", "12", "13", "14", "15", "16", "17", "18", "31", "32", "37", "38"])
PSYCHIATRIC_SPECIALTIES = {str(code) for code in [700, *range(710, 716), *range(720, 728), 730]}
CRISIS_TEAMS = {"A02", "A03", "A04"}
STREAMED_OR_DEAD = {"1077031000000103", "1077781000000101", "63238001"}


@dataclass(frozen=True)
class Facts:
    """What is known of the extract as a whole; `submissions` and `successors` are rows of the reference tables."""

    period_end: date
    last_month_id: int
    submissions: list[Row]
    successors: list[Row]


def naive_follow(
    tables: Mapping[str, list[Row]],
    facts: Facts,
    participants: list[Row],
    eligibility: Eligibility,
    follow_up: FollowUp,
) -> dict[str, list[Row]]:
    """Stays, cohort, outcomes and excluded participants of a small world, as rows with the columns named above."""
    stays: list[Row] = []
    cohort: list[Row] = []
    outcomes: list[Row] = []
    excluded: list[Row] = []
    everybody = {row["person_id"] for rows in tables.values() for row in rows}
    in_the_trial = {participant["person_id"]: participant for participant in participants}

    for person_id in sorted(everybody | set(in_the_trial)):
        own = {name: [row for row in rows if row["person_id"] == person_id] for name, rows in tables.items()}
        own_stays = find_stays(own, facts, eligibility)
        stays += own_stays

        # K16: participants serve with one stay, everybody else with every discharge of the recruitment window.
        arm = "virtual"
        indexes = [stay for stay in own_stays if is_candidate(stay, eligibility)]
        if person_id in in_the_trial:
            participant = in_the_trial[person_id]
            arm = {"PEER": "peer", "CONTROL": "control"}[participant["arm_code"]]
            indexes = []
            reason, stay = place_participant(participant, own_stays, is_known=person_id in everybody)
            if stay is None:
                excluded.append({"person_id": person_id, "arm": arm, "reason": reason})
            else:
                indexes = [stay]

        for stay in indexes:
            row = judge(stay, own_stays, own, eligibility) | {"arm": arm}
            cohort.append(row)
            if row["is_eligible"]:
                outcomes.append(observe(stay, own_stays, own, facts, eligibility, follow_up))

    return {
        "stays": [{column: stay[column] for column in STAY_COLUMNS} for stay in stays],
        "cohort": [{column: row[column] for column in COHORT_COLUMNS} for row in cohort],
        "outcomes": [{column: row[column] for column in OUTCOME_COLUMNS} for row in outcomes],
        "excluded": excluded,
    }


def is_candidate(stay: Row, eligibility: Eligibility) -> bool:
    """K5, K16: ended for certain (also by death, which fails its rule later), inside the recruitment window."""
    if stay["end_reason"] not in ("discharge", "death"):
        return False
    return eligibility.recruitment_start <= stay["end_date"] <= eligibility.recruitment_end


def place_participant(participant: Row, stays: list[Row], *, is_known: bool) -> tuple[str | None, Row | None]:
    """The participant's index stay, or the reason why there is none."""
    if participant["consent_code"] != "Y":
        return "no_consent", None
    if not is_known:
        return "not_in_extract", None
    for stay in stays:
        if stay["start_date"] <= participant["allocation_date"] <= (stay["end_date"] or FOREVER):
            if stay["end_reason"] in ("open", "inactive"):
                return "stay_not_ended", None
            return None, stay
    return "no_stay_holds_allocation_date", None


# ---------------------------------------------------------------------------------------------- spells and stays


def find_stays(own: Mapping[str, list[Row]], facts: Facts, eligibility: Eligibility) -> list[Row]:
    """One person's continuous stays, in order of time."""
    spells = []
    for row in latest_month_of_each(own.get("spell", []), "spell_id"):
        wards = [ward for ward in own.get("ward_stay", []) if ward["spell_id"] == row["spell_id"]]
        wards = [clean_ward(ward) for ward in latest_month_of_each(wards, "ward_stay_id")]
        spell = clean_spell(row, wards, facts)
        if spell is not None:
            spells.append(spell)
    spells = join_twins(spells)
    deaths = death_date(own)
    legal_periods = clean_legal_periods(own, facts)
    return [describe_stay(linked, legal_periods, deaths, eligibility) for linked in link(spells, eligibility)]


def latest_month_of_each(rows: Iterable[Row], *key: str) -> list[Row]:
    """K6: of the rows with the same key the one of the latest month; a tie goes to the larger row_id."""
    winners: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        group = tuple(row[column] for column in key)
        best = winners.get(group)
        if best is None or age_of_row(row) > age_of_row(best):
            winners[group] = row
    return list(winners.values())


def age_of_row(row: Row) -> tuple[int, str]:
    return row["month_id"], row["row_id"] or ""


def real(day: date | None) -> date | None:
    """A date, or None when it is missing or a 1900 placeholder."""
    return None if day is None or day < FIRST_REAL_DAY else day


def clean_ward(ward: Row) -> Row:
    start, end = real(ward["start_date"]), real(ward["end_date"])
    if start is not None and end is not None and end < start:
        end = None
    code = ward["bed_class_code"]
    known = code if code in BED_CLASSES else None
    return {"ward_stay_id": ward["ward_stay_id"], "start": start, "end": end, "bed_class": known}


def clean_spell(row: Row, wards: list[Row], facts: Facts) -> Row | None:
    """K6: the spell with a usable start and end (None = open), or None when it has no start at all."""
    start = real(row["start_date"])
    if start is None:
        ward_starts = [ward["start"] for ward in wards if ward["start"] is not None]
        if not ward_starts:
            return None
        start = min(ward_starts)

    end = real(row["discharge_date"])
    if end is not None and end < start:
        end = None
    is_inactive = False
    if end is None and row["month_id"] < facts.last_month_id:
        ward_ends = [ward["end"] for ward in wards]
        # K6 calls any discharge before the start missing, so a last ward end before the start is none either.
        if ward_ends and None not in ward_ends and max(ward_ends) >= start:
            end = max(ward_ends)
        else:
            end = max(last_day(row["month_id"]), start)
            is_inactive = True

    return {
        "person_id": row["person_id"],
        "spell_id": row["spell_id"],
        "month_id": row["month_id"],
        "provider_id": row["provider_id"],
        "final_provider": final_provider(row["provider_id"], facts),
        "start": start,
        "end": end,
        "is_inactive": is_inactive,
        "source": row["source_code"],
        "method": row["method_code"],
        "discharge_method": row["discharge_method_code"],
        "destination": row["destination_code"],
        "wards": wards,
    }


def final_provider(provider_id: str, facts: Facts) -> str:
    """K5: follow mergers and renames to the last code, whatever their dates."""
    return providers_after(provider_id, facts)[-1]


def providers_after(provider_id: str, facts: Facts) -> list[str]:
    """The code itself, its successor, the successor's successor and so on."""
    chain = [provider_id]
    while True:
        following = [s["new_provider_id"] for s in facts.successors if s["old_provider_id"] == chain[-1]]
        if not following or following[0] in chain:
            return chain
        chain.append(following[0])


def join_twins(spells: list[Row]) -> list[Row]:
    """K7: same (final) provider, start and end: one spell, the row of the latest month with the wards of all."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for spell in spells:
        groups.setdefault((spell["final_provider"], spell["start"], spell["end"]), []).append(spell)
    joined = []
    for twins in groups.values():
        kept = max(twins, key=lambda spell: (spell["month_id"], spell["spell_id"]))
        joined.append(kept | {"wards": [ward for twin in twins for ward in twin["wards"]]})
    return joined


def link(spells: list[Row], eligibility: Eligibility) -> list[list[Row]]:
    """K1: the spells of each continuous stay."""
    stays: list[list[Row]] = []
    for spell in sorted(spells, key=lambda s: (s["start"], s["end"] or FOREVER, s["spell_id"])):
        if stays and belongs_to(stays[-1], spell, eligibility):
            stays[-1].append(spell)
        else:
            stays.append([spell])
    return stays


def belongs_to(stay: list[Row], spell: Row, eligibility: Eligibility) -> bool:
    running_end = max(earlier["end"] or FOREVER for earlier in stay)
    gap_days = (spell["start"] - running_end).days
    if gap_days <= eligibility.link_gap_days:  # overlaps have a negative gap
        return True
    sent = any(s["destination"] in TRANSFER_DESTINATIONS for s in stay if s["end"] == running_end)
    received = spell["source"] in TRANSFER_SOURCES or spell["method"] in TRANSFER_METHODS
    return gap_days <= eligibility.transfer_gap_days and (sent or received)


def describe_stay(spells: list[Row], legal_periods: list[Row], death: date | None, eligibility: Eligibility) -> Row:
    last = max(spells, key=lambda s: (s["end"] or FOREVER, s["start"], s["spell_id"]))
    start, end = min(s["start"] for s in spells), last["end"]
    wards = [ward for spell in spells for ward in spell["wards"]]
    classes = {ward["bed_class"] for ward in wards if ward["bed_class"] is not None}
    return {
        "person_id": last["person_id"],
        "start_date": start,
        "end_date": end,
        "end_reason": end_reason(last, death),
        "trust": last["final_provider"],
        "submitted_provider": last["provider_id"],
        "n_spells": len(spells),
        "is_acute": is_acute(wards, classes, eligibility),
        "is_adult": not classes or bool(classes - CHILDREN),
        "is_zero_day": end == start,
        "is_place_of_safety_only": is_place_of_safety_only(start, end, legal_periods),
        "los_days": None if end is None else (end - start).days,
    }


def end_reason(last: Row, death: date | None) -> str:
    if last["end"] is None:
        return "open"
    if last["discharge_method"] == "4" or last["destination"] == "79":
        return "death"
    if death is not None and death <= last["end"]:
        return "death"
    return "inactive" if last["is_inactive"] else "discharge"


def is_acute(wards: list[Row], classes: set[str], eligibility: Eligibility) -> bool:
    """K4: any ward, or in the variant the last ward whose class is known (a missing start sorts first)."""
    if eligibility.acute_ward == "any":
        return bool(classes & ADULT_ACUTE)
    known = [ward for ward in wards if ward["bed_class"] is not None]
    if not known:
        return False
    last = max(known, key=lambda w: (w["end"] or FOREVER, w["start"] or date.min, w["ward_stay_id"]))
    return last["bed_class"] in ADULT_ACUTE


def is_place_of_safety_only(start: date, end: date | None, legal_periods: list[Row]) -> bool:
    """K2: at most one day, held under 19 or 20 and nothing else; all MHS401 periods count here."""
    if end is None or (end - start).days > 1:
        return False
    touching = [p for p in legal_periods if p["start"] <= end and (p["end"] is None or p["end"] >= start)]
    return bool(touching) and all(period["code"] in PLACE_OF_SAFETY for period in touching)


def clean_legal_periods(own: Mapping[str, list[Row]], facts: Facts) -> list[Row]:
    """B8: the latest month of each period; without an end and no longer submitted it ends with its last month."""
    periods = []
    for row in latest_month_of_each(own.get("legal_period", []), "episode_id", "period_id"):
        end = row["end_date"]
        if end is None and row["month_id"] < facts.last_month_id:
            end = last_day(row["month_id"])
        periods.append(
            {"episode_id": row["episode_id"], "code": row["legal_code"], "start": row["start_date"], "end": end}
        )
    return periods


def is_detained_at(day: date, own: Mapping[str, list[Row]], facts: Facts) -> bool:
    """K13: a hospital-detention period that touches the day or the next, community orders left out."""
    community = {row["episode_id"] for row in own.get("community_order", []) if row["episode_id"] is not None}
    for period in clean_legal_periods(own, facts):
        if period["episode_id"] in community or period["code"] not in DETENTION:
            continue
        if period["start"] <= day + timedelta(days=1) and (period["end"] is None or period["end"] >= day):
            return True
    return False


# -------------------------------------------------------------------------------------------------- eligibility


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
    return other["start_date"] <= latest and (other["end_date"] or FOREVER) >= earliest


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
        # Smallest wins: distance, then the earlier day; later submissions are larger, so their rank is turned round.
        rank = (-abs((day - index_date).days), (index_date - day).days, row["month_id"], row["row_id"] or "")
        if best is None or rank > best[0]:
            best = (rank, code)
    if best is not None:
        return best[1]

    latest = None
    for episode in own.get("hospital_episode", []):
        specialties = {episode["main_specialty_code"], episode["treatment_specialty_code"]}
        inside = admission <= episode["episode_start_date"] <= index_date
        if not inside or not specialties & PSYCHIATRIC_SPECIALTIES:
            continue
        order = (episode["episode_start_date"], episode["row_id"] or "")
        if latest is None or order > latest[0]:
            latest = (order, clean_diagnosis(episode["diagnosis_1_code"]))
    return None if latest is None else latest[1]


def has_organic(index_date: date, own: Mapping[str, list[Row]]) -> bool:
    """K9: F00-F09 in any position on or before discharge."""
    for row in own.get("diagnosis", []):
        code = clean_diagnosis(row["diagnosis_code"], row["scheme_code"])
        if row["diagnosis_date"] is not None and row["diagnosis_date"] <= index_date and is_between(code, 0, 9):
            return True
    return False


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
        believed = max((row for row in rows if row["month_id"] == earliest), key=lambda row: row["row_id"] or "")
        born_until = min(until for _, until in birth_bounds(believed))
    birthday_is_ahead = (day.month, day.day) < (born_until.month, born_until.day)
    return day.year - born_until.year - birthday_is_ahead


def birth_bounds(row: Row) -> list[tuple[date, date]]:
    """(after, until] for each age of the row: somebody aged a on day s was born after s - (a+1) y, until s - a y."""
    known = [(first_day(row["month_id"]), row["age_start_years"]), (last_day(row["month_id"]), row["age_end_years"])]
    return [(years_before(day, age + 1), years_before(day, age)) for day, age in known if age is not None]


# ----------------------------------------------------------------------------------------------------- outcomes


def observe(
    stay: Row,
    stays: list[Row],
    own: Mapping[str, list[Row]],
    facts: Facts,
    eligibility: Eligibility,
    follow_up: FollowUp,
) -> Row:
    """K11-K15: what happened in (index date, index date + 365]."""
    index_date, days = stay["end_date"], follow_up.days
    death = death_date(own)
    died_day = None if death is None or not 1 <= (death - index_date).days <= days else (death - index_date).days
    observed_days = (last_observed_day(stay, facts, follow_up) - index_date).days
    censored_day = observed_days if observed_days < days else None
    is_cut_short = censored_day is not None and (died_day is None or died_day > censored_day)

    # Death ends the window; a stay that starts after it can only be somebody else's record.
    last_day_alive = days if died_day is None else died_day
    later = [s for s in stays if is_readmission(s, eligibility) and 1 <= day_of(s, index_date) <= last_day_alive]
    seen = [s for s in later if censored_day is None or day_of(s, index_date) <= censored_day]
    first = min(seen, key=lambda s: s["start_date"]) if seen else None
    limit = index_date + timedelta(days=last_day_alive)
    return {
        "person_id": stay["person_id"],
        "index_date": index_date,
        "readmitted_365d": True if first else (None if is_cut_short else False),
        "days_to_readmission": day_of(first, index_date) if first else None,
        "n_readmissions_365d": None if is_cut_short else len(later),
        "days_in_hospital_365d": None
        if is_cut_short
        else sum((min(s["end_date"] or FOREVER, limit) - s["start_date"]).days for s in later),
        "is_first_readmission_formal": is_detained_at(first["start_date"], own, facts) if first else None,
        "died_day": died_day,
        "censored_day": censored_day,
        "n_dna_365d": None if is_cut_short else count_missed(own, index_date, limit),
        "n_crht_365d": None if is_cut_short else count_crisis(own, index_date, limit),
        "n_ed_365d": None
        if is_cut_short or "emergency_attendance" not in own
        else count_emergency(own, index_date, limit),
    }


def day_of(stay: Row, index_date: date) -> int:
    return (stay["start_date"] - index_date).days


def is_readmission(stay: Row, eligibility: Eligibility) -> bool:
    """K2, K4, K11: an adult psychiatric bed; place-of-safety-only never, zero-day only in the sensitivity analysis."""
    if stay["is_place_of_safety_only"] or not stay["is_adult"]:
        return False
    return eligibility.zero_day_stays_are_readmissions or not stay["is_zero_day"]


def death_date(own: Mapping[str, list[Row]]) -> date | None:
    """K15: the earliest registered date."""
    return min((row["death_date"] for row in own.get("death", []) if row["death_date"] is not None), default=None)


def last_observed_day(stay: Row, facts: Facts, follow_up: FollowUp) -> date:
    """K12: the end of the data, or the end of the last month before the index provider first falls silent."""
    if "provider_silence" not in follow_up.censor_at:
        return facts.period_end
    codes = providers_after(stay["submitted_provider"], facts)
    submitted = {row["month_id"] for row in facts.submissions if row["provider_id"] in codes}
    month = month_of(stay["end_date"])  # the index month counts as submitted: the discharge was seen
    while month + 1 in submitted:
        month += 1
    return min(last_day(month), facts.period_end)


def contacts_between(own: Mapping[str, list[Row]], after: date, until: date) -> list[Row]:
    """K14: contacts in (after, until], each contact_id once, without the anonymous provider DFC."""
    rows = [row for row in own.get("contact", []) if row["provider_id"] != "DFC"]
    once = latest_month_of_each([row for row in rows if row["contact_id"] is not None], "contact_id")
    once += [row for row in rows if row["contact_id"] is None]
    return [row for row in once if after < row["contact_date"] <= until]


def count_missed(own: Mapping[str, list[Row]], after: date, until: date) -> int:
    return sum(row["attendance_code"] == "3" for row in contacts_between(own, after, until))


def count_crisis(own: Mapping[str, list[Row]], after: date, until: date) -> int:
    """K14: attended contacts of a referral that had a crisis team in the same month's record."""
    crisis = {
        (team["record_id"], team["referral_id"])
        for team in own.get("referral_team", [])
        if team["team_type_code"] in CRISIS_TEAMS and team["record_id"] is not None
    }
    attended = [row for row in contacts_between(own, after, until) if row["attendance_code"] in ("5", "6")]
    return sum((row["record_id"], row["referral_id"]) in crisis for row in attended)


def count_emergency(own: Mapping[str, list[Row]], after: date, until: date) -> int:
    """K14: type 1 department, category 1-3, not deleted, neither streamed away nor dead on arrival."""
    return sum(
        row["department_type_code"] == "01"
        and row["attendance_category_code"] in ("1", "2", "3")
        and row["is_deleted_code"] != "1"
        and row["discharge_status_code"] not in STREAMED_OR_DEAD
        and after < row["arrival_date"] <= until
        for row in own["emergency_attendance"]
    )


# ----------------------------------------------------------------------------------------------------- calendar


def month_of(day: date) -> int:
    """UniqMonthID of a day (B1)."""
    return (day.year - 1900) * 12 + day.month - 3


def first_day(month_id: int) -> date:
    years, month = divmod(month_id + 2, 12)
    return date(1900 + years, month + 1, 1)


def last_day(month_id: int) -> date:
    first = first_day(month_id)
    return first.replace(day=monthrange(first.year, first.month)[1])


def years_before(day: date, years: int) -> date:
    """The same day `years` earlier; 29 February becomes 28 February."""
    if (day.month, day.day) == (2, 29) and monthrange(day.year - years, 2)[1] == 28:
        return date(day.year - years, 2, 28)
    return day.replace(year=day.year - years)
