"""Settings of the propensity score (models/propensity.py)."""

from pydantic import Field

from pipelines.method_settings.section import Section


class PropensitySettings(Section):
    """Logistic regression for the probability of being a participant."""

    l2_penalty: float = Field(1.0, ge=0, description="Ridge penalty on standardised covariates; 0 = none")
