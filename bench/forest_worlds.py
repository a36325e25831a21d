"""Worlds in which every person's effect is known, for choosing between forests: never a benchmark's own answers.

Fifty covariates, as after a join of records: twenty-five correlated normal numbers, fifteen yes-or-no, ten counts. In
all but one world outcome and treatment bend: smooth curves, steps or products. A third is treated, more often those
with a high outcome.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from models.results import BoolArray, FloatArray

NUMBERS, YES_OR_NO, COUNTS = 25, 15, 10
COLUMNS = (
    *(f"number {at}" for at in range(NUMBERS)),
    *(f"yes or no {at}" for at in range(YES_OR_NO)),
    *(f"count {at}" for at in range(COUNTS)),
)
PEOPLE = 4_800
SHARE_TREATED = 0.33


@dataclass(frozen=True)
class ForestWorld:
    """Functions of the (n, 50) covariates: expected outcome untreated, effect, log-odds of treatment less a constant.

    is_binary  the outcome is a yes or no, with `level` its log-odds untreated and `effect` added to them
    """

    level: Callable[[FloatArray], FloatArray]
    effect: Callable[[FloatArray], FloatArray]
    leaning: Callable[[FloatArray], FloatArray]
    is_binary: bool = False


def _curve(x: FloatArray) -> FloatArray:
    return 1.5 * np.sin(1.5 * x[:, 0]) + 0.6 * x[:, 1] ** 2 + 0.7 * x[:, 2] * x[:, 3] + 0.5 * x[:, 4] + 0.6 * x[:, 25]


def _steps(x: FloatArray) -> FloatArray:
    return 2.0 * (x[:, 0] > 0.5) + 1.5 * (x[:, 1] > 0) * x[:, 25] - (x[:, 2] < -0.5) + 0.4 * np.minimum(x[:, 40], 3)


def _straight(x: FloatArray) -> FloatArray:
    return 0.8 * x[:, 0] - 0.6 * x[:, 1] + 0.5 * x[:, 2] + 0.4 * x[:, 3] + 0.5 * x[:, 25] + 0.3 * x[:, 40]


def _lean_curve(x: FloatArray) -> FloatArray:
    return 0.6 * np.sin(1.5 * x[:, 0]) + 0.35 * x[:, 1] ** 2 - 0.4 * x[:, 5] + 0.4 * x[:, 26]


def _lean_steps(x: FloatArray) -> FloatArray:
    return 0.9 * (x[:, 0] > 0.5) - 0.7 * (x[:, 2] < -0.5) + 0.6 * x[:, 26]


def _lean_straight(x: FloatArray) -> FloatArray:
    return 0.5 * x[:, 0] - 0.4 * x[:, 1] + 0.4 * x[:, 25]


FOREST_WORLDS = {
    "smooth": ForestWorld(_curve, lambda x: 1 + 1.2 * np.tanh(1.5 * x[:, 0]) + 0.6 * x[:, 6], _lean_curve),
    "steps": ForestWorld(_steps, lambda x: 2.0 * (x[:, 0] > 0) * (x[:, 27] > 0) + (x[:, 3] > 0.3), _lean_steps),
    "one of fifty": ForestWorld(_curve, lambda x: 1.5 * x[:, 30], _lean_curve),
    "many little": ForestWorld(_curve, lambda x: 1 + 0.3 * x[:, 5:15].sum(axis=1), _lean_curve),
    "straight": ForestWorld(_straight, lambda x: 1 + 0.6 * x[:, 0] - 0.6 * x[:, 6], _lean_straight),
    "no effect": ForestWorld(_curve, lambda x: np.zeros(len(x)), _lean_curve),
    "yes or no": ForestWorld(
        lambda x: 0.5 * _curve(x) - 0.8, lambda x: -0.8 + 0.8 * (x[:, 6] > 0) + 0.5 * x[:, 28], _lean_curve, True
    ),
}


@dataclass(frozen=True)
class ForestSample:
    """(n, 50) covariates, (n,) treated, outcome, effect (a difference of expected outcomes)."""

    x: FloatArray
    treated: BoolArray
    outcome: FloatArray
    effect: FloatArray


def draw_forest_world(name: str, seed: int, n: int = PEOPLE) -> ForestSample:
    """n people of a world."""
    world, rng = FOREST_WORLDS[name], np.random.default_rng(seed)
    x = _covariates(n, rng)
    lean = world.leaning(x)
    treated = rng.random(n) < expit(lean - lean.mean() + np.log(SHARE_TREATED / (1 - SHARE_TREATED)))
    level, effect = world.level(x), world.effect(x)
    if not world.is_binary:
        return ForestSample(x, treated, level + effect * treated + rng.normal(size=n), effect)
    outcome = (rng.random(n) < expit(level + effect * treated)).astype(np.float64)
    return ForestSample(x, treated, outcome, expit(level + effect) - expit(level))


def _covariates(n: int, rng: np.random.Generator) -> FloatArray:
    shared = rng.normal(size=(n, 1))
    numbers = np.sqrt(0.2) * shared + np.sqrt(0.8) * rng.normal(size=(n, NUMBERS))
    prevalence = np.linspace(0.15, 0.5, YES_OR_NO)
    flags = rng.random((n, YES_OR_NO)) < expit(np.log(prevalence / (1 - prevalence)) + 0.5 * shared)
    counts = rng.poisson(rng.gamma(2.0, 0.6, size=(n, COUNTS)))
    return np.column_stack([numbers, flags, counts]).astype(np.float64)
