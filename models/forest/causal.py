"""Turns outcomes and a designed sample into individual effects by a causal forest, and into the effects they imply.

Choice made: a forest of honest trees on residuals (Athey, Tibshirani & Wager 2019, Ann Stat 47:1148; the trees are
EconML's), where outcome and treatment residuals come from cross-fitted models (residuals.py). Mean effect, group
effects, projection, ranking and policy all rest on the estimand's own doubly robust score, whose outcomes are learnt
from each arm by itself: a score is right when one of its two models is (Robins, Rotnitzky & Zhao 1994, JASA 89:846),
and outcomes taken from the forest (expected outcome less score × effect, as grf does) would inherit every error of the
propensity. EconML's `att_` averages an ATE score, whose error grows with the pool when treatment is rare
(tests/models/test_rare_treatment.py). A forest cannot find effects among a handful of treated in a sea of controls:
such a sample is refused.

Individual effects and their intervals are out of bag: nobody's own outcome, nor that of his matched set, speaks for
him. The intervals are pointwise, and smoothing makes them too short: in simulated worlds (bench/forest_worlds.py; 4,800
people × 50 covariates) nominal 95 % covered 0.70 where many covariates matter a little, 0.80 of a straight effect and
0.92 of a curved one, and nearly all of a constant one; with 500 people 0.41 of an effect in steps. They describe a
pattern; they decide nothing. Effects of groups do not rest on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri

from models.contrasts import Kind, check_confidence, contrast_arms, outcome_in_design, scales_for
from models.cross_fitting import refuse_other_people
from models.doubly_robust import doubly_robust_means, largest_share
from models.forest.arrays import ForestArrays, predict_bags, predict_effects
from models.forest.growing import Grown, GrownBy, check_trees, grow
from models.forest.policy import Policy, find_policy
from models.forest.ranking import Better, Ranking, judge_ranking
from models.forest.residuals import Residuals, find_residuals
from models.forest.scores import EffectScores, effect_scores
from models.forest.subgroups import GroupEffect, Interaction, Multiplicity, linear_projection, subgroup_effects
from models.refusals import Refused
from models.results import Baseline, Design, Estimate, FloatArray, IntArray, Scale
from models.times.events import FEWEST

SMALLEST_TREATED_SHARE = 0.02
"""Below this a leaf of five people holds no treated person nine times in ten."""

FIRST = 5
"""A covariate is among the first when only four are more important."""


@dataclass(frozen=True)
class Importance:
    """How much of the heterogeneity lies along each covariate, (p,) each, and how stable that is.

    share         of the whole forest; sums to 1, or all 0 with no split
    least, most   over the forests that each leave out one fold of the people
    among_first   share of the bags (a half-sample and a seed each) in which it is among the first five
    """

    share: FloatArray
    least: FloatArray
    most: FloatArray
    among_first: FloatArray


@dataclass(frozen=True)
class Heterogeneity:
    """Whether and how effects differ between people; None where it could not be estimated, and `notes` say why.

    monte_carlo_error  standard deviation of an individual effect from seed to seed, root mean square over people
    projection         term, value, std_error, lower, upper, p_value of the linear projection on the subgroup covariates
    """

    groups: tuple[GroupEffect, ...]
    interactions: tuple[Interaction, ...]
    projection: Mapping[str, Any] | None
    ranking: Ranking | None
    importance: Importance
    policy: Policy | None
    monte_carlo_error: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ForestResult:
    """What a causal forest says about the m rows of the designed sample (weight above 0), in the order of the rows.

    estimates      the mean effect in the estimand's population, like any effect method, then the subgroups'
    row_index      (m,) row numbers
    effect         (m,) individual effects, as risk differences or in units of the outcome; `lower`, `upper` pointwise
    out_of_fold    (m,) effects from the bags that know nothing of the row's fold: for judging the forest
    scores         the doubly robust scores behind everything that is averaged, in the order of the rows
    heterogeneity  what the differences are worth
    trees          the forest, for predict_trees and save_trees
    """

    estimates: tuple[Estimate, ...]
    row_index: IntArray
    effect: FloatArray
    lower: FloatArray
    upper: FloatArray
    out_of_fold: FloatArray
    scores: EffectScores
    heterogeneity: Heterogeneity
    trees: ForestArrays


def causal_forest(
    outcome: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    rng: Generator,
    kind: Kind,
    confidence: float = 0.95,
    trees: int = 500,
    min_leaf: int = 5,
    folds: int = 5,
    subgroups: tuple[str, ...] = (),
    multiplicity: Multiplicity = "holm",
    better: Better = "lower",
    policy_depth: int = 2,
    grown_by: GrownBy = "this_project",
) -> ForestResult:
    """Individual, group and mean effects by a causal forest on the rows with positive weight.

    outcome       (n,) 0/1 for kind "binary", a number for "continuous"; rows of weight 0 are not looked at
    trees         number of trees, in pairs (little bags), at least 8 a fold
    min_leaf      smallest number of people in a leaf, on each half of an honest tree
    folds         of the regressions that leave the residuals, and of the judgement of heterogeneity
    subgroups     covariates fixed beforehand: categories by level, numbers at the median
    multiplicity  correction of the tests of interaction for the number of covariates
    better        which direction of the outcome is a gain, for ranking and policy
    policy_depth  levels of questions of the policy tree; 0: everybody or nobody
    grown_by      "econml": the same trees by EconML itself, eight times slower, for comparison (other random halves)

    The same rng gives the same bytes, in whatever order the rows come and on however many processors. The design's
    weights choose the rows and are not used otherwise. Raises Refused when fewer than 2 % of the rows are treated,
    when an arm has fewer clusters than folds, when a subgroup is no covariate, and when the outcome is missing or not
    of its kind.
    """
    return fit_forest(
        outcome_in_design(outcome, design, kind), baseline, design, method="causal_forest", scales=None, rng=rng,
        kind=kind, confidence=confidence, trees=trees, min_leaf=min_leaf, folds=folds, subgroups=subgroups,
        multiplicity=multiplicity, better=better, policy_depth=policy_depth, grown_by=grown_by,
    )  # fmt: skip


def fit_forest(
    values: FloatArray,
    baseline: Baseline,
    design: Design,
    *,
    method: str,
    scales: tuple[Scale, ...] | None,
    rng: Generator,
    kind: Kind,
    confidence: float,
    trees: int,
    min_leaf: int,
    folds: int,
    subgroups: tuple[str, ...],
    multiplicity: Multiplicity,
    better: Better,
    policy_depth: int,
    grown_by: GrownBy,
) -> ForestResult:
    """`causal_forest` on (n,) checked values; `scales` those of the mean effect, or None for those of the kind."""
    check_confidence(confidence)
    check_trees(trees, folds)
    refuse_other_people(design)
    _refuse_rare_treatment(design)
    residuals = find_residuals(values, baseline, design, kind, folds, rng)
    grown = grow(
        residuals.x,
        residuals.treated - residuals.score,
        residuals.y - residuals.expected,
        columns=baseline.columns,
        treated=residuals.treated,
        cluster=residuals.cluster,
        fold=residuals.fold,
        trees=trees,
        min_leaf=min_leaf,
        rng=rng,
        grown_by=grown_by,
    )
    effect, variance = predict_bags(grown.arrays, residuals.x, grown.outside)
    if np.isnan(effect).any():
        raise Refused("too few trees: some rows were used by every tree and have no out-of-bag effect")
    reach = float(ndtri(0.5 + confidence / 2)) * np.sqrt(variance)
    out_of_fold = predict_effects(grown.arrays, residuals.x, grown.other_fold)
    scores = _scores(residuals, design)
    heterogeneity = _judge(
        residuals, grown, scores, out_of_fold, baseline.columns, subgroups, multiplicity, better, policy_depth,
        confidence, rng,
    )  # fmt: skip
    mean = _mean_effect(residuals, design, kind, confidence, method, scales)
    back = np.argsort(residuals.rows)
    return ForestResult(
        estimates=(*mean, *_as_estimates(heterogeneity.groups, mean[0])),
        row_index=residuals.rows[back],
        effect=effect[back],
        lower=(effect - reach)[back],
        upper=(effect + reach)[back],
        out_of_fold=out_of_fold[back],
        scores=EffectScores(
            scores.count[back],
            scores.contribution[back],
            scores.stand_in_weight[back],
            scores.treated[back],
            scores.cluster[back],
            None if scores.outcome is None else scores.outcome[back],
        ),
        heterogeneity=heterogeneity,
        trees=grown.arrays,
    )


def _refuse_rare_treatment(design: Design) -> None:
    share = float(design.treated[design.weights > 0].mean())
    if share < SMALLEST_TREATED_SHARE:
        raise Refused(
            f"a causal forest needs at least {SMALLEST_TREATED_SHARE:.0%} treated among the rows of the design: match "
            "or trim the controls first"
        )


def _scores(residuals: Residuals, design: Design) -> EffectScores:
    predicted = residuals.if_treated, residuals.if_control
    return effect_scores(
        residuals.y, residuals.treated, residuals.score, *predicted, design.estimand, residuals.cluster
    )


def _mean_effect(
    residuals: Residuals,
    design: Design,
    kind: Kind,
    confidence: float,
    method: str,
    scales: tuple[Scale, ...] | None,
) -> tuple[Estimate, ...]:
    y, treated, rows = residuals.y, residuals.treated, residuals.rows
    predicted = residuals.if_treated, residuals.if_control
    means = doubly_robust_means(y, treated, residuals.score, *predicted, design.estimand, residuals.clusters, rows)
    return contrast_arms(
        means,
        design,
        method=method,
        scales=scales or scales_for(kind, y, (means.treated, means.control)),
        confidence=confidence,
        notes={"max_control_weight_share": largest_share(means.control_weights)},
    )


def _judge(
    residuals: Residuals,
    grown: Grown,
    scores: EffectScores,
    out_of_fold: FloatArray,
    columns: tuple[str, ...],
    subgroups: tuple[str, ...],
    multiplicity: Multiplicity,
    better: Better,
    policy_depth: int,
    confidence: float,
    rng: Generator,
) -> Heterogeneity:
    """Everything about differences between people; what cannot be estimated leaves a note."""
    x, folds, notes = residuals.x, int(residuals.fold.max()) + 1, []
    groups, interactions = subgroup_effects(scores, subgroups, columns, x, confidence, multiplicity)
    projection, ranking = None, None
    if subgroups:
        try:
            projection = linear_projection(scores, subgroups, columns, x, confidence)
        except Refused as error:
            notes.append(f"linear projection: {error}")
    try:
        ranking = judge_ranking(scores, out_of_fold, residuals.fold, better, confidence, rng)
    except Refused as error:
        notes.append(f"calibration and ranking: {error}")
    return Heterogeneity(
        groups=groups,
        interactions=interactions,
        projection=projection,
        ranking=ranking,
        importance=_importance(grown.importance, folds),
        policy=find_policy(
            scores,
            x,
            columns,
            residuals.fold,
            sign=1.0 if better == "higher" else -1.0,
            depth=policy_depth,
            confidence=confidence,
        ),
        monte_carlo_error=_monte_carlo_error(grown, x, folds),
        notes=tuple(notes),
    )


def _importance(of_bags: FloatArray, folds: int) -> Importance:
    without = np.array([_as_shares(of_bags[fold::folds].mean(axis=0)) for fold in range(folds)])
    place = np.argsort(np.argsort(-of_bags, axis=1, kind="stable"), axis=1)
    return Importance(
        share=_as_shares(of_bags.mean(axis=0)),
        least=without.min(axis=0),
        most=without.max(axis=0),
        among_first=((place < FIRST) & (of_bags > 0)).mean(axis=0),
    )


def _as_shares(importance: FloatArray) -> FloatArray:
    total = float(importance.sum())
    return importance / total if total > 0 else importance


def _monte_carlo_error(grown: Grown, x: FloatArray, folds: int) -> float:
    """Two forests of every other round of folds differ by twice the error of both together."""
    even = np.arange(len(grown.outside)) // folds % 2 == 0
    halves = [predict_effects(grown.arrays, x, grown.outside & side[:, None]) for side in (even, ~even)]
    return float(np.sqrt(np.mean((halves[0] - halves[1]) ** 2)) / 2)


def _as_estimates(groups: tuple[GroupEffect, ...], mean: Estimate) -> tuple[Estimate, ...]:
    """Subgroups on the scale of the difference."""
    scale: Scale = mean.scale
    return tuple(
        Estimate(
            mean.method,
            mean.estimand,
            scale,
            group.value,
            group.std_error,
            group.lower,
            group.upper,
            group.p_value,
            group.n_treated,
            group.n_control,
            group.effective_n,
            subgroup=group.name,
            notes={} if np.isnan(group.fewest_events) else {FEWEST: group.fewest_events},
        )
        for group in groups
    )
