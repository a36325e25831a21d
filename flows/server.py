"""Prefect's own server as a child process of one command, when the user has none.

Prefect 3.8 can start a temporary server itself, but lets it outlive a killed parent and print its last errors on the
terminal. Ours is the same application in a process that ends when its parent is gone, writes to a file, and listens
on 127.0.0.1 only. With a page (`serve`) it also runs the scheduler.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.lifetimes import hold
from flows.settings import EMBEDDED, Settings
from pipelines.errors import VirtualControlsError

HOUSE = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
LOG_BYTES = 2_000_000


class ServerError(VirtualControlsError):
    """Prefect's embedded server did not start."""

    exit_code = 8
    title = "Prefect's server did not start"


@contextmanager
def prefect_server(
    settings: Settings, *, page_port: int | None = None, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[str]:
    """Give the address of a Prefect API, and put it where Prefect looks for it.

    The user's own server (PREFECT_API_URL) is used as it is. Else one is started and ended again; with `page_port` it
    serves Prefect's page and schedules deployments. Must be entered before Prefect is imported; `meanwhile` is called
    once the address is known and may import it while the server starts.

    Raises:
        ServerError: the server did not answer in time.
    """
    if settings.prefect_api_url is not None:
        yield settings.prefect_api_url
        return
    _stay_off_proxies()
    log = settings.prefect_log
    log.parent.mkdir(parents=True, exist_ok=True)
    # Two servers must not make the same database at once.
    with hold(log.parent / "server.lock"):
        process, address = _start(log, page_port)
        os.environ |= {"PREFECT_API_URL": address, EMBEDDED: address}
        try:
            meanwhile()
            _wait(process, address, settings)
        except BaseException:
            _end(process)
            raise
    try:
        yield address
    finally:
        _hand_over_last_messages()
        _end(process)
        del os.environ["PREFECT_API_URL"], os.environ[EMBEDDED]


def _start(log: Path, page_port: int | None) -> tuple[subprocess.Popen[str], str]:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.unlink()
    wanted = [] if page_port is None else ["--page", str(page_port)]
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(os.getpid()), *wanted],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=HOUSE,
            # A Ctrl-C at the terminal is for the parent, which then ends the server in order.
            start_new_session=True,
        )
    assert process.stdout is not None, "asked for above"
    with process.stdout:
        port = process.stdout.readline().strip()
    if not port:
        _end(process)
        raise ServerError(f"its log is {log}" + ("" if page_port is None else f"; is port {page_port} in use?"))
    return process, f"http://{HOST}:{port}/api"


def _stay_off_proxies() -> None:
    """A proxy for the internet must not be asked for a server on this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, HOST, "localhost"]))


def _wait(process: subprocess.Popen[str], address: str, settings: Settings) -> None:
    limit = time.monotonic() + settings.server_start_seconds
    while time.monotonic() < limit and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise ServerError(
        f"no answer from {address} within {settings.server_start_seconds} s; its log is {settings.prefect_log}; "
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS sets the limit"
    )


def _hand_over_last_messages() -> None:
    """Let Prefect's background threads send what they still hold, while there is somebody to send it to."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    try:
        APILogWorker.instance().drain()
        EventsWorker.drain_all()
    except RuntimeError:
        return


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run_server(parent: int, page_port: int | None) -> None:
    """The child: say the port on stdout, then be the server until told to end or until the parent is gone."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((HOST, page_port or 0))
    port = listening.getsockname()[1]
    print(port, flush=True)
    os.dup2(2, 1)
    if page_port is None:
        os.environ |= {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT_UI_ENABLED": "0"}
    os.environ |= {"PREFECT__SERVER_FINAL": "1", "PREFECT_API_URL": f"http://{HOST}:{port}/api"}
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    import uvicorn

    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        host=HOST,
        port=port,
        log_level="error",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)


if __name__ == "__main__":
    _run_server(int(sys.argv[1]), int(sys.argv[3]) if "--page" in sys.argv else None)
