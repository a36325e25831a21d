"""A study whose lake lies in an object store, loaded and followed by workers in processes of their own, leaves the
bytes it leaves on one machine. The store is moto's server, which speaks S3 over HTTP on loopback; it and s3fs are no
part of the environment: `pip install s3fs 'moto[server]'`, with s3fs of fsspec's version."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import ROOT, Command, clean_environment, end
from test_cluster import MINI, SECONDS, Cluster, free_port, start_cluster

STUDY = ROOT / "configs/studies/mhsds_sample_v5.toml"


@pytest.fixture
def stored_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A scheduler and two workers that reach an empty bucket `lakes`."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        serve = f"from moto.server import main; main(['-p', '{port}'])"
        with (tmp_path / "store.log").open("wb") as log:
            store = subprocess.Popen([sys.executable, "-c", serve], stdout=log, stderr=log, start_new_session=True)
        stack.callback(end, store)
        make_bucket(f"{address}/lakes")
        yield start_cluster(stack, tmp_path)


def make_bucket(url: str) -> None:
    """PUT of an empty bucket, as soon as the store answers."""
    limit = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT")):
                return
        except urllib.error.URLError:
            assert time.monotonic() < limit
            time.sleep(0.2)


@pytest.mark.slow
def test_a_study_on_a_cluster_with_its_lake_in_an_object_store_is_the_study_on_one_machine(
    tmp_path: Path, stored_cluster: Cluster
) -> None:
    left = {}
    there = {"VIRTUAL_CONTROLS_LAKES": "s3://lakes/all", "VIRTUAL_CONTROLS_DASK_ADDRESS": stored_cluster.address}
    for name, settings in {"here": {}, "there": there}.items():
        command = Command(clean_environment(tmp_path) | settings)
        runs = tmp_path / name
        ended = command.run("run", STUDY, "--source", MINI, "--runs", runs)
        assert "Done." in ended.stdout, ended.stderr
        run = next(runs.glob("*/latest")).resolve()
        left[name] = {
            path.relative_to(run): path.read_bytes()
            for part in ("private", "release")
            for path in sorted((run / part).rglob("*"))
            if path.is_file()
        }
    assert not list((tmp_path / "there").rglob("generation-*"))
    assert len(left["here"]) > 20
    assert left["there"] == left["here"]
