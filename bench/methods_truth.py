"""Does every method recover effects that are known, and do its 95 % intervals cover them? Simulated worlds × methods.

Every design method is tried with a few effect methods, and every effect method with a matched and a weighted design;
the estimands other than the ATT in one world; some methods with options too (bench/truth_cells.py). Replicates: 500,
fewer for slow methods. All numbers go into bench/truth.csv, a reading of them into bench/RESULTS.md.

    python bench/methods_truth.py [--replicates 500] [--worlds NAME ...] [--methods NAME ...] [--without NAME ...]
"""

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import signature
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from results import RESULTS, ROOT, write_section
from simulated_worlds import (
    HORIZON,
    WORLDS,
    Outcomes,
    World,
    baseline_of,
    draw_outcomes,
    draw_people,
    draw_population,
    draw_twins,
    expected,
)
from truth_cells import ALL_DESIGNS, ALL_EFFECTS, UNOBSERVED, cells_of, design_named, effect_named, methods_of

from models.effects import keep_observed
from models.observation import observation_weights
from models.propensity import fit_propensity
from models.recurrent import mean_count
from models.refusals import Refused
from models.registry import DESIGNS, EFFECTS, OutcomeKind
from models.results import Baseline, Design, Estimand, Estimate, FloatArray, Scale
from models.times import limits, risks
from pipelines.diagnostics import judge_analysed
from pipelines.method_settings.acceptance import Acceptance

NUMBERS = ROOT / "bench" / "truth.csv"
OUTCOMES = {"two_part": "amount"}
"""Outcomes of methods that are not for any continuous one."""
SAME_TRUTH = {"censored_forest": ("cumulative_incidence", "time_lost")}
"""Methods too slow for a large trial, and those that estimate the same."""
BY_KIND = "first_readmission_type"
DAYS_A_YEAR = 365.25
LEAVE_OUT = methods_of({name: method for name, method in DESIGNS.items() if method.makes_matched_sets}) | {
    "coarsened_exact",
    "subclassification",
    "cardinality_matching",
}
MOSTLY = 0.98
"""Of the people of an estimand; a design that keeps fewer estimates another effect."""
VALUE_KINDS: tuple[OutcomeKind, ...] = ("binary", "continuous")
TWINS = 100_000
POPULATION = 400_000
RATIOS = frozenset(scale for scale in get_args(Scale) if scale.endswith("ratio"))
LOWEST, HIGHEST = 0.93, 0.97


def one_replicate(job: tuple[World, int, int, frozenset[str], frozenset[str]]) -> list[dict[str, Any]]:
    """Every cell of one world on one draw; the seed is the replicate's number."""
    world, number, most, only, never = job
    mean_count.largest_of = _nan  # as with_limits below
    limits.N_DRAWS = 10
    risks.with_limits = risks.difference_with_limits = _none  # of whole curves; they would take most of the time
    rng = np.random.default_rng([number, WORLDS.index(world)])
    people = draw_people(world, world.treated + world.pool, rng)
    treated = rng.random(people.chance.size) < people.chance
    outcomes = draw_outcomes(world, people, treated, rng)
    baseline = baseline_of(people)
    at = {
        kind: (expected(world, people, treated=True)[kind], expected(world, people, treated=False)[kind])
        for kind in (*VALUE_KINDS, *OUTCOMES.values())
    }
    propensity = fit_propensity(baseline, treated)
    rows: list[dict[str, Any]] = []
    cells = [cell for cell in cells_of(world, only, never) if number < cell.replicates(most)]
    for name, estimand in dict.fromkeys((cell.design, cell.estimand) for cell in cells):
        place = {"world": world.name, "design": name, "estimand": estimand, "replicate": number}
        here = [cell for cell in cells if (cell.design, cell.estimand) == (name, estimand)]
        of_design, options = design_named(name)
        try:
            design = DESIGNS[of_design].function(baseline, treated, propensity, estimand=estimand, rng=rng, **options)
        except Refused:
            rows += [{**place, "effect": cell.effect, "kind": "", "event": "", "scale": "refused"} for cell in here]
            continue
        focal = {"ATT": treated, "ATC": ~treated}.get(estimand, np.ones_like(treated))
        # Least-variance weights of nought leave nobody out: others stand for the same population.
        kept = focal & (design.weights > 0) if name in LEAVE_OUT else focal
        drops, drops_many = kept.sum() < focal.sum(), kept.sum() < MOSTLY * focal.sum()
        for cell in here:
            for kind in cell.kinds():
                if drops_many and kind not in at:
                    continue  # what is true of the people kept is known for expectations only
                effect = cell.effect
                where = {**place, "effect": effect, "kind": kind}
                if world.unobserved:
                    where["withheld"] = is_withheld(effect, getattr(outcomes, kind), baseline, design)
                try:
                    estimates = estimate(effect, kind, outcomes, baseline, design, rng)
                except Refused:
                    rows.append({**where, "event": "", "scale": "refused"})
                    continue
                of = OUTCOMES.get(effect, kind)
                means = tuple(float(each[kept].mean()) for each in at[of]) if of in at and drops else None
                rows += [_row({**where, "event": event}, item, means) for event, item in estimates]
    return rows


