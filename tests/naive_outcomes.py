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
    find_spells,
    id_order,
    is_detained_at,
    last_day,
    latest_month_of_each,
    month_of,
    providers_after,
)

CRISIS_TEAMS = {"A02", "A03", "A04"}
LIAISON_TEAMS = {"A11"}
STREAMED_OR_DEAD = {"1077031000000103", "1077781000000101", "63238001"}
NHS_EXCLUDED_METHODS = {"4", "6", "7", "8"}
NHS_EXCLUDED_DESTINATIONS = {"48", "49", "50", "53", "84", "87", "79"}
SOURCES = {
    "died": ("death",),
    "is_formally_readmitted": ("legal_period",),
    "is_informally_readmitted": ("legal_period",),
    "n_dna": ("contact",),
    "n_attended": ("contact",),
    "dna_rate": ("contact",),
    "n_crht": ("contact", "referral_team"),
    "n_liaison": ("contact", "referral_team"),
    "n_crht_episodes": ("referral", "referral_team"),
    "n_crht_starts": ("referral", "referral_team"),
    "n_ed": ("emergency_attendance",),
}  # what has to be there for nothing found to be nothing
WINDOWS = (30, 90)  # shorter windows that every world is asked for


def observe(
    stay: Row,
    stays: list[Row],
    own: Mapping[str, list[Row]],
    facts: Facts,
    eligibility: Eligibility,
    follow_up: FollowUp,
) -> Row:
    """K11-K15: what happened in (index date, index date + 365], and in shorter windows."""
    index_date, days = stay["end_date"], follow_up.days
    death = death_date(own)
    died_day = None if death is None or not 1 <= (death - index_date).days <= days else (death - index_date).days
    observed_days = max((last_observed_day(stay, own, facts, follow_up) - index_date).days, 0)
    censored_day = observed_days if observed_days < days else None
    later = [s for s in stays if is_readmission(s, eligibility) and day_of(s, index_date) >= 1]
    first = first_seen(later, index_date, days, died_day, censored_day)
    row = {
        "person_id": stay["person_id"],
        "index_date": index_date,
        "days_to_readmission": day_of(first, index_date) if first else None,
        "is_first_readmission_formal": was_formal(first, own, facts),
        "first_readmission_los_days": first["los_days"] if first and first["end_reason"] != "inactive" else None,
        "died_day": died_day,
        "censored_day": censored_day,
        "readmitted_nhs_14d": nhs_readmission(index_date, own, facts, died_day, censored_day),
    }
    for window in (*WINDOWS, days):
        found = observe_window(index_date, window, later, own, facts, died_day, censored_day)
        row |= {f"{name}_{window}d": value for name, value in found.items()}
    return row


def observe_rates(
    stay: Row,
    stays: list[Row],
    own: Mapping[str, list[Row]],
    facts: Facts,
    eligibility: Eligibility,
    follow_up: FollowUp,
) -> tuple[list[Row], list[Row]]:
    """The events of the days that were seen, outcome by outcome, and those days; and every readmission with its day."""
    index_date, days = stay["end_date"], follow_up.days
    key = {"person_id": stay["person_id"], "index_date": index_date}
    death = death_date(own)
    last = min(days, max((last_observed_day(stay, own, facts, follow_up) - index_date).days, 0))
    if death is not None and 1 <= (death - index_date).days <= days:
        last = min(last, (death - index_date).days)
    later = [s for s in stays if is_readmission(s, eligibility) and 1 <= day_of(s, index_date) <= last]
    readmissions = [
        key
        | {
            "day": day_of(s, index_date),
            "until_day": None if s["end_date"] is None else (s["end_date"] - index_date).days,
            "is_formal": was_formal(s, own, facts),
        }
        for s in later
    ]
    observed = []
    for window in (*WINDOWS, days):
        for name in RATES:
            end = min(window, last)
            for table in SOURCES.get(name, ()):
                end = min(end, days_reached(table, index_date, own, facts))
            if end < 1:
                continue
            limit = index_date + timedelta(days=end)
            within = [s for s in later if day_of(s, index_date) <= end]
            n, chances = count_rate(name, within, own, facts, index_date, limit)
            in_hospital = sum(days_of(s, limit) for s in within)
            found = {"n": n, "days": end, "days_in_hospital": in_hospital, "chances": chances}
            observed.append(key | {"outcome": f"{name}_{window}d"} | found)
    return observed, readmissions


