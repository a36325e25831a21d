"""The study as a Prefect flow: its tasks are the stages, each loads, calls, saves, and hands on a path.

Results and the knowledge of what is done are in the run folder (pipelines/store.py), never in Prefect: Prefect shows,
schedules and records. A stage whose stamp is there is passed over, so a killed run goes on where it stopped.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from flows.cluster import dask_of
from flows.failures import guard
from flows.ingest import ensure_extract, ensure_lake, measurements
from flows.lifetimes import hold, sign_of_life
from flows.measure import measured
from flows.mending import FLOW, add_tag, crash_killed_runs
from flows.plan import Plan, cache_folder, participants_file, plan_study
from flows.progress import watcher
from flows.settings import prepare_libraries, read_settings
from pipelines.store import DESIGN_SUMMARY, RUN, STAGES, RunFolder, point_latest, write_json

Stage = Callable[[RunFolder, Path], None]


@flow(name=FLOW, persist_result=False, validate_parameters=True)
def study_flow(study: str, source: str | None = None, runs: str = "runs") -> str:
    """One study from its raw records to its released page.

    Args:
        study: path of the protocol (TOML).
        source: folder of a raw extract to use in place of the protocol's.
        runs: folder of all runs.

    Returns:
        Path of the run folder.
    """
    prepare_libraries()
    settings = read_settings(Path(runs))
    with ExitStack() as until_the_end:
        until_the_end.enter_context(_known_as_alive(settings.runs))
        found = guard(
            lambda: plan_study(Path(study), None if source is None else Path(source), settings.runs), settings.runs
        )
        until_the_end.enter_context(_alone_in(found))
        started = datetime.now(UTC)
        # Prefect would look for futures in every field of an argument that is not quoted.
        plan: Any = quote(found)
        needs_records = found.extract is not None and not found.run.is_done("cohort")
        lake = load_lake(plan, get_extract(plan)) if needs_records else None
        run = build_cohort(plan, lake)
        run = choose_design(plan, run)
        run = estimate_effects(plan, run)
        run = write_report(plan, run)
        finish(found, started)
        publish_summary(run)
        return run


@task(name="extract", cache_policy=NO_CACHE, persist_result=False)
def get_extract(plan: Plan) -> str:
    """Raw records, generated or as they stand → their folder."""
    return guard(lambda: str(ensure_extract(plan)), plan.runs)


@task(name="lake", cache_policy=NO_CACHE, persist_result=False)
def load_lake(plan: Plan, extract: str) -> str:
    """Folder of raw records → generation of its lake, in person buckets."""

    def load() -> str:
        with dask_of(read_settings(plan.runs)):
            return ensure_lake(plan, Path(extract))

    return guard(load, plan.runs)


@task(name="cohort", cache_policy=NO_CACHE, persist_result=False)
def build_cohort(plan: Plan, lake: str | None) -> str:
    """Lake or ready-made tables → cohort, baseline and outcomes of the run."""

    def work(run: RunFolder, out: Path) -> None:
        from pipelines import cohort as stage
        from pipelines.sensitivity import build_variants

        del run
        if lake is None:
            stage.save_cohort(stage.cohort_from_table(plan.protocol), out)
            return
        from pipelines.lake import open_lake
        from pipelines.sources.participants import read_participants
        from pipelines.sources.pseudonyms import key_of

        key = key_of(plan.pseudonyms) if plan.pseudonyms else None
        listed, quarantined = read_participants(participants_file(plan), key)
        with dask_of(read_settings(plan.runs)):
            records = open_lake(lake)
            stage.save_cohort(stage.build_cohort(records, listed, quarantined, plan.protocol), out)
            build_variants(records, listed, quarantined, plan.protocol, out)

    return _do(plan, "cohort", work)


@task(name="design", cache_policy=NO_CACHE, persist_result=False)
def choose_design(plan: Plan, run: str) -> str:
    """Cohort and baseline → designs and whether they are accepted; outcomes stay closed."""
    del run

    def work(folder: RunFolder, out: Path) -> None:
        from pipelines.design import design_study
        from pipelines.sensitivity import design_variants

        design_study(folder, out, plan.protocol)
        design_variants(folder, out, plan.protocol)

    return _do(plan, "design", work)


@task(name="estimate", cache_policy=NO_CACHE, persist_result=False)
def estimate_effects(plan: Plan, run: str) -> str:
    """Accepted designs and outcomes → estimates."""
    del run

    def work(folder: RunFolder, out: Path) -> None:
        from pipelines.estimate import estimate_study
        from pipelines.sensitivity import estimate_variants

        estimate_study(folder, out, plan.protocol)
        estimate_variants(folder, out, plan.protocol)

    return _do(plan, "estimate", work)


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def write_report(plan: Plan, run: str) -> str:
    """Results → everything in release/, after disclosure control."""
    del run

    def work(folder: RunFolder, out: Path) -> None:
        from pipelines.report import render_report

        render_report(folder, out, plan.protocol, plan.facts)

    return _do(plan, "report", work)


def finish(plan: Plan, started: datetime) -> None:
    """Write run.json, the last file of a run, unless it is there, and point `latest` at the newest finished run."""
    if not plan.run.is_finished():
        stamps = {stage: plan.run.read_stamp(stage) or {} for stage in STAGES}
        stages = measurements(plan) | {
            stage: {key: stamp[key] for key in ("seconds", "peak_memory_mib")} for stage, stamp in stamps.items()
        }
        moments = {"started": started, "finished": datetime.now(UTC)}
        times = {name: moment.isoformat(timespec="seconds") for name, moment in moments.items()}
        accepted = plan.run.read_json(DESIGN_SUMMARY)["accepted"]
        write_json(plan.run.file(RUN), plan.facts | times | {"stages": stages, "accepted": accepted})
    latest = RunFolder(plan.run.path.parent / "latest")
    if not latest.file(RUN).exists() or latest.read_json(RUN)["finished"] < plan.run.read_json(RUN)["finished"]:
        point_latest(plan.run.path.parent, plan.run_id)


def publish_summary(run: str) -> None:
    """Show the released summary in Prefect's page; reads release/ only."""
    from flows.summary import summary_markdown

    folder = RunFolder(Path(run))
    study = folder.path.parent.name.replace("_", "-")
    create_markdown_artifact(
        summary_markdown(folder),
        key=f"{study}-summary",
        description=f"Released summary of {study}, run {folder.path.name}",
    )


