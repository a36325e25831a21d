"""Released estimates of single sites and what pooling found become the report's section on sites."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines import disclosure as dc
from pipelines import store
from pipelines.report.rounded_effects import cut_digits

POOLED = ("fixed effect", "random effects")

Row = dict[str, Any]


def is_of_sites(row: Mapping[str, Any], sites: Mapping[str, Any] | None) -> bool:
    """Whether an estimate is of one site or pooled over sites."""
    return sites is not None and str(row["subgroup"]).startswith((f"{sites['by']} = ", f"{sites['by']}: "))


def read_sites(rows: Sequence[Row], sites: Mapping[str, Any] | None, log: dc.DisclosureLog) -> Row | None:
    """Rows of the forest plot, the pooled ones last, and heterogeneity; None where no sites were asked for."""
    if not sites:
        return None
    mine = [row for row in rows if is_of_sites(row, sites)]
    named = [{**row, "name": _name(row), "is_pooled": _name(row) in POOLED} for row in mine]
    shown = {row["name"] for row in named if row["value"] is not None}
    pooled = dict(cut_digits(sites["pooled"])) if sites["pooled"] else None
    if pooled is not None:
        left_out = [entry for entry in pooled["without_site"] if entry["site"] in shown]
        if len(left_out) < len(pooled["without_site"]):
            log.note(store.SUMMARY, "effects/sites/without_site", dc.SUPPRESSED)
        pooled["without_site"] = left_out
    told = {name: value for name, value in sites.items() if name not in ("with_estimate", "without_estimate")}
    return {**told, "rows": named, "pooled": pooled}


def _name(row: Mapping[str, Any]) -> str:
    text = str(row["subgroup"])
    return text.partition(" = ")[2] or text.partition(": ")[2]