RATES = ("n_readmissions", "n_dna", "n_attended", "dna_rate", "n_crht", "n_crht_starts", "n_liaison", "n_ed")


def days_reached(table: str, index_date: date, own: Mapping[str, list[Row]], facts: Facts) -> int:
    """How many days after the index date a table reaches without a gap at their beginning."""
    opens = index_date + timedelta(days=1)
    if not covers(table, opens, opens, own, facts):
        return 0
    until = facts.reach[table][1] if facts.reach else facts.period_end
    for month in facts.gaps.get(table, ()):
        if month > opens:
            until = min(until, month - timedelta(days=1))
    return (until - index_date).days


def count_rate(
    name: str, within: list[Row], own: Mapping[str, list[Row]], facts: Facts, after: date, until: date
) -> tuple[int, int | None]:
    """Events in (after, until], and the appointments of which a share of missed ones is one."""
    missed, attended = count_missed(own, after, until), count_attended(own, after, until)
    if name == "dna_rate":
        return missed, missed + attended
    if name == "n_crht_starts":
        return sum(after < start <= until for start, _ in crisis_episodes(own, facts)), None
    if name in ("n_crht", "n_liaison"):
        return count_team_contacts(own, CRISIS_TEAMS if name == "n_crht" else LIAISON_TEAMS, after, until), None
    if name == "n_ed":
        return count_emergency(own, after, until), None
    return {"n_readmissions": len(within), "n_dna": missed, "n_attended": attended}[name], None


def first_seen(
    later: list[Row], index_date: date, days: int, died_day: int | None, censored_day: int | None
) -> Row | None:
    """The first later stay that began while the person was alive and observed, within `days`."""
    # Death ends the window; a stay that starts after it can only be somebody else's record.
    limits = [days, *(day for day in (died_day, censored_day) if day is not None)]
    seen = [s for s in later if day_of(s, index_date) <= min(limits)]
    return min(seen, key=lambda s: s["start_date"]) if seen else None


def is_cut_short(days: int, died_day: int | None, censored_day: int | None) -> bool:
    """Whether observation ended before the window did, and before death."""
    return censored_day is not None and censored_day < days and (died_day is None or died_day > censored_day)


def observe_window(
    index_date: date,
    days: int,
    later: list[Row],
    own: Mapping[str, list[Row]],
    facts: Facts,
    died_day: int | None,
    censored_day: int | None,
) -> Row:
    """Everything that is counted in (index date, index date + days]; None where it is not known."""
    cut = is_cut_short(days, died_day, censored_day)
    first = first_seen(later, index_date, days, died_day, censored_day)
    formal = was_formal(first, own, facts)
    died = died_day is not None and died_day <= days and (censored_day is None or died_day <= censored_day)
    alive_days = days if died_day is None else min(days, died_day)
    limit = index_date + timedelta(days=alive_days)
    within = [s for s in later if day_of(s, index_date) <= alive_days]
    row: Row = {
        "readmitted": True if first else (None if cut else False),
        "is_formally_readmitted": formal if first else (None if cut else False),
        "is_informally_readmitted": (None if formal is None else not formal) if first else (None if cut else False),
        "readmission_free_days": day_of(first, index_date) if first else (None if cut else alive_days),
        "died": True if died else (None if cut else False),
    }
    missed, attended = count_missed(own, index_date, limit), count_attended(own, index_date, limit)
    counts: Row = {
        "n_readmissions": len(within),
        "days_in_hospital": sum(days_of(s, limit) for s in within),
        "days_alive_out_of_hospital": alive_days - sum(days_of(s, limit) for s in within),
        "days_in_first_readmission": days_of(first, limit) if first else 0,
        "n_dna": missed,
        "n_attended": attended,
        "dna_rate": missed / (missed + attended) if missed + attended else None,
        "n_crht": count_team_contacts(own, CRISIS_TEAMS, index_date, limit),
        "n_crht_episodes": sum(
            start <= limit and (end is None or end > index_date) for start, end in crisis_episodes(own, facts)
        ),
        "n_crht_starts": sum(index_date < start <= limit for start, _ in crisis_episodes(own, facts)),
        "n_liaison": count_team_contacts(own, LIAISON_TEAMS, index_date, limit),
        "n_ed": count_emergency(own, index_date, limit) if "emergency_attendance" in own else None,
    }
    row |= {name: None if cut else value for name, value in counts.items()}
    opens, closes = index_date + timedelta(days=1), index_date + timedelta(days=days)
    if censored_day is not None:
        closes = min(closes, index_date + timedelta(days=censored_day))
    return {
        name: value if all(covers(table, opens, closes, own, facts) for table in SOURCES.get(name, ())) else None
        for name, value in row.items()
    }


