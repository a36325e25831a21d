"""What happens between hospital stays: community and crisis contacts, emergency and physical care, very short stays.

Choice made: events lie in the interval between a discharge and the next admission, each kind from its own declared
rate; nothing here depends on peer support but the length of the interval.
"""

from collections import defaultdict

import numpy as np

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import People
from pipelines.sources.synthetic.timeline import NEVER, Array, Columns, draw_codes, expit, join_columns, pick

ATTENDANCE = ["5", "6", "3", "2", "4", "7"]
MISSED = ATTENDANCE.index("3")
N_ATTENDED = 2  # the first two codes are attended contacts
COMMUNITY_TEAM, CRISIS_TEAM = 0, 1
ZERO_DAY, SAFETY_ZERO_DAYS, SAFETY_ONE_DAY = 1, 2, 3  # kinds of brief stays; 0 is an ordinary stay
BRIEF_STAY_MARGIN_DAYS = 6  # from other stays, so that no rule of linking can join them
CRISIS_DAYS = 14
KINDS = ("referrals", "contacts", "emergencies", "physical", "brief", "orders")


class Community:
    """Events of a chunk of people, kept as column sets by kind; `since` is the discharge that opened the interval."""

    def __init__(self, people: People, network: Network, a: Assumptions, rng: np.random.Generator) -> None:
        self.people, self.a, self.rng = people, a, rng
        self._trust_hazard = np.exp(network.log_hazard)[people.home_trust]
        self.events: dict[str, list[Columns]] = defaultdict(list)
        self._n_referrals = 0

    def all(self, kind: str) -> Columns:
        """All events of a kind so far."""
        return join_columns(self.events[kind])

    def live(self, who: Array, since: Array, until: Array, is_admitted: Array, ordered: Array) -> None:
        """Add the events of the days after `since` and before `until` (an admission where `is_admitted`)."""
        self._meet_community_team(who, since, until)
        self._meet_crisis_team(who, since, until, is_admitted)
        self._go_to_emergency(who, since, until, is_admitted)
        self._fall_physically_ill(who, since, until)
        self._stay_briefly(who, since, until, ordered)
        rows = np.flatnonzero(ordered & (until - since > 1))
        end = np.minimum(until - 1, since + 182)[rows]
        self._add("orders", {"person": who[rows], "since": since[rows], "start": since[rows], "end": end})

    def forget(self, after: Array) -> None:
        """Drop the events of intervals that began on or after a person's day."""
        for kind, parts in self.events.items():
            self.events[kind] = [pick(part, part["since"] < after[part["person"]]) for part in parts]

    def count_before(self, who: Array, day: Array, days: int) -> Columns:
        """Contacts and emergency attendances in the `days` days before `day` (that day left out), for each of `who`."""
        n = len(self.people)
        at = np.full(n, -NEVER)
        at[who] = day
        names = ("person", "day", "team", "attendance")
        contacts = join_columns([{name: part[name] for name in names} for part in self.events["contacts"]])
        emergencies = join_columns([{name: part[name] for name in names[:2]} for part in self.events["emergencies"]])

        def count(events: Columns, rows: Array) -> Array:
            before = at[events["person"]] - events["day"]
            inside = rows & (before > 0) & (before <= days)
            return np.bincount(events["person"][inside], minlength=n)[who]

        attended = contacts["attendance"] < N_ATTENDED
        return {
            "attended": count(contacts, attended),
            "missed": count(contacts, contacts["attendance"] == MISSED),
            "crisis": count(contacts, attended & (contacts["team"] == CRISIS_TEAM)),
            "emergency": count(emergencies, np.ones(len(emergencies["person"]), dtype=bool)),
        }

    def _add(self, kind: str, columns: Columns) -> None:
        self.events[kind].append(columns)

    def _meet_community_team(self, who: Array, since: Array, until: Array) -> None:
        a, rng, severity = self.a, self.rng, self.people.severity[who]
        rate = np.exp(a["contacts.per_severity"] * severity)
        length = np.minimum(until - since - 1, 7 + rng.exponential(a["contacts.episode_days"] * rate)).astype(np.int64)
        number = rng.poisson(np.maximum(length, 0) / a["contacts.days_between"] * rate)
        self._contacts(who, since, np.maximum(length, 0), number, COMMUNITY_TEAM, since)

    def _meet_crisis_team(self, who: Array, since: Array, until: Array, is_admitted: Array) -> None:
        a, rng, severity = self.a, self.rng, self.people.severity[who]
        room = until - since - 1
        for when, may_happen in (("after", room >= 1), ("before", is_admitted & (room > 2 * CRISIS_DAYS))):
            level, per_severity = a[f"contacts.crisis_{when}"]
            happens = may_happen & (rng.random(len(who)) < expit(level + per_severity * severity))
            number = happens * (1 + rng.poisson(a["contacts.crisis_number"], len(who)))
            opened = since if when == "after" else until - 1 - CRISIS_DAYS
            self._contacts(who, opened, np.minimum(room, CRISIS_DAYS), number, CRISIS_TEAM, since)

    def _contacts(self, who: Array, opened: Array, length: Array, number: Array, team: int, since: Array) -> None:
        """`number` contacts on days opened + 1 ... opened + length of one referral each, where there are any."""
        a, rng = self.a, self.rng
        rows = np.flatnonzero((number > 0) & (length > 0))
        row = np.repeat(rows, number[rows])
        referral = self._n_referrals + np.arange(len(rows))
        self._n_referrals += len(rows)
        if team == CRISIS_TEAM:
            missed = np.full(len(row), a["contacts.missed_in_crisis"])
        else:
            level, per_severity = a["contacts.missed"]
            missed = expit(level + per_severity * self.people.severity[who[row]])
        kept = draw_codes(rng, a["codes.attendance_if_not_missed"], ATTENDANCE, len(row))
        self._add(
            "contacts",
            {
                "person": who[row],
                "since": since[row],
                "day": opened[row] + 1 + np.floor(rng.random(len(row)) * length[row]).astype(np.int64),
                "team": np.full(len(row), team),
                "attendance": np.where(rng.random(len(row)) < missed, MISSED, kept),
                "referral": np.repeat(referral, number[rows]),
            },
        )
        self._add(
            "referrals",
            {
                "person": who[rows],
                "since": since[rows],
                "referral": referral,
                "team": np.full(len(rows), team),
                "opened": opened[rows] + (opened[rows] < since[rows] + 1),
                "closed": opened[rows] + length[rows],
            },
        )

    def _go_to_emergency(self, who: Array, since: Array, until: Array, is_admitted: Array) -> None:
        a, rng = self.a, self.rng
        room = np.maximum(until - since - 1, 0)
        rate = (
            a["contacts.emergency_per_year"]
            / 365
            * np.exp(a["contacts.emergency_per_severity"] * self.people.severity[who])
        )
        row = np.repeat(np.arange(len(who)), rng.poisson(rate * room))
        day = since[row] + 1 + np.floor(rng.random(len(row)) * room[row]).astype(np.int64)
        same_day = np.flatnonzero(is_admitted & (rng.random(len(who)) < a["contacts.emergency_at_admission"]))
        rows = np.concatenate([row, same_day])
        self._add(
            "emergencies",
            {"person": who[rows], "since": since[rows], "day": np.concatenate([day, until[same_day]])},
        )

    def _fall_physically_ill(self, who: Array, since: Array, until: Array) -> None:
        a, rng, n = self.a, self.rng, len(who)
        risk = a["contacts.physical_30_days"] * self._trust_hazard[who]
        early = np.where(rng.random(n) < risk, since + rng.integers(1, 31, n), NEVER)
        later = since + 30 + rng.exponential(365 / a["contacts.physical_per_year"], n).astype(np.int64)
        start = np.concatenate([early, later])
        rows = np.flatnonzero(start < np.concatenate([until, until]))
        of = rows % n
        end = np.minimum(start[rows] + rng.geometric(a["codes.physical_nights"], len(rows)) - 1, until[of] - 1)
        self._add(
            "physical",
            {"person": who[of], "since": since[of], "start": start[rows], "end": end, "is_early": rows < n},
        )

    def _stay_briefly(self, who: Array, since: Array, until: Array, ordered: Array) -> None:
        rng = self.rng
        room = until - since - 2 * BRIEF_STAY_MARGIN_DAYS
        happens = (room > 2) & ~ordered & (rng.random(len(who)) < self.a["stays.brief_stay"])
        rows = np.flatnonzero(happens)
        start = (
            since[rows] + BRIEF_STAY_MARGIN_DAYS + np.floor(rng.random(len(rows)) * (room[rows] - 1)).astype(np.int64)
        )
        kind = rng.choice([ZERO_DAY, SAFETY_ZERO_DAYS, SAFETY_ONE_DAY], len(rows), p=self.a["codes.brief_stays"])
        self._add("brief", {"person": who[rows], "since": since[rows], "start": start, "kind": kind})
