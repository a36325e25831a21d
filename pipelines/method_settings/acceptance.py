"""What a design must reach before any outcome is opened, and what must be left of it where outcomes were not observed:
`[acceptance]` and `[power]` of a protocol."""

from typing import Self

from pydantic import Field, model_validator

from models.results import Estimand
from pipelines.method_settings.section import Probability, Section, Share


class Acceptance(Section):
    """What a design must reach before any outcome is opened (Rubin 2008). A threshold left out is measured and shown
    all the same, and lets every value pass. Of each outcome that some people leave because theirs was not observed, the
    thresholds of balance and of effective numbers must hold among those analysed as well, or it is not estimated; of
    mean counts and proportional rates, among those still observed on each quarter of follow-up."""

    max_abs_smd: float = Field(0.1, gt=0, description="Largest standardised mean difference after the design")
    max_variance_ratio: float | None = Field(None, gt=1, description="Largest variance ratio (or its inverse), if any")
    max_ks: float | None = Field(
        None, gt=0, le=1, description="Largest Kolmogorov-Smirnov distance of a covariate after the design"
    )
    max_abs_smd_products: float | None = Field(
        None, gt=0, description="Largest standardised difference of a square or a product of two covariates"
    )
    min_effective_controls: float = Field(30.0, ge=0, description="Smallest effective number of controls")
    min_effective_treated: float | None = Field(
        None,
        ge=0,
        description="Smallest effective number of treated people: under the ATE, ATC and ATO they carry weights too, "
        "and a few may stand for everybody. Left out, it is set to min_effective_controls there, and the protocol of "
        "the run says so",
    )
    min_share_treated_kept: Share = Field(
        0.8, description="Smallest share of treated people kept in the design (not asked under the ATC)"
    )
    min_share_population_kept: Share = Field(
        0.8,
        description="Smallest share kept of the people the estimand is about: under the ATE everybody, under the ATC "
        "the candidates, under the ATO everybody as far as they overlap (by score × (1 - score)). Not kept are people "
        "trimmed or unmatched, in exact groups without anybody treated, and without a covariate that must be known. "
        "Not asked under the ATT, whose people are the treated",
    )
    min_overlap: Share = Field(0.1, description="Smallest overlap coefficient of the two score distributions")
    min_equipoise: Share | None = Field(
        None, description="Smallest share of rows with a preference score of 0.3 to 0.7 (Walker 2013)"
    )
    min_generalisability: Share | None = Field(
        None, description="Smallest generalisability index of the kept among all participants (Tipton 2014; ATT, ATO)"
    )
    min_detectable_risk_ratio: Share | None = Field(
        None,
        description="A fall in risk to this ratio must be found with the power of `[power]`: the detectable ratio "
        "below 1 must be at least this. Needs power.baseline_risk",
    )
    max_share_unobserved: Share = Field(
        0.2,
        description="Largest share of either arm of the design, by weight, whose outcome was not observed; above it "
        "that outcome is not estimated. Also asked of randomised arms; not of methods that use everybody until "
        "observation ends (times to events, mean counts)",
    )

    def resolved(self, estimand: Estimand) -> Self:
        """With the threshold of the treated, where they stand in for others and it was left out: that of controls."""
        if self.min_effective_treated is not None or estimand == "ATT":
            return self
        return self.model_copy(update={"min_effective_treated": self.min_effective_controls})


class Power(Section):
    """What is assumed to say, before any outcome is read, how small an effect the design could find. Two-sided."""

    baseline_risk: Probability | None = Field(
        None, description="Assumed risk of the primary outcome without the intervention; from the literature"
    )
    power: Probability = Field(0.8, description="Chance to find the effect")
    alpha: Probability = Field(0.05, description="Chance to find one where there is none")
    person_correlation: Share = Field(
        1.0, description="Correlation between outcomes of one person's discharges; 1: they tell no more than one"
    )

    @model_validator(mode="after")
    def _power_beyond_chance(self) -> Self:
        if self.power <= self.alpha / 2:
            raise ValueError("power must be above alpha / 2")
        return self
