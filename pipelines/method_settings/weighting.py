"""Settings of the design methods that make weights only."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.method_settings.section import Section

TrimRule = Literal["none", "common_support", "crump", "crump_optimal", "asymmetric", "preference"]


class Trimming(Section):
    """Which rows are left out because of their score."""

    trim: TrimRule = Field(
        "none",
        description="common_support: outside the other arm's range of scores; crump: scores beyond 0.1 and 0.9 (next "
        "to nobody stays where treatment is rare); crump_optimal: beyond the limits of smallest variance (ATE); "
        "asymmetric: below the 5th percentile of the treated or above the 95th of the candidates (Stürmer); "
        "preference: preference scores beyond 0.3 and 0.7 (equipoise). The score is that of everybody, not fitted "
        "again to the rows kept, and effects are those of the rows kept",
    )
    trim_at: float | None = Field(None, gt=0, lt=0.5, description="In place of that 0.1, 5 % or 0.3")

    @model_validator(mode="after")
    def _limit_of_a_rule(self) -> Self:
        if self.trim_at is not None and self.trim not in ("crump", "asymmetric", "preference"):
            raise ValueError(f"trim_at has no meaning with trim = {self.trim!r}")
        return self


class WeightingSettings(Trimming):
    """Weights from the propensity score: odds (ATT, ATC), inverse probability (ATE), overlap weights (ATO)."""

    stabilise: bool = Field(False, description="ATE: multiply by the share of the arm")
    truncate_quantile: float = Field(1.0, gt=0.5, le=1, description="Weights above this quantile are set to it")


class MatchingWeightsSettings(Trimming):
    """Matching weights (Li & Greene 2013): the smaller of the two probabilities over that of the arm received. Their
    population is that of a 1:1 match, named ATO here; where every score is below one half it is the treated."""


class EntropyBalancingSettings(Section):
    """Weights that give the arms the same means of the covariates exactly (Hainmueller 2012); where none do, the design
    is refused and the covariates are named."""

    moments: Literal["means", "variances"] = Field("means", description="variances: the covariates' squares as well")


class BalancingScoreSettings(Section):
    """The covariate-balancing propensity score (Imai & Ratkovic 2014). Just-identified, its coefficients solve the
    balance equations: for the ATT and ATC it is entropy balancing, for the ATE inverse probabilities."""

    equations: Literal["balance", "balance_and_fit"] = Field(
        "balance",
        description="balance: just-identified, exact balance or a refusal; balance_and_fit: over-identified (the "
        "likelihood's equations as well), balance as far as that allows, and a test (J) of whether one score does both",
    )


class StableBalancingSettings(Section):
    """Weights of least variance that keep the arms' means within a tolerance (Zubizarreta 2015). Where none do, the
    design is refused and the covariates are named. Standard errors take the weights as fixed."""

    tolerance: float = Field(
        0.02,
        ge=0,
        description="Largest distance of an arm's mean of a covariate from the population's, in the population's "
        "standard deviations (ATE: the two arms may differ by twice that; the report's standardised difference divides "
        "by the arms' own, and may be larger)",
    )
