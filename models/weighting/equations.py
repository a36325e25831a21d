"""A design whose weights balance the covariates → the equations those weights solve, for the variance.

Weights w(f), f = a[group] + x b, that give an arm the population's totals solve Σ (population - arm × w) (group, x) =
0, equations of the same shape as a logistic regression's, and are stacked under the effect in the same way (Zhao &
Percival 2017, J Causal Inference 5:20160010).
"""

import numpy as np

from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray
from models.score_equations import ScoreModel
from models.weighting.calibration import balanced_columns, group_sums, pseudo_inverse, weighted_cross_product
from models.weighting.entropy import arms_to_weigh, population_rows


def equations_of(baseline: Baseline, design: Design) -> tuple[ScoreModel, ...]:
    """One set of equations for each arm that was weighed. Those of an arm that was given the population's totals hold
    for its weights in any unit; those of a balancing score are for weights of one over the probability."""
    usable = comparable_rows(baseline, design.treated)
    columns, _ = balanced_columns(baseline, usable, str(design.notes.get("moments", "means")))
    group = np.unique(baseline.exact_group, return_inverse=True)[1].astype(np.int64)
    if design.notes.get("weight_formula") == "balancing_score":
        slope = np.where(usable, design.weights - 1.0, 0.0)
        sign = np.where(design.treated, 1.0, -1.0)
        return (stack(columns, group, sign * design.weights, slope, usable, -sign * slope),)
    source = population_rows(design.treated, usable, design.estimand).astype(np.float64)
    equations = []
    for arm in arms_to_weigh(design.treated, usable, design.estimand):
        weights = np.where(arm, design.weights, 0.0)
        as_solved = weights * (source.sum() / weights.sum())
        equations.append(stack(columns, group, source - as_solved, as_solved, usable, weights))
    return tuple(equations)


def stack(
    columns: FloatArray, group: IntArray, residual: FloatArray, slope: FloatArray, rows: BoolArray, pull: FloatArray
) -> ScoreModel:
    """The equations Σ residual × (group, x) = 0 over `rows`; `slope` (n,) is minus the derivative of the residual, and
    `pull` that of the weights, with respect to the linear predictor."""
    n_groups = int(group.max()) + 1
    information = np.bincount(group, weights=slope, minlength=n_groups).astype(np.float64)
    across = group_sums(columns, group, slope, n_groups)
    centre = across / np.where(information > 0, information, 1.0)[:, None]
    within = columns - centre[group]
    bread = pseudo_inverse(weighted_cross_product(within, slope))
    return ScoreModel(within, np.where(rows, residual, 0.0), bread, pull, group, information)
