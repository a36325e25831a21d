"""What the capability table allows works: on a world with overlap enough no method refuses a pair of it."""

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any, get_args

import numpy as np
import pytest

from models.propensity import fit_propensity
from models.registry import DESIGNS, EFFECTS, EVERY_KIND, check_capability
from models.results import Baseline, BoolArray, Design, Estimand

N = 360
QUICK: dict[str, dict[str, Any]] = {
    "causal_forest": {"trees": 16, "folds": 2, "policy_depth": 0},
    "censored_forest": {"trees": 16, "folds": 2, "policy_depth": 0},
    "cluster_bootstrap": {"replicates": 50},
    "aipw": {"folds": 2},
    "tmle": {"folds": 2},
}
PAIRS = [(design, estimand) for design, method in DESIGNS.items() for estimand in method.estimands]


@cache
def people() -> tuple[Baseline, np.ndarray, np.ndarray]:
    """Two fifths of 360 people treated, by two covariates that also foretell a risk; dates over a year."""
    rng = np.random.default_rng(20)
    x = np.column_stack([rng.normal(size=N), rng.random(N) < 0.5])
    treated = rng.random(N) < 1 / (1 + np.exp(0.6 - 0.5 * x[:, 0] - 0.3 * x[:, 1]))
    risk = 1 / (1 + np.exp(0.4 - 0.5 * x[:, 0]))
    days = rng.integers(18_000, 18_365, N)
    return Baseline(x, ("a", "b"), np.zeros(N, dtype=np.int64), days, np.arange(N)), treated, risk


@cache
def design_of(name: str, estimand: Estimand) -> Design:
    baseline, treated, _ = people()
    options = {"look_back_days": None, "look_ahead_days": 365} if name == "risk_set_matching" else {}
    propensity = fit_propensity(baseline, treated)
    rng = np.random.default_rng(1)
    made: Design = DESIGNS[name].function(baseline, treated, propensity, estimand=estimand, rng=rng, **options)
    return made


