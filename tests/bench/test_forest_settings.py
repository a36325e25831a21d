"""The forest's benchmark takes settings that nobody looked at while the forest was made, and says so of the others."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from forest import LOOKED_AT, UNSEEN, WARNING  # noqa: E402


def test_the_default_settings_were_not_looked_at() -> None:
    assert UNSEEN == [3, 4, 5]
    assert not set(UNSEEN) & set(LOOKED_AT)


def test_the_results_say_so_as_long_as_they_show_the_others() -> None:
    section = (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8").split("<!-- forest -->")[1]
    shown = {int(line.split()[1]) for line in section.splitlines() if line[:3].strip("| ").isdigit()}
    assert shown
    assert (WARNING in section) == bool(shown & set(LOOKED_AT))
