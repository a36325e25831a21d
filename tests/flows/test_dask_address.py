"""The lake of an extract is the same on this process's threads and on the scheduler whose address is set."""

import json
from pathlib import Path

from conftest import ROOT, Command

MINI = ROOT / "tests/data/mhsds_mini_v5"
LOAD_TWICE = """
import json, sys
from pathlib import Path
from distributed import LocalCluster
from flows.ingest import dask_of
from flows.settings import read_settings
from pipelines.lake import write_lake

def contents(lake):
    return {p.relative_to(lake).as_posix(): p.read_bytes() for p in lake.rglob("*") if p.is_file()}

if __name__ == "__main__":
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    with dask_of(read_settings(out, {})):
        write_lake(source, out / "threads", n_buckets=3)
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, protocol="tcp://") as cluster:
        address = cluster.scheduler_address
        with dask_of(read_settings(out, {"VIRTUAL_CONTROLS_DASK_ADDRESS": address})):
            from distributed import default_client
            assert default_client().scheduler.address == address
            write_lake(source, out / "cluster", n_buckets=3)
            tasks = cluster.scheduler.task_prefixes
            n_there = sum(prefix.state_counts["memory"] for prefix in tasks.values())
    first, second = contents(out / "threads"), contents(out / "cluster")
    print(json.dumps({"n_files": len(first), "same": first == second, "n_there": n_there}))
"""


def test_a_cluster_writes_the_same_lake(tmp_path: Path, command: Command) -> None:
    script = tmp_path / "load_twice.py"
    script.write_text(LOAD_TWICE)
    done = command.python(script, MINI, tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same"]
    assert found["n_files"] > 10
    assert found["n_there"] > 10  # the cluster did the work


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, command: Command) -> None:
    script = (
        "from flows.ingest import dask_of\n"
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
