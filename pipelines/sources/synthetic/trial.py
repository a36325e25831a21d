"""Who takes part in the trial, to which arm they are drawn, and what would have happened to them in the other arm.

Choice made: recruitment weighs the log hazard that the extract shows, so the unadjusted contrast is confounded and an
adjustment for the shown covariates removes it. Peer support multiplies the hazard; both potential outcomes come from
the same draw.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.hazards import YEAR, days_to_next, risk_within_a_year
from pipelines.sources.synthetic.histories import ACUTE_BED, Histories, is_excluded_code, main_group_of
from pipelines.sources.synthetic.messes import STOPS_ARRIVING, messes_of
from pipelines.sources.synthetic.timeline import NEVER, Array, Columns, day_number, join_columns, pick

LOOK_BACK_DAYS = 730


@dataclass(frozen=True)
class Participants:
    """One value per participant of the chunk: person, arm, index stay (columns of the stay under usual care), potential
    outcomes, and how the allocation list will show them. `n_unknown` more are listed whose id the extract lacks."""

    person: Array
    is_peer: Array
    index_day: Array
    admission_day: Array
    trust: Array
    allocation_day: Array
    is_consenting: Array
    is_linked: Array
    y0: Array
    y1: Array
    risk0: Array
    risk1: Array
    n_unknown: int

    @property
    def n(self) -> int:
        return len(self.person)


def run_trial(histories: Histories, quota: int, a: Assumptions, rng: np.random.Generator) -> Participants:
    """Recruit `quota` people of the chunk (fewer when there are not enough), allocate them, and let the peer arm
    live on with peer support."""
    stays = _stays_with_discharge(histories)
    n_unknown = int(rng.binomial(quota, a["trial.unlinked"] / 2))
    chosen = _recruit(stays, histories, quota - n_unknown, a, rng)
    people, person = histories.people, chosen["person"]
    is_peer = _allocate(chosen, histories, rng)
    ratio = np.where(people.is_black[person], a["effect.hazard_ratio_black"], a["effect.hazard_ratio"])
    own_hazard = np.exp(chosen["log_hazard"] + histories.network.log_hazard[chosen["last_trust"]])
    gaps = [days_to_next(chosen["exponential"], own_hazard * factor, a) for factor in (1.0, ratio)]
    y0, y1 = (_is_readmitted(gap, chosen["end"], people.death_day[person]) for gap in gaps)
    peers = pick(chosen, is_peer)
    lived = histories.redo_after(peers, peers["exponential"], peers["log_hazard"], ratio[is_peer])
    assert (lived == gaps[1][is_peer]).all()
    n = len(person)
    spread_days = rng.integers(0, a["trial.allocation_before_discharge_days"] + 1, n)
    first, last = (day_number(date) for date in a["trial.recruitment"])
    allocation = np.clip(
        chosen["end"] - spread_days, np.maximum(chosen["start"], first), np.minimum(chosen["end"], last)
    )
    is_linked = rng.random(n) >= a["trial.unlinked"] / 2
    return Participants(
        person=person,
        is_peer=is_peer,
        index_day=chosen["end"],
        admission_day=chosen["start"],
        trust=chosen["last_trust"],
        allocation_day=np.where(is_linked, allocation, chosen["start"] - 1),  # the day before: no stay holds it
        is_consenting=rng.random(n) >= a["trial.no_consent"],
        is_linked=is_linked,
        y0=y0,
        y1=y1,
        risk0=risk_within_a_year(own_hazard, people.death_rate[person], a),
        risk1=risk_within_a_year(own_hazard * ratio, people.death_rate[person], a),
        n_unknown=n_unknown,
    )


def _is_readmitted(gap: Array, index_day: Array, death_day: Array) -> Array:
    within: Array = (gap <= YEAR) & (index_day + gap < death_day)
    return within


def _stays_with_discharge(histories: Histories) -> Columns:
    """Stays that ended alive in the data, with what was drawn at discharge."""
    stays, discharges = join_columns(histories.stays), join_columns(histories.discharges)
    stay_key = stays["person"] * 10_000 + stays["end"]  # a person leaves hospital once a day
    discharge_key = discharges["person"] * 10_000 + discharges["day"]
    order = np.argsort(stay_key, kind="stable")
    row = order[np.searchsorted(stay_key, discharge_key, sorter=order)]
    assert (stay_key[row] == discharge_key).all()
    drawn = {name: discharges[name] for name in ("log_hazard", "exponential", "gap")}
    return {**pick(stays, row), **drawn}


def _recruit(stays: Columns, histories: Histories, quota: int, a: Assumptions, rng: np.random.Generator) -> Columns:
    """One stay of each chosen person: weighted sampling without replacement (exponential race, Efraimidis 2006).

    A person is approached once, at the first stay that fits: were later stays recruited from, those who stay out of
    the trial would be those who were not readmitted, and no adjustment could undo that.
    """
    people, network = histories.people, histories.network
    first, last = (day_number(date) for date in a["trial.recruitment"])
    age = people.age_at(stays["person"], stays["start"])
    low, high = a["trial.age_range"]
    may_join = (
        network.is_trial[stays["last_trust"]]
        & (stays["bed"] == ACUTE_BED)
        & (stays["start"] >= LOOK_BACK_DAYS)
        & (stays["start"] <= last)
        & (stays["end"] >= first)
        & (stays["end"] <= day_number(a["trial.last_index_date"]))
        & (age >= low)
        & (age <= high)
        & ~is_excluded_code(stays["code"])
        & ~people.organic_secondary[stays["person"]]
        & (messes_of(stays, network, a) != STOPS_ARRIVING)
    )
    has_prior = _has_prior_stay(stays, join_columns(histories.stays))
    is_first = _first_of_person(stays, may_join & has_prior)
    weight = a["trial.selection_strength"] * stays["log_hazard"] + a["trial.selection_age_decade"] * (age - 40) / 10
    priority = weight + rng.gumbel(size=len(weight))
    n_without = int(rng.binomial(quota, a["trial.without_prior_stay"]))
    chosen = _best_per_person(stays, np.where(is_first, priority, -np.inf), quota - n_without)
    taken = np.isin(stays["person"], stays["person"][chosen])
    others = _best_per_person(stays, np.where(may_join & ~has_prior & ~taken, priority, -np.inf), n_without)
    return pick(stays, np.sort(np.concatenate([chosen, others])))


def _first_of_person(stays: Columns, fits: Array) -> Array:
    """Whether a stay is the earliest of its person's that fit."""
    first = np.full(int(stays["person"].max(initial=-1)) + 1, NEVER)
    np.minimum.at(first, stays["person"][fits], stays["end"][fits])
    is_first: Array = fits & (stays["end"] == first[stays["person"]])
    return is_first


