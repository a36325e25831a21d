"""Covariates → inverse probabilities of a logistic score that was fitted so that they balance the covariates.

The just-identified covariate-balancing propensity score (Imai & Ratkovic 2014, JRSS B 76:243): instead of the
likelihood equations, the coefficients solve the balance equations themselves, which are the derivative of a convex
function (Zhao 2019, Ann Stat 47:965), so that the solution, where there is one, is the only one.

Under the ATT and the ATC these equations are those of entropy balancing and the weights the same: odds exp(f) that give
one arm the means of the other. Under the ATE they are weights 1 / e and 1 / (1 - e) under which the two arms have the
same means, those of a population near everybody, but not exactly everybody's as entropy balancing has them.

The over-identified score asks for the likelihood's equations as well (models/weighting/overidentified.py). It balances
as far as that allows (on LaLonde's data less than the likelihood's own score does), and tells by a test whether a
logistic score of these covariates can do both.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.special import expit

from models.propensity import comparable_rows
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from models.weighting.arms import count_rows, design_of
from models.weighting.calibration import REACHED, Link, Target, balanced_columns, solve
from models.weighting.entropy import cannot_balance, entropy_weights
from models.weighting.overidentified import joint_score
from models.weighting.scores import propensity_weighting

OVERIDENTIFIED = "overidentified"
"""The note `score_model` of designs whose score fits and balances at once."""

Equations = Literal["balance", "balance_and_fit"]


def covariate_balancing_score(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    equations: Equations = "balance",
) -> Design:
    """Weights of the covariate-balancing score, with an intercept for each exact group.

    equations  "balance": the just-identified score, whose balance is exact; "balance_and_fit": the over-identified
               one, weights by its formula and scaled within exact groups as `propensity_weighting` scales them; the
               notes `j_statistic`, `j_freedom` and `j_p_value` test whether one score can fit and balance

    Under the ATT and ATC as `entropy_balancing`; under the ATE both arms of a group weigh together the same. The score
    of the design stays the fitted one, which overlap is judged by (over-identified: it is the score found). Rows no
    design can use weigh 0; `rng` is not used.

    Raises ValueError for an estimand it has not; Refused, naming the covariates, when no such score balances them. The
    ATO is not among them: its balance equations are the likelihood's, so `propensity_weighting` does it.
    """
    if estimand not in ("ATT", "ATE", "ATC"):
        raise ValueError(f"covariate_balancing_score estimates the ATT, ATE or ATC, not the {estimand}")
    usable = comparable_rows(baseline, treated)
    if equations not in ("balance", "balance_and_fit"):
        raise ValueError(f'equations must be "balance" or "balance_and_fit", not {equations!r}')
    if equations == "balance_and_fit":
        return _fits_and_balances(baseline, treated, propensity, usable, estimand)
    if estimand == "ATE":
        weights, notes = _inverse_probabilities(baseline, treated, usable)
    else:
        weights, notes = entropy_weights(baseline, treated, usable, estimand, "means")
    notes |= count_rows(baseline, treated, usable, usable)
    return design_of("covariate_balancing_score", estimand, treated, propensity, weights, notes)


def _fits_and_balances(
    baseline: Baseline, treated: BoolArray, propensity: Propensity, usable: BoolArray, estimand: Estimand
) -> Design:
    found = joint_score(baseline, treated, usable, estimand)
    linear = np.where(usable, found.linear, 0.0)
    score = Propensity(expit(linear), linear, None, 0.0, {"score_model": OVERIDENTIFIED})
    plain = propensity_weighting(baseline, treated, score, estimand=estimand, rng=np.random.default_rng(0))
    tested = {"j_statistic": found.statistic, "j_freedom": float(found.freedom), "j_p_value": found.p_value}
    notes = {**plain.notes, **tested, "n_descents": float(found.n_steps)}
    score_of_all = np.where(usable, plain.score, propensity.score)
    return replace(plain, method="covariate_balancing_score", score=score_of_all, notes=notes)


def _inverse_probabilities(
    baseline: Baseline, treated: BoolArray, usable: BoolArray
) -> tuple[FloatArray, dict[str, float | str]]:
    columns, names = balanced_columns(baseline, usable, "means")
    groups, group = np.unique(baseline.exact_group[usable], return_inverse=True)
    is_treated = treated[usable]
    nought = Target(np.zeros(len(groups)), np.zeros(len(names)), float(usable.sum()))
    start = np.full(len(groups), np.log(is_treated.sum() / (~is_treated).sum()))
    found = solve(columns[usable], group.astype(np.int64), nought, _inverse_probability_of(is_treated), start)
    worst = float(max(found.column_gap.max(initial=0.0), found.group_gap))
    if not worst <= REACHED:
        raise Refused(cannot_balance(names, found.column_gap, REACHED))
    weights = np.zeros(len(treated))
    weights[usable] = 1.0 + np.exp(np.where(is_treated, -found.linear, found.linear))
    return weights, {
        "weight_formula": "balancing_score",
        "moments": "means",
        "largest_imbalance": worst,
        "n_newton_steps": found.n_steps,
    }


def _inverse_probability_of(treated: BoolArray) -> Link:
    """Untreated rows contribute 1 + exp(f), treated rows -(1 + exp(-f)): their weight with the sign of the arm."""
    sign = np.where(treated, -1.0, 1.0)
    return Link(
        potential=lambda f: sign * f + np.exp(sign * f),
        contribution=lambda f: sign * (1.0 + np.exp(sign * f)),
        slope=lambda f: np.exp(sign * f),
    )
