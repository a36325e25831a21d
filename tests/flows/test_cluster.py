"""The lake and the cohort are the same bytes on threads, on local processes and on workers reached over TCP, also when
a worker or the client dies in the middle."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ROOT, Command, clean_environment, end
from distributed.security import Security

MINI = ROOT / "tests/data/mhsds_mini_v5"
SECONDS = 120
LOAD = """
import sys
from pathlib import Path
from flows.cluster import dask_of
from flows.settings import read_settings
from pipelines.cohort import build_cohort, save_cohort
from pipelines.lake import write_lake
from pipelines.protocol import load_protocol
from pipelines.sources.participants import read_participants

if __name__ == "__main__":
    source, study, out = map(Path, sys.argv[1:])
    with dask_of(read_settings(out)):
        lake = write_lake(source, out / "lake", n_buckets=3)
        listed, aside = read_participants(source / "participants.csv")
        save_cohort(build_cohort(lake, listed, aside, load_protocol(study)), out / "run")
"""


@dataclass
class Cluster:
    """A scheduler and workers, each a process of its own; `prefix` is tcp or tls."""

    address: str
    environment: dict[str, str]
    options: list[str]
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, *self.options],
                env=self.environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def add_worker(self) -> None:
        spill = ["--local-directory", str(self.folder)]
        alone = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--memory-limit", "0"]
        self.workers.append(self.start("worker", self.address, *alone, *spill))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_cluster(stack: ExitStack, folder: Path, *, prefix: str = "tcp", options: list[str] | None = None) -> Cluster:
    port = free_port()
    address = f"{prefix}://127.0.0.1:{port}"
    cluster = Cluster(address, clean_environment(folder), options or [], folder)
    scheduler = cluster.start("scheduler", "--host", address.rpartition(":")[0], "--port", str(port), "--no-dashboard")
    stack.callback(end, scheduler)
    for _ in range(2):
        cluster.add_worker()
    stack.callback(lambda: [end(worker) for worker in cluster.workers])
    return cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield start_cluster(stack, tmp_path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample study on the mini extract."""
    text = (ROOT / "configs/studies/mhsds_sample_v5.toml").read_text()
    path = tmp_path_factory.mktemp("study") / "mini.toml"
    path.write_text(text)
    return path


@pytest.fixture
def load(tmp_path: Path, study: Path, command: Command):
    """Start the load in a process, on the Dask address given, into a folder."""
    script = tmp_path / "load.py"
    script.write_text(LOAD)

    def start(out: str, **settings: str) -> subprocess.Popen[bytes]:
        (tmp_path / out).mkdir(exist_ok=True)
        environment = command.environment | {f"VIRTUAL_CONTROLS_{name}": value for name, value in settings.items()}
        arguments = [sys.executable, str(script), str(MINI), str(study), str(tmp_path / out)]
        with (tmp_path / f"{out}.log").open("wb") as log:
            return subprocess.Popen(arguments, env=environment, cwd=ROOT, stdout=log, stderr=log)

    return start


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    assert process.wait(SECONDS) == 0, log.read_text()


