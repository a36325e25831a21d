"""The statements without which real data may not be used (DOMAIN F1).

An extract carries extract_manifest.json: whether it holds real data and, if so, that the national data opt-out was
dealt with by the controller, when, and on what legal basis.
"""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.errors import GovernanceError

MANIFEST = "extract_manifest.json"
EXAMPLE = (
    '{"contains_real_data": true, "opt_out_applied": true, "opt_out_applied_date": "2020-06-01", "legal_basis": "..."}'
)


def _is_day(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value))
    except ValueError:
        return False


_STATEMENTS: tuple[tuple[str, str, Callable[[Any], bool]], ...] = (
    ("contains_real_data", "true or false", lambda value: isinstance(value, bool)),
    ("opt_out_applied", "true or false", lambda value: isinstance(value, bool)),
    ("opt_out_applied_date", "the day (yyyy-mm-dd) the opt-out was applied or judged not to apply", _is_day),
    ("legal_basis", "a sentence", lambda value: isinstance(value, str) and bool(value.strip())),
)


def check_manifest(folder: Path) -> None:
    """Refuse an extract that does not say what it is. Raises GovernanceError with what to write."""
    path = folder / MANIFEST
    if not path.is_file():
        raise GovernanceError(f"{path}: missing; the data controller states there, for example: {EXAMPLE}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise GovernanceError(f"{path}: not valid JSON; for example: {EXAMPLE}") from None
    if not isinstance(manifest, dict):
        raise GovernanceError(f"{path}: must be a JSON object; for example: {EXAMPLE}")
    if manifest.get("contains_real_data") is False:
        return
    problems = [
        f"{path}: {key}: {'missing' if manifest.get(key) in (None, '') else 'not as it must be'}; allowed: {allowed}"
        for key, allowed, is_right in _STATEMENTS
        if not is_right(manifest.get(key))
    ]
    if manifest.get("opt_out_applied") is False and "anonym" not in str(manifest.get("legal_basis", "")).lower():
        problems.append(
            f"{path}: opt_out_applied is false; that is allowed only where legal_basis says the data are anonymised "
            "in the sense of the ICO's code"
        )
    if problems:
        raise GovernanceError(problems)
