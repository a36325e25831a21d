"""A command in a process of its own -> its facts, wall and CPU seconds, and the largest memory of its process tree."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from results import ROOT

GIB = 1024**3
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Run:
    """`facts` is the JSON object of the last line that the command printed, `seconds` its own time for the work where
    it says so (without starting Python and importing libraries), `wall` and `cpu` those of the whole process tree,
    `gib` the most memory (resident, summed over the tree) it held."""

    facts: dict[str, Any]
    wall: float
    cpu: float
    gib: float

    @property
    def seconds(self) -> float:
        """Of the work; of a command that was stopped, at least so many."""
        return float(self.facts.get("seconds", self.wall))


def measure(command: Sequence[str], settings: Mapping[str, str] | None = None, limit: float | None = None) -> Run:
    """Run a command to its end, or for `limit` seconds: then it is stopped, and its facts are {"stopped": True}.
    Raises CalledProcessError if it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | dict(settings or {})
    with tempfile.TemporaryFile("w+") as said:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=said, env=environment)
        root, peak, is_stopped = psutil.Process(process.pid), 0, False
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            peak = max(peak, sum(_resident(each) for each in _family(root)))
            if limit is not None and time.monotonic() - started > limit and not is_stopped:
                process.kill()
                is_stopped = True
            time.sleep(LOOK_SECONDS)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode and not is_stopped:
            raise subprocess.CalledProcessError(process.returncode, command)
        said.seek(0)
        lines = said.read().splitlines()
    facts = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    facts |= {"stopped": True} if is_stopped else {}
    peak = max(peak, usage.ru_maxrss * 1024)
    return Run(facts, wall, usage.ru_utime + usage.ru_stime, peak / GIB)


def take_turns(
    commands: Mapping[str, Sequence[str]], runs: int, clean: Path, limit: float | None = None
) -> dict[str, list[Run]]:
    """Every command `runs` times, one after the other in turns, so that whatever else the machine does hits all alike;
    each is stopped after `limit` seconds. What they write to `clean` is removed before each run but the last ones:
    `clean`/<name> of each stays."""
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(runs):
        for name, command in commands.items():
            shutil.rmtree(clean / name, ignore_errors=True)
            found[name].append(run := measure(command, limit=limit))
            print(
                f"{name:16} {number + 1}: {run.seconds:7.1f} s {run.cpu:7.1f} CPU-s {run.gib:6.2f} GiB", file=sys.stderr
            )
    return found


def medians(runs: Sequence[Run]) -> tuple[float, float, float]:
    """Seconds and CPU seconds at their median, memory at its highest."""
    return (
        statistics.median(run.seconds for run in runs),
        statistics.median(run.cpu for run in runs),
        max(run.gib for run in runs),
    )


def _family(root: psutil.Process) -> Iterator[psutil.Process]:
    yield root
    try:
        yield from root.children(recursive=True)
    except psutil.Error:
        return


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