@cache
def outcomes() -> dict[str, tuple[Any, ...]]:
    _, _, risk = people()
    rng = np.random.default_rng(3)
    happens = rng.random(N) < risk
    amount = np.where(happens, rng.gamma(2.0, 10.0, N), 0.0)
    day = np.where(happens, rng.integers(1, 365, N), 365).astype(float)
    event = np.where(happens, np.where(rng.random(N) < 0.15, 2, 1), 0).astype(np.int64)
    event[(rng.random(N) < 0.1) & ~happens] = 0
    day[(event == 0) & (rng.random(N) < 0.2)] = 100.0
    rows = np.repeat(np.flatnonzero(happens), 2)
    return {
        "binary": (happens.astype(float),),
        "continuous": (amount,),
        "count": (rng.poisson(2 * risk).astype(float), rng.uniform(0.3, 1.0, N)),
        "recurrent": (
            rows,
            np.tile([20.0, 60.0], rows.size // 2),
            np.where(rng.random(N) < 0.2, 200.0, 365.0),
            np.zeros(N, dtype=np.bool_),
        ),
        "time_to_event": (day, event),
    }


def call(effect: str, kind: str, design: Design, lost: BoolArray | None = None, **more: Any) -> Any:
    """The method on the sample of a kind of outcome, which is missing of those `lost`; `more` are options beyond the
    quick ones."""
    function: Callable[..., Any] = EFFECTS[effect].function
    options = QUICK.get(effect, {}) | more
    if kind in ("binary", "continuous") or EFFECTS[effect].individual_effects:
        options["rng"] = np.random.default_rng(5)
    if kind in ("binary", "continuous"):
        options["kind"] = kind
    if kind in ("time_to_event", "recurrent"):
        options["horizon"] = 365
    given = outcomes()[kind]
    if lost is not None:
        given = (np.where(lost, np.nan, given[0]), *given[1:])
    if effect == "first_readmission_type":
        given = (given[0], np.where((given[1] == 1) & (np.arange(N) % 2 == 0), 3, given[1]))
    return function(*given, people()[0], design, **options)


@pytest.mark.parametrize(("name", "estimand"), PAIRS)
def test_what_the_table_allows_is_not_refused(name: str, estimand: Estimand) -> None:
    design = design_of(name, estimand)
    assert (design.weights > 0).any()
    n_calls = 0
    for effect, method in EFFECTS.items():
        for kind in method.kinds:
            if check_capability(name, effect, estimand, kind) is None:
                found = call(effect, kind, design)
                assert tuple(getattr(found, "estimates", found)), (effect, kind)
                n_calls += 1
    assert n_calls >= len(EFFECTS) / 2


@pytest.mark.parametrize(("name", "estimand"), PAIRS)
def test_people_observed_can_stand_for_the_others_after_every_design(name: str, estimand: Estimand) -> None:
    """A seventh of the outcomes is missing; everybody of the design stays in it."""
    design, lost = design_of(name, estimand), np.arange(N) % 7 == 3
    n_calls = 0
    for effect, method in EFFECTS.items():
        if "unobserved" not in signature(method.function).parameters:
            continue
        for kind in method.kinds:
            if check_capability(name, effect, estimand, kind) is None:
                found = call(effect, kind, design, lost, unobserved="weights")[0]
                assert np.isfinite([found.value, found.std_error]).all()
                assert found.n_treated == (design.treated & (design.weights > 0)).sum()
                n_calls += 1
    assert n_calls == 6


def test_what_an_effect_method_cannot_target_the_table_says() -> None:
    """Estimands that a design has and an effect method has not: the method itself refuses them too."""
    weighting = "propensity_weighting"
    for effect, method in EFFECTS.items():
        for estimand in set(get_args(Estimand)) - set(method.estimands):
            assert check_capability(weighting, effect, estimand, method.kinds[0]) is not None
            with pytest.raises(ValueError, match=f"cannot target the {estimand}"):
                call(effect, method.kinds[0], design_of(weighting, estimand))


@pytest.mark.parametrize("effect", EFFECTS)
def test_the_effective_number_is_that_of_the_arm_that_stands_in(effect: str) -> None:
    """Under the ATC all untreated people count 1; the treated, who stand for them with (1 - e) / e, are fewer."""
    if "ATC" not in EFFECTS[effect].estimands:
        return
    design = design_of("propensity_weighting", "ATC")
    weights = design.weights[design.treated]
    found = call(effect, EFFECTS[effect].kinds[0], design)
    for estimate in getattr(found, "estimates", found):
        assert estimate.effective_n < estimate.n_treated < estimate.n_control
        if effect in ("weighted_difference", "quasi_poisson", "cox", "cumulative_incidence", "lwyy"):
            assert estimate.effective_n == pytest.approx(weights.sum() ** 2 / (weights @ weights))


@pytest.mark.parametrize("estimand", ["ATE", "ATO"])
@pytest.mark.parametrize("effect", EFFECTS)
def test_where_both_arms_stand_in_the_effective_number_is_the_smaller(effect: str, estimand: Estimand) -> None:
    """Two fifths are treated, so theirs is the smaller; it must not be that of the controls."""
    if estimand not in EFFECTS[effect].estimands:
        return
    design = design_of("propensity_weighting", estimand)
    kish = [
        design.weights[arm].sum() ** 2 / (design.weights[arm] ** 2).sum() for arm in (design.treated, ~design.treated)
    ]
    assert kish[0] < 0.9 * kish[1]
    found = call(effect, EFFECTS[effect].kinds[0], design)
    for estimate in getattr(found, "estimates", found):
        assert estimate.effective_n <= estimate.n_treated < kish[1]
        if effect in ("weighted_difference", "quasi_poisson", "cox", "cumulative_incidence", "lwyy"):
            assert estimate.effective_n == pytest.approx(kish[0])


def test_every_kind_of_outcome_has_a_sample() -> None:
    assert set(outcomes()) == set(EVERY_KIND)
