"""What is coded about stays: diagnoses in MHSDS, episodes in HES; and which discharge they describe (DOMAIN K8, K9)."""

from dataclasses import dataclass

import numpy as np

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.population import CODES, GROUP_OF_CODE, GROUPS, People
from pipelines.sources.synthetic.spells import is_month_sent
from pipelines.sources.synthetic.timeline import LAST_DAY, NEVER, Array, Columns, month_of, pick

ORGANIC = GROUPS.index("organic")
SECONDARY_CODES = ["F059", "F101", "F191", "F121", "I10X", "E119", "J459"]
NEAREST_WITHIN_DAYS = 90


@dataclass(frozen=True)
class Clinical:
    """Coded diagnoses that are sent: `primary` (stay, spell, person, day, code) and `secondary` (the same, code in
    SECONDARY_CODES); `episodes` are numbers of spells with a psychiatric HES episode."""

    primary: Columns
    secondary: Columns
    episodes: Array


def code_stays(
    people: People, stays: Columns, spells: Columns, network: Network, a: Assumptions, rng: np.random.Generator
) -> Clinical:
    """Draw what is coded, and keep what is sent. An organic diagnosis stands in HES only where MHSDS holds it too."""
    last = np.flatnonzero(spells["is_last"])
    is_coded = stays["is_coded"] & (stays["kind"] == 0)
    days_before = rng.integers(0, 4, len(last))
    day = np.maximum(np.minimum(spells["end"][last], LAST_DAY) - days_before, spells["start"][last])
    rows = {"stay": spells["stay"][last], "spell": last, "person": spells["person"][last], "day": day}
    rows["code"] = stays["code"][rows["stay"]]
    primary = _keep_sent(pick(rows, is_coded[rows["stay"]]), spells, network)
    secondary = _draw_secondary(people, pick(rows, is_coded[rows["stay"]]), a, rng)
    organic_unsent = GROUP_OF_CODE[stays["code"]] == ORGANIC
    organic_unsent[primary["stay"]] = False
    stay = spells["stay"]
    has_episode = (stays["has_episode"] & (stays["kind"] == 0) & ~organic_unsent)[stay]
    episodes = np.flatnonzero(has_episode & (spells["end"] <= LAST_DAY) & (spells["end"] >= 0))
    return Clinical(primary, _keep_sent(secondary, spells, network), episodes)


def _draw_secondary(people: People, rows: Columns, a: Assumptions, rng: np.random.Generator) -> Columns:
    n = len(rows["stay"])
    organic = people.organic_secondary[rows["person"]]
    draw = rng.random(n)
    substance = ~organic & (draw < a["people.substance_secondary"])
    physical = ~organic & (draw > 0.85)
    code = np.where(organic, 0, np.where(substance, rng.integers(1, 4, n), rng.integers(4, 7, n)))
    return pick(rows | {"code": code}, organic | substance | physical)


def _keep_sent(rows: Columns, spells: Columns, network: Network) -> Columns:
    in_data = rows["day"] >= 0
    month = np.maximum(month_of(rows["day"]), 0)
    return pick(rows, in_data & is_month_sent(spells, network, rows["spell"], month))


def recover_primary(clinical: Clinical, stays: Columns, spells: Columns, rows: Array) -> Array:
    """The primary diagnosis of the given stays by rule K8 (number in CODES, -1 unknown): nearest to discharge within
    90 days, a tie to the earlier; else that of a HES episode inside the stay."""
    coded = clinical.primary
    key = coded["person"] * 10_000 + coded["day"]
    order = np.argsort(key, kind="stable")
    key, code, person = key[order], coded["code"][order], coded["person"][order]
    of, end = stays["person"][rows], stays["end"][rows]
    if len(key) == 0:
        nearest = np.full(len(rows), -1)
    else:
        before = np.searchsorted(key, of * 10_000 + end, side="right") - 1
        nearest = _nearer(key, code, person, before, of, end)
    has_episode = np.bincount(spells["stay"][clinical.episodes], minlength=len(stays["person"])) > 0
    return np.where((nearest < 0) & has_episode[rows], stays["code"][rows], nearest)


def _nearer(key: Array, code: Array, person: Array, before: Array, of: Array, end: Array) -> Array:
    """The code just before (or on) or just after each day, whichever is nearer and near enough; -1 for none."""

    def distance(at: Array) -> Array:
        inside = (at >= 0) & (at < len(key))
        at = np.clip(at, 0, len(key) - 1)
        away = np.abs(key[at] - of * 10_000 - end)
        return np.where(inside & (person[at] == of) & (away <= NEAREST_WITHIN_DAYS), away, NEVER)

    away_before, away_after = distance(before), distance(before + 1)
    choice = np.where(away_before <= away_after, before, before + 1)
    near = np.minimum(away_before, away_after) < NEVER
    return np.where(near, code[np.clip(choice, 0, len(key) - 1)], -1)


def has_organic(clinical: Clinical, people: People, stays: Columns, rows: Array) -> Array:
    """Whether an organic disorder was coded on or before the discharge (K9)."""
    first = np.full(len(people), NEVER)
    primary = pick(clinical.primary, GROUP_OF_CODE[clinical.primary["code"]] == ORGANIC)
    secondary = pick(clinical.secondary, clinical.secondary["code"] == 0)
    for coded in (primary, secondary):
        np.minimum.at(first, coded["person"], coded["day"])
    known: Array = first[stays["person"][rows]] <= stays["end"][rows]
    return known


def three_characters(code: Array) -> Array:
    """ICD-10 codes to three characters by number; '' for -1."""
    return np.array([*[code[:3] for code in CODES], ""])[code]
