"""Covariates of contacts, attendances, admissions and incidents: a kind of event in one or more forms."""

from typing import Any

from pipelines.covariate_registry.declaration import NOT_DRAWN, NOT_IN_A_CDM, Covariate, declare
from pipelines.covariate_registry.evidence import OURS, USE


def _forms(
    event: str, stem: str, tables: str, what: str, evidence: str, days: int = 365, short: str = "", **more: Any
) -> tuple[Covariate, ...]:
    """The two forms of a kind of event: how many, and how long ago the latest was."""
    by = f"service_use.{event}"
    return (
        declare(f"n_{stem}_{days}d_before", "count", by, tables, what, evidence, days, none_is_known=True, **more),
        declare(
            f"days_since_last_{short or stem}",
            "days_since",
            by,
            tables,
            f"the latest of {what}",
            evidence,
            days,
            **more,
        ),
    )


_TEAM = "contact referral_team"
SERVICE_USE = (
    *_forms("attended_contacts", "attended", "contact", "attended contacts (5, 6)", USE, short="attended_contact"),
    *_forms("missed_contacts", "dna", "contact", "missed contacts (3)", USE, **NOT_IN_A_CDM),
    declare(
        "dna_rate_365d_before",
        "rate",
        "service_use.missed_share",
        "contact",
        "3 / (3 + 5 + 6) (B7)",
        USE,
        365,
        **NOT_IN_A_CDM,
    ),
    *_forms("crisis_contacts", "crht", _TEAM, "attended contacts of crisis teams (A02 to A04)", USE),
    *_forms(
        "crisis_spells",
        "crht_spells",
        "referral referral_team",
        "accepted referrals to crisis teams, by the day they were received",
        USE,
        short="crht_spell",
    ),
    *_forms("liaison_contacts", "liaison", _TEAM, "attended contacts of psychiatric liaison (A11)", USE, **NOT_DRAWN),
    *_forms(
        "community_contacts",
        "cmht_attended",
        _TEAM,
        "attended contacts of community teams (A06)",
        USE,
        short="cmht_contact",
    ),
    *_forms("missed_community_contacts", "cmht_dna", _TEAM, "missed contacts of community teams (A06)", USE),
    declare(
        "cmht_dna_rate_365d_before",
        "rate",
        "service_use.missed_share",
        _TEAM,
        "3 / (3 + 5 + 6) of community teams (A06)",
        USE,
        365,
    ),
    *_forms("emergency", "ed", "emergency_attendance", "emergency attendances (K14)", USE),
    *_forms(
        "mental_health_emergency",
        "mh_ed",
        "emergency_attendance",
        "emergency attendances for mental health (C2)",
        USE,
        **NOT_IN_A_CDM,
    ),
    *_forms(
        "self_harm_emergency",
        "self_harm",
        "emergency_attendance",
        "emergency attendances for self-harm (C2)",
        OURS,
        730,
        "self_harm_attendance",
        **NOT_IN_A_CDM,
    ),
    *_forms(
        "self_harm_admissions",
        "self_harm_admissions",
        "hospital_episode",
        "hospital admissions with X60 to X84 in any position",
        OURS,
        730,
        "self_harm_admission",
        **NOT_IN_A_CDM,
        **NOT_DRAWN,
    ),
    declare(
        "has_self_harm_730d_before",
        "indicator",
        "service_use.self_harm",
        "emergency_attendance hospital_episode",
        "either of the two",
        OURS,
        730,
        none_is_known=True,
        **NOT_IN_A_CDM,
    ),
    declare(
        "has_ward_self_harm_730d_before",
        "indicator",
        "service_use.ward_self_harm",
        "ward_incident.incident_kind_code=SELF_HARM",
        "a self-harm incident on a ward (MHS507), by the month it was sent for",
        OURS,
        730,
        none_is_known=True,
        **NOT_DRAWN,
    ),
    declare(
        "has_ward_substance_misuse_730d_before",
        "indicator",
        "service_use.ward_substance_misuse",
        "ward_incident.incident_kind_code=SUBSTANCE",
        "substance misuse on a ward (MHS513), by the month it was sent for",
        OURS,
        730,
        none_is_known=True,
        **NOT_DRAWN,
    ),
    *_forms(
        "physical_admissions",
        "physical_admissions",
        "hospital_episode",
        "continuous inpatient spells in HES without a psychiatric specialty",
        OURS,
        730,
        "physical_admission",
    ),
)
