"""Covariates with gaps → completed covariates, several times over, and the pooling of what is estimated on each."""

from models.imputation.chained import Incomplete, impute
from models.imputation.rubin import Pooled, pool

__all__ = ["Incomplete", "Pooled", "impute", "pool"]
