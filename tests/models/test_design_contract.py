"""Every registered design method keeps the contract, over a grid of its options and several worlds."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from models.propensity import fit_propensity
from models.refusals import Refused
from models.registry import DESIGNS
from models.results import Baseline, BoolArray, Estimand
from tests.models.contract import expect_good_design

GRIDS: dict[str, dict[str, list[Any]]] = {
    "nearest_neighbour": {"ratio": [1, 3], "caliper": [None, 0.2], "calendar_days": [None, 30]},
    "optimal_matching": {"ratio": [1, 3], "caliper": [None, 0.2], "calendar_days": [None, 30]},
    "full_matching": {
        "caliper": [None, 0.2],
        "calendar_days": [None, 60],
        "min_controls": [None, 1 / 4],
        "max_controls": [None, 18],
    },
    "coarsened_exact": {"covariates": [("a", "c"), ("a", "b", "c")], "bins": [None, 3]},
    "subclassification": {"n_subclasses": [2, 6], "min_per_arm": [1, 2]},
    "cardinality_matching": {"ratio": [1, 2], "tolerance": [0.1], "keep_all_treated": [False, True], "gap": [0.02]},
    "risk_set_matching": {"ratio": [1, 3], "caliper": [None, 0.2], "look_back_days": [90, None]},
    "propensity_weighting": {
        "stabilise": [False, True],
        "truncate_quantile": [1.0, 0.95],
        "trim": ["none", "common_support", "asymmetric", "preference"],
    },
    "entropy_balancing": {"moments": ["means", "variances"]},
    "covariate_balancing_score": {"equations": ["balance", "balance_and_fit"]},
    "stable_balancing": {"tolerance": [0.0, 0.1]},
    "matching_weights": {"trim": ["none", "common_support"], "trim_at": [None]},
}
# Some groups hold two treated rows: they cannot be given the untreated people's means, and the method must say so.
BALANCING = ("entropy_balancing", "covariate_balancing_score", "stable_balancing")
NO_BALANCE_EXISTS = {(name, "ATC", "grouped") for name in BALANCING}
NO_SQUARES_EITHER = ("entropy_balancing", "ATE", "grouped")
"""Nor everybody's means and squares together: a linear programme finds no weights of at least 0."""
FURTHER: dict[str, list[tuple[dict[str, Any], tuple[Estimand, ...]]]] = {
    "nearest_neighbour": [
        ({"ratio": 2, "distance": "mahalanobis", "caliper": None}, ("ATT", "ATC")),
        ({"ratio": 2, "distance": "robust_mahalanobis", "order": "closest_first"}, ("ATT", "ATC")),
        ({"ratio": 2, "max_ratio": 5, "covariate_calipers": {"a": 1.0}}, ("ATT", "ATC")),
        ({"ratio": 3, "min_ratio": 3, "order": "calendar"}, ("ATT",)),
        ({"order": "random", "anti_exact": ("c",), "caliper": None}, ("ATT", "ATC")),
        ({"replace": True, "calendar_days": 60}, ("ATT",)),
        ({"distance": "robust_mahalanobis", "distance_covariates": ("a", "c")}, ("ATT",)),
    ],
    "optimal_matching": [
        ({"ratio": 2, "distance": "mahalanobis", "anti_exact": ("c",), "caliper": 0.5}, ("ATT",)),
        ({"ratio": 2, "min_ratio": 2, "covariate_calipers": {"a": 1.0}}, ("ATT",)),
        ({"distance": "mahalanobis", "distance_covariates": ("b", "c")}, ("ATT",)),
        ({"distance": "robust_mahalanobis", "calendar_days": 90}, ("ATT",)),
    ],
    "full_matching": [
        ({"distance": "robust_mahalanobis", "covariate_calipers": {"a": 1.0}}, ("ATT", "ATC", "ATE")),
        ({"distance": "mahalanobis", "caliper": 1.0, "min_controls": 1, "max_controls": 14}, ("ATT", "ATC", "ATE")),
        ({"caliper": None, "min_controls": 2, "max_controls": 10}, ("ATT", "ATC", "ATE")),
        ({"anti_exact": ("c",), "caliper": 0.5}, ("ATT", "ATC", "ATE")),
        ({"distance": "mahalanobis", "distance_covariates": ("a", "b")}, ("ATT", "ATE")),
    ],
    "risk_set_matching": [
        ({"ratio": 3, "min_ratio": 2, "person_serves": "each_discharge", "caliper": None}, ("ATT",)),
        ({"look_back_days": 60, "look_ahead_days": 30, "anti_exact": ("c",)}, ("ATT",)),
        ({"distance": "mahalanobis", "distance_covariates": ("a",), "covariate_calipers": {"b": 1.0}}, ("ATT",)),
        ({"ratio": 2, "distance": "robust_mahalanobis", "look_back_days": 0, "look_ahead_days": 90}, ("ATT",)),
    ],
    "cardinality_matching": [({"covariates": ("a", "c"), "tolerance": 0.1, "gap": 0.02}, ("ATT",))],
    "propensity_weighting": [
        ({"trim": "crump", "trim_at": 0.06}, ("ATT", "ATC", "ATE", "ATO")),
        ({"trim": "crump_optimal"}, ("ATE",)),
        ({"trim": "asymmetric", "trim_at": 0.1}, ("ATT", "ATE")),
        ({"trim": "preference", "trim_at": 0.4}, ("ATT", "ATE")),
    ],
    "matching_weights": [
        ({"trim": "preference", "trim_at": 0.2}, ("ATO",)),
        ({"trim": "crump", "trim_at": 0.06}, ("ATO",)),
        ({"trim": "asymmetric"}, ("ATO",)),
    ],
    "coarsened_exact": [({"cut_points": {"a": (-0.5, 0.5)}, "covariates": ("c",)}, ("ATT", "ATC", "ATE"))],
}
"""Options that a full grid would multiply without need; the ATC where there are treated rows enough."""
WORLDS = ("continuous", "tied", "grouped")


