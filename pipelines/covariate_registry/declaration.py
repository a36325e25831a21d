"""What is declared of a covariate.

A covariate is known before time zero (DOMAIN E1). `tables` are the canonical tables it needs (pipelines.tables; after a
dot, a column that some extracts leave out, or the rows with one code; `stays` are the continuous stays). Where nothing
was found, the value is 0 or False only if `none_is_known` and the extract holds all of these tables over the whole
look-back; otherwise it is null. Counts and rates are null too where only a part of it is held (covariates.coverage).
`measured_by` names the short function in pipelines/covariates that finds it.
"""

from dataclasses import dataclass
from typing import Any, Literal

Form = Literal["count", "days_since", "latest", "rate", "indicator", "category"]
FORMS: dict[Form, str] = {
    "count": "number of events or days in the look-back",
    "days_since": "days from the latest event in the look-back to time zero; null where there was none",
    "latest": "the value that was last known",
    "rate": "a share; null where its denominator is 0",
    "indicator": "true or false",
    "category": "one of several levels; for `categorical`",
}
EVER = 36_525  # a hundred years: as far back as the sources reach
IN_NO_CDM = frozenset(
    {
        "accommodation",
        "assessment",
        "care_plan",
        "care_programme",
        "community_order",
        "delayed_discharge",
        "employment",
        "legal_period",
        "referral",
        "referral.out_of_area_code",
        "referral_team",
        "spell.planned_discharge_date",
        "ward_incident",
        "ward_stay",
    }
)
"""Tables of which an OMOP CDM fills none, or not what the covariates need."""


@dataclass(frozen=True)
class Covariate:
    """One covariate. `look_back_days` counts back from the index date, or from the index admission where `before` says
    so; 0 is the state on the day itself (for `before = "admission"`: during the index stay), EVER all there is.
    `not_in_synthetic`: the project's own generator draws nothing for it, so it is null or alike for everybody there."""

    name: str
    form: Form
    measured_by: str
    tables: tuple[str, ...]
    meaning: str
    evidence: str
    look_back_days: int = 0
    before: Literal["index", "admission"] = "index"
    none_is_known: bool = False
    cdm_cannot_tell: bool = False
    not_in_synthetic: bool = False

    @property
    def is_in_a_cdm(self) -> bool:
        """Whether an OMOP CDM can tell it."""
        needed = {*self.tables, *(table.partition(".")[0] for table in self.tables)}
        return not self.cdm_cannot_tell and not IN_NO_CDM & needed

    @property
    def sees_earlier_years(self) -> bool:
        """Whether it counts events further back than a year, other than diagnoses (DOMAIN E3)."""
        return 365 < self.look_back_days < EVER and not self.measured_by.startswith("diagnoses.")


def declare(
    name: str, form: Form, measured_by: str, tables: str, meaning: str, evidence: str, days: int = 0, **more: Any
) -> Covariate:
    """A covariate; `tables` are named in one text, blanks between them."""
    return Covariate(name, form, measured_by, tuple(tables.split()), meaning, evidence, days, **more)


KNOWN: dict[str, Any] = {"none_is_known": True}
OF_ADMISSION: dict[str, Any] = {"before": "admission"}
NOT_IN_A_CDM: dict[str, Any] = {"cdm_cannot_tell": True}
NOT_DRAWN: dict[str, Any] = {"not_in_synthetic": True}
