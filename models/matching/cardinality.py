"""Baseline → the largest set of rows that meets stated balance: cardinality and profile matching.

Zubizarreta, Paredes & Rosenbaum 2014 (Ann Appl Stat 8:204): balance is a constraint, not a hope, and the number of rows
is what is maximised. Solved as a mixed-integer programme by HiGHS (scipy.optimize.milp). With all treated kept, it is
profile matching to the treated's own means (Cohn & Zubizarreta 2022, Epidemiology 33:1).
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, csr_matrix

from models.matching.rules import columns_of
from models.propensity import comparable_rows
from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity

DIGITS = 10  # of what is allowed
WITHIN = 1e-9  # of a standard deviation: rounding error of a constraint that is met exactly


def cardinality_matching(
    baseline: Baseline,
    treated: BoolArray,
    propensity: Propensity,
    *,
    estimand: Estimand = "ATT",
    rng: np.random.Generator,
    ratio: int = 1,
    tolerance: float = 0.05,
    covariates: Sequence[str] = (),
    keep_all_treated: bool = False,
    gap: float = 0.001,
    nodes: int = 1000,
    seconds: float = 600.0,
) -> Design:
    """The most treated rows, with `ratio` controls for each, whose means differ by at most `tolerance` in every
    covariate: |mean of treated - mean of controls| <= tolerance × the treated's standard deviation before the design.

    ratio             controls for each treated row kept, in each exact group
    tolerance         as `acceptance.max_abs_smd` measures it, so that a smaller one is met by construction
    covariates        names to balance (a category stands for all its levels); none: all columns
    keep_all_treated  every comparable treated row stays, and the number of controls is maximised instead, the same for
                      each treated row only on average (`ratio` plays no part)
    gap               how far from the largest set the answer may be, as a share of its size
    nodes             branches of the search after which the best set found so far is taken; a note says whether it is
                      proven within the gap. The same on every machine, as seconds would not be
    seconds           after which it is given up: what was found by then would be another set on another machine

    With exact groups each has the same number of controls for each treated row, also where all treated stay: groups of
    7 and 12 treated rows then have one, two, ... controls for each, and only groups whose numbers share a divisor
    anything between. Balancing the groups as covariates instead (within the tolerance) leaves that free.

    Nobody serves twice: of a candidate's rows at most one. Rows have no partners, so there are no sets: errors are
    clustered by person. `rng` is not used; the order of rows does not matter.

    Returns weights 1 for the treated rows kept, n_treated / n_control (in the exact group) for their controls.

    Raises ValueError for another estimand than the ATT and senseless options, Refused when no set of any size has the
    balance and when the search takes longer than `seconds`.
    """
    _refuse_bad_options(estimand, ratio, tolerance, gap, nodes, seconds)
    usable = np.flatnonzero(comparable_rows(baseline, treated))
    rows = usable[_canonical(baseline, treated, usable)]
    columns = _columns(baseline, covariates)
    arm = treated[rows]
    group = np.unique(baseline.exact_group[rows], return_inverse=True)[1]
    values, allowed = baseline.matrix[rows][:, columns], tolerance * _spread(baseline, treated, columns)
    if len(rows) == 0:
        raise Refused("cardinality_matching: no exact group holds both treated and untreated rows")
    # The last variable is free: how many controls each treated row has on average, where all treated stay.
    found = milp(
        np.append(np.where(arm, 0.0, -1.0) if keep_all_treated else np.where(arm, -1.0, 0.0), 0.0),
        integrality=np.append(np.ones(len(rows)), 0.0),
        bounds=Bounds(np.append(arm & keep_all_treated, 0.0), np.append(np.ones(len(rows)), np.inf)),
        constraints=[
            _nobody_twice(baseline.person[rows], arm),
            _so_many_controls(group, arm, 0 if keep_all_treated else ratio),
            _profile(values, arm, allowed) if keep_all_treated else _balance(values, arm, ratio, allowed),
        ],
        options={"mip_rel_gap": gap, "node_limit": nodes, "time_limit": seconds, "presolve": True},
    )
    if "time limit" in found.message.lower():
        raise Refused(
            f"cardinality_matching was not solved within {seconds:g} seconds, and what was found by then would depend "
            "on the machine: give it more seconds, fewer nodes, a larger gap, or fewer covariates to balance"
        )
    chosen = np.zeros(len(rows), dtype=np.bool_) if found.x is None else found.x[:-1] > 0.5
    if not chosen[arm].any() or not chosen[~arm].any():
        raise Refused(
            f"cardinality_matching found no set of rows that differ by at most {tolerance} standard deviations in each "
            f"of {len(columns)} covariates; raise the tolerance, balance fewer covariates, or let it search more nodes"
        )
    weights = np.zeros(len(treated))
    weights[rows] = _weights(chosen, arm, group)
    used = weights > 0
    notes: dict[str, float | str] = {
        "n_treated_unmatched": int((treated & ~used).sum()),
        "n_controls_used": int((~treated & used).sum()),
        "n_columns_balanced": len(columns),
        "is_proven_within_gap": "yes" if found.status == 0 else "no",
        "gap_reached": float(found.mip_gap),
    }
    no_set = np.full(len(treated), -1, dtype=np.int64)
    return Design("cardinality_matching", estimand, treated, propensity.score, weights, no_set, notes)


def _refuse_bad_options(
    estimand: Estimand, ratio: int, tolerance: float, gap: float, nodes: int, seconds: float
) -> None:
    if estimand != "ATT":
        raise ValueError(
            f"cardinality_matching chooses controls for the treated: the estimand is the ATT, not {estimand}"
        )
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, not {tolerance}")
    if not 0 <= gap < 1:
        raise ValueError(f"gap must be from 0 to below 1, not {gap}")
    if nodes < 1:
        raise ValueError(f"nodes must be at least 1, not {nodes}")
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, not {seconds}")


def _canonical(baseline: Baseline, treated: BoolArray, rows: IntArray) -> IntArray:
    """An order that does not depend on that of the rows, so that of equally large sets always the same is found."""
    of_rows = (baseline.exact_group, baseline.index_day, baseline.person, treated)
    by = (*baseline.matrix[rows].T, *(values[rows] for values in of_rows))
    return np.lexsort(by)


def _columns(baseline: Baseline, covariates: Sequence[str]) -> list[int]:
    names = [j for name in covariates for j in columns_of(baseline, name, "covariates")]
    return list(dict.fromkeys(names)) if names else list(range(baseline.matrix.shape[1]))


def _spread(baseline: Baseline, treated: BoolArray, columns: list[int]) -> FloatArray:
    """(p,) standard deviations as models/balance.py has them: the treated's, p (1 - p) for binaries, that of both arms
    where the treated do not vary."""
    found = []
    for j in columns:
        values = baseline.matrix[:, j]
        is_binary = bool(np.isin(values, (0.0, 1.0)).all())
        variances = [float(values[arm].var(ddof=0 if is_binary or arm.sum() < 2 else 1)) for arm in (treated, ~treated)]
        found.append(np.sqrt(variances[0] if variances[0] > 0 else sum(variances) / 2))
    return np.array(found)


def _nobody_twice(person: IntArray, arm: BoolArray) -> LinearConstraint:
    controls = np.flatnonzero(~arm)
    _, number, count = np.unique(person[controls], return_inverse=True, return_counts=True)
    repeated = count[number] > 1
    place = np.unique(number[repeated], return_inverse=True)[1]
    size = (int(place.max()) + 1 if len(place) else 0, len(person) + 1)
    matrix = coo_matrix((np.ones(len(place)), (place, controls[repeated])), shape=size)
    return LinearConstraint(csr_matrix(matrix), -np.inf, np.ones(size[0]))


def _so_many_controls(group: IntArray, arm: BoolArray, ratio: int) -> LinearConstraint:
    """In each group ratio × treated - controls = 0; without a ratio, the last variable × treated - controls = 0."""
    n, n_groups = len(group), int(group.max()) + 1
    per_treated = np.bincount(group[arm], minlength=n_groups) if ratio == 0 else np.zeros(n_groups)
    entries = np.concatenate([np.where(arm, float(ratio), -1.0), per_treated])
    place = np.concatenate([group, np.arange(n_groups)])
    column = np.concatenate([np.arange(n), np.full(n_groups, n)])
    return LinearConstraint(csr_matrix(coo_matrix((entries, (place, column)), shape=(n_groups, n + 1))), 0.0, 0.0)


def _balance(values: FloatArray, arm: BoolArray, ratio: int, allowed: FloatArray) -> LinearConstraint:
    """ratio × Σ over treated of x - Σ over controls of x, at most allowed × the number of controls."""
    return _two_sided(np.where(arm[:, None], ratio * values, -values), np.where(arm, 0.0, 1.0), allowed)


def _profile(values: FloatArray, arm: BoolArray, allowed: FloatArray) -> LinearConstraint:
    """Σ over controls of (x - the treated's mean), at most allowed × the number of controls."""
    gaps = np.where(arm[:, None], 0.0, values - values[arm].mean(axis=0))
    return _two_sided(gaps, np.where(arm, 0.0, 1.0), allowed)


def _two_sided(sums: FloatArray, counts: FloatArray, allowed: FloatArray) -> LinearConstraint:
    """|Σ sums| <= allowed × Σ counts for each covariate, in units of what is allowed (where that is not 0)."""
    scale = np.where(allowed > 0, allowed, 1.0)
    gaps, slack = sums / scale, counts[:, None] * (allowed / scale + WITHIN)
    # Rounded, because sums over rows in another order differ in their last bits and would lead to another answer.
    matrix = np.round(np.concatenate([gaps - slack, -gaps - slack], axis=1).T, DIGITS)
    return LinearConstraint(csr_matrix(np.column_stack([matrix, np.zeros(len(matrix))])), -np.inf, 0.0)


def _weights(chosen: BoolArray, arm: BoolArray, group: IntArray) -> FloatArray:
    n_treated = np.bincount(group[chosen & arm], minlength=group.max() + 1)
    n_control = np.bincount(group[chosen & ~arm], minlength=group.max() + 1)
    each = n_treated / np.maximum(n_control, 1)
    return np.where(chosen, np.where(arm, 1.0, each[group]), 0.0)