def covers(table: str, opens: date, closes: date, own: Mapping[str, list[Row]], facts: Facts) -> bool:
    """Whether the extract has a table and it reaches over both days, so that finding nothing between them tells
    something. An event or a death in a window that it leaves makes no difference."""
    if table not in own:
        return False
    everything = (min(row["period_start_date"] for row in facts.submissions), facts.period_end)
    if facts.reach and table not in facts.reach:
        return False
    first, last = facts.reach.get(table, everything)
    is_hit = any(month <= closes and opens <= last_day(month_of(month)) for month in facts.gaps.get(table, ()))
    return first <= opens and closes <= last and not is_hit


def was_formal(stay: Row | None, own: Mapping[str, list[Row]], facts: Facts) -> bool | None:
    """K13, of a readmission; None without one and where legal periods do not reach to its first day."""
    if stay is None or not covers("legal_period", stay["start_date"], stay["start_date"], own, facts):
        return None
    return is_detained_at(stay["start_date"], own, facts)


def days_of(stay: Row, limit: date) -> int:
    """Days from the start of a stay to its end or the last day that counts."""
    start, end = stay["start_date"], min(stay["end_date"] or FOREVER, limit)
    return int((end - start).days)


def nhs_readmission(
    index_date: date, own: Mapping[str, list[Row]], facts: Facts, died_day: int | None, censored_day: int | None
) -> bool | None:
    """B11: another spell of any bed type within 14 days of the discharge, day 0 counting; None where the method or
    destination of the discharge leaves it out of the denominator."""
    spells = find_spells(own, facts)
    index_spell = min(
        (s for s in spells if s["end"] == index_date), key=lambda s: (s["start"], id_order(s["spell_id"]))
    )
    if index_spell["discharge_method"] in NHS_EXCLUDED_METHODS:
        return None
    if index_spell["destination"] in NHS_EXCLUDED_DESTINATIONS:
        return None
    limits = [13, *(day for day in (died_day, censored_day) if day is not None)]
    for spell in spells:
        if spell is not index_spell and 0 <= (spell["start"] - index_date).days <= min(limits):
            return True
    return None if is_cut_short(13, died_day, censored_day) else False


def day_of(stay: Row, index_date: date) -> int:
    start: date = stay["start_date"]
    return (start - index_date).days


def is_readmission(stay: Row, eligibility: Eligibility) -> bool:
    """K2, K4, K11: an adult psychiatric bed; place-of-safety-only never, zero-day only in the sensitivity analysis."""
    if stay["is_place_of_safety_only"] or not stay["is_adult"]:
        return False
    return eligibility.zero_day_stays_are_readmissions or not stay["is_zero_day"]


def last_observed_day(stay: Row, own: Mapping[str, list[Row]], facts: Facts, follow_up: FollowUp) -> date:
    """K12: the end of the data, or the end of the last month before the index provider first falls silent, or the day
    of a move away, or the end of the observation period, whichever comes first."""
    moved = [day for day in moves(stay, own, facts, follow_up) if day >= stay["end_date"]]
    return min([last_submitted_day(stay, facts, follow_up), *moved, *period_end(stay, own, follow_up)])


