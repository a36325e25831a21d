"""The flow as a user meets it: killed and run again, nothing to do, against a real server and with the embedded one."""

import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from conftest import SECONDS, Command, write_small_study

KILLED_AT = (
    "cohort unfinished",
    "design between moves",
    "estimate unfinished",
    "report between moves",
)
KILLED_RUN = Path(__file__).with_name("killed_run.py")


def results_of(runs: Path) -> dict[str, bytes]:
    """Every file of the only run's private/ and release/."""
    run = runs / "small" / "latest"
    files = [path for folder in ("private", "release") for path in (run / folder).rglob("*") if path.is_file()]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def states(address: str, runs: Path) -> list[str]:
    """States of the flow runs that write into `runs`, as the server's API tells them."""
    import httpx

    found = httpx.post(f"{address}/flow_runs/filter", json={"sort": "START_TIME_ASC"}, timeout=60).json()
    return [run["state_type"] for run in found if run["parameters"].get("runs") == str(runs)]


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, command: Command, prefect_address: str
) -> None:
    served = Command(command.environment | {"PREFECT_API_URL": prefect_address})
    study = write_small_study(tmp_path)
    calm, disturbed = tmp_path / "calm", tmp_path / "disturbed"
    undisturbed = served.run("run", study, "--runs", calm)
    assert undisturbed.returncode == 0, undisturbed.stderr

    for point in KILLED_AT:
        killed = served.python(KILLED_RUN, point, "run", study, "--runs", disturbed)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (disturbed / "small/latest").exists()
    stamps = {path.name: path.read_bytes() for path in disturbed.glob("small/*/stages/*.json")}
    assert set(stamps) == {"cohort.json", "design.json", "estimate.json"}
    last = served.run("run", study, "--runs", disturbed)

    assert last.returncode == 0, last.stderr
    assert results_of(disturbed) == results_of(calm)
    assert len(results_of(calm)) > 10
    resumed = {path.name: path.read_bytes() for path in disturbed.glob("small/latest/stages/*.json")}
    # A stage done again would have other seconds in its stamp.
    assert {name: resumed[name] for name in stamps} == stamps
    assert states(prefect_address, disturbed) == ["CRASHED"] * len(KILLED_AT) + ["COMPLETED"]
    expect_artifact(prefect_address, disturbed)
    run_json = json.loads((disturbed / "small/latest/run.json").read_text())
    assert set(run_json["stages"]) == {"cohort", "design", "estimate", "report"}
    assert all(facts["peak_memory_mib"] > 50 for facts in run_json["stages"].values())


def expect_artifact(address: str, runs: Path) -> None:
    """The newest summary of the study in Prefect holds what was released and says that the data are synthetic."""
    import httpx

    artifact = httpx.get(f"{address}/artifacts/small-summary/latest", timeout=60).json()
    released = (runs / "small/latest/release/estimates.csv").read_text()
    value = next(line for line in released.splitlines() if ",risk_difference," in line).split(",")[7]
    assert "A small study" in artifact["data"]
    assert f"| {float(value):.3g} |" in artifact["data"]
    assert "Synthetic data" in artifact["data"]


def test_a_refused_design_has_exit_code_9_when_strict_and_shows_no_effect(
    tmp_path: Path, command: Command, prefect_address: str
) -> None:
    served = Command(command.environment | {"PREFECT_API_URL": prefect_address})
    study, runs = write_small_study(tmp_path), tmp_path / "runs"
    study.write_text(study.read_text().replace("max_abs_smd = 0.5", "max_abs_smd = 0.0001"))
    refused = served.run("run", study, "--runs", runs, "--strict")
    assert refused.returncode == 9, refused.stderr
    assert "THE DESIGN WAS NOT ACCEPTED" in refused.stdout
    shown = served.run("show", "--runs", runs)
    assert shown.returncode == 0, shown.stderr
    assert "max_abs_smd" in shown.stdout
    assert "NOT MET" in shown.stdout
    assert "risk_difference" not in shown.stdout
    lenient = served.run("run", study, "--runs", runs)
    assert lenient.returncode == 0
    assert "Nothing to do" in lenient.stdout


@pytest.mark.slow
def test_the_embedded_server_leaves_nothing_behind_even_when_killed(tmp_path: Path, command: Command) -> None:
    study, runs = write_small_study(tmp_path), tmp_path / "runs"
    killed = command.python(KILLED_RUN, "latest not yet pointed", "run", study, "--runs", runs)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wait_until_no_server_of(runs)

    second = command.run("run", study, "--runs", runs)
    assert second.returncode == 0, second.stderr
    wait_until_no_server_of(runs)
    terminal = second.stdout + second.stderr
    for noise in ("Traceback", "Error flushing", "prefect.", "Warning"):
        assert noise not in terminal
    assert "report.html" in second.stdout
    assert (runs / "small/latest").exists()
    with sqlite3.connect(runs / ".prefect/prefect.db") as database:
        kinds = database.execute("SELECT state_type FROM flow_run ORDER BY created").fetchall()
    database.close()
    assert kinds == [("CRASHED",), ("COMPLETED",)]

    shown = command.run("show", "--runs", runs)
    assert "risk_difference" in shown.stdout
    third = command.python("-c", NOTHING_TO_DO, study, runs)
    assert third.returncode == 0, third.stderr
    assert "Nothing to do" in third.stdout


