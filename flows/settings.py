"""The environment → where runs go, which servers are used, how many threads a library may start.

Paths, addresses and secrets of a machine come from the environment and never from a study's TOML, so that a protocol
means the same everywhere. This module imports nothing heavy: it must run before numpy, polars or Prefect do.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUNS = "VIRTUAL_CONTROLS_RUNS"
LAKES = "VIRTUAL_CONTROLS_LAKES"
DASK_ADDRESS = "VIRTUAL_CONTROLS_DASK_ADDRESS"
DASK_TLS = ("VIRTUAL_CONTROLS_DASK_TLS_CA", "VIRTUAL_CONTROLS_DASK_TLS_CERT", "VIRTUAL_CONTROLS_DASK_TLS_KEY")
LOCAL = "local"  # as the address: a cluster of this machine's own processes
WORKERS = "VIRTUAL_CONTROLS_WORKERS"
EMBEDDED = "VIRTUAL_CONTROLS_EMBEDDED_SERVER"
START_LIMIT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"

# Dask already uses every core; a library that starts as many threads again inside each task only gets slower
# (EconML's nuisance models: 26 times, measured on a busy machine).
_ONE_THREAD_EACH = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

# Memory that was freed waits ten seconds for its next use before the system gets it back: getting it anew for every
# block of a file costs a load time (DECISIONS.md). These are read by the allocators inside Arrow and Polars.
_REUSE_MEMORY = {
    "MIMALLOC_PURGE_DELAY": "10000",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:10000,muzzy_decay_ms:10000",
}

LIBRARY_SETTINGS = dict.fromkeys(_ONE_THREAD_EACH, "1") | _REUSE_MEMORY

_QUIET_PREFECT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The first start makes the database: 25 s on a quiet machine, more than Prefect's own limit of 20 s.
    START_LIMIT: "120",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


@dataclass(frozen=True)
class Settings:
    """What this machine provides.

    `server_name` names the Prefect server whose records a run is in; that of an embedded one, whose port changes each
    time, is the folder of its database. `lakes` is where lakes lie, a folder or an fsspec URL. `dask_tls` holds the
    paths of authority, certificate and key, as far as they are given; `missing_tls` names the variables of those that
    are not.
    """

    runs: Path
    lakes: str
    prefect_api_url: str | None
    server_name: str
    dask_address: str | None
    workers: int
    server_start_seconds: int
    dask_tls: tuple[str, ...] = ()
    missing_tls: tuple[str, ...] = ()

    @property
    def prefect_log(self) -> Path:
        """Where the embedded Prefect server writes."""
        return self.runs / ".prefect" / "server.log"


def read_settings(runs: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment; `runs` given by the caller wins over VIRTUAL_CONTROLS_RUNS and ./runs."""
    workers = environment.get(WORKERS, "")
    start_limit = environment.get(START_LIMIT, "")
    folder = (runs or Path(environment.get(RUNS) or "runs")).resolve()
    address = environment.get("PREFECT_API_URL") or _address_in_profile(environment)
    is_own = address is not None and address != environment.get(EMBEDDED)
    return Settings(
        runs=folder,
        lakes=environment.get(LAKES) or str(folder / ".cache" / "lakes"),
        prefect_api_url=address,
        server_name=str(address) if is_own else environment.get("PREFECT_HOME") or str(folder / ".prefect"),
        dask_address=environment.get(DASK_ADDRESS) or None,
        workers=int(workers) if workers.isdecimal() and int(workers) > 0 else (os.cpu_count() or 1),
        server_start_seconds=int(start_limit or _QUIET_PREFECT[START_LIMIT]),
        dask_tls=tuple(environment[name] for name in DASK_TLS if environment.get(name)),
        missing_tls=tuple(name for name in DASK_TLS if not environment.get(name)),
    )


def prepare_libraries() -> None:
    """Put LIBRARY_SETTINGS where libraries look when they are loaded. Whatever the user has set stays."""
    for name, value in LIBRARY_SETTINGS.items():
        os.environ.setdefault(name, value)


def prepare_prefect(settings: Settings, *, is_quiet: bool) -> None:
    """Set what Prefect reads when it is imported. Whatever the user has set stays.

    Without a server of the user's own, Prefect's files go beside the runs, never into the home folder. `is_quiet` keeps
    Prefect's log off the terminal; it still goes to the server.
    """
    for name, value in _QUIET_PREFECT.items():
        os.environ.setdefault(name, value)
    if settings.prefect_api_url is None:
        os.environ.setdefault("PREFECT_HOME", str(settings.runs / ".prefect"))
    else:
        os.environ.setdefault("PREFECT_API_URL", settings.prefect_api_url)
    if is_quiet:
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "CRITICAL")


def _address_in_profile(environment: Mapping[str, str]) -> str | None:
    """PREFECT_API_URL as `prefect config set` leaves it: in the active profile of the user's Prefect folder."""
    home = Path(environment.get("PREFECT_HOME") or Path.home() / ".prefect")
    try:
        profiles = tomllib.loads((home / "profiles.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    active = environment.get("PREFECT_PROFILE") or profiles.get("active")
    address = profiles.get("profiles", {}).get(active, {}).get("PREFECT_API_URL")
    return str(address) if address else None
