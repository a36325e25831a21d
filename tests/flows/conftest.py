"""A small ready-made study, the command in a process of its own, and a real Prefect server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300  # for one command; a busy machine needs many times what a quiet one does
SMALL_STUDY = """
[study]
name = "small"
title = "A small study"
question = "Does the flow work?"
seed = 7
is_synthetic = true

[source]
kind = "table"

[[source.tables]]
path = "people.csv"
arm_column = "treated"
arms = { "1" = "peer", "0" = "virtual" }

[time_zero]
event = "row"

[strategies]
treatment = "Something"
comparator = "Nothing"

[outcomes]
primary = "better"

[outcomes.columns]
better = { column = "better", kind = "binary" }

[covariates]
numeric = ["age"]
categorical = ["ward"]

[acceptance]
max_abs_smd = 0.5
min_effective_controls = 10
min_share_treated_kept = 0.5

[effects]
methods = ["weighted_difference", "aipw"]
"""


def write_small_study(folder: Path) -> Path:
    """A study of 60 treated and 300 comparison people, with an effect of a few tenths."""
    rng = np.random.default_rng(20261122)
    treated = np.r_[np.ones(60, dtype=int), np.zeros(300, dtype=int)]
    age = rng.normal(40 + 4 * treated, 10).round(1)
    better = rng.random(360) < 0.4 + 0.2 * treated
    ward = rng.integers(0, 3, 360)
    rows = [f"{t},{a},w{w},{int(b)}" for t, a, w, b in zip(treated, age, ward, better, strict=True)]
    (folder / "people.csv").write_text("\n".join(["treated,age,ward,better", *rows]) + "\n")
    study = folder / "small.toml"
    study.write_text(SMALL_STUDY)
    return study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The small study in a folder of its own."""
    return write_small_study(tmp_path)


@dataclass(frozen=True)
class Command:
    """Runs `virtual-controls` in a process of its own."""

    environment: dict[str, str]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """The command as a user types it."""
        return self.python("-m", "flows.cli", *arguments)

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Python with this command's environment."""
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


def clean_environment(folder: Path) -> dict[str, str]:
    """This process's environment without settings of the person who runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "VIRTUAL_CONTROLS", "PYTHONWARNINGS"))}
    quiet = {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return kept | quiet | {"HOME": str(folder), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command without a Prefect server of the user's."""
    return Command(clean_environment(tmp_path))


@pytest.fixture(scope="session")
def prefect_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the API of a real `prefect server start` on a free port, with a home of its own."""
    home = tmp_path_factory.mktemp("prefect")
    environment = clean_environment(home) | {"PREFECT_HOME": str(home)}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(f"{address}/health", server)
        yield address
    finally:
        end(server)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + SECONDS
    while time.monotonic() < limit:
        assert process.poll() is None, "the server ended before it answered"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer from {url}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it started; it leads a session of its own."""
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
