"""Settings of the effect methods for rates, for days that many people have none of, and for recurrent events."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.method_settings.section import Section
from pipelines.method_settings.times import Censoring, LargestWeight, Penalty

WeightsAre = Literal["estimated", "fixed"]
WindowCensoring = Annotated[
    Literal["none", "weights"],
    Field(
        description="none: all events and time that were seen count, and people lost to observation are taken to have "
        "the rate of those of their arm who stay; weights: only windows seen to their end or to death count, weighted "
        "for those of people alike in the covariates that were not (inverse probability of censoring); refused where "
        "the end of the data cuts more than a twentieth of the windows of an arm"
    ),
]
WEIGHTS_ARE = "estimated: the error accounts for the fitted score; fixed: classical sandwich"


class QuasiPoissonSettings(Section):
    """Events by time at risk, with an error that minds over-dispersion."""

    weights_are: WeightsAre = Field("estimated", description=WEIGHTS_ARE)
    censoring: WindowCensoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class NegativeBinomialSettings(Section):
    """Rates of a negative binomial regression on treatment."""

    weights_are: WeightsAre = Field("estimated", description=WEIGHTS_ARE)
    censoring: WindowCensoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class TwoPartSettings(Section):
    """Whether there is any (logistic) and how much (gamma), on the covariates, with the weighted residual added."""

    l2_penalty: float = Field(1.0, gt=0, description="Ridge penalty of both parts, on standardised columns")
    weights_are: WeightsAre = Field("estimated", description=WEIGHTS_ARE)


class MeanCumulativeCountSettings(Section):
    """Mean number of readmissions by each day, with death as the end of them; difference and ratio."""

    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0


class LwyySettings(Section):
    """Ratio of the rates of readmission among people alive (Lin, Wei, Yang and Ying)."""

    weights_are: WeightsAre = Field("estimated", description=WEIGHTS_ARE)
    censoring: Censoring = "none"
    censoring_penalty: Penalty = 1.0
    largest_censoring_weight: LargestWeight = 10.0
