"""Turns scores into the effects of pre-specified subgroups, tests of interaction, and a linear projection.

Choice made: a subgroup's effect is the average of the estimand's own scores in it (models/forest/scores.py), so it is
doubly robust and owes nothing to what the forest found; whether subgroups differ is one Wald test a covariate on the
additive scale (Knol & VanderWeele 2012, Int J Epidemiol 41:514), corrected for the number of covariates (Holm 1979;
Benjamini & Hochberg 1995). Numbers are split at the median of the estimand's people, which no outcome decides; people
without a recorded value are neither above nor below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.contrasts import effective_number
from models.forest.scores import EffectScores, Projection, project, wald_test
from models.refusals import Refused
from models.results import BoolArray, FloatArray
from models.times.events import fewest_of

Multiplicity = Literal["holm", "benjamini_hochberg", "none"]

SMALLEST_ARM = 10
"""People of each arm in a subgroup; below, no effect is estimated."""
REFERENCE = "reference level"
"""The level of a category that has no column of its own (the commonest)."""


@dataclass(frozen=True)
class GroupEffect:
    """The effect in one group; nan where an arm has fewer than SMALLEST_ARM people, or all are of one cluster.

    fewest_events  people with an event in the arm with fewest of those that have any (for a yes or no, without one as
                   well), since a difference and its error give both arms' numbers away; nan where not known
    """

    name: str
    value: float
    std_error: float
    lower: float
    upper: float
    p_value: float
    n_treated: int
    n_control: int
    effective_n: float
    fewest_events: float = float("nan")


@dataclass(frozen=True)
class Interaction:
    """Whether the effect differs between the levels of one covariate; nan with fewer than two levels to compare."""

    covariate: str
    n_levels: int
    p_value: float
    p_adjusted: float


def levels_of(covariate: str, columns: Sequence[str], x: FloatArray, count: FloatArray) -> dict[str, BoolArray]:
    """The subgroups of one covariate by name, (m,) members each.

    A category's columns are named "covariate = level"; a number is split at the median of those who count. Where the
    column "covariate missing" flags people whose value was filled in, they are a level of their own. Raises Refused
    when the covariate has no column.
    """
    names = list(columns)
    of_category = [name for name in names if name.startswith(f"{covariate} = ")]
    if of_category:
        members = {name: x[:, names.index(name)] > 0.5 for name in of_category}
        return {f"{covariate} = {REFERENCE}": ~np.any(list(members.values()), axis=0), **members}
    if covariate not in names:
        raise Refused(f"subgroups: '{covariate}' is not among the covariates of the design")
    number, flag = x[:, names.index(covariate)], f"{covariate} missing"
    known = x[:, names.index(flag)] < 0.5 if flag in names else np.ones(len(x), dtype=np.bool_)
    levels = _levels_of_number(covariate, number, known, count)
    return levels if known.all() else {**levels, f"{covariate} = missing": ~known}


def _levels_of_number(covariate: str, number: FloatArray, known: BoolArray, count: FloatArray) -> dict[str, BoolArray]:
    if np.isin(number[known], (0.0, 1.0)).all():
        return {f"{covariate} = no": known & (number < 0.5), f"{covariate} = yes": known & (number > 0.5)}
    cut = float(np.median(number[known & (count > 0)]))
    if not (number[known] > cut).any():
        cut = float(np.max(number[known & (number < cut)], initial=-np.inf))
    return {f"{covariate} <= {cut:.4g}": known & (number <= cut), f"{covariate} > {cut:.4g}": known & (number > cut)}


def group_effects(
    scores: EffectScores, groups: dict[str, BoolArray], confidence: float
) -> tuple[tuple[GroupEffect, ...], float]:
    """Effects of groups that do not overlap, and the p-value of "all are equal" (nan with fewer than two)."""
    sizes = {
        name: (int((inside & scores.treated).sum()), int((inside & ~scores.treated).sum()))
        for name, inside in groups.items()
    }
    large = [name for name, size in sizes.items() if min(size) >= SMALLEST_ARM and _has_clusters(scores, groups[name])]
    found: Projection | None = None
    if large:
        found = project(scores, np.column_stack([groups[name] * 1.0 for name in large]), confidence)
    effects = []
    for name, (n_treated, n_control) in sizes.items():
        at = large.index(name) if name in large else -1
        effects.append(
            GroupEffect(
                name,
                *_numbers(found, at),
                n_treated=n_treated,
                n_control=n_control,
                effective_n=_effective_n(scores, groups[name]),
                fewest_events=_fewest_events(scores, groups[name]),
            )
        )
    if found is None or len(large) < 2:
        return tuple(effects), float("nan")
    contrast = np.diff(np.eye(len(large)), axis=0)
    return tuple(effects), wald_test(contrast @ found.value, contrast @ found.covariance @ contrast.T)


def _effective_n(scores: EffectScores, inside: BoolArray) -> float:
    """Of the arm that stands in, the smaller where both do; 0 where nobody of such an arm is in the group."""
    weight, whole = scores.stand_in_weight, (scores.treated, ~scores.treated)
    arms = [weight[inside & arm] for arm in whole if weight[arm].any()]
    return min(effective_number(of_arm) if of_arm.any() else 0.0 for of_arm in arms)


def _fewest_events(scores: EffectScores, inside: BoolArray) -> float:
    if scores.outcome is None:
        return float("nan")
    arms = [scores.outcome[inside & arm] for arm in (scores.treated, ~scores.treated)]
    counts = [(values > 0).sum() for values in arms]
    if np.isin(scores.outcome, (0.0, 1.0)).all():
        counts += [(values == 0).sum() for values in arms]
    return fewest_of(counts)


def _has_clusters(scores: EffectScores, inside: BoolArray) -> bool:
    """Whether a group's people belong to more than one independent unit: one alone has no error."""
    return np.unique(scores.cluster[inside & (scores.count > 0)]).size > 1


