"""Settings of the design methods that make weights only."""

from pydantic import Field

from pipelines.method_settings.section import Section


class WeightingSettings(Section):
    """Weights from the propensity score."""

    stabilise: bool = Field(False, description="Multiply by the marginal probability of the arm")
    truncate_quantile: float = Field(1.0, gt=0.5, le=1, description="Weights above this quantile are set to it")
    trim_to_overlap: bool = Field(False, description="Leave out rows outside the other arm's range of scores")
