"""Turns outcomes and a design into the plain weighted comparison with errors from a cluster bootstrap: a check of the
formulas behind weighted_difference.

Choice made: whole clusters are drawn with replacement (matched sets: Austin & Small 2014, Stat Med 33:4306; Abadie &
Spiess 2022, JASA 117:983; otherwise persons), and nothing is matched or fitted again by brute force. Fixed weights need
only each cluster's sums. Where the weights were estimated, a replicate's propensity score is one Newton step away from
the sample's (a one-step bootstrap: Davidson & MacKinnon 1999, Int Econ Rev 40:487; its error is of second order), the
weights are recomputed from it, and scaled again within exact groups. Truncated weights and trimmed rows stay as they
are. The interval is normal with the bootstrap's standard error; its percentiles are in the notes.

Rows whose outcome was not observed (`keep_observed`) are drawn with the others: the score and the totals of exact
groups rest on them too.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from scipy.sparse import coo_matrix, csr_matrix
from scipy.special import expit, logit, ndtr, ndtri

from models.contrasts import Kind, outcome_in_design
from models.effects import weighted_difference
from models.estimated_weights import Scaling, WeightModel, WeightsAre, model_weights
from models.influence import find_clusters
from models.results import Baseline, BoolArray, Design, Estimate, FloatArray, IntArray, Scale
from models.score_equations import ScoreModel

LARGEST_SHIFT = 30.0
"""Of a row's log-odds in one Newton step, so that its exponential stays a number."""
CELLS = 1_000_000
"""Rows times replicates that are held at once."""
RATIOS = ("risk_ratio", "odds_ratio", "mean_ratio")
LARGEST_SHARE_LOST = 0.05
"""Of replicates in which a scale does not exist (an arm without events)."""
LARGEST_DISAGREEMENT = 0.25
"""Between the two standard errors before the report warns; 1,000 replicates leave a standard error 2 % uncertain."""


def cluster_bootstrap(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    replicates: int = 1000,
    weights_are: WeightsAre = "estimated",
) -> tuple[Estimate, ...]:
    """The estimates of weighted_difference with bootstrap standard errors.

    outcome      (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    replicates   number of times the clusters are drawn
    weights_are  as in weighted_difference; "fixed" keeps each row's weight in every replicate

    The notes hold percentile_lower, percentile_upper, the formula's standard error (std_error_of_formula) and, where
    the two differ by more than a quarter, a warning. A scale that does not exist in more than a twentieth of the
    replicates has no interval. Raises ValueError on outcomes or designs that cannot be compared, and on fewer than 50
    replicates.
    """
    if replicates < 50:
        raise ValueError(f"replicates must be at least 50, not {replicates}")
    estimates = weighted_difference(
        outcome, baseline, design, rng=rng, kind=kind, confidence=confidence, weights_are=weights_are
    )
    values = outcome_in_design(outcome, design, kind)
    model = model_weights(baseline, design, weights_are)
    draws = _Draws(values, baseline, design, model)
    if draws.count < 2:
        return tuple(replace(estimate, method="cluster_bootstrap") for estimate in estimates)
    counted = _draw(draws.count, draws.rows.size, replicates, rng)
    treated, control = np.concatenate([draws.means(counts) for counts in counted], axis=1)
    is_clustered = np.any((design.matched_set >= 0) & (design.weights > 0)) and "sets_are" not in design.notes
    unit = "matched sets" if is_clustered else "persons"
    fitted = "score moved by one Newton step" if model.scores else "weights as fixed"
    says = f"{replicates} bootstrap replicates of {unit}, {fitted}"
    return tuple(_with_error(estimate, treated, control, confidence, says) for estimate in estimates)


