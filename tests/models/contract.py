"""What every design must fulfil, whatever method made it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from models.balance import measure_balance
from models.propensity import fit_propensity
from models.results import Baseline, BoolArray, Design, Estimand, FloatArray, Propensity
from tests.naive_matching import naive_caliper_width, naive_comparable

STRATA = "strata"
ONE_SEEKER_A_SET = ("nearest_neighbour", "optimal_matching", "risk_set_matching")
PAPERS_LIMIT = {"crump": 0.1, "asymmetric": 0.05, "preference": 0.3}
DEFAULT_CALIPER = dict.fromkeys((*ONE_SEEKER_A_SET, "full_matching"), 0.2)


def expect_good_design(
    method: Callable[..., Design], baseline: Baseline, treated: BoolArray, estimand: Estimand, options: dict[str, Any]
) -> None:
    propensity = fit_propensity(baseline, treated)
    design = method(baseline, treated, propensity, estimand=estimand, rng=np.random.default_rng(1), **options)
    _expect_right_shape(design, treated, propensity, estimand)
    _expect_weights_mean_something(design, baseline)
    _expect_nobody_serves_twice(design, baseline, options)
    if (design.matched_set >= 0).any():
        _expect_sets_and_weights_agree(design, options)
        _expect_limits_hold(design, baseline, propensity, options)
    _expect_balance_asked_for(design, baseline, options)
    _expect_nobody_beyond_the_trim(design, baseline, propensity, options)
    _expect_same_answer_again(method, design, baseline, propensity, options)
    _expect_order_of_rows_is_nothing(method, design, baseline, propensity, options)


def _expect_right_shape(design: Design, treated: BoolArray, propensity: Propensity, estimand: Estimand) -> None:
    n = len(treated)
    assert design.weights.shape == design.matched_set.shape == design.score.shape == (n,)
    assert design.weights.dtype == np.float64
    assert design.matched_set.dtype == np.int64
    assert design.estimand == estimand
    np.testing.assert_array_equal(design.treated, treated)
    if design.notes.get("score_model") != "overidentified":  # which is a score of its own
        np.testing.assert_array_equal(design.score, propensity.score)
    assert all(isinstance(note, (int, float, str)) for note in design.notes.values())


def _expect_weights_mean_something(design: Design, baseline: Baseline) -> None:
    weights, treated = design.weights, design.treated
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert (weights[treated] > 0).any()
    assert (weights[~treated] > 0).any()
    if design.estimand in ("ATT", "ATC"):
        whose = treated if design.estimand == "ATT" else ~treated
        assert set(weights[whose]) <= {0.0, 1.0}
        for group in np.unique(baseline.exact_group):
            here = baseline.exact_group == group
            assert np.isclose(weights[here & treated].sum(), weights[here & ~treated].sum())
    else:
        share = [_share_by_group(weights * arm, baseline) for arm in (treated, ~treated)]
        np.testing.assert_allclose(share[0], share[1], atol=1e-12)


def _share_by_group(weights: FloatArray, baseline: Baseline) -> FloatArray:
    _, number = np.unique(baseline.exact_group, return_inverse=True)
    return np.asarray(np.bincount(number, weights=weights) / weights.sum())


def _expect_nobody_serves_twice(design: Design, baseline: Baseline, options: dict[str, Any]) -> None:
    used = design.weights > 0
    assert set(np.flatnonzero(used)) <= set(naive_comparable(baseline, design.treated))
    as_control = baseline.person[used & ~design.treated]
    assert not set(as_control) & set(baseline.person[design.treated])
    if (design.matched_set >= 0).any() and design.notes.get("sets_are") != STRATA:
        treated_serve = design.estimand == "ATC" and design.method in ONE_SEEKER_A_SET
        serves = used & (design.treated if treated_serve else ~design.treated)
        if not options.get("replace") and options.get("person_serves") != "each_discharge":
            assert len(set(baseline.person[serves])) == serves.sum()


def _expect_sets_and_weights_agree(design: Design, options: dict[str, Any]) -> None:
    in_set = design.matched_set >= 0
    np.testing.assert_array_equal(in_set, design.weights > 0)
    assert set(design.matched_set[in_set]) == set(range(design.matched_set.max() + 1))
    for number in range(design.matched_set.max() + 1):
        members = design.matched_set == number
        treated, control = design.weights[members & design.treated], design.weights[members & ~design.treated]
        n_treated, n_control = len(treated), len(control)
        assert min(n_treated, n_control) >= 1
        total = {"ATT": n_treated, "ATC": n_control, "ATE": n_treated + n_control}[design.estimand]
        np.testing.assert_allclose([treated.sum(), control.sum()], total, rtol=1e-12)
        if options.get("replace"):
            continue
        np.testing.assert_allclose(treated, total / n_treated, rtol=1e-12)
        np.testing.assert_allclose(control, total / n_control, rtol=1e-12)
        if design.method in ONE_SEEKER_A_SET:
            assert (n_control if design.estimand == "ATC" else n_treated) == 1
        if design.method == "full_matching":
            assert min(n_treated, n_control) == 1
            fewest, most = (options.get(name) for name in ("min_controls", "max_controls"))
            assert (fewest or 0) <= n_control / n_treated <= (most or np.inf)


def _expect_limits_hold(design: Design, baseline: Baseline, propensity: Propensity, options: dict[str, Any]) -> None:
    """Within a set every treated row keeps the limits with every control; with replacement (where a set may be several
    joined) each row with somebody of the other arm."""
    caliper = options.get("caliper", DEFAULT_CALIPER.get(design.method))
    days_before, days_after = _days_allowed(design, options)
    width = np.inf
    if caliper is not None:
        width = naive_caliper_width(baseline, design.treated, propensity.linear, caliper) * (1 + 1e-12)
    for number in range(design.matched_set.max() + 1):
        members = design.matched_set == number
        heads, controls = np.flatnonzero(members & design.treated), np.flatnonzero(members & ~design.treated)
        allowed = np.array(
            [
                [
                    baseline.exact_group[row] == baseline.exact_group[head]
                    and abs(propensity.linear[row] - propensity.linear[head]) <= width
                    and -days_before <= baseline.index_day[row] - baseline.index_day[head] <= days_after
                    and all(
                        abs(baseline.matrix[row, column] - baseline.matrix[head, column]) <= limit
                        for column, limit in _by_place(baseline, options.get("covariate_calipers")).items()
                    )
                    and all(
                        baseline.matrix[row, column] != baseline.matrix[head, column]
                        for column in _by_place(baseline, dict.fromkeys(options.get("anti_exact", ())))
                    )
                    for row in controls
                ]
                for head in heads
            ]
        )
        if options.get("replace"):
            assert allowed.any(axis=0).all()
            assert allowed.any(axis=1).all()
            continue
        assert allowed.all()
        if design.method in ONE_SEEKER_A_SET:
            most = options.get("max_ratio") or options.get("ratio", 1)
            assert options.get("min_ratio", 1) <= max(len(heads), len(controls)) <= most


def _days_allowed(design: Design, options: dict[str, Any]) -> tuple[float, float]:
    """How long before and after the treated row's time zero a control's may lie."""
    either_side = options.get("calendar_days")
    before, after = either_side, either_side
    if design.method == "risk_set_matching":
        before, after = options.get("look_back_days", 365), options.get("look_ahead_days", 0)
    return (np.inf if before is None else before), (np.inf if after is None else after)


def _expect_balance_asked_for(design: Design, baseline: Baseline, options: dict[str, Any]) -> None:
    """What entropy balancing makes equal is equal in the two arms; cardinality matching keeps its tolerance in the
    columns named (a standardised difference as the report has it)."""
    columns = baseline.matrix
    if design.method == "entropy_balancing":
        if options.get("moments") == "variances":
            columns = np.column_stack([columns, columns**2])
        np.testing.assert_allclose(*(_means(columns, design.weights * arm) for arm in _arms(design)), atol=1e-6)
    if design.method == "cardinality_matching":
        named = options.get("covariates") or baseline.columns
        gap = [row.smd_after for row in measure_balance(baseline, design) if row.covariate in named]
        assert len(gap) == len(named)
        assert np.abs(gap).max() <= options["tolerance"] + 1e-6


def _arms(design: Design) -> tuple[BoolArray, BoolArray]:
    return design.treated, ~design.treated


def _means(columns: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(np.average(columns, axis=0, weights=weights))


def _expect_nobody_beyond_the_trim(
    design: Design, baseline: Baseline, propensity: Propensity, options: dict[str, Any]
) -> None:
    """Scores of the rows kept lie inside the limits that `trim` and `trim_at` name."""
    rule, at = options.get("trim"), options.get("trim_at")
    if rule not in PAPERS_LIMIT:
        return
    at = PAPERS_LIMIT[rule] if at is None else at
    rows = naive_comparable(baseline, design.treated)
    score, treated = propensity.score[rows], design.treated[rows]
    low, high = at, 1 - at
    if rule == "asymmetric":
        low, high = np.quantile(score[treated], at), np.quantile(score[~treated], 1 - at)
    if rule == "preference":
        odds, share = score / (1 - score), treated.mean()
        score = odds / (odds + share / (1 - share))
    inside = (score >= low - 1e-9) & (score <= high + 1e-9)
    kept = design.weights[rows] > 0
    assert not (kept & ~inside).any()
    for group in np.unique(baseline.exact_group[rows]):
        here = inside & (baseline.exact_group[rows] == group)
        if treated[here].any() and not treated[here].all():
            assert kept[here].all()


def _by_place(baseline: Baseline, limits: dict[str, Any] | None) -> dict[int, Any]:
    return {baseline.columns.index(name): limit for name, limit in (limits or {}).items()}


def _expect_same_answer_again(
    method: Callable[..., Design], design: Design, baseline: Baseline, propensity: Propensity, options: dict[str, Any]
) -> None:
    again = method(
        baseline, design.treated, propensity, estimand=design.estimand, rng=np.random.default_rng(1), **options
    )
    np.testing.assert_array_equal(again.weights, design.weights)
    np.testing.assert_array_equal(again.matched_set, design.matched_set)
    assert again.notes == design.notes


def _expect_order_of_rows_is_nothing(
    method: Callable[..., Design], design: Design, baseline: Baseline, propensity: Propensity, options: dict[str, Any]
) -> None:
    """Even when the score is fitted anew to the shuffled rows, which changes its last bits."""
    order = np.random.default_rng(2).permutation(len(design.treated))
    shuffled = replace(
        baseline,
        matrix=baseline.matrix[order],
        exact_group=baseline.exact_group[order],
        index_day=baseline.index_day[order],
        person=baseline.person[order],
    )
    treated = design.treated[order]
    refitted = fit_propensity(shuffled, treated)
    np.testing.assert_allclose(refitted.linear, propensity.linear[order], atol=1e-10)
    again = method(shuffled, treated, refitted, estimand=design.estimand, rng=np.random.default_rng(1), **options)
    np.testing.assert_allclose(again.weights, design.weights[order], rtol=1e-8)
    np.testing.assert_array_equal(again.matched_set, design.matched_set[order])
