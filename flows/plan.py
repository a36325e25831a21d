"""A study file and this machine → a plan: what goes in, which run that is, and where everything lies.

The run's name is a hash of the protocol, the inputs' content, the code and the libraries that compute numbers: the same
name means the same bytes, so a finished run of that name is the answer. Nothing here imports Prefect; that there is
nothing to do must be found before it starts. Where a folder lies is not part of the name, only what is in it.
"""

import hashlib
import json
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from flows.settings import read_settings
from pipelines.errors import ProtocolError, SourceError
from pipelines.governance import MANIFEST, check_manifest
from pipelines.protocol import Protocol, Source, load_protocol
from pipelines.store import PROTOCOL, RunFolder, checksum, write_bytes

if TYPE_CHECKING:
    from pipelines.sources.omop import OmopSource

HOUSE = Path(__file__).resolve().parents[1]
COMPUTING_LIBRARIES = (
    "dask",
    "econml",
    "jinja2",
    "matplotlib",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skops",
)
CODE_ENDINGS = {".py", ".toml", ".csv", ".html", ".css", ".json"}
# How the names of the files begin that decide a result; studies are left out, their settings are hashed themselves.
RESULT_CODE = ("pipelines/", "models/", "flows/", "configs/sources/", "configs/codelists/", "configs/synthetic")
LAKE_CODE = ("pipelines/lake", "pipelines/sources/", "pipelines/tables.py", "configs/sources/", "configs/codelists/")
EXTRACT_CODE = ("pipelines/sources/synthetic", "pipelines/tables.py", "configs/sources/", "configs/synthetic")


@dataclass(frozen=True)
class Plan:
    """One run before it happens.

    `extract` is None for ready-made tables, and so is `lake`, a folder or an fsspec URL; neither need exist yet.
    `pseudonyms` is the fingerprint of the key of pseudonyms, empty where person ids stay as they are.
    """

    protocol: Protocol
    run: RunFolder
    runs: Path
    run_id: str
    inputs: dict[str, str]
    protocol_hash: str
    code: str
    versions: dict[str, str]
    extract: Path | None
    lake: str | None
    resolved_toml: bytes
    pseudonyms: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """What the report states about the run: no times, so that the same run gives the same bytes."""
        return {
            "study": self.protocol.study.name,
            "run_id": self.run_id,
            "protocol_hash": self.protocol_hash,
            "inputs": self.inputs,
            "code": self.code,
            "seed": self.protocol.study.seed,
            "versions": self.versions,
        }

    def write_protocol(self) -> None:
        """Put the resolved protocol where the results will be."""
        write_bytes(self.run.file(PROTOCOL), self.resolved_toml)


def plan_study(study: Path, source: Path | None, runs: Path) -> Plan:
    """Decide which run a study file means.

    Args:
        study: the protocol.
        source: folder of a raw extract to use in place of the protocol's, if any.
        runs: folder of all runs.

    Raises:
        ProtocolError: the protocol breaks a rule, or takes no `source`.
        SourceError: an input is missing.
    """
    protocol = with_source(load_protocol(study), source)
    resolved = _as_toml(protocol, _paths_as_written(study, source))
    protocol_hash = _hash(_as_toml(protocol, {}))
    pseudonyms = key_fingerprint(protocol)
    inputs, extract = _inputs(protocol, runs)
    inputs |= {"pseudonym_key": pseudonyms} if pseudonyms else {}
    versions = library_versions()
    code = code_version(RESULT_CODE)
    identity = {"protocol": protocol_hash, "inputs": inputs, "code": code, "versions": versions}
    run_id = _hash(json.dumps(identity, sort_keys=True).encode())[:12]
    return Plan(
        protocol=protocol,
        run=RunFolder(runs / protocol.study.name / run_id),
        runs=runs,
        run_id=run_id,
        inputs=inputs,
        protocol_hash=protocol_hash,
        code=code,
        versions=versions,
        extract=extract,
        lake=None if extract is None else _lake(extract, protocol, read_settings(runs).lakes, pseudonyms),
        resolved_toml=resolved,
        pseudonyms=pseudonyms,
    )


def with_source(protocol: Protocol, source: Path | None) -> Protocol:
    """The protocol with another raw extract: a generator is switched off, and `is_synthetic` must still be true."""
    if source is None:
        return protocol
    if protocol.source.kind == "table":
        raise ProtocolError("--source replaces the folder of a raw extract; this study reads ready-made tables")
    if not source.is_dir():
        raise SourceError(f"{source}: there is no such folder")
    kind = "omop" if protocol.source.kind == "omop" else "mhsds"
    elsewhere = {"synthetic": None, "duckdb": None, "postgres": None}
    replaced = protocol.source.model_copy(update={"kind": kind, "folder": source.resolve(), **elsewhere})
    is_synthetic = protocol.study.is_synthetic and _declares_no_real_data(source)
    study = protocol.study.model_copy(update={"is_synthetic": is_synthetic})
    return protocol.model_copy(update={"source": replaced, "study": study})


