"""Covariates → the weights nearest to equal ones under which the arms have exactly the same means.

Entropy balancing (Hainmueller 2012, Polit Anal 20:25): among all weights whose means of the covariates are those of the
population asked for, the ones of largest entropy. They are exp(f) with f linear in the covariates, so balance implies a
logistic propensity model and the estimate is doubly robust (Zhao & Percival 2017, J Causal Inference 5:20160010). Under
the ATT they are also the weights of the just-identified covariate-balancing score.

The objective is reached or the design is refused: distances from the target are measured after the solver has stopped.
"""

from typing import Literal

import numpy as np

from models.propensity import comparable_rows
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity
from models.weighting.arms import count_rows, design_of
from models.weighting.calibration import EXPONENTIAL, REACHED, Target, balanced_columns, solve

Moments = Literal["means", "variances"]

AT_THE_LIMIT = 1e-9  # standard deviations: a target this near the extreme value of an arm is that value
NAMED = 10


def entropy_balancing(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    moments: Moments = "means",
) -> Design:
    """Weights under which the covariates' means are those of the treated (ATT), the untreated (ATC) or all (ATE).

    moments  "variances" balances the squares of covariates with more than two values as well

    The arm that is the population weighs 1 a row. Within each exact group the other arm weighs together what the
    population numbers there; means are balanced over all groups together. Rows that cannot enter at a covariate's limit
    (no treated person has a rare level: controls with it) weigh 0, `n_beyond_the_limit` of them. The score is only
    reported, not used; rows that no design can use weigh 0. `rng` is not used.

    Raises ValueError for an estimand it has not; Refused, naming the covariates, when no weights balance them.
    """
    if estimand not in ("ATT", "ATE", "ATC"):
        raise ValueError(f"entropy_balancing estimates the ATT, ATE or ATC, not the {estimand}")
    if moments not in ("means", "variances"):
        raise ValueError(f'moments must be "means" or "variances", not {moments!r}')
    usable = comparable_rows(baseline, treated)
    weights, notes = entropy_weights(baseline, treated, usable, estimand, moments)
    notes |= count_rows(baseline, treated, usable, usable)
    return design_of("entropy_balancing", estimand, treated, propensity, weights, notes)


def entropy_weights(
    baseline: Baseline, treated: BoolArray, usable: BoolArray, estimand: Estimand, moments: Moments
) -> tuple[FloatArray, dict[str, float | str]]:
    """(n,) weights and how they were reached. Raises Refused where none exist."""
    columns, names = balanced_columns(baseline, usable, moments)
    source = population_rows(treated, usable, estimand)
    weights = source.astype(np.float64)
    n_beyond, worst, n_steps = 0, 0.0, 0
    for arm in arms_to_weigh(treated, usable, estimand):
        inside = within_limits(columns, names, source, arm)
        n_beyond += int((arm & ~inside).sum())
        weights[arm] = 0.0
        weights[inside], gap, steps = _balance(columns, names, baseline.exact_group, source, inside)
        worst, n_steps = max(worst, gap), max(n_steps, steps)
    return weights, {
        "weight_formula": "entropy",
        "moments": moments,
        "n_beyond_the_limit": n_beyond,
        "largest_imbalance": worst,
        "n_newton_steps": n_steps,
    }


def population_rows(treated: BoolArray, usable: BoolArray, estimand: str) -> BoolArray:
    """(n,) rows whose covariates the weighted arms shall have."""
    return usable & {"ATT": treated, "ATC": ~treated}.get(estimand, np.ones_like(treated))


def arms_to_weigh(treated: BoolArray, usable: BoolArray, estimand: str) -> list[BoolArray]:
    """The arms that are not themselves the population."""
    arms = {"ATT": [~treated], "ATC": [treated]}.get(estimand, [treated, ~treated])
    return [arm & usable for arm in arms]


def within_limits(columns: FloatArray, names: tuple[str, ...], source: BoolArray, arm: BoolArray) -> BoolArray:
    """(n,) rows of `arm` that can have a weight: where the population's mean is the arm's smallest or largest value of
    a column, only rows with that value can. Raises Refused naming columns whose mean lies beyond all values."""
    inside, before = arm.copy(), -1
    target = columns[source].mean(axis=0)
    while inside.sum() != before:
        before = int(inside.sum())
        if before == 0:
            raise Refused("no weights balance the covariates: no row of an arm has all the values they would need")
        low, high = columns[inside].min(axis=0), columns[inside].max(axis=0)
        beyond = np.maximum(low - target, target - high)
        if (beyond > AT_THE_LIMIT).any():
            raise Refused(cannot_balance(names, np.maximum(beyond, 0.0), AT_THE_LIMIT))
        at_low, at_high = target - low <= AT_THE_LIMIT, high - target <= AT_THE_LIMIT
        for j in np.flatnonzero(at_low | at_high):
            limit = low[j] if at_low[j] else high[j]
            inside &= np.abs(columns[:, j] - limit) <= AT_THE_LIMIT
    return inside


def cannot_balance(names: tuple[str, ...], gap: FloatArray, limit: float) -> str:
    """The refusal, worst covariate first, distances in standard deviations."""
    gap = np.nan_to_num(gap, nan=np.inf)
    order = [j for j in np.argsort(-gap, kind="stable") if gap[j] > limit]
    listed = ", ".join(f"{names[j]} ({gap[j]:.2g} SD away)" for j in order[:NAMED])
    more = f" and {len(order) - NAMED} more" if len(order) > NAMED else ""
    if not order:
        return "no weights balance the covariates within the exact groups; use coarser exact columns"
    return (
        f"no weights balance these covariates: {listed}{more}; leave them out, pool their rare levels, use coarser "
        "exact columns, or choose a design that allows some imbalance"
    )


def _balance(
    columns: FloatArray, names: tuple[str, ...], exact_group: IntArray, source: BoolArray, arm: BoolArray
) -> tuple[FloatArray, float, int]:
    """(weights of the arm's rows, largest distance from the target, Newton steps)."""
    groups, group = np.unique(exact_group[arm], return_inverse=True)
    if not np.isin(exact_group[source], groups).all():
        raise Refused("no weights balance the covariates: in some exact group no row has the values they would need")
    numbers = np.bincount(np.searchsorted(groups, exact_group[source]), minlength=len(groups)).astype(np.float64)
    target = Target(numbers, columns[source].sum(axis=0), float(source.sum()))
    start = np.log(numbers / np.bincount(group))
    found = solve(columns[arm], group.astype(np.int64), target, EXPONENTIAL, start)
    worst = float(max(found.column_gap.max(initial=0.0), found.group_gap))
    if not worst <= REACHED:
        raise Refused(cannot_balance(names, found.column_gap, REACHED))
    return np.exp(found.linear), worst, found.n_steps
