"""Any exception → what may be shown: kinds of error and places in the code, never a message that could hold a value.

A data library's message may quote a patient's record, and so may the text of a chained error. The user's mistakes
(VirtualControlsError) carry messages of our own writing; everything else is reduced to its kind and its places.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipelines.errors import MethodError, VirtualControlsError
from pipelines.store import write_bytes

HOUSE = Path(__file__).resolve().parents[1]
LOG = "failure.log"
EXIT_CODE = 70

Result = TypeVar("Result")


class DefectError(Exception):
    """A mistake of this program, not of its user. `log` is the file that lists the places, without values; `task` names
    the statistical method it happened in, if any."""

    def __init__(self, kind: str, place: str, log: Path, task: str = "") -> None:
        where = f"{kind} at {place}" + (f", in {task}" if task else "")
        super().__init__(f"{where}; {log} lists the places in the code, without data")
        self.kind = kind
        self.place = place
        self.log = log
        self.task = task


def guard(work: Callable[[], Result], log_folder: Path) -> Result:
    """Do `work`; what it raises leaves here stripped of every message and chain that could hold a value.

    Raises:
        VirtualControlsError: as raised, without its chain.
        DefectError: in place of any other exception; its places are written into `log_folder`.
    """
    try:
        return work()
    except VirtualControlsError as error:
        mistake: Exception = error
    except Exception as error:
        mistake = error if isinstance(error, DefectError) else _report(error, log_folder)
    mistake.__cause__ = mistake.__context__ = None
    raise mistake.with_traceback(None)


def describe_places(error: BaseException) -> list[str]:
    """The chain of errors, first one first: each one's kind and the places it passed through, innermost last."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [*describe_places(earlier), "which led to"] if earlier is not None else []
    task = f": {error.task}" if isinstance(error, MethodError) else ""
    lines.append(f"{type(error).__module__}.{type(error).__qualname__}{task}")
    frames = traceback.extract_tb(error.__traceback__, limit=-60)
    return lines + [f"  {_short(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]


def _report(error: Exception, folder: Path) -> DefectError:
    log = folder / LOG
    write_bytes(log, ("\n".join(describe_places(error)) + "\n").encode())
    task = error.task if isinstance(error, MethodError) else ""
    mistake = error.__cause__ if isinstance(error, MethodError) and error.__cause__ else error
    places = describe_places(mistake)
    ours = [line.strip() for line in places if line.startswith(("  pipelines/", "  models/", "  flows/"))]
    return DefectError(type(mistake).__name__, ours[-1] if ours else "an unknown place", log, task)


def _short(filename: str) -> str:
    path = Path(filename)
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    return path.relative_to(HOUSE).as_posix() if path.is_relative_to(HOUSE) else path.name
