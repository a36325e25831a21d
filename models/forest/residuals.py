"""Turns outcomes and a designed sample into what is left of treatment and outcome once covariates have said their say.

Choice made: a forest is only as good as the residuals it splits (Chernozhukov et al. 2018, Econom J 21:C1): what bends
in the outcome or in who is treated, and is not foreseen, the forest takes for an effect. So both are foreseen by
regressions and boosted trees together (models/foreseeing.py), chosen anew in each study; they see no effect.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from threadpoolctl import threadpool_limits

from models.contrasts import Kind
from models.cross_fitting import DIVISIONS, SURE
from models.foreseeing import foresee_outcome, foresee_treatment
from models.influence import Clusters, find_clusters
from models.nuisance import assign_folds, regression_columns, rows_in_order
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray

L2_PENALTY = 1.0
"""Of the cross-fitted regressions."""


@dataclass(frozen=True)
class Residuals:
    """The m rows of the designed sample, in an order that does not depend on how they came.

    rows             row numbers in the design
    score, expected  probability of treatment, and outcome whatever the treatment, both by models of other folds
    if_treated       outcome under treatment, learnt from the treated; the outcome itself where the estimand is theirs
    if_control       the same of controls
    fold             (m,) clusters stay whole; the folds that heterogeneity is judged across
    """

    rows: IntArray
    clusters: Clusters
    x: FloatArray
    y: FloatArray
    treated: BoolArray
    score: FloatArray
    expected: FloatArray
    if_treated: FloatArray
    if_control: FloatArray
    fold: IntArray

    @property
    def cluster(self) -> IntArray:
        return self.clusters.code[self.rows]


def find_residuals(
    values: FloatArray, baseline: Baseline, design: Design, kind: Kind, folds: int, rng: Generator
) -> Residuals:
    """Cross-fitted predictions of treatment and outcome on the designed sample."""
    clusters, rows = find_clusters(baseline, design), rows_in_order(values, baseline, design)
    treated, y = design.treated[rows], values[rows]
    columns, everyone = regression_columns(baseline, rows), np.ones_like(treated)
    divisions = [assign_folds(clusters, rows, design.treated, folds, rng) for _ in range(DIVISIONS)]
    fold = np.column_stack(divisions)

    def foresee(learn_from: BoolArray) -> FloatArray:
        return foresee_outcome(columns, y, learn_from, fold, fold[:, :1], kind, L2_PENALTY)

    # One thread, so that sums have one order: trees split on the last bit of what is left.
    with threadpool_limits(1):
        return Residuals(
            rows=rows,
            clusters=clusters,
            x=np.ascontiguousarray(baseline.matrix[rows]),
            y=y,
            treated=treated,
            score=np.clip(foresee_treatment(columns, treated, fold, fold[:, :1], L2_PENALTY), SURE, 1 - SURE),
            expected=foresee(everyone),
            if_treated=y if design.estimand == "ATT" else foresee(treated),
            if_control=y if design.estimand == "ATC" else foresee(~treated),
            fold=divisions[0],
        )
