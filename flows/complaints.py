"""An exception that ended a command → a panel on the error stream and an exit code. No library's message is shown."""

from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from flows.failures import EXIT_CODE, DefectError, guard
from pipelines.errors import VirtualControlsError


def complain(error: Exception, log_folder: Path) -> int:
    """Tell the user what ended the command. Returns the exit code."""
    console = Console(stderr=True, highlight=False)
    if isinstance(error, VirtualControlsError):
        lines = [problem if len(error.problems) == 1 else f"• {problem}" for problem in error.problems]
        if console.is_terminal:
            console.print(Panel(Text("\n".join(lines)), title=Text(error.title), border_style="red"))
        else:
            # Whole lines, so that a log can be searched.
            console.print(Text("\n".join([f"{error.title}:", *lines])), soft_wrap=True)
        return error.exit_code
    defect = _as_defect(error, log_folder)
    lines = [f"A defect of this program, not of your study: {defect.kind} at {defect.place}."]
    if defect.task:
        lines.append(f"It happened in {defect.task}; without that method in the protocol the study may run.")
    lines.append(f"{defect.log} lists the places in the code, without data; please send it to the maintainers.")
    console.print(Text("\n".join(lines)), soft_wrap=True)
    return EXIT_CODE


def _as_defect(error: Exception, log_folder: Path) -> DefectError:
    def again() -> None:
        raise error

    try:
        guard(again, log_folder)
    except DefectError as defect:
        return defect
    raise AssertionError("guard raises a DefectError for everything that is not the user's mistake")
