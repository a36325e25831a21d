"""Turns a ridge penalty into one that stands to weighted people as it would to so many unweighted ones.

A penalty stands beside a sum over people. Weights have no unit (ten times all of them is the same design), so the
penalty is multiplied by Σw² / Σw: the sum then counts Kish's effective number of people, (Σw)² / Σw² (Kish 1965, Survey
Sampling), and weights of 1 leave it as it is.
"""

from models.results import FloatArray


def penalty_of_weighted(l2_penalty: float, weights: FloatArray) -> float:
    """The penalty to stand beside a sum with weights (n,), of which some are above 0. Influences take it as known."""
    return l2_penalty * float(weights @ weights) / float(weights.sum())
