"""The covariates of DOMAIN E1 once more, slowly: loops over the rows of one person, one function per group.

Choice: nothing is imported from the code it checks but the settings; every covariate of the registry but `trust` is
here (tests/pipelines/test_naive_covariates.py compares name by name). Windows: an event of day 1 to n before the index
date; diagnoses, statuses and ratings of the index date itself as well. Source: DOMAIN B5-B10, C1, C2, E1, K13-K15.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from tests.naive import (
    age_at,
    clean_diagnosis,
    is_between,
    naive_follow,
    primary_diagnosis,
    stays_before_mhsds,
    stratum,
)
from tests.naive_hospital import naive_stays as hospital_stays
from tests.naive_outcomes import CRISIS_TEAMS, STREAMED_OR_DEAD, contacts_between
from tests.naive_stays import (
    FOREVER,
    Facts,
    Row,
    age_of_row,
    find_stays,
    last_day,
    latest_month_of_each,
    month_of,
    real,
)
from tests.worlds import World

Own = Mapping[str, list[Row]]

GROUP_OF_LETTER = {"A": "white", "B": "white", "C": "white", "D": "mixed", "E": "mixed", "F": "mixed", "G": "mixed"}
GROUP_OF_LETTER |= {"H": "asian", "J": "asian", "K": "asian", "L": "asian", "M": "black", "N": "black", "P": "black"}
GROUP_OF_LETTER |= {"R": "other", "S": "other"}
DESTINATION = {"19": "home", "29": "temporary", "30": "other", "37": "justice", "38": "justice", "40": "justice"}
DESTINATION |= {"42": "justice", "66": "other", "88": "other", "89": "other"}
DESTINATION |= dict.fromkeys(("54", "55", "56", "65", "85"), "care_home")
DESTINATION |= dict.fromkeys(("48", "49", "50", "51", "52", "53", "84", "87"), "hospital")
HONOS = ["979641000000103", "979651000000100", "979661000000102", "979671000000109", "979681000000106"]
HONOS += ["979691000000108", "979701000000108", "979711000000105", "979721000000104", "979731000000102"]
HONOS += ["979741000000106", "979751000000109"]


def naive_baseline(world: World) -> list[Row]:
    """Covariates of the eligible rows of a world, each with person_id and index_date."""
    cohort = naive_follow(world.tables, world.facts, world.participants, world.eligibility, world.follow_up)["cohort"]
    found = []
    for row in cohort:
        if not row["is_eligible"]:
            continue
        own = {name: [r for r in rows if r["person_id"] == row["person_id"]] for name, rows in world.tables.items()}
        found.append({"person_id": row["person_id"], "index_date": row["index_date"]} | measure(row, own, world))
    return found


def measure(row: Row, own: Own, world: World) -> Row:
    """All covariates of one index row."""
    stays = find_stays(own, world.facts, world.eligibility)
    stay = next(s for s in stays if s["end_date"] == row["index_date"] and s["start_date"] == row["admission_date"])
    real = [s for s in stays if not s["is_zero_day"] and not s["is_place_of_safety_only"]]
    earlier = [*real, *stays_before_mhsds(own, stays, world.facts, world.eligibility)]
    known = Known(own, world.facts, stay)
    return {
        **index_stay(stay, own, world.facts, known),
        **earlier_stays(stay, earlier, known),
        **person(stay, own),
        **service_use(stay, own, known),
        **diagnoses(stay, own, known),
        **symptoms(stay, own, known),
        **community_care(stay, own, world.facts, known),
    }


class Known:
    """What finding nothing means: nought where the extract holds the tables and reaches back far enough."""

    def __init__(self, own: Own, facts: Facts, stay: Row) -> None:
        self.own, self.stay, self.gaps = own, stay, facts.gaps
        self.first = min(row["period_start_date"] for row in facts.submissions)
        self.last = facts.period_end

    def covers(self, tables: str, days: int | None, *, until: date | None = None, end: date | None = None) -> bool:
        until = until or self.stay["end_date"]
        held = all(table in self.own for table in tables.split() if table != "stays")
        reaches = days is None or until - timedelta(days=days) >= self.first
        opens = date.min if days is None else until - timedelta(days=days)
        months = [month for table in tables.split() for month in self.gaps.get(table, ())]
        is_hit = any(month <= (end or until) and opens <= last_day(month_of(month)) for month in months)
        return held and reaches and (end or until) <= self.last and not is_hit

    def count(self, n: int, tables: str, days: int | None, **window: Any) -> int | None:
        """A whole look-back's, or none."""
        return n if self.covers(tables, days, **window) else None

    def share(self, value: float | None, tables: str, days: int | None, **window: Any) -> float | None:
        return value if self.covers(tables, days, **window) else None

    def since(self, days: int | None, tables: str, until: date | None = None) -> int | None:
        """Days since the latest event, if none that came later can be missing."""
        until = until or self.stay["end_date"]
        missing = {month for table in tables.split() for month in self.gaps.get(table, ())}
        if days is None or until > self.last:
            return None
        between = [until - timedelta(days=n) for n in range(days + 1)]
        return None if any(day.replace(day=1) in missing for day in between) else days

    def flag(self, is_so: bool, tables: str, days: int | None, **window: Any) -> bool | None:
        return True if is_so else (False if self.covers(tables, days, **window) else None)


