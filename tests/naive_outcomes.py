"""What happened after time zero, slowly (DOMAIN K11-K15): the last part of tests/naive.py.

Choice: one function per outcome, loops only. Source: DOMAIN section K; code sets B6, B7, C2.
"""

from collections.abc import Mapping
from datetime import date, timedelta

from pipelines.protocol import Eligibility, FollowUp
from tests.naive_stays import (
    FOREVER,
    Facts,
    Row,
    death_date,
    is_detained_at,
    last_day,
    latest_month_of_each,
    month_of,
    providers_after,
)

CRISIS_TEAMS = {"A02", "A03", "A04"}
STREAMED_OR_DEAD = {"1077031000000103", "1077781000000101", "63238001"}


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
    observed_days = max((last_observed_day(stay, facts, follow_up) - index_date).days, 0)
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
    start: date = stay["start_date"]
    return (start - index_date).days


def is_readmission(stay: Row, eligibility: Eligibility) -> bool:
    """K2, K4, K11: an adult psychiatric bed; place-of-safety-only never, zero-day only in the sensitivity analysis."""
    if stay["is_place_of_safety_only"] or not stay["is_adult"]:
        return False
    return eligibility.zero_day_stays_are_readmissions or not stay["is_zero_day"]


def last_observed_day(stay: Row, facts: Facts, follow_up: FollowUp) -> date:
    """K12: the end of the data, or the end of the last month before the index provider first falls silent."""
    if "provider_silence" not in follow_up.censor_at:
        return facts.period_end
    codes = providers_after(stay["submitted_provider"], facts)
    submitted = {
        row["month_id"]
        for row in facts.submissions
        if row["provider_id"] in codes and (row["provider_id"], row["month_id"]) not in facts.thin
    }
    month = month_of(stay["end_date"])  # the index month counts as submitted: the discharge was seen
    while month + 1 in submitted:
        month += 1
    return min(last_day(month), facts.period_end)


def contacts_between(own: Mapping[str, list[Row]], after: date, until: date) -> list[Row]:
    """K14: contacts in (after, until], each contact_id once. Rows of provider DFC are quarantined at ingest."""
    rows = own.get("contact", [])
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
    """K14: type 1 department, category 1-3, not deleted, neither streamed away nor dead on arrival; of HES A&E only on
    days without a row of ECDS for such a department."""
    in_ecds = {
        row["arrival_date"]
        for row in own["emergency_attendance"]
        if row["collection_code"] != "HES_AE" and row["department_type_code"] == "01" and row["is_deleted_code"] != "1"
    }
    return sum(
        row["department_type_code"] == "01"
        and row["attendance_category_code"] in ("1", "2", "3")
        and row["is_deleted_code"] != "1"
        and row["discharge_status_code"] not in STREAMED_OR_DEAD
        and after < row["arrival_date"] <= until
        and not (row["collection_code"] == "HES_AE" and row["arrival_date"] in in_ecds)
        for row in own["emergency_attendance"]
    )
