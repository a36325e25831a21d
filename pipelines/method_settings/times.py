"""Settings of the effect methods for times to events."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipelines.method_settings.section import Section

Day = Annotated[int, Field(ge=1)]
Days = Annotated[
    tuple[Day, ...], Field(description="Days at which the arms are compared, beside the last of follow-up")
]
Ties = Annotated[
    Literal["efron", "breslow"], Field(description="Events on one day: Efron's approximation, or Breslow's")
]
Adjust = Annotated[
    bool, Field(description="Covariates in the model too: a ratio among people alike, no longer the marginal one")
]

Censoring = Annotated[
    Literal["none", "weights"],
    Field(
        description="none: people lost to observation are taken to have the risk of those of their arm who stay; "
        "weights: of those who stay and are alike in the covariates (inverse probability of censoring)"
    ),
]
Penalty = Annotated[float, Field(ge=0, description="Ridge penalty of the model of the end of observation")]
LargestWeight = Annotated[float, Field(gt=1, description="Where censoring weights are capped")]


class CumulativeIncidenceSettings(Section):
    """Aalen-Johansen curves of readmission with death competing; risk difference and ratio."""

    times: Days = ()
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class KaplanMeierSettings(Section):
    """Curves of readmission or death, whichever comes first; risk difference and ratio."""

    times: Days = ()
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class TimeLostSettings(Section):
    """Mean days lost to readmission, with death competing; difference and ratio."""

    times: Days = ()
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class FirstReadmissionTypeSettings(Section):
    """Curves of voluntary and detained first readmission, competing with each other and death."""

    times: Days = ()
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class CoxSettings(Section):
    """Hazard ratio of readmission or death, whichever comes first."""

    ties: Ties = "efron"
    adjust: Adjust = False
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class CauseSpecificCoxSettings(Section):
    """Hazard ratios of readmission and of death, each among people without either so far."""

    ties: Ties = "efron"
    adjust: Adjust = False
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class FineGraySettings(Section):
    """Subdistribution hazard ratio of readmission with death competing."""

    ties: Ties = "efron"
    adjust: Adjust = False
    censoring_by: Literal["arm", "everybody"] = Field(
        "arm", description="Whose curve of being still observed weights the dead: each arm's own, or one for all"
    )
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0

    @model_validator(mode="after")
    def _one_model_of_the_end_of_observation(self) -> Self:
        if self.censoring == "weights" and self.censoring_by != "arm":
            raise ValueError("with censoring = 'weights' each arm has its own model: leave censoring_by at 'arm'")
        return self
