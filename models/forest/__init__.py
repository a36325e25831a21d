"""Causal forests on a designed sample: effects of single people, of groups, and what the differences are worth.

causal      causal_forest: the effect method, start here
censored    censored_forest: the same for times that may be cut short
residuals   what is left of treatment and outcome, on which the forest grows
growing     trees grow, little bag by little bag
trees       one honest tree, EconML's, from sums over coded covariates
arrays      a forest as plain arrays: effects, intervals, file
scores      doubly robust scores of the estimand; projections of the effect on covariates
subgroups   effects of pre-specified subgroups, with tests of interaction
ranking     is the forest's order of people right: TOC, AUTOC, Qini
policy      a shallow tree that says who would be offered the treatment, and what that would gain
"""

from models.forest.arrays import ForestArrays, predict_trees, save_trees
from models.forest.causal import ForestResult, causal_forest
from models.forest.censored import CensoredForests, censored_forest

__all__ = [
    "CensoredForests",
    "ForestArrays",
    "ForestResult",
    "causal_forest",
    "censored_forest",
    "predict_trees",
    "save_trees",
]
