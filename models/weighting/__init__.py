"""Design methods that give every row a weight: by a propensity score, or so that the covariates balance."""

from models.weighting.balancing_score import covariate_balancing_score
from models.weighting.entropy import entropy_balancing
from models.weighting.scores import matching_weights, propensity_weighting
from models.weighting.stable import stable_balancing

__all__ = [
    "covariate_balancing_score",
    "entropy_balancing",
    "matching_weights",
    "propensity_weighting",
    "stable_balancing",
]