class _Draws:
    """The rows of the design in the order of their exact groups, ready to be counted any number of times."""

    def __init__(self, values: FloatArray, baseline: Baseline, design: Design, model: WeightModel) -> None:
        code = find_clusters(baseline, design).code
        takes_part = design.weights > 0
        for score in model.scores:
            takes_part = takes_part | (score.residual != 0)
        used = design.weights > 0
        if model.scaling is not None:  # totals follow people too whose outcome was not observed
            used = used | (model.scaling.adds > 0)
            takes_part = takes_part | used
        codes, of_all = np.unique(code[takes_part], return_inverse=True)
        self.count = codes.size
        number = np.zeros(len(code), dtype=np.int64)
        number[takes_part] = of_all
        group = np.zeros(len(code), dtype=np.int64) if model.scaling is None else model.scaling.group
        rows = np.flatnonzero(used)
        self.rows = rows[np.argsort(group[rows], kind="stable")]
        self.cluster = number[self.rows]
        self.weights = design.weights[self.rows]
        self.is_ato = design.estimand == "ATO" and design.notes.get("weight_formula", "ATO") == "ATO"
        self.score = design.score[self.rows]
        self.scaling = None if model.scaling is None else _Totals(model.scaling, design, self.rows)
        self.steps = [_Step(score, number, takes_part, self.count, self.rows) for score in model.scores]
        arm = design.treated[self.rows]
        y = values[self.rows]
        self.parts = np.column_stack([arm, arm * y, ~arm, ~arm * y]).astype(np.float64)
        self.by_cluster = _sums_by(self.cluster, self.parts * self.weights[:, None], self.count)
        self.is_each_row = np.array_equal(self.cluster, np.arange(self.count))

    def means(self, counts: FloatArray) -> FloatArray:
        """(2, b) means of the treated and of the controls in b replicates, from (b, count) draws of each cluster."""
        moves = counts - 1
        drawn = counts if self.is_each_row else counts[:, self.cluster]
        if self.scaling is None and not self.is_ato:
            sums = counts @ self.by_cluster
            for step in self.steps:
                sums += step.adds(moves, drawn, self.parts)
        else:
            shifts = [step.shift(moves) for step in self.steps]
            weights = drawn * self._moved(shifts)
            if self.scaling is not None:
                weights = self.scaling.rescaled(weights, drawn, shifts)
            sums = weights @ self.parts
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.vstack([sums[:, 1] / sums[:, 0], sums[:, 3] / sums[:, 2]])

    def _moved(self, shifts: list[FloatArray]) -> FloatArray:
        """(b, m) weights at the log-odds of each replicate: exponential in them, logistic for overlap weights."""
        weights = np.broadcast_to(self.weights, shifts[0].shape) if shifts else self.weights[None, :]
        for step, shift in zip(self.steps, shifts, strict=True):
            slope = step.slope
            if self.is_ato:
                share = np.where(slope < 0, 1 - self.score, self.score)
                moved = self.weights / share * expit(logit(share) + np.sign(slope) * shift)
                weights = np.where(slope == 0, weights, moved)
            else:
                weights = weights + np.abs(slope) * np.expm1(np.sign(slope) * shift)
        return np.asarray(weights, dtype=np.float64)


class _Step:
    """One Newton step of a set of equations, from the sample's solution towards a replicate's."""

    def __init__(self, score: ScoreModel, number: IntArray, takes_part: BoolArray, count: int, rows: IntArray) -> None:
        part = np.flatnonzero(takes_part)
        pull = (
            score.residual[part, None] * (score.design_matrix[part] @ score.bread)
            if score.on_coefficients is None
            else score.on_coefficients[part]
        )
        self.by_cluster = _sums_by(number[part], pull, count)
        self.columns = score.design_matrix[rows]
        self.slope = score.weight_slope[rows]
        self.groups: tuple[csr_matrix, IntArray] | None = None
        if score.group is not None and score.group_information is not None:
            information = np.where(score.group_information > 0, score.group_information, np.inf)
            per_row = score.residual[part] / information[score.group[part]]
            size = len(information)
            of_groups = coo_matrix((per_row, (score.group[part], number[part])), shape=(size, count))
            self.groups = of_groups.tocsr(), score.group[rows]
        self.moving = np.flatnonzero(self.slope)
        self.away = self.columns[self.moving] * np.sign(self.slope[self.moving, None])

    def adds(self, moves: FloatArray, drawn: FloatArray, parts: FloatArray) -> FloatArray:
        """(b, k) what the step adds to the weighted sums of (m, k) parts, where weights are exponential in the log-odds
        (or an exponential and a constant): slope × (exp(shift) - 1), with the sign of the slope before the shift."""
        if self.groups is not None:
            sign = np.sign(self.slope[self.moving])
            moved = sign * self.shift(moves)[:, self.moving]
        else:
            moved = (moves @ self.by_cluster) @ self.away.T
            np.clip(moved, -LARGEST_SHIFT, LARGEST_SHIFT, out=moved)
        np.expm1(moved, out=moved)
        moved *= drawn if self.moving.size == drawn.shape[1] else drawn[:, self.moving]
        return np.asarray(moved @ (parts[self.moving] * np.abs(self.slope[self.moving, None])), dtype=np.float64)

    def shift(self, moves: FloatArray) -> FloatArray:
        """(b, m) how far each row's log-odds move, from (b, count) how much more than once each cluster counts."""
        moved = (moves @ self.by_cluster) @ self.columns.T
        if self.groups is not None:
            moved += (self.groups[0] @ moves.T).T[:, self.groups[1]]
        return np.clip(moved, -LARGEST_SHIFT, LARGEST_SHIFT)


