"""Propensity log-odds → subclasses of rows with nearly the same score: subclassification.

Rosenbaum & Rubin 1984 (J Am Stat Assoc 79:516): cut at quantiles of the score among those whose effect is meant (the
treated under the ATT), weigh each arm of a subclass alike. Cut on the log-odds, which orders as the score does.
"""

import numpy as np

from models.matching.rules import DECIMALS
from models.matching.strata import check_estimand, stratify
from models.propensity import comparable_rows
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity


def subclassification(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    n_subclasses: int = 6,
    min_per_arm: int = 2,
) -> Design:
    """Subclasses at quantiles of the log-odds among the treated (ATT), the untreated (ATC) or all (ATE).

    n_subclasses  at most; five remove about nine tenths of the bias of a normal covariate (Cochran 1968, Biometrics
                  24:295), hundreds of treated rows bear more
    min_per_arm   a subclass with fewer rows of an arm is joined with the next one (the last with the one before);
                  within each exact group by itself

    Rows are those comparable at all, also outside the range of the others' scores: the end classes are open. `rng` is
    not used; the order of rows does not matter. Weights and sets as in `coarsened_exact`.

    Raises ValueError for fewer than two subclasses and estimands it has not.
    """
    check_estimand("subclassification", estimand)
    if n_subclasses < 2:
        raise ValueError(f"n_subclasses must be at least 2, not {n_subclasses}")
    if min_per_arm < 1:
        raise ValueError(f"min_per_arm must be at least 1, not {min_per_arm}")
    usable = comparable_rows(baseline, treated)
    linear = np.round(propensity.linear, DECIMALS)
    whose = usable & {"ATT": treated, "ATC": ~treated, "ATE": np.ones_like(treated)}[estimand]
    cell = np.full(len(treated), -1, dtype=np.int64)
    n_asked = 0
    if usable.any():
        cuts = np.unique(np.round(_quantiles(linear[whose], n_subclasses), DECIMALS))
        subclass = np.searchsorted(cuts, linear, side="right")
        groups = np.unique(baseline.exact_group[usable])
        for number, group in enumerate(groups):
            rows = np.flatnonzero(usable & (baseline.exact_group == group))
            n_asked += len(np.unique(subclass[rows]))
            joined = _join_thin(subclass[rows], treated[rows], len(cuts) + 1, min_per_arm)
            cell[rows] = number * (len(cuts) + 1) + joined
    facts: dict[str, float | str] = {"n_subclasses_before_joining": n_asked}
    return stratify("subclassification", cell, treated, propensity.score, estimand, facts)


def _quantiles(linear: FloatArray, n_subclasses: int) -> FloatArray:
    return np.asarray(np.quantile(linear, np.linspace(0, 1, n_subclasses + 1)[1:-1]), dtype=np.float64)


def _join_thin(subclass: IntArray, treated: BoolArray, n_subclasses: int, min_per_arm: int) -> IntArray:
    """(n,) numbers of subclasses, thin ones given the number of the one they were joined with."""
    sizes = np.array([np.bincount(subclass[treated == arm], minlength=n_subclasses) for arm in (True, False)])
    goes_to = np.zeros(n_subclasses, dtype=np.int64)
    number, held = 0, np.zeros(2, dtype=np.int64)
    for k in range(n_subclasses):
        goes_to[k] = number
        held += sizes[:, k]
        if (held >= min_per_arm).all():
            number, held = number + 1, np.zeros(2, dtype=np.int64)
    # What is left over at the end was not enough for a subclass of its own.
    return np.minimum(goes_to, max(number - 1, 0))[subclass]
