"""Cells of alike rows → strata that hold both arms, with the weights of stratification: what coarsened exact matching
and subclassification share."""

import numpy as np

from models.matching.sets import STRATA, weights_of_sets
from models.results import BoolArray, Design, Estimand, FloatArray, IntArray


def stratify(
    method: str,
    cell: IntArray,
    treated: BoolArray,
    score: FloatArray,
    estimand: Estimand,
    facts: dict[str, float | str],
) -> Design:
    """A design of the cells with both arms; cell  (n,) numbers whose order is that of the strata, -1 for rows left out.

    Every row of a stratum serves, so people with several rows do too: errors are clustered by person, and the number of
    treated in each stratum counts as given (models/estimated_weights.py).
    """
    both = np.intersect1d(cell[treated], cell[~treated])
    both = both[both >= 0]
    number = np.searchsorted(both, cell)
    is_in = np.isin(cell, both)
    matched_set = np.where(is_in, number, -1).astype(np.int64)
    sizes = np.array([np.bincount(matched_set[is_in & arm], minlength=len(both)) for arm in (treated, ~treated)])
    notes: dict[str, float | str] = {
        "sets_are": STRATA,
        "n_sets": len(both),
        "n_strata_of_one_arm": len(np.unique(cell[cell >= 0])) - len(both),
        "n_treated_unmatched": int((treated & ~is_in).sum()),
        "n_controls_used": int((~treated & is_in).sum()),
        "fewest_of_an_arm_in_a_stratum": int(sizes.min()) if len(both) else 0,
        **facts,
    }
    return Design(method, estimand, treated, score, weights_of_sets(matched_set, treated, estimand), matched_set, notes)


def check_estimand(method: str, estimand: Estimand) -> None:
    """Raises ValueError for what weights of strata cannot target."""
    if estimand not in ("ATT", "ATC", "ATE"):
        raise ValueError(f"{method} targets the ATT, the ATC or the ATE, not the {estimand}")