def index_stay(stay: Row, own: Own, facts: Facts, known: Known) -> Row:
    from math import log

    start, end, length = stay["start_date"], stay["end_date"], stay["los_days"]
    during = {"until": start, "end": end}
    delayed = delayed_days(stay, own, facts)
    destination, planned = stay["destination"], stay["planned_end"]
    is_told = destination is not None and destination not in ("98", "99", "ZZ")
    return {
        "stratum": stratum(primary_diagnosis(start, end, own)),
        "age_years": age_at(start, own),
        "log_index_days": log(length + 1),
        "index_days": length,
        "is_zero_day_index": length == 0,
        "is_transferred": stay["n_spells"] > 1,
        "is_detained_on_admission": known.flag(stay["is_detained_on_admission"], "legal_period", 0),
        "is_detained_at_discharge": known.flag(stay["is_detained_at_discharge"], "legal_period", 0),
        "is_ever_detained": known.flag(stay["is_ever_detained"], "legal_period", 0, **during),
        "is_self_discharge": None if stay["discharge_method"] is None else stay["discharge_method"] in ("2", "6", "7"),
        "is_discharged_home": destination == "19" if is_told else None,
        "is_discharged_to_care_home": DESTINATION.get(destination) == "care_home" if is_told else None,
        "discharge_destination": DESTINATION.get(destination),
        "has_planned_discharge": known.flag(planned is not None, "spell", 0),
        "days_after_planned_discharge": None if planned is None else (end - planned).days,
        "distance_home_km": stay["distance_home"],
        "is_out_of_area": known.flag(is_out_of_area(stay, own), "spell referral", 0, **during),
        "n_delayed_days_index": known.count(len(delayed), "delayed_discharge", 0, **during),
        "delayed_share_index": known.share(len(delayed) / length if delayed else 0, "delayed_discharge", 0, **during),
        "index_month": end.year * 12 + end.month,
        "discharge_month": str(end.month),
        "discharge_weekday": str(end.isoweekday()),
        "is_weekend_discharge": end.isoweekday() in (6, 7),
    }


def delayed_days(stay: Row, own: Own, facts: Facts) -> set[date]:
    """The nights of the stay inside a period of delay, as days: of a delay that names a spell, those of that spell; of
    one that names none the extract holds, those of the stay it began in."""
    found = set()
    known = {row["spell_id"] for row in own.get("spell", [])}
    sent = [row | {"of": row["spell_id"] or f"at {row['provider_id']}"} for row in own.get("delayed_discharge", [])]
    for delay in latest_month_of_each(sent, "of", "start_date"):
        if real(delay["start_date"]) is None:
            continue
        if delay["spell_id"] in known:
            spans = [(s["start"], s["end"]) for s in stay["spells"] if delay["spell_id"] in s["spell_ids"]]
        else:
            begins_inside = stay["start_date"] <= delay["start_date"] <= stay["end_date"]
            spans = [(stay["start_date"], stay["end_date"])] if begins_inside else []
        stops = last_day(delay["month_id"]) if delay["month_id"] < facts.last_month_id else FOREVER
        for first, last in spans:
            night = first
            while night < last:
                if delay["start_date"] <= night < (delay["end_date"] or stops):
                    found.add(night)
                night += timedelta(days=1)
    return found


def is_out_of_area(stay: Row, own: Own) -> bool:
    placed = {(r["record_id"], r["referral_id"]) for r in own.get("referral", []) if r["out_of_area_code"] == "10"}
    return any(
        (s["record_id"], s["referral_id"]) in placed
        and s["start_date"] is not None
        and s["start_date"] <= stay["end_date"]
        and month_of(stay["start_date"]) <= s["month_id"] <= month_of(stay["end_date"])
        for s in own.get("spell", [])
        if s["record_id"] is not None and s["referral_id"] is not None
    )


