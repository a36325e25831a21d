"""The console command `virtual-controls`. Everything heavy is imported where it is used: --help costs only Typer."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.settings import prepare_libraries, read_settings

NOT_ACCEPTED = 9
INTERRUPTED = 130

EPILOG = """\b
Exit codes: 0 done; 2 wrong use of the command; 3 protocol; 4 source; 5 data may not be used; 6 no cohort;
7 run folder; 8 Prefect's server; 9 design not accepted (with --strict); 70 a defect of this program; 130 interrupted.

Settings of a machine come from the environment: VIRTUAL_CONTROLS_RUNS, VIRTUAL_CONTROLS_DASK_ADDRESS,
VIRTUAL_CONTROLS_WORKERS, PREFECT_API_URL (docs/operations.md)."""

app = typer.Typer(
    help="""Virtual control groups from routine mental-health records.

    A study is one TOML file (docs/protocol.md). Try:

    \b
      virtual-controls check configs/studies/enrich_synthetic.toml
      virtual-controls run configs/studies/enrich_synthetic.toml
      virtual-controls show
    """,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Study = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study's protocol.")]
Source = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of a raw extract to use in place of the protocol's.")
]
Runs = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Where run folders go. Default: VIRTUAL_CONTROLS_RUNS, or ./runs."),
]


@app.command()
def check(study: Study, source: Source = None) -> None:
    """Validate a protocol and the headers of its source; moves no data.

    \b
    Example: virtual-controls check configs/studies/mhsds_sample_v5.toml --source /secure/extract
    """
    from flows.checking import check_study

    for line in check_study(study, source):
        typer.echo(line)


@app.command()
def run(
    study: Study,
    source: Source = None,
    runs: Runs = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 9 when the design is not accepted.")] = False,
) -> None:
    """Run a study from raw records to its report.

    Run again with the same inputs, nothing is recomputed; killed, the next run goes on from the last finished stage.

    \b
    Examples:
      virtual-controls run configs/studies/enrich_synthetic.toml
      virtual-controls run configs/studies/mhsds_sample_v5.toml --source /secure/extract --runs /secure/runs
    """
    from flows.running import run_study

    try:
        outcome = run_study(study, source, runs)
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on from the last finished stage.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(outcome.message)
    if strict and not outcome.accepted:
        raise typer.Exit(NOT_ACCEPTED)


@app.command()
def lake(
    study: Study,
    source: Source = None,
    runs: Runs = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file of the lake and compare it with its checksum.")
    ] = False,
) -> None:
    """Load a study's extract, or what is new in it, and show what became of every raw row, file by file.

    \b
    Examples:
      virtual-controls lake configs/studies/enrich_synthetic.toml
      virtual-controls lake configs/studies/mhsds_sample_v5.toml --source /secure/extract --check
    """
    from rich.console import Console

    from flows.lakes import load_lake, show_lake

    loaded = load_lake(study, source, runs, check=check)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    show_lake(loaded, console)


@app.command()
def show(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="STUDY, STUDY/RUN_ID or a run's folder. Default: the newest.")
    ] = None,
    runs: Runs = None,
) -> None:
    """Show a finished run's released summary: verdict, estimates, attrition.

    \b
    Examples:
      virtual-controls show
      virtual-controls show enrich_synthetic
    """
    from rich.console import Console

    from flows.summary import show_summary
    from pipelines.store import find_run

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    show_summary(find_run(read_settings(runs).runs, run), console)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must be new or empty.")],
    people: Annotated[int, typer.Option(min=500, help="People in the extract.")] = 50_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same extract.")] = 1,
    trusts: Annotated[int, typer.Option(min=10, help="NHS trusts.")] = 30,
) -> None:
    """Write a synthetic extract in MHSDS layout, with the truth beside it.

    \b
    Example: virtual-controls synth extract --people 20000 --seed 7
    """
    from flows.running import write_synthetic

    write_synthetic(out, people=people, seed=seed, trusts=trusts)
    typer.echo(f"Wrote a synthetic extract of {people:,} people (seed {seed}) to {out}")


@app.command()
def serve(
    study: Study,
    cron: Annotated[str, typer.Option(help="When to run: minute hour day month weekday.")],
    source: Source = None,
    runs: Runs = None,
    timezone: Annotated[str, typer.Option(help="Time zone of the schedule.")] = "Europe/London",
    port: Annotated[int, typer.Option(help="Port of Prefect's page when no server is set.")] = 4200,
) -> None:
    """Run a study on a schedule, seen and started from Prefect's page too; serves until Ctrl-C.

    Uses the server of PREFECT_API_URL, or starts one with its page on 127.0.0.1.

    \b
    Example: virtual-controls serve configs/studies/enrich_synthetic.toml --cron "0 6 1 * *"
    """
    from flows.schedule import serve_study

    serve_study(study, source, read_settings(runs), cron=cron, timezone=timezone, page_port=port)


def main() -> None:
    """The command: errors become a clear message on the error stream and an exit code of their kind."""
    prepare_libraries()
    if not sys.warnoptions:
        import warnings

        # A library's warning may quote a value, and it is for developers: `python -W default -m flows.cli` shows them.
        warnings.simplefilter("ignore")
    try:
        app()
    except Exception as error:
        from flows.complaints import complain

        sys.exit(complain(error, read_settings().runs))


if __name__ == "__main__":
    main()
