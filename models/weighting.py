"""Propensity log-odds → weights that make the untreated resemble the treated (ATT), or both resemble everybody (ATE).

ATT: treated rows weigh 1, controls their odds of treatment. ATE: the inverse of the probability of the treatment
received. Odds come from the log-odds, not from 1 - score, which loses digits when the score is near 0 or 1.

Weights are scaled within each exact group (Hájek 1971): under the ATT the controls of a group weigh together what its
treated weigh, so over all groups they sum to the number of treated kept; under the ATE each arm of a group weighs
together what the group numbers. Exact groups are thereby balanced exactly, as they are in matching.

Sources: Hirano, Imbens & Ridder 2003 (Econometrica 71:1161); Austin & Stuart 2015 (Stat Med 34:3661); truncation:
Cole & Hernán 2008 (Am J Epidemiol 168:656); trimming to common support: Heckman, Ichimura & Todd 1997 (RES 64:605).
"""

import numpy as np

from models.propensity import comparable_rows, in_groups_with_both, l2_penalty_of
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity

LARGEST_LOG_ODDS = 300.0  # beyond it the squares that an effective sample size needs would overflow
SAME_LOG_ODDS = 1e-9  # so that the last bits of a fit do not decide whether a row with the extreme covariates is inside


def propensity_weighting(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    stabilise: bool = False,
    truncate_quantile: float = 1.0,
    trim_to_overlap: bool = False,
) -> Design:
    """Weight rows by the propensity score; in this order: trim, weigh, truncate, scale.

    trim_to_overlap    drops treated rows whose log-odds lie outside the range of the controls', and the reverse; the
                       score is not refitted, and under either estimand the result speaks for the rows kept
    truncate_quantile  weights above this quantile of the controls' weights (under the ATE: of each arm's) become it;
                       1 leaves them. Taken before scaling, so the caps in the notes are in odds or 1 / probability
    stabilise          ATE only: multiplies by the share of the arm received, so that an arm weighs together what it
                       numbers. Under the ATT scaling does this already and the option changes nothing

    Rows no design can use (`comparable_rows`) weigh 0: groups without treated or without controls, and untreated rows
    of treated persons. A person may lend several rows as controls (unlike in matching: the score was fitted to all of
    them, and thinning them now would upset the balance); `n_control_rows_of_repeated_persons` counts them, and
    standard errors should then be by person. Nothing is drawn at random, so `rng` is not used.

    Raises ValueError for an unknown estimand or a quantile outside (0, 1].
    """
    if estimand not in ("ATT", "ATE"):
        raise ValueError(f"propensity_weighting estimates the ATT or the ATE, not {estimand}")
    if not 0.0 < truncate_quantile <= 1.0:
        raise ValueError(f"truncate_quantile must be above 0 and at most 1, not {truncate_quantile}")
    usable = comparable_rows(baseline, treated)
    kept = _overlapping(baseline, treated, propensity.linear, usable) if trim_to_overlap else usable
    weights = _inverse_probability(propensity.linear, treated, estimand) * kept
    notes = _counts(baseline, treated, usable, kept)
    arms = {"control": kept & ~treated}  # the treated weigh 1 under the ATT: nothing to truncate or scale
    if estimand == "ATE":
        arms["treated"] = kept & treated
    stands_for = kept if estimand == "ATE" else kept & treated
    for name, arm in arms.items():
        if truncate_quantile < 1.0 and arm.any():
            cap = float(np.quantile(weights[arm], truncate_quantile))
            notes |= {f"weight_cap_{name}": cap, f"n_truncated_{name}": int((weights[arm] > cap).sum())}
            weights[arm] = np.minimum(weights[arm], cap)
        weights[arm] = _scaled_within_groups(weights[arm], baseline.exact_group[arm], baseline.exact_group[stands_for])
        if stabilise and estimand == "ATE":
            weights[arm] *= arm.sum() / kept.sum()
    penalty = l2_penalty_of(propensity)
    if penalty is not None:
        notes["l2_penalty"] = penalty  # a variance that minds the fitted score needs it
    in_no_set = np.full(len(treated), -1, dtype=np.int64)
    return Design("propensity_weighting", estimand, treated, propensity.score, weights, in_no_set, notes)


def _overlapping(baseline: Baseline, treated: BoolArray, linear: FloatArray, usable: BoolArray) -> BoolArray:
    """Rows inside the other arm's range; then, again, only groups that still hold both arms."""
    inside = np.zeros(len(treated), dtype=np.bool_)
    if usable.any():
        for arm in (treated, ~treated):
            others = linear[usable & ~arm]
            inside |= arm & (linear >= others.min() - SAME_LOG_ODDS) & (linear <= others.max() + SAME_LOG_ODDS)
    return in_groups_with_both(baseline, treated, usable & inside)


def _inverse_probability(linear: FloatArray, treated: BoolArray, estimand: Estimand) -> FloatArray:
    """1 and e / (1 - e) under the ATT, 1 / e and 1 / (1 - e) under the ATE."""
    log_odds = np.clip(linear, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    if estimand == "ATT":
        return np.where(treated, 1.0, np.exp(log_odds))
    return 1.0 + np.exp(np.where(treated, -log_odds, log_odds))


def _scaled_within_groups(weights: FloatArray, group: IntArray, stands_for: IntArray) -> FloatArray:
    """Weights whose sum in each group is the number of rows of that group in `stands_for`."""
    groups, number = np.unique(group, return_inverse=True)
    ordered = np.sort(stands_for)
    target = np.searchsorted(ordered, groups, "right") - np.searchsorted(ordered, groups)
    factor = target / np.bincount(number, weights=weights, minlength=len(groups))
    return np.asarray(weights * factor[number])


def _counts(baseline: Baseline, treated: BoolArray, usable: BoolArray, kept: BoolArray) -> dict[str, float | str]:
    _, n_rows = np.unique(baseline.person[kept & ~treated], return_counts=True)
    return {
        "n_treated_no_comparable_row": int((treated & ~usable).sum()),
        "n_treated_trimmed": int((treated & usable & ~kept).sum()),
        "n_controls_trimmed": int((~treated & usable & ~kept).sum()),
        "n_control_rows_of_repeated_persons": int(n_rows[n_rows > 1].sum()),
    }