def earlier_stays(stay: Row, stays: list[Row], known: Known) -> Row:
    admission = stay["start_date"]

    def of_last(days: int) -> list[tuple[date, date]]:
        opens = admission - timedelta(days=days)
        spans = [(s["start_date"], s["end_date"]) for s in stays if s is not stay and s["end_date"] is not None]
        return [(a, b) for a, b in spans if a < admission and min(b, admission) >= opens]

    def days_of(days: int) -> int:
        opens = admission - timedelta(days=days)
        return sum((min(b, admission) - max(a, opens)).days for a, b in of_last(days))

    recent, recent_year = of_last(730), of_last(365)
    since = min(((admission - b).days for _, b in recent), default=None)
    before = {"until": admission}

    def whole(value: int, days: int) -> int | None:
        return value if known.covers("spell stays", days, **before) else None

    return {
        "n_prior_stays_730d": whole(len(recent), 730),
        "n_prior_stays_730d_capped": whole(min(len(recent), 4), 730),
        "n_prior_stays_365d": whole(len(recent_year), 365),
        "prior_inpatient_days_730d": whole(days_of(730), 730),
        "prior_inpatient_days_365d": whole(days_of(365), 365),
        "days_since_last_discharge": known.since(since, "stays", admission),
    }


def person(stay: Row, own: Own) -> Row:
    day = stay["end_date"]
    months = sorted(own.get("person_month", []), key=age_of_row)
    until = [row for row in months if row["month_id"] <= month_of(day)]
    gender, marital = last_known(until, "gender_code"), last_known(until, "marital_code")
    letters = Counter(row["ethnicity_code"] for row in months if row["ethnicity_code"] in GROUP_OF_LETTER)
    letter = min(letters, key=lambda code: (-letters[code], code), default=None)
    settled = last_status(own, "accommodation", "settled_code", day)
    housing = last_status(own, "accommodation", "accommodation_code", day)
    work = last_status(own, "employment", "employment_code", day)
    work = None if work in ("ZZ", "99") else work
    return {
        "is_female": {"1": False, "2": True}.get(gender),
        "gender": {"1": "male", "2": "female", "3": "non_binary", "4": "other"}.get(gender),
        "is_married": None if marital is None else marital == "M",
        "marital_status": marital,
        "imd_decile": None,  # the worlds have no lookup of areas
        "imd_2019_decile": None,
        "imd_decile_of_period": None,
        "ethnic_group": GROUP_OF_LETTER.get(letter, "unknown"),
        "ethnic_category": letter,
        "is_settled": {"Y": True, "N": False}.get(settled),
        "is_homeless": housing in [f"HM0{n}" for n in range(8)] if re.match("[A-Z]{2}[0-9]", housing or "") else None,
        "is_employed": None if work is None else work in ("01", "1"),
        "employment_status": None if work is None else work.zfill(2),
    }


def last_known(rows: list[Row], column: str) -> Any:
    known = [row[column] for row in rows if row[column] is not None]
    return known[-1] if known else None


def last_status(own: Own, table: str, column: str, day: date) -> Any:
    rows = [
        row
        for row in own.get(table, [])
        if row["status_date"] is not None and 0 <= (day - row["status_date"]).days <= 365
    ]
    return last_known(sorted(rows, key=lambda row: (row["status_date"], age_of_row(row))), column)


def service_use(stay: Row, own: Own, known: Known) -> Row:
    day = stay["end_date"]

    def before(days: Iterable[date], limit: int) -> list[int]:
        return [(day - event).days for event in days if 1 <= (day - event).days <= limit]

    found: Row = {}

    def both(stem: str, latest: str, events: Iterable[date], tables: str, limit: int = 365) -> list[int]:
        ago = before(events, limit)
        found[f"n_{stem}_{limit}d_before"] = known.count(len(ago), tables, limit)
        found[f"days_since_last_{latest}"] = known.since(min(ago, default=None), tables)
        return ago

    team = "contact referral_team"
    attended = both("attended", "attended_contact", contact_days(own, "56"), "contact")
    missed = both("dna", "dna", contact_days(own, "3"), "contact")
    both("crht", "crht", contact_days(own, "56", CRISIS_TEAMS), team)
    both("crht_spells", "crht_spell", crisis_referrals(own), "referral referral_team")
    both("liaison", "liaison", contact_days(own, "56", {"A11"}), team)
    at_cmht = both("cmht_attended", "cmht_contact", contact_days(own, "56", {"A06"}), team)
    not_at_cmht = both("cmht_dna", "cmht_dna", contact_days(own, "3", {"A06"}), team)
    found["dna_rate_365d_before"] = known.share(share(missed, attended), "contact", 365)
    found["cmht_dna_rate_365d_before"] = known.share(share(not_at_cmht, at_cmht), team, 365)
    both("ed", "ed", emergency_days(own, lambda row: True), "emergency_attendance")
    both("mh_ed", "mh_ed", emergency_days(own, is_mental_health), "emergency_attendance")
    at_ed = emergency_days(own, is_self_harm)
    admitted = self_harm_admissions(own)
    harmed = both("self_harm", "self_harm_attendance", at_ed, "emergency_attendance", 730)
    harmed += both("self_harm_admissions", "self_harm_admission", admitted, "hospital_episode", 730)
    found["has_self_harm_730d_before"] = known.flag(bool(harmed), "emergency_attendance hospital_episode", 730)
    for kind, name in (("SELF_HARM", "self_harm"), ("SUBSTANCE", "substance_misuse")):
        months = [row["month_id"] for row in own.get("ward_incident", []) if row["incident_kind_code"] == kind]
        is_so = bool(before([last_day(month) for month in months], 730))
        found[f"has_ward_{name}_730d_before"] = known.flag(is_so, "ward_incident", 730)
    physical = [s["start_date"] for s in hospital_stays(own.get("hospital_episode", [])) if not s["is_psychiatric"]]
    both("physical_admissions", "physical_admission", physical, "hospital_episode", 730)
    return found


