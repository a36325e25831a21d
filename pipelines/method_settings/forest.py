"""Settings of the causal forest."""

from pydantic import Field

from pipelines.method_settings.section import Section


class CausalForestSettings(Section):
    """EconML's causal forest on the designed sample."""

    trees: int = Field(500, ge=4, multiple_of=4, description="Trees; EconML grows them in fours")
    min_leaf: int = Field(5, ge=1, description="Smallest leaf")
    folds: int = Field(5, ge=2, le=50, description="Folds of the nuisance models")