def _none(*_: object) -> None:
    return None


def _nan(*_: object) -> float:
    return float("nan")


def _row(where: Mapping[str, Any], item: Estimate, kept: tuple[float, float] | None) -> dict[str, Any]:
    return {
        **where,
        "scale": item.scale,
        "value": item.value,
        "std_error": item.std_error,
        "lower": item.lower,
        "upper": item.upper,
        "p_value": item.p_value,
        "truth_of_kept": None if kept is None else on_scale(kept, item.scale),
    }


def estimate(
    effect: str,
    kind: OutcomeKind,
    outcomes: Outcomes,
    baseline: Baseline,
    design: Design,
    rng: np.random.Generator,
) -> list[tuple[str, Estimate]]:
    """What one method says of all people, as the pipeline calls it: the event it is about, where it tells several, and
    the estimate."""
    name, options = effect_named(effect)
    function = EFFECTS[name].function
    if kind in VALUE_KINDS:
        study = getattr(outcomes, OUTCOMES.get(effect, kind)), baseline, design
        study = study if options.get("unobserved") == "weights" else keep_observed(*study)
        found = function(*study, rng=rng, kind=kind, **options)
    elif kind == "count":
        found = function(outcomes.count, outcomes.until / DAYS_A_YEAR, baseline, design)
    elif kind == "recurrent":
        histories = (outcomes.event_row, outcomes.event_day, outcomes.until, outcomes.died)
        found = function(*histories, baseline, design, horizon=HORIZON)
    else:
        event = outcomes.event_by_kind if effect == BY_KIND else outcomes.event
        drawn = {"rng": rng} if EFFECTS[effect].individual_effects else {}
        found = function(outcomes.day, event, baseline, design, horizon=HORIZON, **drawn)
        return [(of.event, item) for of in found.effects for item in of.estimates]
    listed = found if isinstance(found, tuple) else found.estimates
    return [("", item) for item in listed if item.subgroup == "all"]


def is_withheld(effect: str, values: FloatArray, baseline: Baseline, design: Design) -> bool:
    """Whether a study at the thresholds' defaults would not estimate this outcome, for who is left to be analysed."""
    observed = np.isfinite(values)
    analysed = np.where(observed, design.weights, 0.0)
    name, options = effect_named(effect)
    if options.get("unobserved") == "weights":
        by = signature(EFFECTS[name].function).parameters
        try:
            analysed = observation_weights(
                values,
                baseline,
                design,
                "weights",
                l2_penalty=by["observation_penalty"].default,
                largest=by["largest_observation_weight"].default,
                counted=(design.weights > 0).astype(np.float64) if name == "g_computation" else None,
            ).weighted.weights
        except Refused:
            return True
    verdicts = judge_analysed(baseline, design, analysed, observed, Acceptance(), is_randomised=False)
    return not all(verdict["passed"] for verdict in verdicts)


def on_scale(means: tuple[float, float], scale: str) -> float:
    """The contrast of two means, treated first."""
    one, none = means
    if scale.endswith("difference"):
        return one - none
    if scale == "odds_ratio":
        return (one / (1 - one)) / (none / (1 - none))
    return one / none


@cache
def truths_of_values(world: World, estimand: Estimand) -> dict[str, tuple[float, float]]:
    """Expected outcomes of an estimand's population, treated and untreated, by outcome."""
    people = draw_population(world, estimand, POPULATION, np.random.default_rng([7, WORLDS.index(world)]))
    one, none = expected(world, people, treated=True), expected(world, people, treated=False)
    return {name: (float(one[name].mean()), float(none[name].mean())) for name in one}


@cache
def truths_of_times(world: World, estimand: Estimand, effect: str, kind: OutcomeKind) -> dict[tuple[str, str], float]:
    """What the method itself, or one that estimates the same, says of a large trial, by event and scale."""
    rng = np.random.default_rng([8, WORLDS.index(world)])
    baseline, design, outcomes = draw_twins(world, estimand, TWINS, rng)
    said_by = SAME_TRUTH.get(effect, (effect,))
    found = [item for name in said_by for item in estimate(name, kind, outcomes, baseline, design, rng)]
    return {(event, item.scale): item.value for event, item in found}


