"""Every option that is one of several words works with every word its settings allow, in every method that has it."""

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest

from models.propensity import fit_propensity
from models.registry import DESIGNS, EFFECTS, check_capability
from models.results import Estimate
from models.times.events import Followed
from pipelines.method_settings import DesignSection, Effects
from tests.models.contract_estimates import expect_same_numbers, shuffled_rows
from tests.models.test_capability import QUICK, N, design_of, outcomes, people
from tests.models.test_design_contract import FURTHER, GRIDS, world

QUICKER = QUICK | {"causal_forest": {"trees": 16, "folds": 2}, "censored_forest": {"trees": 16, "folds": 2}}
NEEDS = {
    "multiplicity": {"subgroups": ("a", "b")},
    "better": {"policy_depth": 1},
}
"""What an option's words have a meaning beside."""


NEVER = {("matching_weights", "trim", "crump_optimal")}
"""What the settings of several methods allow together and this one refuses: that rule is for the ATE."""


def words_of(annotation: Any) -> tuple[str, ...]:
    """The words of a Literal, alone or beside None."""
    if get_origin(annotation) is Literal:
        return tuple(word for word in get_args(annotation) if isinstance(word, str))
    if get_origin(annotation) in (Union, UnionType):
        return tuple(word for part in get_args(annotation) for word in words_of(part))
    return ()


def choices(section: Any, registry: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Method, option, word: all that the settings of a registry's methods allow."""
    for name in registry:
        settings = section.model_fields[name].annotation
        for option, field in settings.model_fields.items():
            for word in words_of(field.annotation):
                yield name, option, word


def test_there_are_words_to_try() -> None:
    assert ("fine_gray", "censoring_by", "everybody") in list(choices(Effects, EFFECTS))
    assert ("propensity_weighting", "trim", "crump") in list(choices(DesignSection, DESIGNS))


@pytest.mark.parametrize(("name", "option", "word"), list(choices(DesignSection, DESIGNS)))
def test_the_grid_of_designs_holds_every_word(name: str, option: str, word: str) -> None:
    """Where the grid does not name an option its default is tried."""
    if (name, option, word) in NEVER:
        baseline, treated = world("continuous")
        (estimand,) = DESIGNS[name].estimands
        given = (baseline, treated, fit_propensity(baseline, treated))
        with pytest.raises(ValueError, match="derived for the ATE"):
            DESIGNS[name].function(*given, estimand=estimand, rng=np.random.default_rng(1), **{option: word})
        return
    default = DesignSection.model_fields[name].annotation.model_fields[option].default  # type: ignore[union-attr]
    tried = set(GRIDS[name].get(option, [default]))
    assert word in tried | {options.get(option, default) for options, _ in FURTHER.get(name, [])}


@pytest.mark.slow
@pytest.mark.parametrize("design", ["nearest_neighbour", "propensity_weighting"])
@pytest.mark.parametrize(("name", "option", "word"), list(choices(Effects, EFFECTS)))
def test_effects_with_every_word_are_sound(name: str, option: str, word: str, design: str) -> None:
    """Estimates with errors; the same again, and in another order of rows."""
    options = QUICKER.get(name, {}) | NEEDS.get(option, {}) | {option: word}
    for kind in EFFECTS[name].kinds:
        assert check_capability(design, name, "ATT", kind) is None
        found = estimated(name, kind, design, np.arange(N), options)
        assert found
        whole = [estimate for estimate in found if estimate.subgroup == "all"]
        assert np.isfinite([(each.value, each.std_error, each.lower, each.upper) for each in whole]).all()
        assert all(each.lower < each.value < each.upper for each in whole)
        assert estimated(name, kind, design, np.arange(N), options) == found
        moved = estimated(name, kind, design, np.random.default_rng(9).permutation(N), options)
        expect_same_numbers(moved, found, 1e-6, "the order of rows plays a part")


def followed(order: np.ndarray) -> Followed:
    """A tenth left before their window ended, on days between 50 and 300."""
    left = order % 10 == 4
    return Followed(np.where(left, 50.0 + 250.0 * order / N, 365.0), np.zeros(N, dtype=np.bool_), 365)


def estimated(name: str, kind: str, design: str, order: np.ndarray, options: dict[str, Any]) -> tuple[Estimate, ...]:
    """The method on the sample of test_capability with its rows in this order."""
    given = outcomes()[kind]
    options = dict(options)
    if kind == "recurrent":
        row, day, last, died = given
        given = (np.argsort(order)[row], day, last[order], died[order])
    else:
        given = tuple(values[order] for values in given)
    if name == "first_readmission_type":
        given = (given[0], np.where((given[1] == 1) & (order % 2 == 0), 3, given[1]))
    if kind in ("binary", "continuous") or EFFECTS[name].individual_effects:
        options["rng"] = np.random.default_rng(5)
    if kind in ("binary", "continuous"):
        options["kind"] = kind
    if kind in ("time_to_event", "recurrent"):
        options["horizon"] = 365
    if options.get("unobserved") == "weights":
        given = (np.where(order % 7 == 3, np.nan, given[0]),)
    if kind == "count" and options.get("censoring") == "weights":
        options["followed"] = followed(order)
    result = EFFECTS[name].function(*given, *shuffled_rows(people()[0], design_of(design, "ATT"), order), **options)
    return tuple(getattr(result, "estimates", result))
