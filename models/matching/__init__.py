"""Baseline and propensity → matched sets or strata, by the methods that `models/registry.py` names.

One file a method; what they share: who may be matched with whom (`rules.py`, `links.py`), how far apart two rows are
(`distances.py`), the compiled loops (`greedy.py`, `flow.py`), and how sets become weights (`sets.py`).
"""

from models.matching.cardinality import cardinality_matching
from models.matching.coarsened import coarsened_exact
from models.matching.full import full_matching
from models.matching.nearest import nearest_neighbour
from models.matching.optimal import optimal_matching
from models.matching.risk_set import risk_set_matching
from models.matching.subclass import subclassification

__all__ = [
    "cardinality_matching",
    "coarsened_exact",
    "full_matching",
    "nearest_neighbour",
    "optimal_matching",
    "risk_set_matching",
    "subclassification",
]
