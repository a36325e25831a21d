"""An intruder who knows the rules of the release tries to find small numbers of people by subtraction.

Two attacks, each shown to succeed on exact numbers. One lists every pair of arms that would have been released with the
very same digits, and asks what they have in common; the other solves everything in release/ of a small study for
counts, as intervals, and subtracts every two of them, and parts from wholes.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from pipelines import store
from pipelines.design import design_study
from pipelines.disclosure import DisclosureLog
from pipelines.estimate import estimate_study
from pipelines.protocol import Disclosure
from pipelines.report import render_report, rounded_effects
from pipelines.report.released_estimates import release_estimates
from pipelines.report.rounded_effects import round_effects, step_of_difference
from pipelines.store import RunFolder, write_parquet
from tests.report_fixture import FACTS, make_table_protocol

RULE, OFF = Disclosure(), Disclosure(suppress_below=0, round_to=1)
SMALL = range(1, RULE.suppress_below)
Z = NormalDist().inv_cdf(0.975)


def estimates_of(a: int, n: int, b: int, m: int, control_weight: float = 1.0) -> dict[str, dict[str, Any]]:
    """Difference, ratio and odds ratio of `a` events among `n` treated and `b` among `m` controls, with the delta
    method's errors. A `control_weight` other than 1 is the control risk as a weighted design might make it."""
    p, q = a / n, b / m * control_weight
    variance = {"p": p * (1 - p) / n, "q": q * (1 - q) / m}
    found = {}
    for scale, value, error in (
        ("risk_difference", p - q, math.sqrt(sum(variance.values()))),
        ("risk_ratio", p / q, math.sqrt(variance["p"] / p**2 + variance["q"] / q**2)),
        (
            "odds_ratio",
            p / (1 - p) / (q / (1 - q)),
            math.sqrt(variance["p"] / (p * (1 - p)) ** 2 + variance["q"] / (q * (1 - q)) ** 2),
        ),
    ):
        is_ratio = scale != "risk_difference"
        centre = math.log(value) if is_ratio else value
        limits = [math.exp(x) if is_ratio else x for x in (centre - Z * error, centre + Z * error)]
        numbers = {"value": value, "std_error": error, "lower": limits[0], "upper": limits[1]}
        numbers["p_value"] = 2 * NormalDist().cdf(-abs(centre) / error)
        found[scale] = {**numbers, "scale": scale, "n_treated": n, "n_control": m, "fewest_events": min(a, b)}
    return found


def released(exact: Mapping[str, Mapping[str, Any]], rule: Disclosure) -> tuple[Any, ...]:
    rows = round_effects(exact, rule)
    return tuple(tuple(rows[scale].values()) if scale in rows else None for scale in exact)


def could_be(truth: tuple[int, int, int, int], rule: Disclosure, reach: int = 7) -> set[tuple[int, int]]:
    """Events and people of the treated arm in every world that looks as this one does; the rounded numbers of people
    leave two to either side."""
    seen = released(estimates_of(*truth), rule)
    a, n, b, m = truth
    people = range(-2, 3) if rule.suppress_below else (0,)
    worlds = itertools.product(range(a - reach, a + reach + 1), people, range(b - reach, b + reach + 1), people)
    return {
        (x, n + i) for x, i, y, j in worlds if released(estimates_of(x, n + i, y, m + j), rule) == seen
    }  # fmt: skip


WORLDS = [(60, 275, 80, 266), (40, 197, 55, 203), (24, 150, 12, 148), (100, 400, 30, 110), (12, 90, 20, 95)]


@pytest.mark.parametrize("truth", WORLDS)
def test_the_attack_finds_the_events_of_exact_estimates(truth: tuple[int, int, int, int]) -> None:
    assert could_be(truth, OFF) == {truth[:2]}


@pytest.mark.parametrize("truth", WORLDS)
def test_events_are_known_no_better_than_counts_that_are_released(truth: tuple[int, int, int, int]) -> None:
    # A count rounded to 5 leaves five numbers of events.
    events = {a for a, _ in could_be(truth, RULE)}
    assert len(events) >= 5
    assert truth[0] in events


@pytest.mark.parametrize("fewer", [1, 2, 4, 6])
def test_two_windows_or_designs_do_not_tell_how_few_they_differ_by(fewer: int) -> None:
    one, other = (60, 275, 80, 266), (60 - fewer, 275 - fewer, 80, 266)
    apart = {a - b for (a, _), (b, _) in itertools.product(could_be(one, RULE), could_be(other, RULE))}
    assert not set(apart) <= set(SMALL)
    assert {a - b for (a, _), (b, _) in itertools.product(could_be(one, OFF), could_be(other, OFF))} == {fewer}


