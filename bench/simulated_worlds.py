"""Worlds whose effect is known, drawn as arrays: people, who was treated, and outcomes of every kind.

Treatment follows a logistic model of five covariates; the binary outcome a logistic, the continuous one a linear model
of the same covariates, so that every method's working model holds, whichever it uses (in one world both bend). Times
come from proportional cause-specific hazards given the covariates: readmissions in a process with a personal frailty,
ended by death.

The truth of an estimand is what a trial of its population would show: for binary and continuous outcomes from the
expectations themselves, for times by the effect method itself on a twin population, in which everybody is present once
treated and once untreated, followed to the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray

HORIZON = 365
RECRUITMENT_DAYS = 820
COLUMNS = ("x1", "x2", "x3", "x4", "x5")
SELECTION = np.array([0.6, -0.5, 0.3, 0.4, 0.2])
PROGNOSIS = np.array([0.4, -0.4, 0.3, 0.5, 0.1])
DEATH = np.array([0.3, 0.2, 0.0, 0.3, 0.0])
CENSORED, EVENT, DIED, OTHER_KIND = 0, 1, 2, 3
SHARE_OF_OTHER_KIND = 0.3


@dataclass(frozen=True)
class World:
    """What differs between worlds.

    treated, pool   expected numbers of treated people and of candidates
    selection       strength of confounding (multiplies SELECTION)
    effect          of treatment on the log-odds and log-rate scales; minus that, in units of the continuous outcome
    varies          how much the effect grows with x1
    deaths          expected share of the untreated who die within the horizon, all else absent
    lost            share whose observation ends early, more often at high x1 (0: nobody's)
    trusts          0, or the number of trusts, which differ in outcome and share of treated; exact groups
    unobserved      share of values (not of times) that are not observed at x1 = 0: of the treated more at high x1, of
                    the others more at low x1 (0: nobody's)
    bends           how much treatment and outcome depend on the square of x1 and on x1 times x2
    """

    name: str
    treated: int = 300
    pool: int = 3_000
    selection: float = 1.0
    effect: float = -0.5
    varies: float = 0.0
    deaths: float = 0.05
    lost: float = 0.0
    trusts: int = 0
    unobserved: float = 0.0
    bends: float = 0.0


WORLDS = (
    World("rare treatment, large pool", pool=20_000),
    World("100 treated", treated=100),
    World("1,000 treated", treated=1_000, pool=10_000),
    World("strong overlap", pool=1_500, selection=0.5),
    World("weak overlap", selection=2.2),
    World("effects differ", varies=0.4),
    World("death competes", deaths=0.3),
    World("observation ends early", lost=0.4),
    World("trusts", trusts=12),
    World("no effect", effect=0.0),
    World("outcomes not observed", unobserved=0.1),
    World("selection and outcome bend", bends=0.25),
)


@dataclass(frozen=True)
class People:
    """(n,) rows of one draw; `trust` is 0 everywhere in worlds without trusts."""

    matrix: FloatArray
    trust: IntArray
    index_day: IntArray
    chance: FloatArray

    def rows(self, chosen: IntArray | BoolArray) -> "People":
        return People(self.matrix[chosen], self.trust[chosen], self.index_day[chosen], self.chance[chosen])


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of n people.

    binary, continuous    values; nan where not observed, as amount
    amount                0 for many, a gamma amount for the others, as days in hospital are
    day, event            first of readmission (1), death (2), end of observation (0), at most HORIZON
    event_by_kind         the same, with 3 for readmissions of another kind, three in ten
    until, died           last observed day, and whether it was the day of death
    event_row, event_day  every readmission up to the last observed day
    """

    binary: FloatArray
    continuous: FloatArray
    amount: FloatArray
    day: FloatArray
    event: IntArray
    event_by_kind: IntArray
    until: FloatArray
    died: BoolArray
    event_row: IntArray
    event_day: FloatArray

    @property
    def count(self) -> FloatArray:
        return np.bincount(self.event_row, minlength=self.day.size).astype(np.float64)


def draw_people(world: World, n: int, rng: np.random.Generator) -> People:
    """n people and their chance of treatment, which averages treated / (treated + pool)."""
    matrix, trust = _draw_covariates(world, n, rng)
    return People(
        matrix, trust, rng.integers(RECRUITMENT_DAYS, size=n), expit(_leaning(world, matrix, trust) + _intercept(world))
    )


def draw_sample(world: World, rng: np.random.Generator) -> tuple[Baseline, BoolArray, Outcomes]:
    """One study: baseline, who was treated, and outcomes as observed."""
    people = draw_people(world, world.treated + world.pool, rng)
    treated = rng.random(people.trust.size) < people.chance
    return baseline_of(people), treated, draw_outcomes(world, people, treated, rng)


def baseline_of(people: People) -> Baseline:
    """Trusts are exact groups and enter as indicators too, as the pipeline has it."""
    trusts = np.unique(people.trust)[1:]
    indicators = (people.trust[:, None] == trusts).astype(np.float64)
    columns = (*COLUMNS, *(f"trust_{number}" for number in trusts))
    matrix = np.column_stack([people.matrix, indicators])
    return Baseline(matrix, columns, people.trust, people.index_day, np.arange(people.trust.size))


def expected(world: World, people: People, *, treated: bool) -> Mapping[str, FloatArray]:
    """(n,) expected binary and continuous outcome of each person under one treatment."""
    level, effect = _level(world, people), _effect(world, people) * treated
    chance = expit(-0.3 + level + effect)
    return {"binary": chance, "continuous": level - effect, "amount": chance * _size(level, effect)}


def draw_outcomes(
    world: World, people: People, treated: BoolArray, rng: np.random.Generator, *, as_observed: bool = True
) -> Outcomes:
    """Outcomes of every kind; without `as_observed` nobody's observation ends before the horizon."""
    n, level, effect = treated.size, _level(world, people), _effect(world, people) * treated
    binary = rng.random(n) < expit(-0.3 + level + effect)
    continuous = level - effect + rng.normal(size=n)
    some = rng.random(n) < expit(-0.3 + level + effect)
    amount = some * rng.gamma(2.0, _size(level, effect) / 2.0)
    rate = 0.0015 * np.exp(level + effect) * rng.gamma(2.0, 0.5, n)
    death_rate = -np.log1p(-world.deaths) / HORIZON * np.exp(people.matrix @ DEATH)
    dies = rng.exponential(size=n) / death_rate
    until, died = np.minimum(dies, HORIZON), dies <= HORIZON
    if world.lost and as_observed:
        leaves = rng.exponential(size=n) / (-np.log1p(-world.lost) / HORIZON * np.exp(0.7 * people.matrix[:, 0]))
        until, died = np.minimum(until, leaves), died & (dies <= leaves)
    until = np.ceil(until)  # whole days, as in the records
    number = rng.poisson(rate * until)
    event_row = np.repeat(np.arange(n), number)
    event_day = np.ceil(rng.random(event_row.size) * until[event_row])
    first = np.full(n, np.inf)
    np.minimum.at(first, event_row, event_day)
    event = np.where(first <= until, EVENT, np.where(died, DIED, CENSORED))
    is_other = (event == EVENT) & (rng.random(n) < SHARE_OF_OTHER_KIND)
    hidden = np.zeros(n, dtype=np.bool_)
    if world.unobserved and as_observed:
        hidden = rng.random(n) < expit(logit(world.unobserved) + np.where(treated, 0.9, -0.9) * people.matrix[:, 0])
    return Outcomes(
        binary=np.where(hidden, np.nan, binary),
        continuous=np.where(hidden, np.nan, continuous),
        amount=np.where(hidden, np.nan, amount),
        day=np.minimum(first, until),
        event=event.astype(np.int64),
        event_by_kind=np.where(is_other, OTHER_KIND, event).astype(np.int64),
        until=until,
        died=died,
        event_row=event_row,
        event_day=event_day,
    )


def draw_population(world: World, estimand: Estimand, n: int, rng: np.random.Generator) -> People:
    """n people of the population that an estimand speaks of."""
    people = draw_people(world, 10 * n, rng)
    e = people.chance
    share = {"ATT": e, "ATC": 1 - e, "ATE": np.ones_like(e), "ATO": e * (1 - e)}[estimand]
    return people.rows(rng.choice(e.size, size=n, p=share / share.sum()))


def draw_twins(world: World, estimand: Estimand, n: int, rng: np.random.Generator) -> tuple[Baseline, Design, Outcomes]:
    """A trial of 2n people: n people of the estimand's population once treated and once not, each a person of its own,
    followed to the end."""
    people = draw_population(world, estimand, n, rng).rows(np.tile(np.arange(n), 2))
    people = replace(people, trust=np.zeros_like(people.trust)) if world.trusts == 0 else people
    treated = np.repeat([True, False], n)
    outcomes = draw_outcomes(world, people, treated, rng, as_observed=False)
    baseline = replace(baseline_of(people), exact_group=np.zeros(2 * n, np.int64))
    no_set = np.full(2 * n, -1, dtype=np.int64)
    return baseline, Design("randomised", estimand, treated, np.full(2 * n, 0.5), np.ones(2 * n), no_set), outcomes


def _draw_covariates(world: World, n: int, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    matrix = np.column_stack([rng.normal(size=(n, 3)), rng.random(n) < 0.3, rng.gamma(2.0, 0.7, n) - 1.4])
    return matrix, rng.integers(world.trusts, size=n) if world.trusts else np.zeros(n, dtype=np.int64)


def _leaning(world: World, matrix: FloatArray, trust: IntArray) -> FloatArray:
    return np.asarray(world.selection * matrix @ SELECTION + _of_trust(world, 0.5)[trust] + _bend(world, matrix))


def _level(world: World, people: People) -> FloatArray:
    return np.asarray(people.matrix @ PROGNOSIS + _of_trust(world, 0.4)[people.trust] + _bend(world, people.matrix))


def _bend(world: World, matrix: FloatArray) -> FloatArray:
    return np.asarray(world.bends * (matrix[:, 0] ** 2 - 1.0 + matrix[:, 0] * matrix[:, 1]))


def _effect(world: World, people: People) -> FloatArray:
    return np.asarray(world.effect + world.varies * people.matrix[:, 0])


def _size(level: FloatArray, effect: FloatArray) -> FloatArray:
    """Mean amount of those who have any."""
    return np.asarray(np.exp(3.0 + 0.3 * level + 0.3 * effect))


def _of_trust(world: World, spread: float) -> FloatArray:
    """A fixed number a trust, evenly spread; the same trusts in every draw."""
    return spread * np.sin(np.arange(max(world.trusts, 1)) * 2.4) * (world.trusts > 0)


@cache
def _intercept(world: World) -> float:
    """So that the chances average the share of treated people, over 200,000 people."""
    rng = np.random.default_rng(20161201)
    matrix, trust = _draw_covariates(world, 200_000, rng)
    lean = _leaning(world, matrix, trust)
    share = world.treated / (world.treated + world.pool)
    return float(brentq(lambda shift: expit(lean + shift).mean() - share, -30.0, 30.0))
