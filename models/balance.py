"""A design → how alike the two arms are, covariate by covariate, and how much the treated and the pool overlap.

Standardised difference: difference of means over a standard deviation taken before the design (so that a design
cannot look balanced by inflating it): the treated group's under the ATT, the untreated group's under the ATC,
sqrt((treated + control variance) / 2) under the ATE and the ATO. Binary covariates (all values 0 or 1) use p (1 - p)
as variance, others the n - 1 variance; both are what R's MatchIt and cobalt do. Where the treated do not vary (a rare
level that none of them has) the variance of both arms serves, so that one control with that level is not an infinite
imbalance. 0 / 0 is 0 and x / 0 is infinite. The Kolmogorov-Smirnov distance is the largest gap between the two weighted
distribution functions, 0..1; of a binary covariate it is the difference of means.

Sources: Stuart 2010 (Stat Sci 25:1); Austin 2009 (Stat Med 28:3083); Kish 1965; Inman & Bradley 1989
(Commun Stat 18:3851) for the overlapping coefficient.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from models.propensity import comparable_rows
from models.results import BalanceRow, Baseline, BoolArray, Design, Estimand, FloatArray, Propensity

NEGLIGIBLE = 1e-12  # of a covariate's largest absolute value: rounding error of a mean, not a difference


@dataclass(frozen=True)
class Overlap:
    """How much of the treated group the design speaks for, and how thin its controls are spread.

    n_treated, n_control_pool       rows before the design
    n_treated_kept, n_controls_kept rows with a weight above 0
    effective_n_treated, effective_n_controls  Kish: (Σ weight)² / Σ weight² over the arm; 0 without anybody
    share_treated_kept              n_treated_kept / n_treated
    overlap_coefficient             0..1, area common to the two score distributions before the design
    share_treated_in_control_range  treated rows whose score lies within the controls' range, before the design
    max_control_weight_share        largest control weight / Σ control weights; 1 without controls
    c_statistic_before              chance that a treated row scores above an untreated one (ties count half)

    The three measures of scores look at the rows that some design could use (`comparable_rows`); without any such row
    they take their worst values (0, 0, 1), which no acceptance threshold lets pass.
    """

    n_treated: int
    n_control_pool: int
    n_treated_kept: int
    n_controls_kept: int
    effective_n_treated: float
    effective_n_controls: float
    share_treated_kept: float
    overlap_coefficient: float
    share_treated_in_control_range: float
    max_control_weight_share: float
    c_statistic_before: float


def measure_balance(baseline: Baseline, design: Design, *, with_distances: bool = True) -> tuple[BalanceRow, ...]:
    """One BalanceRow per column of `baseline.matrix`, in its order. "Before" is every row with weight 1.

    with_distances  False leaves the Kolmogorov-Smirnov distances, for which rows are sorted, at nan

    Variance ratios are treated / control, with weighted variances corrected for the effective number of rows
    (Σw (x - mean)² × Σw / ((Σw)² - Σw²)); nan for binary covariates, whose variance follows from their mean, and where
    an arm counts fewer than two rows. An arm left without rows has mean nan, standardised difference infinite and
    Kolmogorov-Smirnov distance 1.
    """
    return tuple(
        _balance(name, baseline.matrix[:, j], design, with_distances) for j, name in enumerate(baseline.columns)
    )


def measure_overlap(baseline: Baseline, design: Design, propensity: Propensity) -> Overlap:
    """See `Overlap` for each measure."""
    treated, weights = design.treated, design.weights
    usable = comparable_rows(baseline, treated)
    treated_linear, control_linear = propensity.linear[usable & treated], propensity.linear[usable & ~treated]
    control_weights = weights[~treated]
    n_treated, n_treated_kept = int(treated.sum()), int((weights[treated] > 0).sum())
    total = float(control_weights.sum())
    return Overlap(
        n_treated=n_treated,
        n_control_pool=int((~treated).sum()),
        n_treated_kept=n_treated_kept,
        n_controls_kept=int((control_weights > 0).sum()),
        effective_n_treated=kish_effective_n(weights[treated]),
        effective_n_controls=kish_effective_n(control_weights),
        share_treated_kept=n_treated_kept / n_treated if n_treated else 0.0,
        overlap_coefficient=_overlap_coefficient(treated_linear, control_linear),
        share_treated_in_control_range=_share_in_range(treated_linear, control_linear),
        max_control_weight_share=float(control_weights.max()) / total if total > 0 else 1.0,
        c_statistic_before=_c_statistic(treated_linear, control_linear),
    )


def kish_effective_n(weights: FloatArray) -> float:
    """(Σw)² / Σw²: the number of equally weighted rows with the same variance; 0 when all weights are 0."""
    squares = float((weights * weights).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _balance(name: str, values: FloatArray, design: Design, with_distances: bool) -> BalanceRow:
    arms = (design.treated, ~design.treated)
    size = float(np.abs(values).max())
    is_binary = bool(np.isin(values, (0.0, 1.0)).all())
    before = [_mean_and_variance(values[arm], np.ones(int(arm.sum())), is_binary, size) for arm in arms]
    after = [_mean_and_variance(values[arm], design.weights[arm], is_binary, size) for arm in arms]
    sd = float(sd_for_standardising(np.array(before[0][1]), np.array(before[1][1]), design.estimand))
    distances = [np.nan, np.nan]
    if with_distances:
        distances = [_ks(values, arms, by, is_binary) for by in (np.ones(len(values)), design.weights)]
    return BalanceRow(
        covariate=name,
        mean_treated_before=before[0][0],
        mean_control_before=before[1][0],
        smd_before=_standardised(before[0][0] - before[1][0], sd, size),
        variance_ratio_before=np.nan if is_binary else _ratio(before[0][1], before[1][1]),
        mean_treated_after=after[0][0],
        mean_control_after=after[1][0],
        smd_after=_standardised(after[0][0] - after[1][0], sd, size),
        variance_ratio_after=np.nan if is_binary else _ratio(after[0][1], after[1][1]),
        ks_before=distances[0],
        ks_after=distances[1],
    )


def sd_for_standardising(treated: FloatArray, control: FloatArray, estimand: Estimand) -> FloatArray:
    """What a difference of means is divided by, from the two arms' variances before the design."""
    shared = (treated + control) / 2.0
    own = {"ATT": treated, "ATC": control}.get(estimand, shared)
    return np.asarray(np.sqrt(np.where(own > 0, own, shared)), dtype=np.float64)