def _numbers(found: Projection | None, at: int) -> tuple[float, float, float, float, float]:
    if found is None or at < 0:
        return (np.nan, np.nan, np.nan, np.nan, np.nan)
    of = (found.value, found.std_error, found.lower, found.upper, found.p_value)
    return float(of[0][at]), float(of[1][at]), float(of[2][at]), float(of[3][at]), float(of[4][at])


def subgroup_effects(
    scores: EffectScores,
    subgroups: Sequence[str],
    columns: Sequence[str],
    x: FloatArray,
    confidence: float,
    multiplicity: Multiplicity,
) -> tuple[tuple[GroupEffect, ...], tuple[Interaction, ...]]:
    """Every level of every named covariate, and one test of interaction a covariate."""
    effects: list[GroupEffect] = []
    tests: list[tuple[str, int, float]] = []
    for covariate in subgroups:
        of_levels, p_value = group_effects(scores, levels_of(covariate, columns, x, scores.count), confidence)
        effects += of_levels
        tests.append((covariate, int(sum(np.isfinite(level.value) for level in of_levels)), p_value))
    adjusted = adjust_p_values(np.array([p for _, _, p in tests]), multiplicity)
    return tuple(effects), tuple(Interaction(*test, float(p)) for test, p in zip(tests, adjusted, strict=True))


def adjust_p_values(p_values: FloatArray, multiplicity: Multiplicity) -> FloatArray:
    """(k,) adjusted p-values, as R's p.adjust; nan stays nan and counts as no test."""
    adjusted = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(adjusted))
    if multiplicity == "none" or known.size == 0:
        return adjusted
    order = known[np.argsort(adjusted[known], kind="stable")]
    sorted_p, k = adjusted[order], known.size
    if multiplicity == "holm":
        stepped = np.maximum.accumulate(sorted_p * (k - np.arange(k)))
    else:
        stepped = np.minimum.accumulate((sorted_p * k / (np.arange(k) + 1))[::-1])[::-1]
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def linear_projection(
    scores: EffectScores, subgroups: Sequence[str], columns: Sequence[str], x: FloatArray, confidence: float
) -> dict[str, list[float] | list[str]]:
    """The effect as a linear function of the named covariates together: mean effect, then a slope a column.

    Numbers are per standard deviation, indicators as they are; all are centred, so that the first coefficient is the
    mean effect. Indicators of fewer than SMALLEST_ARM people of an arm on either side are left out. Raises Refused
    when columns are collinear.
    """
    chosen = [
        at
        for at, name in enumerate(columns)
        if any(name in (each, f"{each} missing") or name.startswith(f"{each} = ") for each in subgroups)
        and _is_common(x[:, at], scores.treated)
    ]
    kept = x[:, chosen]
    weights = scores.count / scores.count.sum()
    centred = kept - weights @ kept
    is_indicator = np.array([bool(np.isin(column, (0.0, 1.0)).all()) for column in kept.T], dtype=np.bool_)
    spread = np.where(is_indicator, 1.0, np.sqrt(weights @ centred**2)) if chosen else np.ones(0)
    found = project(scores, np.column_stack([np.ones(len(x)), centred / spread]), confidence)
    return {
        "term": ["mean effect", *(columns[at] for at in chosen)],
        **{name: getattr(found, name).tolist() for name in ("value", "std_error", "lower", "upper", "p_value")},
    }


def _is_common(column: FloatArray, treated: BoolArray) -> bool:
    if not np.isin(column, (0.0, 1.0)).all():
        return True
    sides = [(column == value) & arm for value in (0.0, 1.0) for arm in (treated, ~treated)]
    return min(int(side.sum()) for side in sides) >= SMALLEST_ARM