def _do(plan: Plan, stage: str, work: Stage) -> str:
    """Do a stage of a run unless it is done."""
    if not plan.run.is_done(stage):
        facts: dict[str, Any] = {}
        with watcher().step(stage):
            guard(lambda: _into_folder(plan.run, stage, work, facts), plan.run.path)
        get_run_logger().info("%s: %.1f s, at most %.0f MiB", stage, facts["seconds"], facts["peak_memory_mib"])
    return str(plan.run.path)


def _into_folder(run: RunFolder, stage: str, work: Stage, facts: dict[str, Any]) -> None:
    with run.stage(stage, facts) as out, measured(facts):
        work(run, out)


@contextmanager
def _known_as_alive(runs: Path) -> Iterator[None]:
    """Give this flow run a sign of life unless the command that started it did, and settle those of killed ones."""
    signs = cache_folder(runs, "flow_runs")
    server = read_settings(runs).server_name
    with ExitStack() as stack:
        if not any(tag.startswith("process-") for tag in runtime.flow_run.tags):
            token = stack.enter_context(sign_of_life(signs, server))
            add_tag(runtime.flow_run.id, runtime.flow_run.tags, token)
        crash_killed_runs(signs, server)
        yield


@contextmanager
def _alone_in(plan: Plan) -> Iterator[None]:
    """Nobody else works on the same run at the same time: the second one waits and finds it done."""
    lock = cache_folder(plan.runs, "locks") / f"{plan.run_id}.lock"
    with hold(lock, lambda: watcher().note("Another process is at this very run; waiting for it to finish.")):
        plan.run.path.mkdir(parents=True, exist_ok=True)
        plan.write_protocol()
        yield
