"""Settings of the effect methods for outcomes that are one number a person."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.method_settings.section import Section

NUISANCES = (
    "regressions: logistic and linear; boosted: regressions and boosted trees, whichever foresee treatment and outcome "
    "better out of fold, for a few hundred treated or more where selection or outcome may bend (slower)"
)

Unobserved = Annotated[
    Literal["left_out", "weights"],
    Field(
        description="left_out: people whose outcome was not observed leave the comparison, and those observed are "
        "taken to be like them; weights: those observed who are alike in arm and covariates stand for them (inverse "
        "probability of observation), so that the effect is that in everybody of the design"
    ),
]
ObservationPenalty = Annotated[float, Field(ge=0, description="Ridge penalty of the model of who is observed")]
LargestObservationWeight = Annotated[float, Field(gt=1, description="Where observation weights are capped")]


class WeightedDifferenceSettings(Section):
    """Weighted means by arm with cluster-robust errors."""

    weights_are: Literal["estimated", "fixed"] = Field(
        "estimated", description="estimated: the error accounts for the fitted score; fixed: classical sandwich"
    )
    unobserved: Unobserved = "left_out"
    observation_penalty: ObservationPenalty = 1.0
    largest_observation_weight: LargestObservationWeight = 10.0


class GComputationSettings(Section):
    """A regression of the outcome in each arm, averaged over the people of the estimand."""

    l2_penalty: float = Field(1.0, ge=0, description="Ridge penalty on standardised covariates; 0 = none")
    unobserved: Unobserved = "left_out"
    observation_penalty: ObservationPenalty = 1.0
    largest_observation_weight: LargestObservationWeight = 10.0


class AdjustedRegressionSettings(Section):
    """The same with the design's weights: adjusts for what imbalance the design left."""

    l2_penalty: float = Field(1.0, ge=0, description="Ridge penalty; the larger, the nearer to the weighted difference")
    weights_are: Literal["estimated", "fixed"] = Field(
        "estimated", description="estimated: the error accounts for the fitted score; fixed: classical sandwich"
    )
    unobserved: Unobserved = "left_out"
    observation_penalty: ObservationPenalty = 1.0
    largest_observation_weight: LargestObservationWeight = 10.0


class AipwSettings(Section):
    """Cross-fitted doubly robust estimate."""

    folds: int = Field(5, ge=2, le=50, description="Folds of cross-fitting")
    l2_penalty: float = Field(1.0, gt=0, description="Ridge penalty of both nuisance models")
    nuisances: Literal["regressions", "boosted"] = Field("regressions", description=NUISANCES)


class TmleSettings(Section):
    """Cross-fitted targeted maximum likelihood: doubly robust, and never outside the range of the outcome."""

    folds: int = Field(5, ge=2, le=50, description="Folds of cross-fitting")
    l2_penalty: float = Field(1.0, gt=0, description="Ridge penalty of both nuisance models")
    nuisances: Literal["regressions", "boosted"] = Field("regressions", description=NUISANCES)


class ClusterBootstrapSettings(Section):
    """A check of the weighted difference: its standard error from drawing whole matched sets, or persons, again."""

    replicates: int = Field(1000, ge=50, le=100_000, description="Number of times the clusters are drawn")
    weights_are: Literal["estimated", "fixed"] = Field(
        "estimated", description="estimated: each replicate moves the score by one Newton step; fixed: weights stay"
    )