def contents(folder: Path) -> dict[str, bytes]:
    """What a load leaves for readers: the lake's tables and the cohort."""
    names = ("lake/generation-*/**/*.parquet", "lake/manifest.json", "run/**/*")
    found = sorted({path for name in names for path in folder.glob(name) if path.is_file()})
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def wait_for_parts(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the first pass has written something."""
    limit = time.monotonic() + SECONDS
    while not any(folder.glob("lake*/**/parts/*")):
        assert process.poll() is None, "the load ended before it could be disturbed"
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_threads_processes_and_a_cluster_write_the_same_bytes(tmp_path: Path, load, cluster: Cluster) -> None:
    for name, settings in {
        "threads": {},
        "processes": {"DASK_ADDRESS": "local", "WORKERS": "2"},
        "cluster": {"DASK_ADDRESS": cluster.address},
    }.items():
        finish(load(name, **settings), tmp_path / f"{name}.log")
    threads = contents(tmp_path / "threads")
    assert len(threads) > 20
    assert json.loads(threads["lake/manifest.json"])["totals"]["rows_kept"] > 10_000
    assert contents(tmp_path / "processes") == threads
    assert contents(tmp_path / "cluster") == threads


def test_a_worker_that_dies_costs_nothing_but_time(tmp_path: Path, load, cluster: Cluster) -> None:
    finish(load("undisturbed"), tmp_path / "undisturbed.log")
    disturbed = load("disturbed", DASK_ADDRESS=cluster.address)
    wait_for_parts(tmp_path / "disturbed", disturbed)
    cluster.workers[0].send_signal(signal.SIGKILL)
    assert disturbed.poll() is None, "the worker died after the work was done"
    finish(disturbed, tmp_path / "disturbed.log")
    assert contents(tmp_path / "disturbed") == contents(tmp_path / "undisturbed")


def test_a_killed_client_is_gone_on_with(tmp_path: Path, load, cluster: Cluster) -> None:
    finish(load("undisturbed"), tmp_path / "undisturbed.log")
    killed = load("again", DASK_ADDRESS=cluster.address)
    wait_for_parts(tmp_path / "again", killed)
    killed.kill()
    killed.wait(SECONDS)
    assert not (tmp_path / "again" / "run").exists()
    finish(load("again", DASK_ADDRESS=cluster.address), tmp_path / "again.log")
    assert contents(tmp_path / "again") == contents(tmp_path / "undisturbed")


def test_an_encrypted_cluster_is_used_with_its_keys_only(tmp_path: Path, load) -> None:
    made = Security.temporary()
    files = {}
    for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
        files[name] = tmp_path / name
        files[name].write_text(getattr(made, name))
    ca, cert, key = map(str, files.values())
    options = ["--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key]
    with ExitStack() as stack:
        cluster = start_cluster(stack, tmp_path, prefix="tls", options=options)
        keys = {"DASK_TLS_CA": ca, "DASK_TLS_CERT": cert, "DASK_TLS_KEY": key}
        finish(load("encrypted", DASK_ADDRESS=cluster.address, **keys), tmp_path / "encrypted.log")
        assert load("keyless", DASK_ADDRESS=cluster.address).wait(SECONDS) == 1
        assert "VIRTUAL_CONTROLS_DASK_TLS_KEY: missing" in (tmp_path / "keyless.log").read_text()
    assert (tmp_path / "encrypted/lake/manifest.json").is_file()


def test_a_scheduler_that_does_not_answer_is_named(command: Command) -> None:
    script = (
        "from flows.cluster import dask_of\n"
        "from flows.settings import read_settings\n"
        "import dask\n"
        "dask.config.set({'distributed.comm.timeouts.connect': '1s'})\n"
        "from pathlib import Path\n"
        "with dask_of(read_settings(Path('runs'), {'VIRTUAL_CONTROLS_DASK_ADDRESS': 'tcp://127.0.0.1:9'})):\n"
        "    pass\n"
    )
    failed = command.python("-c", script)
    assert failed.returncode == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9 (VIRTUAL_CONTROLS_DASK_ADDRESS)" in failed.stderr


def test_workers_that_do_not_see_the_runs_folder_are_refused(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import cluster as place
    from flows.settings import read_settings
    from pipelines.errors import RunError

    settings = read_settings(tmp_path / "runs", {"VIRTUAL_CONTROLS_DASK_ADDRESS": cluster.address})
    monkeypatch.setattr(place, "_expect_same_code", lambda client: client.wait_for_workers(2, timeout=SECONDS))
    monkeypatch.setattr(Path, "touch", lambda _: None)
    monkeypatch.setattr(Path, "unlink", lambda _: None)
    with pytest.raises(RunError, match=r"2 Dask worker\(s\) do not see the runs folder"), place.dask_of(settings):
        raise AssertionError("work was given to workers that cannot do it")


def test_workers_with_other_code_are_refused(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import cluster as place
    from flows import plan
    from flows.settings import read_settings
    from pipelines.errors import RunError

    monkeypatch.setattr(plan, "code_version", lambda _: "another")
    settings = read_settings(tmp_path / "runs", {"VIRTUAL_CONTROLS_DASK_ADDRESS": cluster.address})
    with pytest.raises(RunError, match="run another version of this program"), place.dask_of(settings):
        raise AssertionError("work was given to workers with other code")