def share(missed: list[int], attended: list[int]) -> float | None:
    return len(missed) / (len(missed) + len(attended)) if missed or attended else None


def referrals_to(own: Own, teams: set[str]) -> set[tuple[str, str]]:
    """Record and referral of the rows that name such a team; without both there is nothing to join by."""
    rows = [row for row in own.get("referral_team", []) if row["team_type_code"] in teams]
    return {
        (row["record_id"], row["referral_id"])
        for row in rows
        if row["record_id"] is not None and row["referral_id"] is not None
    }


def contact_days(own: Own, codes: str, teams: set[str] | None = None) -> list[date]:
    """Days of contacts with one of the codes (a character each), of a referral to one of the teams if any are given."""
    of_teams = referrals_to(own, teams or set())
    return [
        row["contact_date"]
        for row in contacts_between(own, date.min, FOREVER)
        if row["attendance_code"] is not None
        and row["attendance_code"] in codes
        and (teams is None or (row["record_id"], row["referral_id"]) in of_teams)
    ]


def crisis_referrals(own: Own) -> list[date]:
    of_teams = referrals_to(own, CRISIS_TEAMS)
    rows = [
        row
        for row in own.get("referral", [])
        if (row["record_id"], row["referral_id"]) in of_teams and row["received_date"] is not None
    ]
    once = latest_month_of_each(rows, "provider_id", "referral_id", "received_date")
    return [row["received_date"] for row in once if row["rejected_date"] is None]


def emergency_days(own: Own, is_kind: Callable[[Row], bool]) -> list[date]:
    """K14: as naive_outcomes.count_emergency, for all days and one kind of attendance. The worlds repeat no HES row."""
    rows = own.get("emergency_attendance", [])
    in_ecds = {
        row["arrival_date"]
        for row in rows
        if row["collection_code"] != "HES_AE" and row["department_type_code"] == "01" and row["is_deleted_code"] != "1"
    }
    return [
        row["arrival_date"]
        for row in rows
        if row["department_type_code"] == "01"
        and row["attendance_category_code"] in ("1", "2", "3")
        and row["is_deleted_code"] != "1"
        and row["discharge_status_code"] not in STREAMED_OR_DEAD
        and not (row["collection_code"] == "HES_AE" and row["arrival_date"] in in_ecds)
        and is_kind(row)
    ]


def is_self_harm(row: Row) -> bool:
    group = row["collection_code"] == "HES_AE" and row["patient_group_code"] == "30"
    return row["chief_complaint_code"] == "248062006" or row["injury_intent_code"] == "276853009" or group


def is_mental_health(row: Row) -> bool:
    """C2; of the lists the worlds draw low mood and schizophrenia only."""
    first = (row["diagnosis_codes"] or "").split()[:1]
    return is_self_harm(row) or row["chief_complaint_code"] == "272022009" or first == ["58214004"]


def self_harm_admissions(own: Own) -> set[date]:
    found = set()
    for row in own.get("hospital_episode", []):
        codes = [row[f"diagnosis_{n}_code"] or "" for n in (1, 2, 3)] + (row["all_diagnosis_codes"] or "").split()
        if any(code[:1] == "X" and code[1:3].isdecimal() and 60 <= int(code[1:3]) <= 84 for code in codes):
            found.add(row["admission_date"] or row["episode_start_date"])
    return found


