"""Does the whole pipeline recover a known effect? Twenty synthetic worlds, each from raw extract to interval.

For every seed the generator writes an extract, the pipeline loads it, chooses virtual controls and estimates the risk
difference of readmission for the peer arm. The truth is the mean of both potential outcomes over the linked, eligible
peer arm. The table says how often the 95 % intervals cover it, beside the naive contrast with all eligible candidates.

    python bench/synthetic_truth.py [--seeds 20] [--people 40000] [--participants 472]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from results import RESULTS, ROOT, write_section

from pipelines import store
from pipelines.cohort import build_cohort, save_cohort
from pipelines.design import design_study
from pipelines.estimate import estimate_study
from pipelines.lake import write_lake
from pipelines.protocol import Protocol, load_protocol
from pipelines.sources.participants import read_participants
from pipelines.sources.synthetic import write_extract
from pipelines.store import RunFolder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="synthetic worlds (default 20)")
    parser.add_argument("--people", type=int, default=40_000, help="people in each (default 40000)")
    parser.add_argument("--participants", type=int, default=472, help="participants, both arms (default 472)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    started = time.monotonic()
    rows = []
    for seed in range(1, options.seeds + 1):
        rows += one_world(seed, options.people, options.participants)
        print(f"seed {seed} of {options.seeds}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    numbers = f"--seeds {options.seeds} --people {options.people} --participants {options.participants}"
    command = f"python bench/synthetic_truth.py {numbers}"
    text = as_markdown(pl.DataFrame(rows), options.people, command, time.monotonic() - started)
    write_section("synthetic_truth", text, options.results)
    print(text)


def small_protocol(people: int, seed: int) -> Protocol:
    """The embedded study on a smaller world: same covariates and designs, thresholds for a smaller trial, no forest."""
    protocol = load_protocol(ROOT / "configs/studies/enrich_synthetic.toml")
    synthetic = protocol.source.synthetic
    assert synthetic is not None
    effects = protocol.effects.model_copy(update={"methods": ("weighted_difference", "aipw", "cumulative_incidence")})
    # Every world is estimated, whatever its balance: leaving out poorly balanced ones would flatter the method.
    acceptance = protocol.acceptance.model_copy(
        update={"max_abs_smd": 10.0, "min_effective_controls": 0.0, "min_share_treated_kept": 0.0, "min_overlap": 0.0}
    )
    source = protocol.source.model_copy(
        update={"synthetic": synthetic.model_copy(update={"people": people, "seed": seed})}
    )
    outcomes = protocol.outcomes.model_copy(update={"secondary": ()})
    return protocol.model_copy(
        update={"effects": effects, "acceptance": acceptance, "source": source, "outcomes": outcomes}
    )


def one_world(seed: int, people: int, participants: int) -> list[dict[str, object]]:
    """All estimates of the primary outcome in one world, with the truth beside them."""
    protocol = small_protocol(people, seed)
    with tempfile.TemporaryDirectory() as folder:
        extract, lake, run = Path(folder) / "extract", Path(folder) / "lake", RunFolder(Path(folder) / "run")
        trusts = protocol.source.synthetic.trusts
        write_extract(extract, people=people, seed=seed, trusts=trusts, participants=participants)
        listed, unreadable = read_participants(extract / protocol.source.participants)
        cohort = build_cohort(write_lake(extract, lake, n_buckets=8), listed, unreadable, protocol)
        save_cohort(cohort, run.path)
        design_study(run, run.path, protocol)
        estimate_study(run, run.path, protocol)
        truth = json.loads((extract / "truth" / "effect.json").read_text())["risk_difference"]
        estimates = run.read(store.ESTIMATES).filter(
            (pl.col("contrast") == "peer_vs_virtual") & (pl.col("scale") == "risk_difference")
        )
        rows = estimates.select("design", "method", "value", "lower", "upper").to_dicts()
        return [{"seed": seed, "truth": truth, **row} for row in [*rows, naive(cohort.people, cohort.outcomes)]]


def naive(people: pl.DataFrame, outcomes: pl.DataFrame) -> dict[str, object]:
    """The unadjusted difference between the peer arm and all eligible candidates, with its usual interval."""
    rows = (
        people.filter("is_eligible")
        .join(outcomes.select("row_id", "readmitted_365d"), on="row_id")
        .drop_nulls("readmitted_365d")
    )
    arms = {
        arm: rows.filter(pl.col("arm") == arm)["readmitted_365d"].cast(pl.Float64).to_numpy()
        for arm in ("peer", "virtual")
    }
    value = arms["peer"].mean() - arms["virtual"].mean()
    half = 1.959964 * np.sqrt(sum(arm.var() / arm.size for arm in arms.values()))
    return {"design": "none", "method": "naive", "value": value, "lower": value - half, "upper": value + half}


def as_markdown(rows: pl.DataFrame, people: int, command: str, seconds: float) -> str:
    covers = (pl.col("lower") <= pl.col("truth")) & (pl.col("truth") <= pl.col("upper"))
    error = pl.col("value") - pl.col("truth")
    table = (
        rows.group_by("design", "method", maintain_order=True)
        .agg(
            worlds=pl.len(),
            covered=covers.sum(),
            bias=error.mean(),
            rmse=(error**2).mean().sqrt(),
            mean_width=(pl.col("upper") - pl.col("lower")).mean(),
        )
        .to_dicts()
    )
    lines = [
        f"## Known effect: {rows['seed'].n_unique()} synthetic worlds of {people:,} people",
        "",
        f"`{command}` ({seconds:.0f} s). Mean true risk difference {rows['truth'].mean():.3f}. The truth of a world is",
        "the mean difference of both potential outcomes over its linked, eligible peer arm.",
        "",
        "| design | method | 95 % intervals that cover | bias | root mean squared error | mean width |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['design']} | {row['method']} | {row['covered']} of {row['worlds']} | {row['bias']:+.3f} "
        f"| {row['rmse']:.3f} | {row['mean_width']:.3f} |"
        for row in table
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
