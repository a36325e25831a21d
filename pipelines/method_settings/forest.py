"""Settings of the causal forest."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.method_settings.section import Section

TREES_A_FOLD = 8
"""Two bags of four: a variance needs as many (models/forest/growing.py)."""


class CausalForestSettings(Section):
    """Causal forest of EconML's trees on the designed sample, for the primary outcome and design."""

    trees: int = Field(
        500, ge=16, multiple_of=2, description="Trees; they grow in pairs on a half-sample, at least eight a fold"
    )
    min_leaf: int = Field(5, ge=1, description="Smallest leaf")
    folds: int = Field(5, ge=2, le=50, description="Folds of the nuisance models, and of judging differences")
    subgroups: tuple[str, ...] = Field(
        (),
        description="Covariates by which effects are estimated and compared: categories by level, numbers at the "
        "median of the people the effect is about, people without a value a level of their own. Fixed beforehand, like "
        "everything here",
    )
    multiplicity: Literal["holm", "benjamini_hochberg", "none"] = Field(
        "holm", description="Correction of the tests of interaction for the number of subgroup covariates"
    )
    better: Literal["lower", "higher"] = Field(
        "lower", description="Which direction of the outcome is a gain: for the ranking of people and the policy tree"
    )
    policy_depth: int = Field(2, ge=0, le=2, description="Levels of questions of the policy tree; 0: all or nobody")
    grown_by: Literal["this_project", "econml"] = Field(
        "this_project",
        description="Who grows the trees: the same ones are found eight times faster here; econml is for comparison",
    )

    @model_validator(mode="after")
    def _trees_for_every_fold(self) -> Self:
        if self.trees < TREES_A_FOLD * self.folds:
            raise ValueError(f"trees must be at least {TREES_A_FOLD} a fold: {TREES_A_FOLD * self.folds}")
        return self


class CensoredForestSettings(CausalForestSettings):
    """Causal forests for times that may be cut short: risk of readmission until the end of follow-up, and days lost,
    on the primary design, with weights for the end of observation."""

    censoring_penalty: float = Field(1.0, ge=0, description="Ridge penalty of the model of the end of observation")
    largest_censoring_weight: float = Field(10.0, gt=1, description="Where censoring weights are capped")
