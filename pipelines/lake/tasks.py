"""Calls -> Dask tasks on whatever scheduler is active, and the problems of all of them together."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from dask import config
from dask.base import compute, named_schedulers
from dask.delayed import delayed

from pipelines.errors import SourceError

Result = TypeVar("Result")


def run(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run calls as Dask tasks. Arguments travel inside the call: Dask would search every record in them for tasks.

    Raises:
        SourceError: with the problems of all calls that found any.
    """
    tasks = [delayed(partial(_catch_problems, call), pure=False, traverse=False)() for call in calls]
    # Dask would import dask.distributed, half a second, before it looks up one of its own schedulers by name.
    scheduler = config.get("scheduler", None)
    # No task depends on another: looking for those that nobody needs would take time with the square of their number.
    results = list(compute(*tasks, optimize_graph=False, scheduler=named_schedulers.get(scheduler, scheduler)))
    problems = [problem for _, found in results for problem in found]
    if problems:
        raise SourceError(list(dict.fromkeys(problems)))
    return [result for result, _ in results]


def _catch_problems(call: Callable[[], Result]) -> tuple[Result | None, list[str]]:
    try:
        return call(), []
    except SourceError as error:
        return None, error.problems
