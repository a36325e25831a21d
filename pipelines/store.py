"""The run folder: the only file that knows the names of the files in it.

A stage writes into a temporary folder; when it is complete its files are moved into place and a stamp with their
checksums is written last. A stage without a stamp never happened, so a killed run resumes from the last whole stage.
Times live in the stamps and in run.json only: everything in private/ and release/ depends on inputs alone.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.errors import RunError

COHORT = "private/cohort.parquet"
BASELINE = "private/baseline.parquet"
OUTCOMES = "private/outcomes.parquet"
OBSERVED = "private/observed.parquet"
READMISSIONS = "private/readmissions.parquet"
ATTRITION = "private/attrition.parquet"
EXCLUDED_PARTICIPANTS = "private/participants_excluded.parquet"
QUARANTINE = "private/quarantine.parquet"
DATA_ACCOUNT = "private/data_account.json"
QUALITY = "private/data_quality.parquet"
OUTCOME_QUALITY = "private/outcome_quality.parquet"
DESIGN = "private/design.parquet"
OTHER_DESIGNS = "private/designs.parquet"
DESIGN_SUMMARY = "private/design.json"
PROGNOSTIC = "private/prognostic.parquet"
ANALYSED = "private/analysed.parquet"
ESTIMATES = "private/estimates.parquet"
CURVES = "private/curves.parquet"
CURVE_DIFFERENCES = "private/curve_differences.parquet"
MEAN_COUNTS = "private/mean_counts.parquet"
SITES = "private/sites.json"
INDIVIDUAL_EFFECTS = "private/individual_effects.parquet"
HETEROGENEITY = "private/heterogeneity.json"
EFFECT_NOTES = "private/effect_notes.json"
MODELS = "private/models"
SENSITIVITY = "private/sensitivity.parquet"
VARIANTS = "private/variants"  # a folder for each variant, laid out like a run folder
IMPUTATIONS = "private/imputations"  # a folder for each completed copy of the covariates, laid out like a run folder
REFUSED_COHORT = "private/cohort_refused.json"
REPORT = "release/report.html"
RELEASED_ESTIMATES = "release/estimates.csv"
RELEASED_BALANCE = "release/balance.csv"
RELEASED_DIAGNOSTICS = "release/diagnostics.csv"
RELEASED_KEPT = "release/participants_kept.csv"
RELEASED_CANDIDATES_KEPT = "release/candidates_kept.csv"
RELEASED_ATTRITION = "release/attrition.csv"
RELEASED_QUALITY = "release/data_quality.csv"
RELEASED_SENSITIVITY = "release/sensitivity.csv"
RELEASED_SENSITIVITY_ESTIMATES = "release/sensitivity_estimates.csv"
SUMMARY = "release/summary.json"
DISCLOSURE_LOG = "release/disclosure_log.json"
FIGURES = "release/figures"
PROTOCOL = "protocol.toml"
RUN = "run.json"
STAGES = ("cohort", "design", "estimate", "report")


def write_bytes(path: Path, content: bytes) -> None:
    """Write whole or not at all: to a temporary name beside the file, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_name(f".{path.name}.building")
    building.write_bytes(content)
    os.replace(building, path)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as stable, readable JSON; numbers that are not finite become null."""
    text = json.dumps(_finite(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a table; the same frame gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path, compression="zstd", statistics=True)


def checksum(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class RunFolder:
    """One run of one study: runs/<study>/<run_id>/."""

    path: Path

    def file(self, name: str) -> Path:
        """Absolute path of one of this module's file names."""
        return self.path / name

    def variant(self, name: str) -> "RunFolder":
        """The folder of one sensitivity analysis, which holds the files of a run under the same names."""
        return RunFolder(self.path / VARIANTS / name)

    def imputation(self, number: int) -> "RunFolder":
        """The folder of one completed copy of the covariates: baseline and designs under the names of a run's."""
        return RunFolder(self.path / IMPUTATIONS / str(number))

    def _stamp(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.json"

    def is_done(self, stage: str) -> bool:
        """Whether the stage is whole: its stamp exists and every file it names has the size it had."""
        stamp = self.read_stamp(stage)
        if stamp is None:
            return False
        return all(_has_size(self.path / name, entry["bytes"]) for name, entry in stamp["files"].items())

    def read_stamp(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left: files with checksums, seconds, peak memory; None when unfinished."""
        stamp = self._stamp(stage)
        return json.loads(stamp.read_text()) if stamp.exists() else None

    def is_finished(self) -> bool:
        """Whether the whole run is there: all stages and run.json."""
        return self.file(RUN).exists() and all(self.is_done(stage) for stage in STAGES)

    @contextmanager
    def stage(self, stage: str, facts: Mapping[str, Any]) -> Iterator[Path]:
        """Give an empty folder that mirrors the run folder; on success move its files into place and stamp them.

        `facts` is a mutable mapping the caller may fill until the end (seconds, peak memory); it is kept in the stamp.
        Stages that come after this one lose their stamps first, so nothing stale survives.
        """
        for later in STAGES[STAGES.index(stage) :]:
            self._stamp(later).unlink(missing_ok=True)
        self.file(RUN).unlink(missing_ok=True)
        building = self.path / ".building" / stage
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        files = {}
        for source in sorted(p for p in building.rglob("*") if p.is_file()):
            name = source.relative_to(building).as_posix()
            files[name] = {"sha256": checksum(source), "bytes": source.stat().st_size}
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, self.path / name)
        shutil.rmtree(self.path / ".building")
        write_json(self._stamp(stage), {"stage": stage, "files": files, **facts})

    def read(self, name: str) -> pl.DataFrame:
        """Read one of the run's tables."""
        return pl.read_parquet(self.file(name))

    def read_json(self, name: str) -> Any:
        """Read one of the run's JSON files."""
        return json.loads(self.file(name).read_text())


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def point_latest(study_folder: Path, run_id: str) -> None:
    """Make runs/<study>/latest a link to the newest finished run, in one step."""
    building = study_folder / ".latest.building"
    building.unlink(missing_ok=True)
    building.symlink_to(run_id, target_is_directory=True)
    os.replace(building, study_folder / "latest")


def find_run(runs: Path, wanted: str | None) -> RunFolder:
    """The run a person means: a path, 'study', 'study/run_id', or (None) the newest finished run of any study.

    Raises RunError when there is none.
    """
    candidates = [Path(wanted), runs / wanted, runs / wanted / "latest"] if wanted else []
    for candidate in candidates:
        if (candidate / RUN).exists():
            return RunFolder(candidate.resolve())
    if wanted is None:
        finished = [path for path in runs.glob("*/latest") if (path / RUN).exists()]
        if finished:
            return RunFolder(max(finished, key=lambda path: (path / RUN).stat().st_mtime).resolve())
    raise RunError(f"no finished run {wanted or 'at all'} in {runs}; `virtual-controls run STUDY.toml` makes one")