def period_end(stay: Row, own: Mapping[str, list[Row]], follow_up: FollowUp) -> list[date]:
    """The last day of those from the discharge on that some observation period holds, one after the other."""
    if "observation_period" not in follow_up.censor_at:
        return []
    spans = [(row["start_date"], row["end_date"]) for row in own.get("observation_period", [])]
    day = stay["end_date"]
    while any(first <= day + timedelta(days=1) <= last for first, last in spans) and any(
        first <= day <= last for first, last in spans
    ):
        day += timedelta(days=1)
    return [day]


def moves(stay: Row, own: Mapping[str, list[Row]], facts: Facts, follow_up: FollowUp) -> list[date]:
    """The days on which the trust of the stay closed a referral, or a team's part of one, for a move away. A team
    without a day of its own left with the referral."""
    if "moved_away" not in follow_up.censor_at:
        return []
    referrals = latest_month_of_each(own.get("referral", []), "referral_id")
    closed = {row["referral_id"]: row["closed_date"] for row in referrals}
    days = [(row, row["closed_date"]) for row in referrals]
    for row in latest_month_of_each(with_team(own.get("referral_team", [])), "referral_id", "team"):
        days.append((row, row["closed_date"] or closed.get(row["referral_id"])))
    trust = providers_after(stay["submitted_provider"], facts)[-1]
    return [
        day
        for row, day in days
        if day is not None
        and row["closure_reason_code"] in follow_up.moved_away_codes
        and providers_after(row["provider_id"], facts)[-1] == trust
    ]


def last_submitted_day(stay: Row, facts: Facts, follow_up: FollowUp) -> date:
    """The end of the data, or of the last month before the index provider first falls silent."""
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


def count_attended(own: Mapping[str, list[Row]], after: date, until: date) -> int:
    """B7: on time, or late but seen."""
    return sum(row["attendance_code"] in ("5", "6") for row in contacts_between(own, after, until))


def count_team_contacts(own: Mapping[str, list[Row]], types: set[str], after: date, until: date) -> int:
    """K14: attended contacts of a referral that had a team of one of the types in the same month's record."""
    teams = {
        (team["record_id"], team["referral_id"])
        for team in own.get("referral_team", [])
        if team["team_type_code"] in types and team["record_id"] is not None
    }
    attended = [row for row in contacts_between(own, after, until) if row["attendance_code"] in ("5", "6")]
    return sum((row["record_id"], row["referral_id"]) in teams for row in attended)


def with_team(rows: list[Row]) -> list[Row]:
    """Teams of referrals, each with what it is known by: its id, or its type."""
    return [row | {"team": row["team_id"] or f"of type {row['team_type_code']}"} for row in rows]


def crisis_episodes(own: Mapping[str, list[Row]], facts: Facts) -> list[tuple[date, date | None]]:
    """J: (received, last day or None while open) of every referral to a crisis team that was not rejected. A closing
    before it was received is none; one that stopped arriving ends with its last month."""
    episodes = []
    for referral in latest_month_of_each(own.get("referral", []), "referral_id"):
        rows = [team for team in own.get("referral_team", []) if team["referral_id"] == referral["referral_id"]]
        rows = [team for team in rows if team["team_type_code"] in CRISIS_TEAMS]
        crisis = [team for team in latest_month_of_each(with_team(rows), "team") if team["rejected_date"] is None]
        if not crisis or referral["received_date"] is None or referral["rejected_date"] is not None:
            continue
        received = referral["received_date"]
        left = [team["closed_date"] for team in crisis]
        everybody_left = all(day is not None and day >= received for day in left)
        ends = [max(left)] if everybody_left else []
        if referral["closed_date"] is not None and referral["closed_date"] >= received:
            ends.append(referral["closed_date"])
        if not ends and referral["month_id"] < facts.last_month_id:
            ends.append(max(last_day(referral["month_id"]), received))
        episodes.append((received, min(ends) if ends else None))
    return episodes


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
