"""People become life histories: hospital stays one after the other, and what happens in the community between them.

Choice made: the next admission depends only on what the extract shows at discharge (hazards.py), so there is no
unmeasured confounding but noise; latent severity shapes what is shown. All people take a step at once: there are as
many steps as the busiest person has stays.
"""

import numpy as np

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.community import Community
from pipelines.sources.synthetic.hazards import days_to_next, log_hazard
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import GROUP_OF_CODE, GROUPS, MAIN_GROUPS, People
from pipelines.sources.synthetic.timeline import LAST_DAY, NEVER, Array, Columns, draw_codes, expit, join_columns, pick

BED_CLASSES = ["10", "11", "12", "14", "17", "19", "23", "40"]
CHILD_BED = BED_CLASSES.index("23")
ACUTE_BED = BED_CLASSES.index("10")
OLD_AGE = 68
HONOS_ITEMS = 12
HONOS_CENTRE = 15.0
LOOK_BACK_STAYS, LOOK_BACK_CONTACTS, LOOK_BACK_HONOS = 730, 365, 90
TWO_SPELL_DAYS, THREE_SPELL_DAYS = 8, 18


class Histories:
    """The stays and community events of a chunk of people, and the means to continue them.

    `run` lives everybody's life under usual care. `redo_after` forgets what followed the given discharges and lives
    it again under another hazard, with the same draw for the first readmission.
    """

    def __init__(self, people: People, network: Network, a: Assumptions, rng: np.random.Generator) -> None:
        self.people, self.network, self.a, self.rng = people, network, a, rng
        self.stays: list[Columns] = []
        self.discharges: list[Columns] = []
        self.community = Community(people, network, a, rng)
        self.hazard_ratio = np.ones(len(people))
        self.supported_from = np.full(len(people), NEVER)

    def run(self) -> None:
        """From the months before the first admission to the end of the data or death."""
        who = np.arange(len(self.people))
        day = self.people.first_admission_day
        is_admitted = (day <= LAST_DAY) & (day < self.people.death_day)
        until = np.minimum(np.minimum(day, self.people.death_day), LAST_DAY + 1)
        self.community.live(who, day - LOOK_BACK_CONTACTS, until, is_admitted, ordered=np.zeros(len(who), dtype=bool))
        self._live(who[is_admitted], day[is_admitted])

    def redo_after(self, stays: Columns, exponential: Array, log_hazards: Array, hazard_ratio: Array) -> Array:
        """Continue after `stays` (one for each person, ended alive) with peer support; returns days to readmission."""
        who, end = stays["person"], stays["end"]
        forget_after = np.full(len(self.people), NEVER)
        forget_after[who] = end
        self.stays = [pick(part, part["start"] <= forget_after[part["person"]]) for part in self.stays]
        self.discharges = [pick(part, part["day"] < forget_after[part["person"]]) for part in self.discharges]
        self.community.forget(forget_after)
        self.hazard_ratio[who], self.supported_from[who] = hazard_ratio, end
        hazard = np.exp(log_hazards + self.network.log_hazard[stays["last_trust"]]) * hazard_ratio
        gap = days_to_next(exponential, hazard, self.a)
        self._live(*self._leave(stays, log_hazards, exponential, gap))
        return gap

    def _live(self, who: Array, day: Array) -> None:
        while len(who):
            stays = self._admit(who, day)
            self.stays.append(stays)
            home = pick(stays, ~stays["is_death"] & (stays["end"] <= LAST_DAY))
            log_hazards = log_hazard(self._seen_at_discharge(home), self.a)
            exponential = self.rng.exponential(size=len(home["person"]))
            supported = home["end"] - self.supported_from[home["person"]]
            ratio = np.where((supported >= 0) & (supported <= 365), self.hazard_ratio[home["person"]], 1.0)
            hazard = np.exp(log_hazards + self.network.log_hazard[home["last_trust"]]) * ratio
            gap = days_to_next(exponential, hazard, self.a)
            who, day = self._leave(home, log_hazards, exponential, gap)

    def _leave(self, stays: Columns, log_hazards: Array, exponential: Array, gap: Array) -> tuple[Array, Array]:
        """The community after discharges; who is admitted next and when."""
        who, end, a = stays["person"], stays["end"], self.a
        self.discharges.append(
            {"person": who, "day": end, "log_hazard": log_hazards, "exponential": exponential, "gap": gap}
        )
        death = self.people.death_day[who]
        is_admitted = (end + gap <= LAST_DAY) & (end + gap < death)
        until = np.minimum(np.minimum(end + gap, death), LAST_DAY + 1)
        ordered = stays["is_detained"] & (self.rng.random(len(who)) < a["stays.community_order"])
        self.community.live(who, end, until, is_admitted, ordered)
        return who[is_admitted], (end + gap)[is_admitted]

    def _admit(self, who: Array, start: Array) -> Columns:
        people, rng, a = self.people, self.rng, self.a
        n, severity = len(who), people.severity[who]
        away = rng.random(n) < a["stays.away"]
        trust = np.where(away, self.network.draw_other(rng, people.home_trust[who]), people.home_trust[who])
        bed = self._draw_beds(people.age_at(who, start))
        medians = np.array([float(a["stays.los_median_days"][bed_class]) for bed_class in BED_CLASSES])
        log_days = rng.normal(np.log(medians[bed]) + a["stays.los_per_severity"] * severity, a["stays.los_log_sd"])
        natural_end = start + np.clip(np.rint(np.exp(log_days)), 1, a["stays.los_max_days"]).astype(np.int64)
        death = people.death_day[who]
        end = np.minimum(natural_end, death)
        code = np.where(rng.random(n) < a["people.second_diagnosis_use"], people.second_code[who], people.code[who])
        honos_total, honos_items, honos_day = self._draw_honos(severity, start, end)
        n_spells, last_trust = self._draw_transfers(trust, start, end, (end == death) | (end > LAST_DAY))
        return {
            "person": who,
            "start": start,
            "end": end,
            "is_death": (end == death) & (end <= LAST_DAY),
            "kind": np.zeros(n, dtype=np.int64),
            "bed": bed,
            "is_acute_first": (bed == BED_CLASSES.index("17")) & (rng.random(n) < a["stays.acute_then_rehabilitation"]),
            "first_trust": trust,
            "last_trust": last_trust,
            "n_spells": n_spells,
            "is_detained": self._draw_detained(who, GROUP_OF_CODE[code]),
            "code": code,
            "is_coded": rng.random(n) < a["stays.diagnosis_coded"],
            "has_episode": rng.random(n) < a["stays.hospital_episode"],
            "honos_total": honos_total,
            "honos_items": honos_items,
            "honos_day": honos_day,
            "status_day": np.where(rng.random(n) < a["stays.status_recorded"], start, -NEVER),
            "distance": np.rint(np.where(away, 25, 1) + people.distance_km[who] * rng.uniform(0.8, 1.2, n)).astype(
                np.int64
            ),
            "mess": rng.random(n),
        }

    def _draw_beds(self, age: Array) -> Array:
        kinds = np.where(age < 18, 0, np.where(age < OLD_AGE, 1, 2))
        bed = np.zeros(len(age), dtype=np.int64)
        for kind, name in enumerate(("child", "adult", "old")):
            shares = self.a[f"stays.beds_{name}"]
            bed = np.where(kinds == kind, draw_codes(self.rng, shares, BED_CLASSES, len(age)), bed)
        return bed

    def _draw_detained(self, who: Array, group: Array) -> Array:
        level, per_severity, psychotic, personality, black = self.a["stays.detained"]
        odds = level + per_severity * self.people.severity[who] + black * self.people.is_black[who]
        odds = odds + psychotic * (group == 0) + personality * (group == 1)
        return self.rng.random(len(who)) < expit(odds)

    def _draw_honos(self, severity: Array, start: Array, end: Array) -> tuple[Array, Array, Array]:
        """Total as the extract shows it, items (9 = not known), day of the assessment (-NEVER: none)."""
        rng, n = self.rng, len(severity)
        level, per_severity = self.a["stays.honos_item"]
        items = rng.binomial(4, expit(level + per_severity * severity)[:, None], (n, HONOS_ITEMS)).astype(np.int8)
        items[rng.random(items.shape) < self.a["stays.honos_not_known"]] = 9
        valid = items != 9
        n_valid = valid.sum(axis=1)
        total = np.where(n_valid >= 10, (items * valid).sum(axis=1) / np.maximum(n_valid, 1) * HONOS_ITEMS, np.nan)
        day = np.maximum(np.minimum(end, LAST_DAY) - rng.integers(1, 7, n), start)
        return total, items, np.where(rng.random(n) < self.a["stays.honos_recorded"], day, -NEVER)

    def _draw_transfers(self, trust: Array, start: Array, end: Array, stays_whole: Array) -> tuple[Array, Array]:
        """Number of spells and trust of the last one; only between trusts that always submit, and within the data."""
        a, rng, n = self.a, self.rng, len(trust)
        draw = rng.random(n)
        days = np.where(stays_whole | (start < 0) | ~self.network.is_regular[trust], 0, end - start)
        three = (draw < a["stays.three_spells"]) & (days >= THREE_SPELL_DAYS)
        two = ~three & (draw < a["stays.three_spells"] + a["stays.two_spells"]) & (days >= TWO_SPELL_DAYS)
        elsewhere = (two | three) & (rng.random(n) < a["stays.transfer_elsewhere"])
        return 1 + two + 2 * three, np.where(elsewhere, self.network.draw_other(rng, trust), trust)

    def _seen_at_discharge(self, now: Columns) -> Columns:
        """The covariates of hazards.COVARIATES, as the extract shows them on the day of discharge."""
        who, people = now["person"], self.people
        counts = self.community.count_before(who, now["end"], LOOK_BACK_CONTACTS)
        earlier = self._earlier_stays(now)
        group = np.where(now["is_coded"] | now["has_episode"], GROUP_OF_CODE[now["code"]], len(GROUPS))
        known = earlier["has_status"]
        return {
            **counts,
            "prior_stay": earlier["n"],
            "prior_inpatient_day": earlier["days"],
            "log_index_days": np.log1p(now["end"] - now["start"]),
            "detained": now["is_detained"],
            "psychotic": group == 0,
            "personality": group == 1,
            "age_decade": (people.age_at(who, now["start"]) - 40) / 10,
            "female": people.is_female[who],
            "black": people.is_black[who],
            "imd_decile": people.imd_decile[who] - 5,
            "unsettled": known & ~people.is_settled[who],
            "employed": known & (people.employment[who] == 0),
            "honos_point": earlier["honos"],
            "distance_km": now["distance"],
        }

    def _earlier_stays(self, now: Columns) -> Columns:
        """Stays overlapping the 730 days before admission, and what was last recorded of HoNOS and circumstances."""
        names = ("person", "start", "end", "honos_day", "honos_total", "status_day")
        past = join_columns([{name: part[name] for name in names} for part in self.stays])
        n_people = len(self.people)
        start, end = np.full(n_people, -NEVER), np.full(n_people, -NEVER)
        start[now["person"]], end[now["person"]] = now["start"], now["end"]
        of, admitted = past["person"], start[past["person"]]
        overlaps = (past["start"] < admitted) & (past["end"] >= admitted - LOOK_BACK_STAYS)
        days = past["end"] - np.maximum(past["start"], admitted - LOOK_BACK_STAYS)
        has_status = (past["status_day"] >= end[of] - LOOK_BACK_CONTACTS) & (end[of] > -NEVER)
        recent = (past["honos_day"] >= end[of] - LOOK_BACK_HONOS) & ~np.isnan(past["honos_total"]) & (end[of] > -NEVER)
        latest = np.full(n_people, -NEVER)
        np.maximum.at(latest, of[recent], past["honos_day"][recent])
        is_latest = recent & (past["honos_day"] == latest[of])
        honos = np.zeros(n_people)
        honos[of[is_latest]] = past["honos_total"][is_latest] - HONOS_CENTRE
        seen = {
            "n": np.bincount(of[overlaps], minlength=n_people),
            "days": np.bincount(of[overlaps], days[overlaps], minlength=n_people),
            "has_status": np.bincount(of[has_status], minlength=n_people) > 0,
            "honos": honos,
        }
        return {name: values[now["person"]] for name, values in seen.items()}


def main_group_of(code: Array) -> Array:
    """Trial stratum of a diagnosis: 0 psychotic, 1 personality, 2 other; 3 for those the trial excludes."""
    group: Array = np.minimum(GROUP_OF_CODE[code], MAIN_GROUPS)
    return group


def is_excluded_code(code: Array) -> Array:
    """Whether each primary diagnosis (place in the list of codes) is one that the study excludes."""
    excluded: Array = GROUP_OF_CODE[code] >= MAIN_GROUPS
    return excluded
