"""The settings of every design and effect method: `[design]` and `[effects]` of a protocol.

One file a family of methods; a test compares each settings class with its function's keyword-only parameters.
"""

from typing import Literal

from pydantic import Field

from pipelines.method_settings.counts import (
    LwyySettings,
    MeanCumulativeCountSettings,
    NegativeBinomialSettings,
    QuasiPoissonSettings,
    TwoPartSettings,
)
from pipelines.method_settings.forest import CausalForestSettings
from pipelines.method_settings.matching import NearestNeighbourSettings
from pipelines.method_settings.propensity import PropensitySettings
from pipelines.method_settings.section import Probability, Section
from pipelines.method_settings.sites import SiteSettings
from pipelines.method_settings.times import (
    CauseSpecificCoxSettings,
    CoxSettings,
    CumulativeIncidenceSettings,
    FineGraySettings,
    FirstReadmissionTypeSettings,
    KaplanMeierSettings,
    TimeLostSettings,
)
from pipelines.method_settings.values import (
    AdjustedRegressionSettings,
    AipwSettings,
    GComputationSettings,
    TmleSettings,
    WeightedDifferenceSettings,
)
from pipelines.method_settings.weighting import (
    BalancingScoreSettings,
    EntropyBalancingSettings,
    MatchingWeightsSettings,
    WeightingSettings,
)

DesignName = Literal[
    "nearest_neighbour",
    "propensity_weighting",
    "matching_weights",
    "entropy_balancing",
    "covariate_balancing_score",
]
EffectName = Literal[
    "weighted_difference",
    "g_computation",
    "adjusted_regression",
    "aipw",
    "tmle",
    "causal_forest",
    "two_part",
    "quasi_poisson",
    "negative_binomial",
    "mean_cumulative_count",
    "lwyy",
    "cumulative_incidence",
    "kaplan_meier",
    "time_lost",
    "first_readmission_type",
    "cox",
    "cause_specific_cox",
    "fine_gray",
]


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
    propensity_weighting: WeightingSettings = WeightingSettings()
    matching_weights: MatchingWeightsSettings = MatchingWeightsSettings()
    entropy_balancing: EntropyBalancingSettings = EntropyBalancingSettings()
    covariate_balancing_score: BalancingScoreSettings = BalancingScoreSettings()


class Effects(Section):
    """How effects are estimated on an accepted design."""

    methods: tuple[EffectName, ...] = Field(("weighted_difference", "aipw"), min_length=1, description="All reported")
    confidence: Probability = Field(0.95, description="Level of every interval")
    time_at_risk: Literal["alive", "out_of_hospital"] = Field(
        "alive",
        description="What rates are counted over. alive: years alive and observed; out_of_hospital: those of them "
        "spent outside psychiatric hospital, in which somebody can be readmitted at all",
    )
    sites: SiteSettings = SiteSettings()
    weighted_difference: WeightedDifferenceSettings = WeightedDifferenceSettings()
    g_computation: GComputationSettings = GComputationSettings()
    adjusted_regression: AdjustedRegressionSettings = AdjustedRegressionSettings()
    aipw: AipwSettings = AipwSettings()
    tmle: TmleSettings = TmleSettings()
    causal_forest: CausalForestSettings = CausalForestSettings()
    two_part: TwoPartSettings = TwoPartSettings()
    quasi_poisson: QuasiPoissonSettings = QuasiPoissonSettings()
    negative_binomial: NegativeBinomialSettings = NegativeBinomialSettings()
    mean_cumulative_count: MeanCumulativeCountSettings = MeanCumulativeCountSettings()
    lwyy: LwyySettings = LwyySettings()
    cumulative_incidence: CumulativeIncidenceSettings = CumulativeIncidenceSettings()
    kaplan_meier: KaplanMeierSettings = KaplanMeierSettings()
    time_lost: TimeLostSettings = TimeLostSettings()
    first_readmission_type: FirstReadmissionTypeSettings = FirstReadmissionTypeSettings()
    cox: CoxSettings = CoxSettings()
    cause_specific_cox: CauseSpecificCoxSettings = CauseSpecificCoxSettings()
    fine_gray: FineGraySettings = FineGraySettings()
