"""Settings of the design methods that make matched sets or strata."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from pipelines.method_settings.section import Section

DistanceName = Literal["log_odds", "mahalanobis", "robust_mahalanobis"]


class NearestNeighbourSettings(Section):
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
    distance: DistanceName = Field(
        "log_odds", description="Nearness; Mahalanobis with a caliper is matching within propensity calipers"
    )
    distance_covariates: tuple[str, ...] = Field((), description="Covariates of a Mahalanobis distance; none: all")
    caliper: float | None = Field(0.2, gt=0, description="In standard deviations of the log-odds")
    covariate_calipers: dict[str, NonNegativeFloat] | None = Field(
        None, description="Largest differences in single covariates, in their units: {age = 5}"
    )
    calendar_days: int | None = Field(None, ge=0, description="Largest distance between the two time zeros")
    anti_exact: tuple[str, ...] = Field((), description="Covariates in which treated and control must differ")

    @model_validator(mode="after")
    def _ratios_fit(self) -> Self:
        if self.min_ratio > self.ratio:
            raise ValueError(f"min_ratio must be at most ratio ({self.ratio})")
        if self.max_ratio is not None and not self.min_ratio < self.ratio < self.max_ratio:
            raise ValueError("with max_ratio, ratio is the average: min_ratio < ratio < max_ratio")
        return self
