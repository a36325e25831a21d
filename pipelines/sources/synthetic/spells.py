"""Stays become what hospitals submit: spells with transfers, ward stays, legal periods, and the months each is sent in.

Choice made: separate stays lie at least two days apart and carry transfer codes only when the neighbouring stay is
more than `FAR_DAYS` away, so the linking rule (DOMAIN K1) recovers exactly the stays drawn here.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.community import SAFETY_ONE_DAY, SAFETY_ZERO_DAYS
from pipelines.sources.synthetic.histories import ACUTE_BED, BED_CLASSES, Histories
from pipelines.sources.synthetic.messes import MINIMUM_DAYS, STOPS_ARRIVING, messes_of
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.timeline import (
    LAST_DAY,
    N_MONTHS,
    NEVER,
    Array,
    Columns,
    draw_codes,
    join_columns,
    month_end,
    month_of,
    pick,
    spread,
)

FAR_DAYS = 5
WARD_CLASSES = [*BED_CLASSES, "ZZ"]
UNKNOWN_WARD = WARD_CLASSES.index("ZZ")
INTENSIVE_CARE, REHABILITATION, FORENSIC = (BED_CLASSES.index(code) for code in ("12", "17", "19"))
SOURCES = ["19", "29", "42", "51", "53", "87"]
METHODS = ["25", "2D", "21", "22", "2A", "11", "12", "13", "2B", "81"]
DESTINATIONS = ["19", "29", "54", "65", "85", "42", "99", "ZZ", "53", "87", "79"]
DISCHARGE_METHODS = ["1", "2", "3", "6", "7", "4"]
LEGAL_CODES = ["01", "02", "03", "05", "10", "19", "20"]
SECTION_2_DAYS = 28


def arrange_stays(histories: Histories, a: Assumptions) -> Columns:
    """All stays of the data, ordinary and brief, by person and start: the columns of Histories' stays, with `fault`,
    `far_before` and `far_after` (no other stay within FAR_DAYS)."""
    ordinary = join_columns(histories.stays)
    stays = join_columns([ordinary, _brief_stays(histories, ordinary)])
    stays = pick(stays, (stays["end"] >= 0) & (stays["start"] <= LAST_DAY))
    stays = pick(stays, np.lexsort([stays["start"], stays["person"]]))
    same = stays["person"][1:] == stays["person"][:-1]
    gap = np.where(same, stays["start"][1:] - stays["end"][:-1], NEVER)
    assert (gap >= 2).all(), "stays of a person must lie apart"
    stays["far_before"] = np.concatenate([[True], gap > FAR_DAYS])[: len(stays["person"])]
    stays["far_after"] = np.concatenate([gap > FAR_DAYS, [True]])[: len(stays["person"])]
    stays["fault"] = messes_of(stays, histories.network, a)
    return stays


def _brief_stays(histories: Histories, ordinary: Columns) -> Columns:
    """Zero-day and place-of-safety stays at home trusts that always submit, with the columns of ordinary stays."""
    brief = histories.community.all("brief")
    trust = histories.people.home_trust[brief["person"]]
    brief = pick(brief, histories.network.is_regular[trust])
    n = len(brief["person"])
    blank = {name: np.zeros((n, *values.shape[1:]), dtype=values.dtype) for name, values in ordinary.items()}
    trust = histories.people.home_trust[brief["person"]]
    return blank | {
        "person": brief["person"],
        "start": brief["start"],
        "end": brief["start"] + (brief["kind"] == SAFETY_ONE_DAY),
        "kind": brief["kind"],
        "bed": np.full(n, ACUTE_BED),
        "first_trust": trust,
        "last_trust": trust,
        "n_spells": np.ones(n, dtype=np.int64),
        "honos_day": np.full(n, -NEVER),
        "honos_total": np.full(n, np.nan),
        "status_day": np.full(n, -NEVER),
        "mess": np.ones(n),
    }


def cut_into_spells(stays: Columns, a: Assumptions, rng: np.random.Generator) -> Columns:
    """One row per spell: stay (row number), place (0 first), is_last, person, trust, start, end, and code numbers."""
    stay = np.repeat(np.arange(len(stays["person"])), stays["n_spells"])
    place = spread(np.zeros(len(stays["n_spells"]), dtype=np.int64), stays["n_spells"] - 1)[1]
    of = pick({name: stays[name] for name in ("person", "start", "end", "n_spells", "kind", "is_death")}, stay)
    is_last = place == of["n_spells"] - 1
    trust = np.where(is_last, stays["last_trust"][stay], stays["first_trust"][stay])
    cuts = _cut_days(stays, rng)
    links = _draw_links(len(stay), trust, is_last, a, rng)
    ends = np.where(is_last, of["end"], cuts[stay, np.minimum(place, 1)])
    starts = of["start"].copy()
    starts[1:] = np.where(place[1:] > 0, ends[:-1] + links["days"][:-1], starts[1:])
    codes = _draw_codes(stays, stay, place == 0, is_last, a, rng)
    source = np.concatenate(
        [codes["source"][:1], np.where(links["source"][:-1] >= 0, links["source"][:-1], codes["source"][1:])]
    )
    method = np.concatenate(
        [codes["method"][:1], np.where(links["method"][:-1] >= 0, links["method"][:-1], codes["method"][1:])]
    )
    return {
        "stay": stay,
        "place": place,
        "is_last": is_last,
        "person": of["person"],
        "trust": trust,
        "start": starts,
        "end": ends,
        "source": source,
        "method": method,
        "destination": np.where(links["destination"] >= 0, links["destination"], codes["destination"]),
        "discharge_method": codes["discharge_method"],
        "fault": stays["fault"][stay],
    }


def _cut_days(stays: Columns, rng: np.random.Generator) -> Array:
    """End days of the first and second spell of each stay; each part is at least four days long."""
    n = len(stays["start"])
    days = np.minimum(stays["end"], LAST_DAY) - stays["start"]
    half = np.where(stays["n_spells"] == 3, days // 2, days)
    first = 2 + np.floor(rng.random(n) * np.maximum(half - 6, 1)).astype(np.int64)
    second = half + 2 + np.floor(rng.random(n) * np.maximum(days - half - 6, 1)).astype(np.int64)
    cuts: Array = stays["start"][:, None] + np.column_stack([first, second])
    return cuts


def _draw_links(n: int, trust: Array, is_last: Array, a: Assumptions, rng: np.random.Generator) -> Columns:
    """Days from the end of each spell to the start of the next of the stay, and the codes at the join (-1: none)."""
    shares = np.cumsum(a["stays.transfer_gap_shares"])
    days = np.minimum(np.searchsorted(shares / shares[-1], rng.random(n), side="right"), 4) - 1
    elsewhere = np.concatenate([trust[1:] != trust[:-1], [False]])
    days = np.where((days < 0) & ~elsewhere, 0, days)  # one trust does not hold two spells at once
    is_coded = ~is_last & ((days >= 2) | (rng.random(n) < a["codes.transfer_coded"]))
    which = rng.integers(0, 4, n)  # 0 destination, 1 source, 2 method, 3 destination and source

    def code(codes: list[str], options: tuple[str, str], places: tuple[int, ...]) -> Array:
        drawn = np.where(rng.random(n) < 0.75, codes.index(options[0]), codes.index(options[1]))
        return np.where(is_coded & np.isin(which, places), drawn, -1)

    return {
        "days": days,
        "destination": code(DESTINATIONS, ("53", "87"), (0, 3)),
        "source": code(SOURCES, ("53", "87"), (1, 3)),
        "method": code(METHODS, ("81", "2B"), (2,)),
    }


def _draw_codes(
    stays: Columns, stay: Array, is_first: Array, is_last: Array, a: Assumptions, rng: np.random.Generator
) -> Columns:
    """Codes of admission and discharge that signal no transfer, but for people who come from or go to other hospitals
    with no other stay near."""
    n = len(stay)
    source = draw_codes(rng, a["codes.admission_source"], SOURCES, n)
    from_hospital = is_first & stays["far_before"][stay] & (rng.random(n) < a["codes.from_general_hospital"])
    source = np.where(from_hospital, SOURCES.index("51"), source)
    destination = draw_codes(rng, a["codes.destination"], DESTINATIONS, n)
    goes_on = is_last & stays["far_after"][stay] & (stays["end"][stay] < LAST_DAY - FAR_DAYS)
    draw = rng.random(n)
    destination = np.where(goes_on & (draw < a["codes.to_other_hospital"]), DESTINATIONS.index("53"), destination)
    destination = np.where(
        goes_on & (draw > 1 - a["codes.to_independent_hospital"]), DESTINATIONS.index("87"), destination
    )
    is_death = is_last & stays["is_death"][stay]
    return {
        "source": source,
        "method": draw_codes(rng, a["codes.admission_method"], METHODS, n),
        "destination": np.where(is_death, DESTINATIONS.index("79"), destination),
        "discharge_method": np.where(
            is_death,
            DISCHARGE_METHODS.index("4"),
            draw_codes(rng, a["codes.discharge_method"], DISCHARGE_METHODS, n),
        ),
    }


def draw_wards(stays: Columns, spells: Columns, network: Network, a: Assumptions, rng: np.random.Generator) -> Columns:
    """One row per ward stay: spell (row number), place, start, end, class (number in WARD_CLASSES)."""
    n, stay = len(spells["stay"]), spells["stay"]
    bed, days = stays["bed"][stay], np.minimum(spells["end"], LAST_DAY) - spells["start"]
    # What is not wholly in the data, or may lose its end, has one ward: an unseen first or last ward changes the truth.
    may_move = (days >= MINIMUM_DAYS) & (spells["fault"] != STOPS_ARRIVING) & network.is_regular[spells["trust"]]
    may_move &= spells["start"] >= 0
    is_acute = bed == ACUTE_BED
    draw = rng.random(n)
    intensive = is_acute & (draw < a["stays.intensive_care_first"])
    unknown = is_acute & ~intensive & (draw > 1 - a["messes.unknown_code"])
    moves = may_move & (
        intensive
        | unknown
        | (stays["is_acute_first"][stay] & (spells["place"] == 0))
        | (rng.random(n) < a["codes.second_ward"])
    )
    first_class = np.select(
        [intensive, unknown, stays["is_acute_first"][stay]], [INTENSIVE_CARE, UNKNOWN_WARD, ACUTE_BED], bed
    )
    spell = np.repeat(np.arange(n), 1 + moves)
    place = spread(np.zeros(n, dtype=np.int64), moves.astype(np.int64))[1]
    cut = spells["start"] + 1 + np.floor(rng.random(n) * np.maximum(days - 1, 1)).astype(np.int64)
    stays_in_first = moves[spell] & (place == 0)
    return {
        "spell": spell,
        "place": place,
        "start": np.where(place == 1, cut[spell], spells["start"][spell]),
        "end": np.where(stays_in_first, cut[spell], spells["end"][spell]),
        "class": np.where(stays_in_first, first_class[spell], bed[spell]),
    }


def is_acute_stay(stays: Columns, spells: Columns, wards: Columns) -> Array:
    """Whether any ward of the stay is adult acute (DOMAIN K4)."""
    acute = spells["stay"][wards["spell"][wards["class"] == ACUTE_BED]]
    return np.bincount(acute, minlength=len(stays["person"])) > 0


def draw_legal_periods(
    stays: Columns, spells: Columns, network: Network, a: Assumptions, rng: np.random.Generator
) -> Columns:
    """One row per legal period: spell, place, code (number in LEGAL_CODES), start, end.

    A detained stay is detained in each of its spells from the first or the second day; others are informal, or
    detained three days after admission or later.
    """
    n, stay = len(spells["stay"]), spells["stay"]
    kind, detained = stays["kind"][stay], stays["is_detained"][stay]
    start, end = spells["start"], spells["end"]
    forensic = stays["bed"][stay] == FORENSIC
    draw = rng.random(n)
    long_order = detained & (forensic | (draw < a["codes.section_3_first"]))
    assessed = detained & ~long_order
    # A place of safety comes first only where the order after it is sure to arrive: alone it would be another truth.
    held_first = detained & (rng.random(n) < a["stays.place_of_safety_first"]) & (end > start + 1)
    held_first &= network.is_regular[spells["trust"]] & (spells["fault"] != STOPS_ARRIVING)
    begins = start + held_first
    turns = assessed & (end > begins + SECTION_2_DAYS)
    later = (
        ~detained
        & (kind == 0)
        & (spells["place"] == 0)
        & (end > start + 6)
        & (rng.random(n) < a["stays.detained_later"])
    )
    held = start + 3 + np.floor(rng.random(n) * np.maximum(np.minimum(end, LAST_DAY) - start - 5, 1)).astype(np.int64)
    informal = ~detained & ~later & (kind < SAFETY_ZERO_DAYS) & (rng.random(n) < a["codes.informal_period"])
    safety = kind >= SAFETY_ZERO_DAYS
    safety_code = np.where(rng.random(n) < a["codes.section_135"], LEGAL_CODES.index("19"), LEGAL_CODES.index("20"))
    order_code = np.where(forensic, LEGAL_CODES.index("10"), LEGAL_CODES.index("03"))
    section_2, section_3 = (np.full(n, LEGAL_CODES.index(code)) for code in ("02", "03"))
    periods = [
        (held_first, safety_code, start, begins),
        (long_order, order_code, begins, end),
        (assessed, section_2, begins, np.where(turns, begins + SECTION_2_DAYS, end)),
        (turns, section_3, begins + SECTION_2_DAYS, end),
        (later, np.full(n, LEGAL_CODES.index("05")), held, held + 1),
        (later, section_2, held + 1, end),
        (informal, np.full(n, LEGAL_CODES.index("01")), start, end),
        (safety, safety_code, start, end),
    ]
    parts = []
    for place, (has, code, first, last) in enumerate(periods):
        rows = np.flatnonzero(has & (first <= LAST_DAY))
        part = {"spell": rows, "place": np.full(len(rows), place), "code": code[rows]}
        parts.append(part | {"start": first[rows], "end": last[rows]})
    periods_of = join_columns(parts)
    return pick(periods_of, np.lexsort([periods_of["place"], periods_of["spell"]]))


@dataclass(frozen=True)
class Months:
    """Monthly rows: `row` numbers the spell (ward stay, ...), `month` the month of submission."""

    row: Array
    month: Array


def months_sent(spells: Columns, network: Network, start: Array, end: Array, spell: Array) -> Months:
    """The months in which a part of a spell (from `start` to `end`) is submitted: while it is open, the provider
    submits, and not the last month of a spell that stops arriving."""
    row, month = spread(np.maximum(month_of(start), 0), np.minimum(month_of(np.minimum(end, NEVER)), N_MONTHS - 1))
    sent = is_month_sent(spells, network, spell[row], month)
    return Months(row[sent], month[sent])


def is_month_sent(spells: Columns, network: Network, spell: Array, month: Array) -> Array:
    """Whether the spell's rows of that month arrive."""
    stops = (spells["fault"][spell] == STOPS_ARRIVING) & (month == month_of(spells["end"][spell]))
    sent: Array = network.is_sent[spells["trust"][spell], month] & ~stops
    return sent


def recover_stays(stays: Columns, spells: Columns, network: Network) -> Columns:
    """What rules K1-K7 make of each stay as it was sent: `is_seen`, `end`, `is_open` and `is_inactive`."""
    sent = months_sent(spells, network, spells["start"], spells["end"], np.arange(len(spells["stay"])))
    last_month = np.full(len(stays["person"]), -1)
    np.maximum.at(last_month, spells["stay"][sent.row], sent.month)
    is_seen = last_month >= 0
    is_open = is_seen & (stays["end"] > LAST_DAY) & (last_month == N_MONTHS - 1)
    is_inactive = is_seen & ~is_open & (month_of(stays["end"]) > last_month)
    end = np.where(is_inactive, month_end(last_month), np.where(is_open, NEVER, stays["end"]))
    return {"is_seen": is_seen, "end": end, "is_open": is_open, "is_inactive": is_inactive}
