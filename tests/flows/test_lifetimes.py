"""Locks and signs of life: they hold while a process lives and let go however it ends."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT

from flows.lifetimes import hold, killed, sign_of_life

DIE_HOLDING = """
import os, signal, sys
from pathlib import Path
from flows.lifetimes import sign_of_life
with sign_of_life(Path(sys.argv[1]), "here") as token:
    print(token, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_sign_of_a_living_process_is_not_taken_for_a_killed_one_s(tmp_path: Path) -> None:
    with sign_of_life(tmp_path, "here"):
        assert killed(tmp_path, "here") == []
    assert list(tmp_path.iterdir()) == []


def test_the_sign_of_a_killed_process_is_found_by_its_own_server_only(tmp_path: Path) -> None:
    died = subprocess.run(
        [sys.executable, "-c", DIE_HOLDING, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert [sign.stem for sign in killed(tmp_path, "here")] == [died.stdout.strip()]
    assert killed(tmp_path, "elsewhere") == []


def test_a_failure_takes_its_sign_away_and_an_interruption_leaves_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError), sign_of_life(tmp_path, "here"):
        raise ValueError
    assert killed(tmp_path, "here") == []
    with pytest.raises(KeyboardInterrupt), sign_of_life(tmp_path, "here"):
        raise KeyboardInterrupt
    assert len(killed(tmp_path, "here")) == 1


def test_a_second_holder_says_so_and_waits(tmp_path: Path) -> None:
    lock, said, got = tmp_path / "x.lock", threading.Event(), threading.Event()

    def second() -> None:
        with hold(lock, said.set):
            got.set()

    with hold(lock):
        waiter = threading.Thread(target=second)
        waiter.start()
        assert said.wait(30)
        assert not got.is_set()
    waiter.join(30)
    assert got.is_set()
