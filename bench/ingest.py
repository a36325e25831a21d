"""Contacts in CSV -> buckets of people in Parquet: this project, checks and account included, beside its peers.

All tools read the same bytes (bench/contacts.py) and take turns. The peers (bench/peers) do the transformation alone;
this project reads a folder in MHSDS layout as any load does. Afterwards the rows are counted and every person is looked
for in one bucket only.

    python bench/ingest.py [--rows 20000000] [--runs 3] [--buckets 64] [--folder DIR] [--peers polars duckdb dask]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import polars as pl
from contacts import write_contacts
from measuring import Run, medians, take_turns
from results import RESULTS, ROOT, as_table, describe_machine, write_section

PEERS = ROOT / "bench" / "peers"
THIS, KEPT, FLOOR = "this project", "this project, parts kept", "floor: one pass, no buckets"


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
        commands = {THIS: _command("this", "ingest", source, folder / THIS, options.buckets)}
        commands |= {peer: _command(peer, "ingest", source, folder / peer, options.buckets) for peer in options.peers}
        commands[KEPT] = _command("this", "ingest_to_go_on", source, folder / KEPT, options.buckets)
        commands[FLOOR] = _command("polars", "plain", source, folder / FLOOR, options.buckets)
        found = take_turns(commands, options.runs, folder)
        sizes = {name: check(name, folder / name, options.rows) for name in found}
        text = as_markdown(found, sizes, options, source.stat().st_size, load)
    write_section("ingest", text, options.results)
    print(text)


def _command(tool: str, task: str, source: Path, folder: Path, buckets: int) -> list[str]:
    return [sys.executable, str(PEERS / f"with_{tool}.py"), task, str(source), str(folder), str(buckets)]


def check(name: str, folder: Path, rows: int) -> int:
    """Bytes written; every row must be there, and every person in one bucket.

    Raises:
        SystemExit: rows are lost, or a person is in two buckets.
    """
    is_ours = name in {THIS, KEPT}
    files = sorted(folder.glob("generation-*/tables/contact/*.parquet") if is_ours else folder.rglob("*.parquet"))
    column = "person_id" if is_ours else "Person_ID"
    of_bucket: dict[str, list[Path]] = {}
    for file in files:
        of_bucket.setdefault(file.parent.name if "=" in file.parent.name else file.name, []).append(file)
    people = [
        pl.scan_parquet(part, hive_partitioning=False).select(column).collect()[column] for part in of_bucket.values()
    ]
    found = sum(len(ids) for ids in people)
    if found != rows:
        raise SystemExit(f"{name}: {found} rows of {rows}")
    different = pl.concat([ids.unique() for ids in people])
    if different.n_unique() != len(different):
        raise SystemExit(f"{name}: some people are in two buckets")
    return sum(file.stat().st_size for file in files)


def as_markdown(
    found: dict[str, list[Run]], sizes: dict[str, int], options: argparse.Namespace, n_bytes: int, load: float
) -> str:
    ours = medians(found[THIS])
    rows = []
    for name, runs in found.items():
        seconds, cpu, gib = medians(runs)
        ratios = (f"{ours[0] / seconds:.2f}", f"{ours[1] / cpu:.2f}", f"{ours[2] / gib:.2f}")
        each = ", ".join(f"{run.seconds:.1f}" for run in runs)
        rows.append(
            (
                name,
                f"{seconds:.1f} ({each})",
                f"{cpu:.1f}",
                f"{gib:.2f}",
                f"{sizes[name] / 1e6:.0f}",
                " / ".join(ratios),
            )
        )
    head = ("tool", "seconds, median (each)", "CPU seconds", "peak memory, GiB", "MB written", "this project / tool")
    lines = [
        f"## Ingest: {options.rows:,} contacts, {n_bytes / 1e9:.2f} GB of CSV, into {options.buckets} buckets",
        "",
        f"`python bench/ingest.py --rows {options.rows} --runs {options.runs} --buckets {options.buckets}`, "
        + describe_machine(("polars", "duckdb", "dask", "pyarrow"), load),
        "",
        "Seconds of the work itself; CPU seconds and memory of the whole process, starting Python included. The last "
        "column holds the ratios of seconds, CPU seconds and memory: below 1 this project needs less. This project "
        "recognises the files, checks and types every cell, sets unusable rows aside, looks for exact duplicates, "
        "sorts each bucket by person and date, and accounts for every row; the peers split "
        "the rows by person. With its parts kept, the next month's load parses only what is new. Rows and people per "
        "bucket were checked for every tool.",
        "",
        *as_table(head, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
