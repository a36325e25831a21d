"""The outcomes of raw records by name: scale, meaning, window, source tables, rule; each is registered here and nowhere
else.

Choice made (DOMAIN A5, B11, K11-K15): an outcome is a family and a window in days, such as readmitted_90d; what counts
as an event is the same in every window. Its function has the family's name (pipelines/outcomes/). Outcomes that
describe only the people who were readmitted are in the outcomes file and cannot be compared: that would condition on
the future.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Scale = Literal["binary", "continuous"]
NHS_RULE, DAYS_OF_NHS_RULE = "readmitted_nhs_14d", 14
_WINDOWED = re.compile(r"([a-z][a-z_]*)_([1-9][0-9]{0,3})d")


@dataclass(frozen=True)
class OutcomeFamily:
    """One kind of outcome.

    `title` is the report's label, with {days} for the window; `tables` are canonical tables (pipelines/tables.py);
    `must_cover` those among them that have to cover the whole window, since finding nothing in them is the outcome
    (whether spells were sent is told by submissions instead: outcomes/observation.py); `is_in_a_cdm` tells whether an
    OMOP CDM holds what is needed.
    """

    name: str
    scale: Scale
    title: str
    meaning: str
    tables: tuple[str, ...]
    rule: str
    is_in_a_cdm: bool = True
    must_cover: tuple[str, ...] = ()


@dataclass(frozen=True)
class Described:
    """A column of the outcomes file that is no outcome to compare; `instead` names the one that is."""

    name: str
    title: str
    meaning: str
    tables: tuple[str, ...]
    rule: str
    instead: str


STAYS = ("spell", "ward_stay", "legal_period", "death")
CONTACTS = ("contact", "death")
TEAMS = ("contact", "referral_team", "death")
EMERGENCY = ("emergency_attendance", "death")

_FAMILIES = (
    OutcomeFamily(
        "readmitted",
        "binary",
        "Psychiatric readmission within {days} days",
        "A later continuous stay in an adult psychiatric bed, at any provider, began in the window",
        STAYS,
        "A5 (primary), K2, K4, K11",
    ),
    OutcomeFamily(
        "n_readmissions",
        "continuous",
        "Number of readmissions in {days} days",
        "How many such stays began in the window",
        STAYS,
        "A5, K11",
    ),
    OutcomeFamily(
        "readmission_free_days",
        "continuous",
        "Days until readmission or death, up to {days}",
        "Days until the first readmission or death, or the whole window: the restricted time to first readmission",
        STAYS,
        "A5 (time to first readmission), K11",
    ),
    OutcomeFamily(
        "is_formally_readmitted",
        "binary",
        "Readmission under detention within {days} days",
        "The first readmission in the window was formal: detained on admission. No readmission counts as no",
        (*STAYS, "community_order"),
        "A5 (type of admission), B8, K13",
        is_in_a_cdm=False,
        must_cover=("legal_period",),
    ),
    OutcomeFamily(
        "is_informally_readmitted",
        "binary",
        "Informal readmission within {days} days",
        "The first readmission in the window was not formal. No readmission counts as no",
        (*STAYS, "community_order"),
        "A5 (type of admission), B8, K13",
        is_in_a_cdm=False,
        must_cover=("legal_period",),
    ),
    OutcomeFamily(
        "days_in_hospital",
        "continuous",
        "Days in psychiatric hospital in {days} days",
        "Days of all readmission stays inside the window; the day of discharge is not counted",
        STAYS,
        "A5 (total days), K1, K11",
    ),
    OutcomeFamily(
        "days_alive_out_of_hospital",
        "continuous",
        "Days alive and out of psychiatric hospital in {days} days",
        "Days until death or the end of the window, less those of readmission stays: dying and being in hospital both "
        "take them away",
        STAYS,
        "A5 (total days), K1, K11, K15",
    ),
    OutcomeFamily(
        "days_in_first_readmission",
        "continuous",
        "Days in the first readmission, in {days} days",
        "Length of the first readmission stay as far as it lies in the window; 0 without a readmission",
        STAYS,
        "A5 (length of stay), K11",
    ),
    OutcomeFamily(
        "n_dna",
        "continuous",
        "Missed appointments in {days} days",
        "Contacts with attendance code 3: did not attend, no warning",
        CONTACTS,
        "A5, B7, K14",
        is_in_a_cdm=False,
        must_cover=("contact",),
    ),
    OutcomeFamily(
        "n_attended",
        "continuous",
        "Attended contacts in {days} days",
        "Contacts with attendance code 5 or 6",
        CONTACTS,
        "B7, K14",
        must_cover=("contact",),
    ),
    OutcomeFamily(
        "dna_rate",
        "continuous",
        "Share of appointments missed in {days} days",
        "Code 3 divided by codes 3, 5 and 6; null for somebody without such a contact in the window. It compares "
        "people who had appointments, which may itself be an effect: read it beside the two counts",
        CONTACTS,
        "A5, B7",
        is_in_a_cdm=False,
        must_cover=("contact",),
    ),
    OutcomeFamily(
        "n_crht",
        "continuous",
        "Crisis team contacts in {days} days",
        "Attended contacts of referrals to a crisis resolution or home treatment team (A02, A03, A04)",
        TEAMS,
        "A5, B6, K14",
        is_in_a_cdm=False,
        must_cover=("contact", "referral_team"),
    ),
    OutcomeFamily(
        "n_crht_episodes",
        "continuous",
        "Crisis team episodes in {days} days",
        "Referrals to such a team, not rejected, that were open on a day of the window, begun before it or in it",
        ("referral", "referral_team", "death"),
        "A5, B6, J",
        is_in_a_cdm=False,
        must_cover=("referral", "referral_team"),
    ),
    OutcomeFamily(
        "n_crht_starts",
        "continuous",
        "Crisis team episodes begun in {days} days",
        "Those of them that were received in the window",
        ("referral", "referral_team", "death"),
        "A5, B6, J",
        is_in_a_cdm=False,
        must_cover=("referral", "referral_team"),
    ),
    OutcomeFamily(
        "n_liaison",
        "continuous",
        "Psychiatric liaison contacts in {days} days",
        "Attended contacts of referrals to a psychiatric liaison team (A11)",
        TEAMS,
        "A5, B6",
        is_in_a_cdm=False,
        must_cover=("contact", "referral_team"),
    ),
    OutcomeFamily(
        "n_ed",
        "continuous",
        "Emergency department attendances in {days} days",
        "Attendances at a type 1 department (ECDS; before it HES A&E), each counted once",
        EMERGENCY,
        "A5, C2, K14",
        must_cover=("emergency_attendance",),
    ),
    OutcomeFamily(
        "n_mh_ed",
        "continuous",
        "Emergency attendances for mental health in {days} days",
        "Those of them that NHS England flags: by complaint, self-inflicted injury or first diagnosis",
        EMERGENCY,
        "A5, C2",
        is_in_a_cdm=False,
        must_cover=("emergency_attendance",),
    ),
    OutcomeFamily(
        "died",
        "binary",
        "Death within {days} days",
        "A registered death in the window",
        ("death",),
        "C3, K15",
        must_cover=("death",),
    ),
    OutcomeFamily(
        "neg_control_admission",
        "binary",
        "Admission for an unrelated physical illness within {days} days (negative control)",
        "An admission with a primary diagnosis of configs/codelists/negative_control.csv began in the window",
        ("hospital_episode", "death"),
        "E3",
        must_cover=("hospital_episode",),
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}

COUNTED_EVENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "n_readmissions": ("readmission", ()),
    "n_dna": ("missed", ()),
    "n_attended": ("attended", ()),
    "dna_rate": ("missed", ("missed", "attended")),
    "n_crht": ("crisis_contact", ()),
    "n_crht_starts": ("crisis_start", ()),
    "n_liaison": ("liaison_contact", ()),
    "n_ed": ("emergency", ()),
    "n_mh_ed": ("mental_health_emergency", ()),
}
"""Families that can be compared as rates → the kind of event counted (outcomes/events.py) and, where it is counted
among chances and not over time, the kinds that make them up. n_crht_episodes has no rate: an episode may have begun
before."""

_FIXED = (
    OutcomeFamily(
        "readmitted_nhs_14d",
        "binary",
        "Readmission within 14 days, NHS England’s rule",
        "Another hospital spell of any bed type began on day 0 to 13 after discharge. Null where the rule leaves the "
        "discharge out: method 4, 6, 7 or 8, or destination 48, 49, 50, 53, 79, 84 or 87",
        ("spell", "ward_stay", "death"),
        "B11",
        is_in_a_cdm=False,
    ),
    OutcomeFamily(
        "placebo_readmission_prior",
        "binary",
        "Psychiatric admission 13 to 24 months before discharge (negative control)",
        "Another psychiatric stay began 730 to 366 days before the index date",
        ("spell", "ward_stay", "hospital_episode"),
        "E3",
    ),
)
FIXED = {family.name: family for family in _FIXED}

_DESCRIBED = (
    Described(
        "days_to_readmission",
        "Days to first readmission",
        "Day of the first readmission after the index date; null without one",
        STAYS,
        "A5, K11",
        "readmission_free_days, or the method cumulative_incidence",
    ),
    Described(
        "is_first_readmission_formal",
        "First readmission was a detention (among those readmitted)",
        "Whether the first readmission was formal; null without one",
        (*STAYS, "community_order"),
        "A5, K13",
        "is_formally_readmitted and is_informally_readmitted",
    ),
    Described(
        "first_readmission_los_days",
        "Length of the first readmission, days (among those readmitted)",
        "Whole length of the first readmission stay, also beyond the window; null without one and while it has no end",
        STAYS,
        "A5",
        "days_in_first_readmission",
    ),
    Described(
        "died_day",
        "Day of death",
        "Day of a registered death in follow-up",
        ("death",),
        "K15",
        "died",
    ),
    Described(
        "censored_day",
        "Last day that was observed",
        "Where observation ended before follow-up did: the end of the data, or of the last month before the provider "
        "fell silent, or (where the protocol names `moved_away`) the day on which the trust closed a referral because "
        "the person had moved out of its area, or (`observation_period`) their observation period in a CDM ended",
        ("submission", "referral", "referral_team", "observation_period"),
        "K12",
        "nothing; unobserved outcomes are null",
    ),
)
DESCRIBED = {column.name: column for column in _DESCRIBED}

SERVICE_USE = tuple(
    name
    for name in FAMILIES
    if name not in ("readmitted", "n_attended", "days_alive_out_of_hospital", "died", "neg_control_admission")
)
"""What A5 lists as secondary service use, next to readmission itself."""

_OF_SHORT_WINDOWS = ("readmitted", "n_readmissions", "days_in_hospital")
PresetName = Literal["nhs_14_day", "30_day", "90_day", "enrich"]
PRESETS: dict[PresetName, tuple[str, str]] = {
    "nhs_14_day": ("readmitted_nhs_14d", "NHS England’s own readmission rule (B11)"),
    "30_day": (
        " ".join(f"{name}_30d" for name in _OF_SHORT_WINDOWS),
        "A 30-day window. No NHS measure of mental-health readmission within 30 days exists",
    ),
    "90_day": (" ".join(f"{name}_90d" for name in _OF_SHORT_WINDOWS), "A 90-day window"),
    "enrich": (
        " ".join(f"{name}_365d" for name in ("readmitted", *SERVICE_USE, "died")),
        "Every service-use outcome of the ENRICH trial in the year after discharge (A5), and death",
    ),
}
"""Preset → the outcomes it stands for, separated by blanks, and why."""


def expand_presets(presets: Iterable[PresetName]) -> list[str]:
    """The outcomes that the presets stand for, in order, each once."""
    return list(dict.fromkeys(name for preset in presets for name in PRESETS[preset][0].split()))


def split_name(name: str) -> tuple[str, int] | None:
    """('readmitted', 90) of 'readmitted_90d'; None for any other name."""
    found = _WINDOWED.fullmatch(name)
    return (found.group(1), int(found.group(2))) if found and found.group(1) in FAMILIES else None


def window_of(name: str) -> int | None:
    """Days after time zero that an outcome looks at; None where it looks elsewhere, or is none of these."""
    split = split_name(name)
    return split[1] if split else DAYS_OF_NHS_RULE if name == NHS_RULE else None


def is_counted(name: str) -> bool:
    """Whether an outcome of raw records can be compared as a rate."""
    split = split_name(name)
    return split is not None and split[0] in COUNTED_EVENTS


def family_of(name: str) -> OutcomeFamily | None:
    """The family of an outcome, with or without a window in its name."""
    split = split_name(name)
    return FAMILIES[split[0]] if split else FIXED.get(name)


def title_of(name: str) -> str | None:
    """The report's label of an outcome or column of the outcomes file; None for any other name."""
    split, family = split_name(name), family_of(name)
    if family is None:
        return DESCRIBED[name].title if name in DESCRIBED else None
    return family.title.format(days=split[1]) if split else family.title


def fault_of(name: str, follow_up_days: int) -> str | None:
    """Why an outcome of raw records cannot be studied with this follow-up; None where it can."""
    if name in DESCRIBED:
        return f"{name} is known for some people only and cannot be compared; take {DESCRIBED[name].instead}"
    family = family_of(name)
    if family is None:
        known = ", ".join([*(f"{family}_<days>d" for family in FAMILIES), *FIXED])
        return f"{name} not known; known are {known}"
    window = window_of(name)
    if window is not None and window > follow_up_days:
        return f"{name} looks at {window} days and follow_up.days is {follow_up_days}"
    return None
