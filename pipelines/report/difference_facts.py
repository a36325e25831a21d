"""The released curves and what is known of their difference become the difference that the report draws."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import polars as pl

from pipelines import disclosure as dc
from pipelines import store
from pipelines.protocol import Protocol

Row = dict[str, Any]


def read_differences(
    differences: pl.DataFrame, curves: Row | None, contrast: str, protocol: Protocol, log: dc.DisclosureLog
) -> list[Row]:
    """Treated minus control of the released curves, on their days. Half the width of the limits and of the band is
    taken up to the end of its six in as many people as the smaller group has, and at least as far as 0 where the exact
    limits reach it. Nothing is said where a curve says nothing. Where the curves are exact, so is all of it."""
    if curves is None or differences.is_empty():
        return []
    mine = differences.filter((pl.col("contrast") == contrast) & (pl.col("design") == protocol.design.methods[0]))
    mine = mine.filter(pl.col("method") == pl.col("method").first().over("outcome"))
    found = []
    for (outcome,), part in mine.group_by(["outcome"], maintain_order=True):
        lines = {line["arm"]: line for line in curves["lines"] if line["outcome"] == outcome}
        pair = [lines[arm] for arm in contrast.split("_vs_") if arm in lines]
        starts = [line["at_risk"][0] for line in pair]
        if len(pair) < 2 or None in starts:
            continue
        days, base = pair[0]["day"], min(starts)
        place = [bisect_right(part["day"].to_list(), day) - 1 for day in days]
        both = zip(pair[0]["incidence"], pair[1]["incidence"], part["value"][place], strict=True)
        value = [
            None if one is None or other is None else exact if dc.is_exact(log.rule) else one - other
            for one, other, exact in both
        ]
        edges = {
            name: [
                None if mean is None else _half_width(exact, exact_mean, mean, None if dc.is_exact(log.rule) else base)
                for exact, exact_mean, mean in zip(part[name][place], part["value"][place], value, strict=True)
            ]
            for name in ("upper", "band_upper")
        }
        found.append({"outcome": outcome, "day": days, "value": _rounded(value), **_around(value, edges)})
    if not dc.is_exact(log.rule):
        log.note(store.SUMMARY, "effects/differences", dc.MIDPOINT)
    return found


def _half_width(exact_upper: float | None, exact: float, released: float, base: int | None) -> float | None:
    """`base` None: as it is."""
    if exact_upper is None or math.isnan(exact_upper):
        return None
    half = exact_upper - exact
    if base is None:
        return half
    wide = dc.widest_of_six(half, base)
    return max(wide, abs(released)) if half >= abs(exact) else wide


def _around(value: list[float | None], edges: dict[str, list[float | None]]) -> Row:
    sides = {}
    for name, listed in edges.items():
        for side, sign in (("lower", -1), ("upper", 1)):
            at = [
                None if mean is None or half is None else mean + sign * half
                for mean, half in zip(value, listed, strict=True)
            ]
            sides[name.replace("upper", side)] = _rounded(at)
    return sides


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None else round(value, 4) for value in values]
