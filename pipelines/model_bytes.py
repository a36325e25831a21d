"""A scikit-learn model → the bytes of a skops file that depend on the model alone.

skops names the parts of its archive by memory addresses and stamps them with the time, so that the same model gives
other bytes in every process. Here the addresses are counted through in the order in which they appear and the time is
the beginning of the ZIP format's calendar; skops reads the result as its own.
"""

import io
import json
import zipfile
from typing import Any

SCHEMA = "schema.json"
NO_TIME = (1980, 1, 1, 0, 0, 0)


def model_bytes(model: Any) -> bytes:
    """A model as a skops file; equal models fitted in any process give equal bytes."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as dumped:
        numbers: dict[str, int] = {}
        schema = _renumber(json.loads(dumped.read(SCHEMA)), numbers)
        parts = {_new_name(name, numbers): dumped.read(name) for name in dumped.namelist() if name != SCHEMA}
    parts[SCHEMA] = json.dumps(schema, indent=1).encode()
    stable = io.BytesIO()
    with zipfile.ZipFile(stable, "w") as archive:
        for name in sorted(parts):
            archive.writestr(zipfile.ZipInfo(name, NO_TIME), parts[name])
    return stable.getvalue()


def _renumber(node: Any, numbers: dict[str, int]) -> Any:
    if isinstance(node, list):
        return [_renumber(item, numbers) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _renumbered_value(key, value, numbers) for key, value in node.items()}


def _renumbered_value(key: str, value: Any, numbers: dict[str, int]) -> Any:
    if key == "__id__":
        return _number(str(value), numbers)
    if key == "file" and isinstance(value, str):
        return _new_name(value, numbers)
    return _renumber(value, numbers)


def _new_name(name: str, numbers: dict[str, int]) -> str:
    address, _, ending = name.partition(".")
    return f"{_number(address, numbers)}.{ending}"


def _number(address: str, numbers: dict[str, int]) -> int:
    return numbers.setdefault(address, len(numbers) + 1)
