"""Released estimates of rates and of repeated events become the rows of the report's table of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from models.registry import EFFECTS
from pipelines.outcome_registry import COUNTED_EVENTS, split_name
from pipelines.report.wording import specification_label

PER_EVENT = ("count", "recurrent")
SCALES = {
    "difference": ("rate_difference", "mean_count_difference"),
    "ratio": ("rate_ratio", "mean_count_ratio"),
}

Row = dict[str, Any]


def read_rates(
    rows: Iterable[Mapping[str, Any]], contrast: str, designs: tuple[str, ...], named: Mapping[str, str]
) -> list[Row]:
    """A row for each outcome and method of one contrast: difference and ratio, and what the difference is counted in.
    `rows` are released estimates; those of other contrasts, designs and methods are passed over. `named` gives the
    method of each specification."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        if row["contrast"] != contrast or row["design"] not in designs or row["subgroup"] != "all":
            continue
        method = EFFECTS.get(named.get(row["method"], row["method"]))
        if method is None or not set(method.kinds).intersection(PER_EVENT):
            continue
        entry = found.setdefault(
            (row["outcome"], row["design"], row["method"]),
            {
                "outcome": row["outcome"],
                "design": row["design"],
                "method": row["method"],
                "method_words": specification_label(row["method"], named),
                "per": _unit(row["outcome"], row["scale"]),
                "difference": None,
                "ratio": None,
                "n_treated": row["n_treated"],
                "n_control": row["n_control"],
            },
        )
        for part, scales in SCALES.items():
            if row["scale"] in scales:
                entry[part] = dict(row)
    return list(found.values())


def _unit(outcome: str, scale: str) -> str:
    """What one unit of the difference is."""
    if scale.startswith("mean_count"):
        return "events by person"
    split = split_name(outcome)
    has_chances = split is not None and COUNTED_EVENTS.get(split[0], ("", ()))[1]
    return "per appointment" if has_chances else "per person and year"
