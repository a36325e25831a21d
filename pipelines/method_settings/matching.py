"""Settings of the design methods that make matched sets or strata."""

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeFloat, model_validator

from pipelines.method_settings.section import Section

DistanceName = Literal["log_odds", "mahalanobis", "robust_mahalanobis"]
OrNone = Annotated[float | None, BeforeValidator(lambda value: None if value == "none" else value)]
"""A limit that TOML, which has no empty value, can switch off."""


def _as_number(ratio: Any) -> Any:
    """1/3 for "1/3", which no decimal number is."""
    if isinstance(ratio, str) and ratio.startswith("1/") and ratio[2:].isdecimal() and int(ratio[2:]) > 0:
        return float(Fraction(ratio))
    return ratio


RatioOfControls = Annotated[float, BeforeValidator(_as_number), Field(gt=0)]


class PairLimits(Section):
    """Who may stand in a set with whom, and how far apart two people are."""

    distance: DistanceName = Field(
        "log_odds", description="Nearness; Mahalanobis with a caliper is matching within propensity calipers"
    )
    distance_covariates: tuple[str, ...] = Field((), description="Covariates of a Mahalanobis distance; none: all")
    caliper: OrNone = Field(0.2, gt=0, description='In standard deviations of the log-odds; "none" for no limit')
    covariate_calipers: dict[str, NonNegativeFloat] | None = Field(
        None, description="Largest differences in single covariates, in their units: {age = 5}"
    )
    calendar_days: int | None = Field(None, ge=0, description="Largest distance between the two time zeros")
    anti_exact: tuple[str, ...] = Field((), description="Covariates in which treated and control must differ")


class NearestNeighbourSettings(PairLimits):
    """Nearest-neighbour matching: each treated person takes the nearest free controls, one after the other."""

    ratio: int = Field(1, ge=1, le=20, description="Controls per treated person, at most (with max_ratio: on average)")
    min_ratio: int = Field(1, ge=1, le=20, description="Sets with fewer are dissolved; = ratio: all sets of one size")
    max_ratio: int | None = Field(
        None, ge=2, le=50, description="Variable ratio: more controls for those with low log-odds, up to this"
    )
    replace: bool = Field(False, description="Whether a control may serve several treated people")
    order: Literal["hardest_first", "closest_first", "calendar", "random"] = Field(
        "hardest_first", description="Who chooses first: highest log-odds, the nearest pair, earliest time zero, by lot"
    )

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        if self.min_ratio > self.ratio:
            raise ValueError(f"min_ratio must be at most ratio ({self.ratio})")
        if self.max_ratio is not None and not self.min_ratio < self.ratio < self.max_ratio:
            raise ValueError("with max_ratio, ratio is the average: min_ratio < ratio < max_ratio")
        return self


class OptimalMatchingSettings(PairLimits):
    """Optimal matching: as many pairs as possible, with the least sum of distances."""

    ratio: int = Field(1, ge=1, le=20, description="Controls per treated person, at most")
    min_ratio: int = Field(1, ge=1, le=20, description="Sets with fewer are dissolved; = ratio: all sets of one size")

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        if self.min_ratio > self.ratio:
            raise ValueError(f"min_ratio must be at most ratio ({self.ratio})")
        return self


class FullMatchingSettings(PairLimits):
    """Full matching: sets of one treated person and several controls or the other way round, everybody used."""

    min_controls: RatioOfControls | None = Field(
        None,
        description='Fewest controls per treated person in a set; "1/3": one control for up to three. Left out: no '
        "limit. Limits that would leave somebody over are refused, with the nearest ones that do not",
    )
    max_controls: RatioOfControls | None = Field(
        None, description='Most controls per treated person in a set; "1/3": one control for three or more'
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.min_controls is not None or self.max_controls is not None:
            from models.matching.set_sizes import set_sizes  # which brings scipy

            set_sizes(self.min_controls, self.max_controls)
        return self


class CoarsenedExactSettings(Section):
    """Coarsened exact matching: strata of people in the same bin of every covariate."""

    covariates: tuple[str, ...] = Field((), description="Covariates to match on; none: all (rarely keeps anybody)")
    bins: int | None = Field(None, ge=1, le=1000, description="Bins of a number; left out: Sturges' rule")
    cut_points: dict[str, tuple[float, ...]] | None = Field(
        None, description="Where single covariates are cut instead: {age = [30, 50]}"
    )


class SubclassificationSettings(Section):
    """Subclassification: cut at quantiles of the propensity score."""

    n_subclasses: int = Field(6, ge=2, le=100, description="Subclasses, at most")
    min_per_arm: int = Field(2, ge=1, description="Subclasses with fewer people of an arm are joined with the next")


class CardinalityMatchingSettings(Section):
    """Cardinality matching: the largest set of people that has the balance asked for."""

    ratio: int = Field(1, ge=1, le=20, description="Controls per treated person kept")
    tolerance: float = Field(0.05, gt=0, description="Largest standardised difference in each covariate")
    covariates: tuple[str, ...] = Field((), description="Covariates to balance; none: all")
    keep_all_treated: bool = Field(False, description="Profile matching: all treated, as many controls as possible")
    gap: float = Field(0.001, ge=0, lt=1, description="How far from the largest set the answer may be, as a share")
    nodes: int = Field(
        1000, ge=1, description="Branches searched before the best set so far is taken; design.json says whether"
    )
    seconds: float = Field(600.0, gt=0, description="After which the search is given up and the design refused")


class RiskSetMatchingSettings(Section):
    """Risk-set matching: participants in calendar order, controls who were eligible on the participant's date."""

    ratio: int = Field(1, ge=1, le=20, description="Controls per treated person, at most")
    min_ratio: int = Field(1, ge=1, le=20, description="Sets with fewer are dissolved; = ratio: all sets of one size")
    look_back_days: int | None = Field(365, ge=0, description="A control's time zero lies at most so long before")
    look_ahead_days: int = Field(0, ge=0, description="and at most so long after the participant's")
    person_serves: Literal["once", "each_discharge"] = Field(
        "once", description="once: one discharge of a person; each_discharge: each of them once"
    )
    distance: DistanceName = Field(
        "log_odds", description="Nearness; Mahalanobis with a caliper is matching within propensity calipers"
    )
    distance_covariates: tuple[str, ...] = Field((), description="Covariates of a Mahalanobis distance; none: all")
    caliper: OrNone = Field(0.2, gt=0, description='In standard deviations of the log-odds; "none" for no limit')
    covariate_calipers: dict[str, NonNegativeFloat] | None = Field(
        None, description="Largest differences in single covariates, in their units: {age = 5}"
    )
    anti_exact: tuple[str, ...] = Field((), description="Covariates in which treated and control must differ")

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        if self.min_ratio > self.ratio:
            raise ValueError(f"min_ratio must be at most ratio ({self.ratio})")
        return self
