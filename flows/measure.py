"""Seconds and peak memory of a block, for the stamps and run.json only: results never depend on them."""

import resource
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

# ru_maxrss is in KiB on Linux and in bytes on macOS.
_PER_MIB = 1024 * 1024 if sys.platform == "darwin" else 1024


@contextmanager
def measured(facts: MutableMapping[str, Any]) -> Iterator[None]:
    """Add `seconds` and `peak_memory_mib` to `facts` when the block ends.

    The peak is the process's highest so far (or its largest ended child's), so it never falls from stage to stage.
    """
    started = time.monotonic()
    yield
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    facts["seconds"] = round(time.monotonic() - started, 2)
    facts["peak_memory_mib"] = round(max(resource.getrusage(kind).ru_maxrss for kind in kinds) / _PER_MIB, 1)