def _best_per_person(stays: Columns, priority: Array, number: int) -> Array:
    order = np.argsort(-priority, kind="stable")
    order = order[priority[order] > -np.inf]
    _, first = np.unique(stays["person"][order], return_index=True)
    best: Array = order[np.sort(first)][:number]
    return best


def _has_prior_stay(stays: Columns, every: Columns) -> Array:
    """Whether the stay before (of all stays, in the order of time) reaches into the 730 days before admission."""
    key = np.sort(every["person"] * 10_000 + every["end"] + 1_000)  # ends start before day 0
    before = np.searchsorted(key, stays["person"] * 10_000 + stays["start"] + 1_000) - 1
    nearest = key[np.maximum(before, 0)]
    same_person = (before >= 0) & (nearest // 10_000 == stays["person"])
    reaches: Array = same_person & (nearest % 10_000 - 1_000 >= stays["start"] - LOOK_BACK_DAYS)
    return reaches


def _allocate(chosen: Columns, histories: Histories, rng: np.random.Generator) -> Array:
    """Peer support or not, 1:1, alternating in random order within trust and diagnostic group."""
    network = histories.network
    stratum = network.final_code[chosen["last_trust"]] * 10 + main_group_of(chosen["code"])
    order = np.lexsort([rng.random(len(stratum)), stratum])
    _, first, number = np.unique(stratum[order], return_index=True, return_counts=True)
    place = np.arange(len(stratum)) - np.repeat(first, number)
    is_peer = np.empty(len(stratum), dtype=bool)
    is_peer[order] = (place + np.repeat(rng.integers(0, 2, len(first)), number)) % 2 == 0
    return is_peer