def test_a_weighted_control_arm_hides_no_better() -> None:
    # Whatever the controls' weights, a difference and a ratio solve for the treated arm's plain share.
    exact = estimates_of(61, 275, 80, 266, control_weight=0.9137)
    gap, ratio = exact["risk_difference"]["value"], exact["risk_ratio"]["value"]
    assert 275 * ratio * gap / (ratio - 1) == pytest.approx(61, abs=1e-9)
    seen = released(exact, RULE)
    like = set()
    for a in range(50, 75):
        for gap_away in np.linspace(-0.003, 0.003, 61):
            control = a / 275 - gap + gap_away
            world = estimates_of(a, 275, 266, 266, control_weight=float(control))
            error = exact["risk_difference"]["std_error"]
            world["risk_difference"] |= {"std_error": error}
            if released(world, RULE)[0][0] == seen[0][0] and released(world, RULE)[1][0] == seen[1][0]:
                like.add(a)
    assert 61 in like
    assert len(like) >= 5


# ----- everything in release/ of a small study

N = {"peer": 150, "control": 140, "virtual": 700}
WINDOWS = {"30": 0.12, "60": 0.125, "90": 0.2, "180": 0.21, "365": 0.42}
EVENT = {f"back_{day}d": "binary" for day in WINDOWS}
DAYS = {f"days_{day}d": "continuous" for day in WINDOWS}
COLUMNS = {name: {"column": name, "kind": kind} for name, kind in (EVENT | DAYS).items()}


@pytest.mark.parametrize(
    "truth",
    [
        (247, 268, 31, 39),  # exact ratio 1.16 (0.98 to 1.37), to go with that difference it is 1.19
        (121, 181, 31, 39),  # exact difference -0.126 (-0.270 to 0.018), on a grid of 0.05 it is -0.15
        (51, 275, 10, 32),  # exact odds ratio 0.50 (0.22 to 1.12), and 0.45
    ],
)
def test_rounding_finds_no_effect_that_the_exact_interval_does_not(truth: tuple[int, int, int, int]) -> None:
    exact = estimates_of(*truth)
    rounded = round_effects(exact, RULE)
    assert rounded
    for scale, numbers in rounded.items():
        none = 1.0 if scale.endswith("ratio") else 0.0
        assert exact[scale]["lower"] < none < exact[scale]["upper"]
        lower, upper, p_value = (numbers[name] for name in ("lower", "upper", "p_value"))
        assert None not in (lower, upper, p_value)
        assert (lower or 0.0) <= none <= (upper or 0.0)
        assert (p_value or 0.0) >= 0.05


def test_released_intervals_are_as_wide_as_the_exact_ones() -> None:
    """2,000 tables of small arms; a standard error of three digits may have lost half a per cent. Nor does a p-value
    say anything else than its interval, but within the last digit of either."""
    rng = np.random.default_rng(1)
    for _ in range(2000):
        n, m = (int(x) for x in rng.integers(25, 150, 2))
        a = int(rng.integers(8, n - 7))
        b = int(np.clip(rng.binomial(m, np.clip(a / n + rng.normal(0, 0.1), 0.05, 0.95)), 8, m - 8))
        exact = estimates_of(a, n, b, m)
        for scale, numbers in round_effects(exact, RULE).items():
            assert (numbers["std_error"] or 0.0) >= exact[scale]["std_error"] * 0.995, (a, n, b, m, scale)
            p_value, none = numbers["p_value"] or 0.0, 1.0 if scale.endswith("ratio") else 0.0
            holds_none = (numbers["lower"] or 0.0) <= none <= (numbers["upper"] or 0.0)
            assert (p_value >= 0.05) == holds_none or abs(p_value - 0.05) < 1e-4, (a, n, b, m, scale)


