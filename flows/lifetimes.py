"""Which runs are alive: locks that the operating system lets go of when a process ends, however it ends.

A process id can be used again and a host's name can change; a lock held on a file cannot outlive its process. A run
holds one lock for its folder, so that nobody else works there, and one as a sign of life under a token that its
Prefect flow run carries as a tag, so that a later run can tell which flow runs were killed.
"""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIGN = ".alive"


@contextmanager
def hold(lock: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock file; calls `on_wait` once if somebody else has it, and waits."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        if not _try_lock(file.fileno()):
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def sign_of_life(folder: Path, server: str) -> Iterator[str]:
    """Give a new token that counts as alive until the block or the process ends. `server` says where it is known."""
    folder.mkdir(parents=True, exist_ok=True)
    token = f"process-{uuid.uuid4().hex[:12]}"
    building = folder / f".{token}"
    with building.open("w", encoding="utf-8") as file:
        file.write(server)
        file.flush()
        assert _try_lock(file.fileno()), "nobody else knows this file yet"
        sign = folder / f"{token}{SIGN}"
        os.replace(building, sign)
        try:
            yield token
        except Exception:
            # The flow run has failed in order; only an interruption leaves its state in doubt.
            sign.unlink(missing_ok=True)
            raise
        sign.unlink(missing_ok=True)


def killed(folder: Path, server: str) -> list[Path]:
    """Signs of processes that ended without taking theirs away, for the flow runs known to `server`."""
    signs = sorted(folder.glob(f"process-*{SIGN}"))
    return [sign for sign in signs if _is_abandoned(sign) and _server_of(sign) == server]


def _is_abandoned(sign: Path) -> bool:
    try:
        with sign.open() as file:
            return _try_lock(file.fileno())
    except FileNotFoundError:
        return False


def _server_of(sign: Path) -> str | None:
    try:
        return sign.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