def truth(world: World, estimand: Estimand, effect: str, kind: OutcomeKind, event: str, scale: str) -> float:
    if world.effect == 0.0 and world.varies == 0.0:
        return 1.0 if scale in RATIOS else 0.0
    if kind in VALUE_KINDS:
        return on_scale(truths_of_values(world, estimand)[OUTCOMES.get(effect, kind)], scale)
    return truths_of_times(world, estimand, effect, kind)[event, scale]


def judge(rows: pl.DataFrame) -> pl.DataFrame:
    """A line a world, design, estimand, effect, kind and scale. Errors of ratios are on the log scale; the standard
    errors compared are of the replicates that gave an interval."""
    keys = ["world", "design", "estimand", "effect", "kind", "event", "scale"]
    worlds = {world.name: world for world in WORLDS}
    found = []
    for key, group in rows.group_by(keys, maintain_order=True):
        facts = dict(zip(keys, key, strict=True))
        if facts["scale"] == "refused":
            found.append({**facts, "replicates": group.height})
            continue
        of = (facts["estimand"], facts["effect"], facts["kind"], facts["event"], facts["scale"])
        world = worlds[facts["world"]]
        target = truth(world, *of)
        aim = group["truth_of_kept"].fill_null(target).to_numpy()
        value, lower, upper, error = (group[name].to_numpy() for name in ("value", "lower", "upper", "std_error"))
        given = np.isfinite(value) & np.isfinite(error)
        is_ratio = facts["scale"] in RATIOS
        with np.errstate(divide="ignore", invalid="ignore"):
            miss = np.log(value / aim) if is_ratio else value - aim
        miss = miss[given]
        found.append(
            {
                **facts,
                "replicates": group.height,
                "without_interval": int((~given).sum()),
                "truth": target,
                "share_leaving_out": float(group["truth_of_kept"].is_not_null().mean()),
                "share_withheld": float(group["withheld"].mean()) if world.unobserved else None,
                "bias": float(miss.mean()) if given.any() else None,
                "empirical_se": float(miss.std(ddof=1)) if given.sum() > 1 else None,
                "mean_se": float(error[given].mean()) if given.any() else None,
                "coverage": float(((lower <= aim) & (aim <= upper))[given].mean()) if given.any() else None,
                "rejects_no_effect": float((group["p_value"].to_numpy() < 0.05)[given].mean()) if given.any() else None,
            }
        )
    return pl.DataFrame(found, infer_schema_length=None)


FIRST_SCALES = (
    "risk_difference", "mean_difference", "rate_ratio", "hazard_ratio", "subdistribution_hazard_ratio",
    "time_lost_difference", "mean_count_difference", "rate_difference",
)  # fmt: skip


def with_earlier(table: pl.DataFrame, numbers: Path) -> pl.DataFrame:
    """The new lines, and those of earlier runs for other worlds and methods that still exist."""
    if not numbers.exists():
        return table
    texts = ("kind", "event")
    old = pl.read_csv(numbers, schema_overrides=dict.fromkeys(texts, pl.String))
    old = old.with_columns(pl.col(texts).fill_null(""))
    known = pl.col("design").is_in(ALL_DESIGNS) & pl.col("effect").is_in(ALL_EFFECTS)
    keys = ["world", "design", "estimand", "effect"]
    both = pl.concat([old.filter(known).join(table, on=keys, how="anti"), table], how="diagonal_relaxed")
    places = {name: place for place, name in enumerate([*(world.name for world in WORLDS), *ALL_DESIGNS, *ALL_EFFECTS])}
    order = [pl.col(name).replace_strict(places) for name in ("design", "effect", "world")]
    return both.sort("estimand", "kind", *order, "event", "scale", maintain_order=True)


