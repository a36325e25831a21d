"""`virtual-controls serve` against a real Prefect server: the schedule is seen, a triggered run leaves its artifact."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import ROOT, SECONDS, Command, end, write_small_study


@pytest.fixture
def served(tmp_path: Path, command: Command, prefect_address: str) -> Iterator[httpx.Client]:
    """The small study served on a schedule; gives a client of the server's API."""
    study = write_small_study(tmp_path)
    study.write_text(study.read_text().replace('name = "small"', 'name = "served"'))
    arguments = ["serve", study, "--cron", "0 6 1 * *", "--runs", tmp_path / "runs"]
    with (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            env=command.environment | {"PREFECT_API_URL": prefect_address},
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=prefect_address, timeout=60, trust_env=False) as client:
            yield client
    finally:
        end(process)


def test_a_served_study_is_scheduled_and_runs_when_asked(tmp_path: Path, served: httpx.Client) -> None:
    deployment = eventually(lambda: answer(served.get("/deployments/name/virtual-controls/served")))
    assert [s["schedule"]["cron"] for s in deployment["schedules"]] == ["0 6 1 * *"]
    assert deployment["schedules"][0]["schedule"]["timezone"] == "Europe/London"
    assert deployment["parameters"] == {
        "study": str(tmp_path / "small.toml"),
        "source": None,
        "runs": str(tmp_path / "runs"),
    }
    assert set(deployment["parameter_openapi_schema"]["properties"]) == {"study", "source", "runs"}

    created = served.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status().json()
    finished = eventually(lambda: ended(served, created["id"]))
    assert finished["state_type"] == "COMPLETED", finished["state"]["message"]
    artifact = served.get("/artifacts/served-summary/latest").raise_for_status().json()
    assert artifact["flow_run_id"] == created["id"]
    assert "A small study" in artifact["data"]
    assert (tmp_path / "runs/served/latest/release/report.html").is_file()

    # The server's scheduler looks every minute; with SQLAlchemy 2.1 it never makes a run.
    wanted = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    planned = eventually(lambda: served.post("/flow_runs/filter", json=wanted).raise_for_status().json())
    assert {run["auto_scheduled"] for run in planned} == {True}
    assert all(run["expected_start_time"][8:10] == "01" for run in planned)


def answer(response: httpx.Response) -> Any:
    """The content, or None while there is none."""
    return None if response.status_code == httpx.codes.NOT_FOUND else response.raise_for_status().json()


def ended(client: httpx.Client, flow_run: str) -> Any:
    """The flow run once it has come to an end."""
    run = client.get(f"/flow_runs/{flow_run}").raise_for_status().json()
    return run if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def eventually(look: Callable[[], Any]) -> Any:
    """What `look` gives once it gives something."""
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit:
        found = look()
        if found:
            return found
        time.sleep(1)
    raise AssertionError("waited in vain")
