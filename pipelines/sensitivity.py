"""One change of the rules at a time: cohort, primary design and primary effect again under each variant.

Choice made (DOMAIN K, "a sensitivity analysis changes one at a time"): a variant is a protocol of its own, and its
folder is laid out like a run folder, so that the stages read and write it as they do a run's. Its outcomes are opened
only when its own design was accepted, and the main one as well: a variant may question a result, and must not replace
one that was refused.
"""

from pathlib import Path

import polars as pl

from pipelines import store
from pipelines.cohort import build_cohort, save_cohort
from pipelines.design import design_study
from pipelines.errors import CohortError
from pipelines.estimate import estimate_study
from pipelines.lake import Lake
from pipelines.protocol import MAIN_ANALYSIS, Protocol, variants_of
from pipelines.store import RunFolder, write_json, write_parquet

ARMS = ["peer", "control", "virtual"]
COUNT_SCHEMA = {
    "variant": pl.String,
    "arm": pl.String,
    "n_discharges": pl.Int64,
    "n_people": pl.Int64,
    "n_observed": pl.Int64,
    "n_readmitted": pl.Int64,
    "n_readmissions": pl.Int64,
}


def build_variants(lake: Lake, listed: pl.DataFrame, quarantined: pl.DataFrame, protocol: Protocol, out: Path) -> None:
    """The cohort of every variant, from the same lake and allocation list as the main one, into `out`. A variant that
    leaves nobody to study says so in a file of its folder instead."""
    for name, changed in variants_of(protocol).items():
        folder = out / store.VARIANTS / name
        try:
            save_cohort(build_cohort(lake, listed, quarantined, changed), folder)
        except CohortError as error:
            write_json(folder / store.REFUSED_COHORT, error.problems)


def design_variants(run: RunFolder, out: Path, protocol: Protocol) -> None:
    """The primary design of every variant that has a cohort, judged by the main protocol's thresholds."""
    for name, changed in variants_of(protocol).items():
        if run.variant(name).file(store.COHORT).exists():
            design_study(run.variant(name), out / store.VARIANTS / name, changed)


def estimate_variants(run: RunFolder, out: Path, protocol: Protocol) -> None:
    """The primary effect of every variant whose outcomes may be opened, and what every variant's cohort is like
    (COUNT_SCHEMA). Nothing without variants."""
    variants = variants_of(protocol)
    if not variants:
        return
    counts = [count_cohort(run, MAIN_ANALYSIS, protocol, is_open=may_open(run))]
    for name, changed in variants.items():
        folder = run.variant(name)
        if not folder.file(store.COHORT).exists():
            continue
        is_open = may_open(run) and may_open(folder)
        if is_open:
            estimate_study(folder, out / store.VARIANTS / name, changed)
        counts.append(count_cohort(folder, name, changed, is_open=is_open))
    write_parquet(out / store.SENSITIVITY, pl.concat(counts))


def may_open(run: RunFolder) -> bool:
    """Whether the primary design of a run's folder was accepted."""
    return bool(run.read_json(store.DESIGN_SUMMARY)["accepted"])


def count_cohort(run: RunFolder, name: str, protocol: Protocol, *, is_open: bool) -> pl.DataFrame:
    """Eligible discharges and people by arm; and, where outcomes are open, of the discharges followed to the end of
    follow-up (or to a death) how many were followed by a readmission, and by how many."""
    eligible = run.read(store.COHORT).filter("is_eligible").select("row_id", "person_id", "arm")
    followed = eligible.with_columns(n=pl.lit(None, pl.Int64))
    if is_open:
        readmissions = run.read(store.OUTCOMES).select("row_id", n=f"n_readmissions_{protocol.follow_up.days}d")
        followed = eligible.join(readmissions, on="row_id", how="left", maintain_order="left")
    seen = [pl.col("n").count(), (pl.col("n") > 0).sum(), pl.col("n").sum()]
    n_observed, n_readmitted, n_readmissions = (value if is_open else pl.lit(None, pl.Int64) for value in seen)
    return (
        followed.group_by("arm")
        .agg(
            n_discharges=pl.len(),
            n_people=pl.col("person_id").n_unique(),
            n_observed=n_observed,
            n_readmitted=n_readmitted,
            n_readmissions=n_readmissions,
        )
        .sort(pl.col("arm").cast(pl.Enum(ARMS)))
        .select(pl.lit(name).alias("variant"), pl.exclude("variant"))
        .cast(COUNT_SCHEMA)  # type: ignore[arg-type]
    )
