"""Which designs and effect methods are tried in which simulated world: the registries, and options of theirs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from simulated_worlds import World

from models.registry import DESIGNS, EFFECTS, Method, OutcomeKind, check_capability
from models.results import Estimand

REFERENCE_DESIGNS = ("nearest_neighbour", "propensity_weighting")
REFERENCE_EFFECTS = ("weighted_difference", "cumulative_incidence")
WORLD_OF_OTHER_ESTIMANDS = "effects differ"
UNOBSERVED, BENT = "outcomes not observed", "selection and outcome bend"


@dataclass(frozen=True)
class Variant:
    """A method of a registry with options away from their defaults, and the worlds in which it is tried."""

    of: str
    options: Mapping[str, Any]
    worlds: tuple[str, ...]


DESIGN_VARIANTS = {
    "full_matching: 1/2 to 60 controls": Variant(
        "full_matching",
        {"min_controls": 1 / 2, "max_controls": 60},
        ("strong overlap", WORLD_OF_OTHER_ESTIMANDS, "no effect"),
    )
}
EFFECT_VARIANTS = {
    **{
        f"{name}: unobserved weighed": Variant(name, {"unobserved": "weights"}, (UNOBSERVED,))
        for name in ("weighted_difference", "g_computation", "adjusted_regression")
    },
    **{f"{name}: boosted": Variant(name, {"nuisances": "boosted"}, ("no effect", BENT)) for name in ("aipw", "tmle")},
}
ONLY_IN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    UNOBSERVED: (
        (*REFERENCE_DESIGNS, "entropy_balancing"),
        (
            *("weighted_difference", "g_computation", "adjusted_regression", "aipw"),
            *(name for name in EFFECT_VARIANTS if name.endswith("weighed")),
        ),
    ),
    BENT: (
        REFERENCE_DESIGNS,
        (
            *("weighted_difference", "aipw", "tmle", "causal_forest"),
            *(name for name in EFFECT_VARIANTS if name.endswith("boosted")),
        ),
    ),
}
"""Designs and effects of the worlds that are about something that only these mind."""
ALL_DESIGNS, ALL_EFFECTS = (*DESIGNS, *DESIGN_VARIANTS), (*EFFECTS, *EFFECT_VARIANTS)
FEW = {
    "causal_forest": 60,
    "censored_forest": 60,
    "cardinality_matching": 20,
    "aipw: boosted": 60,
    "tmle: boosted": 60,
}
"""Replicates of methods that take long; all others get as many as asked for."""


@dataclass(frozen=True)
class Cell:
    """One design with one effect method for one estimand, each by its name here."""

    design: str
    effect: str
    estimand: Estimand

    def replicates(self, most: int) -> int:
        return min(most, FEW.get(self.design, most), FEW.get(self.effect, most))

    def kinds(self) -> Iterator[OutcomeKind]:
        """Of outcomes that the two are tried with."""
        (design, _), (effect, options) = design_named(self.design), effect_named(self.effect)
        for kind in EFFECTS[effect].kinds:
            if check_capability(design, effect, self.estimand, kind) is None and (kind != "count" or not options):
                yield kind


def design_named(name: str) -> tuple[str, Mapping[str, Any]]:
    """Its name in the registry, and its options."""
    found = DESIGN_VARIANTS.get(name)
    return (name, {}) if found is None else (found.of, found.options)


def effect_named(name: str) -> tuple[str, Mapping[str, Any]]:
    """Its name in the registry, and its options."""
    found = EFFECT_VARIANTS.get(name)
    return (name, {}) if found is None else (found.of, found.options)


def cells_of(world: World, only: frozenset[str], never: frozenset[str]) -> list[Cell]:
    """What is tried in one world: cells in which one of `only` takes part and none of `never`."""
    estimands: tuple[Estimand, ...] = ("ATT",)
    if world.name == WORLD_OF_OTHER_ESTIMANDS:
        estimands = ("ATT", "ATE", "ATC", "ATO")
    found = [
        cell
        for estimand in estimands
        for design in ALL_DESIGNS
        for effect in ALL_EFFECTS
        if _is_tried(world.name, design, effect)
        if any((cell := Cell(design, effect, estimand)).kinds())
    ]
    return [cell for cell in found if {cell.design, cell.effect} & only and not {cell.design, cell.effect} & never]


def _is_tried(world: str, design: str, effect: str) -> bool:
    variants = (DESIGN_VARIANTS.get(design), EFFECT_VARIANTS.get(effect))
    if any(variant is not None and world not in variant.worlds for variant in variants):
        return False
    if world in ONLY_IN:
        designs, effects = ONLY_IN[world]
        return design in designs and effect in effects
    return design in REFERENCE_DESIGNS or effect in REFERENCE_EFFECTS


def methods_of(designs: Mapping[str, Method]) -> frozenset[str]:
    """The names here of designs of a registry, with their variants."""
    return frozenset(name for name in ALL_DESIGNS if design_named(name)[0] in designs)
