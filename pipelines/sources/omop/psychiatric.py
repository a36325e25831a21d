"""Visits of a CDM -> which of them are stays in hospital that the study follows, and by which rule each was found.

Choice made (DOMAIN D3), the first rule that fits: the visit concept is a psychiatric hospital (or a descendant); an
inpatient visit comes from a psychiatric specialty (710-715) or from MHSDS, as its own source value or that of its care
site says; the main condition of an inpatient visit is a mental disorder. The last mixes physical wards with psychiatric
diagnoses, which is why the rule stands beside every stay. A study may take any inpatient stay in place of them.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import polars as pl

from pipelines.codelists import read_codelist

Stays = Literal["psychiatric", "any_inpatient"]
CONCEPT, SPECIALTY, DIAGNOSIS, ANY_INPATIENT = "CONCEPT", "SPECIALTY", "DIAGNOSIS", "ANY_INPATIENT"
_PSYCHIATRIC_SOURCE = r"(?i)\bMHSDS\b|(?:^|[^0-9A-Za-z.])71[0-5](?:$|[^0-9A-Za-z.])"
_ICD10_F = r"(?i)^\s*F\d\d"


def roots() -> list[int]:
    """The concepts whose descendants are asked for in concept_ancestor."""
    visits = {**read_codelist("omop_psychiatric_visit"), **read_codelist("omop_inpatient_visit")}
    return sorted(int(code) for code in {**visits, **read_codelist("omop_mental_disorder")})


def find_stays(staged: Mapping[str, pl.DataFrame], stays: Stays) -> pl.DataFrame:
    """The visits (omop_visit) with two columns more.

    Returns:
        `is_inpatient`: a stay in hospital of any kind; `found_by_code`: the rule that makes it one to follow, or null.
    """
    visits, ancestors = staged["omop_visit"], staged["omop_concept_ancestor"]
    concept = pl.col("visit_concept_id")
    in_psychiatry = concept.is_in(with_descendants(read_codelist("omop_psychiatric_visit"), ancestors))
    is_inpatient = in_psychiatry | concept.is_in(with_descendants(read_codelist("omop_inpatient_visit"), ancestors))
    known = _add_sources(visits, staged["omop_care_site"])
    mental = _visits_for_mental_disorder(staged["omop_condition"], ancestors)
    found = known.join(mental, on=["person_id", "row_id"], how="left", maintain_order="left")
    rule: pl.Expr = (
        pl.when(in_psychiatry)
        .then(pl.lit(CONCEPT))
        .when(is_inpatient & pl.col("_is_psychiatric_source"))
        .then(pl.lit(SPECIALTY))
        .when(is_inpatient & pl.col("_is_mental").fill_null(False))
        .then(pl.lit(DIAGNOSIS))
    )
    if stays == "any_inpatient":
        rule = pl.when(is_inpatient).then(pl.coalesce(rule, pl.lit(ANY_INPATIENT)))
    return found.with_columns(is_inpatient=is_inpatient, found_by_code=rule).drop(
        "_is_psychiatric_source", "_is_mental"
    )


def with_descendants(codes: Iterable[str], ancestors: pl.DataFrame) -> list[int]:
    """The concepts of a code list and, where concept_ancestor tells them, all below them."""
    listed = [int(code) for code in codes]
    below = ancestors.filter(pl.col("ancestor_concept_id").is_in(listed))["descendant_concept_id"]
    return sorted({*listed, *below.to_list()})


def one_each(rows: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """The row of each key that comes first in the order of its cells, wherever it was read."""
    cells = sorted(set(rows.columns) - {"_file", "_line"})
    return rows.sort(cells, nulls_last=True).unique(keys, keep="first", maintain_order=True)


def is_main_condition() -> pl.Expr:
    """Whether a condition (omop_condition) was the main one of its visit, or the one that led to it."""
    main = [int(code) for code in read_codelist("omop_primary_condition")]
    return pl.col("condition_status_concept_id").is_in(main).fill_null(False)


def _add_sources(visits: pl.DataFrame, care_sites: pl.DataFrame) -> pl.DataFrame:
    sites = one_each(care_sites, "care_site_id").select(
        "care_site_id", _site="care_site_source", _place="place_of_service_source"
    )
    says_so = [pl.col(name).str.contains(_PSYCHIATRIC_SOURCE).fill_null(False) for name in _SOURCES]
    joined = visits.join(sites, on="care_site_id", how="left", maintain_order="left")
    return joined.with_columns(_is_psychiatric_source=pl.any_horizontal(says_so)).drop("_site", "_place")


_SOURCES = ("visit_source", "_site", "_place")


def _visits_for_mental_disorder(conditions: pl.DataFrame, ancestors: pl.DataFrame) -> pl.DataFrame:
    disorders = with_descendants(read_codelist("omop_mental_disorder"), ancestors)
    is_mental = pl.col("condition_concept_id").is_in(disorders) | pl.col("condition_source").str.contains(
        _ICD10_F
    ).fill_null(False)
    return (
        conditions.filter(is_main_condition() & is_mental & pl.col("visit_id").is_not_null())
        .select("person_id", row_id="visit_id")
        .unique()
        .with_columns(_is_mental=pl.lit(True))
    )
