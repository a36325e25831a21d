"""Effects and their standard errors on generated people, by this project and by what a person would write otherwise.

python bench/peers/effect_tools.py TOOL ROWS [REPLICATES]

Prints one JSON line: seconds of the work (imports and data excluded), value, std_error and what was left out.
"""

import json
import sys
import time

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from models.bootstrap import cluster_bootstrap
from models.doubly_robust import aipw
from models.effects import weighted_difference
from models.propensity import fit_propensity
from models.results import Baseline, Design
from models.weighting import propensity_weighting

N_COVARIATES = 20
CONTROLS_PER_SET = 5
Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
Answer = tuple[float, float]


def people(rows: int) -> Sample:
    """Covariates, treated (an eighth), and a binary outcome that five covariates and treatment move."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, N_COVARIATES))
    shared = x[:, :5].sum(axis=1)
    treated = rng.random(rows) < expit(0.4 * shared - 2.2)
    return x, treated, (rng.random(rows) < expit(0.3 * shared - 1.5 - 0.3 * treated)).astype(float)


def baseline_of(x: np.ndarray) -> Baseline:
    zeros = np.zeros(len(x), dtype=np.int64)
    return Baseline(x, tuple(f"x{number}" for number in range(x.shape[1])), zeros, zeros, np.arange(len(x)))


def weighted(sample: Sample) -> tuple[Baseline, Design]:
    baseline = baseline_of(sample[0])
    propensity = fit_propensity(baseline, sample[1], l2_penalty=0.0)
    rng = np.random.default_rng(0)
    return baseline, propensity_weighting(baseline, sample[1], propensity, estimand="ATT", rng=rng)


def matched(rows: int) -> tuple[np.ndarray, Baseline, Design]:
    """Sets of one treated and five controls that share part of their risk."""
    rng, size = np.random.default_rng(6), 1 + CONTROLS_PER_SET
    matched_set = np.repeat(np.arange(rows // size), size)
    treated = np.arange(len(matched_set)) % size == 0
    level = rng.standard_normal(rows // size)[matched_set]
    outcome = (rng.random(len(matched_set)) < expit(level - 0.3 * treated)).astype(float)
    weights = np.where(treated, 1.0, 1.0 / CONTROLS_PER_SET)
    design = Design("matched", "ATT", treated, np.full(len(treated), 1 / size), weights, matched_set)
    return outcome, baseline_of(level[:, None]), design


# --- this project ---------------------------------------------------------------------------------


def this_formula(sample: Sample, replicates: int) -> Answer:
    """Score, weights, difference and the stacked equations' standard error."""
    estimate = weighted_difference(sample[2], *weighted(sample), rng=np.random.default_rng(0), kind="binary")[0]
    return estimate.value, estimate.std_error


def this_bootstrap(sample: Sample, replicates: int) -> Answer:
    options = {"rng": np.random.default_rng(0), "kind": "binary", "replicates": replicates}
    estimate = cluster_bootstrap(sample[2], *weighted(sample), **options)[0]
    return estimate.value, estimate.std_error


def this_bootstrap_of_sets(sets: tuple[np.ndarray, Baseline, Design], replicates: int) -> Answer:
    estimate = cluster_bootstrap(*sets, rng=np.random.default_rng(0), kind="binary", replicates=replicates)[0]
    return estimate.value, estimate.std_error


def this_aipw(sample: Sample, replicates: int) -> Answer:
    baseline, design = weighted(sample)
    estimate = aipw(sample[2], baseline, design, rng=np.random.default_rng(0), kind="binary")[0]
    return estimate.value, estimate.std_error


# --- peers ----------------------------------------------------------------------------------------


def refit(sample: Sample, replicates: int) -> Answer:
    """Resample people and fit scikit-learn's regression again each time."""
    x, treated, y = sample
    rng, found = np.random.default_rng(0), []
    for number in range(replicates + 1):
        rows = np.arange(len(y)) if number == 0 else rng.integers(len(y), size=len(y))
        model = LogisticRegression(C=np.inf, max_iter=200, tol=1e-6).fit(x[rows], treated[rows])
        found.append(_att(treated[rows], y[rows], model.predict_proba(x[rows])[:, 1], np.ones(len(y))))
    return found[0], float(np.std(found[1:], ddof=1))


