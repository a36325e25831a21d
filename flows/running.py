"""What the commands `run` and `synth` do. That there is nothing to do is found before Prefect is imported."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.failures import guard
from flows.lifetimes import killed, sign_of_life
from flows.plan import Plan, cache_folder, plan_study
from flows.progress import TerminalWatcher, watch, watcher
from flows.settings import Settings, prepare_prefect, read_settings
from pipelines.errors import RunError
from pipelines.store import REPORT, RUN, SUMMARY, RunFolder


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    run: RunFolder
    accepted: bool
    message: str


def run_study(study: Path, source: Path | None, runs: Path | None) -> Outcome:
    """Run a study unless its results are there.

    Raises:
        VirtualControlsError: the user's mistakes, each of its kind.
        DefectError: ours.
    """
    settings = read_settings(runs)
    watch(TerminalWatcher())
    return guard(lambda: _run_unless_done(study, source, settings), settings.runs)


def write_synthetic(out: Path, *, people: int, seed: int, trusts: int) -> None:
    """Write a synthetic extract into a new or empty folder. Raises RunError when it holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out}: not an empty folder; nothing was written")
    from pipelines.sources.synthetic import write_extract

    watch(TerminalWatcher())
    with watcher().step("extract"):
        write_extract(out, people=people, seed=seed, trusts=trusts)


def _run_unless_done(study: Path, source: Path | None, settings: Settings) -> Outcome:
    plan = plan_study(study, source, settings.runs)
    signs = cache_folder(settings.runs, "flow_runs")
    if plan.run.is_finished() and not killed(signs, settings.server_name):
        return _outcome(plan, "Nothing to do: the same inputs, settings and code have been run before.")
    _run_flow(study, source, settings)
    return _outcome(plan, "Done.")


def _run_flow(study: Path, source: Path | None, settings: Settings) -> None:
    from flows.server import prefect_server

    prepare_prefect(settings, is_quiet=True)
    signs = cache_folder(settings.runs, "flow_runs")
    with sign_of_life(signs, settings.server_name) as token, ExitStack() as until_the_end:
        with watcher().step("prefect"):
            until_the_end.enter_context(prefect_server(settings, meanwhile=_import_flow))
            study_flow = _import_flow()
        from prefect import tags

        with tags(token):
            study_flow(str(study.resolve()), None if source is None else str(source), str(settings.runs))


def _import_flow() -> Any:
    from flows.study import study_flow

    return study_flow


def _outcome(plan: Plan, opening: str) -> Outcome:
    accepted = bool(plan.run.read_json(RUN)["accepted"])
    verdict = "The design was accepted." if accepted else _refusal(plan)
    lines = [opening, verdict, f"Report: {plan.run.file(REPORT)}", f"virtual-controls show {plan.run.path}"]
    return Outcome(plan.run, accepted, "\n".join(lines))


def _refusal(plan: Plan) -> str:
    summary = plan.run.read_json(SUMMARY)
    failed = ", ".join(verdict["check"] for verdict in summary["verdicts"] if not verdict["passed"])
    overlap = "\nOVERLAP IS POOR: too few candidates resemble the treated." if summary["has_poor_overlap"] else ""
    return f"THE DESIGN WAS NOT ACCEPTED: the report shows no effect. Fell short: {failed}.{overlap}"
