"""Covariates → the weights of least variance under which an arm's means differ from the population's by no more than
is allowed.

Stable balancing weights (Zubizarreta 2015, JASA 110:910): weights >= 0 with given totals, of least Σ weight², such that
every covariate's mean lies within a tolerance of the population's. The dual of this quadratic programme has a number
for each covariate and exact group only: weight = max(0, a[group] + x b), with the tolerance as an L1 penalty on b
(Chattopadhyay, Hase & Zubizarreta 2020, Stat Med 39:3227). It is solved by a proximal Newton method, and the answer is
proven afterwards: the constraints are measured and the gap between primal and dual is computed.
"""

from dataclasses import dataclass

import numpy as np

from models.propensity import comparable_rows
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity
from models.weighting.arms import count_rows, design_of
from models.weighting.calibration import REACHED, balanced_columns, group_sums, weighted_cross_product
from models.weighting.entropy import arms_to_weigh, cannot_balance, population_rows

STEPS = 300
SMALLEST_GAP = 1e-8
"""Of primal and dual, as a share of the primal: the weights' variance is that near to the least possible."""
SAME = 1e-9  # standard deviations of all rows: a spread below is that of rounding
RIDGE = 1e-11
DESCENTS = 20_000


@dataclass(frozen=True)
class _Problem:
    """An arm's rows: columns (m, q), group (m,) from 0; totals (G,) to reach, and (q,) to reach within `slack`."""

    columns: FloatArray
    group: IntArray
    groups: FloatArray
    target: FloatArray
    slack: FloatArray


def stable_balancing(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    tolerance: float = 0.02,
) -> Design:
    """Least-variance weights with all covariates' means within `tolerance` of the population's.

    The population is the treated (ATT), the untreated (ATC) or all (ATE); `tolerance` is in its standard deviations (of
    all rows where it does not vary). The arm that is the population weighs 1 a row; within each exact group the other
    weighs together what the population numbers there, which no tolerance loosens. Rows may weigh 0, `n_without_weight`
    of the arms do. The score is only reported. Standard errors take these weights as fixed: they are a function of the
    covariates and the arms alone. `rng` is not used.

    Raises ValueError for an estimand it has not or a negative tolerance; Refused, naming the covariates, when no
    weights keep within the tolerance.
    """
    if estimand not in ("ATT", "ATE", "ATC"):
        raise ValueError(f"stable_balancing estimates the ATT, ATE or ATC, not the {estimand}")
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be a number of at least 0, not {tolerance}")
    usable = comparable_rows(baseline, treated)
    columns, names = balanced_columns(baseline, usable, "means")
    source = population_rows(treated, usable, estimand)
    spread = columns[source].std(axis=0)
    # Where the population does not vary (a level that none of the treated has) the spread is that of all rows, 1.
    spread = np.where(spread > SAME, spread, 1.0)
    weights = source.astype(np.float64)
    n_without, worst, largest_gap = 0, 0.0, 0.0
    for arm in arms_to_weigh(treated, usable, estimand):
        found, gap = _solve(_problem(columns, baseline.exact_group, source, arm, tolerance * spread), names)
        weights[arm] = found
        n_without, largest_gap = n_without + int((found == 0).sum()), max(largest_gap, gap)
        off = np.abs(found @ columns[arm] - columns[source].sum(axis=0)) / (source.sum() * spread)
        worst = max(worst, float(off.max(initial=0.0)))
    notes: dict[str, float | str] = {
        "weight_formula": "stable",
        "tolerance": tolerance,
        "largest_imbalance": worst,
        "duality_gap": largest_gap,
        "n_without_weight": n_without,
        **count_rows(baseline, treated, usable, usable),
    }
    return design_of("stable_balancing", estimand, treated, propensity, weights, notes)


def _problem(
    columns: FloatArray, exact_group: IntArray, source: BoolArray, arm: BoolArray, allowed: FloatArray
) -> _Problem:
    groups, group = np.unique(exact_group[arm], return_inverse=True)
    numbers = np.bincount(np.searchsorted(groups, exact_group[source]), minlength=len(groups)).astype(np.float64)
    total = columns[source].sum(axis=0)
    return _Problem(columns[arm], group.astype(np.int64), numbers, total, allowed * source.sum())