def raw_source(source: Source, extract: Path) -> "Path | OmopSource":
    """What a lake is loaded from: the folder of an extract, or an OMOP CDM."""
    if source.kind != "omop":
        return extract
    from pipelines.sources.omop import OmopSource

    return OmopSource(extract, source.stays, source.duckdb, source.postgres, source.n_buckets)


def key_fingerprint(protocol: Protocol) -> str:
    """Fingerprint of the key of pseudonyms, empty for a study that takes ids as they are. Raises SourceError when the
    key is missing or too short."""
    if not protocol.source.pseudonymise:
        return ""
    from pipelines.sources.pseudonyms import fingerprint_of, read_key

    return fingerprint_of(read_key())


def participants_file(plan: Plan) -> Path:
    """The allocation list of a raw extract."""
    assert plan.extract is not None, "ready-made tables hold their arms themselves"
    return plan.extract / plan.protocol.source.participants


def cache_folder(runs: Path, kind: str) -> Path:
    """Where things that several runs share lie: 'extracts', 'lakes' or 'flow_runs'."""
    return runs / ".cache" / kind


def code_version(places: Iterable[str]) -> str:
    """Hash of the project's own source files whose names begin with one of `places`, by name and content."""
    digest = hashlib.sha256()
    for name, content_hash in _source_files():
        if name.startswith(tuple(places)):
            digest.update(f"{name}\0{content_hash}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _source_files() -> tuple[tuple[str, str], ...]:
    files = (
        path
        for folder in ("pipelines", "models", "flows", "configs")
        for path in (HOUSE / folder).rglob("*")
        if path.suffix in CODE_ENDINGS and path.is_file()
    )
    return tuple(sorted((path.relative_to(HOUSE).as_posix(), checksum(path)) for path in files))


def _declares_no_real_data(source: Path) -> bool:
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("contains_real_data") is False


def _inputs(protocol: Protocol, runs: Path) -> tuple[dict[str, str], Path | None]:
    """Content hashes of everything that goes in, and the folder of the raw extract."""
    source = protocol.source
    if source.kind == "table":
        missing = [f"{table.path}: there is no such file" for table in source.tables if not table.path.is_file()]
        if missing:
            raise SourceError(missing)
        return {f"table_{i}": checksum(table.path) for i, table in enumerate(source.tables, start=1)}, None
    if source.kind == "synthetic":
        assert source.synthetic is not None, "the protocol's own rule"
        drawn = source.synthetic.model_dump_json() + code_version(EXTRACT_CODE)
        return {"extract": _hash(drawn.encode())}, cache_folder(runs, "extracts") / _hash(drawn.encode())[:16]
    from pipelines.lake import fingerprint_source
    from pipelines.sources.participants import check_participants

    assert source.folder is not None, "the protocol's own rule"
    if not source.folder.is_dir():
        raise SourceError(f"{source.folder}: there is no such folder; --source DIR names another")
    check_manifest(source.folder)
    if not (source.folder / source.participants).is_file():
        raise SourceError(f"{source.folder / source.participants}: the allocation list is missing")
    problems = check_participants(source.folder / source.participants)
    if problems:
        raise SourceError(problems)
    beside = {"participants": source.participants, "statements": MANIFEST}
    hashes = {key: checksum(source.folder / name) for key, name in beside.items()}
    return {"extract": fingerprint_source(raw_source(source, source.folder)), **hashes}, source.folder


def _lake(extract: Path, protocol: Protocol, lakes: str, pseudonyms: str) -> str:
    """Where the lake of an extract lies: the same place every month, so that a later load does only what is new."""
    place = str(raw_source(protocol.source, extract.resolve()))
    parts = [place, str(protocol.source.n_buckets), code_version(LAKE_CODE), version("polars")]
    parts += [pseudonyms] if pseudonyms else []
    return f"{lakes.rstrip('/')}/{_hash(chr(0).join(parts).encode())[:16]}"


def library_versions() -> dict[str, str]:
    """Versions of Python, this program and the libraries that compute numbers."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {
        "python": python,
        "virtual-controls": _own_version(),
        **{name: version(name) for name in COMPUTING_LIBRARIES},
    }


def _own_version() -> str:
    with (HOUSE / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _paths_as_written(study: Path, source: Path | None) -> dict[str, Any]:
    """The source's paths before they were made absolute, so that the written protocol names no machine."""
    if source is not None:
        return {"folder": str(source)}
    raw = tomllib.loads(study.read_text(encoding="utf-8-sig"))["source"]
    return {
        "folder": raw.get("folder"),
        "duckdb": raw.get("duckdb"),
        "tables": [table["path"] for table in raw.get("tables", [])],
    }


def _as_toml(protocol: Protocol, paths: dict[str, Any]) -> bytes:
    """Every setting with its value; paths as in `paths`, or left out."""
    content = _plain(protocol.model_dump(exclude_none=True))
    for key in ("folder", "duckdb"):
        content["source"].pop(key, None)
        if paths.get(key):
            content["source"][key] = paths[key]
    for place, table in enumerate(content["source"].get("tables", [])):
        table.pop("path")
        if paths.get("tables"):
            table["path"] = paths["tables"][place]
    return tomli_w.dumps(content).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
