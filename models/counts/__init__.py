"""Effect methods for events counted over each person's time at risk, and for days that many people have none of."""

from models.counts.negative_binomial import negative_binomial
from models.counts.quasi_poisson import quasi_poisson
from models.counts.two_part import two_part

__all__ = ["negative_binomial", "quasi_poisson", "two_part"]