@pytest.mark.parametrize("degrees", [3, 8, 30])
def test_a_p_value_of_few_degrees_of_freedom_says_what_its_interval_says(degrees: int) -> None:
    """Pooled imputations have t intervals; bent to the p-value alone, a normal one said 0.048 beside an interval with 0
    (5 degrees of freedom, difference 0.165, standard error 0.066)."""
    reach = t.ppf(0.975, degrees)
    for value in np.linspace(-0.3, 0.3, 121) + 0.001:
        row = {"scale": "risk_difference", "value": value, "std_error": 0.066, "n_treated": 103, "n_control": 309}
        limits = {"lower": value - reach * 0.066, "upper": value + reach * 0.066}
        exact = {**row, **limits, "p_value": 2 * t.sf(abs(value) / 0.066, degrees)}
        numbers = round_effects({"risk_difference": exact}, RULE)["risk_difference"]
        p_value, lower, upper = (numbers[name] or 0.0 for name in ("p_value", "lower", "upper"))
        assert (p_value >= 0.05) == (lower <= 0 <= upper) or abs(p_value - 0.05) < 1e-3


def test_a_share_next_to_everybody_has_a_finite_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounded_effects, "MOST_MOVED", 0.5)  # it would be withheld
    monkeypatch.setattr(rounded_effects, "MOST_WIDENED", 2.0)
    # 10 of 144 controls had no event; among the counts that the treated could be is one by which all of them had it,
    # and a logarithm of the limits of an odds ratio without end.
    exact = estimates_of(36, 48, 134, 144)
    numbers = round_effects(exact, RULE)["odds_ratio"]
    assert numbers["std_error"] == pytest.approx(exact["odds_ratio"]["std_error"], rel=0.5)


@pytest.mark.parametrize("without", [("risk_ratio",), ("risk_difference",), ("risk_difference", "risk_ratio")])
@pytest.mark.parametrize("events", [30, 40])
def test_an_effect_without_an_error_is_released_without_one(without: tuple[str, ...], events: int) -> None:
    # A bootstrap has no error of a ratio where a draw has no event; with equal arms only the errors tell the level.
    exact = estimates_of(events, 90, 30, 90)
    for scale in without:
        exact[scale] |= dict.fromkeys(("std_error", "lower", "upper", "p_value"), math.nan)
    released = round_effects(exact, RULE)
    assert released["risk_difference"]["value"] == pytest.approx((events - 30) / 90, abs=0.01)
    assert all(released[scale]["std_error"] is None for scale in without if scale in released)


def test_a_ratio_that_rounding_would_move_or_widen_too_far_is_withheld() -> None:
    # Of 14 events among the treated the midpoint of six says 15, and the six counts are far apart for a ratio.
    exact = estimates_of(14, 275, 8, 275)
    released = round_effects(exact, RULE)
    assert "risk_difference" in released
    assert "risk_ratio" not in released
    for table in ((30, 60, 40, 60), (121, 181, 150, 190), (60, 275, 900, 4000)):
        exact = estimates_of(*table)
        for scale, numbers in round_effects(exact, RULE).items():
            error, value = exact[scale]["std_error"], numbers["value"]
            assert value is not None
            assert numbers["std_error"] is not None
            if scale.endswith("ratio"):
                assert abs(math.log(value / exact[scale]["value"])) <= 0.21 * error
            assert numbers["std_error"] <= 1.3 * error


def write_study(folder: Path) -> RunFolder:
    """Windows of which some differ by few people, days in hospital of which one person has many, sites of any size."""
    rng = np.random.default_rng(11)
    arm = np.repeat(list(N), list(N.values()))
    n = arm.size
    age, need = rng.normal(40, 10, n).round(), rng.poisson(0.8, n)
    day = rng.uniform(0, 1, n) ** 1.0
    day = np.where(arm == "peer", day * 1.25, day) - 0.02 * need
    key = {"row_id": np.arange(n), "person_id": [f"p{k}" for k in range(n)], "index_date": [None] * n}
    dates = {"index_date": pl.Date}
    run = RunFolder(folder)
    cohort = {**key, "arm": arm, "is_eligible": [True] * n}
    write_parquet(run.file(store.COHORT), pl.DataFrame(cohort, schema_overrides=dates))
    site = rng.choice(["A", "B", "C", "D"], n, p=[0.5, 0.3, 0.15, 0.05])
    baseline = {**key, "age": age, "need": need.astype(float), "site": site}
    write_parquet(run.file(store.BASELINE), pl.DataFrame(baseline, schema_overrides=dates))
    outcomes: dict[str, Any] = dict(key)
    stay = rng.poisson(12, n)
    for window, share in WINDOWS.items():
        outcomes[f"back_{window}d"] = day < share
        outcomes[f"days_{window}d"] = np.where(day < share, np.minimum(stay, float(window)), 0.0)
    write_parquet(run.file(store.OUTCOMES), pl.DataFrame(outcomes, schema_overrides=dates))
    return run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    names = list(COLUMNS)
    protocol = make_table_protocol(
        outcomes={"primary": "back_365d", "secondary": [x for x in names if x != "back_365d"], "columns": COLUMNS},
        covariates={"numeric": ("age", "need")},
        acceptance={"max_abs_smd": 1.0, "min_share_treated_kept": 0.3},
        benchmark=None,
        design={
            "methods": ["nearest_neighbour", "propensity_weighting"],
            "exact": ["site"],
            "also": [{"name": "tight", "method": "nearest_neighbour", "options": {"caliper": 0.1}}],
        },
        effects={
            "methods": ["weighted_difference", "aipw"],
            "weighted_difference": {"weights_are": "fixed"},
            "sites": {"by": "site"},
        },
    )
    run = write_study(tmp_path_factory.mktemp("study"))
    assert design_study(run, run.path, protocol)
    estimate_study(run, run.path, protocol)
    render_report(run, run.path, protocol, FACTS)
    return run


