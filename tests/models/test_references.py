"""Every entry of the two registries has been compared with something made elsewhere: which, and by what test."""

import ast
from pathlib import Path

import pytest

from models.registry import DESIGNS, EFFECTS

FOLDER = Path(__file__).parent

REFERENCES: dict[str, dict[str, str]] = {
    # what the numbers come from: the test that compares, by file and name
    "nearest_neighbour": {
        "MatchIt": "test_matching:test_sets_are_those_of_matchit",
        "Matching": "test_matching:test_pairs_are_those_of_r_matching",
        "MatchIt, options": "test_matching_options:test_sets_are_those_of_matchit",
    },
    "optimal_matching": {"scipy, exact solver": "test_optimal:test_the_total_is_that_of_an_exact_solver"},
    "full_matching": {"scipy, exact solver": "test_full:test_the_total_is_that_of_an_exact_solver"},
    "coarsened_exact": {"MatchIt": "test_strata:test_coarsened_weights_are_those_of_matchit"},
    "subclassification": {"MatchIt": "test_strata:test_subclass_weights_are_those_of_matchit"},
    "cardinality_matching": {"all sets tried": "test_cardinality:test_no_larger_set_has_the_balance"},
    "risk_set_matching": {"slow matcher": "test_risk_set:test_agrees_with_a_slow_matcher"},
    "propensity_weighting": {
        "glm": "test_weighting:test_weights_are_those_of_r_up_to_their_stated_scale",
        "written out in R": "test_estimated_weights:test_errors_are_those_of_refitting_everything_in_r",
    },
    "entropy_balancing": {"survey": "test_entropy_balancing:test_weights_are_those_of_survey_calibrate"},
    "covariate_balancing_score": {
        "written out in R": "test_balancing_score:test_the_over_identified_score_agrees_with_r",
        "the same, one set of moments": "test_estimated_weights:test_errors_are_those_of_refitting_everything_in_r",
    },
    "stable_balancing": {"scipy, SLSQP": "test_stable_balancing:test_weights_are_those_of_a_general_optimiser"},
    "matching_weights": {
        "written out in R": "test_estimated_weights:test_errors_are_those_of_refitting_everything_in_r",
        "by hand": "test_weighting:test_overlap_and_matching_weights_by_hand",
    },
    "weighted_difference": {
        "sandwich": "test_effects:test_matched_sample_agrees_with_r_sandwich",
        "geepack": "test_effects:test_fixed_weights_agree_with_r_geepack",
        "What If (book)": "test_effects:test_nhefs_agrees_with_what_if",
        "statmod": "test_counts:test_the_ratio_of_mean_days_is_that_of_a_tweedie_whatever_its_power",
        "R, observation weights": "test_observation:test_weighted_means_agree_with_refitting_everything_in_r",
    },
    "g_computation": {"glm": "test_standardisation:test_g_computation_agrees_with_refitting_everything_in_r"},
    "adjusted_regression": {
        "glm": "test_standardisation:test_weighted_regression_agrees_with_refitting_everything_in_r"
    },
    "aipw": {"written out in R": "test_targeted:test_means_and_errors_at_given_predictions_agree_with_r"},
    "tmle": {"written out in R": "test_targeted:test_means_and_errors_at_given_predictions_agree_with_r"},
    "cluster_bootstrap": {"boot": "test_bootstrap:test_it_agrees_with_r_boot"},
    "causal_forest": {
        "EconML": "test_forest:test_the_arrays_predict_what_econml_predicts",
        "glm and sandwich, projection": "test_heterogeneity:test_projections_are_those_of_r",
    },
    "censored_forest": {"known effect": "test_censored_forest:test_a_known_effect_is_found_although_many_are_lost"},
    "two_part": {"glm": "test_counts:test_two_part_agrees_with_refitting_everything_in_r"},
    "quasi_poisson": {
        "geepack and gnm": "test_counts:test_rates_under_fixed_weights_agree_with_geepack_and_gnm",
        "glm": "test_counts:test_rates_agree_with_refitting_everything_in_r",
    },
    "negative_binomial": {"MASS": "test_counts:test_rates_agree_with_refitting_everything_in_r"},
    "mean_cumulative_count": {
        "mets": "test_recurrent:test_curves_without_ties_agree_with_the_package_mets",
        "survival": "test_recurrent:test_mean_counts_agree_with_refitting_everything_in_r",
    },
    "lwyy": {"survival": "test_recurrent:test_the_ratio_of_rates_agrees_with_refitting_everything_in_r"},
    "cumulative_incidence": {
        "survival": "test_risks:test_matched_curves_agree_with_r_survfit",
        "cmprsk": "test_risks:test_unweighted_curves_agree_with_r_cuminc",
        "survival, band": "test_bands:test_the_multiplier_of_clustered_and_weighted_incidence_agrees_with_r",
    },
    "kaplan_meier": {
        "survival": "test_risks:test_time_lost_and_kaplan_meier_agree_with_refitting_everything_in_r",
        "survival, band": "test_bands:test_the_multiplier_of_kaplan_meier_is_that_of_independent_increments",
    },
    "time_lost": {"survival": "test_risks:test_the_time_lost_of_an_arm_agrees_with_r_survfit"},
    "first_readmission_type": {
        "survival": "test_readmission_kinds:test_kinds_of_readmission_agree_with_refitting_everything_in_r",
        "cmprsk": "test_readmission_kinds:test_curves_of_kinds_without_weights_agree_with_r_cuminc",
    },
    "cox": {
        "survival": "test_hazards:test_unweighted_cox_agrees_with_r_coxph",
        "survival, ties": "test_cox:test_coefficients_errors_and_residuals_agree_with_r_coxph",
    },
    "cause_specific_cox": {"survival": "test_hazards:test_errors_clustered_by_set_agree_with_r_coxph"},
    "fine_gray": {"cmprsk": "test_hazards:test_unweighted_fine_gray_agrees_with_r_crr"},
}


def test_every_entry_of_the_registries_is_here() -> None:
    assert set(REFERENCES) == DESIGNS.keys() | EFFECTS.keys()
    assert all(REFERENCES.values())


@pytest.mark.parametrize("name", REFERENCES)
def test_the_tests_are_there(name: str) -> None:
    for place in REFERENCES[name].values():
        file, test = place.split(":")
        tree = ast.parse((FOLDER / f"{file}.py").read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place