def refit_warm(sample: Sample, replicates: int) -> Answer:
    """Weights in place of resampled rows, Newton's method from the whole sample's coefficients."""
    x, treated, y = sample
    columns, rng = np.column_stack([np.ones(len(x)), x]), np.random.default_rng(0)

    def newton(case: np.ndarray, beta: np.ndarray) -> np.ndarray:
        for _ in range(25):
            score = expit(columns @ beta)
            information = (columns * (case * score * (1 - score))[:, None]).T @ columns
            step = np.linalg.solve(information, columns.T @ (case * (treated - score)))
            beta = beta + step
            if np.abs(step).max() < 1e-6:
                break
        return beta

    one = np.ones(len(y))
    start = newton(one, np.zeros(columns.shape[1]))
    found = []
    for _ in range(replicates):
        case = rng.multinomial(len(y), one / len(y)).astype(float)
        found.append(_att(treated, y, expit(columns @ newton(case, start)), case))
    return _att(treated, y, expit(columns @ start), one), float(np.std(found, ddof=1))


def _att(treated: np.ndarray, y: np.ndarray, score: np.ndarray, case: np.ndarray) -> float:
    odds = case * ~treated * score / (1 - score)
    return float(np.average(y, weights=case * treated) - np.average(y, weights=odds))


def resample_sets(sets: tuple[np.ndarray, Baseline, Design], replicates: int) -> Answer:
    """Rows of the drawn sets put together each time."""
    outcome, _, design = sets
    members = np.argsort(design.matched_set, kind="stable").reshape(-1, 1 + CONTROLS_PER_SET)
    rng, found = np.random.default_rng(0), []
    for number in range(replicates + 1):
        drawn = np.arange(len(members)) if number == 0 else rng.integers(len(members), size=len(members))
        rows = members[drawn].ravel()
        treated, weights, y = design.treated[rows], design.weights[rows], outcome[rows]
        found.append(
            np.average(y[treated], weights=weights[treated]) - np.average(y[~treated], weights=weights[~treated])
        )
    return float(found[0]), float(np.std(found[1:], ddof=1))


def sklearn_aipw(sample: Sample, replicates: int) -> Answer:
    """One division into five folds, scikit-learn's fastest solver brought to a tolerance of 1e-8; not recalibrated."""
    x, treated, y = sample
    fold = np.random.default_rng(0).permutation(len(y)) % 5
    score, if_control = np.empty(len(y)), np.empty(len(y))
    for number in range(5):
        here, away = fold == number, fold != number
        for target, learn, predicted in ((treated, away, score), (y, away & ~treated, if_control)):
            model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-8).fit(x[learn], target[learn])
            predicted[here] = model.predict_proba(x[here])[:, 1]
    share = np.where(treated, 0.0, score / (1 - score))
    share /= share.sum()
    rest = y - if_control
    effect = y[treated].mean() - if_control[treated].mean() - share @ rest
    influence = np.where(treated, y - if_control - (y - if_control)[treated].mean(), 0.0) / treated.sum()
    influence -= share * (rest - share @ rest)
    return float(effect), float(np.sqrt(influence @ influence))


TOOLS = {
    "this_formula": (people, this_formula),
    "this_bootstrap": (people, this_bootstrap),
    "refit": (people, refit),
    "refit_warm": (people, refit_warm),
    "this_bootstrap_of_sets": (matched, this_bootstrap_of_sets),
    "resample_sets": (matched, resample_sets),
    "this_aipw": (people, this_aipw),
    "sklearn_aipw": (people, sklearn_aipw),
}

if __name__ == "__main__":
    tool, rows, replicates = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    make, work = TOOLS[tool]
    data = make(rows)
    started = time.perf_counter()
    value, std_error = work(data, replicates)
    print(json.dumps({"seconds": time.perf_counter() - started, "value": value, "std_error": std_error}))