Interval = tuple[float, float]


def solved(rows: Mapping[str, Mapping[str, Any]], *, is_exact: bool) -> Iterator[tuple[str, Interval]]:
    """Events of the two arms as far as a difference and a ratio tell; of exact ones, numbers."""
    gap, ratio = rows["risk_difference"], rows["risk_ratio"]
    half = 0.0 if is_exact else step_of_difference({**gap, "scale": "risk_difference"}) / 2
    error = ratio["std_error"]
    people = min(gap["n_treated"], gap["n_control"])
    wide = 0.0 if is_exact else max(error / math.sqrt(people), error**2) / 2 + 0.003
    corners = list(
        itertools.product(
            (gap["value"] - half, gap["value"] + half),
            (ratio["value"] * math.exp(-wide), ratio["value"] * math.exp(wide)),
        )
    )
    if len({r > 1 for _, r in corners}) == 2 or any(r == 1 for _, r in corners):
        return  # ratios on both sides of 1 do not solve
    for arm, n in (("treated", gap["n_treated"]), ("control", gap["n_control"])):
        risks = [(r if arm == "treated" else 1) * d / (r - 1) for d, r in corners]
        low, high = min(risks) * n, max(risks) * n
        if is_exact:
            yield arm, (round(low), round(high))
        else:  # two people more or fewer in the arm, and three in the events by the midpoint of six
            yield arm, (max(low * (1 - 2 / n) - 3, 0), high * (1 + 2 / n) + 3)


def counts_known(table: pl.DataFrame, *, is_exact: bool) -> dict[tuple[str, ...], Interval]:
    """By contrast, arm, design, outcome, subgroup and method: events as solved, and people as given or as rounded."""
    known: dict[tuple[str, ...], Interval] = {}
    grouped: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in table.iter_rows(named=True):
        key = (row["contrast"], row["design"], row["outcome"], row["subgroup"], row["method"])
        grouped.setdefault(key, {})[row["scale"]] = row
        for arm in ("treated", "control"):
            n = row[f"n_{arm}"]
            if n is not None:
                spread = 0 if is_exact or n == 0 else 2
                known[("people", row["contrast"], arm, *key[1:])] = (n - spread, n + spread)
    for key, rows in grouped.items():
        pair = {s: rows[s] for s in ("risk_difference", "risk_ratio") if s in rows and rows[s]["value"] is not None}
        if len(pair) == 2:
            for arm, found in solved(pair, is_exact=is_exact):
                known[("events", key[0], arm, *key[1:])] = found
    return known


def given_away(known: Mapping[tuple[str, ...], Interval]) -> list[str]:
    """Every difference of two counts of one arm that can only be small; counts that are small themselves; and wholes
    without the parts that are known."""
    found = [f"{key} is {span}" for key, span in known.items() if is_small(*span)]
    by_arm: dict[tuple[str, ...], list[tuple[tuple[str, ...], Interval]]] = {}
    for key, span in known.items():
        by_arm.setdefault(key[:3], []).append((key, span))
    for counts in by_arm.values():
        for (one, (a, b)), (other, (c, d)) in itertools.permutations(counts, 2):
            if is_small(a - d, b - c):
                found.append(f"{one} less {other} is {a - d} to {b - c}")
    for key, (low, high) in known.items():
        if key[-2] != "all":
            continue
        parts = [span for other, span in known.items() if other[:-2] == key[:-2] and " = " in other[-2]]
        if parts and is_small(low - sum(b for _, b in parts), high - sum(a for a, _ in parts)):
            found.append(f"{key} less its parts")
    return found


