"""What goes wrong on the way into an extract: which spell gets which fault, and how codes come to look.

Choice made: every fault is one that the declared rules (DOMAIN K) undo exactly, or turn into a known other truth
(a spell that stops arriving is inactive), so that the truth stays known.
"""

import numpy as np
import polars as pl

from pipelines.sources.synthetic.assumptions import Assumptions
from pipelines.sources.synthetic.network import Network
from pipelines.sources.synthetic.timeline import LAST_DAY, N_MONTHS, Array, Columns, month_of

SPELL_FAULTS = (
    "corrected_discharge",
    "second_id",
    "placeholder_start",
    "placeholder_discharge",
    "discharge_before_start",
    "missing_discharge",
    "stops_arriving",
)
(
    NO_FAULT,
    CORRECTED_DISCHARGE,
    SECOND_ID,
    PLACEHOLDER_START,
    PLACEHOLDER_DISCHARGE,
    DISCHARGE_BEFORE_START,
    MISSING_DISCHARGE,
    STOPS_ARRIVING,
) = range(len(SPELL_FAULTS) + 1)
_NEEDS_A_LATER_MONTH = (CORRECTED_DISCHARGE, PLACEHOLDER_DISCHARGE, DISCHARGE_BEFORE_START, MISSING_DISCHARGE)
MINIMUM_DAYS = 4


def messes_of(stays: Columns, network: Network, a: Assumptions) -> Array:
    """The fault of each stay (by its draw `mess`); only stays of one spell, ended by discharge, at a trust that always
    submits, so that what a fault does to the truth is known."""
    limits = np.cumsum([a[f"messes.{name}"] for name in SPELL_FAULTS])
    fault = (np.searchsorted(limits, stays["mess"], side="right") + 1) % (len(SPELL_FAULTS) + 1)
    last_month = month_of(stays["end"])
    may_have = (
        (stays["kind"] == 0)
        & (stays["n_spells"] == 1)
        & (stays["end"] - stays["start"] >= MINIMUM_DAYS)
        & (stays["end"] <= LAST_DAY)
        & ~stays["is_death"]
        & network.is_regular[stays["first_trust"]]
    )
    no_later_month = np.isin(fault, _NEEDS_A_LATER_MONTH) & (last_month >= N_MONTHS - 1)
    never_sent = (fault == STOPS_ARRIVING) & (np.maximum(month_of(stays["start"]), 0) >= last_month)
    return np.where(may_have & ~no_later_month & ~never_sent, fault, NO_FAULT)


def soil(code: str, rng: np.random.Generator, n: int, a: Assumptions) -> pl.Expr:
    """A code column with some trailing blanks and lower-case letters."""
    draw = rng.random(n)
    space = pl.Series(draw < a["messes.stray_space"])
    lower = pl.Series(draw > 1 - a["messes.lower_case"])
    return (
        pl.when(space & pl.col(code).is_not_null())
        .then(pl.col(code) + " ")
        .when(lower)
        .then(pl.col(code).str.to_lowercase())
        .otherwise(code)
        .alias(code)
    )


def lose_person(rng: np.random.Generator, n: int, a: Assumptions) -> pl.Expr:
    """Person_ID with some values blank and some replaced by a placeholder."""
    draw = rng.random(n)
    blank = pl.Series(draw < a["messes.missing_person"] / 2)
    placeholder = pl.Series(draw > 1 - a["messes.missing_person"] / 2)
    return (
        pl.when(blank)
        .then(pl.lit(None, pl.String))
        .when(placeholder)
        .then(pl.lit("<NHS_No>"))
        .otherwise("Person_ID")
        .alias("Person_ID")
    )
