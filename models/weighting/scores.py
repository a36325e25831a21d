"""Propensity log-odds → weights under which the two arms resemble one population, chosen by the estimand.

With e the score, a population h(e) is represented by treated rows weighing h / e and untreated rows h / (1 - e) (Li,
Morgan & Zaslavsky 2018, JASA 113:390):

    ATT              h = e              treated 1, untreated their odds
    ATC              h = 1 - e          untreated 1, treated 1 / odds
    ATE              h = 1              inverse probability of the arm received
    ATO              h = e (1 - e)      overlap weights: treated 1 - e, untreated e
    matching weights h = min(e, 1 - e)  the smaller probability over that of the arm received (Li & Greene 2013)

Odds come from the log-odds, not from 1 - score, which loses digits when the score is near 0 or 1.

Weights are scaled within each exact group (Hájek 1971), so that either arm of a group weighs together what the group's
share of the population is: its number of treated (ATT), of untreated (ATC), of both (ATE), or the sum of h over its
rows. Exact groups are thereby balanced exactly, as they are in matching.

Sources: Hirano, Imbens & Ridder 2003 (Econometrica 71:1161); Austin & Stuart 2015 (Stat Med 34:3661); truncation:
Cole & Hernán 2008 (Am J Epidemiol 168:656).
"""

import numpy as np
from scipy.special import expit

from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from models.weighting.arms import count_rows, design_of, scaled_within_groups
from models.weighting.trimming import TrimRule, trim

LARGEST_LOG_ODDS = 300.0  # beyond it the squares that an effective sample size needs would overflow


def propensity_weighting(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    stabilise: bool = False,
    truncate_quantile: float = 1.0,
    trim: TrimRule = "none",
    trim_at: float | None = None,
) -> Design:
    """Weight rows by the propensity score; in this order: trim, weigh, truncate, scale.

    trim, trim_at      a rule of `models.weighting.trimming` and its limit (None: the paper's); the score is not
                       refitted, and under every estimand the result speaks for the rows kept
    truncate_quantile  weights above this quantile of an arm's weights become it (rows of weight 1 by the estimand, the
                       treated under the ATT, the untreated under the ATC, stay 1); 1 leaves them. Taken before scaling,
                       so the caps in the notes are in odds, 1 / probability or probability
    stabilise          ATE only: multiplies by the share of the arm received, so that an arm weighs together what it
                       numbers. Under the others scaling does this already and the option changes nothing

    Rows no design can use (`comparable_rows`) weigh 0: groups without treated or without controls, and untreated rows
    of treated persons. A person may lend several rows as controls (unlike in matching: the score was fitted to all of
    them, and thinning them now would upset the balance); `n_control_rows_of_repeated_persons` counts them, and
    standard errors should then be by person. Nothing is drawn at random, so `rng` is not used.

    Raises ValueError for an unknown estimand, a quantile outside (0, 1] or settings of trimming that mean nothing.
    """
    if estimand not in ("ATT", "ATE", "ATC", "ATO"):
        raise ValueError(f"propensity_weighting estimates the ATT, ATE, ATC or ATO, not the {estimand}")
    return _weigh(
        "propensity_weighting",
        baseline,
        treated,
        propensity,
        estimand,
        estimand,
        stabilise,
        truncate_quantile,
        trim,
        trim_at,
    )


def matching_weights(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATO",
    rng: np.random.Generator,
    trim: TrimRule = "none",
    trim_at: float | None = None,
) -> Design:
    """Weight rows by min(e, 1 - e) over the probability of the arm received (Li & Greene 2013, Int J Biostat 9:215).

    The population is that of a 1:1 match: h = min(e, 1 - e), which is neither the ATT's nor exactly that of overlap
    weights, e (1 - e). Where every score is below one half it is the treated, and the estimate the ATT. It goes by the
    name of the ATO, effects among people who could have been in either arm, and the notes say which population it is.
    Trimming, exact groups and rows that weigh 0 are as in `propensity_weighting`; `rng` is not used.

    Raises ValueError for another estimand or settings of trimming that mean nothing.
    """
    if estimand != "ATO":
        raise ValueError(f"matching_weights estimates the effect in people of a 1:1 match (ATO), not the {estimand}")
    return _weigh("matching_weights", baseline, treated, propensity, estimand, "matching", False, 1.0, trim, trim_at)


def population_of(linear: FloatArray, treated: BoolArray, population: str) -> FloatArray:
    """(n,) what each row adds to the population its exact group stands for: counted, or h of its score."""
    score, other = expit(linear), expit(-linear)
    adds = {
        "ATT": treated.astype(np.float64),
        "ATC": (~treated).astype(np.float64),
        "ATE": np.ones(len(treated)),
        "ATO": score * other,
        "matching": np.minimum(score, other),
    }
    return adds[population]


def _weigh(
    method: str,
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    estimand: Estimand,
    population: str,
    stabilise: bool,
    truncate_quantile: float,
    rule: TrimRule,
    trim_at: float | None,
) -> Design:
    if not 0.0 < truncate_quantile <= 1.0:
        raise ValueError(f"truncate_quantile must be above 0 and at most 1, not {truncate_quantile}")
    usable = comparable_rows(baseline, treated)
    kept = trim(baseline, treated, propensity.linear, usable, estimand, rule, trim_at)
    weights = _balancing_weights(propensity.linear, treated, population) * kept
    adds = population_of(propensity.linear, treated, population)[kept]
    notes: dict[str, float | str] = {"weight_formula": population, **count_rows(baseline, treated, usable, kept)}
    arms = {"control": kept & ~treated, "treated": kept & treated}
    for name, arm in arms.items():
        if {"ATT": "treated", "ATC": "control"}.get(population) == name:
            continue  # all weigh 1: nothing to truncate or scale
        if truncate_quantile < 1.0 and arm.any():
            cap = float(np.quantile(weights[arm], truncate_quantile))
            notes |= {f"weight_cap_{name}": cap, f"n_truncated_{name}": int((weights[arm] > cap).sum())}
            weights[arm] = np.minimum(weights[arm], cap)
        weights[arm] = scaled_within_groups(weights[arm], baseline.exact_group[arm], baseline.exact_group[kept], adds)
        if stabilise and estimand == "ATE":
            weights[arm] *= arm.sum() / kept.sum()
    if population == "matching":
        notes["population"] = "min(e, 1 - e), as in a 1:1 match; the treated where every score e is below one half"
    notes |= propensity.facts  # a variance that minds the fitted score needs them
    return design_of(method, estimand, treated, propensity, weights, notes)


def _balancing_weights(linear: FloatArray, treated: BoolArray, population: str) -> FloatArray:
    """h / probability of the arm received, before scaling."""
    log_odds = np.clip(linear, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    against = np.where(treated, -log_odds, log_odds)  # log-odds of the arm not received
    if population == "ATE":
        return 1.0 + np.exp(against)
    if population == "ATO":
        return np.asarray(expit(against))
    if population == "matching":
        return np.exp(np.minimum(against, 0.0))
    return np.where(treated == (population == "ATT"), 1.0, np.exp(against))
