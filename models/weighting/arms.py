"""What the weighting methods share: totals within exact groups, and the facts that every design reports."""

import numpy as np

from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, IntArray, Propensity


def scaled_within_groups(weights: FloatArray, group: IntArray, target_group: IntArray, adds: FloatArray) -> FloatArray:
    """Weights of one arm whose sum in each group is what the rows of that group in `target_group` add together.

    weights, group        (m,) of the arm
    target_group, adds    (k,) of the rows whose population the arm stands for
    """
    groups, number = np.unique(group, return_inverse=True)
    place = np.minimum(np.searchsorted(groups, target_group), len(groups) - 1)
    belongs = groups[place] == target_group
    target = np.bincount(place[belongs], weights=adds[belongs], minlength=len(groups))
    factor = target / np.bincount(number, weights=weights, minlength=len(groups))
    return np.asarray(weights * factor[number])


def count_rows(baseline: Baseline, treated: BoolArray, usable: BoolArray, kept: BoolArray) -> dict[str, float | str]:
    """Who could not be used, who was trimmed, and how many control rows belong to persons with several."""
    _, n_rows = np.unique(baseline.person[kept & ~treated], return_counts=True)
    return {
        "n_treated_no_comparable_row": int((treated & ~usable).sum()),
        "n_treated_trimmed": int((treated & usable & ~kept).sum()),
        "n_controls_trimmed": int((~treated & usable & ~kept).sum()),
        "n_control_rows_of_repeated_persons": int(n_rows[n_rows > 1].sum()),
    }


def design_of(
    method: str,
    estimand: Estimand,
    treated: BoolArray,
    propensity: Propensity,
    weights: FloatArray,
    notes: dict[str, float | str],
) -> Design:
    """A design without matched sets."""
    in_no_set = np.full(len(treated), -1, dtype=np.int64)
    return Design(method, estimand, treated, propensity.score, weights, in_no_set, notes)
