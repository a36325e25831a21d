"""Hard worlds: whatever the data are, a method answers or refuses in words; any other error is a mistake of ours.

The worlds are those that real extracts hold: an arm of one, arms that do not overlap, nobody comparable, one person
everywhere, covariates that say the same twice, outcomes that never happen or always do, everybody lost on day 1.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest

from models.propensity import fit_propensity
from models.refusals import Refused
from models.registry import DESIGNS, EFFECTS, check_capability
from models.results import Baseline, BoolArray, Design, Estimand, Estimate, Propensity
from models.weighting import matching_weights

World = tuple[Baseline, BoolArray]
ESTIMANDS: tuple[Estimand, ...] = get_args(Estimand)
SCORES: dict[str, dict[str, Any]] = {
    "logistic": {},
    "no penalty": {"l2_penalty": 0.0},
    "elastic net": {"method": "elastic_net", "folds": 3},
    "boosting": {"method": "boosting", "folds": 3},
    "by stratum": {"by_stratum": True, "least_in_a_stratum": 10},
}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "nearest_neighbour": [{}, {"replace": True}, {"distance": "mahalanobis", "caliper": None}, {"anti_exact": ("b",)}],
    "optimal_matching": [{}, {"ratio": 3, "min_ratio": 3}, {"distance": "robust_mahalanobis", "caliper": None}],
    "full_matching": [{}, {"caliper": None}, {"min_controls": 1, "max_controls": 2}, {"max_controls": 0.5}],
    "coarsened_exact": [{}, {"cut_points": {"a": (0.0,)}}],
    "propensity_weighting": [{}, {"trim": "common_support"}, {"trim": "preference"}, {"truncate_quantile": 0.9}],
    "cardinality_matching": [{}, {"keep_all_treated": True}],
}


def world(treated: BoolArray, *, matrix: Any = None, group: Any = None, person: Any = None, day: Any = None) -> World:
    n = len(treated)
    rng = np.random.default_rng(n)
    matrix = np.column_stack([rng.normal(size=n), rng.random(n) < 0.5]) if matrix is None else np.asarray(matrix)
    group, person, day = (
        np.zeros(n, dtype=np.int64) if one is None else np.asarray(one, dtype=np.int64)
        for one in (group, np.arange(n) if person is None else person, day)
    )
    return Baseline(matrix.astype(np.float64), ("a", "b"), group, day, person), treated


def worlds() -> dict[str, World]:
    few, far = np.arange(60) < 20, np.linspace(0, 1, 60)
    split = np.where(few, 10 + far, -10 - far)
    return {
        "one treated": world(np.arange(40) == 0),
        "one untreated": world(np.arange(40) > 0),
        "two of each": world(np.arange(4) < 2),
        "arms far apart": world(few, matrix=np.column_stack([split, far > 0.5])),
        "nothing varies": world(few, matrix=np.ones((60, 2))),
        "the same twice": world(few, matrix=np.column_stack([far, 2 * far])),
        "a group each": world(few, group=np.arange(60)),
        "one pair comparable": world(few, group=np.where(np.isin(np.arange(60), (0, 30)), 0, 1 + few)),
        "a single person": world(few, person=np.zeros(60)),
        "treated people's other rows": world(few, person=np.arange(60) % 20),
        "treated before all others": world(few, day=np.where(few, 0, 100)),
        "treated after all others": world(few, day=np.where(few, 1000, 100)),
    }


def answer_of(call: Callable[[], Any]) -> Any:
    """What the method gives, or the words with which it refuses."""
    try:
        return call()
    except Refused as refusal:
        return str(refusal)


def score_of(baseline: Baseline, treated: BoolArray, options: dict[str, Any]) -> Propensity | None:
    try:
        return fit_propensity(baseline, treated, rng=np.random.default_rng(1), **options)
    except Refused:
        return None


@pytest.mark.parametrize("kind", worlds())
@pytest.mark.parametrize("how", SCORES)
def test_a_score_is_fitted_or_refused(how: str, kind: str) -> None:
    found = score_of(*worlds()[kind], SCORES[how])
    assert found is None or np.isfinite(found.linear).all()


@pytest.mark.parametrize("kind", worlds())
@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_is_made_or_refused(name: str, kind: str) -> None:
    baseline, treated = worlds()[kind]
    propensity = score_of(baseline, treated, {})
    if propensity is None:
        return
    for estimand in DESIGNS[name].estimands:
        for options in OPTIONS.get(name, [{}]):
            make = partial(DESIGNS[name].function, baseline, treated, propensity, estimand=estimand, **options)
            design = answer_of(partial(make, rng=np.random.default_rng(1)))
            if isinstance(design, str):
                assert design
                continue
            assert np.isfinite(design.weights).all()
            assert (design.weights >= 0).all()


def designs() -> dict[str, tuple[Baseline, Design]]:
    """Weights of every kind on 60 rows, among them an arm of one and one row that weighs as much as all others."""
    made = {}
    for kind in ("one treated", "one untreated", "arms far apart", "the same twice", "a single person"):
        baseline, treated = worlds()[kind]
        score = np.full(len(treated), 0.3)
        no_set = np.full(len(treated), -1, dtype=np.int64)
        weights = np.ones(len(treated))
        weights[-1] = 1e6
        for estimand in ESTIMANDS:
            made[f"{kind}, {estimand}"] = (baseline, Design("by_hand", estimand, treated, score, weights, no_set))
        sets = np.where(np.isin(np.arange(len(treated)), (np.argmax(treated), np.argmin(treated))), 0, -1)
        pair = Design("by_hand", "ATT", treated, score, (sets >= 0) * 1.0, sets)
        made[f"{kind}, a single pair"] = (baseline, pair)
        nobody = Design("by_hand", "ATT", treated, score, treated * 1.0, no_set)
        made[f"{kind}, no controls"] = (baseline, nobody)
    return made


def values_of(n: int) -> dict[str, np.ndarray]:
    some = np.arange(n) % 3 == 0
    return {"never": np.zeros(n), "always": np.ones(n), "once": (np.arange(n) == n - 1) * 1.0, "some": some * 1.0}


def calls(name: str, baseline: Baseline, design: Design) -> Iterator[Callable[[], Any]]:
    """The method on every outcome of its kind."""
    function, n = EFFECTS[name].function, len(design.weights)
    options: dict[str, Any] = {}
    if EFFECTS[name].individual_effects:
        options = {"trees": 16, "folds": 2, "policy_depth": 1}
    if name == "cluster_bootstrap":
        options = {"replicates": 50}
    rng = np.random.default_rng(1)
    for values in values_of(n).values():
        happens = values > 0
        for kind in EFFECTS[name].kinds:
            if kind in ("binary", "continuous"):
                yield partial(function, values, baseline, design, rng=rng, kind=kind, **options)
            elif kind == "count":
                for years in (np.ones(n), np.where(happens, 0.5, 0.0), np.zeros(n)):
                    yield partial(function, values, years, baseline, design, **options)
            elif kind == "recurrent":
                rows, last = np.flatnonzero(happens), np.where(happens, 1.0, 365.0)
                yield partial(function, rows, np.ones(rows.size), last, happens, baseline, design, **options)
            else:
                draw = {"rng": rng} if EFFECTS[name].individual_effects else {}
                for event in (0, 1, 2):
                    day = np.where(happens, 1.0, 365.0)
                    codes = np.where(happens, event, 0).astype(np.int64)
                    yield partial(function, day, codes, baseline, design, horizon=365, **draw, **options)


@pytest.mark.parametrize("name", EFFECTS)
def test_an_effect_is_estimated_or_refused(name: str) -> None:
    for kind, (baseline, design) in designs().items():
        slow = EFFECTS[name].individual_effects and design.estimand in ("ATE", "ATO")
        if slow or design.estimand not in EFFECTS[name].estimands:
            continue
        for call in calls(name, baseline, design):
            found = answer_of(call)
            if isinstance(found, str):
                assert found
                continue
            estimates: tuple[Estimate, ...] = tuple(getattr(found, "estimates", found))
            for estimate in estimates:
                assert np.isfinite(estimate.value) or "not_estimable" in estimate.notes or estimate.n_treated == 0, kind


def test_matching_weights_are_refused_by_methods_with_people_of_their_own() -> None:
    """A wrong table would otherwise give the effect in other people under one name."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(200, 2))
    baseline, treated = world(rng.random(200) < 1 / (1 + np.exp(-x[:, 0])), matrix=x)
    design = matching_weights(baseline, treated, fit_propensity(baseline, treated), estimand="ATO", rng=rng)
    own = [name for name, method in EFFECTS.items() if method.own_people]
    assert set(own) == {"aipw", "tmle", "causal_forest", "censored_forest"}
    for name in own:
        kind = EFFECTS[name].kinds[0]
        assert "1:1 match" in str(check_capability("matching_weights", name, "ATO", kind))
        function = EFFECTS[name].function
        options: dict[str, Any] = {"trees": 16, "folds": 2} if EFFECTS[name].individual_effects else {}
        given: tuple[Any, ...] = (x[:, 1],)
        if kind == "time_to_event":
            given, options = (np.full(200, 9.0), np.ones(200, dtype=np.int64)), options | {"horizon": 9}
        else:
            options |= {"kind": "continuous"}
        with pytest.raises(Refused, match="1:1 match"):
            function(*given, baseline, design, rng=rng, **options)