def as_markdown(table: pl.DataFrame) -> str:
    """Coverage by world, with bias in empirical standard errors, of each method's first scale; misses are marked."""
    lines = [
        "## Every method in worlds whose effect is known",
        "",
        f"`python bench/methods_truth.py`; {_numbers_of_replicates(table)} replicates a world (bench/truth.csv). "
        f"{_not_in(table)}Each cell: how often the 95 % interval covers the truth, in %; in "
        "brackets the bias in empirical standard errors and the mean estimated over the empirical standard error. "
        "**Bold**: outside 93 to 97 % by more than chance (two standard errors of the simulation). In the world "
        "without effect the complement of the coverage is the type I error. Designs that leave people of the "
        "estimand out are held against the effect of those kept (binary and continuous outcomes; for others, where "
        "more than 2 % are left out: –). All scales, biases and errors: "
        "bench/truth.csv; the worlds: bench/simulated_worlds.py.",
    ]
    shown = table.filter(pl.col("scale").is_in(FIRST_SCALES))
    for (estimand, kind), part in shown.group_by("estimand", "kind", maintain_order=True):
        worlds = [world.name for world in WORLDS if world.name in set(part["world"])]
        lines += ["", f"### {kind.replace('_', ' ')} outcome, {estimand}", ""]
        lines.append(f"| design | effect | {' | '.join(worlds)} |")
        lines.append(f"|{'---|' * (len(worlds) + 2)}")
        keys = ("design", "effect", "event", "scale")
        for (design, effect, event, scale), cells in part.group_by(keys, maintain_order=True):
            by_world = {row["world"]: row for row in cells.to_dicts()}
            texts = [_cell(by_world.get(name)) for name in worlds]
            of = [event] * bool(event) + [scale] * (scale not in ("risk_difference", "mean_difference"))
            name = f"{effect} ({', '.join(of)})".replace("_", " ") if of else effect
            lines.append(f"| {design} | {name} | {' | '.join(texts)} |")
    lines += _withheld(table)
    refused = table.filter(pl.col("scale") == "refused")
    if refused.height:
        lines += ["", "Refused (replicates): "]
        lines[-1] += "; ".join(
            f"{row['design']} × {row['effect']} in “{row['world']}” {row['replicates']}" for row in refused.to_dicts()
        )
    return "\n".join(lines) + "\n"


def _withheld(table: pl.DataFrame) -> list[str]:
    """How often the thresholds keep a study from what the world without everybody's outcome shows."""
    if "share_withheld" not in table.columns:
        return []
    first = table.filter(pl.col("share_withheld").is_not_null() & pl.col("scale").is_in(FIRST_SCALES))
    of_design = first.filter(pl.col("kind") == "continuous").group_by("design", "effect", maintain_order=True).first()
    if of_design.is_empty():
        return []
    texts = [f"{row['design']} × {row['effect']} {100 * row['share_withheld']:.0f}" for row in of_design.to_dicts()]
    return [
        "",
        f"In “{UNOBSERVED}” covariates foretell otherwise in the two arms whose outcome is not observed; who is left "
        "is judged by the default thresholds (`[acceptance]`), and a study would have withheld the outcome in this "
        f"many % of the replicates: {'; '.join(texts)}. Coverage above counts them all.",
    ]


def _numbers_of_replicates(table: pl.DataFrame) -> str:
    of_worlds = table.group_by("world").agg(pl.col("replicates").max())
    least, most = (int(number) for number in (of_worlds["replicates"].min(), of_worlds["replicates"].max()))
    return str(most) if least == most else f"{least} to {most}"


def _not_in(table: pl.DataFrame) -> str:
    tried = {*table["design"], *table["effect"]}
    missing = [name for name in (*ALL_DESIGNS, *ALL_EFFECTS) if name not in tried]
    return f"Not run: {', '.join(missing)}. " if missing else ""


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["coverage"] is None or row["empirical_se"] is None:
        return "–"
    chance = 2 * np.sqrt(0.95 * 0.05 / row["replicates"])
    misses = not LOWEST - chance <= row["coverage"] <= HIGHEST + chance
    mark = "**" if misses else ""
    shift = row["bias"] / row["empirical_se"]
    return f"{mark}{100 * row['coverage']:.0f}{mark} ({shift:+.1f}, {row['mean_se'] / row['empirical_se']:.2f})"


def replicate_all(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of every replicate; each world's are kept in `--work` and not drawn again."""
    only, never = frozenset(options.methods or (*ALL_DESIGNS, *ALL_EFFECTS)), frozenset(options.without)
    with get_context("spawn").Pool(options.processes) as pool:
        for world in (world for world in WORLDS if not options.worlds or world.name in options.worlds):
            started = time.monotonic()
            jobs = [(world, number, options.replicates, only, never) for number in range(options.replicates)]
            for rows in pool.imap_unordered(one_replicate, jobs, chunksize=4):
                yield from rows
            print(f"{world.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--worlds", nargs="*", default=[], help="by name; default: all")
    parser.add_argument("--methods", nargs="*", default=[], help="only cells with one of these designs or effects")
    parser.add_argument("--without", nargs="*", default=[], help="no cells with one of these designs or effects")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--numbers", type=Path, default=NUMBERS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.monotonic()
    rows = pl.DataFrame(list(replicate_all(options)), infer_schema_length=None)
    table = with_earlier(judge(rows.sort("world", "replicate", maintain_order=True)), options.numbers)
    table.write_csv(options.numbers, float_precision=5)
    print(f"{(time.monotonic() - started) / 60:.0f} min", file=sys.stderr)
    text = as_markdown(table)
    write_section("methods_truth", text, options.results)
    print(text)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
