"""The settings of every design and effect method: `[design]` and `[effects]` of a protocol.

One file a family of methods; a test compares each settings class with its function's keyword-only parameters. A method
may be listed more than once, each time under a name and with options of its own: the grid of a multiverse analysis.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.method_settings.counts import (
    LwyySettings,
    MeanCumulativeCountSettings,
    NegativeBinomialSettings,
    QuasiPoissonSettings,
    TwoPartSettings,
)
from pipelines.method_settings.forest import CausalForestSettings, CensoredForestSettings
from pipelines.method_settings.grid import Specification, SpecificationName, check_names, with_options
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
    ClusterBootstrapSettings,
    GComputationSettings,
    TmleSettings,
    WeightedDifferenceSettings,
)
from pipelines.method_settings.weighting import (
    BalancingScoreSettings,
    EntropyBalancingSettings,
    MatchingWeightsSettings,
    StableBalancingSettings,
    WeightingSettings,
)

DesignName = Literal[
    "nearest_neighbour",
    "optimal_matching",
    "full_matching",
    "coarsened_exact",
    "subclassification",
    "cardinality_matching",
    "risk_set_matching",
    "propensity_weighting",
    "matching_weights",
    "entropy_balancing",
    "covariate_balancing_score",
    "stable_balancing",
]
EffectName = Literal[
    "weighted_difference",
    "g_computation",
    "adjusted_regression",
    "aipw",
    "tmle",
    "cluster_bootstrap",
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
    "censored_forest",
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


class AlsoDesign(Section):
    """One more design of the grid: a method with other options. It is judged like the others and estimated for the
    primary outcome; it never replaces the primary design."""

    name: SpecificationName = Field(description="Name of the specification in files and in the report")
    method: DesignName = Field(description="The method behind it")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Keys of `[design.<method>]` that differ from it, such as options.ratio = 5"
    )
    propensity: dict[str, Any] = Field(
        default_factory=dict, description="Keys of `[design.propensity]` that differ from it"
    )
    exact: tuple[str, ...] | None = Field(None, description="In place of `design.exact`")


class AlsoEffect(Section):
    """One more effect method of the grid, with other options: estimated for the primary outcome."""

    name: SpecificationName = Field(description="Name of the specification in files and in the report")
    method: EffectName = Field(description="The method behind it")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Keys of `[effects.<method>]` that differ from it"
    )


class DesignSection(Section):
    """How controls are chosen. The first method is the primary design; it never sees outcomes."""

    methods: tuple[DesignName, ...] = Field(("nearest_neighbour",), min_length=1, description="First is primary")
    also: tuple[AlsoDesign, ...] = Field((), description="Further specifications: a multiverse analysis")
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
    matching_weights: MatchingWeightsSettings = MatchingWeightsSettings()
    entropy_balancing: EntropyBalancingSettings = EntropyBalancingSettings()
    covariate_balancing_score: BalancingScoreSettings = BalancingScoreSettings()
    stable_balancing: StableBalancingSettings = StableBalancingSettings()

    @model_validator(mode="after")
    def _specifications_are_sound(self) -> Self:
        check_names(self.methods, (one.name for one in self.also), DesignName)
        self.specifications()
        return self

    def specifications(self) -> tuple[Specification, ...]:
        """Every design with its settings, the primary one first. Raises ValueError for options that break a rule."""
        listed = [Specification(name, name, getattr(self, name), self.propensity, self.exact) for name in self.methods]
        for one in self.also:
            settings = with_options(getattr(self, one.method), one.options, f"{one.name}.options")
            propensity = with_options(self.propensity, one.propensity, f"{one.name}.propensity")
            exact = self.exact if one.exact is None else one.exact
            listed.append(Specification(one.name, one.method, settings, propensity, exact))
        return tuple(listed)


class Effects(Section):
    """How effects are estimated on an accepted design."""

    methods: tuple[EffectName, ...] = Field(("weighted_difference", "aipw"), min_length=1, description="All reported")
    also: tuple[AlsoEffect, ...] = Field((), description="Further specifications: a multiverse analysis")
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
    cluster_bootstrap: ClusterBootstrapSettings = ClusterBootstrapSettings()
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
    censored_forest: CensoredForestSettings = CensoredForestSettings()
    cox: CoxSettings = CoxSettings()
    cause_specific_cox: CauseSpecificCoxSettings = CauseSpecificCoxSettings()
    fine_gray: FineGraySettings = FineGraySettings()

    @model_validator(mode="after")
    def _specifications_are_sound(self) -> Self:
        check_names(self.methods, (one.name for one in self.also), EffectName)
        self.of_specifications()
        return self

    def of_specifications(self) -> dict[str, "Effects"]:
        """Each further specification as effects with that one method and its settings. Raises ValueError for options
        that break a rule."""
        narrowed = {}
        for one in self.also:
            settings = with_options(getattr(self, one.method), one.options, f"{one.name}.options")
            changed = {"methods": (one.method,), "also": (), one.method: settings}
            narrowed[one.name] = self.model_copy(update=changed)
        return narrowed

    def methods_by_name(self) -> dict[str, str]:
        """Name of every specification → its method, those of `methods` first."""
        return {name: name for name in self.methods} | {one.name: one.method for one in self.also}
