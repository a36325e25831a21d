"""Run the command and end it with SIGKILL at a named point. Usage: killed_run.py POINT run STUDY.toml --runs DIR"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines import store


def die(*_: Any, **__: Any) -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def half_of(work: Callable[..., Any]) -> Callable[..., Any]:
    """Do the work, then die: every file of the stage is written, none is in place."""

    def half(*arguments: Any, **options: Any) -> None:
        work(*arguments, **options)
        die()

    return half


def die_between_moves(building: str) -> None:
    """Die when the first file of a stage is in place and the others are not."""
    move = os.replace

    def moving(source: Any, target: Any) -> None:
        move(source, target)
        if f"/.building/{building}/" in str(source):
            die()

    store.os.replace = moving  # type: ignore[attr-defined]


def arm(point: str) -> None:
    """Make the process die at `point`."""
    from pipelines import cohort, estimate

    if point == "cohort unfinished":
        cohort.save_cohort = half_of(cohort.save_cohort)
    elif point == "design between moves":
        die_between_moves("design")
    elif point == "estimate unfinished":
        estimate.estimate_study = half_of(estimate.estimate_study)
    elif point == "report between moves":
        die_between_moves("report")
    elif point == "latest not yet pointed":
        store.point_latest = die
    else:
        raise ValueError(point)


if __name__ == "__main__":
    assert Path("flows/cli.py").exists(), "run from the project's folder"
    arm(sys.argv.pop(1))
    from flows.cli import main

    main()
