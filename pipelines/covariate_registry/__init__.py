"""Every covariate that raw records can give, declared once: used for measuring, checking protocols and the docs."""

from difflib import get_close_matches

from pipelines.covariate_registry.clinical import COMMUNITY_CARE, DIAGNOSES, SYMPTOMS
from pipelines.covariate_registry.declaration import EVER, FORMS, Covariate, Form
from pipelines.covariate_registry.person import PERSON
from pipelines.covariate_registry.service_use import SERVICE_USE
from pipelines.covariate_registry.stays import EARLIER_STAYS, INDEX_STAY

__all__ = ["EVER", "FORMS", "GROUPS", "OF_THE_COHORT", "REGISTRY", "Covariate", "Form", "unknown_names"]

GROUPS: dict[str, tuple[Covariate, ...]] = {
    "The index stay": INDEX_STAY,
    "Earlier psychiatric stays": EARLIER_STAYS,
    "The person": PERSON,
    "Service use": SERVICE_USE,
    "Diagnoses": DIAGNOSES,
    "Symptoms": SYMPTOMS,
    "Community care": COMMUNITY_CARE,
}
REGISTRY: dict[str, Covariate] = {covariate.name: covariate for group in GROUPS.values() for covariate in group}
OF_THE_COHORT = ("trust",)
"""Covariates that stand in the cohort file, not among the baseline columns."""


def unknown_names(names: list[str]) -> list[str]:
    """A problem for each name that no covariate has, with the names nearest to it."""
    problems = []
    for name in names:
        if name not in REGISTRY:
            near = get_close_matches(name, REGISTRY, n=3, cutoff=0.6)
            hint = f"near it: {', '.join(near)}" if near else "docs/covariates.md lists them all"
            problems.append(f"covariates: '{name}' is not measured from raw records; {hint}")
    return problems
