"""Baseline and propensity → matched sets or strata, by the methods that `models/registry.py` names.

One file a method; what they share: who may be matched with whom (`rules.py`), how far apart two rows are
(`distances.py`), and how sets become weights (`sets.py`).
"""

from models.matching.nearest import nearest_neighbour

__all__ = ["nearest_neighbour"]
