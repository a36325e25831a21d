"""Covariates of the person."""

from pipelines.covariate_registry.declaration import EVER, NOT_DRAWN, NOT_IN_A_CDM, declare
from pipelines.covariate_registry.evidence import HOUSING

PERSON = (
    declare("is_female", "indicator", "person.demographics", "person_month", "null unless 1 or 2 (B10)", "P-DON"),
    declare(
        "gender", "category", "person.demographics", "person_month", "male, female, non_binary or other (B10)", "P-DON"
    ),
    declare(
        "is_married", "indicator", "person.demographics", "person_month", "marital status M", HOUSING, **NOT_IN_A_CDM
    ),
    declare(
        "marital_status",
        "category",
        "person.demographics",
        "person_month",
        "code as last sent",
        HOUSING,
        **NOT_IN_A_CDM,
    ),
    declare("imd_decile", "latest", "person.deprivation", "person_month", "IMD 2015, 1 is most deprived", "P-OSB [M]"),
    declare(
        "imd_2019_decile", "latest", "person.deprivation", "person_month", "IMD 2019, 1 is most deprived", "P-OSB [M]"
    ),
    declare(
        "imd_decile_of_period",
        "latest",
        "person.deprivation",
        "person_month",
        "IMD 2015 for discharges to the end of 2019, IMD 2019 after (B10)",
        "P-OSB [M]",
    ),
    declare(
        "ethnic_group",
        "category",
        "person.ethnic_category",
        "person_month",
        "white, mixed, asian, black, other or unknown, of the most frequent valid letter (K15)",
        "P-OSB [M]",
        EVER,
    ),
    declare(
        "ethnic_category",
        "category",
        "person.ethnic_category",
        "person_month",
        "that letter (16+1); null where none is valid",
        "P-OSB [M]",
        EVER,
    ),
    declare(
        "is_settled", "indicator", "person.accommodation", "accommodation", "settled, as last recorded", HOUSING, 365
    ),
    declare(
        "is_homeless",
        "indicator",
        "person.accommodation",
        "accommodation",
        "homeless or temporary (HM00 to HM07), as last recorded; null for the numbered codes of version 5 and 6, whose "
        "labels are not public",
        HOUSING,
        365,
        **NOT_DRAWN,
    ),
    declare("is_employed", "indicator", "person.employment", "employment", "as last recorded", "P-DON", 365),
    declare(
        "employment_status", "category", "person.employment", "employment", "code as last recorded (B10)", "P-DON", 365
    ),
)