def is_small(low: float, high: float) -> bool:
    return low > 0 and math.ceil(low - 1e-6) >= 1 and high < RULE.suppress_below


def test_exact_estimates_of_the_study_give_small_numbers_away(study: RunFolder) -> None:
    found = given_away(counts_known(study.read(store.ESTIMATES), is_exact=True))
    assert any(line.startswith("('events'") and " less " in line for line in found)
    assert any(line.startswith("('people'") and " less " in line for line in found)


def test_nothing_released_gives_a_small_number_away_by_subtraction(study: RunFolder) -> None:
    table = pl.read_csv(study.file(store.RELEASED_ESTIMATES))
    known = counts_known(table, is_exact=False)
    assert len(known) > 100
    assert given_away(known) == []


def test_the_intruder_s_intervals_hold_the_truth(study: RunFolder) -> None:
    # Otherwise the attack above would be beaten by being wrong.
    exact = counts_known(study.read(store.ESTIMATES), is_exact=True)
    known = counts_known(pl.read_csv(study.file(store.RELEASED_ESTIMATES)), is_exact=False)
    events = {key: span for key, span in known.items() if key[0] == "events" and key[2] == "treated"}
    assert len(events) >= 10
    for key, (low, high) in events.items():
        assert low - 1 <= exact[key][0] <= high + 1, key


def test_what_is_shown_of_windows_that_differ_by_few_is_withheld_for_means_too(study: RunFolder) -> None:
    exact = study.read(store.ESTIMATES).filter(pl.col("subgroup") == "all")
    shown = pl.read_csv(study.file(store.RELEASED_ESTIMATES))
    apart = exact.filter(pl.col("fewest_apart").is_between(1, 7))["outcome"].unique().to_list()
    assert "days_30d" in apart
    for row in exact.filter(pl.col("fewest_apart").is_between(1, 7)).iter_rows(named=True):
        same = [pl.col(name) == row[name] for name in ("contrast", "outcome", "design", "method", "scale", "subgroup")]
        assert shown.filter(*same)["value"].to_list() == [None]


def test_a_part_that_is_withheld_takes_the_smallest_other_with_it() -> None:
    base = dict.fromkeys(("contrast", "outcome", "estimand", "design", "method"), "x") | {"effective_n": 90.0}
    base |= estimates_of(40, 150, 60, 150)["risk_difference"]
    sizes = {"white": 90, "black": 35, "asian": 20, "other": 5}
    rows = [{**base, "subgroup": f"ethnic_group = {k}", "n_treated": n, "n_control": 100} for k, n in sizes.items()]
    log = DisclosureLog(RULE)
    table = release_estimates(pl.DataFrame([{**base, "subgroup": "all"}, *rows]), log)
    hidden = table.filter(pl.col("value").is_null())["subgroup"].to_list()
    assert hidden == ["ethnic_group = asian", "ethnic_group = other"]
    assert any("asian" in entry["place"] for entry in log.entries)


def test_what_the_rounding_costs(study: RunFolder) -> None:
    """Values move by a small part of their standard errors; errors shrink by no more than their third digit."""
    exact, shown = study.read(store.ESTIMATES), pl.read_csv(study.file(store.RELEASED_ESTIMATES))
    is_ratio = pl.col("scale").str.ends_with("ratio")
    moved = (
        pl.when(is_ratio).then((pl.col("shown") / pl.col("value")).log()).otherwise(pl.col("shown") - pl.col("value"))
    )
    both = exact.with_columns(shown["value"].alias("shown"), shown["std_error"].alias("error")).drop_nulls("shown")
    both = both.filter(pl.col("std_error") > 0).with_columns(
        errors=moved.abs() / pl.col("std_error"), wider=pl.col("error") / pl.col("std_error")
    )
    assert both.height > 50
    assert both["errors"].mean() < 0.12
    assert both.filter(is_ratio)["errors"].max() <= 0.21  # a fifth of an error, and the digits
    assert both["errors"].max() <= 0.26  # COARSEST
    assert both["wider"].min() >= 0.995
    assert both["wider"].mean() >= 1.0