def _ks(values: FloatArray, arms: tuple[BoolArray, BoolArray], weights: FloatArray, is_binary: bool) -> float:
    totals = [float(weights[arm].sum()) for arm in arms]
    if min(totals) == 0:
        return 1.0
    if is_binary:
        one, other = (float(weights[arm] @ values[arm]) / total for arm, total in zip(arms, totals, strict=True))
        return abs(one - other)
    order = np.argsort(values, kind="stable")
    signed = np.where(arms[0], weights / totals[0], -weights / totals[1])[order]
    last_of_value = np.append(np.diff(values[order]) > 0, True)
    return float(np.abs(np.cumsum(signed)[last_of_value]).max())


def _mean_and_variance(values: FloatArray, weights: FloatArray, is_binary: bool, size: float) -> tuple[float, float]:
    total = float(weights.sum())
    if total == 0:
        return np.nan, np.nan
    share = weights / total
    mean = float((share * values).sum())
    if is_binary:
        return mean, mean * (1.0 - mean)
    correction = 1.0 - float((share * share).sum())
    if correction <= NEGLIGIBLE:
        return mean, np.nan
    variance = float((share * (values - mean) ** 2).sum()) / correction
    return mean, 0.0 if variance <= (NEGLIGIBLE * size) ** 2 else variance


def _standardised(difference: float, sd: float, size: float) -> float:
    if np.isnan(difference):
        return np.inf
    if abs(difference) <= NEGLIGIBLE * size:
        return 0.0
    return difference / sd if sd > 0 else float(np.copysign(np.inf, difference))


def _ratio(treated_variance: float, control_variance: float) -> float:
    if treated_variance == 0 and control_variance == 0:
        return 1.0
    return treated_variance / control_variance if control_variance != 0 else np.inf


def _overlap_coefficient(treated: FloatArray, control: FloatArray) -> float:
    """∫ min(f, g) of two score densities. f / g rises with a propensity score (it is the odds of treatment, up to a
    constant), so the densities cross once and the area is 1 - max |G - F|: exact, and without bins or bandwidths."""
    if len(treated) == 0 or len(control) == 0:
        return 0.0
    at = np.unique(np.concatenate([treated, control]))
    below_treated = np.searchsorted(np.sort(treated), at, "right") / len(treated)
    below_control = np.searchsorted(np.sort(control), at, "right") / len(control)
    return 1.0 - float(np.abs(below_control - below_treated).max())


def _share_in_range(treated: FloatArray, control: FloatArray) -> float:
    if len(treated) == 0 or len(control) == 0:
        return 0.0
    return float(((treated >= control.min()) & (treated <= control.max())).mean())


def _c_statistic(treated: FloatArray, control: FloatArray) -> float:
    """Mann-Whitney's U / (n m)."""
    if len(treated) == 0 or len(control) == 0:
        return 1.0
    ranks = rankdata(np.concatenate([treated, control]))[: len(treated)]
    n, m = len(treated), len(control)
    return float((ranks.sum() - n * (n + 1) / 2.0) / (n * m))
