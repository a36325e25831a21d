"""R's values and samples for the tests of effect methods for times."""

import csv

from tests.models.effect_samples import ROOT


def golden_times(name: str) -> dict[tuple[str, str], float]:
    """R's values of tests/golden/times/<name> by (data, quantity)."""
    with open(ROOT / "golden" / "times" / name, newline="", encoding="utf-8") as file:
        return {(row["data"], row["quantity"]): float(row["value"]) for row in csv.DictReader(file)}
