"""Settings of the propensity score (models/propensity)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.method_settings.section import Section


class PropensitySettings(Section):
    """The model for the probability of being a participant."""

    method: Literal["logistic", "elastic_net", "boosting"] = Field(
        "logistic",
        description="logistic: regression on all covariates with a ridge penalty; elastic_net: for many covariates, "
        "such as codes, one that keeps those it needs (R's glmnet); boosting: trees, cross-fitted and calibrated. "
        "Standard errors take the weights of the last two as fixed",
    )
    l2_penalty: float = Field(1.0, ge=0, description="logistic: ridge penalty on standardised covariates; 0 = none")
    l1_ratio: float = Field(1.0, gt=0, le=1, description="elastic_net: 1 is the lasso, below it part ridge")
    penalty_choice: Literal["best", "one_se"] = Field(
        "best",
        description="elastic_net: the penalty of smallest deviance in people left out, or the largest within one "
        "standard error of it",
    )
    folds: int = Field(10, ge=3, le=50, description="elastic_net, boosting: folds of persons")
    by_stratum: bool = Field(False, description="logistic: a score of its own for each combination of `design.exact`")
    least_in_a_stratum: int = Field(
        30, ge=10, description="Rows of either arm that such a combination must have; the others share one score"
    )

    @model_validator(mode="after")
    def _strata_of_a_logistic_regression(self) -> Self:
        if self.by_stratum and self.method != "logistic":
            raise ValueError("by_stratum is for method = 'logistic'")
        return self
