"""Look-back features of every person from a lake: this project beside its peers, on the same bucketed files.

For an index date of each person, contacts in the 365, 90 and 30 days before it are counted in all, attended, missed,
face to face and by telephone, and the days since the last one. All tools read the files of the same lake and take
turns; afterwards every number of every person must agree.

    python bench/features.py [--rows 20000000] [--runs 3] [--buckets 64] [--folder DIR] [--peers polars duckdb dask]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import polars as pl
from contacts import INDEX, write_contacts
from measuring import Run, measure, medians, take_turns
from results import RESULTS, ROOT, as_table, describe_machine, write_section

PEERS = ROOT / "bench" / "peers"
THIS = "this project"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="contacts (default 20000000)")
    parser.add_argument("--runs", type=int, default=3, help="of each tool (default 3)")
    parser.add_argument("--buckets", type=int, default=64, help="default 64")
    parser.add_argument("--folder", type=Path, help="where everything goes (default: a temporary folder)")
    parser.add_argument(
        "--peers", nargs="*", default=["polars", "duckdb", "dask"], choices=["polars", "duckdb", "dask"]
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="default bench/RESULTS.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        source = write_contacts(folder / "extract", options.rows)
        lake = folder / "lake"
        measure([sys.executable, str(PEERS / "with_this.py"), "ingest", str(source), str(lake), str(options.buckets)])
        (contacts,) = lake.glob("generation-*/tables/contact")
        commands = {
            name: _command(
                tool, lake if tool == "this" else contacts, source.parent / INDEX, folder / f"{tool}.parquet"
            )
            for name, tool in [(THIS, "this"), *((peer, peer) for peer in options.peers)]
        }
        found = take_turns(commands, options.runs, folder)
        totals = compare({name: Path(command[-1]) for name, command in commands.items()})
        text = as_markdown(found, totals, options, load)
    write_section("features", text, options.results)
    print(text)


def _command(tool: str, files: Path, index: Path, out: Path) -> list[str]:
    return [sys.executable, str(PEERS / f"with_{tool}.py"), "features", str(files), str(index), str(out)]


def compare(outputs: dict[str, Path]) -> dict[str, int]:
    """Sums of the features; every number of every person must be the same whichever tool counted it.

    Raises:
        SystemExit: a tool differs.
    """
    frames = {
        name: pl.read_parquet(path)
        .select(pl.col("person_id").cast(pl.String), pl.exclude("person_id").cast(pl.Int64))
        .sort("person_id")
        for name, path in outputs.items()
    }
    for name, frame in frames.items():
        if not frame.equals(frames[THIS].select(frame.columns)):
            raise SystemExit(f"{name}: other numbers than {THIS}")
    return frames[THIS].select(pl.col("n_365", "n_30", "dna_365").sum()).row(0, named=True)


def as_markdown(found: dict[str, list[Run]], totals: dict[str, int], options: argparse.Namespace, load: float) -> str:
    ours = medians(found[THIS])
    rows = []
    for name, runs in found.items():
        seconds, cpu, gib = medians(runs)
        each = ", ".join(f"{run.seconds:.1f}" for run in runs)
        ratios = f"{ours[0] / seconds:.2f} / {ours[1] / cpu:.2f} / {ours[2] / gib:.2f}"
        rows.append((name, f"{seconds:.2f} ({each})", f"{cpu:.1f}", f"{gib:.2f}", ratios))
    head = ("tool", "seconds, median (each)", "CPU seconds", "peak memory, GiB", "this project / tool")
    sums = ", ".join(f"{name} {total:,}" for name, total in totals.items())
    lines = [
        f"## Look-back features: {options.rows:,} contacts in {options.buckets} buckets, an index date for each person",
        "",
        f"`python bench/features.py --rows {options.rows} --runs {options.runs} --buckets {options.buckets}`, "
        + describe_machine(("polars", "duckdb", "dask", "pyarrow"), load),
        "",
        "Seconds of the work itself; CPU seconds and memory of the whole process, starting Python included; ratios of "
        "seconds, CPU seconds and memory. All ten features of every person are the same for every tool; their sums: "
        f"{sums}.",
        "",
        *as_table(head, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