def _solve(problem: _Problem, names: tuple[str, ...]) -> tuple[FloatArray, float]:
    """((m,) weights, relative duality gap)."""
    size = problem.groups.sum()
    a = problem.groups / np.bincount(problem.group)
    b = np.zeros(len(problem.target))
    linear = a[problem.group]
    value = _dual(problem, linear, a, b)
    for _ in range(STEPS):
        weights = np.maximum(linear, 0.0)
        excess, off, gap = _distance(problem, weights, a, b)
        if excess.max(initial=0.0) <= 1e-2 * REACHED * size and off <= 1e-2 * REACHED and gap <= SMALLEST_GAP:
            break
        step_a, step_b = _proximal_newton_step(problem, linear, b)
        along = step_a[problem.group] + problem.columns @ step_b
        share = 1.0
        for _ in range(60):
            new = _dual(problem, linear + share * along, a + share * step_a, b + share * step_b)
            if new <= value + 1e-15 * abs(value):
                break
            share /= 2.0
        else:
            break
        a, b, value = a + share * step_a, b + share * step_b, new
        linear = a[problem.group] + problem.columns @ b
    weights = np.maximum(linear, 0.0)
    excess, off, gap = _distance(problem, weights, a, b)
    if not (excess.max(initial=0.0) <= REACHED * size and off <= REACHED and gap <= SMALLEST_GAP):
        raise Refused(cannot_balance(names, excess / size, REACHED))
    return weights, gap


def _dual(problem: _Problem, linear: FloatArray, a: FloatArray, b: FloatArray) -> float:
    positive = np.maximum(linear, 0.0)
    penalty = problem.slack @ np.abs(b)
    return float(0.5 * (positive @ positive) - problem.groups @ a - problem.target @ b + penalty)


def _distance(problem: _Problem, weights: FloatArray, a: FloatArray, b: FloatArray) -> tuple[FloatArray, float, float]:
    """(totals beyond the slack by column, worst group total as a share, relative duality gap)."""
    sums = weights @ problem.columns
    excess = np.maximum(np.abs(sums - problem.target) - problem.slack, 0.0)
    totals = np.bincount(problem.group, weights=weights, minlength=len(a))
    off = float((np.abs(totals - problem.groups) / problem.groups).max())
    primal = 0.5 * float(weights @ weights)
    gap = abs(primal + _dual(problem, a[problem.group] + problem.columns @ b, a, b)) / max(primal, 1e-300)
    return excess, off, gap


def _proximal_newton_step(problem: _Problem, linear: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The step to the least of the quadratic model plus penalty; the groups' intercepts are eliminated."""
    from models.coordinate_descent import coordinate_descent

    weights, active = np.maximum(linear, 0.0), (linear > 0).astype(np.float64)
    n_groups = len(problem.groups)
    off_groups = problem.groups - np.bincount(problem.group, weights=weights, minlength=n_groups)
    off_columns = problem.target - weights @ problem.columns
    diagonal = np.bincount(problem.group, weights=active, minlength=n_groups)
    # A group without a row of positive weight moves by the curvature that all its rows would have.
    per_group = 1.0 / np.where(diagonal > 0, diagonal, np.bincount(problem.group, minlength=n_groups))
    across = group_sums(problem.columns, problem.group, active, n_groups)
    reduced = weighted_cross_product(problem.columns, active) - across.T @ (per_group[:, None] * across)
    reduced += RIDGE * max(float(np.trace(reduced)) / max(len(b), 1), 1.0) * np.eye(len(b))
    slopes = off_columns - across.T @ (per_group * off_groups)
    scale = float(problem.groups.sum())
    found, _ = coordinate_descent(reduced, slopes, b, problem.slack, 1e-3 * REACHED * scale, DESCENTS)
    step_b = found - b
    return per_group * (off_groups - across @ step_b), step_b