def world(kind: str) -> tuple[Baseline, BoolArray]:
    """40 treated rows among 400; in "tied" few distinct scores; in "grouped" seven groups, one without treated, one
    without untreated; everywhere people with several rows, treated people's other rows among them."""
    rng = np.random.default_rng([5, WORLDS.index(kind)])
    n = 400
    matrix = rng.normal(size=(n, 3)) if kind != "tied" else rng.integers(0, 3, (n, 3)).astype(np.float64)
    matrix[:, 2] = matrix[:, 2] > 0
    group = rng.integers(0, 7, n) if kind == "grouped" else np.zeros(n, dtype=np.int64)
    odds = np.exp(0.7 * matrix[:, 0] + matrix[:, 2]) * (group != 5)
    treated = np.zeros(n, dtype=np.bool_)
    treated[rng.choice(n, 40, replace=False, p=odds / odds.sum())] = True
    group = np.where(treated & (group == 6), 7, group)
    baseline = Baseline(matrix, ("a", "b", "c"), group, rng.integers(19_000, 19_365, n), rng.integers(0, 300, n))
    return baseline, treated


def cases() -> list[tuple[str, Estimand, dict[str, Any]]]:
    return [
        (name, estimand, dict(zip(GRIDS[name], options, strict=True)))
        for name, method in DESIGNS.items()
        for estimand in method.estimands
        for options in product(*GRIDS[name].values())
    ] + [
        (name, estimand, options)
        for name, several in FURTHER.items()
        for options, estimands in several
        for estimand in estimands
    ]


def test_every_method_has_a_grid() -> None:
    assert set(GRIDS) == set(DESIGNS)


@pytest.mark.parametrize("kind", WORLDS)
@pytest.mark.parametrize(("name", "estimand", "options"), cases(), ids=str)
def test_design_keeps_the_contract(name: str, estimand: Estimand, options: dict[str, Any], kind: str) -> None:
    asks_for_balance = options.get("tolerance", 0.0) == 0.0 and options.get("equations", "balance") == "balance"
    is_too_much = (name, estimand, kind) == NO_SQUARES_EITHER and options["moments"] == "variances"
    if is_too_much or ((name, estimand, kind) in NO_BALANCE_EXISTS and asks_for_balance):
        with pytest.raises(Refused, match="no weights balance these covariates: a"):
            expect_good_design(DESIGNS[name].function, *world(kind), estimand, options)
    else:
        expect_good_design(DESIGNS[name].function, *world(kind), estimand, options)


@pytest.mark.parametrize("name", DESIGNS)
def test_sets_or_weights_as_the_registry_says(name: str) -> None:
    baseline, treated = world("grouped")
    method, propensity = DESIGNS[name], fit_propensity(baseline, treated)
    first = method.estimands[0]
    design = method.function(baseline, treated, propensity, estimand=first, rng=np.random.default_rng(1))
    are_strata = design.notes.get("sets_are") == "strata"
    assert (design.matched_set >= 0).any() == (DESIGNS[name].makes_matched_sets or are_strata)
    assert not (DESIGNS[name].makes_matched_sets and are_strata)
    assert design.method == name
    assert design.estimand == first
