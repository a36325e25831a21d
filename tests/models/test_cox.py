"""The Cox kernel: against R's coxph, by brute force, and where it must refuse."""

from dataclasses import replace

import numpy as np
import pytest

from models.times.cox import AtRisk, Carried, NotEstimableError, find_event_days, fit_cox
from tests.models.effect_samples import ROOT, read_columns
from tests.models.times_samples import golden_times

R = golden_times("cox.csv")
PERIODS = read_columns(ROOT / "golden" / "times" / "periods.csv")


def periods(kind="plain"):
    """(rows at risk, covariates) of make_cox.R."""
    one = np.ones(len(PERIODS["id"]))
    rows = AtRisk(
        start=PERIODS["start"],
        stop=PERIODS["stop"],
        event=PERIODS["event"] == 1,
        weights=one if kind == "plain" else PERIODS["weight"],
        stratum=PERIODS["stratum"].astype(int) if kind == "stratified" else np.zeros(one.size, dtype=int),
    )
    return rows, np.column_stack([PERIODS["treated"], PERIODS["x"]])


def by_person(influence):
    return np.column_stack([np.bincount(PERIODS["id"].astype(int), column) for column in influence.T])


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("kind", ["plain", "weighted", "stratified"])
def test_coefficients_errors_and_residuals_agree_with_r_coxph(kind, ties):
    rows, covariates = periods(kind)
    fit = fit_cox(rows, covariates, ties=ties)
    name = f"{kind}_{ties}"
    sums = by_person(rows.weights[:, None] * fit.per_weight)
    for i in (1, 2):
        assert fit.coefficients[i - 1] == pytest.approx(R[name, f"coefficient {i}"], rel=1e-9)
        assert np.sqrt(sums[:, i - 1] @ sums[:, i - 1]) == pytest.approx(R[name, f"robust {i}"], rel=1e-9)
        assert np.sqrt(fit.bread[i - 1, i - 1]) == pytest.approx(R[name, f"model {i}"], rel=1e-9)
    assert fit.log_likelihood == pytest.approx(R[name, "log_likelihood"], rel=1e-12)
    for row in (1, 7, 100):
        assert fit.per_weight[row - 1, 0] == pytest.approx(R[name, f"dfbeta of row {row}"], rel=1e-8)
    if kind != "stratified":
        at_zero = fit.hazard.sum() * np.exp(-fit.centre @ fit.coefficients)
        assert at_zero == pytest.approx(R[name, "baseline hazard to day 52"], rel=1e-9)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_influence_is_the_derivative_by_the_weight(ties):
    rows, covariates = periods("stratified")
    fit, step = fit_cox(rows, covariates, ties=ties), 1e-5
    for row in range(0, rows.stop.size, 41):
        here = np.arange(rows.stop.size) == row
        more, less = (
            fit_cox(replace(rows, weights=rows.weights + sign * step * here), covariates, ties=ties).coefficients
            for sign in (1, -1)
        )
        np.testing.assert_allclose(fit.per_weight[row], (more - less) / (2 * step), rtol=1e-5, atol=1e-9)


def test_whole_weights_are_copies_under_breslow_ties():
    rows, covariates = periods()
    copies = 1 + np.arange(rows.stop.size) % 3
    weighted = fit_cox(replace(rows, weights=copies.astype(float)), covariates, ties="breslow")
    index = np.repeat(np.arange(rows.stop.size), copies)
    copied = fit_cox(
        AtRisk(rows.start[index], rows.stop[index], rows.event[index], np.ones(index.size), rows.stratum[index]),
        covariates[index],
        ties="breslow",
    )
    np.testing.assert_allclose(weighted.coefficients, copied.coefficients, rtol=1e-10)
    np.testing.assert_allclose(weighted.information, copied.information, rtol=1e-10)


def test_a_period_cut_in_two_changes_nothing():
    rows, covariates = periods("weighted")
    long = rows.stop - rows.start > 2
    middle = rows.start + 1
    cut = AtRisk(
        start=np.concatenate([rows.start, middle[long]]),
        stop=np.concatenate([np.where(long, middle, rows.stop), rows.stop[long]]),
        event=np.concatenate([rows.event & ~long, rows.event[long]]),
        weights=np.concatenate([rows.weights, rows.weights[long]]),
        stratum=np.concatenate([rows.stratum, rows.stratum[long]]),
    )
    whole, pieces = fit_cox(rows, covariates), fit_cox(cut, np.concatenate([covariates, covariates[long]]))
    np.testing.assert_allclose(pieces.coefficients, whole.coefficients, rtol=1e-10)
    per_row = pieces.score[: rows.stop.size].copy()
    per_row[long] += pieces.score[rows.stop.size :]
    np.testing.assert_allclose(per_row, whole.score, atol=1e-9)