NOTHING_TO_DO = """
import resource, sys
from flows.cli import app
app(["run", sys.argv[1], "--runs", sys.argv[2]], standalone_mode=False)
heavy = {"prefect", "econml", "sklearn", "matplotlib", "distributed"} & set(sys.modules)
assert not heavy, heavy
used = resource.getrusage(resource.RUSAGE_SELF)
# Seconds of work, not of waiting for a busy machine; 1.3 s on a quiet one.
assert used.ru_utime + used.ru_stime < 4
"""


def wait_until_no_server_of(runs: Path) -> None:
    """The embedded server watches its parent once a second."""
    limit = time.monotonic() + SECONDS / 5
    while time.monotonic() < limit:
        if not servers_of(runs):
            return
        time.sleep(0.5)
    raise AssertionError("an embedded server outlived its run")


def servers_of(runs: Path) -> list[int]:
    """Processes whose log is that of the runs' embedded server."""
    log = str(runs / ".prefect/server.log")
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal() and os.readlink(process / "fd/2") == log:
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("problem", ["a value no one may see: 1979-04-01"])
def test_a_defect_ends_with_70_and_shows_places_but_no_values(
    tmp_path: Path, command: Command, prefect_address: str, problem: str
) -> None:
    served = Command(command.environment | {"PREFECT_API_URL": prefect_address})
    study, runs = write_small_study(tmp_path), tmp_path / "runs"
    broken = served.python("-c", BROKEN_DESIGN, problem, "run", study, "--runs", runs)
    assert broken.returncode == 70, broken.stderr
    log = next(runs.glob("small/*/failure.log")).read_text()
    assert "in break_down" in log
    assert "builtins.KeyError" in log
    for text in (broken.stdout, broken.stderr, log):
        assert "1979" not in text
    assert "KeyError" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert states(prefect_address, runs) == ["FAILED"]
    assert "1979-04-01" not in whole_log_of(prefect_address)


BROKEN_DESIGN = """
import sys
from pipelines import design
problem = sys.argv.pop(1)
def break_down(*_):
    try:
        raise ValueError(problem)
    except ValueError as error:
        raise KeyError(problem) from error
design.design_study = break_down
from flows.cli import main
main()
"""


def test_a_method_s_mistake_is_no_refusal_and_is_named(tmp_path: Path, command: Command, prefect_address: str) -> None:
    """A ValueError inside a method ends the run, says in which method of which outcome, and leaves nothing half done;
    the same command goes on once it is mended."""
    served = Command(command.environment | {"PREFECT_API_URL": prefect_address})
    study, runs = write_small_study(tmp_path), tmp_path / "runs"
    broken = served.python("-c", BROKEN_METHOD, "run", study, "--runs", runs)
    assert broken.returncode == 70, broken.stderr
    task = "aipw of better on the design nearest_neighbour of participants_vs_virtual"
    assert f"It happened in {task}; without that method in the protocol the study may run." in broken.stderr
    assert "ValueError at models/" in broken.stderr
    (run,) = [path.parent for path in runs.glob("small/*/failure.log")]
    assert task in (run / "failure.log").read_text()
    assert "1979" not in broken.stdout + broken.stderr + (run / "failure.log").read_text()
    assert {path.stem for path in run.glob("stages/*.json")} == {"cohort", "design"}
    assert not list(run.rglob("estimates*"))
    assert not (runs / "small/latest").exists()
    mended = served.run("run", study, "--runs", runs)
    assert mended.returncode == 0, mended.stderr
    assert (run / "release/estimates.csv").exists()


BROKEN_METHOD = """
from models import doubly_robust
from models.nuisance import fit_ridge
def break_down(*_, **__):
    import numpy as np
    fit_ridge(np.zeros((2, 1)), np.array([1979.0, 4.0]), "continuous", l2_penalty=0.0)
doubly_robust.cross_fit = break_down
from flows.cli import main
main()
"""


def whole_log_of(address: str) -> str:
    """Everything the server was told: logs, and the states with their messages."""
    import httpx

    logs = httpx.post(f"{address}/logs/filter", json={}, timeout=60).json()
    runs = httpx.post(f"{address}/flow_runs/filter", json={}, timeout=60).json()
    tasks = httpx.post(f"{address}/task_runs/filter", json={}, timeout=60).json()
    assert logs
    assert runs
    return json.dumps([logs, runs, tasks])
