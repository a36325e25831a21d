"""A design → who of the participants is left out, how they differ, and how far the kept still stand for all; where the
estimand is about the untreated too, who of them.

Standardised differences divide by the standard deviation of all participants, of the untreated by that of all of them.
The index is Tipton's (2014, J Educ Behav Stat 39:478): the Bhattacharyya coefficient ∫ √(f g) of the distributions of a
score among the kept (by their weights) and among all participants, by Gaussian kernels with the normal-reference
bandwidth. 1: the same; Tipton calls 0.9 and above "very high", 0.8 "high", below 0.5 "low: no generalising". The score
is the log-odds of being kept, by logistic regression; where nobody is left out but weights differ (overlap weights) it
is the log-odds of participation, on which such weights depend. Participants who left before the design for want of a
covariate have no score: they count as like none of the kept, which is the least that the index can be.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.balance import NEGLIGIBLE
from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Design, FloatArray, Propensity

GRID = 512
REACH = 4.0  # bandwidths beyond the extreme scores: a normal density has faded by then


@dataclass(frozen=True)
class LeftOutRow:
    """Means of one covariate among all people of an arm, the kept (weighted) and those left out (nan without any)."""

    covariate: str
    mean_all: float
    mean_kept: float
    mean_left_out: float
    smd_kept_vs_all: float
    smd_left_out_vs_kept: float


@dataclass(frozen=True)
class Generalisability:
    """index: 0 (nobody kept) to 1; nan where the estimand is not about the participants (ATE, ATC). n_left_out and rows
    are of the participants with a complete record, n_incomplete is how many others there are. n_untreated_left_out and
    untreated_rows are of the untreated rows, where these are among the people of the estimand (ATE, ATC, ATO); 0 and
    none under the ATT, which only chooses among them."""

    index: float
    n_left_out: int
    max_abs_smd: float
    rows: tuple[LeftOutRow, ...]
    n_incomplete: int = 0
    n_untreated_left_out: int = 0
    untreated_rows: tuple[LeftOutRow, ...] = ()


def measure_generalisability(
    baseline: Baseline, design: Design, propensity: Propensity, *, n_incomplete: int = 0
) -> Generalisability:
    """Kept participants against all participants, `n_incomplete` of whom are not among the rows."""
    weights = design.weights[design.treated]
    is_about_participants = design.estimand in ("ATT", "ATO")
    rows = _rows(baseline, design, design.treated)
    is_about_untreated = design.estimand != "ATT"
    index = float("nan")
    if is_about_participants:
        index = _index(_score(baseline, design, propensity), weights)
        index *= float(np.sqrt(weights.size / (weights.size + n_incomplete)))
    return Generalisability(
        index=index,
        n_left_out=int((weights == 0).sum()),
        max_abs_smd=max((abs(row.smd_kept_vs_all) for row in rows), default=0.0),
        rows=rows,
        n_incomplete=n_incomplete,
        n_untreated_left_out=int((design.weights[~design.treated] == 0).sum()) if is_about_untreated else 0,
        untreated_rows=_rows(baseline, design, ~design.treated) if is_about_untreated else (),
    )


def _rows(baseline: Baseline, design: Design, arm: BoolArray) -> tuple[LeftOutRow, ...]:
    """Of one arm, the kept counting as the estimand counts them: where their weights make them stand for somebody else
    (the other arm, or everybody) by heads."""
    weights = design.weights[arm]
    own = ("ATT", "ATO") if design.treated[arm].all() else ("ATC", "ATO")
    by = weights if design.estimand in own else (weights > 0).astype(np.float64)
    matrix = baseline.matrix[arm]
    return tuple(_row(name, matrix[:, j], by) for j, name in enumerate(baseline.columns))


def _row(name: str, values: FloatArray, weights: FloatArray) -> LeftOutRow:
    kept, out = weights > 0, weights == 0
    size = float(np.abs(values).max(initial=0.0))
    binary = bool(np.isin(values, (0.0, 1.0)).all())
    mean = float(np.ones(len(values)) @ values / len(values))
    spread = values.std(ddof=0 if binary or len(values) < 2 else 1)
    sd = 0.0 if spread <= NEGLIGIBLE * size else float(spread)
    mean_kept = float(weights @ values / weights.sum()) if kept.any() else float("nan")
    mean_out = float(values[out].mean()) if out.any() else float("nan")
    return LeftOutRow(name, mean, mean_kept, mean_out, _smd(mean_kept, mean, sd), _smd(mean_out, mean_kept, sd))


def _smd(one: float, other: float, sd: float) -> float:
    """0 for a covariate that does not vary among the people of the arm; nan without people to compare."""
    if np.isnan(one - other):
        return float("nan")
    return (one - other) / sd if sd > NEGLIGIBLE * abs(one) else 0.0


def _score(baseline: Baseline, design: Design, propensity: Propensity) -> FloatArray:
    kept = design.weights[design.treated] > 0
    if kept.all() or not kept.any():
        return propensity.linear[design.treated]
    n = len(kept)
    same = np.zeros(n, dtype=np.int64)
    alone = replace(
        baseline, matrix=baseline.matrix[design.treated], exact_group=same, index_day=same, person=np.arange(n)
    )
    return fit_propensity(alone, kept).linear


def _index(score: FloatArray, weights: FloatArray) -> float:
    kept: BoolArray = weights > 0
    if not kept.any():
        return 0.0
    if np.ptp(weights) == 0 or np.ptp(score) <= NEGLIGIBLE * max(float(np.abs(score).max()), 1.0):
        return 1.0
    everybody = np.full(len(score), 1.0 / len(score))
    share = weights / weights.sum()
    widths = [_bandwidth(score, everybody), _bandwidth(score[kept], share[kept])]
    reach = REACH * max(widths)
    at = np.linspace(score.min() - reach, score.max() + reach, GRID)
    densities = [_density(at, score, by, width) for by, width in zip((everybody, share), widths, strict=True)]
    return float(min(np.trapezoid(np.sqrt(densities[0] * densities[1]), at), 1.0))


def _bandwidth(score: FloatArray, share: FloatArray) -> float:
    """(4 / 3n)^(1/5) SD (Silverman 1986), n the effective number of rows; of one value, a thousandth of its size."""
    mean = float(share @ score)
    variance = float(share @ (score - mean) ** 2)
    n = float(share.sum() ** 2 / (share @ share))
    width = float(np.sqrt(variance)) * (4.0 / (3.0 * n)) ** 0.2
    return max(width, 1e-3 * max(abs(mean), 1.0))


def _density(at: FloatArray, score: FloatArray, share: FloatArray, width: float) -> FloatArray:
    """Rows in blocks, so that 100,000 participants need no more memory than 1,000."""
    density = np.zeros(len(at))
    for start in range(0, len(score), 1000):
        z = (at[:, None] - score[None, start : start + 1000]) / width
        density += np.exp(-0.5 * z * z) @ share[start : start + 1000]
    return density / (width * np.sqrt(2 * np.pi))
