"""Baseline → strata of rows that agree on coarsened covariates: coarsened exact matching.

Iacus, King & Porro 2012 (Polit Anal 20:1). A number is cut into bins of equal width, as many as Sturges' rule says, or
at cut points that were given; covariates of two values are kept as they are. Bins are those of R's MatchIt (closed on
the left), and so are the weights, up to MatchIt's factor that makes control weights sum to their number.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from models.matching.rules import columns_of
from models.matching.strata import check_estimand, stratify
from models.propensity import comparable_rows
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity


def coarsened_exact(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    covariates: Sequence[str] = (),
    bins: int | None = None,
    cut_points: Mapping[str, Sequence[float]] | None = None,
) -> Design:
    """Strata of rows in the same bin of every covariate (and in the same `exact_group`) that hold both arms.

    covariates  names to match on, a category standing for all its levels; none: all columns. With many covariates
                nearly every stratum holds one row, and few treated are kept: name those that matter
    bins        for numbers; None: Sturges' rule, ceil(log2(n) + 1), n the comparable rows
    cut_points  where single covariates are cut instead: {"age": (30, 50)} makes below 30, 30 to below 50, 50 and above

    The score plays no part in it, `rng` is not used, and the order of rows does not matter. Returns weights of
    stratification (see `full_matching`); rows in strata of one arm weigh 0. The note `sets_are` says "strata": errors
    are clustered by person, not by stratum.

    Raises ValueError for fewer than one bin and estimands it has not, Refused for columns the design has not.
    """
    check_estimand("coarsened_exact", estimand)
    if bins is not None and bins < 1:
        raise ValueError(f"bins must be at least 1 or none, not {bins}")
    names = [j for name in covariates for j in columns_of(baseline, name, "covariates")]
    cuts = {}
    for name, points in (cut_points or {}).items():
        if name not in baseline.columns:
            raise Refused(f"cut_points: the design has no column {name!r}; it has {', '.join(baseline.columns)}")
        cuts[baseline.columns.index(name)] = np.unique(np.asarray(points, dtype=np.float64))
    chosen = list(dict.fromkeys([*names, *cuts])) if names else list(range(baseline.matrix.shape[1]))
    usable = comparable_rows(baseline, treated)
    n = int(usable.sum())
    n_bins = bins or int(np.ceil(np.log2(max(n, 1)) + 1))
    cell = np.full(len(treated), -1, dtype=np.int64)
    if n:
        coarse = [_coarsened(baseline.matrix[usable, j], n_bins, cuts.get(j)) for j in chosen]
        cell[usable] = _combine([baseline.exact_group[usable], *coarse])
    facts: dict[str, float | str] = {"n_bins": n_bins, "n_columns_matched_on": len(chosen)}
    return stratify("coarsened_exact", cell, treated, propensity.score, estimand, facts)


def _coarsened(values: FloatArray, n_bins: int, cuts: FloatArray | None) -> IntArray:
    """(n,) number of the bin; a covariate of at most two values stays whole unless it is cut on purpose."""
    if cuts is None:
        different = np.unique(values)
        if len(different) <= 2:
            return np.searchsorted(different, values).astype(np.int64)
        cuts = np.linspace(different[0], different[-1], n_bins + 1)[1:-1]
    return np.searchsorted(cuts, values, side="right").astype(np.int64)


def _combine(codes: list[IntArray]) -> IntArray:
    """(n,) a number for each combination, in lexicographic order."""
    cell = np.zeros(len(codes[0]), dtype=np.int64)
    for code in codes:
        level = np.unique(code, return_inverse=True)[1]
        cell = np.unique(cell * (int(level.max()) + 1) + level, return_inverse=True)[1].astype(np.int64)
    return cell
