"""Persons → folds, each with its share of treated persons, whatever the order of the rows."""

import numpy as np

from models.refusals import Refused
from models.results import BoolArray, IntArray


def person_folds(person: IntArray, treated: BoolArray, folds: int, rng: np.random.Generator) -> IntArray:
    """(n,) number of the fold of each row's person. Raises Refused when a fold would lack an arm."""
    if folds < 2:
        raise ValueError(f"folds must be at least 2, not {folds}")
    codes, member = np.unique(person, return_inverse=True)
    is_treated = np.bincount(member, weights=treated) > 0
    if min(is_treated.sum(), (~is_treated).sum()) < folds:
        raise Refused(f"{folds} folds need at least {folds} treated people and {folds} others")
    fold = np.empty(len(codes), dtype=np.int64)
    for kind in (is_treated, ~is_treated):
        shuffled = rng.permutation(np.flatnonzero(kind))
        fold[shuffled] = np.arange(len(shuffled)) % folds
    return fold[member]