def diagnoses(stay: Row, own: Own, known: Known) -> Row:
    dated = [
        (
            (stay["end_date"] - row["diagnosis_date"]).days,
            clean_diagnosis(row["diagnosis_code"], row["scheme_code"]),
            row,
        )
        for row in own.get("diagnosis", [])
        if row["diagnosis_date"] is not None
    ]

    def has(first: int, last: int, limit: int | None, position: str | None = None) -> bool | None:
        is_so = any(
            days >= 0
            and (limit is None or days <= limit)
            and is_between(code, first, last)
            and position in (None, row["position_code"])
            for days, code, row in dated
        )
        return known.flag(is_so, "diagnosis", limit)

    return {
        "has_personality_disorder": has(60, 61, 730),
        "has_substance_disorder": has(10, 19, 730),
        "has_secondary_substance_disorder": has(10, 19, 730, "S"),
        "has_psychotic_disorder": has(20, 29, 730),
        "has_personality_disorder_ever": has(60, 61, None),
        "has_substance_disorder_ever": has(10, 19, None),
        "has_psychotic_disorder_ever": has(20, 29, None),
    }


def symptoms(stay: Row, own: Own, known: Known) -> Row:
    nearest: dict[int, tuple[Any, float, int]] = {}
    for row in own.get("assessment", []):
        if row["tool_code"] not in HONOS or row["score"] not in (0, 1, 2, 3, 4) or row["assessment_date"] is None:
            continue
        days = (stay["end_date"] - row["assessment_date"]).days
        order = (row["assessment_date"], age_of_row(row))
        item = HONOS.index(row["tool_code"]) + 1
        if 0 <= days <= 90 and (item not in nearest or order > nearest[item][0]):
            nearest[item] = (order, row["score"], days)
    scores = {item: score for item, (_, score, _) in nearest.items()}
    return {
        "honos_total": sum(scores.values()) / len(scores) * 12 if len(scores) >= 10 else None,
        **{f"honos_item_{item}": scores.get(item) for item in (2, 3, 6, 11)},
        "days_since_honos": known.since(min((days for _, _, days in nearest.values()), default=None), "assessment"),
    }


def community_care(stay: Row, own: Own, facts: Facts, known: Known) -> Row:
    day = stay["end_date"]
    orders = own.get("community_order", [])
    treatment = [order for order in orders if order["order_kind_code"] == "CTO"]
    ended = [row for row in own.get("referral_team", []) if 0 <= (day - last_day(row["month_id"])).days <= 31]
    types = {row["team_type_code"] for row in ended}
    programmes = []
    sent = [row | {"of": row["episode_id"] or f"at {row['provider_id']}"} for row in own.get("care_programme", [])]
    for row in latest_month_of_each(sent, "of", "start_date"):
        stopped = last_day(row["month_id"]) if row["month_id"] < facts.last_month_id else FOREVER
        if row["start_date"] <= day <= (row["end_date"] or stopped):
            programmes.append((day - row["start_date"]).days)
    plans = [row[name] for row in own.get("care_plan", []) for name in ("created_date", "updated_date")]
    planned = [(day - made).days for made in plans if made is not None and 0 <= (day - made).days <= 365]
    return {
        "has_community_order": known.flag(is_in_force(orders, day, facts), "community_order", 0),
        "has_community_treatment_order": known.flag(is_in_force(treatment, day, facts), "community_order", 0),
        "has_cmht_team": known.flag("A06" in types, "referral_team", 31),
        "has_early_intervention_team": known.flag("A14" in types, "referral_team", 31),
        "has_assertive_outreach_team": known.flag("A08" in types, "referral_team", 31),
        "is_on_care_programme": known.flag(bool(programmes), "care_programme", 0),
        "days_on_care_programme": max(programmes, default=None),
        "has_care_plan_365d_before": known.flag(bool(planned), "care_plan", 365),
        "days_since_care_plan": known.since(min(planned, default=None), "care_plan"),
    }


def is_in_force(orders: list[Row], day: date, facts: Facts) -> bool:
    """Whether an order, as it was last sent, began in the ten years before and had not ended on a day. B8: without an
    end it lasts until it expires, and no longer than it was sent."""
    for order in latest_month_of_each(orders, "episode_id", "order_kind_code", "start_date"):
        end = order["end_date"]
        if end is None:
            ends = [last_day(order["month_id"])] if order["month_id"] < facts.last_month_id else []
            if order["expiry_date"] is not None and order["expiry_date"] >= order["start_date"]:
                ends.append(order["expiry_date"])
            end = min(ends, default=FOREVER)
        if 0 <= (day - order["start_date"]).days <= 3650 and end >= day:
            return True
    return False
