"""One tool fits a propensity score to a stored matrix and says how long it took and how well it converged.

    python propensity_score.py TOOL FOLDER [DTYPE] [FOLDER_OF_PACKAGES]

The folder holds matrix.npy and treated.npy. Every tool minimises the summed log-loss + Σ coefficient² / 2 of
standardised columns, intercept free, and predicts everybody. A peer's tolerance is made tighter until its scores sum to
the number treated to 1e-6; the seconds are those of that last fit alone, reading the data and importing left out.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

REACHED = 1e-6
ROWS_COMPARED = 20


def this(matrix: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, str]:
    from models.propensity import fit_propensity
    from models.results import Baseline

    same = np.zeros(len(matrix), dtype=np.int64)
    names = tuple(f"x{number}" for number in range(matrix.shape[1]))
    baseline = Baseline(matrix, names, same, same, np.arange(len(matrix)))
    return fit_propensity(baseline, treated, l2_penalty=1.0).linear, "to the end"


def sklearn_with(solver: str, tolerance: float) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, str]]:
    def fit(matrix: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, str]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        columns = StandardScaler().fit_transform(matrix)
        model = LogisticRegression(C=1.0, solver=solver, tol=tolerance, max_iter=3000).fit(columns, treated)
        return model.decision_function(columns), f"tol = {tolerance:g}"

    return fit


def glum_with(tolerance: float) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, str]]:
    def fit(matrix: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, str]:
        from glum import GeneralizedLinearRegressor

        model = GeneralizedLinearRegressor(
            family="binomial", alpha=1.0 / len(matrix), l1_ratio=0, scale_predictors=True, gradient_tol=tolerance
        ).fit(matrix, treated.astype(matrix.dtype))
        return model.linear_predictor(matrix), f"gradient_tol = {tolerance:g}"

    return fit


TOOLS: dict[str, list[Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, str]]]] = {
    "this": [this],
    "lbfgs": [sklearn_with("lbfgs", tolerance) for tolerance in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10)],
    "newton-cholesky": [sklearn_with("newton-cholesky", tolerance) for tolerance in (1e-6, 1e-8, 1e-10)],
    "glum": [glum_with(tolerance) for tolerance in (1e-6, 1e-7, 1e-8, 1e-9)],
}
PACKAGES = {"this": "numpy", "glum": "glum"}


def main(tool: str, folder: Path, dtype: str = "float64", packages: str = "") -> None:
    sys.path += [packages] if packages else []
    matrix = np.load(folder / "matrix.npy").astype(dtype, copy=False)
    treated = np.load(folder / "treated.npy")
    _import_everything(tool)
    for fit in TOOLS[tool]:
        started = time.perf_counter()
        linear, said = fit(matrix, treated)
        score = 1.0 / (1.0 + np.exp(-linear))
        seconds = time.perf_counter() - started
        gap = abs(float(score.sum()) / float(treated.sum()) - 1.0)
        if gap <= REACHED:
            break
    facts = {
        "seconds": seconds,
        "gap": gap,
        "said": said,
        "log_odds": [float(each) for each in linear[:: len(linear) // ROWS_COMPARED][:ROWS_COMPARED]],
        "input_gib": matrix.nbytes / 1024**3,
        "version": version(PACKAGES.get(tool, "scikit-learn")),
    }
    print(json.dumps(facts))


def _import_everything(tool: str) -> None:
    """Libraries load on their first use; a fit to a few rows brings that forward."""
    rng = np.random.default_rng(0)
    for fit in TOOLS[tool][:1]:
        fit(rng.normal(size=(500, 3)), rng.random(500) < 0.5)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:5])
