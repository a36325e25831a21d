"""What a person watching a run sees: a live line per stage in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LONG = {
    "prefect": "Starting Prefect",
    "extract": "Extract: getting the raw records",
    "lake": "Lake: raw records into person buckets",
    "cohort": "Cohort: stays, eligibility, covariates, outcomes",
    "design": "Design: choosing controls without outcomes",
    "estimate": "Estimate: effects on the accepted designs",
    "report": "Report: disclosure control, figures and page",
}


@dataclass
class Watcher:
    """Shows nothing; what a run has without a person in front of it."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step that takes a while."""
        del name
        yield

    def count(self, done: int, total: int) -> None:
        """How far the step under way is."""


@dataclass
class TerminalWatcher(Watcher):
    """Writes to the terminal's error stream, so that a result on the output stream stays clean."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    _progress: Progress | None = None
    _task: Any = None

    def note(self, text: str) -> None:
        """Print a line, above the live one if there is one."""
        self.console.print(text)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a live line while the step runs and leave a plain one with its seconds."""
        started = time.monotonic()
        with self._live(name) if self.console.is_terminal else nullcontext():
            yield
        self.console.print(f"{name:<9}{time.monotonic() - started:6.1f} s")

    @contextmanager
    def _live(self, name: str) -> Iterator[None]:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counted]}"))
        # Four times a second: the cores are for the study.
        live = Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True, refresh_per_second=4)
        with live as self._progress:
            self._task = live.add_task(LONG[name], total=None, counted="")
            yield
        self._progress = None

    def count(self, done: int, total: int) -> None:
        """Fill the bar of the live line."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, total=total, counted=f"{done}/{total}")


_watcher = Watcher()


def watcher() -> Watcher:
    """Who watches this process's runs."""
    return _watcher


def watch(new: Watcher) -> None:
    """Make `new` the one that watches."""
    global _watcher  # noqa: PLW0603 - Prefect calls tasks in contexts of its own, so a variable of the process it is
    _watcher = new