class _Totals:
    """Weights of an arm within an exact group, held to a total that follows the group's rows."""

    def __init__(self, scaling: Scaling, design: Design, rows: IntArray) -> None:
        """rows are in the order of their groups."""
        self.group = np.unique(scaling.group[rows], return_inverse=True)[1]
        self.starts = np.flatnonzero(np.diff(self.group, prepend=-1))
        self.adds, self.adds_slope = scaling.adds[rows], scaling.adds_slope[rows]
        self.arms = [design.treated[rows], ~design.treated[rows]]
        added = np.add.reduceat(self.adds, self.starts)
        self.ratio = [np.add.reduceat(design.weights[rows] * arm, self.starts) / added for arm in self.arms]

    def rescaled(self, weights: FloatArray, drawn: FloatArray, shifts: list[FloatArray]) -> FloatArray:
        """(b, m) drawn weights, each arm of a group at its total again; an arm that was not drawn stays empty."""
        adds = self.adds + sum(self.adds_slope * shift for shift in shifts)
        target = np.add.reduceat(drawn * adds, self.starts, axis=1)
        for arm, ratio in zip(self.arms, self.ratio, strict=True):
            total = np.add.reduceat(weights * arm, self.starts, axis=1)
            factor = np.divide(ratio * target, total, out=np.zeros_like(total), where=total > 0)
            weights = np.where(arm, weights * factor[:, self.group], weights)
        return weights


def _sums_by(number: IntArray, values: FloatArray, count: int) -> FloatArray:
    """(count, k) sums of (m, k) values by cluster."""
    return np.column_stack([np.bincount(number, weights=column, minlength=count) for column in values.T])


def _draw(count: int, n_rows: int, replicates: int, rng: Generator) -> Iterator[FloatArray]:
    """(b, count) how often each cluster was drawn, for a few replicates at a time."""
    at_once = max(1, CELLS // max(count, n_rows))
    for first in range(0, replicates, at_once):
        size = min(at_once, replicates - first)
        counts = np.empty((size, count))
        for number in range(size):
            counts[number] = np.bincount(rng.integers(count, size=count), minlength=count)
        yield counts


def _with_error(estimate: Estimate, treated: FloatArray, control: FloatArray, confidence: float, says: str) -> Estimate:
    """The estimate with the spread of its replicates; nan where its scale is missing from too many."""
    notes = {**estimate.notes, "variance": says, "std_error_of_formula": estimate.std_error}
    on_scale = _replicates_of(estimate.scale, treated, control)
    known = on_scale[np.isfinite(on_scale)]
    spread = float(known.std(ddof=1)) if known.size > 1 else 0.0
    if not np.isfinite(estimate.std_error) or spread == 0 or known.size < (1 - LARGEST_SHARE_LOST) * on_scale.size:
        notes.setdefault("not_estimable", "too many replicates have no value on this scale")
        return replace(
            estimate,
            method="cluster_bootstrap",
            std_error=np.nan,
            lower=np.nan,
            upper=np.nan,
            p_value=np.nan,
            notes=notes,
        )
    is_ratio = estimate.scale in RATIOS
    centre = float(np.log(estimate.value)) if is_ratio else estimate.value
    ends = centre + np.array([-1, 1]) * float(ndtri(0.5 + confidence / 2)) * spread
    percentiles = np.quantile(known, [0.5 - confidence / 2, 0.5 + confidence / 2])
    if is_ratio:
        ends, percentiles = np.exp(ends), np.exp(percentiles)
    notes |= {"percentile_lower": float(percentiles[0]), "percentile_upper": float(percentiles[1])}
    if abs(estimate.std_error / spread - 1) > LARGEST_DISAGREEMENT:
        notes["warning"] = (
            "bootstrap and formula differ by more than a quarter in the standard error: few people decide"
        )
    return replace(
        estimate,
        method="cluster_bootstrap",
        std_error=spread,
        lower=float(ends[0]),
        upper=float(ends[1]),
        p_value=float(2 * ndtr(-abs(centre) / spread)),
        notes=notes,
    )


def _replicates_of(scale: Scale, treated: FloatArray, control: FloatArray) -> FloatArray:
    """Differences, or log ratios; not finite where a replicate has none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if scale not in RATIOS:
            return treated - control
        log_ratio = np.log(treated) - np.log(control)
        if scale == "odds_ratio":
            log_ratio = log_ratio - np.log1p(-treated) + np.log1p(-control)
        return np.asarray(log_ratio, dtype=np.float64)
