"""The user's mistakes, as one small tree; each kind has its own exit code. Our own mistakes are `assert`, and whatever
a statistical method raises but a refusal: `naming` says which method it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from models.refusals import Refused


class VirtualControlsError(Exception):
    """Something the user can mend. `problems` lists every fault found, not only the first."""

    exit_code = 1
    title = "The run stopped"

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ProtocolError(VirtualControlsError):
    """The study's TOML file breaks a rule (file, dotted place, what is wrong, what is allowed)."""

    exit_code = 3
    title = "The protocol cannot be used"


class SourceError(VirtualControlsError):
    """The raw extract or table cannot be read as declared (file, line or column, what is wrong, what is allowed)."""

    exit_code = 4
    title = "The source cannot be read"


class GovernanceError(VirtualControlsError):
    """Real data without the statements that allow its use (opt-out, legal basis)."""

    exit_code = 5
    title = "The data may not be used as they stand"


class CohortError(VirtualControlsError):
    """The records hold nobody to study: no linked participants or no eligible candidates."""

    exit_code = 6
    title = "No cohort can be built"


class RunError(VirtualControlsError):
    """A run folder is missing, unfinished, or not what the command needs."""

    exit_code = 7
    title = "The run folder cannot be used"


class MethodError(Exception):
    """A mistake of this program inside a statistical method. `task` says which, in words of the protocol alone."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task


@contextmanager
def naming(task: str) -> Iterator[None]:
    """What is raised inside leaves as a MethodError that names the `task`, but for refusals and the user's mistakes."""
    try:
        yield
    except (Refused, VirtualControlsError, MethodError):
        raise
    except Exception as error:
        raise MethodError(task) from error
