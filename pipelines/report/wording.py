"""Names and numbers become words a clinician reads: labels, formats and cautious sentences. No result is made here."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pipelines.outcome_registry import title_of
from pipelines.report.covariate_labels import COVARIATE_LABELS

MINUS = "−"
SUPPRESSED_MARK = "*"

_LABELS = {
    "age_years": "Age, years",
    "log_index_days": "Length of index stay, log days",
    "index_days": "Length of index stay, days",
    "is_transferred": "Transferred during the index stay",
    "is_detained_on_admission": "Detained on admission",
    "is_self_discharge": "Self-discharge",
    "is_discharged_home": "Discharged to usual residence",
    "distance_home_km": "Distance from home to ward, km",
    "stratum": "Diagnostic group",
    "index_month": "Month of discharge (calendar)",
    "n_prior_stays_730d": "Earlier psychiatric stays, 730 days",
    "prior_inpatient_days_730d": "Earlier inpatient days, 730 days",
    "days_since_last_discharge": "Days since last discharge",
    "is_female": "Women",
    "ethnic_group": "Ethnic group",
    "is_married": "Married",
    "imd_decile": "Deprivation decile (1 = most deprived)",
    "is_settled": "Settled accommodation",
    "is_employed": "Employed",
    "n_attended_365d_before": "Attended contacts, 365 days before",
    "n_dna_365d_before": "Missed appointments, 365 days before",
    "n_crht_365d_before": "Crisis team contacts, 365 days before",
    "n_ed_365d_before": "Emergency attendances, 365 days before",
    "n_self_harm_730d_before": "Self-harm attendances, 730 days before",
    "has_personality_disorder": "Personality disorder coded, 730 days",
    "has_substance_disorder": "Substance use disorder coded, 730 days",
    "has_community_order": "Order in the community",
    "has_cmht_team": "Community mental health team open",
    "has_early_intervention_team": "Early intervention team open",
    "has_assertive_outreach_team": "Assertive outreach team open",
    "honos_total": "HoNOS total",
    "trust": "NHS trust",
    "listed": "On the allocation list",
    "discharged_in_window": "Psychiatric discharges in the recruitment window",
    "trial_participant": "Person took part in the trial",
    "no_consent": "No consent to record linkage",
    "not_in_extract": "Not found in the records",
    "no_stay_holds_allocation_date": "No hospital stay on the allocation date",
    "stay_not_ended": "Index stay had not ended",
    "stay_stopped_arriving": "Records of the stay stopped arriving",
    "duplicate_person": "Listed more than once",
    "in_both_arms": "Listed in both arms",
    "arm_in_doubt": "Listed again with an arm that cannot be read",
    "consent_in_doubt": "Listed with and without consent",
    "allocation_in_doubt": "Listed with different days of allocation",
    "zero_day": "Zero-day stay",
    "place_of_safety_only": "Place of safety only",
    "died_in_hospital": "Died in hospital",
    "under_18": "Under the minimum age",
    "not_acute_adult": "No adult acute ward",
    "no_prior_stay_730": "No earlier psychiatric stay in the window",
    "organic_any": "Organic disorder (F00–F09)",
    "primary_F50": "Primary eating disorder (F50)",
    "primary_F70_F79": "Primary learning disability (F70–F79)",
    "primary_F10_F19": "Primary substance use disorder (F10–F19)",
    "candidate_incomplete": "A covariate is missing",
    "later_discharge": "Not the person’s first eligible discharge",
    "outside_exact_groups": "Nobody treated in the exact group",
    "not_first_discharge": "Not the person’s first eligible discharge",
    "nearest_neighbour": "Nearest-neighbour matching",
    "optimal_matching": "Optimal matching",
    "full_matching": "Full matching",
    "coarsened_exact": "Coarsened exact matching",
    "subclassification": "Subclassification",
    "risk_set_matching": "Risk-set matching",
    "cardinality_matching": "Cardinality matching",
    "propensity_weighting": "Propensity-score weighting",
    "matching_weights": "Matching weights",
    "entropy_balancing": "Entropy balancing",
    "stable_balancing": "Stable balancing weights",
    "covariate_balancing_score": "Covariate-balancing propensity score",
    "randomised": "Randomised comparison",
    "weighted_difference": "Weighted difference",
    "g_computation": "Outcome regression (g-computation)",
    "adjusted_regression": "Regression after the design",
    "aipw": "Doubly robust (AIPW)",
    "tmle": "Targeted maximum likelihood (TMLE)",
    "cluster_bootstrap": "Weighted difference, bootstrapped",
    "causal_forest": "Causal forest",
    "censored_forest": "Causal forest with censoring weights",
    "two_part": "Two-part regression",
    "quasi_poisson": "Rates (quasi-Poisson)",
    "negative_binomial": "Rates (negative binomial)",
    "mean_cumulative_count": "Mean cumulative count",
    "lwyy": "Proportional rates (Lin–Wei–Yang–Ying)",
    "cumulative_incidence": "Cumulative incidence",
    "kaplan_meier": "Kaplan-Meier, readmission or death",
    "time_lost": "Mean time lost",
    "first_readmission_type": "First readmission by kind",
    "cox": "Cox model, readmission or death",
    "cause_specific_cox": "Cause-specific Cox models, each event before the other",
    "fine_gray": "Fine-Gray model",
    "risk_difference": "Risk difference",
    "risk_ratio": "Risk ratio",
    "odds_ratio": "Odds ratio",
    "mean_difference": "Mean difference",
    "mean_ratio": "Ratio of means",
    "rate_difference": "Rate difference",
    "rate_ratio": "Rate ratio",
    "mean_count_difference": "Difference in mean count",
    "mean_count_ratio": "Ratio of mean counts",
    "method_reached_its_objective": "Whether the method reached its objective",
    "hazard_ratio": "Hazard ratio",
    "subdistribution_hazard_ratio": "Subdistribution hazard ratio",
    "time_lost_difference": "Difference in mean days lost",
    "time_lost_ratio": "Ratio of mean days lost",
    "max_abs_smd": "Largest standardised mean difference after the design",
    "max_variance_ratio": "Largest variance ratio after the design",
    "min_effective_controls": "Effective number of controls",
    "min_effective_treated": "Effective number of treated people",
    "min_share_treated_kept": "Share of treated people kept in the design",
    "min_share_population_kept": "Share kept of the people the estimand is about",
    "max_share_unobserved": "Share of an arm whose outcome was not observed",
    "min_overlap": "Overlap of the two propensity-score distributions",
    "max_ks": "Largest Kolmogorov-Smirnov distance after the design",
    "max_abs_smd_products": "Largest difference of a square or product after the design",
    "min_equipoise": "Share of people in equipoise",
    "min_generalisability": "Generalisability of the kept to all participants",
    "min_detectable_risk_ratio": "Detectable risk ratio (below 1)",
    "share_products_over": "Squares and products beyond 0.1",
    "share_products_over_by_chance": "The same in a randomised trial of this size, on average",
    "prognostic_smd_before": "Prognostic score, difference before the design",
    "prognostic_smd_after": "Prognostic score, difference after the design",
    "c_statistic_before": "c-statistic before the design",
    "c_statistic_refitted": "c-statistic of a score fitted anew after the design",
    "c_statistic_by_chance": "The latter in a randomised trial of this size, on average",
    "overlap_coefficient": "Overlap of the two propensity-score distributions",
    "equipoise": "Share of people in equipoise",
    "effective_n_treated": "Effective number of treated people",
    "effective_n_controls": "Effective number of controls",
    "share_treated_kept": "Share of treated people kept in the design",
    "share_population_kept": "Share kept of the people the estimand is about",
    "generalisability_index": "Generalisability index of the kept among all participants",
    "max_abs_smd_kept_vs_all": "Largest difference between the kept and all participants",
    "detectable_risk_ratio_below": "Detectable risk ratio of a fall in risk",
    "detectable_sd_difference": "Detectable difference, in standard deviations",
    "psychotic": "Psychotic",
    "personality": "Personality disorder",
    "other": "Other",
    "unknown": "Unknown",
    "missing": "Missing",
    "rows_submitted": "Rows of spells submitted, one a month while open",
    "spells_latest_month": "Spells, the latest month of each",
    "spells_with_a_start": "With a usable first day",
    "spells_without_twins": "After spells sent under two ids became one",
    "continuous_stays": "Continuous stays, transfers linked",
    "placeholder_date": "A placeholder date (1 January 1901 or before): treated as missing",
    "discharge_before_start": "Discharge before the first day: treated as missing",
    "start_from_ward": "First day taken from the first ward stay",
    "no_start_at_all": "No first day at all: left out",
    "discharge_from_ward": "No discharge, not submitted any more: last ward’s end taken",
    "stopped_arriving": "Stopped arriving without an end: inactive, never an index stay",
    "still_open": "Still open at the end of the data",
    "death_before_records": "Registered deaths before the first record of the person: not used",
    "of_several_spells": "Made of several spells",
    "is_zero_day": "Ended the day they began: no index stay, no readmission",
    "is_place_of_safety_only": "Place of safety only: no index stay, no readmission",
    "ended_by_discharge": "Ended by discharge",
    "ended_by_death": "Ended by death",
    "inactive": "Inactive",
    "open": "Open",
    "whole": "Followed to the end, or to death",
    "end_of_data": "Cut short by the end of the data",
    "provider_sent_nothing": "Cut short by a month in which the provider sent nothing",
    "provider_sent_too_few": "Cut short by a month in which the provider sent too few spells",
    "moved_away": "Cut short by a move out of the area",
    "observation_period": "Cut short by the end of the person’s observation period",
    "closed_moved_away": "Closed because the person had moved out of the area",
    "closed_another_reason": "Closed for another reason",
    "closed_no_reason": "Closed without a reason on record",
    "same_provider": "At the provider of the index stay",
    "another_provider": "At another provider",
}
ARM_LABELS = {
    "peer": "Peer support",
    "participants": "Participants",
    "randomised": "Randomised controls",
    "control": "Randomised controls",
    "virtual": "Virtual controls",
}

USE_OF_MISSING = {
    "indicator": "Mean filled in, with an indicator of missing",
    "median": "Median filled in, without an indicator",
    "complete_case": "Rows without a value left the comparison",
    "multiple_imputation": "Imputed, several times over",
    "level": "A level of its own",
    "refuse": "Refused by the protocol",
    "none": "Not used by the design",
}


ENDINGS = {" squared": ", squared distance from its mean", " is zero": ", is zero", " missing": ", missing"}
CODE_LEVELS = {
    "once": "at least once",
    "sporadic": "as often as the median",
    "frequent": "as often as the upper quartile",
}


def label(name: str) -> str:
    """Words for an outcome, column, rule, method or check; unknown names are made readable, not guessed."""
    known = title_of(name) or _LABELS.get(name) or COVARIATE_LABELS.get(name) or _title_of_first_event(name)
    if known is not None:
        return known
    for sign, words in ((" = ", ""), (" <= ", "at most "), (" > ", "above ")):
        if sign in name:
            column, level = name.split(sign, 1)
            return f"{label(column)}: {words}{level if words else label(level)}"
    for ending, words in ENDINGS.items():
        if name.endswith(ending):
            return label(name.removesuffix(ending)) + words
    item = re.fullmatch(r"honos_item_(\d+)", name)
    if item:
        return f"HoNOS item {item.group(1)}"
    code = re.fullmatch(r"code_([a-z_]+)_([A-Z0-9-]+)_([a-z]+)", name)
    if code and code.group(3) in CODE_LEVELS:
        return f"{label(code.group(1))} {code.group(2)}, {CODE_LEVELS[code.group(3)]}"
    plain = re.sub(r"^(is|has)_", "", name).replace("_", " ")
    return plain[:1].upper() + plain[1:]


def _title_of_first_event(name: str) -> str | None:
    """The composite of the methods for times, which is no outcome of the registry."""
    found = re.fullmatch(r"readmitted_or_died_(\d+)d", name)
    return f"Psychiatric readmission or death within {found.group(1)} days" if found else None


def specification_label(name: str, named: Mapping[str, str]) -> str:
    """Words for an effect method, and for a further specification its name and its method (`named` gives it)."""
    method = named.get(name, name)
    return label(name) if method == name else f"{label(name)}: {label(method)}"


def reason(name: str) -> str:
    """Words for a rule of the lake, which may name the column it is about: 'bad_date:start_date'."""
    rule, _, column = name.partition(":")
    return f"{label(rule)}: {mid(label(column))}" if column else label(rule)


def arm_label(name: str) -> str:
    """The people of an arm, before any design: the candidates are not controls yet."""
    return "Candidates" if name == "virtual" else ARM_LABELS.get(name, label(name))


NAMES = ("HoNOS", "Kaplan", "Cox", "Fine-Gray")


def mid(text: str) -> str:
    """The text as it reads in the middle of a sentence: small first letter, except of acronyms and names."""
    starts_name = (len(text) > 1 and text[1].isupper()) or text.startswith(NAMES)
    return text if starts_name else text[:1].lower() + text[1:]


def contrast_label(name: str) -> str:
    """'peer_vs_virtual' becomes 'Peer support vs virtual controls'."""
    first, _, second = name.partition("_vs_")
    return f"{ARM_LABELS.get(first, label(first))} vs {mid(ARM_LABELS.get(second, label(second)))}"


def p_value(value: float | None) -> str:
    """To three digits after the point, but never 0."""
    return "< 0.001" if value is not None and value < 0.0005 else number(value, 3)


def whole(value: float | None) -> str:
    """A released count with thousands separators; a suppressed one is a mark."""
    return SUPPRESSED_MARK if value is None else f"{value:,.0f}".replace("-", MINUS)


def number(value: float | None, digits: int | None = None) -> str:
    """A number with as many decimals as its size deserves: 1,794; 39.7; 3.44; 0.012."""
    if value is None or not math.isfinite(value):
        return "–"
    if digits is None:
        digits = decimals(abs(value))
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def decimals(size: float) -> int:
    """Decimals for a number of this size, shared by an estimate and its limits."""
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 3


def percent(share: float | None, digits: int = 0) -> str:
    """A share as a percentage; a suppressed one is a mark."""
    return SUPPRESSED_MARK if share is None else f"{100 * share:.{digits}f} %"


def effect(value: float | None, scale: str) -> str:
    """An effect on its scale: percentage points for risk differences, two decimals for ratios."""
    if value is None:
        return SUPPRESSED_MARK
    if scale == "risk_difference":
        return number(100 * value, 1)
    return number(value, 2) if scale.endswith("ratio") else number(value)


def question(asked: Mapping[str, Any]) -> str:
    """A question of a rule: 'Age, years at most 41', 'Detained on admission: no', 'NHS trust: not ZC4'."""
    name, is_above = asked["covariate"], asked["sign"] == "above"
    column, _, level = name.partition(" = ")
    if not 0 < asked["threshold"] < 1 or not (level or name.startswith(("is_", "has_")) or name.endswith(" missing")):
        return f"{label(name)} {asked['sign']} {number(asked['threshold'])}"
    if level:
        return f"{label(column)}: {'' if is_above else 'not '}{label(level)}"
    return f"{label(name)}: {'yes' if is_above else 'no'}"


def interval(estimate: dict[str, Any] | None) -> str:
    """'−2.9 (−8.6 to 2.8)', or a dash when there is no such estimate."""
    if estimate is None:
        return "–"
    if estimate["value"] is None:
        return SUPPRESSED_MARK if estimate["is_suppressed"] else "–"
    scale, lower, upper = estimate["scale"], estimate["lower"], estimate["upper"]
    value = effect(estimate["value"], scale)
    if lower is None or upper is None:
        return value
    if scale.endswith("_difference") and scale != "risk_difference":
        digits = decimals(max(abs(lower), abs(upper)))
        return f"{number(estimate['value'], digits)} ({number(lower, digits)} to {number(upper, digits)})"
    return f"{value} ({effect(lower, scale)} to {effect(upper, scale)})"


def unit(scale: str) -> str:
    """What the number of a scale counts."""
    return {"risk_difference": "percentage points"}.get(scale, "")


def no_effect(scale: str) -> float:
    """The value of a scale that means no effect."""
    return 1.0 if scale.endswith("ratio") else 0.0


def includes_no_effect(estimate: dict[str, Any]) -> bool:
    """Whether the interval contains the value of no effect."""
    return bool(estimate["lower"] <= no_effect(estimate["scale"]) <= estimate["upper"])


def headline_sentence(estimate: dict[str, Any], treated: str, control: str, confidence: str) -> str:
    """The difference in cautious words: what the interval is compatible with, never a claim of proof."""
    scale, lower, upper = estimate["scale"], estimate["lower"], estimate["upper"]
    what = " percentage points" if scale == "risk_difference" else ""

    def size(value: float) -> str:
        return effect(abs(value), scale) + what

    value = estimate["value"]
    direction = "lower" if value < 0 else "higher"
    opening = f"The estimate is {size(value)} {direction} among {treated} than among {control}."
    if includes_no_effect(estimate):
        return (
            f"{opening} The {confidence} interval runs from {size(lower)} lower to {size(upper)} higher, so the data "
            "are compatible with no difference, and with differences in either direction up to these limits. "
            "They neither show an effect nor rule one out."
        )
    near, far = sorted((lower, upper), key=abs)
    return (
        f"{opening} The {confidence} interval, from {size(near)} to {size(far)} {direction}, does not include zero. "
        "This is evidence of a difference, and of an effect only as far as the two groups were comparable "
        "in everything that was not measured."
    )


def triad_sentence(estimate: dict[str, Any] | None, confidence: str) -> str:
    """What the comparison of randomised with virtual controls says about the method."""
    if estimate is None or estimate["value"] is None or estimate["lower"] is None:
        return (
            "The comparison of randomised with virtual controls could not be made, so nothing here tests "
            "whether virtual controls behave like randomised ones."
        )
    if includes_no_effect(estimate):
        return (
            f"The {confidence} interval of randomised vs virtual controls includes no effect: the virtual controls "
            "fared as the randomised controls did, within the precision of this study. That supports the method "
            "and does not prove it; differences as large as the limits of the interval would go unnoticed."
        )
    return (
        f"The {confidence} interval of randomised vs virtual controls does NOT include no effect: neither group was "
        "offered the intervention, so this difference is bias. The comparison with virtual controls carries bias "
        "of about this size and should not be read as an effect."
    )