def test_rows_carried_beyond_their_stop_count_like_pieces_of_falling_weight():
    rng = np.random.default_rng(5)
    n = 60
    stop = np.ceil(rng.exponential(8, n))
    kind = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 1))
    rows = AtRisk(np.zeros(n), stop, kind == 1, rng.uniform(0.5, 2, n), np.arange(n) % 2)
    days = find_event_days(rows)
    group = (x[:, 0] > 0).astype(int)
    curve = np.stack([0.97**days.day, 0.9**days.day])
    factor = np.where(kind == 2, 1.0 + rng.random(n), 0.0)
    fit = fit_cox(rows, x, carried=Carried(factor, group, curve))

    pieces = [(rows.start[i], stop[i], rows.event[i], rows.weights[i], rows.stratum[i], i) for i in range(n)]
    for i in np.flatnonzero(factor):
        for place in np.flatnonzero((days.stratum == rows.stratum[i]) & (days.day > stop[i])):
            weight = rows.weights[i] * factor[i] * curve[group[i], place]
            pieces.append((days.day[place] - 0.5, days.day[place], False, weight, rows.stratum[i], i))
    start, end, event, weight, stratum, owner = (np.array(column) for column in zip(*pieces, strict=True))
    plain = fit_cox(AtRisk(start, end, event, weight, stratum), x[owner])
    np.testing.assert_allclose(fit.coefficients, plain.coefficients, rtol=1e-10)
    np.testing.assert_allclose(fit.bread, plain.bread, rtol=1e-10)
    weighted = np.bincount(owner, plain.score[:, 0] * weight)
    np.testing.assert_allclose(rows.weights * fit.score[:, 0], weighted, atol=1e-10)


def test_the_order_of_rows_plays_no_part():
    rows, covariates = periods("stratified")
    order = np.random.default_rng(1).permutation(rows.stop.size)
    shuffled = AtRisk(rows.start[order], rows.stop[order], rows.event[order], rows.weights[order], rows.stratum[order])
    one, other = fit_cox(rows, covariates), fit_cox(shuffled, covariates[order])
    np.testing.assert_allclose(other.coefficients, one.coefficients, rtol=1e-11)
    np.testing.assert_allclose(other.per_weight, one.per_weight[order], rtol=1e-8, atol=1e-12)


def test_a_covariate_said_twice_shares_its_coefficient():
    rows, covariates = periods()
    one = fit_cox(rows, covariates)
    twice = fit_cox(rows, np.column_stack([covariates, covariates[:, 1], np.ones(rows.stop.size)]))
    np.testing.assert_allclose(twice.coefficients[[0, 1]], one.coefficients * [1, 0.5], rtol=1e-9)


def test_everybody_with_the_event_in_one_group_only_is_not_estimable():
    rows, covariates = periods()
    with pytest.raises(NotEstimableError, match="infinite"):
        fit_cox(replace(rows, event=rows.event & (covariates[:, 0] == 1)), covariates)
    with pytest.raises(NotEstimableError, match="nobody"):
        fit_cox(replace(rows, event=np.zeros(rows.stop.size, dtype=bool)), covariates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stop": PERIODS["start"]}, "stop after it starts"),
        ({"weights": np.zeros(len(PERIODS["id"]))}, "weights must be"),
    ],
)
def test_rows_out_of_range_are_refused(change, message):
    rows, covariates = periods()
    with pytest.raises(ValueError, match=message):
        fit_cox(replace(rows, **change), covariates)


def test_covariates_and_ties_out_of_range_are_refused():
    rows, covariates = periods()
    with pytest.raises(ValueError, match="covariates have shape"):
        fit_cox(rows, covariates[1:])
    with pytest.raises(ValueError, match="finite"):
        fit_cox(rows, covariates * np.nan)
    with pytest.raises(ValueError, match="ties"):
        fit_cox(rows, covariates, ties="exact")  # type: ignore[arg-type]
