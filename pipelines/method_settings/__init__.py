"""The settings of every design and effect method: `[design]` and `[effects]` of a protocol.

One file a family of methods; a test compares each settings class with its function's keyword-only parameters.
"""

from typing import Literal

from pydantic import Field

from pipelines.method_settings.forest import CausalForestSettings
from pipelines.method_settings.matching import (
    CardinalityMatchingSettings,
    CoarsenedExactSettings,
    FullMatchingSettings,
    NearestNeighbourSettings,
    OptimalMatchingSettings,
    RiskSetMatchingSettings,
    SubclassificationSettings,
)
from pipelines.method_settings.propensity import PropensitySettings
from pipelines.method_settings.section import Probability, Section
from pipelines.method_settings.times import CumulativeIncidenceSettings
from pipelines.method_settings.values import AipwSettings, WeightedDifferenceSettings
from pipelines.method_settings.weighting import WeightingSettings

DesignName = Literal[
    "nearest_neighbour",
    "optimal_matching",
    "full_matching",
    "coarsened_exact",
    "subclassification",
    "cardinality_matching",
    "risk_set_matching",
    "propensity_weighting",
]
EffectName = Literal["weighted_difference", "aipw", "causal_forest", "cumulative_incidence"]


class CandidateDischarges(Section):
    """Which eligible discharges of one candidate may serve as controls: in designs of matched sets, and in others.

    Using one person at most once must not look into their future: somebody readmitted has more discharges, so choosing
    among them by chance or by score keeps a discharge less often when it was followed by a readmission.
    """

    matching: Literal["first", "every"] = Field(
        "first", description="first: the earliest in the window; every: the best match, then no other of that person"
    )
    weighting: Literal["first", "every"] = Field(
        "every", description="every: all of them, with errors clustered by person; first: the earliest in the window"
    )


class DesignSection(Section):
    """How controls are chosen. The first method is the primary design; it never sees outcomes."""

    methods: tuple[DesignName, ...] = Field(("nearest_neighbour",), min_length=1, description="First is primary")
    exact: tuple[str, ...] = Field((), description="Columns on which treated and controls must agree")
    candidate_discharges: CandidateDischarges = CandidateDischarges()
    propensity: PropensitySettings = PropensitySettings()
    nearest_neighbour: NearestNeighbourSettings = NearestNeighbourSettings()
    optimal_matching: OptimalMatchingSettings = OptimalMatchingSettings()
    full_matching: FullMatchingSettings = FullMatchingSettings()
    coarsened_exact: CoarsenedExactSettings = CoarsenedExactSettings()
    subclassification: SubclassificationSettings = SubclassificationSettings()
    cardinality_matching: CardinalityMatchingSettings = CardinalityMatchingSettings()
    risk_set_matching: RiskSetMatchingSettings = RiskSetMatchingSettings()
    propensity_weighting: WeightingSettings = WeightingSettings()


class Effects(Section):
    """How effects are estimated on an accepted design."""

    methods: tuple[EffectName, ...] = Field(("weighted_difference", "aipw"), min_length=1, description="All reported")
    confidence: Probability = Field(0.95, description="Level of every interval")
    weighted_difference: WeightedDifferenceSettings = WeightedDifferenceSettings()
    aipw: AipwSettings = AipwSettings()
    causal_forest: CausalForestSettings = CausalForestSettings()
    cumulative_incidence: CumulativeIncidenceSettings = CumulativeIncidenceSettings()
