"""Settings of the propensity score (models/propensity)."""

from typing import Literal

from pydantic import Field

from pipelines.method_settings.section import Section


class PropensitySettings(Section):
    """The model for the probability of being a participant."""

    method: Literal["logistic", "elastic_net"] = Field(
        "logistic",
        description="logistic: regression on all covariates with a ridge penalty; elastic_net: for many covariates, "
        "such as codes, one that keeps those it needs (R's glmnet); standard errors then take the weights as fixed",
    )
    l2_penalty: float = Field(1.0, ge=0, description="logistic: ridge penalty on standardised covariates; 0 = none")
    l1_ratio: float = Field(1.0, gt=0, le=1, description="elastic_net: 1 is the lasso, below it part ridge")
    penalty_choice: Literal["best", "one_se"] = Field(
        "best",
        description="elastic_net: the penalty of smallest deviance in people left out, or the largest within one "
        "standard error of it",
    )
    folds: int = Field(10, ge=3, le=50, description="elastic_net: folds of persons")
