"""The settings → where Dask's tasks run: this process's threads, processes of this machine, or a cluster elsewhere.

The graph is the same everywhere and so are the bytes it leaves. A cluster is asked three things before it gets work:
that somebody answers, that every worker runs this very code, and that it sees the folders the work is in. A worker that
dies loses nothing but time: Dask gives its tasks to another, and a task writes under a temporary name until it is done.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from flows.progress import watcher
from flows.settings import DASK_ADDRESS, DASK_TLS, LOCAL, Settings
from pipelines.errors import RunError

ANY_PORT = "127.0.0.1:0"  # None would mean Dask's usual port, on all networks, and a warning where it is taken
SECONDS_FOR_WORKERS = 60  # a batch system may take that long to start the first one


@contextmanager
def dask_of(settings: Settings) -> Iterator[None]:
    """Run the Dask tasks of the block where the settings say.

    Raises:
        RunError: nobody answers at the address, its workers run other code, or they do not see the runs folder.
    """
    if settings.dask_address is None:
        with _threads(settings.workers):
            yield
        return
    _refuse_half_a_key(settings)
    with ExitStack() as until_the_end:
        address = settings.dask_address
        if address == LOCAL:
            address = until_the_end.enter_context(_processes(settings))
        client = until_the_end.enter_context(_client(address, settings))
        _expect_same_code(client)
        _expect_shared_folder(client, settings.runs, "runs folder")
        if "://" not in settings.lakes:
            _expect_shared_folder(client, Path(settings.lakes), "folder of lakes")
        yield


@contextmanager
def _threads(n_threads: int) -> Iterator[None]:
    import dask

    with dask.config.set(scheduler="threads", num_workers=n_threads), _counting():
        yield


@contextmanager
def _counting() -> Iterator[None]:
    """Tell the watcher how many of a computation's tasks are done."""
    from dask.callbacks import Callback

    class Counter(Callback):
        def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
            total = sum(len(state[kind]) for kind in ("ready", "waiting", "running", "finished"))
            watcher().count(len(state["finished"]), total)

    with Counter():  # type: ignore[no-untyped-call]
        yield


@contextmanager
def _processes(settings: Settings) -> Iterator[str]:
    """A cluster of this machine's processes, for as long as the block lasts; gives its address."""
    from distributed import LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=settings.workers,
        threads_per_worker=1,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address=ANY_PORT,
    ) as cluster:
        yield cluster.scheduler_address


@contextmanager
def _client(address: str, settings: Settings) -> Iterator[Any]:
    from distributed import Client
    from distributed.security import Security

    keys = dict(zip(("tls_ca_file", "tls_client_cert", "tls_client_key"), settings.dask_tls, strict=False))
    security = Security(require_encryption=True, **keys) if keys else None  # type: ignore[no-untyped-call]
    try:
        client = Client(address, security=security)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError):
        raise RunError(f"no Dask scheduler answers at {address} ({DASK_ADDRESS})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except TimeoutError:
            raise RunError(f"the Dask scheduler at {address} has no worker after {SECONDS_FOR_WORKERS} s") from None
        yield client


def _refuse_half_a_key(settings: Settings) -> None:
    """TLS needs its three files, and an address that asks for it."""
    if not settings.dask_tls and not str(settings.dask_address).startswith("tls://"):
        return
    problems = [f"{name}: missing; an address with tls:// needs {', '.join(DASK_TLS)}" for name in settings.missing_tls]
    if not str(settings.dask_address).startswith("tls://"):
        problems.append(f"{DASK_ADDRESS}: with {', '.join(DASK_TLS)} set, the address begins with tls://")
    problems += [f"{path}: there is no such file" for path in settings.dask_tls if not Path(path).is_file()]
    if problems:
        raise RunError(problems)


def _expect_same_code(client: Any) -> None:
    here = _code()
    others = sum(there != here for there in _ask_workers(client, _code))
    if others:
        raise RunError(
            f"{others} Dask worker(s) run another version of this program or of its libraries: results would depend "
            "on where they are computed. Set them up from the same checkout and lock (make setup)"
        )


def _code() -> tuple[str, ...]:
    """What decides results: this program's own files and the versions of the computing libraries."""
    from flows.plan import RESULT_CODE, code_version, library_versions

    return (code_version(RESULT_CODE), *(f"{name} {number}" for name, number in sorted(library_versions().items())))


def _expect_shared_folder(client: Any, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sign = folder / f".seen-by-workers-{uuid4().hex[:12]}"
    sign.touch()
    try:
        blind = sum(seen is not True for seen in _ask_workers(client, sign.is_file))
    finally:
        sign.unlink()
    if blind:
        raise RunError(f"{blind} Dask worker(s) do not see the {name} {folder}: it must be shared, under the same path")


def _ask_workers(client: Any, question: Callable[[], Any]) -> list[Any]:
    """Every worker's answer; the error itself from one that cannot even be asked."""
    answers = client.run(question, on_error="return")
    return list(answers.values())
