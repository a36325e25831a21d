"""Outcomes of controls and a design → balance of the prognostic score: of what the covariates say about the outcome.

The score is the outcome expected without treatment, learnt from untreated rows alone (Hansen 2008, Biometrika 95:481)
by ridge regression, cross-fitted so that nobody is predicted by a model that saw a row of his own; its standardised
difference tells more of bias than any single covariate's (Stuart, Lee & Leacy 2013, J Clin Epidemiol 66:S84).

It needs outcomes. So it is a diagnostic of designs that were accepted already and must never choose one: among designs,
the one with the best prognostic balance has been chosen with a view to the outcome.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from models.balance import measure_balance
from models.contrasts import Kind
from models.nuisance import cross_predict
from models.refusals import Refused
from models.results import BalanceRow, Baseline, BoolArray, Design, FloatArray


@dataclass(frozen=True)
class PrognosticScore:
    """score          (n,) expected outcome without treatment
    n_learnt_from  untreated rows with a known outcome that it was learnt from, inside and outside any design
    fit            correlation of score and outcome among those rows, none of which it was fitted on
    """

    score: FloatArray
    n_learnt_from: int
    fit: float


def fit_prognostic_score(
    outcome: FloatArray,
    baseline: Baseline,
    treated: BoolArray,
    *,
    rng: Generator,
    kind: Kind,
    folds: int = 5,
    l2_penalty: float = 1.0,
) -> PrognosticScore:
    """outcome is (n,) with NaN where it was not observed; outcomes of treated rows are not looked at. All designs on
    the same rows share one score. Persons stay whole when rows are dealt into folds.

    Raises Refused when fewer than `folds` persons have a known outcome without treatment.
    """
    known = ~treated & np.isfinite(outcome)
    if np.unique(baseline.person[known]).size < folds:
        raise Refused(f"a prognostic score needs at least {folds} untreated people with a known outcome")
    target = np.where(known, outcome, 0.0)
    people, member = np.unique(baseline.person, return_inverse=True)
    fold = (rng.permutation(people.size) % folds).astype(np.int64)[member]
    score = cross_predict(_standardised(baseline.matrix), target, known, fold, kind, l2_penalty)
    varies = np.ptp(outcome[known]) > 0 and np.ptp(score[known]) > 0
    fit = float(np.corrcoef(score[known], outcome[known])[0, 1]) if varies else 0.0
    return PrognosticScore(score, int(known.sum()), fit)


def measure_prognostic_balance(score: FloatArray, baseline: Baseline, design: Design) -> BalanceRow:
    """Balance of a prognostic score by the convention of models/balance.py."""
    (row,) = measure_balance(replace(baseline, matrix=score[:, None], columns=("prognostic score",)), design)
    return row


def _standardised(matrix: FloatArray) -> FloatArray:
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    varies = spread > 1e-10 * np.abs(centre)
    return np.asarray((matrix[:, varies] - centre[varies]) / spread[varies], dtype=np.float64)
