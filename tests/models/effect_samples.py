"""Samples for the tests of effect methods: the golden ones, and simulated worlds with a known effect."""

import csv
from pathlib import Path

import numpy as np
from scipy.special import expit

from models.propensity import fit_propensity
from models.results import Baseline, Design

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "golden" / "effects"
WEIGHTED = [f"{estimand}_{variant}" for estimand in ("att", "ate") for variant in ("plain", "capped", "by_site")]


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """A CSV of numbers as arrays by column; empty cells are NaN."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def golden_values(file_name: str = "values.csv") -> dict[tuple[str, str], float]:
    """R's values by (data, quantity)."""
    with open(GOLDEN / file_name, newline="", encoding="utf-8") as file:
        return {(row["data"], row["quantity"]): float(row["value"]) for row in csv.DictReader(file)}


def baseline_of(matrix: np.ndarray, person: np.ndarray | None = None, group: np.ndarray | None = None) -> Baseline:
    """A Baseline with everything that is not given left trivial."""
    zero = np.zeros(len(matrix), dtype=np.int64)
    names = tuple(f"x{number}" for number in range(matrix.shape[1]))
    person = np.arange(len(matrix)) if person is None else person.astype(np.int64)
    return Baseline(matrix, names, zero if group is None else group.astype(np.int64), zero, person)


def by_hand(outcome, treated, weights, matched_set=None, estimand="ATT"):
    """(outcome, baseline, design) of a few rows written out."""
    outcome, n = np.array(outcome, dtype=float), len(outcome)
    sets = np.full(n, -1) if matched_set is None else np.array(matched_set)
    design = Design(
        "by_hand", estimand, np.array(treated, dtype=bool), np.full(n, 0.5), np.array(weights, dtype=float), sets
    )
    return outcome, baseline_of(np.arange(n, dtype=float)[:, None]), design


def golden_matched() -> tuple[dict[str, np.ndarray], Baseline, Design]:
    """The matched sample of make_golden.R."""
    data = read_columns(GOLDEN / "matched.csv")
    n = len(data["set"])
    baseline = baseline_of(np.column_stack([data["z"] * 0 + np.arange(n) % 7, np.sin(np.arange(n))]), data["person"])
    design = Design(
        "by_hand", "ATT", data["treated"] == 1, np.full(n, 0.4), data["weight"], data["set"].astype(np.int64)
    )
    return data, baseline, design


def golden_weighted(name: str) -> tuple[dict[str, np.ndarray], Baseline, Design]:
    """One weighting of the pool of make_golden.R; sites are exact groups where the weights were scaled by site."""
    data = read_columns(GOLDEN / "weighted.csv")
    n = len(data["person"])
    group = data["site"] if name.endswith("by_site") else None
    baseline = baseline_of(np.column_stack([data["x1"], data["x2"]]), data["person"], group)
    no_set = np.full(n, -1, dtype=np.int64)
    estimand = "ATT" if name.startswith("att") else "ATE"
    return (
        data,
        baseline,
        Design("by_hand", estimand, data["treated"] == 1, data["score"], data[f"weight_{name}"], no_set),
    )


def weighting_design(baseline: Baseline, treated: np.ndarray, estimand: str = "ATT", l2_penalty: float = 1.0) -> Design:
    """Plain propensity weights by hand."""
    score = fit_propensity(baseline, treated, l2_penalty=l2_penalty).score
    if estimand == "ATT":
        weights = np.where(treated, 1.0, score / (1 - score))
    else:
        weights = np.where(treated, 1 / score, 1 / (1 - score))
    no_set = np.full(len(treated), -1, dtype=np.int64)
    return Design("by_hand", estimand, treated, score, weights, no_set, {"l2_penalty": l2_penalty})


def easy_world(
    rng: np.random.Generator, n: int, *, kind: str, log_odds: float = -1.5, effect: float = 0.0
) -> tuple[np.ndarray, Baseline, np.ndarray]:
    """(outcome, baseline, treated) with three covariates, one of them a confounder and one prognostic only.

    The effect is constant on the outcome's own scale for "continuous"; a binary outcome has no effect.
    """
    matrix = rng.normal(size=(n, 3))
    treated = rng.random(n) < expit(log_odds + 0.5 * matrix[:, 0] - 0.3 * matrix[:, 1])
    level = 0.6 * matrix[:, 0] + 0.6 * matrix[:, 2]
    if kind == "binary":
        return (rng.random(n) < expit(level)).astype(float), baseline_of(matrix), treated
    return level + effect * treated + rng.normal(size=n), baseline_of(matrix), treated
